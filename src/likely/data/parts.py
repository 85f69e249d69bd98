"""A data set: three parts, each an array of values and, where there are any, conditions and weights."""

from __future__ import annotations

import hashlib
import json
import math
import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from likely.data.blocks import LARGE, Blocks, Every
from likely.parts.counting import counts_of
from likely.spaces import Ragged, Space, batches

SOME = 4096  #: rows that are looked at together
DENSE = 4  #: rows that lie within so many times their number are read in one run


class Mapped:
    """Rows of an array that stays on disk; indexing reads them and returns a numpy array.

    Arguments:
        array: the memory-mapped array, (N, ...), or what reads rows from files as one does.
        change: turns rows as they lie on disk into values of the space.
        rows: which rows, (M,), in any order; None for all.
        complete: whether it is known that no value is NaN.
    """

    def __init__(
        self,
        array: Any,
        change: Callable[[np.ndarray], np.ndarray],
        rows: np.ndarray | Blocks | Every | None = None,
        complete: bool = False,
    ) -> None:
        self.array = array
        self.change = change
        self.rows = Every(len(array)) if rows is None else rows
        self.complete = complete

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> np.ndarray:
        picked = self.rows[key]
        wanted = np.atleast_1d(picked)
        order = wanted.argsort()  # disks like ascending order
        found: np.ndarray | None = None
        for cut in batches(len(order), at_once(self.array)) if len(order) else [slice(0, 0)]:
            values = self.change(read(self.array, wanted[order[cut]]))
            if found is None:
                found = np.empty((len(wanted), *values.shape[1:]), values.dtype)
            found[order[cut]] = values
        assert found is not None
        return found[0] if np.ndim(picked) == 0 else found

    def in_order(self, cut: slice) -> Tensor:
        """Return which rows (as for indexing) stand in this run of the order of the file."""
        if isinstance(self.rows, np.ndarray):
            return torch.from_numpy(self._order[cut])
        return torch.from_numpy(self.rows.positions(cut))

    def ascending(self) -> Iterator[Tensor]:
        """Yield runs of rows, (as for indexing), that together are all, each row before those after it in the file."""
        whole = SOME
        if isinstance(self.rows, Blocks):  # rows of a block have no order: runs of whole blocks are sorted
            whole = max(1, SOME // max(1, self.rows.each)) * max(1, self.rows.each)
        for cut in batches(len(self), whole):
            run = self.in_order(cut)
            yield run[torch.from_numpy(self.rows[run.numpy()].argsort())]

    @cached_property
    def _order(self) -> np.ndarray:
        assert isinstance(self.rows, np.ndarray)
        return self.rows.argsort(kind="stable")

    def take(self, rows: np.ndarray | Blocks | Every) -> Mapped:
        """Return the same array with only these of its rows; numbers that are computed are those of the file."""
        chosen = self.rows[rows] if isinstance(rows, np.ndarray) else rows
        return Mapped(self.array, self.change, chosen, self.complete)

    def then(self, change: Callable[[Tensor], Tensor]) -> Mapped:
        """Return the same rows with one more change."""
        changed = lambda a: change(torch.from_numpy(self.change(a))).numpy()  # noqa: E731
        return Mapped(self.array, changed, self.rows, self.complete)


def read(array: Any, rows: np.ndarray) -> np.ndarray:
    """Return these rows, in ascending order, of an array that may lie on disk.

    What is read through a map counts as memory until the map is gone, and costs a fault a page: so runs of rows are
    read from the file, and scattered ones through a map made for them.
    """
    if not (isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap) and len(rows)):
        return np.asarray(array[rows])
    low, span = int(rows[0]), int(rows[-1]) + 1 - int(rows[0])
    if array.flags.c_contiguous and span <= DENSE * len(rows):
        each = array[:1].nbytes
        place = array.offset + low * each
        run = np.fromfile(array.filename, array.dtype, span * math.prod(array.shape[1:]), offset=place)
        run = run.reshape(span, *array.shape[1:])
        return run if span == len(rows) else run[rows - low]
    order: Any = "F" if array.flags.fnc else "C"
    fresh = np.memmap(array.filename, array.dtype, "r", array.offset, array.shape, order)
    return np.asarray(fresh[rows])


def at_once(array: Any) -> int:
    """Return how many rows of an array on disk are read together: 16 MB, or pages of 64 KB around scattered rows."""
    each = array[:1].nbytes if isinstance(array, np.ndarray) else 2**16
    return max(1, min(1024, 2**24 // max(1, each)))


@dataclass
class Part:
    """One part (train, valid or test) of a data set.

    Arguments:
        x: the values, (N, *shape): a tensor, an array on disk that is larger than memory, or `Ragged`.
        cond: what is given for each row, (N, ...), or None.
        weight: how much each row counts, (N,), 0 or more; or None.
        dynamic: None; or the highest level of x, where every visit draws bits anew, P(bit = 1) = x / dynamic.
        rows: the number that each row has in the file or published set, (N,), from 0; or None.

    Raises:
        SpaceError: a weight is no number that a row can count.
    """

    x: Any
    cond: Any = None
    weight: Tensor | None = None
    dynamic: int | None = None
    rows: Tensor | None = None

    def __post_init__(self) -> None:
        if isinstance(self.x, Tensor):  # rows that lie apart in memory take a hundred times as long to pick
            self.x = self.x.contiguous()
        if self.weight is not None:
            self.weight = counts_of(self.weight, len(self))

    def __len__(self) -> int:
        return len(self.x[1]) if isinstance(self.x, Ragged) else len(self.x)

    def batch(self, rows: Tensor | slice) -> tuple[Any, Any]:
        """Return x and cond of these rows as tensors; dynamic bits are drawn from the global random stream."""
        x = _pick(self.x, rows)
        if self.dynamic is not None:
            x = (torch.rand(x.shape) * self.dynamic < x).to(torch.uint8)
        return x, _pick(self.cond, rows)

    def sweep(self, rows: int) -> Iterator[slice | Tensor]:
        """Yield runs of at most so many rows that together are all: from a disk, in the order of the file."""
        for cut in batches(len(self), rows):
            yield self.x.in_order(cut) if isinstance(self.x, Mapped) else cut

    def head(self, n: int) -> Part:
        """Return the first n rows."""
        cut = slice(0, n)
        first = {name: _cut(getattr(self, name), cut) for name in ("x", "cond", "weight", "rows")}
        return replace(self, **first)


def _cut(values: Any, rows: slice) -> Any:
    if values is None:
        return None
    if isinstance(values, Mapped):
        return values.take(np.arange(*rows.indices(len(values))))
    return Ragged(values.values[rows], values.lengths[rows]) if isinstance(values, Ragged) else values[rows]


def _pick(values: Any, rows: Tensor | slice) -> Any:
    """Return these rows as a tensor; rows of a memory-mapped array are read from disk in ascending order."""
    if values is None or isinstance(values, Tensor):
        if values is None or isinstance(rows, slice):
            return None if values is None else values[rows]
        return values.index_select(0, rows)  # several times faster than values[rows], which a short step feels
    if isinstance(values, Ragged):
        return Ragged(values.values[rows], values.lengths[rows])
    if isinstance(values, Mapped):
        return torch.from_numpy(values[rows if isinstance(rows, slice) else rows.numpy()])
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
        large = sum(len(part) for part in self.parts.values()) > LARGE
        for name, part in self.parts.items():
            digest.update(f"{name} {len(part)} {part.dynamic}".encode())
            for values in (part.x, part.cond, part.weight):
                for array in _by_file(values, part) if large else chunks(values):
                    digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def _by_file(values: Any, part: Part) -> Iterator[np.ndarray]:
    """Yield the values of a part of many rows in the order of the file, which a disk reads many times faster."""
    if isinstance(part.x, Mapped):
        order: Any = part.x.ascending()
    elif isinstance(values, Tensor) and part.rows is not None:
        order = part.rows.argsort().split(SOME)
    else:
        yield from chunks(values)
        return
    if values is not None:
        yield from (_pick(values, rows).numpy() for rows in order)


def chunks(values: Any, rows: int = SOME) -> Iterator[np.ndarray]:
    """Yield the values of a part as numpy arrays, a few rows at a time where they are on disk; nothing for None."""
    if isinstance(values, Ragged):
        yield values.lengths.numpy()
        yield values.values.numpy()
    elif isinstance(values, Tensor):
        yield values.numpy()
    elif values is not None:
        for cut in batches(len(values), rows):
            yield np.asarray(values[cut])
