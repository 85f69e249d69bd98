"""What the hidden state of a Markov model emits at a step: D numbers with a density of their own under each state.

An `Emission` knows nothing of time. It scores steps, (N, D), under each of K states, draws them, and learns from the
probability that each step was spent in each state. Entries that are not known are integrated out, everywhere exactly.
Parameters are float64 buffers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from likely.errors import LikelyError
from likely.parts import gaussians, kmeans
from likely.parts.recursions import pick
from likely.spaces import batches

WIDE = torch.float64
NEAR = 8192  #: how many steps are worked on at once, so that what is computed from them stays near the processor
INDICATORS = 512  #: up to so many indicator variables a step, tables are read and counted by matrix products


class Prediction(NamedTuple):
    """What comes next: the probability of each state, (B, steps, K), and the expected step.

    `mean` is (B, steps, *step shape) for reals and counts; for levels it holds their probabilities, (B, steps, *step
    shape, levels).
    """

    states: Tensor
    mean: Tensor


class Emission(nn.Module, ABC):
    """The density of D numbers under each of K states."""

    def __init__(self, states: int, size: int) -> None:
        super().__init__()
        self.states = states
        self.size = size

    @property
    @abstractmethod
    def free_parameters(self) -> int:
        """How many numbers are learned."""

    @abstractmethod
    def start(self, x: Tensor, known: Tensor) -> None:
        """Take units and first guesses from these steps, (N, D) both; draws from the global random stream."""

    @abstractmethod
    def log_density(self, x: Tensor, known: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Return log p(x_n[known] | state k), (N, K)."""

    def likelihood(self, x: Tensor, known: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return the densities scaled so that the largest of each step is 1, (N, K), and the log of that, (N, 1)."""
        found = torch.empty(len(x), self.states, dtype=dtype, device=x.device)
        scale = torch.empty(len(x), 1, dtype=dtype, device=x.device)
        for rows in batches(len(x), NEAR if known is None else len(x) or 1):
            score = self.log_density(x[rows], None if known is None else known[rows], dtype)
            torch.amax(score, 1, keepdim=True, out=scale[rows])
            torch.exp(score.sub_(scale[rows]), out=found[rows])
        return found, scale

    @abstractmethod
    def draw(self, state: Tensor) -> Tensor:
        """Draw a step from each of these states, (N,) -> (N, D)."""

    @abstractmethod
    def draw_given_known(self, x: Tensor, known: Tensor, state: Tensor) -> Tensor:
        """Draw the unknown entries of each step given its state and its known entries, (N, D)."""

    @abstractmethod
    def statistics(self, x: Tensor, known: Tensor | None, share: Tensor) -> dict[str, Tensor]:
        """Return additive statistics, where step n counts `share` (N, K) for each state."""

    @abstractmethod
    def maximise(self, stats: dict[str, Tensor]) -> None:
        """Set the parameters to the most likely; a state that no step was spent in keeps what it had."""

    @abstractmethod
    def mean(self) -> Tensor:
        """Return what each state emits on average: (K, D) for numbers, (K, D, levels) probabilities for levels."""


# Levels --------------------------------------------------------------------------------------------------------------


class Table(Emission):
    """Independent entries, each with a table of probabilities: categorical, or Bernoulli where there are two levels.

    No level is less probable than `floor` / levels. That is a constraint under which the likelihood is maximised, not
    an imaginary count, so EM still climbs the likelihood itself.
    """

    table: Tensor  #: log p(level | state, entry), (D, levels, K)

    def __init__(self, states: int, size: int, levels: int, floor: float) -> None:
        super().__init__(states, size)
        self.levels = levels
        self.floor = floor
        self.register_buffer("table", torch.zeros(size, levels, states, dtype=WIDE))
        self._set(torch.distributions.Exponential(1.0).sample((states, size, levels)).double())

    @property
    def free_parameters(self) -> int:
        return self.states * self.size * (self.levels - 1)

    @property
    def probabilities(self) -> Tensor:
        """The probability of each level, (K, D, levels)."""
        return self.table.exp().permute(2, 0, 1)

    def _set(self, counts: Tensor) -> None:
        """Take the most likely probabilities for counts (K, D, levels) above 0."""
        self.table = floored(counts, self.floor / self.levels).log().permute(1, 2, 0).contiguous()

    def put(self, probabilities: Tensor) -> None:
        """Set the probabilities, (K, D, levels)."""
        self.table = probabilities.to(self.table).permute(1, 2, 0).log().contiguous()

    def start(self, x: Tensor, known: Tensor) -> None:
        """Start from the overall frequencies: bent at random for one entry, pulled to clusters of steps for many."""
        overall = self._counts(x, known, torch.ones(len(x), 1, dtype=WIDE, device=x.device)) + 1
        overall = overall / overall.sum(2, keepdim=True)
        if self.size == 1:
            self._set(overall * torch.distributions.Exponential(1.0).sample((self.states, 1, self.levels)).to(overall))
            return
        flat = torch.where(known, x, 0).float()
        _, index = kmeans.lloyd(flat, kmeans.plus_plus(flat, self.states))
        share = nn.functional.one_hot(index, self.states).double()
        self._set(self._counts(x, known, share) + 0.1 * len(x) / self.states * overall)

    def _code(self, x: Tensor, known: Tensor | None) -> Tensor:
        """Return the levels as indices, with one level more for what is not known."""
        return x.long() if known is None else torch.where(known, x.long(), self.levels)

    def _indicators(self, x: Tensor, known: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Return 1 where an entry is known to have a level, (N, D * levels)."""
        if self.levels == 2 and known is None:
            one = x.to(dtype)
            return torch.stack([1 - one, one], 2).reshape(len(x), -1)
        wide = torch.zeros(len(x), self.size, self.levels + (known is not None), dtype=dtype, device=x.device)
        wide.scatter_(2, self._code(x, known)[:, :, None], 1)
        return wide[:, :, : self.levels].reshape(len(x), -1)

    def log_density(self, x: Tensor, known: Tensor | None, dtype: torch.dtype) -> Tensor:
        table = self.table.to(dtype)
        if self.size > 1 and self.size * self.levels <= INDICATORS:
            return self._indicators(x, known, dtype) @ table.reshape(-1, self.states)
        table = nn.functional.pad(table, (0, 0, 0, 1))  # what is not known has log-probability 0
        code = self._code(x, known)
        score = table[0].index_select(0, code[:, 0])
        for d in range(1, self.size):
            score += table[d].index_select(0, code[:, d])
        return score

    def likelihood(self, x: Tensor, known: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Scale the table instead of what is read from it, where a step is one entry."""
        if self.size > 1 or known is not None:
            return super().likelihood(x, known, dtype)
        table, code = self.table[0], x[:, 0].long()
        highest = table.amax(1, keepdim=True)
        scaled = (table - highest).exp().to(dtype)
        return scaled.index_select(0, code), highest.to(dtype).index_select(0, code)

    def draw(self, state: Tensor) -> Tensor:
        chance = self.probabilities
        return torch.stack([pick(chance[state, d]) for d in range(self.size)], 1)

    def draw_given_known(self, x: Tensor, known: Tensor, state: Tensor) -> Tensor:
        return torch.where(known, x.long(), self.draw(state))

    def _counts(self, x: Tensor, known: Tensor | None, share: Tensor) -> Tensor:
        """Return how often each level was seen in each state, (K, D, levels)."""
        if self.size * self.levels <= INDICATORS:
            counts = torch.zeros(self.size * self.levels, share.shape[1], dtype=WIDE, device=x.device)
            for rows in batches(len(x), NEAR):
                mask = None if known is None else known[rows]
                counts += self._indicators(x[rows], mask, share.dtype).T @ share[rows]
            return counts.T.reshape(-1, self.size, self.levels)
        code = (self._code(x, known) + (self.levels + 1) * torch.arange(self.size, device=x.device)).flatten()
        cells = self.size * (self.levels + 1)
        each = [code.bincount(w.repeat_interleave(self.size), minlength=cells) for w in share.double().T]
        return torch.stack(each).reshape(-1, self.size, self.levels + 1)[:, :, :-1]

    def statistics(self, x: Tensor, known: Tensor | None, share: Tensor) -> dict[str, Tensor]:
        return {"counts": self._counts(x, known, share)}

    def maximise(self, stats: dict[str, Tensor]) -> None:
        counts = stats["counts"]
        self._set(torch.where(counts.sum(2, keepdim=True) > 0, counts, self.probabilities))

    def mean(self) -> Tensor:
        return self.probabilities


def floored(counts: Tensor, least: float) -> Tensor:
    """Return the most likely probabilities for counts (..., V) of which none is below `least`: counts / sum, raised.

    Levels below are set to `least` and the others share what remains in proportion to their counts, until all fit.
    """
    low = torch.zeros_like(counts, dtype=torch.bool)
    while True:
        rest = torch.where(low, 0, counts)
        left = 1 - least * low.sum(-1, keepdim=True)
        chance = torch.where(low, least, left * rest / rest.sum(-1, keepdim=True))
        below = low | (chance < least)
        if torch.equal(below, low):
            return chance
        low = below


class Poisson(Table):
    """Independent counts, Poisson cut off at the highest level L: p(x) in proportion to rate^x / x! for x = 0 ... L.

    Where L lies far above the rate that is the Poisson law itself. The most likely rate gives the cut-off law the mean
    of the data; it has no closed form and is found by bisection.
    """

    LOW, HIGH = -20.0, 20.0  #: the range of log rate

    log_rate: Tensor  #: (K, D)

    def __init__(self, states: int, size: int, levels: int, floor: float) -> None:
        super().__init__(states, size, levels, floor)
        self.register_buffer("log_rate", torch.rand(states, size, dtype=WIDE))
        self._set_rates(self.log_rate)

    @property
    def free_parameters(self) -> int:
        return self.states * self.size

    def _log_law(self, log_rate: Tensor) -> Tensor:
        level = torch.arange(self.levels, dtype=WIDE, device=log_rate.device)
        return (level * log_rate[..., None] - torch.lgamma(level + 1)).log_softmax(-1)

    def _set_rates(self, log_rate: Tensor) -> None:
        self.log_rate = log_rate
        self.table = self._log_law(log_rate).permute(1, 2, 0).contiguous()

    def _set(self, counts: Tensor) -> None:
        if "log_rate" not in self._buffers:  # the table's own first guess
            return
        level = torch.arange(self.levels, dtype=WIDE, device=counts.device)
        wanted = (counts * level).sum(2) / counts.sum(2)
        low, high = torch.full_like(wanted, self.LOW), torch.full_like(wanted, self.HIGH)
        for _ in range(60):
            middle = (low + high) / 2
            more = (self._log_law(middle).exp() * level).sum(2) < wanted
            low, high = torch.where(more, middle, low), torch.where(more, high, middle)
        self._set_rates((low + high) / 2)

    def put(self, rates: Tensor) -> None:
        """Set the rates, (K, D)."""
        self._set_rates(rates.to(self.log_rate).log())

    def start(self, x: Tensor, known: Tensor) -> None:
        """Start from clusters of steps."""
        flat = torch.where(known, x, 0).double()
        _, index = kmeans.lloyd(flat, kmeans.plus_plus(flat, self.states))
        counts = self._counts(x, known, nn.functional.one_hot(index, self.states).double())
        self._set(counts + 1e-2 / self.levels + counts.sum(0) / len(x))  # one average step more for each state

    def mean(self) -> Tensor:
        """Return the mean counts, (K, D)."""
        level = torch.arange(self.levels, dtype=WIDE, device=self.table.device)
        return self.probabilities @ level


# Reals ---------------------------------------------------------------------------------------------------------------


class Gaussians(Emission):
    """A mixture of M Gaussians for each state; one for M = 1.

    The covariances are full, tied (one for all states), diagonal or spherical, and no direction has less variance than
    `floor` times the data's: a constraint of the maximisation, as for `gmm`.
    """

    KINDS = ("full", "tied", "diagonal", "spherical")

    center: Tensor
    scale: Tensor
    mixture: Tensor  #: weight of each component within its state, (K, M)
    location: Tensor  #: means in the data's standard units, (K * M, D)
    whitening: Tensor

    def __init__(self, states: int, size: int, components: int, covariance: str, floor: float) -> None:
        super().__init__(states, size)
        if covariance not in self.KINDS:
            raise LikelyError(f"covariance must be one of {', '.join(self.KINDS)}, not {covariance!r}.")
        self.components, self.covariance, self.floor = components, covariance, floor
        both = states * components
        self.register_buffer("center", torch.zeros(size, dtype=WIDE))
        self.register_buffer("scale", torch.ones(size, dtype=WIDE))
        self.register_buffer("mixture", torch.full((states, components), 1 / components, dtype=WIDE))
        self.register_buffer("location", torch.randn(both, size, dtype=WIDE))
        self.register_buffer("whitening", self._spread(torch.ones(both, size, dtype=WIDE)))

    def _spread(self, variance: Tensor) -> Tensor:
        """Return the whitening for these variances, (K * M, D), in the shape of the kind."""
        if self.covariance in ("diagonal", "spherical"):
            return variance.rsqrt()
        return variance.rsqrt().diag_embed()[: 1 if self.covariance == "tied" else None].clone()

    @property
    def free_parameters(self) -> int:
        both, d = self.states * self.components, self.size
        spread = {"full": both * d * (d + 1) // 2, "tied": d * (d + 1) // 2, "diagonal": both * d, "spherical": both}
        return both * d + spread[self.covariance] + self.states * (self.components - 1)

    @property
    def means(self) -> Tensor:
        """The means in the data's units, (K, M, D)."""
        return (self.center + self.scale * self.location).reshape(self.states, self.components, self.size)

    @property
    def covariances(self) -> Tensor:
        """The covariances in the data's units, (K, M, D, D)."""
        own = gaussians.covariances(self.whitening)
        own = (own.diag_embed() if own.dim() == 2 else own) * self.scale * self.scale[:, None]
        return own.expand(len(self.location), -1, -1).reshape(self.states, self.components, self.size, self.size)

    def put(self, means: Tensor, covariances: Tensor, mixture: Tensor | None = None) -> None:
        """Set means (K, M, D), covariances (K, M, D, D) and, where M is above 1, the weights (K, M)."""
        size = self.size
        self.center, self.scale = torch.zeros_like(self.center), torch.ones_like(self.scale)
        self.location = means.to(self.location).reshape(-1, size).clone()
        wide = covariances.to(self.location).reshape(-1, size, size)
        if self.covariance in ("diagonal", "spherical"):
            self.whitening = wide.diagonal(dim1=1, dim2=2).rsqrt().clone()
        else:
            wide = wide[:1] if self.covariance == "tied" else wide
            self.whitening = gaussians.best_whitening(wide, "full", 1e-300, 1)
        if mixture is not None:
            self.mixture = mixture.to(self.mixture).clone()

    def start(self, x: Tensor, known: Tensor) -> None:
        """Take the units from these steps, and the means from their clusters, clustered again for mixtures."""
        x = x.double()
        count = known.sum(0).clamp(min=1)
        self.center = torch.where(known, x, 0).sum(0) / count
        standard = torch.where(known, x - self.center, 0)
        variance = standard.square().sum(0) / count
        # The mean of equal numbers is right to about 1e-16 of their size: what is below is a constant column.
        moves = variance.sqrt() > 1e-13 * self.center.abs()
        typical = variance[moves].mean() if bool(moves.any()) else torch.ones((), dtype=WIDE)
        variance = typical.expand_as(variance) if self.covariance == "spherical" else variance
        self.scale = torch.where(moves, variance, typical).sqrt().clone()
        if not bool(torch.isfinite(self.scale).all()):
            raise LikelyError("the data's variances overflow: rescale the data, or look for entries beyond 1e150.")
        standard = standard / self.scale
        centres, index = kmeans.lloyd(standard, kmeans.plus_plus(standard, self.states))
        if self.components > 1:
            parts = [standard[index == k] if bool((index == k).any()) else standard for k in range(self.states)]
            centres = torch.cat([kmeans.lloyd(p, kmeans.plus_plus(p, self.components))[0] for p in parts])
            index = kmeans.squared_distances(standard, centres).argmin(1)
        self.location = centres
        within = (standard - centres[index]).square().mean(0)
        if self.covariance == "spherical":
            within = within.mean().expand_as(within)
        self.whitening = self._spread(within.clamp(min=self.floor).expand_as(centres).contiguous())
        self.mixture = torch.full_like(self.mixture, 1 / self.components)

    def _standardise(self, x: Tensor) -> Tensor:
        """Return x in standard units; subtracted in float64, so that offsets cost nothing.

        It comes back in x's precision where covariances are dense and the products with them dear.
        """
        standard = (x.double() - self.center) / self.scale
        return standard if self.whitening.dim() == 2 else standard.to(x.dtype)

    def _log_joint(self, standard: Tensor, known: Tensor | None) -> Tensor:
        """Return log p(x_n, component | state), (N, K, M)."""
        if self.whitening.dim() == 2:
            density = self._log_density_of_diagonal(_powers(standard, known))
            units = self.scale.log().sum() if known is None else (known.double() @ self.scale.log())[:, None]
        elif known is None:
            density = gaussians.log_density(standard, self.location, self.whitening)
            units = self.scale.log().sum()
        else:
            density = gaussians.log_density_of_known(standard, known, self.location, self.whitening)
            units = (known.double() @ self.scale.log())[:, None]
        joint = density + (self.mixture.flatten().log() - units).to(density.dtype)
        return joint.reshape(-1, self.states, self.components)

    def _log_density_of_diagonal(self, powers: Tensor) -> Tensor:
        """Return log N(x; location, diagonal covariance) from powers of x, (N, K * M): one product, in float64.

        The square is expanded, which cancels; float64 leaves that an error of about 1e-16 location^2 / variance.
        """
        precision = self.whitening.square()
        constant = self.whitening.log() - (precision * self.location.square() + gaussians.LOG_TWO_PI) / 2
        if powers.shape[1] == 2 * self.size:
            return torch.addmm(constant.sum(1), powers, torch.cat([-precision / 2, precision * self.location], 1).T)
        return powers @ torch.cat([-precision / 2, precision * self.location, constant], 1).T

    def log_density(self, x: Tensor, known: Tensor | None, dtype: torch.dtype) -> Tensor:
        found = torch.empty(len(x), self.states, dtype=dtype, device=x.device)
        for rows in self._together(len(x), known):
            joint = self._log_joint(self._standardise(x[rows]), None if known is None else known[rows])
            found[rows] = joint[:, :, 0] if self.components == 1 else joint.logsumexp(2)
        return found

    def _together(self, n: int, known: Tensor | None) -> Iterator[slice]:
        """Yield the steps to work on at once: few, but all where each distinct mask costs a factorisation."""
        return batches(n, n or 1 if known is not None and self.whitening.dim() > 2 else NEAR)

    def draw(self, state: Tensor) -> Tensor:
        which = state * self.components + pick(self.mixture[state])
        return self.center + self.scale * gaussians.draw(which, self.location, self.whitening)

    def draw_given_known(self, x: Tensor, known: Tensor, state: Tensor) -> Tensor:
        standard = self._standardise(x)
        rows = torch.arange(len(x), device=x.device)
        component = pick(self._log_joint(standard, known)[rows, state].double().softmax(1))
        which = state * self.components + component
        drawn = gaussians.draw_given_known(standard, known, which, self.location, self.whitening)
        return self.center + self.scale * drawn

    def statistics(self, x: Tensor, known: Tensor | None, share: Tensor) -> dict[str, Tensor]:
        mass = torch.zeros(len(self.location), dtype=WIDE, device=x.device)
        total = {"mass": mass, "first": torch.zeros_like(self.location), "second": torch.zeros_like(self.whitening)}
        for rows in self._together(len(x), known):
            mask = None if known is None else known[rows]
            for name, value in self._moments(self._standardise(x[rows]), mask, share[rows]).items():
                total[name] += value
        return total

    def _moments(self, standard: Tensor, known: Tensor | None, share: Tensor) -> dict[str, Tensor]:
        """Return the statistics of a few steps: weights, and first and second moments about the present means."""
        if self.components > 1:
            within = self._log_joint(standard, known).softmax(2)
            share = (share[:, :, None] * within).reshape(len(standard), -1)
        share = share.to(standard.dtype)
        mass = share.sum(0, dtype=WIDE)
        if self.whitening.dim() == 2:
            sums = (share.T @ _powers(standard, known)).split(self.size, 1)
            seen = mass[:, None] if known is None else sums[2]
            first = sums[1] - seen * self.location
            second = sums[0] - 2 * self.location * sums[1] + seen * self.location.square()
            if known is not None:  # what is not known counts with its variance
                second = second + (mass[:, None] - seen) * gaussians.covariances(self.whitening)
        elif known is None:
            first, second = gaussians.moments(standard, share, self.location, self.whitening)
        else:
            first, second = gaussians.expected_moments(standard, known, share, self.location, self.whitening)
        return {"mass": mass, "first": first, "second": second}

    def maximise(self, stats: dict[str, Tensor]) -> None:
        """Set the most likely parameters; second moments were taken about the present means, so nothing cancels."""
        mass = stats["mass"]
        alive = mass > 1e-10 * mass.sum() / len(mass)
        safe = torch.where(alive, mass, 1.0)[:, None]
        shift = torch.where(alive[:, None], stats["first"] / safe, 0)
        if self.covariance == "tied":
            covariance = (stats["second"] - (mass[:, None] * shift).T @ shift) / mass.sum()
        else:
            covariance = gaussians.covariances(self.whitening)
            if self.whitening.dim() == 2:
                found = (stats["second"] / safe - shift.square()).clamp(min=0)
                covariance = torch.where(alive[:, None], found, covariance)
            else:
                found = stats["second"] / safe[:, :, None] - shift[:, :, None] * shift[:, None, :]
                covariance = torch.where(alive[:, None, None], found, covariance)
        self.whitening = gaussians.best_whitening(covariance, self.covariance, self.floor, 1)
        self.location = self.location + shift
        if self.components > 1:
            mass = mass.reshape(self.states, self.components)
            spent = mass.sum(1, keepdim=True) > 0
            self.mixture = torch.where(spent, mass / torch.where(spent, mass.sum(1, keepdim=True), 1), self.mixture)

    def mean(self) -> Tensor:
        """Return the mean of each state in the data's units, (K, D)."""
        return (self.mixture[:, :, None] * self.means).sum(1)


def _powers(x: Tensor, known: Tensor | None) -> Tensor:
    """Return x^2 and x, (N, 2 D); where entries are missing, 0 for these, and also what is known, (N, 3 D)."""
    if known is None:
        return torch.cat([x.square(), x], 1)
    x = torch.where(known, x, 0)
    return torch.cat([x.square(), x, known.to(x.dtype)], 1)
