"""The orders in which a model may visit the entries of one datum: permutations of the raster positions.

`order[i]` is the raster position of the entry that is visited i-th; `inverse(order)[d]` says when position d comes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from likely.errors import unknown


def raster(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Return the order in which the entries lie in memory, (D,): the last axis fastest."""
    return torch.arange(math.prod(shape))


def reverse(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Return the raster order backwards, (D,)."""
    return raster(shape).flip(0)


def snake(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Return the order that runs along every other row backwards, (D,): neighbours in time are neighbours in space.

    Example:
        >>> snake((2, 3)).tolist()
        [0, 1, 2, 5, 4, 3]
    """
    rows = raster(shape).reshape(-1, shape[-1] if shape else 1).clone()
    rows[1::2] = rows[1::2].flip(1)
    return rows.flatten()


def random(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Return an order drawn uniformly, (D,): the same seed gives the same order."""
    return torch.randperm(math.prod(shape), generator=torch.Generator().manual_seed(seed))


ORDERS: dict[str, Callable[..., Tensor]] = {f.__name__: f for f in (raster, reverse, snake, random)}


def order(name: str, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Return the order of this name for data of this shape, (D,).

    Arguments:
        name: raster, reverse, snake or random.
        shape: the shape of one datum.
        seed: decides the random order; the others ignore it.

    Raises:
        UnknownName: there is no such order.
    """
    if name not in ORDERS:
        raise unknown("order", name, ORDERS)
    return ORDERS[name](shape, seed)


def inverse(order: Tensor) -> Tensor:
    """Return when each raster position is visited, (D,): order[inverse(order)] = 0, 1, ..., D - 1."""
    return order.argsort()
