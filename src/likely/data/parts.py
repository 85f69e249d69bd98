"""A data set: three parts, each an array of values and, where there are any, conditions and weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from likely.spaces import Ragged, Space, batches


class Mapped:
    """Rows of an array that stays on disk; indexing reads them and returns a numpy array.

    Arguments:
        array: the memory-mapped array, (N, ...).
        change: turns rows as they lie on disk into values of the space.
        rows: which rows, (M,), in any order; None for all.
    """

    def __init__(
        self, array: np.ndarray, change: Callable[[np.ndarray], np.ndarray], rows: np.ndarray | None = None
    ) -> None:
        self.array = array
        self.change = change
        self.rows = np.arange(len(array)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> np.ndarray:
        wanted = np.atleast_1d(self.rows[key])
        order = wanted.argsort()  # disks like ascending order
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        values = self.change(np.asarray(self.array[wanted[order]]))[back]
        return values[0] if np.ndim(self.rows[key]) == 0 else values

    def take(self, rows: np.ndarray) -> Mapped:
        """Return the same array with only these of its rows."""
        return Mapped(self.array, self.change, self.rows[rows])

    def then(self, change: Callable[[Tensor], Tensor]) -> Mapped:
        """Return the same rows with one more change."""
        return Mapped(self.array, lambda a: change(torch.from_numpy(self.change(a))).numpy(), self.rows)


@dataclass
class Part:
    """One part (train, valid or test) of a data set.

    Arguments:
        x: the values, (N, *shape): a tensor, an array on disk that is larger than memory, or `Ragged`.
        cond: what is given for each row, (N, ...), or None.
        weight: how much each row counts, (N,), or None.
        dynamic: None; or the highest level of x, where every visit draws bits anew, P(bit = 1) = x / dynamic.
        rows: the number that each row has in the file or published set, (N,), from 0; or None.
    """

    x: Any
    cond: Any = None
    weight: Tensor | None = None
    dynamic: int | None = None
    rows: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x[1]) if isinstance(self.x, Ragged) else len(self.x)

    def batch(self, rows: Tensor | slice) -> tuple[Any, Any]:
        """Return x and cond of these rows as tensors; dynamic bits are drawn from the global random stream."""
        x = _pick(self.x, rows)
        if self.dynamic is not None:
            x = (torch.rand(x.shape) * self.dynamic < x).to(torch.uint8)
        return x, _pick(self.cond, rows)

    def head(self, n: int) -> Part:
        """Return the first n rows."""
        cut = slice(0, n)
        first = {name: _cut(getattr(self, name), cut) for name in ("x", "cond", "weight", "rows")}
        return replace(self, **first)


def _cut(values: Any, rows: slice) -> Any:
    if values is None:
        return None
    if isinstance(values, Mapped):
        return values.take(np.arange(len(values))[rows])
    return Ragged(values.values[rows], values.lengths[rows]) if isinstance(values, Ragged) else values[rows]


def _pick(values: Any, rows: Tensor | slice) -> Any:
    """Return these rows as a tensor; rows of a memory-mapped array are read from disk in ascending order."""
    if values is None or isinstance(values, Tensor):
        if values is None or isinstance(rows, slice):
            return None if values is None else values[rows]
        return values.index_select(0, rows)  # several times faster than values[rows], which a short step feels
    if isinstance(values, Ragged):
        return Ragged(values.values[rows], values.lengths[rows])
    if isinstance(rows, slice):
        return torch.from_numpy(np.array(values[rows]))
    order = rows.argsort()
    picked = torch.from_numpy(np.array(values[rows[order].numpy()]))
    return torch.empty_like(picked).index_copy_(0, order, picked)


@dataclass(repr=False)
class Data:
    """A data set: its parts, its space, and what a number measured on it must say.

    Arguments:
        name: the data set's name (`mnist`), or the own file's or folder's.
        view: how the values are looked at (`bytes`, `reals`, `fixed`, `dynamic`, `threshold`); likelihoods compare only
            within one view.
        space: what one x is.
        cond: the space of labels or captions, or None. Captions are UTF-8 bytes: `Sequence` of `Finite((), 256)`.
        train, valid, test: the parts. Validation data choose; test data are touched once.
        note: what a reader of a number must know (binarization rule, seed of the split).
        source: plain values from which `load(**source)` gives the same data again (name or path, view, size, ...).
        true_log_prob: the exact log-density the data were drawn from, where it is known (toys): x (B, *shape) -> (B,).
    """

    name: str
    view: str
    space: Space
    train: Part
    valid: Part
    test: Part
    cond: Space | None = None
    note: str = ""
    source: dict[str, Any] = field(default_factory=dict)
    true_log_prob: Any = None

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(part):,}" for name, part in self.parts.items())
        return f"Data({self.name!r}, view={self.view!r}, {self.space}, cond={self.cond}, {sizes})"

    @property
    def parts(self) -> dict[str, Part]:
        """The three parts by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all values, conditions and weights with their spaces: equal for equal data on any machine."""
        digest = hashlib.sha256()
        spaces = [None if s is None else s.to_json() for s in (self.space, self.cond)]
        digest.update(json.dumps([self.view, spaces]).encode())
        for name, part in self.parts.items():
            digest.update(f"{name} {len(part)} {part.dynamic}".encode())
            for values in (part.x, part.cond, part.weight):
                for array in chunks(values):
                    digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def chunks(values: Any, rows: int = 4096) -> Iterator[np.ndarray]:
    """Yield the values of a part as numpy arrays, a few rows at a time where they are on disk; nothing for None."""
    if isinstance(values, Ragged):
        yield values.lengths.numpy()
        yield values.values.numpy()
    elif isinstance(values, Tensor):
        yield values.numpy()
    elif values is not None:
        for cut in batches(len(values), rows):
            yield np.asarray(values[cut])
