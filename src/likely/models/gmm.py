"""A mixture of Gaussians: p(x) = sum_k w_k N(x; mean_k, covariance_k), fitted by expectation and maximisation.

Each datum is thought to come from one of K Gaussians, unseen which. EM alternates between the probability that
component k made row n, r_nk = w_k p_k(x_n) / p(x_n), and the most likely weights, means and covariances for these
shares; no step lowers the likelihood. It starts from k-means (++ seeding) with one common covariance. Marginals and
conditionals of a mixture are mixtures, so partial data are scored, completed and learned from exactly.

The maximum is sought *subject to* no direction of a component having less than `floor` times the data's variance.
Without that the likelihood is unbounded: a component sitting on one row alone would shrink onto it. Because it is a
constraint and not a number added to the diagonal, EM still climbs the likelihood itself. A component that lost all rows
is put beside the heaviest one, which it halves: that step alone may cost a little likelihood.

EM finds a local maximum, so another seed may give another fit. Full covariances need many more rows than dimensions
(D^2/2 numbers for each component); with fewer take `low-rank` (a mixture of probabilistic principal component
analysers, noise equal in all other directions, in the data's units), `tied` or `diagonal`. It fails on curved or
bounded data, where it needs ever more components.

Reference: Dempster, Laird and Rubin, Maximum Likelihood from Incomplete Data via the EM Algorithm, 1977,
doi.org/10.1111/j.2517-6161.1977.tb01600.x; low-rank: Tipping and Bishop, Mixtures of Probabilistic Principal Component
Analysers, 1999, doi.org/10.1162/089976699300016728.
"""

from __future__ import annotations

from typing import Any, ClassVar, final

from torch import Tensor

from likely.core import Model
from likely.families.mixture import GaussianMixture, over
from likely.parts import gaussians, kmeans
from likely.spaces import Binary, Finite, Real, Space, accept


class GMM(GaussianMixture):
    """A mixture of Gaussians over reals.

    Arguments:
        space: what one x is: reals.
        components: the number K of Gaussians.
        covariance: full, tied (one for all), diagonal, spherical (one variance for each) or low-rank.
        rank: for low-rank, the number of directions besides the noise.
        floor: the smallest variance of a component in any direction, relative to the data's.
    """

    closed_form: ClassVar[bool] = False

    def __init__(
        self,
        space: Real,
        *,
        components: int = 10,
        covariance: str = "full",
        rank: int = 8,
        floor: float = 1e-4,
    ) -> None:
        super().__init__(space, components=components, covariance=covariance, rank=rank, floor=floor)

    @final
    def responsibilities(self, x: Any) -> Tensor:
        """Return the probability that component k made row n, r_nk = w_k p_k(x_n) / p(x_n), (B, K).

        Arguments:
            x: values of the space, (B, *shape); NaN entries are integrated out.

        Raises:
            SpaceError: x is not of the space.
        """
        x, _ = self._given(x, None, missing=True)
        known = ~x.isnan()
        with self._asked():
            return self._by_rows(self._responsibilities, x, None if bool(known.all()) else known)

    def _responsibilities(self, x: Tensor, known: Tensor | None) -> Tensor:
        return self._log_joint(
            self._standardise(x), None if known is None else known.reshape(len(x), self.space.size)
        ).softmax(1)

    def start(self, x: Tensor, cond: Tensor | None = None) -> None:
        """Take the units from these rows, and the means from their clusters; missing entries count as the mean."""
        standard = self._set_units(x)
        self.mean, index = kmeans.lloyd(standard, kmeans.plus_plus(standard, len(self.mean)))
        within = standard - self.mean[index]
        if self.whitening.dim() == 2:
            common = within.square().mean(0, keepdim=True)
        else:
            common = (within.T @ within / len(within))[None]
        whitening = gaussians.best_whitening(common, self.covariance, self.floor, self.rank)
        self.whitening = whitening.expand_as(self.whitening).clone()
        # One row more for each component, so that an empty cluster starts with some weight.
        count = index.bincount(minlength=len(self.mean)).double() + 1
        self.weight = count / count.sum()


def build(space: Space, *, components: int = 10, covariance: str = "full", rank: int = 8, floor: float = 1e-4) -> Model:
    """Return a mixture of Gaussians over reals, or its dequantised form over bytes, levels or bits.

    Arguments:
        components: the number of Gaussians.
        covariance: full, tied, diagonal, spherical or low-rank.
        rank: for low-rank, the number of directions besides the noise.
        floor: the smallest variance of a component in any direction, as a fraction of the data's variance.
    """
    accept(space, Real, Binary, Finite, model="gmm")
    reals = Real(space.shape, names=space.names)
    return over(space, GMM(reals, components=components, covariance=covariance, rank=rank, floor=floor))


TINY = (
    {"space": Real((1,)), "components": 2},
    {"space": Real((2,)), "components": 3},
    {"space": Real((2,)), "components": 2, "covariance": "tied"},
    {"space": Real((2,)), "components": 2, "covariance": "diagonal"},
    {"space": Real((1, 1, 2)), "components": 2, "covariance": "spherical"},
    {"space": Real((2,)), "components": 2, "covariance": "low-rank", "rank": 1},
    {"space": Binary((2,)), "components": 2},
    {"space": Finite((1, 1, 2), 4), "components": 2, "covariance": "diagonal"},
)

PRESETS = {
    "digits": {"components": 20, "covariance": "low-rank", "rank": 8, "passes": 50},
    "mnist": {"components": 10, "covariance": "low-rank", "rank": 32, "passes": 10},
    "binarized-mnist": {"components": 10, "covariance": "low-rank", "rank": 32, "passes": 10},
}
