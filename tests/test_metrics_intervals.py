"""Intervals: agreement with scipy and closed forms, and how often they cover."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from likely.errors import LikelyError
from likely.evaluation.bootstrap import bootstrap, jackknife
from likely.evaluation.frechet import frechet_distance


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mean(x):
    return float(x.mean())


def variance(x):
    return float(x.var())


def gap(x, y):
    return float(y.mean() - x.mean())


def coverage(interval, law, truth, trials):
    ends = [interval(torch.Generator().manual_seed(seed), law)[1:3] for seed in range(trials)]
    return np.mean([low <= truth <= high for low, high in ends])


def normal(generator):
    return torch.randn(60, generator=generator, dtype=torch.float64)


def skewed(generator):
    return -torch.rand(100, generator=generator, dtype=torch.float64).log()


def bca(generator, law, draws=200):
    return bootstrap(mean, law(generator), draws=draws)


def percentile(generator, law, draws=200):
    return bootstrap(mean, law(generator), draws=draws, method="percentile")


def groups(generator, law):
    return jackknife(mean, law(generator), groups=30)


CASES = [
    (bca, normal, 0.0),
    (percentile, normal, 0.0),
    (groups, normal, 0.0),
    (bca, skewed, 1.0),
    (groups, skewed, 1.0),
]


@pytest.mark.parametrize(("interval", "law", "truth"), CASES)
def test_intervals_cover(interval, law, truth):
    assert 0.89 <= coverage(interval, law, truth, 200) <= 0.99  # 0.95 give or take 4 standard errors


@pytest.mark.slow
@pytest.mark.parametrize(("interval", "law", "truth"), CASES)
def test_intervals_cover_as_often_as_they_say(interval, law, truth):
    more = {} if interval is groups else {"draws": 1000}
    assert 0.93 <= coverage(lambda g, p: interval(g, p, **more), law, truth, 1000) <= 0.97


@pytest.mark.parametrize("method", ["bca", "percentile"])
@pytest.mark.parametrize("statistic", [mean, variance])
def test_bootstrap_agrees_with_scipy(method, statistic):
    x = draw(80).exp()
    ours = bootstrap(statistic, x, draws=20_000, method=method)
    theirs = scipy.stats.bootstrap(
        (x.numpy(),),
        np.mean if statistic is mean else lambda v, axis: np.var(v, axis=axis, ddof=1),
        n_resamples=20_000,
        method=method,
        rng=np.random.default_rng(0),
    )
    width = ours.high - ours.low
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.04 * width)
    assert ours.error == pytest.approx(theirs.standard_error, rel=0.03)


def test_jackknife_of_a_mean_is_its_standard_error():
    x, y = draw(50), draw(30, seed=1) + 2
    result = jackknife(gap, x, y)
    assert result.error == pytest.approx(math.sqrt(float(x.var()) / 50 + float(y.var()) / 30))
    half = scipy.stats.t.ppf(0.975, 78) * result.error
    assert result[:3] == pytest.approx((gap(x, y), gap(x, y) - half, gap(x, y) + half))
    in_groups = jackknife(gap, x, y, groups=10, level=0.5)
    assert in_groups.error == pytest.approx(result.error, rel=0.5)
    assert in_groups.high - in_groups.low < 2 * half


def test_bootstrap_of_two_sets_and_of_a_level():
    x, y = draw(100), draw(80, seed=1) + 1
    wide, narrow = bootstrap(gap, x, y), bootstrap(gap, x, y, level=0.5)
    assert wide.low < narrow.low < wide.value < narrow.high < wide.high
    assert wide.error == pytest.approx(jackknife(gap, x, y).error, rel=0.15)
    assert bootstrap(gap, x, y) == wide != bootstrap(gap, x, y, seed=1)


def test_repeated_rows_bias_what_looks_at_closeness():
    x, y = draw(100, 5), draw(100, 5, seed=1)
    distance = lambda a, b: frechet_distance(a, b).value  # noqa: E731
    assert bootstrap(distance, x, y, draws=50, method="percentile").low > distance(
        x, y
    )  # the trap: the bias comes twice
    result = jackknife(distance, x, y)
    assert result.low < distance(x, y) < result.high


def test_a_constant_has_an_interval_of_no_width():
    x = torch.ones(20)
    for result in (bootstrap(mean, x), bootstrap(mean, x, method="percentile"), jackknife(mean, x)):
        assert result == (1, 1, 1, 0)


def test_what_has_no_interval_is_said():
    x = draw(10)
    with pytest.raises(LikelyError, match="at least 2 rows"):
        bootstrap(mean, x[:1])
    with pytest.raises(LikelyError, match="at least 2 rows"):
        jackknife(mean)
    with pytest.raises(LikelyError, match="20 draws"):
        bootstrap(mean, x, draws=10)
    with pytest.raises(LikelyError, match="2 groups"):
        jackknife(mean, x, groups=1)
    with pytest.raises(LikelyError, match="level"):
        jackknife(mean, x, level=95)
    with pytest.raises(LikelyError, match="nan"):
        bootstrap(lambda x: math.nan, x)
