r"""Numbers of statistically different bins, and the Jensen-Shannon divergence between the shares of the bins.

The real rows are cut into k bins by k-means; fakes fall into the bin of the nearest centre. NDB counts the bins whose
shares of the two sets differ by a two-proportion z-test at level alpha, JS is the divergence of the two histograms in
nats, from 0 to log 2. Bins without fakes are modes that are missing, and can be shown.

How they are fooled: a perfect model still has NDB / k of about alpha; NDB grows with n, as its tests gain power, so
compare at one n only. Within a bin nothing is seen: one picture per bin, repeated in the right shares, scores
perfectly. The bins depend on the seed, and were fitted to the real rows, which makes even other real rows slightly
different.

Reference: Richardson and Weiss, On GANs and GMMs, 2018, arxiv.org/abs/1805.12462.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from likely.core import seeded
from likely.errors import LikelyError
from likely.evaluation.matrices import pair
from likely.parts.kmeans import lloyd, plus_plus, squared_distances


class Bins(NamedTuple):
    """How many bins differ, of how many, the divergence in nats, and the share of each bin in both sets, (k,)."""

    different: int
    bins: int
    divergence: float
    real: Tensor
    fake: Tensor


def bins(real: Any, fake: Any, k: int = 100, *, alpha: float = 0.05, seed: int = 0) -> Bins:
    """Return the number of statistically different bins and the Jensen-Shannon divergence of two sets of rows.

    Arguments:
        real: features, (N, D), N >= k; the bins are fitted to them.
        fake: features, (M, D).
        k: how many bins.
        alpha: the level of the two-sided test of each bin.
        seed: decides the first centres.

    Raises:
        LikelyError: there are fewer real rows than bins, rows differ in length, or a value is not finite.
    """
    from scipy.stats import norm

    if k < 1 or not 0 < alpha < 1:
        raise LikelyError(f"take at least one bin and a level between 0 and 1, not {k} and {alpha}.")
    x, y = (values.double() for values in pair(real, fake))
    if len(x) < k:
        raise LikelyError(f"{k} bins need at least as many real rows, not {len(x)}.")
    with seeded(seed):
        centres, index = lloyd(x, plus_plus(x, k), rounds=100)
    p = index.bincount(minlength=k) / len(x)
    q = squared_distances(y, centres).argmin(1).bincount(minlength=k) / len(y)
    p, q = p.double(), q.double()
    pooled = (p * len(x) + q * len(y)) / (len(x) + len(y))
    error = (pooled * (1 - pooled) * (1 / len(x) + 1 / len(y))).sqrt()
    different = (p - q).abs() > float(norm.isf(alpha / 2)) * error  # a bin that is empty in both sets does not differ
    return Bins(int(different.sum()), k, jensen_shannon(p, q), p, q)


def jensen_shannon(p: Tensor, q: Tensor) -> float:
    """Return (KL(p || m) + KL(q || m)) / 2 of two histograms of shares, m = (p + q) / 2, in nats.

    Example:
        >>> import torch
        >>> round(jensen_shannon(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])), 6)
        0.693147
    """
    middle = (p + q) / 2
    entropies = [-float(torch.xlogy(h, h).sum()) for h in (p, q, middle)]
    return min(max(entropies[2] - (entropies[0] + entropies[1]) / 2, 0.0), math.log(2))
