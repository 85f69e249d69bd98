r"""Precision, recall, density and coverage: do the samples lie where the data lie, and do they cover all of it?

Around every real row is a ball that reaches to its k-th nearest other real row, and around every fake row likewise.

- precision: the share of the fakes that lie in a ball of a real row (fidelity);
- recall: the share of the real rows that lie in a ball of a fake (diversity);
- density: the number of real balls around a fake, divided by k, on average (fidelity, unmoved by one outlier; about 1
  for equal laws, may exceed 1);
- coverage: the share of the real rows whose own ball holds a fake (diversity; see `expected_coverage`).

How they are fooled: precision by one real outlier whose ball holds everything, recall by a few fakes far apart, all
four by copies of the training data. They depend strongly on n, on k and on the number of dimensions (two samples of the
same law, 10,000 rows in 1,000 dimensions, have precision 0.48): never compare across these.

Distances are decided in float64 at the cost of float32: a product in float32 bounds every squared distance from below
and from above, and only the few pairs whose bounds leave a comparison open are computed again, by float64 differences.
The pass is blocked and holds one block of distances. Where very many rows coincide, most pairs stay open: it is slow.

Reference: Kynkäänniemi, Karras, Laine, Lehtinen and Aila, Improved Precision and Recall Metric for Assessing Generative
Models, 2019, arxiv.org/abs/1904.06991; Naeem, Oh, Uh, Choi and Yoo, Reliable Fidelity and Diversity Metrics for
Generative Models, 2020, arxiv.org/abs/2002.09797.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from likely.errors import LikelyError
from likely.evaluation.matrices import Measured, full_precision, pair
from likely.spaces import batches

ROWS = 1024  #: rows and columns of one block of distances
NUMBERS = 2**19  #: numbers that are held at once where pairs are computed again
HELD = 2**26  #: numbers of a set up to which its float32 rows are held; those of a larger one are made block by block
UNDERFLOW = 1e-30  #: more than float32 loses near 0, where the longest row has length 1
SPARE = 4  #: nearest rows kept beyond the k-th, among which rounding may have changed the order


class Manifold(NamedTuple):
    """The four shares, each with its standard error over the rows it averages, given the balls."""

    precision: Measured
    recall: Measured
    density: Measured
    coverage: Measured


def manifold(
    real: Any, fake: Any, k: int = 5, *, strict: bool = False, tell: Callable[[float], None] = lambda done: None
) -> Manifold:
    """Return improved precision and recall, density and coverage of two sets of rows, in one pass.

    Arguments:
        real: features, (N, D), N > k.
        fake: features, (M, D), M > k.
        k: which neighbour a ball reaches to: 3 is usual for precision and recall, 5 for density and coverage.
        strict: whether a row at exactly the radius lies outside (as in the `prdc` package) instead of inside. It
            matters for rows that coincide: with `strict`, two equal sets of one repeated row have coverage 0, else 1.
        tell: is told now and then how much is done, from 0 to 1.

    Raises:
        LikelyError: k is below 1, a set has no more than k rows, rows differ in length, or a value is not finite.

    Example:
        >>> import torch
        >>> x = torch.randn(200, 2)
        >>> [share.value for share in manifold(x, x)][:2]
        [1.0, 1.0]
    """
    if k < 1:
        raise LikelyError(f"k must be at least 1, not {k}.")
    x, y = pair(real, fake, rows=k + 1)
    centre = x.sum(0, dtype=torch.float64) / len(x)
    reach = max(_reach(x, centre), _reach(y, centre))
    scale = 1 / reach if reach > 0 else 1.0
    with full_precision():
        real_rows, fake_rows = _rows(x, centre, scale), _rows(y, centre, scale)
        work = len(x) ** 2 / 2, len(y) ** 2 / 2, len(x) * len(y)
        real_radii = _radii(real_rows, k, lambda done: tell(done * work[0] / sum(work)))
        fake_radii = _radii(fake_rows, k, lambda done: tell((work[0] + done * work[1]) / sum(work)))
        around = torch.zeros(len(y), dtype=torch.float64)  # of each fake: the real balls that it lies in
        recalled, covered = torch.zeros(len(x), dtype=torch.bool), torch.zeros(len(x), dtype=torch.bool)
        for rows in batches(len(x), ROWS):
            for columns in batches(len(y), ROWS):
                low = _lower_bounds(real_rows, rows, fake_rows, columns)
                block = (real_rows, rows, fake_rows, columns, low)
                in_real = _inside(*block, real_radii[rows, None], strict)
                in_fake = _inside(*block, fake_radii[columns], strict)
                around[columns] += in_real.sum(0)
                covered[rows] |= in_real.any(1)
                recalled[rows] |= in_fake.any(1)
            tell(1 - (1 - rows.stop / len(x)) * work[2] / sum(work))
    shares = (around > 0).double(), recalled.double(), around / k, covered.double()
    return Manifold(*(_mean(share) for share in shares))


def expected_coverage(n: int, m: int, k: int = 5) -> float:
    """Return the mean coverage of n real rows by m fakes of the same law: 1 - prod_{i=1..k} (n - i) / (m + n - i).

    Example:
        >>> round(expected_coverage(10_000, 10_000, 5), 5)
        0.96877
    """
    return 1 - math.prod((n - i) / (m + n - i) for i in range(1, k + 1))


class _Rows(NamedTuple):
    """Rows as given, and moved and scaled into the unit ball in float32, with their squared lengths."""

    exact: Tensor
    single: Tensor | None  #: None where they are not held
    square: Tensor
    centre: Tensor
    scale: float

    def block(self, rows: slice) -> Tensor:
        """Return some rows in float32."""
        if self.single is not None:
            return self.single[rows]
        return ((self.exact[rows] - self.centre) * self.scale).float()


def _reach(values: Tensor, centre: Tensor) -> float:
    return max(float((values[rows] - centre).square().sum(1).max()) for rows in batches(len(values), ROWS)) ** 0.5


def _rows(values: Tensor, centre: Tensor, scale: float) -> _Rows:
    found = _Rows(values, None, torch.empty(len(values)), centre, scale)
    single = torch.empty(values.shape, dtype=torch.float32) if values.numel() <= HELD else None
    for rows in batches(len(values), ROWS):
        some = found.block(rows)
        found.square[rows] = some.square().sum(1)
        if single is not None:
            single[rows] = some
    return found._replace(single=single)


def _relative(rows_: _Rows) -> float:
    """Return c such that float32 changes a squared distance by no more than c (|x|^2 + |y|^2) + UNDERFLOW.

    A product of D terms is off by D units in the last place at most; 32 more cover centring, squaring and adding.
    """
    return (rows_.exact.shape[1] + 32) * 2.0**-24


def _lower_bounds(a: _Rows, rows: slice, b: _Rows, columns: slice) -> Tensor:
    """Return lower bounds of the squared distances in scaled units: (|x|^2 + |y|^2)(1 - c) - 2 x.y - UNDERFLOW."""
    kept = 1 - _relative(a)
    squares = (kept * a.square[rows, None] - UNDERFLOW) + kept * b.square[columns]
    return squares.addmm_(a.block(rows), b.block(columns).T, alpha=-2)


def _width(a: _Rows, i: Tensor, b: _Rows, j: Tensor) -> Tensor:
    """Return the upper minus the lower bounds of pairs of rows."""
    return 2 * _relative(a) * (a.square[i] + b.square[j]) + 2 * UNDERFLOW


def _squared(a: _Rows, i: Tensor, b: _Rows, j: Tensor) -> Tensor:
    """Return |x_i - y_j|^2 of pairs of rows, in the units of the data, by float64 differences."""
    result = torch.empty(len(i), dtype=torch.float64)
    for pairs in batches(len(i), max(1, NUMBERS // a.exact.shape[1])):
        difference = a.exact[i[pairs]].double() - b.exact[j[pairs]].double()
        result[pairs] = difference.square_().sum(1)
    return result


def _inside(a: _Rows, rows: slice, b: _Rows, columns: slice, low: Tensor, radii: Tensor, strict: bool) -> Tensor:
    """Return which pairs of a block are no further apart than a squared radius, given in the units of the data."""
    limits, radii = (radii * a.scale**2).float().expand_as(low), radii.expand_as(low)
    inside = low < limits if strict else low <= limits
    i, j = inside.nonzero(as_tuple=True)
    high = low[i, j] + _width(a, i + rows.start, b, j + columns.start)
    unsure = high >= limits[i, j]
    i, j = i[unsure], j[unsure]
    squared = _squared(a, i + rows.start, b, j + columns.start)
    inside[i, j] = squared < radii[i, j] if strict else squared <= radii[i, j]
    return inside


def _radii(rows_: _Rows, k: int, tell: Callable[[float], None]) -> Tensor:
    """Return the squared distance of each row to its k-th nearest other row, (N,), exact to float64."""
    n = len(rows_.exact)
    keep = min(k + SPARE, n - 1)
    near = torch.full((n, keep), torch.inf)
    where = torch.zeros((n, keep), dtype=torch.long)

    def merge(rows: slice, columns: slice, low: Tensor) -> None:
        nearest, index = low.topk(min(keep, low.shape[1]), largest=False)
        nearest, index = torch.cat([near[rows], nearest], 1), torch.cat([where[rows], index + columns.start], 1)
        near[rows], chosen = nearest.topk(keep, largest=False)
        where[rows] = index.gather(1, chosen)

    for rows in batches(n, ROWS):
        for columns in batches(n, ROWS):
            if columns.start < rows.start:
                continue  # the same pairs as in the mirrored block
            low = _lower_bounds(rows_, rows, rows_, columns)
            if rows == columns:
                merge(rows, columns, low.fill_diagonal_(torch.inf))
            else:
                merge(rows, columns, low)
                merge(columns, rows, low.T.contiguous())
        tell(1 - (1 - rows.stop / n) ** 2)

    # of the rows kept, those that may be the k-th nearest or nearer
    high = near + _width(rows_, torch.arange(n)[:, None], rows_, where)
    limit = high.kthvalue(k, 1, keepdim=True).values
    exact = torch.full((n, keep), torch.inf, dtype=torch.float64)
    i, place = (near <= limit).nonzero(as_tuple=True)
    exact[i, place] = _squared(rows_, i, rows_, where[i, place])
    radii = exact.kthvalue(k, 1).values
    # a row that was not kept is at least as far as the last one kept: is that far enough?
    settled = (near[:, -1].double() >= radii * rows_.scale**2) | (radii == 0) | (keep == n - 1)
    for row in (~settled).nonzero()[:, 0].tolist():
        radii[row] = _radius(rows_, row, k, float(limit[row]))
    return radii


def _radius(rows_: _Rows, row: int, k: int, limit: float) -> Tensor:
    """Return the squared distance of one row to its k-th nearest other row, among all that may be within the limit."""
    cuts = batches(len(rows_.exact), ROWS)
    low = torch.cat([_lower_bounds(rows_, slice(row, row + 1), rows_, columns)[0] for columns in cuts])
    low[row] = torch.inf
    j = (low <= limit).nonzero()[:, 0]
    return _squared(rows_, torch.full_like(j, row), rows_, j).kthvalue(k).values


def _mean(values: Tensor) -> Measured:
    return Measured(float(values.mean()), float(values.std()) / math.sqrt(len(values)))
