"""Sequences of different lengths: a folder with a file for each, a long table, an array with lengths, lines of text.

Whatever the form, the result is a batch of `Ragged` over a `Sequence` space whose step is what one row of a file is.
Texts are symbols: they become levels, and the space keeps what each level is called.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from likely.data import foreign
from likely.data.arrays import Archive, read_header
from likely.data.conditions import conditions, strata, weights
from likely.data.parts import Data, Part
from likely.data.pictures import PART_FOLDERS, SUFFIXES
from likely.data.rows import Rows
from likely.data.tables import LABELS, Columns, _csv, _parquet
from likely.errors import DataError, unknown
from likely.spaces import Binary, Finite, Ragged, Real, Sequence, Space, ragged

FILES = (".npy", ".csv", ".tsv")  #: what one sequence of a folder may be
TOKENS = 2**16  #: whole numbers below are levels where a step is a single one; elsewhere those below 256


class _Steps(NamedTuple):
    """Steps end to end, (N, *step shape): numbers, or texts; and the names of their columns, if they have any."""

    values: np.ndarray
    names: tuple[str, ...] | None = None

    @property
    def kind(self) -> str:
        return {"U": "text", "f": "real numbers"}.get(self.values.dtype.kind, "whole numbers")


# Folders -------------------------------------------------------------------------------------------------------------


def is_folder_of_sequences(path: Path) -> bool:
    """Whether a folder holds arrays or tables, and no pictures."""
    found = False
    for file in path.rglob("*"):
        suffix = file.suffix.lower()
        if suffix in SUFFIXES:
            return False
        found = found or (suffix in FILES and not file.name.startswith("."))
    return found


def read_folder(path: Path, *, cond: str | None = None) -> Rows:
    """Read a folder of `.npy`, `.csv` or `.tsv` files, one sequence each: a row of a file is a step.

    Folders `train`, `valid` and `test` are respected as the split; other folders become labels.

    Arguments:
        path: the folder.
        cond: `label` and None take the folders' names where there are several; `none` takes none.

    Raises:
        DataError: a file is empty, or its steps differ in shape, names or kind from the others'.
    """
    if cond not in (None, "label", "none"):
        raise DataError(f"{path}: cond='{cond}' does not apply to a folder of sequences; take label or none.")
    files = sorted(f for f in path.rglob("*") if f.suffix.lower() in FILES and not f.name.startswith("."))
    size = sum(file.stat().st_size for file in files)
    if size > foreign.memory():
        raise DataError(f"{path}: {size:,} bytes do not fit into memory; fit on a part of the files.")
    steps = [_file(file) for file in files]
    _same(path, [file.relative_to(path).as_posix() for file in files], steps)
    rows = _rows([one.values for one in steps], steps[0].names, str(path))
    folders = [file.relative_to(path).parts[:-1] for file in files]
    tops = {f[0].lower() if f else "" for f in folders}
    if tops <= PART_FOLDERS.keys() and "train" in tops and len(tops) > 1:
        rows.parts = np.array([PART_FOLDERS[f[0].lower()] for f in folders])
        folders = [f[1:] for f in folders]
    if cond == "label" and not any(folders):
        raise DataError(f"{path}: has no labels; put the files of each class into a folder of its name.")
    if any(folders):
        beside = next((file for file, f in zip(files, folders, strict=True) if not f), None)
        if beside is not None:
            raise DataError(f"{path}: {beside.name} lies beside the folders of classes; move it into one.")
        _label(rows, np.array([f[0] for f in folders]), "folder", path, cond)
    return rows


def _file(path: Path) -> _Steps:
    """Return the one sequence of a file."""
    if path.suffix.lower() == ".npy":
        with path.open("rb") as file:
            header = read_header(file, str(path))
        if header.total != path.stat().st_size:
            raise DataError(f"{path}: its header says {header.total:,} bytes, there are others; save it again.")
        values = np.load(path, allow_pickle=False)
        if not values.ndim or not values.size:
            raise DataError(f"{path}: is empty (shape {values.shape}); one row per step is expected.")
        return _Steps(values)
    named, columns = _csv(path)
    return _table(path, columns, named)


def _table(path: Path, columns: Columns, named: bool) -> _Steps:
    """Return the columns of a table as steps: all numbers, or one column of texts."""
    texts = [name for name, array in columns.items() if array.dtype.kind == "U"]
    if texts and len(columns) > 1:
        others = ", ".join(name for name in columns if name != texts[0])
        raise DataError(f"{path}: column '{texts[0]}' holds text, so it must be the only one; there is also {others}.")
    if texts:
        array = columns[texts[0]]
        if (array == "").any():
            raise DataError(
                f"{path}: '{texts[0]}' is missing in data row {int(np.argmax(array == '')) + 1}; fill it in."
            )
        return _Steps(array)
    return _Steps(np.stack(list(columns.values()), 1), tuple(columns) if named else None)


def _same(path: Path, files: list[str], steps: list[_Steps]) -> None:
    """Raise unless the steps of all sequences are of one kind; columns are brought into the order of the first."""
    first = steps[0]
    for i, one in enumerate(steps):
        if (
            one.names != first.names
            and sorted(one.names or ()) == sorted(first.names or ())
            and one.names
            and first.names
        ):
            order = [one.names.index(name) for name in first.names]
            one = steps[i] = _Steps(one.values[:, order], first.names)
        for what, mine, theirs in (
            ("columns", ", ".join(first.names or ()), ", ".join(one.names or ())),
            ("steps of shape", first.values.shape[1:], one.values.shape[1:]),
            ("steps of", first.kind, one.kind),
        ):
            if mine != theirs:
                raise DataError(f"{path}: {files[i]} has {what} {theirs}, {files[0]} has {mine}; make them alike.")


# Long tables ---------------------------------------------------------------------------------------------------------


def read_long(path: Path, sequence: str, *, cond: str | None = None, weight: str | None = None) -> Rows:
    """Read a `.csv`, `.tsv` or `.parquet` table of which each row is one step; a column names its sequence.

    Arguments:
        path: the file. Steps come in the order of the rows; rows of one sequence need not stand together.
        sequence: the column that says which sequence a row belongs to.
        cond: the column to condition on, the same in all rows of a sequence; `label` and None take a column called
            label or class if it is; `none` leaves it out.
        weight: the column that says how much each sequence counts, the same in all its rows; or None.

    Raises:
        DataError: there is no such column, a row has no sequence, texts and numbers are mixed, or what is to hold for
            a sequence differs between its rows.
    """
    named, columns = _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path)
    for name in (sequence, weight, None if cond in (None, "label", "none") else cond):
        if name is not None and name not in columns:
            raise unknown(f"column of {path.name}", name, columns)
    identity = columns[sequence]
    absent = identity == "" if identity.dtype.kind == "U" else np.isnan(identity)
    if absent.any():
        raise DataError(f"{path}: '{sequence}' is missing in data row {int(np.argmax(absent)) + 1}; fill it in.")
    label = next((name for name in columns if name.strip().lower() in LABELS[:3] and name != sequence), None)
    given = label if cond in (None, "label") else None if cond == "none" else cond
    if cond == "label" and given is None:
        raise DataError(f"{path}: has no column of labels; call it label or class, or give cond='<column>'.")
    left = {name: array for name, array in columns.items() if name not in (sequence, weight, label, given)}
    if not left:
        raise DataError(f"{path}: has no columns of values besides {', '.join(columns)}.")
    steps = _table(path, left, named)
    _, first, number = np.unique(identity, return_index=True, return_inverse=True)
    number = np.argsort(np.argsort(first))[number]  # sequences in the order in which they begin
    order = number.argsort(kind="stable")
    ends = np.cumsum(np.bincount(number))
    rows = _rows(np.split(steps.values[order], ends[:-1]), steps.names, str(path))
    starts = order[np.concatenate([[0], ends[:-1]])]

    def constant(name: str) -> np.ndarray | None:
        array = columns[name]
        differs = (array != array[starts][number]) & (array == array)
        return None if differs.any() else array[starts]

    for name in (given, weight):
        if name is not None and constant(name) is None and (name == weight or cond is not None):
            raise DataError(f"{path}: '{name}' differs within a sequence; it must be the same in all its rows.")
    if given is not None:
        values = constant(given)
        if values is None:
            rows.note.append(f"'{given}' changes within sequences: left out")
        else:
            _label(rows, values, given, path, cond)
    if weight is not None:
        rows.weight = weights(columns[weight][starts], weight, str(path))
    return rows


# Arrays with lengths -------------------------------------------------------------------------------------------------


def has_lengths(path: Path) -> bool:
    """Whether a `.npz` file holds sequences: an array called lengths."""
    with Archive(path) as archive:
        return "lengths" in archive.members


def read_lengths(path: Path, *, cond: str | None = None, weight: str | None = None) -> Rows:
    """Read a `.npz` file with `lengths`, (B,), and `values`, all steps end to end, or `x`, (B, T, ...), padded.

    Arguments:
        path: the file.
        cond: the array to condition on, one value per sequence; `label` and None take y or labels; `none` takes none.
        weight: the array that says how much each sequence counts, or None.

    Raises:
        DataError: the lengths do not add up, a sequence is empty, or an array is missing.
    """
    with Archive(path) as archive:
        lengths = archive.read("lengths")
        key = next((k for k in ("values", "x") if k in archive.members), None)
        if key is None:
            raise DataError(f"{path}: has lengths, but neither values nor x; it has {', '.join(archive.members)}.")
        values = archive.read(key)
        if lengths.ndim != 1 or not len(lengths) or lengths.dtype.kind not in "iu" or lengths.min() < 0:
            raise DataError(
                f"{path}: 'lengths' must be whole numbers, one per sequence, not {lengths.dtype}{lengths.shape}."
            )
        if not values.ndim or values.dtype.kind not in "biufU":
            raise DataError(f"{path}: '{key}' holds {values.dtype}, shape {values.shape}; save an array of numbers.")
        if key == "values" and lengths.sum() != len(values):
            raise DataError(f"{path}: the lengths add up to {lengths.sum()} steps, 'values' has {len(values)}.")
        if key == "x" and (values.ndim < 2 or len(values) != len(lengths) or lengths.max() > values.shape[1]):
            wanted = f"{len(lengths)} sequences of up to {lengths.max()} steps"
            raise DataError(f"{path}: 'x' has shape {values.shape}, which does not hold {wanted}.")
        if key == "values":
            sequences = np.split(values, np.cumsum(lengths)[:-1])
        else:
            sequences = [row[:n] for row, n in zip(values, lengths, strict=True)]
        rows = _rows(sequences, None, str(path))
        label = next((k for k in archive.members if k.lower() in LABELS), None)
        given = label if cond in (None, "label") else None if cond == "none" else cond
        if cond == "label" and given is None:
            raise DataError(f"{path}: has no labels; call the array y or labels.")
        for name in (given, weight):
            if name is not None and archive.read(name).shape[:1] != lengths.shape:
                raise DataError(f"{path}: '{name}' does not have one value for each of {len(lengths)} sequences.")
        if given is not None:
            _label(rows, archive.read(given), given, path, cond)
        if weight is not None:
            rows.weight = weights(archive.read(weight), weight, str(path))
    return rows


# Lines of symbols ----------------------------------------------------------------------------------------------------


def read_lines(path: Path) -> Rows:
    """Read a `.txt` file, a sequence a line: words between spaces if any line has a space or tab, else characters.

    Raises:
        DataError: it is not UTF-8 text, or a line between others is empty.
    """
    size = path.stat().st_size
    if size > foreign.memory():
        raise DataError(f"{path}: {size:,} bytes do not fit into memory; fit on a part of the lines.")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8.") from None
    lines = text.rstrip().splitlines()
    if not lines:
        raise DataError(f"{path}: is empty; a sequence a line is expected.")
    words = any(" " in line.strip() or "\t" in line.strip() for line in lines)
    sequences = [line.split() if words else list(line.strip()) for line in lines]
    empty = next((number for number, one in enumerate(sequences, 1) if not one), None)
    if empty is not None:
        raise DataError(f"{path}: line {empty} is empty; a sequence has at least one symbol.")
    rows = _rows([np.array(one) for one in sequences], None, str(path))
    rows.note.append("symbols are words" if words else "symbols are characters")
    return rows


def lines(x: Ragged, space: Space) -> list[str]:
    """Return sequences of symbols as the lines that `read_lines` reads: words with spaces between, or characters.

    Arguments:
        x: the sequences.
        space: of symbols, which have names.

    Raises:
        DataError: the steps are no symbols, or a symbol has a space.

    Example:
        >>> space = Sequence(step=Finite((), 2, categories=("no", "yes"), ordered=False), length=2)
        >>> lines(ragged([[1, 0], [1]]), space)
        ['yes no', 'yes']
    """
    symbols = getattr(space.step, "categories", None) if isinstance(space, Sequence) else None
    if symbols is None:
        raise DataError(f"{space} holds no texts: only sequences of symbols with names are; write .npz.")
    spaced = next((symbol for symbol in symbols if symbol.split() != [symbol]), None)
    if spaced is not None:
        raise DataError(f"the symbol {spaced!r} has a space, which a line could not tell from the end of one.")
    between = "" if all(len(symbol) == 1 for symbol in symbols) else " "
    return [
        between.join(symbols[int(level)] for level in row[:n])
        for row, n in zip(x.values.tolist(), x.lengths.tolist(), strict=True)
    ]


# What they share -----------------------------------------------------------------------------------------------------


def _rows(sequences: list[np.ndarray], names: tuple[str, ...] | None, where: str) -> Rows:
    """Return sequences, each (T, *step shape), as rows of a `Sequence` space."""
    lengths = np.array([len(one) for one in sequences])
    if not lengths.all():
        raise DataError(f"{where}: sequence {int(np.argmin(lengths))} has no steps; remove it.")
    longest, values = int(lengths.max()), np.concatenate(sequences)
    padded = len(lengths) * longest * 4 * max(1, values[0].size)
    if padded > foreign.memory():
        raise DataError(
            f"{where}: {len(lengths)} sequences brought to the longest, of {longest:,} steps, take {padded:,} bytes "
            "and do not fit into memory; cut long ones into pieces."
        )
    step, levels = _step(values, names, where)
    packed = torch.from_numpy(np.ascontiguousarray(levels)).to(step.dtype)
    return Rows(ragged(packed, lengths.tolist()), Sequence(step=step, length=longest))


def _step(values: np.ndarray, names: tuple[str, ...] | None, where: str) -> tuple[Space, np.ndarray]:
    """Return the space of a step, and the values as its points."""
    shape, kind = values.shape[1:], values.dtype.kind
    if kind == "U":
        symbols, index = np.unique(values, return_inverse=True)
        if len(symbols) > TOKENS:
            raise DataError(f"{where}: holds {len(symbols):,} different symbols; more than {TOKENS:,} are no levels.")
        named = tuple(str(symbol) for symbol in symbols)
        return Finite(shape, len(named), categories=named, ordered=False), index.reshape(values.shape)
    if kind not in "biuf":
        raise DataError(f"{where}: holds {values.dtype}; save an array of real numbers.")
    if kind == "f" and (np.isinf(values) | (np.abs(values) > np.finfo(np.float32).max)).any():
        raise DataError(f"{where}: holds a number that is infinite or beyond float32; mend it.")
    if kind == "f" and np.isnan(values).all():
        raise DataError(f"{where}: has no values, all are missing.")
    if np.isin(values, (0, 1)).all():
        return Binary(shape, names=names), values
    if kind != "f" and values.min() >= 0 and values.max() < (256 if shape else TOKENS):
        return Finite(shape, int(values.max()) + 1, names=names), values
    return Real(shape, names=names), values.astype(np.float32)


def _label(rows: Rows, values: np.ndarray, name: str, path: Path, cond: str | None) -> None:
    """Make these values, one per sequence, what is given, and the classes of a stratified split."""
    rows.classes = strata(values)
    if cond != "none":
        rows.cond, rows.cond_space, note = conditions(values, name, str(path), asked=cond is not None)
        rows.note.append(note)


def seen_steps(name: str, parts: dict[str, Part], space: Sequence, view: str | None) -> tuple[str, Sequence]:
    """Bring sequences to a view, in place, and return its name and the space.

    Numbers can be seen as reals; numbers that are whole, from 0 to 255, also as `bytes`: levels.

    Raises:
        DataError: these sequences cannot be seen so.
    """
    step = space.step
    own = "reals" if isinstance(step, Real) else "fixed" if isinstance(step, Binary) else "bytes"
    if view in (None, own):
        return own, space
    symbols = bool(getattr(step, "categories", None))
    levels = 0
    if view == "bytes":
        values = [part.x.values for part in parts.values() if part.x.values.numel()]
        whole = all(float(v.min()) >= 0 and float(v.max()) < 256 and bool((v == v.byte()).all()) for v in values)
        levels = max(1, *(int(v.max()) for v in values)) + 1 if whole else 0
    if symbols or not (view == "reals" or levels):
        possible = own if symbols or own == "reals" else f"{own} or reals"
        raise DataError(f"{name} is {space}: view '{view}' does not apply; take {possible}.")
    changed: Space = Finite(step.shape, levels, names=step.names) if levels else Real(step.shape, names=step.names)
    for part in parts.values():
        part.x = part.x._replace(values=part.x.values.to(changed.dtype))
    return str(view), replace(space, step=changed)


def like(data: Data, space: Space) -> Data:
    """Return sequences as a model over `space` knows them: symbols and columns go by what they are called there.

    Raises:
        DataError: a symbol is not known there, or there are other columns.
    """
    if not isinstance(data.space, Sequence) or not isinstance(space, Sequence):
        return data
    mine, theirs = space.step, data.space.step
    change = None
    if mine.names and theirs.names and mine.names != theirs.names:
        if sorted(mine.names) != sorted(theirs.names):
            columns = f"{', '.join(theirs.names)}; the run was fitted on {', '.join(mine.names)}"
            raise DataError(f"'{data.name}' has the columns {columns}.")
        order = torch.tensor([theirs.names.index(name) for name in mine.names])
        change = lambda values: values[..., order]  # noqa: E731
    elif isinstance(mine, Finite) and isinstance(theirs, Finite) and mine.categories and theirs.categories:
        known = mine.categories
        strange = [name for name in theirs.categories if name not in known]
        if strange:
            few = ", ".join(known[:20]) + (" ..." if len(known) > 20 else "")
            odd = ", ".join(map(repr, strange[:5]))
            raise DataError(f"'{data.name}' has the symbol {odd}, which the run does not know; it knows {few}.")
        number = torch.tensor([known.index(name) for name in theirs.categories], dtype=mine.dtype)
        change = lambda values: number[values.long()]  # noqa: E731
    if change is None:
        return data

    def changed(x: Ragged) -> Ragged:
        inside = torch.arange(x.values.shape[1]) < x.lengths[:, None]
        values = change(x.values)
        return x._replace(values=torch.where(inside.reshape(*inside.shape, *[1] * (values.dim() - 2)), values, 0))

    parts: dict[str, Any] = {name: replace(part, x=changed(part.x)) for name, part in data.parts.items()}
    return replace(data, space=replace(data.space, step=mine), **parts)
