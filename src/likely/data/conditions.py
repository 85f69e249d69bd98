"""What is given beside x: labels become classes, texts become bytes, numbers stay numbers."""

from __future__ import annotations

from collections.abc import Sequence as Values
from typing import Any

import numpy as np
import torch
from torch import Tensor

from likely.errors import DataError, LikelyError
from likely.parts.counting import check_total, counts_of
from likely.spaces import Finite, Ragged, Real, Sequence, Space

CLASSES = 1000  #: a column of more different values than this is no label


def conditions(values: Any, name: str, where: str, *, asked: bool) -> tuple[Any, Space | None, str]:
    """Return the conditions of all rows, their space, and a note: classes for texts and whole numbers, else reals.

    Arguments:
        values: one value per row: texts, whole numbers, or numbers.
        name: what the column is called.
        where: the file, for messages.
        asked: whether the user asked for it; labels of one class are then an error, else they are left out.

    Raises:
        DataError: a value is missing, or there is one class only and it was asked for.
    """
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "OUSbiuf":
        raise DataError(f"{where}: '{name}' must hold one number or text per row, not {array.dtype}{array.shape}.")
    if array.dtype.kind in "OUS":
        return _classes(array.astype(str), name, where, asked)
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise DataError(f"{where}: '{name}' has no value in row {int(np.argmin(np.isfinite(array)))}; fill it in.")
    if (array == np.floor(array)).all() and len(np.unique(array)) <= CLASSES and (np.abs(array) < 2**53).all():
        return _classes(array.astype(np.int64), name, where, asked)
    return torch.from_numpy(array.astype(np.float32)), Real((), names=(name,)), ""


def strata(values: Any) -> np.ndarray | None:
    """Return the class of each row as a number, (N,), or None where the values are no classes."""
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "OUSbiuf":
        return None
    distinct, index = np.unique(array.astype(str) if array.dtype.kind == "O" else array, return_inverse=True)
    return index if 1 < len(distinct) <= CLASSES else None


def _classes(array: np.ndarray, name: str, where: str, asked: bool) -> tuple[Tensor | None, Space | None, str]:
    categories, index = np.unique(array, return_inverse=True)
    if len(categories) > CLASSES:
        raise DataError(f"{where}: '{name}' has {len(categories)} different values, more than {CLASSES} classes.")
    if len(categories) == 1:
        if asked:
            raise DataError(f"{where}: '{name}' has one class only ({categories[0]}); leave out cond, or add data.")
        return None, None, f"'{name}' has one class only ({categories[0]}): left out"
    named = [str(c) for c in categories]
    if all(c.isdecimal() for c in named):  # folders called 0 to 10 are to come in the order of numbers
        order = sorted(range(len(named)), key=lambda i: int(named[i]))
        index, named = np.argsort(order)[index], [named[i] for i in order]
    space = Finite((), len(named), categories=tuple(named), ordered=False)
    return torch.from_numpy(index.astype(np.int64)).to(space.dtype), space, ""


def captions(texts: Values[str]) -> tuple[Ragged, Sequence]:
    """Return texts as sequences of their UTF-8 bytes, and their space.

    Example:
        >>> text, space = captions(["a", "bee"])
        >>> text.lengths.tolist(), str(space)
        ([1, 3], 'Sequence(Finite((), 256), length=3)')
    """
    encoded = [text.encode() for text in texts]
    longest = max(1, *map(len, encoded)) if encoded else 1
    values = np.zeros((len(encoded), longest), dtype=np.uint8)
    for row, text in zip(values, encoded, strict=True):
        row[: len(text)] = np.frombuffer(text, dtype=np.uint8)
    lengths = torch.tensor([len(text) for text in encoded], dtype=torch.int64)
    return Ragged(torch.from_numpy(values), lengths), Sequence(step=Finite((), 256, ordered=False), length=longest)


def weights(values: Any, name: str, where: str) -> Tensor:
    """Return one weight per row, (N,), in float32.

    Raises:
        DataError: they are not finite and 0 or more, or no counts that can be learned from.
    """
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "biuf":
        raise DataError(f"{where}: the weight '{name}' must be one number per row.")
    try:
        weight = counts_of(array.astype(np.float64), len(array), f"the weight '{name}'")
        check_total(weight.sum())
    except LikelyError as error:
        raise DataError(f"{where}: {error}") from None
    return weight.float()
