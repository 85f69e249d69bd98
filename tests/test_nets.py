"""Networks: shapes for every size of picture, conditions that matter, starts at zero."""

from __future__ import annotations

import math

import pytest
import torch

from likely.errors import LikelyError, SpaceError
from likely.nets.conv import ConvDecoder, ConvEncoder, ConvResNet
from likely.nets.embed import ConditionEmbedding, time_embedding
from likely.nets.mlp import MLP
from likely.spaces import Binary, Finite, Real, Sequence


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 8, 8), (3, 32, 32), (2, 1, 1), (1, 5, 7), (1, 13, 9), (3, 17, 30)])
@pytest.mark.parametrize("depth", [1, 2])
def test_convolutions_take_any_size(shape: tuple[int, ...], depth: int) -> None:
    torch.manual_seed(0)
    encoder = ConvEncoder(shape, 6, width=32, depth=depth, cond=3)
    decoder = ConvDecoder(6, 4, shape, width=32, depth=depth, cond=3)
    cond = torch.randn(2, 3)
    z = encoder(torch.randn(2, *shape), cond)
    assert z.shape == (2, 6)
    assert decoder(z, cond).shape == (2, 4, *shape[1:])


@pytest.mark.parametrize("shape", [(1, 9, 9), (1, 28, 28)])
def test_every_pixel_is_seen_and_drawn(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    encoder = ConvEncoder(shape, 4, width=64)
    x = torch.randn(8, *shape, requires_grad=True)
    encoder(x).square().sum().backward()
    assert x.grad is not None
    assert bool((x.grad.abs().amax(0) > 0).all())
    decoder = ConvDecoder(4, 1, shape, width=64)
    drawn = decoder(torch.randn(8, 4))
    assert bool((drawn.std(0) > 0).all())


def test_conditions_change_the_output() -> None:
    torch.manual_seed(0)
    one, other = torch.randn(2, 1, 3).expand(2, 4, 3)
    x = torch.randn(4, 1, 8, 8)
    residual = ConvResNet(1, 2, width=8, depth=1, cond=3)
    torch.nn.init.normal_(residual.last.weight)
    networks = [ConvEncoder((1, 8, 8), 5, width=16, cond=3), MLP(64 + 3, 5, width=16, depth=1), residual]
    for network in networks:
        assert not torch.allclose(network(x, one), network(x, other))


def test_networks_that_start_at_zero() -> None:
    x = torch.randn(3, 2, 5, 5)
    assert not ConvResNet(2, 4, width=8, depth=2)(x).any()
    assert not MLP(50, 7, width=8, depth=2, zero=True)(x).any()


def test_mlp_has_the_layers_it_names() -> None:
    assert sum(p.numel() for p in MLP(784, 32, width=512, depth=1).parameters()) == 785 * 512 + 513 * 32
    assert sum(p.numel() for p in MLP(5, 2, width=9, depth=0).parameters()) == 12
    with pytest.raises(LikelyError, match="width must be 1 or more"):
        MLP(5, 2, width=0, depth=1)
    with pytest.raises(LikelyError, match="depth must be 0 or more"):
        MLP(5, 2, width=1, depth=-1)


def test_labels_have_a_row_each_and_attributes_add_up() -> None:
    torch.manual_seed(0)
    label = ConditionEmbedding(Finite((), 10, ordered=False), 8)
    assert label(torch.tensor([3, 3, 9], dtype=torch.uint8)).shape == (3, 8)
    assert len(torch.unique(label(torch.arange(10)), dim=0)) == 10
    pair = ConditionEmbedding(Binary((2,)), 8)
    assert isinstance(pair.map, torch.nn.Embedding)
    first, second = pair.map.weight[1], pair.map.weight[2]
    torch.testing.assert_close(pair(torch.tensor([[1, 0]], dtype=torch.uint8))[0], first + second)
    assert ConditionEmbedding(Real((2, 3)), 8)(torch.randn(4, 2, 3)).shape == (4, 8)
    with pytest.raises(SpaceError, match="condition embedding takes"):
        ConditionEmbedding(Sequence((), Finite((), 4), 3), 8)


def test_time_embedding_has_frequencies_from_one_to_a_ten_thousandth() -> None:
    t = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)
    vector = time_embedding(t, 7)
    assert vector.shape == (3, 7)
    assert vector[0].tolist() == [1, 1, 1, 0, 0, 0, 0]
    expected = [math.cos(250), math.cos(2.5), math.cos(0.025), math.sin(250), math.sin(2.5), math.sin(0.025), 0]
    torch.testing.assert_close(vector[1], torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(
        time_embedding(torch.tensor([250]), 7, scale=1.0)[0], vector[1].float(), atol=1e-4, rtol=0
    )
