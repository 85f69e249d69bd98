"""Small work on the processor: one thread, the faster library, and the faster precision.

Handing an operation of a few microseconds to other threads takes longer than doing it. Where another process holds a
core it takes far longer, since all threads wait for the one that is not running: loops of small operations then slow
down ten times and more.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

SMALL = 4_000_000  #: an operation of fewer multiplications is not worth sharing


@contextmanager
def calm(products: int) -> Iterator[None]:
    """Let torch use one thread if each operation within does fewer than `SMALL` multiplications.

    Example:
        >>> before = torch.get_num_threads()
        >>> with calm(1000):
        ...     torch.get_num_threads()
        1
        >>> torch.get_num_threads() == before
        True
    """
    threads = torch.get_num_threads()
    if products >= SMALL or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def crossed(left: Tensor, right: Tensor) -> Tensor:
    """Return left^T right for many rows of few numbers, (N, I) and (N, J): numpy's is up to 3 times faster.

    Example:
        >>> crossed(torch.ones(5, 1), torch.ones(5, 2))
        tensor([[5., 5.]])
    """
    if left.device.type != "cpu":
        return left.T @ right
    return torch.from_numpy(left.numpy().T @ right.numpy())


def native_bfloat16(device: torch.device) -> bool:
    """Whether this is a processor that multiplies matrices of bfloat16 several times as fast as those of float32."""
    return device.type == "cpu" and _processor_has_bfloat16()


@functools.cache
def _processor_has_bfloat16() -> bool:
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(ask() for name in names if (ask := getattr(torch.cpu, name, None)))
