"""Chains of hidden states that emit what is seen: how such a model reads its steps, and all it can be asked.

A batch becomes steps, time first, and each step a likelihood under each state; everything else is the recursions of
`parts.recursions`. The model itself (`models/hmm.py`) adds how its parts are learned.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from likely.core import Completer, Marginal
from likely.errors import LikelyError
from likely.families import emissions
from likely.parts import recursions
from likely.parts.recursions import Packing
from likely.spaces import Ragged, Sequence, batches

CELLS = 4_000_000  #: how many numbers (steps x sequences x states) one recursion holds in memory

IMPOSSIBLE = "sequence {row} has probability 0, so nothing can be said of its states."

Rows = slice | Tensor  #: some sequences of a batch


class Prediction(NamedTuple):
    """What comes next: the probability of each state, (B, steps, K), and the expected step.

    `mean` is (B, steps, *step shape) for reals and counts; for levels it holds their probabilities, (B, steps, *step
    shape, levels).
    """

    states: Tensor
    mean: Tensor


class Hidden(Marginal, Completer, ABC):
    """A chain of K hidden states over the steps of a sequence, or over the rows of a picture."""

    initial: Tensor  #: (K,)
    transition: Tensor  #: (K, K), from row to column
    lengths: Tensor  #: p(length), (longest + 1,), where the space is a `Sequence`
    emission: emissions.Emission
    states: int
    longest: int
    step_shape: tuple[int, ...]

    # Steps: time first, one row of numbers each ---------------------------------------------------------------------

    def _steps(self, x: Any, known: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return values (T, B, D), lengths (B,), and what is known (T, B, D) or None; T is the longest of the batch."""
        if isinstance(x, Ragged):
            longest = int(x.lengths.max()) if len(x.lengths) else 0
            return (
                self._in_time(x.values[:, :longest]),
                x.lengths,
                None if known is None else self._in_time(known[:, :longest]),
            )
        lengths = torch.full((len(x),), self.longest, device=x.device)
        return self._in_time(x), lengths, None if known is None else self._in_time(known)

    def _in_time(self, values: Tensor) -> Tensor:
        """Return values of a batch as steps of numbers, (T, B, D)."""
        if isinstance(self.space, Sequence):
            rows = values
        elif len(self.space.shape) > 1:
            rows = values.movedim(-2, 1)
        else:
            rows = values.reshape(len(values), self.longest)
        flat = rows.reshape(rows.shape[0], rows.shape[1], self.emission.size)
        return flat.transpose(0, 1)

    def _as_values(self, steps: Tensor) -> Tensor:
        """Return steps (T, B, D) in the shape of a batch of the space's values."""
        rows = steps.transpose(0, 1).reshape(steps.shape[1], steps.shape[0], *self.step_shape)
        if not isinstance(self.space, Sequence) and len(self.space.shape) > 1:
            return rows.movedim(1, -2)
        return rows if isinstance(self.space, Sequence) else rows.reshape(-1, *self.space.shape)

    def _log_frame(self, steps: Tensor, lengths: Tensor, known: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Return log p(x_t | state k), (T, B, K), and 0 at padding."""
        packing = Packing(lengths)
        mask = None if known is None else packing.take(known)
        return packing.put(self.emission.log_density(packing.take(steps), mask, dtype))

    def _frames(self, x: Any, known: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return log p(x_t | state k), (T, B, K), in float64; which steps there are, (T, B); and lengths (B,)."""
        steps, lengths, known = self._steps(x, known)
        return self._log_frame(steps, lengths, known, torch.float64), inside(len(steps), lengths), lengths

    def _together(self, lengths: Tensor) -> list[Rows]:
        """Return what sequences can be worked on at once: the first ones together, or those of similar lengths."""
        longest = int(lengths.max()) if len(lengths) else 0
        many = max(1, CELLS // max(1, longest * self.states))
        if len(lengths) <= many or int(lengths.min()) == longest:
            return list(batches(len(lengths), many))
        order = lengths.argsort(descending=True, stable=True)
        pieces: list[Rows] = []
        while len(order):
            many = max(1, CELLS // max(1, int(lengths[order[0]]) * self.states))
            pieces.append(order[:many])
            order = order[many:]
        return pieces

    # Scores ---------------------------------------------------------------------------------------------------------

    def _log_prob(self, x: Any, cond: Tensor | None) -> Tensor:
        return self._score(x, None)

    def _log_marginal(self, x: Any, known: Tensor, cond: Tensor | None) -> Tensor:  # type: ignore[override]
        return self._score(x, known)

    def _score(self, x: Any, known: Tensor | None) -> Tensor:
        _, lengths, _ = self._steps(x)
        pieces = self._together(lengths)
        parts = [self._score_together(cut(x, rows), cut(known, rows)) for rows in pieces]
        score = _joined(parts, pieces) if parts else self.initial.new_zeros(0)
        if len(self.lengths):
            score = score + self.lengths.log()[lengths]
        values = x.values if isinstance(x, Ragged) else x
        return score.to(values.dtype if values.is_floating_point() else torch.float64)

    def _score_together(self, x: Any, known: Tensor | None) -> Tensor:
        """Return log p(x | length), (B,).

        The recursion is not differentiated. By Fisher's identity the gradient of the score is the expectation, over the
        posterior of the states, of the gradient of log p(x_t | state_t).
        """
        frame, _, lengths = self._frames(x, known)
        if not frame.requires_grad:
            return recursions.score(self.initial, self.transition, frame, lengths)
        with torch.no_grad():
            found = recursions.smooth(self.initial, self.transition, frame, lengths)
        surrogate = (found.posterior * frame).sum((0, 2))
        return found.log_likelihood + surrogate - surrogate.detach()

    # Draws ----------------------------------------------------------------------------------------------------------

    def _sample(self, n: int, cond: Tensor | None) -> Any:
        if len(self.lengths):
            lengths = torch.multinomial(self.lengths, n, replacement=True)
            longest = int(lengths.max()) if n else 0
        else:
            lengths, longest = torch.full((n,), self.longest, device=self.device), self.longest
        path = recursions.draw_chain(self.initial, self.transition, longest, n)
        seen = inside(longest, lengths)
        steps = torch.zeros(longest, n, self.emission.size, dtype=torch.float64, device=self.device)
        steps[seen] = self.emission.draw(path[seen]).double()
        values = self.space._cast(self._as_values(steps)).to(self.space.dtype)
        return Ragged(values, lengths) if len(self.lengths) else values

    def _complete(self, x: Any, known: Tensor, cond: Tensor | None) -> Tensor:
        """Draw a path of states given what is known, then what is unknown at each step given its state."""
        steps, lengths, mask = self._steps(x, known)
        assert mask is not None
        drawn = steps.double().contiguous()
        for rows in self._together(lengths):
            frame, seen, _ = self._frames(cut(x, rows), known[rows])
            # the batch may be cut to fewer steps here than in `steps`
            here = (slice(len(frame)), rows)
            forward = recursions.log_forward(self.initial, self.transition, frame)
            if len(forward):
                possible = torch.ones(len(lengths), dtype=torch.bool, device=frame.device)
                possible[rows] = forward[-1].amax(1) > -torch.inf
                _check_possible(possible, "cannot complete row {row}: what is known there has probability 0.")
            path = recursions.draw_path(self.transition, forward)
            part = drawn[here]
            part[seen] = self.emission.draw_given_known(steps[here][seen], mask[here][seen], path[seen]).double()
            drawn[here] = part
        if not isinstance(x, Ragged):
            return self._as_values(drawn)
        values = x.values.double().clone()
        values[:, : len(drawn)] = self._as_values(drawn)
        return values

    # What the states say --------------------------------------------------------------------------------------------

    def posterior(self, x: Any, *, filtered: bool = False) -> Tensor:
        """Return the probability of each state at each step given the whole sequence, (B, T, K); 0 at padding.

        Arguments:
            x: values of the space, (B, *shape) or `Ragged`; NaN entries are summed out.
            filtered: given only what came up to each step.

        Raises:
            SpaceError: x is not of the space.
            LikelyError: a sequence has probability 0, so that nothing can be said of its states.
        """
        x, known = self._observed(x)
        _, lengths, _ = self._steps(x)

        def ask(x: Any, known: Tensor | None) -> tuple[Tensor]:
            frame, seen, lengths = self._frames(x, known)
            if filtered:
                share = recursions.log_forward(self.initial, self.transition, frame).softmax(2) * seen[:, :, None]
            else:
                share = recursions.smooth(self.initial, self.transition, frame, lengths).posterior
            return (share.transpose(0, 1),)

        (share,) = self._each(ask, x, known)
        seen = inside(share.shape[1], lengths).T
        _check_possible(((share.sum(2) > 0.5) | ~seen).all(1), IMPOSSIBLE)
        return share

    def viterbi(self, x: Any) -> tuple[Tensor, Tensor]:
        """Return the most probable path of states, (B, T), -1 at padding, and log p(path, x | length), (B,), in nats.

        The path is the best as a whole; its states need not be the most probable ones step by step (`posterior`). Of a
        sequence that is impossible the second is -inf, and the path means nothing.

        Arguments:
            x: values of the space, (B, *shape) or `Ragged`; NaN entries are summed out.

        Raises:
            SpaceError: x is not of the space.
        """
        x, known = self._observed(x)

        def ask(x: Any, known: Tensor | None) -> tuple[Tensor, Tensor]:
            frame, seen, lengths = self._frames(x, known)
            path, score = recursions.viterbi(self.initial, self.transition, frame, lengths)
            return torch.where(seen, path, -1).T, score

        path, score = self._each(ask, x, known)
        return path, score

    def predict(self, x: Any, steps: int = 1) -> Prediction:
        """Return what comes in the next steps after each sequence: chances of the states, and the expected value.

        Arguments:
            x: sequences of the space, of any length from 0; NaN entries are summed out.
            steps: how far to look, 1 or more.

        Raises:
            SpaceError: x is not of the space.
            LikelyError: steps is not positive, or a sequence has probability 0.
        """
        if not isinstance(steps, int) or steps < 1:
            raise LikelyError(f"steps must be a whole number, 1 or more, not {steps!r}.")
        x, known = self._observed(x)
        _, lengths, _ = self._steps(x)

        def ask(x: Any, known: Tensor | None) -> tuple[Tensor]:
            frame, _, lengths = self._frames(x, known)
            share = self.initial.expand(len(lengths), -1)
            if len(frame):
                forward = recursions.log_forward(self.initial, self.transition, frame).softmax(2)
                last = forward[(lengths - 1).clamp(min=0), torch.arange(len(lengths), device=lengths.device)]
                share = torch.where((lengths > 0)[:, None], last @ self.transition, share)
            ahead = [share]
            for _ in range(steps - 1):
                ahead.append(ahead[-1] @ self.transition)
            return (torch.stack(ahead, 1),)

        (chances,) = self._each(ask, x, known)
        _check_possible(chances[:, 0].sum(1) > 0.5, IMPOSSIBLE)
        mean = torch.einsum("bsk,k...->bs...", chances, self.emission.mean())
        return Prediction(chances, mean.reshape(len(lengths), steps, *self.step_shape, *mean.shape[3:]))

    def _observed(self, x: Any) -> tuple[Any, Tensor | None]:
        """Return x checked, with 0 at NaN, and what is known of it: None where nothing is missing."""
        x, _ = self._given(x, None, missing=True)
        values = x.values if isinstance(x, Ragged) else x
        if not values.is_floating_point() or not bool(values.isnan().any()):
            return x, None
        known = ~values.isnan()
        values = values.nan_to_num(0)
        return (x._replace(values=values) if isinstance(x, Ragged) else values), known

    def _each(
        self, ask: Callable[[Any, Tensor | None], tuple[Tensor, ...]], x: Any, known: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Answer for x in pieces that fit in memory; (B, T, ...) is widened with 0, or -1 for states."""
        _, lengths, _ = self._steps(x)
        pieces = self._together(lengths) or [slice(0, 0)]
        with self._asked():
            parts = [ask(cut(x, rows), cut(known, rows)) for rows in pieces]
        return tuple(_joined(list(part), pieces) for part in zip(*parts, strict=True))


def _check_possible(possible: Tensor, message: str) -> None:
    """Raise one line that names the first row that is impossible; possible is (B,)."""
    if not bool(possible.all()):
        raise LikelyError(message.format(row=int((~possible).nonzero()[0, 0])))


def inside(longest: int, lengths: Tensor) -> Tensor:
    """Return which steps belong to a sequence, (T, B)."""
    return torch.arange(longest, device=lengths.device)[:, None] < lengths


def cut(x: Any, rows: Rows) -> Any:
    """Return some rows of a batch, or None of None."""
    return None if x is None else Ragged(*(part[rows] for part in x)) if isinstance(x, Ragged) else x[rows]


def _widened(part: Tensor, longest: int, pad: int) -> Tensor:
    wide = part.new_full((len(part), longest, *part.shape[2:]), pad)
    wide[:, : part.shape[1]] = part
    return wide


def _joined(parts: list[Tensor], pieces: list[Rows]) -> Tensor:
    """Return the answers for pieces of a batch as one, in the batch's order."""
    if parts[0].dim() > 1:
        longest = max(part.shape[1] for part in parts)
        parts = [_widened(part, longest, 0 if part.is_floating_point() else -1) for part in parts]
    whole = torch.cat(parts)
    orders = [rows for rows in pieces if isinstance(rows, Tensor)]
    return whole[torch.cat(orders).argsort()] if orders else whole
