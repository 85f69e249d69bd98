r"""Independent columns of reals: p(x) = prod_d p_d(x_d), each p_d a kernel density of one column.

p_d(x) = (L(x) + sum_n N(x; x_nd, h_d^2)) / (N + 1), with h_d = 1.06 s_d N^(-1/5) times `bandwidth`, s_d the column's
standard deviation. L is a Laplace law of the column's mean and standard deviation: one imaginary row which could lie
anywhere, so that a value far from all others is improbable by its distance and not by its square. It is to reals what
`bernoulli` is to bits, the baseline that knows nothing of how columns depend on each other. Missing values are left
out column by column, in learning too. Levels are dequantised; for them `bernoulli` is the better baseline.

As a detector of anomalies among rows that contain them it is hard to beat: what it does not model it cannot learn from
the anomalies. It fails where each number of a datum is usual and their combination is not. It keeps its rows (at most
`kernels`), which take memory and time at every score.

Reference: Parzen, On Estimation of a Probability Density Function and Mode, 1962, doi.org/10.1214/aoms/1177704472;
the width: Silverman, Density Estimation for Statistics and Data Analysis, 1986, equation 3.28.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from likely.core import Completer, Marginal, Model, Statistics
from likely.errors import LikelyError
from likely.families.dequantized import dequantized
from likely.parts.counting import check_total
from likely.spaces import Binary, Finite, Real, Space, accept

NUMBERS_AT_ONCE = 2**24  #: kernels that are evaluated together, which bounds memory


class Independent(Marginal, Completer, Statistics):
    """A product of one-dimensional kernel densities over reals.

    Arguments:
        space: what one x is.
        bandwidth: the width of the kernels, in units of Silverman's rule for a normal column.
        kernels: the most rows that are kept, drawn at random where there are more.

    Raises:
        LikelyError: a number is out of range.
    """

    closed_form: ClassVar[bool] = True
    completion: ClassVar[str] = "exact"
    autocast: ClassVar[bool] = False
    rows_at_once: ClassVar[int] = 1024
    rows: Tensor  #: the kernels' centres in the data's units, (N, D); 0 where unknown
    seen: Tensor  #: where they are known, (N, D)
    center: Tensor
    scale: Tensor

    def __init__(self, space: Real, *, bandwidth: float = 1.0, kernels: int = 2000) -> None:
        super().__init__(space)
        if not 0 < bandwidth < math.inf or kernels < 1:
            raise LikelyError(f"bandwidth must be above 0 and kernels 1 or more, not {bandwidth} and {kernels}.")
        self.bandwidth, self.kernels = bandwidth, kernels
        wide = torch.float64
        self.register_buffer("rows", torch.zeros(1, space.size, dtype=wide))
        self.register_buffer("seen", torch.zeros(1, space.size, dtype=torch.bool))  # the imaginary row alone
        self.register_buffer("center", torch.zeros(space.size, dtype=wide))
        self.register_buffer("scale", torch.ones(space.size, dtype=wide))

    @property
    def free_parameters(self) -> int:
        """None: widths follow from a rule; the rows it keeps are data."""
        return 0

    @property
    def _width(self) -> Tensor:
        """h, (D,)."""
        return self.bandwidth * 1.06 * self.scale * self.seen.sum(0).clamp(min=1) ** (-1 / 5)

    def _entries(self, x: Tensor) -> Tensor:
        """Return log p_d(x_d) of each entry, (B, D); for NaN it is NaN."""
        x = x.reshape(len(x), self.space.size).double()
        together = max(1, NUMBERS_AT_ONCE // max(1, len(x) * len(self.rows)))
        found = []
        columns = (x, self.rows, self.seen, self._width, self.center, self.scale)
        for values, rows, seen, h, center, scale in zip(*(one.split(together, -1) for one in columns), strict=True):
            squares = ((values[:, None] - rows) / h).square().masked_fill_(~seen, math.inf)  # (B, N, d)
            kernels = -0.5 * squares - (h * math.sqrt(2 * math.pi)).log()
            b = scale / math.sqrt(2)  # of the Laplace law with this deviation
            anywhere = -(values - center).abs() / b - (2 * b).log()
            found.append(torch.logaddexp(kernels.logsumexp(1), anywhere) - (seen.sum(0) + 1.0).log())
        return torch.cat(found, 1)

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        return self._entries(x).sum(1).to(x.dtype)

    def _log_marginal(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        mask = known.reshape(len(x), -1)
        flat = torch.where(mask, x.reshape(len(x), -1), 0.0)
        return torch.where(mask, self._entries(flat), 0.0).sum(1).to(x.dtype)

    # Draws ---------------------------------------------------------------------------------------------------------

    def _sample(self, n: int, cond: Tensor | None) -> Tensor:
        """Draw each column by itself: near one of its known values, or anywhere in one of N + 1 draws."""
        count = self.seen.sum(0)
        # the known values of a column come first, so that a random one of them is a place below the count
        sorted_rows = torch.where(self.seen, self.rows, math.inf).sort(0).values
        place = (torch.rand(n, self.space.size, dtype=torch.float64, device=self.device) * (count + 1)).long()
        near = sorted_rows.gather(0, place.clamp(max=len(self.rows) - 1)) + self._width * torch.randn_like(
            self.center.expand(n, -1)
        )
        u = torch.rand_like(near) - 0.5
        anywhere = self.center - self.scale / math.sqrt(2) * u.sign() * torch.log1p(-2 * u.abs())
        return torch.where(place < count, near, anywhere).reshape(n, *self.space.shape).to(self.space.dtype)

    def _complete(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        return torch.where(known, x, self._sample(len(x), cond).to(x.dtype))

    # Learning ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def start(self, x: Tensor, cond: Tensor | None = None) -> None:
        """Keep these rows, and take each column's mean and standard deviation over what is known of it."""
        flat = x.reshape(len(x), self.space.size).double()
        if len(flat) > self.kernels:
            flat = flat[torch.randperm(len(flat), device=flat.device)[: self.kernels].sort().values]
        self.seen = ~flat.isnan()
        self.rows = torch.where(self.seen, flat, 0)
        center = flat.nanmean(0).nan_to_num(nan=0.0)
        deviation = (flat - center).square().nanmean(0).sqrt()
        if bool(deviation.isinf().any()):
            raise LikelyError("the data's variances overflow: rescale the data, or look for entries beyond 1e150.")
        self.center = center
        # a constant or unknown column has no width of its own
        self.scale = torch.where(deviation > 1e-12 * center.abs(), deviation, 1.0)

    def _e_step(self, x: Tensor, cond: Tensor | None, known: Tensor | None, weight: Tensor) -> dict[str, Tensor]:
        mask = torch.ones_like(x, dtype=torch.bool) if known is None else known
        return {
            "count": weight.double().sum(),
            "log_likelihood": self._log_marginal(x, mask, None).double() @ weight.double(),
        }

    def m_step(self, stats: dict[str, Tensor]) -> None:
        """Do nothing but check: the rows are the model.

        Raises:
            LikelyError: the weights sum to 0.
        """
        check_total(stats["count"])

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Make room for as many kernels as were saved; an earlier version saved no `seen`, as all values were known."""
        rows = state_dict.get(prefix + "rows")
        if rows is not None:
            self.rows = torch.empty_like(rows, device=self.device)
            self.seen = torch.ones_like(self.rows, dtype=torch.bool)
            state_dict.setdefault(prefix + "seen", self.seen)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def build(space: Space, *, bandwidth: float = 1.0, kernels: int = 2000) -> Model:
    """Return independent columns over reals, or their dequantised form over bytes, levels or bits.

    Arguments:
        bandwidth: the width of the kernels, in units of Silverman's rule for a normal column.
        kernels: the most training rows that are kept, 20,000 or fewer; drawn at random where there are more.
    """
    accept(space, Real, Binary, Finite, model="independent")
    model = Independent(space if isinstance(space, Real) else Real(space.shape), bandwidth=bandwidth, kernels=kernels)
    return dequantized(model, space) if isinstance(space, (Binary, Finite)) else model


TINY = (
    {"space": Real((1,))},
    {"space": Real((2,)), "kernels": 50},
    {"space": Real((1, 1, 2)), "bandwidth": 0.5},
    {"space": Finite((2,), 3)},
)

PRESETS: dict[str, dict[str, int]] = {"digits": {}}
