"""Metrics over several processes: each takes the features of its shard, and what they found is put together.

Moments add, so the Frechet distance needs a mean and a scatter of each process and no rows. Distances that look at
pairs of rows (kernel, precision, recall, coverage, classifier) take the gathered rows, in the order of the shards:
those of `x[share(len(x), fabric)]` are x again, so that the metrics are those of one process bit for bit. What cannot
be shared the first process does alone, with the threads of all, and tells the others (`by_first`).

`fabric` is a launched `lightning_fabric.Fabric`, or None for one process. Every process must make the same calls.

Reference: Chan, Golub and LeVeque, Algorithms for Computing the Sample Variance, 1983,
doi.org/10.1080/00031305.1983.10483115.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from likely.errors import LikelyError
from likely.evaluation.frechet import Moments
from likely.parts.collective import add, gather, place, share

if TYPE_CHECKING:
    from likely.evaluation.reading import Set

T = TypeVar("T")


def gathered(rows: Tensor, fabric: Any) -> Tensor:
    """Return the rows of all processes, (sum of N_r, D), in the order of the processes.

    Arguments:
        rows: this process's rows, (N_r, D); a process may have none.
        fabric: the processes, or None.

    Example:
        >>> gathered(torch.zeros(3, 2), None).shape
        torch.Size([3, 2])
    """
    return torch.cat(gather(rows, fabric))


def by_first(find: Callable[[], T], fabric: Any) -> T:
    """Return what the first process finds, alone and with the threads of all; the others are told.

    Arguments:
        find: finds plain values that JSON can hold; a `LikelyError` is raised in every process.
        fabric: the processes, or None.

    Example:
        >>> by_first(lambda: {"kid": 0.5}, None)
        {'kid': 0.5}
    """
    rank, size = place(fabric)
    if size == 1:
        return find()
    found: Any = None
    problem: LikelyError | None = None
    if rank == 0:
        threads = torch.get_num_threads()
        torch.set_num_threads(threads * size)
        try:
            found = find()
        except LikelyError as error:
            problem = error
        finally:
            torch.set_num_threads(threads)
    said = json.dumps([found, None if problem is None else str(problem)]).encode() if rank == 0 else b""
    told = json.loads(bytes(gathered(torch.tensor(list(said), dtype=torch.uint8), fabric).tolist()))
    if rank:
        found, problem = told[0], None if told[1] is None else LikelyError(told[1])
    if problem is not None:
        raise problem
    return found


def features_of(extract: Callable[[Any], Tensor], x: Any, fabric: Any) -> Tensor:
    """Return extract(x), (N, D), of which each process computed its share.

    An extractor whose rows depend on their batch (rounding apart, none of `likely.extractors` does) has no such shares.

    Arguments:
        extract: rows of values to rows of features.
        x: the values, (N, ...), the same in every process, at least as many rows as processes.
        fabric: the processes, or None.

    Example:
        >>> features_of(lambda x: 2 * x, torch.ones(3, 1), None).tolist()
        [[2.0], [2.0], [2.0]]
    """
    return gathered(extract(x[share(len(x), fabric)]), fabric)


def summed_moments(moments: Moments, fabric: Any) -> Moments:
    """Return the moments of the rows of all processes, the same in each: to rounding, those of all rows together.

    With n_r rows, mean m_r and scatter M_r in process r, M = sum_r M_r + sum_r n_r (m_r - m)(m_r - m)^T: one matrix is
    summed, and only means are gathered.

    Arguments:
        moments: of this process's rows; of no rows, all zeros.
        fabric: the processes, or None.

    Example:
        >>> summed_moments(Moments.of(torch.eye(2)), None).count
        2
    """
    counts = torch.cat(gather(torch.tensor([moments.count]), fabric))
    means = torch.cat(gather(moments.mean[None], fabric))
    weight = counts.double()
    mean = weight @ means / weight.sum()
    steps = means - mean
    scatter = add(moments.scatter, fabric) + (steps * weight[:, None]).T @ steps
    return Moments(int(counts.sum()), mean, scatter)


def merged(seen: Set, fabric: Any) -> Set:
    """Return what `reading.read` says of a whole set, of which each process read its share.

    Rows and logits are gathered in order and moments summed. Where not all rows are held, the union of those that each
    process holds is.

    Arguments:
        seen: what this process read.
        fabric: the processes, or None.
    """
    in_part = int(add(torch.tensor([seen.moments is not None]).long(), fabric))
    moments = seen.moments
    if in_part:  # a process may hold all of its rows, or have none
        moments = summed_moments(moments or (Moments.of(seen.rows) if seen.total else _none(seen.rows)), fabric)
    total = int(add(torch.tensor([seen.total]), fabric))
    logits = None if seen.logits is None else gathered(seen.logits, fabric)
    return seen._replace(rows=gathered(seen.rows, fabric), total=total, moments=moments, logits=logits)


def _none(rows: Tensor) -> Moments:
    """Return the moments of no rows of this length."""
    d = rows.shape[1]
    return Moments(0, torch.zeros(d, dtype=torch.float64), torch.zeros(d, d, dtype=torch.float64))
