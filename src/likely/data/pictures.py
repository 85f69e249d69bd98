"""Pictures from a folder, zip or tar: class subfolders become labels, `metadata.jsonl` becomes captions."""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from collections.abc import Sequence as Values
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from likely.data import foreign
from likely.data.archives import Files, open_files
from likely.data.conditions import captions, conditions, strata
from likely.data.rows import Rows
from likely.errors import DataError, unknown
from likely.spaces import Finite, Space

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "PPM")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".pbm")
COLOURS = {"grey": "L", "rgb": "RGB", "rgba": "RGBA"}
METADATA = "metadata.jsonl"
PART_FOLDERS = {"train": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}
AT_ONCE = 128  #: how many pictures one task of a thread decodes


def read_pictures(path: Path, *, size: Any = None, colour: str | None = None, cond: str | None = None) -> Rows:
    """Read all pictures of a folder, zip or tar as bytes, (N, C, H, W).

    Arguments:
        path: the folder or archive.
        size, colour, cond: see `likely.data.load`.

    Raises:
        DataError: a file is not a picture, or differs in size or colour from the others; there are none; the metadata
            do not fit; `cond` asks for what is not there.
    """
    if colour is not None and colour not in COLOURS:
        raise unknown("colour", colour, COLOURS)
    target = _size(size)
    with open_files(path, _wanted) as files:
        pictures = [name for name in files if not name.endswith(METADATA)]
        if not pictures:
            raise DataError(f"{path}: holds no pictures ({' '.join(SUFFIXES)}).")
        layout = _layout(pictures)
        fields = _metadata(path, files, pictures)
        decoded = _decode_all(path, files, pictures, target, colour)
    given, space, notes = _conditions(path, layout, fields, cond)
    if target is not None:
        notes.append(f"largest centred part resized to {target[0]} x {target[1]} (Lanczos)")
    x = torch.from_numpy(decoded)
    labels = layout.labels or [record.get("label") for record in fields or []]
    classes = strata([str(label) for label in labels]) if labels else None
    return Rows(x, Finite(tuple(x.shape[1:])), given, space, classes=classes, parts=layout.parts, note=notes)


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


# Pixels ------------------------------------------------------------------------------------------------------------


class _Picture(NamedTuple):
    pixels: np.ndarray  #: (C, H, W)
    colour: str


def _decode_all(
    path: Path, files: Files, names: Values[str], size: tuple[int, int] | None, colour: str | None
) -> np.ndarray:
    """Return all pictures, (N, C, H, W), decoded by a pool of threads (decoders release the interpreter)."""
    pictures: list[_Picture] = []
    runs = [names[i : i + AT_ONCE] for i in range(0, len(names), AT_ONCE)]
    limit, total = foreign.memory(), 0
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        futures = [
            pool.submit(lambda run: [_decode(path, name, files[name], size, colour) for name in run], run)
            for run in runs
        ]
        try:
            for future in futures:
                decoded = future.result()
                pictures += decoded
                total += sum(p.pixels.nbytes for p in decoded)
                if total > limit:
                    raise DataError(f"{path}: the pictures take more than {limit:,} bytes; give size=64 or so.")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    _check_alike(path, names, pictures)
    out = np.empty(
        (len(pictures), *pictures[0].pixels.shape), dtype=np.uint8
    )  # without `out`, numpy keeps channels last
    return np.stack([p.pixels for p in pictures], out=out)


def _check_alike(path: Path, names: Values[str], pictures: list[_Picture]) -> None:
    """Raise unless all pictures have one colour and one size; the message names one that most others differ from."""
    for of, help in (
        (lambda p: p.colour, "give colour='rgb' (--colour rgb)"),
        (lambda p: "{1} x {2} pixels".format(*p.pixels.shape), "give size=32 or so (--size 32)"),
    ):
        seen = [of(p) for p in pictures]
        (common, _), *others = Counter(seen).most_common()
        if others:
            odd = next(i for i, value in enumerate(seen) if value != common)
            raise DataError(f"{path}: {names[odd]} is {seen[odd]} where most are {common}: {help}, or remove it.")


def _decode(path: Path, name: str, read: Any, size: tuple[int, int] | None, colour: str | None) -> _Picture:
    where = f"{path}: {name}"
    try:
        image: Image.Image = Image.open(BytesIO(read()), formats=FORMATS)
        if image.width * image.height > foreign.PICTURE_PIXELS:
            raise DataError(
                f"{where}: {image.width} x {image.height} pixels; up to {foreign.PICTURE_PIXELS:,} are read."
            )
        if image.getexif():
            image = ImageOps.exif_transpose(image)
        natural = _colour(where, image)
        wanted = colour or natural
        if natural == "rgba" and wanted != "rgba":
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        if image.mode != COLOURS[wanted]:
            image = image.convert(COLOURS[wanted])
        if size is not None and size != (image.height, image.width):
            image = _resize(image, *size)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise DataError(f"{where}: has too many pixels; up to {foreign.PICTURE_PIXELS:,} are read.") from None
    except UnidentifiedImageError:
        raise DataError(f"{where}: not a picture ({', '.join(FORMATS)}), whatever its name; remove it.") from None
    except DataError:
        raise
    except Exception as error:  # a decoder may raise anything on damaged bytes
        raise DataError(f"{where}: damaged picture ({foreign.reason(error)}); remove it.") from None
    pixels = np.asarray(image)
    return _Picture(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1), wanted)


def _resize(image: Image.Image, height: int, width: int) -> Image.Image:
    """Return the largest centred part of the wanted aspect ratio, resized."""
    part_width = min(image.width, max(1, round(image.height * width / height)))
    part_height = min(image.height, max(1, round(image.width * height / width)))
    left, top = (image.width - part_width) // 2, (image.height - part_height) // 2
    part = image.crop((left, top, left + part_width, top + part_height))
    return part.resize((width, height), Image.Resampling.LANCZOS)


def _colour(where: str, image: Image.Image) -> str:
    """Return the colour that a picture's file has."""
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return "rgba"
    if image.mode in ("L", "1"):
        return "grey"
    if image.mode.startswith(("I", "F")):
        raise DataError(f"{where}: has more than 8 bits per pixel (mode {image.mode}); save it with 8.")
    return "rgb"
