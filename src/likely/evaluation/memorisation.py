r"""Does a model make new data, or hand out its training data? A distance between sets cannot tell: copies are perfect.

C_T compares two lists of distances to the nearest training row: those of generated rows and those of held-out rows. A
generator of the right law gives the same distances as held-out data. In each cell of a partition of the training data
the Mann-Whitney statistic U counts the pairs in which the generated row lies farther out than the held-out one, and
Z = (U - n m / 2) / sd(U) is standard normal if both are drawn alike; C_T is the mean of Z over cells, weighted by how
many held-out rows lie in each. C_T << 0: copies; C_T >> 0: too far away, an underfitted model.

A generated row is *authentic* where its nearest training row has a training row of its own that is nearer: a noisy copy
is not. Held-out rows show what a perfect generator would have.

When they fail: distances are those of the space given, so a shifted or recoloured copy is not seen in pixels; a model
that copies a few rows and is too vague elsewhere can average out, which is what cells are against; and a low share of
authentic rows is usual where training data lie far apart: hold it against the floor.

Reference: Meehan, Chaudhuri and Dasgupta, A Non-Parametric Test to Detect Data-Copying in Generative Models, 2020,
arxiv.org/abs/2004.05675; Alaa et al., How Faithful is your Synthetic Data?, 2022, arxiv.org/abs/2102.08921.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any, NamedTuple

import torch
from torch import Tensor

from likely.core import seeded
from likely.errors import LikelyError
from likely.evaluation.results import Result, result, result_of_share
from likely.evaluation.two_sample import features
from likely.parts.kmeans import lloyd, plus_plus, squared_distances
from likely.spaces import Space, batches

ROWS = 200  #: rows of a distance matrix that are held at once
CELLS = 3  #: of the partition of the training data
COMPONENTS = 64  #: principal components in which cells are found
FEWEST = 20  #: generated rows that a cell needs to count


class Nearest(NamedTuple):
    """The nearest rows of another set: which they are, and their distances, both (N, k), the nearest first."""

    row: Tensor
    distance: Tensor


class Copying(NamedTuple):
    """C_T, its standard deviation under the null, and of each counted cell: Z, and the held-out rows' weight."""

    value: float
    error: float
    z: list[float]
    weight: list[float]


def nearest(x: Tensor, others: Tensor, k: int = 1, *, same: bool = False) -> Nearest:
    """Return for each row of x, (N, D), the k nearest rows of `others`, (M, D).

    Candidates are found with one matrix product; their distances are then taken from differences, so that a copy has
    distance exactly 0.

    Arguments:
        x: rows of numbers, (N, D).
        others: the rows among which to look, (M, D).
        k: how many.
        same: whether both are the same set: then a row is not its own neighbour.

    Raises:
        LikelyError: there are fewer than k other rows, the rows differ in length, or a number is not finite.
    """
    x, others = (values.detach().to("cpu", torch.float64).flatten(1) for values in (x, others))
    if x.shape[1] != others.shape[1]:
        raise LikelyError(f"the two sets have rows of {x.shape[1]} and {others.shape[1]} numbers; they must agree.")
    if not 1 <= k <= len(others) - same:
        raise LikelyError(f"there are no {k} nearest among {len(others) - same} other rows.")
    if not (bool(x.isfinite().all()) and bool(others.isfinite().all())):
        raise LikelyError("distances need finite numbers; remove or fill missing values first.")
    indices, distances = [], []
    spare = min(len(others), k + same + 2)  # rounding may swap near-equal candidates
    norms = torch.einsum("nd,nd->n", others, others)
    for rows in batches(len(x), ROWS):
        block = norms - 2 * x[rows] @ others.T  # and |x|^2, the same for all candidates
        if same:
            own = torch.arange(rows.start, rows.stop)
            block[own - rows.start, own] = math.inf
        found = block.topk(spare, largest=False).indices
        exact = (x[rows, None] - others[found]).square().sum(2).sqrt()
        if same:
            exact[found == own[:, None]] = math.inf
        distance, order = exact.sort(stable=True)
        indices.append(found.gather(1, order)[:, :k])
        distances.append(distance[:, :k])
    if not indices:
        return Nearest(torch.zeros(0, k, dtype=torch.int64), torch.zeros(0, k, dtype=torch.float64))
    return Nearest(torch.cat(indices), torch.cat(distances))


def beside_nearest(space: Space, fake: Any, train: Any, k: int = 3) -> Tensor:
    """Return each sample followed by its k nearest training data, ((k + 1) N, *shape), to be looked at.

    As a picture: `report.pictures.grid(beside_nearest(space, fake, train), space, columns=k + 1)`.

    Raises:
        LikelyError: there are fewer than k training data, or the space is one of sequences.
    """
    to_rows = features(space, train)
    found = nearest(to_rows(fake), to_rows(train), k).row
    fake, train = torch.as_tensor(fake), torch.as_tensor(train)
    return torch.cat([fake[:, None], train[found]], 1).flatten(0, 1)


def data_copying(train: Tensor, test: Tensor, fake: Tensor, *, cells: int = CELLS, seed: int = 0) -> Copying:
    """Return C_T of generated rows: far below 0 where they lie nearer to training rows than held-out rows do.

    Ties count half, and the variance is corrected for them. Cells are those of k-means in the first principal
    components of the training rows; one with fewer than 20 generated rows, or no held-out row, does not count.

    Arguments:
        train: the rows the model was trained on, (N, D).
        test: held-out rows, (n, D).
        fake: generated rows, (m, D).
        cells: how many cells the training data fall into.
        seed: decides the cells.

    Raises:
        LikelyError: no cell has enough rows, or there are fewer training rows than cells.
    """
    train, test, fake = (values.detach().to("cpu", torch.float64).flatten(1) for values in (train, test, fake))
    return _copying(train, test, fake, nearest(test, train), nearest(fake, train), cells, seed)


def _copying(
    train: Tensor, test: Tensor, fake: Tensor, of_test: Nearest, of_fake: Nearest, cells: int, seed: int
) -> Copying:
    if not 1 <= cells <= len(train):
        raise LikelyError(f"{len(train)} training rows do not fall into {cells} cells.")
    to_test, to_fake = of_test.distance[:, 0], of_fake.distance[:, 0]
    cell_of_test, cell_of_fake = _cells(train, test, fake, cells, seed)
    z, counts = [], []
    for cell in range(cells):
        held, made = to_test[cell_of_test == cell], to_fake[cell_of_fake == cell]
        if len(made) >= FEWEST and len(held):
            z.append(mann_whitney(made, held))
            counts.append(len(held))
    if not z:
        raise LikelyError(f"no cell holds at least {FEWEST} generated rows and a held-out one: draw more samples.")
    weight = [count / sum(counts) for count in counts]
    value = sum(w * one for w, one in zip(weight, z, strict=True))
    return Copying(value, math.hypot(*weight), z, weight)


def mann_whitney(first: Tensor, second: Tensor) -> float:
    """Return Z = (U - n m / 2) / sd(U), U the pairs in which `first` exceeds `second`, ties counting half.

    It is 0 where all values are equal. With ties, sd(U)^2 = n m / 12 (N + 1 - sum (t^3 - t) / (N (N - 1))), N = n + m,
    over the sizes t of the groups of equal values.

    Arguments:
        first, second: (m,) and (n,), at least one value each.
    """
    m, n = len(first), len(second)
    second = second.sort().values
    below = torch.searchsorted(second, first, right=False) + torch.searchsorted(second, first, right=True)
    u = float(below.double().sum()) / 2
    ties = torch.cat([first, second]).unique(return_counts=True)[1].double()
    size = m + n
    variance = n * m / 12 * (size + 1 - float((ties**3 - ties).sum()) / (size * (size - 1)))
    return (u - n * m / 2) / math.sqrt(variance) if variance > 0 else 0.0


def authentic(train: Tensor, fake: Tensor) -> Tensor:
    """Return for each generated row, (m, D), whether its nearest training row has a nearer training row, (m,)."""
    return _authentic(train, nearest(fake, train))


def _authentic(train: Tensor, found: Nearest) -> Tensor:
    row, distance = found
    asked, back = row[:, 0].unique(return_inverse=True)
    among = nearest(train[asked], train, 2).distance[:, 1]  # the nearest of all is the row itself
    return distance[:, 0] > among[back]


def memorisation(
    space: Space, train: Any, test: Any, fake: Any, *, cells: int = CELLS, seed: int = 0, split: str = "test"
) -> list[Result]:
    """Measure whether samples are copies of training data: C_T, the authentic share, and the share of exact copies.

    The authentic share and the share of copies stand beside those of held-out data, their floor.

    Arguments:
        space: what one x is; rows are compared as `two_sample.features` sees them.
        train: the data the model was trained on, all of them, (N, *shape).
        test: held-out data, (n, *shape).
        fake: samples, (m, *shape).
        cells: how many cells the training data fall into for C_T.
        seed: decides the cells.
        split: what `test` is called, for the protocol.

    Raises:
        LikelyError: a set is too small, or the space is one of sequences.
    """
    to_rows = features(space, train)
    rows, held, made = to_rows(train), to_rows(test), to_rows(fake)
    of_held, of_made = nearest(held, rows), nearest(made, rows)
    copying = _copying(rows, held, made, of_held, of_made, cells, seed)
    protocol: dict[str, Any] = {
        "n_train": len(rows),
        "n_real": len(held),
        "n_generated": len(made),
        "split": split,
        "seed": seed,
        "features": "the data themselves",
    }
    p = NormalDist().cdf(copying.value / copying.error)
    cells_seen: dict[str, Any] = {"cells": cells, "cells_counted": len(copying.z), "z": copying.z}
    cells_seen |= {"p_copying": p, "floor": 0.0}
    results = [result("data_copying", copying.value, copying.error, **protocol, **cells_seen)]
    for metric, seen, expected in (
        ("authenticity", _authentic(rows, of_made), _authentic(rows, of_held)),
        ("copies", of_made.distance[:, 0] == 0, of_held.distance[:, 0] == 0),
    ):
        share, floor = float(seen.double().mean()), float(expected.double().mean())
        results.append(result_of_share(metric, share, len(seen), **protocol, floor=floor))
    return results


def _cells(train: Tensor, test: Tensor, fake: Tensor, cells: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the cell of each held-out and each generated row."""
    centre = train.mean(0)
    covariance = (train - centre).T @ (train - centre)
    axes = torch.linalg.eigh(covariance).eigenvectors[:, -COMPONENTS:]
    with seeded(seed):
        inside = (train - centre) @ axes
        centres, _ = lloyd(inside, plus_plus(inside, cells))
    first, second = (squared_distances((x - centre) @ axes, centres).argmin(1) for x in (test, fake))
    return first, second
