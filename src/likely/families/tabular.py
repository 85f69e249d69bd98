"""Tables over finitely many values: distinct rows found by a number, counts that add up, and what a table answers.

A row is found by one 64-bit number, its key: its place in the full table where that has fewer than 2^62 cells, and a
hash beyond, checked for collisions. So a table needs memory for the rows that occur, however many could.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from likely.errors import LikelyError
from likely.parts import information

PLACES = 2**62  #: tables of fewer cells are keyed by place


class Found(NamedTuple):
    """Distinct rows in ascending order of their keys: keys (M,), rows (M, D), mass (M,)."""

    keys: Tensor
    rows: Tensor
    mass: Tensor


def multipliers(sizes: Sequence[int]) -> Tensor:
    """Return the number m_d of each column, (D,), with key(x) = sum_d m_d x_d in 64-bit arithmetic."""
    if math.prod(sizes) < PLACES:
        places = [math.prod(sizes[d + 1 :]) for d in range(len(sizes))]
        return torch.tensor(places, dtype=torch.int64)
    generator = torch.Generator().manual_seed(0)
    return torch.randint(-PLACES, PLACES, (len(sizes),), generator=generator) | 1


def keys(rows: Tensor, multiplier: Tensor) -> Tensor:
    """Return the key of each row, (B, D) -> (B,), column by column so that nothing large is held."""
    found = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
    for column, m in zip(rows.unbind(1), multiplier.tolist(), strict=True):
        found += column.long() * m
    return found


def distinct(key: Tensor, rows: Tensor, mass: Tensor) -> Found:
    """Add up the mass of equal rows.

    Raises:
        LikelyError: two different rows have the same key (for hashes of 10 million rows one chance in a thousand).
    """
    found, index = key.unique(return_inverse=True)
    first = torch.full((len(found),), len(key), device=key.device).scatter_reduce_(
        0, index, torch.arange(len(key), device=key.device), "amin"
    )
    cells = rows[first]
    if len(found) < len(key) and any(
        bool((cell[index] != row).any()) for cell, row in zip(cells.unbind(1), rows.unbind(1), strict=True)
    ):
        raise LikelyError("two different rows share a 64-bit key; count fewer rows or variables at a time.")
    return Found(found, cells, torch.zeros(len(found), dtype=mass.dtype, device=mass.device).index_add_(0, index, mass))


class Counts:
    """How often each distinct row occurs; adds up like a tensor, in time that grows with the rows.

    Runs of growing length are merged when they are of like length, so each row is sorted a few times only.
    """

    def __init__(self, runs: Sequence[Found]) -> None:
        self.runs = tuple(runs)

    def __add__(self, other: Counts) -> Counts:
        runs: list[Found] = []
        for run in (*self.runs, *other.runs):
            runs.append(run)
            while len(runs) > 1 and len(runs[-2].keys) <= 2 * len(runs[-1].keys):
                last, before = runs.pop(), runs.pop()
                runs.append(distinct(*(torch.cat(pair) for pair in zip(before, last, strict=True))))
        return Counts(runs)

    def total(self) -> Found:
        """Return all rows, each once."""
        if len(self.runs) == 1:
            return self.runs[0]
        return distinct(*(torch.cat(parts) for parts in zip(*self.runs, strict=True)))


def groups(known: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the distinct masks among rows of known, (B, D), each with the numbers of the rows that have it."""
    if bool((known == known[:1]).all()):
        return [(known[0], torch.arange(len(known), device=known.device))] if len(known) else []
    masks, index = known.unique(dim=0, return_inverse=True)
    return [(mask, (index == i).nonzero()[:, 0]) for i, mask in enumerate(masks)]


def spread(counts: Tensor, p: Tensor, known: list[int]) -> Tensor:
    """Spread the counts of known values over the cells that agree with them, by p(unknown | known).

    Arguments:
        counts: how often the values of the known variables occurred, (sizes of the known variables).
        p: the table, (sizes of all).
        known: the axes of the known variables.

    Raises:
        LikelyError: counted values are impossible under p.
    """
    unknown = [axis for axis in range(p.dim()) if axis not in known]
    base = p.sum(unknown, keepdim=True) if unknown else p
    counts = counts.reshape(base.shape)
    if bool(((base == 0) & (counts > 0)).any()):
        raise LikelyError("values occur that the table calls impossible; take a pseudo_count above 0.")
    return p * torch.where(base > 0, counts / base, 0)


# What a table answers ----------------------------------------------------------------------------------------------


class Factor(NamedTuple):
    """One factor of the chain rule: p(name | given), an array over the given variables and then the variable itself.

    It is 0 where what is given has probability 0.
    """

    name: str
    given: tuple[str, ...]
    probabilities: Tensor

    def __str__(self) -> str:
        return f"p({self.name} | {', '.join(self.given)})" if self.given else f"p({self.name})"


class Factorisation(NamedTuple):
    """The chain rule: p(a, b, c) = p(a) p(b | a) p(c | a, b); `print` shows it with its tables."""

    factors: tuple[Factor, ...]

    @property
    def product(self) -> Tensor:
        """The factors multiplied: the joint table, its axes in the order of the factors."""
        joint = torch.ones((), dtype=torch.float64)
        for factor in self.factors:
            joint = joint[..., None] * factor.probabilities
        return joint

    def __str__(self) -> str:
        left = ", ".join(factor.name for factor in self.factors)
        lines = [f"p({left}) = {' '.join(str(factor) for factor in self.factors)}"]
        for factor in self.factors:
            lines += ["", str(factor)]
            values = factor.probabilities.reshape(-1, factor.probabilities.shape[-1])
            shape = factor.probabilities.shape[:-1]
            for number, row in enumerate(values.tolist()):
                place = torch.unravel_index(torch.tensor(number), shape) if shape else ()
                told = " ".join(f"{name}={int(value)}" for name, value in zip(factor.given, place, strict=True))
                lines.append(f"  {told + ': ' if told else ''}{' '.join(f'{value:.4f}' for value in row)}")
        return "\n".join(lines)


class Bayes(NamedTuple):
    """Bayes' rule, posterior = prior * likelihood / evidence: arrays over the values of what is asked, and a number."""

    prior: Tensor
    likelihood: Tensor
    evidence: Tensor
    posterior: Tensor


class Independence(NamedTuple):
    """Whether A and B are independent given C; true or false in an `if`.

    Arguments:
        independent: the answer.
        information: I(A; B | C), nats.
        statistic: G = 2 N I(A; B | C) of N rows; 0 for an exact table.
        freedom: its degrees of freedom; 0 for an exact table.
        p: the probability of so large a G if they are independent; 1 or 0 for an exact table.
    """

    independent: bool
    information: float
    statistic: float = 0.0
    freedom: int = 0
    p: float = 1.0

    def __bool__(self) -> bool:
        return self.independent


def independence(joint: Tensor, rows: float, level: float) -> Independence:
    """Judge A and B given C on their joint table: exactly, or by a G-test where it was counted over so many rows.

    Degrees of freedom are (|A| - 1)(|B| - 1) added up over the values of C, as far as values occurred.

    Arguments:
        joint: p(a, b, c), (A, B, C).
        rows: how many rows were counted; 0 for a table that is exact.
        level: the p-value below which they are called dependent.

    Reference: Sokal and Rohlf, Biometry, 4th edition, 2012 (the G-test).
    """
    amount = float(information.mutual_information(joint, 0, 1, 2))
    if not rows:
        same = amount <= 1e-12  # rounding of a sum of float64 logarithms
        return Independence(same, amount, p=float(same))
    seen_a, seen_b = (joint.sum(1) > 0).sum(0), (joint.sum(0) > 0).sum(0)
    freedom = int(((seen_a - 1).clamp(min=0) * (seen_b - 1).clamp(min=0)).sum())
    statistic = 2 * rows * amount
    half = torch.tensor([freedom / 2, statistic / 2], dtype=torch.float64)
    p = float(torch.special.gammaincc(half[0], half[1])) if freedom else 1.0
    return Independence(p >= level, amount, statistic, freedom, p)


class _Called(Tensor):
    """Levels of a variable whose values are texts, which can be compared with these."""

    of: tuple[str, tuple[Any, ...]]  #: the variable, and what its levels are called

    def _level(self, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        name, categories = self.of
        return level_of(value, name, len(categories), categories)

    def __eq__(self, other: Any) -> Tensor:  # type: ignore[override]
        return self.as_subclass(Tensor) == self._level(other)

    def __ne__(self, other: Any) -> Tensor:  # type: ignore[override]
        return self.as_subclass(Tensor) != self._level(other)

    __hash__ = Tensor.__hash__


def called(levels: Tensor, name: str, categories: tuple[Any, ...]) -> Tensor:
    """Return levels that can be compared with what they are called: `sky == "grey"`."""
    found = levels.as_subclass(_Called)
    found.of = (name, categories)
    return found


def level_of(value: Any, name: str, size: int, categories: tuple[Any, ...] | None) -> int:
    """Return the level of a variable's value: its place among the categories, or the number itself.

    Raises:
        LikelyError: the variable has no such value.
    """
    if categories is not None and value in categories:
        return categories.index(value)
    try:
        whole = not isinstance(value, str) and value == int(value)
    except (TypeError, ValueError, OverflowError):  # None, a list, NaN, infinity
        whole = False
    if categories is None and whole and 0 <= int(value) < size:
        return int(value)
    known = ", ".join(map(str, categories[:20])) if categories is not None else f"0 to {size - 1}"
    raise LikelyError(f"variable '{name}' has no value {value!r}; it has {known}.")
