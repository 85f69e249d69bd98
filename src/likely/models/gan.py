r"""The original GAN: x = G(z) with z ~ N(0, I), learned against a critic D(x), the probability that x is real.

Two multilayer perceptrons play min_G max_D E log D(x) + E log(1 - D(G(z))) (eq. 1); with the best critic the generator
descends the Jensen-Shannon divergence between its law and the data's. The default, non-saturating game has the same
fixed point and a gradient also while the critic wins. `critic_steps` is the paper's k.

When it fails: there is no likelihood and no way from x to z; the game may circle instead of settling, and the generator
may leave out part of the data (mode collapse) without its loss telling. On pictures take `dcgan`.

Reference: Goodfellow et al., Generative Adversarial Nets, 2014, arxiv.org/abs/1406.2661. With a condition: Mirza and
Osindero, Conditional Generative Adversarial Nets, 2014, arxiv.org/abs/1411.1784.
"""

from __future__ import annotations

import math
from typing import final

from torch import Tensor, nn

from likely.errors import unknown
from likely.families.adversarial import Adversarial
from likely.nets.embed import ConditionEmbedding
from likely.nets.mlp import MLP
from likely.parts.adversarial_losses import GAMES
from likely.spaces import Binary, Finite, Real, Space, accept


@final
class GAN(Adversarial):
    """The original game, in which both players are networks of any kind: see `families.adversarial`."""


class _Player(nn.Module):
    """A perceptron on a flat input beside the condition's vector, reshaped at its end."""

    def __init__(
        self, inputs: int, shape: tuple[int, ...], width: int, depth: int, activation: str, cond: Space | None
    ) -> None:
        super().__init__()
        self.shape = shape
        self.embed = ConditionEmbedding(cond, min(width, 32)) if cond is not None else None
        extra = min(width, 32) if cond is not None else 0
        self.layers = MLP(inputs + extra, math.prod(shape), width, depth, activation)

    def forward(self, x: Tensor, cond: Tensor | None) -> Tensor:
        vector = self.embed(cond) if self.embed is not None and cond is not None else None
        return self.layers(x.reshape(len(x), -1), vector).reshape(len(x), *self.shape)


def build(
    space: Space,
    cond: Space | None = None,
    *,
    latent: int = 16,
    width: int = 256,
    depth: int = 2,
    loss: str = "non-saturating",
    critic_steps: int = 1,
) -> GAN:
    """Build a GAN of two multilayer perceptrons.

    Arguments:
        latent: numbers in z.
        width: units per hidden layer of both players.
        depth: hidden layers of both players.
        loss: the game: non-saturating or minimax (the paper's eq. 1).
        critic_steps: moves of the critic for each of the generator, the paper's k.

    Raises:
        SpaceError: the space is a sequence, or its levels have no order.
        UnknownName: the loss is not known.
    """
    accept(space, Real, Binary, Finite, model="gan")
    if loss not in GAMES:
        raise unknown("loss", loss, GAMES)
    generator = _Player(latent, space.shape, width, depth, "relu", cond)
    critic = _Player(space.size, (), width, depth, "silu", cond)
    return GAN(space, generator, critic, GAMES[loss], latent=latent, cond=cond, critic_steps=critic_steps)


TINY: tuple[dict, ...] = (
    {"space": Binary((3,)), "latent": 2, "width": 8, "depth": 1},
    {"space": Finite((2,), 3), "cond": Finite((), 2), "latent": 2, "width": 8, "loss": "minimax", "critic_steps": 2},
    {"space": Real((2,)), "latent": 2, "width": 16},
)

PRESETS = {
    "digits": {"steps": 3000, "batch": 128, "learning_rate": 5e-4, "average": 0.995},
    "mnist": {"latent": 64, "width": 512, "steps": 10_000, "batch": 128, "learning_rate": 2e-4, "average": 0.999},
}
