"""How many components? Information criteria: the likelihood on the training rows less a price for each free number.

BIC = P log N - 2 log p(x), AIC = 2 P - 2 log p(x), for P free numbers and N rows: lower is better. BIC approximates the
Bayesian evidence and finds the true number of components where there is one and rows abound; AIC approximates the score
on new rows and takes more. Both assume far more rows than free numbers, which one distinct row in a component breaks.

Reference: Schwarz, Estimating the Dimension of a Model, 1978, doi.org/10.1214/aos/1176344136; Akaike, A New Look at the
Statistical Model Identification, 1974, doi.org/10.1109/TAC.1974.1100705.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import torch

from likely.core import Density
from likely.data.parts import Part
from likely.errors import LikelyError, unknown
from likely.parts.counting import counts_of
from likely.training import fit

CRITERIA = ("bic", "aic")
M = TypeVar("M", bound=Any)


class Choice(NamedTuple):
    """The model with the lowest criterion, and the criterion of each number of components."""

    model: Any
    components: int
    scores: dict[int, float]


def bic(model: Any, x: Any, cond: Any = None, *, weight: Any = None) -> float:
    """Return P log N - 2 sum log p(x): the Bayesian information criterion, lower is better.

    Arguments:
        model: a density that counts its `free_parameters`.
        x: values of its space, (N, *shape).
        cond: what is given, for a conditional model.
        weight: how much each row counts, (N,); N is their sum.

    Raises:
        LikelyError: the model has no exact density or does not count its parameters, or there are no rows.
    """
    count, total = _sums(model, x, cond, weight)
    return float(model.free_parameters * math.log(count) - 2 * total)


def aic(model: Any, x: Any, cond: Any = None, *, weight: Any = None) -> float:
    """Return 2 P - 2 sum log p(x): Akaike's information criterion, lower is better. Arguments are those of `bic`."""
    _, total = _sums(model, x, cond, weight)
    return float(2 * model.free_parameters - 2 * total)


def check_counted(model: Any) -> None:
    """Raise LikelyError if no criterion can be taken of such a model: it needs no data and no training to say so."""
    if not isinstance(model, Density) or not hasattr(model, "free_parameters"):
        raise LikelyError(f"{model._who()} has no exact density with counted parameters: no criterion can be taken.")


def _sums(model: Any, x: Any, cond: Any, weight: Any) -> tuple[float, float]:
    check_counted(model)
    score = model.log_prob(x, cond).double()
    weight = torch.ones_like(score) if weight is None else counts_of(weight, len(score)).to(score)
    if not float(weight.sum()) > 0:
        raise LikelyError("no criterion can be taken of no rows.")
    score = torch.where(weight > 0, score, 0)  # an impossible row that counts nothing says nothing
    return float(weight.sum()), float(score @ weight)


def choose(
    make: Callable[[int], M], part: Part, components: Iterable[int], criterion: str = "bic", **options: Any
) -> Choice:
    """Fit a model with each number of components and return the one with the lowest criterion.

    Arguments:
        make: returns an untrained model with so many components.
        part: the training rows; its weights count.
        components: which numbers to try.
        criterion: bic or aic.
        options: what `likely.fit` takes: passes, tolerance, batch, seed.

    Raises:
        UnknownName: there is no such criterion.
        LikelyError: nothing is to be tried, or a model cannot be fitted.
    """
    if criterion not in CRITERIA:
        raise unknown("criterion", criterion, CRITERIA)
    measure = bic if criterion == "bic" else aic
    x, cond = part.batch(slice(0, len(part)))
    scores: dict[int, float] = {}
    best: Any = None
    for number in components:
        model = make(number)
        check_counted(model)
        for _ in fit(model, part, **options):
            pass
        scores[number] = measure(model, x, cond if model.cond_space is not None else None, weight=part.weight)
        if scores[number] == min(scores.values()):
            best = Choice(model, number, scores)
    if best is None:
        raise LikelyError("no number of components to try.")
    return Choice(best.model, best.components, scores)
