"""The probability flow: densities of Gaussian mixtures in closed form, and a sum over all points of a small space."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import likely
from likely.core import seeded
from likely.errors import LikelyError
from likely.families.diffusion import Diffusion
from likely.parts.probability_flow import flow_log_density, noise_levels
from likely.parts.schedules import cosine, linear
from likely.spaces import Finite, Real

CENTRES = torch.tensor([[-2.0, 0.5], [1.0, 1.0], [0.5, -1.5]])
SPREADS = torch.tensor([0.3, 0.6, 1.0])
SHARES = torch.tensor([0.2, 0.5, 0.3])


def mixture(x: Tensor, alpha: float, sigma: float) -> torch.distributions.Distribution:
    """Return the law of alpha x_0 + sigma e, x_0 from a mixture of round Gaussians."""
    spread = (alpha**2 * SPREADS**2 + sigma**2).sqrt().to(x)
    each = torch.distributions.Independent(
        torch.distributions.Normal(alpha * CENTRES.to(x), spread[:, None].expand(3, 2)), 1
    )
    return torch.distributions.MixtureSameFamily(torch.distributions.Categorical(SHARES.to(x)), each)


class Mixture(Diffusion):
    """The exact denoiser of that mixture, by Tweedie's formula: (x + sigma^2 grad log p(x)) / alpha."""

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None, given: Tensor | None = None) -> Tensor:
        alpha, sigma = (float(value) for value in self.schedule(t[0].double()))
        weights = SHARES.log() + torch.stack(
            [
                torch.distributions.Normal(alpha * c, (alpha**2 * s**2 + sigma**2) ** 0.5).log_prob(x_t).sum(1)
                for c, s in zip(CENTRES, SPREADS, strict=True)
            ],
            1,
        )
        share = weights.softmax(1)
        gain = alpha * SPREADS**2 / (alpha**2 * SPREADS**2 + sigma**2)
        means = CENTRES + gain[:, None] * (x_t[:, None] - alpha * CENTRES)
        return (share[..., None] * means).sum(1)


@pytest.mark.parametrize("schedule", [linear, cosine])
def test_a_mixture_of_gaussians_is_its_closed_form(schedule):
    model = Mixture(Real((2,)), schedule, 100)
    x = CENTRES.repeat(20, 1) + 0.7 * _normal(60, 2)
    alpha, sigma = (float(v) for v in schedule(torch.tensor(0.01, dtype=torch.float64)))
    expected = mixture(x, 1.0, sigma / alpha).log_prob(x)
    exact = model.flow_log_prob(x, steps=100, probes=2)
    assert torch.allclose(exact, expected, atol=0.02)
    # the error falls with the square of the steps
    coarse, fine = ((model.flow_log_prob(x, steps=s, probes=2) - expected).abs().mean() for s in (10, 20))
    assert float(fine) < 0.45 * float(coarse)


def test_random_signs_are_unbiased():
    model = Mixture(Real((2,)), cosine, 50)
    x = CENTRES.repeat(300, 1)
    model.rows_at_once = 10**6
    exact = model.flow_log_prob(x, steps=20, probes=2)
    drawn = model.flow_log_prob(x, steps=20, probes=1, seed=1)
    difference = (drawn - exact).reshape(300, 3)
    error = difference.std(0) / 300**0.5
    assert bool((error > 0).any())
    assert bool((difference.mean(0).abs() < 4 * error + 1e-5).all())
    assert torch.equal(drawn, model.flow_log_prob(x, steps=20, probes=1, seed=1))


def test_units_of_the_data_enter_the_density():
    model = Mixture(Real((2,)), cosine, 50)
    x = CENTRES.clone()
    before = model.flow_log_prob(x, steps=20, probes=2)
    model.scale.fill_(10.0)
    model.shift.fill_(3.0)
    assert torch.allclose(model.flow_log_prob(10 * x + 3, steps=20, probes=2), before - 2 * math.log(10), atol=1e-4)


class Levels(Diffusion):
    """The exact denoiser of a law of three levels, P = 0.5, 0.2, 0.3."""

    law = torch.tensor([0.5, 0.2, 0.3])

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None, given: Tensor | None = None) -> Tensor:
        alpha, sigma = (float(value) for value in self.schedule(t[0].double()))
        levels = torch.tensor([-1.0, 0.0, 1.0])
        weights = self.law.log() - 0.5 * ((x_t[..., None] - alpha * levels) / sigma) ** 2
        return (weights.softmax(-1) * levels).sum(-1)


def test_levels_have_the_probabilities_of_the_law():
    """exp of the estimate has the mean P(x) up to what the solver misses; its log lies below log P(x) on average."""
    model = Levels(Finite((1,), 3), cosine, 20)
    model.rows_at_once = 10**6
    x = model.space.enumerate().repeat(4000, 1)
    nats = model.flow_log_prob(x, steps=60, probes=1, seed=0).double().reshape(4000, 3)
    weight = nats.exp()
    error = weight.std(0) / 4000**0.5
    assert bool((error < 0.02).all())
    assert bool(((weight.mean(0) - Levels.law).abs() < 4 * error + 0.01).all())
    assert bool((nats.mean(0) < Levels.law.log() + 0.02).all())


def test_levels_of_noise_are_evenly_spaced():
    for schedule in (linear, cosine):
        times = noise_levels(schedule, 0.01, 30)
        alpha, sigma = schedule(times)
        gaps = (sigma / alpha).log().diff()
        assert float(times[0]) == 0.01
        assert float(times[-1]) == 1.0
        assert torch.allclose(gaps, gaps.mean().expand_as(gaps), rtol=1e-4)


def test_a_trained_network_and_a_condition():
    space = Finite((1, 4, 4), 5)
    with seeded(0):
        model = likely.build("ddpm", space, Finite((), 2), timesteps=10, width=8, depth=1)
        x = space.random(3)
    nats = model.flow_log_prob(x, torch.tensor([0, 1, 1]), steps=3, seed=0)
    assert nats.shape == (3,)
    assert bool(nats.isfinite().all())
    assert not nats.requires_grad
    assert all(p.grad is None for p in model.parameters())
    assert model.flow_log_prob(x[:0], torch.zeros(0, dtype=torch.long), steps=3).shape == (0,)


def test_what_cannot_be_computed_is_refused():
    x = torch.zeros(1, 2)
    with pytest.raises(LikelyError, match="one step and one probe"):
        flow_log_density(lambda x, t: x, x, cosine, 0.1, steps=0)
    with pytest.raises(LikelyError, match="above 0"):
        flow_log_density(lambda x, t: x, x, cosine, 0.0)
    with pytest.raises(LikelyError, match="keep the variance"):
        flow_log_density(lambda x, t: x, x, lambda t: (torch.ones_like(t), t), 0.1)


def _normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))
