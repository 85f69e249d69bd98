"""A split of very many rows that is computed instead of stored: no list of row numbers is as long as the data.

The rows are cut into blocks of a prime B; in block b, place w stands for row b B + (a_b w + k_b) mod B, where a_b and
k_b are hashed from the seed, and each part takes a fixed run of the places. So each part has its share in every block,
at random rows. Within a part, position i stands for the (i s mod M)-th of its M rows in the order of the file, s near
the golden section of M and without a common divisor: every run of positions is spread over the whole file, which may
be sorted. It is less random than a shuffle: two rows of a block are independent, three are not.

Reference: Carter and Wegman, Universal Classes of Hash Functions, 1979, doi.org/10.1016/0022-0000(79)90044-8.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

BLOCK = 1009  #: rows of a block, a prime
LARGE = 2**20  #: a split of more rows than this is computed; it must not depend on the machine, nor does it


class Blocks:
    """The row numbers of one part, (M,), indexed as an array is: by a number, a slice or numbers.

    Arguments:
        n: how many rows there are in all.
        low: the part's first place in a block, as a share of the block.
        high: the place after its last, as a share.
        seed: decides which rows stand at which places.

    Example:
        >>> train, rest = Blocks(5000, 0.0, 0.8, seed=0), Blocks(5000, 0.8, 1.0, seed=0)
        >>> len(train), len(rest), len(set(train[:]) | set(rest[:]))
        (3999, 1001, 5000)
    """

    def __init__(self, n: int, low: float, high: float, seed: int) -> None:
        self.blocks, self.rest = divmod(n, BLOCK)
        self.low, self.each = round(low * BLOCK), round(high * BLOCK) - round(low * BLOCK)
        self.last_low = round(low * self.rest)
        self.length = self.blocks * self.each + round(high * self.rest) - self.last_low
        self.seed = np.uint64(seed)
        self.stride = max(1, round(0.6180339887498949 * self.length))
        while math.gcd(self.stride, self.length) > 1:
            self.stride += 1
        self.back = pow(self.stride, -1, self.length) if self.length > 1 else 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            key = np.arange(*key.indices(self.length))
        at = np.asarray(key, dtype=np.int64)
        if at.size and (at.min() < -self.length or at.max() >= self.length):
            raise IndexError(f"there are {self.length} rows, not {int(np.abs(at).max())}.")
        return self.in_order(_product(at % max(1, self.length), self.stride, self.length))

    def positions(self, cut: slice) -> np.ndarray:
        """Return at which positions the rows of a run in the order of the file stand."""
        return _product(np.arange(*cut.indices(self.length)), self.back, self.length)

    def in_order(self, at: np.ndarray) -> np.ndarray:
        """Return the row numbers of the part's rows counted in the order of the file, block by block."""
        each = max(1, self.each)
        last = at >= self.blocks * self.each
        block = np.where(last, self.blocks, at // each)
        place = np.where(last, self.last_low + at - self.blocks * self.each, self.low + at % each)
        hashed = _mixed(block.astype(np.uint64) + _mixed(self.seed))
        factor = np.where(last, 1, 1 + (hashed % np.uint64(BLOCK - 1)).astype(np.int64))
        offset = (_mixed(hashed) >> np.uint64(1)).astype(np.int64)
        return block * BLOCK + (factor * place + offset % BLOCK) % np.where(last, max(1, self.rest), BLOCK)


class Every:
    """The numbers 0 ... n - 1 in order, indexed as an array of them is, of which none is made."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return np.arange(*key.indices(self.n))
        at = np.asarray(key, dtype=np.int64)
        if at.size and (at.min() < -self.n or at.max() >= self.n):
            raise IndexError(f"there are {self.n} rows, not {int(np.abs(at).max())}.")
        return at % max(1, self.n)

    def positions(self, cut: slice) -> np.ndarray:
        """Return at which positions the rows of a run in the order of the file stand."""
        return np.arange(*cut.indices(self.n))


def _product(a: np.ndarray, b: int, modulus: int) -> np.ndarray:
    """Return a b mod modulus without overflow: b in two halves."""
    modulus = max(1, modulus)
    high, low = divmod(b, 2**16)
    return (a * high % modulus * 2**16 + a * low) % modulus


def _mixed(value: Any) -> Any:
    """Return the finaliser of splitmix64 of unsigned numbers."""
    with np.errstate(over="ignore"):
        value = value + np.uint64(0x9E3779B97F4A7C15)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))
