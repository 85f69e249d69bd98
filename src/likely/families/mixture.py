"""Mixtures of Gaussians, of which one Gaussian is the smallest: p(x) = sum_k w_k N(x; mean_k, covariance_k).

Everything that a Gaussian and a mixture share is here: scores, exact marginals and conditionals, sampling, and learning
from sufficient statistics with missing values. Inside, data are centred and scaled by two fixed vectors that `start`
takes from the data, so that neither units nor an offset of 1e8 cost precision, and `floor` means the same for all data.

With a prior, what EM climbs is log p(x) + sum_k (concentration - 1) log w_k - p/2 (log |S_k| + trace(S_k^-1 C)): a
Dirichlet prior on the weights and an inverse Wishart prior on the covariances, as if each component had seen p =
`pseudo_count` rows more, of covariance C: the data's variances, divided by K^(2/D), on the diagonal. So
S_k = (N_k S'_k + p C) / (N_k + p) with S'_k the most likely one. Where a full or tied covariance has n < 4 D rows to
learn from (n = N / K; N for tied), `shrink` adds (4 D - n) / 8 to p: else directions would be as narrow as the floor.
That scores new rows of real tables about as well as shrinking by Ledoit and Wolf's rule, and EM still climbs.

Reference: Fraley and Raftery, Bayesian Regularization for Normal Mixture Estimation and Model-Based Clustering, 2007,
doi.org/10.1007/s00357-007-0004-5.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from likely.core import Completer, Marginal, Statistics
from likely.errors import LikelyError
from likely.parts import factors, gaussians, screening
from likely.parts.counting import check_total
from likely.parts.factors import LowRank
from likely.spaces import Real, batches

#: other names of covariances; what was called low-rank had one noise
ALIASES = {"diag": "diagonal", "low-rank": "ppca", "low_rank": "lowrank"}
NUMBERS_AT_ONCE = 2**22  #: how many numbers of the data the E-step standardises at once,
ROWS_AT_ONCE = 2**14  #: and how many rows


class GaussianMixture(Marginal, Completer, Statistics):
    """A mixture of K Gaussians over reals, with covariances of one kind.

    Arguments:
        space: what one x is: reals.
        components: K, 1 or more.
        covariance: full, tied, diagonal, spherical, lowrank (W W^T and a noise for each entry) or ppca (W W^T and one
            noise for all).
        rank: for lowrank and ppca, the number of columns of W.
        floor: the smallest variance of a component in any direction (of a low rank: the smallest noise), relative to
            the data's: per column, or, for spherical and ppca, to the mean over columns.
        concentration: of the Dirichlet prior on the weights; 1 is none.
        pseudo_count: how many imaginary rows of the data's variances each component has seen.
        shrink: whether full and tied covariances with fewer than four rows for each dimension see more of them.
        ridge: what is added to each variance after each pass, in the data's units.

    Raises:
        LikelyError: a number is out of range.
    """

    completion: ClassVar[str] = "exact"
    autocast: ClassVar[bool] = False
    rows_at_once: ClassVar[int] = 8192
    kinds: ClassVar[tuple[str, ...]] = ("full", "tied", "diagonal", "spherical", "lowrank", "ppca")
    dense: ClassVar[bool] = False  #: whether covariances of low rank are kept as whole matrices

    center: Tensor
    scale: Tensor
    mean: Tensor
    weight: Tensor
    whitening: Tensor  #: (K, D, D), (1, D, D) or (K, D), see `parts.gaussians`; of a low rank there are instead
    factor: Tensor  #: W, (K, D, R), and
    noise: Tensor  #: (K, D)
    basis: Tensor  #: the directions in which components are ruled out first, (D, m), where that pays (`screened`)

    def __init__(
        self,
        space: Real,
        *,
        components: int,
        covariance: str,
        rank: int,
        floor: float,
        concentration: float = 1.0,
        pseudo_count: float = 0.0,
        shrink: bool = True,
        ridge: float = 0.0,
    ) -> None:
        super().__init__(space)
        covariance = ALIASES.get(covariance, covariance)
        if covariance not in self.kinds:
            raise LikelyError(f"covariance must be one of {', '.join(self.kinds)}, not {covariance!r}.")
        if components < 1 or rank < 1:
            raise LikelyError(f"components and rank must be 1 or more, not {components} and {rank}.")
        if not 0 < floor < 1:
            raise LikelyError(f"floor must be between 0 and 1 (a fraction of the data's variance), not {floor}.")
        for name, value in (("concentration", concentration), ("pseudo_count", pseudo_count), ("ridge", ridge)):
            if not 0 <= value < float("inf"):
                raise LikelyError(f"{name} must be a number, 0 or more, not {value}.")
        self.covariance, self.rank, self.floor = covariance, rank, floor
        self.concentration, self.pseudo_count, self.shrink, self.ridge = concentration, pseudo_count, shrink, ridge
        self.low_rank = covariance in ("lowrank", "ppca") and not self.dense
        size, wide = space.size, torch.float64
        self.register_buffer("center", torch.zeros(size, dtype=wide))
        self.register_buffer("scale", torch.ones(size, dtype=wide))
        mean = torch.randn(components, size, dtype=wide)  # components must differ, or EM could never part them
        self.register_buffer("mean", mean if components > 1 else torch.zeros_like(mean))
        if self.low_rank:
            self.register_buffer("factor", 0.1 * torch.randn(components, size, min(rank, max(size, 1)), dtype=wide))
            self.register_buffer("noise", torch.ones(components, size, dtype=wide))
        elif covariance in ("diagonal", "spherical"):
            self.register_buffer("whitening", torch.ones(components, size, dtype=wide))
        else:
            shared = 1 if covariance == "tied" else components
            self.register_buffer("whitening", torch.eye(size, dtype=wide).repeat(shared, 1, 1))
        self.register_buffer("weight", torch.full((components,), 1 / components, dtype=wide))
        self.screened = covariance == "full" and components > 2 and size >= screening.LEAST_SIZE
        if self.screened:
            self.register_buffer("basis", torch.zeros(size, min(128, size // 4), dtype=wide))

    # The parameters in the data's units ----------------------------------------------------------------------------

    @property
    def means(self) -> Tensor:
        """The means in the data's units, (K, *shape)."""
        return (self.center + self.scale * self.mean).reshape(-1, *self.space.shape)

    @property
    def covariances(self) -> Tensor:
        """The covariances in the data's units, (K, D, D)."""
        covariance = factors.covariances(self._spread) if self.low_rank else gaussians.covariances(self.whitening)
        if covariance.dim() == 2:
            covariance = covariance.diag_embed()
        return (covariance * self.scale * self.scale[:, None]).expand(len(self.mean), -1, -1)

    @property
    def weights(self) -> Tensor:
        """The weight of each component, (K,), float64."""
        return self.weight

    @property
    def free_parameters(self) -> int:
        """How many numbers the mixture is free to choose: weights above 0, means and covariances."""
        components, size = int((self.weight > 0).sum()), self.space.size
        shared = self.covariance == "tied"
        each = self._free_covariance
        return components - 1 + components * size + (each if shared else components * each)

    @property
    def _free_covariance(self) -> int:
        size, rank = self.space.size, self.rank
        full = size * (size + 1) // 2
        if self.covariance in ("lowrank", "ppca"):
            # Turning the columns of W among themselves changes nothing.
            low = size * rank - rank * (rank - 1) // 2 + (size if self.covariance == "lowrank" else 1)
            return min(low, full) if rank < size else full
        return {"diagonal": size, "spherical": 1}.get(self.covariance, full)

    @torch.no_grad()
    def put(self, means: Any, covariances: Any, weights: Any = None) -> None:
        """Set the parameters, in the data's units: where EM starts if `start` is not called after it.

        Arguments:
            means: (K, *shape).
            covariances: (K, D, D) or (D, D); for diagonal and spherical ones their diagonals count. None of low rank.
            weights: (K,); None takes equal ones.

        Raises:
            LikelyError: the covariances are of low rank, or not positive definite.
        """
        if self.low_rank:
            raise LikelyError("covariances of low rank cannot be put; set `factor` and `noise`.")
        components, size = self.mean.shape
        wide = torch.as_tensor(means).to(self.mean).reshape(components, size)
        covariance = torch.as_tensor(covariances).to(self.mean)
        covariance = covariance.expand(1 if self.covariance == "tied" else components, size, size)
        diagonal = covariance.diagonal(dim1=1, dim2=2)
        if not bool((torch.linalg.cholesky_ex(covariance).info == 0).all()):
            raise LikelyError("a covariance is not positive definite.")
        self.center, self.scale = wide.mean(0), diagonal.mean(0).sqrt()
        self.mean = (wide - self.center) / self.scale
        standard = covariance / self.scale / self.scale[:, None]
        flat = self.whitening.dim() == 2
        kind = "diagonal" if flat else "full"
        found = standard.diagonal(dim1=1, dim2=2) if flat else standard
        self.whitening = gaussians.best_whitening(found, kind, 1e-300, 1)
        equal = torch.full_like(self.weight, 1 / components)
        self.weight = equal if weights is None else torch.as_tensor(weights).to(equal) / float(sum(weights))
        if self.screened:
            total = (self.weight[:, None, None] * standard).sum(0) + (self.weight[:, None] * self.mean).T @ self.mean
            self.basis = screening.widest(total, self.scale, self.basis.shape[1])

    @property
    def _spread(self) -> LowRank:
        return LowRank(self.factor, self.noise)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        """Also load what an earlier version saved, which had no `basis`."""
        if self.screened:
            state_dict.setdefault(f"{prefix}basis", self.basis)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _standardise(self, x: Tensor) -> Tensor:
        """Return x centred, scaled and flat, (B, D); subtracted in float64, so that a large offset costs nothing.

        One Gaussian stays in float64; a mixture computes in the data's own precision.
        """
        x = x.reshape(len(x), self.space.size)
        if len(self.mean) > 1 and x.dtype == torch.float32 and self._scale_is_narrow():
            # The first difference of float32 numbers is rounded by 2^-24 of itself: nothing of an offset is lost.
            near = self.center.float()
            rest, scale = (self.center - near).float(), self.scale.float()
            return (x - near).sub_(rest).div_(scale)
        standard = (x.double() - self.center).div_(self.scale)
        return standard if len(self.mean) == 1 else standard.to(x.dtype)

    def _scale_is_narrow(self) -> bool:
        """Whether center and scale are far from the largest and smallest numbers that float32 knows."""
        low, high = self.scale.aminmax() if len(self.scale) else (self.scale.new_ones(()),) * 2
        return bool((low > 1e-30) & (high < 1e30) & (self.center.abs() < 1e30).all())

    def _restore(self, standard: Tensor) -> Tensor:
        return (self.center + self.scale * standard).reshape(-1, *self.space.shape)

    # Scores --------------------------------------------------------------------------------------------------------

    def _screen(self) -> screening.Screen | None:
        """Return what rules components out, or None where that does not pay."""
        components, size = self.mean.shape
        expands = self.covariance == "full" and screening.expands(components, size, self.device)
        if not (expands or (self.screened and bool(self.basis.any()))) or self._all_alike():
            return None
        if expands:
            return screening.expand(self.mean, self.whitening)
        return screening.project(self.mean, self.whitening, self.basis)

    def _all_alike(self) -> bool:
        """Whether many components have one large covariance, as when EM starts."""
        first, rest = self.whitening[0], self.whitening[1:]
        if not len(rest) or len(first) < screening.FEW:
            return False
        return bool((rest[0] == first).all()) and bool((rest == first).all())

    def _log_joint(self, standard: Tensor, known: Tensor | None, screen: screening.Screen | None = None) -> Tensor:
        """Return log w_k + log p_k(x), (B, K), in the data's units."""
        units = self.scale.log().sum() if known is None else (known.double() @ self.scale.log())[:, None]
        log_weight = self.weight.log()
        if screen is not None and known is None:
            return screening.log_joint(standard, self.mean, self.whitening, log_weight, screen) - units
        if self.low_rank:
            density = (
                factors.log_density(standard, self.mean, self._spread)
                if known is None
                else factors.log_density_of_known(standard, known, self.mean, self._spread)
            )
        elif known is None:
            alike = self.whitening.dim() == 3 and self._all_alike()  # then one product is enough
            density = gaussians.log_density(standard, self.mean, self.whitening[:1] if alike else self.whitening)
        else:
            density = gaussians.log_density_of_known(standard, known, self.mean, self.whitening)
        return density + (log_weight - units).to(density.dtype)

    def _shares(self, standard: Tensor, known: Tensor | None) -> Tensor:
        """Return the probability that component k made row n, (B, K).

        Raises:
            LikelyError: a row is so far away that no number is left of any component's density.
        """
        joint = self._log_joint(standard, known)
        lost = ~joint.amax(1).isfinite()
        if bool(lost.any()):
            row = int(lost.nonzero()[0, 0])
            raise LikelyError(f"what is known of row {row} is too far from every component to say which made it.")
        return joint.softmax(1)

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        screen = None if x.requires_grad else self._screen()
        return self._log_joint(self._standardise(x), None, screen).logsumexp(1).to(x.dtype)

    def _log_marginal(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        return self._log_joint(self._standardise(x), known.reshape(len(x), self.space.size)).logsumexp(1).to(x.dtype)

    # Draws ---------------------------------------------------------------------------------------------------------

    def _sample(self, n: int, cond: Tensor | None) -> Tensor:
        which = torch.multinomial(self.weight, n, replacement=True)
        if self.low_rank:
            drawn = factors.draw(which, self.mean, self._spread)
        else:
            drawn = gaussians.draw(which, self.mean, self.whitening)
        return self._restore(drawn).to(self.space.dtype)

    def _complete(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        standard, mask = self._standardise(x), known.reshape(len(x), self.space.size)
        which = torch.multinomial(self._shares(standard, mask), 1)[:, 0]
        if self.low_rank:
            drawn = factors.draw_given_known(standard, mask, which, self.mean, self._spread)
        else:
            drawn = gaussians.draw_given_known(standard, mask, which, self.mean, self.whitening)
        return self._restore(drawn).to(x.dtype)

    # Learning ------------------------------------------------------------------------------------------------------

    def _set_units(self, x: Tensor) -> Tensor:
        """Take center and scale from the data, and return the data standardised, with 0 at missing entries."""
        x = self.space.check(x, missing=True).to(self.device)
        if not len(x):
            raise LikelyError(f"{self._who()} needs at least one row to start from.")
        wide = x.reshape(len(x), self.space.size).double()
        known = ~wide.isnan()
        count = known.sum(0).clamp(min=1)
        self.center = torch.where(known, wide, 0).sum(0) / count
        wide = torch.where(known, wide - self.center, 0)
        variance = wide.square().sum(0) / count
        # The mean of equal numbers is right to about 1e-16 of their size: what is below is a constant column.
        moves = variance.sqrt() > 1e-13 * self.center.abs()
        typical = variance[moves].mean() if bool(moves.any()) else torch.ones((), dtype=wide.dtype)
        if self.covariance in ("spherical", "ppca"):
            variance = typical.expand_as(variance)
        self.scale = torch.where(moves, variance, typical).sqrt().clone()
        if not bool(torch.isfinite(self.scale).all()):
            raise LikelyError("the data's variances overflow: rescale the data, or look for entries beyond 1e150.")
        return wide / self.scale

    def _e_step(self, x: Tensor, cond: Tensor | None, known: Tensor | None, weight: Tensor) -> dict[str, Tensor]:
        stats = {
            "count": weight.sum(dtype=torch.float64),
            "log_likelihood": self.mean.new_zeros(()),
            "mass": torch.zeros_like(self.weight),
        }
        screen = self._screen() if known is None else None
        most = max(256, NUMBERS_AT_ONCE // max(1, self.space.size, 4 * len(self.mean)))
        most = min(most, ROWS_AT_ONCE) if known is None else self.rows_at_once
        evenly = -(-len(x) // -(-len(x) // most)) if len(x) else 1
        cuts = list(batches(len(x), evenly)) or [slice(0, 0)]
        for cut in cuts:
            standard = self._standardise(x[cut])
            mask = None if known is None else known[cut].reshape(len(standard), self.space.size)
            joint = self._log_joint(standard, mask, screen)
            top = joint.amax(1, keepdim=True)
            # exp is slow where it underflows, and e^-80 is nothing beside 1.
            share = (joint - top).clamp_(min=-80).exp_()
            total = share.sum(1, keepdim=True)
            stats["log_likelihood"] += (top + total.log())[:, 0].double() @ weight[cut].double()
            share = share.mul_(weight[cut, None].to(share.dtype) / total).to(standard.dtype)
            stats["mass"] += share.sum(0, dtype=torch.float64)
            for name, value in self._moments(standard, mask, share).items():
                stats[name] = stats[name].add_(value) if name in stats else value
        return stats

    def _moments(self, standard: Tensor, mask: Tensor | None, share: Tensor) -> dict[str, Tensor]:
        if self.low_rank:
            if mask is None:
                return factors.moments(standard, share, self.mean, self._spread)
            return factors.expected_moments(standard, mask, share, self.mean, self._spread)
        if mask is None:
            first, second = gaussians.moments(standard, share, self.mean, self.whitening)
        else:
            first, second = gaussians.expected_moments(standard, mask, share, self.mean, self.whitening)
        return {"first": first, "second": second}

    def _prior(self, count: float) -> tuple[float, float]:
        """Return how many imaginary rows each component has seen, of how many all are, and of what variance."""
        rows, size = self.pseudo_count, self.space.size
        if self.shrink and self.covariance in ("full", "tied"):
            own = count if self.covariance == "tied" else count / len(self.mean)
            rows += max(0.0, 4 * size - own) / 8
        return rows, len(self.mean) ** (-2 / max(1, size))

    def log_prior(self, count: float) -> Tensor:
        """Return the log-density of the parameters, up to a constant: what EM adds to the likelihood and climbs.

        Arguments:
            count: how many rows there are (the sum of weights), on which `shrink` depends.
        """
        rows, variance = self._prior(count)
        # A variance is that of standard units: in which units is a constant.
        if self.low_rank:
            spread = self.noise.log() + variance / self.noise
        elif self.whitening.dim() == 2:
            spread = variance * self.whitening.square() - 2 * self.whitening.log()
        else:
            spread = variance * self.whitening.square().sum(2) - 2 * self.whitening.diagonal(dim1=1, dim2=2).log()
        dirichlet = (self.concentration - 1) * self.weight.clamp(min=1e-300).log().sum()
        return dirichlet - 0.5 * rows * spread.sum()

    @torch.no_grad()
    def m_step(self, stats: dict[str, Tensor]) -> None:
        """Set the parameters to the most probable ones for these statistics, under the floor on the variances.

        The second moments were taken about the present means, which are near the new ones, so that the shift
        S/N - d d^T does not cancel. A component that lost all its rows is set beside the heaviest one, which it halves.

        Raises:
            LikelyError: the weights sum to 0, or numbers overflow.
        """
        count = stats["count"]
        check_total(count)
        mass = stats["mass"]
        alive = mass > 1e-6 * count / len(mass)
        safe = torch.where(alive, mass, 1.0)
        prior = self._prior(float(count))
        if self.low_rank:
            self._set_low_rank(stats, safe, alive, prior)
        else:
            self._set_dense(stats, safe, alive, prior)

    def _set_dense(self, stats: dict[str, Tensor], safe: Tensor, alive: Tensor, prior: tuple[float, float]) -> None:
        rows, variance = prior
        mass, count = torch.where(alive, stats["mass"], 0), stats["count"]
        shift = torch.where(alive[:, None], stats["first"] / safe[:, None], 0)
        mean = self.mean + shift
        seen = (count if self.covariance == "tied" else safe) + rows
        if self.whitening.dim() == 2:
            covariance = (stats["second"] - safe[:, None] * shift.square()).clamp(min=0) + rows * variance
            covariance = covariance / seen[:, None] + self.ridge / self.scale.square()
        else:
            if self.covariance == "tied":
                covariance = (stats["second"] - (mass[:, None] * shift).T @ shift) / seen
            else:
                own = stats["second"] - (safe[:, None] * shift)[:, :, None] * shift[:, None, :]
                covariance = own / seen[:, None, None]
            # (K, D): what is added to the diagonals
            more = rows * variance / seen.reshape(-1, 1) + self.ridge / self.scale.square()
            covariance.diagonal(dim1=1, dim2=2).add_(more)
        for k in self._lost(alive):
            gaussians.split(k, int(mass.argmax()), mass, mean, covariance)
        if self.covariance == "lowrank":
            covariance = factors.covariances(factors.analyse(covariance, self.rank, self.floor))
        self.whitening = gaussians.best_whitening(covariance, self.covariance, self.floor, self.rank)
        self.mean, self.weight = mean, self._weights(mass)

    def _set_low_rank(self, stats: dict[str, Tensor], safe: Tensor, alive: Tensor, prior: tuple[float, float]) -> None:
        mass = torch.where(alive, stats["mass"], 0)
        # A component without rows takes part with statistics that leave it where it is, until it is put elsewhere.
        identity = torch.eye(stats["latent"].shape[1], dtype=mass.dtype, device=mass.device)
        latent = torch.where(alive[:, None, None], stats["latent"], identity)
        moments = {"latent": latent, "cross": stats["cross"], "square": stats["square"]}
        one_noise = self.covariance == "ppca"
        mean, (factor, noise) = factors.update(moments, safe, self.mean, self.floor, prior, one_noise)
        if not bool(noise.isfinite().all() & factor.isfinite().all()):
            raise LikelyError("the data's variances overflow: rescale the data, or look for entries beyond 1e150.")
        if self.ridge:
            noise = noise + self.ridge / self.scale.square()
        for k in self._lost(alive):
            factors.split(k, int(mass.argmax()), mass, mean, factor, noise)
        self.mean, self.factor, self.noise, self.weight = mean, factor, noise, self._weights(mass)

    def _lost(self, alive: Tensor) -> list[int]:
        """Return the components that lost all rows; those that a sparse prior took away stay away."""
        found: list[int] = (~alive & (self.weight > 0)).nonzero()[:, 0].tolist()
        return found

    def _weights(self, mass: Tensor) -> Tensor:
        """Return the mode of the weights' posterior, Dirichlet(concentration + N): those it makes negative are 0."""
        count = (mass + self.concentration - 1).clamp(min=0)
        count = count if bool(count.any()) else mass
        return count / count.sum()
