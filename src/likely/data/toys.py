"""Toys whose laws are known exactly: log-likelihoods have a truth beside them, and representations the factors.

Points in the plane have a density; pictures of squares have four independent factors that made them, and as many
equally probable pictures as these have values together.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from likely.data.parts import Data, Part
from likely.errors import DataError
from likely.spaces import Finite, Real

SIZES = {"train": 10_000, "valid": 2_000, "test": 10_000}


class Toy(ABC):
    """A density on the plane."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n points, (n, 2)."""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) in nats, (B,), for x (B, 2)."""


@dataclass(frozen=True)
class Mixture(Toy):
    """p(x) = 1/K sum_k N(x; mean_k, scale^2 I): curves are finely set with Gaussians, so they too are exact.

    Arguments:
        means: the centres, (K, 2).
        scale: the standard deviation of each.
    """

    means: Tensor
    scale: float

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        centre = torch.randint(len(self.means), (n,), generator=generator)
        return self.means[centre] + self.scale * torch.randn(n, 2, generator=generator)

    def log_prob(self, x: Tensor) -> Tensor:
        squared = (x[:, None] - self.means.to(x.dtype)).square().sum(-1)
        log_scale = math.log(2 * math.pi * self.scale**2 * len(self.means))
        return (-squared / (2 * self.scale**2)).logsumexp(1) - log_scale


@dataclass(frozen=True)
class Checkerboard(Toy):
    """Uniform on the black squares of a board: p(x) = 2 / (side * squares)^2 there, 0 (log -inf) elsewhere.

    Arguments:
        squares: how many squares the board has along a side, even.
        side: the side of one square.
    """

    squares: int = 4
    side: float = 2.0

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        row = torch.randint(self.squares, (n,), generator=generator)
        column = 2 * torch.randint(self.squares // 2, (n,), generator=generator) + row % 2
        corner = torch.stack([column, row], 1) - self.squares / 2
        return self.side * (corner + torch.rand(n, 2, generator=generator))

    def log_prob(self, x: Tensor) -> Tensor:
        square = (x / self.side + self.squares / 2).floor()
        black = ((square >= 0) & (square < self.squares)).all(1) & (square.sum(1) % 2 == 0)
        log_density = math.log(2 / (self.side * self.squares) ** 2)
        return torch.where(black, log_density, -math.inf).to(x.dtype)


def toy(name: str) -> Toy:
    """Return the density of a toy: `ring`, `grid`, `moons`, `spirals` or `checkerboard`."""
    if name == "ring":
        angle = torch.arange(8) * (2 * math.pi / 8)
        return Mixture(2 * torch.stack([angle.cos(), angle.sin()], 1), 0.2)
    if name == "grid":
        place = 2.0 * torch.arange(-2, 3)
        return Mixture(torch.cartesian_prod(place, place), 0.2)
    if name == "moons":
        angle = (torch.arange(64) + 0.5) * (math.pi / 64)
        upper = torch.stack([angle.cos(), angle.sin()], 1)
        return Mixture(torch.cat([upper, torch.tensor([1.0, 0.5]) - upper]), 0.1)
    if name == "spirals":
        # equal steps of arc length in r = a, approximately: the angle grows with the square root
        angle = 3 * math.pi * ((torch.arange(128) + 0.5) / 128).sqrt()
        arm = (angle / math.pi)[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
        return Mixture(torch.cat([arm, -arm]), 0.1)
    return Checkerboard()


@dataclass(frozen=True)
class Squares:
    """One square on black, 16 x 16 bytes: 8 places across, 8 down, 3 sizes and 4 brightnesses, all independent.

    p(x) = 1 / 768 for each picture of one square, 0 (log -inf) for all others.
    """

    side: int = 16
    x: tuple[int, ...] = tuple(range(4, 12))  #: the column behind the middle
    y: tuple[int, ...] = tuple(range(4, 12))  #: the row below the middle
    sides: tuple[int, ...] = (2, 4, 6)
    brightness: tuple[int, ...] = (64, 128, 192, 255)

    @property
    def factors(self) -> Finite:
        """The space of the factors: the number of the value that each has."""
        values = (self.x, self.y, self.sides, self.brightness)
        named = tuple(tuple(map(str, each)) for each in values)
        return Finite((4,), max(map(len, values)), names=("x", "y", "size", "brightness"), values=named)

    def draw(self, factors: Tensor) -> Tensor:
        """Return the pictures that factors, (n, 4), make, (n, 1, side, side)."""
        across, down, half, light = (
            torch.tensor(values)[factors[:, i].long()]
            for i, values in enumerate((self.x, self.y, [side // 2 for side in self.sides], self.brightness))
        )
        place = torch.arange(self.side)
        columns, rows = (
            (place >= (middle - half)[:, None]) & (place < (middle + half)[:, None]) for middle in (across, down)
        )
        return (light[:, None, None] * (rows[:, :, None] & columns[:, None, :])).to(torch.uint8)[:, None]

    def sample(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw n pictures, (n, 1, side, side), and their factors, (n, 4)."""
        sizes = torch.tensor(self.factors.sizes)
        factors = (torch.rand(n, 4, generator=generator, dtype=torch.float64) * sizes).long().to(torch.uint8)
        return self.draw(factors), factors

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) in nats, (B,), for x (B, 1, side, side)."""
        every = self.draw(torch.cartesian_prod(*(torch.arange(size) for size in self.factors.sizes)))
        known = {picture.tobytes() for picture in every.numpy()}
        same = [picture.tobytes() in known for picture in x.to(torch.uint8).numpy()]
        return torch.where(torch.tensor(same), -math.log(len(every)), -math.inf)


TOYS = ("ring", "grid", "moons", "spirals", "checkerboard")


def load_toy(name: str, *, view: str | None = None, seed: int = 0) -> Data:
    """Draw a toy's train, valid and test parts.

    Raises:
        DataError: a view other than `reals` was asked for.
    """
    if view not in (None, "reals"):
        raise DataError(f"'{name}' is {Real((2,))}: view '{view}' does not apply; take reals.")
    density = toy(name)
    generator = torch.Generator().manual_seed(seed)
    parts = {part: Part(density.sample(n, generator)) for part, n in SIZES.items()}
    note = f"drawn by seed {seed} from a density that is known exactly"
    return Data(
        name,
        "reals",
        Real((2,)),
        parts["train"],
        parts["valid"],
        parts["test"],
        note=note,
        true_log_prob=density.log_prob,
    )
