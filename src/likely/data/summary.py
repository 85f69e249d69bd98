"""What `likely data NAME` says about a data set."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from likely.data.parts import Data, Mapped, chunks
from likely.spaces import Finite, Ragged


def describe(data: Data) -> dict[str, Any]:
    """Return plain values that describe a data set: sizes, spaces, classes, range and missing values.

    The range and the count of missing values are over all three parts, of the stored values (the levels, where the
    dynamic view draws bits).
    """
    low, high, missing = float("inf"), float("-inf"), 0
    for part in data.parts.values():
        for array in chunks(_steps(part.x)):
            known = array
            if array.dtype.kind == "f":
                known = array[~np.isnan(array)]
                missing += array.size - known.size
            if known.size:
                low, high = min(low, float(known.min())), max(high, float(known.max()))
    classes: dict[str, int] | None = None
    if isinstance(data.cond, Finite) and data.cond.shape == ():
        labels = np.concatenate([part.cond.numpy() for part in data.parts.values() if part.cond is not None])
        counts = np.bincount(labels, minlength=data.cond.levels).tolist()
        classes = dict(zip(data.cond.categories or map(str, range(data.cond.levels)), counts, strict=True))
    return {
        "name": data.name,
        "view": data.view,
        "space": data.space.to_json(),
        "cond": None if data.cond is None else data.cond.to_json(),
        "rows": {name: len(part) for name, part in data.parts.items()},
        "classes": classes,
        "min": low if low <= high else None,
        "max": high if low <= high else None,
        "missing": missing,
        "weighted": data.train.weight is not None,
        "on_disk": isinstance(data.train.x, Mapped),
        "density_known": data.true_log_prob is not None,
        "note": data.note,
        "source": data.source,
    }


def _steps(x: Any) -> Any:
    """Return the values of sequences without lengths and padding."""
    if not isinstance(x, Ragged):
        return x
    return x.values[torch.arange(x.values.shape[1]) < x.lengths[:, None]]
