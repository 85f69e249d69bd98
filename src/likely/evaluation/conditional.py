r"""Does a sample show what was asked for, and is it right within what was asked for?

For each condition c, samples of p(x | c) are drawn. A classifier of real data names each; its accuracy against c is
the first answer. The second is the two-sample distance of these samples from real data of the same condition: a model
that ignores its condition may have a perfect distance over everything, and none within a condition.

When they fail: the classifier's own errors on real data bound the accuracy (the floor), and a model can exceed it by
drawing only the clearest examples; within a condition there are few real rows, so distances have wide errors.

Reference: Ravuri and Vinyals, Classification Accuracy Score for Conditional Generative Models, 2019,
arxiv.org/abs/1905.10887; Miyato and Koyama, cGANs with Projection Discriminator, 2018, arxiv.org/abs/1802.05637
(distances within a class).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from likely.core import Model, seeded
from likely.errors import LikelyError
from likely.evaluation.diversity import Classifier, labels_of
from likely.evaluation.results import Result, result
from likely.evaluation.two_sample import Distance, features, mmd
from likely.spaces import Finite

if TYPE_CHECKING:
    from likely.data.parts import Data

ROWS = 10_000  #: rows of a part that are looked at, drawn at random

Measure = Callable[[Tensor, Tensor], Distance]  #: real rows (N, D), generated rows (M, D) -> distance and its error


def condition_accuracy(
    samples: Any,
    asked: Any,
    classify: Classifier,
    *,
    real: Any = None,
    real_labels: Any = None,
    classifier: str | None = None,
    seed: int | None = None,
    split: str = "test",
) -> Result:
    """Return how often a classifier sees in a sample the class that was asked for; each class counts the same.

    Arguments:
        samples: (N, *shape).
        asked: the class asked for, (N,).
        classify: names the class of each row, -1 for none; or gives scores, (B, K).
        real, real_labels: held-out real data, for the floor: the classifier's own accuracy.
        classifier: what it is called, for the protocol.
        seed: the seed the samples were drawn with, for the protocol.
        split: what `real` is called, for the protocol.

    Raises:
        LikelyError: there are no samples, or not one class per sample.
    """
    value, error, per_class = _accuracy(labels_of(classify, samples), torch.as_tensor(asked).long())
    floor, floor_error = None, None
    if real is not None:
        floor, floor_error, _ = _accuracy(labels_of(classify, real), torch.as_tensor(real_labels).long())
    return result(
        "condition_accuracy",
        value,
        error,
        unit="share",
        n_real=None if real is None else len(real),
        n_generated=len(samples),
        split=split,
        seed=seed,
        classifier=classifier,
        per_class=per_class,
        floor=floor,
        floor_standard_error=floor_error,
        floor_n=None if real is None else len(real),
    )


def within_condition(
    real: Tensor,
    real_labels: Any,
    fake: Tensor,
    asked: Any,
    *,
    training: Tensor | None = None,
    training_labels: Any = None,
    measure: Measure = mmd,
    metric: str = "mmd",
    features: str = "the data themselves",
    to_rows: Callable[[Any], Tensor] = torch.as_tensor,
    seed: int | None = None,
    split: str = "test",
) -> Result:
    """Return the mean over conditions of the distance between samples and real data of the same condition.

    Arguments:
        real, fake: rows of numbers in the same features, (N, D) and (M, D), or what `to_rows` makes such rows of.
        real_labels, asked: the condition of each, (N,) and (M,).
        training, training_labels: real training rows, for the floor: as many of each condition as were generated.
        measure: the distance of two sets of rows; by default the kernel distance at the median of the real rows.
        metric: what the distance is called.
        features: what the rows are, for the protocol.
        to_rows: makes rows of numbers of the values of one condition: all of them together might not fit into memory.
        seed: the seed the samples were drawn with, for the protocol.
        split: what `real` is called, for the protocol.

    Raises:
        LikelyError: a condition of the real data has fewer than two real or generated rows.
    """
    held, wanted = torch.as_tensor(real_labels).long(), torch.as_tensor(asked).long()
    each, errors, floors = {}, [], []
    for label in held.unique().tolist():
        first, second = real[held == label], fake[wanted == label]
        if min(len(first), len(second)) < 2:
            raise LikelyError(
                f"condition {label} has {len(first)} real and {len(second)} generated rows; at least 2 are needed."
            )
        first, count = to_rows(first), len(second)
        value, error = measure(first, to_rows(second))
        each[str(label)] = value
        errors.append(error)
        if training is not None:
            same = torch.as_tensor(training_labels).long() == label
            floors.append(measure(first, to_rows(training[same][:count])).value)
    known = [error for error in errors if error is not None]
    return result(
        f"{metric}_within",
        sum(each.values()) / len(each),
        math.hypot(*known) / len(each) if len(known) == len(each) else None,
        interval_method="jackknife" if measure is mmd else "analytic",
        n_real=len(real),
        n_generated=len(fake),
        split=split,
        seed=seed,
        features=features,
        per_class=each,
        floor=sum(floors) / len(floors) if floors else None,
    )


def conditional(
    model: Model, data: Data, classify: Classifier, *, n: int = 100, seed: int = 0, split: str = "test"
) -> list[Result]:
    """Measure a model of classes: n samples of each, the classifier's accuracy, and the distance within each class.

    Arguments:
        model: a model whose condition is one class.
        data: labelled data of the model's space.
        classify: names the class of each row, such as a network trained on the same classes.
        n: how many samples of each class.
        seed: decides the samples.
        split: the held-out part, "test" or "valid".

    Raises:
        LikelyError: the model's condition is not a class, the data are not labelled, or a class has too few rows.
    """
    space = model.cond_space
    if not (isinstance(space, Finite) and space.shape == () and isinstance(data.cond, Finite)):
        raise LikelyError(f"{model._who()} is not conditional on a class: fit it with `--cond label`.")
    asked = torch.arange(space.levels).repeat_interleave(n)
    fake = model.sample(len(asked), asked, seed=seed)
    with seeded(seed):
        (real, labels), (training, training_labels) = (
            part.batch(torch.randperm(len(part))[:ROWS]) for part in (getattr(data, split), data.train)
        )
    to_rows = features(model.space, real)
    return [
        condition_accuracy(fake, asked, classify, real=real, real_labels=labels, seed=seed),
        within_condition(
            to_rows(real),
            labels,
            to_rows(fake),
            asked,
            training=to_rows(training),
            training_labels=training_labels,
            seed=seed,
            split=split,
        ),
    ]


def _accuracy(seen: Tensor, asked: Tensor) -> tuple[float, float, dict[str, float]]:
    """Return the mean of the classes' accuracies, its standard error, and each of them."""
    if len(asked) == 0 or seen.shape != asked.shape:
        raise LikelyError(f"{len(seen)} samples need as many classes asked for, at least one; not {len(asked)}.")
    each, variance = {}, 0.0
    for label in asked.unique().tolist():
        right = (seen[asked == label] == label).double()
        share = float(right.mean())
        each[str(label)] = share
        variance += share * (1 - share) / len(right)
    return sum(each.values()) / len(each), math.sqrt(variance) / len(each), each
