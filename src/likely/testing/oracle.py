"""Brute force: every point of a small space, or the nodes of a quadrature over the reals, and a test of counts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from likely.core import _count
from likely.spaces import Ragged, Real, Sequence, Space, _Discrete

POINTS = 4096  #: the largest discrete space that is summed over

Nodes = dict[int, tuple[int, int]]  #: free real dimensions -> cells per dimension, quadrature nodes per cell
NODES: Nodes = {1: (40, 100), 2: (16, 12)}
FEW_NODES: Nodes = {1: (40, 10), 2: (16, 3)}  #: where every node costs many evaluations


class Lattice(NamedTuple):
    """Points that stand for a whole space.

    `x` is (P, *shape), or P sequences; `log_volume` (P,) is how much of the space a point stands for (0 on discrete
    spaces); `cell` (P,) groups the points into `cells` cells, and `cell_of` tells the cell of any value of the space.
    """

    x: Any
    log_volume: Tensor
    cell: Tensor
    cells: int
    cell_of: Callable[[Any], Tensor]


class Law(NamedTuple):
    """The probability that a model's score gives to each point of a lattice, and the variance of that number."""

    lattice: Lattice
    probability: Tensor
    variance: Tensor

    @property
    def total(self) -> float:
        """The sum over the space: 1 for a normalised law."""
        return float(self.probability.sum())

    @property
    def error(self) -> float:
        """The standard error of the total."""
        return float(self.variance.sum().sqrt())


def flat(x: Tensor) -> Tensor:
    """Return a batch as a matrix, (B, *shape) -> (B, size); one column for shape ()."""
    return x.reshape(len(x), math.prod(x.shape[1:]))


def enumerable(space: Space) -> bool:
    """Whether the space has few enough points to be summed over."""
    return space.points is not None and space.points <= POINTS


def lattice(
    space: Space,
    middle: Tensor,
    scale: Tensor,
    *,
    x: Any = None,
    known: Tensor | None = None,
    nodes: Nodes = NODES,
) -> Lattice:
    """Return the points of a discrete space, or the nodes of a quadrature over a real one.

    Reals are mapped from the open interval by y = middle + scale t / (1 - t^2), so the nodes reach into the tails and
    lie densely where the samples are; the midpoint rule in t converges fast there.

    Arguments:
        space: discrete with few points, or real.
        middle: where the mass lies, (size,); unused for discrete spaces.
        scale: how far it scatters, (size,); unused for discrete spaces.
        x: one value, (*shape), that keeps its known entries; a sequence keeps its length too.
        known: which, (*shape); None for none.
        nodes: how fine the quadrature is.
    """
    if isinstance(space, _Discrete):
        points = space.enumerate()
        if known is not None and x is not None:
            points = points[flat((points == x) | ~known).all(1)]
        number = flat(points).long() @ _places(space)
        cell = torch.full((int(space.points or 0),), -1)
        cell[number] = torch.arange(len(points))
        places = _places(space)
        return Lattice(
            points,
            torch.zeros(len(points), dtype=torch.float64),
            torch.arange(len(points)),
            len(points),
            lambda values: cell[flat(values).cpu().long() @ places],
        )
    if isinstance(space, Sequence):
        return _sequences(space, x, known)
    assert isinstance(space, Real)
    free = torch.arange(space.size) if known is None else (~known.flatten()).nonzero()[:, 0].cpu()
    cells, each = nodes[len(free)]
    t = (torch.arange(cells * each, dtype=torch.float64) + 0.5) * 2 / (cells * each) - 1
    grid = torch.cartesian_prod(*[t] * len(free)).reshape(-1, len(free))
    values = torch.zeros(len(grid), space.size, dtype=torch.float64)
    if x is not None:
        values += x.flatten().double().cpu()
    values[:, free] = middle[free] + scale[free] * grid / (1 - grid**2)
    slope = scale[free] * (1 + grid**2) / (1 - grid**2) ** 2 * (2 / (cells * each))
    places = cells ** torch.arange(len(free))

    def cell_of(values: Tensor) -> Tensor:
        y = (flat(values).cpu().double()[:, free] - middle[free]) / scale[free]
        t = 2 * y / (1 + (1 + 4 * y**2).sqrt())
        return ((t + 1) / 2 * cells).long().clamp(0, cells - 1) @ places

    points = values.reshape(-1, *space.shape).float()
    # A node's cell comes from t itself: a node in a far tail must not change cells by rounding.
    own = ((grid + 1) / 2 * cells).long() @ places
    return Lattice(points, slope.log().sum(1), own, cells ** len(free), cell_of)


def _sequences(space: Sequence, x: Ragged | None, known: Tensor | None) -> Lattice:
    """Return every sequence, of every length; or those of one length that agree with what is known of x."""
    points = space.enumerate()
    step = space.step
    assert isinstance(step, _Discrete)
    places, base = _places(step), int(step.points) + 1

    def number(sequences: Ragged) -> Tensor:
        """Return a different whole number for each sequence: its steps as digits, of which 0 stands for the end."""
        values, lengths = sequences.values.cpu(), sequences.lengths.cpu()
        digit = values.reshape(*values.shape[:2], step.size).long() @ places + 1
        digit = digit * (torch.arange(values.shape[1]) < lengths[:, None])
        digit = torch.nn.functional.pad(digit, (0, space.length - digit.shape[1]))
        return digit @ base ** torch.arange(space.length)

    if x is not None and known is not None:
        width = points.values.shape[1]
        inside = (torch.arange(width) < x.lengths.cpu()).reshape(width, *[1] * len(step.shape))
        free = ~(known.cpu()[:width] & inside)
        agrees = flat((points.values == x.values.cpu()[:width]) | free).all(1) & (points.lengths == x.lengths.cpu())
        points = Ragged(points.values[agrees], points.lengths[agrees])
    order = number(points)
    cell = torch.full((base**space.length,), -1)
    cell[order] = torch.arange(len(order))
    count = len(order)
    return Lattice(
        points,
        torch.zeros(count, dtype=torch.float64),
        torch.arange(count),
        count,
        lambda drawn: cell[number(drawn)],
    )


def _places(space: _Discrete) -> Tensor:
    return torch.tensor([math.prod(space.sizes[d + 1 :]) for d in range(space.size)], dtype=torch.int64)


class Agreement(NamedTuple):
    """How well counts agree with a law: the p-value of a chi-square test, and the cell that agrees least."""

    p: float
    drawn: int
    expected: float
    distance: float  #: total variation between the frequencies and the law
    noise: float  #: the total variation to expect from independent draws of the law itself

    def __str__(self) -> str:
        return (
            f"a cell was drawn {self.drawn} times where {self.expected:.1f} were expected "
            f"(chi-square p = {self.p:.1e}, total variation {self.distance:.3f}, {self.noise:.3f} by chance)"
        )


def agreement(x: Any, law: Law) -> Agreement:
    """Compare drawn values with a law: Pearson's chi-square over its cells, those that expect under 10 draws pooled.

    The law is taken as it is, up to its total; where it was estimated, its variance widens what counts as chance.
    """
    points, n = law.lattice, _count(x)
    cell = points.cell_of(x)
    inside = cell[cell >= 0]
    counts = torch.bincount(inside, minlength=points.cells).double()
    sums = torch.zeros(2, points.cells, dtype=torch.float64)
    sums.index_add_(1, points.cell, torch.stack([law.probability, law.variance]))
    probability, variance = sums[0] / law.total, sums[1] / law.total**2
    distance = float((counts / n - probability).abs().sum() / 2 + (n - len(inside)) / n / 2)
    noise = float((2 * probability * (1 - probability).clamp(min=0) / (torch.pi * n)).sqrt().sum() / 2)
    ascending, order = probability.sort()
    pooled = int((n * ascending < 10).sum())
    if pooled and n * ascending[:pooled].sum() < 10:
        pooled += 1  # the pool must expect ten draws as well
    parts = torch.stack([counts, probability, variance])[:, order]
    pool = parts[:, :pooled].sum(1, keepdim=True)
    counts, probability, variance = torch.cat([parts[:, pooled:], pool], 1) if pooled else parts
    spread = n * probability + n**2 * variance
    pull = (counts - n * probability).square() / spread
    worst = int(pull.argmax())
    freedom = max(len(pull) - 1, 1)
    p = float(torch.special.gammaincc(torch.tensor(freedom / 2, dtype=torch.float64), pull.sum() / 2))
    if len(inside) < n:  # a draw outside the lattice is impossible
        p = 0.0
    return Agreement(p, int(counts[worst]), float(n * probability[worst]), distance, noise)
