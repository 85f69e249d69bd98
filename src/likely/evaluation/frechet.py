r"""The Frechet distance of two sets of features: how far apart are the Gaussians with their means and covariances?

FD = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^{1/2}), the squared 2-Wasserstein distance of N(m1, S1) and N(m2, S2). In
the features of the Inception network of 2015 it is called FID. Everything here is float64 and symmetric: the result is
real and finite for every input, and no matrix square root of a product that is not symmetric is taken.

How it is fooled: it sees two moments only, so a set of copies of the training data scores best of all; it is biased
upwards by a finite sample (about 2 D / n + D (D + 1) / (2 n) for two equal laws with unit covariance, n rows each), so
that numbers at different n do not compare; and it is a number of its feature space, which another extractor, another
resizing or another file format changes. Read it beside the distance of training data from test data at the same n.

Reference: Heusel, Ramsauer, Unterthiner, Nessler and Hochreiter, GANs Trained by a Two Time-Scale Update Rule Converge
to a Local Nash Equilibrium, 2017, arxiv.org/abs/1706.08500.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from likely.errors import LikelyError
from likely.evaluation.matrices import choose, matrix, numpy_products
from likely.spaces import batches

ROWS = 2048  #: rows that are held in float64 at once
BLOCK = 64  #: columns that LAPACK brings to tridiagonal form together
PANELS = 8  #: a symmetric product is computed in so many panels of columns, from the diagonal downwards


@dataclass(frozen=True)
class Moments:
    """Count, mean, (D,), and scatter sum (x - mean)(x - mean)^T, (D, D), in float64: all that the distance needs.

    Moments add: those of two batches, or of two processes, are together the moments of all rows, without the
    cancellation of E x x^T - m m^T.

    Example:
        >>> import torch
        >>> x = torch.randn(100, 3)
        >>> both = Moments.of(x[:40]) + Moments.of(x[40:])
        >>> torch.allclose(both.covariance, x.double().T.cov())
        True

    Reference: Chan, Golub and LeVeque, Algorithms for Computing the Sample Variance, 1983,
    doi.org/10.1080/00031305.1983.10483115.
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, values: Any) -> Moments:
        """Return the moments of a set of rows, (N, D).

        Raises:
            LikelyError: the set is empty or not finite.
        """
        x = matrix(values).numpy()
        mean = x.sum(0, dtype=np.float64) / len(x)
        scatter = np.zeros((x.shape[1], x.shape[1]))
        # fresh memory for each block would take as long as filling it
        centred = np.empty((min(len(x), ROWS), x.shape[1]))
        with numpy_products():
            for rows in batches(len(x), ROWS):
                _add_products(scatter, np.subtract(x[rows], mean, out=centred[: rows.stop - rows.start]))
        for columns in batches(len(scatter), -(-len(scatter) // PANELS)):
            scatter[columns, columns.stop :] = scatter[columns.stop :, columns].T
        return cls(len(x), torch.from_numpy(mean), torch.from_numpy(scatter))

    def __add__(self, other: Moments) -> Moments:
        count, step = self.count + other.count, other.mean - self.mean
        mean = self.mean + step * (other.count / count)
        between = torch.outer(step, step) * (self.count * other.count / count)
        return Moments(count, mean, self.scatter + other.scatter + between)

    @property
    def covariance(self) -> Tensor:
        """The unbiased covariance, (D, D): the scatter divided by N - 1, as everywhere where FID is computed."""
        return self.scatter / (self.count - 1)


class Frechet(NamedTuple):
    """The distance, and its two parts: of the means, and of the covariances. Nothing is clipped at 0."""

    value: float
    means: float
    covariances: float


def frechet_distance(real: Any, fake: Any) -> Frechet:
    """Return |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^{1/2}) of two sets of rows.

    Arguments:
        real: features, (N, D), or their `Moments`.
        fake: features, (M, D), or their `Moments`.

    Raises:
        LikelyError: a set has fewer than two rows, rows differ in length, or a value is not finite.

    Example:
        >>> import torch
        >>> x = torch.tensor([[0.0], [2.0]])
        >>> round(frechet_distance(x, x + 3).value, 6)
        9.0
    """
    a, b = _both(real, fake)
    means = float((a.mean - b.mean).square().sum())
    traces = float((a.scatter.diagonal() / (a.count - 1) + b.scatter.diagonal() / (b.count - 1)).sum())
    covariances = traces - 2 * _trace_of_root(a, b)
    return Frechet(means + covariances, means, covariances)


def frechet_error(real: Any, fake: Any) -> float | None:
    r"""Return the standard error of the Frechet distance of two sets of rows, or None where a covariance is singular.

    The first-order effect of one row x on the distance is 2 (m1 - m2).(x - m1) + (x - m1)^T (I - T) (x - m1) up to its
    mean, where T is the linear map of the optimal transport, T S1 T = S2; for the other set it is the same with T^{-1}.
    The error is the root of the variances of these effects over N and M. It says nothing of the bias, and where the two
    laws are equal, all effects vanish and so does the error.

    Arguments:
        real: features, (N, D), N > D.
        fake: features, (M, D), M > D.

    Raises:
        LikelyError: a set has fewer than two rows, rows differ in length, or a value is not finite.

    Reference: Rippl, Munk and Sturm, Limit Laws of the Empirical Wasserstein Distance: Gaussian Distributions, 2016,
    doi.org/10.1016/j.jmva.2016.06.005.
    """
    x, y = matrix(real, rows=2, name="the real set"), matrix(fake, rows=2, name="the fake set")
    a, b = _both(x, y)
    if min(a.count, b.count) <= len(a.mean) or not (_definite(a.covariance) and _definite(b.covariance)):
        return None
    lower = torch.linalg.cholesky(a.covariance)
    middle, basis = torch.linalg.eigh(lower.T @ b.covariance @ lower)
    if float(middle[0]) <= 0:
        return None
    inverse = torch.linalg.solve_triangular(lower, torch.eye(len(lower), dtype=torch.float64), upper=False)
    there = inverse.T @ (basis * middle.sqrt()) @ basis.T @ inverse
    back = lower @ (basis / middle.sqrt()) @ basis.T @ lower.T
    step = a.mean - b.mean
    variance = _effects(x, a.mean, step, there).var() / a.count + _effects(y, b.mean, -step, back).var() / b.count
    return math.sqrt(float(variance))


class Extrapolated(NamedTuple):
    """The distance at infinitely many fakes, and the line it was read from: sizes and distances."""

    value: float
    slope: float
    sizes: list[int]
    distances: list[float]


def frechet_infinity(real: Any, fake: Any, *, points: int = 15, seed: int = 0) -> Extrapolated:
    """Return the Frechet distance extrapolated to infinitely many fakes: the intercept of a line in 1 / size.

    Of the fakes, random subsets of evenly spaced sizes from min(5000, M / 10) to M are measured against all of the real
    rows. The bias of the fakes goes, that of the real rows (half of it, at equal numbers) stays. The line holds where
    the smallest subset has more rows than columns; below that the distance is not linear in 1 / size.

    Arguments:
        real: features, (N, D), or their `Moments`.
        fake: features, (M, D).
        points: how many sizes.
        seed: decides the subsets.

    Raises:
        LikelyError: there are fewer than 20 fakes or 2 points, rows differ in length, or a value is not finite.

    Reference: Chong and Forsyth, Effectively Unbiased FID and Inception Score and Where to Find Them, 2020,
    arxiv.org/abs/1911.07023.
    """
    if points < 2:
        raise LikelyError(f"a line needs at least 2 points, not {points}.")
    y = matrix(fake, rows=20, name="the fake set")
    a, _ = _both(real, y[:2])
    generator = torch.Generator().manual_seed(seed)
    sizes = [round(s) for s in np.linspace(min(5000, len(y) // 10), len(y), points)]
    distances = [frechet_distance(a, y[choose(len(y), size, generator)]).value for size in sizes]
    slope, value = np.polyfit(1 / np.array(sizes), distances, 1)
    return Extrapolated(float(value), float(slope), sizes, distances)


def _add_products(scatter: np.ndarray, x: np.ndarray) -> None:
    """Add x^T x to the blocks on and below the diagonal: 9/16 of the work of the whole, at the speed of whole products.

    One call of BLAS for symmetric products would do 1/2 of the work at little more than half that speed.
    """
    for columns in batches(len(scatter), -(-len(scatter) // PANELS)):
        scatter[columns.start :, columns] += x[:, columns.start :].T @ x[:, columns]


def _both(real: Any, fake: Any) -> tuple[Moments, Moments]:
    a, b = (values if isinstance(values, Moments) else Moments.of(values) for values in (real, fake))
    if min(a.count, b.count) < 2:
        raise LikelyError(f"a covariance needs at least 2 rows in each set, not {a.count} and {b.count}.")
    if len(a.mean) != len(b.mean):
        raise LikelyError(f"the two sets have rows of {len(a.mean)} and {len(b.mean)} numbers; they must agree.")
    return a, b


def _trace_of_root(a: Moments, b: Moments) -> float:
    """Return tr (S1 S2)^{1/2}: the sum of the roots of the eigenvalues of S1 S2.

    For positive definite covariances these are the eigenvalues of the symmetric L^T S2 L, where S1 = L L^T: by its
    tridiagonal form, without vectors. A root halves the correct digits of an eigenvalue near 0, of which a singular
    covariance has many: there the sum of the singular values of S1^{1/2} S2^{1/2} is taken, which has them all.
    """
    # a column that is constant in either set adds nothing
    alive = (a.scatter.diagonal() > 0) & (b.scatter.diagonal() > 0)

    def covariance(m: Moments) -> Tensor:
        return m.covariance if bool(alive.all()) else m.covariance[alive][:, alive]

    if min(a.count, b.count) > int(alive.sum()) > 1:
        total = _by_cholesky(covariance(a).numpy(), covariance(b).numpy())
        if total is not None:
            return total
    roots = _root(covariance(a)) @ _root(covariance(b)) if bool(alive.any()) else torch.zeros(1, 1)
    return float(torch.linalg.svdvals(roots).sum())


def _by_cholesky(first: np.ndarray, second: np.ndarray) -> float | None:
    """Return the sum of the roots of the eigenvalues of L^T S2 L, or None where a covariance is not definite.

    Both matrices are used up: LAPACK works in their memory, and takes the transpose of a symmetric matrix as it is.
    """
    from scipy.linalg.lapack import dpotrf, dsterf, dsygst, dsytrd

    with numpy_products():
        _, indefinite = dpotrf(second.T, lower=1, clean=0)
        root, failed = dpotrf(first.T, lower=1, clean=0, overwrite_a=1)
        if indefinite or failed:
            return None
        between, _ = dsygst(second.T, root, itype=2, lower=1, overwrite_a=1)
        _, diagonal, beside, _, _ = dsytrd(between, lower=1, lwork=BLOCK * len(first), overwrite_a=1)
        values, failed = dsterf(diagonal, beside)
    return None if failed else float(np.sqrt(values.clip(min=0)).sum())


def _definite(covariance: Tensor) -> bool:
    return not int(torch.linalg.cholesky_ex(covariance).info)


def _root(covariance: Tensor) -> Tensor:
    values, basis = torch.linalg.eigh(covariance)
    noise = len(values) * torch.finfo(torch.float64).eps * values[-1]
    return (basis * torch.where(values > noise, values, 0).sqrt()) @ basis.T


def _effects(x: Tensor, mean: Tensor, step: Tensor, transport: Tensor) -> Tensor:
    """Return the first-order effect of each row on the distance, up to a constant, (N,)."""
    curve = torch.eye(len(mean), dtype=torch.float64) - transport
    effects = torch.empty(len(x), dtype=torch.float64)
    for rows in batches(len(x), ROWS):
        centred = x[rows].double() - mean
        effects[rows] = 2 * centred @ step + ((centred @ curve) * centred).sum(1)
    return effects
