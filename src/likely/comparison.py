"""Fit many models on one data set and set them side by side: one table, one page.

Every model gets its own run folder. One that crashes loses its own row only; one that was finished before is not
trained again; one that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import math
import platform
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import torch

import likely
from likely import crew, driver, extractors, registry, report, training
from likely import data as datasets
from likely import run as runs
from likely.core import Model
from likely.data.parts import Data
from likely.errors import LikelyError, SpaceError, unknown
from likely.progress import clock
from likely.report.measures import ranked
from likely.report.table import Row, Table
from likely.run import Run

#: what the tour trains, each as its preset for these data says: steps, not seconds, so that a slow machine takes longer
#: and does not learn less
TOUR = {
    "digits": ("bernoulli", "gaussian", "gmm", "kde", "nade", "realnvp", "vae", "gan", "dcgan", "ddpm"),
    "digits-binary": ("bernoulli", "table", "markov", "chow_liu", "bernoulli_mixture", "hmm", "rbm", "nade", "vae"),
}
#: which of them the tour asks for digits of a class: one that has no likelihood, which would need a table of its own
TOUR_BY_LABEL = ("dcgan",)
#: what the tour leaves out: a baseline for columns of reals, which on levels costs more and says less than `bernoulli`
TOUR_LEAVES_OUT = ("independent",)
TOUR_SAMPLES = 200  #: how many samples of each model the tour measures; there are 180 held-out digits


class _Protocol(NamedTuple):
    """How every model is measured: importance samples, samples drawn, features."""

    k: int
    n: int
    features: str | None = None


@dataclass(frozen=True)
class _Plan:
    """One model to train: on which data, given what, how long, from which seed; `error` says why that is impossible.

    `budget` is in seconds, `seen` in training rows, each counted as often as it is shown. How many `processes` fit
    together is no part of what a run is: one found in the folder counts, however many made it.
    """

    model: str
    data: Data
    budget: float | None
    seed: int
    error: str = ""
    cond: str | None = None
    seen: int | None = None
    processes: int = 1

    def built(self) -> Model:
        """Return the model, untrained, as it is without a preset."""
        return registry.build(self.model, self.data.space, self.data.cond if self.cond else None)

    @property
    def updates(self) -> dict[str, int]:
        """How long to train where the budget is counted in samples: {"steps": ...} or {"passes": ...}, else {}."""
        if self.seen is None or self.error:
            return {}
        taken = training.options_of(self.built())
        preset = registry.entry(self.model).presets.get(self.data.name, {})
        rows = len(self.data.train)
        if "passes" in taken:
            return {"passes": max(1, round(self.seen / max(rows, 1)))}
        batch = min(int(preset.get("batch", taken["batch"])), rows)
        return {"steps": max(1, round(self.seen / batch))}


def compare(
    models: Iterable[str] | None = None,
    data: str | Path | Data = "digits",
    *,
    view: str | None = None,
    size: int | None = None,
    colour: str | None = None,
    cond: str | None = None,
    budget: str | float | None = None,
    samples_seen: int | None = None,
    seeds: Sequence[int] = (0,),
    out: str | Path = "comparison",
    k: int = 64,
    n: int = 1000,
    features: str | None = "auto",
    processes: int = 1,
    quiet: bool = False,
) -> Table:
    """Fit many models on one data set and write `table.json`, `table.md` and `index.html` into a folder.

    All models get the same data, the same budget (time, or samples seen) and the same protocol. With several seeds,
    each model is one row: the mean over seeds, with an interval that covers held-out data and seeds.

    A model that does not take the data as they are is fitted on their `threshold` view, where every entry is a bit, and
    stands in a second table: likelihoods compare only within a view. Asked again with the same arguments, finished runs
    are taken from the folder.

    Arguments:
        models: names; None takes every model there is.
        data: a data set's name, a path to your own, or loaded data.
        view: how values are looked at: bytes, reals, fixed, dynamic, threshold or levels.
        size: resize pictures to this many pixels a side.
        colour: bring pictures to grey, rgb or rgba.
        cond: condition on the data's "label" or "caption" every model that can be; None or "none" conditions none.
        budget: how long each model may train, such as 30s or 2m; None takes what its preset says.
        samples_seen: instead of a time, how many training rows each model is shown, every row as often as it comes:
            steps = samples / batch for models that learn by gradient, passes = samples / rows (at least one) for those
            that learn by statistics.
        seeds: every model is trained once from each.
        out: the folder for the page, the table and the runs.
        k: how many importance samples a `Weighted` model averages.
        n: how many samples to draw for the two-sample distances.
        features: the extractor in whose features sets are compared too; "auto" takes the project's own classifier where
            it knows the data, "none" or None takes none.
        processes: how many processes of this machine fit each model together.
        quiet: show no progress.

    Returns:
        The table; `table.failed()` holds the rows of models that could not be trained or measured.

    Raises:
        UnknownName: a model or data set is misspelt.
        LikelyError: the data cannot be used, the budget is not a time, both kinds of budget are given, or so many
            processes cannot fit together here.
        Interrupted: a signal arrived; what was finished is kept, and the same call goes on from there.
    """
    names = list(registry.names() if models is None else models)
    for name in names:
        registry.entry(name)
    if not names or not seeds:
        raise LikelyError("nothing to compare: name at least one model and one seed.")
    if budget is not None and samples_seen is not None:
        raise LikelyError("give a budget in time or in samples seen, not both.")
    if samples_seen is not None:
        training.at_least("samples_seen", samples_seen, 1, whole=True)
    seconds = None if budget is None else driver.duration(budget)
    if features not in (None, "auto", "none", *extractors.names()):
        raise unknown("extractor", str(features), ["auto", "none", *extractors.names()])
    crew.possible(processes)
    cond = None if cond == "none" else cond
    loaded = data if isinstance(data, Data) else datasets.load(data, view=view, size=size, colour=colour)
    plans = []
    for name in names:
        usable, error = _fitting_view(name, loaded)
        given = cond if registry.entry(name).conditional else None
        plans += [_Plan(name, usable, seconds, seed, error, given, samples_seen, processes) for seed in seeds]
    words = ["likely", "compare", "--data", str(loaded.source.get("name_or_path", loaded.name))]
    words += [] if view is None else ["--view", view]
    words += [] if models is None else ["--models", ",".join(names)]
    words += [] if size is None else ["--size", str(size)]
    words += [] if colour is None else ["--colour", colour]
    words += [] if cond is None else ["--cond", cond]
    words += [] if budget is None else ["--budget", str(budget)]
    words += [] if samples_seen is None else ["--samples-seen", str(samples_seen)]
    words += [] if features == "auto" else ["--features", features or "none"]
    words += [] if n == 1000 else ["-n", str(n)]
    words += [] if k == 64 else ["-k", str(k)]
    words += [] if processes == 1 else ["--processes", str(processes)]
    words += [] if tuple(seeds) == (0,) else [f"--seed={seed}" for seed in seeds]
    return _carry_out(plans, Path(out), shlex.join(words), _Protocol(k, n, _extractor(features, loaded)), quiet)


def tour(out: str | Path = "tour", *, seed: int = 0, quiet: bool = False) -> Table:
    """Train every kind of model on the embedded handwritten digits, and write the page that shows them side by side.

    It takes less than four minutes on two processor cores. Asked again, it takes finished runs from the folder.

    Arguments:
        out: the folder for the page, the table and the runs.
        seed: decides everything that is drawn.
        quiet: show no progress.
    """
    plans = [
        _Plan(model, loaded, None, seed, cond="label" if model in TOUR_BY_LABEL else None)
        for name, models in TOUR.items()
        for loaded in [datasets.load(name)]
        for model in models
    ]
    return _carry_out(plans, Path(out), "likely tour", _Protocol(64, TOUR_SAMPLES), quiet)


def _extractor(features: str | None, data: Data) -> str | None:
    """Return the extractor to measure in: as named, or for "auto" the one that knows these data, if it reads them."""
    if features != "auto":
        return None if features == "none" else features
    name = extractors.own(data.name) if data.source.get("name_or_path") == data.name else None
    try:
        if name is not None:
            extractors.load(name).accept(data.space)
        return name
    except LikelyError:
        return None


def _fitting_view(model: str, data: Data) -> tuple[Data, str]:
    """Return the data in a view that the model takes; or as they are, with the reason why it takes none."""
    try:
        registry.build(model, data.space)
        return data, ""
    except SpaceError as error:
        reason = str(error)
    try:
        bits = datasets.load(**{**data.source, "view": "threshold"}) if data.source else None
        if bits is None:
            return data, reason
        registry.build(model, bits.space)
        return bits, ""
    except LikelyError:
        return data, reason


def _carry_out(plans: list[_Plan], out: Path, command: str, protocol: _Protocol, quiet: bool) -> Table:
    """Train and measure what was planned, one after another, and write the table after each and the page at the end."""
    versions = {"likely": likely.__version__, "torch": torch.__version__, "python": platform.python_version()}
    created = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    table = Table(command, driver.machine(), versions, created)
    out.mkdir(parents=True, exist_ok=True)
    say = _Teller(quiet)
    silent = quiet or not sys.stderr.isatty()  # a bar per model in a terminal, one line per model elsewhere
    exhibits = []
    for i, plan in enumerate(plans, 1):
        try:
            if plan.error:
                raise SpaceError(plan.error)
            run = _trained(plan, out / "runs", silent)
            row = report.measured(run, **protocol._asdict())
            exhibits.append(report.Exhibit(row, run.model, run.data, run.log(), run.record))
        except Exception as error:  # this model's row says what happened; the others go on
            row = Row(
                plan.model, plan.data.name, plan.data.view, plan.seed, error=_reason(error), given=plan.cond or ""
            )
        table.rows.append(row)
        say.row(row, i, plans)
        runs.write_json(out / "table.json", table.to_json())
    runs.write_json(out / "table.json", {**table.to_json(), "standings": _plain(report.standings(table))})
    runs.write_bytes(out / "table.md", report.markdown(table).encode())
    runs.write_bytes(out / "index.html", report.page(table, exhibits).encode())
    say.end(table, out / "index.html")
    return table


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it: numbers that are not finite become null."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _reason(error: Exception) -> str:
    """Return what went wrong in one line: the message alone where it is meant for users."""
    text = " ".join(str(error).split())
    return text if isinstance(error, LikelyError) else f"{type(error).__name__}: {text}"


def _trained(plan: _Plan, folder: Path, quiet: bool) -> Run:
    """Return a finished run of this plan: found in the folder, resumed there, or trained anew beside what is there."""
    given = [f"by-{plan.cond}"] if plan.cond else []
    stem = "-".join([plan.model, *given, _slug(plan.data.name), plan.data.view, str(plan.seed)])
    for number in count(1):
        place = folder / (stem if number == 1 else f"{stem}-{number}")
        if not place.exists():
            name, options = _named(plan.data)
            train: Any = driver.train
            options |= {"cond": plan.cond, "budget": plan.budget, "seed": plan.seed, **plan.updates}
            options |= {"processes": plan.processes}
            return train(plan.model, name, **options, out=place, quiet=quiet)
        found = runs.open(place)
        if _matches(plan, found.record):
            found.data = plan.data
            return found if found.record["status"] == "finished" else driver.resume(place, quiet=quiet)
    raise AssertionError


def _matches(plan: _Plan, record: dict[str, Any]) -> bool:
    """Whether a run was made from this plan by this version, with the preset as it is today."""
    preset = registry.entry(plan.model).presets.get(plan.data.name, {})
    made = {**record["fit"], **record["numbers"]}
    if plan.budget is not None or plan.seen is not None:  # how long: the budget's word replaces the preset's
        preset = {name: value for name, value in preset.items() if name not in ("steps", "epochs", "budget", "passes")}
    elif "epochs" not in preset:
        taken = training.options_of(plan.built())
        preset = {name: taken[name] for name in ("steps", "passes") if name in taken} | preset
    preset = preset | plan.updates
    same = all(made[name] == value for name, value in preset.items() if name in made)
    return (
        same
        and report.given(record) == (plan.cond or "")
        and (record["model"], record["seed"], record["budget"]) == (plan.model, plan.seed, plan.budget)
        and record["data"]["fingerprint"] == plan.data.fingerprint
    )


def _named(data: Data) -> tuple[Any, dict[str, Any]]:
    """Return data as `train` is told of them: by name and view where these say all, as the command line does."""
    source = dict(data.source)
    name = source.pop("name_or_path", None)
    return (name, source) if name is not None and set(source) <= {"view", "size", "colour"} else (data, {})


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in Path(name).stem) or "data"


class _Teller:
    """Says on the error stream how the comparison goes: a line per model, and at the end the tables."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet

    def row(self, row: Row, number: int, plans: list[_Plan]) -> None:
        if self.quiet:
            return
        several = len({plan.seed for plan in plans}) > 1
        cells = dict(zip(report.COLUMNS, report.cells(row), strict=False))
        minutes = "" if row.minutes is None else clock(60 * row.minutes)
        text = row.error or f"{cells[report.COLUMNS[2]] or '(no likelihood)':26} {minutes}"
        where = f"{row.title} on {row.data}" + (f", seed {row.seed}" if several else "")
        print(f"{number:2}/{len(plans)}  {where:26} {text}", file=sys.stderr, flush=True)

    def end(self, table: Table, page: Path) -> None:
        if self.quiet:
            return
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table as Lines

        console = Console(stderr=True, width=None if sys.stderr.isatty() else 120)
        for (data, view), found in report.pools(table).items():
            likelihoods = ranked(found, ("nll", ""))
            several = any(len(pool.rows) > 1 for pool in found) or len({pool.row.seed for pool in found}) > 1
            hidden = {"parameters", "bits/dim", "scores/s", *(() if several else ("seed",))}
            shown = [i for i, name in enumerate(report.COLUMNS) if name not in hidden]
            lines = Lines(title=f"{data} ({view})", title_justify="left", title_style="bold", box=SIMPLE_HEAD)
            lines.add_column("rank", justify="right", no_wrap=True)
            for i in shown:
                lines.add_column(report.COLUMNS[i], justify="left" if i == 0 else "right", no_wrap=i < 3)
            for i, pool in enumerate(found):
                texts = report.cells(pool.row, len(pool.rows))
                lines.add_row(report.place_text(likelihoods.places.get(i)), *(texts[j] for j in shown))
            for texts in report.baselines([pool.row for pool in found]):
                lines.add_row("", *(texts[j].strip("*") for j in shown))
            console.print(lines)
        console.print(f"page: {page.absolute()}", soft_wrap=True, highlight=False)
