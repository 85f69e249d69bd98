"""RESULTS.md: the scores of run folders beside published ones, written by a command and never by hand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from likely import run as runs
from likely.errors import LikelyError
from likely.report import scores
from likely.report.measuring import measured
from likely.report.numbers import MINUS, bits, nats, share, thousandths
from likely.report.published import PUBLISHED
from likely.report.table import Row, from_json
from likely.report.text import markdown

HEADINGS = (
    "model",
    "data (view)",
    "test log-likelihood, nats",
    "bits/dim",
    "kernel distance ×1000 (real data)",
    "recognised (real data)",
    "published, nats",
    "source",
    "minutes",
    "seed",
)
INTRODUCTION = """# Results

Written by `likely` from run folders; every number was measured on the data's test part, which training never saw.
Signs: `=` exact, `≥` a lower bound (k importance samples), `~` an estimate, empty where the model has no likelihood.
± is one standard error. The kernel distance is the unbiased squared MMD (Gaussian kernel, in the space of the data),
beside that of real training data. Recognised: the share of samples on which a forest trained on real labelled data
agrees, and the classes these cover. Published numbers say how far their source was checked: read there (primary),
quoted elsewhere (secondary), or from memory.
"""


RECORD = (
    "run.json",
    "evaluation.json",
    scores.FILE,
)  #: what is kept of a run; by the scores models are compared in pairs
TABLE = "table.json"  #: what is kept of a comparison
SECTION = "results.md"  #: what a recipe printed that is neither


class Results(NamedTuple):
    """The text of RESULTS.md, and what could not be measured: one line for each run, with the reason."""

    text: str
    missing: list[str]


def results_markdown(
    folders: Iterable[str | Path], *, keep: str | Path | None = None, k: int = 64, n: int = 1000, seed: int = 0
) -> Results:
    """Return the text of RESULTS.md for these run folders, measuring what was not measured before.

    A run that cannot be measured (not finished, its data gone, its weights damaged) does not stop the others.

    Comparisons (`likely compare`, `likely tour`) that lie in the folders follow as they were tabled, and sections that
    recipes wrote themselves (`results.md`) as they stand.

    Arguments:
        folders: run folders, or folders that hold them at any depth.
        keep: a folder for the records, small enough for a repository: how each run was made and all that was measured
            on it, to the score of every row, without its weights. Records that lie there already, of runs that are in
            none of the folders, come into the text too.
        k: how many importance samples a `Weighted` model averages.
        n: how many samples to draw for the two-sample distance.
        seed: decides samples and estimates.

    Raises:
        LikelyError: a folder holds no run, not one run could be measured, or the records have no folder.
        OSError: the folder of the records cannot be made.
    """
    made: list[tuple[Row, dict[str, Any]]] = []
    missing = []
    if keep is not None and Path(keep).exists() and not Path(keep).is_dir():
        raise LikelyError(f"cannot keep records in '{keep}': it is not a folder.")
    found = _found([Path(each) for each in folders], None if keep is None else Path(keep))
    if keep is not None:
        Path(keep).mkdir(parents=True, exist_ok=True)  # that it cannot be made is said once, before the work
    for name, folder in found.items():
        if folder.name in (TABLE, SECTION):
            continue
        try:
            run = runs.open(folder)
            if run.record["status"] != "finished":
                raise LikelyError(f"it is {run.record['status']}; finish it first: `likely resume {folder}`.")
            made.append((measured(run, k=k, n=n, seed=seed), run.record))
            _copy((folder / file for file in RECORD), keep, name)
        except OSError as error:  # a folder that cannot be read, or written to
            missing.append(f"{folder}: {error.filename or folder}: {error.strerror or error}")
        except LikelyError as error:
            missing.append(f"{folder}: {error}")
    if not made:
        raise LikelyError("; ".join(missing))
    made.sort(key=lambda each: (each[0].data, each[0].view, each[0].title, each[0].seed))
    lines = [INTRODUCTION, "| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row, _ in made]
    lines += ["", "## Commands and machines", ""]
    for row, record in made:
        version = record["versions"]
        lines.append(
            f"- {row.title}, {row.data} ({row.view}), seed {row.seed}: `{row.command}`; {record['machine']}; likely "
            f"{version['likely']}, torch {version['torch']}; {record['created'][:10]}."
        )
    for name, path in found.items():
        if path.name != TABLE:
            continue
        try:
            table = from_json(runs.read_json(path, "delete it, or run the comparison again"))
            for row in table.rows:  # which were named from where the comparison was made
                row.folder = str(path.parent / "runs" / Path(row.folder).name)
            text = markdown(table)
        except LikelyError as error:
            missing.append(f"{path}: {error}")
            continue
        _copy([path], keep, name.parent)
        lines += ["", *(f"#{line}" if line.startswith("#") else line for line in text.rstrip().split("\n"))]
    for name, path in found.items():
        if path.name == SECTION:
            _copy([path], keep, name.parent)
            lines += ["", *path.read_text(encoding="utf-8").rstrip().split("\n")]
    if missing:
        lines += ["", "## Not measured", "", *(f"- {' '.join(line.split())}" for line in missing)]
    return Results("\n".join(lines) + "\n", missing)


def _found(folders: list[Path], keep: Path | None) -> dict[Path, Path]:
    """Return run folders and tables of comparisons by the name that their records have in the folder of records."""
    found: dict[Path, Path] = {}
    for folder in (each.absolute() if keep is not None else each for each in folders):
        paths = sorted(_runs_and_tables(folder))
        if keep is not None and folder != keep.absolute():  # the records may lie among the runs
            paths = [path for path in paths if not path.is_relative_to(keep.absolute())]
        if not any(path.name not in (TABLE, SECTION) for path in paths):
            raise LikelyError(f"'{folder}' holds no run: there is no run.json in it.")
        for path in paths:
            name = path if keep is None else path.relative_to(folder.parent if path == folder else folder)
            if found.setdefault(name, path) != path:
                raise LikelyError(f"the records of '{found[name]}' and '{path}' would both be called '{name}'.")
    if keep is not None and keep.is_dir():
        for path in sorted(_runs_and_tables(keep)):
            found.setdefault(path.relative_to(keep), path)
    return dict(sorted(found.items()))


def _runs_and_tables(folder: Path) -> list[Path]:
    """Return the run folders below a folder, and the files of tables and sections."""
    files = [path for name in (TABLE, SECTION) for path in folder.rglob(name)]
    return files + [path.parent for path in folder.rglob("run.json")]


def _copy(files: Iterable[Path], keep: str | Path | None, name: Path) -> None:
    """Copy files into the folder of records, under this name."""
    if keep is None:
        return
    target = Path(keep) / name
    target.mkdir(parents=True, exist_ok=True)
    for file in files:
        if file.exists() and file.parent.absolute() != target.absolute():
            if file.suffix == ".json":
                runs.write_json(target / file.name, runs.read_json(file, "restore it or fit again"))
            else:
                runs.write_bytes(target / file.name, file.read_bytes())


def _cells(row: Row) -> list[str]:
    score, distance, seen = (row.result(m) for m in ("nll", "mmd", "recognised"))
    known = PUBLISHED.get((row.data, row.scored), {}).get(row.model)
    far = ""
    if distance is not None:
        far = thousandths(distance["value"], distance["protocol"]["standard_error"])
        far += f" ({thousandths(distance['protocol']['floor'])})"
    own = "" if seen is None else f"{share(seen)} ({100 * seen['protocol']['floor']:.0f} %)"
    return [
        row.title,
        f"{row.data} ({row.scored})",
        nats(score),
        bits(score),
        far,
        own,
        # a published negative log-likelihood is a log-likelihood with the other sign, and an upper bound a lower one
        "" if known is None else f"{known.sign.replace('<=', '≥')} {MINUS}{known.nats:.2f}",
        "" if known is None else f"{known.source} [{known.checked}]",
        "" if row.minutes is None else f"{row.minutes:.1f}",
        str(row.seed),
    ]
