"""log p(x) = sum_d log p(x_d | x_<d), each conditional a small network whose hidden layer costs one addition per entry.

All conditionals share their input weights, so that the hidden layer of entry d + 1 is that of entry d plus one column:
a_(d+1) = a_d + W_(:,d) x_d. Scores are exact, samples take one step per entry. It fails where the order of the entries
hides the structure: each conditional is a single hidden layer, without the locality of a convolution.

Levels beyond two are handled as a softmax with one column of W per level. Level 0 adds nothing to the hidden layer,
as in the binary model. Where levels are ordered (brightness), each column of W and V is learned as the step from the
level below, so that near levels start out alike: on 8 x 8 digits with 17 levels that is worth 16 nats. Where they are
many, columns are learned at some levels only, the knots, and interpolated between them; b keeps a number per level.

Reference: Larochelle and Murray, The Neural Autoregressive Distribution Estimator, 2011,
proceedings.mlr.press/v15/larochelle11a.html; Uria, Côté, Gregor, Murray and Larochelle, Neural Autoregressive
Distribution Estimation, 2016, arxiv.org/abs/1605.02226.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from likely.errors import LikelyError, unknown
from likely.families.autoregressive import Autoregressive
from likely.parts.orders import order as order_by_name
from likely.spaces import Binary, Finite, Space, accept

BLOCK = 56  #: how many bits one matrix product takes; 28 to 64 take the same time on a processor with AVX-512
WIDE_BLOCK = 224  #: the same for knots, of which an entry has several
KNOTS = 16  #: levels with weights of their own, where there are more levels
ACTIVATIONS = {"relu": torch.relu, "sigmoid": torch.sigmoid}


class NADE(Autoregressive):
    """The neural autoregressive distribution estimator: h_d = f(c + W_(:,<d) x_<d), log-odds of x_d = b_d + V_d h_d.

    Weights lie in the order of the model: row i belongs to the entry that is visited i-th.

    Arguments:
        space: `Binary` or `Finite`.
        order: (D,), order[i] is the raster position of the i-th entry.
        hidden: how many hidden units.
        activation: relu or sigmoid.
        knots: how many levels have columns of W and V of their own, at least 2 (1 for bits); None means all but 0.

    Raises:
        UnknownName: there is no such activation.
        LikelyError: there is one level only, the knots are too few or too many, or the levels have no order to
            interpolate in.

    Example:
        >>> import likely
        >>> model = likely.build("nade", likely.Binary((3,)), hidden=5)
        >>> round(float(model.log_prob(model.space.enumerate()).exp().sum()), 5)
        1.0
    """

    compiles: ClassVar[bool] = False
    between: Tensor  #: (levels, knots), how much of each knot's column is in a level's: none of them in level 0's

    def __init__(
        self, space: Binary | Finite, order: Tensor, hidden: int, activation: str, knots: int | None = None
    ) -> None:
        super().__init__(space, order)
        if activation not in ACTIVATIONS:
            raise unknown("activation", activation, ACTIVATIONS)
        if space.levels < 2:
            raise LikelyError(f"nade needs two levels or more, not {space}: what has one level is known.")
        self.activation = ACTIVATIONS[activation]
        self.ordered = isinstance(space, Finite) and space.ordered  # for bits there is one step, and no difference
        self.knots = space.levels - 1 if knots is None else knots
        if not min(2, space.levels - 1) <= self.knots < space.levels:
            raise LikelyError(f"knots must be 2 to {space.levels - 1} of the levels above 0, not {self.knots}.")
        if self.knots < space.levels - 1 and not self.ordered:
            raise LikelyError(f"levels without an order need a column each: {space.levels - 1} knots, not {knots}.")
        self.register_buffer("between", _hats(space.levels, self.knots), persistent=False)
        scale = space.size**-0.5
        columns = (space.size, self.knots, hidden)
        self.W = nn.Parameter(torch.empty(columns).uniform_(-scale, scale))  # (D, K, H), K knots
        self.V = nn.Parameter(torch.empty(columns).uniform_(-scale, scale))  # (D, K, H)
        self.b = nn.Parameter(torch.zeros(space.size, space.levels - 1))  # (D, levels - 1)
        self.c = nn.Parameter(torch.empty(hidden).uniform_(-scale, scale))  # (H,)

    @torch.no_grad()
    def start(self, x: Any, cond: Tensor | None = None) -> None:
        """Set b to the log-odds of each entry alone (every level counted once more than seen): `bernoulli`'s answer."""
        cells = x.reshape(len(x), -1).long() + self.levels * torch.arange(self.space.size, device=x.device)
        counts = cells.flatten().bincount(minlength=self.space.size * self.levels).view(-1, self.levels)
        counts = counts[self.order] + 1.0
        self.b.copy_(counts[:, 1:].log() - (counts[:, :-1] if self.ordered else counts[:, :1]).log())

    def _per_knot(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return W and V of each knot and b of each level, against level 0: the steps from one to the next added up."""
        if self.ordered:
            return self.W.cumsum(1), self.V.cumsum(1), self.b.cumsum(1)
        return self.W, self.V, self.b

    def _conditionals(self, x: Tensor, cond: Tensor | None) -> Tensor:
        """Return all log-odds, (B, D, levels - 1), by matrix products over blocks of entries.

        The hidden layer changes only after an entry that is not 0, so it is computed once for every run of zeros: on
        binarized digits for 130 states instead of 784 entries. Gradients are exact and left to autograd.
        """
        values = x.reshape(len(x), -1)[:, self.order]
        (B, D), K, H = values.shape, self.knots, len(self.c)
        width = min(max(1, (BLOCK if K == 1 else WIDE_BLOCK) // K), D)
        blocks = -(-D // width)
        missing = blocks * width - D  # the last block is filled up with zeros
        values = F.pad(values, (0, missing)).view(B, blocks, width).transpose(0, 1)
        inputs = self.between.to(self.c.dtype)[values.long()]  # (blocks, B, width, K)

        # A datum enters a block with one state and gets another after each entry that is not 0.
        new = torch.ones_like(values, dtype=torch.bool)
        new[..., 1:] = values[..., :-1] != 0
        state = new.flatten().cumsum(0).view(blocks * B, width) - 1  # which state entry (block, datum, column) sees
        block, datum, column = new.nonzero(as_tuple=True)
        earlier = torch.arange(width, device=x.device) < column[:, None]
        before = (inputs[block, datum] * earlier[..., None]).flatten(1)  # (states, width * K)
        counts = new.sum((1, 2)).tolist()

        *weights, b = self._per_knot()
        W, V = (F.pad(w.flatten(1), (0, 0, 0, missing)).view(blocks, width * K, H).unbind() for w in weights)
        entering = self.c.expand(B, H)
        log_odds = []
        for i, (ahead, whose) in enumerate(zip(before.split(counts), datum.split(counts), strict=True)):
            a = torch.addmm(entering.index_select(0, whose), ahead, W[i])  # eq. 4, (states, H)
            log_odds.append(self.activation(a) @ V[i].T)  # eq. 2 without b
            entering = entering + inputs[i].flatten(1) @ W[i]
        seen = state.view(-1, width, 1).expand(-1, -1, K)
        found = torch.cat(log_odds).to(self.c.dtype).view(-1, width, K).gather(0, seen)
        found = found.view(blocks, B, width, K).transpose(0, 1).reshape(B, -1, K)
        return self._spread(found[:, self.when]) + b[self.when]

    def _spread(self, log_odds: Tensor) -> Tensor:
        """Return log-odds of each level above 0 from those of the knots, (..., K) -> (..., levels - 1)."""
        return log_odds if self.knots == self.levels - 1 else log_odds @ self.between[1:].to(log_odds.dtype).T

    def _walk(self, n: int, cond: Tensor | None) -> Generator[Tensor, Tensor, None]:
        a = self.c.repeat(n, 1)  # eq. 4, carried from entry to entry
        if self.levels == 2:
            for w, v, b in zip(self.W[:, 0].unbind(), self.V[:, 0].unbind(), self.b.unbind(), strict=True):
                value = yield torch.addmv(b, self.activation(a), v)[:, None]
                a.addr_(value.to(a.dtype), w)
        else:
            W, V, bias = self._per_knot()
            for w, v, b in zip(W.unbind(), V.unbind(), bias.unbind(), strict=True):
                value = yield self._spread(self.activation(a) @ v.T) + b
                a.addmm_(self.between.index_select(0, value).to(a.dtype), w)


def _hats(levels: int, knots: int) -> Tensor:
    """Return the weight of each knot in each level, (levels, knots): knots evenly from level 1 to the last one."""
    place = torch.linspace(1, levels - 1, knots, dtype=torch.float64)
    apart = (levels - 2) / max(knots - 1, 1)
    away = (torch.arange(1, levels, dtype=torch.float64)[:, None] - place) / max(apart, 1)
    return F.pad((1 - away.abs()).clamp(min=0), (0, 0, 1, 0)).float()


def build(
    space: Space,
    *,
    hidden: int = 500,
    knots: int | None = None,
    activation: str = "relu",
    order: str = "raster",
    order_seed: int = 0,
) -> NADE:
    """Build a NADE for bits or levels.

    Arguments:
        hidden: how many hidden units
        knots: how many levels have weights of their own, the others lying between; None means all of up to 17 ordered
            levels, 16 of more
        activation: relu (faster to train) or sigmoid (the paper's)
        order: in which order entries are visited: raster, reverse, snake, zigzag, spiral, hilbert or random
        order_seed: decides the random order
    """
    accept(space, Binary, Finite, model="nade")
    assert isinstance(space, Binary | Finite)
    if knots is None and isinstance(space, Finite) and space.ordered:
        knots = min(space.levels - 1, KNOTS)
    return NADE(space, order_by_name(order, space.shape, order_seed), hidden, activation, knots)


TINY = (
    {"space": Binary((2, 3)), "hidden": 7},
    {"space": Binary((1, 2, 3)), "hidden": 5, "activation": "sigmoid", "order": "snake"},
    {"space": Finite((3,), 4), "hidden": 6, "order": "random", "order_seed": 1},
    {"space": Finite((2,), 9, ordered=False), "hidden": 6, "order": "reverse", "activation": "sigmoid"},
    {"space": Finite((1, 1, 2), 9), "hidden": 6, "knots": 3},
    {"space": Binary(()), "hidden": 3},
)

PRESETS = {
    "digits": {"hidden": 200, "steps": 400, "batch": 100, "learning_rate": 2e-3, "schedule": "cosine"},
    "digits-binary": {"hidden": 200, "steps": 600, "batch": 100, "learning_rate": 2e-3, "schedule": "cosine"},
    "mnist": {"hidden": 300, "epochs": 5, "batch": 100, "learning_rate": 2e-3, "schedule": "cosine"},
    "fashion-mnist": {"hidden": 300, "epochs": 5, "batch": 100, "learning_rate": 2e-3, "schedule": "cosine"},
    "mnist-binary": {"hidden": 500, "epochs": 10, "batch": 100, "learning_rate": 4e-3, "schedule": "cosine"},
    "binarized-mnist": {"hidden": 500, "epochs": 10, "batch": 100, "learning_rate": 4e-3, "schedule": "cosine"},
}
