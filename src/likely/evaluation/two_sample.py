r"""Are two sets of data drawn from the same law? The kernel two-sample distance, in the space of the data themselves.

MMD^2(P, Q) = E k(x, x') + E k(y, y') - 2 E k(x, y) is 0 when P = Q; with a Gaussian kernel it is 0 only then. The
unbiased estimate leaves out the pairs of a datum with itself and may therefore be negative: it is never clipped. It
needs no trained features, so it works offline and for any data, but in the space of pixels it sees blur and contrast
before it sees shape: read it beside its floor, the distance of training data from test data at the same n.

Reference: Gretton, Borgwardt, Rasch, Schölkopf and Smola, A Kernel Two-Sample Test, 2012,
jmlr.org/papers/v13/gretton12a.html.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pdist

from likely.errors import LikelyError
from likely.spaces import Finite, Real, Sequence, Space, batches

Kernel = Callable[[Tensor, Tensor], Tensor]  #: (N, D), (M, D) -> (N, M)

ROWS = 1000  #: rows and columns of the block of the kernel matrix that is held at once
MEDIAN_ROWS = 2000  #: rows whose pairs give the median distance


class Distance(NamedTuple):
    """A squared kernel distance with its standard error (None below three rows in either set)."""

    value: float
    error: float | None


def gaussian(bandwidth: float) -> Kernel:
    """Return k(x, y) = exp(-|x - y|^2 / (2 bandwidth^2)).

    Raises:
        LikelyError: the bandwidth is not a positive number.
    """
    if not (math.isfinite(bandwidth) and bandwidth > 0):
        raise LikelyError(f"the bandwidth of a Gaussian kernel must be a positive number, not {bandwidth}.")

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        squared = x.square().sum(1, keepdim=True) + y.square().sum(1) - 2 * x @ y.T
        return (squared.clamp(min=0) / (-2 * bandwidth**2)).exp()

    return kernel


def polynomial(x: Tensor, y: Tensor) -> Tensor:
    """Return k(x, y) = (x . y / D + 1)^3, the kernel of the kernel inception distance, in float64.

    The products x . y are taken in the precision of x and y, the cubes always in float64.

    Reference: Bińkowski, Sutherland, Arbel and Gretton, Demystifying MMD GANs, 2018, arxiv.org/abs/1801.01401.
    """
    products = torch.from_numpy(x.numpy() @ y.numpy().T)  # numpy computes only one half of x x^T
    return products.double().div_(x.shape[1]).add_(1).pow_(3)


def median_distance(real: Tensor) -> float:
    """Return the median distance between two different data of `real`, (N, D): the usual bandwidth.

    It is taken from real data alone, before a model is looked at, and over pairs that are not equal (half of the pairs
    of a small discrete set may be). Above `MEDIAN_ROWS` rows, evenly spaced ones stand for all.

    Raises:
        LikelyError: there are fewer than two different data.
    """
    if len(real) > MEDIAN_ROWS:
        real = real[torch.linspace(0, len(real) - 1, MEDIAN_ROWS).long()]
    distances = pdist(real)
    distances = distances[distances > 0]
    if len(distances) == 0:
        raise LikelyError("the median distance needs at least two different data: all rows are equal.")
    return float(distances.median())


def kernel_distance(x: Tensor, y: Tensor, kernel: Kernel) -> Distance:
    r"""Return the unbiased MMD^2 of x, (N, D), and y, (M, D), over the whole sets, in float64, with its standard error.

    The error is the two-sample jackknife: leave out one row at a time. Where the two laws are equal it is too large by
    about sqrt(2), never too small.

    Raises:
        LikelyError: a set has fewer than two rows, the rows differ in length, or a value is not finite.

    Example:
        >>> import torch
        >>> x = torch.tensor([[0.0], [1.0]])
        >>> kernel_distance(x, x, lambda a, b: a @ b.T).value
        -0.5

    Reference: Efron and Stein, The Jackknife Estimate of Variance, 1981, doi.org/10.1214/aos/1176345462.
    """
    x, y = (_matrix(values) for values in (x, y))
    if min(len(x), len(y)) < 2:
        raise LikelyError(f"a two-sample distance needs at least 2 rows in each set, not {len(x)} and {len(y)}.")
    if x.shape[1] != y.shape[1]:
        raise LikelyError(f"the two sets have rows of {x.shape[1]} and {y.shape[1]} numbers; they must agree.")
    if not (bool(x.isfinite().all()) and bool(y.isfinite().all())):
        raise LikelyError("a two-sample distance needs finite numbers; remove or fill missing values first.")
    return unbiased(x, y, kernel)


def unbiased(x: Tensor, y: Tensor, kernel: Kernel) -> Distance:
    """Return the unbiased MMD^2 of two sets that have been checked, in the precision in which they are given."""
    n, m = len(x), len(y)
    xx, yy = _within(x, kernel), _within(y, kernel)  # for each row the sum over the others of its own set
    xy, yx = torch.zeros(n, dtype=torch.float64), torch.zeros(m, dtype=torch.float64)
    for rows in batches(n, ROWS):
        for columns in batches(m, ROWS):
            block = kernel(x[rows], y[columns])
            xy[rows] += block.sum(1)
            yx[columns] += block.sum(0)
    value = xx.sum() / (n * (n - 1)) + yy.sum() / (m * (m - 1)) - 2 * xy.sum() / (n * m)
    if min(n, m) < 3:
        return Distance(float(value), None)
    # the estimate without row i of x, and without row j of y
    without_x = (xx.sum() - 2 * xx) / ((n - 1) * (n - 2)) - 2 * (xy.sum() - xy) / ((n - 1) * m)
    without_y = (yy.sum() - 2 * yy) / ((m - 1) * (m - 2)) - 2 * (yx.sum() - yx) / ((m - 1) * n)
    variance = (n - 1) * without_x.var(correction=0) + (m - 1) * without_y.var(correction=0)
    return Distance(float(value), math.sqrt(float(variance)))


def mmd(real: Tensor, fake: Tensor) -> Distance:
    """Return the unbiased MMD^2 of two sets of rows, Gaussian kernel with the median distance of the real ones."""
    real = _matrix(real)
    return kernel_distance(real, fake, gaussian(median_distance(real)))


def _matrix(values: Tensor) -> Tensor:
    return values.detach().to("cpu", torch.float64).flatten(1)


def _within(x: Tensor, kernel: Kernel) -> Tensor:
    """Return sum_{j != i} k(x_i, x_j) for each row i, (N,), from one half of the matrix."""
    sums = torch.zeros(len(x), dtype=torch.float64)
    for rows in batches(len(x), ROWS):
        for columns in batches(len(x), ROWS):
            if columns.start < rows.start:
                continue  # the mirrored block has been added
            block = kernel(x[rows], x[columns])
            if rows == columns:
                block.fill_diagonal_(0)
            else:
                sums[columns] += block.sum(0)
            sums[rows] += block.sum(1)
    return sums


class Features(NamedTuple):
    """How values of a space become rows of numbers, fixed by the real data: (value - centre) / scale."""

    space: Space
    centre: Tensor
    scale: Tensor

    def __call__(self, x: Any) -> Tensor:
        return (_plain(self.space, x) - self.centre) / self.scale


def features(space: Space, real: Any) -> Features:
    """Return the map from values of a space to rows of float64 in which sets are compared.

    Levels are divided by the highest level, so that pixels lie in [0, 1]; categories become one-hot; the columns of a
    table of reals, which have units of their own, are standardised by the real data; other reals are kept.

    Raises:
        LikelyError: the space is one of sequences, which have no common length.
    """
    if isinstance(space, Sequence):
        raise LikelyError(f"{space} has no two-sample distance: sequences differ in length.")
    centre, scale = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    if isinstance(space, Real) and len(space.shape) <= 1:
        rows = _plain(space, real)
        centre, scale = rows.mean(0), rows.std(0, correction=0)
        scale = torch.where(scale > 0, scale, 1.0)
    return Features(space, centre, scale)


def _plain(space: Space, x: Any) -> Tensor:
    values = torch.as_tensor(x)
    if isinstance(space, Finite) and not space.ordered:
        values = one_hot(values.long(), space.levels)
    elif not isinstance(space, Real):
        values = values.double() / max(space.levels - 1, 1)  # type: ignore[attr-defined]
    return values.double().reshape(len(values), -1)
