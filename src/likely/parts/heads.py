"""Likelihood heads: from the numbers a network puts out to an exact, normalised probability of x.

A head says how many numbers it needs for each entry of x (`count`) and turns parameters (B, count, *shape) into a law
of x: its log-probability (B,), a draw and the most probable value. Parameters are float, live on a scale on which 0 is
a sane start, and may be anything from -inf to inf: the head keeps scales positive.

    head = choose(space, "auto")
    law = head.at(parameters)
    law.log_prob(x), law.sample(), law.mode()
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from likely.errors import SpaceError
from likely.spaces import Binary, Finite, Real, Space

NAMES = ("auto", "bernoulli", "gaussian", "logistic", "categorical")  #: what `choose` understands

CEILING = 7.0  #: the largest logarithm of a scale


class Law(Protocol):
    """A distribution for each row of a batch."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-probability of each row, (B,)."""

    def sample(self) -> Tensor:
        """Draw one value per row, from torch's global generator, (B, *shape)."""

    def mode(self) -> Tensor:
        """Return the most probable value of each row, (B, *shape)."""


@dataclass(frozen=True)
class _At:
    """A head together with its parameters."""

    head: Head
    parameters: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        return self.head.log_prob(self.parameters, x)

    def sample(self) -> Tensor:
        return self.head.sample(self.parameters)

    def mode(self) -> Tensor:
        return self.head.mode(self.parameters)


@dataclass(frozen=True)
class Head(ABC):
    """A factorised likelihood on a space: every entry of x is independent given the parameters.

    Arguments:
        space: what one x is.
    """

    space: Space

    scaled: ClassVar[bool] = False  #: whether the second of two parameters is the logarithm of a scale

    @property
    @abstractmethod
    def count(self) -> int:
        """How many parameters one entry of x has."""

    @abstractmethod
    def entries(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return the log-probability of every entry, (B, *shape)."""

    @abstractmethod
    def sample(self, parameters: Tensor) -> Tensor:
        """Draw x for each row of parameters, (B, *shape)."""

    @abstractmethod
    def mode(self, parameters: Tensor) -> Tensor:
        """Return the most probable x for each row of parameters, (B, *shape)."""

    @abstractmethod
    def start(self, x: Tensor) -> Tensor:
        """Return parameters that fit every entry of the batch x on its own, (count, *shape): a good first bias."""

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return the log-probability of each row, (B,), in nats.

        Arguments:
            parameters: (B, count, *shape), float; half precision is computed in float32.
            x: values of the space, (B, *shape).
        """
        return self.entries(_full(parameters), x).reshape(len(x), self.space.size).sum(1)

    def at(self, parameters: Tensor) -> Law:
        """Return the law of x for these parameters, (B, count, *shape)."""
        return _At(self, _full(parameters))


@dataclass(frozen=True)
class Bernoulli(Head):
    r"""Bits with P(x = 1) = sigmoid(l): log p = x l - log(1 + e^l)."""

    count = 1

    def entries(self, parameters: Tensor, x: Tensor) -> Tensor:
        logits = parameters[:, 0]
        # sigmoid(-l) = 1 - sigmoid(l): one term per pixel, and nothing cancels where the network is sure
        return F.logsigmoid(logits * (2 * x.to(logits.dtype) - 1))

    def sample(self, parameters: Tensor) -> Tensor:
        return self.space._cast(torch.bernoulli(parameters[:, 0].sigmoid()))

    def mode(self, parameters: Tensor) -> Tensor:
        return self.space._cast(parameters[:, 0] > 0)

    def start(self, x: Tensor) -> Tensor:
        ones = x.to(torch.get_default_dtype()).sum(0)
        return torch.log((ones + 0.5) / (len(x) - ones + 0.5))[None]


@dataclass(frozen=True)
class Categorical(Head):
    r"""Levels without order, P(x = v) = softmax(l)_v: one parameter per level."""

    @property
    def count(self) -> int:
        return _levels(self.space)

    def entries(self, parameters: Tensor, x: Tensor) -> Tensor:
        chosen = parameters.gather(1, x.long()[:, None])[:, 0]
        return chosen - parameters.logsumexp(1)

    def sample(self, parameters: Tensor) -> Tensor:
        # the largest of l + Gumbel noise is a draw from softmax(l); -log of an exponential is Gumbel
        noise = torch.empty_like(parameters).exponential_().log()
        return self.space._cast((parameters - noise).argmax(1))

    def mode(self, parameters: Tensor) -> Tensor:
        return self.space._cast(parameters.argmax(1))

    def start(self, x: Tensor) -> Tensor:
        # one count added to each entry's n, shared among the levels: an unseen level stays possible
        counts = torch.stack([(x == level).sum(0) for level in range(self.count)]).to(torch.get_default_dtype())
        return torch.log((counts + 1 / self.count) / (len(x) + 1))


@dataclass(frozen=True)
class _Located(Head):
    """A head with two parameters per entry: a location and the logarithm of a scale, which stays above a floor."""

    floor: float = math.exp(-7)  #: the smallest scale, in units of the parameters

    count = 2
    scaled = True

    def __post_init__(self) -> None:
        if not self.floor > 0:
            raise SpaceError(f"the smallest scale of a likelihood must be positive, not {self.floor}.")

    def _location_and_log_scale(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        floor = math.log(self.floor)
        # softplus bends towards the floor and is the identity far above it, so the gradient does not die there; nothing
        # sane comes near the ceiling, which keeps exp finite
        return parameters[:, 0], floor + F.softplus(parameters[:, 1].clamp(max=CEILING) - floor)

    def _parameters(self, location: Tensor, scale: Tensor) -> Tensor:
        """Return the parameters for a location and a scale: the inverse of the above."""
        above = (scale.log() - math.log(self.floor)).clamp(min=1e-2)
        return torch.stack([location, math.log(self.floor) + above + torch.log(-torch.expm1(-above))])


@dataclass(frozen=True)
class Gaussian(_Located):
    """Reals, x ~ N(mean, scale^2), in the units of the parameters."""

    def entries(self, parameters: Tensor, x: Tensor) -> Tensor:
        mean, log_scale = self._location_and_log_scale(parameters)
        return -0.5 * ((x - mean) * torch.exp(-log_scale)) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)

    def sample(self, parameters: Tensor) -> Tensor:
        mean, log_scale = self._location_and_log_scale(parameters)
        return mean + log_scale.exp() * torch.randn_like(mean)

    def mode(self, parameters: Tensor) -> Tensor:
        return parameters[:, 0]

    def start(self, x: Tensor) -> Tensor:
        return self._parameters(x.mean(0), x.std(0, correction=0).clamp(min=2 * self.floor))


class _Discretised(_Located):
    """A continuous law cut into one bin per level; the two edge bins take the tails.

    Levels 0 to L - 1 lie at -1 to 1 on the scale of the parameters, each in the middle of a bin of width 2 / (L - 1).
    """

    spread: ClassVar[float] = 1.0  #: the standard deviation of the standard law

    @abstractmethod
    def _log_between(self, low: Tensor, high: Tensor, width: Tensor) -> Tensor:
        """Return log (cdf(high) - cdf(low)) of the standard law, where width = high - low."""

    @abstractmethod
    def _log_below(self, high: Tensor) -> Tensor:
        """Return log cdf(high) of the standard law, which is symmetric about 0."""

    @abstractmethod
    def _noise(self, like: Tensor) -> Tensor:
        """Draw from the standard law, in the shape of `like`."""

    def _step(self) -> float:
        return 2 / max(_levels(self.space) - 1, 1)

    def entries(self, parameters: Tensor, x: Tensor) -> Tensor:
        mean, log_scale = self._location_and_log_scale(parameters)
        inverse, step, level = torch.exp(-log_scale), self._step(), x.to(mean.dtype)
        # neighbours compute the end they share by the same formula: rounding moves mass between them and loses none
        low, high = ((level - 0.5) * step - 1 - mean) * inverse, ((level + 0.5) * step - 1 - mean) * inverse
        width = torch.maximum(high - low, step / 2 * inverse)  # far out, rounding would leave a width of 0
        first, last = x == 0, x == _levels(self.space) - 1
        inner = self._log_between(low, high, width)
        edge = self._log_below(torch.where(first, high, -low))
        return torch.where(first & last, 0.0, torch.where(first | last, edge, inner))

    def sample(self, parameters: Tensor) -> Tensor:
        mean, log_scale = self._location_and_log_scale(parameters)
        return self._nearest(mean + log_scale.exp() * self._noise(mean))

    def mode(self, parameters: Tensor) -> Tensor:
        # inside, the fullest bin is the nearest to the mean; an edge bin with its tail may hold still more
        nearest = self._nearest(parameters[:, 0])
        best, value = self.entries(parameters, nearest), nearest
        for level in (0, _levels(self.space) - 1):
            edge = torch.full_like(nearest, level)
            other = self.entries(parameters, edge)
            value = torch.where(other > best, edge, value)
            best = torch.maximum(other, best)
        return value

    def start(self, x: Tensor) -> Tensor:
        value = x.to(torch.get_default_dtype()) * self._step() - 1
        scale = value.std(0, correction=0) / self.spread
        return self._parameters(value.mean(0), scale.clamp(min=max(self._step() / 4, 2 * self.floor)))

    def _nearest(self, value: Tensor) -> Tensor:
        last = _levels(self.space) - 1
        return self.space._cast(((value + 1) / self._step()).round().clamp(0, last))


class DiscretisedLogistic(_Discretised):
    r"""Ordered levels: the mass of a logistic law in each level's bin.

    P(x) = s(b) - s(a) with s the logistic function and a, b the standardised ends of the bin. The difference is taken
    as s(b) s(-a) (1 - e^{a - b}), a product of positive factors, so nothing cancels in float32.

    Reference: Salimans et al., PixelCNN++, 2017, arxiv.org/abs/1701.05517, equation 2.
    """

    spread = math.pi / math.sqrt(3)

    def _log_between(self, low: Tensor, high: Tensor, width: Tensor) -> Tensor:
        return F.logsigmoid(high) + F.logsigmoid(-low) + torch.log(-torch.expm1(-width))

    def _log_below(self, high: Tensor) -> Tensor:
        return F.logsigmoid(high)

    def _noise(self, like: Tensor) -> Tensor:
        return torch.logit(torch.rand_like(like), eps=torch.finfo(like.dtype).tiny)


class DiscretisedGaussian(_Discretised):
    """Ordered levels: the mass of a Gaussian in each level's bin, taken in double precision, where narrow bins need it.

    Reference: Ho, Jain and Abbeel, Denoising Diffusion Probabilistic Models, 2020, arxiv.org/abs/2006.11239,
    equation 13.
    """

    def _log_between(self, low: Tensor, high: Tensor, width: Tensor) -> Tensor:
        # the lower tail is where log_ndtr is accurate: mirror the bins that lie right of the mean
        right = low + high > 0
        high, low = torch.where(right, -low, high).double(), torch.where(right, -high, low).double()
        above, below = torch.special.log_ndtr(high), torch.special.log_ndtr(low)
        return (above + torch.log(-torch.expm1(below - above))).to(width.dtype)

    def _log_below(self, high: Tensor) -> Tensor:
        return torch.special.log_ndtr(high)

    def _noise(self, like: Tensor) -> Tensor:
        return torch.randn_like(like)


def choose(space: Space, name: str = "auto", floor: float | None = None) -> Head:
    """Return the likelihood of this name on a space.

    "auto" takes Bernoulli on bits, a Gaussian on reals, the discretised logistic on ordered levels and a categorical on
    unordered ones. "gaussian" on ordered levels is the discretised Gaussian.

    Arguments:
        space: what one x is.
        name: one of `NAMES`.
        floor: the smallest scale of a Gaussian or logistic, in units of its parameters; None takes exp(-7).

    Raises:
        SpaceError: the likelihood does not exist on this space; the line says what to take instead.

    Example:
        >>> choose(Finite((1, 28, 28), 256)).count  # location and scale of a discretised logistic
        2
    """
    if name not in NAMES:
        raise SpaceError(f"unknown decoder '{name}'; known: {', '.join(NAMES)}.")
    bits = isinstance(space, Binary) or (isinstance(space, Finite) and space.levels == 2)
    ordered = isinstance(space, Finite) and space.ordered
    if name == "auto":
        name = "bernoulli" if bits else "logistic" if ordered else "gaussian" if isinstance(space, Real) else name
        name = "categorical" if name == "auto" else name
    scale = {} if floor is None else {"floor": floor}
    if name == "bernoulli":
        if not bits:
            raise SpaceError(
                f"Bernoulli cross-entropy on {space} is not a likelihood: take the discretised logistic "
                "(decoder='logistic'), or look at the data as bits (--view dynamic)."
            )
        return Bernoulli(space)
    if name == "categorical" and isinstance(space, (Binary, Finite)):
        return Categorical(space)
    if name == "gaussian" and isinstance(space, Real):
        return Gaussian(space, **scale)
    if name in ("gaussian", "logistic") and ordered:
        return (DiscretisedGaussian if name == "gaussian" else DiscretisedLogistic)(space, **scale)
    raise SpaceError(f"there is no '{name}' likelihood on {space}; decoder='auto' takes one that fits.")


@dataclass(frozen=True)
class Normal:
    """A Gaussian with independent entries for each row: N(mean, diag(exp(2 log_std))).

    Arguments:
        mean: (B, d).
        log_std: logarithm of the standard deviations, (B, d).
    """

    mean: Tensor
    log_std: Tensor

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log N(z), (..., B) for z (..., B, d)."""
        standard = (z - self.mean) * torch.exp(-self.log_std)
        return -(0.5 * standard**2 + self.log_std + 0.5 * math.log(2 * math.pi)).sum(-1)

    def draw(self, k: int) -> Tensor:
        """Draw k values per row, (k, B, d), with gradients to mean and log_std (the reparametrisation trick)."""
        return self.mean + self.log_std.exp() * torch.randn((k, *self.mean.shape), dtype=self.mean.dtype).to(self.mean)

    def sample(self) -> Tensor:
        """Draw one value per row, (B, d)."""
        return self.draw(1)[0]

    def mode(self) -> Tensor:
        """Return the mean, (B, d)."""
        return self.mean

    def divergence(self, other: Normal) -> Tensor:
        """Return KL(self || other) in closed form, (B,)."""
        ratio = self.log_std - other.log_std
        shift = (self.mean - other.mean) * torch.exp(-other.log_std)
        return 0.5 * (torch.exp(2 * ratio) + shift**2 - 1 - 2 * ratio).sum(-1)


def _full(parameters: Tensor) -> Tensor:
    """Return half-precision parameters in float32: probabilities need it."""
    return parameters.float() if parameters.dtype in (torch.bfloat16, torch.float16) else parameters


def _levels(space: Space) -> int:
    if not isinstance(space, (Binary, Finite)):
        raise SpaceError(f"{space} has no levels.")
    return space.levels
