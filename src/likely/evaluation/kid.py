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

from typing import Any, NamedTuple

import torch

from likely.errors import LikelyError
from likely.evaluation.matrices import choose, numpy_products, pair
from likely.evaluation.two_sample import Distance, polynomial, unbiased


class Subsets(NamedTuple):
    """The mean over random subsets, and the standard deviation from subset to subset (not an error of the mean)."""

    value: float
    spread: float


def kernel_inception_distance(real: Any, fake: Any) -> Distance:
    """Return the unbiased MMD^2 over all pairs of rows, polynomial kernel, with its jackknife standard error.

    Products of float32 rows are taken in float32, whose rounding averages out over the pairs; cubes and sums are
    float64. Give float64 rows for float64 products, at half the speed.

    Arguments:
        real: features, (N, D), N >= 2.
        fake: features, (M, D), M >= 2.

    Raises:
        LikelyError: a set has fewer than two rows, rows differ in length, or a value is not finite.
    """
    x, y = pair(real, fake, rows=2)
    with numpy_products():
        return unbiased(x, y.to(x.dtype), polynomial)


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
    values = torch.empty(subsets, dtype=torch.float64)
    with numpy_products():
        for subset in range(subsets):
            some, others = x[choose(len(x), size, generator)], y[choose(len(y), size, generator)]
            values[subset] = unbiased(some, others, polynomial).value
    return Subsets(float(values.mean()), float(values.std(correction=0)))
