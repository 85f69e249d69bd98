"""Covariances of low rank against scikit-learn's factor analysis, and ruling components out against computing them."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.decomposition import FactorAnalysis
from sklearn.exceptions import ConvergenceWarning

import likely
from likely.models import gaussian, gmm
from likely.parts import factors, gaussians, screening
from likely.parts.factors import LowRank


def data(rows, size, rank, seed=0):
    rng = np.random.default_rng(seed)
    noise = rng.uniform(0.3, 1.5, size)
    return torch.from_numpy(
        rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, size))
        + rng.standard_normal((rows, size)) * noise
        + 5
    )


def analysed(x, rank):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return FactorAnalysis(rank, tol=1e-7, max_iter=1000, svd_method="lapack").fit(x.numpy())


@settings(max_examples=6, deadline=None)
@given(st.integers(4, 9), st.integers(1, 2), st.integers(0, 99))
def test_one_gaussian_of_low_rank_is_factor_analysis(size, rank, seed):
    x = data(300, size, rank, seed)
    model = gaussian.build(likely.Real((size,)), covariance="lowrank", rank=rank, floor=1e-6)
    model.start(x)
    oracle = analysed(x, rank)
    mine = model.log_prob(x).mean().item()
    assert mine > oracle.score(x.numpy()) - 1e-4
    if abs(mine - oracle.score(x.numpy())) < 1e-6:
        assert model.covariances[0].numpy() == pytest.approx(oracle.get_covariance(), rel=0.02, abs=0.02)


def test_one_component_learned_by_passes_is_factor_analysis_too():
    x = data(400, 8, 2)
    whole = gaussian.build(likely.Real((8,)), covariance="lowrank", rank=2)
    whole.start(x)
    model = gmm.build(likely.Real((8,)), components=1, covariance="lowrank", rank=2)
    torch.manual_seed(0)
    model.start(x)
    for _ in range(300):
        model.m_step(model.e_step(x))
    assert model.log_prob(x).mean().item() == pytest.approx(whole.log_prob(x).mean().item(), abs=1e-5)
    assert model.covariances.numpy() == pytest.approx(whole.covariances.numpy(), abs=0.02)


def test_analysers_of_two_clusters_find_the_directions_of_each():
    first, second = data(500, 6, 1, 0), data(500, 6, 1, 1) + 20
    model = gmm.build(likely.Real((6,)), components=2, covariance="lowrank", rank=1)
    torch.manual_seed(0)
    model.start(torch.cat([first, second]))
    for _ in range(60):
        model.m_step(model.e_step(torch.cat([first, second])))
    order = model.means[:, 0].argsort()
    for k, part in zip(order.tolist(), (first, second), strict=True):
        oracle = analysed(part, 1)
        assert model.covariances[k].numpy() == pytest.approx(oracle.get_covariance(), abs=0.05)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 3), st.integers(1, 3), st.integers(0, 999), st.sampled_from([1e-4, 0.1, 1.0]))
def test_densities_of_low_rank_are_scipys(size, rank, components, seed, least):
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(components, size, rank, generator=generator, dtype=torch.float64)
    noise = least + torch.rand(components, size, generator=generator, dtype=torch.float64)
    mean = torch.randn(components, size, generator=generator, dtype=torch.float64)
    x = 3 * torch.randn(7, size, generator=generator, dtype=torch.float64)
    known = torch.rand(7, size, generator=generator) < 0.6
    spread = LowRank(factor, noise)
    wide = factors.covariances(spread).numpy()
    every = factors.log_density(x, mean, spread)
    some = factors.log_density_of_known(x, known, mean, spread)
    for k in range(components):
        law = multivariate_normal(mean[k].numpy(), wide[k])
        assert every[:, k].numpy() == pytest.approx(law.logpdf(x.numpy()).reshape(-1), rel=1e-6, abs=1e-6)
        for n in range(7):
            o = known[n].numpy()
            expected = multivariate_normal(mean[k, o], wide[k][np.ix_(o, o)]).logpdf(x[n, o]) if o.any() else 0.0
            assert some[n, k].item() == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_many_factors_in_float32_agree_with_float64():
    """Beyond a stated size products are made in the data's precision."""
    model = gmm.build(likely.Real((400,)), components=40, covariance="lowrank", rank=10)
    x = data(600, 400, 5)
    torch.manual_seed(0)
    model.start(x)
    assert model.factor.numel() > factors.NARROW
    scores = []
    for _ in range(5):
        stats = model.e_step(x.float())
        scores.append(float(stats["log_likelihood"]))
        assert scores[-1] == pytest.approx(float(model.e_step(x)["log_likelihood"]), rel=2e-4)
        model.m_step(stats)
    assert all(np.diff(scores) > 0)


def test_completions_of_low_rank_follow_the_conditional():
    model = gmm.build(likely.Real((3,)), components=1, covariance="lowrank", rank=1)
    model.factor.copy_(torch.tensor([[[1.0], [2.0], [-1.0]]]))
    model.noise.copy_(torch.tensor([[0.1, 0.2, 0.3]]))
    c = model.covariances[0].numpy()
    draws = model.complete(torch.tensor([[2.0, torch.nan, torch.nan]]).repeat(10_000, 1), seed=0).numpy()
    assert (draws[:, 0] == 2).all()
    assert draws[:, 1:].mean(0) == pytest.approx(c[1:, 0] / c[0, 0] * 2, abs=0.04)
    left = c[1:, 1:] - np.outer(c[1:, 0], c[0, 1:]) / c[0, 0]
    assert np.cov(draws[:, 1:].T) == pytest.approx(left, abs=0.04)
    free = model.sample(10_000, seed=0).numpy()
    assert np.cov(free.T) == pytest.approx(c, abs=0.2)


# Ruling components out -----------------------------------------------------------------------------------------------


def screened(seed=0, size=130, components=6, rows=400):
    generator = torch.Generator().manual_seed(seed)
    shapes = 0.2 * torch.randn(components, size, size, generator=generator, dtype=torch.float64)
    covariance = shapes @ shapes.mT + 0.05 * torch.eye(size, dtype=torch.float64)
    means = 8 * torch.randn(components, size, generator=generator, dtype=torch.float64)
    model = gmm.build(likely.Real((size,)), components=components)
    model.put(means, covariance)
    return model, model.sample(rows, seed=seed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_ruled_out_is_below_rounding_error(dtype):
    model, x = screened()
    x = x.to(dtype)
    assert model.screened
    standard = model._standardise(x)
    joint = model._log_joint(standard, None, model._screen())
    exact = (
        torch.stack(
            [
                torch.from_numpy(np.atleast_1d(multivariate_normal(m, c).logpdf(x.double().numpy())))
                for m, c in zip(model.means.numpy(), model.covariances.numpy(), strict=True)
            ],
            1,
        )
        + model.weights.log()
    )
    left_out = joint.isneginf()
    assert float(left_out.double().mean()) > 0.5
    lost = torch.where(left_out, (exact - exact.logsumexp(1, keepdim=True)).exp(), 0).sum(1)
    assert float(lost.max()) < 1.01 * torch.finfo(dtype).eps
    assert model.log_prob(x).double().numpy() == pytest.approx(logsumexp(exact.numpy(), 1), rel=1e-5, abs=1e-4)


def test_statistics_are_those_of_the_full_product():
    model, x = screened()
    fast = model.e_step(x)
    model.screened = False
    slow = model.e_step(x)
    for name, value in fast.items():
        assert value.numpy() == pytest.approx(slow[name].numpy(), rel=1e-5, abs=1e-3), name


@pytest.mark.parametrize("size", [17, 24])
@pytest.mark.parametrize("apart", [0.0, 1.0, 50.0])
def test_a_product_in_bfloat16_never_lengthens_a_distance(size, apart):
    """Where covariances are narrow and means far from 0 the distance is a small difference of large sums."""
    generator = torch.Generator().manual_seed(size)
    shape = torch.randn(20, size, size, generator=generator, dtype=torch.float64)
    whitening = gaussians.best_whitening(shape @ shape.mT / size + 0.001 * torch.eye(size), "full", 1e-9, 1)
    mean = apart * torch.randn(20, size, generator=generator, dtype=torch.float64)
    x = mean[torch.arange(200) % 20] + torch.randn(200, size, generator=generator, dtype=torch.float64)
    whole = gaussians.squared_lengths(x, whitening, (whitening @ mean[:, :, None])[:, :, 0])
    quadratic = screening.expand(mean, whitening)
    guess, least = quadratic.lengths(x)
    assert bool((least <= whole).all())
    # The slack is no larger than rounding can be, and the guess lies within it.
    products = torch.einsum("bi,kij,bj->kb", x.abs(), (whitening.mT @ whitening).abs(), x.abs())
    assert bool(
        (guess - least <= 0.1 * products + 0.1 * x.square().sum(1) * whitening.square().sum((1, 2))[:, None]).all()
    )
    assert bool(((guess - whole).abs() <= (guess - least)).all())


def many(seed=0, size=49, components=25, rows=600):
    """Return a mixture whose components overlap a little, ruled out by products in bfloat16 whatever the processor."""
    generator = torch.Generator().manual_seed(seed)
    shapes = torch.randn(components, size, size, generator=generator, dtype=torch.float64) / size**0.5
    means = 0.4 * torch.randn(components, size, generator=generator, dtype=torch.float64)
    model = gmm.build(likely.Real((size,)), components=components)
    model.put(means, shapes @ shapes.mT + 0.2 * torch.eye(size))
    return model, model.sample(rows, seed=seed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_products_in_bfloat16_rule_out_is_below_rounding_error(dtype, monkeypatch):
    monkeypatch.setattr(screening, "native_bfloat16", lambda device: True)
    model, x = many()
    x = x.to(dtype)
    standard = model._standardise(x)
    screen = model._screen()
    assert isinstance(screen, screening.Quadratic)
    joint, exact = model._log_joint(standard, None, screen).double(), model._log_joint(standard.double(), None)
    left_out = joint.isneginf()
    assert 0.2 < float(left_out.double().mean()) < 0.96
    share = (exact - exact.logsumexp(1, keepdim=True)).exp()
    assert float(torch.where(left_out, share, 0).sum(1).max()) < 1.01 * torch.finfo(dtype).eps
    tolerance = 1e-3 if dtype == torch.float32 else 1e-9
    assert torch.where(left_out, 0, joint - exact).abs().max().item() < tolerance
    # It is something to lose: more than one component has a share in many rows.
    assert float((share > 1e-3).double().sum(1).mean()) > 1.02


def test_statistics_are_those_of_every_density(monkeypatch):
    monkeypatch.setattr(screening, "native_bfloat16", lambda device: True)
    model, x = many()
    fast = model.e_step(x)
    monkeypatch.setattr(screening, "native_bfloat16", lambda device: False)
    assert model._screen() is None
    slow = model.e_step(x)
    for name, value in fast.items():
        assert value.numpy() == pytest.approx(slow[name].numpy(), rel=1e-5, abs=1e-3), name


def test_rows_far_away_and_components_without_weight_are_scored_too(monkeypatch):
    monkeypatch.setattr(screening, "native_bfloat16", lambda device: True)
    model, x = many()
    model.weight[3] = 0
    model.weight /= model.weight.sum()
    x[0] = 1e12
    x[1] = 1e25  # its squares overflow float32
    joint = model._log_joint(model._standardise(x.double()), None, model._screen())
    exact = model._log_joint(model._standardise(x.double()), None)
    assert joint[:, 3].isneginf().all()
    assert joint.logsumexp(1).numpy() == pytest.approx(exact.logsumexp(1).numpy(), rel=1e-6)


def test_second_moments_in_blocks_are_symmetric_and_whole():
    generator = torch.Generator().manual_seed(0)
    size = gaussians.BLOCKED + 3
    x = torch.randn(50, size, generator=generator)
    share = torch.rand(50, 2, generator=generator)
    mean = torch.randn(2, size, generator=generator, dtype=torch.float64)
    first, second = gaussians.moments(x, share, mean, torch.zeros(2, size, size, dtype=torch.float64))
    for k in range(2):
        difference = x.double() - mean[k]
        assert first[k].numpy() == pytest.approx((share[:, k].double() @ difference).numpy(), abs=1e-3)
        whole = (difference * share[:, k : k + 1]).T @ difference
        assert second[k].numpy() == pytest.approx(whole.numpy(), abs=1e-3)


def test_an_offset_costs_float32_nothing():
    """Standardised in float32, data at 1e6 are those at 0 as far as float32 can hold them."""
    generator = torch.Generator().manual_seed(0)
    x = (torch.randint(-8, 9, (300, 3), generator=generator) + 1_000_000).float()
    model = gmm.build(likely.Real((3,)), components=2)
    model._set_units(x)
    exact = (x.double() - model.center) / model.scale
    assert model._standardise(x).dtype == torch.float32
    assert model._standardise(x).double().numpy() == pytest.approx(exact.numpy(), abs=1e-6)
    assert model._standardise(x.double()).numpy() == pytest.approx(exact.numpy(), abs=1e-15)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 8), st.integers(1, 4), st.integers(0, 999))
def test_a_projection_never_lengthens_a_distance(size, width, seed):
    generator = torch.Generator().manual_seed(seed)
    shape = torch.randn(3, size, size, generator=generator, dtype=torch.float64)
    whitening = gaussians.best_whitening(shape @ shape.mT + 0.01 * torch.eye(size), "full", 1e-9, 1)
    mean = torch.randn(3, size, generator=generator, dtype=torch.float64)
    basis = torch.randn(size, min(width, size), generator=generator, dtype=torch.float64)
    x = torch.randn(20, size, generator=generator, dtype=torch.float64)
    whole = gaussians.squared_lengths(x, whitening, (whitening @ mean[:, :, None])[:, :, 0])
    small = screening.project(mean, whitening, basis)
    part = gaussians.squared_lengths(x @ basis, small.whitening, small.offset)
    assert bool((part <= whole * (1 + 1e-6) + 1e-9).all())


def test_em_in_a_thousand_dimensions_with_few_rows():
    x = torch.randn(40, 1000, generator=torch.Generator().manual_seed(0))
    x[20:, :100] += 5
    for kind in ("lowrank", "diagonal"):
        model = gmm.build(likely.Real((1000,)), components=2, covariance=kind, rank=3)
        torch.manual_seed(0)
        model.start(x)
        before = -np.inf
        for _ in range(5):
            stats = model.e_step(x)
            assert float(stats["log_likelihood"]) > before - 1
            before = float(stats["log_likelihood"])
            model.m_step(stats)
        assert model.weights.tolist() == pytest.approx([0.5, 0.5], abs=0.1)
        assert model.log_prob(x).isfinite().all()


@pytest.mark.parametrize("ridge", [0.0, 0.01])
def test_few_rows_are_analysed_by_their_own_directions_to_the_same_answer(ridge, monkeypatch):
    x = torch.randn(12, 80, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    covariance = (x.T @ x / len(x) + ridge * torch.eye(80, dtype=torch.float64))[None]
    values, vectors = torch.linalg.eigh(covariance)
    least, more, directions = factors._thin(values, vectors)
    assert directions.shape == (1, 80, 12)
    identity = torch.eye(80, dtype=torch.float64)
    torch.testing.assert_close(least * identity + (directions * more) @ directions.mT, covariance)
    quick = factors.analyse(covariance, 4, 1e-4)
    monkeypatch.setattr(factors, "_thin", lambda *_: None)
    plain = factors.analyse(covariance, 4, 1e-4)
    torch.testing.assert_close(factors.covariances(quick), factors.covariances(plain), rtol=1e-9, atol=1e-10)


def test_many_rows_are_analysed_as_they_are():
    x = torch.randn(300, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert factors._thin(*torch.linalg.eigh((x.T @ x / len(x))[None])) is None
