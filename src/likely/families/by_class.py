"""One model for each class: p(x | c) is the model of class c, and p(c) how often that class occurs.

What every model learned by statistics becomes with labels, whatever it is: each row goes to the model of its class.
With p(c), the share of the rows, the models together are also a density of x alone, p(x) = sum_c p(c) p(x | c), and a
classifier, p(c | x): discriminant analysis, quadratic for Gaussians, and "mixture discriminant analysis" for mixtures.

A class without rows starts, and stays, as the model of all rows.

Reference: Hastie and Tibshirani, Discriminant Analysis by Gaussian Mixtures, 1996,
doi.org/10.1111/j.2517-6161.1996.tb02073.x.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from likely.core import Bijective, Completer, Marginal, Model, Statistics
from likely.errors import LikelyError, SpaceError
from likely.families.dequantized import dequantized
from likely.families.mixture import GaussianMixture
from likely.parts.counting import check_total
from likely.spaces import Binary, Finite, Real, Space, holds_reals

COUNT, LIKELIHOOD = "count", "log_likelihood"


class ByClass(Marginal, Completer, Statistics):
    """One model for each class.

    Arguments:
        space: what one x is.
        cond: the classes: one level.
        make: returns an untrained model over the space, the same kind each time.

    Raises:
        SpaceError: cond is not one level.
    """

    autocast: ClassVar[bool] = False

    rows_of: Tensor  #: how many rows each class had, (C,)

    def __init__(self, space: Space, cond: Space, make: Callable[[], Any]) -> None:
        if not isinstance(cond, (Binary, Finite)) or cond.shape != ():
            raise SpaceError(
                f"a model is fitted for each class, so cond must be one level (Finite((), n)), not {cond}."
            )
        super().__init__(space, cond)
        self.classes = nn.ModuleList([make() for _ in range(cond.levels)])
        inner = self.of(0)
        self.closed_form, self.completion = inner.closed_form, inner.completion
        self.rows_at_once = inner.rows_at_once
        self.register_buffer("rows_of", torch.ones(cond.levels, dtype=torch.float64))

    def of(self, label: int) -> Any:
        """Return the model of one class."""
        return self.classes[label]

    @property
    def class_weights(self) -> Tensor:
        """How often each class occurs, p(c), (C,)."""
        return self.rows_of / self.rows_of.sum()

    @property
    def free_parameters(self) -> int:
        """How many numbers the models are free to choose, and the shares of the classes."""
        return len(self.classes) - 1 + sum(int(self.of(c).free_parameters) for c in range(len(self.classes)))

    @property
    def means(self) -> Tensor:
        """The means of Gaussians or mixtures in the data's units, (C, K, *shape)."""
        return torch.stack([self.of(c).means for c in range(len(self.classes))])

    @property
    def covariances(self) -> Tensor:
        """Their covariances, (C, K, D, D)."""
        return torch.stack([self.of(c).covariances for c in range(len(self.classes))])

    @property
    def weights(self) -> Tensor:
        """Their weights, (C, K)."""
        return torch.stack([self.of(c).weights for c in range(len(self.classes))])

    # The labels summed out -----------------------------------------------------------------------------------------

    @final
    def log_prob_of_any(self, x: Any) -> Tensor:
        """Return log p(x) = log sum_c p(c) p(x | c), nats, (B,): whatever the class.

        Arguments:
            x: values of the space, (B, *shape); NaN entries of reals are integrated out.

        Raises:
            SpaceError: x is not of the space.
        """
        return self._joint(x).logsumexp(1)

    @final
    def label_probabilities(self, x: Any) -> Tensor:
        """Return p(c | x) = p(c) p(x | c) / p(x), (B, C): the probability of each class.

        Arguments:
            x: values of the space, (B, *shape); NaN entries of reals are integrated out.

        Raises:
            SpaceError: x is not of the space.
            LikelyError: a row has probability 0 in every class.
        """
        joint = self._joint(x)
        possible = joint.amax(1) > -torch.inf
        if not bool(possible.all()):
            row = int((~possible).nonzero()[0, 0])
            raise LikelyError(f"row {row} has probability 0 in every class, so nothing can be said of its label.")
        return joint.softmax(1)

    def _joint(self, x: Any) -> Tensor:
        scores = [self.of(c).log_prob(x) for c in range(len(self.classes))]
        return torch.stack(scores, 1) + self.class_weights.log().to(scores[0].dtype)

    # Each row to the model of its class ----------------------------------------------------------------------------

    def _groups(self, cond: Tensor | None) -> Iterator[tuple[int, Tensor]]:
        """Yield each class that occurs, and its rows."""
        assert cond is not None
        for label in cond.unique().tolist():
            yield int(label), (cond == label).nonzero()[:, 0]

    def _each(self, cond: Tensor | None, ask: Callable[[Any, Tensor], Tensor]) -> Tensor:
        """Answer for each row with the model of its class."""
        answers, order = [], []
        for label, rows in self._groups(cond):
            answers.append(ask(self.of(label), rows))
            order.append(rows)
        if not answers:
            return ask(self.of(0), torch.zeros(0, dtype=torch.int64))
        return torch.cat(answers)[torch.cat(order).argsort()]

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        return self._each(cond, lambda model, rows: model._log_prob(x[rows], None))

    def _log_marginal(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        return self._each(cond, lambda model, rows: model._log_marginal(x[rows], known[rows], None))

    def _sample(self, n: int, cond: Tensor | None) -> Tensor:
        return self._each(cond, lambda model, rows: model._sample(len(rows), None))

    def _complete(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        return self._each(cond, lambda model, rows: model._complete(x[rows], known[rows], None))

    # Learning ------------------------------------------------------------------------------------------------------

    def start(self, x: Tensor, cond: Tensor | None = None) -> None:
        """Start each model from the rows of its class, or from all rows where it has none.

        Raises:
            SpaceError: there are no labels.
            LikelyError: a class cannot be started; the message says which.
        """
        x = self.space.check(x, missing=holds_reals(self.space)).to(self.device)
        cond = self._conds(cond, len(x))
        rows_of = dict(self._groups(cond))
        for label in range(len(self.classes)):
            try:
                self.of(label).start(x[rows_of[label]] if label in rows_of else x)
            except LikelyError as error:
                raise LikelyError(f"class {label}: {error}") from None

    def _e_step(self, x: Tensor, cond: Tensor | None, known: Tensor | None, weight: Tensor) -> dict[str, Tensor]:
        wide = torch.float64
        stats = {COUNT: weight.sum(dtype=wide), LIKELIHOOD: torch.zeros((), dtype=wide, device=x.device)}
        rows_of = dict(self._groups(cond))
        none = torch.zeros(0, dtype=torch.int64, device=x.device)
        for label in range(len(self.classes)):
            rows = rows_of.get(label, none)
            mask = None if known is None else known[rows]
            own = self.of(label)._e_step(x[rows], None, mask, weight[rows])
            stats[LIKELIHOOD] = stats[LIKELIHOOD] + own[LIKELIHOOD]
            stats |= {f"{label}/{name}": value for name, value in own.items()}
        return stats

    @torch.no_grad()
    def m_step(self, stats: dict[str, Tensor]) -> None:
        """Set the parameters of each class that has rows to the best for these statistics.

        Raises:
            LikelyError: the weights sum to 0.
        """
        check_total(stats[COUNT])
        counts = [stats[f"{label}/{COUNT}"] for label in range(len(self.classes))]
        for label, count in enumerate(counts):
            if float(count) > 0:
                start = len(f"{label}/")
                own = {name[start:]: value for name, value in stats.items() if name.startswith(f"{label}/")}
                self.of(label).m_step(own)
        self.rows_of = torch.stack(counts).to(self.rows_of)


class BijectiveByClass(ByClass, Bijective):
    """One invertible model for each class."""

    def _encode_and_log_det(self, x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        z = self._each(cond, lambda model, rows: model._encode_and_log_det(x[rows], None)[0])
        return z, self._each(cond, lambda model, rows: model._encode_and_log_det(x[rows], None)[1])

    def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        return self._each(cond, lambda model, rows: model._decode(z[rows], None))


def over(space: Space, cond: Space | None, make: Callable[[Real], GaussianMixture]) -> Model:
    """Return a model over reals, by class where there are classes; over levels its dequantised form.

    That starts out as wide as the levels.

    Arguments:
        space: reals, or levels.
        cond: the classes, or None.
        make: returns an untrained model over reals.
    """
    reals = Real(space.shape, names=space.names)

    def one() -> GaussianMixture:
        model = make(reals)
        if isinstance(space, (Binary, Finite)):
            model.center.fill_(space.levels / 2)
            model.scale.fill_(space.levels / 12**0.5)  # the deviation of a uniform value
        return model

    model: Any = one()
    if cond is not None:
        kind = BijectiveByClass if isinstance(model, Bijective) else ByClass
        model = kind(reals, cond, one)
    return dequantized(model, space) if isinstance(space, (Binary, Finite)) else model
