"""p(x) = sum_h exp(b.x + c.h + x W h) / Z: bits x joined to hidden bits h by weights, with no link inside a layer.

Reals are standardised and take the place of the bits with exp(-|u|^2 / 2) as a factor and a learned scale for each.

Given one layer the other is independent, so a Gibbs step draws a whole layer at once, and the hidden layer sums out in
closed form: the free energy is F(x) = -b.x - sum_j softplus(c_j + x.W_j). Z is a sum over all states: enumerated where
a layer is small, otherwise estimated by annealing. It fails where the Gibbs chains mix slowly (separated modes, large
weights): then training drifts, samples keep to a few modes, and the estimate of Z is too low without its error showing
it; `conservative_log_prob` errs the other way and shows the gap.

The gradient of the likelihood is the mean of x h over the data less that over the model, and the model's mean is taken
over chains: started from the data each time (contrastive divergence), going on from step to step (persistent), or
exchanged between temperatures (tempering). The gradient is centred: that of the same model with x - mean and h - mean
in place of x and h. Weights averaged over the last steps are far better than the last weights.

Reference: Smolensky, Information Processing in Dynamical Systems: Foundations of Harmony Theory, 1986; Hinton, Training
Products of Experts by Minimizing Contrastive Divergence, 2002, doi.org/10.1162/089976602760128018; Tieleman, Training
Restricted Boltzmann Machines using Approximations to the Likelihood Gradient, 2008, doi.org/10.1145/1390156.1390290;
Desjardins et al., Tempered Markov Chain Monte Carlo for training of Restricted Boltzmann Machines, 2010,
proceedings.mlr.press/v9/desjardins10a.html; Melchior, Fischer and Wiskott, How to Center Deep Boltzmann Machines, 2016,
jmlr.org/papers/v17/14-237.html.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from likely.core import Written
from likely.errors import LikelyError, unknown
from likely.families.boltzmann import NARROWEST, Harmonium
from likely.parts.units import draw_bits
from likely.spaces import Binary, Real, Space, accept

SAMPLERS = ("cd", "pcd", "tempering")
GLIMPSE = 10  #: how many rows, and chains, the logged terms are taken from; the gradient takes all
INERTIA = 0.99  #: how much of the running mean of the hidden bits an update keeps


class RBM(Harmonium, Written):
    """A restricted Boltzmann machine over bits or reals; p(x) = exp(-energy(x)) / Z.

    Arguments:
        space: `Binary` or `Real`.
        hidden: how many hidden bits.
        sampler: cd, pcd or tempering.
        gibbs_steps: how many Gibbs steps the chains make for each update.
        chains: how many persistent chains, on each temperature.
        temperatures: for tempering, how many inverse temperatures from 0 to 1.

    Raises:
        UnknownName: there is no such sampler.
        LikelyError: hidden, gibbs_steps or chains is below 1, or temperatures below 2.
    """

    hidden_mean: Tensor  #: (H,), the running mean of the hidden bits given data

    def __init__(
        self, space: Binary | Real, hidden: int, sampler: str, gibbs_steps: int, chains: int, temperatures: int
    ) -> None:
        if sampler not in SAMPLERS:
            raise unknown("sampler", sampler, SAMPLERS)
        least = {"hidden": 1, "gibbs_steps": 1, "chains": 1, "temperatures": 2}
        given = {"hidden": hidden, "gibbs_steps": gibbs_steps, "chains": chains, "temperatures": temperatures}
        for what, value in given.items():
            if value < least[what]:
                raise LikelyError(f"{what} must be {least[what]} or more, not {value}.")
        super().__init__(space, hidden, chains, temperatures if sampler == "tempering" else 1)
        self.sampler, self.gibbs_steps = sampler, gibbs_steps
        self.autocast = self.bits  # type: ignore[misc]  # bits lose nothing in bfloat16, reals would
        self.register_buffer("hidden_mean", torch.full((hidden,), 0.5))

    @torch.no_grad()
    def start(self, x: Any, cond: Tensor | None = None) -> None:
        """Set the base law (bits: the log-odds of each alone; reals: mean and deviation), and chains from the data."""
        x = x.reshape(len(x), self.space.size)
        if self.bits:
            ones = x.to(self.W.dtype).sum(0)
            self.base.copy_(torch.log(ones + 1) - torch.log(len(x) - ones + 1))
            self.b.copy_(self.base)
        else:
            wide = x.double()
            self.location.copy_(wide.mean(0))
            spread = wide.std(0, correction=0)
            constant = spread <= 1e-7 * wide.abs().amax(0)
            self.spread.copy_(torch.where(constant, spread[~constant].mean() if bool((~constant).any()) else 1, spread))
        u = self._inside(x)[torch.arange(self.chains.shape[1], device=x.device) % len(x)]
        for chains in self.chains:
            chains.copy_(self._draw_hidden(u))

    @torch.no_grad()
    def gradient(
        self, x: Any, cond: Tensor | None = None, *, terms: bool = True
    ) -> tuple[dict[str, Tensor], list[Any]]:
        """Return F(data) - F(chains) and its gradient: that of the negative log-likelihood where the chains have mixed.

        The gradient is centred: parameters move as those of the energy -(x - mean)' W (h - mean) - b.x - c.h do. What
        is logged comes from a few rows; `pseudo_nll` is -D log p(x_i | all others) for one random bit i of each.

        Reference: Melchior, Fischer and Wiskott, How to Center Deep Boltzmann Machines, 2016,
        jmlr.org/papers/v17/14-237.html.
        """
        kind = self.W.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self.W.dtype
        with torch.autocast(kind, enabled=False):
            u = x.reshape(len(x), self.space.size) if self.bits else self._inside(x)
            gradient, seen = self._gradient(u.to(dtype))
            return self._terms(*seen, all_of_them=terms), gradient

    # Learning -----------------------------------------------------------------------------------------------------

    def _gradient(self, u: Tensor) -> tuple[list[Tensor], tuple[Tensor, Tensor]]:
        """Return the gradient by W, b, c (and the log-scale), and a few rows with their activation, to log from.

        In bfloat16 the products are less than half of a step, so that each pass over a layer or the weights counts: the
        centring of the visible units, of rank one, is taken from the finished product.
        """
        W, n = self.W.to(u.dtype), len(u)
        drawn = self._chains(u, W)
        both = torch.cat([u, drawn])
        activation = (both @ W).to(self.c).add_(self.c)
        p = activation.sigmoid()
        if self.training:
            self.hidden_mean.lerp_(p[:n].mean(0), 1 - INERTIA)
            if self.sampler == "pcd":
                self.chains[0].copy_(_draw_chains(p[n:]))
        off = p.sub_(self.hidden_mean)
        off[:n].mul_(-len(drawn) / n)
        off = off.to(u.dtype)  # c is the sum of what slope is made of: a difference would come back as mean @ slope
        slope, c = (both.T @ off).to(self.W.dtype), off.sum(0, dtype=self.W.dtype).div_(len(drawn))
        b = drawn.mean(0, dtype=slope.dtype) - u.mean(0, dtype=slope.dtype)
        mean = self.base.sigmoid() if self.bits else torch.zeros_like(self.base)
        slope.addr_(mean, c, beta=1 / len(drawn), alpha=-1)
        gradient = [slope, b.addmv_(slope, self.hidden_mean, alpha=-1), c.addmv_(slope.T, mean, alpha=-1)]
        if not self.bits:
            # the derivative of the free energy; Z does not depend on the scale
            pull = u - self.b - activation[:n].sigmoid() @ W.T
            slope = (1 - u * pull).mean(0)
            stuck = (self.log_scale <= math.log(NARROWEST)) & (slope > 0)
            gradient.append(slope.masked_fill(stuck, 0))
        seen = min(GLIMPSE, n, len(drawn))
        few = slice(n - seen, n + seen)  # the last rows of the data and the first of the chains
        return gradient, (both[few], activation[few])

    def _terms(self, u: Tensor, activation: Tensor, *, all_of_them: bool) -> dict[str, Tensor]:
        """Return what to log, from a few rows of the data and as many of the chains."""
        u = u.to(self.W.dtype)
        seen = len(u) // 2
        energy = self._free_energy(u, activation)
        mine, theirs = energy.view(2, seen).mean(1)
        terms = {"loss": mine - theirs}
        if self.bits and all_of_them:
            u, activation = u[:seen], activation[:seen]
            i = torch.randint(u.shape[1], (seen, 1), device=u.device)
            turn = 1 - 2 * u.gather(1, i)  # +1 where bit i would be switched on, -1 where off
            turned = torch.addcmul(activation, turn, self.W[i[:, 0]])
            gained = (F.softplus(turned) - F.softplus(activation)).sum(1, keepdim=True)
            terms["pseudo_nll"] = u.shape[1] * F.softplus(gained.addcmul_(turn, self.b[i])).mean()
        return terms

    def _chains(self, u: Tensor, W: Tensor) -> Tensor:
        """Return visible units drawn from the model, as far as the sampler can."""
        if self.sampler == "tempering":
            return self._tempered(W)
        h = self.chains[0].to(u.dtype) if self.sampler == "pcd" else self._down(u, W)
        for _ in range(self.gibbs_steps - 1):
            h = self._down(self._up(h, W), W)
        return self._up(h, W)

    def _up(self, h: Tensor, W: Tensor) -> Tensor:
        field = (h @ W.T).to(self.b).add_(self.b)
        return _draw_chains(field.sigmoid_()).to(h.dtype) if self.bits else self.units.draw(field, h.dtype)

    def _down(self, u: Tensor, W: Tensor) -> Tensor:
        return _draw_chains((u @ W).to(self.c).add_(self.c).sigmoid_()).to(u.dtype)

    def _tempered(self, W: Tensor) -> Tensor:
        """Move the chains at all temperatures, exchange neighbours, and return the visible units at temperature 1.

        Neighbours at beta and beta' are exchanged with probability f_beta(u') f_beta'(u) / f_beta(u) f_beta'(u') or 1.
        """
        rungs, chains, _ = self.chains.shape
        beta = torch.linspace(0, 1, rungs, dtype=self.b.dtype, device=W.device)[:, None, None]
        h = self.chains.to(W.dtype)
        for _ in range(self.gibbs_steps):
            field = torch.lerp(self.base, (h @ W.T).to(self.b).add_(self.b), beta)
            u = self.units.draw(field, W.dtype, self._precision(beta))
            activation = (u @ W).to(self.c).add_(self.c)
            first = int(torch.randint(2, ()))
            low = torch.arange(first, rungs - 1, 2, device=W.device)
            ratio = sum(
                sign * self._log_f(u[at].to(self.b), activation[at], beta[rung])
                for sign, at, rung in ((1, low + 1, low), (1, low, low + 1), (-1, low, low), (-1, low + 1, low + 1))
            )
            swap = torch.rand((len(low), chains), device=W.device).log() < ratio
            come = torch.arange(rungs, device=W.device)[:, None].repeat(1, chains)
            come[low] += swap.long()
            come[low + 1] -= swap.long()
            column = torch.arange(chains, device=W.device)
            u, activation = u[come, column], activation[come, column]
            h = draw_bits((beta * activation).sigmoid(), W.dtype)
        if self.training:
            self.chains.copy_(h)
        return u[-1]


def _draw_chains(p: Tensor) -> Tensor:
    """Draw bits that are 1 with these probabilities, (chains, units), with one random byte for each.

    A bit is 1 where i + f < 256 p, i its own byte and f uniform on [0, 1), drawn once for each unit. So the bits of one
    chain are independent and exactly as probable as a float32 says, in training as in theory. Chains share f: in each
    unit two of them covary by at most 2^-18, which a mean over chains does not feel. `draw_bits` spends twice as much.
    """
    if p.device.type != "cpu":
        return torch.lt(torch.rand_like(p), p, out=torch.empty_like(p))
    words = torch.empty((p.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    own = words.view(torch.uint8)[: p.numel()].view(p.shape).to(p.dtype)
    return own.lt_(torch.add(-torch.rand(p.shape[1], dtype=p.dtype), p, alpha=256))


def build(
    space: Space,
    *,
    hidden: int = 500,
    sampler: str = "pcd",
    gibbs_steps: int = 1,
    chains: int = 100,
    temperatures: int = 10,
) -> RBM:
    """Build a restricted Boltzmann machine for bits or reals.

    Arguments:
        hidden: how many hidden bits
        sampler: cd (chains start from the data each time), pcd (they go on) or tempering (they are exchanged)
        gibbs_steps: how many Gibbs steps the chains make for each update
        chains: how many chains go on
        temperatures: for tempering, how many inverse temperatures from 0 to 1
    """
    accept(space, Binary, Real, model="rbm")
    assert isinstance(space, Binary | Real)
    return RBM(space, hidden, sampler, gibbs_steps, chains, temperatures)


TINY = (
    {"space": Binary((2, 3)), "hidden": 4, "chains": 20},
    {"space": Binary((5,)), "hidden": 7, "sampler": "cd", "gibbs_steps": 2, "chains": 3},
    {"space": Binary((2, 2)), "hidden": 3, "sampler": "tempering", "temperatures": 3, "chains": 5},
    {"space": Real((2,)), "hidden": 3, "chains": 20},
    {"space": Real((1,)), "hidden": 2, "sampler": "tempering", "temperatures": 3, "chains": 5},
)

PRESETS = {
    "digits-binary": {
        "hidden": 100,
        "steps": 3000,
        "batch": 100,
        "optimizer": "sgd",
        "momentum": 0.0,
        "learning_rate": 0.4,
        "schedule": "linear",
        "average": 0.99,
    },
    "mnist-binary": {
        "hidden": 500,
        "gibbs_steps": 5,
        "epochs": 160,
        "batch": 100,
        "optimizer": "sgd",
        "momentum": 0.0,
        "learning_rate": 0.1,
        "schedule": "linear",
        "average": 0.999,
    },
    "binarized-mnist": {
        "hidden": 500,
        "gibbs_steps": 5,
        "epochs": 160,
        "batch": 100,
        "optimizer": "sgd",
        "momentum": 0.0,
        "learning_rate": 0.1,
        "schedule": "linear",
        "average": 0.999,
    },
}
