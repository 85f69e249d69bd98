"""Diagrams as SVG text: a heat map, ellipses with their path, a graph of states, a strip of states over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from likely.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Limits, Points, _axes, _scale, _short, _svg

ELLIPSE = 2.0  #: standard deviations from the centre to the drawn ellipse
FAINT = 0.02  #: a transition less probable than this is not drawn
GLYPH = 5.8  #: the width of a letter of a name, on average
LONG = 28  #: letters of a name, at most
SLANT = 40  #: degrees by which names hang
LEGIBLE = 14  #: rows and columns of a heat map up to which numbers are written into its cells


def heat_map(values: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str], *, label: str) -> str:
    """Return a matrix of numbers from 0 as cells, darker for larger ones, with the numbers where they fit.

    Arguments:
        values: the numbers, rows of equal length, none below 0.
        rows, columns: what they are called; very long names are cut.
        label: what the diagram shows, for those who do not see it.
    """
    top = max(max(row) for row in values) or 1.0
    longest = GLYPH * min(LONG, max(len(name) for name in columns))
    left = max(LEFT, 8 + GLYPH * min(LONG, max(len(name) for name in rows)))
    side = min(34.0, (WIDTH - left - RIGHT) / len(columns))
    slanted = longest > side  # names that are wider than a column hang down aslant
    if slanted:
        left = max(left, longest * math.cos(math.radians(SLANT)))
        side = min(34.0, (WIDTH - left - RIGHT) / len(columns))
    written = len(columns) <= LEGIBLE and len(rows) <= LEGIBLE and side >= 22
    parts = []
    for i, (name, row) in enumerate(zip(rows, values, strict=True)):
        y = TOP + i * side
        parts.append(_text(left - 5, y + side / 2 + 3.5, _cut(name), "end"))
        for j, value in enumerate(row):
            x = left + j * side
            share = value / top
            parts.append(
                f'<rect class="cell" x="{x:.1f}" y="{y:.1f}" width="{side:.1f}" height="{side:.1f}" '
                f'fill-opacity="{share:.3f}"><title>{escape(f"{name}, {columns[j]}: {value:.4g}")}</title></rect>'
            )
            if written:
                kind = "tick over" if share > 0.55 else "tick"
                parts.append(_text(x + side / 2, y + side / 2 + 3.5, f"{value:.2f}".lstrip("0") or "0", kind=kind))
    bottom = TOP + len(rows) * side
    for j, name in enumerate(columns):
        x = left + (j + 0.5) * side
        parts.append(
            _text(x + 3, bottom + 9, _cut(name), "end", slant=-SLANT) if slanted else _text(x, bottom + 14, name)
        )
    depth = longest * math.sin(math.radians(SLANT)) if slanted else 0.0
    return _svg(parts, label, height=bottom + max(BOTTOM, 14 + depth))


def _cut(name: str) -> str:
    return name if len(name) <= LONG else name[: LONG - 1] + "…"


def ellipses(
    points: Points,
    means: Sequence[tuple[float, float]],
    covariances: Sequence[Sequence[Sequence[float]]],
    paths: Sequence[Points] = (),
    *,
    limits: tuple[Limits, Limits],
    label: str,
) -> str:
    """Return data in the plane, under each Gaussian as the ellipse of two standard deviations and its mean's path.

    Arguments:
        points: the data, (x, y) each.
        means, covariances: of the Gaussians, K pairs and K 2x2 matrices.
        paths: for each Gaussian the places its mean has passed, first to last.
        limits: the ends of both axes.
        label: what the diagram shows, for those who do not see it.
    """
    side = HEIGHT * 1.6
    x_at, y_at = _scale(limits[0], LEFT, side - RIGHT), _scale(limits[1], side - BOTTOM, TOP)
    dots = "".join(f"M{x_at(x):.1f} {y_at(y):.1f}h0" for x, y in points)
    parts = [_axes(*limits, width=side, height=side), f'<path class="dots faint" d="{dots}"/>']
    for i, (mean, ((a, b), (_, c))) in enumerate(zip(means, covariances, strict=True)):
        # the Cholesky factor turns the circle into the ellipse, without an eigenvalue to go wrong
        first = math.sqrt(max(a, 0.0))
        low = b / first if first > 0 else 0.0
        second = math.sqrt(max(c - low * low, 0.0))
        outline = []
        for turn in range(49):
            u, v = ELLIPSE * math.cos(turn * math.pi / 24), ELLIPSE * math.sin(turn * math.pi / 24)
            outline.append(f"{x_at(mean[0] + first * u):.1f},{y_at(mean[1] + low * u + second * v):.1f}")
        parts.append(f'<polyline class="line c{i % 10}" points="{" ".join(outline)}"/>')
        parts.append(f'<circle class="mark" cx="{x_at(mean[0]):.1f}" cy="{y_at(mean[1]):.1f}" r="2.6"/>')
    for path in paths:
        way = " ".join(f"{x_at(x):.1f},{y_at(y):.1f}" for x, y in path)
        parts.append(f'<polyline class="way" points="{way}"/>')
    return _svg(parts, label, width=side, height=side)


def graph(initial: Sequence[float], moves: Sequence[Sequence[float]], *, label: str) -> str:
    """Return states on a circle, larger the more often a chain starts there, with an arrow for each likely move.

    Arguments:
        initial: the probability of each state at the start, (K,).
        moves: the probability of each move, (K, K); rows add up to 1.
        label: what the diagram shows, for those who do not see it.
    """
    states, side = len(initial), HEIGHT * 1.6
    middle, radius = side / 2, side / 2 - 46
    places = [
        (middle + radius * math.sin(2 * math.pi * k / states), middle - radius * math.cos(2 * math.pi * k / states))
        for k in range(states)
    ]
    sizes = [9 + 9 * math.sqrt(chance) for chance in initial]
    parts = [
        '<defs><marker id="head" viewBox="0 0 6 6" refX="5" refY="3" markerWidth="5" markerHeight="5" orient="auto">'
        '<path class="head" d="M0 0L6 3L0 6z"/></marker></defs>'
    ]
    for i, row in enumerate(moves):
        for j, chance in enumerate(row):
            if chance < FAINT:
                continue
            width = f'stroke-width="{0.6 + 3 * chance:.1f}" stroke-opacity="{0.25 + 0.75 * chance:.2f}"'
            title = f"<title>{i} → {j}: {chance:.3f}</title>"
            (x, y), (u, v) = places[i], places[j]
            if i == j:  # a loop on the outer side
                out = (x - middle, y - middle)
                far = math.hypot(*out) or 1.0
                away = (out[0] / far, out[1] / far) if far > 1 else (0.0, -1.0)
                across = (-away[1], away[0])
                r = sizes[i]
                start = (x + r * (0.8 * away[0] - 0.6 * across[0]), y + r * (0.8 * away[1] - 0.6 * across[1]))
                end = (x + r * (0.8 * away[0] + 0.6 * across[0]), y + r * (0.8 * away[1] + 0.6 * across[1]))
                parts.append(
                    f'<path class="move" {width} marker-end="url(#head)" d="M{start[0]:.1f} {start[1]:.1f}'
                    f"C{start[0] + 22 * away[0]:.1f} {start[1] + 22 * away[1]:.1f} "
                    f'{end[0] + 22 * away[0]:.1f} {end[1] + 22 * away[1]:.1f} {end[0]:.1f} {end[1]:.1f}">{title}</path>'
                )
                continue
            # bent to the right of its direction, so that the way back is another line
            long = math.hypot(u - x, v - y)
            bend = ((x + u) / 2 - (v - y) * 0.14, (y + v) / 2 + (u - x) * 0.14)
            leave = _towards((x, y), bend, sizes[i])
            enter = _towards((u, v), bend, sizes[j] + min(3.0, long / 10))
            parts.append(
                f'<path class="move" {width} marker-end="url(#head)" d="M{leave[0]:.1f} {leave[1]:.1f}Q{bend[0]:.1f} '
                f'{bend[1]:.1f} {enter[0]:.1f} {enter[1]:.1f}">{title}</path>'
            )
    for k, (x, y) in enumerate(places):
        parts.append(f'<circle class="state c{k % 10}" cx="{x:.1f}" cy="{y:.1f}" r="{sizes[k]:.1f}"/>')
        parts.append(_text(x, y + 4, str(k)))
    return _svg(parts, label, width=side, height=side)


def strip(
    path: Sequence[int], values: Sequence[float] | None = None, *, symbols: Sequence[str] = (), label: str
) -> str:
    """Return the states of a sequence over time as coloured bands, under the values of one entry where there are any.

    Arguments:
        path: the state of each step.
        values: a number for each step, or None.
        symbols: what each step is called, written into the bands where all have room.
        label: what the diagram shows, for those who do not see it.
    """
    height = HEIGHT / 2
    wide = (WIDTH - LEFT - RIGHT) / max(len(path), 1)
    parts, start = [], 0
    for t in range(1, len(path) + 1):
        if t == len(path) or path[t] != path[start]:
            parts.append(
                f'<rect class="band c{path[start] % 10}" x="{LEFT + start * wide:.1f}" y="{TOP}" '
                f'width="{(t - start) * wide:.1f}" height="{height - TOP - BOTTOM:.1f}">'
                f"<title>{start}–{t - 1}: {path[start]}</title></rect>"
            )
            start = t
    if values is not None and len(values) > 1:
        low, high = min(values), max(values)
        y_at = _scale((low, high if high > low else low + 1), height - BOTTOM - 4, TOP + 4)
        points = " ".join(f"{LEFT + (t + 0.5) * wide:.1f},{y_at(value):.1f}" for t, value in enumerate(values))
        parts.append(f'<polyline class="seen" points="{points}"/>')
        parts += [_text(LEFT - 5, y_at(value) + 3, _short(float(f"{value:.3g}")), "end") for value in (low, high)]
    if symbols and GLYPH * max(len(symbol) for symbol in symbols) <= wide:
        middle = (TOP + height - BOTTOM) / 2 + 3.5
        parts += [_text(LEFT + (t + 0.5) * wide, middle, symbol, kind="tick read") for t, symbol in enumerate(symbols)]
    parts += [_text(LEFT + (t + 0.5) * wide, height - 7, str(t)) for t in (0, len(path) - 1) if path]
    return _svg(parts, label, height=height)


def tree(places: Sequence[tuple[float, float]], edges: Sequence[tuple[int, int]], *, label: str) -> str:
    """Return entries at their places in the unit square, joined by the edges of a tree.

    Arguments:
        places: (across, down) of each entry, 0 to 1.
        edges: pairs of entries.
        label: what the diagram shows, for those who do not see it.
    """
    side = HEIGHT * 1.6
    at = [(10 + x * (side - 20), 10 + y * (side - 20)) for x, y in places]
    lines = "".join(f"M{at[i][0]:.1f} {at[i][1]:.1f}L{at[j][0]:.1f} {at[j][1]:.1f}" for i, j in edges)
    dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in at)
    return _svg(
        [f'<path class="branch" d="{lines}"/>', f'<path class="dots c0" d="{dots}"/>'], label, width=side, height=side
    )


def _towards(start: tuple[float, float], end: tuple[float, float], far: float) -> tuple[float, float]:
    long = math.hypot(end[0] - start[0], end[1] - start[1]) or 1.0
    return start[0] + far * (end[0] - start[0]) / long, start[1] + far * (end[1] - start[1]) / long


def _text(x: float, y: float, text: str, anchor: str = "middle", kind: str = "tick", slant: float = 0) -> str:
    turned = f' transform="rotate({slant:g} {x:.1f} {y:.1f})"' if slant else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turned}>{escape(text)}</text>'
