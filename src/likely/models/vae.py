"""The variational autoencoder: p(x) = ∫ p(x | z) N(z; 0, I) dz, learned with an encoder q(z | x) by the ELBO.

A decoder network turns a standard normal z into the parameters of a likelihood of x; an encoder network guesses, for
each x, the mean and the standard deviation of the z that made it. Both climb the evidence lower bound
E_q log p(x | z) - KL(q(z | x) || p(z)), whose gradient passes through z = mean + std * noise.

The score is a bound, tightened by importance samples. Samples are blurred where one Gaussian per datum fits the
posterior badly; coordinates of z that do not pay for their KL are ignored by the decoder (posterior collapse), the more
so the more powerful the decoder is.

Reference: Kingma and Welling, Auto-Encoding Variational Bayes, 2014, arxiv.org/abs/1312.6114.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from likely.errors import LikelyError
from likely.families.variational import Variational
from likely.nets.conv import ConvDecoder, ConvEncoder
from likely.nets.embed import ConditionEmbedding
from likely.nets.mlp import MLP, positive
from likely.parts.heads import Head, Law, Normal, choose
from likely.parts.transforms import feature_shape, features, unit
from likely.spaces import Binary, Finite, Real, Space, accept

EMBEDDING = 32  #: length of the vector that stands for a condition
LARGEST = 8.0  #: bound on |log std| of the posterior, far from every sane value: keeps exp finite
NUMBERS_AT_ONCE = 2**24  #: how many parameters of p(x | z) one pass of the decoder puts out


class VAE(Variational):
    """A variational autoencoder with a Gaussian prior and posterior and a factorised likelihood.

    Real data are standardised inside (mean and standard deviation per entry, taken before training); scores are in the
    data's own units all the same.

    Arguments:
        space: what one x is.
        encoder: module (features of x, condition vector or None) -> (B, 2 latent): means and log standard deviations.
        decoder: module (z, condition vector or None) -> the parameters of the likelihood: (B, count * size) numbers for
            `head.count` parameters per entry, or (B, size) for the first alone; the others are then learned constants.
        head: the likelihood.
        latent: length of z.
        cond: the space of what is given, or None.
        embedding: module from the condition to a vector per row; None with no condition.
        beta, importance: see `Variational`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        space: Space,
        encoder: nn.Module,
        decoder: nn.Module,
        head: Head,
        latent: int,
        cond: Space | None = None,
        embedding: nn.Module | None = None,
        *,
        beta: float = 1.0,
        importance: int = 1,
    ) -> None:
        super().__init__(space, cond, beta=beta, importance=importance)
        self.encoder, self.decoder, self.embedding = encoder, decoder, embedding
        self.head, self.latent = head, latent
        #: what the likelihood would be without z, from the data's marginals: the decoder adds to it
        self.bias = nn.Parameter(torch.zeros(head.count, *space.shape))
        if isinstance(space, Real):
            self.register_buffer("mean", torch.zeros(space.shape))
            self.register_buffer("std", torch.ones(space.shape))
        self.decoded_at_once = max(1, min(10_000, NUMBERS_AT_ONCE // (head.count * space.size)))

    def start(self, x: Tensor, cond: Tensor | None = None) -> None:
        """Take mean and standard deviation of real data, and the bias of the decoder, from the data."""
        if isinstance(self.space, Real):
            x = x.to(self.bias.dtype)
            self.std.copy_(unit(x.mean(0), x.std(0, correction=0)))
            self.mean.copy_(x.mean(0))
        with torch.no_grad():
            self.bias.copy_(self.head.start(self._standard(x)))

    def _standard(self, x: Tensor) -> Tensor:
        return (x.to(self.bias.dtype) - self.mean) / self.std if isinstance(self.space, Real) else x

    def _vector(self, cond: Tensor | None) -> Tensor | None:
        return None if cond is None or self.embedding is None else self.embedding(cond)

    def _prior(self, n: int, cond: Tensor | None) -> Normal:
        zero = self.bias.new_zeros(n, self.latent)
        return Normal(zero, zero)

    def _posterior(self, x: Tensor, cond: Tensor | None) -> Normal:
        numbers = features(self.space, self._standard(x), self.bias.dtype)
        mean, log_std = self.encoder(numbers, self._vector(cond)).to(self.bias.dtype).chunk(2, 1)
        return Normal(mean, log_std.clamp(-LARGEST, LARGEST))

    def _likelihood(self, z: Tensor, cond: Tensor | None) -> Law:
        numbers = self.decoder(z.to(self.bias.dtype), self._vector(cond)).to(self.bias.dtype)
        numbers = numbers.reshape(len(z), -1, *self.space.shape)
        if numbers.shape[1] < self.head.count:
            zeros = numbers.new_zeros(len(z), self.head.count - numbers.shape[1], *self.space.shape)
            numbers = torch.cat([numbers, zeros], 1)
        law = self.head.at(numbers + self.bias)
        return _InUnits(law, self.mean, self.std) if isinstance(self.space, Real) else law


def build(
    space: Space,
    cond: Space | None = None,
    *,
    latent: int = 16,
    architecture: str = "mlp",
    width: int = 512,
    depth: int = 1,
    decoder: str = "auto",
    variance: str = "datum",
    floor: float = 0.001,
    beta: float = 1.0,
    importance: int = 1,
) -> VAE:
    """Return an untrained VAE.

    Arguments:
        latent: length of z.
        architecture: "mlp", or "conv" for pictures (C, H, W).
        width: units per hidden layer; with "conv" of the dense layers, with width / 16 channels at full size.
        depth: hidden layers; with "conv" convolutions at each size.
        decoder: the likelihood p(x | z): "auto", "bernoulli", "gaussian", "logistic" (discretised) or "categorical".
        variance: "datum" lets the decoder put out the scale of a Gaussian or logistic; "global" learns one per entry.
        floor: the smallest scale: of a Gaussian in standard deviations of the data, of levels as a part of their range
            of 2.
        beta: weight of the KL divergence in training.
        importance: samples of the bound that is trained; above 1 the importance-weighted bound.

    Raises:
        SpaceError: the space is a sequence, or the decoder is no likelihood on it.
        LikelyError: a number or name makes no sense.
    """
    accept(space, Real, Binary, Finite, model="vae")
    positive("latent", latent)
    if variance not in ("datum", "global"):
        raise LikelyError(f"unknown variance '{variance}'; known: datum, global.")
    head = choose(space, decoder, floor)
    maps = 1 if variance == "global" and head.scaled else head.count
    given = EMBEDDING if cond is not None else 0
    inputs = feature_shape(space)
    encoding: nn.Module
    decoding: nn.Module
    if architecture == "mlp":
        encoding = MLP(torch.Size(inputs).numel() + given, 2 * latent, width, depth)
        decoding = MLP(latent + given, maps * space.size, width, depth)
    elif architecture == "conv":
        if len(space.shape) != 3:
            raise LikelyError(f"architecture='conv' needs pictures (C, H, W), not {space}; take 'mlp'.")
        encoding = ConvEncoder(inputs, 2 * latent, width, depth, given)
        decoding = ConvDecoder(latent, maps * space.shape[0], space.shape, width, depth, given)
    else:
        raise LikelyError(f"unknown architecture '{architecture}'; known: conv, mlp.")
    embedding = ConditionEmbedding(cond, EMBEDDING) if cond is not None else None
    return VAE(space, encoding, decoding, head, latent, cond, embedding, beta=beta, importance=importance)


TINY = (
    {"space": Binary((3,)), "latent": 2, "width": 8},
    {"space": Binary((2, 2)), "cond": Finite((), 3, ordered=False), "latent": 1, "width": 8, "depth": 2},
    {"space": Binary((1, 2, 3)), "architecture": "conv", "latent": 2, "width": 8, "depth": 2, "importance": 3},
    {"space": Finite((2,), 5), "latent": 2, "width": 8, "variance": "global", "beta": 2.0},
    {"space": Finite((2,), 4), "latent": 2, "width": 8, "decoder": "gaussian"},
    {"space": Finite((2,), 3, ordered=False), "latent": 2, "width": 8},
    {
        "space": Finite((1, 2, 2), 3),
        "cond": Finite((), 2, ordered=False),
        "architecture": "conv",
        "latent": 1,
        "width": 8,
    },
    {"space": Real((2,)), "latent": 2, "width": 8},
    {"space": Real(), "cond": Real((2,)), "latent": 1, "width": 8, "variance": "global", "importance": 2},
)

PRESETS = {
    "digits": {"latent": 16, "width": 256, "steps": 2000, "batch": 128, "learning_rate": 2e-3, "schedule": "cosine"},
    "digits-binary": {"latent": 16, "width": 256, "steps": 1500, "learning_rate": 2e-3, "schedule": "cosine"},
    "mnist": {"latent": 32, "depth": 2, "steps": 12000, "batch": 256, "learning_rate": 1e-3, "schedule": "cosine"},
    "mnist-binary": {
        "latent": 32,
        "depth": 2,
        "steps": 20000,
        "batch": 128,
        "learning_rate": 1e-3,
        "schedule": "cosine",
    },
    "binarized-mnist": {
        "latent": 40,
        "depth": 2,
        "importance": 5,
        "steps": 30000,
        "batch": 128,
        "learning_rate": 1e-3,
        "schedule": "cosine",
        "average": 0.999,
    },
    "fashion-mnist": {
        "latent": 32,
        "depth": 2,
        "steps": 12000,
        "batch": 256,
        "learning_rate": 1e-3,
        "schedule": "cosine",
    },
}


@dataclass(frozen=True)
class _InUnits:
    """The law of mean + std * y for a law of y: p(x) = p(y) / prod std."""

    law: Law
    mean: Tensor
    std: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        return self.law.log_prob((x.to(self.mean.dtype) - self.mean) / self.std) - self.std.log().sum()

    def sample(self) -> Tensor:
        return self.mean + self.std * self.law.sample()

    def mode(self) -> Tensor:
        return self.mean + self.std * self.law.mode()
