"""Autoregressive models of discrete data: log p(x) = sum_i log p(x_o(i) | x_o(1), ..., x_o(i-1)) in a declared order o.

A model of this family says what each entry's distribution is, given the entries before it; everything else is here.
Scoring is one pass, drawing is one step per entry.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from likely.core import Completer, Density, Gradient
from likely.errors import LikelyError
from likely.parts import orders
from likely.spaces import Binary, Finite, Space


class Autoregressive(Density, Completer, Gradient):
    """A product of conditionals, one per entry, in a declared order.

    Conditionals are given as *log-odds against level 0*, log p(x_d = l) - log p(x_d = 0) for l = 1, ..., L - 1: one
    number per bit, and no redundant one for L levels.

    The entries drawn by `complete` follow p(unknown | known) exactly where everything known comes before everything
    unknown in the order ("prefix": the upper half of a picture in raster order). Elsewhere the known entries are put in
    place when their turn comes: each drawn entry then listens to the known entries before it, but not to later ones.

    Arguments:
        space: `Binary` or `Finite`.
        order: (D,), order[i] is the raster position of the i-th entry.
        cond: the space of what is given, or None.
    """

    completion: ClassVar[str] = "prefix"
    order: Tensor
    when: Tensor  #: (D,), when each raster position's turn comes: the inverse of `order`

    def __init__(self, space: Binary | Finite, order: Tensor, cond: Space | None = None) -> None:
        super().__init__(space, cond)
        if not torch.equal(order.sort().values, torch.arange(space.size)):
            raise LikelyError(f"order must hold each position 0 to {space.size - 1} once.")
        self.levels = space.levels
        self.register_buffer("order", order)
        self.register_buffer("when", orders.inverse(order), persistent=False)

    @abstractmethod
    def _conditionals(self, x: Tensor, cond: Tensor | None) -> Tensor:
        """Return the log-odds of every level against level 0, (B, D, levels - 1), entries in raster order.

        Row d may depend on x only through the entries that come before d in the order.
        """

    def _walk(self, n: int, cond: Tensor | None) -> Generator[Tensor, Tensor, None]:
        """Yield the log-odds of each entry in its turn, (n, levels - 1), and take in the value it was given, (n,).

        Here every step scores everything anew, D passes in all; a model that can carry its state from one entry to the
        next overrides this. Both must draw the same values (`sample(..., cached=False)` compares them).
        """
        yield from Autoregressive._rescore(self, n, cond)

    def _rescore(self, n: int, cond: Tensor | None) -> Generator[Tensor, Tensor, None]:
        x = torch.zeros(n, self.space.size, dtype=self.space.dtype, device=self.device)
        for position in self.order:
            x[:, position] = yield self._conditionals(x.view(n, *self.space.shape), cond)[:, position]

    def log_conditionals(self, x: Any, cond: Any = None) -> Tensor:
        """Return log p(x_d | the entries before d, cond) of each entry, (B, *shape), nats: they sum to log p(x | cond).

        Arguments:
            x: values of the space, (B, *shape).
            cond: what is given, one value or one per row.

        Raises:
            SpaceError: x or cond is not of the declared space.
        """
        x, cond = self._given(x, cond)

        def by_entry(x: Tensor, cond: Tensor | None) -> Tensor:
            levels = F.pad(self._conditionals(x, cond), (1, 0)).float().log_softmax(2)
            return levels.gather(2, x.reshape(len(x), -1, 1).long())[..., 0]

        with self._asked():
            return self._by_rows(by_entry, x, cond).reshape(x.shape)

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        log_odds = self._conditionals(x, cond)
        x = x.reshape(len(x), -1)
        if self.levels == 2:
            log_odds = log_odds[..., 0]
            return -F.binary_cross_entropy_with_logits(log_odds, x.to(log_odds.dtype), reduction="none").sum(1)
        rest = log_odds.logsumexp(2)
        total = torch.logaddexp(rest, torch.zeros_like(rest))  # the odds of level 0 are 1
        chosen = log_odds.gather(2, (x.long() - 1).clamp(min=0)[..., None])[..., 0]
        return (torch.where(x > 0, chosen, 0.0) - total).sum(1)

    def loss(self, x: Any, cond: Tensor | None = None) -> dict[str, Tensor]:
        return {"loss": -self._log_prob(x, cond).mean()}

    def _sample(self, n: int, cond: Tensor | None, *, temperature: float = 1.0, cached: bool = True) -> Tensor:
        """Draw entry by entry.

        Arguments:
            temperature: divides the log-odds of every conditional: below 1 bolder, above 1 more varied.
            cached: False scores everything anew for each entry: slow, for comparison.
        """
        if not temperature > 0:
            raise LikelyError(f"temperature must be above 0, not {temperature!r}.")
        return self._fill(n, cond, None, None, temperature, cached)

    def _complete(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        return self._fill(len(x), cond, x, known)

    def _fill(
        self,
        n: int,
        cond: Tensor | None,
        x: Tensor | None,
        known: Tensor | None,
        temperature: float = 1.0,
        cached: bool = True,
    ) -> Tensor:
        """Give each entry a value in its turn: the known one, or one drawn from its conditional."""
        if x is not None and known is not None:
            x, known = x.reshape(n, -1), known.reshape(n, -1)
        walk = self._walk(n, cond) if cached else self._rescore(n, cond)
        log_odds = next(walk)
        values: list[Tensor] = []
        for position in self.order.tolist():
            if values:
                log_odds = walk.send(values[-1])
            value = draw(log_odds if temperature == 1 else log_odds / temperature)
            if x is not None and known is not None:
                value = torch.where(known[:, position], x[:, position], value)
            values.append(value)
        walk.close()
        return torch.stack(values, 1)[:, self.when].view(n, *self.space.shape).to(self.space.dtype)


def draw(log_odds: Tensor) -> Tensor:
    """Draw a level for each row of log-odds against level 0, (n, levels - 1) -> (n,): truth values for bits."""
    if log_odds.shape[1] == 1:
        log_odds = log_odds.squeeze(1)
        return torch.rand_like(log_odds) < log_odds.sigmoid()
    if len(log_odds) == 0:
        return log_odds.new_zeros(0, dtype=torch.int64)
    return torch.multinomial(F.pad(log_odds, (1, 0)).softmax(1), 1)[:, 0]
