"""A unit pulled by a field: p(u) = exp(field u) m(u) / Z(field), independent of its neighbours in the layer.

`Bits` count: m = 1 on {0, 1}, log Z = softplus(field), P(1) = sigmoid(field). `Normals` have m = exp(-precision u^2 /
2) on the reals: log Z = field^2 / (2 precision) + log(2 pi / precision) / 2, a Gaussian of mean field / precision.

`draw_bits` spends 16 random bits on each unit and one number that all share, so that each P(1) is as exact as a float32
allows; two units of one call depend on each other by less than 2^-32.

Reference: Welling, Rosen-Zvi and Hinton, Exponential Family Harmoniums with an Application to Information Retrieval,
2004, papers.nips.cc/paper/2672.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F


class Units(ABC):
    """The law of a layer's units given the field on each; `precision` counts for `Normals` only."""

    @abstractmethod
    def draw(self, field: Tensor, dtype: torch.dtype, precision: Tensor | float = 1.0) -> Tensor:
        """Draw each unit, as numbers of this type, (B, D)."""

    @abstractmethod
    def mean(self, field: Tensor) -> Tensor:
        """Return the mean of each unit, (B, D)."""

    @abstractmethod
    def log_z(self, field: Tensor, precision: Tensor | float = 1.0) -> Tensor:
        """Return the logarithm of each unit's normaliser, (B, D)."""

    @abstractmethod
    def log_measure(self, u: Tensor, precision: Tensor | float = 1.0) -> Tensor:
        """Return log m(u) summed over the layer, (...) for (..., D)."""


class Bits(Units):
    """Units that are 0 or 1."""

    def draw(self, field: Tensor, dtype: torch.dtype, precision: Tensor | float = 1.0) -> Tensor:
        return draw_bits(field.sigmoid(), dtype)

    def mean(self, field: Tensor) -> Tensor:
        return field.sigmoid()

    def log_z(self, field: Tensor, precision: Tensor | float = 1.0) -> Tensor:
        return F.softplus(field)

    def log_measure(self, u: Tensor, precision: Tensor | float = 1.0) -> Tensor:
        return u.new_zeros(u.shape[:-1])


class Normals(Units):
    """Units that are real numbers, Gaussian given the field."""

    def draw(self, field: Tensor, dtype: torch.dtype, precision: Tensor | float = 1.0) -> Tensor:
        precision = torch.as_tensor(precision, dtype=field.dtype, device=field.device)
        return (field / precision + torch.randn_like(field) * precision.rsqrt()).to(dtype)

    def mean(self, field: Tensor) -> Tensor:
        return field

    def log_z(self, field: Tensor, precision: Tensor | float = 1.0) -> Tensor:
        precision = torch.as_tensor(precision, dtype=field.dtype, device=field.device)
        return field.square() / (2 * precision) + 0.5 * (math.log(2 * math.pi) - precision.log())

    def log_measure(self, u: Tensor, precision: Tensor | float = 1.0) -> Tensor:
        return -0.5 * (precision * u.square()).sum(-1)


def draw_bits(p: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Draw bits that are 1 with these probabilities, as numbers, from torch's global generator.

    A bit is 1 where i + f < 2^16 p, with i a whole number of 16 random bits of its own and f uniform on [0, 1), drawn
    once a call: averaged over f that has probability p. It costs a third of a float32 uniform for each.

    Arguments:
        p: probabilities, any shape.
        dtype: the type of the result; None takes that of p.

    Example:
        >>> draw_bits(torch.tensor([0.0, 1.0]))
        tensor([0., 1.])
    """
    drawn = torch.empty(p.shape, dtype=dtype or p.dtype, device=p.device)
    if p.device.type != "cpu":
        return torch.lt(torch.rand(p.shape, device=p.device), p, out=drawn)
    n = p.numel()
    words = torch.empty((n + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    offset = 2.0**15 + float(torch.rand(()))
    return torch.lt(words[:n].view(p.shape), (p * 2.0**16).sub_(offset), out=drawn)
