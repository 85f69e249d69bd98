"""A density over reals judged on levels, against the Gaussian's exact cell probabilities."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm, rv_continuous

import likely
from likely.core import Density, Gradient, seeded
from likely.errors import SpaceError
from likely.families.dequantized import Dequantized, dequantize, dequantized, noise_of
from likely.models.gaussian import Gaussian

LEVELS = 6


def one(mean, deviation, levels=LEVELS):
    """Return a Gaussian over one entry of `levels` levels, and the exact probability of each level."""
    inner = Gaussian(likely.Real((1,)))
    inner.center.fill_(mean)
    inner.scale.fill_(deviation)
    edges = [-math.inf, *range(1, levels), math.inf]
    cells = torch.from_numpy(norm(mean, deviation).cdf(edges)).diff()
    return dequantized(inner, likely.Finite((1,), levels)), cells


@pytest.mark.parametrize(("mean", "deviation"), [(2.5, 1.0), (0.0, 2.0), (5.5, 0.3), (-1.0, 1.0), (3.0, 1.5)])
def test_the_bound_reaches_the_cell_probability(mean, deviation):
    """Also for the outer cells, which own all that lies beyond them."""
    model, cells = one(mean, deviation)
    points = model.space.enumerate()
    many = points.repeat_interleave(40_000, 0)
    weights = model.log_weight(many, seed=0).double().exp().reshape(LEVELS, -1)
    error = weights.std(1) / 200
    assert ((weights.mean(1) - cells).abs() < 5 * error + 1e-7).all()
    assert float(weights.mean(1).sum()) == pytest.approx(1, abs=5 * float(error.sum()))
    assert float(error.sum()) < 0.02  # no rare heavy weights


def test_samples_have_the_cell_probabilities():
    model, cells = one(0.5, 2.0)
    counts = model.sample(50_000, seed=0)[:, 0].long().bincount(minlength=LEVELS)
    assert (counts / 50_000).numpy() == pytest.approx(cells.numpy(), abs=0.01)


def test_bits_have_two_outer_cells():
    inner = Gaussian(likely.Real((2,)))
    inner.center.fill_(0.8)
    inner.scale.fill_(0.5)
    model = dequantized(inner, likely.Binary((2,)))
    points = model.space.enumerate().repeat_interleave(40_000, 0)
    below = norm(0.8, 0.5).cdf(1)
    exact = [below**2, below * (1 - below), (1 - below) * below, (1 - below) ** 2]
    found = model.log_weight(points, seed=0).exp().reshape(4, -1).mean(1)
    assert found.numpy() == pytest.approx(exact, abs=0.01)


def test_draws_lie_in_their_cell_and_log_q_is_their_density():
    x = torch.arange(LEVELS, dtype=torch.uint8)[:, None].repeat(1, 20_000)
    with seeded(0):
        y, _ = dequantize(x, LEVELS)
    assert torch.equal(y.floor().clamp(0, LEVELS - 1), x.float())
    assert kstest((1 - y[0]).numpy(), proposal.cdf).pvalue > 0.01
    assert kstest((y[-1] - (LEVELS - 1)).numpy(), proposal.cdf).pvalue > 0.01
    assert kstest(y[2].numpy() - 2, "uniform").pvalue > 0.01
    with seeded(0):
        y, log_q = dequantize(x[:1, :1].repeat(200, 1), LEVELS)
    assert log_q.numpy() == pytest.approx(proposal.logpdf(1 - y[:, 0].numpy()), abs=1e-4)


class _Proposal(rv_continuous):
    """Flat over [0, 2), a third of six levels, then an exponential of mean 1/2: mass 4/5 and 1/5."""

    def _pdf(self, d):
        return np.where(d < 0, 0, np.where(d < 2, 0.4, 0.4 * np.exp(-(d - 2) / 0.5)))

    def _cdf(self, d):
        return np.where(d < 2, 0.4 * d, 1 - 0.2 * np.exp(-(d - 2) / 0.5))


proposal = _Proposal(a=0)


def test_the_noise_of_a_row_is_uniform_and_depends_on_the_row_alone():
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(4, (2000, 1, 3, 3), generator=generator).to(torch.uint8)
    u = noise_of(x, 1)
    assert u.shape == x.shape
    assert torch.equal(noise_of(x[700:800], 1), u[700:800])
    assert kstest(u.flatten().numpy(), "uniform").pvalue > 0.01
    flat = u.flatten(1).numpy()
    correlations = torch.corrcoef(torch.from_numpy(flat.T)) - torch.eye(9)
    assert correlations.abs().max() < 5 / math.sqrt(2000)
    near = x.clone()
    near[:, 0, 0, 0] = (near[:, 0, 0, 0] + 1) % 4  # one entry changes: all numbers change
    assert abs(torch.corrcoef(torch.stack([u.flatten(), noise_of(near, 1).flatten()]))[0, 1]) < 0.05
    few = noise_of(torch.zeros(1, 2, dtype=torch.uint8), 4000)
    assert kstest(few.flatten().numpy(), "uniform").pvalue > 0.01


def test_inner_levels_get_the_moments_of_a_uniform_cell():
    """Sheppard's correction: mean + 1/2 and variance + 1/12."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(50, 200, (20_000, 2), generator=generator).to(torch.uint8)
    model = likely.build("gaussian", likely.Finite((2,)), covariance="diagonal")
    model.start(x)
    model.m_step(model.e_step(x))
    assert model.inner.means[0].numpy() == pytest.approx(x.double().mean(0).numpy() + 0.5, abs=0.02)
    variance = x.double().var(0, correction=0) + 1 / 12
    assert model.inner.covariances[0].diagonal().numpy() == pytest.approx(variance.numpy(), rel=1e-3)


def test_statistics_of_a_small_space_are_averages_over_its_points():
    """A mixture cannot sit on one y for each point: each point shows it many."""
    x = torch.zeros(100, 2, dtype=torch.uint8)
    x[50:] = 1
    model = likely.build("gmm", likely.Binary((2,)), components=4)
    torch.manual_seed(0)
    model.start(x)
    for _ in range(20):
        model.m_step(model.e_step(x))
    many = x[[0, -1]].repeat_interleave(20_000, 0)
    assert model.log_weight(many, seed=0).exp().reshape(2, -1).mean(1).numpy() == pytest.approx(0.5, abs=0.1)


class Shift(Density, Gradient):
    """A unit Gaussian with a learned mean."""

    def __init__(self, space):
        super().__init__(space)
        self.mean = torch.nn.Parameter(torch.zeros(space.shape))

    def _log_prob(self, x, cond):
        return torch.distributions.Normal(self.mean, 1.0).log_prob(x).flatten(1).sum(1)

    def _sample(self, n, cond):
        return self.mean + torch.randn(n, *self.space.shape)

    def loss(self, x, cond=None):
        return {"loss": -self._log_prob(x, cond).mean(), "extra": self.mean.sum()}


def test_the_loss_is_the_bound():
    model = dequantized(Shift(likely.Real((3,))), likely.Finite((3,), 4))
    assert likely.abilities(model) == ("sample", "elbo", "iwelbo", "loss")
    x = model.space.random(20, torch.Generator().manual_seed(0))
    with seeded(5):
        terms = model.loss(x)
    assert float(terms["loss"].detach()) == pytest.approx(-float(model.elbo(x, seed=5).mean()), rel=1e-5)
    terms["loss"].backward()
    assert model.inner.mean.grad.isfinite().all()
    assert "extra" in terms


def test_what_is_passed_on_and_what_is_not():
    full = likely.build("gaussian", likely.Finite((2,), 4))
    mixture = likely.build("gmm", likely.Finite((2,), 4))
    assert likely.abilities(full) == ("sample", "elbo", "iwelbo", "encode", "complete", "e_step")
    assert likely.abilities(mixture) == ("sample", "elbo", "iwelbo", "complete", "e_step")
    assert full.closed_form
    assert not mixture.closed_form
    assert full.completion == "approximate"
    assert type(full) is type(likely.build("gaussian", likely.Binary((2,))))
    points = full.space.enumerate()
    assert torch.equal(full.decode(full.encode(points)), points)


def test_completion_keeps_what_is_known_and_follows_the_rest():
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(1, 15, (2000, 1), generator=generator)
    x = torch.cat([first, first], 1).to(torch.uint8)  # the second entry repeats the first
    model = likely.build("gaussian", likely.Finite((2,), 16))
    model.start(x)
    drawn = model.complete(x, torch.tensor([True, False]), seed=0)
    assert torch.equal(drawn[:, 0], x[:, 0])
    assert (drawn[:, 1].int() - x[:, 1].int()).abs().float().mean() < 1


def test_a_diverged_density_is_reported_and_not_sampled_as_zeros():
    model, _ = one(0.0, math.nan)
    with pytest.raises(likely.LikelyError, match="did its training diverge"):
        model.sample(3, seed=0)


def test_wrong_spaces_are_one_line():
    inner = Gaussian(likely.Real((2,)))
    for space in (likely.Real((2,)), likely.Finite((2,), 1)):
        with pytest.raises(SpaceError, match="two or more"):
            dequantized(inner, space)
    with pytest.raises(SpaceError, match="has not the shape"):
        dequantized(inner, likely.Binary((3,)))
    assert isinstance(dequantized(inner, likely.Binary((2,))), Dequantized)
