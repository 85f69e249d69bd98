"""The protocol: what is measured, on which rows, with which seed. Every number carries it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from likely import extractors
from likely.core import Model, seeded
from likely.errors import LikelyError, unknown
from likely.evaluation.by_features import feature_distances
from likely.evaluation.classifier import Recogniser
from likely.evaluation.likelihood import likelihood
from likely.evaluation.results import Result, result, result_of_share
from likely.evaluation.two_sample import features as rows_of
from likely.evaluation.two_sample import gaussian, kernel_distance, median_distance, polynomial
from likely.extractors import Extractor
from likely.spaces import Finite, Real, Sequence, Space

if TYPE_CHECKING:
    from likely.data.parts import Data, Part


def evaluate(
    model: Any,
    data: Data | None = None,
    *,
    part: str = "test",
    k: int = 64,
    n: int = 1000,
    seed: int = 0,
    rows: int | None = None,
    features: str | Extractor | None = None,
) -> list[Result]:
    """Measure a model against data: likelihood, kernel two-sample distance and, with labels, how many are recognised.

    Arguments:
        model: a trained model, or a run (anything with `.model` and `.data`).
        data: the data set; None takes the run's own.
        part: which part is held out: "test" or "valid".
        k: how many importance samples a `Weighted` model averages.
        n: how many samples to draw; the distance takes as many of them as there are held-out rows.
        seed: decides the samples and every estimate.
        rows: how many held-out rows to score; None means all.
        features: the extractor in whose features Frechet distance, KID, precision, recall, density, coverage and
            others are measured too: a name (`likely.extractors.names()`), an `Extractor`, or None for none of them.

    Returns:
        A list of results in plain values. What does not apply is left out (sequences have no two-sample distance,
        data without labels no classifier), except for the likelihood, whose empty sign is itself the statement.

    Raises:
        UnknownName: the part is neither test nor valid, or there is no such extractor.
        LikelyError: there are no data, or a score is not a number.
        SpaceError: the data are not of the model's space.
    """
    run, model = (None, model) if isinstance(model, Model) else (model, model.model)
    data = run.data if data is None and run is not None else data
    if data is None:
        raise LikelyError("give the data to evaluate on: `evaluate(model, data)`.")
    if part not in ("test", "valid"):
        raise unknown("held-out part", part, ("test", "valid"))
    held: Part = getattr(data, part)
    results = [likelihood(model, held, k=k, rows=rows, seed=seed, split=part)]
    if isinstance(model.space, Sequence):
        return results
    conds = None if model.cond_space is None else _conditions(data.train, n, seed)
    fake = model.sample(n, conds, seed=seed)
    m = min(n, len(held), len(data.train))
    real, training = _draw(held, m, seed), _draw(data.train, m, seed + 1)
    results += sample_distances(model.space, real, fake[:m], training=training, seed=seed, split=part)
    if features is not None:
        extractor = _extractor(features, training, model.space)
        results += feature_distances(extractor, model.space, real, fake[:m], training=training, seed=seed, split=part)
    if _labelled(data):
        classes = data.cond.levels if isinstance(data.cond, Finite) else None
        recogniser = Recogniser(data.train, classes=classes, seed=seed)
        results.append(_recognition(recogniser, fake, _draw(held, len(held), seed), seed, part))
    return results


def evaluate_samples(
    real: Any,
    fake: Any,
    *,
    space: Space | None = None,
    seed: int = 0,
    features: str | Extractor | None = None,
) -> list[Result]:
    """Compare two sets of data: the kernel two-sample distances of `fake` from `real`, and metrics by features.

    Arguments:
        real: a data set, whose test part is held against and whose training part gives the floor; or values, (N, ...).
        fake: a data set, all of whose parts count, or values, (M, ...).
        space: what one x is; None takes the data set's, or bytes for whole numbers and reals for the rest.
        seed: decides which rows are taken where there are more than are needed.
        features: as in `evaluate`.

    Raises:
        LikelyError: the sets differ in shape or have fewer than two rows.
    """
    training = None
    if hasattr(real, "train"):
        space = real.space if space is None else space
        n = min(len(real.train), len(real.test))
        training, real = _draw(real.train, n, seed + 1), _draw(real.test, n, seed)
    if hasattr(fake, "train"):
        fake = torch.cat([_draw(p, len(p), seed) for p in (fake.train, fake.valid, fake.test) if len(p)])
    real, fake = torch.as_tensor(real), torch.as_tensor(fake)
    if real.shape[1:] != fake.shape[1:]:
        raise LikelyError(f"one real datum has shape {tuple(real.shape[1:])}, one fake {tuple(fake.shape[1:])}.")
    if space is None:
        space = Finite(tuple(real.shape[1:]), 256) if real.dtype == torch.uint8 else Real(tuple(real.shape[1:]))
    fake = space.check(fake, "a fake datum")
    results = sample_distances(space, real, fake, training=training, seed=seed, split="test")
    if features is not None:
        extractor = _extractor(features, real if training is None else training, space)
        results += feature_distances(extractor, space, real, fake, training=training, seed=seed)
    return results


def sample_distances(
    space: Space, real: Any, fake: Any, *, training: Any = None, seed: int = 0, split: str = "test"
) -> list[Result]:
    """Return the Gaussian and the polynomial kernel distance of `fake` from `real`, each beside its floor.

    The floor is the distance of real training data from the same real data, at the same number of rows: what a perfect
    model would show. The bandwidth of the Gaussian kernel is the median distance of the real data.

    Arguments:
        space: what one x is.
        real: held-out values of the space, (N, *shape); rows with missing values (NaN) are left out.
        fake: samples, (M, *shape).
        training: real values to hold against `real` for the floor; None leaves the floor out.
        seed: only noted in the protocol.
        split: what `real` is called, for the protocol.

    Raises:
        LikelyError: a set has fewer than two complete rows, or the space is one of sequences.
    """
    real, complete = _complete(space, real), len(real)
    if len(real) < 2 or len(fake) < 2:
        raise LikelyError(f"a two-sample distance needs at least 2 rows in each set, not {len(real)} and {len(fake)}.")
    to_rows = rows_of(space, real)
    x, y = to_rows(real), to_rows(fake)
    base = to_rows(_complete(space, training)) if training is not None else None
    bandwidth = median_distance(x)
    results = []
    for metric, kernel in (("mmd", gaussian(bandwidth)), ("kid", polynomial)):
        value, error = kernel_distance(x, y, kernel)
        floor = None if base is None else kernel_distance(x, base, kernel)
        protocol: dict[str, Any] = {
            "n_real": len(x),
            "n_generated": len(y),
            "n_incomplete": complete - len(x),
            "split": split,
            "seed": seed,
            "features": "the data themselves",
            "bandwidth": bandwidth if kernel is not polynomial else None,
            "floor": None if floor is None else floor.value,
            "floor_standard_error": None if floor is None else floor.error,
            "floor_n": None if base is None else len(base),
        }
        results.append(result(metric, value, error, **protocol))
    return results


def _extractor(features: str | Extractor, real: Any, space: Space) -> Extractor:
    """Return the extractor of this name; what it must learn (principal components), it learns from real data."""
    return extractors.load(features, real=real, space=space) if isinstance(features, str) else features


def _recognition(recogniser: Recogniser, fake: Tensor, real: Tensor, seed: int, split: str) -> Result:
    seen, own = recogniser(fake), recogniser(real)
    return result_of_share(
        "recognised",
        seen["confident"],
        len(fake),
        n_real=len(real),
        n_generated=len(fake),
        split=split,
        seed=seed,
        classifier="extremely randomised trees, more than half agree",
        covered=seen["covered"],
        classes=recogniser.classes,
        counts=seen["counts"],
        floor=own["confident"],
    )


def _labelled(data: Data) -> bool:
    """Whether the data have one class per row, at least two of them."""
    return isinstance(data.cond, Finite) and data.cond.shape == () and data.cond.levels > 1


def _draw(part: Part, n: int, seed: int) -> Tensor:
    """Return n different rows of a part (all, if there are fewer), chosen by the seed."""
    with seeded(seed):
        rows = torch.randperm(len(part))[:n]
        return part.batch(rows)[0]


def _conditions(train: Part, n: int, seed: int) -> Any:
    """Return the conditions of n rows of the training data: samples are drawn for what the data are of."""
    with seeded(seed):
        return train.batch(torch.randint(len(train), (n,)))[1]


def _complete(space: Space, x: Any) -> Tensor:
    """Return the rows of x without missing values."""
    x = torch.as_tensor(x)
    return x[~x.flatten(1).isnan().any(1)] if isinstance(space, Real) else x
