"""The two-sample metrics of two sets of data in the features of one extractor, each beside its floor.

An extractor maps data to rows of numbers (`likely.extractors`); its name, which holds the hash of its weights, stands
in every protocol, because numbers in different features do not compare. The floor is the same metric of training data
against the same held-out data at the same number of rows: what a perfect model would show.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from likely.errors import LikelyError
from likely.evaluation.bootstrap import jackknife
from likely.evaluation.classifier_test import classifier_test
from likely.evaluation.frechet import frechet_distance, frechet_error
from likely.evaluation.inception_score import InceptionScore, inception_score
from likely.evaluation.kid import kernel_inception_distance
from likely.evaluation.manifold import manifold
from likely.evaluation.pace import Pace, Stage, Tell
from likely.evaluation.reading import WIDE, Set, read, some
from likely.evaluation.results import Result, missing, result, result_of_share
from likely.evaluation.sharded import by_first
from likely.evaluation.sliced import sliced_wasserstein
from likely.evaluation.two_sample import Distance
from likely.evaluation.vendi import vendi_error, vendi_score
from likely.extractors import Extractor
from likely.spaces import Space

NEIGHBOURS = 5  #: k of precision, recall, density and coverage
LEAST = NEIGHBOURS + 1  #: rows of each set
FOLDS = 5  #: of the classifier two-sample test
SPLITS = 10  #: of the inception score

PROJECTIONS = 1000  #: directions of the sliced Wasserstein distance
JACKKNIFED, MANY = 256, 5000  #: dimensions and rows up to which distances without a formula have a jackknife interval
GROUPS = 20  #: that the jackknife leaves out in turn

TOLD = 2**23  #: numbers of each set that the classifier test takes at most
READ = 1e-3  #: seconds to read a datum, by plan
READING, FLOOR = "reading {} data", "{} of real data"  #: titles of stages


class Seen(NamedTuple):
    """A number, its standard error or None, how that was found, how many rows it is a share of (0: it is none).

    `own` is what its protocol says otherwise than that of the other metrics.
    """

    value: float
    error: float | None
    method: str = "analytic"
    rows: int = 0
    own: dict[str, Any] | None = None


#: real and fake rows, the seed, and what is told how much is done -> metric -> what was found
Metric = Callable[[Set, Set, int, Callable[[float], None]], dict[str, Seen]]


def frechet(real: Tensor, fake: Tensor) -> Distance:
    """Return the Frechet distance of two sets of rows and its standard error, None where it has none."""
    return Distance(frechet_distance(real, fake).value, frechet_error(real, fake))


def _frechet(real: Set, fake: Set, seed: int, tell: Callable[[float], None]) -> dict[str, Seen]:
    x, y = real.rows, fake.rows
    if real.moments is not None or fake.moments is not None:  # not all rows are held
        value = frechet_distance(real.moments or x, fake.moments or y).value
        return {"frechet": Seen(value, None, own={"n_real": real.total, "n_generated": fake.total})}
    value, error = frechet(x, y)
    if error is None and x.shape[1] <= JACKKNIFED and min(len(x), len(y)) > 2 * GROUPS:
        # a covariance is singular: there is no formula
        error = jackknife(lambda a, b: frechet_distance(a, b).value, x, y, groups=GROUPS, seed=seed).error
        return {"frechet": Seen(value, error, "jackknife")}
    return {"frechet": Seen(value, error)}


def _kid(real: Set, fake: Set, seed: int, tell: Callable[[float], None]) -> dict[str, Seen]:
    return {"kid": Seen(*kernel_inception_distance(real.rows, fake.rows, tell=tell), "jackknife")}


def _manifold(real: Set, fake: Set, seed: int, tell: Callable[[float], None]) -> dict[str, Seen]:
    found = manifold(real.rows, fake.rows, NEIGHBOURS, tell=tell)
    rows = {"precision": len(fake.rows), "recall": len(real.rows), "density": 0, "coverage": len(real.rows)}
    return {name: Seen(*share, rows=rows[name]) for name, share in found._asdict().items()}


def _sliced(real: Set, fake: Set, seed: int, tell: Callable[[float], None]) -> dict[str, Seen]:
    a, b = real.rows, fake.rows
    value, error = sliced_wasserstein(a, b, projections=PROJECTIONS, seed=seed, tell=tell)
    own = {"estimator_error": error}  # of the directions drawn: it says nothing of other rows, and makes no interval
    if a.shape[1] > JACKKNIFED or not 2 * GROUPS < min(len(a), len(b)) <= max(len(a), len(b)) <= MANY:
        return {"sliced_wasserstein": Seen(value, None, own=own)}

    def coarse(x: Tensor, y: Tensor) -> float:
        return sliced_wasserstein(x, y, projections=100, seed=seed).value

    rows = jackknife(coarse, a, b, groups=GROUPS, seed=seed).error
    return {"sliced_wasserstein": Seen(value, math.hypot(rows, error or 0.0), "jackknife", own=own)}


def _vendi(real: Set, fake: Set, seed: int, tell: Callable[[float], None]) -> dict[str, Seen]:
    y = fake.rows if fake.rows.shape[1] <= WIDE else some(fake.rows, WIDE, seed)
    own = None if len(y) == len(fake.rows) else {"n_generated": len(y)}
    return {"vendi": Seen(vendi_score(y), vendi_error(y), own=own)}


def _told_apart(real: Set, fake: Set, seed: int, tell: Callable[[float], None]) -> dict[str, Seen]:
    most = max(TOLD // real.rows.shape[1], FOLDS)
    x, y = (some(one.rows, min(MANY, most), seed) for one in (real, fake))
    found = classifier_test(x, y, folds=FOLDS, seed=seed)
    return {"classifier_test": Seen(found.accuracy, None, rows=2 * found.rows, own={"rows": found.rows})}


METRICS: dict[str, Metric] = {
    "frechet": _frechet,
    "kid": _kid,
    "manifold": _manifold,
    "sliced": _sliced,
    "vendi": _vendi,
    "classifier_test": _told_apart,
}
#: what else decides a number
SETTINGS: dict[Metric, dict[str, Any]] = {
    _manifold: {"k": NEIGHBOURS},
    _sliced: {"projections": PROJECTIONS},
    _told_apart: {"classifier": "logistic regression", "folds": FOLDS},
}


def feature_distances(
    extractor: Extractor,
    space: Space,
    real: Any,
    fake: Any,
    *,
    training: Any = None,
    halves: bool = False,
    seed: int = 0,
    split: str = "test",
    tell: Tell | None = None,
    fabric: Any = None,
) -> list[Result]:
    """Return frechet, kid, precision, recall, density, coverage, sliced_wasserstein, vendi, classifier_test and, where
    the extractor classifies, inception_score, each with its standard error where there is one and beside its floor.

    Data are read a few rows at a time. Their features are held: two sets at once, up to half a gigabyte each. Of larger
    sets random rows are held, and the Frechet distance takes the moments of all. The protocol's `n_real` and
    `n_generated` are the rows that a number was taken of.

    Arguments:
        extractor: what maps data to features; its name enters every protocol.
        space: what one x is.
        real: held-out values of the space, (N, *shape): a tensor, or an array on disk.
        fake: samples, (M, *shape).
        training: real values for the floor, or None.
        halves: without training values, take for the floor one half of the real rows against the other.
        seed: decides directions, folds, splits and halves.
        split: what `real` is called, for the protocol.
        tell: is told how much is done and how many seconds are left.
        fabric: launched `lightning_fabric.Fabric` of the processes that read a share of each set, or None. Every
            process makes the same call and gets the same numbers: those of one process. The first alone measures what
            was read, with the threads of all.

    Raises:
        LikelyError: a set is too small for a metric, or the extractor does not take this space.
    """
    reason = too_few(len(real), len(fake))
    if reason:
        raise LikelyError(reason)
    halves = halves and training is None and len(real) >= 2 * LEAST
    half = len(real) // 2 if halves else len(real)
    pace = Pace(tell)
    pace.plan([Stage(READING.format("real"), "read", len(real) * READ)])
    pace.begin(READING.format("real"))
    x = read(extractor, real, space, seed=seed, tell=pace.at, fabric=fabric)
    has_floor, floors, d = halves or training is not None, dict[str, list[float | None]](), x.rows.shape[1]
    measures = [measure for measure in METRICS.values() if measure is not _frechet or d <= WIDE]
    if training is not None:
        pace.plan([Stage(READING.format("training"), "read", len(training) * READ)])
    if has_floor:
        pace.plan(_stages(measures, FLOOR, half, half if training is None else len(training), d))
    pace.plan([Stage(READING.format("generated"), "read", len(fake) * READ)])
    pace.plan(_stages(measures, "{}", len(real), len(fake), d))

    base: Set | None = None
    if training is not None:
        pace.begin(READING.format("training"))
        base = read(extractor, training, space, seed=seed, tell=pace.at, fabric=fabric)
    floor_n = None if not has_floor else half if base is None else base.total
    if has_floor:
        one, other = _halves(x, seed) if base is None else (x, base)
        floors = by_first(lambda: _floors(measures, one, other, seed, pace), fabric)
        del one, other
    base = None
    own_score = _score(x, seed)
    pace.begin(READING.format("generated"))
    y = read(extractor, fake, space, seed=seed, tell=pace.at, fabric=fabric)

    protocol: dict[str, Any] = {
        "n_real": len(x.rows),
        "n_generated": len(y.rows),
        "split": split,
        "seed": seed,
        "features": extractor.name,
        "dimensions": d,
        "floor_n": floor_n,
    }
    if halves:
        protocol["floor_of"] = "two halves of the real rows"
    results = []
    if d > WIDE:
        why = f"covariances of {d:,} features are not taken, {WIDE:,} at most: give fewer features, such as 'pca'."
        results.append(missing("frechet", why, **protocol))
    results += by_first(lambda: _measured(measures, x, y, seed, pace, protocol, floors), fabric)
    mine = _score(y, seed)
    if mine is not None and own_score is not None:
        counts = {"n_real": x.total, "n_generated": y.total, "floor_n": x.total}
        floor_of = {"floor": own_score.value, "floor_standard_error": own_score.error}
        noted = {**protocol, **counts, "splits": SPLITS, **floor_of}
        results.append(result("inception_score", mine.value, mine.error, interval_method="splits", **noted))
    pace.end()
    return results


def too_few(real: int, fake: int) -> str:
    """Return why sets of so many rows have no metrics by features, or ""."""
    enough = min(real, fake) >= LEAST
    return "" if enough else f"metrics by features need at least {LEAST} rows in each set, not {real} and {fake}."


def _floors(measures: list[Metric], real: Set, base: Set, seed: int, pace: Pace) -> dict[str, list[float | None]]:
    """Return the value and the standard error of every metric of real rows against other real rows."""
    floors: dict[str, list[float | None]] = {}
    for measure in measures:
        pace.begin(FLOOR.format(_title(measure)))
        seen = measure(real, base, seed, pace.at)
        floors |= {metric: [one.value, one.error] for metric, one in seen.items()}
    return floors


def _measured(
    measures: list[Metric],
    real: Set,
    fake: Set,
    seed: int,
    pace: Pace,
    protocol: dict[str, Any],
    floors: dict[str, list[float | None]],
) -> list[Result]:
    """Return every metric of generated rows against real ones, beside its floor."""
    results = []
    for measure in measures:
        pace.begin(_title(measure))
        for metric, seen in measure(real, fake, seed, pace.at).items():
            value, error = floors.get(metric, [None, None])
            own = {**SETTINGS.get(measure, {}), **(seen.own or {})}
            noted = {**protocol, **own, "floor": value, "floor_standard_error": error}
            if seen.rows:
                results.append(result_of_share(metric, seen.value, seen.rows, **noted))
            else:
                results.append(result(metric, seen.value, seen.error, interval_method=seen.method, **noted))
    return results


def _score(seen: Set, seed: int) -> InceptionScore | None:
    if seen.logits is None or len(seen.logits) < SPLITS:
        return None
    return inception_score(seen.logits, splits=SPLITS, seed=seed)


def _halves(seen: Set, seed: int) -> tuple[Set, Set]:
    """Return one random half of the rows and the other."""
    order = torch.randperm(len(seen.rows), generator=torch.Generator().manual_seed(seed))
    half = len(order) // 2
    one, other = (seen.rows[rows.sort().values] for rows in (order[:half], order[half : 2 * half]))
    return Set(one, half), Set(other, half)


def _title(measure: Metric) -> str:
    return next(name for name, one in METRICS.items() if one is measure).replace("_", " ")


def _stages(measures: list[Metric], title: str, n: int, m: int, d: int) -> list[Stage]:
    """Return the stages of the metrics of n rows and m rows of d features, with rough seconds of two cores."""
    pairs, least = (n * n + m * m) / 2 + n * m, min(d, m)
    seconds: dict[Metric, float] = {
        _frechet: 5e-11 * ((n + m) * d**2 + 20 * d**3),
        _kid: pairs * (1e-11 * d + 1e-8),
        _manifold: pairs * (1e-11 * d + 2e-8),
        _sliced: (n + m) * PROJECTIONS * (2e-11 * d + 1e-7),
        _vendi: 5e-11 * (m * least * d + 20 * least**3),
        _told_apart: 1e-6 * min(n, m, MANY, TOLD // d + 1) * d,
    }
    return [Stage(title.format(_title(one)), _title(one), seconds[one]) for one in measures]
