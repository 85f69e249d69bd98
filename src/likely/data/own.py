"""The user's own data: the kind of file decides the reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from likely.data import foreign
from likely.data.parts import Data
from likely.data.rows import Rows, split_and_view
from likely.errors import DataError

TABLES = (".csv", ".tsv", ".parquet")
KINDS = "a folder, .zip or .tar of pictures, a folder of sequences, .npy, .npz, .csv, .tsv, .parquet or .txt"


def load_own(
    path: Path,
    *,
    view: str | None,
    size: Any,
    colour: str | None,
    cond: str | None,
    weight: str | None,
    seed: int,
    valid: float | None,
    test: float | None,
    resize: str | None = None,
    on_disk: bool = False,
    sequence: str | None = None,
) -> Data:
    """Load a file or folder; see `likely.data.load`."""
    try:
        rows = _sequences(path, size, colour, cond, weight, resize, sequence)
        if rows is None:
            rows = _read(path, size, colour, cond, weight, resize, on_disk, view)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or foreign.reason(error)}).") from None
    except MemoryError:
        raise DataError(f"{path}: does not fit into memory; save it as .npy, which stays on disk.") from None
    name = path.name or str(path.resolve().name)
    try:
        return split_and_view(rows, name, view=view, seed=seed, valid=valid, test=test)
    except DataError as error:
        raise type(error)(f"{path}: {error}") from None


def _read(
    path: Path,
    size: Any,
    colour: str | None,
    cond: str | None,
    weight: str | None,
    resize: str | None,
    on_disk: bool,
    view: str | None,
) -> Rows:
    from likely.data.archives import is_archive

    suffix = path.suffix.lower()
    if path.is_dir() or is_archive(path):
        _refuse(path, "pictures", weight=weight)
        from likely.data.pictures import read_pictures

        return read_pictures(path, size=size, colour=colour, resize=resize, cond=cond, on_disk=on_disk)
    if suffix in (".npy", ".npz", *TABLES):
        _refuse(path, suffix, size=size, colour=colour, resize=resize)
    if suffix == ".npy":
        _refuse(path, ".npy", weight=weight, cond=None if cond == "none" else cond)
        from likely.data.arrays import read_npy

        return read_npy(path, on_disk=on_disk)
    if suffix == ".npz":
        from likely.data.arrays import read_npz

        return read_npz(path, cond=cond, weight=weight, on_disk=on_disk)
    if suffix in TABLES:
        from likely.data.tables import read_table

        return read_table(path, cond=cond, weight=weight, levels=view == "levels")
    raise DataError(f"{path}: not a kind of file that can be read; give {KINDS}.")


def _sequences(
    path: Path,
    size: Any,
    colour: str | None,
    cond: str | None,
    weight: str | None,
    resize: str | None,
    column: str | None,
) -> Rows | None:
    """Return the rows of a file or folder of sequences, None where it is no such thing."""
    from likely.data import sequences

    suffix = path.suffix.lower()
    if path.is_dir() and sequences.is_folder_of_sequences(path):
        kind = "a folder of sequences"
        _refuse(path, kind, size=size, colour=colour, resize=resize, weight=weight, sequence=column)
        return sequences.read_folder(path, cond=cond)
    if column is not None:
        if suffix not in TABLES:
            raise DataError(f"{path}: sequence='{column}' names a column of a table; leave it out.")
        _refuse(path, suffix, size=size, colour=colour, resize=resize)
        return sequences.read_long(path, column, cond=cond, weight=weight)
    if suffix == ".npz" and sequences.has_lengths(path):
        _refuse(path, suffix, size=size, colour=colour, resize=resize)
        return sequences.read_lengths(path, cond=cond, weight=weight)
    if suffix == ".txt":
        given = None if cond == "none" else cond
        _refuse(path, ".txt", size=size, colour=colour, resize=resize, weight=weight, cond=given)
        return sequences.read_lines(path)
    return None


def _refuse(path: Path, kind: str, **options: Any) -> None:
    for option, value in options.items():
        if value is not None:
            raise DataError(f"{path}: {option} does not apply to {kind}; leave it out.")
