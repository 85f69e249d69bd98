"""A set of data read through an extractor in one pass: features that are held, and moments where not all are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from likely import extractors
from likely.data.parts import Mapped
from likely.errors import LikelyError
from likely.evaluation.frechet import ROWS as TOGETHER
from likely.evaluation.frechet import Moments
from likely.evaluation.matrices import choose
from likely.evaluation.samples import complete_rows
from likely.evaluation.sharded import merged
from likely.extractors import Extractor
from likely.extractors.linear import ENTRIES, _numbers
from likely.parts.collective import place, share
from likely.spaces import Sequence, Space, batches

HELD = 2**29  #: bytes of the features of one set that are held
WIDE = 4096  #: dimensions up to which covariances are taken
COMPONENTS = 64  #: principal components that are taken, where the data have so many


class Set(NamedTuple):
    """What is known of a set.

    Arguments:
        rows: features that are held, (n, D): all of them, or random ones.
        total: how many rows the set has.
        moments: of all rows, where not all are held.
        logits: of all rows, (N, K), where the extractor classifies.
    """

    rows: Tensor
    total: int
    moments: Moments | None = None
    logits: Tensor | None = None


def extractor(features: str | Extractor, real: Any, space: Space, *, resize: str | None = None) -> Extractor:
    """Return the extractor of this name; one that is given is returned as it is.

    Arguments:
        features: a name (`likely.extractors.names()`) or an extractor.
        real: real values, of which principal components are learned: 64, or as many as these rows and their entries
            allow. Rows with missing values are left out.
        space: what one value is.
        resize: how pictures are brought to the size that it reads.

    Raises:
        UnknownName: there is no such extractor.
        LikelyError: there are fewer than two complete rows to learn from, or the weights are not there.
    """
    if isinstance(features, Extractor):
        return features
    if features != "pca" or resize is not None or isinstance(space, Sequence):
        return extractors.load(features, real=real, space=space, resize=resize)
    whole, entries = complete_rows(space, real), _numbers(space)
    rows = min(len(whole), max(ENTRIES // entries, 2))  # as many as `linear.pca` takes of large pictures
    if rows < 2:
        raise LikelyError(f"principal components need at least 2 complete rows, not {rows}.")
    return extractors.load(features, real=whole, space=space, components=min(COMPONENTS, entries, rows - 1))


def read(
    extractor: Extractor,
    x: Any,
    space: Space,
    *,
    seed: int = 0,
    tell: Callable[[float], None] = lambda done: None,
    fabric: Any = None,
) -> Set:
    """Return what an extractor says of a set, read a few rows at a time.

    Arguments:
        extractor: maps data to features.
        x: values of the space, (N, *shape): a tensor, or an array on disk.
        space: what one x is.
        seed: decides which rows are held where their features take more than `HELD` bytes.
        tell: is told the share of the rows that is read.
        fabric: processes that read a share each (`sharded`), or None. Shares are whole batches of the extractor: a row
            is read beside the same rows as in one process, and has the same features bit for bit; and the rows that are
            held are those of one process.

    Raises:
        SpaceError: the extractor does not read the space, or a value is not of it.
        LikelyError: there are no rows, or a feature is not a finite number.
    """
    total, mine = len(x), slice(0, len(x))
    if place(fabric)[1] > 1:
        cuts = list(batches(len(x), extractor.rows))
        own = cuts[share(len(cuts), fabric)]
        mine = slice(own[0].start, own[-1].stop) if own else slice(0, 1)
        x = x.take(np.arange(len(x))[mine]) if isinstance(x, Mapped) else x[mine]
        if not own:  # fewer batches than processes: one row says how long a row is
            return merged(_no_rows(extractor, x, space), fabric)
    rows: Tensor | None = None
    logits: Tensor | None = None
    moments: Moments | None = None
    held, in_part = torch.arange(len(x)), False
    waiting: list[Tensor] = []
    start = 0
    for features, named in extractor.stream(x, space):
        if rows is None:
            size = features[:1].nbytes
            in_part = total * size > HELD
            if in_part:
                every = choose(total, max(2, HELD // size), torch.Generator().manual_seed(seed)).sort().values
                held = every[(every >= mine.start) & (every < mine.stop)] - mine.start
            rows = features.new_empty(len(held), features.shape[1])
            logits = None if named is None else named.new_empty(len(x), named.shape[1])
        stop = start + len(features)
        first, last = (int(torch.searchsorted(held, place)) for place in (start, stop))
        rows[first:last] = features[held[first:last] - start]
        if logits is not None and named is not None:
            logits[start:stop] = named
        if in_part and features.shape[1] <= WIDE:
            waiting.append(features)
            if sum(map(len, waiting)) >= TOGETHER or stop == len(x):
                more = Moments.of(torch.cat(waiting))
                moments, waiting = more if moments is None else moments + more, []
        start = stop
        tell(stop / len(x))
    assert rows is not None  # there is at least one row
    return merged(Set(rows, len(x), moments, logits), fabric)


def _no_rows(extractor: Extractor, x: Any, space: Space) -> Set:
    """Return what is known of no rows: how long they would be, by the look of one."""
    features, logits = extractor.both(x, space)
    return Set(features[:0], 0, None, None if logits is None else logits[:0])


def some(rows: Tensor, most: int, seed: int) -> Tensor:
    """Return at most so many rows, chosen at random, in their order."""
    if len(rows) <= most:
        return rows
    return rows[choose(len(rows), most, torch.Generator().manual_seed(seed)).sort().values]
