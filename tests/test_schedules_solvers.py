"""Schedules against the papers' discrete formulas, and solvers against Gaussian data, where everything is known."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from likely.core import seeded
from likely.parts.schedules import SCHEDULES, cosine, linear
from likely.parts.solvers import SOLVERS, ddim, repaint, transition

MEAN = torch.tensor([1.0, -0.5], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 0.6], [0.6, 0.5]], dtype=torch.float64)


def exact(schedule):
    """Return E[x_0 | x_t] for data of N(MEAN, COVARIANCE)."""

    def denoise(x: Tensor, t: float) -> Tensor:
        alpha, sigma = schedule(torch.tensor(t, dtype=torch.float64))
        gain = alpha * COVARIANCE @ torch.linalg.inv(alpha**2 * COVARIANCE + sigma**2 * torch.eye(2))
        return MEAN + (x - alpha * MEAN) @ gain.mT

    return denoise


def falling(steps: int) -> Tensor:
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_goes_from_data_to_noise(name):
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)
    alpha, sigma = SCHEDULES[name](t)
    assert torch.allclose(alpha**2 + sigma**2, torch.ones_like(t), atol=1e-12)
    assert alpha[0] == 1
    assert sigma[0] == 0
    assert 0 < alpha[-1] < 0.02
    assert bool((sigma.diff() > 0).all())


def test_linear_is_the_limit_of_the_papers_betas():
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    alpha_bar = (1 - betas).cumprod(0)
    alpha, _ = linear(torch.arange(1, 1001, dtype=torch.float64) / 1000)
    assert torch.allclose(alpha**2, alpha_bar, rtol=0.1)
    assert abs(float(alpha[499] ** 2 / alpha_bar[499]) - 1) < 0.02


def test_cosine_is_equation_17():
    t = torch.linspace(0, 1, 50, dtype=torch.float64)
    f = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
    alpha, _ = cosine(t, least=0.0)
    assert torch.allclose(alpha**2, f / f[0], atol=1e-12)


def test_schedules_stay_accurate_near_the_data_in_float32():
    t = torch.tensor([1e-4, 1e-3, 1e-2])
    for schedule in SCHEDULES.values():
        assert torch.allclose(schedule(t)[1].double(), schedule(t.double())[1], rtol=1e-4)


@settings(deadline=None)
@given(st.floats(0.01, 0.99), st.floats(0.02, 1.0), st.floats(0, 1), st.sampled_from(list(SCHEDULES.values())))
def test_every_transition_keeps_the_marginals(s, t, eta, schedule):
    s = min(s, 0.99 * t)
    s, t = torch.tensor([s, t], dtype=torch.float64)
    (alpha_s, sigma_s), (alpha_t, sigma_t) = schedule(s), schedule(t)
    keep, pull, spread = transition(schedule, s, t, eta)
    assert keep * alpha_t + pull == pytest.approx(float(alpha_s), abs=1e-9)
    assert keep**2 * sigma_t**2 + spread**2 == pytest.approx(float(sigma_s**2), abs=1e-9)


def test_transition_with_full_noise_is_equation_7():
    s, t = torch.tensor([0.3, 0.4], dtype=torch.float64)
    bar_s, bar_t = linear(s)[0] ** 2, linear(t)[0] ** 2
    beta = 1 - bar_t / bar_s
    keep, pull, spread = transition(linear, s, t)
    assert keep == pytest.approx(float((1 - beta).sqrt() * (1 - bar_s) / (1 - bar_t)))
    assert pull == pytest.approx(float(bar_s.sqrt() * beta / (1 - bar_t)))
    assert spread**2 == pytest.approx(float((1 - bar_s) / (1 - bar_t) * beta))


def ddim_law(schedule, steps: int) -> tuple[Tensor, Tensor]:
    """Return mean and covariance of what DDIM makes of N(0, I), exactly: for Gaussian data it is an affine map."""
    probes = torch.cat([torch.zeros(1, 2), torch.eye(2)]).double()
    origin, *images = ddim(exact(schedule), probes, falling(steps), schedule)
    matrix = torch.stack([image - origin for image in images], 1)
    return origin, matrix @ matrix.mT


def ddpm_law(schedule, steps: int) -> tuple[Tensor, Tensor]:
    """Return mean and covariance of the ancestral chain, by the recursion of moments of its affine steps."""
    mean, covariance, times = torch.zeros(2).double(), torch.eye(2).double(), falling(steps)
    denoise = exact(schedule)
    for s, t in zip(times[1:], times[:-1], strict=True):
        keep, pull, spread = transition(schedule, s, t)
        origin = denoise(torch.zeros(1, 2).double(), float(t))[0]
        matrix = keep * torch.eye(2) + pull * (denoise(torch.eye(2).double(), float(t)) - origin).mT
        mean = matrix @ mean + pull * origin
        covariance = matrix @ covariance @ matrix.mT + spread**2 * torch.eye(2)
    return mean, covariance


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("law", [ddim_law, ddpm_law])
def test_solvers_converge_to_gaussian_data_at_first_order(law, schedule):
    errors = []
    for steps in (100, 200, 400):
        mean, covariance = law(schedule, steps)
        errors.append(float((covariance - COVARIANCE).norm()))
        assert float((mean - MEAN).norm()) < 0.02
    assert errors[-1] < 0.04
    for coarse, fine in itertools.pairwise(errors):
        assert 1.7 < coarse / fine < 2.5


@pytest.mark.parametrize("name", SOLVERS)
def test_solvers_draw_what_their_moments_say(name):
    law = {"ddim": ddim_law, "ddpm": ddpm_law}[name]
    mean, covariance = law(cosine, 30)
    with seeded(0):
        x = SOLVERS[name](exact(cosine), torch.randn(40_000, 2, dtype=torch.float64), falling(30), cosine)
    assert torch.allclose(x.mean(0), mean, atol=0.025)
    assert torch.allclose(x.mT.cov(), covariance, atol=0.03)


def test_repaint_keeps_what_is_known_and_draws_the_rest_given_it():
    x_0 = torch.tensor([[2.0, 0.0]], dtype=torch.float64).expand(2000, 2)
    known = torch.tensor([True, False]).expand(2000, 2)
    with seeded(0):
        x = repaint(exact(cosine), x_0, known, falling(100), cosine, repeats=10)
    assert bool((x[:, 0] == 2).all())
    mean = MEAN[1] + COVARIANCE[1, 0] / COVARIANCE[0, 0] * (2 - MEAN[0])
    variance = COVARIANCE[1, 1] - COVARIANCE[1, 0] ** 2 / COVARIANCE[0, 0]
    assert float(x[:, 1].mean()) == pytest.approx(float(mean), abs=0.08)
    assert float(x[:, 1].var()) == pytest.approx(float(variance), abs=0.04)
