r"""The classifier two-sample test: can a classifier tell fakes from real rows that it has not seen?

Equally many rows of both sets, in folds: a classifier trained on the other folds names the set of each row. Its
accuracy is 1/2 for equal laws, and 1 for laws that never meet. The p-value is the chance of so many right answers from
coins.

How it is fooled: an accuracy is the power of one classifier. A linear one sees shifts of the mean only. To a neighbour
in many dimensions noisy rows are nearest to clean ones, so that all are called real and the accuracy is 1/2. A single
feature may give everything away: 1 does not mean that samples look bad. A neighbour classifier far *below* 1/2 is a
finding too: rows of the two sets are nearer to each other than to their own set, as copies are. Columns are
standardised by the training folds.

Reference: Lopez-Paz and Oquab, Revisiting Classifier Two-Sample Tests, 2017, arxiv.org/abs/1610.06545.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from likely.errors import LikelyError
from likely.evaluation.matrices import choose, pair


class ClassifierTest(NamedTuple):
    """The accuracy on unseen rows, its 95 % interval (Wilson), the p-value of equal laws, and rows of each set used."""

    accuracy: float
    low: float
    high: float
    p_value: float
    rows: int


def classifier_test(
    real: Any,
    fake: Any,
    *,
    classifier: Literal["logistic", "neighbour"] = "logistic",
    folds: int = 5,
    seed: int = 0,
) -> ClassifierTest:
    """Return how often a classifier tells fake from real rows that it has not seen, with its p-value.

    The answers of the folds are counted as independent, which they are nearly: under equal laws the test rejects a
    little less often than it says.

    Arguments:
        real: features, (N, D), N >= folds.
        fake: features, (M, D), M >= folds. Of the larger set a random part counts, as large as the smaller one.
        classifier: "logistic" regression, or the nearest "neighbour".
        folds: in how many parts rows are left out in turn, at least 2.
        seed: decides the rows and the folds.

    Raises:
        LikelyError: a set has fewer rows than folds, rows differ in length, or a value is not finite.
    """
    from scipy.stats import binom
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kinds = {"logistic": LogisticRegression(max_iter=1000), "neighbour": KNeighborsClassifier(1)}
    if classifier not in kinds or folds < 2:
        raise LikelyError(f"take a classifier of {', '.join(kinds)} and at least 2 folds, not {classifier}, {folds}.")
    x, y = pair(real, fake, rows=folds)
    generator, n = torch.Generator().manual_seed(seed), min(len(x), len(y))
    rows = torch.cat([x[choose(len(x), n, generator)].double(), y[choose(len(y), n, generator)].double()]).numpy()
    labels = np.repeat([0, 1], n)
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    answers = cross_val_predict(make_pipeline(StandardScaler(), kinds[classifier]), rows, labels, cv=split)
    right = int((answers == labels).sum())
    low, high = wilson(right, 2 * n)
    return ClassifierTest(right / (2 * n), low, high, float(binom.sf(right - 1, 2 * n, 0.5)), n)


def wilson(hits: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Return Wilson's interval for a share, 95 % unless another normal quantile z is given.

    Example:
        >>> [round(end, 4) for end in wilson(8, 10)]
        [0.4902, 0.9433]

    Reference: Wilson, Probable Inference, the Law of Succession, and Statistical Inference, 1927,
    doi.org/10.1080/01621459.1927.10502953.
    """
    share, shrink = hits / trials, 1 + z**2 / trials
    middle = (share + z**2 / (2 * trials)) / shrink
    half = z * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2) / shrink
    return middle - half, middle + half
