r"""The data themselves, and their principal components: features that need no trained weights.

pixels: x as it is. pca: z = V^T (x - m), with m the mean and V the k leading eigenvectors of the covariance of real
data. Distances there see brightness, contrast and blur before they see shape; they work offline and for any data.

Reference: Jolliffe, Principal Component Analysis, 2002, doi.org/10.1007/b98835.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from likely.errors import LikelyError, SpaceError
from likely.extractors.base import Extractor, any_space, digest, plain
from likely.spaces import Sequence, Space

ROWS = 20_000  #: rows from which components are computed, at most
ENTRIES = 2**26  #: numbers that these rows hold, at most: half a gigabyte
SIDE = 4096  #: the side of the largest matrix whose eigenvectors are computed


def pixels() -> Extractor:
    """Return the extractor that keeps the data: levels / highest level, one-hot categories, reals as they are.

    Example:
        >>> from likely.spaces import Binary
        >>> pixels()(Binary((2,)).enumerate(), Binary((2,))).tolist()
        [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """

    def read(x: Tensor, space: Space) -> tuple[Tensor, None]:
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        return plain(x, space, dtype).reshape(len(x), -1), None

    return Extractor("pixels", None, read, any_space, rows=2000)


def pca(real: Any, space: Space, *, components: int = 64) -> Extractor:
    """Return the extractor z = V^T (x - m), fitted on real data, in float64.

    It is fitted on real data alone, and the same one must read the real and the generated set. Each component has the
    sign that makes its largest entry positive. Components beyond the rank of the data are arbitrary directions in which
    the data do not vary, so `components` must be less than the rows.

    Arguments:
        real: real values of the space, (N, *shape). Of more than 20,000 rows (4,096 for large pictures), evenly spaced
            ones are used.
        space: what one x is; only data of this space can be read.
        components: k, at most the numbers of a datum and fewer than the rows.

    Raises:
        LikelyError: k does not fit the data.
        SpaceError: a real value is not of the space.
    """
    if isinstance(space, Sequence):
        raise SpaceError(f"'pca' reads data of one size, not {space}.")
    numbers = _numbers(space)
    n = min(len(real), ROWS, max(ENTRIES // numbers, 2), ROWS if numbers <= SIDE else SIDE)
    chosen = torch.linspace(0, len(real) - 1, n, dtype=torch.float64).round().long()
    values = space.check(real[chosen.numpy()])
    rows = plain(values, space, torch.float64).reshape(n, numbers)
    if not 1 <= components <= min(n - 1, numbers):
        raise LikelyError(
            f"components must be from 1 to {min(n - 1, numbers)} for {n} rows of {numbers} numbers, not {components}."
        )
    mean = rows.mean(0)
    rows -= mean
    if numbers <= n:
        vectors = torch.linalg.eigh(rows.T @ rows).eigenvectors.flip(1)[:, :components]
    else:  # the eigenvectors of the smaller matrix X X^T give those of X^T X
        vectors = rows.T @ torch.linalg.eigh(rows @ rows.T).eigenvectors.flip(1)[:, :components]
        vectors = torch.linalg.qr(vectors).Q
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    vectors = vectors * largest.sign()

    def read(x: Tensor, _: Space) -> tuple[Tensor, None]:
        return (plain(x, space, torch.float64).reshape(len(x), -1) - mean) @ vectors, None

    def accept(asked: Space) -> None:
        if (type(asked), asked.shape, asked.points) != (type(space), space.shape, space.points):
            raise SpaceError(f"these components were fitted on {space}; they cannot read {asked}.")

    name = f"pca-{components}-{digest([values.numpy()])}"
    return Extractor(name, components, read, accept, rows=2000)


def _numbers(space: Space) -> int:
    """Return how many numbers a datum becomes."""
    one_hot = not getattr(space, "ordered", True)
    return space.size * (space.levels if one_hot else 1)  # type: ignore[attr-defined]
