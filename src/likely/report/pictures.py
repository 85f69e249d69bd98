"""Values of a space as pictures: a grid of many, a PNG in a page."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from likely.errors import LikelyError
from likely.spaces import Real, Sequence, Space

MODES = {1: "L", 3: "RGB", 4: "RGBA"}  #: channels -> pillow's name
WIDE = 512  #: pixels that a grid of small pictures may fill
GAP = 1  #: pixels between the pictures of a grid, before scaling
GREY = 128


def is_picture(space: Space) -> bool:
    """Whether one x is a picture: (H, W), or (C, H, W) with 1, 3 or 4 channels."""
    shape = space.shape
    if isinstance(space, Sequence) or min(shape, default=0) < 1:
        return False
    return (len(shape) == 2 and min(shape) > 1) or (len(shape) == 3 and shape[0] in MODES)


def to_bytes(x: Any, space: Space, *, limits: tuple[float, float] | None = None) -> Tensor:
    """Return pictures as bytes, (N, H, W, C).

    Levels 0 to the highest become black to white. Reals within [0, 1] do the same; others run from `limits`, by default
    from the lowest to the highest value of x.

    Raises:
        LikelyError: the space is not one of pictures.
    """
    if not is_picture(space):
        raise LikelyError(f"{space} is not a space of pictures; write numbers (.npz, .npy, .csv) instead.")
    values = torch.as_tensor(x).detach().cpu().double()
    if isinstance(space, Real):
        if limits is None and len(values):
            low, high = float(values.min()), float(values.max())
            limits = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
        low, high = limits or (0.0, 1.0)
    else:
        low, high = 0.0, float(max(space.levels - 1, 1))  # type: ignore[attr-defined]
    scaled = ((values - low) / (high - low or 1.0) * 255).round().clamp(0, 255).to(torch.uint8)
    if len(space.shape) == 2:
        scaled = scaled[:, None]
    return scaled.permute(0, 2, 3, 1).contiguous()


def grid(
    x: Any,
    space: Space,
    *,
    columns: int | None = None,
    scale: int | None = None,
    gap: int = GAP,
    known: Any = None,
    limits: tuple[float, float] | None = None,
) -> Image.Image:
    """Return one picture that shows many, row by row; a single one keeps its own size and every pixel.

    Arguments:
        x: pictures of the space, (N, *shape), N at least 1.
        space: what one x is.
        columns: how many stand side by side; None makes the grid about square.
        scale: how many pixels wide one pixel is drawn; None brings grids of small pictures to a readable size.
        gap: pixels between pictures, before scaling.
        known: True where a pixel is observed, (*shape) or (N, *shape); the others are drawn grey.
        limits: the values of black and white, for reals.

    Raises:
        LikelyError: the space is not one of pictures, or there is nothing to show.
    """
    if len(x) == 0:
        raise LikelyError("there is no picture to show: n is 0.")
    pixels = to_bytes(x, space, limits=limits)
    if known is not None:
        mask = torch.as_tensor(known).expand(len(x), *space.shape)
        mask = mask[:, None] if len(space.shape) == 2 else mask
        pixels = torch.where(mask.permute(0, 2, 3, 1), pixels, GREY)
    n, height, width, channels = pixels.shape
    columns = min(n, columns or math.ceil(math.sqrt(n)))
    rows = math.ceil(n / columns)
    # the paper between the pictures: clear where there is transparency, else mid-grey
    paper = 0 if channels == 4 else GREY
    sheet = torch.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), paper, dtype=torch.uint8)
    for i, one in enumerate(pixels):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[top : top + height, left : left + width] = one
    array = sheet.numpy()
    image = Image.fromarray(np.ascontiguousarray(array[..., 0] if channels == 1 else array), MODES[channels])
    if scale is None:
        scale = 1 if n == 1 else max(1, WIDE // image.width)
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST) if scale > 1 else image


def png(image: Image.Image) -> bytes:
    """Return the picture as a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def data_uri(image: Image.Image) -> str:
    """Return the picture as an address that holds it, for pages without other files."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()
