"""How far a model is with a question: its public methods ask their underscored twins a few rows at a time.

So a twin that counts its rows tells how far the answer is, and one that stores them small bounds the memory.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from likely.core import Model

SCORING = ("_log_prob", "_log_marginal", "_iwelbo", "_log_weight", "_elbo", "_energy")


@contextmanager
def watched(model: Model, twins: tuple[str, ...], rows: int, tell: Callable[[float], None]) -> Iterator[None]:
    """Tell within a block which share of so many rows the model has answered for.

    Arguments:
        model: any model.
        twins: the methods that answer, such as `_sample`; those that it does not have are passed over. Their first
            argument is a number of rows, or the rows.
        rows: of how many rows all are.
        tell: is told the share, 0 to 1, after each call.

    Example:
        >>> import likely
        >>> shares = []
        >>> model = likely.build("bernoulli", likely.Binary((2,)))
        >>> with watched(model, ("_sample",), 3000, shares.append):
        ...     x = model.sample(3000, seed=0)
        >>> shares[-1]
        1.0
    """
    done = 0

    def counted(twin: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(twin)
        def call(first: Any, *others: Any, **options: Any) -> Any:
            nonlocal done
            found = twin(first, *others, **options)
            done += first if isinstance(first, int) else len(first)
            tell(min(1.0, done / max(rows, 1)))
            return found

        return call

    before = {name: vars(model).get(name) for name in twins if hasattr(model, name)}
    try:
        for name in before:
            setattr(model, name, counted(getattr(model, name)))
        yield
    finally:
        for name, own in before.items():
            vars(model).pop(name, None)
            if own is not None:
                setattr(model, name, own)


def drawn(model: Model, n: int, cond: Any, *, seed: int, tell: Callable[[float], None]) -> Any:
    """Return `model.sample(n, cond, seed=seed)`, each run of rows held in the space's own type as soon as it is drawn.

    Arguments:
        model: any model.
        n: how many samples.
        cond: what is given of each, or None.
        seed: the same seed gives the same bytes.
        tell: is told the share that is drawn.

    Raises:
        LikelyError: as `model.sample` does.
    """
    twin, space = model._sample, model.space

    @functools.wraps(twin)
    def small(count: int, given: Any, **options: Any) -> Any:
        x = twin(count, given, **options)
        fits = isinstance(x, Tensor) and space.contains(x)  # what does not fit, the public method refuses
        return space._cast(x).cpu() if fits else x

    try:
        setattr(model, "_sample", small)  # noqa: B010  # an attribute of this object, not of its class
        with watched(model, ("_sample",), n, tell):
            x = model.sample(n, cond, seed=seed)
    finally:
        vars(model).pop("_sample", None)
    return x
