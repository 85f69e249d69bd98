"""Pictures from a folder, zip or tar: class subfolders become labels, `metadata.jsonl` becomes captions."""

from __future__ import annotations

import json
from collections.abc import Sequence as Values
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from likely.data import foreign
from likely.data.archives import Files, open_files
from likely.data.conditions import captions, conditions, strata
from likely.data.decoding import COLOURS, RESIZES, Pictures
from likely.data.parts import Mapped
from likely.data.rows import Rows
from likely.errors import DataError, unknown
from likely.spaces import Finite, Space

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".pbm")
METADATA = "metadata.jsonl"
PART_FOLDERS = {"train": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}


def read_pictures(
    path: Path,
    *,
    size: Any = None,
    colour: str | None = None,
    resize: str | None = None,
    cond: str | None = None,
    on_disk: bool = False,
) -> Rows:
    """Read all pictures of a folder, zip or tar as bytes, (N, C, H, W).

    Arguments:
        path: the folder or archive.
        size, colour, resize, cond: see `likely.data.load`.
        on_disk: decode a picture each time it is looked at, instead of all of them once.

    Raises:
        DataError: a file is not a picture, or differs in size or colour from the others; there are none; the metadata
            do not fit; `cond` asks for what is not there.
    """
    if colour is not None and colour not in COLOURS:
        raise unknown("colour", colour, COLOURS)
    if resize is not None and resize not in RESIZES:
        raise unknown("resize", resize, RESIZES)
    target = _size(size)
    if resize is not None and target is None:
        raise DataError(f"{path}: resize='{resize}' needs a size to bring pictures to: give size=32 or so (--size 32).")
    files = open_files(path, _wanted)
    try:
        names = [name for name in files if not name.endswith(METADATA)]
        if not names:
            raise DataError(f"{path}: holds no pictures ({' '.join(SUFFIXES)}).")
        layout = _layout(names)
        fields = _metadata(path, files, names)
        pictures = Pictures(path, files, names, target, colour, resize or "lanczos")
        x: Any = None
        if on_disk:
            pictures.survey()
            x = Mapped(pictures, np.ascontiguousarray, complete=True)
        else:
            x = torch.from_numpy(pictures.all())
    except BaseException:
        files.close()
        raise
    if not on_disk:
        files.close()
    given, space, notes = _conditions(path, layout, fields, cond)
    if target is not None:
        notes.append(f"largest centred part resized to {target[0]} x {target[1]} ({RESIZES[resize or 'lanczos']})")
    labels = layout.labels or [record.get("label") for record in fields or []]
    classes = strata([str(label) for label in labels]) if labels else None
    return Rows(x, Finite(pictures.shape), given, space, classes=classes, parts=layout.parts, note=notes)


def _wanted(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) or PurePosixPath(name).name == METADATA


def _size(size: Any) -> tuple[int, int] | None:
    """Return height and width."""
    if size is None:
        return None
    pair = (size, size) if isinstance(size, int) else tuple(size)
    whole = len(pair) == 2 and all(isinstance(s, int) and not isinstance(s, bool) and s > 0 for s in pair)
    if not whole or pair[0] * pair[1] > foreign.PICTURE_PIXELS:
        raise DataError(f"size must be a positive number of pixels, or height and width, not {size!r}.")
    return pair


# Folders -----------------------------------------------------------------------------------------------------------


@dataclass
class _Layout:
    """What the folders say: the part and the class of each picture, and what is to be noted."""

    parts: np.ndarray | None
    labels: list[str] | None
    note: str = ""
    mixed: str = ""  #: a picture that lies beside the class folders


def _layout(names: Values[str]) -> _Layout:
    folders = [tuple(name.split("/")[:-1]) for name in names]
    wrapped = ""
    # one folder around everything says nothing: archives are often packed so
    while all(folders) and len({f[0] for f in folders}) == 1:
        wrapped = folders[0][0]
        folders = [f[1:] for f in folders]
    parts = None
    tops = {f[0].lower() if f else "" for f in folders}
    if tops <= PART_FOLDERS.keys() and "train" in tops and len(tops) > 1:
        parts = np.array([PART_FOLDERS[f[0].lower()] for f in folders])
        folders = [f[1:] for f in folders]
    if not any(folders):
        note = f"all pictures lie in one folder ('{wrapped}'): no labels" if wrapped and parts is None else ""
        return _Layout(parts, None, note)
    beside = next((name for name, f in zip(names, folders, strict=True) if not f), "")
    return _Layout(parts, [f[0] if f else "" for f in folders], mixed=beside)


def _metadata(path: Path, files: Files, pictures: Values[str]) -> list[dict[str, Any]] | None:
    """Return the fields of each picture from the `metadata.jsonl` files beside or above them."""
    found: dict[str, dict[str, Any]] = {}
    sources = [name for name in files if name.endswith(METADATA)]
    for source in sources:
        folder = PurePosixPath(source).parent
        try:
            lines = files[source]().decode("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise DataError(f"{path}: {source} is not UTF-8 text.") from None
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{path}: {source} line {number}"
            try:
                record = json.loads(line)
            except (json.JSONDecodeError, RecursionError):
                raise DataError(f"{where}: not JSON; one object a line is expected.") from None
            if not isinstance(record, dict) or not isinstance(record.get("file_name"), str):
                raise DataError(f"{where}: has no 'file_name'.")
            name = (folder / record["file_name"]).as_posix()
            if name not in files or name in found:
                raise DataError(f"{where}: '{record['file_name']}' is {'there twice' if name in found else 'no file'}.")
            found[name] = record
    if not sources:
        return None
    for name in pictures:
        if name not in found:
            raise DataError(f"{path}: {name} has no line in {METADATA}; add one, or remove the picture.")
    return [found[name] for name in pictures]


def _conditions(
    path: Path, layout: _Layout, fields: list[dict[str, Any]] | None, cond: str | None
) -> tuple[Any, Space | None, list[str]]:
    """Return what is given beside each picture, its space, and notes."""
    notes = [layout.note] if layout.note else []
    asked = cond is not None
    known = list(fields[0]) if fields else []
    if cond == "caption" and cond not in known:
        cond = "text"
    if cond is None:
        cond = "label" if layout.labels else next((key for key in ("label", "text") if key in known), "none")
    if cond == "none":
        return None, None, notes
    if cond == "label" and layout.labels:
        if layout.mixed:
            raise DataError(f"{path}: {layout.mixed} lies beside the class folders; move it, or give cond='none'.")
        values, space, note = conditions(layout.labels, "label", str(path), asked=asked)
        return values, space, [*notes, note] if note else notes
    if not fields or cond not in known:
        there = ", ".join(key for key in known if key != "file_name")
        raise DataError(
            f"{path}: has no {cond} to condition on: "
            + (f"{METADATA} has {there}." if there else "put pictures into one subfolder per class, at least two.")
        )
    column = [record.get(cond) for record in fields]
    missing = next((record["file_name"] for record, v in zip(fields, column, strict=True) if v in (None, "")), None)
    if missing:
        raise DataError(f"{path}: {METADATA} has no {cond} for {missing}.")
    kinds = {str if isinstance(v, str) else float if isinstance(v, (int, float)) else None for v in column}
    if len(kinds) > 1 or None in kinds:
        raise DataError(f"{path}: '{cond}' in {METADATA} must be a text or a number in every line.")
    if kinds == {str} and cond != "label":
        texts, text_space = captions([str(v) for v in column])
        return texts, text_space, [*notes, f"captions from '{cond}', UTF-8 bytes"]
    values, space, note = conditions(column, cond, f"{path}: {METADATA}", asked=asked)
    return values, space, [*notes, note] if note else notes
