"""A mixture of Gaussians: p(x) = sum_k w_k N(x; mean_k, covariance_k), fitted by expectation and maximisation.

Each datum is thought to come from one of K Gaussians, unseen which. EM alternates between the probability that
component k made row n, r_nk = w_k p_k(x_n) / p(x_n), and the most likely weights, means and covariances for these
shares; no step lowers the likelihood. It starts from k-means (++ seeding) with one common covariance. Marginals and
conditionals of a mixture are mixtures, so partial data are scored, completed and learned from exactly.

The maximum is sought *subject to* no direction of a component having less than `floor` times the data's variance.
Without that the likelihood is unbounded: a component sitting on one row alone would shrink onto it. Because it is a
constraint and not a number added to the diagonal, EM still climbs the likelihood itself. A component that lost all
rows is put beside the heaviest one, which it halves: that step alone may cost a little likelihood. `pseudo_count` and
`concentration` are priors, and EM then climbs the posterior (formula: `likely.families.mixture`). They also act where
a full or tied covariance has fewer than four rows for each dimension, unless `shrink` is False. `ridge` is
scikit-learn's `reg_covar`, which is added to every variance, and with which EM may fall.

EM finds a local maximum, so another seed may give another fit; of `n_init` starts the best is taken. Full covariances
need many more rows than dimensions (D^2/2 numbers for each component); with fewer take `lowrank` (a mixture of factor
analysers: W W^T and a noise for each entry), `ppca` (one noise for all, in the data's units), `tied` or `diagonal`.
`choose` fits a range of K and takes the lowest BIC or AIC; `weights="sparse"` is Bayesian about the weights: a
Dirichlet prior of concentration 1 - T/2, under which components vanish that do not pay for their T numbers. With
labels (`cond`) there is one mixture for each class. It fails on curved or bounded data, where it needs ever more
components.

Reference: Dempster, Laird and Rubin, Maximum Likelihood from Incomplete Data via the EM Algorithm, 1977,
doi.org/10.1111/j.2517-6161.1977.tb01600.x; lowrank: Richardson and Weiss, On GANs and GMMs, 2018,
arxiv.org/abs/1805.12462; ppca: Tipping and Bishop, Mixtures of Probabilistic Principal Component Analysers, 1999,
doi.org/10.1162/089976699300016728; sparse: Figueiredo and Jain, Unsupervised Learning of Finite Mixture Models, 2002,
doi.org/10.1109/34.990138.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from likely.core import Model
from likely.data.parts import Part
from likely.errors import LikelyError, SpaceError, unknown
from likely.families import criteria
from likely.families.by_class import over
from likely.families.mixture import GaussianMixture
from likely.parts import factors, gaussians, kmeans, screening
from likely.parts.counting import counts_of
from likely.spaces import Binary, Finite, Real, Space, accept

STARTS = ("k-means", "k-means++", "random")
WEIGHTS = ("likeliest", "sparse")
TRIAL_PASSES = 10  #: how many passes choose the best of several starts
SPARSE_PASSES = 50  #: how many passes there are at most before the next component is taken away


class GMM(GaussianMixture):
    """A mixture of Gaussians over reals.

    Arguments:
        space: what one x is: reals.
        components: the number K of Gaussians.
        covariance: full, tied (one for all), diagonal, spherical (one variance for each), lowrank (factor analysers) or
            ppca.
        rank: for lowrank and ppca, the number of directions besides the noise.
        floor: the smallest variance of a component in any direction (for lowrank: the smallest noise), relative to the
            data's.
        first: how components start: k-means, k-means++ (its seeds alone) or random (rows).
        n_init: how many starts are tried; the likeliest after a few passes stays.
        weights: likeliest, or sparse: superfluous components vanish as it starts.
        concentration, pseudo_count, shrink, ridge: see `GaussianMixture`.

    Raises:
        LikelyError: a number is out of range.
        UnknownName: there is no such way to start, or of weights.
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
        first: str = "k-means",
        n_init: int = 1,
        weights: str = "likeliest",
        concentration: float = 1.0,
        pseudo_count: float = 0.0,
        shrink: bool = True,
        ridge: float = 0.0,
    ) -> None:
        super().__init__(
            space,
            components=components,
            covariance=covariance,
            rank=rank,
            floor=floor,
            concentration=concentration,
            pseudo_count=pseudo_count,
            shrink=shrink,
            ridge=ridge,
        )
        if first not in STARTS:
            raise unknown("way to start", first, STARTS)
        if weights not in WEIGHTS:
            raise unknown("kind of weights", weights, WEIGHTS)
        if n_init < 1:
            raise LikelyError(f"n_init must be 1 or more, not {n_init}.")
        self.first, self.n_init, self.sparse = first, n_init, weights == "sparse"

    @final
    def responsibilities(self, x: Any) -> Tensor:
        """Return the probability that component k made row n, r_nk = w_k p_k(x_n) / p(x_n), (B, K).

        Arguments:
            x: values of the space, (B, *shape); NaN entries are integrated out.

        Raises:
            SpaceError: x is not of the space.
            LikelyError: a row is so far away that no number is left of any component's density.
        """
        x, _ = self._given(x, None, missing=True)
        known = ~x.isnan()
        with self._asked():
            return self._by_rows(self._responsibilities, x, None if bool(known.all()) else known)

    def _responsibilities(self, x: Tensor, known: Tensor | None) -> Tensor:
        return self._shares(self._standardise(x), None if known is None else known.reshape(len(x), self.space.size))

    # Where EM starts -----------------------------------------------------------------------------------------------

    def start(self, x: Tensor, cond: Tensor | None = None) -> None:
        """Take the units from these rows, and the means from their clusters; missing entries count as the mean.

        Raises:
            LikelyError: there are more components than rows.
        """
        standard, components = self._set_units(x), len(self.mean)
        if len(standard) < components:
            raise LikelyError(
                f"components={components} needs as many rows, and n_samples={len(standard)}: give fewer components."
            )
        if self.screened:
            covariance = standard.T @ standard / len(standard)
            self.basis = screening.widest(covariance, self.scale, self.basis.shape[1])
        best, kept = -math.inf, dict(self.state_dict())
        for _ in range(self.n_init):
            self._begin(standard)
            if self.n_init == 1:
                break
            for _ in range(TRIAL_PASSES):
                self.m_step(self.e_step(x))
            score = float(self.e_step(x)["log_likelihood"])
            if score > best:
                best, kept = score, {name: value.clone() for name, value in self.state_dict().items()}
        if self.n_init > 1:
            self.load_state_dict(kept)
        if self.sparse:
            self._thin_out(x)

    def _begin(self, standard: Tensor) -> None:
        """Put the components on clusters or rows, with one covariance for all: what is left within the clusters."""
        components = len(self.mean)
        if self.first == "random":
            centres = standard[torch.randperm(len(standard), device=standard.device)[:components]]
        else:
            centres = kmeans.plus_plus(standard, components)
        self.mean, index = kmeans.lloyd(standard, centres, rounds=20 if self.first == "k-means" else 0)
        within = standard - self.mean[index]
        if self.low_rank:
            spread = factors.principal(within, self.factor.shape[2], self.floor, self.covariance == "ppca")
            self.factor = spread.factor.expand_as(self.factor).clone()
            self.noise = spread.noise.expand_as(self.noise).clone()
        else:
            flat = self.whitening.dim() == 2
            common = within.square().mean(0, keepdim=True) if flat else (within.T @ within / len(within))[None]
            rows, variance = self._prior(len(within))
            if not flat and rows:  # as if each component had its share of the rows
                own = len(within) / (1 if self.covariance == "tied" else components)
                common = (common * own + rows * variance * torch.eye(common.shape[1]).to(common)) / (own + rows)
            whitening = gaussians.best_whitening(common, self.covariance, self.floor, self.rank)
            self.whitening = whitening.expand_as(self.whitening).clone()
        # One row more for each component, so that an empty cluster starts with some weight.
        count = index.bincount(minlength=components).double() + 1
        self.weight = count / count.sum()

    # Sparse weights ------------------------------------------------------------------------------------------------

    def _price(self) -> float:
        """Return T/2: how many rows a component must explain to be worth its T free numbers."""
        own = 0 if self.covariance == "tied" else self._free_covariance
        return (self.space.size + own) / 2

    def _weights(self, mass: Tensor) -> Tensor:
        if not self.sparse:
            return super()._weights(mass)
        count = (mass - self._price()).maximum(0.01 * mass)
        return count / count.sum()

    def _thin_out(self, x: Tensor) -> None:
        """Take away the lightest component, again and again, and keep the mixture that needs the fewest nats.

        That is -log p(x) + sum_k T/2 log N_k + (K - 1)/2 log N, the Laplace approximation of minus the log-evidence,
        over the K components that are left: T numbers each, learned from N_k = w_k N rows.
        """
        numbers = 2 * self._price()
        best, kept = math.inf, dict(self.state_dict())
        for _ in range(len(self.mean)):
            before = -math.inf
            for _ in range(SPARSE_PASSES):
                stats = self.e_step(x)
                now = float(stats["log_likelihood"])
                starved = bool((stats["mass"][self.weight > 0] <= self._price()).any())
                if now - before < 1e-5 * abs(now) and not starved:
                    break
                before = now
                self.m_step(stats)
                if starved:
                    self._remove_lightest()
            weight = self.weight[self.weight > 0]
            count, components = float(stats["count"]), len(weight)
            each = numbers / 2 * float((count * weight).clamp(min=1).log().sum())
            length = each + (components - 1) / 2 * math.log(count) - now
            if length < best:
                best, kept = length, {name: value.clone() for name, value in self.state_dict().items()}
            if components == 1:
                break
            self._remove_lightest()
        self.load_state_dict(kept)

    def _remove_lightest(self) -> None:
        alive = self.weight > 0
        if int(alive.sum()) > 1:
            weight = self.weight.clone()
            weight[int(torch.where(alive, weight, 2).argmin())] = 0
            self.weight = weight / weight.sum()


def choose(
    x: Any, components: Iterable[int] = range(1, 11), *, criterion: str = "bic", weight: Any = None, **given: Any
) -> criteria.Choice:
    """Fit a mixture with each number of components and return the one with the lowest BIC or AIC.

    BIC = P log N - 2 log p(x) and AIC = 2 P - 2 log p(x), P the free numbers.

    Arguments:
        x: reals, (N, *shape); NaN stands for a missing value.
        components: which numbers to try.
        criterion: bic or aic.
        weight: how much each row counts, (N,).
        given: numbers of the mixture (covariance, floor, n_init, ...) and options of the fit (passes, tolerance, seed).

    Returns:
        model, components, and scores: the criterion of each number tried.

    Raises:
        SpaceError: x is no array of reals.
        UnknownName: there is no such criterion.

    Example:
        >>> import torch
        >>> x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
        >>> x[:100] += 9
        >>> choose(x, range(1, 5), seed=0).components
        2
    """
    try:
        values = torch.as_tensor(x)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SpaceError(f"x must be an array of reals, (N, *shape) ({error}).") from None
    if not values.is_floating_point() or values.dim() < 1:
        raise SpaceError("x must be an array of reals, (N, *shape).")
    space = Real(tuple(values.shape[1:]))
    options = {name: given.pop(name) for name in ("passes", "tolerance", "batch", "seed") if name in given}
    weight = None if weight is None else counts_of(weight, len(values))
    part = Part(space.check(values, missing=True), None, weight)
    return criteria.choose(lambda k: GMM(space, components=k, **given), part, components, criterion, **options)


def build(
    space: Space,
    cond: Space | None = None,
    *,
    components: int = 10,
    covariance: str = "full",
    rank: int = 8,
    floor: float = 1e-4,
    first: str = "k-means",
    n_init: int = 1,
    weights: str = "likeliest",
    concentration: float = 1.0,
    pseudo_count: float = 0.0,
    shrink: bool = True,
    ridge: float = 0.0,
) -> Model:
    """Return a mixture of Gaussians over reals, or its dequantised form over levels; one for each class of cond.

    Arguments:
        components: the number of Gaussians (of each class).
        covariance: full, tied, diagonal, spherical, lowrank (factor analysers) or ppca.
        rank: for lowrank and ppca, the number of directions besides the noise.
        floor: the smallest variance of a component in any direction, as a fraction of the data's variance.
        first: how components start: k-means, k-means++ (its seeds alone) or random (rows).
        n_init: how many starts are tried; the likeliest after a few passes stays.
        weights: likeliest, or sparse (superfluous components vanish).
        concentration: of the Dirichlet prior on the weights; 1 is maximum likelihood.
        pseudo_count: how many imaginary rows of uncorrelated data each component has seen; 0 is maximum likelihood.
        shrink: whether full and tied covariances from fewer than four rows for each dimension see more of them.
        ridge: what is added to each variance in the data's units, as scikit-learn's reg_covar.
    """
    accept(space, Real, Binary, Finite, model="gmm")

    def make(reals: Real) -> GMM:
        return GMM(
            reals,
            components=components,
            covariance=covariance,
            rank=rank,
            floor=floor,
            first=first,
            n_init=n_init,
            weights=weights,
            concentration=concentration,
            pseudo_count=pseudo_count,
            shrink=shrink,
            ridge=ridge,
        )

    return over(space, cond, make)


TINY = (
    {"space": Real((1,)), "components": 2},
    {"space": Real((2,)), "components": 3, "first": "k-means++", "n_init": 2},
    {"space": Real((2,)), "components": 2, "covariance": "tied", "first": "random"},
    {"space": Real((2,)), "components": 2, "covariance": "diagonal", "pseudo_count": 0.01},
    {"space": Real((1, 1, 2)), "components": 2, "covariance": "spherical", "ridge": 0.1},
    {"space": Real((2,)), "components": 2, "covariance": "lowrank", "rank": 1},
    {"space": Real((2,)), "components": 2, "covariance": "ppca", "rank": 1},
    {"space": Real((2,)), "components": 4, "weights": "sparse"},
    {"space": Real((2,)), "cond": Finite((), 2, ordered=False), "components": 2},
    {"space": Binary((2,)), "components": 2},
    {"space": Finite((1, 1, 2), 4), "components": 2, "covariance": "diagonal"},
)

PRESETS = {
    "digits": {"components": 20, "covariance": "ppca", "rank": 8, "passes": 50},
    "mnist": {"components": 50, "covariance": "lowrank", "rank": 64, "passes": 30},
    "binarized-mnist": {"components": 10, "covariance": "ppca", "rank": 32, "passes": 10},
}
