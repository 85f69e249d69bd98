"""The orders in which a model may visit the entries of one datum: permutations of the raster positions.

`order[i]` is the raster position of the entry that is visited i-th; `inverse(order)[d]` says when position d comes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from likely.errors import LikelyError, unknown


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


def zigzag(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Return the order along the diagonals, up one and down the next, (D,): the coarse corner of a picture first.

    Example:
        >>> zigzag((3, 3)).tolist()
        [0, 1, 3, 6, 4, 2, 5, 7, 8]
    """
    return _planes(shape, lambda y, x: (y + x, (y - x) * (1 if (y + x) % 2 else -1)))


def spiral(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Return the order from the rim inwards, clockwise from the upper left corner, (D,).

    Example:
        >>> spiral((3, 3)).tolist()
        [0, 1, 2, 5, 8, 7, 6, 3, 4]
    """
    height, width = _plane(shape)

    def turn(y: int, x: int) -> tuple[int, int, int]:
        ring = min(y, x, height - 1 - y, width - 1 - x)
        if y == ring:
            return ring, 0, x
        if x == width - 1 - ring:
            return ring, 1, y
        return (ring, 2, -x) if y == height - 1 - ring else (ring, 3, -y)

    return _planes(shape, turn)


def hilbert(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Return the order along Hilbert's curve, (D,): near in time is near in space, on every scale.

    The curve fills the smallest square whose side is a power of 2; what lies outside the picture is skipped.

    Example:
        >>> hilbert((2, 2)).tolist()
        [0, 2, 3, 1]

    Reference: Hilbert, Ueber die stetige Abbildung einer Linie auf ein Flächenstück, 1891, doi.org/10.1007/BF01199431.
    """
    bits = (max(_plane(shape)) - 1).bit_length()

    def distance(y: int, x: int) -> int:
        found = 0
        for side in (1 << bit for bit in reversed(range(bits))):
            right, down = bool(x & side), bool(y & side)
            found += side * side * ((3 * right) ^ down)
            if not down:  # turn the quadrant so that its curve starts where the last one ended
                if right:
                    x, y = side - 1 - (x & (side - 1)), side - 1 - (y & (side - 1))
                x, y = y, x
        return found

    return _planes(shape, distance)


def _plane(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return height and width of the last two axes; one row for fewer axes."""
    *_, height, width = (1, 1, *shape)
    return height, width


def _planes(shape: tuple[int, ...], turn: Callable[[int, int], Any]) -> Tensor:
    """Return the positions sorted by their turn within the last two axes, one plane after another, (D,)."""
    height, width = _plane(shape)
    order = sorted(range(height * width), key=lambda d: turn(d // width, d % width))
    planes = math.prod(shape) // len(order)
    return (torch.arange(planes)[:, None] * len(order) + torch.tensor(order)).flatten()


def random(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Return an order drawn uniformly, (D,): the same seed gives the same order."""
    return torch.randperm(math.prod(shape), generator=torch.Generator().manual_seed(seed))


ORDERS: dict[str, Callable[..., Tensor]] = {
    f.__name__: f for f in (raster, reverse, snake, zigzag, spiral, hilbert, random)
}


def order(name: str, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Return the order of this name for data of this shape, (D,).

    Arguments:
        name: raster, reverse, snake, zigzag, spiral, hilbert or random; or an order of one's own, "2,0,1".
        shape: the shape of one datum.
        seed: decides the random order; the others ignore it.

    Raises:
        UnknownName: there is no such order.
        LikelyError: an order of one's own does not hold each position once.
    """
    if "," in name or name.isdigit():
        own = [int(position) if position.strip().isdigit() else -1 for position in name.split(",")]
        if sorted(own) != list(range(math.prod(shape))):
            raise LikelyError(f"an order holds each position 0 to {math.prod(shape) - 1} once; {name!r} does not.")
        return torch.tensor(own)
    if name not in ORDERS:
        raise unknown("order", name, ORDERS)
    return ORDERS[name](shape, seed)


def inverse(order: Tensor) -> Tensor:
    """Return when each raster position is visited, (D,): order[inverse(order)] = 0, 1, ..., D - 1."""
    return order.argsort()
