"""p(x) = sum_h exp(b.x + c.h + x W h) / Z: bits x joined to hidden bits h by weights, with no link inside a layer.

Given one layer the other is independent, so a Gibbs step draws a whole layer at once, and the hidden layer sums out in
closed form: the free energy is F(x) = -b.x - sum_j softplus(c_j + x.W_j). Z is a sum over all states: enumerated where
a layer is small, otherwise estimated. It fails where the Gibbs chains mix slowly (separated modes, large weights): then
training drifts, samples keep to a few modes, and the estimate of Z is too low without its error showing it.

Training is contrastive divergence, with chains that persist from step to step or that start anew from the data.

Reference: Smolensky, Information Processing in Dynamical Systems: Foundations of Harmony Theory, 1986; Hinton, Training
Products of Experts by Minimizing Contrastive Divergence, 2002, doi.org/10.1162/089976602760128018; Tieleman, Training
Restricted Boltzmann Machines using Approximations to the Likelihood Gradient, 2008, doi.org/10.1145/1390156.1390290.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from likely.core import Completer, Energy, Estimate, Gradient, Latent
from likely.errors import LikelyError
from likely.parts.annealing import annealed_log_weights, log_mean_exp
from likely.spaces import Binary, Space, accept, batches

STEPS = 200  #: how many Gibbs steps a sample or a completion takes
ENUMERABLE = 20  #: the largest number of bits of a layer over which Z is summed exactly


class RBM(Energy, Latent, Completer, Gradient):
    """A restricted Boltzmann machine; `energy` is the free energy F(x), so p(x) = exp(-F(x)) / Z.

    z = encode(x) are the probabilities of the hidden bits. `complete` runs a Gibbs chain in which the known bits are
    held: approximate, and exact in the limit of many steps.

    Arguments:
        space: `Binary`.
        hidden: how many hidden bits.
        gibbs_steps: how many Gibbs steps the chains make for each update.
        persistent: whether chains go on where the last update left them (PCD) or start from the data (CD).
        chains: how many persistent chains.

    Raises:
        LikelyError: hidden, gibbs_steps or chains is below 1.
    """

    autocast: ClassVar[bool] = False
    rungs: ClassVar[int] = 1000  #: how many inverse temperatures annealed importance sampling climbs
    climbers: ClassVar[int] = 100  #: how many chains climb them

    b: nn.Parameter
    base: Tensor  #: (D,), log-odds of each bit in the training data: where annealing starts
    chains: Tensor  #: (chains, D), the persistent chains

    def __init__(self, space: Binary, hidden: int, gibbs_steps: int, persistent: bool, chains: int) -> None:
        super().__init__(space)
        for what, value in {"hidden": hidden, "gibbs_steps": gibbs_steps, "chains": chains}.items():
            if value < 1:
                raise LikelyError(f"{what} must be 1 or more, not {value}.")
        self.gibbs_steps, self.persistent = gibbs_steps, persistent
        self.W = nn.Parameter(0.01 * torch.randn(space.size, hidden))
        self.b = nn.Parameter(torch.zeros(space.size))
        self.c = nn.Parameter(torch.zeros(hidden))
        self.register_buffer("base", torch.zeros(space.size))
        self.register_buffer("chains", torch.randint(2, (chains, space.size), dtype=torch.uint8))

    @torch.no_grad()
    def start(self, x: Any, cond: Tensor | None = None) -> None:
        """Set the visible biases to the log-odds of each bit alone, and the chains to rows of the data."""
        x = self._bits(x)
        ones = x.sum(0)
        self.base.copy_(torch.log(ones + 1) - torch.log(len(x) - ones + 1))
        self.b.copy_(self.base)
        self.chains.copy_(x[torch.arange(len(self.chains)) % len(x)])

    def loss(self, x: Any, cond: Tensor | None = None) -> dict[str, Tensor]:
        """Return F(data) - F(chains): its gradient is that of the negative log-likelihood where the chains have mixed.

        `pseudo_nll` is -D log p(x_i | all others) for one random bit i of each row: a score in nats to watch.
        """
        x = self._bits(x)
        with torch.no_grad():
            drawn = self._gibbs(self._bits(self.chains) if self.persistent else x, self.gibbs_steps)
            if self.persistent and self.training:
                self.chains.copy_(drawn)
        activation = self._hidden(x)
        energy = -(x @ self.b) - F.softplus(activation).sum(1)
        with torch.no_grad():
            i = torch.randint(x.shape[1], (len(x),), device=x.device)
            turn = 1 - 2 * x.gather(1, i[:, None])  # +1 where bit i would be switched on, -1 where off
            flipped = -((x @ self.b) + turn[:, 0] * self.b[i]) - F.softplus(activation + turn * self.W[i]).sum(1)
            pseudo_nll = x.shape[1] * F.softplus(energy - flipped).mean()
        return {"loss": energy.mean() - self._free_energy(drawn).mean(), "pseudo_nll": pseudo_nll}

    # The two layers -----------------------------------------------------------------------------------------------

    def _bits(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), -1).to(self.W.dtype)

    def _hidden(self, x: Tensor) -> Tensor:
        """Return the log-odds of the hidden bits given x, (B, H)."""
        return torch.addmm(self.c, x, self.W)

    def _visible(self, h: Tensor) -> Tensor:
        """Return the log-odds of the visible bits given h, (B, D)."""
        return torch.addmm(self.b, h, self.W.T)

    def _free_energy(self, x: Tensor) -> Tensor:
        return -(x @ self.b) - F.softplus(self._hidden(x)).sum(1)

    def _gibbs(self, x: Tensor, steps: int, known: Tensor | None = None) -> Tensor:
        """Draw the hidden bits and then the visible ones, `steps` times; known bits stay."""
        given = x
        for _ in range(steps):
            x = _draw(self._visible(_draw(self._hidden(x))))
            if known is not None:
                x = torch.where(known, given, x)
        return x

    # What can be asked --------------------------------------------------------------------------------------------

    def _energy(self, x: Any, cond: Tensor | None) -> Tensor:
        return self._free_energy(self._bits(x))

    def _sample(self, n: int, cond: Tensor | None, *, steps: int = STEPS) -> Tensor:
        """Run Gibbs chains that begin in randomly picked persistent chains, which stay as they are.

        Arguments:
            steps: how many Gibbs steps: more where chains mix slowly.
        """
        if steps < 0:
            raise LikelyError(f"steps must be 0 or more, not {steps}.")
        picked = torch.randint(len(self.chains), (n,), device=self.device)
        return self._gibbs(self._bits(self.chains[picked]), steps).to(torch.uint8).view(n, *self.space.shape)

    def _complete(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        x, known = self._bits(x), known.reshape(len(x), -1)
        x = torch.where(known, x, _draw(self.base.expand_as(x)))
        return self._gibbs(x, STEPS, known).view(-1, *self.space.shape)

    def _encode(self, x: Any, cond: Tensor | None) -> Tensor:
        return self._hidden(self._bits(x)).sigmoid()

    def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        return (self._visible(z.to(self.W.dtype)) > 0).to(torch.uint8).view(-1, *self.space.shape)

    def _log_partition(self, cond: Tensor | None) -> Estimate:
        if min(self.W.shape) <= ENUMERABLE:
            return Estimate(self._enumerated(), torch.zeros((), dtype=torch.float64))
        return Estimate(*self._annealed(torch.linspace(0, 1, self.rungs + 1), self.climbers))

    def _enumerated(self) -> Tensor:
        """Return log Z by summing over all states of the smaller layer; the other sums out in closed form."""
        W, small, large = self.W.double(), self.c.double(), self.b.double()
        if len(small) > len(large):
            W, small, large = W.T, large, small
        parts = []
        for rows in batches(2 ** len(small), 2**12):
            numbers = torch.arange(rows.start, rows.stop, device=self.device)
            states = (numbers[:, None] >> torch.arange(len(small), device=self.device) & 1).double()
            parts.append((states @ small + F.softplus(large + states @ W.T).sum(1)).logsumexp(0))
        return torch.stack(parts).logsumexp(0)

    def _annealed(self, betas: Tensor, climbers: int) -> tuple[Tensor, Tensor]:
        """Return log Z and its standard error by annealing from independent bits with the data's frequencies.

        log f_beta(x) = ((1 - beta) base + beta b).x + sum_j softplus(beta (c_j + x.W_j)).
        """

        def climb(x: Tensor, beta: float, following: float) -> Tensor:
            activation = self._hidden(x)
            gained = F.softplus(following * activation) - F.softplus(beta * activation)
            return (following - beta) * (x @ (self.b - self.base)).double() + gained.double().sum(1)

        def move(x: Tensor, beta: float) -> Tensor:
            h = _draw(beta * self._hidden(x))
            return _draw((1 - beta) * self.base + beta * self._visible(h))

        x = _draw(self.base.expand(climbers, -1))
        log_mean, error = log_mean_exp(annealed_log_weights(x, betas, climb, move))
        return F.softplus(self.base.double()).sum() + len(self.c) * F.softplus(log_mean.new_zeros(())) + log_mean, error


def _draw(log_odds: Tensor) -> Tensor:
    """Draw bits with these log-odds, as numbers."""
    return (torch.rand_like(log_odds) < log_odds.sigmoid()).to(log_odds.dtype)


def build(space: Space, *, hidden: int = 500, gibbs_steps: int = 1, persistent: bool = True, chains: int = 100) -> RBM:
    """Build a restricted Boltzmann machine for bits.

    Arguments:
        hidden: how many hidden bits
        gibbs_steps: how many Gibbs steps the chains make for each update
        persistent: whether the chains go on from update to update (PCD) or start from the data each time (CD)
        chains: how many persistent chains
    """
    accept(space, Binary, model="rbm")
    assert isinstance(space, Binary)
    return RBM(space, hidden, gibbs_steps, persistent, chains)


TINY = (
    {"space": Binary((2, 3)), "hidden": 4, "chains": 20},
    {"space": Binary((5,)), "hidden": 7, "persistent": False, "gibbs_steps": 2, "chains": 3},
)

PRESETS = {
    "digits-binary": {"hidden": 100, "steps": 3000, "batch": 100, "learning_rate": 5e-3, "schedule": "cosine"},
    "mnist-binary": {"hidden": 500, "epochs": 20, "batch": 100, "learning_rate": 4e-3, "schedule": "cosine"},
    "binarized-mnist": {"hidden": 500, "epochs": 20, "batch": 100, "learning_rate": 4e-3, "schedule": "cosine"},
}
