r"""Do samples cover everything the data have, and is there variety within each kind?

A classifier says which mode (or class) each sample belongs to. Then: how many of the K modes are hit, and how far the
histogram p of the samples is from the expected one q, KL(p || q) = sum_k p_k log(p_k / q_k). Even a perfect sampler has
E KL ~ (K - 1) / (2 n), because n samples never split exactly. Within a class, the mean squared distance between two
samples, over the same for real data, is 1 when the variety is right and 0 when every sample of the class is the same.

When they fail: the classifier also names junk, and errors on junk look like rare modes; let it answer -1 for what it
does not recognise. Variety is measured in the space given: noise on every pixel counts as variety.

Reference: Metz et al., Unrolled Generative Adversarial Networks, 2017, arxiv.org/abs/1611.02163 (modes of stacked
digits); Lin et al., PacGAN, 2018, arxiv.org/abs/1712.04086 (the protocol); Srivastava et al., VEEGAN, 2017,
arxiv.org/abs/1705.07761 (rings and grids of Gaussians).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from likely.errors import LikelyError
from likely.evaluation.results import Result, missing, result, result_of_share
from likely.evaluation.two_sample import features
from likely.spaces import Space, batches

Classifier = Callable[[Any], Any]  #: (B, *shape) -> a label for each, (B,), -1 for none; or scores, (B, K)

ROWS = 1000  #: rows that a classifier is shown at once


def labels_of(classify: Classifier, x: Any) -> Tensor:
    """Return the label that a classifier gives each row of x, (N,): its answer, or the highest of its scores.

    Raises:
        LikelyError: the answer is neither one label nor a row of scores for each datum.
    """
    found = []
    for rows in batches(len(x), ROWS):
        with torch.no_grad():
            answer = torch.as_tensor(classify(x[rows]))
        if len(answer) != len(x[rows]) or answer.dim() not in (1, 2):
            raise LikelyError(
                f"a classifier must answer with {len(x[rows])} labels or rows of scores, not {tuple(answer.shape)}."
            )
        found.append(answer.argmax(1) if answer.dim() == 2 else answer.long())
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64)


def near_centres(centres: Tensor, radius: float) -> Classifier:
    """Return the classifier that names the nearest centre within `radius`, and -1 beyond: modes of toy mixtures.

    Arguments:
        centres: (K, D).
        radius: three standard deviations of a mode are usual.

    Example:
        >>> classify = near_centres(torch.tensor([[0.0], [9.0]]), 3.0)
        >>> classify(torch.tensor([[1.0], [8.0], [5.0]]))
        tensor([ 0,  1, -1])
    """

    def classify(x: Any) -> Tensor:
        distance = torch.cdist(torch.as_tensor(x).double().flatten(1), centres.double())
        least, index = distance.min(1)
        return torch.where(least <= radius, index, -1)

    return classify


def mode_coverage(labels: Any, modes: int, *, expected: Any = None, seed: int | None = None) -> list[Result]:
    """Return how many modes are hit, KL of the histogram of labels from the expected one, and the recognised share.

    The floor of each is what a perfect sampler of as many labels has: modes, sum_k 1 - (1 - q_k)^n; KL, (K - 1) / (2n)
    with K the modes of positive probability (good where n is well above K).

    Arguments:
        labels: the mode of each sample, (N,), -1 where none was recognised.
        modes: how many modes there are, K.
        expected: the probability of each mode, or counts of real data, (K,); None means uniform.
        seed: the seed the samples were drawn with, for the protocol.

    Raises:
        LikelyError: no label, a label outside -1 to K - 1, or `expected` is not K numbers of 0 or more.
    """
    labels = torch.as_tensor(labels).long().flatten()
    if len(labels) == 0:
        raise LikelyError("no labels: there are no samples whose modes could be counted.")
    if int(labels.min()) < -1 or int(labels.max()) >= modes:
        raise LikelyError(f"labels must be -1 (not recognised) or 0 to {modes - 1}; one is {_outside(labels, modes)}.")
    wanted = torch.ones(modes) if expected is None else torch.as_tensor(expected)
    if tuple(wanted.shape) != (modes,) or not bool((wanted >= 0).all()) or not float(wanted.sum()) > 0:
        raise LikelyError(f"the expected histogram must be {modes} numbers, 0 or more, not all 0.")
    q = wanted.double() / wanted.double().sum()
    seen = labels[labels >= 0]
    counts = seen.bincount(minlength=modes).double()
    n = len(seen)
    p = counts / max(n, 1)
    kl = float(torch.where(p > 0, p * (p / q).log(), 0.0).sum()) if n else None
    share = n / len(labels)
    protocol: dict[str, Any] = {
        "n_generated": len(labels),
        "modes": modes,
        "counts": counts.long().tolist(),
        "expected": "uniform" if expected is None else q.tolist(),
        "seed": seed,
    }
    likely_hit = float((1 - (1 - q) ** n).sum())
    least = (int((q > 0).sum()) - 1) / (2 * n) if n else None
    error = None
    if kl is not None and math.isfinite(kl):
        # to first order, var KL = var_p log(p / q) / n; half a count more of each mode keeps it from 0 where one is hit
        near = torch.where(q > 0, (counts + 0.5) / (n + 0.5 * int((q > 0).sum())), 0.0)
        each = torch.where(near > 0, (near / q).log(), 0.0)
        error = math.sqrt(float((near * each.square()).sum() - (near * each).sum().square()) / n)
    return [
        result("modes", float((counts > 0).sum()), unit="modes", sign="=", **protocol, floor=likely_hit),
        _kl_result(kl, error, least, protocol),
        result_of_share("recognised", share, len(labels), **protocol, floor=None),
    ]


def _kl_result(kl: float | None, error: float | None, least: float | None, protocol: dict[str, Any]) -> Result:
    if kl is None:
        return missing("mode_kl", "no sample was recognised.", **protocol)
    return result("mode_kl", kl, error, unit="nats", **protocol, floor=least)


def variety(rows: Tensor) -> tuple[float, float]:
    """Return the mean squared distance of two different rows, (N, D), and its standard error.

    Over all pairs it is 2 N / (N - 1) times the mean squared distance from the mean: no pair need be looked at.

    Raises:
        LikelyError: there are fewer than two rows.

    Example:
        >>> variety(torch.tensor([[0.0], [2.0]]))[0]
        4.0
    """
    return _variety(rows, torch.as_tensor)


def _variety(x: Tensor, to_rows: Callable[[Any], Tensor]) -> tuple[float, float]:
    """Return the variety of what `to_rows` makes rows of numbers of, some at a time."""
    n = len(x)
    if n < 2:
        raise LikelyError(f"variety needs at least 2 rows, not {n}.")
    runs = [x[cut] for cut in batches(n, ROWS)]
    mean = torch.stack([to_rows(run).double().sum(0) for run in runs]).sum(0) / n
    squares = torch.cat([(to_rows(run).double() - mean).square().flatten(1).sum(1) for run in runs]) * 2 * n / (n - 1)
    return float(squares.mean()), float(squares.std()) / math.sqrt(n)


def intra_class_diversity(
    space: Space,
    fake: Any,
    fake_labels: Any,
    real: Any,
    real_labels: Any,
    *,
    seed: int | None = None,
    split: str = "test",
) -> Result:
    """Return the variety of samples within a class over that of real data, averaged over classes: 1 is right.

    A class with fewer than two samples or real rows cannot be judged; the protocol names those. A class whose real rows
    are all equal has no variety to compare with and is left out too.

    Arguments:
        space: what one x is; rows are compared as `two_sample.features` sees them.
        fake: samples, (M, *shape).
        fake_labels: the class asked for, or found by a classifier, (M,); -1 for none.
        real: held-out data, (N, *shape).
        real_labels: (N,).
        seed: the seed the samples were drawn with, for the protocol.
        split: what `real` is called, for the protocol.

    Raises:
        LikelyError: labels do not fit, or no class can be judged.
    """
    to_rows: Any = features(space, real)
    made, held = torch.as_tensor(fake), torch.as_tensor(real)
    made_labels, held_labels = torch.as_tensor(fake_labels).long(), torch.as_tensor(real_labels).long()
    if made_labels.shape != (len(made),) or held_labels.shape != (len(held),):
        raise LikelyError("one label per row is needed, of samples and of real data.")
    ratios: dict[int, float] = {}
    errors, skipped = [], []
    for label in held_labels[held_labels >= 0].unique().tolist():
        first, second = made[made_labels == label], held[held_labels == label]
        if min(len(first), len(second)) < 2 or _variety(second, to_rows)[0] == 0:
            skipped.append(label)
            continue
        (a, error_a), (b, error_b) = _variety(first, to_rows), _variety(second, to_rows)
        ratios[label] = a / b
        errors.append(math.hypot(error_a / b, a * error_b / b**2))  # the error of a ratio, to first order
    if not ratios:
        raise LikelyError("no class has two samples and two different real rows: its variety cannot be judged.")
    return result(
        "intra_class_diversity",
        sum(ratios.values()) / len(ratios),
        math.hypot(*errors) / len(errors),
        unit="ratio",
        n_real=len(held),
        n_generated=len(made),
        split=split,
        seed=seed,
        features="the data themselves",
        per_class={str(label): ratio for label, ratio in ratios.items()},
        skipped=skipped,
        floor=1.0,
    )


def _outside(labels: Tensor, modes: int) -> int:
    return int(labels[(labels < -1) | (labels >= modes)][0])
