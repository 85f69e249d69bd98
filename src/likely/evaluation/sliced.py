r"""The sliced Wasserstein distance: the mean transport cost of two sets over one-dimensional projections.

SW_p^p = E_u W_p^p(u.x, u.y) over directions u uniform on the sphere. In one dimension the optimal transport joins
sorted values, so that it costs n log n for each direction and is exact for any two sizes. It is 0 only for equal laws.

How it is fooled: in D dimensions a shift of length s has s^2 / D at p = 2, and a difference in few directions is seen
by few projections: it sees less as D grows. It is biased upwards by finite samples: read it beside that of training
data from test data at the same n. Features with large scales outweigh the others.

Reference: Bonneel, Rabin, Peyré and Pfister, Sliced and Radon Wasserstein Barycenters of Measures, 2015,
doi.org/10.1007/s10851-014-0506-3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from likely.errors import LikelyError
from likely.evaluation.matrices import Measured, pair
from likely.spaces import batches

NUMBERS = 2**22  #: projected values that are held at once


def sliced_wasserstein(
    real: Any,
    fake: Any,
    *,
    p: float = 2.0,
    projections: int = 1000,
    seed: int = 0,
    tell: Callable[[float], None] = lambda done: None,
) -> Measured:
    """Return SW_p^p of two sets of rows (for p = 2 the squared distance) and its error over the directions drawn.

    Arguments:
        real: features, (N, D).
        fake: features, (M, D).
        p: the power of the distance that transport costs, at least 1.
        projections: how many directions.
        seed: decides the directions.
        tell: is told now and then how much is done, from 0 to 1.

    Raises:
        LikelyError: p is below 1, there is no direction, rows differ in length, or a value is not finite.

    Example:
        >>> import torch
        >>> x = torch.randn(50, 1)
        >>> round(sliced_wasserstein(x, x + 3).value, 6)
        9.0
    """
    if not (1 <= p < math.inf) or projections < 1:
        raise LikelyError(f"take p of at least 1 and a projection or more, not p = {p} and {projections}.")
    x, y = pair(real, fake)
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(x.shape[1], projections, generator=generator, dtype=torch.float64)
    directions /= directions.norm(dim=0)
    centre = x.mean(0, dtype=torch.float64)  # nothing is lost by large common offsets
    costs = torch.empty(projections, dtype=torch.float64)
    for some in batches(projections, max(1, NUMBERS // (len(x) + len(y)))):
        costs[some] = transport_cost(
            _project(x, centre, directions[:, some]), _project(y, centre, directions[:, some]), p
        )
        tell(some.stop / projections)
    error = float(costs.std()) / math.sqrt(projections) if projections > 1 else None
    return Measured(float(costs.mean()), error)


def transport_cost(x: Tensor, y: Tensor, p: float) -> Tensor:
    """Return W_p^p of the columns of x, (N, K), and y, (M, K): the integral of |quantile - quantile|^p, (K,)."""
    x, y = x.sort(0).values, y.sort(0).values
    n, m = len(x), len(y)
    if n == m:
        return (x - y).abs().pow(p).mean(0)
    # both quantile functions are constant between the levels i / n and j / m, here in whole units of 1 / (n m)
    levels = torch.cat([torch.arange(0, n) * m, torch.arange(1, m + 1) * n]).unique()
    widths, starts = levels.diff().double() / (n * m), levels[:-1]
    return widths @ (x[starts // m] - y[starts // n]).abs().pow(p)


def _project(x: Tensor, centre: Tensor, directions: Tensor) -> Tensor:
    return torch.cat([(x[rows] - centre) @ directions for rows in batches(len(x), 2048)])
