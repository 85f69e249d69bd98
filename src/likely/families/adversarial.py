r"""Adversarial models: a generator x = G(z) is judged by a critic, and each learns from the other's moves.

There is no likelihood here: the only promise is a sample. A member of the family brings two networks and a `Game` of
`parts.adversarial_losses`; a Wasserstein, least-squares, hinge or relativistic game is another pair of functions, and a
gradient penalty is the `penalty` hook.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from likely.core import Turns
from likely.errors import LikelyError, SpaceError
from likely.parts.adversarial_losses import Game
from likely.spaces import Binary, Finite, Real, Space


class Adversarial(Turns):
    r"""A sampler x = G(z), z ~ N(0, I), learned in a game against a critic that tells real from generated data.

    Networks see values scaled to [-1, 1] (levels) or to zero mean and unit variance (reals). A generator's output is
    continuous, so on levels it is rounded when sampling; while learning, real *and* generated data get the same uniform
    noise of one level's width. Without it the critic could tell them apart by the grid the real data lie on, however
    right the pictures are, and learns nothing else. Adding noise of the same law to both sides does not move the
    optimum: the noisy laws agree only where the laws themselves do, since a uniform law's characteristic function has
    isolated zeros only.

    Arguments:
        space: what one x is.
        generator: (z (B, latent), cond) -> scaled values (B, *shape); on levels before a tanh, which keeps them inside.
        critic: (scaled values (B, *shape), cond) -> scores (B,), high for real.
        game: the losses of both players.
        latent: the length of z.
        cond: the space of what is given, or None.
        critic_steps: moves of the critic for each move of the generator.

    Reference: Goodfellow et al., Generative Adversarial Nets, 2014, arxiv.org/abs/1406.2661. Noise on both sides:
    Sønderby et al., Amortised MAP Inference for Image Super-resolution, 2017, arxiv.org/abs/1610.04490, section 3.1.
    """

    def __init__(
        self,
        space: Space,
        generator: nn.Module,
        critic: nn.Module,
        game: Game,
        *,
        latent: int,
        cond: Space | None = None,
        critic_steps: int = 1,
    ) -> None:
        super().__init__(space, cond)
        if critic_steps < 1:
            raise LikelyError(f"critic_steps must be 1 or more, not {critic_steps}.")
        if isinstance(space, Finite) and not space.ordered:
            raise SpaceError(f"a generator's output is rounded to levels, which must be ordered; {space} has no order.")
        self.generator = generator
        self.critic = critic
        self.game = game
        self.latent = latent
        self.critic_steps = critic_steps
        half = max(space.levels - 1, 1) / 2 if isinstance(space, (Binary, Finite)) else 1.0
        reals = isinstance(space, Real)
        self.register_buffer("shift", torch.full(space.shape, 0.0 if reals else half))
        self.register_buffer("scale", torch.full(space.shape, half))
        #: half the distance of two levels, as the networks see it
        self.noise = 0.0 if reals else 0.5 / half
        self.shift: Tensor
        self.scale: Tensor

    def start(self, x: Tensor, cond: Tensor | None = None) -> None:
        """Take mean and standard deviation of real data: of every entry, in pictures of every channel."""
        if isinstance(self.space, Real):
            over = (0, 2, 3) if x.dim() == 4 else (0,)
            deviation = x.std(over, correction=0, keepdim=True)[0]
            self.shift.copy_(x.mean(over, keepdim=True)[0].expand_as(self.shift))
            self.scale.copy_(torch.where(deviation > 0, deviation, 1.0).expand_as(self.scale))

    # The game ------------------------------------------------------------------------------------------------------

    @property
    def players(self) -> dict[str, nn.Module]:
        return {"critic": self.critic, "generator": self.generator}

    @property
    def turns(self) -> Sequence[str]:
        return ("critic",) * self.critic_steps + ("generator",)

    def loss(self, x: Any, cond: Tensor | None = None, player: str = "") -> dict[str, Tensor]:
        """Return {"loss": what the player descends, "real", "fake": mean scores, "accuracy": how often the critic is
        right, by the sign of its score}; on the generator's turn "fake" alone, unless its game needs real data.

        Raises:
            LikelyError: there is no such player.
        """
        if player not in self.players:
            raise LikelyError(f"player must be 'critic' or 'generator', not {player!r}.")
        with torch.set_grad_enabled(torch.is_grad_enabled() and player == "generator"):
            generated = self._noisy(self._generated(self._drawn(len(x)), cond))
        if player == "generator" and not self.game.needs_real:
            fake = self._scores(generated, cond)
            return {"loss": self.game.generator(fake[:0], fake), "fake": fake.mean()}
        given = self._noisy(self._standardised(x))
        real, fake = self._scores(given, cond), self._scores(generated, cond)
        if player == "generator":
            return {"loss": self.game.generator(real, fake), "fake": fake.mean()}
        loss = self.game.critic(real, fake) + self.penalty(given, generated, cond)
        right = 0.5 * ((real > 0).float().mean() + (fake < 0).float().mean())
        return {"loss": loss, "real": real.mean(), "fake": fake.mean(), "accuracy": right}

    def penalty(self, real: Tensor, fake: Tensor, cond: Tensor | None) -> Tensor | float:
        """Return what the critic pays besides its game, such as a gradient penalty: by default nothing.

        Arguments:
            real, fake: scaled values with noise, (B, *shape), without gradients to the generator.
            cond: what is given, (B, ...).
        """
        return 0.0

    def _noisy(self, x: Tensor) -> Tensor:
        return x + self.noise * (2 * torch.rand_like(x) - 1) if self.noise else x

    def _scores(self, x: Tensor, cond: Tensor | None) -> Tensor:
        # probabilities of bfloat16 scores lose the small ones: the game is computed in float32
        return self.critic(x, cond).float()

    # Samples -------------------------------------------------------------------------------------------------------

    def _generated(self, z: Tensor, cond: Tensor | None) -> Tensor:
        """Return scaled values, continuous, (B, *shape), float32: a grid of bfloat16's would betray the generator."""
        x = self.generator(z, cond).float()
        return x if isinstance(self.space, Real) else x.tanh()

    def _drawn(self, n: int) -> Tensor:
        return torch.randn(n, self.latent, device=self.device)

    def _values(self, z: Tensor, cond: Tensor | None) -> Tensor:
        """Return G(z) as values of the space."""
        x = self._generated(z, cond) * self.scale + self.shift
        if isinstance(self.space, (Binary, Finite)):
            x = x.round().clamp(0, self.space.levels - 1)
        return self.space._cast(x)

    def _sample(self, n: int, cond: Tensor | None) -> Tensor:
        return self._values(self._drawn(n), cond)

    def generate(self, z: Tensor, cond: Any = None) -> Tensor:
        """Return x = G(z) as values of the space, (B, *shape): for walks through the latent space.

        There is no way back from x to z, so this is not the ability `Latent`.

        Arguments:
            z: latent vectors, (B, latent); standard normal where a typical sample is wanted.
            cond: what is given, one value or one per row.

        Raises:
            LikelyError: z has another shape.
            SpaceError: cond is not of the condition space.
        """
        if z.dim() != 2 or z.shape[1] != self.latent:
            raise LikelyError(f"z has shape {tuple(z.shape)}, expected (B, {self.latent}).")
        cond = self._conds(cond, len(z))
        with self._asked(0):
            return self._by_rows(self._values, z.to(self.device, torch.float32), cond)

    # What the players know ------------------------------------------------------------------------------------------

    def criticise(self, x: Any, cond: Any = None) -> Tensor:
        """Return the critic's score of each row, (B,): high for what it takes for real.

        Arguments:
            x: values of the space, (B, *shape).
            cond: what is given, one value or one per row.

        Raises:
            SpaceError: x or cond is not of the declared space.
        """
        x, cond = self._given(x, cond)
        with self._asked():
            return self._by_rows(lambda x, cond: self._scores(self._standardised(x), cond), x, cond)

    def invert(
        self,
        x: Any,
        cond: Any = None,
        *,
        steps: int = 200,
        starts: int = 2,
        rate: float = 0.05,
        seed: int | None = None,
    ) -> Tensor:
        """Return the G(z) nearest to each row that descent on |x - G(z)|^2 finds, (B, *shape): not rounded to levels.

        Arguments:
            x: values of the space, (B, *shape).
            cond: what is given, one value or one per row.
            steps: descents from each start.
            starts: how many z, drawn at random, are tried; the best counts.
            rate: the step size of Adam.
            seed: the same seed gives the same starts.

        Raises:
            SpaceError: x or cond is not of the declared space.
        """
        x, cond = self._given(x, cond)

        def search(x: Tensor, cond: Tensor | None) -> Tensor:
            target = self._standardised(x)
            least, best = torch.full((len(x),), math.inf, device=x.device), torch.zeros_like(target)
            for _ in range(starts):
                z = self._drawn(len(x)).requires_grad_()
                descent = torch.optim.Adam([z], rate)
                for _ in range(steps):
                    made = self._generated(z, cond)
                    error = (made - target).square().flatten(1).sum(1)
                    descent.zero_grad()
                    error.sum().backward(inputs=[z])
                    descent.step()
                    nearer = error.detach() < least
                    least = torch.where(nearer, error.detach(), least)
                    best[nearer] = made.detach()[nearer]
            return best * self.scale + self.shift

        with self._asked(seed, grad=True):
            return self._by_rows(search, x, cond)

    def _standardised(self, x: Tensor) -> Tensor:
        return ((x - self.shift) / self.scale).to(self.shift.dtype)
