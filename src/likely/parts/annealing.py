"""Annealed importance sampling: the normaliser of a distribution known only up to a constant.

Chains start in a distribution p_0 with known Z_0 and climb a ladder of inverse temperatures 0 = beta_0 < ... < beta_K
= 1 to the distribution of interest. At each rung a chain collects log f_next(x) - log f_beta(x), and then moves by a
transition that leaves the next rung's distribution in place. The weights w satisfy E[w] = Z / Z_0 exactly, so their
*mean* is unbiased; its logarithm is too low on average, which flatters the likelihood of data. Run down the ladder
from exact samples, the same weights err on the other side.

Reference: Neal, Annealed Importance Sampling, 2001, arxiv.org/abs/physics/9803008; Salakhutdinov and Murray, On the
Quantitative Analysis of Deep Belief Networks, 2008, doi.org/10.1145/1390156.1390266.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

State = TypeVar("State")


def annealed_log_weights(
    x: State,
    betas: Tensor,
    climb: Callable[[State, float, float], Tensor],
    move: Callable[[State, float], State],
) -> Tensor:
    """Return log w with E[w] = Z_(last beta) / Z_(first beta), one for each chain, (B,), float64.

    Arguments:
        x: samples of the distribution at betas[0], (B, ...), or whatever `climb` and `move` take for the state.
        betas: the ladder, (K + 1,).
        climb: (x, beta, next beta) -> log f_next(x) - log f_beta(x), (B,).
        move: (x, beta) -> x after a transition that leaves the distribution at beta in place.
    """
    log_weights: Tensor | float = 0.0
    for beta, following in pairwise(betas.tolist()):
        log_weights = climb(x, beta, following).double() + log_weights
        x = move(x, following)
    return torch.as_tensor(log_weights)


def log_mean_exp(log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logarithm of the mean weight and its standard error, both ().

    The error is that of the mean over the mean itself (the delta method); it says nothing where the weights that would
    matter were never drawn.

    Arguments:
        log_weights: (B,), at least two for an error; one weight alone has an infinite one.
    """
    n = len(log_weights)
    log_mean = log_weights.logsumexp(0) - math.log(n)
    if n < 2:
        return log_mean, torch.full_like(log_mean, math.inf)
    return log_mean, (log_weights - log_mean).exp().std() / math.sqrt(n)
