"""Independent entries: p(x) = prod_i p_i(x_i), one table of probabilities for each entry.

For bits these are independent Bernoulli variables, p_i^x_i (1 - p_i)^(1 - x_i), hence the name; for more levels they
are independent categorical variables, of which bits are the case of two levels. Levels are taken as names: their order
plays no role. It is the baseline of every likelihood table: what a model scores above it is what it knows of how
entries depend on each other. Fitted by counting, in one pass, also with missing entries.

Each entry's counts get `pseudo_count` imaginary rows, spread evenly over the levels, so that a level never seen in
training is improbable and not impossible. It fails on everything but independent entries: its pictures are noise
around the mean.

Reference: Perks, Some observations on inverse probability including a new indifference rule, 1947,
doi.org/10.1017/S0020268100012907 (one imaginary row spread over the levels).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from likely.core import Completer, Marginal, Model, Statistics
from likely.errors import LikelyError
from likely.parts.counting import check_total
from likely.spaces import Binary, Finite, Space, accept

CELLS = 2**27  #: the most cells of all tables together
NEVER = -1e30  #: stands for log 0 in the table: a checkpoint holds finite numbers only


class Bernoulli(Marginal, Completer, Statistics):
    """Independent entries over bits or levels.

    Arguments:
        space: what one x is.
        pseudo_count: imaginary rows, spread evenly over the levels of each entry; 0 or more.

    Raises:
        LikelyError: `pseudo_count` is negative.
    """

    closed_form: ClassVar[bool] = True
    completion: ClassVar[str] = "exact"
    autocast: ClassVar[bool] = False
    uniform: Tensor  #: 1 / how many levels an entry has, 0 for those that it does not have, (D, levels)
    table: Tensor  #: log p_i(level), (D, levels)

    def __init__(self, space: Binary | Finite, *, pseudo_count: float = 1.0) -> None:
        super().__init__(space)
        if not 0 <= pseudo_count < float("inf"):
            raise LikelyError(f"pseudo_count must be a number, 0 or more, not {pseudo_count}.")
        if space.size * space.levels > CELLS:
            raise LikelyError(
                f"tables over {space} have {space.size * space.levels:,} cells, more than {CELLS:,}; take fewer levels."
            )
        self.levels, self.sizes = space.levels, space.sizes
        self.pseudo_count = pseudo_count
        sizes = torch.tensor(space.sizes)[:, None]
        uniform = (torch.arange(self.levels) < sizes) / sizes  # levels that an entry does not have get none
        self.register_buffer("uniform", uniform, persistent=False)
        self.register_buffer("table", self._log(uniform))

    @property
    def probabilities(self) -> Tensor:
        """The probability of each level at each entry, (*shape, levels)."""
        return self.table.exp().reshape(*self.space.shape, self.levels)

    @property
    def free_parameters(self) -> int:
        """How many numbers the tables are free to choose."""
        return sum(size - 1 for size in self.sizes)

    def _log_marginal(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        x, known = x.reshape(len(x), -1).long(), known.reshape(len(x), -1)
        entry = torch.arange(x.shape[1], device=x.device)
        score = torch.where(known, self.table[entry, x], 0).sum(1)
        return torch.where(score > NEVER / 2, score, -torch.inf)

    def _sample(self, n: int, cond: Tensor | None) -> Tensor:
        drawn = torch.multinomial(self.table.exp(), n, replacement=True)
        return drawn.T.reshape(n, *self.space.shape)

    def _complete(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        possible = self._log_marginal(x, known, cond) > -torch.inf
        if not bool(possible.all()):
            row = int((~possible).nonzero()[0, 0])
            raise LikelyError(f"cannot complete row {row}: what is known there has probability 0.")
        return torch.where(known, x.long(), self._sample(len(x), cond))

    def _e_step(self, x: Tensor, cond: Tensor | None, known: Tensor | None, weight: Tensor) -> dict[str, Tensor]:
        """Count, by weight, how often each entry was observed to have each level."""
        known = torch.ones_like(x, dtype=torch.bool) if known is None else known
        score = self._log_marginal(x, known, cond)
        flat = x.reshape(len(x), -1).long()
        entry = torch.arange(flat.shape[1], device=x.device)
        each = weight.double()[:, None] * known.reshape(len(x), -1)
        counts = (entry * self.levels + flat).flatten().bincount(each.flatten(), minlength=self.table.numel())
        return {
            "count": weight.sum(dtype=torch.float64),
            "log_likelihood": torch.where(weight > 0, score.double() * weight.double(), 0).sum(),
            "counts": counts.reshape(self.table.shape),
        }

    def m_step(self, stats: dict[str, Tensor]) -> None:
        """Set each table to the observed frequencies; an entry that was never observed gets equal ones."""
        check_total(stats["count"])
        counts = stats["counts"] + self.pseudo_count * self.uniform
        total = counts.sum(1, keepdim=True)
        self.table.copy_(self._log(torch.where(total > 0, counts / total, self.uniform)))

    def _log(self, p: Tensor) -> Tensor:
        """Return the logarithm, and at 0 a finite number whose exponential is 0."""
        return p.log().clamp(min=NEVER)


def build(space: Space, *, pseudo_count: float = 1.0) -> Model:
    """Return independent entries over bits or levels.

    Arguments:
        pseudo_count: imaginary rows, spread evenly over the levels of each entry, so that nothing is impossible.
    """
    accept(space, Binary, Finite, model="bernoulli", uneven=True)
    assert isinstance(space, (Binary, Finite))
    return Bernoulli(space, pseudo_count=pseudo_count)


TINY = (
    {"space": Binary((3,))},
    {"space": Finite((1, 2, 2), 3)},
    {"space": Finite((), 5), "pseudo_count": 0.1},
    {"space": Finite((2,), 3, ordered=False, values=(("a", "b"), ("c", "d", "e")))},
)

PRESETS: dict[str, dict[str, float]] = {"digits": {}, "mnist": {}, "binarized-mnist": {}}
