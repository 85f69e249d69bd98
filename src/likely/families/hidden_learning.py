"""Learning a chain of hidden states: what its posterior adds up to, also where some of the states are given."""

from __future__ import annotations

from abc import ABC
from typing import Any

import torch
from torch import Tensor, nn

from likely.core import Statistics
from likely.errors import LikelyError, SpaceError
from likely.families.hidden import Hidden, Rows, cut
from likely.parts import recursions
from likely.parts.recursions import Packing, Scratch
from likely.parts.threads import calm
from likely.spaces import Ragged

NEAR = 1000  #: how many steps are worked on at once, about


class Learned(Hidden, Statistics, ABC):
    """A chain of hidden states that is learned by expectation maximisation."""

    _scratch: Scratch

    def _e_step(self, x: Any, cond: Tensor | None, known: Tensor | None, weight: Tensor) -> dict[str, Tensor]:
        return self._statistics(x, known, weight, None)

    def _statistics(self, x: Any, known: Tensor | None, weight: Tensor, path: Tensor | None) -> dict[str, Tensor]:
        """Return the statistics of a batch, of which some states may be given: path (B, T), -1 where not."""
        _, lengths, _ = self._steps(x)
        total: dict[str, Tensor] = {
            "count": weight.sum(dtype=torch.float64),
            "log_likelihood": self.initial.new_zeros(()),
            "initial": torch.zeros_like(self.initial),
            "transition": torch.zeros_like(self.transition),
        }
        if len(self.lengths):
            total["lengths"] = lengths.bincount(weight.double(), minlength=len(self.lengths)).to(self.lengths)
            total["log_likelihood"] = total["lengths"] @ self.lengths.log()
        pieces = self._together(lengths) or [slice(0, 0)]
        for rows in pieces:
            many = len(lengths[rows]) * self.states**2
            with calm(max(many, NEAR * self.emission.products)):
                found = self._statistics_together(x, known, weight, path, rows)
            for name, value in found.items():
                total[name] = total[name] + value if name in total else value
        return total

    def _statistics_together(
        self, x: Any, known: Tensor | None, weight: Tensor, path: Tensor | None, rows: Rows
    ) -> dict[str, Tensor]:
        steps, lengths, known = self._steps(cut(x, rows), cut(known, rows))
        weight, path = weight[rows], cut(path, rows)
        packing = Packing(lengths)
        flat, mask = packing.take(steps), None if known is None else packing.take(known)
        own = steps.dtype if steps.is_floating_point() else torch.float32
        dtype = recursions.precise(self.transition, own)
        memory = self._scratch.take("frame", (len(flat), self.states), dtype, flat.device)
        if path is None:
            frame, scale = self.emission.likelihood(flat, mask, memory)
        else:
            score = self.emission.log_density(flat, mask, dtype)
            score.masked_fill_(packing.take(self._forbidden(path)), -torch.inf)
            scale = score.amax(1, keepdim=True) if len(score) else score[:, :1]
            frame = torch.exp(score.sub_(scale), out=memory)

        def log_frame(few: Tensor) -> Tensor:
            found = self._log_frame(steps[:, few], lengths[few], None if known is None else known[:, few], dtype)
            return found if path is None else found.masked_fill_(self._forbidden(path[few])[: len(found)], -torch.inf)

        found = recursions.smooth_packed(
            self.initial, self.transition, frame, scale, packing, log_frame, weight, self._scratch
        )
        impossible = found.log_likelihood == -torch.inf
        if path is not None and bool(impossible.any()):
            row = int(torch.arange(rows.stop)[rows][impossible][0] if isinstance(rows, slice) else rows[impossible][0])
            raise LikelyError(
                f"the given states of sequence {row} are impossible: a transition or first state has probability 0."
            )
        stats = self.emission.statistics(flat, mask, found.posterior.to(own))
        stats["log_likelihood"] = torch.where(weight > 0, found.log_likelihood * weight.double(), 0).sum()
        stats["initial"] = found.posterior[: packing.sizes[0] if packing.sizes else 0].sum(0, dtype=torch.float64)
        stats["transition"] = found.pairs
        return stats

    def _forbidden(self, path: Tensor) -> Tensor:
        """Return which states the given ones exclude, (T, B, K)."""
        given = path.T[:, :, None]
        return (given >= 0) & (given != torch.arange(self.states, device=path.device))

    def learn_with_states(
        self, x: Any, states: Any, *, weight: Any = None, passes: int = 100, tolerance: float = 1e-4
    ) -> list[float]:
        """Learn from sequences of which some states are known, and return the mean log-likelihood before each pass.

        Where all states are given one pass reaches the optimum (counting). Where some are, learning starts from what
        those steps say, so that states keep the names they were given, and EM sums over the others. Call `start`
        before, on the data; what is frozen stays.

        Arguments:
            x: values of the space, (B, *shape) or `Ragged`; NaN entries are summed out.
            states: the state at each step, (B, T), or a list of lists; -1 where it is not known.
            weight: how much each sequence counts, (B,); None means 1.
            passes: the most passes.
            tolerance: the gain in nats per sequence below which to stop.

        Raises:
            SpaceError: x or states does not fit.
            LikelyError: the given states have probability 0.
        """
        x, known = self._observed(x)
        _, lengths, _ = self._steps(x)
        path = self._check_path(states, lengths)
        each = torch.ones(len(lengths)) if weight is None else torch.as_tensor(weight)
        if tuple(each.shape) != (len(lengths),) or not bool((each >= 0).all()):
            raise SpaceError(f"weight must be {len(lengths)} numbers, each 0 or more.")
        unknown = (path < 0) & (torch.arange(path.shape[1], device=path.device) < lengths[:, None])
        if bool((path >= 0).any()) and bool(unknown.any()):
            with self._asked():
                self.m_step(self._counts(x, known, each.to(self.device), path))
        found: list[float] = []
        for _ in range(passes):
            with self._asked():
                stats = self._statistics(x, known, each.to(self.device), path)
            found.append(float(stats["log_likelihood"] / stats["count"]))
            self.m_step(stats)
            if len(found) > 1 and found[-1] - found[-2] < tolerance:
                break
        return found

    def _counts(self, x: Any, known: Tensor | None, weight: Tensor, path: Tensor) -> dict[str, Tensor]:
        """Return the statistics of the given states alone; the present chances of moves count as one move each."""
        steps, _, known = self._steps(x, known)
        given = path.T >= 0
        share = nn.functional.one_hot(path.T.clamp(min=0), self.states) * (given * weight)[:, :, None].double()
        mask = None if known is None else known[given]
        both = share[:-1] * given[1:, :, None]
        moves = torch.einsum("tbi,tbj->ij", both, nn.functional.one_hot(path.T[1:].clamp(min=0), self.states).double())
        return {
            "count": weight.sum(dtype=torch.float64),
            "lengths": self.lengths * weight.sum(),
            "initial": share[0].sum(0) * (self.initial > 0) + self.initial,  # what was forbidden stays so
            "transition": moves * (self.transition > 0) + self.transition,
            **self.emission.statistics(steps[given], mask, share[given].to(torch.float32)),
        }

    def _check_path(self, states: Any, lengths: Tensor) -> Tensor:
        """Return given states as (B, T), -1 where nothing is given."""
        longest = int(lengths.max()) if len(lengths) else 0
        rows = states.values if isinstance(states, Ragged) else states
        try:
            rows = [torch.as_tensor(row).long() for row in rows]
        except (TypeError, ValueError, RuntimeError) as error:
            raise SpaceError(f"states must be whole numbers, a list for each sequence ({error}).") from None
        if len(rows) != len(lengths):
            raise SpaceError(f"states are given for {len(rows)} sequences, x has {len(lengths)}.")
        path = torch.full((len(lengths), longest), -1, dtype=torch.int64, device=self.device)
        for number, (row, n) in enumerate(zip(rows, lengths.tolist(), strict=True)):
            if len(row) < n:
                raise SpaceError(f"sequence {number} has {n} steps but {len(row)} states; give -1 for unknown.")
            path[number, :n] = row[:n]
        if bool(((path < -1) | (path >= self.states)).any()):
            raise SpaceError(f"states must be whole numbers 0 to {self.states - 1}, or -1 where unknown.")
        return path
