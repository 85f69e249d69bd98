r"""What a representation z = encode(x) is good for.

A linear probe is a logistic regression on z: its accuracy says how much of the label can be read off in straight lines;
that of the k nearest neighbours, how well distances in z agree with the label. Where the factors v that made the data
are known, the mutual information gap is the mean over factors of (I(z_1; v) - I(z_2; v)) / H(v), z_1 and z_2 being the
two entries of z that know most of v: 1 when each factor has an entry of its own, 0 when it is spread or doubled.

When they fail: accuracy depends on how much labelled data the probe sees and on the length of z, so hold it against the
same probe on the data themselves (the floor); the gap is taken from z cut into bins, which overstates I for few data,
and punishes a rotation of z that loses nothing.

Reference: Alain and Bengio, Understanding Intermediate Layers Using Linear Classifier Probes, 2016,
arxiv.org/abs/1610.01644; Chen, Li, Grosse and Duvenaud, Isolating Sources of Disentanglement in Variational
Autoencoders, 2018, arxiv.org/abs/1802.04942.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from likely.core import Latent, seeded
from likely.errors import LikelyError
from likely.evaluation.bootstrap import jackknife
from likely.evaluation.results import Result, result, result_of_share
from likely.spaces import Finite, batches

if TYPE_CHECKING:
    from likely.data.parts import Data, Part

ROWS = 5000  #: labelled training rows that a probe sees at most
NEIGHBOURS = 5
GROUPS = 10  #: of rows that the jackknife of the gap leaves out in turn
PAIRS = 2**22  #: distances of rows that are held at once
BINS = 20  #: into which each entry of z is cut for mutual information


def linear_probe(train: Any, train_labels: Any, test: Any, test_labels: Any) -> float:
    """Return the test accuracy of a logistic regression on standardised representations, (N, D) and (M, D).

    Raises:
        LikelyError: the training labels have only one class, or a set is empty.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return _accuracy(classifier, train, train_labels, test, test_labels)


def neighbour_accuracy(train: Any, train_labels: Any, test: Any, test_labels: Any, k: int = NEIGHBOURS) -> float:
    """Return the share of test rows whose k nearest training rows, (N, D), mostly have the right label.

    All rows that are as near as the k-th vote: where there are ties, as between bits, the order of rows does not count.

    Raises:
        LikelyError: the training labels have only one class, a set is empty, or there are fewer than k training rows.
    """
    if not 1 <= k <= len(train):
        raise LikelyError(f"there are no {k} nearest among {len(train)} training rows.")
    return _accuracy(_Neighbours(k), train, train_labels, test, test_labels)


def mutual_information_gap(z: Any, factors: Any, *, bins: int = BINS) -> float:
    r"""Return the mutual information gap of representations z, (N, D), D at least 2, for known factors, (N, F).

    MIG = 1/F sum_k (I(z_j(k); v_k) - max_{j != j(k)} I(z_j; v_k)) / H(v_k), j(k) = argmax_j I(z_j; v_k): Chen et al.
    2018, equation 6. I and H are those of counts: each entry of z is cut into `bins` of equal width from its lowest to
    its highest value, as is usual in published numbers (one far outlier therefore leaves few bins to the rest); factors
    are taken as they are. A factor that is constant does not count.

    Raises:
        LikelyError: the rows do not agree, z has fewer than two entries, or every factor is constant.

    Example:
        >>> v = torch.cartesian_prod(torch.arange(4), torch.arange(4))
        >>> round(mutual_information_gap(v.float(), v), 6)
        1.0
    """
    known = [gap for gap in factor_gaps(z, factors, bins=bins) if gap is not None]
    if not known:
        raise LikelyError("every factor is constant: there is no information to look for.")
    return float(np.mean(known))


def factor_gaps(z: Any, factors: Any, *, bins: int = BINS) -> list[float | None]:
    """Return the gap of each factor, of which `mutual_information_gap` is the mean; None for a constant factor.

    Raises:
        LikelyError: the rows do not agree, or z has fewer than two entries.
    """
    entries, known = _matrix(z), _matrix(factors)
    if len(entries) != len(known):
        raise LikelyError(f"{len(entries)} representations but {len(known)} rows of factors.")
    if entries.shape[1] < 2:
        raise LikelyError("the mutual information gap needs at least two entries of z: it is between the best two.")
    return _gaps([_binned(column, bins) for column in entries.T], known)


def _gaps(codes: list[np.ndarray], known: np.ndarray) -> list[float | None]:
    gaps: list[float | None] = []
    for column in known.T:
        factor = np.unique(column, return_inverse=True)[1]
        entropy = _entropy(np.bincount(factor))
        best = sorted((_mutual_information(code, factor) for code in codes), reverse=True)
        gaps.append((best[0] - best[1]) / entropy if entropy > 0 else None)
    return gaps


def disentanglement(model: Any, data: Data, *, rows: int = 2 * ROWS, seed: int = 0, split: str = "test") -> Result:
    """Measure whether each known factor of the data has an entry of `encode` of its own: the mutual information gap.

    It stands beside the same measure of the data themselves (floor), with the gap of each factor; the interval leaves
    out one tenth of the rows at a time, within the bins of all.

    Arguments:
        model: an unconditional model with a representation.
        data: data whose condition is the factors that made each row, such as `squares`.
        rows: how many held-out rows are encoded at most.
        seed: decides which rows.
        split: the held-out part, "test" or "valid".

    Raises:
        LikelyError: the model has no representation, one of a single entry, or is given the factors; the data have no
            known factors, or they are constant.
    """
    _probed(model)
    reason = no_factors(data)
    if reason:
        raise LikelyError(reason)
    x, known = _drawn(getattr(data, split), rows, seed)
    z, factors = model.encode(x).flatten(1), known.numpy()
    value = mutual_information_gap(z, factors)
    codes = [_binned(column, BINS) for column in _matrix(z).T]

    def gap(numbers: Tensor) -> float:
        own = numbers.long().flatten().numpy()
        return float(np.mean([one for one in _gaps([code[own] for code in codes], factors[own]) if one is not None]))

    error = (
        jackknife(gap, torch.arange(len(x))[:, None], groups=GROUPS, seed=seed).error if len(x) > 2 * GROUPS else None
    )
    names = (data.cond.names if data.cond is not None else None) or [str(i) for i in range(factors.shape[1])]
    return result(
        "mutual_information_gap",
        value,
        error,
        interval_method="jackknife",
        n_real=len(x),
        split=split,
        seed=seed,
        latent=z.shape[1],
        bins=BINS,
        factors=list(names),
        per_factor=dict(zip(names, factor_gaps(z, factors), strict=True)),
        floor=mutual_information_gap(x.flatten(1), factors),
        floor_n=len(x),
    )


def no_factors(data: Data) -> str:
    """Return why data have no known factors, or ""."""
    known = isinstance(data.cond, Finite) and len(data.cond.shape) == 1
    return "" if known else "the data have no known factors, several for each row, such as those of 'squares'."


def representation(
    model: Any, data: Data, *, k: int = NEIGHBOURS, rows: int = ROWS, seed: int = 0, split: str = "test"
) -> list[Result]:
    """Measure what `encode` keeps of the labels: linear probe and nearest neighbours, on held-out data.

    Each result stands beside the same measure on the data themselves (floor) and the share of the commonest class
    (chance); its standard error is binomial. A conditional model is given each row's label and so knows it already:
    it is refused.

    Arguments:
        model: a model with a representation.
        data: labelled data; the probes learn from its training part.
        k: how many neighbours.
        rows: how many labelled training rows the probes see.
        seed: decides which rows.
        split: the held-out part, "test" or "valid".

    Raises:
        LikelyError: the model has no representation or is conditional; the data have no labels; a part is empty.
    """
    _probed(model)
    if not (isinstance(data.cond, Finite) and data.cond.shape == ()):
        raise LikelyError("a probe needs data with one label per row; these have none.")
    parts = [_drawn(part, rows, seed) for part in (data.train, getattr(data, split))]
    (x, labels), (held, held_labels) = parts
    z, held_z = (model.encode(values).flatten(1) for values in (x, held))
    raw, held_raw = (values.flatten(1).float() for values in (x, held))
    common = float(held_labels.bincount().max()) / max(len(held_labels), 1)
    protocol: dict[str, Any] = {
        "n_train": len(x),
        "n_real": len(held),
        "split": split,
        "seed": seed,
        "latent": z.shape[1],
        "chance": common,
    }
    results = []
    for metric, value, floor, extra in (
        (
            "linear_probe",
            linear_probe(z, labels, held_z, held_labels),
            linear_probe(raw, labels, held_raw, held_labels),
            {},
        ),
        (
            "neighbour_accuracy",
            neighbour_accuracy(z, labels, held_z, held_labels, k),
            neighbour_accuracy(raw, labels, held_raw, held_labels, k),
            {"neighbours": k},
        ),
    ):
        results.append(result_of_share(metric, value, len(held), **protocol, **extra, floor=floor))
    return results


def _probed(model: Any) -> None:
    """Raise unless a model has a representation of x alone.

    Raises:
        LikelyError: it has none, or is conditional.
    """
    if not isinstance(model, Latent):
        raise LikelyError(f"{model._who()} has no representation; these have: likely models --can encode")
    if model.cond_space is not None:
        raise LikelyError(f"{model._who()} is given the label when it encodes: a probe would only read it back.")


def _drawn(part: Part, rows: int, seed: int) -> tuple[Tensor, Tensor]:
    with seeded(seed):
        x, cond = part.batch(torch.randperm(len(part))[:rows])
    return x, torch.as_tensor(cond).long()


def _accuracy(classifier: Any, train: Any, train_labels: Any, test: Any, test_labels: Any) -> float:
    labels, expected = (np.asarray(torch.as_tensor(one)) for one in (train_labels, test_labels))
    if len(train) == 0 or len(test) == 0:
        raise LikelyError("a probe needs labelled rows to learn from and others to be tested on; one set is empty.")
    if len(np.unique(labels)) < 2:
        raise LikelyError("a probe needs at least two classes; the training labels have one.")
    return float(classifier.fit(_matrix(train), labels).score(_matrix(test), expected))


class _Neighbours:
    """The majority of the labels of the nearest rows; of labels with as many votes the lowest."""

    def __init__(self, k: int) -> None:
        self.k = k

    def fit(self, x: np.ndarray, labels: np.ndarray) -> _Neighbours:
        self.centre = x.mean(0).round()  # a whole number: distances of levels stay exact, and equal ones equal
        self.x = torch.from_numpy(x - self.centre)
        self.kinds, which = np.unique(labels, return_inverse=True)
        self.votes = torch.nn.functional.one_hot(torch.from_numpy(which)).double()
        return self

    def score(self, x: np.ndarray, labels: np.ndarray) -> float:
        rows, squares, right = torch.from_numpy(x - self.centre), self.x.square().sum(1), 0
        for cut in batches(len(rows), max(1, PAIRS // len(self.x))):
            distance = squares - 2 * rows[cut] @ self.x.T  # squared, up to what all of a row have in common
            near = distance <= distance.kthvalue(self.k, dim=1, keepdim=True).values
            found = (near.double() @ self.votes).argmax(1)
            right += int((self.kinds[found.numpy()] == labels[cut]).sum())
        return right / len(rows)


def _matrix(values: Any) -> np.ndarray:
    array = np.asarray(torch.as_tensor(values).detach().cpu(), dtype=np.float64)
    return array.reshape(len(array), -1)


def _binned(column: np.ndarray, bins: int) -> np.ndarray:
    edges = np.linspace(column.min(), column.max(), bins + 1)[1:-1]
    return np.searchsorted(edges, column, side="right")


def _entropy(counts: np.ndarray) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def _mutual_information(first: np.ndarray, second: np.ndarray) -> float:
    """Return I = H(first) + H(second) - H(first, second) of two rows of codes, nats."""
    high = int(second.max()) + 1
    joint = np.bincount(first * high + second, minlength=(int(first.max()) + 1) * high).reshape(-1, high)
    return _entropy(joint.sum(1)) + _entropy(joint.sum(0)) - _entropy(joint.ravel())
