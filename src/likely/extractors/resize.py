"""Two ways to bring a picture to the size a network was trained on; a Frechet distance changes by parts between them.

`legacy` is TensorFlow 1's bilinear resizing: pixel i of the result lies at i * old / new of the picture, without the
half pixel that would centre both, and without antialiasing. All early distances were measured so. `clean` is Pillow's
bicubic resizing of each channel in float: centred, antialiased, and not rounded to bytes again.

Reference: Parmar, Zhang and Zhu, On Aliased Resizing and Surprising Subtleties in GAN Evaluation, 2022,
arxiv.org/abs/2104.11222.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from likely.errors import unknown


def legacy(x: Tensor, side: int) -> Tensor:
    """Return pictures, (B, C, H, W) of floats, at side x side: bilinear, uncentred, not antialiased."""
    left, right, across = _neighbours(x.shape[3], side, x)
    top, bottom, down = _neighbours(x.shape[2], side, x)
    wide = x[..., left] + (x[..., right] - x[..., left]) * across
    return wide[:, :, top] + (wide[:, :, bottom] - wide[:, :, top]) * down[:, None]


def _neighbours(old: int, new: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each new pixel the two old ones it lies between, and how far it is towards the second."""
    place = torch.arange(new, device=like.device, dtype=torch.float32) * (old / new)
    first = place.long()
    return first, (first + 1).clamp(max=old - 1), (place - first).to(like.dtype)


def clean(x: Tensor, side: int) -> Tensor:
    """Return pictures, (B, C, H, W) of floats, at side x side: bicubic, centred, antialiased, not rounded."""
    planes = x.reshape(-1, *x.shape[2:]).cpu().float().numpy()
    if planes.shape[1:] == (side, side):
        return x
    resized = np.stack(
        [np.asarray(Image.fromarray(plane).resize((side, side), Image.Resampling.BICUBIC)) for plane in planes]
    )
    return torch.from_numpy(resized).reshape(*x.shape[:2], side, side).to(x)


RESIZES = {"legacy": legacy, "clean": clean}


def resize(x: Tensor, side: int, how: str) -> Tensor:
    """Return pictures at side x side, resized as `how` says.

    Raises:
        UnknownName: `how` is neither "legacy" nor "clean".
    """
    if how not in RESIZES:
        raise unknown("resize", how, RESIZES)
    return RESIZES[how](x, side)
