r"""Two tables, column by column and pair by pair.

A column of numbers: the Kolmogorov-Smirnov distance sup |F - G| of the two distribution functions, from 0 to 1, and the
Wasserstein-1 distance, the integral of |F - G| in the column's own unit. A column of categories: the total variation
sum |p - q| / 2 of the two histograms. A pair of columns of numbers: |r - s| / 2 of the two Pearson correlations; any
other pair: the total variation of the two tables of counts, numbers cut at the deciles of the real ones. All but the
Wasserstein distance are from 0 (equal) to 1.

How they are fooled: a table whose columns are shuffled independently has all column distances 0: read the pairs; one
whose pairs are right may still be wrong in three columns at once: read a two-sample test. A total variation of many
categories in few rows is far from 0 for equal laws (about sqrt(K / (pi n)) for K equal categories, n rows each).

Missing numbers (NaN) are left out of their column, and their shares are compared.

Reference: SDMetrics, Correlation Similarity and Contingency Similarity, docs.sdv.dev/sdmetrics; Patki, Wedge and
Veeramachaneni, The Synthetic Data Vault, 2016, doi.org/10.1109/DSAA.2016.49.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from typing import Any, NamedTuple

import torch
from torch import Tensor

from likely.errors import LikelyError
from likely.evaluation.sliced import transport_cost

PARTS = 10  #: parts into which a column of numbers is cut beside a column of categories


class Column(NamedTuple):
    """How one column differs.

    `distance` is the Kolmogorov-Smirnov distance of numbers or the total variation of categories, `wasserstein` in the
    column's unit (None for categories), `missing` the fake minus the real share of missing values.
    """

    column: int
    categorical: bool
    distance: float
    wasserstein: float | None
    missing: float


class Pairs(NamedTuple):
    """The mean distance over all pairs of columns, and the symmetric matrix of them, (D, D), zero on its diagonal."""

    value: float
    distances: Tensor


def column_distances(real: Any, fake: Any, *, categorical: Collection[int] = ()) -> list[Column]:
    """Return how each column of two tables differs.

    Arguments:
        real: a table, (N, D); NaN is missing.
        fake: a table, (M, D).
        categorical: the numbers of the columns whose values have no order.

    Raises:
        LikelyError: a table is empty or has infinite values, rows differ in length, or a column has no value.
    """
    x, y = _tables(real, fake, categorical)
    result = []
    for column in range(x.shape[1]):
        a, b = (values[:, column][~values[:, column].isnan()] for values in (x, y))
        if not len(a) or not len(b):
            raise LikelyError(
                f"column {column} has only missing values in {'the fake' if len(a) else 'the real'} table."
            )
        missing = (1 - len(b) / len(y)) - (1 - len(a) / len(x))
        if column in categorical:
            result.append(Column(column, True, total_variation(a, b), None, missing))
        else:
            cost = float(transport_cost(a[:, None], b[:, None], 1.0))
            result.append(Column(column, False, kolmogorov_smirnov(a, b), cost, missing))
    return result


def pair_distances(real: Any, fake: Any, *, categorical: Collection[int] = ()) -> Pairs:
    """Return how the dependence of each pair of columns differs between two tables.

    Only rows in which both columns are known count. A constant column has correlation 0 with every other.

    Arguments:
        real: a table, (N, D), D >= 2; NaN is missing.
        fake: a table, (M, D).
        categorical: the numbers of the columns whose values have no order.

    Raises:
        LikelyError: a table is empty or has infinite values, rows differ in length, there is one column only, or two
            columns are never both known.
    """
    x, y = _tables(real, fake, categorical)
    columns = x.shape[1]
    if columns < 2:
        raise LikelyError("pairs of columns need at least two columns.")
    distances = torch.zeros(columns, columns, dtype=torch.float64)
    for i, j in itertools.combinations(range(columns), 2):
        a, b = (values[:, [i, j]][~values[:, [i, j]].isnan().any(1)] for values in (x, y))
        if not len(a) or not len(b):
            raise LikelyError(
                f"columns {i} and {j} are never both known in {'the fake' if len(a) else 'the real'} table."
            )
        if i in categorical or j in categorical:
            numbers = [place for place, column in enumerate((i, j)) if column not in categorical]
            distance = total_variation(*_cut(a, b, numbers))
        else:
            distance = abs(_correlation(a) - _correlation(b)) / 2
        distances[i, j] = distances[j, i] = distance
    return Pairs(float(distances.sum()) / (columns * (columns - 1)), distances)


def kolmogorov_smirnov(a: Tensor, b: Tensor) -> float:
    """Return sup |F - G| of two sets of numbers, (N,) and (M,)."""
    a, b = a.sort().values, b.sort().values
    steps = torch.cat([a, b])
    shares = [torch.searchsorted(values, steps, right=True).double() / len(values) for values in (a, b)]
    return float((shares[0] - shares[1]).abs().max())


def total_variation(a: Tensor, b: Tensor) -> float:
    """Return sum |p - q| / 2 over the different values of two sets, (N, ...) and (M, ...)."""
    index = torch.cat([a, b]).unique(dim=0, return_inverse=True)[1]
    size = int(index.max()) + 1
    p, q = (part.bincount(minlength=size).double() / len(part) for part in (index[: len(a)], index[len(a) :]))
    return float((p - q).abs().sum()) / 2


def _tables(real: Any, fake: Any, categorical: Collection[int]) -> tuple[Tensor, Tensor]:
    x, y = (torch.as_tensor(values).detach().cpu().double() for values in (real, fake))
    if x.dim() != 2 or y.dim() != 2 or x.shape[1] != y.shape[1] or 0 in (len(x), len(y), x.shape[1]):
        raise LikelyError(f"give two tables with the same columns, not {tuple(x.shape)} and {tuple(y.shape)}.")
    if bool(x.isinf().any()) or bool(y.isinf().any()):
        raise LikelyError("a table has infinite values; remove them first.")
    wrong = [column for column in categorical if not 0 <= column < x.shape[1]]
    if wrong:
        raise LikelyError(f"there is no column {wrong[0]} in a table of {x.shape[1]} columns.")
    return x, y


def _correlation(values: Tensor) -> float:
    centred = values - values.mean(0)
    lengths = centred.norm(dim=0)
    if bool((lengths <= 1e-12 * values.norm(dim=0)).any()):
        return 0.0
    return float(centred[:, 0] @ centred[:, 1] / lengths.prod())


def _cut(a: Tensor, b: Tensor, numbers: list[int]) -> tuple[Tensor, Tensor]:
    """Replace the columns of numbers by the decile of the real numbers that each lies in."""
    a, b = a.clone(), b.clone()
    levels = torch.arange(1, PARTS, dtype=torch.float64) / PARTS
    for place in numbers:
        edges = a[:, place].quantile(levels) if len(a) < 2**24 else a[:, place].sort().values[(levels * len(a)).long()]
        for values in (a, b):
            values[:, place] = torch.searchsorted(edges, values[:, place].contiguous()).double()
    return a, b
