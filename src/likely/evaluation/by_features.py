"""The two-sample metrics of two sets of data in the features of one extractor, each beside its floor.

An extractor maps data to rows of numbers (`likely.extractors`); its name, which holds the hash of its weights, stands
in every protocol, because numbers in different features do not compare. The floor is the same metric of training data
against the same held-out data at the same number of rows: what a perfect model would show.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from likely.errors import LikelyError
from likely.evaluation.classifier_test import classifier_test
from likely.evaluation.frechet import frechet_distance, frechet_error
from likely.evaluation.inception_score import inception_score
from likely.evaluation.kid import kernel_inception_distance
from likely.evaluation.manifold import manifold
from likely.evaluation.results import Result, result
from likely.evaluation.sliced import sliced_wasserstein
from likely.evaluation.vendi import vendi_score
from likely.extractors import Extractor
from likely.spaces import Space

NEIGHBOURS = 5  #: k of precision, recall, density and coverage
FOLDS = 5  #: of the classifier two-sample test
SPLITS = 10  #: of the inception score

#: metric -> (value, standard error or None), of real and fake rows and the seed
Metric = Callable[[Tensor, Tensor, int], dict[str, tuple[float, float | None]]]


def _frechet(real: Tensor, fake: Tensor, seed: int) -> dict[str, tuple[float, float | None]]:
    return {"frechet": (frechet_distance(real, fake).value, frechet_error(real, fake))}


def _kid(real: Tensor, fake: Tensor, seed: int) -> dict[str, tuple[float, float | None]]:
    value, error = kernel_inception_distance(real, fake)
    return {"kid": (value, error)}


def _manifold(real: Tensor, fake: Tensor, seed: int) -> dict[str, tuple[float, float | None]]:
    found = manifold(real, fake, NEIGHBOURS)
    return {name: (share.value, share.error) for name, share in found._asdict().items()}


def _sliced(real: Tensor, fake: Tensor, seed: int) -> dict[str, tuple[float, float | None]]:
    value, error = sliced_wasserstein(real, fake, seed=seed)
    return {"sliced_wasserstein": (value, error)}


def _vendi(real: Tensor, fake: Tensor, seed: int) -> dict[str, tuple[float, float | None]]:
    return {"vendi": (vendi_score(fake), None)}


def _told_apart(real: Tensor, fake: Tensor, seed: int) -> dict[str, tuple[float, float | None]]:
    found = classifier_test(real, fake, folds=FOLDS, seed=seed)
    return {"classifier_test": (found.accuracy, (found.high - found.low) / (2 * 1.959964))}


METRICS: dict[str, Metric] = {
    "frechet": _frechet,
    "kid": _kid,
    "manifold": _manifold,
    "sliced": _sliced,
    "vendi": _vendi,
    "classifier_test": _told_apart,
}
UNITS = {"precision": "share", "recall": "share", "coverage": "share", "classifier_test": "accuracy"}


def feature_distances(
    extractor: Extractor,
    space: Space,
    real: Any,
    fake: Any,
    *,
    training: Any = None,
    seed: int = 0,
    split: str = "test",
) -> list[Result]:
    """Return frechet, kid, precision, recall, density, coverage, sliced_wasserstein, vendi, classifier_test and, where
    the extractor classifies, inception_score, each with its standard error where there is one and beside its floor.

    Arguments:
        extractor: what maps data to features; its name enters every protocol.
        space: what one x is.
        real: held-out values of the space, (N, *shape).
        fake: samples, (M, *shape).
        training: real values for the floor, or None.
        seed: decides directions, folds and splits.
        split: what `real` is called, for the protocol.

    Raises:
        LikelyError: a set is too small for a metric, or the extractor does not take this space.
    """
    smallest = NEIGHBOURS + 1
    if min(len(real), len(fake)) < smallest:
        raise LikelyError(
            f"metrics by features need at least {smallest} rows in each set, not {len(real)} and {len(fake)}."
        )
    x, y = extractor(real, space), extractor(fake, space)
    base = None if training is None else extractor(training, space)
    protocol: dict[str, Any] = {
        "n_real": len(x),
        "n_generated": len(y),
        "split": split,
        "seed": seed,
        "features": extractor.name,
        "dimensions": x.shape[1],
        "floor_n": None if base is None else len(base),
    }
    results = []
    for measure in METRICS.values():
        floors = {} if base is None else measure(x, base, seed)
        for metric, (value, error) in measure(x, y, seed).items():
            own: dict[str, Any] = {"k": NEIGHBOURS} if measure is _manifold else {}
            floor, floor_error = floors.get(metric, (None, None))
            noted = {**protocol, **own, "floor": floor, "floor_standard_error": floor_error}
            unit = UNITS.get(metric, "")
            results.append(result(metric, value, error, unit=unit, **noted))
    if extractor.classes is not None and min(len(x), len(y)) >= SPLITS:
        mine = inception_score(extractor.logits(fake, space), splits=SPLITS, seed=seed)
        own_score = inception_score(extractor.logits(real, space), splits=SPLITS, seed=seed)
        noted = {**protocol, "splits": SPLITS, "floor": own_score.value, "floor_standard_error": own_score.error}
        results.append(result("inception_score", mine.value, mine.error, **noted))
    return results


def comparable(a: Result, b: Result) -> str:
    """Return why two results may not stand in one column, or "" if they may.

    Metric, features, sizes, split and settings must agree; the model, its seed and its numbers may differ.

    Example:
        >>> one = result("kid", 0.1, n_real=100)
        >>> comparable(one, result("kid", 0.1, n_real=50))
        'n_real is 100 in one and 50 in the other'
    """
    if a["metric"] != b["metric"]:
        return f"one is {a['metric']}, the other {b['metric']}"
    for key in ("n_real", "n_generated", "split", "features", "k", "splits", "bandwidth", "classifier", "rows"):
        if a["protocol"].get(key) != b["protocol"].get(key) and a["sign"] == b["sign"]:
            return f"{key} is {a['protocol'].get(key)} in one and {b['protocol'].get(key)} in the other"
    return ""
