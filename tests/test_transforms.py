"""Features, rearrangements and masks."""

from __future__ import annotations

import pytest
import torch

from likely.parts.transforms import checkerboard, feature_shape, features, half_channels, squeeze, unit, unsqueeze
from likely.spaces import Binary, Finite, Real


def test_features_spread_levels_over_the_interval() -> None:
    levels = Finite((3,), 5)
    assert features(levels, torch.tensor([[0, 2, 4]], dtype=torch.uint8)).tolist() == [[-1, 0, 1]]
    assert features(Binary((2,)), torch.tensor([[0, 1]], dtype=torch.uint8)).tolist() == [[-1, 1]]
    assert features(Finite((), 1), torch.zeros(2, dtype=torch.uint8)).tolist() == [[-1], [-1]]


def test_features_of_unordered_levels_are_one_hot_channels() -> None:
    space = Finite((2, 1, 1), 3, ordered=False)
    hot = features(space, torch.tensor([[[[2]], [[0]]]], dtype=torch.uint8))
    assert hot.shape == (1, *feature_shape(space)) == (1, 6, 1, 1)
    assert hot.flatten().tolist() == [0, 1, 0, 0, 1, 0]  # level by level: is entry 0, entry 1 at it


@pytest.mark.parametrize(
    "space",
    [Real(), Real((2, 3)), Binary(), Binary((1, 4, 4)), Finite((), 4, ordered=False), Finite((2,), 4, ordered=False)],
)
def test_features_have_the_declared_shape_and_type(space) -> None:
    numbers = features(space, space.random(5), torch.float64)
    assert numbers.shape == (5, *feature_shape(space))
    assert numbers.dtype == torch.float64


def test_squeeze_gathers_blocks_and_comes_back() -> None:
    x = torch.arange(2 * 3 * 4 * 6.0).reshape(2, 3, 4, 6)
    small = squeeze(x)
    assert small.shape == (2, 12, 2, 3)
    assert sorted(small[0, :4, 0, 0].tolist()) == sorted(x[0, 0, :2, :2].flatten().tolist())
    assert torch.equal(unsqueeze(small), x)


def test_checkerboard_keeps_half_and_no_neighbour() -> None:
    mask = checkerboard((3, 4, 4))
    assert mask.shape == (3, 4, 4)
    assert int(mask.sum()) == 24
    assert bool((mask[:, 1:] != mask[:, :-1]).all())
    assert bool((mask[:, :, 1:] != mask[:, :, :-1]).all())
    assert bool((mask == mask[:1]).all())  # the channels of a pixel stay together
    assert checkerboard((5,)).tolist() == [True, False, True, False, True]


def test_half_channels_keeps_the_first_half() -> None:
    mask = half_channels((4, 2, 3))
    assert mask.shape == (4, 2, 3)
    assert mask[:2].all()
    assert not mask[2:].any()


def test_a_unit_is_the_deviation_unless_nothing_deviates() -> None:
    mean, std = torch.tensor([1e6, 7.0, 5.0, 0.0]), torch.tensor([1e5, 1e-4, 0.0, 0.0])
    torch.testing.assert_close(unit(mean, std), torch.tensor([1e5, 1e-4, 5e-3, 1e-3]))
