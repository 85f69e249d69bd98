"""Pixels of picture files, decoded by a pool of threads: all at once, or each time they are looked at.

Transparency is laid over white, photographs are turned as their camera says, and a picture that is resized keeps the
largest centred part of the wanted aspect ratio. Resizing is decided by name: distances between pictures depend on it.
`lanczos` and `clean` (bicubic) are Pillow's, antialiased; `legacy` is TensorFlow 1's bilinear, pixel i of the result at
i * old / new, neither centred nor antialiased, as early Frechet distances were measured. All are rounded to bytes.

Reference: Parmar, Zhang and Zhu, On Aliased Resizing and Surprising Subtleties in GAN Evaluation, 2022,
arxiv.org/abs/2104.11222.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Values
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from likely.data import foreign
from likely.data.archives import Files, Read
from likely.errors import DataError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "PPM")
COLOURS = {"grey": "L", "rgb": "RGB", "rgba": "RGBA"}
RESIZES = {"lanczos": "Lanczos", "clean": "clean: antialiased bicubic", "legacy": "legacy: TensorFlow 1's bilinear"}
AT_ONCE = 128  #: how many pictures one task of a thread decodes
ORIENTATION = 0x0112  #: the EXIF field that says how a camera was held
SIDEWAYS = (5, 6, 7, 8)  #: its values that swap height and width

T = TypeVar("T")


class Kind(NamedTuple):
    """What all pictures of a set have in common."""

    colour: str
    height: int
    width: int


class Pictures:
    """Picture files as an array that lies on disk: indexing decodes, `pictures[rows]` is (B, C, H, W), bytes.

    Arguments:
        path: the folder or archive, for messages.
        files: what reads them; kept open.
        names: which of them, in order.
        size: height and width to bring them to; None keeps them.
        colour: `grey`, `rgb` or `rgba`; None keeps what the files have.
        resize: one of `RESIZES`.
    """

    def __init__(
        self,
        path: Path,
        files: Files,
        names: Values[str],
        size: tuple[int, int] | None,
        colour: str | None,
        resize: str = "lanczos",
    ) -> None:
        self.path, self.files, self.names, self.size, self.colour, self.resize = (
            path,
            files,
            names,
            size,
            colour,
            resize,
        )
        self.kind: Kind | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W), after `survey` or `all`."""
        assert self.kind is not None
        return Image.getmodebands(COLOURS[self.kind.colour]), self.kind.height, self.kind.width

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Return the pictures of these rows.

        Raises:
            DataError: one is damaged, or is not like the others.
        """
        names = [self.names[row] for row in np.atleast_1d(np.arange(len(self))[rows])]
        out = np.empty((len(names), *self.shape), dtype=np.uint8)
        place = 0
        for decoded in self._in_threads(names, self._decode):
            for kind, pixels in decoded:
                if kind != self.kind:
                    assert self.kind is not None
                    raise _odd(self.path, names[place], kind, self.kind)
                out[place] = pixels
                place += 1
        return out

    def survey(self) -> None:
        """Look at what the files say of their sizes and colours, without decoding them.

        Raises:
            DataError: they are not alike, or one is no picture.
        """
        if self.size is None or self.colour is None:
            self._alike([kind for kinds in self._in_threads(self.names, self._declared) for kind in kinds])
        self.kind = self._decode(self.names[0])[0] if self.kind is None else self.kind

    def all(self) -> np.ndarray:
        """Return all pictures, (N, C, H, W), decoded once.

        Raises:
            DataError: one is damaged, they are not alike, or they do not fit into memory.
        """
        pictures: list[tuple[Kind, np.ndarray]] = []
        limit, total = foreign.memory(), 0
        for decoded in self._in_threads(self.names, self._decode):
            pictures += decoded
            total += sum(pixels.nbytes for _, pixels in decoded)
            if total > limit:
                raise DataError(f"{self.path}: the pictures take more than {limit:,} bytes; give size=64 or so.")
        self._alike([kind for kind, _ in pictures])
        out = np.empty((len(pictures), *self.shape), dtype=np.uint8)  # without `out`, numpy keeps channels last
        return np.stack([pixels for _, pixels in pictures], out=out)

    def _in_threads(self, names: Values[str], work: Callable[[str], T]) -> Iterator[list[T]]:
        """Yield what the work makes of the names, in order, by runs (decoders release the interpreter)."""
        runs = [names[i : i + AT_ONCE] for i in range(0, len(names), AT_ONCE)]
        with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            futures = [pool.submit(lambda run: [work(name) for name in run], run) for run in runs]
            try:
                for future in futures:
                    yield future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _alike(self, kinds: list[Kind]) -> None:
        """Raise unless all pictures have one colour and one size; the message names one that differs from most."""
        for of in (lambda k: k.colour, lambda k: (k.height, k.width)):
            seen = [of(kind) for kind in kinds]
            (common, _), *others = Counter(seen).most_common()
            if others:
                odd = next(i for i, value in enumerate(seen) if value != common)
                most = next(i for i, value in enumerate(seen) if value == common)
                raise _odd(self.path, self.names[odd], kinds[odd], kinds[most])
        self.kind = kinds[0]

    def _declared(self, name: str) -> Kind:
        """Return what the head of a file says."""
        with _opened(self.path, name, self.files[name]) as image:
            height, width = image.height, image.width
            if "exif" in image.info and image.getexif().get(ORIENTATION) in SIDEWAYS:
                height, width = width, height
            return Kind(self.colour or natural_colour(self.path, name, image), *(self.size or (height, width)))

    def _decode(self, name: str) -> tuple[Kind, np.ndarray]:
        with _opened(self.path, name, self.files[name]) as file:
            image: Image.Image = file
            if image.getexif():
                image = ImageOps.exif_transpose(image)
            natural = natural_colour(self.path, name, image)
            wanted = self.colour or natural
            if natural == "rgba" and wanted != "rgba":
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            if image.mode != COLOURS[wanted]:
                image = image.convert(COLOURS[wanted])
            if self.size is not None and self.size != (image.height, image.width):
                pixels = resized(image, *self.size, self.resize)
            else:
                pixels = np.asarray(image)
        kind = Kind(wanted, *pixels.shape[:2])
        return kind, pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _odd(path: Path, name: str, odd: Kind, most: Kind) -> DataError:
    if odd.colour != most.colour:
        found, common, help = odd.colour, most.colour, "give colour='rgb' (--colour rgb)"
    else:
        found, common = (f"{kind.height} x {kind.width} pixels" for kind in (odd, most))
        help = "give size=32 or so (--size 32)"
    return DataError(f"{path}: {name} is {found} where most are {common}: {help}, or remove it.")


@contextmanager
def _opened(path: Path, name: str, read: Read) -> Iterator[Image.Image]:
    """Give the picture of a file; whatever goes wrong with it is told in one line that names the file."""
    where = f"{path}: {name}"
    try:
        image = Image.open(BytesIO(read()), formats=FORMATS)
        if image.width * image.height > foreign.PICTURE_PIXELS:
            raise DataError(
                f"{where}: {image.width} x {image.height} pixels; up to {foreign.PICTURE_PIXELS:,} are read."
            )
        yield image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise DataError(f"{where}: has too many pixels; up to {foreign.PICTURE_PIXELS:,} are read.") from None
    except UnidentifiedImageError:
        raise DataError(f"{where}: not a picture ({', '.join(FORMATS)}), whatever its name; remove it.") from None
    except DataError:
        raise
    except Exception as error:  # a decoder may raise anything on damaged bytes
        raise DataError(f"{where}: damaged picture ({foreign.reason(error)}); remove it.") from None


def natural_colour(path: Path, name: str, image: Image.Image) -> str:
    """Return the colour that a picture's file has."""
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return "rgba"
    if image.mode in ("L", "1"):
        return "grey"
    if image.mode.startswith(("I", "F")):
        raise DataError(f"{path}: {name}: has more than 8 bits per pixel (mode {image.mode}); save it with 8.")
    return "rgb"


def resized(image: Image.Image, height: int, width: int, how: str) -> np.ndarray:
    """Return the largest centred part of the wanted aspect ratio at height x width, as bytes (H, W) or (H, W, C)."""
    part_width = min(image.width, max(1, round(image.height * width / height)))
    part_height = min(image.height, max(1, round(image.width * height / width)))
    left, top = (image.width - part_width) // 2, (image.height - part_height) // 2
    part = image.crop((left, top, left + part_width, top + part_height))
    if how != "legacy":
        kernel = Image.Resampling.LANCZOS if how == "lanczos" else Image.Resampling.BICUBIC
        return np.asarray(part.resize((width, height), kernel))
    pixels = np.asarray(part, dtype=np.float64)
    for axis, new in enumerate((height, width)):
        old = pixels.shape[axis]
        place = np.arange(new) * (old / new)
        first = place.astype(int)
        share = (place - first).reshape(-1, *[1] * (pixels.ndim - 1 - axis))
        before, after = pixels.take(first, axis), pixels.take(np.minimum(first + 1, old - 1), axis)
        pixels = before + (after - before) * share
    return np.rint(pixels).astype(np.uint8)
