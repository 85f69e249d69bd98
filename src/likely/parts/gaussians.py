r"""Gaussians as whitening maps: z = A (x - mean) is standard normal, so log N(x) = log|det A| - |z|^2/2 - D/2 log 2 pi.

A stack of K Gaussians over D numbers is `mean`, (K, D), and `whitening` A, (K, D, D) lower triangular with
A^T A = covariance^-1, or its diagonal (K, D) where the covariance is diagonal, or (1, D, D) where all share one. The
parameters are float64; a large batch may come in float32.

Missing entries need no index arithmetic: replace the rows and columns of the unknown entries in the covariance by those
of the identity (M S M + I - M for the 0/1 mask M), and every formula of the known block comes out at full size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from likely.errors import LikelyError

LOG_TWO_PI = math.log(2 * math.pi)
#: how far, in standard deviations, the two halves of a split component are set from its mean
SPLIT = 0.1
BLOCKED = 256  #: from how many dimensions on the symmetric half of second moments is not computed, but
BLOCKS = 4  #: blocks of so many rows, which saves 3/8


def covariances(whitening: Tensor) -> Tensor:
    """Return A^-1 A^-T, (K, D, D), or the variances (K, D) where the stack is diagonal."""
    if whitening.dim() == 2:
        return whitening.square().reciprocal()
    factor = _inverse_of_lower(whitening)
    return factor @ factor.mT


def log_density(x: Tensor, mean: Tensor, whitening: Tensor) -> Tensor:
    """Return log N(x_b; mean_k, covariance_k), (B, K), in x's dtype.

    Dense covariances cost one matrix product per component in x's dtype. Diagonal ones expand the square, which
    cancels, and therefore do their (cheap) products in float64.

    Arguments:
        x: (B, D), best centred near the means.
        mean: (K, D).
        whitening: (K, D, D), (1, D, D) or (K, D).
    """
    size = mean.shape[1]
    if whitening.dim() == 2:
        precision = whitening.square()
        constant = whitening.log().sum(1) - 0.5 * ((precision * mean.square()).sum(1) + size * LOG_TWO_PI)
        slope = torch.cat([-0.5 * precision, precision * mean], 1)
        # What rounding lifts above the height of the peak is put back.
        return torch.addmm(constant, powers(x), slope.T).minimum(_peak(whitening)).to(x.dtype)
    log_det = whitening.diagonal(dim1=1, dim2=2).log().sum(1)
    if len(whitening) < len(mean):  # whiten once, then all components are spherical
        shared = whitening[0]
        z = x @ shared.T.to(x.dtype)
        return log_density(z, mean @ shared.T, torch.ones_like(mean)) + log_det.to(x.dtype)
    offset = (whitening @ mean[:, :, None])[:, :, 0]
    constant = (log_det - 0.5 * size * LOG_TWO_PI).to(x.dtype)
    return torch.addcmul(constant[:, None], squared_lengths(x, whitening, offset), x.new_tensor(-0.5)).T


def squared_lengths(x: Tensor, whitening: Tensor, offset: Tensor) -> Tensor:
    """Return |A_k x_b - o_k|^2, (K, B), in x's dtype; the products share one buffer.

    Arguments:
        x: (B, D).
        whitening: A_k, (K, M, D).
        offset: o_k, (K, M).
    """
    narrow, offset = whitening.to(x.dtype), offset.to(x.dtype)
    if x.requires_grad and torch.is_grad_enabled():
        each = [torch.addmm(-offset[k], x, narrow[k].T).square().sum(1) for k in range(len(narrow))]
        return torch.stack(each)
    buffer = torch.empty(len(x), whitening.shape[1], dtype=x.dtype, device=x.device)
    square = torch.empty(len(narrow), len(x), dtype=x.dtype, device=x.device)
    for k in range(len(narrow)):
        torch.addmm(-offset[k], x, narrow[k].T, out=buffer)
        torch.sum(buffer.mul_(buffer), 1, out=square[k])
    return square


def powers(x: Tensor) -> Tensor:
    """Return x^2 and x side by side, (B, 2 D), in float64."""
    wide = x.double()
    return torch.cat([wide.square(), wide], 1)


def _peak(whitening: Tensor) -> Tensor:
    """Return the largest log-density of each component of a diagonal stack, (K,)."""
    return whitening.log().sum(1) - 0.5 * whitening.shape[1] * LOG_TWO_PI


def log_density_of_known(x: Tensor, known: Tensor, mean: Tensor, whitening: Tensor) -> Tensor:
    """Return the log-density of the known entries alone, (B, K), in float64.

    Dense covariances cost one Cholesky factorisation per component and distinct row of `known`.

    Arguments:
        x: (B, D); what stands at unknown entries is ignored.
        known: (B, D), True where observed.
        mean, whitening: as in `log_density`.
    """
    x = torch.where(known, x, 0).double()
    if whitening.dim() == 2:
        here, precision = known.double(), whitening.square()
        square = x.square() @ precision.T - 2 * x @ (precision * mean).T + here @ (precision * mean.square()).T
        return here @ (whitening.log() - LOG_TWO_PI / 2).T - 0.5 * square.clamp(min=0)
    covariance = covariances(whitening)
    parts, order = [], []
    for rows, mask in _patterns(known):
        factor = _factor_of_known(covariance, mask)
        residual = torch.where(mask, x[rows] - mean[:, None], 0)
        z = torch.linalg.solve_triangular(factor, residual.mT, upper=False)
        log_det = -factor.diagonal(dim1=1, dim2=2).log().sum(1, keepdim=True)
        parts.append((log_det - 0.5 * (z.square().sum(1) + int(mask.sum()) * LOG_TWO_PI)).expand(len(mean), -1).T)
        order.append(rows)
    if not parts:
        return x.new_zeros(0, len(mean))
    return torch.cat(parts)[torch.cat(order).argsort()]


def moments(x: Tensor, share: Tensor, mean: Tensor, whitening: Tensor) -> tuple[Tensor, Tensor]:
    """Return sum_b share_bk d and sum_b share_bk d d^T with d = x_b - mean_k, in float64.

    A row's part in a component is left out of the dense sums where it is below the rounding error of the row's whole
    share: late in EM almost every row belongs to one component, and that is most of the time saved.

    Arguments:
        x: (B, D).
        share: (B, K), 0 or more.
        mean: (K, D), about which the moments are taken.
        whitening: tells by its shape what second moment is wanted.

    Returns:
        first: (K, D).
        second: (K, D, D); (K, D), its diagonal, for a diagonal stack; (1, D, D), summed, for a shared covariance.
    """
    mass = share.sum(0, dtype=torch.float64)[:, None]
    if whitening.dim() == 2:
        square, plain = (share.double().T @ powers(x)).split(mean.shape[1], 1)
        return plain - mass * mean, square - 2 * mean * plain + mass * mean.square()
    if len(whitening) < len(mean):
        wide, wide_share = x.double(), share.double()
        plain = wide_share.T @ wide
        cross = plain.T @ mean
        total = (wide * wide_share.sum(1, keepdim=True)).T @ wide
        return plain - mass * mean, (total - cross - cross.T + (mass * mean).T @ mean)[None]
    first = torch.zeros_like(mean)
    second = torch.zeros_like(whitening)
    for k, (rows, part) in enumerate(shares(share, x.dtype)):
        difference = x.index_select(0, rows).sub_(mean[k].to(x.dtype))
        first[k] = part @ difference
        _add_square(second[k], difference * part[:, None], difference)
    return first, second


def _add_square(total: Tensor, weighted: Tensor, plain: Tensor) -> None:
    """Add weighted^T plain to the total, of which, as it is symmetric, only the blocks on and below the diagonal."""
    size = len(total)
    width = -(-size // BLOCKS) if size >= BLOCKED else size
    for low in range(0, size, max(1, width)):
        here = slice(low, low + width)
        rows = weighted[:, here].T @ plain[:, : low + width]
        total[here, : low + width] += rows
        total[:low, here] += rows[:, :low].T


def shares(share: Tensor, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield for each component the rows of which it has a share above rounding error, and these shares.

    What is left out is less than K times the rounding error of `dtype` of each row's weight: as much as adding up the
    shares of one row in that precision would lose.
    """
    counts = (share > torch.finfo(dtype).eps * share.sum(1, keepdim=True)).T.contiguous()
    which, rows = counts.nonzero(as_tuple=True)
    sizes = counts.sum(1).tolist()
    yield from zip(rows.split(sizes), share[rows, which].split(sizes), strict=True)


def expected_moments(x: Tensor, known: Tensor, share: Tensor, mean: Tensor, whitening: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `moments` would be in expectation over the unknown entries given the known ones of each row.

    The unknown entries count with their conditional mean, and their conditional covariance is added to the second
    moment.

    Reference: Ghahramani and Jordan, Supervised learning from incomplete data via an EM approach, 1994.
    """
    share = share.double()
    if whitening.dim() == 2:
        difference = torch.where(known[:, None], x[:, None] - mean, 0).double()
        first = torch.einsum("bk,bkd->kd", share, difference)
        second = torch.einsum("bk,bkd->kd", share, difference.square())
        return first, second + (share.T @ (~known).double()) * covariances(whitening)
    covariance = covariances(whitening)
    first = torch.zeros_like(mean)
    second = torch.zeros(len(mean), *whitening.shape[1:], dtype=mean.dtype, device=mean.device)
    for rows, mask in _patterns(known):
        factor = _factor_of_known(covariance, mask)
        residual = torch.where(mask, x[rows] - mean[:, None], 0).double()
        difference = _regress(residual, covariance, factor)
        hidden = covariance - covariance @ torch.cholesky_solve(covariance * mask[:, None], factor)
        hidden = torch.where(mask[:, None] | mask, 0, hidden)
        part = share[rows].T[:, :, None]
        first += (part * difference).sum(1)
        second += (part * difference).mT @ difference + part.sum(1, keepdim=True) * hidden
    return first, second.sum(0, keepdim=True) if len(whitening) < len(mean) else second


def draw(which: Tensor, mean: Tensor, whitening: Tensor) -> Tensor:
    """Draw one value from the component `which` (B,) names for each row, (B, D), in float64."""
    noise = torch.randn(len(which), mean.shape[1], dtype=torch.float64, device=mean.device)
    if whitening.dim() == 2:
        return mean[which] + noise / whitening[which]
    shared = len(whitening) < len(mean)
    for k in which.unique().tolist():
        rows = which == k
        noise[rows] = torch.linalg.solve_triangular(whitening[0 if shared else k], noise[rows].T, upper=False).T
    return mean[which] + noise


def draw_given_known(x: Tensor, known: Tensor, which: Tensor, mean: Tensor, whitening: Tensor) -> Tensor:
    """Draw the unknown entries of each row given its known ones, (B, D), in float64: exact.

    A free draw y is corrected by the regression of what it got wrong, y + S_:o S_oo^-1 (x_o - y_o): the result has the
    conditional mean and covariance, and no conditional covariance is ever factorised.

    Reference: Journel and Huijbregts, Mining Geostatistics, 1978 (conditioning by kriging; Matheron's rule).
    """
    drawn = draw(which, mean, whitening)
    x = torch.where(known, x.double(), drawn)
    if whitening.dim() == 2:
        return x
    covariance = covariances(whitening)
    shared = len(whitening) < len(mean)
    for rows, mask in _patterns(known):
        for k in which[rows].unique().tolist():
            mine = rows[which[rows] == k]
            here = covariance[0 if shared else k][None]
            residual = (x[mine] - drawn[mine])[None]
            drawn[mine] += _regress(residual, here, _factor_of_known(here, mask))[0]
    return torch.where(known, x, drawn)


def best_whitening(covariance: Tensor, kind: str, floor: float, rank: int) -> Tensor:
    """Return the whitening of the most likely covariance of this kind, for data with this sample covariance.

    The likelihood is maximised *under the constraint* that no direction has a variance below `floor`: the eigenvalues
    (or variances) of the unconstrained optimum are raised to it. Unlike adding `floor` to the diagonal this keeps EM an
    ascent of the likelihood itself, and it leaves well-behaved data alone.

    Arguments:
        covariance: the sample covariance (K, D, D), or its diagonal (K, D) for the kinds diagonal and spherical.
        kind: full, tied (one for all), diagonal, spherical (one variance), or ppca: W W^T + s^2 I with W of `rank`
            columns, in closed form (Tipping and Bishop 1999, eq. 7 and 8); from rank D - 1 on that is the full one.
        floor: the smallest variance, more than 0.
        rank: the number of columns of W.

    Raises:
        LikelyError: the sample covariance is not finite.
    """
    if not bool(torch.isfinite(covariance).all()):
        raise LikelyError("the data's variances overflow: rescale the data, or look for entries beyond 1e150.")
    if kind == "diagonal":
        return covariance.clamp(min=floor).rsqrt()
    if kind == "spherical":
        return covariance.mean(1, keepdim=True).clamp(min=floor).rsqrt().expand(covariance.shape).contiguous()
    covariance = (covariance + covariance.mT) / 2
    size = covariance.shape[-1]
    if kind == "ppca" and rank < size - 1:
        values, vectors = torch.linalg.eigh(covariance)
        noise = values[:, : size - rank].mean(1, keepdim=True).clamp(min=floor)
        values = torch.cat([noise.expand(-1, size - rank), values[:, size - rank :]], 1).maximum(noise)
        covariance = (vectors * values[:, None]) @ vectors.mT
    else:
        identity = torch.eye(size, dtype=covariance.dtype, device=covariance.device)
        low = torch.linalg.cholesky_ex(covariance - floor * identity).info != 0
        if bool(low.any()):
            values, vectors = torch.linalg.eigh(covariance[low])
            raised = (vectors * values.clamp(min=floor)[:, None]) @ vectors.mT
            covariance = covariance.index_put((low,), raised)
    return _inverse_of_lower(torch.linalg.cholesky(covariance))


def split(empty: int, heavy: int, mass: Tensor, mean: Tensor, covariance: Tensor) -> None:
    """Give the empty component half of the heavy one, both a little off its mean along its longest axis.

    Where each component has a covariance of its own that axis is shortened, so that together they have the same mean
    and covariance as before: the likelihood moves only in the fourth order of `SPLIT`.
    """
    if covariance.dim() == 2:
        longest = int(covariance[heavy].argmax())
        step = torch.zeros_like(mean[heavy])
        step[longest] = SPLIT * covariance[heavy, longest].sqrt()
        covariance[heavy] -= step.square()
        covariance[empty] = covariance[heavy]
    else:
        own = covariance[heavy if len(covariance) == len(mean) else 0]
        values, vectors = torch.linalg.eigh(own)
        step = SPLIT * values[-1].clamp(min=0).sqrt() * vectors[:, -1]
        if len(covariance) == len(mean):
            covariance[heavy] = own - torch.outer(step, step)
            covariance[empty] = covariance[heavy]
    separate(empty, heavy, mass, mean, step)


def separate(empty: int, heavy: int, mass: Tensor, mean: Tensor, step: Tensor) -> None:
    """Give the empty component half of the heavy one's mass, and set both a step from its mean."""
    mass[heavy] /= 2
    mass[empty] = mass[heavy]
    mean[empty] = mean[heavy] - step
    mean[heavy] = mean[heavy] + step


def _inverse_of_lower(matrix: Tensor) -> Tensor:
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    inverse = torch.linalg.solve_triangular(matrix, identity.expand_as(matrix), upper=False)
    return inverse.contiguous()  # else it is column-major, and rounds otherwise than after being saved and loaded


def _patterns(known: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each distinct row of the mask with the indices of the rows that have it."""
    if not len(known):
        return
    masks, index = known.unique(dim=0, return_inverse=True)
    groups = index.argsort(stable=True).split(index.bincount().tolist())
    yield from zip(groups, masks, strict=True)


def _factor_of_known(covariance: Tensor, mask: Tensor) -> Tensor:
    """Return the Cholesky factor of the covariance with unknown rows and columns replaced by the identity's."""
    identity = torch.eye(len(mask), dtype=covariance.dtype, device=covariance.device)
    return torch.linalg.cholesky(torch.where(mask[:, None] & mask, covariance, identity))


def _regress(residual: Tensor, covariance: Tensor, factor: Tensor) -> Tensor:
    """Return S_:o S_oo^-1 r_o for residuals (K, B, D) that are 0 at unknown entries; known ones come back as r_o."""
    return (covariance @ torch.cholesky_solve(residual.mT, factor)).mT
