"""One Gaussian: p(x) = N(x; mean, covariance), the covariance full, diagonal, spherical or of low rank.

The density that has the data's mean and covariance and assumes nothing else; its score is what every other density over
reals must beat. One pass over the data gives the most likely parameters. Whitening, z = A (x - mean) with
A^T A = covariance^-1, makes it the simplest flow: an exact inverse with a constant log-determinant, for every kind of
covariance, so `encode` and `decode` lose nothing. With `lowrank` the covariance is W W^T + diag(noise), that of factor
analysis: `rank` directions and a noise for each entry. With `ppca`, probabilistic principal component analysis, the
noise is equal in all, W W^T + s^2 I, in the data's units.

With missing values (NaN) the fit is EM over their exact conditional expectations, and takes several passes.

The fit is the most likely one *subject to* no direction having less than `floor` times the data's variance. So
constant columns, or a single row, give a narrow but proper Gaussian in any units. With N < 4 D rows a full covariance
is drawn towards its own diagonal C, (N S + p C) / (N + p) with p = (4 D - N) / 8: the most likely one would be nearly
singular, and score badly on new rows (`shrink=False` keeps it).

With labels (`cond`) there is one Gaussian for each class: quadratic discriminant analysis.

It fails where data have several clusters, bounds or heavy tails: one ellipse covers the empty middle between clusters.
On bytes, levels and bits it is judged by dequantisation, and then offers a bound (`iwelbo`) instead of `log_prob`.

Reference: Tipping and Bishop, Probabilistic Principal Component Analysis, 1999, doi.org/10.1111/1467-9868.00196;
factor analysis: Rubin and Thayer, EM Algorithms for ML Factor Analysis, 1982, doi.org/10.1007/BF02293851.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from likely.core import Bijective, Model
from likely.families.by_class import over
from likely.families.mixture import GaussianMixture
from likely.spaces import Binary, Finite, Real, Space, accept


class Gaussian(GaussianMixture, Bijective):
    """A Gaussian over reals.

    Arguments:
        space: what one x is: reals.
        covariance: full, diagonal, spherical, lowrank (factor analysis) or ppca.
        rank: for lowrank and ppca, the number of directions besides the noise.
        floor: the smallest variance in any direction (for lowrank: the smallest noise), relative to the data's.
        pseudo_count: how many imaginary rows of uncorrelated data of these variances have been seen.
        shrink: whether a full covariance from fewer than four rows for each dimension is drawn to its diagonal.
    """

    closed_form: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = ("full", "diagonal", "spherical", "lowrank", "ppca")
    dense: ClassVar[bool] = True

    def __init__(
        self,
        space: Real,
        *,
        covariance: str = "full",
        rank: int = 8,
        floor: float = 1e-4,
        pseudo_count: float = 0.0,
        shrink: bool = True,
    ) -> None:
        super().__init__(
            space,
            components=1,
            covariance=covariance,
            rank=rank,
            floor=floor,
            pseudo_count=pseudo_count,
            shrink=shrink,
        )

    def start(self, x: Tensor, cond: Tensor | None = None) -> None:
        """Take the units from these rows, and fit them: an offset is then out of the way of the sums."""
        self._set_units(x)
        self.m_step(self.e_step(x))

    def _encode_and_log_det(self, x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        difference = self._standardise(x) - self.mean
        whitening = self.whitening[0]
        z = difference * whitening if whitening.dim() == 1 else difference @ whitening.T
        diagonal = whitening if whitening.dim() == 1 else whitening.diagonal()
        log_det = (diagonal.log() - self.scale.log()).sum()
        return z.reshape(x.shape).to(x.dtype), log_det.expand(len(x)).to(x.dtype)

    def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        flat = z.reshape(len(z), self.space.size).double()
        whitening = self.whitening[0]
        if whitening.dim() == 1:
            difference = flat / whitening
        else:
            difference = torch.linalg.solve_triangular(whitening, flat.T, upper=False).T
        return self._restore(self.mean + difference).to(z.dtype)


def build(
    space: Space,
    cond: Space | None = None,
    *,
    covariance: str = "full",
    rank: int = 8,
    floor: float = 1e-4,
    pseudo_count: float = 0.0,
    shrink: bool = True,
) -> Model:
    """Return a Gaussian over reals, or its dequantised form over bytes, levels or bits; one for each class of cond.

    Arguments:
        covariance: full, diagonal, spherical, lowrank (factor analysis) or ppca.
        rank: for lowrank and ppca, the number of directions besides the noise.
        floor: the smallest variance in any direction, as a fraction of the data's variance.
        pseudo_count: how many imaginary rows of uncorrelated data of these variances have been seen.
        shrink: whether a full covariance from fewer than four rows for each dimension is drawn to its diagonal.
    """
    accept(space, Real, Binary, Finite, model="gaussian")

    def make(reals: Real) -> Gaussian:
        return Gaussian(reals, covariance=covariance, rank=rank, floor=floor, pseudo_count=pseudo_count, shrink=shrink)

    return over(space, cond, make)


TINY = (
    {"space": Real((1,))},
    {"space": Real((2,))},
    {"space": Real((2,)), "covariance": "diagonal", "pseudo_count": 2.0},
    {"space": Real((1, 1, 2)), "covariance": "ppca", "rank": 1},
    {"space": Real((2,)), "covariance": "lowrank", "rank": 1},
    {"space": Real((2,)), "covariance": "spherical"},
    {"space": Real((2,)), "cond": Finite((), 2, ordered=False)},
    {"space": Binary((2,))},
    {"space": Finite((1, 1, 2), 4), "covariance": "diagonal"},
    {"space": Finite((2,), 4), "cond": Finite((), 3, ordered=False)},
    {"space": Finite((3,), 3), "covariance": "ppca", "rank": 1},
)

PRESETS = {
    "digits": {"covariance": "full"},
    "mnist": {"covariance": "full"},
    "binarized-mnist": {"covariance": "full"},
}
