r"""Sums and maxima over all paths of a chain of hidden states, K^T of them, in T K^2 steps each.

A chain starts in state k with probability `initial`_k and goes from i to j with probability `transition`_ij. At step t
it emits something that state k explains with likelihood exp `log_frame`_tk. Time comes first: (T, B, K) for B chains
side by side. A step at which nothing is observed has the likelihood 1 under every state, log_frame 0: it is thereby
summed out exactly. Padding at the end of a shorter sequence is such a step, so ragged batches need no other care.

`smooth` runs forward and backward, each step scaled to sum to 1, which is much faster than logarithms and as exact
while nothing that matters underflows. That is checked, not hoped: see `_scaled`. Chains that fail the check are
done again in logarithms.

Reference: Rabiner, A Tutorial on Hidden Markov Models and Selected Applications in Speech Recognition, 1989,
doi.org/10.1109/5.18626; Cappe, Moulines and Ryden, Inference in Hidden Markov Models, 2005.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

#: the smallest overlap of the scaled forward and backward vectors that is trusted, relative to the smallest number
TRUSTED = 1e13


class Smoothed(NamedTuple):
    """What all observations of a chain say of its states.

    `log_likelihood` is (B,), in float64; `posterior` p(state_t = k | all observations), (T, B, K); `pairs`, (K, K), the
    expected number of moves from i to j, each counted by the weight of the step that it arrives at.
    """

    log_likelihood: Tensor
    posterior: Tensor
    pairs: Tensor


def smooth(initial: Tensor, transition: Tensor, log_frame: Tensor, weight: Tensor | None = None) -> Smoothed:
    """Return likelihood, posterior states and expected moves of each chain: forward-backward.

    Arguments:
        initial: (K,), sums to 1.
        transition: (K, K), rows sum to 1; zeros are allowed and mean "never".
        log_frame: (T, B, K), in the precision that is wanted; -inf forbids a state, not all of them at one step.
        weight: how much each step counts in `pairs`, (T, B), 0 for padding; None leaves the pairs out (they are 0).

    Returns:
        A chain that is impossible has log_likelihood -inf and posterior 0.
    """
    highest = log_frame.amax(2, keepdim=True) if log_frame.numel() else log_frame[:, :, :1]
    return smooth_scaled(
        initial, transition, (log_frame - highest).exp_(), highest, lambda rows: log_frame[:, rows], weight
    )


def smooth_scaled(
    initial: Tensor,
    transition: Tensor,
    frame: Tensor,
    log_scale: Tensor,
    log_frame: Callable[[Tensor], Tensor],
    weight: Tensor | None = None,
) -> Smoothed:
    """Do what `smooth` does from likelihoods that were scaled before, and with less memory.

    Arguments:
        initial, transition, weight: as for `smooth`.
        frame: likelihoods of which the largest of each step is 1, (T, B, K); its memory is used for the posterior.
        log_scale: the logarithm of what they were divided by, (T, B, 1).
        log_frame: returns the logarithms, (T, B', K), for the chains with these numbers, (B',): asked where numbers
            underflowed.
    """
    initial, transition = initial.to(frame.device), transition.to(frame.device)
    length, chains, states = frame.shape
    if not length or not chains:
        none = initial.new_zeros(chains, dtype=torch.float64)
        return Smoothed(none, torch.zeros_like(frame), initial.new_zeros(states, states, dtype=torch.float64))
    found, trusted = _scaled(initial, transition, frame, log_scale, weight)
    if bool(trusted.all()):
        return found
    again, rest = (~trusted).nonzero()[:, 0], trusted.nonzero()[:, 0]
    redone = _in_logarithms(initial, transition, log_frame(again), None if weight is None else weight[:, again])
    found.log_likelihood[again] = redone.log_likelihood
    found.posterior[:, again] = redone.posterior.to(found.posterior.dtype)
    pairs = redone.pairs
    if weight is not None and len(rest):
        pairs = pairs + smooth(initial, transition, log_frame(rest), weight[:, rest]).pairs
    return found._replace(pairs=pairs)


def _scaled(
    initial: Tensor, transition: Tensor, frame: Tensor, log_scale: Tensor, weight: Tensor | None
) -> tuple[Smoothed, Tensor]:
    r"""Return the answer by scaled recursions, and for which chains it can be trusted, (B,); pairs only if for all.

    With f_t(k) = p(state_t = k | x_1..t) and g_t(k) in proportion to p(x_t..T | state_t = k), both summing to 1, the
    posterior is f_t(k) h_t(k) / z_t with h_t = A g_t+1 and z_t = sum_k f_t(k) h_t(k). Mass that underflows is less than
    the smallest number s of what is left, and since f and h are at most 1 it would have had a share of at most s / z_t
    in the answer: where every z_t is above s `TRUSTED`, nothing was lost.

    Everything that belongs to a step is done at once and in place, while its (B, K) numbers are near the processor.
    """
    length, _, states = frame.shape
    move, back = transition.to(frame.dtype), transition.T.to(frame.dtype).contiguous()
    totals, overlaps = torch.empty_like(log_scale), torch.empty_like(log_scale)
    # one view for each step, made once: taking it anew costs as much as a small product
    frames, forward = frame.unbind(0), torch.empty_like(frame).unbind(0)
    total, overlap = totals.unbind(0), overlaps.unbind(0)
    torch.mul(frames[0], initial.to(frame.dtype), out=forward[0])
    _scale(forward[0], total[0])
    for t in range(1, length):
        _scale(torch.mm(forward[t - 1], move, out=forward[t]).mul_(frames[t]), total[t])
    log_likelihood = totals.double().log().sum((0, 2)) + log_scale.double().sum((0, 2))
    pairs = initial.new_zeros(states, states, dtype=torch.float64)
    after, before, share, ahead = frame[-1].clone(), *(torch.empty_like(frame[-1]) for _ in range(3))  # g_t+1, g_t
    frame[-1], overlaps[-1] = forward[-1], 1
    arriving = None if weight is None else weight[:, :, None].to(frame.dtype).unbind(0)
    for t in reversed(range(length - 1)):
        _scale(after, total[t])
        torch.mm(after, back, out=ahead)  # h_t
        torch.mul(ahead, frames[t], out=before)
        _scale(torch.mul(ahead, forward[t], out=frames[t]), overlap[t])  # from here on the posterior
        if arriving is not None:
            torch.mul(forward[t], arriving[t + 1] / overlap[t], out=share)
            pairs += torch.mm(share.T, after)
        after, before = before, after
    trusted = overlaps.amin((0, 2)) > TRUSTED * torch.finfo(frame.dtype).tiny
    return Smoothed(log_likelihood, frame, transition.double() * pairs), trusted


def _scale(chances: Tensor, total: Tensor) -> None:
    """Divide each row by its sum, which is written to `total`."""
    chances.div_(torch.sum(chances, 1, keepdim=True, out=total))


def _in_logarithms(initial: Tensor, transition: Tensor, log_frame: Tensor, weight: Tensor | None) -> Smoothed:
    """Return the same in logarithms and float64: several times slower, and never underflows."""
    length, _, states = log_frame.shape
    log_frame, log_transition = log_frame.double(), transition.double().log()
    forward = log_forward(initial, transition, log_frame)
    ahead = torch.zeros_like(log_frame)  # log p(x_t+1..T | state_t)
    for t in reversed(range(length - 1)):
        ahead[t] = (log_transition + (log_frame[t + 1] + ahead[t + 1])[:, None]).logsumexp(2)
    log_likelihood = forward[-1].logsumexp(1)
    possible = log_likelihood > -torch.inf
    whole = torch.where(possible, log_likelihood, 0)[:, None]
    posterior = (forward + ahead - whole).exp()
    pairs = initial.new_zeros(states, states, dtype=torch.float64)
    if weight is not None:
        for t in range(length - 1):
            after = log_frame[t + 1] + ahead[t + 1]
            move = (forward[t, :, :, None] + log_transition + after[:, None] - whole[:, :, None]).exp()
            pairs += torch.einsum("b,bij->ij", weight[t + 1].double(), move)
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
