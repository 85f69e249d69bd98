"""Real NVP and the maps of flows: inverses, log-determinants, integrals, and what a fit reaches."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from likely.core import Bijective, Density, Latent, Weighted, seeded
from likely.errors import LikelyError, SpaceError
from likely.families.flow import FactorOut, Flatten, Squeeze, Standardise
from likely.models.realnvp import RealNVP, build
from likely.spaces import Binary, Finite, Real, Sequence

LABELS = Finite((), 3, ordered=False)


def moved(space: Real, cond: Finite | None = None, scale: float = 0.3, **numbers: Any) -> RealNVP:
    """Return a flow whose couplings are not the identity they start as."""
    with seeded(0):
        model = build(space, cond, **numbers)
        assert isinstance(model, RealNVP)
        model.start(3 * space.random(200) + 1, None if cond is None else cond.random(200))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += scale * torch.randn_like(parameter) / math.sqrt(parameter[0].numel())
    return model


CASES = [
    (Real((2,)), {"couplings": 4, "width": 8}),
    (Real((5,)), {"couplings": 3, "width": 8, "depth": 1}),
    (Real((3, 1, 1)), {"couplings": 2, "width": 8}),
    (Real((1, 3, 5)), {"architecture": "conv", "scales": 1, "couplings": 2, "width": 4, "depth": 1}),
    (Real((2, 4, 4)), {"architecture": "conv", "scales": 2, "couplings": 2, "width": 4, "depth": 1}),
    (Real((1, 4, 8)), {"architecture": "conv", "scales": 3, "couplings": 2, "width": 4, "depth": 1}),
]


@pytest.mark.parametrize("cond", [None, LABELS])
@pytest.mark.parametrize(("space", "numbers"), CASES)
def test_inverse_and_log_determinant(space: Real, numbers: dict, cond: Finite | None) -> None:
    model = moved(space, cond, **numbers)
    x, given = 3 * space.random(3, torch.Generator().manual_seed(1)), None if cond is None else cond.random(3)
    torch.testing.assert_close(model.decode(model.encode(x, given), given), x, atol=1e-4, rtol=1e-4)
    model = model.double()
    x = x.double()
    z, log_det = model.encode_and_log_det(x, given)
    assert z.shape == (3, space.size)
    torch.testing.assert_close(model.decode(z, given), x, atol=1e-10, rtol=1e-10)

    def encode(one: Tensor) -> Tensor:
        return model.encode(one[None], None if given is None else given[:1])[0]

    jacobian = torch.autograd.functional.jacobian(encode, x[0]).reshape(space.size, space.size)
    exact = torch.linalg.slogdet(jacobian).logabsdet
    assert abs(float(exact)) > 0.1
    torch.testing.assert_close(log_det[0], exact)
    standard = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    torch.testing.assert_close(model.log_prob(x, given), standard + log_det)


@pytest.mark.parametrize("cond", [None, LABELS])
def test_the_density_integrates_to_one(cond: Finite | None) -> None:
    model = moved(Real((2,)), cond, scale=0.2, couplings=3, width=8).double()
    side = torch.linspace(-40, 40, 401).double()
    points = torch.cartesian_prod(side, side)
    for label in [None] if cond is None else [0, 2]:
        mass = model.log_prob(points, label).exp().sum() * 0.2**2
        assert float(mass) == pytest.approx(1, abs=1e-3)


def test_the_condition_changes_the_density() -> None:
    model = moved(Real((2,)), LABELS, couplings=4, width=8)
    x = Real((2,)).random(5)
    assert not torch.allclose(model.log_prob(x, 0), model.log_prob(x, 1), atol=1e-2)


def test_start_standardises_whatever_the_units() -> None:
    x = torch.randn(3000, 4) * torch.tensor([1e6, 1e-4, 1.0, 0.0]) + torch.tensor([0.0, 7.0, -1e3, 5.0])
    model = build(Real((4,)), couplings=2, width=8)
    model.start(x)
    assert isinstance(model, RealNVP)
    z = model.encode(x[:, :])
    torch.testing.assert_close(z.mean(0), torch.zeros(4), atol=1e-2, rtol=0)
    torch.testing.assert_close(z[:, :3].std(0), torch.ones(3), atol=2e-2, rtol=0)
    assert z.isfinite().all()  # the constant column as well


@pytest.mark.parametrize("columns", [[1.0, 0.0], [0.0, 0.0]])
def test_a_constant_column_does_not_grow_from_layer_to_layer(columns: list[float]) -> None:
    x = torch.randn(50, 2) * torch.tensor(columns) + torch.tensor([0.0, 3.5])
    model = build(Real((2,)), couplings=8, width=8)
    model.start(x)
    assert float(model.log_prob(x).max()) < 20  # a thousandth of its size wide, once and not in each of eight layers
    near = x + torch.tensor([0.0, 1e-3])
    assert model.log_prob(near).isfinite().all()
    assert model.sample(100, seed=0)[:, 1].sub(3.5).abs().max() < 0.1


def test_learned_standardisation_counts_every_pixel() -> None:
    layer = Standardise((2, 1, 1), 2 * 3 * 3, learned=True)
    x = 4 * torch.randn(50, 2, 3, 3) - 1
    layer.start(x)
    z, log_det = layer(x)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(log_det[0], -9 * x.std((0, 2, 3), correction=0).log().sum())
    assert len(list(layer.parameters())) == 2
    assert len(list(Standardise((2, 1, 1), 18).parameters())) == 0


def test_factoring_out_keeps_half_and_sends_half_on() -> None:
    layer = FactorOut((4, 2, 2), Flatten((2, 2, 2)))
    x = torch.randn(3, 4, 2, 2)
    z, log_det = layer(x)
    assert torch.equal(z, x.flatten(1))
    assert not log_det.any()
    assert torch.equal(layer.inverse(z), x)
    assert torch.equal(Squeeze().inverse(Squeeze()(x)[0]), x)


def test_it_learns_a_curved_density() -> None:
    generator = torch.Generator().manual_seed(0)

    def banana(n: int) -> Tensor:
        first, noise = torch.randn(2, n, generator=generator)
        return torch.stack([first, first**2 + 0.3 * noise], 1)

    x = banana(4000)
    entropy = 0.5 * math.log(2 * math.pi * math.e) * 2 + math.log(0.3)  # of N(0, 1) and of the noise
    with seeded(0):
        model = build(Real((2,)), couplings=4, width=32, depth=1)
        assert isinstance(model, RealNVP)
        model.start(x)
        before = float(model.log_prob(x).mean())
        optimizer = torch.optim.Adam(model.parameters(), 5e-3)
        for _ in range(250):
            optimizer.zero_grad()
            model.loss(x[torch.randint(4000, (256,))])["loss"].backward()
            optimizer.step()
    test = float(model.log_prob(banana(4000)).mean())
    assert before < -entropy - 0.5
    assert test > -entropy - 0.15
    assert test < -entropy + 0.05


def test_abilities_follow_the_space() -> None:
    reals, bits = build(Real((2,)), couplings=1, width=4), build(Binary((2,)), couplings=1, width=4)
    assert isinstance(reals, Density)
    assert isinstance(reals, Bijective)
    assert not isinstance(bits, Density)
    assert isinstance(bits, Weighted)
    assert isinstance(bits, Latent)


def test_bits_come_back_from_their_representation() -> None:
    with seeded(0):
        model = build(Finite((1, 4, 4), 17), architecture="conv", couplings=2, width=4, depth=1)
    x = model.space.random(50)
    model.start(x)
    assert isinstance(model, Latent)
    assert torch.equal(model.decode(model.encode(x)), x)


@pytest.mark.parametrize(
    ("space", "numbers", "says"),
    [
        (Real((1,)), {}, "has only one"),
        (Real((4,)), {"architecture": "conv"}, "needs pictures"),
        (Real((1, 7, 7)), {"architecture": "conv", "scales": 2}, "divisible by 2"),
        (Real((3, 1, 1)), {"architecture": "conv", "scales": 1}, "more than one pixel"),
        (Real((4,)), {"architecture": "glow"}, "unknown architecture 'glow'"),
        (Real((4,)), {"couplings": 0}, "couplings must be 1 or more"),
        (Sequence((), Real(), 3), {}, "takes Real or Binary or Finite"),
    ],
)
def test_bad_numbers_are_refused_in_one_line(space, numbers: dict, says: str) -> None:
    with pytest.raises((LikelyError, SpaceError), match=says) as caught:
        build(space, **numbers)
    assert "\n" not in str(caught.value)
