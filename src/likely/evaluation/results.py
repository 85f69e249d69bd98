"""What one measurement is: a number that carries its sign, its unit, its error and its protocol."""

from __future__ import annotations

import math
from typing import Any, TypedDict

import torch
from torch import Tensor

from likely.errors import LikelyError

NORMAL = 1.96  #: standard errors on either side of a normal estimate that cover 95 times in 100


#: what every protocol of `evaluate` says, None where it does not apply
SCHEMA = (
    "data",  # the data set's name
    "view",  # how its values are looked at
    "fingerprint",  # the first digits of the SHA-256 of all its values
    "resize",  # how pictures were brought to size
    "split",  # the held-out part
    "n_real",
    "n_generated",
    "seed",
    "features",  # the extractor with the hash of its weights
    "standard_error",
    "interval_method",
    "floor",  # what a perfect model would show
    "floor_standard_error",
    "floor_n",  # the rows of real training data in place of samples
)


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
    interval_method: str = "analytic",
    **protocol: Any,
) -> Result:
    """Return a number with its interval: as given, or value -+ 1.96 standard errors.

    Arguments:
        metric: its name, one of `glossary.GLOSSARY`.
        value: the number, or None where there is none.
        error: its standard error, or None where it is not defined.
        unit: of the value.
        sign: what it is to the quantity it names: "=", "<=", "~" or "".
        interval: its ends, where they are not value -+ 1.96 errors.
        interval_method: where the error comes from: "analytic", "jackknife", "bootstrap", "splits", "Wilson", "DeLong"
            or "ranks".
        protocol: what was measured on what.

    Example:
        >>> result("kid", 0.5, 0.1, n_real=100)["interval"]
        [0.304, 0.696]
    """
    if interval is None and value is not None and error is not None and math.isfinite(error):
        interval = (value - NORMAL * error, value + NORMAL * error)
    noted = {**protocol, "standard_error": error, "interval_method": None if interval is None else interval_method}
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
    ends = (
        min(share, max(0.0, middle - half)),
        max(share, min(1.0, middle + half)),
    )  # rounding may leave the share out
    error = math.sqrt(share * (1 - share) / n)
    return result(metric, share, error, unit="share", interval=ends, interval_method="Wilson", **protocol)


def missing(metric: str, reason: str, **protocol: Any) -> Result:
    """Return the statement that a number was asked for and cannot be had, and why.

    Example:
        >>> missing("linear_probe", "gan has no representation.")["protocol"]["reason"]
        'gan has no representation.'
    """
    return result(metric, None, sign="", reason=reason, **protocol)


def completed(results: list[Result], **common: Any) -> list[Result]:
    """Return results whose protocols all have the keys of `SCHEMA`: their own, else from `common`, else None."""
    blank = {**dict.fromkeys(SCHEMA), **common}
    return [Result(**{**one, "protocol": {**blank, **one["protocol"]}}) for one in results]


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
