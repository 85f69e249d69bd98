"""One Gaussian: p(x) = N(x; mean, covariance), the covariance full, diagonal or low-rank.

The density that has the data's mean and covariance and assumes nothing else; its score is what every other density over
reals must beat. One pass over the data gives the most likely parameters. Whitening, z = A (x - mean) with
A^T A = covariance^-1, makes it the simplest flow: an exact inverse with a constant log-determinant, for every kind of
covariance, so `encode` and `decode` lose nothing. With `low-rank` the covariance is that of probabilistic principal
component analysis, W W^T + s^2 I: `rank` directions and a noise that is equal in all others, in the data's units.

With missing values (NaN) the fit is EM over their exact conditional expectations, and takes several passes.

The fit is the most likely one *subject to* no direction having less than `floor` times the data's variance. So
constant columns, fewer rows than dimensions, or a single row give a narrow but proper Gaussian in any units.

It fails where data have several clusters, bounds or heavy tails: one ellipse covers the empty middle between clusters.
On bytes, levels and bits it is judged by dequantisation, and then offers a bound (`iwelbo`) instead of `log_prob`.

Reference: Tipping and Bishop, Probabilistic Principal Component Analysis, 1999, doi.org/10.1111/1467-9868.00196.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from likely.core import Bijective, Model
from likely.families.mixture import GaussianMixture, over
from likely.spaces import Binary, Finite, Real, Space, accept


class Gaussian(GaussianMixture, Bijective):
    """A Gaussian over reals.

    Arguments:
        space: what one x is: reals.
        covariance: full, diagonal or low-rank.
        rank: for low-rank, the number of directions besides the noise.
        floor: the smallest variance in any direction, relative to the data's.
    """

    closed_form: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = ("full", "diagonal", "low-rank")

    def __init__(self, space: Real, *, covariance: str = "full", rank: int = 8, floor: float = 1e-4) -> None:
        super().__init__(space, components=1, covariance=covariance, rank=rank, floor=floor)

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


def build(space: Space, *, covariance: str = "full", rank: int = 8, floor: float = 1e-4) -> Model:
    """Return a Gaussian over reals, or its dequantised form over bytes, levels or bits.

    Arguments:
        covariance: full, diagonal or low-rank.
        rank: for low-rank, the number of directions besides the noise.
        floor: the smallest variance in any direction, as a fraction of the data's variance.
    """
    accept(space, Real, Binary, Finite, model="gaussian")
    return over(space, Gaussian(Real(space.shape, names=space.names), covariance=covariance, rank=rank, floor=floor))


TINY = (
    {"space": Real((1,))},
    {"space": Real((2,))},
    {"space": Real((2,)), "covariance": "diagonal"},
    {"space": Real((1, 1, 2)), "covariance": "low-rank", "rank": 1},
    {"space": Binary((2,))},
    {"space": Finite((1, 1, 2), 4), "covariance": "diagonal"},
    {"space": Finite((3,), 3), "covariance": "low-rank", "rank": 1},
)

PRESETS = {
    "digits": {"covariance": "full"},
    "mnist": {"covariance": "full"},
    "binarized-mnist": {"covariance": "full"},
}
