"""One Gaussian against scipy, scikit-learn, and brute force over what is missing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA

import likely
from likely.core import Bijective, Density, Weighted
from likely.models import gaussian


def data(rows, size, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.standard_normal((rows, size)) @ rng.standard_normal((size, size)) + 3)


def fitted(x, passes=1, **numbers):
    model = gaussian.build(likely.Real(tuple(x.shape[1:])), **numbers)
    model.start(x)
    for _ in range(passes):
        model.m_step(model.e_step(x))
    return model


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 5), st.integers(0, 99), st.sampled_from([1e-6, 1.0, 1e6]))
def test_full_is_the_sample_mean_and_covariance_in_any_units(size, seed, unit):
    x = data(40, size, seed) * unit
    model = fitted(x, floor=1e-9)
    mean, covariance = x.numpy().mean(0), np.atleast_2d(np.cov(x.numpy().T, bias=True))
    assert model.means[0].numpy() == pytest.approx(mean, rel=1e-9)
    assert model.covariances[0].numpy() == pytest.approx(covariance, rel=1e-7, abs=1e-9 * covariance.max())
    expected = multivariate_normal(mean, covariance, allow_singular=True).logpdf(x.numpy())
    if np.linalg.cond(covariance) < 1e6:
        assert model.log_prob(x).numpy() == pytest.approx(expected, abs=1e-6)


def test_weights_count_rows():
    x = data(30, 3)
    weight = torch.arange(30.0)
    model = gaussian.build(likely.Real((3,)))
    model.start(x)
    model.m_step(model.e_step(x, weight=weight))
    expected = np.cov(x.numpy().T, aweights=weight.numpy(), bias=True)
    assert model.covariances[0].numpy() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("rank", [1, 3, 6, 7, 20])
def test_ppca_is_probabilistic_pca(rank):
    x = data(60, 8)
    model = fitted(x, covariance="ppca", rank=rank, floor=1e-9)
    # scikit-learn divides by N - 1: scale the rows so that both see the same sample covariance
    shrunk = (x - x.mean(0)) * np.sqrt(59 / 60)
    oracle = PCA(min(rank, 8)).fit(shrunk.numpy())
    expected = oracle.get_covariance()
    assert model.covariances[0].numpy() == pytest.approx(expected, rel=1e-7, abs=1e-9)
    assert model.log_prob(x).mean().item() == pytest.approx(oracle.score((x - x.mean(0)).numpy()), abs=1e-7)


def test_float32_with_a_huge_offset_loses_nothing():
    """The values are whole numbers, so that float32 holds them exactly at 1e7."""
    x = (data(200, 3) * 20).round()
    near = fitted(x)
    far = fitted((x + 1e7).float())
    assert far.covariances.numpy() == pytest.approx(near.covariances.numpy(), rel=1e-9)
    assert far.log_prob((x + 1e7).float()).numpy() == pytest.approx(near.log_prob(x).numpy(), abs=1e-4)


@pytest.mark.parametrize("covariance", ["full", "diagonal", "spherical", "lowrank", "ppca"])
@pytest.mark.parametrize(
    "x",
    [
        torch.full((1, 4), 1e8),
        torch.full((50, 4), 0.1),
        torch.zeros(3, 4),
        torch.randn(3, 40, generator=torch.Generator().manual_seed(0)),
        torch.cat([torch.randn(20, 2, generator=torch.Generator().manual_seed(0)), torch.full((20, 2), 1e8)], 1),
        torch.linspace(0, 1, 20)[:, None].repeat(1, 3),
    ],
    ids=["one row", "constant", "zeros", "fewer rows than columns", "constant columns", "equal columns"],
)
def test_degenerate_data_give_a_proper_density(x, covariance):
    model = fitted(x, covariance=covariance, rank=2)
    scores = model.log_prob(x)
    assert scores.isfinite().all()
    assert model.sample(10, seed=0).isfinite().all()
    assert model.log_prob(x * 1.1 + 1).mean() < scores.mean()


def test_overflow_is_one_line():
    with pytest.raises(likely.LikelyError, match="overflow"):
        fitted(torch.tensor([[1e300], [-1e300]], dtype=torch.float64))


def test_the_floor_is_the_best_covariance_under_its_constraint():
    """Nudging the covariance anywhere within the constraint lowers the likelihood."""
    x = data(5, 4)
    x[:, 3] = x[:, 0] + x[:, 1]
    floor = 0.05
    model = fitted(x, floor=floor, shrink=False)
    best = float(model.log_prob(x).sum())
    scale = np.diag(model.scale.numpy())
    standard = np.linalg.inv(scale) @ model.covariances[0].numpy() @ np.linalg.inv(scale)
    assert np.linalg.eigvalsh(standard).min() == pytest.approx(floor, rel=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(50):
        nudge = rng.standard_normal((4, 4)) * 0.02
        values, vectors = np.linalg.eigh(standard + nudge + nudge.T)
        other = scale @ ((vectors * values.clip(floor)) @ vectors.T) @ scale
        assert multivariate_normal(model.means[0].numpy(), other).logpdf(x.numpy()).sum() <= best + 1e-9


def test_missing_values_reach_the_maximum_of_the_marginal_likelihood():
    """Numerical optimisation of the observed-data likelihood, written out row by row, finds the same optimum."""
    x = data(25, 2, seed=1)
    x[torch.rand(25, 2, generator=torch.Generator().manual_seed(1)) < 0.3] = torch.nan
    x = x[~x.isnan().all(1)]
    model = fitted(x, passes=200, floor=1e-9)

    def negative(theta):
        factor = np.array([[np.exp(theta[2]), 0], [theta[3], np.exp(theta[4])]])
        mean, covariance = theta[:2], factor @ factor.T
        total = 0.0
        for row in x.numpy():
            o = ~np.isnan(row)
            total -= multivariate_normal(mean[o], covariance[np.ix_(o, o)]).logpdf(row[o])
        return total

    best = minimize(negative, np.r_[np.nanmean(x.numpy(), 0), 0, 0, 0], method="BFGS", options={"gtol": 1e-4})
    assert float(model.log_prob(x).sum()) == pytest.approx(-best.fun, abs=1e-5)
    assert model.means[0].numpy() == pytest.approx(best.x[:2], abs=1e-3)


def test_marginals_and_conditionals_are_those_of_the_blocks():
    x = data(100, 5)
    model = fitted(x)
    mean, covariance = model.means[0].numpy(), model.covariances[0].numpy()
    known = torch.tensor([True, False, True, False, False])
    o, u = known.numpy(), ~known.numpy()
    expected = multivariate_normal(mean[o], covariance[np.ix_(o, o)]).logpdf(x.numpy()[:, o])
    assert model.log_marginal(x, known).numpy() == pytest.approx(expected, abs=1e-9)
    gain = covariance[np.ix_(u, o)] @ np.linalg.inv(covariance[np.ix_(o, o)])
    draws = model.complete(x[:1].repeat(40_000, 1), known, seed=0).numpy()[:, u]
    assert draws.mean(0) == pytest.approx(mean[u] + gain @ (x.numpy()[0, o] - mean[o]), abs=0.1)
    left = covariance[np.ix_(u, u)] - gain @ covariance[np.ix_(o, u)]
    assert np.cov(draws.T) == pytest.approx(left, abs=0.03 * np.abs(left).max())


@pytest.mark.parametrize("covariance", ["full", "diagonal", "spherical", "lowrank", "ppca"])
def test_whitening_is_white(covariance):
    x = data(500, 4)
    model = fitted(x, covariance=covariance, rank=3, floor=1e-9)
    z = model.encode(x).numpy()
    assert z.mean(0) == pytest.approx(np.zeros(4), abs=1e-9)
    spread = np.cov(z.T, bias=True)
    assert np.trace(spread) == pytest.approx(4, rel=1e-6)
    if covariance != "spherical":
        assert np.diag(spread) == pytest.approx(np.ones(4), rel=1e-6)
    if covariance == "full":
        assert spread == pytest.approx(np.eye(4), abs=1e-6)
    assert model.decode(z).numpy() == pytest.approx(x.numpy(), abs=1e-9)


def test_abilities_depend_on_the_space():
    reals, levels = gaussian.build(likely.Real((2,))), gaussian.build(likely.Finite((2,), 4))
    assert isinstance(reals, Density)
    assert isinstance(reals, Bijective)
    assert isinstance(levels, Weighted)
    assert not isinstance(levels, (Density, Bijective))
    assert {"encode", "complete", "e_step", "iwelbo"} <= set(likely.abilities(levels))


@pytest.mark.parametrize("bad", [{"covariance": "fulll"}, {"rank": 0}, {"floor": 0.0}, {"floor": 2.0}])
def test_bad_numbers_are_one_line(bad):
    with pytest.raises(likely.LikelyError, match="must be"):
        gaussian.build(likely.Real((2,)), **bad)
