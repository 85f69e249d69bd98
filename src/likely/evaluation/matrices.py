"""Feature matrices: what every two-sample metric takes, (N, D), checked once and in one way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from likely.errors import LikelyError


class Measured(NamedTuple):
    """A number and its standard error (None where it has none)."""

    value: float
    error: float | None


def matrix(values: Any, *, rows: int = 1, name: str = "the set") -> Tensor:
    """Return values, (N, ...), as a finite matrix on the processor, (N, D): float32 and float64 are kept, not copied.

    Raises:
        LikelyError: there are fewer than `rows` rows, the values are not rows, or one of them is not a finite number.
    """
    x = torch.as_tensor(values).detach().cpu()
    if x.dim() < 2 or x.is_complex():
        raise LikelyError(f"{name} must be a matrix of rows, (N, D), not of shape {tuple(x.shape)}.")
    x = x.flatten(1)
    x = x if x.dtype in (torch.float32, torch.float64) else x.double()
    if len(x) < rows:
        raise LikelyError(f"{name} has {len(x)} rows; at least {rows} are needed.")
    if x.shape[1] == 0:
        raise LikelyError(f"{name} has rows without numbers.")
    if not bool(x.sum(1).isfinite().all()):  # twenty times faster than looking at each number; a sum may overflow
        finite = x.isfinite().all(1)
        if not bool(finite.all()):
            row = int((~finite).nonzero()[0, 0])
            raise LikelyError(f"row {row} of {name} is not finite; remove or fill missing values first.")
    return x


def pair(real: Any, fake: Any, *, rows: int = 1) -> tuple[Tensor, Tensor]:
    """Return two sets as finite matrices with equally long rows.

    Raises:
        LikelyError: a set is not a finite matrix of at least `rows` rows, or their rows differ in length.
    """
    x, y = matrix(real, rows=rows, name="the real set"), matrix(fake, rows=rows, name="the fake set")
    if x.shape[1] != y.shape[1]:
        raise LikelyError(f"the two sets have rows of {x.shape[1]} and {y.shape[1]} numbers; they must agree.")
    return x, y


def choose(n: int, size: int, generator: torch.Generator) -> Tensor:
    """Return `size` different ones of the numbers 0 ... n - 1, in random order."""
    return torch.randperm(n, generator=generator)[:size]


@contextmanager
def numpy_products() -> Iterator[None]:
    """Leave the processor to numpy's products: torch's threads, which spin a while after each step, would slow them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute float32 products in float32, whatever the process has allowed for training."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
