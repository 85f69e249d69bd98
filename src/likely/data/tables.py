"""Tables from `.csv`, `.tsv`, `.parquet` and data frames: numbers, or levels; missing values become NaN.

Seen as `levels`, each column is a variable of finitely many values, texts or numbers: its distinct values, sorted, are
its levels, and the space keeps what they are called (`Finite.values`). So columns may differ in how many they have.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from likely.data import foreign
from likely.data.conditions import CLASSES, conditions, strata, weights
from likely.data.rows import Rows
from likely.errors import DataError, unknown
from likely.spaces import Binary, Finite, Real, Space

MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", "?"))
LABELS = ("label", "labels", "class", "y")
Columns = dict[str, np.ndarray]  #: name -> float64 with NaN for missing, or text with "" for missing


def read_table(path: Path, *, cond: str | None = None, weight: str | None = None, levels: bool = False) -> Rows:
    """Read a table, one datum a row: `Binary` where all known values are 0 or 1, else `Real`, with the columns' names.

    A column called label, labels or class, or y beside no x, becomes labels if it holds text or whole numbers; seen as
    levels it is a variable like the others, unless cond asks for labels.

    Arguments:
        path: a `.csv`, `.tsv` or `.parquet` file. Text files need one character (comma, semicolon, tab) between cells;
            the first line is taken for names unless it consists of numbers.
        cond: the column to condition on; `label` and None take the labels; `none` leaves them out.
        weight: the column that says how much each row counts, or None.
        levels: whether each column's distinct values become its levels: `Finite`, of texts too.

    Raises:
        DataError: rows of different lengths, a column of text that is no label, a column without values, an infinite
            number, an empty or damaged file.
    """
    named, columns = _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path)
    label = _label(columns) if cond == "label" or not levels else None
    given = label if cond in (None, "label") else None if cond == "none" else cond
    if cond == "label" and given is None:
        raise DataError(f"{path}: has no column of labels; call it label or class, or give cond='<column>'.")
    for name in (given, weight):
        if name is not None and name not in columns:
            raise unknown(f"column of {path.name}", name, columns)
    names = [name for name in columns if name not in (given, weight, label)]
    if not names:
        raise DataError(f"{path}: has no columns of values besides {', '.join(columns)}.")
    labels = tuple(names) if named else None
    if levels:
        rows = _leveled(str(path), {name: columns[name] for name in names}, labels)
    else:
        for name in names:
            _check_column(path, name, columns[name])
        values = np.stack([columns[name] for name in names], 1).astype(np.float32)
        shape = (len(names),)
        missing = np.isnan(values)
        bits = (missing | np.isin(values, (0, 1))).all()
        space: Space = Binary(shape, names=labels) if bits else Real(shape, names=labels)
        x = torch.from_numpy(values)  # bits of which some are missing stay floating numbers, NaN among them
        rows = Rows(x if missing.any() else x.to(space.dtype), space)
    if label is not None:
        rows.classes = strata(columns[label])
    if given is not None:
        array = columns[given]
        absent = array == "" if array.dtype.kind == "U" else np.isnan(array)
        if absent.any():
            raise DataError(f"{path}: '{given}' is missing in data row {int(np.argmax(absent)) + 1}; fill it in.")
        rows.cond, rows.cond_space, note = conditions(array, given, str(path), asked=cond is not None)
        rows.note.append(note)
    if weight is not None:
        rows.weight = weights(columns[weight], weight, str(path))
    return rows


def _label(columns: Columns) -> str | None:
    """Return the name of the column that holds labels."""
    for name, array in columns.items():
        spoken = name.strip().lower()
        if spoken not in LABELS or (spoken == "y" and any(other.strip().lower() == "x" for other in columns)):
            continue
        known = array[~np.isnan(array)] if array.dtype.kind == "f" else array
        if array.dtype.kind == "U" or (known == np.floor(known)).all():
            return name
    return None


def _leveled(where: str, columns: Columns, names: tuple[str, ...] | None) -> Rows:
    """Return columns whose distinct values are their levels."""
    codes, values = [], []
    for name, array in columns.items():
        code, distinct = levels_of(array, name, where)
        if len(distinct) > CLASSES:
            raise DataError(
                f"{where}: column '{name}' has {len(distinct):,} different values, more than {CLASSES:,} levels; leave "
                "it out or round it."
            )
        codes.append(code)
        values.append(tuple(str(int(v)) if isinstance(v, float) and v.is_integer() else str(v) for v in distinct))
    space = Finite((len(values),), max(map(len, values)), ordered=False, names=names, values=tuple(values))
    x = np.stack(codes, 1)
    rows = Rows(torch.from_numpy(x).to(torch.float32 if (x < 0).any() else space.dtype), space)
    if (x < 0).any():
        rows.x[torch.from_numpy(x < 0)] = torch.nan
    told = "; ".join(
        f"{name}: {', '.join(each[:6])}{', ...' * (len(each) > 6)}" for name, each in zip(columns, values, strict=True)
    )
    rows.note.append(f"levels of all rows, in order ({told})" if len(told) < 400 else "levels of all rows, in order")
    return rows


def _check_column(path: Path, name: str, array: np.ndarray) -> None:
    if array.dtype.kind == "U":
        row = next(i for i, cell in enumerate(array.tolist()) if _number(cell) is None)
        raise DataError(
            f"{path}: column '{name}' holds text ('{str(array[row])[:40]}' in data row {row + 1}); only numbers can be "
            f"modelled: take view='levels', remove it, turn it into numbers, or give cond='{name}'."
        )
    if np.isnan(array).all():
        raise DataError(f"{path}: column '{name}' has no values; remove it.")
    bad = np.isinf(array) | (np.abs(array) > np.finfo(np.float32).max)
    if bad.any():
        raise DataError(
            f"{path}: column '{name}' is infinite or beyond float32 in data row {int(np.argmax(bad)) + 1}; mend it."
        )


# Data frames -------------------------------------------------------------------------------------------------------


def columns_of(frame: Any) -> dict[str, Any]:
    """Return name -> values, (N,), of a data frame: pandas, polars, pyarrow, or any mapping of columns.

    No library of data frames is imported; a frame is known by what it can do.

    Raises:
        DataError: it is none of these.
    """
    if hasattr(frame, "column_names"):  # pyarrow.Table and RecordBatch
        return {str(name): np.asarray(frame.column(name).to_pylist()) for name in frame.column_names}
    if hasattr(frame, "get_columns"):  # polars.DataFrame
        return {column.name: column.to_numpy() for column in frame.get_columns()}
    if hasattr(frame, "items"):  # pandas.DataFrame, dict
        return {str(name): values for name, values in frame.items()}
    raise DataError(f"{type(frame).__name__} is no data frame; give a mapping from names to columns.")


def levels_of(values: Any, name: str, where: str) -> tuple[np.ndarray, tuple[Any, ...]]:
    """Return the level of each value, -1 where it is missing (None, NaN or an empty text), and the distinct values.

    Raises:
        DataError: there are no values, or texts and numbers are mixed.

    Example:
        >>> levels_of(["b", None, "a", "b"], "letter", "here")
        (array([ 1, -1,  0,  1]), ('a', 'b'))
    """
    try:
        array = np.asarray(values)
    except ValueError:
        raise DataError(f"{where}: column '{name}' is ragged; one value per row is wanted.") from None
    if array.ndim != 1:
        raise DataError(f"{where}: column '{name}' has the shape {array.shape}; one value per row is wanted.")
    if array.dtype.kind == "M":  # times go by what they are called
        array = np.where(np.isnat(array), "", array.astype(str))
    if array.dtype.kind == "O":
        missing = np.array([value is None or value != value for value in array], dtype=bool)
        kinds = {isinstance(value, str) for value in array[~missing]}
        if len(kinds) == 2:
            raise DataError(f"{where}: column '{name}' mixes texts and numbers; make it one or the other.")
        try:
            array = np.where(missing, "" if True in kinds else np.nan, array).astype(
                str if True in kinds else np.float64
            )
        except (TypeError, ValueError):  # so do dates
            array = np.where(missing, "", [str(value) for value in array]).astype(str)
    known = array != "" if array.dtype.kind == "U" else ~np.isnan(array) if array.dtype.kind == "f" else slice(None)
    seen = array[known]
    if not len(seen):
        raise DataError(f"{where}: column '{name}' has no values; remove it.")
    distinct, index = np.unique(seen, return_inverse=True)
    code = np.full(len(array), -1)
    code[known] = index
    return code, tuple(distinct.tolist())


# Text --------------------------------------------------------------------------------------------------------------


def _csv(path: Path) -> tuple[bool, Columns]:
    """Return whether the columns have names, and the columns."""
    size = path.stat().st_size
    if size > foreign.memory():
        raise DataError(f"{path}: {size:,} bytes do not fit into memory; save it as .npy, which stays on disk.")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8.") from None
    if "\0" in text:
        raise DataError(f"{path}: holds a zero byte, so it is no text; save the table as UTF-8 text.")
    first = text.lstrip().split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    lines = _lines(path, text, delimiter)
    header = next(lines, None)
    if header is None:
        raise DataError(f"{path}: is empty; a line of names and one line per datum are expected.")
    named = any(_number(cell) is None for cell in header[1])
    names = [cell.strip() for cell in header[1]] if named else [str(i) for i in range(len(header[1]))]
    for i, name in enumerate(names):
        if not name or name in names[:i]:
            raise DataError(
                f"{path}: column {i + 1} has {f'the same name {name!r} as another' if name else 'no name'}."
            )
    cells: list[list[str]] = []
    for number, line in lines if named else chain([header], lines):
        if len(line) != len(names):
            raise DataError(f"{path}: line {number} has {len(line)} cells, expected {len(names)}; mend it.")
        cells.append(line)
    if not cells:
        raise DataError(f"{path}: has names but no rows; one line per datum is expected.")
    return named, {name: _column([line[i] for line in cells]) for i, name in enumerate(names)}


def _lines(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells of each line that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for line in reader:
            if line:
                yield reader.line_num, line
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num}: not readable as a table ({foreign.reason(error)}).") from None


def _number(cell: str) -> float | None:
    """Return the number in a cell, NaN where it is missing, None where it is text."""
    cell = cell.strip()
    if cell.lower() in MISSING:
        return float("nan")
    try:
        return float(cell)
    except ValueError:
        return None


def _column(cells: list[str]) -> np.ndarray:
    try:
        return np.array(cells, dtype=np.float64)  # fast where all are plain numbers
    except ValueError:
        numbers = [_number(cell) for cell in cells]
    if None not in numbers:
        return np.array(numbers, dtype=np.float64)
    return np.array(["" if cell.strip().lower() in MISSING else cell.strip() for cell in cells])


# Parquet -----------------------------------------------------------------------------------------------------------


def _parquet(path: Path) -> tuple[bool, Columns]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(f"{path}: reading parquet needs pyarrow: pip install 'likely[tables]'.") from None
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            meta = file.metadata
            declared = 8 * meta.num_rows * meta.num_columns
            stored = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
            if max(declared, stored) > foreign.memory():
                raise DataError(f"{path}: {max(declared, stored):,} bytes do not fit into memory; save it as .npy.")
            table = file.read()
        if not table.num_rows or not table.num_columns:
            raise DataError(f"{path}: is empty; one row per datum is expected.")
        if len(set(table.column_names)) != table.num_columns:
            raise DataError(f"{path}: two columns have the same name; rename one.")
        return True, {str(name): _arrow(path, name, table[name]) for name in table.column_names}
    except DataError:
        raise
    except Exception as error:  # pyarrow raises many kinds on damaged bytes
        raise DataError(f"{path}: damaged or not parquet ({foreign.reason(error)}); save it again.") from None


def _arrow(path: Path, name: str, column: Any) -> np.ndarray:
    import pyarrow.types as kinds

    if kinds.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if kinds.is_boolean(kind) or kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind):
        return np.array(column.cast("float64", safe=False).fill_null(float("nan")).to_numpy())
    if kinds.is_string(kind) or kinds.is_large_string(kind):
        return np.array(column.fill_null("").to_pylist(), dtype=str)
    if kinds.is_null(kind):
        return np.full(len(column), np.nan)
    raise DataError(f"{path}: column '{name}' holds {kind}; only numbers and labels can be read: remove it.")
