r"""What a likelihood is held against: the best simple law of the same data, in the same units.

A number of nats says little alone. Two laws frame it: the uniform one, and the best of those that see no structure,
fitted here to the training part in closed form. On bits and levels that is independent entries, each with its own
frequencies, P(x_d = l) = (count + 1) / (n + L). On reals it is the better, on validation data, of independent Gaussians
and one full Gaussian, whose covariance S gets one row's worth of prior, (n S + diag(S)) / (n + 1), so that it can be
inverted. Where a model is given the label, so is the simple law: one for each class.

When it misleads: a constant column of reals has no density; here it gets the mean variance of the others, and the nats
of that column mean nothing, in this law as in any other.

Reference: Laplace, Essai philosophique sur les probabilités, 1814 (one more of each).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

from likely.core import seeded
from likely.spaces import Binary, Finite, Real, Space, batches

if TYPE_CHECKING:
    from likely.data.parts import Part

ROWS = 2000  #: rows that are looked at at once
FULL = 2048  #: the most entries for which a full covariance is fitted


class Law(Protocol):
    """A law of rows of numbers, (B, D) -> nats, (B,)."""

    def __call__(self, x: Tensor) -> Tensor: ...


class Simple(NamedTuple):
    """The best simple law: what it is, and the log-probability that it gives each row of a held-out part, (N,)."""

    name: str
    nats: Tensor


def simple(space: Space, train: Part, x: Any, cond: Any = None, *, valid: Part | None = None) -> Simple | None:
    """Return what the best simple law says of held-out rows, or None where there is none (sequences, no rows).

    Arguments:
        space: what one x is.
        train: what it is fitted on; weights of rows count.
        x: held-out values, (N, *shape).
        cond: their classes, (N,), where the law is to be one for each class; None for one law of all.
        valid: data on which a law of reals is chosen; None takes the training part.

    Raises:
        SpaceError: a training row is not of the space.
    """
    if not isinstance(space, (Binary, Finite, Real)) or len(train) == 0:
        return None
    rows, labels, weight = _read(space, train, cond is not None)
    asked = _flat(x)
    if labels is None or cond is None:
        groups = [(slice(None), slice(None))]
    else:
        given = torch.as_tensor(cond)
        groups = [(labels == one, given == one) for one in given.unique()]  # type: ignore[misc]
    nats = torch.empty(len(asked), dtype=torch.float64)
    names = []
    for own, held in groups:
        name, law = _law(space, rows[own], weight[own], valid if labels is None else None)
        nats[held] = law(asked[held])
        names.append(name)
    name = " or ".join(sorted(set(names)))
    return Simple(name if labels is None else f"{name} in each class", nats)


def _law(space: Space, rows: Tensor, weight: Tensor, valid: Part | None) -> tuple[str, Law]:
    if isinstance(space, (Binary, Finite)):
        return "independent entries", _frequencies(rows, weight, space)
    diagonal = _diagonal(rows, weight)
    complete = ~rows.isnan().any(1)
    if rows.shape[1] == 1 or rows.shape[1] > FULL or int(complete.sum()) < 2:
        return "independent Gaussians", diagonal
    full = _full(rows[complete], weight[complete])
    judge = rows if valid is None or len(valid) == 0 else _flat(valid.head(10_000).batch(slice(0, 10_000))[0])
    judge = judge[~judge.isnan().any(1)]
    better = len(judge) > 0 and float(full(judge).mean()) > float(diagonal(judge).mean())
    return ("one Gaussian", full) if better else ("independent Gaussians", diagonal)


def _frequencies(rows: Tensor, weight: Tensor, space: Binary | Finite) -> Law:
    """Return independent entries with P(x_d = l) = (count + 1) / (n + levels), each over its known entries."""
    size, levels = rows.shape[1], space.levels
    place = torch.arange(size) * levels
    counts = (torch.arange(levels) < torch.tensor(space.sizes)[:, None]).double().flatten()
    for cut in batches(len(rows), ROWS):
        known, index = ~rows[cut].isnan(), (rows[cut].nan_to_num().long() + place).flatten()
        counts += index.bincount((weight[cut, None] * known).flatten(), minlength=size * levels)
    logs = (counts.reshape(size, levels) / counts.reshape(size, levels).sum(1, keepdim=True)).log().flatten()

    def law(x: Tensor) -> Tensor:
        each = [
            torch.where(x[cut].isnan(), 0, logs[x[cut].nan_to_num().long() + place]).sum(1)
            for cut in batches(len(x), ROWS)
        ]
        return torch.cat(each) if each else torch.zeros(0, dtype=torch.float64)

    return law


def _moments(rows: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of each column over its known entries; an unknown or constant one gets a usual size."""
    known = ~rows.isnan()
    w = weight[:, None] * known
    total = w.sum(0).clamp(min=1e-300)
    mean = (w * rows.nan_to_num()).sum(0) / total
    variance = (w * (rows.nan_to_num() - mean).square()).sum(0) / total
    moves = variance > 1e-12 * mean.square()
    usual = variance[moves].mean() if bool(moves.any()) else torch.ones((), dtype=torch.float64)
    return mean, torch.where(moves, variance, usual)


def _diagonal(rows: Tensor, weight: Tensor) -> Law:
    mean, variance = _moments(rows, weight)

    def law(x: Tensor) -> Tensor:
        each = -0.5 * ((x - mean).square() / variance + (2 * math.pi * variance).log())
        return each.nan_to_num(0.0).sum(1)  # a missing entry says nothing

    return law


def _full(rows: Tensor, weight: Tensor) -> Law:
    mean, variance = _moments(rows, weight)
    n = float(weight.sum())
    centred = rows - mean
    factor = torch.linalg.cholesky(((weight[:, None] * centred).T @ centred + variance.diag()) / (n + 1))
    constant = factor.diagonal().log().sum() + 0.5 * len(mean) * math.log(2 * math.pi)
    diagonal = _diagonal(rows, weight)

    def law(x: Tensor) -> Tensor:
        complete = ~x.isnan().any(1)
        white = torch.linalg.solve_triangular(factor, (x.nan_to_num() - mean).T, upper=False)
        return torch.where(complete, -0.5 * white.square().sum(0) - constant, diagonal(x))

    return law


def _read(space: Space, part: Part, labelled: bool) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return rows, labels (None unless asked for) and weights of a part; bits that are drawn anew, of one visit."""
    with seeded(0):
        parts = [part.batch(cut) for cut in batches(len(part), ROWS)]
    for x, _ in parts:
        space.check(x, "training data", missing=True)
    rows = torch.cat([_flat(x) for x, _ in parts])
    labels = torch.cat([torch.as_tensor(cond) for _, cond in parts]) if labelled else None
    weight = torch.ones(len(part)) if part.weight is None else part.weight
    return rows, labels, weight.double()


def _flat(x: Any) -> Tensor:
    values = torch.as_tensor(x)
    values = values.reshape(len(values), -1)
    return values.double() if values.is_floating_point() else values
