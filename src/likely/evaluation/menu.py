"""Metrics by name: which of them `evaluate` is asked for.

A name is that of a metric (`frechet`) or of a group that is measured together (`memory`); `all` takes everything that
applies. Where nothing is asked for, everything is measured that applies and is cheap: of `groups.GROUPS` all but the
probability flow, the extrapolated Frechet distance and the bins; metrics by features where an extractor is named; the
search for copies up to 10^11 products (training rows x (held-out rows + samples) x entries: MNIST with 1,000 samples,
some ten seconds on two cores); and the probes of a representation up to 10^6 numbers (training rows x entries: the
8 x 8 digits and small tables, not MNIST).
"""

from __future__ import annotations

from collections.abc import Iterable

from likely.errors import LikelyError, unknown
from likely.evaluation.groups import GROUPS

ALL = "all"


def metric_names() -> tuple[str, ...]:
    """Return the names of all metrics of `evaluate`, in the order in which they are measured.

    Example:
        >>> metric_names()[:3]
        ('nll', 'nll_flow', 'mmd')
    """
    return tuple(dict.fromkeys(name for group in GROUPS.values() for name in group.metrics))


def chosen(metrics: str | Iterable[str] | None) -> set[str] | None:
    """Return the names of the metrics that are asked for, or None where everything that applies is to be measured.

    Arguments:
        metrics: names of metrics and groups, as a list or with commas between them; None or "all" for no choice.

    Raises:
        UnknownName: there is no such metric or group; the message suggests the nearest.
        LikelyError: the list is empty, or it is no list.

    Example:
        >>> sorted(chosen("nll,memory"))
        ['authenticity', 'copies', 'data_copying', 'nll']
    """
    if metrics is None:
        return None
    if not isinstance(metrics, Iterable):
        raise LikelyError(f"metrics must be names, not {metrics!r}.")
    names = metrics.split(",") if isinstance(metrics, str) else [str(name) for name in metrics]
    names = [name.strip() for name in names if name.strip()]
    if not names:
        raise LikelyError("no metric is named: leave `metrics` out, or name some, such as nll,mmd.")
    known = dict.fromkeys([ALL, *GROUPS, *metric_names()])
    found: set[str] = set()
    for name in names:
        if name not in known:
            raise unknown("metric", name, known)
        if name == ALL:
            return set(metric_names())
        found |= set(GROUPS[name].metrics) if name in GROUPS else {name}
    return found
