"""Adversarial games: closed forms, the optimal critic, who moves when, and what comes out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import likely
from likely.core import seeded
from likely.data.parts import Part
from likely.errors import LikelyError, SpaceError
from likely.families.adversarial import Adversarial
from likely.parts.adversarial_losses import GAMES, Game
from likely.spaces import Binary, Finite, Real


def test_an_undecided_critic_costs_two_log_two():
    undecided = torch.zeros(5)
    for name, generator in (("minimax", -math.log(2)), ("non-saturating", math.log(2))):
        game = GAMES[name]
        assert float(game.critic(undecided, undecided)) == pytest.approx(2 * math.log(2))
        assert float(game.generator(undecided, undecided)) == pytest.approx(generator)


def test_the_losses_are_logarithms_of_probabilities():
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])
    d_real, d_fake = real.sigmoid(), fake.sigmoid()
    critic = -(d_real.log().mean() + (1 - d_fake).log().mean())
    for game in GAMES.values():
        assert float(game.critic(real, fake)) == pytest.approx(float(critic))
    assert float(GAMES["minimax"].generator(real, fake)) == pytest.approx(float((1 - d_fake).log().mean()))
    assert float(GAMES["non-saturating"].generator(real, fake)) == pytest.approx(float(-d_fake.log().mean()))


def test_a_sure_critic_leaves_a_gradient_only_in_the_non_saturating_game():
    slopes = {}
    for name, game in GAMES.items():
        fake = torch.full((1,), -20.0, requires_grad=True)
        game.generator(fake[:0], fake).backward()
        slopes[name] = abs(float(fake.grad))
    assert slopes["non-saturating"] == pytest.approx(1, abs=1e-6)
    assert slopes["minimax"] < 1e-8


class _Shift(nn.Module):
    """G(z) = z + shift."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(shift))

    def forward(self, z: Tensor, cond: Tensor | None) -> Tensor:
        return z + self.shift


class _Line(nn.Module):
    """A critic with a linear score."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(1, 1)

    def forward(self, x: Tensor, cond: Tensor | None) -> Tensor:
        return self.line(x)[:, 0]


def test_the_best_critic_is_the_log_ratio_of_densities():
    model = Adversarial(Real((1,)), _Shift(1.0), _Line(), GAMES["minimax"], latent=1)
    descent = torch.optim.LBFGS(model.critic.parameters(), max_iter=50, line_search_fn="strong_wolfe")
    with seeded(0):
        x = torch.randn(100_000, 1)

    def closure() -> Tensor:
        descent.zero_grad()
        with seeded(1):
            loss = model.loss(x, None, "critic")["loss"]
        loss.backward()
        return loss

    descent.step(closure)
    # log N(x; 0, 1) - log N(x; 1, 1) = 1/2 - x
    assert model.critic.line.weight.item() == pytest.approx(-1, abs=0.03)
    assert model.critic.line.bias.item() == pytest.approx(0.5, abs=0.03)


def test_each_turn_builds_gradients_for_its_player_alone():
    model = likely.build("gan", Finite((2,), 5), width=8)
    x = model.space.random(16)
    model.loss(x, None, "critic")["loss"].backward()
    assert all(p.grad is not None for p in model.critic.parameters())
    assert all(p.grad is None for p in model.generator.parameters())
    model.critic.zero_grad()
    loss = model.loss(x, None, "generator")["loss"]
    loss.backward(inputs=list(model.players["generator"].parameters()))
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.generator.parameters())
    assert all(p.grad is None for p in model.critic.parameters())
    with pytest.raises(LikelyError, match="player"):
        model.loss(x, None, "judge")


def test_the_critic_moves_k_times():
    model = likely.build("gan", Real((2,)), width=8, critic_steps=3)
    assert tuple(model.turns) == ("critic", "critic", "critic", "generator")
    held = {p for module in model.players.values() for p in module.parameters()}
    assert held == set(model.parameters())
    with pytest.raises(LikelyError, match="critic_steps"):
        likely.build("gan", Real((2,)), critic_steps=0)


def test_other_games_need_no_other_family():
    """A Wasserstein game with a gradient penalty, and a relativistic one: pairs of functions and one hook."""

    class Penalised(Adversarial):
        def penalty(self, real: Tensor, fake: Tensor, cond: Tensor | None) -> Tensor:
            between = real.lerp(fake, torch.rand(len(real), 1)).requires_grad_()
            (slope,) = torch.autograd.grad(self.critic(between, cond).sum(), between, create_graph=True)
            return 10 * (slope.norm(dim=1) - 1).square().mean()

    wasserstein = Game(lambda real, fake: fake.mean() - real.mean(), lambda real, fake: -fake.mean())
    model = Penalised(Real((1,)), _Shift(1.0), _Line(), wasserstein, latent=1)
    for _ in likely.fit(model, Part(torch.randn(256, 1)), steps=200, learning_rate=0.02):
        pass
    assert abs(model.critic.line.weight.item()) == pytest.approx(1, abs=0.35)

    relativistic = Game(
        lambda real, fake: nn.functional.softplus(fake - real).mean(),
        lambda real, fake: nn.functional.softplus(real - fake).mean(),
        needs_real=True,
    )
    model = Adversarial(Real((1,)), _Shift(1.0), _Line(), relativistic, latent=1)
    loss = model.loss(torch.randn(8, 1), None, "generator")["loss"]
    loss.backward()
    assert model.generator.shift.grad is not None


def test_levels_come_out_and_noise_goes_in_on_both_sides():
    model = likely.build("gan", Finite((3,), 5), width=8)
    assert set(model.sample(200, seed=0).unique().tolist()) <= set(range(5))
    seen = []
    model.critic.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.loss(torch.full((2000, 3), 2, dtype=torch.uint8), None, "critic")
    real, fake = seen
    # level 2 of 0 .. 4 lies at 0 and one level is 0.5 wide
    assert float(real.min()) == pytest.approx(-0.25, abs=0.01)
    assert float(real.max()) == pytest.approx(0.25, abs=0.01)
    assert float(real.mean()) == pytest.approx(0, abs=0.01)
    assert float(fake.detach().abs().max()) < 1.25


def test_reals_come_out_in_their_units():
    model = likely.build("gan", Real((2,)), width=8)
    x = torch.randn(500, 2) * torch.tensor([100.0, 0.01]) + torch.tensor([1000.0, -5.0])
    model.start(x)
    drawn = model.sample(500, seed=0)
    assert bool(((drawn.mean(0) - x.mean(0)).abs() < 2 * x.std(0)).all())


def test_generate_follows_z_and_is_what_sample_draws_from():
    model = likely.build("gan", Binary((4,)), Finite((), 3), latent=2, width=16)
    z = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    first = model.generate(z, 1)
    assert model.space.contains(first)
    assert torch.equal(first, model.generate(z, 1))
    assert torch.equal(first[2:3], model.generate(z[2:3], 1))
    with pytest.raises(LikelyError, match=r"expected \(B, 2\)"):
        model.generate(torch.randn(6, 3), 1)
    with pytest.raises(LikelyError, match=r"unknown sampling option of .* 'steps'"):
        model.sample(1, steps=3)


def test_it_learns_a_law_and_its_condition():
    label = torch.arange(1024) % 2
    generator = torch.Generator().manual_seed(0)
    centre = torch.tensor([[-2.0, 0.0], [2.0, 1.0]])[label]
    x = centre + 0.3 * torch.randn(1024, 2, generator=generator)
    model = likely.build("gan", Real((2,)), Finite((), 2), latent=4, width=32)
    for _ in likely.fit(model, Part(x, label), steps=500, batch=256, learning_rate=2e-3):
        pass
    for value in (0, 1):
        drawn = model.sample(500, value, seed=0)
        real = x[label == value]
        assert torch.allclose(drawn.mean(0), real.mean(0), atol=0.3)
        assert bool((drawn.std(0) < 0.8).all())


def test_bad_numbers_are_named():
    with pytest.raises(LikelyError, match="Did you mean 'minimax'"):
        likely.build("gan", Real((2,)), loss="minmax")
    with pytest.raises(SpaceError, match="order"):
        likely.build("gan", Finite((2,), 3, ordered=False))
