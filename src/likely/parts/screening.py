r"""Densities of many Gaussians at once, where almost every row belongs to one: the others are ruled out, not computed.

Two cheap lower bounds of a Mahalanobis distance bound w_k N(x; mean_k, S_k) from above. Each row is scored exactly
under the component that is guessed to be the likeliest, and then under those whose bound reaches that score less
log(K / eps); the rest adds up to less than eps of p(x), the rounding error of its precision, whatever the bounds are.

With a hundred dimensions and more (`Projection`): a linear map V never lengthens a distance, |x - mean|_S >=
|V^T (x - mean)|_(V^T S V), at the cost of m columns instead of D. V is the space of the largest variances, in which the
bound is tight where what remains is noise (pictures).

With fewer (`Quadratic`), on processors that multiply bfloat16 natively: the distance is linear in the products x_i x_j,
so that one matrix product gives it for all components. Half of its flops are saved by symmetry, and in bfloat16 they
cost a quarter. What rounding may have added, at most 3/2^8 sum_ij |P_ij x_i x_j| with P = S^-1, is subtracted; by
|x_i x_j| <= (x_i^2 + x_j^2) / 2 that is linear in the squares.

Reference: Cauchy-Schwarz; for ruling out by projections, Faloutsos, Ranganathan and Manolopoulos, Fast Subsequence
Matching in Time-Series Databases, 1994, doi.org/10.1145/191839.191925; for the rounding error of sums of products,
Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1, doi.org/10.1137/1.9780898718027.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from likely.parts.gaussians import LOG_TWO_PI, squared_lengths
from likely.parts.threads import native_bfloat16

LEAST_SIZE = 128  #: from how many dimensions on projections pay
BLOCKS = 7  #: the triangle of a large whitening is multiplied in so many blocks of rows, which skips 3/7 of the square
FEW = 16  #: with fewer dimensions even components that all have one covariance are computed one by one
EXPANDED = 24, 48  #: from how many components, and dimensions, on products in bfloat16 pay
PAIRED_AT_ONCE = 2**21  #: how many products x_i x_j are held at once
#: factors, coefficients and sum are rounded to bfloat16, each by 2^-8 of itself; the rest is float32's, of 2^13 terms
ROUNDING = 3 * 2.0**-8 + 6e-4
NARROW_ROUNDING = 2e-5  #: of the sums made in float32, 257 terms


class Projection(NamedTuple):
    """The projected Gaussians: basis V, (D, m), and the whitening of V^T S_k V, (K, m, m), with its offsets, (K, m)."""

    basis: Tensor
    whitening: Tensor
    offset: Tensor

    def lengths(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return a guess and a lower bound of |A_k (x_b - mean_k)|^2, (K, B) in float64: here they are the same."""
        square = squared_lengths(x @ self.basis.to(x.dtype), self.whitening, self.offset).double()
        square *= 0.999  # one part in a thousand of slack covers the rounding of the bound itself
        return square, square


class Quadratic(NamedTuple):
    """|A_k (x - mean_k)|^2 = x^T P_k x - 2 mean_k^T P_k x + const as coefficients of what it is linear in.

    pairs: of x_i x_j, (K, D/2 D), bfloat16; near: of x_i^2 and x_i, (K, 2 D); constant: (K,). What the rounding of
    that may have added at most: slack, of x_i^2, (K, D), and least, (K,).
    """

    pairs: Tensor
    near: Tensor
    constant: Tensor
    slack: Tensor
    least: Tensor

    def lengths(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return a guess and a lower bound of |A_k (x_b - mean_k)|^2, (K, B) in float32."""
        x = x.float()
        size, far = x.shape[1], self.pairs.shape[1] // x.shape[1]
        powers = torch.cat([x * x, x], 1)
        guess = torch.addmm(self.constant[:, None], self.near, powers.T)
        rows = max(1, PAIRED_AT_ONCE // self.pairs.shape[1])
        buffer = torch.empty(min(rows, len(x)), far, size, dtype=self.pairs.dtype, device=x.device)
        for low in range(0, len(x), rows):
            some = x[low : low + rows]
            paired = buffer[: len(some)]
            torch.mul(some[:, None], _shifted(some, far), out=paired)
            guess[:, low : low + rows] += self.pairs @ paired.flatten(1).T
        return guess, guess - torch.addmm(self.least[:, None], self.slack, powers[:, :size].T)


Screen = Projection | Quadratic


def _shifted(x: Tensor, far: int) -> Tensor:
    """Return x_(i + s) for s from 1 to `far`, cyclic, (B, far, D), without a copy for each s."""
    twice = torch.cat([x, x], 1)
    return twice.as_strided((len(x), far, x.shape[1]), (twice.shape[1], 1, 1), 1)


def widest(covariance: Tensor, scale: Tensor, width: int) -> Tensor:
    """Return the directions of the largest variances in the data's units, (D, width).

    Arguments:
        covariance: of the data in standard units, (D, D).
        scale: one standard unit in the data's units, (D,).
        width: how many directions.
    """
    total = covariance * scale * scale[:, None]
    return (torch.linalg.eigh(total).eigenvectors[:, -width:] * scale[:, None]).contiguous()


def project(mean: Tensor, whitening: Tensor, basis: Tensor) -> Projection:
    """Project each Gaussian on the basis: V^T S V = Y^T Y with A^T Y = V."""
    solved = torch.linalg.solve_triangular(whitening.mT, basis.expand(len(mean), -1, -1), upper=True)
    factor = torch.linalg.cholesky(solved.mT @ solved)
    identity = torch.eye(basis.shape[1], dtype=mean.dtype, device=mean.device)
    small = torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)
    return Projection(basis, small, (small @ (mean @ basis)[:, :, None])[:, :, 0])


def expands(components: int, size: int, device: torch.device) -> bool:
    """Whether `expand` pays: neither few nor many dimensions, enough components, and a processor with bfloat16."""
    return components >= EXPANDED[0] and EXPANDED[1] <= size < LEAST_SIZE and native_bfloat16(device)


def expand(mean: Tensor, whitening: Tensor) -> Quadratic:
    """Multiply out the Mahalanobis distances."""
    size = mean.shape[1]
    precision = whitening.mT @ whitening
    here = torch.arange(size, device=mean.device)
    there = (here + torch.arange(1, size // 2 + 1, device=mean.device)[:, None]) % size
    pairs = 2 * precision[:, here.expand_as(there), there]  # x_i x_(i + s), cyclic: each pair once,
    if size % 2 == 0:
        pairs[:, -1] /= 2  # but twice where s is half the circle
    diagonal = precision.diagonal(dim1=1, dim2=2)
    slope = (precision @ mean[:, :, None])[:, :, 0]
    constant = (slope * mean).sum(1)
    # |2 slope_i x_i| <= |slope_i| (1 + x_i^2)
    slack = ROUNDING * (precision.abs().sum(2) - diagonal) + NARROW_ROUNDING * (diagonal + slope.abs())
    least = NARROW_ROUNDING * (constant + slope.abs().sum(1))
    near = torch.cat([diagonal, -2 * slope], 1)
    return Quadratic(pairs.flatten(1).bfloat16(), near.float(), constant.float(), slack.float(), least.float())


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
    wide = log_weight + whitening.diagonal(dim1=1, dim2=2).log().sum(1) - 0.5 * size * LOG_TWO_PI
    guess, least = screen.lengths(x)
    constant = wide.to(guess.dtype if x.dtype == torch.float32 else torch.float64)
    joint = torch.full(guess.shape, -torch.inf, dtype=constant.dtype, device=x.device)
    buffer = torch.empty(len(x), -(-size // _blocks(size)), dtype=x.dtype, device=x.device)

    def score(rows: Tensor, counts: Tensor) -> None:
        """Score the first counts[0] of these rows under component 0, and so on."""
        which = torch.arange(components, device=x.device).repeat_interleave(counts)
        squares = []
        for k, mine in enumerate(rows.split(counts.tolist())):
            if len(mine):
                some = x if len(mine) == len(x) else x.index_select(0, mine)  # four times as fast as x[mine]
                squares.append(_triangular(some, narrow[k], offset[k], buffer[: len(mine)]).to(joint.dtype))
        if squares:
            scores = torch.add(constant.index_select(0, which), torch.cat(squares), alpha=-0.5)
            joint.view(-1)[which * len(x) + rows] = scores

    best = torch.add(constant[:, None], guess, alpha=-0.5).max(0).indices
    score(best.argsort(stable=True), best.bincount(minlength=components))
    margin = math.log(components) - math.log(torch.finfo(x.dtype).eps)
    reach = joint.gather(0, best[None]) - margin
    # Asked so that a bound that overflowed rules nothing out.
    wanted = ~(torch.add(constant[:, None], least, alpha=-0.5) < reach)
    wanted.scatter_(0, best[None], value=False)
    which, rows = wanted.nonzero(as_tuple=True)
    score(rows, which.bincount(minlength=components))
    return joint.T


def _blocks(size: int) -> int:
    return BLOCKS if size >= LEAST_SIZE else 1


def _triangular(x: Tensor, whitening: Tensor, offset: Tensor, buffer: Tensor) -> Tensor:
    """Return |A x_b - o|^2, (B,), for a lower triangular A, block by block, of which float64 takes the sum."""
    square = x.new_zeros(())
    width = buffer.shape[1]
    for low in range(0, len(whitening), width):
        high = min(low + width, len(whitening))
        z = buffer.view(-1)[: len(x) * (high - low)].view(len(x), high - low)
        torch.addmm(-offset[low:high], x[:, :high], whitening[low:high, :high].T, out=z)
        part = z.mul_(z).sum(1)
        square = part if width == len(whitening) else square + part.double()
    return square
