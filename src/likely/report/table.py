"""The table of a comparison: one row per model, seed and view; as plain values, as text and as Markdown."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from likely.evaluation import Result

MINUS = "−"


@dataclass
class Row:
    """What became of one model.

    Arguments:
        model: its name.
        data: what the data set is called.
        view: how the data were looked at; likelihoods compare only within a view.
        seed: what decided its weights.
        error: why it could not be trained or measured; "" if it was.
        folder: its run folder.
        command: the command line that trains it again.
        minutes: how long it was trained.
        parameters: how many numbers it learned.
        speed: samples per second.
        results: what was measured.
        numbers: what it was built from.
        given: what the model is conditioned on ("label", "caption"), or "".
    """

    model: str
    data: str
    view: str
    seed: int = 0
    error: str = ""
    folder: str = ""
    command: str = ""
    minutes: float | None = None
    parameters: int | None = None
    speed: float | None = None
    results: list[Result] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)
    given: str = ""

    @property
    def title(self) -> str:
        """The model's name, with what it is conditioned on."""
        return f"{self.model}, by {self.given}" if self.given else self.model

    @property
    def scored(self) -> str:
        """The view, and what is given where the likelihood is: log p(x | label) does not compare with log p(x)."""
        score = self.result("nll")
        apart = self.given and score is not None and score["value"] is not None
        return f"{self.view}, given the {self.given}" if apart else self.view

    def result(self, metric: str) -> Result | None:
        """Return the result of this name, or None."""
        return next((r for r in self.results if r["metric"] == metric), None)


@dataclass
class Table:
    """A comparison: what was done, where, and a row per model.

    Arguments:
        command: the command line that makes it again.
        machine: the machine in words.
        versions: library -> version.
        created: date and time.
        rows: one per model, seed and view.
    """

    command: str
    machine: str
    versions: dict[str, str]
    created: str
    rows: list[Row] = field(default_factory=list)

    def views(self) -> dict[tuple[str, str], list[Row]]:
        """Return (data, view) -> its measured rows, best first; views in the order in which they were first used.

        Likelihoods of conditional models stand in a table of their own, whose view says what is given.
        """
        found: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            if not row.error:
                found.setdefault((row.data, row.scored), []).append(row)
        return {key: sorted(rows, key=_rank) for key, rows in found.items()}

    def failed(self) -> list[Row]:
        """Return the rows that could not be trained or measured."""
        return [row for row in self.rows if row.error]

    def to_json(self) -> dict[str, Any]:
        """Return plain values from which `from_json` builds the same table."""
        return asdict(self)


def from_json(record: dict[str, Any]) -> Table:
    """Build the table that `Table.to_json` described."""
    return Table(**{**record, "rows": [Row(**row) for row in record["rows"]]})


def _rank(row: Row) -> tuple[bool, float]:
    """Order by log-likelihood, highest first; then, for those without, by kernel distance."""
    score, distance = row.result("nll"), row.result("mmd")
    if score is not None and score["value"] is not None:
        return False, score["value"]
    return True, distance["value"] if distance is not None and distance["value"] is not None else float("inf")


# Numbers as they are printed -----------------------------------------------------------------------------------------


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with a true minus sign, or "" for None.

    Example:
        >>> number(-1234.567)
        '−1234.57'
    """
    return "" if value is None else f"{value:.{digits}f}".replace("-", MINUS)


def nats(result: Result | None) -> str:
    """Return a negative log-likelihood as the log-likelihood it is of, with sign, error and k.

    Example:
        >>> nats({"value": 88.3, "sign": "<=", "protocol": {"k": 64, "standard_error": 0.5}})
        '≥ −88.30 ± 0.50 (k = 64)'
    """
    if result is None or result["value"] is None:
        return ""
    sign = result["sign"].replace("<=", "≥")
    error, k = result["protocol"].get("standard_error"), result["protocol"].get("k")
    return (
        f"{sign} {number(-result['value'])}"
        + (f" ± {error:{'.2f' if error >= 0.005 or error == 0 else '.1g'}}" if error is not None else "")
        + (f" (k = {k})" if k else "")
    )


def bits(result: Result | None) -> str:
    """Return the same number in bits per dimension, of which lower is better: a bound holds from above.

    Example:
        >>> bits({"value": 88.3, "sign": "<=", "protocol": {"bits_per_dim": 0.1625}})
        '≤ 0.163'
    """
    value = None if result is None else result["protocol"].get("bits_per_dim")
    if result is None or value is None:
        return ""
    return f"{result['sign'].replace('<=', '≤')} {number(value, 3)}"


def thousandths(value: float | None, error: float | None = None) -> str:
    """Return a small number times 1000, with its error.

    Example:
        >>> thousandths(0.0123, 0.0004)
        '12.3 ± 0.4'
    """
    if value is None:
        return ""
    return number(1000 * value, 1) + ("" if error is None else f" ± {1000 * error:.1f}")


def share(result: Result | None) -> str:
    """Return the share of recognised samples and the classes they cover."""
    if result is None or result["value"] is None:
        return ""
    return f"{100 * result['value']:.0f} %, {result['protocol']['covered']}/{result['protocol']['classes']}"


COLUMNS = ("model", "seed", "log-likelihood (nats)", "bits/dim", "kernel distance ×1000", "recognised", "parameters")


def cells(row: Row) -> tuple[str, ...]:
    """Return the texts of a row, in the order of `COLUMNS`, then minutes and samples per second."""
    score, distance = row.result("nll"), row.result("mmd")
    return (
        row.title,
        str(row.seed),
        nats(score),
        bits(score),
        thousandths(distance["value"], distance["protocol"]["standard_error"]) if distance else "",
        share(row.result("recognised")),
        "" if row.parameters is None else f"{row.parameters:,}",
        number(row.minutes),
        "" if row.speed is None else f"{row.speed:,.0f}",
    )


def markdown(table: Table) -> str:
    """Return the whole comparison as Markdown: one table per view, then what failed."""
    headings = (*COLUMNS, "minutes", "samples/s")
    parts = ["# Comparison", "", f"`{table.command}` on {table.machine}, {table.created}.", ""]
    for (data, view), rows in table.views().items():
        parts += [f"## {data}, {view}", "", "| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
        parts += ["| " + " | ".join(_plain(cell) for cell in cells(row)) + " |" for row in rows]
        parts += ["| " + " | ".join(line) + " |" for line in baselines(rows)]
        parts += [""]
    if table.failed():
        parts += ["## Not finished", ""] + [
            f"- {r.model} on {r.data}, {r.view}: {_plain(r.error)}" for r in table.failed()
        ]
    return "\n".join(parts).rstrip() + "\n"


def baselines(rows: list[Row]) -> list[tuple[str, ...]]:
    """Return the rows that no model stands behind: the uniform law, and real training data in place of samples."""
    found: list[tuple[str, ...]] = []
    first = {r["metric"]: r for row in rows for r in reversed(row.results)}
    score, distance, seen = (first.get(m) for m in ("nll", "mmd", "recognised"))
    if score is not None and score["protocol"].get("uniform") is not None:
        uniform: Any = {**score, "value": score["protocol"]["uniform"], "sign": "="}
        uniform["protocol"] = {"bits_per_dim": score["protocol"]["uniform_bits_per_dim"]}
        found.append(("*uniform*", "", nats(uniform), bits(uniform), "", "", "", "", ""))
    if distance is not None and distance["protocol"].get("floor") is not None:
        protocol = distance["protocol"]
        own = "" if seen is None else f"{100 * seen['protocol']['floor']:.0f} %"
        floor = thousandths(protocol["floor"], protocol["floor_standard_error"])
        found.append(("*real data*", "", "", "", floor, own, "", "", ""))
    return found


def _plain(text: str) -> str:
    """Return text that cannot break a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")
