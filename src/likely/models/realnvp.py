"""Real NVP: a density through invertible affine couplings, z = x exp(s(x kept)) + t(x kept) on half of the entries.

Each coupling keeps half of the entries and shifts and scales the other half by amounts that a network computes from the
kept half. Its inverse needs no inverse of the network, and its Jacobian is triangular, so log |det| is the sum of s.
The next coupling keeps the other half. Pictures may take convolutions, with checkerboard masks, then a squeeze, then
channel-wise masks, and half of the channels leaves at each scale.

Samples, scores and representations are exact and all cost one pass. The map is continuous and one to one, so well
separated clusters are joined by thin bridges; it needs more layers than other models for the same likelihood; and on
bytes the score is the bound of a dequantised density.

Reference: Dinh, Sohl-Dickstein and Bengio, Density Estimation Using Real NVP, 2017, arxiv.org/abs/1605.08803.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from likely.core import Model
from likely.errors import LikelyError
from likely.families.dequantized import dequantized
from likely.families.flow import Chain, FactorOut, Flatten, Flow, Squeeze, Standardise, Transform
from likely.nets.conv import ConvResNet
from likely.nets.embed import ConditionEmbedding
from likely.nets.mlp import MLP, positive
from likely.parts.transforms import checkerboard, half_channels
from likely.spaces import Binary, Finite, Real, Space, accept

EMBEDDING = 32  #: length of the vector that stands for a condition


class RealNVP(Flow):
    """A flow of affine couplings over reals; see `Flow` for its parts."""


def build(
    space: Space,
    cond: Space | None = None,
    *,
    architecture: str = "mlp",
    couplings: int = 8,
    width: int = 256,
    depth: int = 2,
    scales: int = 2,
) -> Model:
    """Return an untrained Real NVP; on bits and bytes it is dequantised with uniform noise.

    Arguments:
        architecture: "mlp" for vectors and small pictures, "conv" for pictures (C, H, W).
        couplings: affine couplings; with "conv" at each scale before, and again after, the squeeze.
        width: units per hidden layer, or channels.
        depth: hidden layers, or residual blocks, of each coupling's network.
        scales: resolutions of "conv", 1 or more; height and width must be divisible by 2^(scales - 1).

    Raises:
        SpaceError: the space is a sequence.
        LikelyError: the architecture does not fit the shape.
    """
    accept(space, Real, Binary, Finite, model="realnvp")
    positive("couplings", couplings)
    if space.size < 2:
        raise LikelyError(f"realnvp couples entries with each other and {space} has only one; take gmm or gaussian.")
    steps: list[Transform] = [Standardise(space.shape, space.size)]
    given = EMBEDDING if cond is not None else 0
    if architecture == "mlp":
        steps += [Flatten(space.shape), *_vector(space.shape, couplings, width, depth, given)]
    elif architecture == "conv":
        if len(space.shape) != 3:
            raise LikelyError(f"architecture='conv' needs pictures (C, H, W), not {space}; take 'mlp'.")
        positive("scales", scales)
        if space.shape[1] % 2 ** (scales - 1) or space.shape[2] % 2 ** (scales - 1):
            raise LikelyError(f"{scales} scales need height and width divisible by {2 ** (scales - 1)}, not {space}.")
        if scales == 1 and space.shape[1] * space.shape[2] == 1:
            raise LikelyError(f"architecture='conv' needs more than one pixel, not {space}; take 'mlp'.")
        steps += _picture(space.shape, couplings, width, depth, scales, given)
    else:
        raise LikelyError(f"unknown architecture '{architecture}'; known: conv, mlp.")
    embedding = ConditionEmbedding(cond, EMBEDDING) if cond is not None else None
    model = RealNVP(Real(space.shape), steps, cond=cond, embedding=embedding)
    return model if isinstance(space, Real) else dequantized(model, space)


TINY = (
    {"space": Real((2,)), "couplings": 4, "width": 16, "depth": 1},
    {"space": Real((2,)), "cond": Finite((), 3, ordered=False), "couplings": 2, "width": 8, "depth": 2},
    {"space": Real((1, 1, 2)), "architecture": "conv", "scales": 1, "couplings": 2, "width": 4, "depth": 1},
    {"space": Binary((3,)), "couplings": 2, "width": 8, "depth": 1},
    {"space": Finite((2,), 5), "cond": Finite((), 2, ordered=False), "couplings": 2, "width": 8, "depth": 1},
    {
        "space": Finite((1, 2, 2), 3),
        "cond": Finite((), 2, ordered=False),
        "architecture": "conv",
        "scales": 2,
        "couplings": 2,
        "width": 4,
        "depth": 1,
    },
)

PRESETS = {
    "digits": {"couplings": 8, "width": 128, "steps": 1200, "batch": 128, "schedule": "cosine", "clip": 10.0},
    "digits-binary": {"couplings": 8, "width": 128, "steps": 1000, "batch": 128, "schedule": "cosine", "clip": 10.0},
    "mnist": {"couplings": 8, "width": 512, "steps": 4000, "batch": 256, "schedule": "cosine", "clip": 10.0},
    "mnist-binary": {"couplings": 8, "width": 512, "steps": 4000, "batch": 256, "schedule": "cosine", "clip": 10.0},
    "binarized-mnist": {"couplings": 8, "width": 512, "steps": 4000, "batch": 256, "schedule": "cosine", "clip": 10.0},
    "fashion-mnist": {"couplings": 8, "width": 512, "steps": 4000, "batch": 256, "schedule": "cosine", "clip": 10.0},
}


class _Coupling(Transform):
    """Equations 4 to 9: what the mask keeps is unchanged; the rest becomes x exp(s) + t.

    s = bound tanh(raw): the network cannot blow it up, and the bound is learned for every channel or entry.
    """

    mask: Tensor

    def __init__(self, mask: Tensor, net: nn.Module, bound: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mask", mask, persistent=False)
        self.net = net
        self.bound = nn.Parameter(torch.ones(bound))

    def _scale_and_shift(self, x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        raw, shift = self.net(x * self.mask, cond).to(x.dtype).reshape(len(x), -1, *x.shape[2:]).chunk(2, 1)
        moved = ~self.mask
        return self.bound * torch.tanh(raw) * moved, shift * moved

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._scale_and_shift(x, cond)
        return x * log_scale.exp() + shift, log_scale.flatten(1).sum(1)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        log_scale, shift = self._scale_and_shift(z, cond)  # what the mask keeps is the same in x and z
        return (z - shift) * torch.exp(-log_scale)


def _vector(shape: tuple[int, ...], couplings: int, width: int, depth: int, given: int) -> list[Transform]:
    """Return couplings over vectors, whose masks alternate between the two colours of a checkerboard."""
    mask = checkerboard(shape).flatten()
    size = len(mask)
    if bool(mask.all()):  # channels of a single pixel have one colour
        mask = torch.arange(size) % 2 == 0
    steps: list[Transform] = []
    for i in range(couplings):
        net = MLP(size + given, 2 * size, width, depth, zero=True)
        steps += [_Coupling(mask if i % 2 == 0 else ~mask, net, (size,)), Standardise((size,), size, learned=True)]
    return steps


def _picture(
    shape: tuple[int, ...], couplings: int, width: int, depth: int, scales: int, given: int
) -> list[Transform]:
    """Return the multi-scale architecture of section 3.6 for pictures of this shape; it ends in a vector."""

    def coupled(mask: Tensor) -> list[Transform]:
        channels, height, wide = mask.shape
        steps: list[Transform] = []
        for i in range(couplings):
            net = ConvResNet(channels, 2 * channels, width, depth, given)
            steps.append(_Coupling(mask if i % 2 == 0 else ~mask, net, (channels, 1, 1)))
            steps.append(Standardise((channels, 1, 1), channels * height * wide, learned=True))
        return steps

    steps = coupled(checkerboard(shape)) if shape[1] * shape[2] > 1 else []
    if scales == 1:
        return [*steps, Flatten(shape)]
    channels, height, wide = 4 * shape[0], shape[1] // 2, shape[2] // 2
    steps += [Squeeze(), *coupled(half_channels((channels, height, wide)))]
    rest = _picture((channels // 2, height, wide), couplings, width, depth, scales - 1, given)
    return [*steps, FactorOut((channels, height, wide), Chain(rest))]
