r"""Densities of many Gaussians at once, where almost every row belongs to one: the others are ruled out, not computed.

A linear map V never lengthens a Mahalanobis distance: |x - mean|_S >= |V^T (x - mean)|_(V^T S V). So w_k N(x; mean_k,
S_k) has an upper bound that costs one product with m columns instead of D. Each row is scored exactly under the
component with the highest bound, and then under those whose bound reaches that score less log(K / eps); the rest adds
up to less than eps of p(x), the rounding error of its precision, whatever V is. V is the space of the largest
variances, in which the bound is tight where what remains is noise (pictures). With fewer than a hundred dimensions a
full product is as cheap.

Reference: Cauchy-Schwarz; for ruling out by projections, Faloutsos, Ranganathan and Manolopoulos, Fast Subsequence
Matching in Time-Series Databases, 1994, doi.org/10.1145/191839.191925.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from likely.parts.gaussians import LOG_TWO_PI, squared_lengths

LEAST_SIZE = 128  #: from how many dimensions on screening pays
BLOCKS = 4  #: the triangle of a whitening is multiplied in so many blocks of rows, which skips 3/8 of the zeros


class Screen(NamedTuple):
    """The projected Gaussians: basis V, (D, m), and the whitening of V^T S_k V, (K, m, m), with its offsets, (K, m)."""

    basis: Tensor
    whitening: Tensor
    offset: Tensor


def widest(covariance: Tensor, scale: Tensor, width: int) -> Tensor:
    """Return the directions of the largest variances in the data's units, (D, width).

    Arguments:
        covariance: of the data in standard units, (D, D).
        scale: one standard unit in the data's units, (D,).
        width: how many directions.
    """
    total = covariance * scale * scale[:, None]
    return (torch.linalg.eigh(total).eigenvectors[:, -width:] * scale[:, None]).contiguous()


def screen(mean: Tensor, whitening: Tensor, basis: Tensor) -> Screen:
    """Project each Gaussian on the basis: V^T S V = Y^T Y with A^T Y = V."""
    solved = torch.linalg.solve_triangular(whitening.mT, basis.expand(len(mean), -1, -1), upper=True)
    factor = torch.linalg.cholesky(solved.mT @ solved)
    identity = torch.eye(basis.shape[1], dtype=mean.dtype, device=mean.device)
    small = torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)
    return Screen(basis, small, (small @ (mean @ basis)[:, :, None])[:, :, 0])


def log_joint(x: Tensor, mean: Tensor, whitening: Tensor, log_weight: Tensor, screen: Screen) -> Tensor:
    """Return log w_k + log N(x_b; mean_k, S_k), (B, K), and -inf where that is below rounding error of the row's sum.

    Arguments:
        x: (B, D); gradients are not followed.
        mean: (K, D).
        whitening: (K, D, D), lower triangular.
        log_weight: log w_k, (K,).
        screen: of the same Gaussians.
    """
    size, components = mean.shape[1], len(mean)
    offset = (whitening @ mean[:, :, None])[:, :, 0].to(x.dtype)
    narrow = whitening.to(x.dtype)
    constant = log_weight + whitening.diagonal(dim1=1, dim2=2).log().sum(1) - 0.5 * size * LOG_TWO_PI
    # One part in a thousand of slack covers the rounding of the bound itself.
    lengths = squared_lengths(x @ screen.basis.to(x.dtype), screen.whitening, screen.offset)
    bound = constant[:, None] - 0.5 * 0.999 * lengths.double()
    joint = torch.full_like(bound, -torch.inf)
    best = bound.argmax(0)
    wanted = torch.nn.functional.one_hot(best, components).T.bool()
    margin = math.log(components) - math.log(torch.finfo(x.dtype).eps)
    buffer = torch.empty(len(x), -(-size // BLOCKS), dtype=x.dtype, device=x.device)
    for _ in range(2):
        for k in range(components):
            rows = wanted[k].nonzero()[:, 0]
            if len(rows):
                some = x if len(rows) == len(x) else x[rows]
                joint[k, rows] = constant[k] - 0.5 * _triangular(some, narrow[k], offset[k], buffer[: len(rows)])
        wanted = (bound > joint.amax(0) - margin) & joint.isneginf()
    return joint.T


def _triangular(x: Tensor, whitening: Tensor, offset: Tensor, buffer: Tensor) -> Tensor:
    """Return |A x_b - o|^2, (B,), float64, for a lower triangular A, block by block."""
    square = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    width = buffer.shape[1]
    for low in range(0, len(whitening), width):
        high = min(low + width, len(whitening))
        z = buffer.view(-1)[: len(x) * (high - low)].view(len(x), high - low)
        torch.addmm(-offset[low:high], x[:, :high], whitening[low:high, :high].T, out=z)
        square += z.mul_(z).sum(1)
    return square
