"""Vectors for what is not a picture: a condition (a class, attributes, a few measurements) and diffusion time."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from likely.errors import SpaceError
from likely.spaces import Binary, Finite, Real, Space


class ConditionEmbedding(nn.Module):
    """Map a condition to a vector, (B, *cond.shape) -> (B, width).

    Discrete entries have a table each, whose rows are added up: for one label this is the usual class embedding. Real
    entries go through one linear map. Tables start standard normal divided by sqrt(entries), so that the sum has unit
    variance.

    Arguments:
        space: the space of the condition: `Finite`, `Binary` or `Real`, of any shape.
        width: the length of the vector.

    Raises:
        SpaceError: the space is of another kind (a sequence needs a network of its own).
    """

    def __init__(self, space: Space, width: int) -> None:
        super().__init__()
        self.map: nn.Embedding | nn.Linear
        if isinstance(space, (Finite, Binary)):
            self.map = nn.Embedding(space.size * space.levels, width)
            nn.init.normal_(self.map.weight, std=space.size**-0.5)
            # entry i of a datum owns the rows i * levels to (i + 1) * levels - 1
            self.register_buffer("first", torch.arange(space.size) * space.levels, persistent=False)
        elif isinstance(space, Real):
            self.map = nn.Linear(space.size, width)
        else:
            raise SpaceError(f"a condition embedding takes Finite, Binary or Real, not {space}.")

    def forward(self, cond: Tensor) -> Tensor:
        """Return the vectors, (B, width)."""
        entries = cond.reshape(len(cond), -1)
        if isinstance(self.map, nn.Linear):
            return self.map(entries.to(self.map.weight.dtype))
        return self.map(entries.long() + self.get_buffer("first")).sum(1)


def time_embedding(t: Tensor, width: int, scale: float = 1000.0) -> Tensor:
    """Return [cos(scale t w_i), sin(scale t w_i)] with w_i from 1 down to 1/10000 in geometric steps, (B, width).

    With t in [0, 1] (0 data, 1 noise) and the default scale this is the embedding of DDPM's 1,000 steps; where t
    already counts steps, take scale 1. An odd width is padded with one zero.

    Arguments:
        t: times, (B,).
        width: the length of the vector, 2 or more.
        scale: what t is multiplied with, in steps.

    Reference: Vaswani et al., Attention Is All You Need, 2017, arxiv.org/abs/1706.03762, section 3.5.
    """
    half = width // 2
    dtype = t.dtype if t.is_floating_point() else torch.float32
    frequency = torch.exp(-math.log(10_000.0) * torch.arange(half, dtype=dtype, device=t.device) / max(half - 1, 1))
    angle = scale * t.to(dtype)[:, None] * frequency
    return nn.functional.pad(torch.cat([angle.cos(), angle.sin()], 1), (0, width - 2 * half))
