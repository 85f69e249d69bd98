"""DDPM: enumeration of small spaces, closed forms on Gaussian data, guidance, and the UNet."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import likely
from likely.core import seeded
from likely.data.parts import Part
from likely.errors import LikelyError, SpaceError
from likely.families.diffusion import Diffusion
from likely.nets.unet import UNet
from likely.parts.schedules import cosine, linear
from likely.spaces import Binary, Finite, Real

SPACE = Finite((2,), 3)


def small(**numbers):
    return likely.build("ddpm", SPACE, **({"timesteps": 3, "width": 16, "depth": 1} | numbers))


class Exact(Diffusion):
    """Standard normal data and the exact denoiser, E[x_0 | x_t] = alpha x_t."""

    rows_at_once = 10**6

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None, given: Tensor | None = None) -> Tensor:
        return self.schedule(t)[0][:, None] * x_t


def many(model, draws: int, ask) -> Tensor:
    """Return `ask` of every point of the space, `draws` times each, (draws, points)."""
    x = model.space.enumerate()
    model.rows_at_once = 10**6
    return ask(x.repeat(draws, 1), seed=0).reshape(draws, len(x))


# The bound is one of a normalised law, the one that is sampled --------------------------------------------------------


def test_weights_sum_to_one_and_agree_with_bound_and_sampler():
    model = small()
    log_weight = many(model, 20_000, model.log_trajectory_weight).double()
    weight = log_weight.exp()
    sums = weight.sum(1)
    error = float(sums.std() / len(sums) ** 0.5)
    assert error < 0.02
    assert abs(float(sums.mean()) - 1) < 4 * error

    # the bound with KL terms in closed form has the same mean as the log-weight, with less noise
    elbo = many(model, 20_000, model.elbo).double()
    difference = (elbo.mean(0) - log_weight.mean(0)).abs()
    assert bool((difference < 4.5 * ((elbo.var(0) + log_weight.var(0)) / len(elbo)).sqrt()).all())
    assert bool((elbo.var(0) < log_weight.var(0)).all())
    assert bool((elbo.mean(0) < weight.mean(0).log()).all())

    # the sampler draws from the law whose probabilities the weights estimate
    drawn = model.sample(40_000, seed=0).long()
    frequency = torch.bincount(drawn[:, 0] * 3 + drawn[:, 1], minlength=9) / len(drawn)
    spread = (weight.var(0) / len(weight) + frequency / len(drawn)).sqrt()
    assert bool(((frequency - weight.mean(0)).abs() < 4.5 * spread).all())


def test_a_sample_of_the_terms_is_unbiased():
    model = small(timesteps=12)
    full = many(model, 4000, model.elbo)
    model.terms = 3
    few = many(model, 4000, model.elbo)
    assert bool(((full.mean(0) - few.mean(0)).abs() < 4.5 * ((full.var(0) + few.var(0)) / 4000).sqrt()).all())


def test_larger_terms_are_drawn_more_often_and_halve_the_error(monkeypatch):
    model = Exact(Real((1,)), cosine, 200)
    model.terms = 10
    x = torch.zeros(4000, 1)
    by_size = model.elbo(x, seed=0)
    monkeypatch.setattr(model, "_shares", lambda: torch.full((199,), 1 / 199, dtype=torch.float64))
    evenly = model.elbo(x, seed=0)
    assert float(by_size.std()) < 0.5 * float(evenly.std())
    assert abs(float(by_size.mean() - evenly.mean())) < 4.5 * float(evenly.std()) / 60


def test_learning_remembers_the_error_of_each_step():
    model = Exact(Real((1,)), linear, 5)
    model.errors.zero_()
    with seeded(0):
        for _ in range(200):
            x = torch.randn(1000, 1)
            model.loss(x)
    expected = linear(torch.arange(1, 6, dtype=torch.float64) / 5)[1] ** 2  # the variance of x_0 given x_t
    assert torch.allclose(model.errors.double(), expected, rtol=0.05)
    model.eval()
    before = model.errors.clone()
    model.loss(x + 100)
    assert torch.equal(model.errors, before)


@pytest.mark.parametrize("schedule", [linear, cosine])
def test_bound_on_gaussian_data_is_its_closed_form(schedule):
    steps = 20
    model = Exact(Real((1,)), schedule, steps)
    variance = schedule(torch.arange(1, steps + 1, dtype=torch.float64) / steps)[1] ** 2
    # E L_T = -log(sigma_T^2) / 2; E L_{i-1} = (sigma_i^2 / sigma_{i-1}^2 - 1) / 2, for E |x_0 - alpha x_t|^2 = sigma^2
    expected = 0.5 * variance[-1].log() - 0.5 * (variance[1:] / variance[:-1] - 1).sum()
    expected = expected - 0.5 * torch.log(2 * math.pi * variance[0]) - 0.5
    with seeded(0):
        x = torch.randn(40_000, 1)
    elbo = model.elbo(x, seed=1).double()
    assert abs(float(elbo.mean() - expected)) < 4.5 * float(elbo.std()) / 200
    assert float(expected) < -0.5 * math.log(2 * math.pi * math.e)  # below minus the entropy: a bound


def test_what_an_earlier_version_saved_is_loaded():
    model, other = small(), small()
    saved = {name: value for name, value in model.state_dict().items() if name != "errors"}
    other.load_state_dict(saved)
    assert torch.equal(other.sample(2, seed=0), model.sample(2, seed=0))


def test_bound_on_gaussian_data_tightens_with_the_steps():
    entropy = 0.5 * math.log(2 * math.pi * math.e)
    with seeded(0):
        x = torch.randn(5000, 1)
    gaps = []
    for steps in (10, 40, 160):
        model = Exact(Real((1,)), cosine, steps)
        model.terms = steps
        gaps.append(-entropy - float(model.elbo(x, seed=1).mean()))
    assert gaps[0] > gaps[1] > gaps[2] > 0


@pytest.mark.parametrize("space", [Binary((1,)), Finite((1,), 17), Finite((1,), 256)])
def test_the_discretised_gaussian_sums_to_one(space):
    model = likely.build("ddpm", space, timesteps=20, width=8, depth=1)
    x = space.enumerate()
    for mean in (-1.0, -0.31, 0.0, 0.98):
        inner = torch.full((len(x), 1), mean)
        assert float(model._log_decoder(x, inner, inner).double().exp().sum()) == pytest.approx(1, abs=1e-5)


def test_real_scores_are_in_the_units_of_the_data():
    x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    scores = []
    for factor in (1.0, 10.0):
        model = likely.build("ddpm", Real((2,)), timesteps=5, width=8, depth=1)
        model.start(factor * x + 3)
        scores.append(model.elbo(factor * x + 3, seed=0))
        assert bool((model.sample(50, seed=0).std(0) < 10 * factor).all())
    assert torch.allclose(scores[0] - 2 * math.log(10), scores[1], atol=1e-3)


# Learning and sampling ------------------------------------------------------------------------------------------------


def test_the_loss_is_the_squared_error_of_epsilon():
    model = Exact(Real((3,)), cosine, 1000)
    model.drop = 0.0
    with seeded(0):
        x = torch.randn(20_000, 3)
        # epsilon - E[epsilon | x_t] has variance alpha^2, so the mean over t of eq. 14 is that of alpha^2
        loss = float(model.loss(x)["loss"])
    t = torch.arange(1, 1001, dtype=torch.float64) / 1000
    assert loss == pytest.approx(float((cosine(t)[0] ** 2).mean()), rel=0.02)


def test_it_learns_bits_and_its_condition():
    space, cond = Binary((4,)), Finite((), 2)
    label = torch.arange(512) % 2
    x = label[:, None].expand(-1, 4).to(torch.uint8)  # all ones or all zeros, as the label says
    model = likely.build("ddpm", space, cond, timesteps=10, width=32, depth=2, drop=0.5)
    for _ in likely.fit(model, Part(x, label), steps=400, batch=64, learning_rate=5e-3):
        pass
    for solver in ("ddpm", "ddim"):
        drawn = model.sample(200, label[:200], seed=0, solver=solver)
        assert float((drawn == x[:200]).float().mean()) > 0.95
    assert float(model.elbo(x[:100], label[:100], seed=0).mean()) > -1
    assert float(model.elbo(x[:100], 1 - label[:100], seed=0).mean()) < -5
    # without its condition it draws both kinds; with guidance 0 the condition is not seen
    free = model.sample(300, 1, seed=0, guidance=0.0)
    assert 0.2 < float(free.float().mean()) < 0.8
    assert bool((free == model.sample(300, 0, seed=0, guidance=0.0)).all())
    assert float(model.sample(200, 1, seed=0, guidance=2.0).float().mean()) > 0.95
    # the known bit decides the others
    known = torch.tensor([True, False, False, False])
    filled = model.complete(x[:100], known, label[:100], seed=0)
    assert float((filled == x[:100]).float().mean()) > 0.95


def test_hidden_conditions_are_hidden_row_by_row():
    model = likely.build("ddpm", SPACE, Finite((), 2), timesteps=3, width=16, depth=1)
    x_t, t = torch.randn(4, 2), torch.full((4,), 0.5)
    given = torch.tensor([True, False, True, False])
    with torch.no_grad():
        one, two = (model.denoise(x_t, t, torch.full((4,), c), given) for c in (0, 1))
    assert torch.equal(one[~given], two[~given])
    assert bool((one[given] != two[given]).any(1).all())


def test_fewer_steps_and_wrong_options():
    model = small(timesteps=6)
    assert model.sample(5, seed=0, steps=2).shape == (5, 2)
    assert torch.equal(model.sample(9, seed=0, steps=6), model.sample(9, seed=0))
    with pytest.raises(LikelyError, match="Did you mean 'ddim'"):
        model.sample(1, solver="dim")
    with pytest.raises(LikelyError, match="1 to 6"):
        model.sample(1, steps=7)
    with pytest.raises(LikelyError, match="guidance needs"):
        model.sample(1, guidance=2.0)


def test_bad_numbers_are_named():
    for numbers, message in (
        ({"noise": "cosin"}, "Did you mean 'cosine'"),
        ({"network": "cnn"}, "unknown network"),
        ({"timesteps": 0}, "timesteps"),
        ({"drop": 1.0}, "drop"),
    ):
        with pytest.raises(LikelyError, match=message):
            small(**numbers)
    with pytest.raises(SpaceError, match="order"):
        likely.build("ddpm", Finite((2,), 3, ordered=False))
    with pytest.raises(SpaceError, match="pictures"):
        small(network="unet")


# The UNet -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 13), (1, 28, 28), (2, 4, 1)])
@pytest.mark.parametrize("depth", [1, 2])
def test_the_unet_keeps_the_shape_and_uses_everything(shape, depth):
    with seeded(0):
        net = UNet(shape, 8, depth, 6)
        x, context = torch.randn(2, *shape), torch.randn(2, 6)
        out = net(x, context)
        assert out.shape == x.shape
        out.square().mean().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())] == []
    assert not torch.equal(net(x, context), net(x, context + 1))


def test_rows_of_the_unet_do_not_mix():
    net = UNet((1, 8, 8), 8, 1, 6)
    x, context = torch.randn(3, 1, 8, 8), torch.randn(3, 6)
    assert torch.allclose(net(x, context)[1:2], net(x[1:2], context[1:2]), atol=1e-5)
