"""What the hidden state of a Markov model emits at a step: D numbers with a density of their own under each state.

An `Emission` knows nothing of time. It scores steps, (N, D), under each of K states, draws them, and learns from the
probability that each step was spent in each state. Entries that are not known are integrated out, everywhere exactly.
Parameters are float64 buffers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from likely.parts import kmeans
from likely.parts.recursions import pick
from likely.parts.threads import crossed
from likely.spaces import batches

WIDE = torch.float64
NEAR = 1 << 15  #: how many numbers are worked on at once, so that what is computed from them stays near the processor
NEVER = -1e30  #: stands for log 0 in sums of logarithms
FEW = 8  #: up to so many levels, tables of several entries are read and counted by dense products with indicators


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

    @property
    def products(self) -> int:
        """How many multiplications a step costs, about."""
        return self.states * self.size

    @abstractmethod
    def start(self, x: Tensor, known: Tensor) -> None:
        """Take units and first guesses from these steps, (N, D) both; draws from the global random stream."""

    @abstractmethod
    def log_density(self, x: Tensor, known: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Return log p(x_n[known] | state k), (N, K)."""

    def likelihood(self, x: Tensor, known: Tensor | None, out: Tensor) -> tuple[Tensor, Tensor]:
        """Return the densities scaled so that the largest of each step is 1, (N, K), and the log of that, (N, 1).

        Arguments:
            x, known: as for `log_density`.
            out: memory for the densities, (N, K), which are returned in it and in its precision.
        """
        scale = torch.empty(len(x), 1, dtype=out.dtype, device=x.device)
        near = max(1, NEAR // self.states) if known is None else len(x) or 1
        for rows in batches(len(x), near):
            score = self.log_density(x[rows], None if known is None else known[rows], out.dtype)
            torch.amax(score, 1, keepdim=True, out=scale[rows])
            torch.exp(score.sub_(scale[rows]), out=out[rows])
        return out, scale

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
        # a checkpoint holds finite numbers only
        self.table = probabilities.to(self.table).permute(1, 2, 0).log().clamp(min=NEVER).contiguous()

    @property
    def _log_chance(self) -> Tensor:
        """Return log p(level | state, entry), (D, levels, K), -inf at levels that are impossible."""
        if float(self.table.min()) > NEVER / 2:
            return self.table
        return self.table.masked_fill(self.table <= NEVER / 2, -torch.inf)

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

    def _cells(self, x: Tensor, known: Tensor | None) -> Tensor:
        """Return where each entry is found in a table with one level more, for what is not known, (N, D)."""
        code = x.to(torch.int32)
        code = code if known is None else torch.where(known, code, self.levels)
        if self.size == 1:
            return code
        return code + (self.levels + 1) * torch.arange(self.size, dtype=torch.int32, device=x.device)

    def _indicators(self, x: Tensor, known: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Return 1 where an entry is known to have a level, (N, D * levels)."""
        if self.levels == 2 and known is None:
            one = x.to(dtype)
            return torch.stack([1 - one, one], 2).reshape(-1, 2 * self.size)
        level = torch.arange(self.levels, dtype=x.dtype, device=x.device)
        here = x[:, :, None] == level
        return (here if known is None else here & known[:, :, None]).to(dtype).reshape(-1, self.size * self.levels)

    def log_density(self, x: Tensor, known: Tensor | None, dtype: torch.dtype) -> Tensor:
        table = self._log_chance.to(dtype)
        if self.size > 1 and self.levels <= FEW:
            # A product would make 0 times log 0 of a level that is impossible, and did not occur.
            found = self._indicators(x, known, dtype) @ table.clamp(min=NEVER).reshape(-1, self.states)
            return found.masked_fill_(found <= NEVER / 2, -torch.inf)
        table = nn.functional.pad(table, (0, 0, 0, 1))  # what is not known has log-probability 0
        return read(table.reshape(-1, self.states), self._cells(x, known))

    def likelihood(self, x: Tensor, known: Tensor | None, out: Tensor) -> tuple[Tensor, Tensor]:
        """Scale the table instead of what is read from it, where a step is one entry."""
        if self.size > 1 or known is not None:
            return super().likelihood(x, known, out)
        table, code = self._log_chance[0], x[:, 0].int()
        highest = table.amax(1, keepdim=True)
        torch.index_select((table - highest).exp().to(out.dtype), 0, code, out=out)
        return out, highest.to(out.dtype).index_select(0, code)

    def draw(self, state: Tensor) -> Tensor:
        chance = self.probabilities
        return torch.stack([pick(chance[state, d]) for d in range(self.size)], 1)

    def draw_given_known(self, x: Tensor, known: Tensor, state: Tensor) -> Tensor:
        return torch.where(known, x.long(), self.draw(state))

    def _counts(self, x: Tensor, known: Tensor | None, share: Tensor) -> Tensor:
        """Return how often each level was seen in each state, (K, D, levels)."""
        dense = self.size > 1 and self.levels <= FEW
        cells = self.size * (self.levels if dense else self.levels + 1)
        counts = torch.zeros(cells, share.shape[1], dtype=WIDE, device=x.device)
        for rows in batches(len(x), max(1, NEAR // self.size)):
            mask = None if known is None else known[rows]
            if dense:
                counts += crossed(self._indicators(x[rows], mask, share.dtype), share[rows])
            else:
                add_to(counts, self._cells(x[rows], mask), share[rows])
        return counts.T.reshape(-1, self.size, cells // self.size)[:, :, : self.levels]

    def statistics(self, x: Tensor, known: Tensor | None, share: Tensor) -> dict[str, Tensor]:
        return {"counts": self._counts(x, known, share)}

    def maximise(self, stats: dict[str, Tensor]) -> None:
        counts = stats["counts"]
        self._set(torch.where(counts.sum(2, keepdim=True) > 0, counts, self.probabilities))

    def mean(self) -> Tensor:
        return self.probabilities


def read(table: Tensor, cells: Tensor) -> Tensor:
    """Return the sum of the rows of a table (V, K) that each row of `cells` (N, D) names, (N, K)."""
    if cells.shape[1] == 1 or cells.device.type != "cpu":
        total = table.index_select(0, cells[:, 0])
        for column in cells.T[1:]:
            total += table.index_select(0, column)
        return total
    return torch.from_numpy(_choice(cells, len(table), table.dtype) @ table.numpy())


def add_to(total: Tensor, cells: Tensor, rows: Tensor) -> None:
    """Add row n of `rows` (N, K) to each row of `total` (V, K) that row n of `cells` (N, D) names."""
    if cells.device.type != "cpu":
        for column in cells.T:
            total.index_add_(0, column, rows.to(total.dtype))
        return
    total += torch.from_numpy(_choice(cells, len(total), total.dtype).T @ rows.numpy())


def _choice(cells: Tensor, many: int, dtype: torch.dtype) -> sparse.csr_array:
    """Return the sparse matrix with a 1 where a row names a cell, (N, V): it reads and adds rows several times faster
    than torch's own indexing, which does them one by one.
    """
    ones = torch.ones(cells.numel(), dtype=dtype).numpy()
    ends = np.arange(0, cells.numel() + 1, cells.shape[1], dtype=np.int32)
    return sparse.csr_array((ones, cells.reshape(-1).numpy(), ends), shape=(len(cells), many))


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
