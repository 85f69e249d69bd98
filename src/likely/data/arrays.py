"""Arrays from `.npy` and `.npz`: headers are read and judged before anything is allocated; nothing is unpickled."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import weakref
import zipfile
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from numpy.lib import format as npy

from likely.data import foreign
from likely.data.conditions import conditions, strata, weights
from likely.data.parts import Mapped, at_once, read
from likely.data.rows import Rows
from likely.errors import DataError
from likely.spaces import Binary, Finite, Real, Space, batches

VALUES = ("x", "images", "data")
LABELS = ("y", "labels", "label")


class Header(NamedTuple):
    """What a `.npy` file says about itself."""

    shape: tuple[int, ...]
    dtype: np.dtype
    length: int  #: bytes of the header

    @property
    def total(self) -> int:
        """How many bytes the whole file must have."""
        return self.length + math.prod(self.shape) * self.dtype.itemsize


def read_header(file: IO[bytes], where: str) -> Header:
    """Return what a `.npy` stream declares.

    Raises:
        DataError: it is not `.npy`, or declares objects or records instead of numbers or text.
    """
    try:
        version = npy.read_magic(file)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read is None:
            raise ValueError(f"version {version}")
        shape, _, dtype = read(file)
    except Exception as error:  # the parser raises many kinds on damaged bytes
        raise DataError(f"{where}: not a numpy array ({foreign.reason(error)}); save it with numpy.save.") from None
    if dtype.hasobject:
        raise DataError(f"{where}: holds Python objects, which are never loaded; save an array of numbers.")
    if dtype.kind not in "biufUS" or any(s < 0 for s in shape):
        raise DataError(f"{where}: holds {dtype}, shape {shape}; save an array of real numbers.")
    return Header(shape, dtype, file.tell())


class Archive:
    """The arrays of a `.npz` file, by name; use as `with Archive(path) as archive`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.zip = zipfile.ZipFile(path)
        except Exception as error:
            raise DataError(
                f"{path}: damaged or not a .npz file ({foreign.reason(error)}); save it with numpy.savez."
            ) from None
        members = [info for info in self.zip.infolist() if info.filename.endswith(".npy")]
        self.members = {info.filename.removesuffix(".npy"): info for info in members}
        if not self.members:
            self.zip.close()
            raise DataError(f"{path}: holds no arrays; save it with numpy.savez.")

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: Any) -> None:
        self.zip.close()

    def read(self, name: str, *, on_disk: bool = False) -> np.ndarray:
        """Return one array.

        Arguments:
            name: which.
            on_disk: unpack it into a temporary file, which goes with the array, and map that.

        Raises:
            DataError: there is no such array, it holds objects, its header contradicts the file, it looks like a bomb,
                or it does not fit into memory.
        """
        if name not in self.members:
            raise DataError(f"{self.path}: has no array '{name}'; it has {', '.join(self.members)}.")
        info, where = self.members[name], f"{self.path}: '{name}'"
        try:
            with self.zip.open(info) as file:
                header = read_header(file, where)
            _check_size(header, info.file_size, where)
            if foreign.bomb(info.file_size, info.compress_size):
                raise DataError(
                    f"{where}: {info.compress_size:,} bytes that expand to {info.file_size:,} look like a bomb; if you "
                    "trust it, save it again with numpy.save."
                )
            if info.file_size > foreign.memory() and not on_disk:
                raise DataError(
                    f"{where}: {info.file_size:,} bytes do not fit into memory; save it as .npy, which stays on disk."
                )
            with self.zip.open(info) as file:
                return _spooled(file) if on_disk else npy.read_array(file, allow_pickle=False)
        except DataError:
            raise
        except Exception as error:
            raise DataError(f"{where}: damaged or not readable ({foreign.reason(error)}); save it again.") from None


def _spooled(file: IO[bytes]) -> np.ndarray:
    """Return the array of a `.npy` stream as a map of a temporary file, which is removed when the array is."""
    with tempfile.NamedTemporaryFile(suffix=".npy", delete=False) as spool:
        try:
            shutil.copyfileobj(file, spool)
            spool.flush()
            array: np.ndarray = np.load(spool.name, mmap_mode="r", allow_pickle=False)
        except BaseException:
            os.unlink(spool.name)
            raise
    weakref.finalize(array, os.unlink, spool.name)
    return array


def _check_size(header: Header, size: int, where: str) -> None:
    if header.total != size:
        raise DataError(
            f"{where}: its header says shape {header.shape} of {header.dtype}, {header.total:,} bytes, but there are "
            f"{size:,}; save it again."
        )


def read_npy(path: Path, *, on_disk: bool = False) -> Rows:
    """Read the array of a `.npy` file; one that is larger than `foreign.memory()` stays on disk, or if so asked.

    Raises:
        DataError: it is no array of real numbers, or its header contradicts the file's size.
    """
    with path.open("rb") as file:
        header = read_header(file, str(path))
    _check_size(header, path.stat().st_size, str(path))
    _check_values(header.shape, header.dtype, str(path))
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    if mapped.nbytes > foreign.memory():
        return _rows(mapped, str(path), on_disk=True, note="larger than memory: stays on disk")
    if on_disk:
        return _rows(mapped, str(path), on_disk=True)
    return _rows(np.array(mapped), str(path))


def read_npz(path: Path, *, cond: str | None = None, weight: str | None = None, on_disk: bool = False) -> Rows:
    """Read a `.npz` file: values X, x, images or data (or the only array there is), labels y or labels.

    Arguments:
        path: the file.
        cond: the array to condition on; `label` and None take y or labels where there are; `none` takes none.
        weight: the array that says how much each row counts, or None.
        on_disk: keep the values in a temporary file instead of in memory.

    Raises:
        DataError: an array is missing, or cannot be used; see `Archive.read`.
    """
    with Archive(path) as archive:
        label = next((k for k in archive.members if k.lower() in LABELS), None)
        given = label if cond in (None, "label") else None if cond == "none" else cond
        if cond == "label" and given is None:
            raise DataError(f"{path}: has no labels; call the array y or labels.")
        others = [k for k in archive.members if k not in (given, label, weight)]
        key = next((k for k in others if k.lower() in VALUES), others[0] if len(others) == 1 else None)
        if key is None:
            raise DataError(f"{path}: which array is the data? Call it x; there are {', '.join(archive.members)}.")
        values = archive.read(key, on_disk=on_disk)
        _check_values(values.shape, values.dtype, f"{path}: '{key}'")
        rows = _rows(values, f"{path}: '{key}'", on_disk=on_disk)
        for name in (given, label, weight):
            if name is not None and len(np.atleast_1d(array := archive.read(name))) != len(values):
                raise DataError(f"{path}: '{name}' has shape {array.shape} for {len(values)} rows of '{key}'.")
        if label is not None:
            rows.classes = strata(archive.read(label))
        if given is not None:
            asked = cond is not None
            rows.cond, rows.cond_space, note = conditions(archive.read(given), given, str(path), asked=asked)
            rows.note.append(note)
        if weight is not None:
            rows.weight = weights(archive.read(weight), weight, str(path))
    return rows


def _check_values(shape: tuple[int, ...], dtype: np.dtype, where: str) -> None:
    if dtype.kind not in "biuf":
        raise DataError(f"{where}: holds {dtype}; save an array of real numbers.")
    if not shape or math.prod(shape) == 0:
        raise DataError(f"{where}: is empty (shape {shape}); one row per datum is expected.")


def _rows(array: np.ndarray, where: str, *, on_disk: bool = False, note: str = "") -> Rows:
    """Return the rows of an array, its space and, where it is to stay on disk, a way to read them."""
    levels, complete = _levels(array, where)
    notes = [note] if note else []
    channels = (1, 3, 4)
    last = array.ndim == 4 and array.shape[3] in channels and array.shape[1] not in channels
    if last:
        notes.insert(0, "channels moved from last to first")
    grey = array.ndim == 3 and levels is not None
    dtype = np.uint8 if levels is not None else np.float32

    def change(rows: np.ndarray) -> np.ndarray:
        rows = rows.astype(dtype)
        if last:
            rows = np.moveaxis(rows, 3, 1)
        if grey or array.ndim == 1:
            rows = rows[:, None]
        return np.ascontiguousarray(rows)

    shape = change(np.asarray(array[:1])).shape[1:]
    space: Space = Real(shape) if levels is None else Binary(shape) if levels == 2 else Finite(shape, levels)
    if on_disk:
        return Rows(Mapped(array, change, complete=complete), space, note=notes)
    return Rows(torch.from_numpy(change(array)), space, note=notes)


def _levels(array: np.ndarray, where: str) -> tuple[int | None, bool]:
    """Return how many levels the values have, None for reals, and whether none is missing.

    Bits are two levels whatever their type, and numbers of a whole type from 0 to at most 255 are finite.

    Raises:
        DataError: a number is infinite or beyond float32, or an entry has no value in any row.
    """
    low, high, binary, complete = math.inf, -math.inf, True, True
    empty = np.ones(array.shape[1:], dtype=bool)  # the entries of which no value was seen yet
    for cut in batches(len(array), at_once(array)):
        rows = read(array, np.arange(cut.start, cut.stop))
        if rows.dtype.kind == "f":
            infinite = np.isinf(rows) | (np.abs(rows) > np.finfo(np.float32).max)
            if infinite.any():
                row = cut.start + int(np.argmax(infinite.reshape(len(rows), -1).any(1)))
                raise DataError(f"{where}: row {row} holds a number that is infinite or beyond float32; mend it.")
            missing = np.isnan(rows)
            complete = complete and not bool(missing.any())
            empty &= missing.all(0)
        binary = binary and bool(((rows == 0) | (rows == 1)).all())
        if rows.dtype.kind != "f":
            low, high = min(low, int(rows.min())), max(high, int(rows.max()))
    if not complete and empty.any():
        place = tuple(np.argwhere(empty)[0].tolist())
        which = f"the entry at {place}" if len(place) > 1 else f"column {place[0]}" if place else "the array"
        raise DataError(f"{where}: {which} has no value in any row; leave it out.")
    if binary:
        return 2, complete
    if array.dtype == np.uint8:
        return 256, complete
    return int(high) + 1 if array.dtype.kind != "f" and low >= 0 and high < 256 else None, complete
