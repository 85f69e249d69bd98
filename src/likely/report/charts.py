"""Charts as SVG text: their colours come from the page's style sheet, so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 320, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 8, 22

Points = Sequence[tuple[float, float]]
Limits = tuple[float, float]


def lines(series: Mapping[str, Points], marked: Points = (), *, label: str) -> str:
    """Return curves over steps; `marked` points are drawn as small circles.

    The vertical axis leaves out the most extreme 1 % on either side, which the first steps would else fill it with.

    Arguments:
        series: name -> (step, value) points, in order.
        marked: (step, value) points to mark.
        label: what the chart shows, for those who do not see it.
    """
    every = [point for points in series.values() for point in points] + list(marked)
    every = [(x, y) for x, y in every if math.isfinite(x) and math.isfinite(y)]
    across = _limits([x for x, _ in every])
    up = _limits([y for _, y in every], trim=0.01)
    x_at, y_at = _scale(across, LEFT, WIDTH - RIGHT), _scale(up, HEIGHT - BOTTOM, TOP)
    parts = [_axes(across, up)]
    for i, points in enumerate(series.values()):
        path = " ".join(f"{x_at(x):.1f},{y_at(y):.1f}" for x, y in _thin(points) if math.isfinite(y))
        parts.append(f'<polyline class="line c{i}" points="{path}"/>')
    parts += [f'<circle class="mark" cx="{x_at(x):.1f}" cy="{y_at(y):.1f}" r="2.6"/>' for x, y in marked]
    return _svg(parts, label)


def scatter(
    groups: Sequence[Points], *, label: str, limits: tuple[Limits, Limits] | None = None, axes: bool = True
) -> str:
    """Return points in the plane, one colour per group, the same unit of length along both sides of `limits`.

    Arguments:
        groups: for each colour its (x, y) points.
        label: what the chart shows, for those who do not see it.
        limits: the ends of both axes; None takes those of the points.
        axes: whether to draw axes with numbers.
    """
    if limits is None:
        limits = (_limits([x for g in groups for x, _ in g]), _limits([y for g in groups for _, y in g]))
    edges = (LEFT, RIGHT, TOP, BOTTOM) if axes else (0, 0, 0, 0)
    side = HEIGHT * 1.6
    x_at = _scale(limits[0], edges[0], side - edges[1])
    y_at = _scale(limits[1], side - edges[3], edges[2])
    parts = [_axes(*limits, width=side, height=side)] if axes else []
    for i, points in enumerate(groups):
        # a dot is a line of no length with round ends: much shorter to write than a circle
        path = "".join(f"M{x_at(x):.1f} {y_at(y):.1f}h0" for x, y in points)
        parts.append(f'<path class="dots c{i % 10}" d="{path}"/>')
    return _svg(parts, label, width=side, height=side)


def histograms(real: Sequence[float], drawn: Sequence[float], *, label: str, bins: int = 24) -> str:
    """Return two histograms of one column over each other, each of area 1: an outline and a filled shape.

    Arguments:
        real: the data's values, drawn as an outline.
        drawn: the samples' values, drawn filled; those beyond the data's range count to the nearest end.
        label: what the chart shows, for those who do not see it.
        bins: how many steps the data's range is cut into.
    """
    low, high = _limits(list(real), margin=0)
    shares = []
    for values in (drawn, real):
        counts = [0] * bins
        for value in values:
            counts[min(bins - 1, max(0, int((value - low) / (high - low) * bins)))] += 1
        shares.append([count / max(len(values), 1) for count in counts])
    top = max(max(each) for each in shares)
    x_at, y_at = _scale((low, high), LEFT, WIDTH - RIGHT), _scale((0.0, top or 1.0), HEIGHT - BOTTOM, TOP)
    parts = [_axes((low, high), None)]
    for kind, each in zip(("filled c0", "outline"), shares, strict=True):
        path = f"M{x_at(low):.1f} {y_at(0):.1f}"
        for i, share in enumerate(each):
            path += f"V{y_at(share):.1f}H{x_at(low + (i + 1) * (high - low) / bins):.1f}"
        parts.append(f'<path class="{kind}" d="{path}V{y_at(0):.1f}"/>')
    return _svg(parts, label)


def bars(counts: Sequence[float], real: Sequence[float], names: Sequence[str], *, label: str) -> str:
    """Return the shares of some classes as filled bars, with those of real data as lines across them.

    Arguments:
        counts: how many samples are of each class.
        real: how many real data are.
        names: what the classes are called; names that do not fit are cut.
        label: what the chart shows, for those who do not see it.
    """
    shares = [[value / max(sum(each), 1) for value in each] for each in (counts, real)]
    top = 1.08 * max(max(each) for each in shares) or 1.0
    y_at = _scale((0.0, top), HEIGHT / 2 - BOTTOM, TOP)
    step = (WIDTH - 2 * RIGHT) / len(counts)
    parts = []
    for i, (share, expected, name) in enumerate(zip(*shares, names, strict=True)):
        left, middle = RIGHT + step * (i + 0.12), RIGHT + step * (i + 0.5)
        height = y_at(0.0) - y_at(share)
        parts.append(
            f'<rect class="filled c0" x="{left:.1f}" y="{y_at(share):.1f}" width="{0.76 * step:.1f}" '
            f'height="{height:.1f}"/><path class="outline" d="M{RIGHT + step * i + 1:.1f} {y_at(expected):.1f}h'
            f'{step - 2:.1f}"/><text class="tick" x="{middle:.1f}" y="{HEIGHT / 2 - 7}" text-anchor="middle">'
            f"{escape(name[: max(2, int(step / 6))])}</text>"
        )
    return _svg(parts, label, height=HEIGHT / 2)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers from low to high, at most `most` of them.

    Example:
        >>> ticks(0, 930)
        [0, 250, 500, 750]
    """
    raw = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10, 20) if (high - low) / (m * power) <= most - 1 + 1e-9)
    first = math.ceil(low / step - 1e-9)
    marks = [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]
    return [int(m) if m == int(m) else m for m in marks]


def _limits(values: list[float], *, trim: float = 0.0, margin: float = 0.04) -> Limits:
    """Return the ends of an axis: the range of the values, trimmed at both ends, with a little room."""
    values = sorted(v for v in values if math.isfinite(v)) or [0.0]
    cut = int(trim * len(values))
    low, high = values[cut], values[-1 - cut]
    if high - low < 1e-12 * max(1.0, abs(high)):
        return low - 0.5, high + 0.5
    return low - margin * (high - low), high + margin * (high - low)


def _scale(limits: Limits, start: float, end: float) -> Callable[[float], float]:
    """Return the map from values to places on the paper; what lies beyond the limits stays at the edge."""
    low, high = limits
    return lambda value: start + (min(max(value, low), high) - low) / (high - low) * (end - start)


def _thin(points: Points, most: int = 300) -> Points:
    """Return at most `most` points, each the mean of its neighbours."""
    size = math.ceil(len(points) / most) if points else 1
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def _axes(across: Limits, up: Limits | None, *, width: float = WIDTH, height: float = HEIGHT) -> str:
    x_at = _scale(across, LEFT, width - RIGHT)
    parts = []
    for value in ticks(*across):
        parts.append(
            f'<text class="tick" x="{x_at(value):.1f}" y="{height - 7}" text-anchor="middle">{_short(value)}</text>'
        )
    if up is not None:
        y_at = _scale(up, height - BOTTOM, TOP)
        for value in ticks(*up):
            y = y_at(value)
            parts.append(f'<line class="rule" x1="{LEFT}" x2="{width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(
                f'<text class="tick" x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{_short(value)}</text>'
            )
    base = height - BOTTOM
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{width - RIGHT}" y1="{base}" y2="{base}"/>')
    return "".join(parts)


def _short(value: float) -> str:
    """Return a tick's number: 1500000 as 1.5M, -0.25 with a true minus sign."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):g}{unit}".replace("-", "−")
    return f"{value:g}".replace("-", "−")


def _svg(parts: list[str], label: str, *, width: float = WIDTH, height: float = HEIGHT) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )
