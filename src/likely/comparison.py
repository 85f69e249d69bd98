"""Fit many models on one data set and set them side by side: one table, one page.

Every model gets its own run folder. One that crashes loses its own row only; one that was finished before is not
trained again; one that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import torch

import likely
from likely import data as datasets
from likely import driver, registry, report
from likely import run as runs
from likely.data.parts import Data
from likely.errors import LikelyError, SpaceError
from likely.progress import clock
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
TOUR_SAMPLES = 200  #: how many samples of each model the tour measures; there are 180 held-out digits


@dataclass(frozen=True)
class _Plan:
    """One model to train: on which data, given what, how long, from which seed; `error` says why that is impossible."""

    model: str
    data: Data
    budget: float | None
    seed: int
    error: str = ""
    cond: str | None = None


def compare(
    models: Iterable[str] | None = None,
    data: str | Path | Data = "digits",
    *,
    view: str | None = None,
    size: int | None = None,
    colour: str | None = None,
    cond: str | None = None,
    budget: str | float | None = None,
    seeds: Sequence[int] = (0,),
    out: str | Path = "comparison",
    k: int = 64,
    n: int = 1000,
    quiet: bool = False,
) -> Table:
    """Fit many models on one data set and write `table.json`, `table.md` and `index.html` into a folder.

    A model that does not take the data as they are is fitted on their `threshold` view, where every entry is a bit, and
    stands in a second table: likelihoods compare only within a view. Asked again with the same arguments, finished runs
    are taken from the folder.

    Arguments:
        models: names; None takes every model there is.
        data: a data set's name, a path to your own, or loaded data.
        view: how values are looked at: bytes, reals, threshold, dynamic or fixed.
        size: resize pictures to this many pixels a side.
        colour: bring pictures to grey, rgb or rgba.
        cond: condition on the data's "label" or "caption" every model that can be.
        budget: how long each model may train, such as 30s or 2m; None takes what its preset says.
        seeds: every model is trained once from each.
        out: the folder for the page, the table and the runs.
        k: how many importance samples a `Weighted` model averages.
        n: how many samples to draw for the two-sample distance.
        quiet: show no progress.

    Returns:
        The table; `table.failed()` holds the rows of models that could not be trained or measured.

    Raises:
        UnknownName: a model or data set is misspelt.
        LikelyError: the data cannot be used, or the budget is not a time.
        Interrupted: a signal arrived; what was finished is kept, and the same call goes on from there.
    """
    names = list(registry.names() if models is None else models)
    for name in names:
        registry.entry(name)
    if not names or not seeds:
        raise LikelyError("nothing to compare: name at least one model and one seed.")
    seconds = None if budget is None else driver.duration(budget)
    loaded = data if isinstance(data, Data) else datasets.load(data, view=view, size=size, colour=colour)
    plans = []
    for name in names:
        usable, error = _fitting_view(name, loaded)
        given = cond if registry.entry(name).conditional else None
        plans += [_Plan(name, usable, seconds, seed, error, given) for seed in seeds]
    words = ["likely", "compare", "--data", str(loaded.source.get("name_or_path", loaded.name))]
    words += [] if view is None else ["--view", view]
    words += [] if models is None else ["--models", ",".join(names)]
    words += [] if size is None else ["--size", str(size)]
    words += [] if colour is None else ["--colour", colour]
    words += [] if cond is None else ["--cond", cond]
    words += [] if budget is None else ["--budget", str(budget)]
    words += [] if tuple(seeds) == (0,) else [f"--seed={seed}" for seed in seeds]
    return _carry_out(plans, Path(out), shlex.join(words), k, n, quiet)


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
    return _carry_out(plans, Path(out), "likely tour", 64, TOUR_SAMPLES, quiet)


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


def _carry_out(plans: list[_Plan], out: Path, command: str, k: int, n: int, quiet: bool) -> Table:
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
            row = report.measured(run, k=k, n=n)
            exhibits.append(report.Exhibit(row, run.model, run.data, run.log()))
        except Exception as error:  # this model's row says what happened; the others go on
            row = Row(plan.model, plan.data.name, plan.data.view, plan.seed, error=_reason(error))
        table.rows.append(row)
        say.row(row, i, len(plans))
        runs.write_json(out / "table.json", table.to_json())
    runs.write_bytes(out / "table.md", report.markdown(table).encode())
    runs.write_bytes(out / "index.html", report.page(table, exhibits).encode())
    say.end(table, out / "index.html")
    return table


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
            return train(
                plan.model, name, **options, cond=plan.cond, budget=plan.budget, seed=plan.seed, out=place, quiet=quiet
            )
        found = runs.open(place)
        if _matches(plan, found.record):
            found.data = plan.data
            return found if found.record["status"] == "finished" else driver.resume(place, quiet=quiet)
    raise AssertionError


def _matches(plan: _Plan, record: dict[str, Any]) -> bool:
    """Whether a run was made from this plan by this version, with the preset as it is today."""
    preset = registry.entry(plan.model).presets.get(plan.data.name, {})
    made = {**record["fit"], **record["numbers"]}
    same = all(made[name] == value for name, value in preset.items() if name in made and plan.budget is None)
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

    def row(self, row: Row, number: int, total: int) -> None:
        if self.quiet:
            return
        cells = dict(zip(report.COLUMNS, report.cells(row), strict=False))
        minutes = "" if row.minutes is None else clock(60 * row.minutes)
        text = row.error or f"{cells[report.COLUMNS[2]] or '(no likelihood)':26} {minutes}"
        where = f"{row.title} on {row.data}"
        print(f"{number:2}/{total}  {where:26} {text}", file=sys.stderr, flush=True)

    def end(self, table: Table, page: Path) -> None:
        if self.quiet:
            return
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table as Lines

        console = Console(stderr=True)
        for (data, view), rows in table.views().items():
            several = len({row.seed for row in rows}) > 1
            shown = [i for i, name in enumerate(report.COLUMNS) if name != "parameters" and (several or name != "seed")]
            lines = Lines(title=f"{data} ({view})", title_justify="left", title_style="bold", box=SIMPLE_HEAD)
            for i in shown:
                lines.add_column(report.COLUMNS[i], justify="left" if i == 0 else "right", no_wrap=i < 3)
            for cells in [*(report.cells(row) for row in rows), *report.baselines(rows)]:
                lines.add_row(*(cells[i].strip("*") for i in shown))
            console.print(lines)
        console.print(f"page: {page.absolute()}", soft_wrap=True, highlight=False)
