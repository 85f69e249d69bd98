"""DCGAN: any size of picture, conditions, batch statistics, and learning something that can be seen."""

from __future__ import annotations

import pytest
import torch

import likely
from likely.data.parts import Part
from likely.errors import SpaceError
from likely.spaces import Binary, Finite, Real


@pytest.mark.parametrize("shape", [(1, 2, 2), (1, 5, 7), (1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 9, 33)])
def test_any_size_of_picture(shape):
    space = Finite(shape, 256)
    model = likely.build("dcgan", space, width=4, latent=3)
    assert model.sample(2, seed=0).shape == (2, *shape)
    scores = model.critic(torch.randn(3, *shape), None)
    assert scores.shape == (3,)
    for _ in likely.fit(model, Part(space.random(8)), steps=1, batch=4):
        pass
    assert model.space.contains(model.sample(2, seed=0))


@pytest.mark.parametrize(("side", "widths"), [(32, [64, 32, 16]), (28, [32, 16]), (64, [128, 64, 32, 16])])
def test_the_layers_are_those_of_the_paper(side, widths):
    model = likely.build("dcgan", Finite((3, side, side), 256), width=16)
    doublings = [m for m in model.generator.layers if isinstance(m, torch.nn.ConvTranspose2d)][1:]
    assert [m.in_channels for m in doublings] == widths
    halvings = [m for m in model.critic.layers if isinstance(m, torch.nn.Conv2d)]
    assert [m.out_channels for m in halvings] == widths[::-1]
    assert not isinstance(model.critic.layers[1], torch.nn.BatchNorm2d)  # none beside the picture


def test_sampling_uses_running_statistics_and_learning_moves_them():
    model = likely.build("dcgan", Binary((1, 8, 8)), width=4, latent=3)
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.generate(z)[:1], model.generate(z[:1]))
    before = {name: value.clone() for name, value in model.named_buffers()}
    for _ in likely.fit(model, Part(model.space.random(32)), steps=2, batch=16):
        pass
    moved = {name for name, value in model.named_buffers() if not torch.equal(value, before[name])}
    assert any(name.endswith("running_mean") for name in moved)
    assert all(name.startswith("generator.") for name in moved)


def test_the_condition_reaches_both_players():
    model = likely.build("dcgan", Real((1, 8, 8)), Finite((), 10), width=8, latent=3)
    z = torch.randn(4, 3)
    assert not torch.equal(model.generate(z, 1), model.generate(z, 2))
    x = torch.randn(4, 1, 8, 8)
    one, two = (model.critic(x, torch.full((4,), c)) for c in (1, 2))
    assert bool((one != two).all())
    assert model.sample(3, seed=0).shape == (3, 1, 8, 8)


def test_it_learns_which_half_is_bright():
    label = torch.arange(256) % 2
    x = torch.zeros(256, 1, 8, 8, dtype=torch.uint8)
    x[label == 0, :, :4] = 16
    x[label == 1, :, 4:] = 16
    model = likely.build("dcgan", Finite((1, 8, 8), 17), Finite((), 2), latent=4, width=8)
    for _ in likely.fit(model, Part(x, label), steps=120, batch=64, learning_rate=3e-3):
        pass
    drawn = model.sample(100, label[:100], seed=0).float()
    assert float((drawn - x[:100].float()).abs().mean()) < 2


def test_what_is_no_picture_is_refused():
    for space in (Real((4,)), Binary((1, 1, 5))):
        with pytest.raises(SpaceError, match="pictures"):
            likely.build("dcgan", space)
