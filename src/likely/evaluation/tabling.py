"""Which numbers may stand in one column: those of one metric, in one feature space, measured by one protocol.

A Frechet distance in the features of one network and one in another's are different quantities with the same name; a
kernel distance at 200 samples and one at 1,000 have different floors; a likelihood given the label and one without are
of different laws. `comparable` says why two results do not compare, `tabled` refuses to set such numbers side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from likely.errors import LikelyError
from likely.evaluation.results import Result

#: what a protocol may differ in: the draw, and what was found. Everything else must agree.
FREE = frozenset(
    {
        # the draw
        "seed",
        # what was found out beside the value
        "standard_error",
        "estimator_error",
        "log_partition_error",
        "bits_per_dim",
        "reverse",
        "reverse_error",
        "reverse_rows",
        "per_class",
        "per_class_standard_error",
        "per_factor",
        "counts",
        "covered",
        "skipped",
        "z",
        "p_copying",
        "p_value",
        "cells_counted",
        "interval_method",
        "reason",
        # what it stands beside: of the same data, but drawn or fitted
        "floor",
        "floor_standard_error",
        "uniform",
        "uniform_bits_per_dim",
        "simple",
        "simple_model",
        "simple_bits_per_dim",
        # the length of a representation is the model's own affair
        "latent",
    }
)
#: what is told first, where several settings differ
FIRST = ("data", "view", "split", "features", "n_real", "n_generated")
#: settings of an estimate: they need not agree where the two numbers are of different kinds, as their signs say
ESTIMATE = frozenset({"k", "steps", "probes", "dequantised"})


def comparable(a: Result, b: Result) -> str:
    """Return why two results may not stand in one column, or "" if they may.

    Metric, unit, data, features, numbers of rows and settings must agree; the model, the seed and what was found may
    differ. Settings of an estimate (k) must agree only between numbers of the same kind: an exact likelihood may stand
    beside a bound, because its sign says so. A number that is not available (None) may stand anywhere.

    Example:
        >>> from likely.evaluation.results import result
        >>> one = result("kid", 0.1, n_real=100)
        >>> comparable(one, result("kid", 0.1, n_real=50))
        'n_real is 100 in one and 50 in the other'
    """
    if a["metric"] != b["metric"]:
        return f"one is {a['metric']}, the other {b['metric']}"
    if a["value"] is None or b["value"] is None:
        return ""
    if a["unit"] != b["unit"]:
        return f"the unit is {a['unit'] or 'none'} in one and {b['unit'] or 'none'} in the other"
    first, second = a["protocol"], b["protocol"]
    free = FREE if a["sign"] == b["sign"] else FREE | ESTIMATE
    for key in (*FIRST, *sorted((first.keys() | second.keys()) - free - set(FIRST))):
        if key in ESTIMATE and None in (first.get(key), second.get(key)):
            continue  # a bound that takes no k stands beside one that prints its own
        if first.get(key) != second.get(key):
            return f"{key} is {first.get(key)} in one and {second.get(key)} in the other"
    return ""


def column(one: Result) -> str:
    """Return what the column of a result is called: its metric, and the features it is measured in.

    Example:
        >>> from likely.evaluation.results import result
        >>> column(result("kid", 0.1, features="digits-cnn-c71bdc"))
        'kid (digits-cnn-c71bdc)'
    """
    features = one["protocol"].get("features")
    return f"{one['metric']} ({features})" if features else one["metric"]


def find(results: Iterable[Result], metric: str, features: str | None = None) -> Result | None:
    """Return the result of this name in these features (in any, if None: then the first), or None.

    Arguments:
        results: what was measured on one model.
        metric: its name.
        features: the name of an extractor with or without the hash of its weights.
    """
    for one in results:
        own = one["protocol"].get("features")
        if one["metric"] == metric and (features is None or own == features or str(own).startswith(f"{features}-")):
            return one
    return None


def tabled(rows: Mapping[str, Iterable[Result]]) -> dict[str, dict[str, Result]]:
    """Return column -> row -> result, in the order in which they come.

    Arguments:
        rows: the results of each row: a model's name -> what `evaluate` returned.

    Raises:
        LikelyError: two numbers of one column were not measured alike; the message says in what they differ.

    Example:
        >>> from likely.evaluation.results import result
        >>> table = tabled({"vae": [result("kid", 0.1, n_real=9)], "gan": [result("kid", 0.2, n_real=9)]})
        >>> [(row, one["value"]) for row, one in table["kid"].items()]
        [('vae', 0.1), ('gan', 0.2)]
    """
    table: dict[str, dict[str, Result]] = {}
    for row, results in rows.items():
        for one in results:
            cells = table.setdefault(column(one), {})
            if row in cells:
                raise LikelyError(f"'{row}' has two results called {column(one)}: one row holds one of each.")
            for other, held in cells.items():
                reason = comparable(held, one)
                if reason:
                    raise LikelyError(
                        f"{column(one)} of '{other}' and of '{row}' may not stand in one column: {reason}. Measure "
                        "both in the same way."
                    )
            cells[row] = one
    return table
