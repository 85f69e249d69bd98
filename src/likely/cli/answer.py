"""What a command hands back: a record for machines, a text for people."""

from __future__ import annotations

import math
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from likely.errors import LikelyError


class Misuse(LikelyError):
    """The command was called wrongly: exit 2."""


@dataclass
class Answer:
    """What was done and where.

    Arguments:
        record: plain values, printed by `--json`.
        text: what is printed otherwise.
        problem: what failed although there is an answer: exit 1.
    """

    record: dict[str, Any]
    text: str = ""
    problem: str = ""


def columns(rows: Iterable[Sequence[object]], heading: Sequence[str]) -> str:
    """Return rows as aligned columns; on a terminal the last column is wrapped to its width.

    Example:
        >>> print(columns([("vae", 16)], ("model", "latent")))
        model  latent
        vae    16
    """
    table = [[str(cell) for cell in row] for row in (heading, *rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(heading) - 1)]
    indent = sum(widths) + 2 * len(widths)
    room = shutil.get_terminal_size().columns - indent if sys.stdout.isatty() else sys.maxsize
    lines = []
    for *cells, last in table:
        start = "".join(f"{cell:<{width}}  " for cell, width in zip(cells, widths, strict=True))
        wrapped = textwrap.wrap(last, max(room, 20)) or [""]
        lines += [(start + wrapped[0]).rstrip(), *(" " * indent + line for line in wrapped[1:])]
    return "\n".join(lines)


def quoted(path: object) -> str:
    """Return a path as one would type it in a shell."""
    return shlex.quote(str(path))


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: numbers that are not finite become null, paths become text."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (str, int, float)) else str(value)
