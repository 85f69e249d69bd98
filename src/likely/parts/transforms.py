"""Maps between what data are and what networks like: features, rearrangements, and the masks of coupling layers.

Everything here is a function of tensors without parameters; rearrangements come in pairs that undo each other.
"""

from __future__ import annotations

import torch
from torch import Tensor

from likely.spaces import Binary, Finite, Space


def features(space: Space, x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return x as network input: levels spread over [-1, 1], unordered levels one-hot, reals as they are.

    One-hot levels become channels, (B, *shape) -> (B, levels * shape[0], *shape[1:]); elsewhere the shape stays. A
    single number per row has the shape (B, 1).

    Arguments:
        space: the space of x.
        x: values of the space, (B, *shape).
        dtype: the network's floating-point type.
    """
    if isinstance(space, Finite) and not space.ordered:
        hot = torch.nn.functional.one_hot(x.long(), space.levels).movedim(-1, 1).to(dtype)
        return hot.reshape(len(x), *feature_shape(space))
    x = x.reshape(len(x), *feature_shape(space)).to(dtype)
    if isinstance(space, (Binary, Finite)):
        return x * (2 / max(space.levels - 1, 1)) - 1
    return x


def feature_shape(space: Space) -> tuple[int, ...]:
    """Return the shape of one row of `features`."""
    shape = space.shape or (1,)
    if isinstance(space, Finite) and not space.ordered:
        return (space.levels * shape[0], *shape[1:])
    return shape


def unit(mean: Tensor, std: Tensor) -> Tensor:
    """Return the standard deviations, to divide by; an entry that never changes gets a thousandth of its own size."""
    size = mean.abs()
    return torch.where(std > 1e-6 * size, std, 1e-3 * torch.where(size > 0, size, torch.ones_like(size)))


def squeeze(x: Tensor) -> Tensor:
    """Trade space for channels: each 2x2 block becomes four channels, (B, C, 2H, 2W) -> (B, 4C, H, W).

    Reference: Dinh et al., Density Estimation Using Real NVP, 2017, arxiv.org/abs/1605.08803, section 3.6.
    """
    return torch.nn.functional.pixel_unshuffle(x, 2)


def unsqueeze(x: Tensor) -> Tensor:
    """Trade channels for space, the inverse of `squeeze`, (B, 4C, H, W) -> (B, C, 2H, 2W)."""
    return torch.nn.functional.pixel_shuffle(x, 2)


def checkerboard(shape: tuple[int, ...]) -> Tensor:
    """Return True where the indices of an entry add up to an even number, bool (*shape).

    For a vector these are the even entries. For a picture (C, H, W) only row and column count, so that the channels of
    a pixel stay together.
    """
    place = shape[1:] if len(shape) == 3 else shape
    total = torch.zeros(place, dtype=torch.long)
    for axis, length in enumerate(place):
        total = total + torch.arange(length).reshape([-1 if i == axis else 1 for i in range(len(place))])
    return (total % 2 == 0).expand(shape).clone()


def half_channels(shape: tuple[int, ...]) -> Tensor:
    """Return True for the first half of the channels, bool (*shape): the channel-wise mask of section 3.4."""
    kept = torch.arange(shape[0]) < shape[0] // 2
    return kept.reshape(-1, *[1] * (len(shape) - 1)).expand(shape).clone()
