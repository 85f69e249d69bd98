"""What one x is: real numbers, bits, finitely many levels, or a sequence of these.

A space declares the shape of one datum and the values its entries may take. Models take and return values *of the
space*: bytes stay bytes and measurements stay in their units, so a sample can be shown as it is and every score is in
nats per datum of the data's own units. A small discrete space can be enumerated, which is what makes brute-force tests
of every discrete model possible.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from likely.errors import SpaceError

ENUMERABLE = 2**16  #: the largest number of points that `enumerate` lists


@dataclass(frozen=True)
class Space(ABC):
    """The set one datum x is drawn from: the product over `shape` of one set of values.

    Arguments:
        shape: the shape of one datum, without the batch; () for a single value.
        names: a name per entry, in raster order (the columns of a table), or None.
    """

    shape: tuple[int, ...] = ()
    names: tuple[str, ...] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        shape = tuple(int(s) for s in self.shape)
        if any(s < 1 for s in shape):
            raise SpaceError(f"a space needs a shape of positive integers, not {self.shape}.")
        object.__setattr__(self, "shape", shape)
        if self.names is not None:
            object.__setattr__(self, "names", tuple(str(n) for n in self.names))
            if len(self.names) != self.size:
                raise SpaceError(f"{len(self.names)} names for {self.size} entries of shape {shape}.")

    @property
    def size(self) -> int:
        """How many numbers one datum holds: the product of `shape`."""
        return math.prod(self.shape)

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """The type of a batch of values."""

    @property
    def points(self) -> int | None:
        """How many points the space has; None for infinitely many."""
        return None

    @abstractmethod
    def _entries_ok(self, x: Tensor) -> Tensor:
        """True for each entry of x that has an allowed value, shape of x."""

    def _surely_ok(self, x: Tensor) -> bool:
        """Whether a quick look already shows that all entries are allowed."""
        return False

    @abstractmethod
    def _values(self) -> str:
        """What an entry may be, in words, for error messages."""

    @abstractmethod
    def random(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n arbitrary points, (n, *shape): uniform where the space is finite, standard normal for reals."""

    def contains(self, x: Tensor) -> bool:
        """Whether every row of the batch x, (B, *shape), is a point of the space."""
        right = x.dim() >= 1 and tuple(x.shape[1:]) == self.shape and not x.is_complex()
        return right and bool(self._entries_ok(x).all())

    def check(self, x: Any, what: str = "x", *, missing: bool = False) -> Tensor:
        """Return x as a batch of this space, (B, *shape) in the space's dtype, or raise one clear line.

        Arguments:
            x: a tensor, array or nested list, (B, *shape).
            what: the name of the argument, for the message.
            missing: whether NaN may stand for a missing entry (real spaces only).

        Raises:
            SpaceError: the shape or a value is not of this space; the message names the first bad row.
        """
        _check_whole(x, what)
        try:
            x = torch.as_tensor(x)
        except (TypeError, ValueError, RuntimeError) as error:
            raise SpaceError(f"{what} cannot be read as an array of numbers ({error}); expected {self}.") from None
        if x.dim() == 0 or tuple(x.shape[1:]) != self.shape:
            raise SpaceError(
                f"{what} has shape {tuple(x.shape)}, expected (B, {', '.join(map(str, self.shape))}) for {self}."
                if self.shape
                else f"{what} has shape {tuple(x.shape)}, expected (B,) for {self}."
            )
        if x.is_complex():
            raise SpaceError(f"{what} is complex; expected {self}.")
        if x.dtype in (torch.uint16, torch.uint32, torch.uint64):  # torch can keep these, and hardly compare them
            x = x.double() if x.dtype is torch.uint64 else x.long()
        if self._surely_ok(x):
            return self._cast(x)
        ok = self._entries_ok(x)
        if missing and x.is_floating_point():
            ok = ok | x.isnan()
        if not bool(ok.all()):
            row = int((~ok).flatten(1).any(1).nonzero()[0, 0]) if ok.dim() > 1 else int((~ok).nonzero()[0, 0])
            value = x[row][~ok[row]].flatten()[0].item()
            help = "; is it missing? See `likely models --can log_marginal`" if value != value else ""
            if help and not isinstance(self, Real):
                help += ", or take view='reals'"
            raise SpaceError(f"{what} has the value {value:g} in row {row}; expected {self._values()} ({self}){help}.")
        return self._cast(x)

    def _cast(self, x: Tensor) -> Tensor:
        return x.to(self.dtype)

    def enumerate(self) -> Tensor:
        """List every point, (points, *shape), the last entry changing fastest.

        Raises:
            SpaceError: the space is infinite or has more than `ENUMERABLE` points.
        """
        raise SpaceError(f"{self} has infinitely many points and cannot be enumerated.")

    def to_json(self) -> dict[str, Any]:
        """Return plain values from which `from_json` builds the same space."""
        out: dict[str, Any] = {"kind": type(self).__name__}
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None:
                out[item.name] = value.to_json() if isinstance(value, Space) else value
        return out


def _check_whole(x: Any, what: str) -> None:
    """Raise for an array that does not hold all of its values: torch would take a masked one without its mask."""
    if isinstance(x, Tensor) and x.layout is not torch.strided:
        raise SpaceError(f"{what} is sparse; give {what}.to_dense().")
    if hasattr(x, "mask") and hasattr(x, "filled"):
        raise SpaceError(f"{what} is a masked array, whose mask says what is missing; give NaN there, or known=.")


def from_json(record: dict[str, Any]) -> Space:
    """Build the space that `Space.to_json` described."""
    record = dict(record)
    kind = record.pop("kind", None)
    if kind not in KINDS:
        raise SpaceError(f"unknown kind of space {kind!r}; known: {', '.join(KINDS)}.")
    if "step" in record:
        record["step"] = from_json(record["step"])
    return KINDS[kind](**{k: tuple(v) if isinstance(v, list) else v for k, v in record.items()})


@dataclass(frozen=True)
class Real(Space):
    """Real numbers: float32, or float64 where the data are. NaN stands for a missing entry where a model allows it."""

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    def _cast(self, x: Tensor) -> Tensor:
        return x if x.dtype == torch.float64 else x.to(torch.float32)

    def _entries_ok(self, x: Tensor) -> Tensor:
        return torch.isfinite(x)

    def _surely_ok(self, x: Tensor) -> bool:
        # NaN and infinity stay in a sum, which takes a tenth of the time of looking at each number
        return math.isfinite(float(x.detach().sum()))

    def _values(self) -> str:
        return "finite real numbers"

    def random(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.randn((n, *self.shape), generator=generator)

    def __str__(self) -> str:
        return f"Real{self.shape}"


class _Discrete(Space):
    """What spaces of finitely many levels share."""

    levels: int

    @property
    def dtype(self) -> torch.dtype:
        return torch.uint8 if self.levels <= 256 else torch.int64

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many levels each entry has, in raster order."""
        values = getattr(self, "values", None)
        return (self.levels,) * self.size if values is None else tuple(map(len, values))

    @property
    def uneven(self) -> bool:
        """Whether some entries have fewer levels than others."""
        return getattr(self, "values", None) is not None and min(self.sizes) < self.levels

    @property
    def points(self) -> int:
        return math.prod(self.sizes)

    def _entries_ok(self, x: Tensor) -> Tensor:
        if self.uneven:
            top = torch.tensor(self.sizes, device=x.device).reshape(self.shape)
            return (x >= 0) & (x < top) & (not x.is_floating_point() or x == x.floor())
        if x.is_floating_point():
            return (x >= 0) & (x < self.levels) & (x == x.floor())
        if x.dtype == torch.uint8 and self.levels >= 256:
            return torch.ones_like(x, dtype=torch.bool)
        if x.dtype == torch.bool:
            return torch.ones_like(x)
        return (x >= 0) & (x < self.levels)

    def _values(self) -> str:
        if self.uneven:
            return "whole numbers below how many levels the entry has"
        return "0 or 1" if self.levels == 2 else f"whole numbers 0 to {self.levels - 1}"

    def random(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        if self.uneven:
            share = torch.rand((n, self.size), generator=generator, dtype=torch.float64)
            return (share * torch.tensor(self.sizes)).reshape(n, *self.shape).to(self.dtype)
        return torch.randint(self.levels, (n, *self.shape), generator=generator).to(self.dtype)

    def enumerate(self) -> Tensor:
        if self.points > ENUMERABLE:
            raise SpaceError(f"{self} has {self.points} points; only up to {ENUMERABLE} can be enumerated.")
        rows = list(itertools.product(*map(range, self.sizes)))
        return torch.tensor(rows).reshape(-1, *self.shape).to(self.dtype)


@dataclass(frozen=True)
class Binary(_Discrete):
    """Bits: every entry is 0 or 1."""

    @property
    def levels(self) -> int:  # type: ignore[override]
        return 2

    def __str__(self) -> str:
        return f"Binary{self.shape}"


@dataclass(frozen=True)
class Finite(_Discrete):
    """Finitely many levels: bytes of an image, tokens of a text, cells of a table, the class of a picture.

    Arguments:
        levels: how many values an entry may take; they are 0 to levels - 1.
        categories: a name per level (class names), or None.
        ordered: whether neighbouring levels are near in meaning (brightness: yes; classes: no).
        values: for each entry, in raster order, what its own levels are called (the columns of a table): it has as many
            levels as names, at most `levels`. None: every entry has all levels.
    """

    levels: int = 256
    categories: tuple[str, ...] | None = None
    ordered: bool = True
    values: tuple[tuple[str, ...], ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.levels < 1:
            raise SpaceError(f"a finite space needs at least one level, not {self.levels}.")
        if self.categories is not None and len(self.categories) != self.levels:
            raise SpaceError(f"{len(self.categories)} category names for {self.levels} levels.")
        if self.values is not None:
            object.__setattr__(self, "values", tuple(tuple(str(v) for v in each) for each in self.values))
            if len(self.values) != self.size or not all(1 <= size <= self.levels for size in self.sizes):
                raise SpaceError(f"values must name 1 to {self.levels} levels for each of {self.size} entries.")

    def __str__(self) -> str:
        return f"Finite({self.shape}, {'up to ' * self.uneven}{self.levels})"


class Ragged(NamedTuple):
    """A batch of sequences of different lengths.

    `values` is (B, longest, *step.shape), padded with zeros; `lengths` is (B,).
    """

    values: Tensor
    lengths: Tensor


@dataclass(frozen=True)
class Sequence(Space):
    """Sequences of up to `length` steps, each a point of the space `step`; a batch travels as `Ragged`.

    Arguments:
        step: the space of one step.
        length: the longest length allowed.
    """

    step: Space = Real()
    length: int = 1

    @property
    def size(self) -> int:
        return self.length * self.step.size

    @property
    def dtype(self) -> torch.dtype:
        return self.step.dtype

    @property
    def points(self) -> int | None:
        """How many sequences of 0 to `length` steps there are; None for infinitely many."""
        each = self.step.points
        if each is None:
            return None
        return self.length + 1 if each == 1 else int((each ** (self.length + 1) - 1) // (each - 1))

    def _cast(self, x: Tensor) -> Tensor:
        return self.step._cast(x)

    def enumerate(self) -> Any:
        """List every sequence as `Ragged`, the shortest first, the last step changing fastest."""
        if self.points is None:
            return super().enumerate()
        if self.points > ENUMERABLE:
            raise SpaceError(f"{self} has more than {ENUMERABLE} points; it cannot be enumerated.")
        each = self.step.enumerate()
        parts = [
            each[torch.cartesian_prod(*[torch.arange(len(each))] * n).reshape(-1, n)] for n in range(1, self.length + 1)
        ]
        return ragged([each[:0], *(sequence for part in parts for sequence in part)])

    def _entries_ok(self, x: Tensor) -> Tensor:
        return self.step._entries_ok(x)

    def _values(self) -> str:
        return self.step._values()

    def contains(self, x: Any) -> bool:
        try:
            self.check(x)
        except SpaceError:
            return False
        return True

    def check(self, x: Any, what: str = "x", *, missing: bool = False) -> Any:
        """Return x as `Ragged`; a plain tensor (B, T, *step.shape) counts as B sequences of full length T.

        A list of sequences of different lengths, each (T, *step.shape), is taken too; where steps are symbols, so are
        texts, "abba", and lists of symbols.
        """
        if isinstance(x, (list, tuple)) and not isinstance(x, Ragged):
            x = ragged([self._spelt(one, what) for one in x])
        if not isinstance(x, Ragged):
            _check_whole(x, what)
            try:
                x = torch.as_tensor(x)
            except (TypeError, ValueError, RuntimeError) as error:
                raise SpaceError(
                    f"{what} cannot be read as sequences ({error}); give a list of arrays, one for each."
                ) from None
            if x.dim() < 2:
                raise SpaceError(f"{what} has shape {tuple(x.shape)}, expected (B, T, ...) for {self}.")
            x = Ragged(x, torch.full((len(x),), x.shape[1]))
        if len(x.values) != len(x.lengths):
            raise SpaceError(f"{what} has {len(x.values)} sequences and {len(x.lengths)} lengths.")
        longest = int(x.lengths.max()) if len(x.lengths) else 0
        if longest > min(self.length, x.values.shape[1]) or (len(x.lengths) and int(x.lengths.min()) < 0):
            raise SpaceError(f"{what} has a length of {longest} steps; {self} allows 0 to {self.length}.")
        steps = self.step.check(x.values.flatten(0, 1), f"a step of {what}", missing=missing)
        return Ragged(steps.reshape(x.values.shape), x.lengths.to(torch.int64))

    def _spelt(self, sequence: Any, what: str) -> Any:
        """Return a text, or a list of symbols, as the levels that these are called by; anything else as it is."""
        spelt = isinstance(sequence, str) or (
            isinstance(sequence, (list, tuple)) and len(sequence) and all(isinstance(one, str) for one in sequence)
        )
        if not spelt:
            return sequence
        known = getattr(self.step, "categories", None)
        if known is None:
            raise SpaceError(
                f"{what} has the text {str(sequence)[:40]!r}, and the steps of {self} have no names: give numbers."
            )
        strange = next((symbol for symbol in sequence if symbol not in known), None)
        if strange is not None:
            raise SpaceError(f"{what} has the symbol {strange!r}; known are {', '.join(known[:20])}.")
        return [known.index(symbol) for symbol in sequence]

    def random(self, n: int, generator: torch.Generator | None = None) -> Any:
        lengths = torch.randint(1, self.length + 1, (n,), generator=generator)
        values = self.step.random(n * self.length, generator).reshape(n, self.length, *self.step.shape)
        padding = torch.arange(self.length) >= lengths[:, None]
        values[padding] = 0
        return Ragged(values, lengths)

    def __str__(self) -> str:
        return f"Sequence({self.step}, length={self.length})"


def ragged(sequences: Any, lengths: Any = None) -> Ragged:
    """Return sequences of different lengths as one batch, padded with zeros.

    Arguments:
        sequences: a list of arrays, (T, *step.shape) each; or, with lengths, one array that holds all, end to end.
        lengths: how many steps each sequence of that array has.

    Raises:
        SpaceError: the lengths do not add up, or the steps of two sequences differ in shape.

    Example:
        >>> ragged([[1, 2, 3], [4]]).values.tolist()
        [[1, 2, 3], [4, 0, 0]]
        >>> ragged([1, 2, 3, 4], lengths=[3, 1]).lengths.tolist()
        [3, 1]
    """
    if lengths is not None:
        steps, many = torch.as_tensor(sequences), [int(n) for n in lengths]
        if min(many, default=0) < 0 or sum(many) != len(steps):
            raise SpaceError(f"the lengths must be 0 or more and add up to {len(steps)} steps, not to {sum(many)}.")
        sequences = steps.split(many)
    try:
        parts = [torch.as_tensor(one) for one in sequences]
    except (TypeError, ValueError, RuntimeError) as error:
        raise SpaceError(f"a sequence cannot be read as an array of numbers ({error}).") from None
    shapes = {tuple(part.shape[1:]) if part.dim() else None for part in parts if part.dim() != 1 or len(part)}
    if None in shapes or len(shapes) > 1:
        raise SpaceError(f"sequences must have steps of one shape; these have {sorted(map(str, shapes))}.")
    shape = next(iter(shapes), ())
    count = torch.tensor([len(part) for part in parts], dtype=torch.int64)
    full = [part for part in parts if len(part)]
    dtype = full[0].dtype if full else torch.get_default_dtype()
    for part in full[1:]:
        dtype = torch.promote_types(dtype, part.dtype)
    longest = int(count.max()) if len(parts) else 0
    values = torch.zeros(len(parts), longest, *shape, dtype=dtype)
    for row, part in zip(values, parts, strict=True):
        row[: len(part)] = part.reshape(len(part), *shape)
    return Ragged(values, count)


def holds_reals(space: Space) -> bool:
    """Whether the entries are reals, among which NaN can stand for a missing one; for sequences, those of a step."""
    return isinstance(space.step if isinstance(space, Sequence) else space, Real)


def accept(space: Space, *kinds: type[Space], model: str, uneven: bool = False) -> None:
    """Raise one clear line unless the space is one of the kinds that a model takes.

    Arguments:
        space: what the data are.
        kinds: what the model takes.
        model: its name.
        uneven: whether it takes entries of which each has its own number of levels.

    Raises:
        SpaceError: the message names the model, the space, what is taken, and which view of the data helps.
    """
    if not isinstance(space, kinds):
        taken = " or ".join(kind.__name__ for kind in kinds)
        help = (
            ": load the data with view='threshold' or 'dynamic'"
            if kinds == (Binary,) and not isinstance(space, Sequence)
            else ""
        )
        raise SpaceError(f"model '{model}' takes {taken}, not {space}{help}.")
    if isinstance(space, Finite) and space.uneven and not uneven:
        raise SpaceError(
            f"model '{model}' takes entries that have equally many levels, not {space}; take table, bernoulli, markov "
            "or chow_liu."
        )


def batches(n: int, rows: int) -> Iterator[slice]:
    """Yield slices that cut n rows into runs of at most `rows`."""
    for start in range(0, n, rows):
        yield slice(start, min(start + rows, n))


KINDS: dict[str, type[Space]] = {kind.__name__: kind for kind in (Real, Binary, Finite, Sequence)}
