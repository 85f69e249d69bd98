"""Are the samples seen as what they should be? A classifier trained on real labelled data looks at them.

The classifier is a forest of extremely randomised trees, and it recognises a sample when more than half of its trees
vote for the same class. Networks and support vectors name a class for pure noise with great confidence; a forest does
not: of the embedded digits that it has not seen it recognises 93 %, of uniform noise, of digits with shuffled pixels
and of independently drawn pixels at most 1 %.

Reference: Geurts, Ernst and Wehenkel, Extremely Randomized Trees, 2006, doi.org/10.1007/s10994-006-6226-1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import torch

from likely.errors import LikelyError
from likely.spaces import batches

if TYPE_CHECKING:
    from likely.data.parts import Part

TREES = 300
ROWS = 10_000  #: training rows that the classifier sees at most
AT_ONCE = 5000  #: samples that it is shown together
MAJORITY = 0.5  #: the share of the trees that must agree


class Recognised(TypedDict):
    """What the classifier saw.

    `confident` is the share of the samples that it recognised, `covered` how many classes these belong to, `counts`
    how many there are of each class.
    """

    confident: float
    covered: int
    counts: list[int]


class Recogniser:
    """A forest that names the class of a sample when most of its trees agree.

    Arguments:
        train: real data with one label per row.
        classes: how many classes there are; None means up to the highest label.
        seed: decides the trees.

    Raises:
        LikelyError: the data have no labels, or only one class.
    """

    def __init__(self, train: Part, *, classes: int | None = None, seed: int = 0) -> None:
        from sklearn.ensemble import ExtraTreesClassifier

        if train.cond is None or np.ndim(train.cond) != 1:
            raise LikelyError("a classifier needs real data with one label per row; these have none.")
        x, labels = train.head(ROWS).batch(slice(0, ROWS))
        labels = labels.numpy()
        if len(np.unique(labels)) < 2:
            raise LikelyError("a classifier needs at least two classes; these data have one.")
        self.classes = int(labels.max()) + 1 if classes is None else classes
        self.forest = ExtraTreesClassifier(TREES, random_state=seed).fit(_rows(x), labels)

    def __call__(self, samples: Any) -> Recognised:
        """Return how many of the samples, (N, *shape), are recognised, and as what."""
        seen = self.labels(samples)
        counts = np.bincount(seen[seen >= 0].numpy(), minlength=self.classes)
        confident = float((seen >= 0).double().mean())
        return {"confident": confident, "covered": int((counts > 0).sum()), "counts": counts.tolist()}

    def labels(self, samples: Any) -> torch.Tensor:
        """Return the class in which each sample, (N, *shape), is recognised, (N,), -1 for none."""
        if len(samples) == 0:
            raise LikelyError("nothing to recognise: there are no samples.")
        return torch.cat([self._named(samples[cut]) for cut in batches(len(samples), AT_ONCE)])

    def _named(self, samples: Any) -> torch.Tensor:
        votes = self.forest.predict_proba(_rows(samples))
        named = self.forest.classes_[votes.argmax(1)].astype(np.int64)  # labels may be bytes, which have no -1
        return torch.from_numpy(np.where(votes.max(1) > MAJORITY, named, -1))


def recognised(samples: Any, train: Part, *, seed: int = 0) -> Recognised:
    """Return the share of samples that a classifier trained on real data recognises, and the classes they cover.

    Arguments:
        samples: values of the space, (N, *shape).
        train: real data with one label per row.
        seed: decides the classifier.

    Raises:
        LikelyError: there are no samples, no labels, or only one class.
    """
    return Recogniser(train, seed=seed)(samples)


def _rows(x: Any) -> Any:
    return torch.as_tensor(x).flatten(1).float().numpy()
