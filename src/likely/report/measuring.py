"""What was measured on a run, kept beside it, so that no number is computed twice or typed by hand."""

from __future__ import annotations

import time
from typing import Any

from torch import Tensor

from likely import run as runs
from likely.evaluation import evaluate
from likely.report.scores import FILE, keep_scores
from likely.report.table import Row
from likely.run import Run

SCHEMA = 3  #: of the kept results; older ones are measured anew
TIMED = 64  #: samples that are drawn to time the sampler
ROUNDS = 3  #: how often they are drawn, the quickest counts
ENOUGH = 0.5  #: seconds after which no further round is begun


def measured(run: Run, *, k: int = 64, n: int = 1000, seed: int = 0, features: str | None = None) -> Row:
    """Return a run's row of a table: from its `evaluation.json` if that holds this protocol, else measured and kept.

    Beside it lies `scores.safetensors`: the log-likelihood of every test row, by which models are compared in pairs.

    Arguments:
        run: a run with trained weights.
        k: how many importance samples a `Weighted` model averages.
        n: how many samples to draw.
        seed: decides samples and estimates.
        features: the extractor in whose features sets are compared too, or None.

    Raises:
        UnknownName: there is no such extractor.
        LikelyError: the run's data or weights, or what was measured before, cannot be read; or a score is not a number.
    """
    record, path = run.record, run.folder / "evaluation.json"
    protocol = {"k": k, "n": n, "seed": seed, "features": features, "steps_done": record.get("steps_done")}
    protocol["schema"] = SCHEMA
    kept = runs.read_json(path, "delete it to have the run measured again") if path.exists() else {}
    known = kept.get("protocol", {})
    if features is None and "features" in known:  # what was measured in features too answers without them
        known = {**known, "features": None}
    if known != protocol:
        scored: list[float] = []

        def keep(nats: Tensor, seconds: float) -> None:
            keep_scores(run, nats, k=k, seed=seed)
            scored.append(len(nats) / max(seconds, 1e-9))

        (run.folder / FILE).unlink(missing_ok=True)
        results = evaluate(run, k=k, n=n, seed=seed, features=features, keep=keep)
        kept = {
            "protocol": protocol,
            "results": results,
            "samples_per_second": _speed(run),
            "scores_per_second": scored[0] if scored else None,
        }
        runs.write_json(path, kept)
    seen = [row["rows"] for row in run.log() if "rows" in row]
    return Row(
        model=record["model"],
        data=record["data"]["name"],
        view=record["data"]["view"],
        seed=record["seed"],
        folder=str(run.folder),
        command=record["command"],
        minutes=record.get("minutes"),
        parameters=record["parameters"],
        speed=kept["samples_per_second"],
        scoring=kept["scores_per_second"],
        seen=seen[-1] if seen else None,
        results=kept["results"],
        numbers=record["numbers"],
        given=given(record),
    )


def given(record: dict[str, Any]) -> str:
    """Return what a run's model is conditioned on, in a word, or ""."""
    if record.get("cond") is None:
        return ""
    return "caption" if record["cond"]["kind"] == "Sequence" else "label"


def _speed(run: Run) -> float:
    """Return how many samples the model draws in a second."""
    run.model.sample(1, seed=0)
    began = time.perf_counter()
    times: list[float] = []
    while len(times) < ROUNDS and time.perf_counter() - began < ENOUGH:
        start = time.perf_counter()
        run.model.sample(TIMED, seed=0)
        times.append(time.perf_counter() - start)
    return TIMED / max(min(times), 1e-9)


def versions(record: dict[str, Any]) -> dict[str, str]:
    """Return the versions a run was made with, in the order in which they are printed."""
    return {name: str(version) for name, version in record["versions"].items()}
