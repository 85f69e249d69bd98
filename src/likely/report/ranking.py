r"""Which of several models is best by one measure, and which differences are noise.

Every pair of models is tested. Negative log-likelihoods of the same held-out rows are compared row by row: with
d_n the difference at row n (averaged over seeds), z = mean d / error, error^2 = s_d^2 / N + sum of s^2 / S over the two
models where they have several seeds + the squared errors of estimated normalisers, held against Student's law with the
degrees of freedom of Welch and Satterthwaite. Easy and hard rows cancel, so this sees differences far smaller than the
intervals. Where rows are not paired (distances of samples, shares), errors add in squares: both were held against the
same real data, so that is on the safe side. Holm's rule then keeps the chance of any false claim over all pairs of a
measure at 5 %.

A model's place runs from 1 + (models told to be better) to K - (models told to be worse). With 95 % certainty all true
places lie in these ranges at once. "<=" marks an upper bound: that model may be better than its number, so a bound that
stands behind another number proves nothing; `Place.proven` counts only what is proven.

When it fails: without several seeds the test is of these weights, not of the way they are trained. Timings have no
error; a factor of 1.5 is taken for noise.

Reference: Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979, jstor.org/stable/4615733; Klein, Wright
and Wieczorek, A Joint Confidence Region for an Overall Ranking of Populations, 2020, doi.org/10.1111/rssc.12402.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from likely.errors import LikelyError
from likely.evaluation import Result
from likely.evaluation.results import mean_and_error
from likely.report.pooling import Key, Pool, against, error_of
from likely.report.scores import kept_scores
from likely.report.table import Row

LEVEL = 0.05  #: the chance of any false claim over all pairs of one measure
NOISE = 1.5  #: a factor between two timings that is taken for noise


class Difference(NamedTuple):
    """By how much the second model is worse than the first, its standard error, and whether that is told apart."""

    value: float
    error: float | None
    p: float | None
    apart: bool = False


class Place(NamedTuple):
    """The places a model may have, from the best to the worst; `proven` counts what bounds leave standing."""

    low: int
    high: int
    bound: bool
    proven: tuple[int, int]


@dataclass
class Ranking:
    """The models of one view by one measure.

    Arguments:
        key: the measure: metric and features.
        order: indices of the models that have a number, best first.
        results: index -> its number.
        places: index -> its place; empty where no two numbers can be compared.
        differences: (i, j) -> by how much j is worse than i, for i before j in `order`.
        refused: index -> why its number may not stand in the column.
        paired: whether all models were compared row by row.
    """

    key: Key
    order: list[int] = field(default_factory=list)
    results: dict[int, Result] = field(default_factory=dict)
    places: dict[int, Place] = field(default_factory=dict)
    differences: dict[tuple[int, int], Difference] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    paired: bool = False

    def best(self) -> list[int]:
        """Return the models that nothing is told to be better than, best number first."""
        return [i for i in self.order if i in self.places and self.places[i].low == 1]


def holm(p: Sequence[float], level: float = LEVEL) -> list[bool]:
    """Return which hypotheses are rejected so that any false rejection has at most this chance.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [True, False, False]
    """
    rejected = [False] * len(p)
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if p[i] > level / (len(p) - rank):
            break
        rejected[i] = True
    return rejected


def ranking(pools: Sequence[Pool], key: Key, loss: Callable[[float], float]) -> Ranking:
    """Return the places of the models of one view by one measure.

    Arguments:
        pools: the models of one view.
        key: metric and features.
        loss: value -> what is lowest for the best model.
    """
    made = Ranking(key)
    found = {i: pool.results[key] for i, pool in enumerate(pools) if key in pool.results}
    found = {i: result for i, result in found.items() if result["value"] is not None}
    made.refused = {i: pool.refused[key] for i, pool in enumerate(pools) if key in pool.refused}
    made.results, reasons = _one_protocol(found)
    made.refused |= reasons
    value = {i: loss(float(result["value"])) for i, result in made.results.items() if result["value"] is not None}
    made.order = sorted(value, key=lambda i: value[i])
    scores = {i: _scores(pools[i].rows) if key[0] == "nll" else None for i in made.order}
    pairs = [(i, j) for at, i in enumerate(made.order) for j in made.order[at + 1 :]]
    made.paired = bool(pairs)
    for i, j in pairs:
        both = _paired(scores[i], scores[j], made.results[i], made.results[j])
        made.paired = made.paired and both is not None
        made.differences[i, j] = both or _apart(value[j] - value[i], made.results[i], made.results[j])
    tested = [pair for pair in pairs if made.differences[pair].p is not None]
    verdicts = holm([made.differences[pair].p or 0.0 for pair in tested])
    for pair, told in zip(tested, verdicts, strict=True):
        made.differences[pair] = made.differences[pair]._replace(apart=told)
    if tested or len(made.order) == 1:
        made.places = {i: _place(i, made) for i in made.order}
    return made


def timing(values: Sequence[float | None], *, fewest: bool) -> list[tuple[int, int] | None]:
    """Return the places by a timing, None where there is none; within a factor of 1.5 nothing is told apart.

    Arguments:
        values: one per model.
        fewest: whether low is best (minutes) or high (samples per second).
    """
    known = {i: math.log(max(v, 1e-9)) * (1 if fewest else -1) for i, v in enumerate(values) if v is not None}
    room = math.log(NOISE)
    places: list[tuple[int, int] | None] = [None] * len(values)
    for i, mine in known.items():
        better = sum(other < mine - room for other in known.values())
        worse = sum(other > mine + room for other in known.values())
        places[i] = (1 + better, len(known) - worse)
    return places


def _one_protocol(found: dict[int, Result]) -> tuple[dict[int, Result], dict[int, str]]:
    """Return the results of the protocol that most models share, and why each other one is refused."""
    groups: list[list[int]] = []
    for i, result in found.items():
        home = next((group for group in groups if all(not against(found[j], result) for j in group)), None)
        if home is None:
            groups.append([i])
        else:
            home.append(i)
    if not groups:
        return {}, {}
    most = max(groups, key=len)
    kept = {i: result for i, result in found.items() if i in most}
    refused = {
        i: next(why for j in most if (why := against(found[j], result))) for i, result in found.items() if i not in most
    }
    return kept, refused


def _scores(rows: Sequence[Row]) -> tuple[list[Tensor], Tensor | None, dict[str, str]] | None:
    """Return the kept scores of every seed, the rows' weights and what was scored; None unless all seeds agree."""
    kept = [kept_scores(row.folder) for row in rows]
    first = kept[0]
    if first is None or any(one is None or one.what != first.what for one in kept):
        return None
    return [one.nats for one in kept if one is not None], first.weight, first.what


def _paired(first: Any, second: Any, a: Result, b: Result) -> Difference | None:
    """Return by how many nats the second is worse, from rows that both were scored on; None if they were not."""
    if first is None or second is None or first[2] != second[2] or len(first[0][0]) != len(second[0][0]):
        return None
    ours, theirs = (torch.stack(one[0]).double().mean(0) for one in (first, second))
    infinite = [not bool(one.isfinite().all()) for one in (ours, theirs)]
    if any(infinite):
        return Difference(0.0, None, 1.0) if all(infinite) else Difference(math.inf, None, 0.0)
    try:
        value, error = mean_and_error(ours - theirs, first[1])
    except LikelyError:
        return None
    if error is None:
        return Difference(value, None, None)
    terms = [(error**2, len(ours) - 1.0)]
    for scores, result in ((first[0], a), (second[0], b)):
        if len(scores) > 1:
            means = torch.stack([one.double().mean() for one in scores])
            terms.append((float(means.var()) / len(scores), len(scores) - 1.0))
        shared = result["protocol"].get("log_partition_error") or 0.0  # what all rows share; other noise is in them
        terms.append((float(shared) ** 2, math.inf))
    return _tested(value, terms)


def _apart(value: float, a: Result, b: Result) -> Difference:
    """Return the difference of two numbers whose errors are taken to be independent."""
    if not math.isfinite(value):
        return Difference(value, None, 1.0 if math.isnan(value) else 0.0)
    terms = []
    for result in (a, b):
        error = error_of(result)
        if error is None:
            return Difference(value, None, None)
        terms.append((error**2, float(result["protocol"].get("freedom", math.inf))))
    return _tested(value, terms)


def _tested(value: float, terms: Sequence[tuple[float, float]]) -> Difference:
    """Return a difference with its two-sided p-value; `terms` are the parts of its variance, each with its freedom."""
    from scipy.stats import norm, t

    variance = sum(part for part, _ in terms)
    if variance == 0:
        return Difference(value, 0.0, 1.0 if value == 0 else 0.0)
    loose = sum(part**2 / freedom for part, freedom in terms)
    z = abs(value) / math.sqrt(variance)
    p = 2 * float(t.sf(z, variance**2 / loose) if loose > 0 else norm.sf(z))
    return Difference(value, math.sqrt(variance), p)


def _place(i: int, made: Ranking) -> Place:
    better = [a for (a, b), d in made.differences.items() if b == i and d.apart]
    worse = [b for (a, b), d in made.differences.items() if a == i and d.apart]
    bound, count = made.results[i]["sign"] == "<=", len(made.order)
    proven_better = 0 if bound else len(better)  # what has a bound may be better than all of them
    proven_worse = sum(made.results[j]["sign"] != "<=" for j in worse)
    return Place(1 + len(better), count - len(worse), bound, (1 + proven_better, count - proven_worse))
