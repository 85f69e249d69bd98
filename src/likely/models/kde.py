"""A kernel density estimate (Parzen window): p(x) = (1/N) sum_n K_h(x | x_n), a bump of width h on every training row.

On reals K_h is a Gaussian whose deviation in each column is h times the column's. On levels it is what a Gaussian gives
to each level, exp(-(x - x_n)^2 / 2h^2), brought to sum 1; where levels are only names every other one is equally near.
The bandwidth h is the one under which the rows are likeliest, each scored by the kernels of all *other* rows
(leave-one-out): scored by its own kernel too, h = 0 would win. A sum over kernels is a mixture, so marginals, missing
values and completions are exact.

It keeps its rows (at most `kernels`, which take memory and time at every score) and skips those with missing values. It
fails in many dimensions, where no row is near another; and rows that occur twice pull the bandwidth of reals to 0, as
far down as it is sought. It scores dozens of nats below what fits images well, and is quoted here for comparison.

Reference: Parzen, On Estimation of a Probability Density Function and Mode, 1962, doi.org/10.1214/aoms/1177704472;
bandwidth: Duin, On the Choice of Smoothing Parameters for Parzen Estimators of Probability Density Functions, 1976,
doi.org/10.1109/TC.1976.1674577; levels: Aitchison and Aitken, Multivariate Binary Discrimination by the Kernel Method,
1976, doi.org/10.1093/biomet/63.3.413.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from likely.core import Completer, Marginal, Model, Statistics
from likely.errors import LikelyError
from likely.parts.counting import check_total
from likely.spaces import Binary, Finite, Real, Space, accept, batches

COARSE = tuple(2 ** (j / 2) for j in range(-14, 9))  #: bandwidths first tried, in units of Silverman's rule
FINE = tuple(2 ** (j / 8) for j in range(-4, 5))  #: bandwidths then tried, in units of the best coarse one
TRIED = 1000  #: how many rows choose the coarse one


class KDE(Marginal, Completer, Statistics):
    """A kernel density estimate over reals, bits or levels.

    Arguments:
        space: what one x is.
        bandwidth: h, for reals in standard deviations of each column, else in levels; 0 chooses it by leave-one-out.
        kernels: the most rows that are kept, drawn at random where there are more.

    Raises:
        LikelyError: a number is out of range.
    """

    closed_form: ClassVar[bool] = True
    completion: ClassVar[str] = "exact"
    autocast: ClassVar[bool] = False
    rows_at_once: ClassVar[int] = 256
    rows: Tensor  #: the kernels' centres in the data's units, (N, D)
    center: Tensor
    scale: Tensor
    bandwidth: Tensor  #: h, ()
    grid: Tensor  #: the bandwidths among which the fit chooses, (G,)

    def __init__(self, space: Real | Binary | Finite, *, bandwidth: float = 0.0, kernels: int = 10_000) -> None:
        super().__init__(space)
        if not 0 <= bandwidth < float("inf"):
            raise LikelyError(f"bandwidth must be a number, 0 (chosen from the data) or more, not {bandwidth}.")
        if kernels < 1:
            raise LikelyError(f"kernels must be 1 or more, not {kernels}.")
        self.given, self.kernels = bandwidth, kernels
        self.levels = 0 if isinstance(space, Real) else space.levels
        self.named = isinstance(space, Finite) and not space.ordered
        wide = torch.float64
        dtype = wide if isinstance(space, Real) else space.dtype
        # Until it has seen data it is one kernel at 0.
        self.register_buffer("rows", torch.zeros(1, space.size, dtype=dtype))
        self.register_buffer("center", torch.zeros(space.size, dtype=wide))
        self.register_buffer("scale", torch.ones(space.size, dtype=wide))
        self.register_buffer("bandwidth", torch.tensor(bandwidth or 1.0, dtype=wide))
        self.register_buffer("grid", torch.tensor([bandwidth or 1.0], dtype=wide))

    @property
    def free_parameters(self) -> int:
        """One, the bandwidth; the rows it keeps are data."""
        return 1

    # Distances and kernels -----------------------------------------------------------------------------------------

    def _features(self, x: Tensor) -> Tensor:
        """Return the coordinates in which squared distances are taken, (B, D), or (B, D * levels) for names."""
        x = x.reshape(len(x), self.space.size)
        if self.named:
            return F.one_hot(x.long(), self.levels).flatten(1).double() / 2**0.5
        return (x.double() - self.center) / self.scale

    def _squared_distances(self, x: Tensor, known: Tensor | None) -> Tensor:
        """Return the squared distance of each row to each kernel in what is known, (B, N)."""
        a, b = self._features(x), self._features(self.rows)
        if known is None:
            found = a.square().sum(1, keepdim=True) - 2 * a @ b.T + b.square().sum(1)
        else:
            mask = known.reshape(len(x), self.space.size).double()
            mask = mask.repeat_interleave(self.levels, 1) if self.named else mask
            found = (mask * a.square()).sum(1, keepdim=True) - 2 * (mask * a) @ b.T + mask @ b.square().T
        return found.clamp(min=0)

    def _log_normaliser(self, h: Tensor, known: Tensor | None, rows: int) -> Tensor:
        """Return the log of what each kernel sums or integrates to over what is known, (B or 1, N or 1)."""
        if self.levels == 0:
            each = (h * self.scale).log() + 0.5 * math.log(2 * math.pi)
        elif self.named:
            each = torch.log1p((self.levels - 1) * (-0.5 / h.square()).exp()).expand(self.space.size)
        else:
            each = self._log_kernel(h).logsumexp(1)[self.rows.long()]  # (N, D)
        each = each.reshape(-1, self.space.size)
        if known is None:
            return each.sum(1)[None]
        return known.reshape(rows, self.space.size).double() @ each.T

    def _log_kernel(self, h: Tensor) -> Tensor:
        """Return -(x - c)^2 / 2h^2 for each two levels c, x, (levels, levels)."""
        level = torch.arange(self.levels, dtype=torch.float64, device=self.device)
        difference = level[:, None] - level
        return -(difference != 0).double() / (2 * h.square()) if self.named else -difference.square() / (2 * h.square())

    def _log_kernels(self, x: Tensor, known: Tensor | None) -> Tensor:
        """Return log K_h(x_known | x_n) for each row and kernel, (B, N)."""
        h = self.bandwidth
        return -self._squared_distances(x, known) / (2 * h.square()) - self._log_normaliser(h, known, len(x))

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        return self._mean(self._log_kernels(x, None)).to(self._precision(x))

    def _log_marginal(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        return self._mean(self._log_kernels(x, known)).to(self._precision(x))

    def _mean(self, log_kernels: Tensor) -> Tensor:
        return log_kernels.logsumexp(1) - math.log(len(self.rows))

    def _precision(self, x: Tensor) -> torch.dtype:
        return x.dtype if x.is_floating_point() else torch.float64

    # Draws ---------------------------------------------------------------------------------------------------------

    def _sample(self, n: int, cond: Tensor | None) -> Tensor:
        return self._near(torch.randint(len(self.rows), (n,), device=self.device)).to(self.space.dtype)

    def _complete(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        share = self._log_kernels(x, known).softmax(1)
        near = share.isfinite().all(1)
        if not bool(near.all()):
            row = int((~near).nonzero()[0, 0])
            raise LikelyError(f"cannot complete row {row}: what is known there is too far from every kernel.")
        drawn = self._near(torch.multinomial(share, 1)[:, 0])
        return torch.where(known, x, drawn.to(x.dtype))

    def _near(self, which: Tensor) -> Tensor:
        """Draw one value from each of these kernels, (n, *shape)."""
        rows = self.rows[which]
        if self.levels == 0:
            drawn = rows + self.bandwidth * self.scale * torch.randn_like(rows)
        else:
            # Row c of the cumulative table lies in (c, c + 1]: one search in one line finds level and kernel.
            total = self._log_kernel(self.bandwidth).softmax(1).cumsum(1)
            level = torch.arange(self.levels, device=self.device)
            line = (total / total[:, -1:] + level[:, None]).flatten()
            point = torch.rand(rows.shape, dtype=torch.float64, device=self.device) + rows
            place = torch.searchsorted(line, point, right=True) - self.levels * rows.long()
            drawn = place.clamp(0, self.levels - 1)
        return drawn.reshape(-1, *self.space.shape)

    # Learning ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def start(self, x: Tensor, cond: Tensor | None = None) -> None:
        """Keep these rows as kernels, and look for the bandwidth's magnitude.

        Raises:
            LikelyError: every row has missing values.
        """
        flat = x.reshape(len(x), self.space.size)
        if flat.is_floating_point():
            flat = flat[~flat.isnan().any(1)].double()
        if len(flat) == 0:
            raise LikelyError("every row has missing values; a kernel density needs complete rows to put kernels on.")
        if len(flat) > self.kernels:
            flat = flat[torch.randperm(len(flat), device=flat.device)[: self.kernels].sort().values]
        self.rows = flat.clone()
        # One number says how far values scatter: on levels all entries share it, since h is in levels.
        spread = flat.double().std(0, unbiased=False)
        if not bool(spread.isfinite().all()):
            raise LikelyError("the data's variances overflow: rescale the data, or look for entries beyond 1e150.")
        if self.levels == 0:
            self.center = flat.double().mean(0)
            self.scale = torch.where(spread > 1e-12 * self.center.abs(), spread, 1.0)
            typical = 1.0
        else:
            typical = 1.0 if self.named else max(0.1, float(spread.mean()))
        if self.given or len(flat) == 1:
            self.grid = torch.full_like(self.grid[:1], self.given or 1.0)
        else:
            size = self.space.size
            rule = (4 / ((size + 2) * len(flat))) ** (1 / (size + 4))  # Silverman's
            coarse = typical * rule * torch.tensor(COARSE, dtype=torch.float64, device=flat.device)
            coarse = coarse if self.levels == 0 else coarse.clamp(min=0.1)
            tried = flat[torch.randperm(len(flat), device=flat.device)[:TRIED]].reshape(-1, *self.space.shape)
            score = sum(self._left_out(tried[cut], None, coarse).sum(0) for cut in self._cuts(len(tried)))
            self.grid = coarse[torch.as_tensor(score).argmax()] * torch.tensor(FINE, dtype=torch.float64).to(coarse)
        self.bandwidth = self.grid[len(self.grid) // 2].clone()

    def _cuts(self, rows: int) -> list[slice]:
        return list(batches(rows, self.rows_at_once))

    def _left_out(self, x: Tensor, known: Tensor | None, grid: Tensor) -> Tensor:
        """Return log p of each row under each bandwidth, (B, G), by all kernels but the row's own where it has one."""
        distance = self._squared_distances(x, known)
        count = torch.full((len(x),), len(self.rows), dtype=torch.float64, device=x.device)
        if len(self.rows) > 1:
            nearest = distance.argmin(1)
            own = (self.rows[nearest] == x.reshape(len(x), -1)).all(1)
            if known is not None:
                own &= known.reshape(len(x), -1).all(1)
            distance[own, nearest[own]] = torch.inf
            count -= own.double()
        found = [
            (-distance / (2 * h.square()) - self._log_normaliser(h, known, len(x))).logsumexp(1) - count.log()
            for h in grid
        ]
        return torch.stack(found, 1)

    def _e_step(self, x: Tensor, cond: Tensor | None, known: Tensor | None, weight: Tensor) -> dict[str, Tensor]:
        """Score the rows under every bandwidth of the grid, each without its own kernel."""
        weight = weight.double()
        stats = {
            "count": weight.sum(),
            "log_likelihood": torch.zeros((), dtype=torch.float64, device=x.device),
            "left_out": torch.zeros(len(self.grid), dtype=torch.float64, device=x.device),
        }
        for cut in self._cuts(len(x)):
            mask = None if known is None else known[cut]
            stats["log_likelihood"] += self._mean(self._log_kernels(x[cut], mask)) @ weight[cut]
            stats["left_out"] += weight[cut] @ self._left_out(x[cut], mask, self.grid)
        return stats

    def m_step(self, stats: dict[str, Tensor]) -> None:
        """Take the bandwidth under which the left-out rows were likeliest.

        Raises:
            LikelyError: the weights sum to 0.
        """
        check_total(stats["count"])
        self.bandwidth = self.grid[stats["left_out"].argmax()].clone()

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        """Make room for as many kernels as were saved."""
        for name in ("rows", "grid"):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=self.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def build(space: Space, *, bandwidth: float = 0.0, kernels: int = 10_000) -> Model:
    """Return a kernel density estimate over reals, bits or levels.

    Arguments:
        bandwidth: the width of a kernel, in standard deviations of each column or in levels; 0 chooses it.
        kernels: the most training rows that are kept as kernels, 20,000 or fewer; drawn at random where there are more.
    """
    accept(space, Real, Binary, Finite, model="kde")
    assert isinstance(space, (Real, Binary, Finite))
    return KDE(space, bandwidth=bandwidth, kernels=kernels)


TINY = (
    {"space": Real((1,))},
    {"space": Real((2,)), "kernels": 50},
    {"space": Real((1, 1, 2)), "bandwidth": 0.5},
    {"space": Binary((2, 2))},
    {"space": Finite((3,), 4), "kernels": 50},
    {"space": Finite((2,), 3, ordered=False)},
    {"space": Finite((), 5), "bandwidth": 0.7},
)

PRESETS: dict[str, dict[str, int]] = {"digits": {}, "digits-binary": {}, "mnist": {}, "binarized-mnist": {}}
