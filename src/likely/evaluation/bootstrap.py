r"""Intervals for any statistic of one or more sets of rows, by recomputing it on other draws of the same rows.

The bootstrap draws rows with replacement. "percentile" takes the quantiles of the statistic over the draws, "bca" moves
them by the bias z0 = Phi^{-1}(share of draws below the value) and the skewness a (from the jackknife), which makes the
error of the coverage fall as 1 / n instead of 1 / sqrt(n). The jackknife leaves out one group of rows at a time and
takes a Student interval.

When they fail: drawing with replacement repeats rows. Where a statistic looks at rows that are close (balls, nearest
neighbours, entropies) or is biased as the Frechet distance is, repeats look like copies, and the bootstrap adds the
bias a second time: use the jackknife there, which repeats nothing. Neither helps where the statistic is not smooth (a
maximum) or where its first-order effect vanishes (a squared distance of two equal laws). Few rows (below about 20)
give intervals that are too short.

Reference: Efron, Better Bootstrap Confidence Intervals, 1987, doi.org/10.1080/01621459.1987.10478410; Miller, The
Jackknife: A Review, 1974, doi.org/10.1093/biomet/61.1.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from likely.errors import LikelyError

GROUPS = 100  #: groups that the jackknife leaves out in turn, where there are more rows than that

Statistic = Callable[..., float]  #: called with as many sets of rows as were given


class Interval(NamedTuple):
    """The statistic of the sets as they are, the ends of its interval, and its standard error."""

    value: float
    low: float
    high: float
    error: float


def bootstrap(
    statistic: Statistic,
    *sets: Any,
    draws: int = 1000,
    level: float = 0.95,
    method: Literal["bca", "percentile"] = "bca",
    seed: int = 0,
) -> Interval:
    """Return a statistic of one or more independent sets of rows with its bootstrap interval.

    Arguments:
        statistic: a function of as many tensors of rows as sets are given; returns a finite number.
        sets: tensors or arrays whose first dimension counts independent rows, at least two.
        draws: how many times all sets are drawn anew, at least 20.
        level: how often the interval should cover.
        method: "bca" (corrected for bias and skewness) or "percentile".
        seed: decides the draws.

    Raises:
        LikelyError: a set has fewer than two rows, an option is out of range, or the statistic is not finite.

    Example:
        >>> import torch
        >>> bootstrap(lambda x: float(x.mean()), torch.arange(100.0)).value
        49.5
    """
    if draws < 20 or method not in ("bca", "percentile"):
        raise LikelyError(f"take at least 20 draws, and bca or percentile, not {draws}, {method}.")
    parts = _sets(sets, level)
    value = _finite(statistic(*parts))
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.empty(draws, dtype=torch.float64)
    for draw in range(draws):
        again = [x[torch.randint(len(x), (len(x),), generator=generator)] for x in parts]
        drawn[draw] = _finite(statistic(*again))
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    if method == "bca" and bool((drawn != drawn[0]).any()):
        ends = _corrected(ends, value, drawn, _skewness(statistic, parts))
    low, high = drawn.quantile(ends).tolist()
    return Interval(value, low, high, float(drawn.std()))


def jackknife(statistic: Statistic, *sets: Any, groups: int = GROUPS, level: float = 0.95, seed: int = 0) -> Interval:
    """Return a statistic of one or more independent sets of rows with its delete-a-group jackknife interval.

    Each set is cut at random into `groups` groups (or into its rows, if they are fewer), and the statistic is computed
    without each of them. The variances that the sets contribute add.

    Arguments:
        statistic: a function of as many tensors of rows as sets are given; returns a finite number.
        sets: tensors or arrays whose first dimension counts independent rows, at least two.
        groups: how many groups, at least 2.
        level: how often the interval should cover.
        seed: decides the groups.

    Raises:
        LikelyError: a set has fewer than two rows, an option is out of range, or the statistic is not finite.
    """
    from scipy.stats import t

    if groups < 2:
        raise LikelyError(f"take at least 2 groups, not {groups}.")
    parts = _sets(sets, level)
    value = _finite(statistic(*parts))
    variance, freedom = 0.0, 0
    for left in _without(statistic, parts, groups, seed):
        variance += (len(left) - 1) * float(left.var(correction=0))
        freedom += len(left) - 1
    half = float(t.ppf((1 + level) / 2, freedom)) * math.sqrt(variance)
    return Interval(value, value - half, value + half, math.sqrt(variance))


def _sets(sets: tuple[Any, ...], level: float) -> list[Tensor]:
    parts = [torch.as_tensor(values) for values in sets]
    if not parts or any(x.dim() == 0 or len(x) < 2 for x in parts):
        raise LikelyError("an interval needs one or more sets of at least 2 rows each.")
    if not 0 < level < 1:
        raise LikelyError(f"the level of an interval lies between 0 and 1, not at {level}.")
    return parts


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise LikelyError(f"the statistic is {value} on some draw of the rows; it has no interval.")
    return float(value)


def _without(statistic: Statistic, parts: list[Tensor], groups: int, seed: int) -> list[Tensor]:
    """Return, for each set, the statistic without each group of it."""
    generator = torch.Generator().manual_seed(seed)
    results = []
    for place, x in enumerate(parts):
        group = torch.randperm(len(x), generator=generator) % min(groups, len(x))
        values = []
        for left_out in range(min(groups, len(x))):
            kept = [*parts[:place], x[group != left_out], *parts[place + 1 :]]
            values.append(_finite(statistic(*kept)))
        results.append(torch.tensor(values, dtype=torch.float64))
    return results


def _skewness(statistic: Statistic, parts: list[Tensor]) -> float:
    """Return the acceleration a = sum u^3 / (6 (sum u^2)^{3/2}) of the effects u of the rows of all sets."""
    effects = [(left.mean() - left) * (len(left) - 1) / len(left) for left in _without(statistic, parts, GROUPS, 0)]
    joined = torch.cat(effects)
    squares = float(joined.square().sum())
    return float(joined.pow(3).sum()) / (6 * squares**1.5) if squares > 0 else 0.0


def _corrected(ends: Tensor, value: float, drawn: Tensor, a: float) -> Tensor:
    """Move the ends of an interval of shares by bias and skewness (equation 2.3 of Efron, 1987)."""
    below = float((drawn < value).double().mean() + (drawn == value).double().mean() / 2)
    below = min(max(below, 0.5 / len(drawn)), 1 - 0.5 / len(drawn))
    z0 = torch.special.ndtri(torch.tensor(below, dtype=torch.float64))
    z = z0 + torch.special.ndtri(ends)
    return torch.special.ndtr(z0 + z / (1 - a * z))
