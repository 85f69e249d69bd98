r"""The kernel inception distance: the unbiased MMD^2 of two sets of features with the kernel (x . y / D + 1)^3.

Unlike the Frechet distance it has no bias at any n and looks at three moments; it may be negative and is never clipped.
Two protocols are in use. Over the whole sets it is one number with a standard error: take that. Over many small random
subsets it is a mean with a spread: that is what published tables hold, but the spread tells how one subset of that size
scatters, not how sure the mean is. Both are often printed times 1,000.

How it is fooled: like every distance in a feature space it is blind to what the features do not see, and copies of the
training data score best. Large features make it large: it is not on a scale of its own.

Reference: Bińkowski, Sutherland, Arbel and Gretton, Demystifying MMD GANs, 2018, arxiv.org/abs/1801.01401.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from likely.errors import LikelyError
from likely.evaluation.matrices import choose, numpy_products, pair
from likely.evaluation.two_sample import ROWS, Distance, polynomial, unbiased
from likely.spaces import batches

STRIP = 2**17  #: products that are cubed together: in float64 they fit a processor's cache


class Subsets(NamedTuple):
    """The mean over random subsets, and the standard deviation from subset to subset (not an error of the mean)."""

    value: float
    spread: float


def kernel_inception_distance(real: Any, fake: Any, *, tell: Callable[[float], None] = lambda done: None) -> Distance:
    """Return the unbiased MMD^2 over all pairs of rows, polynomial kernel, with its jackknife standard error.

    Products of float32 rows are taken in float32, whose rounding averages out over the pairs; cubes and sums are
    float64. Give float64 rows for float64 products, at half the speed.

    Arguments:
        real: features, (N, D), N >= 2.
        fake: features, (M, D), M >= 2.
        tell: is told now and then how much is done, from 0 to 1.

    Raises:
        LikelyError: a set has fewer than two rows, rows differ in length, or a value is not finite.
    """
    x, y = pair(real, fake, rows=2)
    n, m = (-(-len(values) // ROWS) for values in (x, y))
    blocks, done = n * (n + 1) // 2 + m * (m + 1) // 2 + n * m, 0

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        nonlocal done
        done += 1
        tell(done / blocks)
        return polynomial(a, b)

    with numpy_products():
        return unbiased(x, y.to(x.dtype), kernel)


def kernel_inception_subsets(real: Any, fake: Any, *, subsets: int = 100, size: int = 1000, seed: int = 0) -> Subsets:
    """Return the mean and the spread of the kernel inception distance over random subsets of both sets.

    Arguments:
        real: features, (N, D), N >= size.
        fake: features, (M, D), M >= size.
        subsets: how many pairs of subsets.
        size: rows of each, drawn without replacement.
        seed: decides the subsets.

    Raises:
        LikelyError: a set is smaller than a subset, or a subset than 2 rows; rows differ in length; a value is not
            finite.
    """
    if subsets < 1 or size < 2:
        raise LikelyError(f"take at least one subset of at least 2 rows, not {subsets} of {size}.")
    x, y = pair(real, fake, rows=size)
    y = y.to(x.dtype)
    generator = torch.Generator().manual_seed(seed)
    values, sums = np.empty(subsets), _Sums(size, x)
    some, others = x.new_empty(size, x.shape[1]), x.new_empty(size, x.shape[1])
    with numpy_products():
        for subset in range(subsets):
            torch.index_select(x, 0, choose(len(x), size, generator), out=some)
            torch.index_select(y, 0, choose(len(y), size, generator), out=others)
            within = sums.within(some) + sums.within(others)
            values[subset] = within / (size * (size - 1)) - 2 * sums.between(some, others) / size**2
    return Subsets(float(values.mean()), float(values.std()))


class _Sums:
    """Sums of the kernel over all pairs of two subsets, with the memory that all subsets use in turn."""

    def __init__(self, size: int, like: Tensor) -> None:
        self.products = np.empty((size, size), like.numpy().dtype)
        self.rows = max(1, STRIP // size)
        self.base, self.square = np.empty(self.rows * size), np.empty(self.rows * size)

    def within(self, x: Tensor) -> float:
        """Return the sum over the pairs of different rows: twice that of the pairs above the diagonal."""
        np.matmul(x.numpy(), x.numpy().T, out=self.products)  # numpy computes only one half of x x^T
        products, total = self.products, 0.0
        for rows in batches(len(products), self.rows):
            corner = products[rows, rows]
            total += self._cubes(corner, x) - self._cubes(corner.diagonal()[:, None], x)
            total += 2 * self._cubes(products[rows, rows.stop :], x)
        return total

    def between(self, x: Tensor, y: Tensor) -> float:
        """Return the sum over all pairs."""
        np.matmul(x.numpy(), y.numpy().T, out=self.products)
        return sum(self._cubes(self.products[rows], x) for rows in batches(len(x), self.rows))

    def _cubes(self, products: np.ndarray, x: Tensor) -> float:
        """Return the sum of (product / D + 1)^3, in float64."""
        base, square = (held[: products.size].reshape(products.shape) for held in (self.base, self.square))
        np.multiply(products, 1 / x.shape[1], out=base, dtype=np.float64)
        base += 1
        np.multiply(base, base, out=square)
        return float(np.dot(square.ravel(), base.ravel()))
