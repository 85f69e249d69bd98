"""Gaussians, and mixtures of them, as what the hidden state of a Markov model emits."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from likely.errors import LikelyError
from likely.families.emissions import WIDE, Emission
from likely.parts import gaussians, kmeans
from likely.parts.recursions import pick
from likely.parts.threads import crossed
from likely.spaces import batches

NEAR = 1 << 15  #: how many numbers are worked on at once, so that what is computed from them stays near the processor


class Gaussians(Emission):
    """A mixture of M Gaussians for each state; one for M = 1.

    The covariances are full, tied (one for all states), diagonal or spherical, and no direction has less variance than
    `floor` times the data's: a constraint of the maximisation, as for `gmm`.
    """

    KINDS = ("full", "tied", "diagonal", "spherical")

    center: Tensor
    scale: Tensor
    mixture: Tensor  #: weight of each component within its state, (K, M)
    location: Tensor  #: means in the data's standard units, (K * M, D)
    whitening: Tensor

    def __init__(self, states: int, size: int, components: int, covariance: str, floor: float) -> None:
        super().__init__(states, size)
        if covariance not in self.KINDS:
            raise LikelyError(f"covariance must be one of {', '.join(self.KINDS)}, not {covariance!r}.")
        self.components, self.covariance, self.floor = components, covariance, floor
        both = states * components
        self.register_buffer("center", torch.zeros(size, dtype=WIDE))
        self.register_buffer("scale", torch.ones(size, dtype=WIDE))
        self.register_buffer("mixture", torch.full((states, components), 1 / components, dtype=WIDE))
        self.register_buffer("location", torch.randn(both, size, dtype=WIDE))
        self.register_buffer("whitening", self._spread(torch.ones(both, size, dtype=WIDE)))

    def _spread(self, variance: Tensor) -> Tensor:
        """Return the whitening for these variances, (K * M, D), in the shape of the kind."""
        if self.covariance in ("diagonal", "spherical"):
            return variance.rsqrt()
        return variance.rsqrt().diag_embed()[: 1 if self.covariance == "tied" else None].clone()

    @property
    def free_parameters(self) -> int:
        both, d = self.states * self.components, self.size
        spread = {"full": both * d * (d + 1) // 2, "tied": d * (d + 1) // 2, "diagonal": both * d, "spherical": both}
        return both * d + spread[self.covariance] + self.states * (self.components - 1)

    @property
    def products(self) -> int:
        """How many multiplications a step costs, about."""
        return self.whitening.numel() if self.covariance == "full" else len(self.location) * self.size

    @property
    def means(self) -> Tensor:
        """The means in the data's units, (K, M, D)."""
        return (self.center + self.scale * self.location).reshape(self.states, self.components, self.size)

    @property
    def covariances(self) -> Tensor:
        """The covariances in the data's units, (K, M, D, D)."""
        own = gaussians.covariances(self.whitening)
        own = (own.diag_embed() if own.dim() == 2 else own) * self.scale * self.scale[:, None]
        return own.expand(len(self.location), -1, -1).reshape(self.states, self.components, self.size, self.size)

    def put(self, means: Tensor, covariances: Tensor, mixture: Tensor | None = None) -> None:
        """Set means (K, M, D), covariances (K, M, D, D) and, where M is above 1, the weights (K, M)."""
        size = self.size
        self.center, self.scale = torch.zeros_like(self.center), torch.ones_like(self.scale)
        self.location = means.to(self.location).reshape(-1, size).clone()
        wide = covariances.to(self.location).reshape(-1, size, size)
        if self.covariance in ("diagonal", "spherical"):
            self.whitening = wide.diagonal(dim1=1, dim2=2).rsqrt().clone()
        else:
            wide = wide[:1] if self.covariance == "tied" else wide
            self.whitening = gaussians.best_whitening(wide, "full", 1e-300, 1)
        if mixture is not None:
            self.mixture = mixture.to(self.mixture).clone()

    def start(self, x: Tensor, known: Tensor) -> None:
        """Take the units from these steps, and the means from their clusters, clustered again for mixtures."""
        x = x.double()
        count = known.sum(0).clamp(min=1)
        self.center = torch.where(known, x, 0).sum(0) / count
        standard = torch.where(known, x - self.center, 0)
        variance = standard.square().sum(0) / count
        # The mean of equal numbers is right to about 1e-16 of their size: what is below is a constant column.
        moves = variance.sqrt() > 1e-13 * self.center.abs()
        typical = variance[moves].mean() if bool(moves.any()) else torch.ones((), dtype=WIDE)
        variance = typical.expand_as(variance) if self.covariance == "spherical" else variance
        self.scale = torch.where(moves, variance, typical).sqrt().clone()
        if not bool(torch.isfinite(self.scale).all()):
            raise LikelyError("the data's variances overflow: rescale the data, or look for entries beyond 1e150.")
        standard = standard / self.scale
        centres, index = kmeans.lloyd(standard, kmeans.plus_plus(standard, self.states))
        if self.components > 1:
            parts = [standard[index == k] if bool((index == k).any()) else standard for k in range(self.states)]
            centres = torch.cat([kmeans.lloyd(p, kmeans.plus_plus(p, self.components))[0] for p in parts])
            index = kmeans.squared_distances(standard, centres).argmin(1)
        self.location = centres
        within = (standard - centres[index]).square().mean(0)
        if self.covariance == "spherical":
            within = within.mean().expand_as(within)
        self.whitening = self._spread(within.clamp(min=self.floor).expand_as(centres).contiguous())
        self.mixture = torch.full_like(self.mixture, 1 / self.components)

    def _standardise(self, x: Tensor) -> Tensor:
        """Return x in standard units; subtracted in float64, so that offsets cost nothing.

        It comes back in x's precision where covariances are dense and the products with them dear.
        """
        standard = x.to(WIDE, copy=True).sub_(self.center).div_(self.scale)
        return standard if self.whitening.dim() == 2 else standard.to(x.dtype)

    def _log_joint(self, standard: Tensor, known: Tensor | None) -> Tensor:
        """Return log p(x_n, component | state), (N, K, M)."""
        if self.whitening.dim() == 2:
            density = self._log_density_of_diagonal(standard, known).T
            units = self.scale.log().sum() if known is None else (known.double() @ self.scale.log())[:, None]
        elif known is None:
            density = gaussians.log_density(standard, self.location, self.whitening)
            units = self.scale.log().sum()
        else:
            density = gaussians.log_density_of_known(standard, known, self.location, self.whitening)
            units = (known.double() @ self.scale.log())[:, None]
        joint = density.add_((self.mixture.flatten().log() - units).to(density.dtype))
        return joint.reshape(-1, self.states, self.components)

    def _log_density_of_diagonal(self, x: Tensor, known: Tensor | None, terms: list[Tensor] | None = None) -> Tensor:
        """Return log N(x; location, diagonal covariance) in standard units, (K * M, N), in float64.

        The square is expanded, which cancels; float64 leaves that an error of about 1e-16 location^2 / variance.
        """
        constant, plain, square = terms or self._terms()
        if known is None:
            density = torch.addmm(constant.sum(1, keepdim=True), plain, x.T)
        else:
            x = torch.where(known, x, 0)
            density = (constant @ known.to(WIDE).T).addmm_(plain, x.T)
        return density.addmm_(square, x.square().T)

    def _terms(self) -> list[Tensor]:
        """Return what log N(x) is made of where covariances are diagonal: c + b x + a x^2, each (K * M, D)."""
        precision = self.whitening.square()
        constant = self.whitening.log() - (precision * self.location.square() + gaussians.LOG_TWO_PI) / 2
        return [constant, precision * self.location, precision / -2]

    def likelihood(self, x: Tensor, known: Tensor | None, out: Tensor) -> tuple[Tensor, Tensor]:
        """Work on one row for each state, where the largest is found several times faster."""
        if self.whitening.dim() > 2 or self.components > 1 or known is not None:
            return super().likelihood(x, known, out)
        scale = torch.empty(len(x), dtype=WIDE, device=x.device)
        terms = self._terms()
        for rows in self._together(len(x), None):
            density = self._log_density_of_diagonal(self._standardise(x[rows]), None, terms)
            torch.amax(density, 0, out=scale[rows])
            out[rows] = density.sub_(scale[rows]).to(out.dtype).exp_().T
        return out, scale.sub_(self.scale.log().sum())[:, None]

    def log_density(self, x: Tensor, known: Tensor | None, dtype: torch.dtype) -> Tensor:
        found = torch.empty(len(x), self.states, dtype=dtype, device=x.device)
        for rows in self._together(len(x), known):
            joint = self._log_joint(self._standardise(x[rows]), None if known is None else known[rows])
            found[rows] = joint[:, :, 0] if self.components == 1 else joint.logsumexp(2)
        return found

    def _together(self, n: int, known: Tensor | None) -> Iterator[slice]:
        """Yield the steps to work on at once: few, but all where each distinct mask costs a factorisation."""
        if known is not None and self.whitening.dim() > 2:
            return batches(n, n or 1)
        return batches(n, max(64, NEAR // max(len(self.location), self.size)))

    def draw(self, state: Tensor) -> Tensor:
        which = state * self.components + pick(self.mixture[state])
        return self.center + self.scale * gaussians.draw(which, self.location, self.whitening)

    def draw_given_known(self, x: Tensor, known: Tensor, state: Tensor) -> Tensor:
        standard = self._standardise(x)
        rows = torch.arange(len(x), device=x.device)
        component = pick(self._log_joint(standard, known)[rows, state].double().softmax(1))
        which = state * self.components + component
        drawn = gaussians.draw_given_known(standard, known, which, self.location, self.whitening)
        return self.center + self.scale * drawn

    def statistics(self, x: Tensor, known: Tensor | None, share: Tensor) -> dict[str, Tensor]:
        total: dict[str, Tensor] = {}
        for rows in list(self._together(len(x), known)) or [slice(0, 0)]:
            mask = None if known is None else known[rows]
            for name, value in self._moments(self._standardise(x[rows]), mask, share[rows]).items():
                total[name] = total[name] + value if name in total else value
        if self.whitening.dim() > 2:
            return total
        # about the present means, so that nothing cancels when the new ones are found
        mass = total["mass"]
        plain, seen = total["plain"].T, total["seen"].T if known is not None else mass[:, None]
        second = total["square"].T - 2 * self.location * plain + seen * self.location.square()
        if known is not None:  # what is not known counts with its variance
            second = second + (mass[:, None] - seen) * gaussians.covariances(self.whitening)
        return {"mass": mass, "first": plain - seen * self.location, "second": second}

    def _moments(self, standard: Tensor, known: Tensor | None, share: Tensor) -> dict[str, Tensor]:
        """Return sums over a few steps: weights, and moments about the present means; about 0 if they are diagonal."""
        if self.components > 1:
            within = self._log_joint(standard, known).softmax(2)
            share = (share[:, :, None] * within).reshape(-1, len(self.location))
        share = share.to(standard.dtype)
        mass = share.sum(0, dtype=WIDE)
        if self.whitening.dim() == 2:
            if known is None:
                return {"mass": mass, "plain": crossed(standard, share), "square": crossed(standard.square(), share)}
            standard, here = torch.where(known, standard, 0), known.to(WIDE)
            sums = {"plain": crossed(standard, share), "square": crossed(standard.square(), share)}
            return {"mass": mass, "seen": crossed(here, share), **sums}
        if known is None:
            first, second = gaussians.moments(standard, share, self.location, self.whitening)
        else:
            first, second = gaussians.expected_moments(standard, known, share, self.location, self.whitening)
        return {"mass": mass, "first": first, "second": second}

    def maximise(self, stats: dict[str, Tensor]) -> None:
        """Set the most likely parameters; second moments were taken about the present means, so nothing cancels."""
        mass = stats["mass"]
        alive = mass > 1e-10 * mass.sum() / len(mass)
        safe = torch.where(alive, mass, 1.0)[:, None]
        shift = torch.where(alive[:, None], stats["first"] / safe, 0)
        if self.covariance == "tied":
            covariance = (stats["second"] - (mass[:, None] * shift).T @ shift) / mass.sum()
        else:
            covariance = gaussians.covariances(self.whitening)
            if self.whitening.dim() == 2:
                found = (stats["second"] / safe - shift.square()).clamp(min=0)
                covariance = torch.where(alive[:, None], found, covariance)
            else:
                found = stats["second"] / safe[:, :, None] - shift[:, :, None] * shift[:, None, :]
                covariance = torch.where(alive[:, None, None], found, covariance)
        self.whitening = gaussians.best_whitening(covariance, self.covariance, self.floor, 1)
        self.location = self.location + shift
        if self.components > 1:
            mass = mass.reshape(self.states, self.components)
            spent = mass.sum(1, keepdim=True) > 0
            self.mixture = torch.where(spent, mass / torch.where(spent, mass.sum(1, keepdim=True), 1), self.mixture)

    def mean(self) -> Tensor:
        """Return the mean of each state in the data's units, (K, D)."""
        return (self.mixture[:, :, None] * self.means).sum(1)
