"""The UNet of diffusion models: from a noisy picture and a context vector to a picture of the same size."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from likely.nets.mlp import positive

SMALLEST = 4  #: pictures are halved as long as their shorter side stays at least this long


class UNet(nn.Module):
    """Residual blocks down to small pictures and up again, with skips in between, (B, C, H, W) -> (B, C, H, W).

    Memory is kept in NCHW order: the backward pass of `GroupNorm` is many times slower in channels-last order on
    processors. Any size works; going up, a picture is brought to the size it had on the way down.

    Arguments:
        shape: (C, H, W) of the picture.
        width: channels at full size; each of at most three halvings doubles them, up to four times as many.
        depth: residual blocks per level and direction.
        context: length of the context vector (time and condition), (B, context).
        attention: whether the blocks of the smallest level attend over all places.

    Reference: Ho, Jain and Abbeel, Denoising Diffusion Probabilistic Models, 2020, arxiv.org/abs/2006.11239,
    appendix B.
    """

    def __init__(self, shape: tuple[int, ...], width: int, depth: int, context: int, attention: bool = True) -> None:
        super().__init__()
        positive("width", width)
        positive("depth", depth)
        channels, height, wide = shape
        levels = min(max((min(height, wide) // SMALLEST).bit_length(), 1), 4)
        widths = [width * min(2**level, 4) for level in range(levels)]

        def block(inputs: int, level: int) -> _Block:
            return _Block(inputs, widths[level], context, attention and level + 1 == levels)

        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.down, self.shrink, self.up, self.grow = (nn.ModuleList() for _ in range(4))
        now, skips = width, [width]
        for level, wide in enumerate(widths):
            blocks = nn.ModuleList()
            for _ in range(depth):
                blocks.append(block(now, level))
                now = wide
                skips.append(now)
            self.down.append(blocks)
            if level + 1 < len(widths):
                self.shrink.append(nn.Conv2d(now, now, 3, stride=2, padding=1))
                skips.append(now)
        self.middle = block(now, len(widths) - 1)
        for level in reversed(range(len(widths))):
            blocks = nn.ModuleList()
            for _ in range(depth + 1):
                blocks.append(block(now + skips.pop(), level))
                now = widths[level]
            self.up.append(blocks)
            if level:
                self.grow.append(nn.Conv2d(now, now, 3, padding=1))
        self.norm = _norm(now)
        self.last = _quiet(nn.Conv2d(now, channels, 3, padding=1))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        context = F.silu(context)
        x = self.first(x)
        skips = [x]
        for level, blocks in enumerate(self.down):
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, context)
                skips.append(x)
            if level < len(self.shrink):
                x = self.shrink[level](x)
                skips.append(x)
        x = self.middle(x, context)
        for level, blocks in enumerate(self.up):
            for block in blocks:  # type: ignore[attr-defined]
                x = block(torch.cat([x, skips.pop()], 1), context)
            if level < len(self.grow):
                x = self.grow[level](F.interpolate(x, size=skips[-1].shape[2:], mode="nearest"))
        return self.last(F.silu(self.norm(x)))


class _Block(nn.Module):
    """x + f(x, context): two 3x3 convolutions with group normalisation, the context added between; then attention."""

    def __init__(self, inputs: int, outputs: int, context: int, attention: bool) -> None:
        super().__init__()
        self.first_norm, self.first = _norm(inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.context = nn.Linear(context, outputs)
        self.second_norm, self.second = _norm(outputs), _quiet(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.attention = _Attention(outputs) if attention else nn.Identity()

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        inner = self.first(F.silu(self.first_norm(x))) + self.context(context)[:, :, None, None]
        return self.attention(self.skip(x) + self.second(F.silu(self.second_norm(inner))))


class _Attention(nn.Module):
    """x + attention over all places, one head, as two plain products: fused kernels are slow in bfloat16 on CPU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.query_key_value = nn.Conv2d(channels, 3 * channels, 1)
        self.out = _quiet(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.query_key_value(self.norm(x)).flatten(2).chunk(3, 1)  # each (B, C, places)
        weight = torch.softmax(query.mT @ key / math.sqrt(query.shape[1]), -1)  # (B, places, places)
        return x + self.out((value @ weight.mT.to(value.dtype)).unflatten(2, x.shape[2:]))


def _norm(channels: int) -> nn.GroupNorm:
    """Group normalisation in groups of at least four channels, at most 32 groups."""
    return nn.GroupNorm(next(g for g in range(min(32, max(channels // 4, 1)), 0, -1) if channels % g == 0), channels)


def _quiet(layer: nn.Conv2d) -> nn.Conv2d:
    """Shrink a branch's last layer, so that the branch begins as a whisper beside its skip connection."""
    with torch.no_grad():
        layer.weight.mul_(0.1)
    return layer
