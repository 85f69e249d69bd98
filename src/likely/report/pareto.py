"""Quality against cost as one picture: every model a point with its error bar, the front of those that nothing beats.

A model is on the front if no other is at once cheaper and better. One that is behind the front by a difference that is
noise is marked apart from one that is truly beaten.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from likely.report.charts import _limits, _scale, _short, _svg, ticks

WIDTH, HEIGHT = 460, 290
LEFT, RIGHT, TOP, BOTTOM = 50, 14, 14, 24
LETTER = 6.0  #: how wide a letter of a name is about
LINE = 12.0  #: how high
FAR = 4.0  #: a model is below the picture if it is this many times as far from the best as the middle model

#: ticks of an axis of time, in seconds
TIMES = {
    1e-6: "1 µs", 1e-5: "10 µs", 1e-4: "0.1 ms", 1e-3: "1 ms", 1e-2: "10 ms", 0.1: "0.1 s", 1: "1 s", 10: "10 s",
    60: "1 m", 600: "10 m", 3600: "1 h", 36000: "10 h", 864000: "10 d",
}  # fmt: skip


@dataclass(frozen=True)
class Mark:
    """One model in the picture.

    Arguments:
        name: what is written beside it.
        cost: seconds.
        value: quality, as it is printed.
        low, high: the ends of its interval.
        loss: what is lowest for the best.
        bound: whether its quality may be better than its number.
    """

    name: str
    cost: float
    value: float
    low: float
    high: float
    loss: float
    bound: bool = False


def front(marks: Sequence[Mark]) -> list[int]:
    """Return which marks no other beats in cost and quality at once, cheapest first.

    Example:
        >>> front([Mark("a", 1, 0, 0, 0, 5.0), Mark("b", 2, 0, 0, 0, 6.0), Mark("c", 3, 0, 0, 0, 1.0)])
        [0, 2]
    """
    best, kept = math.inf, []
    for i in sorted(range(len(marks)), key=lambda i: (marks[i].cost, marks[i].loss)):
        if marks[i].loss < best:
            best = marks[i].loss
            kept.append(i)
    return kept


def beaten(marks: Sequence[Mark], apart: set[tuple[int, int]]) -> list[str]:
    """Return for each mark "front", "near" (behind it by noise), or "behind".

    Arguments:
        marks: the models.
        apart: pairs (better, worse) whose difference in quality is no noise.
    """
    first = set(front(marks))
    states = []
    for i, mark in enumerate(marks):
        worse = [j for j, other in enumerate(marks) if (j, i) in apart and other.cost <= mark.cost]
        states.append("front" if i in first else "behind" if worse else "near")
    return states


def picture(marks: Sequence[Mark], states: Sequence[str], *, label: str, up: bool) -> str:
    """Return the picture: cost to the right on a logarithmic axis of time, better upwards.

    Arguments:
        marks: the models.
        states: what `beaten` says of each.
        label: what the chart shows, for those who do not see it.
        up: whether higher numbers are better; else the axis is turned round.
    """
    costs = [math.log10(mark.cost) for mark in marks]
    room = 0.12 * max(max(costs) - min(costs), 0.7)
    across = (min(costs) - room, max(costs) + room)
    values = sorted((mark.value for mark in marks), reverse=up)  # the best first
    cut = values[0] + FAR * (values[len(values) // 2] - values[0])  # one hopeless model must not squash the others
    far = [values[0] != cut and (mark.value < cut if up else mark.value > cut) for mark in marks]
    near = [mark for mark, away in zip(marks, far, strict=True) if not away]
    heights = [end for mark in near for end in (mark.low, mark.value, mark.high) if math.isfinite(end)]
    heights += [cut] if any(far) else []
    vertical = _limits(heights, margin=0.06)
    ends = (HEIGHT - BOTTOM, TOP) if up else (TOP, HEIGHT - BOTTOM)
    x_at, y_at = _scale(across, LEFT, WIDTH - RIGHT), _scale(vertical, *ends)
    parts = []
    for value in ticks(*vertical):
        y = y_at(value)
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{_short(value)}</text>')
    base = HEIGHT - BOTTOM
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    for seconds, text in TIMES.items():
        if across[0] <= math.log10(seconds) <= across[1]:
            x = x_at(math.log10(seconds))
            parts.append(f'<line class="rule" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{base}"/>')
            parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{text}</text>')
    places = [(x_at(cost), y_at(mark.value)) for cost, mark in zip(costs, marks, strict=True)]
    steps = [places[i] for i in front(marks)]
    path = "".join(f"L{x:.1f} {above:.1f}L{x:.1f} {y:.1f}" for (_, above), (x, y) in pairwise(steps))
    if steps:
        parts.append(f'<path class="front" d="M{steps[0][0]:.1f} {steps[0][1]:.1f}{path}H{WIDTH - RIGHT}"/>')
    for (x, y), mark, state, away in zip(places, marks, states, far, strict=True):
        if away:  # below the picture, whose edge it stands on
            parts.append(f'<path class="error" d="M{x:.1f} {y:.1f}v10m-3 -4l3 4l3 -4"/>')
            parts.append(f'<circle class="{state}" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>')
            continue
        low, high = (y_at(end) for end in (mark.low, mark.high))
        parts.append(f'<line class="error" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
        if mark.bound:  # an arrow towards where the truth may lie
            tip = TOP - y if up else y - TOP
            parts.append(f'<path class="error" d="M{x:.1f} {y:.1f}v{max(-16.0, tip):.1f}m-3 4l3 -4l3 4"/>')
        parts.append(f'<circle class="{state}" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>')
    shown = [
        f"{mark.name} {_short(float(f'{mark.value:.3g}'))}" if away else mark.name
        for mark, away in zip(marks, far, strict=True)
    ]
    parts += _names(shown, states, places)
    return _svg(parts, label, width=WIDTH, height=HEIGHT)


def _names(names: Sequence[str], states: Sequence[str], places: Sequence[tuple[float, float]]) -> list[str]:
    """Return the names beside their marks, moved up or down until none covers a name or a mark."""
    taken = [(x - 6, x + 6, y) for x, y in places]
    parts = []
    for (x, y), name, state in sorted(zip(places, names, states, strict=True), key=lambda one: one[2] != "front"):
        width = LETTER * len(name)
        found = None
        for shift in (0, -9, 9, -14, 14, -20, 20, -27, 27, -34, 34):
            for side in (1, -1) if x + 9 + width < WIDTH - 2 else (-1, 1):
                left = x + 9 if side > 0 else x - 9 - width
                height = y + shift
                clash = any(left < b and a < left + width and abs(height - h) < LINE - 2 for a, b, h in taken)
                inside = left >= LEFT and left + width <= WIDTH and TOP - 6 < height < HEIGHT - BOTTOM - 3
                if not clash and inside:
                    found = (left, height)
                    break
            if found:
                break
        left, height = found or (min(x + 9, WIDTH - width), y)
        taken.append((left, left + width, height))
        parts.append(f'<text class="name {state}" x="{left:.1f}" y="{height + 3.8:.1f}">{escape(name)}</text>')
    return parts
