"""Flows: a simple law seen through an invertible map, log p(x) = log base(z) + log |det dz/dx| with z = f(x)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from likely.core import Bijective, Density, Gradient
from likely.parts.transforms import squeeze, unit, unsqueeze
from likely.spaces import Space

START_ROWS = 4096  #: how many rows the data-dependent start of a flow looks at


class Transform(nn.Module, ABC):
    """An invertible map z = f(x; cond) of batches; `forward` goes from data to noise."""

    @abstractmethod
    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return z and log |det dz/dx|, (B, ...) and (B,); cond is a vector per row, (B, c)."""

    @abstractmethod
    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        """Return the x that `forward` maps to z."""

    def start(self, x: Tensor, cond: Tensor | None = None) -> None:
        """Set what comes from the data, given what this map will see of them. By default nothing."""


class Chain(Transform):
    """Maps one after another; log-determinants add up."""

    def __init__(self, steps: Iterable[Transform]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(len(x))
        for step in self.steps:
            x, log_det = step(x, cond)
            total = total + log_det
        return x, total

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        for step in reversed(self.steps):
            assert isinstance(step, Transform)
            z = step.inverse(z, cond)
        return z

    def start(self, x: Tensor, cond: Tensor | None = None) -> None:
        for step in self.steps:
            assert isinstance(step, Transform)
            step.start(x, cond)
            x, _ = step(x, cond)


class Standardise(Transform):
    """z = (x - mean) / std, with mean and standard deviation of the data seen at the start.

    Arguments:
        shape: shape of mean and std; it broadcasts against one datum, e.g. (C, 1, 1) for one pair per channel.
        size: how many numbers a datum has.
        learned: whether mean and std go on learning (actnorm; Kingma and Dhariwal, Glow, 2018,
            arxiv.org/abs/1807.03039, section 3.1). Data in units of their own want False: a learning rate fits numbers
            of size one.
    """

    def __init__(self, shape: tuple[int, ...], size: int, learned: bool = False) -> None:
        super().__init__()
        self.repeats = size // math.prod(shape)
        mean, log_std = torch.zeros(shape), torch.zeros(shape)
        self.mean = nn.Parameter(mean) if learned else nn.Buffer(mean)
        self.log_std = nn.Parameter(log_std) if learned else nn.Buffer(log_std)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = (x - self.mean) * torch.exp(-self.log_std)
        return z, (-self.repeats * self.log_std.sum()).expand(len(x))

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return z * torch.exp(self.log_std) + self.mean

    @torch.no_grad()
    def start(self, x: Tensor, cond: Tensor | None = None) -> None:
        axes = [0, *(i + 1 for i, length in enumerate(self.mean.shape) if length < x.shape[i + 1])]
        mean, std = x.mean(axes, keepdim=True)[0], x.std(axes, correction=0, keepdim=True)[0]
        self.mean.copy_(mean)
        if isinstance(self.mean, nn.Parameter):
            # What comes here has units of size one. What does not change in them keeps its width, which would else be
            # magnified by a thousand in every layer.
            self.log_std.copy_(torch.where(std > 1e-3, std, 1.0).log())
        else:
            self.log_std.copy_(unit(mean, std).log())


class Squeeze(Transform):
    """Trade space for channels, (C, 2H, 2W) -> (4C, H, W)."""

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return squeeze(x), x.new_zeros(len(x))

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return unsqueeze(z)


class Flatten(Transform):
    """Lay a datum of some shape out as a vector."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.flatten(1), x.new_zeros(len(x))

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return z.reshape(-1, *self.shape)


class FactorOut(Transform):
    """Let the first half of the channels be noise already, and map the other half on: the multi-scale architecture.

    The result is a vector: the half that stopped here, then what `rest` made of the other, which must be a vector too.

    Reference: Dinh et al., Density Estimation Using Real NVP, 2017, arxiv.org/abs/1605.08803, section 3.6.
    """

    def __init__(self, shape: tuple[int, ...], rest: Transform) -> None:
        super().__init__()
        self.kept = (shape[0] // 2, *shape[1:])
        self.rest = rest

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        done, going_on = x[:, : self.kept[0]], x[:, self.kept[0] :]
        z, log_det = self.rest(going_on, cond)
        return torch.cat([done.flatten(1), z], 1), log_det

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        size = math.prod(self.kept)
        return torch.cat([z[:, :size].reshape(-1, *self.kept), self.rest.inverse(z[:, size:], cond)], 1)

    def start(self, x: Tensor, cond: Tensor | None = None) -> None:
        self.rest.start(x[:, self.kept[0] :], cond)


class Base(ABC):
    """The law of the noise: independent entries."""

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density of each row, (B,)."""

    @abstractmethod
    def draw(self, like: Tensor) -> Tensor:
        """Draw noise in the shape of `like`, from torch's global generator."""


class StandardNormal(Base):
    """N(0, I)."""

    def log_prob(self, z: Tensor) -> Tensor:
        return -0.5 * (z.square() + math.log(2 * math.pi)).flatten(1).sum(1)

    def draw(self, like: Tensor) -> Tensor:
        return torch.randn_like(like)


class Flow(Density, Bijective, Gradient):
    """A density over reals made of an invertible map and a base: exact score, exact samples, exact inverse.

    Arguments:
        space: what one x is: reals.
        steps: the maps from data to noise, in order; the last must give vectors, (B, size).
        base: the law of the noise; None takes N(0, I).
        cond: the space of what is given, or None.
        embedding: module from the condition to a vector per row, (B, c); None with no condition.
    """

    autocast = False  # a sharp density needs shifts and scales to more than the 8 bits of bfloat16

    def __init__(
        self,
        space: Space,
        steps: Iterable[Transform],
        base: Base | None = None,
        cond: Space | None = None,
        embedding: nn.Module | None = None,
    ) -> None:
        super().__init__(space, cond)
        self.transform = Chain(steps)
        self.base = base or StandardNormal()
        self.embedding = embedding

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def _vector(self, cond: Tensor | None) -> Tensor | None:
        return None if cond is None or self.embedding is None else self.embedding(cond)

    def _encode_and_log_det(self, x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        z, log_det = self.transform(x.to(self._dtype), self._vector(cond))
        return z, log_det

    def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        return self.transform.inverse(z.to(self._dtype), self._vector(cond))

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        z, log_det = self._encode_and_log_det(x, cond)
        return self.base.log_prob(z) + log_det

    def _sample(self, n: int, cond: Tensor | None) -> Tensor:
        like = torch.empty(n, self.space.size, dtype=self._dtype, device=self.device)
        return self._decode(self.base.draw(like), cond)

    @torch.no_grad()
    def start(self, x: Tensor, cond: Tensor | None = None) -> None:
        cond = None if cond is None else cond[:START_ROWS]
        self.transform.start(x[:START_ROWS].to(self._dtype), self._vector(cond))

    def loss(self, x: Tensor, cond: Tensor | None = None) -> dict[str, Tensor]:
        """Return the negative log-likelihood, and the log-determinant as a term to watch: means per datum, in nats."""
        z, log_det = self._encode_and_log_det(x, cond)
        return {"loss": -(self.base.log_prob(z) + log_det).mean(), "log_det": log_det.mean().detach()}
