"""What a feature extractor is: a fixed map from data to rows of numbers, in which two sets are compared.

A Frechet distance, a kernel distance or a precision is a number *in a feature space*: the same samples give others in
another. So the name of an extractor says which one it is down to its weights and its resizing, and stands in the
protocol of every number: results with different names do not share a column.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from likely.errors import LikelyError, SpaceError
from likely.spaces import Ragged, Real, Sequence, Space, batches

CPU = torch.device("cpu")
Read = Callable[[Tensor, Space], tuple[Tensor, Tensor | None]]  #: (B, *shape) -> features (B, D), logits (B, K) or None


@dataclass(frozen=True, eq=False)
class Extractor:
    """A fixed map from values of a space to features, and to the logits of classes where it classifies.

    Arguments:
        name: which one, with the hash of its weights and its resizing: "mnist-cnn-3f2a91".
        size: D, the numbers per row; None where the datum decides (pixels).
        read: the map of a few rows.
        accept: raises `SpaceError` for a space that cannot be read.
        classes: how many classes the logits are of; None where it does not classify.
        rows: how many rows are read at once, which bounds the memory.
        device: where it is computed; features come back to the processor.
    """

    name: str
    size: int | None
    read: Read = field(repr=False)
    accept: Callable[[Space], None] = field(repr=False)
    classes: int | None = None
    rows: int = 500
    device: torch.device = CPU

    def __call__(self, x: Any, space: Space) -> Tensor:
        """Return the features of all rows, (N, D), float32 or float64.

        Arguments:
            x: values of the space, (N, *shape): a tensor, an array, or an array on disk; read a few rows at a time.
            space: what one x is.

        Raises:
            SpaceError: this extractor does not read the space, or a value is not of it.
            LikelyError: there are no rows, or a feature is not a finite number.
        """
        return self.both(x, space)[0]

    def logits(self, x: Any, space: Space) -> Tensor:
        """Return the logits of the classes, (N, K).

        Raises:
            LikelyError: this extractor does not classify; otherwise as the call.
        """
        if self.classes is None:
            raise LikelyError(f"'{self.name}' names no classes; take an extractor that does, as 'mnist-cnn'.")
        logits = self.both(x, space)[1]
        assert logits is not None  # it classifies
        return logits

    def both(self, x: Any, space: Space) -> tuple[Tensor, Tensor | None]:
        """Return features, (N, D), and logits, (N, K) or None, of all rows in one pass."""
        features: Tensor | None = None
        logits: Tensor | None = None
        for cut, (some, named) in zip(batches(len(x), self.rows), self.stream(x, space), strict=True):
            if features is None:
                features = some.new_empty(len(x), *some.shape[1:])
                logits = None if named is None else named.new_empty(len(x), *named.shape[1:])
            features[cut] = some
            if logits is not None and named is not None:
                logits[cut] = named
        assert features is not None  # there is at least one row
        return features, logits

    def stream(self, x: Any, space: Space) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield features and logits of `rows` rows at a time: for sets whose features are larger than memory."""
        if isinstance(space, Sequence) or isinstance(x, Ragged):
            raise SpaceError(f"'{self.name}' reads data of one size, not {space}.")
        self.accept(space)
        if len(x) == 0:
            raise LikelyError(f"nothing for '{self.name}' to read: there are no rows.")
        for cut in batches(len(x), self.rows):
            some = x[cut]
            if isinstance(some, np.ndarray):
                some = np.array(some)  # of a file opened for reading, torch takes copies only
            some = space.check(some).to(self.device)
            with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
                features, logits = self.read(some, space)
            if self.classes is not None and (logits is None or logits.shape != (len(some), self.classes)):
                raise LikelyError(f"'{self.name}' did not return logits of {self.classes} classes beside its features.")
            if not bool(features.isfinite().all()):
                row = cut.start + int((~features.isfinite()).any(1).nonzero()[0, 0])
                raise LikelyError(f"the features of row {row} under '{self.name}' are not finite numbers.")
            yield features.cpu(), None if logits is None else logits.cpu()


def of(
    module: nn.Module,
    *,
    name: str | None = None,
    classes: int | None = None,
    rows: int = 100,
    device: str | torch.device = "cpu",
) -> Extractor:
    """Return any torch module as an extractor.

    The module is put into evaluation mode and gets (B, *shape) in float32: levels divided by the highest level, so in
    [0, 1]; categories as one-hot along the last dimension; reals as they are. It returns features, which are flattened
    to (B, D), or a pair of features and logits, (B, K).

    Arguments:
        module: the network; it is not copied, so do not train it afterwards: the name keeps the weights' hash.
        name: what to call it; None takes the class's name. The hash of the weights is added.
        classes: how many classes the logits are of, where it returns logits.
        rows: how many rows are read at once.
        device: where it is computed.

    Example:
        >>> from torch import nn
        >>> from likely.spaces import Binary
        >>> halves = of(nn.AvgPool1d(2), name="halves")
        >>> halves(Binary((1, 4)).enumerate()[:3], Binary((1, 4))).tolist()
        [[0.0, 0.0], [0.0, 0.5], [0.0, 0.5]]
    """
    where = torch.device(device)
    module = module.eval().to(where)

    def read(x: Tensor, space: Space) -> tuple[Tensor, Tensor | None]:
        found = module(plain(x, space))
        features, logits = found if isinstance(found, tuple) else (found, None)
        if not isinstance(features, Tensor) or len(features) != len(x):
            raise LikelyError(
                f"the module '{name or type(module).__name__}' must return one row of features per datum."
            )
        return features.flatten(1), logits

    full_name = f"{name or type(module).__name__}-{digest(module.state_dict())}"
    return Extractor(full_name, None, read, any_space, classes, rows, where)


def any_space(space: Space) -> None:
    """Accept every space."""


def plain(x: Tensor, space: Space, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return values of a space as numbers: levels / highest level, categories as one-hot, reals as they are."""
    if isinstance(space, Real):
        return x.to(dtype)
    levels: int = space.levels  # type: ignore[attr-defined]
    if not getattr(space, "ordered", True):
        return nn.functional.one_hot(x.long(), levels).to(dtype)
    return x.to(dtype) / max(levels - 1, 1)


def levelled(space: Space, extractor: str) -> None:
    """Raise unless the space is one of ordered levels, whose values have a known scale.

    Raises:
        SpaceError: reals have no scale, and categories no order, from which a picture could be made.
    """
    if isinstance(space, Real):
        raise SpaceError(
            f"'{extractor}' reads pictures of levels, not {space}, whose scale it cannot know: pass bytes, "
            f"x.round().clamp(0, 255).to(torch.uint8), with Finite({space.shape}, 256)."
        )
    if not getattr(space, "ordered", True):
        raise SpaceError(f"'{extractor}' reads levels of brightness, not the categories of {space}.")


def digest(values: dict[str, Tensor] | Iterable[np.ndarray]) -> str:
    """Return six hexadecimal digits that name numbers: of SHA-256 over names, shapes and float values, in order.

    Floating-point tensors count as float32, whichever type a file stores them in; counters of batches do not count.
    """
    hashed = hashlib.sha256()
    if isinstance(values, dict):
        for name, tensor in sorted(values.items()):
            if not name.endswith("num_batches_tracked"):
                stored = tensor.detach().cpu()
                stored = stored.float() if stored.is_floating_point() else stored
                hashed.update(f"{name} {tuple(stored.shape)}".encode())
                hashed.update(stored.contiguous().numpy().tobytes())
    else:
        for array in values:
            hashed.update(f"{array.dtype} {array.shape}".encode())
            hashed.update(np.ascontiguousarray(array).tobytes())
    return hashed.hexdigest()[:6]
