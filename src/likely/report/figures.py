"""What one trained model can show: samples, reconstructions, completions, and a map of its representation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from likely.core import Completer, Latent, Model, _count, _join, _rows, seeded
from likely.data.parts import Data
from likely.report.pictures import grid, is_picture
from likely.spaces import Finite, Real

SHOWN = 64  #: samples on the wall
ABREAST = 8  #: samples side by side where classes are so few that each gets several columns
COLUMNS = 10  #: pictures in a row of reconstructions and completions
MAPPED = 1000  #: data on the map
SIDE = 15  #: decoded pictures along one side of the map, at most
PIXELS = 600_000  #: of the decoded sheet, at most: keeps the page small


def held_out(data: Data, n: int) -> tuple[Any, Any]:
    """Return x and cond of the first n test rows; bits that are drawn at every visit are drawn from seed 0."""
    with seeded(0):
        return data.test.batch(slice(0, min(n, len(data.test))))


def many(data: Data, n: int) -> tuple[Any, Any]:
    """Return x and cond of n rows: of the test part first, then of the validation part, then of training."""
    parts, left = [], n
    with seeded(0):
        for part in (data.test, data.valid, data.train):
            if left > 0 and len(part):
                parts.append(part.batch(slice(0, min(left, len(part)))))
                left -= _count(parts[-1][0])
    conds = [cond for _, cond in parts]
    return _join([x for x, _ in parts]), None if conds[0] is None else _join(conds)


def samples(model: Model, n: int = SHOWN, seed: int = 0) -> tuple[Any, int | None]:
    """Return n samples, and how many stand side by side if each column is of one class."""
    space = model.cond_space
    if isinstance(space, Finite) and space.shape == () and 1 < space.levels <= 16:
        columns = torch.arange(space.levels).repeat_interleave(max(1, ABREAST // space.levels))
        rows = max(1, n // len(columns))
        return model.sample(rows * len(columns), columns.repeat(rows), seed=seed), len(columns)
    return model.sample(n, seed=seed), None


def reconstructions(model: Latent, data: Data) -> Image.Image:
    """Return held-out pictures above what the model makes of their representation."""
    x, cond = held_out(data, COLUMNS)
    cond = cond if model.cond_space is not None else None
    again = model.decode(model.encode(x, cond), cond)
    return grid(torch.cat([x, again.to(x.dtype)]), model.space, columns=len(x))


def upper_half(shape: tuple[int, ...]) -> Tensor:
    """Return the mask, (*shape), that is True in the upper half of a picture."""
    height = shape[-2]
    return (torch.arange(height) < height // 2)[:, None].expand(shape)


def completions(model: Completer, data: Data) -> Image.Image:
    """Return four rows: the upper half of held-out pictures, two completions, the whole pictures."""
    x, cond = held_out(data, COLUMNS)
    cond = cond if model.cond_space is not None else None
    half = upper_half(model.space.shape)
    drawn = [model.complete(x, half, cond, seed=seed) for seed in (0, 1)]
    known = torch.ones(4, *x.shape, dtype=torch.bool)
    known[0] = half
    return grid(torch.cat([x, *drawn, x]), model.space, columns=len(x), known=known.flatten(0, 1))


@dataclass
class Map:
    """A plane through the space of representations, with the data on it and, for pictures, what is decoded there.

    Arguments:
        points: where the data lie on the plane, (N, 2).
        labels: the class of each, (N,), or None.
        limits: the ends of the plane in both directions, ((low, high), (low, high)).
        dims: how many numbers represent one datum.
        share: how much of the variance the plane holds, 0 to 1.
        sheet: decoded pictures over the plane, the top row first, side by side without a gap; None if not pictures.
        side: how many pictures stand along a side of the sheet.
    """

    points: Tensor
    labels: Tensor | None
    limits: tuple[tuple[float, float], tuple[float, float]]
    dims: int
    share: float
    sheet: Image.Image | None
    side: int


def latent_map(model: Latent, data: Data) -> Map:
    """Return the plane of the two directions in which the representations of the data vary most.

    Representations of one or two numbers are shown as they are; of more, their first two principal components.
    """
    x, cond = many(data, MAPPED)
    if isinstance(data.space, Real):  # what is not known has no place on a map
        whole = ~x.flatten(1).isnan().any(1)
        x, cond = x[whole], _rows(cond, whole)
    given = cond if model.cond_space is not None else None
    z = model.encode(x, given)
    shape = z.shape[1:]
    flat = z.reshape(len(z), -1).double().cpu()
    centre, axes, share = plane(flat)
    points = (flat - centre) @ axes.T
    limits = (_ends(points[:, 0]), _ends(points[:, 1]))
    sheet, side = None, 0
    if is_picture(model.space):
        side = min(SIDE, max(3, math.isqrt(PIXELS // (model.space.shape[-1] * model.space.shape[-2]))))
        right = torch.linspace(*limits[0], side, dtype=torch.float64)
        down = torch.linspace(*limits[1], side, dtype=torch.float64).flip(0)
        corners = torch.stack([right.repeat(side), down.repeat_interleave(side)], 1)
        codes = (centre + corners @ axes).reshape(-1, *shape).to(z.dtype)
        pictures = model.decode(codes, None if given is None else given[0])
        sheet = grid(pictures, model.space, columns=side, scale=1, gap=0)
    labels = cond if isinstance(data.cond, Finite) and data.cond.shape == () else None
    return Map(points, labels, limits, flat.shape[1], share, sheet, side)


def plane(z: Tensor) -> tuple[Tensor, Tensor, float]:
    """Return the centre, (D,), two directions, (2, D), and the share of the variance of z, (N, D), they hold."""
    dims = z.shape[1]
    if dims <= 2:
        return torch.zeros(dims, dtype=z.dtype), torch.eye(2, dims, dtype=z.dtype), 1.0
    centre = z.mean(0)
    _, spread, directions = torch.linalg.svd(z - centre, full_matrices=False)
    directions = directions[:2] * directions[:2].sum(1, keepdim=True).sign()  # a sign that does not depend on LAPACK
    variance = spread.square()
    if len(directions) < 2:
        directions = torch.cat([directions, torch.zeros(2 - len(directions), dims, dtype=z.dtype)])
    return centre, directions, float(variance[:2].sum() / variance.sum().clamp(min=1e-300))


def _ends(values: Tensor) -> tuple[float, float]:
    """Return the range that holds all but the most extreme 1 % of the values, with a little room."""
    low, high = (float(v) for v in values.quantile(torch.tensor([0.005, 0.995], dtype=values.dtype)))
    room = 0.08 * (high - low) or 1.0
    return low - room, high + room
