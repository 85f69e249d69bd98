"""Convolutions for pictures of any size and number of channels: to a vector, from a vector, and to a picture."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from likely.nets.mlp import positive

SMALLEST = 4  #: pictures are halved as long as their shorter side stays at least this long


class Residual(nn.Module):
    """x + f(x) with two 3x3 convolutions, the second starting at zero: the block begins as the identity.

    Reference: He et al., Identity Mappings in Deep Residual Networks, 2016, arxiv.org/abs/1603.05027.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(F.relu(x))))


class ConvEncoder(nn.Module):
    """From a picture to a vector, (B, C, H, W) -> (B, outputs): 4x4 convolutions of stride 2, then two dense layers.

    The picture is padded with zeros to a size that can be halved evenly.

    Arguments:
        shape: (C, H, W) of the picture.
        outputs: numbers per row that go out.
        width: units of the dense layer; the first convolution has width / 16 channels (at least 4) and every halving
            doubles them.
        depth: residual blocks after each halving, minus one: 1 is plain convolutions.
        cond: length of the condition vector, which joins before the dense layers.
    """

    def __init__(self, shape: tuple[int, ...], outputs: int, width: int, depth: int = 1, cond: int = 0) -> None:
        super().__init__()
        sizes = _Sizes(shape, width, depth)
        self.padding = sizes.padding
        layers: list[nn.Module] = [nn.Conv2d(shape[0], sizes.channels[0], 3, padding=1), nn.ReLU()]
        for before, after in pairwise(sizes.channels):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.ReLU()]
            layers += [Residual(after) for _ in range(depth - 1)]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.dense = nn.Sequential(nn.Linear(sizes.flat + cond, width), nn.ReLU(), nn.Linear(width, outputs))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        flat = self.layers(F.pad(x, self.padding))
        return self.dense(flat if cond is None else torch.cat([flat, cond.to(flat.dtype)], 1))


class ConvDecoder(nn.Module):
    """From a vector to a picture, (B, inputs) -> (B, channels, H, W): the mirror image of `ConvEncoder`.

    Arguments:
        inputs: numbers per row that come in.
        channels: channels that go out.
        shape: (C, H, W) of the data, of which the size counts.
        width, depth: as in `ConvEncoder`.
        cond: length of the condition vector, which is put beside the input.
    """

    def __init__(
        self, inputs: int, channels: int, shape: tuple[int, ...], width: int, depth: int = 1, cond: int = 0
    ) -> None:
        super().__init__()
        sizes = _Sizes(shape, width, depth)
        self.padding = sizes.padding
        self.smallest = (sizes.channels[-1], *sizes.smallest)
        self.dense = nn.Sequential(nn.Linear(inputs + cond, width), nn.ReLU(), nn.Linear(width, sizes.flat), nn.ReLU())
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes.channels[::-1]):
            layers += [Residual(before) for _ in range(depth - 1)]
            layers += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(sizes.channels[0], channels, 3, padding=1))

    def forward(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        start = self.dense(z if cond is None else torch.cat([z, cond.to(z.dtype)], 1))
        picture = self.layers(start.reshape(-1, *self.smallest))
        left, right, top, bottom = self.padding
        return picture[:, :, top : picture.shape[2] - bottom, left : picture.shape[3] - right]


class _Sizes:
    """How a picture shrinks: the padding that makes its size even, the channels and the smallest size."""

    def __init__(self, shape: tuple[int, ...], width: int, depth: int) -> None:
        positive("width", width)
        positive("depth", depth)
        _, height, wide = shape
        halvings = max((min(height, wide) // SMALLEST).bit_length() - 1, 0)
        more_height, more_wide = -height % 2**halvings, -wide % 2**halvings
        self.padding = (more_wide // 2, more_wide - more_wide // 2, more_height // 2, more_height - more_height // 2)
        self.smallest = ((height + more_height) >> halvings, (wide + more_wide) >> halvings)
        self.channels = [max(width // 16, 4) * 2**i for i in range(halvings + 1)]
        self.flat = self.channels[-1] * self.smallest[0] * self.smallest[1]


class ConvResNet(nn.Module):
    """From a picture to a picture of the same size, (B, inputs, H, W) -> (B, outputs, H, W).

    A 3x3 convolution, `depth` residual blocks, and a 3x3 convolution that starts at zero: the network begins as the
    constant 0. A condition vector shifts the channels after the first convolution.

    Arguments:
        inputs, outputs: channels that come in and go out.
        width: channels inside.
        depth: residual blocks.
        cond: length of the condition vector.
    """

    def __init__(self, inputs: int, outputs: int, width: int, depth: int, cond: int = 0) -> None:
        super().__init__()
        positive("width", width)
        self.first = nn.Conv2d(inputs, width, 3, padding=1)
        self.shift = nn.Linear(cond, width) if cond else None
        self.blocks = nn.Sequential(*[Residual(width) for _ in range(depth)])
        self.last = nn.Conv2d(width, outputs, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        hidden = self.first(x)
        if self.shift is not None and cond is not None:
            hidden = hidden + self.shift(cond)[:, :, None, None]
        return self.last(F.relu(self.blocks(hidden)))
