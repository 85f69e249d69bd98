"""Pictures, tables and pages that show what models can do."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from likely import run as runs
from likely.report.measuring import given, measured, versions
from likely.report.pages import page
from likely.report.pieces import Exhibit
from likely.report.pooling import Pool, pools
from likely.report.results import results_markdown
from likely.report.table import Row, Table
from likely.report.text import COLUMNS, baselines, cells, markdown, place_text, standings
from likely.run import Run

__all__ = [
    "COLUMNS",
    "Exhibit",
    "Pool",
    "Row",
    "Table",
    "baselines",
    "cells",
    "given",
    "markdown",
    "measured",
    "page",
    "place_text",
    "pools",
    "results_markdown",
    "run_page",
    "standings",
]


def run_page(
    run: Run, out: str | Path | None = None, *, k: int = 64, n: int = 1000, seed: int = 0, features: str | None = None
) -> Path:
    """Write one run's page and return where it is.

    Arguments:
        run: a run with trained weights.
        out: the file; None writes `page.html` into the run folder.
        k: how many importance samples a `Weighted` model averages.
        n: how many samples to draw for the two-sample distance.
        seed: decides samples and estimates.
        features: the extractor in whose features sets are compared too, or None.

    Raises:
        LikelyError: the run's data or weights cannot be read, or a score is not a number.
    """
    path = run.folder / "page.html" if out is None else Path(out)
    row, record = measured(run, k=k, n=n, seed=seed, features=features), run.record
    created = datetime.fromisoformat(record["created"]).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    table = Table(record["command"], record["machine"], versions(record), created, [row])
    path.parent.mkdir(parents=True, exist_ok=True)
    runs.write_bytes(path, page(table, [Exhibit(row, run.model, run.data, run.log(), run.record)]).encode())
    return path
