"""Two layers with links only between them: p(u, h) = exp(b.u + c.h + u W h) m(u) / Z, the hidden units bits.

Given one layer the units of the other are independent, and either layer sums out in closed form: the free energy is
F(u) = -log m(u) - b.u - sum_j softplus(c_j + u.W_j). Which visible units there are follows from the space: bits for
`Binary`; for `Real` Gaussian units u_i = (x_i - location_i) / (spread_i s_i), where location and spread come from the
data and s is learned, so that x is reals in any units and scores stay in them.

Everything here asks such a model; how it learns is the model file's affair. Between the base law (independent units
with the data's first moments) at beta = 0 and the model at beta = 1 lies the ladder

    log f_beta(u) = log m_beta(u) + ((1 - beta) base + beta b).u + sum_j softplus(beta (c_j + u.W_j)),

which annealed importance sampling climbs for log Z. The estimate fails low where the chains miss modes, and then
flatters the model. Climbing *down* from data (RAISE) errs the other way: it bounds the log-probability under the law
of what the climb draws, which tends to the model's from below as the ladder gets finer.

Reference: Salakhutdinov and Murray, On the Quantitative Analysis of Deep Belief Networks, 2008,
doi.org/10.1145/1390156.1390266; Burda, Grosse and Salakhutdinov, Accurate and Conservative Estimates of MRF
Log-likelihood using Reverse Annealing, 2015, arxiv.org/abs/1412.8566; Cho, Ilin and Raiko, Improved Learning of
Gaussian-Bernoulli Restricted Boltzmann Machines, 2011, doi.org/10.1007/978-3-642-21735-7_2.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from likely.core import Completer, Energy, Estimate, Latent, _with_known
from likely.errors import LikelyError
from likely.parts.annealing import annealed_log_weights, log_mean_exp
from likely.parts.units import Bits, Normals, Units, draw_bits
from likely.spaces import Binary, Real, batches

STEPS = 200  #: how many Gibbs steps a sample or a completion takes
ENUMERABLE = 25  #: the largest number of bits of a layer over which Z is summed exactly
NARROWEST = 0.01  #: the least a Gaussian unit's scale may be, as a fraction of the data's standard deviation


class _Climber(NamedTuple):
    """Where chains are on the ladder: the visible units and what they say to the hidden ones."""

    u: Tensor
    activation: Tensor


class Harmonium(Energy, Latent, Completer):
    """Two layers, and all that can be asked of them; `energy` is the free energy in the data's units.

    z = encode(x) are the probabilities of the hidden bits. `complete` runs a Gibbs chain in which the known entries are
    held: approximate, and exact in the limit of many steps.

    Arguments:
        space: `Binary` or `Real`.
        hidden: how many hidden bits.
        chains: how many chains the model keeps.
        temperatures: on how many rungs of the ladder it keeps them.
    """

    climbers: ClassVar[int] = 100  #: how many chains climb the ladder

    W: nn.Parameter
    b: nn.Parameter
    c: nn.Parameter
    base: Tensor  #: (D,), the field on each visible unit in the base law
    chains: Tensor  #: (temperatures, chains, H), hidden bits of chains; the model itself is the last rung
    location: Tensor
    spread: Tensor

    def __init__(self, space: Binary | Real, hidden: int, chains: int, temperatures: int = 1) -> None:
        super().__init__(space)
        self.W = nn.Parameter(0.01 * torch.randn(space.size, hidden))
        self.b = nn.Parameter(torch.zeros(space.size))
        self.c = nn.Parameter(torch.zeros(hidden))
        self.units: Units = Bits() if isinstance(space, Binary) else Normals()
        self.rungs = max(1000, 10 * hidden)  #: how many inverse temperatures the ladder has
        self.register_buffer("base", torch.zeros(space.size))
        self.register_buffer("chains", torch.randint(2, (temperatures, chains, hidden), dtype=torch.uint8))
        if not self.bits:
            self.log_scale = nn.Parameter(torch.zeros(space.size))
            self.register_buffer("location", torch.zeros(space.size, dtype=torch.float64))
            self.register_buffer("spread", torch.ones(space.size, dtype=torch.float64))

    @property
    def bits(self) -> bool:
        """Whether the visible units are bits."""
        return isinstance(self.units, Bits)

    # The two layers -----------------------------------------------------------------------------------------------

    def _scale(self) -> Tensor:
        """Return the learned scale of the Gaussian units, as fractions of the data's spread, (D,)."""
        return self.log_scale.clamp(min=math.log(NARROWEST)).exp()

    def _inside(self, x: Tensor) -> Tensor:
        """Return the visible units that stand for x, (B, D)."""
        x = x.reshape(len(x), self.space.size)
        if self.bits:
            return x.to(self.W.dtype)
        return ((x.double() - self.location) / self.spread).to(self.W.dtype) / self._scale()

    def _outside(self, u: Tensor) -> Tensor:
        """Return the x that visible units stand for, (B, *shape)."""
        if self.bits:
            return u.to(torch.uint8).reshape(-1, *self.space.shape)
        x = self.location + (u * self._scale()).double() * self.spread
        return x.float().reshape(-1, *self.space.shape)

    def _log_volume(self) -> Tensor | float:
        """Return log |dx / du|."""
        return 0.0 if self.bits else self.spread.log().sum().to(self.W.dtype) + self._scale().log().sum()

    def _hidden(self, u: Tensor) -> Tensor:
        """Return the field on the hidden bits given u, their log-odds, (B, H)."""
        return torch.addmm(self.c, u, self.W)

    def _visible(self, h: Tensor) -> Tensor:
        """Return the field on the visible units given h, (B, D)."""
        return torch.addmm(self.b, h, self.W.T)

    def _free_energy(self, u: Tensor, activation: Tensor | None = None) -> Tensor:
        activation = self._hidden(u) if activation is None else activation
        return -self.units.log_measure(u) - u @ self.b - F.softplus(activation).sum(1)

    def _draw_hidden(self, u: Tensor) -> Tensor:
        return draw_bits(self._hidden(u).sigmoid())

    def _gibbs(self, h: Tensor, steps: int, given: Tensor | None = None, known: Tensor | None = None) -> Tensor:
        """Draw the visible units and then the hidden bits, `steps` times; return the last visible ones."""
        for step in range(steps + 1):
            u = self.units.draw(self._visible(h), self.W.dtype)
            if given is not None and known is not None:
                u = torch.where(known, given, u)
            if step < steps:
                h = self._draw_hidden(u)
        return u

    # What can be asked --------------------------------------------------------------------------------------------

    def free_energy(self, x: Any, known: Any = None) -> Tensor:
        """Return F(x) with p(x) = exp(-F(x)) / Z, or with the unknown entries summed out exactly, in nats, (B,).

        With `known`, p(x[known]) = exp(-F) / Z: the sum over the unknown entries is one over the hidden bits, of which
        there may be 25 at most.

        Arguments:
            x: values of the space, (B, *shape).
            known: True where an entry is observed, (B, *shape) or (*shape); None means all, or where x is not NaN.

        Raises:
            SpaceError: x or known does not fit.
            LikelyError: entries are unknown and there are too many hidden bits to sum over.

        Example:
            >>> import likely, torch
            >>> model = likely.build("rbm", likely.Binary((4,)), hidden=2)
            >>> x, known = torch.zeros(1, 4), torch.tensor([False] * 4)
            >>> bool((model.free_energy(x, known) + model.log_partition().value).abs() < 1e-4)
            True
        """
        if known is None:
            values = torch.as_tensor(x)
            known = ~values.isnan() if values.is_floating_point() else torch.ones(values.shape, dtype=torch.bool)
            if bool(known.all()):
                return self.energy(x)
        x, known, _ = _with_known(self, x, known, None)
        if len(self.c) > ENUMERABLE:
            raise LikelyError(
                f"unknown entries can be summed out with up to {ENUMERABLE} hidden bits, and there are {len(self.c)}; "
                "fill them in with `complete`."
            )
        with self._asked():
            known = known.reshape(len(x), self.space.size)
            return self._by_rows(self._marginal, torch.where(known, self._inside(x), 0), known)

    def _marginal(self, u: Tensor, known: Tensor) -> Tensor:
        """Return -log sum_h exp(c.h + b.u + u W h + sum over unknown i of log Z_i(b_i + W_i.h)) m(u), (B,)."""
        u, unknown = u.double(), (~known).double()
        W, b, c = self.W.double(), self.b.double(), self.c.double()
        total = torch.full((len(u),), -math.inf, dtype=torch.float64, device=u.device)
        for h in _states(len(c), 2**10, u.device):
            terms = (u @ W + c) @ h.T + unknown @ self.units.log_z(b + h @ W.T).T
            total = torch.logaddexp(total, terms.logsumexp(1))
        seen = known.to(self.W.dtype)
        volume = 0.0 if self.bits else seen.double() @ (self.spread.log() + self._scale().double().log())
        # An unknown entry counts as u = 0, whose measure is 1.
        return (volume - total - u @ b - self.units.log_measure(u)).to(self.W.dtype)

    def _energy(self, x: Any, cond: Tensor | None) -> Tensor:
        return self._free_energy(self._inside(x)) + self._log_volume()

    def _sample(self, n: int, cond: Tensor | None, *, steps: int = STEPS, anneal: bool = False) -> Tensor:
        """Run Gibbs chains that begin in randomly picked chains of the model, which stay as they are.

        Arguments:
            steps: how many Gibbs steps: more where chains mix slowly.
            anneal: climb the ladder from the base law in so many steps instead: every sample has a chain of its own.
        """
        if steps < 0 or (anneal and steps < 1):
            raise LikelyError(f"steps must be {1 if anneal else 0} or more, not {steps}.")
        if anneal:
            climber = self._at_base(n)
            for beta in _ladder(steps).tolist()[1:]:
                climber = self._move(climber, beta)
            return self._outside(climber.u)
        picked = torch.randint(self.chains.shape[1], (n,), device=self.device)
        return self._outside(self._gibbs(self.chains[-1, picked].to(self.W.dtype), steps))

    def _complete(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        known = known.reshape(len(x), self.space.size)
        u = torch.where(known, self._inside(x), self._at_base(len(x)).u)
        return self._outside(self._gibbs(self._draw_hidden(u), STEPS, u, known))

    def _encode(self, x: Any, cond: Tensor | None) -> Tensor:
        return self._hidden(self._inside(x)).sigmoid()

    def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        field = self._visible(z.to(self.W.dtype))
        return self._outside(field > 0 if self.bits else field)

    # The normaliser -----------------------------------------------------------------------------------------------

    def _log_partition(self, cond: Tensor | None) -> Estimate:
        if (min(self.W.shape) if self.bits else len(self.c)) <= ENUMERABLE:
            return Estimate(self._enumerated(), torch.zeros((), dtype=torch.float64))
        return Estimate(*self._annealed(_ladder(self.rungs), self.climbers))

    def _enumerated(self) -> Tensor:
        """Return log Z by summing over all states of the smaller layer; the other sums out in closed form."""
        W, small, large = self.W.double(), self.c.double(), self.b.double()
        if not self.bits:  # log Z_i is quadratic in h: of all visible units only H^2 numbers are left
            pull, pairs = small + large @ W, W.T @ W
            parts = [
                (h @ pull + 0.5 * ((h @ pairs) * h).sum(1)).logsumexp(0) for h in _states(len(small), 2**14, W.device)
            ]
            return torch.stack(parts).logsumexp(0) + 0.5 * (large.square() + math.log(2 * math.pi)).sum()
        if len(small) > len(large):
            W, small, large = W.T, large, small
        return _sum_over_states(W, small, large)

    def _annealed(self, betas: Tensor, climbers: int) -> tuple[Tensor, Tensor]:
        """Return log Z and its standard error by annealed importance sampling from the base law."""
        log_mean, error = log_mean_exp(annealed_log_weights(self._at_base(climbers), betas, self._gain, self._move))
        return self._base_log_z() + log_mean, error

    def conservative_log_prob(self, x: Any, *, k: int = 1, rungs: int | None = None, seed: int | None = None) -> Tensor:
        """Return a stochastic lower bound on the log-probability of x under what the annealed climb draws, (B,), nats.

        From each x a chain climbs down the ladder and weighs every step as annealed importance sampling does (RAISE):
        E[exp score] is the exact probability of x under `sample(steps=rungs, anneal=True)`. Where log Z is too low and
        flatters, this score is too low as well: the truth lies between, if the climb's law is near the model's.

        Arguments:
            x: values of the space, (B, *shape).
            k: how many chains are averaged for each row.
            rungs: how many steps down; None takes as many as `log_partition`.
            seed: the same seed gives the same scores.

        Raises:
            SpaceError: x is not of the space.
            LikelyError: k or rungs is below 1.

        Example:
            >>> import likely, torch
            >>> model = likely.build("rbm", likely.Binary((4,)), hidden=2)
            >>> model.conservative_log_prob(torch.zeros(3, 4), rungs=10, seed=0).shape
            torch.Size([3])
        """
        rungs = self.rungs if rungs is None else rungs
        for what, value in {"k": k, "rungs": rungs}.items():
            if not isinstance(value, int) or value < 1:
                raise LikelyError(f"{what} must be a whole number, 1 or more, not {value!r}.")
        x, _ = self._given(x, None)
        down = _ladder(rungs).flip(0)

        def score(x: Tensor) -> Tensor:
            u = self._inside(x)
            chains = u.repeat_interleave(k, 0)
            climber = self._move(_Climber(chains, self._hidden(chains)), 1.0)
            weights = annealed_log_weights(climber, down, self._gain, self._move)
            log_f = -self._free_energy(u).double() - self._log_volume()
            return log_f - self._base_log_z() + weights.reshape(len(x), k).logsumexp(1) - math.log(k)

        with self._asked(seed):
            return self._by_rows(score, x)

    def _precision(self, beta: Tensor | float) -> Tensor | float:
        """Return the precision of the visible units on this rung: for reals that of the data at the foot."""
        return 1.0 if self.bits else (1 - beta) * self._scale().square() + beta

    def _at_base(self, n: int) -> _Climber:
        """Draw n chains at the foot of the ladder."""
        u = self.units.draw(self.base.expand(n, -1), self.W.dtype, self._precision(0.0))
        return _Climber(u, self._hidden(u))

    def _base_log_z(self) -> Tensor:
        visible = self.units.log_z(self.base, self._precision(0.0)).double().sum()
        return visible + len(self.c) * math.log(2)

    def _log_f(self, u: Tensor, activation: Tensor, beta: Tensor) -> Tensor:
        """Return log f_beta, (...), for visible units (..., D) whose rungs are beta (..., 1)."""
        own = (u * torch.lerp(self.base, self.b, beta)).sum(-1) + F.softplus(beta * activation).sum(-1)
        return own + self.units.log_measure(u, self._precision(beta))

    def _gain(self, at: _Climber, beta: float, following: float) -> Tensor:
        """Return log f_following - log f_beta, (B,)."""
        gained = F.softplus(following * at.activation) - F.softplus(beta * at.activation)
        own = (following - beta) * (at.u @ (self.b - self.base)).double()
        if not self.bits:
            narrower = torch.as_tensor(self._precision(following)) - self._precision(beta)
            own = own + self.units.log_measure(at.u, narrower)
        return own + gained.double().sum(1)

    def _move(self, at: _Climber, beta: float) -> _Climber:
        """Take a Gibbs step that leaves f_beta in place; it is its own reverse."""
        h = draw_bits((beta * at.activation).sigmoid())
        field = torch.lerp(self.base, self._visible(h), beta)
        u = self.units.draw(field, self.W.dtype, self._precision(beta))
        return _Climber(u, self._hidden(u))


def _ladder(rungs: int) -> Tensor:
    """Return inverse temperatures from 0 to 1, (rungs + 1,): closest at the top, where chains mix most slowly."""
    return 1 - (1 - torch.linspace(0, 1, rungs + 1, dtype=torch.float64)) ** 3


def _states(bits: int, rows: int, device: torch.device) -> Any:
    """Yield all states of so many bits, at most `rows` at a time, (rows, bits), float64."""
    for part in batches(2**bits, rows):
        numbers = torch.arange(part.start, part.stop, device=device)
        yield (numbers[:, None] >> torch.arange(bits, device=device) & 1).double()


def _sum_over_states(W: Tensor, small: Tensor, large: Tensor) -> Tensor:
    """Return log sum_h exp(small.h) prod_i (1 + exp(large_i + W_i.h)), for W (D, H), in float64.

    The factors of eight units are multiplied before a logarithm is taken; where eight could leave the range of float64,
    of each alone.
    """
    low = min(len(small), 8)
    near = next(iter(_states(low, 2**low, W.device)))  # the states of the first bits; the others change slowly
    group = 8 if float((large.abs() + W.abs().sum(1)).max()) < 80 else 1
    padding = -len(large) % group
    fields = F.pad(near @ W[:, :low].T, (0, padding))
    own = near @ small[:low]
    parts = []
    factors = fields.exp() if group > 1 else fields
    for h in _states(len(small) - low, 2**12, W.device):
        slow = F.pad(large + h @ W[:, low:].T, (0, padding), value=-math.inf)
        if group == 1:
            logs = torch.stack([F.softplus(factors + one).sum(1) for one in slow])
        else:
            logs = torch.stack([_log_product(factors, one) for one in slow.exp()])
        parts.append((logs + own + (h @ small[low:])[:, None]).logsumexp((0, 1)))
    return torch.stack(parts).logsumexp(0)


def _log_product(factors: Tensor, one: Tensor) -> Tensor:
    """Return log prod_i (1 + factors_i one_i), (B,), for a multiple of eight units."""
    product = (factors * one).add_(1)
    for _ in range(3):
        half = product.shape[1] // 2
        product = product[:, :half] * product[:, half:]
    return product.log_().sum(1)
