"""Centres of clusters: k-means++ seeding and a few rounds of Lloyd's algorithm."""

from __future__ import annotations

import torch
from torch import Tensor


def plus_plus(x: Tensor, k: int) -> Tensor:
    """Choose k rows of x as centres, each drawn with probability proportional to its squared distance to those before.

    Of a few candidates per centre the one that leaves the least total distance is kept (the greedy variant, as good
    implementations do). Where x has fewer than k distinct rows, centres repeat. Draws from the global random stream.

    Arguments:
        x: (B, D), at least one row.
        k: how many centres.

    Returns:
        (k, D).

    Reference: Arthur and Vassilvitskii, k-means++: The Advantages of Careful Seeding, 2007,
    theory.stanford.edu/~sergei/papers/kMeansPP-soda.pdf.
    """
    candidates = 2 + k.bit_length()
    lengths = x.square().sum(1, keepdim=True)
    centres = [x[torch.randint(len(x), (1,), device=x.device)]]
    nearest = squared_distances(x, centres[0], lengths)[:, 0]
    for _ in range(k - 1):
        chance = nearest if float(nearest.sum()) > 0 else torch.ones_like(nearest)
        tried = x[torch.multinomial(chance, candidates, replacement=True)]
        left = torch.minimum(nearest[:, None], squared_distances(x, tried, lengths))
        best = int(left.sum(0).argmin())
        centres.append(tried[best : best + 1])
        nearest = left[:, best]
    return torch.cat(centres)


def lloyd(x: Tensor, centres: Tensor, rounds: int = 20) -> tuple[Tensor, Tensor]:
    """Move each centre to the mean of its nearest rows, `rounds` times or until nothing moves.

    A centre that is nearest to no row stays where it is.

    Returns:
        centres: (k, D).
        index: the nearest centre of each row, (B,).
    """
    lengths = x.square().sum(1, keepdim=True)
    index = squared_distances(x, centres, lengths).argmin(1)
    for _ in range(rounds):
        count = index.bincount(minlength=len(centres))[:, None]
        total = torch.zeros_like(centres).index_add_(0, index, x)
        centres = torch.where(count > 0, total / count.clamp(min=1), centres)
        before, index = index, squared_distances(x, centres, lengths).argmin(1)
        if torch.equal(before, index):
            break
    return centres, index


def squared_distances(x: Tensor, centres: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return |x_b - c_k|^2, (B, k), by one matrix product.

    Arguments:
        x: (B, D).
        centres: (k, D).
        lengths: |x_b|^2, (B, 1), where it is known already.
    """
    lengths = x.square().sum(1, keepdim=True) if lengths is None else lengths
    return torch.addmm(lengths + centres.square().sum(1), x, centres.T, alpha=-2).clamp_(min=0)
