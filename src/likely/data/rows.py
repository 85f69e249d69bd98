"""From the rows that a reader found to a data set: the split, then the view."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from likely.data.blocks import BLOCK, LARGE, Blocks, Every
from likely.data.parts import Data, Mapped, Part, _pick
from likely.errors import AlreadySplit, DataError
from likely.spaces import Binary, Finite, Ragged, Real, Sequence, Space

PARTS = ("train", "valid", "test")


@dataclass
class Rows:
    """What a reader found, before it is split.

    Arguments:
        x: the values, (N, *shape): a tensor, `Ragged`, or `Mapped` where they stay on disk.
        space: what one x is, as it lies in the file.
        cond: labels (N,), captions (`Ragged`), or None.
        cond_space: their space.
        weight: how much each row counts, (N,), or None.
        classes: the class of each row, (N,), by which a random split is stratified, whether or not it is in `cond`: so
            models with and without condition are judged on the same rows. None where there is none.
        parts: the part of each row, (N,) of "train", "valid" and "test", where the files say it.
        note: what a reader of a number must know.
    """

    x: Any
    space: Space
    cond: Any = None
    cond_space: Space | None = None
    weight: Tensor | None = None
    classes: np.ndarray | None = None
    parts: np.ndarray | None = None
    note: list[str] = field(default_factory=list)

    def take(self, rows: np.ndarray | Blocks | Every) -> Part:
        """Return these rows as a part."""
        bare = self.cond is None and self.weight is None
        if bare and isinstance(self.x, Mapped) and not isinstance(rows, np.ndarray):
            return Part(self.x.take(rows))  # nothing as long as the data is made
        rows = np.ascontiguousarray(rows[:], dtype=np.int64)
        index = torch.from_numpy(rows)
        return Part(
            self.x.take(rows) if isinstance(self.x, Mapped) else _pick(self.x, index),
            Ragged(self.cond.values[index], self.cond.lengths[index])
            if isinstance(self.cond, Ragged)
            else (None if self.cond is None else self.cond[index]),
            None if self.weight is None else self.weight[index],
            rows=index,
        )


def split_and_view(
    rows: Rows, name: str, *, view: str | None, seed: int, valid: float | None, test: float | None
) -> Data:
    """Return the data set that the rows make: split as the files say or at random, then seen through the view."""
    count = len(rows.x.lengths) if isinstance(rows.x, Ragged) else len(rows.x)
    cuts, how = split(count, rows.classes, rows.parts, seed=seed, valid=valid, test=test)
    parts = {part: rows.take(cut) for part, cut in cuts.items()}
    notes = [*rows.note, how]
    return seen(name, parts, rows.space, rows.cond_space, notes, view=view, seed=seed)


def split(
    n: int,
    labels: np.ndarray | None,
    given: np.ndarray | None = None,
    *,
    seed: int,
    valid: float | None = None,
    test: float | None = None,
) -> tuple[dict[str, Any], str]:
    """Return part -> row numbers, and a sentence on how the rows were split.

    Above `LARGE` rows without classes the numbers are computed, not stored: see `likely.data.blocks`.

    Arguments:
        n: how many rows there are.
        labels: the class of each row, (n,), to keep the classes' shares in each part; or None.
        given: the part of each row where the files say it; a part that no row has is drawn from `train`.
        seed: the same seed gives the same split.
        valid, test: the fractions held out, 0.1 where None.

    Raises:
        DataError: the fractions are not of [0, 1) or leave no training rows, or there are too few rows.
    """
    generator = np.random.default_rng(seed)
    shares = {"valid": 0.1 if valid is None else valid, "test": 0.1 if test is None else test}
    if not all(isinstance(s, (int, float)) and 0 <= s < 1 for s in shares.values()) or sum(shares.values()) >= 1:
        raise DataError(f"valid={valid} and test={test} must be fractions that leave rows for training.")
    if n > LARGE and labels is None and given is None:
        return _computed(n, shares["valid"], shares["test"], seed)
    fixed: dict[str, np.ndarray] = {}
    if given is not None:
        fixed = {part: np.flatnonzero(given == part) for part in PARTS if (given == part).any()}
        for part, option in (("valid", valid), ("test", test)):
            if part in fixed and option is not None:
                raise AlreadySplit(f"the folder '{part}' already holds that part; leave out {part}={option}.")
    pool = fixed.pop("train", np.arange(n))
    drawn = {part: share for part, share in shares.items() if part not in fixed and share > 0}
    if not fixed and not drawn:
        return {"train": pool, "valid": pool[:0], "test": pool[:0]}, "not split: all rows are in train"
    if len(pool) <= len(drawn):
        raise DataError(
            f"{len(pool)} row{' is' if len(pool) == 1 else 's are'} too few to hold out {' and '.join(drawn)}; give "
            "more (or, from Python, valid=0 and test=0)."
        )
    order = _stratified(pool, labels, generator)
    parts = {part: generator.permutation(rows) for part, rows in fixed.items()}
    for part in ("test", "valid"):
        if part in drawn:
            count = max(1, round(len(pool) * drawn[part]))
            parts[part], order = order[:count], order[count:]
        elif part not in parts:
            parts[part] = pool[:0]
    if not len(order):
        raise DataError(f"valid={valid} and test={test} leave none of {len(pool)} rows for training.")
    parts["train"] = order
    parts = {part: generator.permutation(parts[part]) for part in PARTS}
    stratified = " within each class" if labels is not None else ""
    how = f"rows shuffled by seed {seed}"
    if fixed:
        how = f"{' and '.join(fixed)} as the folders say, {how}"
    if drawn:
        how = f"{' and '.join(drawn)} held out at random{stratified}, {how}"
    return parts, how


def _computed(n: int, valid: float, test: float, seed: int) -> tuple[dict[str, Any], str]:
    """Return the split of very many rows."""
    none = np.empty(0, dtype=np.int64)
    if not valid and not test:
        return {"train": Every(n), "valid": none, "test": none}, "not split: all rows are in train"
    cuts = {"train": (valid + test, 1.0), "valid": (test, valid + test), "test": (0.0, test)}
    parts = {part: Blocks(n, low, high, seed) if high > low else none for part, (low, high) in cuts.items()}
    held = " and ".join(part for part in ("valid", "test") if len(parts[part]))
    return parts, f"{held} held out at random within each {BLOCK} rows by seed {seed}"


def _stratified(rows: np.ndarray, labels: np.ndarray | None, generator: np.random.Generator) -> np.ndarray:
    """Return the rows in a random order of which every run at the start has the classes in their shares.

    Row i of a class of m rows gets the place (i + 1/2) / m; so the only row of a rare class comes in the middle, which
    is training data.
    """
    order = generator.permutation(rows)
    if labels is None:
        return order
    place = np.empty(len(order))
    for label in np.unique(labels[order]):
        here = np.flatnonzero(labels[order] == label)
        place[here] = (np.arange(len(here)) + 0.5) / len(here)
    return order[np.argsort(place, kind="stable")]


def seen(
    name: str,
    parts: dict[str, Part],
    space: Space,
    cond_space: Space | None,
    notes: list[str],
    *,
    view: str | None,
    seed: int,
) -> Data:
    """Return the data set seen through a view; None takes what the values are.

    Raises:
        DataError: these data cannot be seen so.
    """
    if isinstance(space, Sequence):
        from likely.data.sequences import seen_steps

        view, space = seen_steps(name, parts, space, view)
        note = "; ".join(n for n in notes if n)
        return Data(name, view, space, parts["train"], parts["valid"], parts["test"], cond=cond_space, note=note)
    own = "reals" if isinstance(space, Real) else "fixed" if isinstance(space, Binary) else "bytes"
    own = "levels" if isinstance(space, Finite) and space.values is not None else own
    possible = {"reals": ("reals",), "fixed": ("fixed", "reals"), "bytes": ("bytes", "reals", "threshold", "dynamic")}
    possible["levels"] = ("levels",)
    view = own if view is None else view
    if view not in possible[own]:
        hint = " ('binarized-mnist' is the fixed binarization of MNIST)" if view == "fixed" and "mnist" in name else ""
        raise DataError(f"{name} is {space}: view '{view}' does not apply; take {' or '.join(possible[own])}{hint}.")
    if view != own and isinstance(space, Finite):
        half, top = space.levels // 2, space.levels - 1
        if view == "threshold":
            _change(parts, lambda x: (x >= half).to(torch.uint8))
            notes = [*notes, f"a bit is 1 where x >= {half}"]
        elif view == "dynamic":
            generator = torch.Generator().manual_seed(seed)
            for part in ("valid", "test"):
                levels = torch.as_tensor(parts[part].x[:])
                drawn = torch.rand(levels.shape, generator=generator) * top < levels
                parts[part].x = drawn.to(torch.uint8)
            parts["train"].dynamic = top
            rule = f"training bits drawn anew at every visit, P(1) = x / {top}"
            notes = [*notes, f"{rule}; valid and test bits drawn once by seed {seed}"]
    if view == "reals" and view != own:
        _change(parts, lambda x: x.to(torch.float32))
        space = Real(space.shape, names=space.names)
    elif view in ("threshold", "dynamic"):
        space = Binary(space.shape, names=space.names)
    note = "; ".join(n for n in notes if n)
    return Data(name, view, space, parts["train"], parts["valid"], parts["test"], cond=cond_space, note=note)


def _change(parts: dict[str, Part], change: Callable[[Tensor], Tensor]) -> None:
    for part in parts.values():
        part.x = part.x.then(change) if isinstance(part.x, Mapped) else change(part.x)
