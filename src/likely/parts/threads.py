"""Small work on the processor: one thread, and the faster library.

Handing an operation of a few microseconds to other threads takes longer than doing it. Where another process holds a
core it takes far longer, since all threads wait for the one that is not running: loops of small operations then slow
down ten times and more.
"""

from __future__ import annotations

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
