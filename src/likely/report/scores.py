"""The score of every held-out row, kept beside a run's evaluation: what paired tests and strangest rows are made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from likely import evaluation
from likely import run as runs
from likely.errors import LikelyError
from likely.run import Run

FILE = "scores.safetensors"


@dataclass
class Scores:
    """Log-likelihoods of held-out rows.

    Arguments:
        nats: the score of each row, (N,), in the order of the data.
        weight: how much each row counts, (N,), or None.
        what: the data's fingerprint, the part and the seed: two lists of scores pair where these agree.
        sign: "=", ">=" or "~".
    """

    nats: Tensor
    weight: Tensor | None
    what: dict[str, str]
    sign: str


def keep_scores(run: Run, nats: Tensor, *, k: int, seed: int, part: str = "test") -> None:
    """Keep the log-likelihood of every row of a held-out part, (N,), beside the run."""
    weight = getattr(run.data, part).weight
    tensors = {"nats": nats.double().cpu()} | ({} if weight is None else {"weight": weight.double()})
    what = {"fingerprint": run.record["data"]["fingerprint"], "part": part, "seed": str(seed)}
    told = {**what, "sign": evaluation.sign_of(run.model), "k": str(k)}
    runs.write_tensors(run.folder / FILE, tensors, told)


def kept_scores(folder: str | Path) -> Scores | None:
    """Return the scores that lie in a run folder; None where there are none."""
    if not str(folder) or not (Path(folder) / FILE).exists():
        return None
    try:
        tensors, told = runs.read_tensors(Path(folder) / FILE)
        what = {name: told[name] for name in ("fingerprint", "part", "seed")}
        return Scores(tensors["nats"], tensors.get("weight"), what, told["sign"])
    except (LikelyError, KeyError):
        return None


def strangest(scores: Scores, n: int = 10) -> tuple[Tensor, Tensor]:
    """Return the n rows of lowest score, lowest first, and their scores."""
    order = scores.nats.nan_to_num(nan=torch.inf).argsort(stable=True)[:n]
    return order, scores.nats[order]
