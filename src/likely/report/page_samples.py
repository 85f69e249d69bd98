"""What models draw: beside real data, beside the nearest training data, by class; and the strangest real data.

Nothing is picked by hand: samples are the first ones of seed 0, the strangest data those of lowest score.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import torch

from likely import registry
from likely.core import Model, seeded
from likely.data.parts import Data, Part
from likely.data.sequences import lines
from likely.evaluation import Result
from likely.evaluation.memorisation import beside_nearest
from likely.report import charts, figures, words
from likely.report import words_compare as told
from likely.report.numbers import nats, number
from likely.report.pictures import grid, is_picture
from likely.report.pieces import Exhibit, card, drawn, lead, name_of, pixels, wall
from likely.report.scores import kept_scores, strangest
from likely.report.words import both
from likely.spaces import Binary, Finite, Ragged, Space
from likely.spaces import Sequence as Steps

NEAREST = 2  #: training pictures beside each sample
BYTES = 400e6  #: of training pictures, as numbers, that are searched at most
MOST_CLASSES = 20  #: that a histogram shows
TEN = 10  #: strangest pictures of each model
MOST_LEVELS = 12  #: levels of a column that get a bar each
LINES, CUT = 8, 120  #: texts that are shown, and characters of each
CURVES = 3  #: sequences of numbers that are drawn


def samples(exhibits: Sequence[Exhibit]) -> str:
    """Return walls of samples, one wall for each view, real data first."""
    walls = []
    for group in wall(exhibits):
        data, view = group[0].row.data, group[0].row.view
        cards = [card(both(words.REAL), f"{escape(data)}, {escape(view)}", drawn(_real, group[0].data), "real")]
        for exhibit in group:
            score = nats(exhibit.row.result("nll"))
            label = f"{score.split(' ±')[0]} nats" if score else both(words.NO_LIKELIHOOD)
            summary = escape(registry.entry(exhibit.row.model).summary)
            content = f'{drawn(_sampled, exhibit)}<p lang="en">{summary}</p>'
            cards.append(card(name_of(exhibit, group), label, content))
        walls.append(f'<div class="wall">{"".join(cards)}</div>')
    return lead(words.SAMPLES_LEAD) + "<br>".join(walls) if walls else ""


def _real(data: Data) -> str:
    x, _ = figures.held_out(data, figures.SHOWN)
    note = f"<p>{both(words.REAL_NOTE)}</p>"
    if is_picture(data.space):
        return pixels(grid(x, data.space, scale=1), f"{len(x)} real pictures of {data.name}") + note
    return _values(data, None) + note


def _sampled(exhibit: Exhibit) -> str:
    model = exhibit.model
    if is_picture(model.space):
        x, columns = figures.samples(model)
        note = f"<p>{both(words.BY_CLASS)}</p>" if columns else ""
        alt = f"{len(x)} samples of {exhibit.row.model}"
        return pixels(grid(x, model.space, columns=columns, scale=1), alt) + note
    return _values(exhibit.data, model.sample(figures.MAPPED, seed=0))


def _values(data: Data, sampled: Any) -> str:
    """Return points of the plane as a scatter plot, other numbers as a histogram or bars of each of the first columns,
    texts as they read, other sequences as curves of their first number."""
    x, _ = figures.held_out(data, figures.MAPPED)
    if isinstance(x, Ragged):
        return _sequences(x if sampled is None else sampled, data.space)
    real = torch.as_tensor(x).double().flatten(1)
    fake = real if sampled is None else torch.as_tensor(sampled).double().flatten(1)
    if real.shape[1] == 2:
        low, high = real.nan_to_num().amin(0), real.nan_to_num().amax(0)
        room = 0.08 * (high - low) + 1e-9
        ends = tuple((float(a), float(b)) for a, b in zip(low - room, high + room, strict=True))
        inside = fake[((fake >= low - room) & (fake <= high + room)).all(1)]
        return charts.scatter([inside.tolist()], label=f"{len(inside)} points", limits=ends)  # type: ignore[arg-type]
    names = data.space.names or tuple(f"x{i}" for i in range(real.shape[1]))
    parts = []
    for i in range(min(6, real.shape[1])):
        columns = [values[:, i][values[:, i].isfinite()].tolist() for values in (real, fake)]
        levels = _levels(data.space, i)
        if levels:
            counts = [[column.count(level) for level in range(len(levels))] for column in columns]
            chart = charts.bars(counts[1], counts[0], levels, label=names[i])
        else:
            chart = charts.histograms(*columns, label=names[i])
        parts.append(f"<p>{escape(names[i])}</p>{chart}")
    return "".join(parts) + f"<p>{both(words.HISTOGRAM)}</p>"


def _levels(space: Space, entry: int) -> list[str]:
    """Return what the levels of an entry are called, where there are so few that each gets a bar."""
    if isinstance(space, Binary):
        return ["0", "1"]
    if not isinstance(space, Finite):
        return []
    called = space.values[entry] if space.values is not None else space.categories or range(space.levels)
    return [str(name) for name in called] if len(called) <= MOST_LEVELS else []


def _sequences(x: Ragged, space: Space) -> str:
    """Return the first sequences: a text a line, or a curve of each one's first number."""
    step = space.step if isinstance(space, Steps) else space
    if isinstance(step, Finite) and step.categories is not None:
        texts = lines(Ragged(x.values[:LINES], x.lengths[:LINES]), space)
        return "".join(f'<p class="text">{escape(text[:CUT]) + "…" * (len(text) > CUT)}</p>' for text in texts)
    rows = [x.values[i][: int(n)] for i, n in enumerate(x.lengths[:CURVES])]
    series = {
        str(i): [(float(t), float(value)) for t, value in enumerate(row.reshape(len(row), -1)[:, 0].tolist())]
        for i, row in enumerate(rows)
        if len(row)
    }
    return charts.lines(series, label=f"{len(series)} sequences") if series else ""


# New, or copied? -----------------------------------------------------------------------------------------------------


def memory(exhibits: Sequence[Exhibit]) -> str:
    """Return samples above the training pictures nearest to them, with what was measured of copying."""
    cards = []
    for group in wall(exhibits):
        if not is_picture(group[0].model.space):
            continue
        train = group[0].data.train
        rows = min(len(train), max(1, int(BYTES / (8 * group[0].model.space.size))))
        for exhibit in group:
            content = drawn(_beside, exhibit, train.head(rows)) + _copying(exhibit)
            if rows < len(train):
                content += f"<p>{both(told.NEAREST_OF, n=f'{rows:,}', all=f'{len(train):,}')}</p>"
            cards.append(card(name_of(exhibit, exhibits), "", content))
    return f'{lead(told.MEMORY_LEAD)}<div class="wide">{"".join(cards)}</div>' if cards else ""


def _beside(exhibit: Exhibit, train: Part) -> str:
    model = exhibit.model
    sampled = _ten(model)
    with seeded(0):
        real, _ = train.batch(slice(0, len(train)))
    shown = beside_nearest(model.space, sampled, real, min(NEAREST, len(real)))
    columns = shown.reshape(len(sampled), -1, *model.space.shape).transpose(0, 1).flatten(0, 1)
    alt = f"samples of {exhibit.row.model} above the training pictures nearest to them"
    return pixels(grid(columns, model.space, columns=len(sampled)), alt)


def _ten(model: Model) -> Any:
    """Return ten samples: the first of seed 0, one of each class where there are few classes."""
    space = model.cond_space
    if isinstance(space, Finite) and space.shape == () and 1 < space.levels <= TEN:
        return model.sample(TEN, torch.arange(TEN) % space.levels, seed=0)
    return model.sample(TEN, seed=0)


def _copying(exhibit: Exhibit) -> str:
    lines = []
    copying, authentic, copies = (exhibit.row.result(m) for m in ("data_copying", "authenticity", "copies"))
    if copying is not None and copying["value"] is not None:
        lines.append(both(told.COPYING_IS, value=number(copying["value"], 1), error=number(_error(copying), 1)))
    for text, one in ((told.COPIES_ARE, copies), (told.AUTHENTIC_ARE, authentic)):
        if one is not None and one["value"] is not None:
            floor = one["protocol"].get("floor")
            real = "?" if floor is None else f"{100 * floor:.0f}"
            lines.append(both(text, share=f"{100 * one['value']:.0f}", real=real))
    return f"<p>{'<br>'.join(lines)}</p>" if lines else ""


def _error(result: Result) -> float:
    return float(result["protocol"].get("standard_error") or 0.0)


# Classes -------------------------------------------------------------------------------------------------------------


def classes(exhibits: Sequence[Exhibit]) -> str:
    """Return how many samples were recognised as each class, beside how many held-out data are of it."""
    cards = []
    for group in wall(exhibits):
        for exhibit in group:
            seen = exhibit.row.result("recognised")
            counts = None if seen is None else seen["protocol"].get("counts")
            if counts and 1 < len(counts) <= MOST_CLASSES and sum(counts):
                label = f"{sum(counts)} / {seen['protocol']['n_generated']}" if seen is not None else ""
                cards.append(card(name_of(exhibit, exhibits), label, drawn(_bars, exhibit.data, counts)))
    return f'{lead(told.CLASSES_LEAD)}<div class="wall">{"".join(cards)}</div>' if cards else ""


def _bars(data: Data, counts: list[int]) -> str:
    labels = torch.as_tensor(data.test.cond).long().flatten()
    names = getattr(data.cond, "categories", None) or [str(i) for i in range(len(counts))]
    real = labels.bincount(minlength=len(counts))[: len(counts)].tolist()
    return charts.bars(counts, real, list(names), label=f"samples of each of {len(counts)} classes")


# The strangest held-out data -----------------------------------------------------------------------------------------


def strange(exhibits: Sequence[Exhibit]) -> str:
    """Return the ten held-out pictures that each model finds least likely, with their log-likelihoods."""
    cards = []
    for group in wall(exhibits):
        for exhibit in group:
            scores = kept_scores(exhibit.row.folder)
            if is_picture(exhibit.model.space) and scores is not None:
                label = {">=": "≥", "~": "~"}.get(scores.sign, "=") + " nats"
                cards.append(card(name_of(exhibit, exhibits), label, drawn(_strange, exhibit)))
    return f'{lead(told.STRANGE_LEAD)}<div class="wide">{"".join(cards)}</div>' if cards else ""


def _strange(exhibit: Exhibit) -> str:
    scores = kept_scores(exhibit.row.folder)
    assert scores is not None
    rows, values = strangest(scores, TEN)
    test = exhibit.data.test
    with seeded(int(scores.what["seed"])):  # bits that are drawn at every visit: those that were scored
        x, _ = test.batch(slice(0, len(test)))
    numbers = "".join(f"<span>{number(float(value), 0)}</span>" for value in values)
    alt = f"the held-out pictures that {exhibit.row.model} finds least likely, the strangest first"
    picture = pixels(grid(x[rows], exhibit.model.space, columns=len(rows)), alt)
    return f'{picture}<div class="ten" style="--n:{len(rows)}">{numbers}</div>'
