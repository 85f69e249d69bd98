"""What the sections of a page are made of: the models on show, cards, pictures, figures that may fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from likely.core import Model
from likely.data.parts import Data
from likely.report import words
from likely.report.pictures import data_uri
from likely.report.table import Row
from likely.report.words import Words, both


@dataclass
class Exhibit:
    """A trained model on show: its row, the model, its data, the rows of its log, and its run's record."""

    row: Row
    model: Model
    data: Data
    log: list[dict[str, Any]] = field(default_factory=list)
    record: dict[str, Any] | None = None


def wall(exhibits: Sequence[Exhibit]) -> list[list[Exhibit]]:
    """Return the exhibits of each view; of several seeds of a model, the first."""
    found: dict[tuple[str, str], dict[tuple[str, str], Exhibit]] = {}
    for exhibit in exhibits:
        row = exhibit.row
        models = found.setdefault((row.data, row.view), {})
        if row.seed <= models.setdefault((row.model, row.given), exhibit).row.seed:
            models[row.model, row.given] = exhibit
    return [list(models.values()) for models in found.values()]


def lead(text: Words, **values: object) -> str:
    return f'<p class="lead">{both(text, **values)}</p>'


def card(head: str, score: str, content: str, kind: str = "") -> str:
    return (
        f'<figure class="card {kind}"><div class="head"><h3>{head}</h3><span class="score">{score}</span></div>'
        f"{content}</figure>"
    )


def drawn(draw: Callable[..., str], *arguments: Any) -> str:
    """Return a figure, or a line that says why it could not be drawn: one broken model must not cost the page."""
    try:
        return draw(*arguments)
    except Exception as error:
        return f'<p class="note">{both(words.NOT_DRAWN, why=f"{type(error).__name__}: {error}")}</p>'


def name_of(exhibit: Exhibit, exhibits: Sequence[Exhibit]) -> str:
    """Return the model's name, with its seed and view where there are several of that name."""
    row, twins = exhibit.row, [e.row for e in exhibits if e.row.model == exhibit.row.model]
    extra = [row.view] if len({(t.data, t.view) for t in twins}) > 1 else []
    extra += [f"seed {row.seed}"] if len({t.seed for t in twins}) > 1 else []
    return escape(row.title) + (f" <small>({escape('; '.join(extra))})</small>" if extra else "")


def pixels(image: Any, alt: str) -> str:
    return f'<img class="pixels" src="{data_uri(image)}" alt="{escape(alt)}">'
