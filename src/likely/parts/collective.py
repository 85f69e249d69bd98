"""What several processes do together, on a launched `lightning_fabric.Fabric`; None stands for one process alone.

Everything is built on one call, a sum over processes: rows are gathered as a sum of tables in which each process has
filled in its own places and zeros elsewhere, which is exact. Every process must make the same calls in the same order.

Reference: Li, Zhao, Varma, Salpekar, Noordhuis, Li, Paszke, Smith, Vaughan, Damania and Chintala, PyTorch Distributed:
Experiences on Accelerating Data Parallel Training, 2020, doi.org/10.14778/3415478.3415530.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

SMALL = 2**16  #: tensors of at most so many numbers are sent together


def place(fabric: Any) -> tuple[int, int]:
    """Return this process's number, from 0, and how many there are."""
    return (0, 1) if fabric is None else (int(fabric.global_rank), int(fabric.world_size))


def share(n: int, fabric: Any) -> slice:
    """Return this process's run of n rows, possibly empty; the runs of all processes are 0 ... n - 1.

    Example:
        >>> share(10, None)
        slice(0, 10, None)
    """
    rank, size = place(fabric)
    return slice(n * rank // size, n * (rank + 1) // size)


def add(values: Tensor, fabric: Any) -> Tensor:
    """Return the sum over processes, the same in each."""
    return values if place(fabric)[1] == 1 else fabric.all_reduce(values.contiguous().clone(), reduce_op="sum")


def add_all(values: Sequence[Tensor], fabric: Any) -> list[Tensor]:
    """Return the sums over processes of several tensors; small ones of one kind go together in one call."""
    found = list(values)
    small: dict[torch.dtype, list[int]] = {}
    for i, value in enumerate(values):
        if value.numel() > SMALL:
            found[i] = add(value, fabric)
        else:
            small.setdefault(value.dtype, []).append(i)
    for places in small.values():
        joined = add(torch.cat([values[i].reshape(-1) for i in places]), fabric)
        for i, part in zip(places, joined.split([values[i].numel() for i in places]), strict=True):
            found[i] = part.reshape(values[i].shape)
    return found


def gather(rows: Tensor, fabric: Any) -> list[Tensor]:
    """Return the rows of every process, (N_r, ...), in the order of the processes; only N_r may differ."""
    rank, size = place(fabric)
    if size == 1:
        return [rows]
    counts = torch.zeros(size, dtype=torch.int64, device=rows.device)
    counts[rank] = len(rows)
    lengths = add(counts, fabric).tolist()
    every = torch.zeros((sum(lengths), *rows.shape[1:]), dtype=rows.dtype, device=rows.device)
    every[sum(lengths[:rank]) : sum(lengths[: rank + 1])] = rows
    return list(fabric.all_reduce(every, reduce_op="sum").split(lengths))
