r"""Sums and maxima over all paths of a chain of hidden states, K^T of them, in T K^2 steps each.

A chain starts in state k with probability `initial`_k and goes from i to j with probability `transition`_ij. At step t
it emits something that state k explains with likelihood exp `log_frame`_tk. Time comes first: (T, B, K) for B chains
side by side. A step at which nothing is observed has the likelihood 1 under every state, log_frame 0: it is thereby
summed out exactly. Padding at the end of a shorter sequence is such a step, so ragged batches need no other care.

`smooth` runs forward and backward on scaled probabilities, which is much faster than logarithms and as exact while
nothing that matters underflows. That is checked, not hoped: see `_scaled`. Chains that fail the check are done again in
logarithms. `smooth_packed` is the work itself, without padding.

Reference: Rabiner, A Tutorial on Hidden Markov Models and Selected Applications in Speech Recognition, 1989,
doi.org/10.1109/5.18626; Cappe, Moulines and Ryden, Inference in Hidden Markov Models, 2005.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from likely.parts.threads import calm

#: the smallest share of a chain's probability, relative to the smallest number, that the answer may do without
TRUSTED = 1e13
SURPRISE = 1e-250  #: how improbable a step may be, relative to its likeliest state, in float64
RARE = 1e-12  #: where a move is rarer, one path can fall far behind all others and catch up again


class Smoothed(NamedTuple):
    """What all observations of a chain say of its states.

    `log_likelihood` is (B,), in float64; `posterior` p(state_t = k | all observations) times the chain's weight,
    (T, B, K) and 0 at padding, or packed (N, K); `pairs`, (K, K), the expected number of moves from i to j, each
    times the chain's weight, in float64.
    """

    log_likelihood: Tensor
    posterior: Tensor
    pairs: Tensor


class Packing:
    """Where the steps of chains of different lengths lie without padding: (N, ...) in place of (T, B, ...).

    The first step of all chains comes first, the longest chain leading, then the second of those that have one, and so
    on: the chains that still run at a step are a run at the start of those that ran before.

    Arguments:
        lengths: how many steps each chain has, (B,).

    Example:
        >>> packing = Packing(torch.tensor([1, 3]))
        >>> packing.take(torch.tensor([[1, 2], [0, 4], [0, 6]])).tolist(), packing.sizes
        ([2, 1, 4, 6], [2, 1, 1])
    """

    def __init__(self, lengths: Tensor) -> None:
        self.lengths, self.chains = lengths, len(lengths)
        self.longest = int(lengths.max()) if len(lengths) else 0
        whole = not len(lengths) or int(lengths.min()) == self.longest
        self.order = torch.arange(len(lengths), device=lengths.device)
        self.sizes, self.index = [len(lengths)] * self.longest, None
        if not whole:
            self.order = lengths.argsort(descending=True, stable=True)
            inside = torch.arange(self.longest, device=lengths.device)[:, None] < lengths[self.order]
            self.sizes = inside.sum(1).tolist()
            step, place = inside.nonzero().unbind(1)
            self.index = step * len(lengths) + self.order[place]

    def take(self, values: Tensor) -> Tensor:
        """Return what belongs to the steps, (N, ...), of values (T, B, ...); without a copy where all are as long."""
        flat = values[: self.longest].reshape(-1, *values.shape[2:])
        return flat if self.index is None else flat.index_select(0, self.index)

    def put(self, packed: Tensor) -> Tensor:
        """Return packed values (N, ...) with padding, (T, B, ...), which is 0."""
        shape = (self.longest, self.chains, *packed.shape[1:])
        if self.index is None:
            return packed.reshape(shape)
        wide = packed.new_zeros(self.longest * self.chains, *packed.shape[1:])
        return wide.index_copy_(0, self.index, packed).reshape(shape)

    def total(self, packed: Tensor) -> Tensor:
        """Return the sum over each chain's steps, (B,), of packed values (N,)."""
        return self.put(packed).sum(0) if self.longest else packed.new_zeros(self.chains)


class Scratch:
    """Memory that is used again by name: fresh memory for every pass costs more than some of the sums in it."""

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return memory of this shape; what it held before under this name is lost."""
        size = torch.Size(shape).numel()
        kept = self._kept.get(name)
        if kept is None or kept.dtype != dtype or kept.device != device or len(kept) < size:
            self._kept[name] = kept = torch.empty(size, dtype=dtype, device=device)
        return kept[:size].view(shape)

    def __deepcopy__(self, memo: Any) -> Scratch:
        return Scratch()

    def __reduce__(self) -> tuple[type[Scratch], tuple[()]]:
        return Scratch, ()


def smooth(
    initial: Tensor,
    transition: Tensor,
    log_frame: Tensor,
    lengths: Tensor | None = None,
    weight: Tensor | None = None,
) -> Smoothed:
    """Return likelihood, posterior states and expected moves of each chain: forward-backward.

    Arguments:
        initial: (K,), sums to 1.
        transition: (K, K), rows sum to 1; zeros are allowed and mean "never".
        log_frame: (T, B, K), in the precision that is wanted; -inf forbids a state, not all of them at one step.
        lengths: how many steps each chain has, (B,); None means T.
        weight: how much each chain counts in `posterior` and `pairs`, (B,), 0 or more; None means 1.

    Returns:
        A chain that is impossible has log_likelihood -inf and posterior 0.
    """
    length, chains, _ = log_frame.shape
    packing = Packing(torch.full((chains,), length, device=log_frame.device) if lengths is None else lengths)
    flat = packing.take(log_frame).to(precise(transition, log_frame.dtype))
    highest = flat.amax(1, keepdim=True) if len(flat) else flat[:, :1]
    found = smooth_packed(
        initial, transition, (flat - highest).exp_(), highest, packing, lambda rows: log_frame[:, rows], weight
    )
    posterior = packing.put(found.posterior.to(log_frame.dtype))
    if len(posterior) < length:
        posterior = torch.cat([posterior, posterior.new_zeros(length - len(posterior), *posterior.shape[1:])])
    return found._replace(posterior=posterior)


def precise(transition: Tensor, dtype: torch.dtype) -> torch.dtype:
    """Return the precision in which likelihoods are to come: float64 where some moves are all but impossible."""
    return dtype if float(transition.min()) > RARE else torch.float64


def smooth_packed(
    initial: Tensor,
    transition: Tensor,
    frame: Tensor,
    log_scale: Tensor,
    packing: Packing,
    log_frame: Callable[[Tensor], Tensor],
    weight: Tensor | None = None,
    scratch: Scratch | None = None,
) -> Smoothed:
    """Do what `smooth` does from likelihoods that were scaled before, and with less memory.

    Arguments:
        initial, transition, weight: as for `smooth`.
        frame: packed likelihoods of which the largest of each step is 1, (N, K), in the precision that `precise` says;
            its memory is overwritten.
        log_scale: the logarithm of what they were divided by, (N, 1).
        packing: which chain a step belongs to.
        log_frame: returns the logarithms, (T or fewer, B', K), for the chains with these numbers, (B',): asked where
            numbers underflowed.
        scratch: memory for the posterior, which is then overwritten by the next call.
    """
    initial, transition = initial.to(frame.device), transition.to(frame.device)
    states = frame.shape[1]
    if not len(frame):
        none = initial.new_zeros(packing.chains, dtype=torch.float64)
        return Smoothed(none, torch.zeros_like(frame), initial.new_zeros(states, states, dtype=torch.float64))
    with calm(packing.sizes[0] * states**2):
        found, trusted = _scaled(initial, transition, frame, log_scale, packing, weight, scratch or Scratch())
    if bool(trusted.all()):
        return found
    pairs = torch.zeros_like(found.pairs)
    for rows, solve in (((~trusted).nonzero()[:, 0], _in_logarithms), (trusted.nonzero()[:, 0], smooth)):
        if not len(rows):
            continue
        lengths = packing.lengths[rows]
        longest = int(lengths.max())
        share = None if weight is None else weight[rows]
        again = solve(initial, transition, log_frame(rows)[:longest].to(frame.dtype), lengths, share)
        pairs += again.pairs
        if solve is _in_logarithms:
            found.log_likelihood[rows] = again.log_likelihood
            wide = packing.put(found.posterior)
            wide[:longest, rows] = again.posterior.to(wide.dtype)
            found.posterior.copy_(packing.take(wide))
    return found._replace(pairs=pairs)


def _scaled(
    initial: Tensor,
    transition: Tensor,
    frame: Tensor,
    log_scale: Tensor,
    packing: Packing,
    weight: Tensor | None,
    scratch: Scratch,
) -> tuple[Smoothed, Tensor]:
    r"""Return the answer by scaled recursions, and for which chains it can be trusted, (B,); pairs only if for all.

    With c_t = p(x_t | x_1..t-1) the forward numbers are a_t(k) = c_t p(state_t = k | x_1..t) and the backward numbers
    b_t(k) = p(x_t+1..T | state_t = k) / (c_t ... c_T), so that a_t(k) b_t(k) is the posterior itself. A forward number
    below the smallest number s vanishes, and with it at most s b_t(k) of a probability of 1: where no b_t(k) comes near
    1 / s, nothing was lost. Backward numbers do not vanish while all moves have a chance above s: each is at least the
    smallest chance times the largest of them. Where moves are rarer, only a path can be missed that is behind by s at
    one step, then ahead by as much as 1 / s, and behind again; in float64 (`precise`) these are 700 nats each time.

    Everything that belongs to a step is done at once and in place, while its (B, K) numbers are near the processor.
    """
    sizes, dtype, states = packing.sizes, frame.dtype, frame.shape[1]
    back = transition.T.to(dtype).contiguous()
    whole = scratch.take("forward", tuple(frame.shape), dtype, frame.device)
    # one view for each step, made once: taking it anew costs as much as a small product
    frames, forward = frame.split(sizes), whole.split(sizes)
    earlier, totals = _forward(initial, transition, frames, forward)
    total = totals.split(sizes)
    log_likelihood = packing.total(totals[:, 0].double().log() + log_scale[:, 0])
    # weights go in at the end of each chain, and from there into all that is summed
    unit, given = 1.0, None
    if weight is not None and not bool((weight == 1).all()):
        unit = float(weight.max()) or 1.0
        given = (weight[packing.order[: sizes[0]]].double() / unit).to(dtype)[:, None]
    after = torch.empty_like(frames[0])  # b_t
    highest = torch.zeros_like(after)
    pairs = torch.zeros(states, states, dtype=torch.float64, device=frame.device)
    moved = torch.empty(states, states, dtype=dtype, device=frame.device)
    running = 0
    now, top = after[:0], highest[:0]
    for t in reversed(range(len(sizes))):
        if sizes[t] > running:  # chains of which this is the last step
            now, top = after[: sizes[t]], highest[: sizes[t]]
            now[running:] = (1 if given is None else given[running : sizes[t]]) / total[t][running:]
            running = sizes[t]
        torch.maximum(top, now, out=top)
        forward[t].mul_(now)
        if t:
            arrived = frames[t].mul_(now)
            pairs += torch.mm(earlier[t - 1].T, arrived, out=moved)
            torch.mm(arrived, back, out=now)
    highest = highest if given is None else highest / given.clamp(min=torch.finfo(dtype).tiny)
    fine = highest.amax(1) < 1 / (TRUSTED * torch.finfo(dtype).tiny)
    trusted = torch.ones(packing.chains, dtype=torch.bool, device=frame.device)
    trusted[packing.order[: len(fine)]] = fine
    if unit != 1:
        whole.mul_(unit)
    return Smoothed(log_likelihood, whole, transition.double() * pairs * unit), trusted


def _forward(
    initial: Tensor, transition: Tensor, frames: tuple[Tensor, ...], forward: tuple[Tensor, ...]
) -> tuple[list[Tensor], Tensor]:
    """Fill in the forward numbers of all steps, dividing each step's likelihoods by the total of the step before.

    Returns:
        earlier: the numbers before each step of those chains that have it.
        totals: c_t, (N, 1).
    """
    sizes, states = [len(frame) for frame in frames], frames[0].shape[1]
    move, one = transition.to(frames[0].dtype), frames[0].new_ones(states, 1)
    totals = frames[0].new_empty(sum(sizes), 1)
    total = totals.split(sizes)
    torch.mul(frames[0], initial.to(move.dtype), out=forward[0])
    torch.mm(forward[0], one, out=total[0])
    earlier = [part if len(part) == n else part[:n] for part, n in zip(forward, sizes[1:], strict=False)]
    for t in range(1, len(sizes)):
        torch.mm(earlier[t - 1], move, out=forward[t])
        frames[t].div_(total[t - 1] if sizes[t] == sizes[t - 1] else total[t - 1][: sizes[t]])
        forward[t].mul_(frames[t])
        torch.mm(forward[t], one, out=total[t])  # several times faster than a sum over a few states
    return earlier, totals


def score(initial: Tensor, transition: Tensor, log_frame: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the log-likelihood of each chain, (B,), in float64; arguments as for `smooth`, which takes twice as long.

    What vanishes going forward had no part in the answer where no move is rare and no step came as too great a
    surprise: in the terms of `_scaled`, b_t(k) is then at most K / (smallest chance x c_t).
    """
    length, chains, _ = log_frame.shape
    lengths = torch.full((chains,), length, device=log_frame.device) if lengths is None else lengths
    packing = Packing(lengths)
    flat = packing.take(log_frame).double()
    if float(transition.min()) > RARE and len(flat):
        highest = flat.amax(1, keepdim=True)
        frame = (flat - highest).exp_()
        with calm(packing.sizes[0] * frame.shape[1] ** 2):
            ways = frame.split(packing.sizes), torch.empty_like(frame).split(packing.sizes)
            _, totals = _forward(initial.to(frame.device), transition.to(frame.device), *ways)
        if bool((totals > SURPRISE).all()):
            return packing.total((totals.log_() + highest)[:, 0])
    return smooth(initial, transition, log_frame.double(), lengths).log_likelihood


def _in_logarithms(
    initial: Tensor, transition: Tensor, log_frame: Tensor, lengths: Tensor, weight: Tensor | None
) -> Smoothed:
    """Return the same as `smooth` in logarithms and float64: several times slower, and never underflows."""
    length, _, states = log_frame.shape
    inside = (torch.arange(length, device=log_frame.device)[:, None] < lengths)[:, :, None]
    log_frame, log_transition = torch.where(inside, log_frame.double(), 0), transition.double().log()
    forward = log_forward(initial, transition, log_frame)
    ahead = torch.zeros_like(log_frame)  # log p(x_t+1..T | state_t)
    for t in reversed(range(length - 1)):
        ahead[t] = (log_transition + (log_frame[t + 1] + ahead[t + 1])[:, None]).logsumexp(2)
    log_likelihood = forward[-1].logsumexp(1)
    possible = log_likelihood > -torch.inf
    whole = torch.where(possible, log_likelihood, 0)[:, None]
    each = torch.ones_like(log_likelihood) if weight is None else weight.double()
    posterior = (forward + ahead - whole).exp() * inside * each[:, None]
    pairs = initial.new_zeros(states, states, dtype=torch.float64)
    for t in range(length - 1):
        after = log_frame[t + 1] + ahead[t + 1]
        move = (forward[t, :, :, None] + log_transition + after[:, None] - whole[:, :, None]).exp()
        pairs += torch.einsum("b,bij->ij", each * inside[t + 1, :, 0], move)
    return Smoothed(log_likelihood, posterior, pairs)


def log_forward(initial: Tensor, transition: Tensor, log_frame: Tensor) -> Tensor:
    """Return log p(x_1..t, state_t = k), (T, B, K), in float64; normalised over k it is the filtered state."""
    log_frame, log_transition = log_frame.double(), transition.double().log()
    forward = torch.empty_like(log_frame)
    for t in range(len(log_frame)):
        before = initial.double().log() if t == 0 else (forward[t - 1][:, :, None] + log_transition).logsumexp(1)
        forward[t] = before + log_frame[t]
    return forward


def viterbi(
    initial: Tensor, transition: Tensor, log_frame: Tensor, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the most probable path of states of each chain, (T, B), and log p(path, observations), (B,).

    Of equally probable paths one is returned. Beyond a chain's length the path repeats its last state.

    Arguments:
        initial, transition, log_frame: as for `smooth`.
        lengths: how many steps each chain has, (B,); None means T. A chain of no steps has log p = 0.

    Reference: Viterbi, Error Bounds for Convolutional Codes and an Asymptotically Optimum Decoding Algorithm, 1967,
    doi.org/10.1109/TIT.1967.1054010.
    """
    length, chains, states = log_frame.shape
    log_frame, log_transition = log_frame.double(), transition.double().log()
    lengths = torch.full((chains,), length, device=log_frame.device) if lengths is None else lengths
    came_from = torch.arange(states, device=log_frame.device).repeat(length, chains, 1)
    best = log_frame.new_zeros(chains, states)
    for t in range(length):
        if t == 0:
            reached = initial.double().log().expand(chains, states)
        else:
            reached, source = (best[:, :, None] + log_transition).max(1)
        here = (t < lengths)[:, None]
        if t:
            came_from[t] = torch.where(here, source, came_from[t])
        best = torch.where(here, reached + log_frame[t], best)
    log_prob, last = best.max(1)
    path = last.repeat(length, 1)
    for t in reversed(range(length - 1)):
        path[t] = came_from[t + 1].gather(1, path[t + 1][:, None])[:, 0]
    return path, log_prob


def draw_chain(initial: Tensor, transition: Tensor, length: int, n: int) -> Tensor:
    """Draw n chains of states, (length, n)."""
    path = torch.empty(length, n, dtype=torch.int64, device=initial.device)
    for t in range(length):
        path[t] = pick(initial.expand(n, -1) if t == 0 else transition[path[t - 1]])
    return path


def draw_path(transition: Tensor, forward: Tensor) -> Tensor:
    """Draw a path of states from its posterior, (T, B), backwards from the last step: exact.

    Arguments:
        transition: (K, K).
        forward: what `log_forward` returned, (T, B, K).

    Reference: Chib, Calculating posterior distributions and modal estimates in Markov mixture models, 1996.
    """
    log_transition = transition.double().log()
    path = torch.empty(forward.shape[:2], dtype=torch.int64, device=forward.device)
    for t in reversed(range(len(forward))):
        score = forward[t] if t == len(forward) - 1 else forward[t] + log_transition[:, path[t + 1]].T
        path[t] = pick(score.softmax(1))
    return path


def pick(chance: Tensor) -> Tensor:
    """Draw an index from each row of probabilities, (N, K) -> (N,): where a uniform number falls among their sums."""
    edges = chance.double().cumsum(1)
    drawn = torch.rand(len(chance), 1, dtype=torch.float64, device=chance.device) * edges[:, -1:]
    return torch.searchsorted(edges, drawn, right=True)[:, 0].clamp(max=chance.shape[1] - 1)
