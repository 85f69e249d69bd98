"""Two sets of values without any network: kernel distances in the space of the data, and tables column by column."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from likely.data.parts import Mapped
from likely.errors import LikelyError
from likely.evaluation.bootstrap import jackknife
from likely.evaluation.columns import column_distances, pair_distances
from likely.evaluation.results import Result, missing, result
from likely.evaluation.two_sample import features as rows_of
from likely.evaluation.two_sample import gaussian, kernel_distance, median_distance, polynomial
from likely.spaces import Binary, Finite, Real, Space, batches

PAIRED = 40  #: columns of a table up to which every pair is looked at
NUMBERS = 2**23  #: numbers of each set that kernel distances take at most: of more rows, random ones
GROUPS = 20  #: groups that the jackknife of a table leaves out in turn
ROWS = 20_000  #: rows of a table on disk that are looked through at once


def sample_distances(
    space: Space, real: Any, fake: Any, *, training: Any = None, seed: int = 0, split: str = "test"
) -> list[Result]:
    """Return the Gaussian and the polynomial kernel distance of `fake` from `real`, each beside its floor.

    The floor is the distance of real training data from the same real data, at the same number of rows: what a perfect
    model would show. The bandwidth of the Gaussian kernel is the median distance of the real data; where these are all
    equal there is none, and the result says so.

    Arguments:
        space: what one x is.
        real: held-out values of the space, (N, *shape); rows with missing values (NaN) are left out.
        fake: samples, (M, *shape).
        training: real values to hold against `real` for the floor; None leaves the floor out.
        seed: decides which rows are taken of very large sets.
        split: what `real` is called, for the protocol.

    Raises:
        LikelyError: a set has fewer than two complete rows, or the space is one of sequences.
    """
    real, fake = some_rows(space, real, seed), some_rows(space, fake, seed + 2)
    training = None if training is None else some_rows(space, training, seed + 1)
    real, complete = complete_rows(space, real), len(real)
    if len(real) < 2 or len(fake) < 2:
        raise LikelyError(f"a two-sample distance needs at least 2 rows in each set, not {len(real)} and {len(fake)}.")
    to_rows = rows_of(space, real)
    x, y = to_rows(real), to_rows(fake)
    base = to_rows(complete_rows(space, training)) if training is not None else None
    bandwidth = median_distance(x) if bool((x != x[:1]).any()) else None
    results = []
    for metric, kernel in (("mmd", None if bandwidth is None else gaussian(bandwidth)), ("kid", polynomial)):
        floor = None if base is None or kernel is None else kernel_distance(x, base, kernel)
        protocol: dict[str, Any] = {
            "n_real": len(x),
            "n_generated": len(y),
            "n_incomplete": complete - len(x),
            "split": split,
            "seed": seed,
            "features": "the data themselves",
            "bandwidth": bandwidth if kernel is not polynomial else None,
            "floor": None if floor is None else floor.value,
            "floor_standard_error": None if floor is None else floor.error,
            "floor_n": None if base is None else len(base),
        }
        if kernel is None:
            results.append(missing(metric, "all real rows are equal: there is no median distance.", **protocol))
        else:
            value, error = kernel_distance(x, y, kernel)
            results.append(result(metric, value, error, interval_method="jackknife", **protocol))
    return results


def table_distances(
    space: Space, real: Any, fake: Any, *, training: Any = None, seed: int = 0, split: str = "test"
) -> list[Result]:
    """Return the mean distance of the columns and that of the pairs of columns of two tables, each beside its floor.

    Columns of numbers have the Kolmogorov-Smirnov distance, bits and categories the total variation (`columns`). The
    intervals are the jackknife's, of the number at this n: both distances are biased upwards by few rows, as their
    floor is. Pairs are looked at in tables of 2 to 40 columns.

    Arguments:
        space: what one row is: one dimension, (D,).
        real: held-out rows, (N, D).
        fake: samples, (M, D).
        training: real rows for the floor; None leaves it out.
        seed: decides the groups of the jackknife.
        split: what `real` is called, for the protocol.

    Raises:
        LikelyError: the space is no table, or a column has no value.
    """
    if len(space.shape) != 1:
        raise LikelyError(f"{space} is no table: a row has one dimension.")
    x, y = (torch.as_tensor(values).double() for values in (real, fake))
    base = None if training is None else torch.as_tensor(training).double()
    kinds: range | tuple[int, ...] = ()
    if isinstance(space, Binary) or (isinstance(space, Finite) and not space.ordered):
        kinds = range(space.size)

    def columns(a: Tensor, b: Tensor) -> float:
        each = [column.distance for column in column_distances(a, b, categorical=kinds)]
        return sum(each) / len(each)

    def pairs(a: Tensor, b: Tensor) -> float:
        return pair_distances(a, b, categorical=kinds).value

    wanted = [("column_distance", columns)]
    wanted += [("pair_distance", pairs)] if 2 <= space.size <= PAIRED else []
    names = space.names or tuple(str(i) for i in range(space.size))
    results = []
    for metric, statistic in wanted:
        found = jackknife(statistic, x, y, groups=GROUPS, seed=seed)
        floor = None if base is None else jackknife(statistic, x, base, groups=GROUPS, seed=seed)
        each: dict[str, Any] = {}
        if statistic is columns:
            seen = column_distances(x, y, categorical=kinds)
            each["per_column"] = {name: one.distance for name, one in zip(names, seen, strict=True)}
        protocol: dict[str, Any] = {
            "n_real": len(x),
            "n_generated": len(y),
            "split": split,
            "seed": seed,
            "features": "the data themselves",
            "floor": None if floor is None else floor.value,
            "floor_standard_error": None if floor is None else floor.error,
            "floor_n": None if base is None else len(base),
        }
        ends = (found.low, found.high) if math.isfinite(found.error) else None
        results.append(
            result(metric, found.value, found.error, interval=ends, interval_method="jackknife", **protocol, **each)
        )
    return results


def some_rows(space: Space, x: Any, seed: int) -> Any:
    """Return x, or random rows of it where it holds more than `NUMBERS` numbers; what lies on disk is read."""
    one_hot = getattr(space, "levels", 1) if not getattr(space, "ordered", True) else 1
    most = max(2, NUMBERS // max(1, space.size * one_hot))
    if len(x) > most:
        rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:most].sort().values
        return torch.as_tensor(x[rows.numpy() if not isinstance(x, Tensor) else rows])
    return x if isinstance(x, Tensor) else torch.as_tensor(x[:])


def complete_rows(space: Space, x: Any) -> Any:
    """Return the rows of x without missing values; sets on disk stay there, and only tables of them are looked at."""
    if isinstance(x, Mapped):
        if x.complete or len(space.shape) != 1:
            return x
        known = np.concatenate([~np.isnan(x[cut]).any(1) for cut in batches(len(x), ROWS)])
        return x if known.all() else x.take(known.nonzero()[0])
    x = torch.as_tensor(x)
    return x[~x.flatten(1).isnan().any(1)] if isinstance(space, (Binary, Finite, Real)) and x.is_floating_point() else x
