"""The table of a comparison: one row per model, seed and view, as plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from likely.errors import LikelyError
from likely.evaluation import Result


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
        scoring: held-out rows scored per second.
        seen: how many training rows it was shown, each as often as it came.
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
    scoring: float | None = None
    seen: float | None = None

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

    @property
    def rank(self) -> tuple[bool, float]:
        """What orders rows: log-likelihood, highest first; then, for those without, kernel distance."""
        score, distance = self.result("nll"), self.result("mmd")
        if score is not None and score["value"] is not None:
            return False, score["value"]
        return True, distance["value"] if distance is not None and distance["value"] is not None else float("inf")

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
        return {key: sorted(rows, key=lambda row: row.rank) for key, rows in found.items()}

    def failed(self) -> list[Row]:
        """Return the rows that could not be trained or measured."""
        return [row for row in self.rows if row.error]

    def where(self, row: Row) -> str:
        """Return on what a row was trained: data, view, and the seed where there are several."""
        several = len({one.seed for one in self.rows}) > 1
        return f"{row.data}, {row.view}" + (f", seed {row.seed}" if several else "")

    def to_json(self) -> dict[str, Any]:
        """Return plain values from which `from_json` builds the same table."""
        return asdict(self)


def from_json(record: dict[str, Any]) -> Table:
    """Build the table that `Table.to_json` described.

    Raises:
        LikelyError: the record is not of a table.
    """
    try:
        known = {name: record[name] for name in ("command", "machine", "versions", "created")}
        return Table(**known, rows=[Row(**row) for row in record["rows"]])
    except (KeyError, TypeError) as error:
        raise LikelyError(f"this is no table of a comparison ({type(error).__name__}: {error}).") from None
