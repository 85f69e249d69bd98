"""A mixture of independent entries: p(x) = sum_k w_k prod_d p_kd(x_d), fitted by expectation and maximisation.

Each datum comes from one of K components, unseen which, and within a component entries are independent: bits with
probabilities p_kd (for more levels, tables). EM alternates between the probability that component k made row n,
r_nk = w_k p_k(x_n) / p(x_n), and the best weights and tables for these shares. Both are matrix products. What is
missing is left out of the product, exactly, so partial data are scored, completed and learned from.

Each component gets `pseudo_count` imaginary rows that follow the mean of all data, the maximum a posteriori under a
Dirichlet prior. With few rows for each component that is worth many nats on new data; it is the posterior that then
rises with each pass, and the likelihood as long as the prior is weak. With 0 it is maximum likelihood. EM finds a local
maximum, so another seed may give another fit. A component without rows is put beside the heaviest one, which it halves.
With labels (`cond`) there is one mixture for each class.
It fails on data that vary in many independent ways, which need a component for every combination.

Reference: Juan and Vidal, On the Use of Bernoulli Mixture Models for Text Classification, 2002,
doi.org/10.1016/S0031-3203(01)00242-4.
"""

from __future__ import annotations

from typing import Any, ClassVar, final

import torch
from torch import Tensor

from likely.core import Completer, Marginal, Statistics
from likely.errors import LikelyError, unknown
from likely.families.by_class import ByClass
from likely.parts import kmeans
from likely.parts.counting import check_total
from likely.spaces import Binary, Finite, Space, accept, batches

LEAST = 1e-12  #: no probability is smaller, so that products of zeros and infinities cannot arise
STARTS = ("random", "k-means++")
TRIAL_PASSES = 5  #: how many passes choose the best of several starts


class BernoulliMixture(Marginal, Completer, Statistics):
    """A mixture of independent entries over bits or levels.

    Arguments:
        space: what one x is.
        components: K, 1 or more.
        pseudo_count: imaginary rows of each component, which follow the mean of all data; 0 or more.
        first: how the components start: random rows, or k-means++.
        n_init: how many starts are tried; the likeliest after a few passes stays.

    Raises:
        LikelyError: a number is out of range.
        UnknownName: there is no such way to start.
    """

    closed_form: ClassVar[bool] = False
    completion: ClassVar[str] = "exact"
    autocast: ClassVar[bool] = False
    rows_at_once: ClassVar[int] = 4096
    weight: Tensor  #: w_k, (K,), float64
    table: Tensor  #: log p_kd(level), (K, D, levels), float64: in float32 EM gives sums in another order another fit

    def __init__(
        self,
        space: Binary | Finite,
        *,
        components: int = 20,
        pseudo_count: float = 1.0,
        first: str = "random",
        n_init: int = 1,
    ) -> None:
        super().__init__(space)
        if components < 1 or n_init < 1:
            raise LikelyError(f"components and n_init must be 1 or more, not {components} and {n_init}.")
        if not 0 <= pseudo_count < float("inf"):
            raise LikelyError(f"pseudo_count must be a number, 0 or more, not {pseudo_count}.")
        if first not in STARTS:
            raise unknown("way to start", first, STARTS)
        self.levels, self.pseudo_count, self.first, self.n_init = space.levels, pseudo_count, first, n_init
        self.register_buffer("weight", torch.full((components,), 1 / components, dtype=torch.float64))
        # Components must differ, or EM could never part them.
        table = torch.rand(components, space.size, self.levels, dtype=torch.float64) + 1
        self.register_buffer("table", (table / table.sum(2, keepdim=True)).log())

    @property
    def probabilities(self) -> Tensor:
        """The probability of each level at each entry in each component, (K, *shape, levels)."""
        return self.table.exp().reshape(-1, *self.space.shape, self.levels)

    @property
    def weights(self) -> Tensor:
        """The weight of each component, (K,), float64."""
        return self.weight

    @property
    def free_parameters(self) -> int:
        """How many numbers the mixture is free to choose."""
        return len(self.weight) - 1 + len(self.weight) * self.space.size * (self.levels - 1)

    @final
    def responsibilities(self, x: Any, known: Any = None) -> Tensor:
        """Return the probability that component k made row n, r_nk = w_k p_k(x_n) / p(x_n), (B, K).

        Arguments:
            x: values of the space, (B, *shape).
            known: True where an entry is observed, (B, *shape) or (*shape); None means all, or where x is not NaN.

        Raises:
            SpaceError: x or known does not fit.
        """
        if known is None and (seen := _seen(x)) is not None:
            known = seen
        if known is not None:
            known = torch.as_tensor(known, dtype=torch.bool).expand(torch.as_tensor(x).shape)
            x = torch.where(known, torch.as_tensor(x), 0)
        x, _ = self._given(x, None)
        mask = None if known is None else known.to(self.device).reshape(len(x), -1)
        with self._asked():
            return self._by_rows(lambda x, mask: self._log_joint(x, mask).softmax(1), x, mask)

    def _design(self, x: Tensor, known: Tensor | None) -> Tensor:
        """Return 1 where a known entry has a level above 0, (B, D * (levels - 1)), in float64."""
        x = x.reshape(len(x), -1)
        if self.levels == 2:
            hot = x.to(self.table.dtype)
            return hot if known is None else hot * known
        above = torch.arange(1, self.levels, device=x.device)
        hot = x.long()[:, :, None] == above
        return (hot if known is None else hot & known[:, :, None]).flatten(1).to(self.table.dtype)

    def _log_joint(self, x: Tensor, known: Tensor | None) -> Tensor:
        """Return log w_k + log p_k(x), (B, K): against level 0, one product of matrices."""
        slope = (self.table[:, :, 1:] - self.table[:, :, :1]).flatten(1)
        base = self.table[:, :, 0]
        rest = base.sum(1) if known is None else known.to(base.dtype) @ base.T
        return self._design(x, known) @ slope.T + rest + self.weight.log().to(base.dtype)

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        return self._log_joint(x, None).logsumexp(1)

    def _log_marginal(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        return self._log_joint(x, known.reshape(len(x), -1)).logsumexp(1)

    # Draws ---------------------------------------------------------------------------------------------------------

    def _sample(self, n: int, cond: Tensor | None) -> Tensor:
        return self._draw(self.weight.expand(n, -1))

    def _complete(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        share = self._log_joint(x, known.reshape(len(x), -1)).softmax(1)
        return torch.where(known, x.long(), self._draw(share))

    def _draw(self, share: Tensor) -> Tensor:
        """Draw a component for each row by its shares, (B, K), and then each entry."""
        which = torch.multinomial(share, 1)[:, 0] if len(share) else torch.zeros(0, dtype=torch.int64)
        table = self.table.exp()[which]
        if self.levels == 2:
            drawn = (torch.rand_like(table[:, :, 1]) < table[:, :, 1]).long()
        else:
            point = torch.rand_like(table[:, :, :1])
            drawn = torch.searchsorted(table.cumsum(2), point, right=True)[..., 0].clamp(max=self.levels - 1)
        return drawn.reshape(-1, *self.space.shape)

    # Learning ------------------------------------------------------------------------------------------------------

    def start(self, x: Tensor, cond: Tensor | None = None) -> None:
        """Put each component halfway between a row and the mean; of several starts keep the likeliest.

        Raises:
            LikelyError: there are more components than rows.
        """
        if len(x) < len(self.weight):
            raise LikelyError(
                f"components={len(self.weight)} needs as many rows, and n_samples={len(x)}: give fewer components."
            )
        found: list[tuple[float, Tensor, Tensor]] = []
        for _ in range(self.n_init):
            self._begin(x)
            if self.n_init == 1:
                return
            for _ in range(TRIAL_PASSES):
                self.m_step(self.e_step(x))
            score = float(self.e_step(x)["log_likelihood"])
            found.append((score, self.weight.clone(), self.table.clone()))
        _, self.weight, self.table = max(found, key=lambda one: one[0])

    def _begin(self, x: Tensor) -> None:
        components, flat = len(self.weight), x.reshape(len(x), -1)
        seen = _seen(flat)
        known = torch.ones_like(flat, dtype=torch.bool) if seen is None else seen
        flat = torch.where(known, flat, -1).long()
        hot = torch.arange(self.levels, device=x.device)
        mean = torch.stack([(flat == level).double().sum(0) for level in hot.tolist()], 1)
        mean = (mean + 1 / self.levels) / (known.sum(0)[:, None] + 1)
        flat = torch.where(known, flat, (mean @ hot.double()).round().long())  # something typical where unknown
        if self.first == "random":
            chosen = flat[torch.randperm(len(x), device=x.device)[:components]]
        else:
            levels = flat.to(self.table.dtype)  # of two levels this is the number of entries that differ
            chosen = kmeans.plus_plus(levels, components).long()
        # A little noise parts components that start from equal rows.
        noise = torch.rand(components, flat.shape[1], self.levels, dtype=torch.float64, device=x.device)
        noise = noise / noise.sum(2, keepdim=True)
        table = 0.48 * (chosen[:, :, None] == hot) + 0.5 * mean + 0.02 * noise
        self.table = table.log().to(self.table.dtype)
        self.weight = torch.full_like(self.weight, 1 / components)

    def _e_step(self, x: Tensor, cond: Tensor | None, known: Tensor | None, weight: Tensor) -> dict[str, Tensor]:
        """Return how much each component made, in all ("mass"), of each known entry, and of each level above 0."""
        wide, size = torch.float64, self.space.size
        components = len(self.weight)
        stats = {
            "count": weight.sum(dtype=wide),
            "log_likelihood": torch.zeros((), dtype=wide, device=x.device),
            "mass": torch.zeros(components, dtype=wide, device=x.device),
            "known": torch.zeros(components, size, dtype=wide, device=x.device),
            "levels": torch.zeros(components, size * (self.levels - 1), dtype=wide, device=x.device),
        }
        for cut in batches(len(x), self.rows_at_once):
            mask = None if known is None else known[cut].reshape(-1, size)
            joint = self._log_joint(x[cut], mask)
            each = joint.logsumexp(1, keepdim=True)
            share = (joint - each).exp() * weight[cut, None].to(joint.dtype)
            mass = share.sum(0, dtype=wide)
            stats["log_likelihood"] += each[:, 0].double() @ weight[cut].double()
            stats["mass"] += mass
            stats["known"] += mass[:, None] if mask is None else share.T @ mask.to(share.dtype)
            stats["levels"] += share.T @ self._design(x[cut], mask)
        return stats

    @torch.no_grad()
    def m_step(self, stats: dict[str, Tensor]) -> None:
        """Set weights and tables to the most probable ones for these statistics.

        Raises:
            LikelyError: the weights sum to 0.
        """
        check_total(stats["count"])
        mass, observed = stats["mass"].clone(), stats["known"]
        above = stats["levels"].reshape(*observed.shape, self.levels - 1)
        counts = torch.cat([(observed - above.sum(2)).clamp(min=0)[:, :, None], above], 2)
        mean = counts.sum(0) + 1 / self.levels
        mean = mean / mean.sum(1, keepdim=True)
        total = observed[:, :, None] + self.pseudo_count
        table = torch.where(total > 0, (counts + self.pseudo_count * mean) / total, mean)
        empty = mass <= 1e-6 * stats["count"] / len(mass)
        mass[empty] = 0
        for k in empty.nonzero()[:, 0].tolist():
            heavy = int(mass.argmax())
            mass[heavy] /= 2
            mass[k] = mass[heavy]
            # A tenth of the way to the mean: far enough to part, near enough to cost little.
            table[k] = 0.9 * table[heavy] + 0.1 * mean
        table = table.clamp(min=LEAST)
        self.table = (table / table.sum(2, keepdim=True)).log().to(self.table.dtype)
        self.weight = mass / mass.sum()


def _seen(x: Any) -> Tensor | None:
    """Return where levels are not NaN; None where nothing is missing."""
    x = torch.as_tensor(x)
    missing = x.isnan() if x.is_floating_point() else None
    return None if missing is None or not bool(missing.any()) else ~missing


def build(
    space: Space,
    cond: Space | None = None,
    *,
    components: int = 20,
    pseudo_count: float = 1.0,
    first: str = "random",
    n_init: int = 1,
) -> BernoulliMixture | ByClass:
    """Return a mixture of independent entries over bits or levels; one for each class of cond.

    Arguments:
        components: the number of components (of each class).
        pseudo_count: imaginary rows of each component, which follow the mean of all data; 0 is maximum likelihood.
        first: how the components start: random (rows) or k-means++.
        n_init: how many starts are tried; the likeliest after a few passes stays.
    """
    accept(space, Binary, Finite, model="bernoulli_mixture")
    assert isinstance(space, (Binary, Finite))

    def make() -> BernoulliMixture:
        return BernoulliMixture(space, components=components, pseudo_count=pseudo_count, first=first, n_init=n_init)

    return make() if cond is None else ByClass(space, cond, make)


TINY = (
    {"space": Binary((2, 3)), "components": 3, "pseudo_count": 0.1},
    {"space": Binary((4,)), "components": 2, "pseudo_count": 0.1, "first": "k-means++", "n_init": 2},
    {"space": Finite((1, 1, 3), 4), "components": 3, "pseudo_count": 0.1},
    {"space": Finite((), 5), "components": 2, "pseudo_count": 0.1},
    {"space": Binary((2, 3)), "cond": Finite((), 2, ordered=False), "components": 2, "pseudo_count": 0.1},
)

PRESETS = {
    "digits": {"components": 50, "pseudo_count": 1.0, "passes": 50},
    "digits-binary": {"components": 50, "pseudo_count": 1.0, "passes": 50},
    "mnist-binary": {"components": 500, "pseudo_count": 1.0, "passes": 60},
    "binarized-mnist": {"components": 500, "pseudo_count": 1.0, "passes": 60},
}
