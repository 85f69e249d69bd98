"""What one measurement is: a number that carries its sign, its unit, its error and its protocol."""

from __future__ import annotations

import math
from typing import Any, TypedDict

import torch
from torch import Tensor

from likely.errors import LikelyError


class Result(TypedDict):
    """One measured number, in plain values that JSON can hold.

    `sign` says what the number is to the quantity it names: "=" exact, ">=" a lower bound on it, "~" an estimate,
    "" not available (then `value` is None). `standard_error` is None where it is not defined (a single datum).
    """

    metric: str
    value: float | None
    standard_error: float | None
    unit: str
    sign: str
    protocol: dict[str, Any]


def mean_and_error(values: Tensor, weight: Tensor | None = None) -> tuple[float, float | None]:
    r"""Return the weighted mean of values, (N,), and its standard error.

    m = sum w v / sum w, error = sqrt(N / (N - 1) sum w^2 (v - m)^2) / sum w: for equal weights the usual s / sqrt(N).
    The error is None for one value or where a value is infinite.

    Raises:
        LikelyError: there is no value, or a value is not a number.
    """
    values = values.detach().to("cpu", torch.float64)
    if len(values) == 0:
        raise LikelyError("nothing to evaluate: the part has no rows.")
    if bool(values.isnan().any()):
        row = int(values.isnan().nonzero()[0, 0])
        raise LikelyError(f"the score of row {row} is not a number: did the training diverge?")
    w = torch.ones_like(values) if weight is None else weight.to("cpu", torch.float64)
    if not bool(values.isfinite().all()):
        return float(values[w > 0].mean()), None
    mean = float((w * values).sum() / w.sum())
    if len(values) == 1:
        return mean, None
    n = len(values)
    return mean, math.sqrt(n / (n - 1) * float((w * (values - mean)).square().sum())) / float(w.sum())
