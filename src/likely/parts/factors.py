r"""Gaussians of low rank, x = mean + W z + e with z ~ N(0, I) and e ~ N(0, noise): covariance W W^T + diag(noise).

A stack of K over D numbers is `mean` (K, D), `factor` W (K, D, R) and `noise` (K, D): no D x D matrix is ever formed.
By Woodbury's identity only M = I + W^T noise^-1 W, (R, R), is factorised: |d|^2 = sum d^2 / noise - |L^-1 W^T noise^-1
d|^2 with L L^T = M. That difference cancels where the noise is small beside W W^T, so small problems are computed in
float64, and large ones have a relative error of about 1e-7 of W W^T / noise in float32. For missing entries the sums
over D run over the known ones, which for all rows at once is a product with the mask.

Reference: Ghahramani and Hinton, The EM Algorithm for Mixtures of Factor Analyzers, 1996,
www.cs.toronto.edu/~hinton/absps/tr-96-1.pdf; Richardson and Weiss, On GANs and GMMs, 2018, arxiv.org/abs/1805.12462.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from likely.parts.gaussians import LOG_TWO_PI, SPLIT, powers, separate, shares
from likely.parts.threads import calm
from likely.spaces import batches

NARROW = 2**17  #: from how many numbers of W on the products are in the data's own precision
CACHED = 1024  #: for how many rows densities are computed at once: the copies in float64 then stay in the cache
AT_ONCE = 2**22  #: how many numbers of the rows' own matrices M are held at once, where values are missing


class LowRank(NamedTuple):
    """The covariances W W^T + diag(noise): factor (K, D, R), noise (K, D)."""

    factor: Tensor
    noise: Tensor

    @property
    def rank(self) -> int:
        """R, the number of columns of W."""
        return int(self.factor.shape[2])


class _Given(NamedTuple):
    """What the densities need: noise^-1 W, (K, D, R); the Cholesky factor of M, (K, R, R); log-determinants, (K,)."""

    scaled: Tensor
    chol: Tensor
    log_det: Tensor


def _given(spread: LowRank) -> _Given:
    scaled = spread.factor / spread.noise[:, :, None]
    identity = torch.eye(spread.rank, dtype=scaled.dtype, device=scaled.device)
    chol = torch.linalg.cholesky(identity + spread.factor.mT @ scaled)
    log_det = spread.noise.log().sum(1) + 2 * chol.diagonal(dim1=1, dim2=2).log().sum(1)
    return _Given(scaled, chol, log_det)


def covariances(spread: LowRank) -> Tensor:
    """Return W W^T + diag(noise), (K, D, D)."""
    return spread.factor @ spread.factor.mT + spread.noise.diag_embed()


def precise(x: Tensor, spread: LowRank) -> Tensor:
    """Return x in the precision in which products with W are made."""
    return x.double() if spread.factor.numel() <= NARROW else x


def log_density(x: Tensor, mean: Tensor, spread: LowRank) -> Tensor:
    """Return log N(x_b; mean_k, covariance_k), (B, K), in x's dtype: two products for all components together."""
    given = _given(spread)
    size = mean.shape[1]
    precision = spread.noise.reciprocal()
    slope, constant = (-2 * precision * mean).T.contiguous(), (precision * mean.square()).sum(1)
    whiten = torch.linalg.solve_triangular(given.chol, given.scaled.mT, upper=False)  # (K, R, D)
    narrow = precise(x[:0], spread).dtype
    offset = (whiten @ mean[:, :, None]).reshape(-1).to(narrow)
    flat = whiten.reshape(-1, size).T.to(narrow).contiguous()
    parts = []
    for cut in batches(len(x), CACHED):
        wide = x[cut].double()
        long = torch.addmm(constant, wide, slope).addmm_(wide * wide, precision.T)
        y = torch.addmm(-offset, x[cut].to(narrow), flat)
        short = (y * y).unflatten(1, spread.factor.shape[::2]).sum(2).double()
        square = (long - short).maximum(_shortest(short, given))
        parts.append((-0.5 * (given.log_det + square + size * LOG_TWO_PI)).to(x.dtype))
    return torch.cat(parts) if parts else x.new_zeros(0, len(mean))


def _shortest(short: Tensor, given: _Given) -> Tensor:
    """Return a lower bound of |d|^2 given its subtrahend: |E[z]|^2 >= short / trace(M)."""
    return short / given.chol.square().sum((1, 2))


def log_density_of_known(x: Tensor, known: Tensor, mean: Tensor, spread: LowRank) -> Tensor:
    """Return the log-density of the known entries alone, (B, K), in float64.

    Arguments:
        x: (B, D); what stands at unknown entries is ignored.
        known: (B, D), True where observed.
        mean, spread: as in `log_density`.
    """
    parts = [_known(x[cut], known[cut], mean, spread)[0] for cut in _cuts(len(x), spread)]
    return torch.cat(parts) if parts else mean.new_zeros(0, len(mean))


def _cuts(n: int, spread: LowRank) -> list[slice]:
    each = len(spread.factor) * spread.rank**2
    return list(batches(n, max(1, AT_ONCE // each)))


def _known(x: Tensor, known: Tensor, mean: Tensor, spread: LowRank) -> tuple[Tensor, Tensor, Tensor]:
    """Return the log-density of what is known, (B, K), and mean (B, K, R) and factor L of M (B, K, R, R) of z."""
    components, size, rank = spread.factor.shape
    x, here = torch.where(known, x, 0).double(), known.double()
    precision = spread.noise.reciprocal()
    scaled = spread.factor * precision[:, :, None]
    slope = torch.cat([precision, -2 * precision * mean], 1)
    long = powers(x) @ slope.T + here @ (precision * mean.square()).T
    flat = scaled.permute(1, 0, 2).reshape(size, -1)
    centred = (scaled * mean[:, :, None]).permute(1, 0, 2).reshape(size, -1)
    y = (x @ flat - here @ centred).reshape(-1, components, rank)
    outer = (scaled[:, :, :, None] * spread.factor[:, :, None]).permute(1, 0, 2, 3).reshape(size, -1)
    identity = torch.eye(rank, dtype=torch.float64, device=x.device)
    chol = torch.linalg.cholesky((here @ outer).reshape(-1, components, rank, rank) + identity)
    latent = torch.cholesky_solve(y[..., None], chol)[..., 0]
    square = (long - (latent * y).sum(2)).maximum(latent.square().sum(2))
    log_det = here @ spread.noise.log().T + 2 * chol.diagonal(dim1=2, dim2=3).log().sum(2)
    return -0.5 * (log_det + square + here.sum(1, keepdim=True) * LOG_TWO_PI), latent, chol


def moments(x: Tensor, share: Tensor, mean: Tensor, spread: LowRank) -> dict[str, Tensor]:
    """Return the expected sufficient statistics of the complete data (x, z), in float64.

    With d = x - mean_k and z' = (z, 1): "cross" sum share d E[z']^T, (K, D, R + 1); "latent" sum share E[z' z'^T],
    (K, R + 1, R + 1); "square" sum share d^2, (K, D).
    """
    given, total = _given(spread), _zeros(mean, spread)
    rank = spread.rank
    variance = torch.cholesky_inverse(given.chol)
    posterior = variance @ given.scaled.mT  # E[z | x] = M^-1 W^T noise^-1 d
    near = precise(x, spread)
    for k, (rows, part) in enumerate(shares(share, x.dtype)):
        difference = near.index_select(0, rows).sub_(mean[k].to(near.dtype))
        part = part.to(near.dtype)
        z = torch.ones(len(rows), rank + 1, dtype=near.dtype, device=x.device)
        torch.mm(difference, posterior[k].T.to(near.dtype), out=z[:, :rank])
        weighted = z * part[:, None]
        total["cross"][k] = difference.T @ weighted
        total["latent"][k] = weighted.T @ z
        total["latent"][k, :rank, :rank] += part.sum(dtype=torch.float64) * variance[k]
        total["square"][k] = part @ difference.mul_(difference)
    return total


def _zeros(mean: Tensor, spread: LowRank) -> dict[str, Tensor]:
    components, size, rank = spread.factor.shape
    return {
        "cross": mean.new_zeros(components, size, rank + 1),
        "latent": mean.new_zeros(components, rank + 1, rank + 1),
        "square": torch.zeros_like(mean),
    }


def expected_moments(x: Tensor, known: Tensor, share: Tensor, mean: Tensor, spread: LowRank) -> dict[str, Tensor]:
    """Return what `moments` would be in expectation over the unknown entries given the known ones of each row."""
    total, rank = _zeros(mean, spread), spread.rank
    lift = torch.cat([spread.factor, torch.zeros_like(mean)[:, :, None]], 2)  # E[d | z'] = (W, 0) z'
    for cut in _cuts(len(x), spread):
        here, part = known[cut].double(), share[cut].double()
        _, latent, chol = _known(x[cut], known[cut], mean, spread)
        z = torch.cat([latent, torch.ones_like(latent[:, :, :1])], 2)
        both = z[:, :, :, None] * z[:, :, None, :]
        both[:, :, :rank, :rank] += torch.cholesky_inverse(chol)
        both *= part[:, :, None, None]
        total["latent"] += both.sum(0)
        weighted = (z * part[:, :, None]).flatten(1)
        values = torch.where(known[cut], x[cut], 0).double()
        seen = (here.T @ weighted).reshape(len(here.T), len(mean), -1).permute(1, 0, 2)
        first = (values.T @ weighted).reshape(len(here.T), len(mean), -1).permute(1, 0, 2)
        total["cross"] += first - mean[:, :, None] * seen
        square, plain = (part.T @ powers(values)).split(len(here.T), 1)
        total["square"] += square - 2 * mean * plain + mean.square() * (part.T @ here)
        gone = 1 - here
        hidden = (gone.T @ both.flatten(1)).reshape(-1, len(mean), rank + 1, rank + 1).permute(1, 0, 2, 3)
        guessed = (lift[:, :, None] @ hidden)[:, :, 0]
        total["cross"] += guessed
        total["square"] += (guessed * lift).sum(2) + spread.noise * (part.T @ gone)
    return total


def update(
    stats: dict[str, Tensor], mass: Tensor, mean: Tensor, floor: float, prior: tuple[float, float], one_noise: bool
) -> tuple[Tensor, LowRank]:
    """Return the most likely means and covariances for these statistics.

    [W, shift] is the regression of d on z'; the noise is what it leaves, raised to the floor, which is the maximum
    under that constraint. z is then given its own mean and covariance S, which the model takes in by W <- W chol(S):
    the likelihood of the larger model is that of the smaller, so this still is an ascent, and a faster one.

    Arguments:
        stats: of `moments`.
        mass: (K,), all above 0.
        mean: about which the moments were taken.
        floor: the smallest noise.
        prior: how many imaginary rows, and their noise.
        one_noise: whether the noise is equal in all entries (probabilistic PCA).

    Reference: Liu, Rubin and Wu, Parameter Expansion to Accelerate EM: The PX-EM Algorithm, 1998,
    doi.org/10.1093/biomet/85.4.755.
    """
    cross, latent = stats["cross"], stats["latent"]
    rank = latent.shape[1] - 1
    coefficient = torch.linalg.solve(latent, cross.mT).mT
    factor, shift = coefficient[:, :, :rank], coefficient[:, :, rank]
    rows, variance = prior
    left = (stats["square"] - (coefficient * cross).sum(2)).clamp(min=0)
    noise = (left + rows * variance) / (mass[:, None] + rows)
    if one_noise:
        noise = noise.mean(1, keepdim=True).expand_as(noise)
    middle = latent[:, :rank, rank] / mass[:, None]
    spread = latent[:, :rank, :rank] / mass[:, None, None] - middle[:, :, None] * middle[:, None]
    chol, info = torch.linalg.cholesky_ex(spread)
    identity = torch.eye(rank, dtype=chol.dtype, device=chol.device)
    chol = torch.where((info == 0)[:, None, None], chol, identity)
    mean = mean + shift + (factor @ middle[:, :, None])[:, :, 0]
    return mean, LowRank((factor @ chol).contiguous(), noise.clamp(min=floor).contiguous())


def draw(which: Tensor, mean: Tensor, spread: LowRank) -> Tensor:
    """Draw one value from the component `which` (B,) names for each row, (B, D), in float64."""
    x = torch.randn(len(which), mean.shape[1], dtype=torch.float64, device=mean.device)
    z = torch.randn(len(which), spread.rank, dtype=torch.float64, device=mean.device)
    for k in which.unique().tolist():
        rows = which == k
        x[rows] = mean[k] + z[rows] @ spread.factor[k].T + spread.noise[k].sqrt() * x[rows]
    return x


def draw_given_known(x: Tensor, known: Tensor, which: Tensor, mean: Tensor, spread: LowRank) -> Tensor:
    """Draw the unknown entries of each row given its known ones, (B, D), in float64: first z, then they are free."""
    x = x.double()
    noise = torch.randn(x.shape, dtype=torch.float64, device=mean.device)
    z = torch.randn(len(x), spread.rank, 1, dtype=torch.float64, device=mean.device)
    for k in which.unique().tolist():
        rows = (which == k).nonzero()[:, 0]
        own = LowRank(spread.factor[k : k + 1], spread.noise[k : k + 1])
        _, latent, chol = _known(x[rows], known[rows], mean[k : k + 1], own)
        drawn = latent[:, 0] + torch.linalg.solve_triangular(chol[:, 0].mT, z[rows], upper=True)[:, :, 0]
        free = mean[k] + drawn @ own.factor[0].T + own.noise[0].sqrt() * noise[rows]
        x[rows] = torch.where(known[rows], x[rows], free)
    return x


def split(empty: int, heavy: int, mass: Tensor, mean: Tensor, factor: Tensor, noise: Tensor) -> None:
    """Do what `gaussians.split` does where the longest axis is a column of W, or an entry's noise."""
    longest, noisy = int(factor[heavy].square().sum(0).argmax()), int(noise[heavy].argmax())
    column = factor[heavy, :, longest]
    step = SPLIT * column
    if float(column.square().sum()) > float(noise[heavy, noisy]):
        factor[heavy, :, longest] = (1 - SPLIT**2) ** 0.5 * column
    else:
        step = torch.zeros_like(column)
        step[noisy] = SPLIT * noise[heavy, noisy].sqrt()
    factor[empty], noise[empty] = factor[heavy], noise[heavy]
    separate(empty, heavy, mass, mean, step)


def principal(centred: Tensor, rank: int, floor: float, one_noise: bool) -> LowRank:
    """Return one covariance, (1, D, R), to start EM from: the principal directions of these rows, and the rest.

    Columns are never quite 0: from there EM could not move.
    """
    rows, size = centred.shape
    variance = centred.square().mean(0)
    q = min(rank, rows, size)
    _, s, v = torch.svd_lowrank(centred, min(q + 6, rows, size), niter=3)
    values = s[:q].square() / rows
    rest = (variance.sum() - values.sum()).clamp(min=0) / max(size - q, 1)
    factor = centred.new_zeros(size, rank)
    factor[:, :q] = v[:, :q] * (values - rest).maximum(0.05 * values).sqrt()
    noise = (variance - factor.square().sum(1)).clamp(min=0)
    noise = (noise.mean().expand_as(noise) if one_noise else noise).clamp(min=floor)
    return LowRank(factor[None].contiguous(), noise[None].contiguous())


def analyse(covariance: Tensor, rank: int, floor: float, passes: int = 2000) -> LowRank:
    """Return the most likely factor analysis of sample covariances, (K, D, D): EM on them, without the data.

    Reference: Rubin and Thayer, EM Algorithms for ML Factor Analysis, 1982, doi.org/10.1007/BF02293851.
    """
    size = covariance.shape[1]
    rank = min(rank, size)
    values, vectors = torch.linalg.eigh(covariance)
    rest = values[:, : size - rank].mean(1) if rank < size else torch.zeros_like(values[:, 0])
    top = (values[:, size - rank :] - rest[:, None]).maximum(0.05 * values[:, size - rank :]).clamp(min=0)
    factor = vectors[:, :, size - rank :] * top.sqrt()[:, None]
    diagonal = covariance.diagonal(dim1=1, dim2=2)
    noise = (diagonal - factor.square().sum(2)).clamp(min=floor)
    mass, mean = torch.ones_like(values[:, 0]), torch.zeros_like(diagonal)
    edge = torch.zeros(len(covariance), size, 1, dtype=factor.dtype, device=factor.device)
    one = torch.ones(len(covariance), 1, 1, dtype=factor.dtype, device=factor.device)
    spread, before = LowRank(factor, noise), -torch.inf
    thin = _thin(values, vectors)
    products = factor.numel() * size if thin is None else factor.numel() * max(rank, thin[2].shape[1])
    with calm(products):
        for index in range(passes):
            given = _given(spread)
            variance = torch.cholesky_inverse(given.chol)
            posterior = variance @ given.scaled.mT
            if thin is None:
                cross = (posterior @ covariance).mT
            else:
                least, more, directions = thin
                cross = (((posterior @ directions) * more) @ directions.mT + least * posterior).mT
            latent = variance + posterior @ cross
            if index % 10 == 0:  # log|S| + trace(S^-1 C), by Woodbury's identity
                trace = (diagonal / spread.noise).sum(1) - (given.scaled * cross).sum((1, 2))
                now = -0.5 * float((given.log_det + trace).sum())
                if now - before < 1e-9:
                    break
                before = now
            border = torch.cat([torch.cat([latent, edge[:, :rank]], 2), torch.cat([edge[:, :rank].mT, one], 2)], 1)
            stats = {"cross": torch.cat([cross, edge], 2), "latent": border, "square": diagonal}
            _, spread = update(stats, mass, mean, floor, (0.0, 0.0), one_noise=False)
    return spread


def _thin(values: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return eigenvalues that are mostly one number as least I + V diag(more) V^T; None where that saves nothing.

    So are covariances from fewer rows than dimensions: of N rows no more than N - 1 eigenvalues stand out.

    Arguments:
        values: ascending, (K, D).
        vectors: (K, D, D).
    """
    least = values[:, :1]
    more = values - least
    own = (more > 1e-12 * values[:, -1:]).sum(1)
    many = int(own.max()) if len(own) else 0
    size = values.shape[1]
    if 4 * many >= size:
        return None
    cut = slice(size - many, size)
    return least[:, :, None], more[:, None, cut], vectors[:, :, cut].contiguous()
