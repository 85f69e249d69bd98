r"""A hidden Markov model: p(x) = sum over paths z of p(z_1) p(x_1 | z_1) prod_t>1 p(z_t | z_t-1) p(x_t | z_t).

A sequence is thought to be told by something that is in one of K states at a time and that moves on at random, knowing
only where it is; each step shows what the present state emits. Summing over all K^T paths takes T K^2 products. EM (the
Baum-Welch algorithm) alternates between the probability of each state at each step and the most likely chances and
emissions for these shares; no pass lowers the likelihood. Any step or entry may be missing, in scores, in learning and
in completion: it is summed out exactly.

What is emitted follows the space of a step: tables of probabilities for levels (categorical) and bits (Bernoulli), or
with `counts` the Poisson law; for reals a Gaussian, or a mixture of them. Pictures are read as sequences of rows, and
other vectors as sequences of numbers. Over `Sequence` spaces lengths have probabilities as well, so that scores add up
to 1 over sequences of every length: p(x) = p(length) p(x | length), where p(length) is the share of training sequences
of that length after one imaginary sequence is spread evenly over all lengths from 0 to the longest.

EM finds a local maximum, so another seed may give another fit. The model forgets: how long it stays in a state follows
a geometric law, and what it remembers of the past is one of K things, so it fails on texts and wherever two properties
must be remembered at a time.

Reference: Baum, Petrie, Soules and Weiss, A Maximization Technique Occurring in the Statistical Analysis of
Probabilistic Functions of Markov Chains, 1970, doi.org/10.1214/aoms/1177697196; Rabiner, A Tutorial on Hidden Markov
Models and Selected Applications in Speech Recognition, 1989, doi.org/10.1109/5.18626.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from likely.core import Completer, Marginal, Model, Statistics
from likely.errors import LikelyError, SpaceError
from likely.families import emissions
from likely.parts import recursions
from likely.spaces import Binary, Finite, Ragged, Real, Sequence, Space, accept, batches

CELLS = 4_000_000  #: how many numbers (steps x sequences x states) one recursion holds in memory
PARTS = ("initial", "transition", "emission", "lengths")  #: what is learned, and what can be frozen


class HMM(Marginal, Completer, Statistics):
    """A hidden Markov model over sequences, or over pictures as sequences of rows.

    Arguments:
        space: what one x is: a `Sequence`, or levels, bits or reals of any shape.
        states: the number K of hidden states.
        covariance: for reals: full, tied (one for all states), diagonal or spherical.
        components: for reals, the number of Gaussians mixed in each state.
        counts: whether levels are counts, to be emitted by a Poisson law.
        floor: the smallest variance of a state, relative to the data's; for levels the smallest probability, relative
            to 1 / levels.
        frozen: names of what learning leaves alone: initial, transition, emission, lengths, separated by commas.

    Raises:
        LikelyError: a number is out of range.
        SpaceError: `counts` or `components` does not go with the space.
    """

    closed_form: ClassVar[bool] = False
    completion: ClassVar[str] = "exact"
    autocast: ClassVar[bool] = False

    initial: Tensor  #: (K,)
    transition: Tensor  #: (K, K), from row to column
    lengths: Tensor  #: p(length), (longest + 1,), where the space is a `Sequence`

    def __init__(
        self,
        space: Space,
        *,
        states: int = 8,
        covariance: str = "diagonal",
        components: int = 1,
        counts: bool = False,
        floor: float = 1e-3,
        frozen: str = "",
    ) -> None:
        super().__init__(space)
        if states < 1 or components < 1:
            raise LikelyError(f"states and components must be 1 or more, not {states} and {components}.")
        if not 0 < floor < 1:
            raise LikelyError(f"floor must be between 0 and 1, not {floor}.")
        self.frozen = tuple(name for name in (part.strip() for part in frozen.split(",")) if name)
        for name in self.frozen:
            if name not in PARTS:
                raise LikelyError(f"frozen names parts among {', '.join(PARTS)}, not {name!r}.")
        step = space.step if isinstance(space, Sequence) else space
        if isinstance(space, Sequence):
            self.longest, self.step_shape = space.length, step.shape
        else:
            self.longest = 1 if not space.shape else space.shape[-2 if len(space.shape) > 1 else 0]
            self.step_shape = (*space.shape[:-2], space.shape[-1]) if len(space.shape) > 1 else ()
        size = math.prod(self.step_shape)
        if isinstance(step, Real):
            if counts:
                raise SpaceError(f"counts needs whole numbers: Finite or Binary, not {step}.")
            self.emission: emissions.Emission = emissions.Gaussians(states, size, components, covariance, floor)
        else:
            if components > 1:
                raise SpaceError(f"components mixes Gaussians and needs Real, not {step}.")
            assert isinstance(step, (Binary, Finite))
            table = emissions.Poisson if counts else emissions.Table
            self.emission = table(states, size, step.levels, floor)
        self.states = states
        wide = torch.float64
        self.register_buffer("initial", torch.full((states,), 1 / states, dtype=wide))
        self.register_buffer("transition", _random_moves(torch.ones(states, states, dtype=wide)))
        known = self.longest + 1 if isinstance(space, Sequence) else 0
        self.register_buffer("lengths", torch.full((known,), 1 / max(known, 1), dtype=wide))

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

    def _log_frame(self, steps: Tensor, inside: Tensor, known: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Return log p(x_t | state k), (T, B, K), and 0 at padding."""
        if bool(inside.all()):
            flat = steps.reshape(-1, self.emission.size)
            mask = None if known is None else known.reshape(flat.shape)
            return self.emission.log_density(flat, mask, dtype).reshape(*inside.shape, self.states)
        frame = torch.zeros(*inside.shape, self.states, dtype=dtype, device=steps.device)
        frame[inside] = self.emission.log_density(steps[inside], None if known is None else known[inside], dtype)
        return frame

    def _frames(self, x: Any, known: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return log p(x_t | state k), (T, B, K), in float64; which steps there are, (T, B); and lengths (B,)."""
        steps, lengths, known = self._steps(x, known)
        inside = _inside(len(steps), lengths)
        return self._log_frame(steps, inside, known, torch.float64), inside, lengths

    def _together(self, lengths: Tensor) -> list[slice]:
        """Return slices of a batch that can be worked on at once."""
        longest = int(lengths.max()) if len(lengths) else 0
        return list(batches(len(lengths), max(1, CELLS // max(1, longest * self.states))))

    # Scores ---------------------------------------------------------------------------------------------------------

    def _log_prob(self, x: Any, cond: Tensor | None) -> Tensor:
        return self._score(x, None)

    def _log_marginal(self, x: Any, known: Tensor, cond: Tensor | None) -> Tensor:  # type: ignore[override]
        return self._score(x, known)

    def _score(self, x: Any, known: Tensor | None) -> Tensor:
        _, lengths, _ = self._steps(x)
        parts = [self._score_together(_cut(x, rows), _cut(known, rows)) for rows in self._together(lengths)]
        score = torch.cat(parts) if parts else self.initial.new_zeros(0)
        if len(self.lengths):
            score = score + self.lengths.log()[lengths]
        values = x.values if isinstance(x, Ragged) else x
        return score.to(values.dtype if values.is_floating_point() else torch.float64)

    def _score_together(self, x: Any, known: Tensor | None) -> Tensor:
        """Return log p(x | length), (B,).

        The recursion is not differentiated. By Fisher's identity the gradient of the score is the expectation, over the
        posterior of the states, of the gradient of log p(x_t | state_t).
        """
        frame, _, _ = self._frames(x, known)
        with torch.no_grad():
            found = recursions.smooth(self.initial, self.transition, frame)
        if not frame.requires_grad:
            return found.log_likelihood
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
        inside = _inside(longest, lengths)
        steps = torch.zeros(longest, n, self.emission.size, dtype=torch.float64, device=self.device)
        steps[inside] = self.emission.draw(path[inside]).double()
        values = self.space._cast(self._as_values(steps)).to(self.space.dtype)
        return Ragged(values, lengths) if len(self.lengths) else values

    def _complete(self, x: Any, known: Tensor, cond: Tensor | None) -> Tensor:
        """Draw a path of states given what is known, then what is unknown at each step given its state."""
        steps, lengths, mask = self._steps(x, known)
        assert mask is not None
        drawn = steps.double().contiguous()
        for rows in self._together(lengths):
            frame, inside, _ = self._frames(_cut(x, rows), known[rows])
            # the batch may be cut to fewer steps here than in `steps`
            here = (slice(len(frame)), rows)
            forward = recursions.log_forward(self.initial, self.transition, frame)
            path = recursions.draw_path(self.transition, forward)
            filled = self.emission.draw_given_known(steps[here][inside], mask[here][inside], path[inside])
            part = drawn[here]
            part[inside] = filled.double()
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
        """
        x, known = self._observed(x)

        def ask(x: Any, known: Tensor | None) -> Tensor:
            frame, inside, _ = self._frames(x, known)
            if filtered:
                share = recursions.log_forward(self.initial, self.transition, frame).softmax(2)
            else:
                share = recursions.smooth(self.initial, self.transition, frame).posterior
            return (share * inside[:, :, None]).transpose(0, 1)

        return self._each(ask, x, known)

    def viterbi(self, x: Any) -> tuple[Tensor, Tensor]:
        """Return the most probable path of states, (B, T), -1 at padding, and log p(path, x | length), (B,), in nats.

        The path is the best as a whole; its states need not be the most probable ones step by step (`posterior`).

        Arguments:
            x: values of the space, (B, *shape) or `Ragged`; NaN entries are summed out.

        Raises:
            SpaceError: x is not of the space.
        """
        x, known = self._observed(x)
        found = []

        def ask(x: Any, known: Tensor | None) -> Tensor:
            frame, inside, lengths = self._frames(x, known)
            path, score = recursions.viterbi(self.initial, self.transition, frame, lengths)
            found.append(score)
            return torch.where(inside, path, -1).T

        path = self._each(ask, x, known)
        return path, torch.cat(found) if found else self.initial.new_zeros(0)

    def predict(self, x: Any, steps: int = 1) -> emissions.Prediction:
        """Return what comes in the next steps after each sequence: chances of the states, and the expected value.

        Arguments:
            x: sequences of the space, of any length from 0; NaN entries are summed out.
            steps: how far to look, 1 or more.

        Raises:
            SpaceError: x is not of the space.
            LikelyError: steps is not positive.
        """
        if not isinstance(steps, int) or steps < 1:
            raise LikelyError(f"steps must be a whole number, 1 or more, not {steps!r}.")
        x, known = self._observed(x)
        _, lengths, _ = self._steps(x)

        def ask(x: Any, known: Tensor | None) -> Tensor:
            frame, _, lengths = self._frames(x, known)
            share = self.initial.expand(len(lengths), -1)
            if len(frame):
                forward = recursions.log_forward(self.initial, self.transition, frame).softmax(2)
                last = forward[(lengths - 1).clamp(min=0), torch.arange(len(lengths), device=lengths.device)]
                share = torch.where((lengths > 0)[:, None], last @ self.transition, share)
            ahead = [share]
            for _ in range(steps - 1):
                ahead.append(ahead[-1] @ self.transition)
            return torch.stack(ahead, 1)

        chances = self._each(ask, x, known)
        mean = torch.einsum("bsk,k...->bs...", chances, self.emission.mean())
        return emissions.Prediction(chances, mean.reshape(len(lengths), steps, *self.step_shape, *mean.shape[3:]))

    def _observed(self, x: Any) -> tuple[Any, Tensor | None]:
        """Return x checked, with 0 at NaN, and what is known of it: None where nothing is missing."""
        x, _ = self._given(x, None, missing=True)
        values = x.values if isinstance(x, Ragged) else x
        if not values.is_floating_point() or not bool(values.isnan().any()):
            return x, None
        known = ~values.isnan()
        values = values.nan_to_num(0)
        return (x._replace(values=values) if isinstance(x, Ragged) else values), known

    def _each(self, ask: Any, x: Any, known: Tensor | None) -> Tensor:
        """Answer (B, T, ...) for x in pieces that fit in memory; what a shorter piece lacks is 0, or -1 for states."""
        _, lengths, _ = self._steps(x)
        with self._asked():
            parts = [ask(_cut(x, rows), _cut(known, rows)) for rows in self._together(lengths)]
        if not parts:
            _, lengths, _ = self._steps(x)
            return self.initial.new_zeros(0, self.longest, self.states)
        longest = max(part.shape[1] for part in parts)
        pad = 0 if parts[0].is_floating_point() else -1
        return torch.cat([_widened(part, longest, pad) for part in parts])

    # Learning -------------------------------------------------------------------------------------------------------

    def start(self, x: Any, cond: Tensor | None = None) -> None:
        """Take units, and clusters of steps, from these data; moves start at random, and never where they are 0."""
        x = self.space.check(x, missing=True)
        steps, lengths, _ = self._steps(x)
        inside = _inside(len(steps), lengths)
        if not bool(inside.any()):
            raise LikelyError(f"{self._who()} needs at least one step to start from.")
        flat = steps[inside].to(self.device)
        known = ~flat.isnan()
        if "emission" not in self.frozen:
            self.emission.start(flat, known)
        if "initial" not in self.frozen:
            self.initial = _normalised((self.initial > 0).double())
        if "transition" not in self.frozen:
            self.transition = _random_moves((self.transition > 0).double())
        if len(self.lengths) and "lengths" not in self.frozen:
            self._set_lengths(lengths.bincount(minlength=self.longest + 1).to(self.lengths))

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
            total["lengths"] = lengths.bincount(weight.double(), minlength=len(self.lengths))
            total["log_likelihood"] = total["lengths"] @ self.lengths.log()
        pieces = self._together(lengths) or [slice(0, 0)]
        for rows in pieces:
            found = self._statistics_together(
                _cut(x, rows), _cut(known, rows), weight[rows], None if path is None else path[rows]
            )
            for name, value in found.items():
                total[name] = total[name] + value if name in total else value
        return total

    def _statistics_together(
        self, x: Any, known: Tensor | None, weight: Tensor, path: Tensor | None
    ) -> dict[str, Tensor]:
        steps, lengths, known = self._steps(x, known)
        inside = _inside(len(steps), lengths)
        dtype = steps.dtype if steps.is_floating_point() else torch.float32
        each = inside * weight.to(dtype)
        if path is None:
            found = self._smooth(steps, inside, known, each, dtype)
        else:
            frame = self._log_frame(steps, inside, known, dtype)
            given = path.T[: len(frame)]
            forbidden = (given >= 0)[:, :, None] & (given[:, :, None] != torch.arange(self.states, device=frame.device))
            frame = frame.masked_fill(forbidden & inside[:, :, None], -torch.inf)
            found = recursions.smooth(self.initial, self.transition, frame, each)
        if path is not None and bool((found.log_likelihood == -torch.inf).any()):
            row = int((found.log_likelihood == -torch.inf).nonzero()[0, 0])
            raise LikelyError(
                f"the given states of sequence {row} are impossible: a transition or first state has probability 0."
            )
        share = found.posterior if bool((each == 1).all()) else found.posterior.mul_(each[:, :, None])
        whole = bool(inside.all())
        flat = steps.reshape(-1, self.emission.size) if whole else steps[inside]
        mask = known if known is None else (known.reshape(flat.shape) if whole else known[inside])
        stats = self.emission.statistics(flat, mask, share.reshape(-1, self.states) if whole else share[inside])
        stats["log_likelihood"] = found.log_likelihood @ weight.double()
        stats["initial"] = share[0].sum(0, dtype=torch.float64) if len(share) else torch.zeros_like(self.initial)
        stats["transition"] = found.pairs
        return stats

    def _smooth(
        self, steps: Tensor, inside: Tensor, known: Tensor | None, weight: Tensor, dtype: torch.dtype
    ) -> recursions.Smoothed:
        """Return likelihood, posterior states and moves of a batch, without keeping any logarithms."""
        whole = bool(inside.all())
        flat = steps.reshape(-1, self.emission.size) if whole else steps[inside]
        mask = known if known is None else (known.reshape(flat.shape) if whole else known[inside])
        likelihood, scale = self.emission.likelihood(flat, mask, dtype)
        if whole:
            frame, log_scale = likelihood.reshape(*inside.shape, -1), scale.reshape(*inside.shape, 1)
        else:
            frame = torch.ones(*inside.shape, self.states, dtype=dtype, device=flat.device)
            log_scale = torch.zeros(*inside.shape, 1, dtype=dtype, device=flat.device)
            frame[inside], log_scale[inside] = likelihood, scale

        def log_frame(rows: Tensor) -> Tensor:
            return self._log_frame(steps[:, rows], inside[:, rows], None if known is None else known[:, rows], dtype)

        return recursions.smooth_scaled(self.initial, self.transition, frame, log_scale, log_frame, weight)

    @torch.no_grad()
    def m_step(self, stats: dict[str, Tensor]) -> None:
        """Set what is not frozen to the most likely; a state that no step was spent in keeps what it had.

        Raises:
            LikelyError: the weights sum to 0.
        """
        if not float(stats["count"]) > 0:
            raise LikelyError("nothing to learn from: no rows, or all weights are 0.")
        if "initial" not in self.frozen and float(stats["initial"].sum()) > 0:
            self.initial = _normalised(stats["initial"])
        if "transition" not in self.frozen:
            spent = stats["transition"].sum(1, keepdim=True) > 0
            self.transition = _normalised(torch.where(spent, stats["transition"], self.transition))
        if len(self.lengths) and "lengths" not in self.frozen:
            self._set_lengths(stats["lengths"])
        if "emission" not in self.frozen and float(stats["initial"].sum()) > 0:
            self.emission.maximise(stats)

    def _set_lengths(self, counts: Tensor) -> None:
        self.lengths = _normalised(counts + 1 / len(counts))

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
        inside = torch.arange(path.shape[1], device=path.device) < lengths[:, None]
        if bool((path >= 0).any()) and bool((path[inside] < 0).any()):
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
            "initial": share[0].sum(0) + self.initial,
            "transition": moves + self.transition,
            **self.emission.statistics(steps[given], mask, share[given].to(torch.float32)),
        }

    def _check_path(self, states: Any, lengths: Tensor) -> Tensor:
        """Return given states as (B, T), -1 where nothing is given."""
        longest = int(lengths.max()) if len(lengths) else 0
        rows = states.values if isinstance(states, Ragged) else states
        rows = [torch.as_tensor(row).long() for row in rows]
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

    def set_parts(self, *, initial: Any = None, transition: Any = None, **emission: Any) -> None:
        """Set parts of the model to given numbers; with `frozen`, learning then leaves them alone.

        A transition of probability 0 stays 0 in learning, so that is how a left-to-right model is made.

        Arguments:
            initial: (K,), sums to 1.
            transition: (K, K), rows sum to 1.
            emission: for levels `probabilities` (K, *step shape, levels); for counts `rates` (K, *step shape); for
                reals `means` (K, M, *step shape), `covariances` (K, M, D, D) and `mixture` (K, M), where M may be left
                out if it is 1.

        Raises:
            LikelyError: a shape does not fit, probabilities do not sum to 1, or a covariance has no inverse.
        """
        if initial is not None:
            self.initial = _chances("initial", initial, (self.states,), self.initial)
        if transition is not None:
            self.transition = _chances("transition", transition, (self.states, self.states), self.transition)
        if not emission:
            return
        size, part = self.emission.size, self.emission
        if isinstance(part, emissions.Poisson) and set(emission) == {"rates"}:
            rates = _shaped("rates", emission["rates"], (self.states, size))
            if not bool((rates > 0).all()):
                raise LikelyError("rates must be above 0.")
            part.put(rates)
        elif type(part) is emissions.Table and set(emission) == {"probabilities"}:
            shape = (self.states, size, part.levels)
            part.put(_chances("probabilities", emission["probabilities"], shape, self.initial))
        elif isinstance(part, emissions.Gaussians) and {"means", "covariances"} <= set(emission) <= _GAUSSIAN:
            many = (self.states, part.components)
            mixture = emission.get("mixture")
            covariances = _shaped("covariances", emission["covariances"], (*many, size, size))
            if not bool((torch.linalg.cholesky_ex(covariances.double()).info == 0).all()):
                raise LikelyError("covariances must be symmetric and positive definite.")
            part.put(
                _shaped("means", emission["means"], (*many, size)),
                covariances,
                None if mixture is None else _chances("mixture", mixture, many, self.initial),
            )
        else:
            raise LikelyError(f"{', '.join(emission)} cannot be set: see what `set_parts` takes for {self.space}.")

    # Choosing among models ------------------------------------------------------------------------------------------

    @property
    def free_parameters(self) -> int:
        """How many numbers learning may choose: a zero among the chances stays zero and is not counted.

        The law of lengths is the same for every number of states, and is not counted either.
        """
        free = 0
        if "initial" not in self.frozen:
            free += int((self.initial > 0).sum()) - 1
        if "transition" not in self.frozen:
            free += int((self.transition > 0).sum()) - self.states
        return free + (0 if "emission" in self.frozen else self.emission.free_parameters)

    def aic(self, x: Any) -> float:
        """Return Akaike's criterion 2 p - 2 log p(x) for p free parameters: lower is better."""
        return 2 * self.free_parameters - 2 * float(self.log_prob(x).double().sum())

    def bic(self, x: Any) -> float:
        """Return the Bayesian criterion p log n - 2 log p(x), where n counts steps: lower is better."""
        x, _ = self._observed(x)
        _, lengths, _ = self._steps(x)
        n = max(int(lengths.sum()), 1)
        return self.free_parameters * math.log(n) - 2 * float(self.log_prob(x).double().sum())


_GAUSSIAN = {"means", "covariances", "mixture"}


def _inside(longest: int, lengths: Tensor) -> Tensor:
    """Return which steps belong to a sequence, (T, B)."""
    return torch.arange(longest, device=lengths.device)[:, None] < lengths


def _cut(x: Any, rows: slice) -> Any:
    return None if x is None else Ragged(*(part[rows] for part in x)) if isinstance(x, Ragged) else x[rows]


def _widened(part: Tensor, longest: int, pad: int) -> Tensor:
    wide = part.new_full((len(part), longest, *part.shape[2:]), pad)
    wide[:, : part.shape[1]] = part
    return wide


def _normalised(chances: Tensor) -> Tensor:
    return chances / chances.sum(-1, keepdim=True)


def _random_moves(allowed: Tensor) -> Tensor:
    """Return random chances of the moves that are allowed, none of them small."""
    return _normalised(allowed * (1 + torch.rand(allowed.shape, dtype=torch.float64).to(allowed.device)))


def _shaped(name: str, value: Any, shape: tuple[int, ...]) -> Tensor:
    value = torch.as_tensor(value, dtype=torch.float64)
    if value.numel() != math.prod(shape) or len(value) != shape[0]:
        raise LikelyError(f"{name} has shape {tuple(value.shape)}, expected {shape}.")
    if not bool(value.isfinite().all()):
        raise LikelyError(f"{name} must be finite numbers.")
    return value.reshape(shape)


def _chances(name: str, value: Any, shape: tuple[int, ...], like: Tensor) -> Tensor:
    value = _shaped(name, value, shape).to(like)
    total = value.sum(-1)
    if not bool((value >= 0).all()) or not bool(((total - 1).abs() < 1e-6).all()):
        worst = float(total.flatten()[(total - 1).abs().argmax()])
        raise LikelyError(f"{name} must be 0 or more and sum to 1; there is a sum of {worst:g}.")
    return _normalised(value)


def build(
    space: Space,
    *,
    states: int = 8,
    covariance: str = "diagonal",
    components: int = 1,
    counts: bool = False,
    floor: float = 1e-3,
    frozen: str = "",
) -> Model:
    """Return a hidden Markov model over sequences, or over pictures as sequences of rows.

    Arguments:
        states: the number of hidden states.
        covariance: for reals, full, tied (one for all states), diagonal or spherical.
        components: for reals, the number of Gaussians mixed in each state.
        counts: whether levels are counts, to be emitted by a Poisson law.
        floor: the smallest variance of a state, as a fraction of the data's; for levels the smallest probability, as a
            fraction of 1 / levels.
        frozen: what learning leaves alone, of initial, transition, emission and lengths, separated by commas.
    """
    accept(space, Sequence, Binary, Finite, Real, model="hmm")
    if isinstance(space, Sequence):
        accept(space.step, Binary, Finite, Real, model="hmm")
    return HMM(
        space,
        states=states,
        covariance=covariance,
        components=components,
        counts=counts,
        floor=floor,
        frozen=frozen,
    )


TINY = (
    {"space": Sequence(step=Finite((), 2), length=3), "states": 2},
    {"space": Sequence(step=Binary((2,)), length=2), "states": 3},
    {"space": Sequence(step=Finite((), 4), length=3), "states": 2, "counts": True},
    {"space": Sequence(step=Real((2,)), length=4), "states": 2, "covariance": "full"},
    {"space": Binary((1, 3, 2)), "states": 2},
    {"space": Finite((3,), 4), "states": 2, "frozen": "initial"},
    {"space": Real((2,)), "states": 2, "covariance": "spherical"},
    {"space": Real((1, 1, 2)), "states": 2, "covariance": "full", "components": 2},
    {"space": Real((2, 1)), "states": 3, "covariance": "tied"},
)

PRESETS = {
    "digits": {"states": 32, "floor": 0.01, "passes": 50},
    "mnist": {"states": 64, "floor": 0.01, "passes": 30},
    "binarized-mnist": {"states": 128, "floor": 0.01, "passes": 50},
}
