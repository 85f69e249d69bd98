"""A Markov chain along a path of the entries: p(x) = prod_t p_t(x_t | x_(t-k), ..., x_(t-1)), k being the order.

The entries are visited along a path (raster, snake, zigzag, spiral, Hilbert, random or one's own), and each depends on
the k before it, through a table of its own for every position; `shared` takes one table for all. For n bits and k = 1
these are 2n - 1 numbers, where the full table has 2^n - 1. Fitted by counting, in one pass. Scores, marginals and
completions are exact: what is unknown is summed out by running along the path.

Each context's counts get `pseudo_count` imaginary rows, spread evenly over the levels. It fails where what matters lay
more than k steps ago, as the pixel above does in raster order; and at high orders, where contexts are rarely seen.

Reference: Markov, An Example of Statistical Investigation of the Text Eugene Onegin, 1913, translated 2006,
doi.org/10.1017/S0269889706001074.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from likely.core import Completer, Marginal, Model, Statistics
from likely.errors import LikelyError
from likely.parts import orders
from likely.parts.counting import check_total
from likely.spaces import Binary, Finite, Space, accept, batches

CELLS = 2**26  #: the most numbers that the tables may hold
CHUNK = 2**23  #: how many numbers one run along the path holds: bounds memory


class Markov(Marginal, Completer, Statistics):
    """A Markov chain of order k over bits or levels.

    The last k levels are one state: before entry t it is s, after it (s * levels + x_t) mod levels^k. Levels before the
    first count as 0, so that the first entries have few contexts.

    Arguments:
        space: what one x is.
        path: (D,), path[t] is the raster position of the entry visited t-th.
        order: k, 1 or more; the chain of order 0 is the model `bernoulli`.
        shared: whether all entries after the first k have the same table.
        pseudo_count: imaginary rows, spread evenly over the levels in every context; 0 or more.

    Raises:
        LikelyError: a number is out of range, or the tables would be too large; the message says how large.
    """

    closed_form: ClassVar[bool] = True
    completion: ClassVar[str] = "exact"
    autocast: ClassVar[bool] = False
    path: Tensor
    slot: Tensor  #: (D,), which table the entry visited t-th has
    uniform: Tensor  #: 1 / how many levels the entry has, 0 for those that it does not have, (slots, 1, levels)
    table: Tensor  #: p_t(level | state), (slots, levels^k, levels), float64

    def __init__(
        self,
        space: Binary | Finite,
        path: Tensor,
        *,
        order: int = 1,
        shared: bool = False,
        pseudo_count: float = 1.0,
    ) -> None:
        super().__init__(space)
        if not 0 <= pseudo_count < float("inf"):
            raise LikelyError(f"pseudo_count must be a number, 0 or more, not {pseudo_count}.")
        if order < 1:
            raise LikelyError(f"order must be 1 or more, not {order}; the chain of order 0 is the model 'bernoulli'.")
        if not torch.equal(path.sort().values, torch.arange(space.size)):
            raise LikelyError(f"path must hold each position 0 to {space.size - 1} once.")
        self.order = min(order, space.size)
        self.levels, self.sizes = space.levels, space.sizes
        self.states = self.levels**self.order
        self.pseudo_count = pseudo_count
        slots = min(space.size, self.order + 1) if shared else space.size
        cells = slots * self.states * self.levels
        if cells > CELLS:
            raise LikelyError(
                f"a chain of order {order} over {space} has tables of {cells:,} numbers, more than {CELLS:,}; take a "
                "lower order, fewer levels" + ("." if shared else " or shared=True.")
            )
        self.register_buffer("path", path)
        self.register_buffer("slot", torch.arange(space.size).clamp(max=slots - 1), persistent=False)
        if shared and space.uneven:
            raise LikelyError(f"entries of {space} differ in their levels and cannot share a table; leave shared out.")
        sizes = torch.tensor(space.sizes)[path][:slots, None, None]
        uniform = (torch.arange(self.levels) < sizes).double() / sizes  # levels that an entry does not have get none
        self.register_buffer("uniform", uniform, persistent=False)
        self.register_buffer("table", uniform.repeat(1, self.states, 1))

    @property
    def free_parameters(self) -> int:
        """How many numbers the chain is free to choose: (levels - 1) for each context that can occur."""
        sizes = [self.sizes[position] for position in self.path.tolist()][: len(self.table)]
        return sum(math.prod(sizes[max(0, t - self.order) : t]) * (size - 1) for t, size in enumerate(sizes))

    def _along(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the levels in the order of the path, and the state before each, both (B, D)."""
        levels = x.reshape(len(x), self.space.size)[:, self.path].long()
        state = torch.zeros_like(levels)
        for back in range(1, self.order + 1):
            state[:, back:] += levels[:, :-back] * self.levels ** (back - 1)
        return levels, state

    def _log_marginal(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        whole = known.reshape(len(x), -1).all(1)
        if bool(whole.all()):
            levels, state = self._along(x)
            return self.table[self.slot, state, levels].log().sum(1)
        score = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for cut in self._chunks(len(x)):
            score[cut] = self._forward(x[cut], known[cut])[2].log().sum(0)
        # One way of adding up for rows that are known as a whole, whatever stands beside them.
        return torch.where(whole, self._log_marginal(x, torch.ones_like(known), cond), score)

    def _chunks(self, rows: int) -> list[slice]:
        held = self.space.size * (self.states + self.levels) + self.states * self.levels
        return list(batches(rows, max(1, CHUNK // held)))

    def _forward(self, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run along the path, summing out what is unknown.

        Returns:
            before: p(state before t | known before t), (D + 1, B, states).
            allowed: 1 where a level agrees with what is known, (D, B, levels).
            step: p(what is known at t | known before t), (D, B).
        """
        levels = x.reshape(len(x), -1)[:, self.path].long()
        known = known.reshape(len(x), -1)[:, self.path]
        allowed = (torch.nn.functional.one_hot(levels, self.levels) | ~known[:, :, None].long() & 1).transpose(0, 1)
        allowed = allowed.double()
        size = self.space.size
        before = torch.zeros(size + 1, len(x), self.states, dtype=torch.float64, device=x.device)
        before[0, :, 0] = 1
        step = torch.ones(size, len(x), dtype=torch.float64, device=x.device)
        for t in range(size):
            joint = before[t, :, :, None] * self.table[self.slot[t]] * allowed[t, :, None, :]
            after = joint.reshape(len(x), self.levels, self.states).sum(1)  # the oldest level is forgotten
            step[t] = torch.where(known[:, t], after.sum(1), 1)
            before[t + 1] = after / after.sum(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
        return before, allowed, step

    def _sample(self, n: int, cond: Tensor | None) -> Tensor:
        state = torch.zeros(n, dtype=torch.int64, device=self.device)
        x = torch.zeros(n, self.space.size, dtype=torch.int64, device=self.device)
        for t, position in enumerate(self.path.tolist()):
            x[:, position] = _draw(self.table[self.slot[t], state])
            state = (state * self.levels + x[:, position]) % self.states
        return x.reshape(n, *self.space.shape)

    def _complete(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        """Run along the path, then draw backwards: each state given the one after it."""
        return torch.cat([self._backwards(x[cut], known[cut]) for cut in self._chunks(len(x))])

    def _backwards(self, x: Tensor, known: Tensor) -> Tensor:
        before, _, step = self._forward(x, known)
        if not bool((step > 0).all()):
            row = int((step <= 0).any(0).nonzero()[0, 0])
            raise LikelyError(f"cannot complete row {row}: what is known there has probability 0.")
        filled = torch.zeros(len(x), self.space.size, dtype=torch.int64, device=x.device)
        state = _draw(before[-1])
        oldest = torch.arange(self.levels, device=x.device) * (self.states // self.levels)
        for t in reversed(range(self.space.size)):
            level = state % self.levels
            filled[:, self.path[t]] = level
            earlier = state[:, None] // self.levels + oldest  # (B, levels): the states that lead here
            chance = before[t].gather(1, earlier) * self.table[self.slot[t], earlier, level[:, None]]
            state = earlier.gather(1, _draw(chance)[:, None])[:, 0]
        return filled.reshape(x.shape)

    def _e_step(self, x: Tensor, cond: Tensor | None, known: Tensor | None, weight: Tensor) -> dict[str, Tensor]:
        """Count, by weight, how often each level followed each context; its expectation where entries are unknown."""
        weight = weight.double()
        known = torch.ones_like(x, dtype=torch.bool) if known is None else known
        score = self._log_marginal(x, known, cond)
        whole = known.reshape(len(x), -1).all(1)
        levels, state = self._along(x[whole])
        cell = (self.slot * self.states + state) * self.levels + levels
        each = weight[whole, None].expand(cell.shape)
        counts = cell.flatten().bincount(each.flatten(), minlength=self.table.numel()).reshape(self.table.shape)
        part = (~whole).nonzero()[:, 0]
        for cut in self._chunks(len(part)):
            counts = counts + self._expected(x[part[cut]], known[part[cut]], weight[part[cut]])
        return {
            "count": weight.sum(),
            "log_likelihood": torch.where(weight > 0, score * weight, 0).sum(),
            "counts": counts,
        }

    def _expected(self, x: Tensor, known: Tensor, weight: Tensor) -> Tensor:
        """Return the expected counts of rows with unknown entries: forwards and back along the path."""
        before, allowed, _ = self._forward(x, known)
        counts = torch.zeros_like(self.table)
        later = torch.ones(len(x), self.states, dtype=torch.float64, device=x.device)  # p(known later | state), scaled
        for t in reversed(range(self.space.size)):
            follow = later.repeat(1, self.levels).reshape(len(x), self.states, self.levels)
            ahead = self.table[self.slot[t]] * allowed[t, :, None, :] * follow
            joint = before[t, :, :, None] * ahead
            total = joint.sum((1, 2)).clamp(min=torch.finfo(torch.float64).tiny)
            counts[self.slot[t]] += torch.einsum("b,bsl->sl", weight / total, joint)
            later = ahead.sum(2)
            later = later / later.amax(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
        return counts

    def m_step(self, stats: dict[str, Tensor]) -> None:
        """Set each context's row to the observed frequencies; a context that never occurred gets equal ones."""
        check_total(stats["count"])
        counts = stats["counts"] + self.pseudo_count * self.uniform
        total = counts.sum(2, keepdim=True)
        self.table = torch.where(total > 0, counts / total, self.uniform)


def _draw(chance: Tensor) -> Tensor:
    """Draw a column for each row with probability proportional to its entries, (B, K) -> (B,)."""
    total = chance.cumsum(1)
    point = torch.rand(len(chance), 1, dtype=chance.dtype, device=chance.device) * total[:, -1:]
    return torch.searchsorted(total, point, right=True)[:, 0].clamp(max=chance.shape[1] - 1)


def build(
    space: Space,
    *,
    order: int = 1,
    path: str = "raster",
    path_seed: int = 0,
    shared: bool = False,
    pseudo_count: float = 1.0,
) -> Model:
    """Return a Markov chain over bits or levels.

    Arguments:
        order: on how many entries before it an entry depends.
        path: how entries are visited: raster, reverse, snake, zigzag, spiral, hilbert, random, or positions "2,0,1".
        path_seed: decides the random path.
        shared: one table for all positions after the first ones, instead of one for each.
        pseudo_count: imaginary rows, spread evenly over the levels in every context, so that nothing is impossible.
    """
    accept(space, Binary, Finite, model="markov", uneven=True)
    assert isinstance(space, (Binary, Finite))
    along = orders.order(path, space.shape, path_seed)
    return Markov(space, along, order=order, shared=shared, pseudo_count=pseudo_count)


TINY = (
    {"space": Binary((5,)), "pseudo_count": 0.1},
    {"space": Binary((1, 2, 3)), "order": 2, "path": "snake", "pseudo_count": 0.1},
    {"space": Finite((1, 2, 2), 3), "path": "spiral", "shared": True, "pseudo_count": 0.1},
    {"space": Finite((4,), 3, ordered=False), "order": 2, "path": "2,0,3,1", "pseudo_count": 0.1},
    {"space": Finite((), 5)},
    {"space": Finite((3,), 3, ordered=False, values=(("a", "b"), ("c", "d", "e"), ("f", "g")))},
)

PRESETS = {
    "digits": {"order": 1, "path": "hilbert"},
    "digits-binary": {"order": 4, "path": "hilbert"},
    "mnist": {"order": 1, "path": "hilbert", "shared": True},
    "mnist-binary": {"order": 10, "path": "hilbert"},
    "binarized-mnist": {"order": 10, "path": "hilbert"},
}
