"""Where x comes from: named sets, toys with exact densities, and the user's own pictures, arrays and tables.

`names` and `load` are all that most users need. Importing this package imports neither torch nor any reader.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likely.errors import DataError, unknown

if TYPE_CHECKING:
    from likely.data.parts import Data as Data
    from likely.data.parts import Part as Part

NAMES = {
    "digits": "1,797 handwritten digits, 8 x 8, 17 levels; comes with scikit-learn and needs no file",
    "digits-binary": "digits seen as bits: x >= 8",
    "mnist": "70,000 handwritten digits, 28 x 28 bytes",
    "mnist-binary": "MNIST seen as bits that are drawn anew at every visit (dynamic binarization)",
    "binarized-mnist": "MNIST in Larochelle and Murray's fixed binarization",
    "fashion-mnist": "70,000 pictures of clothes, 28 x 28 bytes",
    "cifar10": "60,000 colour pictures of ten kinds of things, 3 x 32 x 32 bytes",
    "cifar10-jpeg": "CIFAR-10 re-encoded as JPEG files of quality 75 (a local archive; not for published numbers)",
    "ring": "toy, 2-D: eight Gaussians on a circle, density known",
    "grid": "toy, 2-D: 25 Gaussians on a grid, density known",
    "moons": "toy, 2-D: two interleaving half circles, density known",
    "spirals": "toy, 2-D: two interleaving spirals, density known",
    "checkerboard": "toy, 2-D: uniform on the black squares of a board, density known",
    "squares": "toy: 16 x 16 pictures of a square whose place, size and brightness are known factors",
}
VIEWS = ("bytes", "reals", "threshold", "dynamic", "fixed", "levels")
_LAZY = {"Data": "parts", "Part": "parts", "describe": "summary"}

__all__ = ["Data", "Part", "describe", "load", "names"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"likely.data.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'likely.data' has no attribute {name!r}")


def names() -> dict[str, str]:
    """Return name -> one line on it, of every named data set.

    Example:
        >>> "mnist" in names()
        True
    """
    return dict(NAMES)


def load(
    name_or_path: str | os.PathLike[str] = "digits",
    *,
    view: str | None = None,
    size: int | tuple[int, int] | list[int] | None = None,
    colour: str | None = None,
    cond: str | None = None,
    weight: str | None = None,
    seed: int = 0,
    valid: float | None = None,
    test: float | None = None,
    resize: str | None = None,
    on_disk: bool = False,
    sequence: str | None = None,
) -> Data:
    """Load a named data set, or your own file or folder, as train, valid and test parts with their space.

    Own data may be a folder, zip or tar of pictures (class subfolders become labels, `metadata.jsonl` becomes captions,
    folders `train`, `valid` and `test` are respected as the split), `.npy`, `.npz` (an array X, x, images or data, and
    labels y or labels), `.csv`, `.tsv` or `.parquet` (numeric columns; missing values become NaN; a column called label
    or class becomes labels).

    Sequences of different lengths may be a folder with a `.npy`, `.csv` or `.tsv` file for each, a table whose column
    `sequence` says which sequence a row belongs to, `.npz` with `lengths` and `values` (all steps end to end), or
    `.txt` with a sequence a line (words between spaces, else characters). Texts become levels that keep their names.

    Real values are float32. Arrays of more than a quarter of the machine's memory stay on disk. Named files are looked
    for in the folder of the environment variable `LIKELY_DATA`, then in the user's cache, and then downloaded; their
    checksums are verified each time.

    Arguments:
        name_or_path: a name of `names()`, or the path of a file or folder.
        view: how the values are looked at: `bytes` (levels as they are), `reals` (the same numbers as reals),
            `threshold` (bits: at least half of the levels), `dynamic` (bits drawn anew at every visit of a training
            row, P(1) = x / highest level; valid and test bits drawn once by `seed`), `fixed` (bits as given) or
            `levels` (own tables: each column's distinct values, texts too, as a variable of finitely many). None takes
            what the data are.
        size: own pictures: height and width in pixels, one number for squares. The largest centred part of that aspect
            ratio is kept and resized, with antialiasing unless `resize` says otherwise.
        colour: own pictures: `grey`, `rgb` or `rgba`; None keeps what the files have. Transparency is laid over white.
        cond: what is given: `label`, `caption` (the field `text`), `none`, or the name of a column or metadata field;
            None takes labels where there are any, else captions.
        weight: own tables and npz files: the column or array that says how much each row counts.
        seed: decides all that is drawn: random splits, toys, the valid and test bits of the dynamic view.
        valid, test: own data: the fractions held out, each 0.1 unless given. With 0 and 0 all rows are in `train`, in
            the file's order.
        resize: own pictures, with `size`: how they are resized, `lanczos` (the default), `clean` (antialiased bicubic)
            or `legacy` (TensorFlow 1's bilinear); distances between pictures depend on it.
        sequence: own tables: the column that says which sequence a row is a step of.
        on_disk: own pictures and arrays: read or decode rows each time they are looked at, and keep none in memory.

    Raises:
        UnknownName: no data set has this name; the message suggests the nearest.
        DataError: the data cannot be used as asked; one line names the file and what to do.

    Example:
        >>> data = load("digits", view="threshold")
        >>> len(data.train), len(data.valid), len(data.test), str(data.space)
        (1437, 180, 180, 'Binary(1, 8, 8)')
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise DataError(f"seed must be a whole number from 0 to 2^63 - 1, not {seed!r}.")
    if view is not None and view not in VIEWS:
        raise unknown("view", view, VIEWS)
    asked = os.fspath(name_or_path)
    source = {
        "view": view,
        "size": list(size) if isinstance(size, (tuple, list)) else size,
        "colour": colour,
        "cond": cond,
        "weight": weight,
        "seed": seed or None,
        "valid": valid,
        "test": test,
        "resize": resize,
        "sequence": sequence,
    }
    source = {key: value for key, value in source.items() if value is not None}
    if asked in NAMES:
        from likely.data.named import load_named

        fixed = ("weight", "valid", "test", "resize", "sequence") + (
            () if asked == "cifar10-jpeg" else ("size", "colour")
        )
        for option in fixed:
            if option in source:
                raise DataError(f"{option} does not apply to '{asked}', whose form is fixed; leave it out.")
        data = load_named(asked, view=view, size=size, colour=colour, cond=cond, seed=seed)
        source["name_or_path"] = asked
    else:
        from likely.data.own import load_own

        path = _path(asked)
        data = load_own(
            path,
            view=view,
            size=size,
            colour=colour,
            cond=cond,
            weight=weight,
            seed=seed,
            valid=valid,
            test=test,
            resize=resize,
            on_disk=on_disk,
            sequence=sequence,
        )
        source["name_or_path"] = str(path.absolute())
    data.source = source
    return data


def _path(asked: str) -> Path:
    """Return the path that the user means: as given, or under `LIKELY_DATA`."""
    path = Path(asked).expanduser()
    if asked and path.exists():
        return path
    folder = os.environ.get("LIKELY_DATA")
    if asked and folder and (Path(folder) / asked).exists():
        return Path(folder) / asked
    if path.suffix or len(path.parts) > 1:
        raise DataError(f"{asked}: no such file or folder; check the path.")
    raise unknown("data set", asked, NAMES)
