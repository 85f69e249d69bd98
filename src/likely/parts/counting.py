"""How much each row counts: the weights that models, data and estimates take."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from likely.errors import LikelyError, SpaceError

HEAVIEST = 1e20  #: what one row may count at most: so that sums of squares stay numbers in float32,
LIGHTEST = 1e-20  #: and what all must count together at least


def counts_of(weight: Any, n: int, what: str = "weight") -> Tensor:
    """Return how much each of n rows counts, (n,).

    Weights are counts, beside which imaginary rows (`pseudo_count`) stay what they are; so they are not rescaled.

    Arguments:
        weight: one number per row.
        n: how many rows there are.
        what: what they are called in messages.

    Raises:
        SpaceError: they are not n numbers from 0 to `HEAVIEST`.

    Example:
        >>> counts_of([1, 2.5], 2)
        tensor([1.0000, 2.5000], dtype=torch.float64)
    """
    wanted = f"{what} must be {n} numbers, each 0 or more and finite"
    try:
        # of a list torch would make float32, in which 1e300 is infinite
        weight = torch.as_tensor(weight, dtype=None if hasattr(weight, "dtype") else torch.float64)
        good = weight.isfinite() & (weight >= 0)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SpaceError(f"{wanted} ({error}).") from None
    if tuple(weight.shape) != (n,):
        raise SpaceError(f"{wanted}; it has shape {tuple(weight.shape)}.")
    if not bool(good.all()):
        row = int((~good).nonzero()[0, 0])
        raise SpaceError(f"{wanted}; row {row} has {float(weight[row]):g}.")
    if n and float(weight.max()) > HEAVIEST:
        row = int(weight.argmax())
        raise SpaceError(
            f"{what} is {float(weight[row]):g} in row {row}, more than {HEAVIEST:g}; divide all weights by one number."
        )
    return weight


def check_total(total: Tensor | float) -> None:
    """Raise one clear line unless the rows that a model learns from count as something together.

    Arguments:
        total: the sum of their weights.

    Raises:
        LikelyError: it is 0, or so small that numbers underflow.
    """
    if not float(total) > 0:
        raise LikelyError("nothing to learn from: no rows, or all weights are 0.")
    if float(total) < LIGHTEST:
        raise LikelyError(
            f"the weights add up to {float(total):g}, less than {LIGHTEST:g}; multiply all by one number."
        )
