"""Mixtures of Gaussians, of which one Gaussian is the smallest: p(x) = sum_k w_k N(x; mean_k, covariance_k).

Everything that a Gaussian and a mixture share is here: scores, exact marginals and conditionals, sampling, and learning
from sufficient statistics with missing values. Inside, data are centred and scaled by two fixed vectors that `start`
takes from the data, so that neither units nor an offset of 1e8 cost precision, and `floor` means the same for all data.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from likely.core import Completer, Marginal, Model, Statistics
from likely.errors import LikelyError
from likely.families.dequantized import dequantized
from likely.parts import gaussians
from likely.spaces import Binary, Finite, Real, Space, batches

#: how far, in standard deviations, the two halves of a split component are set from its mean
SPLIT = 0.1


class GaussianMixture(Marginal, Completer, Statistics):
    """A mixture of K Gaussians over reals, with covariances of one kind.

    Arguments:
        space: what one x is: reals.
        components: K, 1 or more.
        covariance: full, tied, diagonal, spherical or low-rank.
        rank: for low-rank, the number of directions besides the isotropic noise.
        floor: the smallest variance of a component in any direction, relative to the data's: per column, or, for
            spherical and low-rank, whose noise is one number in the data's units, to the mean over columns.

    Raises:
        LikelyError: a number is out of range.
    """

    completion: ClassVar[str] = "exact"
    autocast: ClassVar[bool] = False
    rows_at_once: ClassVar[int] = 8192
    kinds: ClassVar[tuple[str, ...]] = ("full", "tied", "diagonal", "spherical", "low-rank")

    center: Tensor
    scale: Tensor
    mean: Tensor
    whitening: Tensor
    weight: Tensor

    def __init__(self, space: Real, *, components: int, covariance: str, rank: int, floor: float) -> None:
        super().__init__(space)
        if covariance not in self.kinds:
            raise LikelyError(f"covariance must be one of {', '.join(self.kinds)}, not {covariance!r}.")
        if components < 1 or rank < 1:
            raise LikelyError(f"components and rank must be 1 or more, not {components} and {rank}.")
        if not 0 < floor < 1:
            raise LikelyError(f"floor must be between 0 and 1 (a fraction of the data's variance), not {floor}.")
        self.covariance = covariance
        self.rank = rank
        self.floor = floor
        size, wide = space.size, torch.float64
        self.register_buffer("center", torch.zeros(size, dtype=wide))
        self.register_buffer("scale", torch.ones(size, dtype=wide))
        mean = torch.randn(components, size, dtype=wide)  # components must differ, or EM could never part them
        self.register_buffer("mean", mean if components > 1 else torch.zeros_like(mean))
        if covariance in ("diagonal", "spherical"):
            whitening = torch.ones(components, size, dtype=wide)
        else:
            whitening = torch.eye(size, dtype=wide).repeat(1 if covariance == "tied" else components, 1, 1)
        self.register_buffer("whitening", whitening)
        self.register_buffer("weight", torch.full((components,), 1 / components, dtype=wide))

    # The parameters in the data's units ----------------------------------------------------------------------------

    @property
    def means(self) -> Tensor:
        """The means in the data's units, (K, *shape)."""
        return (self.center + self.scale * self.mean).reshape(-1, *self.space.shape)

    @property
    def covariances(self) -> Tensor:
        """The covariances in the data's units, (K, D, D)."""
        covariance = gaussians.covariances(self.whitening)
        if covariance.dim() == 2:
            covariance = covariance.diag_embed()
        return (covariance * self.scale * self.scale[:, None]).expand(len(self.mean), -1, -1)

    def _standardise(self, x: Tensor) -> Tensor:
        """Return x centred, scaled and flat, (B, D); subtracted in float64, so that a large offset costs nothing.

        One Gaussian stays in float64; a mixture computes in the data's own precision.
        """
        standard = (x.reshape(len(x), self.space.size).double() - self.center) / self.scale
        return standard if len(self.mean) == 1 else standard.to(x.dtype)

    def _restore(self, standard: Tensor) -> Tensor:
        return (self.center + self.scale * standard).reshape(-1, *self.space.shape)

    # Scores --------------------------------------------------------------------------------------------------------

    def _log_joint(self, standard: Tensor, known: Tensor | None) -> Tensor:
        """Return log w_k + log p_k(x), (B, K), in the data's units."""
        if known is None:
            density = gaussians.log_density(standard, self.mean, self.whitening)
            units = self.scale.log().sum()
        else:
            density = gaussians.log_density_of_known(standard, known, self.mean, self.whitening)
            units = (known.double() @ self.scale.log())[:, None]
        return density + (self.weight.log() - units).to(density.dtype)

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        return self._log_joint(self._standardise(x), None).logsumexp(1).to(x.dtype)

    def _log_marginal(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        return self._log_joint(self._standardise(x), known.reshape(len(x), self.space.size)).logsumexp(1).to(x.dtype)

    # Draws ---------------------------------------------------------------------------------------------------------

    def _sample(self, n: int, cond: Tensor | None) -> Tensor:
        which = torch.multinomial(self.weight, n, replacement=True)
        return self._restore(gaussians.draw(which, self.mean, self.whitening)).to(self.space.dtype)

    def _complete(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        standard, mask = self._standardise(x), known.reshape(len(x), self.space.size)
        which = torch.multinomial(self._log_joint(standard, mask).softmax(1), 1)[:, 0]
        return self._restore(gaussians.draw_given_known(standard, mask, which, self.mean, self.whitening)).to(x.dtype)

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
        if self.covariance in ("spherical", "low-rank"):
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
            "first": torch.zeros_like(self.mean),
            "second": torch.zeros_like(self.whitening),
        }
        for cut in batches(len(x), self.rows_at_once):
            standard = self._standardise(x[cut])
            mask = None if known is None else known[cut].reshape(len(standard), self.space.size)
            joint = self._log_joint(standard, mask)
            each = joint.logsumexp(1, keepdim=True)
            share = (joint - each).exp() * weight[cut, None].to(joint.dtype)
            if mask is None:
                first, second = gaussians.moments(standard, share, self.mean, self.whitening)
            else:
                first, second = gaussians.expected_moments(standard, mask, share, self.mean, self.whitening)
            stats["log_likelihood"] += each[:, 0].double() @ weight[cut].double()
            stats["mass"] += share.sum(0, dtype=torch.float64)
            stats["first"] += first
            stats["second"] += second
        return stats

    @torch.no_grad()
    def m_step(self, stats: dict[str, Tensor]) -> None:
        """Set the parameters to the most likely ones for these statistics, under the floor on the variances.

        The second moments were taken about the present means, which are near the new ones, so that the shift
        S/N - d d^T does not cancel. A component that lost all its rows is set beside the heaviest one, which it halves.

        Raises:
            LikelyError: the weights sum to 0, or numbers overflow.
        """
        count = stats["count"]
        if not float(count) > 0:
            raise LikelyError("nothing to learn from: no rows, or all weights are 0.")
        mass = stats["mass"]
        alive = mass > 1e-6 * count / len(mass)
        safe = torch.where(alive, mass, 1.0)[:, None]
        shift = stats["first"] / safe
        mean = self.mean + shift
        if self.covariance == "tied":
            shift = torch.where(alive[:, None], shift, 0)
            covariance = (stats["second"] - (mass[:, None] * shift).T @ shift) / count
        elif self.whitening.dim() == 2:
            covariance = (stats["second"] / safe - shift.square()).clamp(min=0)
        else:
            covariance = stats["second"] / safe[:, :, None] - shift[:, :, None] * shift[:, None, :]
        mass = torch.where(alive, mass, 0)
        for k in (~alive).nonzero()[:, 0].tolist():
            _split(k, int(mass.argmax()), mass, mean, covariance)
        self.whitening = gaussians.best_whitening(covariance, self.covariance, self.floor, self.rank)
        self.mean = mean
        self.weight = mass / mass.sum()


def _split(empty: int, heavy: int, mass: Tensor, mean: Tensor, covariance: Tensor) -> None:
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
    mass[heavy] /= 2
    mass[empty] = mass[heavy]
    mean[empty] = mean[heavy] - step
    mean[heavy] = mean[heavy] + step


def over(space: Space, model: GaussianMixture) -> Model:
    """Return the model itself over reals; over levels its dequantised form, which starts out as wide as the levels."""
    if not isinstance(space, (Binary, Finite)):
        return model
    model.center.fill_(space.levels / 2)
    model.scale.fill_(space.levels / 12**0.5)  # the deviation of a uniform value
    return dequantized(model, space)
