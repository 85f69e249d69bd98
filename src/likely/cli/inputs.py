"""What commands are given: a run, data to ask it about, a condition."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from cyclopts import Parameter

from likely.cli.answer import Misuse
from likely.errors import AlreadySplit, DataError, LikelyError, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from likely.data.parts import Data
    from likely.run import Run
    from likely.spaces import Space

Weights = Annotated[int, Parameter(name=["--k", "-k"])]  #: how many importance samples

PARTS = ("train", "valid", "test")


@Parameter(name="*")
@dataclass(frozen=True)
class Which:
    """Which data a run is asked about: flags that `score`, `complete` and `encode` share.

    Arguments:
        data: a name or a path; without it, the data of the run.
        view: how to look at the data; without it, as the run did.
        size: the side to which pictures are brought; without it, as the run did.
        part: train, valid, test or all; without it, test, or all rows of a file that --data names.
        number: how many rows, from the first; without it, all.
    """

    data: str | None = None
    view: str | None = None
    size: int | None = None
    part: str | None = None
    number: Annotated[int | None, Parameter(name=["--number", "-n"])] = None


class Rows(NamedTuple):
    """The data that a run is asked about.

    Arguments:
        x: the values, (B, *shape).
        cond: what the run's model is given, or None.
        labels: the labels or captions that the data have, or None.
        record: what a machine is to know of these data.
        n: how many rows there are.
    """

    x: Any
    cond: Any
    labels: Any
    record: dict[str, Any]
    n: int


def opened(name: str) -> Run:
    """Open a run folder; `latest` is the newest under ./runs.

    Raises:
        LikelyError: there is no such run.
    """
    from likely import run

    return run.open(name if name == "latest" else Path(name).expanduser())


def data_of(run: Run, name: str | None, view: str | None, size: int | None, *, whole: bool = False) -> Data:
    """Return the data to ask a run about, looked at as the run did; without a name the data of the run itself.

    Arguments:
        whole: whether rows of a file are all wanted, in the file's order, rather than split into parts; where files
            say which part a row belongs to, they stay split.

    Raises:
        LikelyError: there are no such data.
    """
    from likely import data

    if (name, view, size, whole) == (None, None, None, False):
        return run.data
    source = run.record["data"]["source"]
    name = name or source["name_or_path"]
    taken = ("colour", "cond", "seed", "size", "weight") if name not in data.names() else ("cond", "seed")
    if Path(name).suffix.lower() in (".csv", ".tsv", ".parquet"):
        taken = (*taken, "sequence")
    options = {key: source[key] for key in taken if key in source} | ({} if size is None else {"size": size})
    if options.get("cond") == "label":  # what labels are called there is for the file to say
        del options["cond"]
    options["view"] = view or run.record["data"]["view"]
    if whole and name not in data.names():
        with contextlib.suppress(AlreadySplit):
            return _aligned(run, data.load(name, **options, valid=0.0, test=0.0))
    return _aligned(run, data.load(name, **options))


def undivided(name: str, **options: Any) -> Data:
    """Return a set of data to compare with another, left on disk: all rows of a file in one part, if it says no parts.

    Raises:
        LikelyError: there are no such data.
    """
    from likely import data

    if name in data.names():
        return data.load(name, **options)
    try:
        return data.load(name, **options, valid=0.0, test=0.0, on_disk=True)
    except AlreadySplit:
        return data.load(name, **options, on_disk=True)


def _aligned(run: Run, data: Data) -> Data:
    """Return the data as the run's model knows them: columns in its order, classes by its numbers; both go by name.

    Raises:
        DataError: the data have other levels or columns; the model is conditional and they have no labels, or one
            that it does not know.
    """
    import torch

    from likely.data import NAMES
    from likely.data.sequences import like
    from likely.spaces import Finite

    model = run.model
    data = like(data, model.space)
    levels = [one.levels for one in (model.space, data.space) if isinstance(one, Finite)]
    if data.name in NAMES and len(set(levels)) == 2:  # a file's levels are only those that occur in it
        raise DataError(
            f"'{data.name}' has {levels[1]} levels and the run was fitted on {levels[0]}; scale one to match."
        )
    mine, theirs = model.space.names, data.space.names
    if mine and theirs and mine != theirs:
        if sorted(mine) != sorted(theirs):
            raise DataError(
                f"'{data.name}' has the columns {', '.join(theirs)}; the run was fitted on {', '.join(mine)}."
            )
        order = torch.tensor([theirs.index(name) for name in mine])
        ordered: dict[str, Any] = {name: replace(part, x=part.x[:, order]) for name, part in data.parts.items()}
        columns = replace(data.space, names=mine)
        if isinstance(columns, Finite) and columns.values is not None:
            columns = replace(columns, values=tuple(columns.values[i] for i in order.tolist()))
        data = replace(data, space=columns, **ordered)
    data = _releveled(model.space, data)
    space = model.cond_space
    if space is None or data.cond == space:
        return data
    if data.cond is None:
        raise DataError(
            f"the run was fitted with --cond and '{data.name}' has nothing to condition on: give data with labels."
        )
    classes, known = (getattr(one, "categories", None) or () for one in (data.cond, space))
    if not classes or not known:  # numbers and texts mean the same everywhere
        return data
    strange = [name for name in classes if name not in known]
    if strange:
        raise DataError(
            f"'{data.name}' has the label {', '.join(strange)}, which the run does not know; it knows "
            f"{', '.join(known)}."
        )
    number = torch.tensor([known.index(name) for name in classes], dtype=space.dtype)
    parts: dict[str, Any] = {name: replace(part, cond=number[part.cond.long()]) for name, part in data.parts.items()}
    return replace(data, cond=space, **parts)


def _releveled(known: Space, data: Data) -> Data:
    """Return the data with the levels of each column numbered as the run's are, by what they are called.

    Raises:
        DataError: a column has a value that the run does not know.
    """
    import torch

    from likely.spaces import Finite

    space = data.space
    if not isinstance(space, Finite) or not isinstance(known, Finite) or None in (space.values, known.values):
        return data
    if space.values == known.values or space.size != known.size:
        return data
    assert space.values is not None
    assert known.values is not None
    number = torch.zeros(space.size, space.levels)
    for d, (theirs, mine) in enumerate(zip(space.values, known.values, strict=True)):
        strange = [value for value in theirs if value not in mine]
        if strange:
            name = known.names[d] if known.names else str(d)
            raise DataError(
                f"'{data.name}' has the value {', '.join(strange[:5])} in column '{name}', unknown to the run; "
                f"it knows {', '.join(mine[:20])}."
            )
        number[d, : len(theirs)] = torch.tensor([float(mine.index(value)) for value in theirs])
    column = torch.arange(space.size)

    def renumbered(x: Tensor) -> Tensor:
        missing = x.isnan() if x.is_floating_point() else torch.zeros_like(x, dtype=torch.bool)
        found = number[column, torch.where(missing, 0, x).long()]
        return torch.where(missing, torch.nan, found) if bool(missing.any()) else found.to(known.dtype)

    parts: dict[str, Any] = {name: replace(part, x=renumbered(part.x)) for name, part in data.parts.items()}
    return replace(data, space=known, **parts)


def rows(run: Run, which: Which, *, most: int | None = None, seed: int = 0) -> Rows:
    """Return the rows to ask a run about.

    Arguments:
        most: how many rows to take where `which` does not say.
        seed: decides the bits of data that are drawn anew at each visit.

    Raises:
        UnknownName: there is no such part.
        Misuse: the number of rows is not positive.
        LikelyError: the part is empty.
    """
    from likely import data
    from likely.core import _count, _join, _rows, seeded

    named = which.data is None or which.data in data.names()
    part = which.part or ("test" if named else "all")
    number = which.number if which.number is not None else most
    if part not in (*PARTS, "all"):
        raise unknown("part", part, (*PARTS, "all"))
    if number is not None and number < 1:
        raise Misuse(f"-n must be 1 or more, not {number}.")
    loaded = data_of(run, which.data, which.view, which.size, whole=part == "all")
    parts = [loaded.parts[one] for one in (PARTS if part == "all" else [part]) if len(loaded.parts[one])]
    if not parts:
        raise LikelyError(f"the {part} part of '{loaded.name}' is empty; choose another with --part.")
    taken = slice(0, number)
    with seeded(seed):
        drawn = [one.batch(slice(0, len(one) if number is None else min(number, len(one)))) for one in parts]
    x = _rows(_join([x for x, _ in drawn]), taken)
    labels = None if drawn[0][1] is None else _rows(_join([cond for _, cond in drawn]), taken)
    record = {"data": loaded.name, "view": loaded.view, "part": part, "rows": _count(x)}
    return Rows(x, labels if run.model.cond_space is not None else None, labels, record, _count(x))


def condition(text: str | None, space: Space | None) -> Any:
    """Return the point of the condition space that a text names: a category, its number, or numbers with commas.

    Raises:
        Misuse: the model is not conditional, or the text is not a point of its condition space.
        UnknownName: there is no such category.

    Example:
        >>> from likely.spaces import Finite
        >>> condition("cat", Finite((), 2, categories=("dog", "cat")))
        tensor(1)
    """
    if text is None:
        return None
    import torch

    if space is None:
        raise Misuse("this run's model is not conditional: leave out --cond, or fit one with `--cond label`.")
    categories = getattr(space, "categories", None) or ()
    if text in categories:
        return torch.tensor(categories.index(text))
    try:
        value = torch.tensor([float(number) for number in text.split(",")]).reshape(space.shape)
    except (ValueError, RuntimeError):
        if categories:
            raise unknown("category", text, categories) from None
        raise Misuse(f"--cond {text} is not a point of {space}.") from None
    return space.check(value[None], "--cond")[0]


def known_mask(text: str, space: Space, rows: int) -> Tensor:
    """Return the mask, True where known, that `--known` names: (*shape), or (rows, *shape) from a file.

    Raises:
        Misuse: the data have no such half.
        DataError: the file is no mask for these data.
    """
    import numpy as np
    import torch

    halves = {"upper-half": (-2, 0), "lower-half": (-2, 1), "left": (-1, 0), "right": (-1, 1)}
    if text in halves:
        axis, second = halves[text]
        if len(space.shape) < -axis:
            raise Misuse(f"{space} has no {text}; give a mask .npy of shape {space.shape}.")
        near, far = torch.zeros(space.shape, dtype=torch.bool).tensor_split(2, dim=axis)
        return torch.cat([~near, far] if second == 0 else [near, ~far], dim=axis)
    if not text.endswith(".npy"):
        raise unknown("part to know", text, [*halves, "mask.npy"])
    try:
        mask = torch.from_numpy(np.load(Path(text).expanduser(), allow_pickle=False))
    except (ValueError, EOFError, TypeError, AttributeError) as error:
        raise DataError(f"{text} cannot be read as an array (.npy): {error}") from None
    shapes = (space.shape, (rows, *space.shape))
    if tuple(mask.shape) not in shapes or not bool(((mask == 0) | (mask == 1)).all()):
        raise DataError(
            f"{text} must hold True (known) or False in the shape {shapes[0]} or {shapes[1]}, "
            f"not {mask.dtype} in the shape {tuple(mask.shape)}."
        )
    return mask.bool()
