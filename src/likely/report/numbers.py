"""Numbers as people read them: sign, true minus, as many digits as the error leaves."""

from __future__ import annotations

from likely.evaluation import Result

MINUS = "−"


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with a true minus sign, or "" for None.

    Example:
        >>> number(-1234.567)
        '−1234.57'
    """
    return "" if value is None else f"{value:.{digits}f}".replace("-", MINUS)


def took(minutes: float) -> str:
    """Return a time in the unit that suits it.

    Example:
        >>> took(0.001), took(0.5), took(61.25)
        ('< 0.1 s', '30.0 s', '61.2 min')
    """
    return "< 0.1 s" if minutes < 0.1 / 60 else f"{60 * minutes:.1f} s" if minutes < 1 else f"{minutes:.1f} min"


def nats(result: Result | None) -> str:
    """Return a negative log-likelihood as the log-likelihood it is of, with sign, error and k.

    Example:
        >>> nats({"value": 88.3, "sign": "<=", "protocol": {"k": 64, "standard_error": 0.5}})
        '≥ −88.30 ± 0.50 (k = 64)'
    """
    if result is None or result["value"] is None:
        return ""
    sign = result["sign"].replace("<=", "≥")
    error, k = result["protocol"].get("standard_error"), result["protocol"].get("k")
    return (
        f"{sign} {number(-result['value'])}"
        + (f" ± {error:{'.2f' if error >= 0.005 or error == 0 else '.1g'}}" if error is not None else "")
        + (f" (k = {k})" if k else "")
    )


def bits(result: Result | None) -> str:
    """Return the same number in bits per dimension, of which lower is better: a bound holds from above.

    Example:
        >>> bits({"value": 88.3, "sign": "<=", "protocol": {"bits_per_dim": 0.1625}})
        '≤ 0.163'
    """
    value = None if result is None else result["protocol"].get("bits_per_dim")
    if result is None or value is None:
        return ""
    return f"{result['sign'].replace('<=', '≤')} {number(value, 3)}"


def thousandths(value: float | None, error: float | None = None) -> str:
    """Return a small number times 1000, with its error.

    Example:
        >>> thousandths(0.0123, 0.0004)
        '12.3 ± 0.4'
    """
    if value is None:
        return ""
    return number(1000 * value, 1) + ("" if error is None else f" ± {1000 * error:.1f}")


def share(result: Result | None) -> str:
    """Return the share of recognised samples and the classes they cover."""
    if result is None or result["value"] is None:
        return ""
    return f"{100 * result['value']:.0f} %, {result['protocol']['covered']}/{result['protocol']['classes']}"
