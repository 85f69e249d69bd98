r"""Several seeds of one model as one row: the mean over seeds, with an interval for the data and for the seeds.

With values v_1 ... v_S and their errors e_s over the data: v = mean v_s, error^2 = mean e_s^2 + s^2 / S, s the standard
deviation of the values between seeds. The first term does not shrink with S, because every seed is judged on the same
held-out rows; the second is what another choice of seeds would change. The interval is v -+ t error, t the 97.5 %
quantile of Student's law with (error^2)^2 / ((s^2 / S)^2 / (S - 1)) degrees of freedom (Welch and Satterthwaite).

When it fails: where samples are drawn anew with each seed, s^2 holds their noise a second time, and the interval is too
wide. With two seeds and a large s it is very wide, and that is the truth. One seed says nothing about others: its
interval is that of the data alone.

Reference: Satterthwaite, An Approximate Distribution of Estimates of Variance Components, 1946,
doi.org/10.2307/3002019.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import Any

from likely.evaluation import Result, comparable
from likely.evaluation.results import NORMAL
from likely.report.table import Row, Table

Key = tuple[str, str]  #: what shares a column: metric, and the features it was measured in


#: what the mean over seeds adds to a protocol; models may differ in it
OWN = ("seeds", "seed_deviation", "data_error", "freedom")


@dataclass
class Pool:
    """A model with all its seeds.

    Arguments:
        row: what the table shows: the row of one seed, or the mean over several.
        rows: the rows of the seeds.
        refused: column -> why the seeds' numbers may not be averaged.
    """

    row: Row
    rows: list[Row]
    refused: dict[Key, str] = field(default_factory=dict)

    @property
    def results(self) -> dict[Key, Result]:
        """Column -> result; of two results for one column, the first."""
        found: dict[Key, Result] = {}
        for result in self.row.results:
            found.setdefault(key_of(result), result)
        return found


def key_of(result: Result) -> Key:
    """Return which column a result belongs to: numbers in different features never share one."""
    return result["metric"], str(result["protocol"].get("features") or "")


def pools(table: Table) -> dict[tuple[str, str], list[Pool]]:
    """Return (data, view) -> one pool per model, best first."""
    found = {}
    for view, rows in table.views().items():
        models: dict[tuple[str, str, str], list[Row]] = {}
        for row in rows:
            models.setdefault((row.model, row.given, repr(row.numbers)), []).append(row)
        found[view] = sorted((pool(each) for each in models.values()), key=lambda one: one.row.rank)
    return found


def pool(rows: list[Row]) -> Pool:
    """Return one row for the seeds of a model; costs are means."""
    rows = sorted(rows, key=lambda row: row.seed)
    if len(rows) == 1:
        return Pool(rows[0], rows)
    each = [Pool(row, [row]).results for row in rows]
    results, refused = [], {}
    for key in each[0]:
        mine = [one[key] for one in each if key in one]
        reasons = [why for other in mine[1:] if (why := against(mine[0], other))]
        if reasons:
            refused[key] = reasons[0]
        else:
            results.append(mean_of(mine))
    mean = replace(rows[0], folder="", command="", results=results)
    for name in ("minutes", "speed", "scoring", "seen"):
        known = [value for row in rows if (value := getattr(row, name)) is not None]
        setattr(mean, name, fmean(known) if known else None)
    return Pool(mean, rows, refused)


def against(a: Result, b: Result) -> str:
    """Return why two results may not stand in one column, or "".

    The number of importance samples is how well a model can say what it knows, and is printed with the number: bounds
    by different means stand in one column.
    """
    free = set(OWN)
    if a["metric"] == "nll" and None in (a["protocol"].get("k"), b["protocol"].get("k")):
        free.add("k")
    return comparable(_without(a, free), _without(b, free))


def _without(one: Result, keys: set[str]) -> Result:
    protocol = {name: value for name, value in one["protocol"].items() if name not in keys}
    return Result(**{**one, "protocol": protocol})  # type: ignore[typeddict-item]


def error_of(result: Result) -> float | None:
    """Return the standard error that a result's interval stands for: half its width / 1.96 (or the quantile used)."""
    interval = result["interval"]
    if interval is None or not all(math.isfinite(end) for end in interval):
        return None
    if "seeds" in result["protocol"]:
        error: float | None = result["protocol"]["standard_error"]
        return error
    return (interval[1] - interval[0]) / (2 * NORMAL)


def mean_of(results: list[Result]) -> Result:
    """Return the mean of one metric over seeds, with the interval of this file's formula.

    Example:
        >>> from likely.evaluation.results import result
        >>> made = mean_of([result("kid", 1.0, 0.3), result("kid", 1.0, 0.3)])
        >>> made["value"], [round(end, 3) for end in made["interval"]]
        (1.0, [0.412, 1.588])
    """
    from scipy.stats import t

    first = results[0]
    values = [one["value"] for one in results if one["value"] is not None]
    if len(values) < len(results):
        return first
    value, errors = fmean(values), [error_of(one) for one in results]
    protocol: dict[str, Any] = {**first["protocol"], "seeds": len(values), "standard_error": None}
    for name in ("bits_per_dim", "floor", "covered"):
        told = [one["protocol"][name] for one in results if one["protocol"].get(name) is not None]
        if len(told) == len(results):
            protocol[name] = min(told) if name == "covered" else fmean(told)
    if all(one["protocol"].get("counts") for one in results):
        counts = zip(*(one["protocol"]["counts"] for one in results), strict=True)
        protocol["counts"] = [sum(each) for each in counts]
    interval = None
    if len(values) > 1 and all(math.isfinite(one) for one in values):
        between = stdev(values) ** 2 / len(values)
        protocol["seed_deviation"] = stdev(values)
        if None not in errors:
            within = fmean(error**2 for error in errors if error is not None)
            error = math.sqrt(within + between)
            freedom = error**4 / (between**2 / (len(values) - 1)) if between > 0 else math.inf
            protocol |= {"standard_error": error, "data_error": math.sqrt(within), "freedom": freedom}
            half = float(t.ppf(0.975, freedom)) * error if math.isfinite(freedom) else NORMAL * error
            interval = [value - half, value + half]
            if first["unit"] == "share":
                interval = [max(0.0, interval[0]), min(1.0, interval[1])]
    return Result(**{**first, "value": value, "interval": interval, "protocol": protocol})  # type: ignore[typeddict-item]
