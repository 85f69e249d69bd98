r"""Deep convolutional GAN (DCGAN): x = G(z), an adversarial sampler of pictures built from strided convolutions.

The generator doubles a small map of features with transposed convolutions, batch normalisation and ReLU; the critic is
its mirror image with leaky ReLU. With a condition, its vector stands beside z and, in the critic, is projected on the
features (score = w'h + e(cond)'h). The game is the non-saturating one.

When it fails: there is no likelihood and no way from x to z; kinds of pictures may be left out without the losses
telling; a critic that wins early stops the learning, for which the paper's small learning rate and momentum 0.5 are the
first remedy. Sizes that are no multiple of the smallest map are cropped from the next one.

Reference: Radford, Metz and Chintala, Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks, 2016, arxiv.org/abs/1511.06434. With a condition: Miyato and Koyama, cGANs with Projection
Discriminator, 2018, arxiv.org/abs/1802.05637.
"""

from __future__ import annotations

import math
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from likely.errors import SpaceError, unknown
from likely.families.adversarial import Adversarial
from likely.nets.embed import ConditionEmbedding
from likely.nets.mlp import positive
from likely.parts.adversarial_losses import GAMES
from likely.spaces import Binary, Finite, Real, Space, accept


@final
class DCGAN(Adversarial):
    """The adversarial family with convolutional players: see `families.adversarial` for its arguments."""

    channels_last: ClassVar[bool] = True


class _Generator(nn.Module):
    """From z to a picture: a first small map, then doublings, each with half the channels."""

    def __init__(self, shape: tuple[int, ...], latent: int, width: int, cond: Space | None) -> None:
        super().__init__()
        self.size = shape[1:]
        doublings = _halvings(shape)
        small = tuple(math.ceil(side / 2**doublings) for side in self.size)
        widths = [width * 2**level for level in reversed(range(doublings))]
        self.embed = ConditionEmbedding(cond, latent) if cond is not None else None
        inputs = latent if cond is None else 2 * latent
        layers: list[nn.Module] = [nn.ConvTranspose2d(inputs, widths[0], small, bias=False)]
        for level, before in enumerate(widths):
            last = level + 1 == doublings
            layers += [nn.BatchNorm2d(before), nn.ReLU(inplace=True)]
            layers += [nn.ConvTranspose2d(before, shape[0] if last else widths[level + 1], 4, 2, 1, bias=last)]
        self.layers = nn.Sequential(*layers)
        _initialise(self)

    def forward(self, z: Tensor, cond: Tensor | None) -> Tensor:
        if self.embed is not None and cond is not None:
            z = torch.cat([z, self.embed(cond)], 1)
        x = self.layers(z[:, :, None, None])
        top, left = ((made - side) // 2 for made, side in zip(x.shape[2:], self.size, strict=True))
        return x[:, :, top : top + self.size[0], left : left + self.size[1]]


class _Critic(nn.Module):
    """From a picture to a score. Batch normalisation always takes the batch: its critic is never asked elsewhere."""

    def __init__(self, shape: tuple[int, ...], width: int, cond: Space | None) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before, sides = shape[0], shape[1:]
        for level in range(_halvings(shape)):
            after = width * 2**level
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1, bias=level == 0)]
            layers += [nn.BatchNorm2d(after, track_running_stats=False)] if level else []
            layers += [nn.LeakyReLU(0.2, inplace=True)]
            before, sides = after, tuple(side // 2 for side in sides)
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(before * math.prod(sides), 1)
        self.embed = ConditionEmbedding(cond, before) if cond is not None else None
        _initialise(self)

    def forward(self, x: Tensor, cond: Tensor | None) -> Tensor:
        features = self.layers(x)
        score = self.last(features.flatten(1))[:, 0]
        if self.embed is not None and cond is not None:
            score = score + (self.embed(cond) * features.mean((2, 3))).sum(1)
        return score


def _halvings(shape: tuple[int, ...]) -> int:
    """Return how often a picture is halved: down to a shorter side of at least 4, but twice where it can be."""
    side = min(shape[1:])
    return max(min(2, side.bit_length() - 1), (side // 4).bit_length() - 1)


def _initialise(module: nn.Module) -> None:
    """Draw weights from N(0, 0.02^2), as the paper's section 4 does, and scales of normalisations around 1."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)


def build(
    space: Space,
    cond: Space | None = None,
    *,
    latent: int = 100,
    width: int = 64,
    loss: str = "non-saturating",
    critic_steps: int = 1,
) -> DCGAN:
    """Build a DCGAN for pictures of any size from 2x2.

    Arguments:
        latent: numbers in z.
        width: channels of both players next to the picture; every halving doubles them.
        loss: the game: non-saturating or minimax.
        critic_steps: moves of the critic for each of the generator.

    Raises:
        SpaceError: the space is not one of pictures (C, H, W), or its levels have no order.
        UnknownName: the loss is not known.
    """
    accept(space, Real, Binary, Finite, model="dcgan")
    if len(space.shape) != 3 or min(space.shape[1:]) < 2:
        raise SpaceError(f"model 'dcgan' takes pictures (C, H, W) of at least 2x2, not {space}; try 'gan'.")
    if loss not in GAMES:
        raise unknown("loss", loss, GAMES)
    positive("width", width)
    positive("latent", latent)
    generator = _Generator(space.shape, latent, width, cond)
    critic = _Critic(space.shape, width, cond)
    return DCGAN(space, generator, critic, GAMES[loss], latent=latent, cond=cond, critic_steps=critic_steps)


TINY: tuple[dict, ...] = (
    {"space": Binary((1, 2, 3)), "latent": 2, "width": 4},
    {"space": Finite((1, 2, 2), 3), "cond": Finite((), 2), "latent": 2, "width": 4, "loss": "minimax"},
    {"space": Real((2, 5, 8)), "latent": 2, "width": 4, "critic_steps": 2},
)

PRESETS = {
    "digits": {
        "latent": 16,
        "width": 64,
        "steps": 2000,
        "batch": 64,
        "learning_rate": 1e-3,
        "schedule": "linear",
        "average": 0.995,
    },
    "mnist": {"width": 64, "steps": 5000, "batch": 128, "learning_rate": 2e-4, "average": 0.999},
    "fashion-mnist": {"width": 64, "steps": 5000, "batch": 128, "learning_rate": 2e-4, "average": 0.999},
    "cifar10": {"width": 64, "steps": 20_000, "batch": 128, "learning_rate": 2e-4, "average": 0.999},
}
