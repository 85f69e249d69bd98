"""What one measurement is: a number that carries its sign, its unit, its error and its protocol."""

from __future__ import annotations

import math
from typing import Any, TypedDict

import torch
from torch import Tensor

from likely.errors import LikelyError

NORMAL = 1.96  #: standard errors on either side of a normal estimate that cover 95 times in 100


class Result(TypedDict):
    """One measured number, in plain values that JSON can hold.

    `sign` says what the number is to the quantity it names: "=" exact, "<=" an upper bound on it, "~" an estimate, ""
    not available (then `value` is None). `interval` covers 95 times in 100, and is None where it is not defined (a
    single datum). The protocol holds the `standard_error` behind it and all that must agree before two numbers may
    stand in one column.
    """

    metric: str
    value: float | None
    interval: list[float] | None
    unit: str
    sign: str
    protocol: dict[str, Any]


def result(
    metric: str,
    value: float | None,
    error: float | None = None,
    *,
    unit: str = "",
    sign: str = "~",
    interval: tuple[float, float] | None = None,
    **protocol: Any,
) -> Result:
    """Return a number with its interval: as given, or value -+ 1.96 standard errors.

    Example:
        >>> result("kid", 0.5, 0.1, n_real=100)["interval"]
        [0.304, 0.696]
    """
    if interval is None and value is not None and error is not None and math.isfinite(error):
        interval = (value - NORMAL * error, value + NORMAL * error)
    noted = {**protocol, "standard_error": error}
    ends = None if interval is None else list(interval)
    return Result(metric=metric, value=value, interval=ends, unit=unit, sign=sign, protocol=noted)


def result_of_share(metric: str, share: float, n: int, **protocol: Any) -> Result:
    """Return the share of n independent rows, with the binomial standard error and Wilson's interval.

    The interval stays within 0 and 1 and has a width where the share is 0 or 1, as value -+ 1.96 errors does not.

    Reference: Wilson, Probable Inference, the Law of Succession, and Statistical Inference, 1927,
    doi.org/10.1080/01621459.1927.10502953.
    """
    square = NORMAL**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = NORMAL / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    ends = (max(0.0, middle - half), min(1.0, middle + half))
    return result(metric, share, math.sqrt(share * (1 - share) / n), unit="share", interval=ends, **protocol)


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
