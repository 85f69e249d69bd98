"""How a model learns: three loops as generators that yield after each update, chosen by the model's ability.

for step in likely.fit(model, data.train, steps=2000):
    ...  # step.index, step.metrics, step.state: log, save, stop as you like
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

from likely.core import Gradient, Marginal, Model, Statistics, Turns
from likely.data.parts import Part
from likely.errors import DataError, LikelyError, unknown
from likely.parts.counting import check_total
from likely.spaces import Real
from likely.training.gradient import by_gradient
from likely.training.optimize import OPTIMIZERS, PRECISIONS, SCHEDULES, NonFiniteLoss, has_missing
from likely.training.state import Average, State, Step, stream
from likely.training.statistics import by_statistics
from likely.training.turns import by_turns

__all__ = [
    "Average",
    "NonFiniteLoss",
    "State",
    "Step",
    "by_gradient",
    "by_statistics",
    "by_turns",
    "fit",
    "loop_of",
    "options_of",
    "stream",
]


NAMED = {
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "precision": PRECISIONS,
}  #: options that take one of a few names
AT_LEAST = {"batch": 1, "steps": 0, "passes": 0, "learning_rate": 0, "warmup": 0, "clip": 0, "weight_decay": 0}
WHOLE = ("batch", "steps", "passes", "warmup")
BELOW_ONE = ("momentum", "average")
LOOP = ("seed", "resume", "fabric")  #: arguments of a loop that are no options of a fit


def loop_of(model: Model) -> Callable[..., Iterator[Step]]:
    """Return the loop that trains this model: by statistics where it can, else by turns, else by gradient.

    Raises:
        LikelyError: the model has none of these abilities.
    """
    if isinstance(model, Statistics):
        return by_statistics
    if isinstance(model, Turns):
        return by_turns
    if isinstance(model, Gradient):
        return by_gradient
    raise LikelyError(f"{model._who()} cannot be trained: it is none of Statistics, Turns and Gradient.")


def options_of(model: Model) -> dict[str, Any]:
    """Return the options of the model's loop with their defaults."""
    signature = inspect.signature(loop_of(model))
    return {
        name: p.default for name, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY and name not in LOOP
    }


def fit(model: Model, part: Part, **options: Any) -> Iterator[Step]:
    """Yield a `Step` after each update of the model on these rows, by the loop that fits its abilities.

    Arguments:
        model: the model; it is trained in place.
        part: the training rows (`data.train`).
        options: what `by_gradient`, `by_turns` or `by_statistics` takes.

    Example:
        >>> import likely
        >>> from likely.data.parts import Part
        >>> space = likely.Binary((4,))
        >>> model = likely.build("bernoulli", space)
        >>> steps = list(fit(model, Part(space.random(100))))
        >>> len(steps)
        1
    """
    check(model, part, options)
    return loop_of(model)(model, part, **options)


def is_number(value: Any) -> bool:
    """Whether a value is a plain number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def at_least(name: str, value: Any, least: float, *, whole: bool = False) -> None:
    """Raise one clear line unless an option is a finite number, and not too small.

    Raises:
        LikelyError: it is not.
    """
    fits = is_number(value) and least <= value < math.inf and (isinstance(value, int) or not whole)
    if not fits:
        raise LikelyError(f"{name} must be {'a whole number, ' if whole else ''}{least} or more, not {value}.")


def check(model: Model, part: Part, options: dict[str, Any]) -> None:
    """Raise one clear line for an option that the model's loop does not take, or a value it cannot use."""
    loop, allowed = loop_of(model), options_of(model)
    for name, value in options.items():
        if name in LOOP:
            continue
        if name not in allowed:
            raise LikelyError(
                f"{model._who()} learns {loop.__name__} and has no option '{name}'; it takes {', '.join(allowed)}."
            )
        if name == "compile" and value and not model.compiles:
            raise LikelyError(f"{model._who()} cannot be compiled: its shapes depend on the data; leave out compile.")
        if name in NAMED and value not in NAMED[name]:
            raise unknown(name, str(value), NAMED[name])
        if name in AT_LEAST:
            at_least(name, value, AT_LEAST[name], whole=name in WHOLE)
        if name == "tolerance" and not is_number(value):
            raise LikelyError(f"tolerance must be a number, not {value}.")
        if name == "compile" and not isinstance(value, bool):
            raise LikelyError(f"compile must be True or False, not {value}.")
        if name in BELOW_ONE and not (is_number(value) and 0 <= value < 1):
            raise LikelyError(f"{name} must be a number from 0 to below 1, not {value}.")
    if len(part) == 0:
        raise DataError("there are no training rows.")
    if part.weight is not None:
        check_total(part.weight.double().sum())
    fills = isinstance(model, Statistics) and isinstance(model, Marginal)
    if isinstance(model.space, Real) and not fills and has_missing(part):
        raise DataError(
            f"there are missing values (NaN) and {model._who()} cannot be fitted with them; remove those "
            "rows or take a model of `likely models --can log_marginal`."
        )
