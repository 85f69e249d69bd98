"""One page that holds everything: it opens from the file system without a network, light or dark, in two languages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import torch

from likely import registry
from likely.core import ABILITIES, Completer, Energy, Latent, Model, abilities
from likely.data.parts import Data
from likely.evaluation.classifier import TREES
from likely.report import charts, figures, words
from likely.report.pictures import data_uri, grid, is_picture
from likely.report.table import Row, Table, baselines, bits, nats, number, share, thousandths
from likely.report.words import Words, both
from likely.spaces import Finite, Ragged

HERE = Path(__file__).parent


@dataclass
class Exhibit:
    """A trained model on show: its row, the model, its data, and the rows of its log."""

    row: Row
    model: Model
    data: Data
    log: list[dict[str, Any]] = field(default_factory=list)


def page(table: Table, exhibits: Sequence[Exhibit]) -> str:
    """Return a whole HTML page about these models.

    What a model cannot show is left out; what fails while it is drawn is said in its place, and the rest is drawn.

    Arguments:
        table: what was measured; rows that failed are listed with their reason.
        exhibits: the trained models of the other rows.
    """
    exhibits = sorted(exhibits, key=lambda e: _order(table, e.row))
    sections = [
        ("samples", words.SAMPLES, _samples(exhibits)),
        ("scores", words.SCORES, _scores(table)),
        ("learning", words.CURVES, _curves(exhibits)),
        ("map", words.LATENT, _maps(exhibits)),
        ("reconstructions", words.RECONSTRUCTIONS, _reconstructions(exhibits)),
        ("completions", words.COMPLETIONS, _completions(exhibits)),
        ("abilities", words.ABILITIES, _abilities(exhibits)),
        ("again", words.AGAIN, _again(table)),
        ("failed", words.FAILED, _failed(table)),
    ]
    sections = [section for section in sections if section[2]]
    links = "".join(f'<a href="#{name}">{both(words.SHORT.get(name, title))}</a>' for name, title, _ in sections)
    body = "".join(
        f'<section id="{name}"><h2>{both(title)}</h2>{content}</section>' for name, title, content in sections
    )
    names = list(dict.fromkeys(row.model for row in table.rows))
    title = both(words.NUMBER, n=len(names)) if len(names) != 1 else escape(names[0])
    return f"""<!doctype html>
<html lang="en" data-lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>likely: {escape(", ".join(names))}</title>
<style>
{_asset("page.css")}</style>
</head>
<body>
<nav><div class="inner"><strong>likely</strong>{links}<span class="languages">
<button type="button" data-language="en" aria-pressed="true" lang="en">English</button>
<button type="button" data-language="ko" aria-pressed="false" lang="ko">한국어</button></span></div></nav>
<main>
<header><h1>{title}</h1>{_lead(words.LEAD)}{_facts(table, exhibits)}</header>
{body}
<footer>{both(words.MADE, version=table.versions.get("likely", ""))}</footer>
</main>
<script>
{_asset("page.js")}</script>
</body>
</html>
"""


def _asset(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _order(table: Table, row: Row) -> int:
    """Return where the row stands in the tables."""
    ranked = [r for rows in table.views().values() for r in rows]
    return next((i for i, r in enumerate(ranked) if r is row), len(ranked))


def _lead(text: Words, **values: object) -> str:
    return f'<p class="lead">{both(text, **values)}</p>'


def _facts(table: Table, exhibits: Sequence[Exhibit]) -> str:
    """Return what was done, on what, where and when."""
    facts: list[tuple[Words, str]] = []
    for exhibit in {(e.row.data, e.row.view): e for e in exhibits}.values():
        data = exhibit.data
        name = f"{data.name} ({data.view}), {data.space}" + (f". {data.note}" if data.note else "")
        facts.append((words.DATA, escape(name)))
    if exhibits:
        data = exhibits[0].data
        sizes = both(words.ROWS_VALUE, train=len(data.train), valid=len(data.valid), test=len(data.test))
        facts.append((words.ROWS, sizes))
    minutes = sum(row.minutes or 0 for row in table.rows)
    facts += [
        (words.TIME, both(words.MINUTES, minutes=f"{minutes:.1f}")),
        (words.MACHINE, escape(table.machine)),
        (words.DATE, escape(table.created)),
        (words.VERSIONS, escape(", ".join(f"{name} {version}" for name, version in table.versions.items()))),
        (words.COMMAND, f"<code>{escape(table.command)}</code>"),
    ]

    def wide(kind: Words) -> str:
        return ' class="long"' if kind in (words.COMMAND, words.DATA) else ""

    return (
        '<dl class="facts">'
        + "".join(f"<div{wide(k)}><dt>{both(k)}</dt><dd>{v}</dd></div>" for k, v in facts)
        + "</dl>"
    )


def _card(head: str, score: str, content: str, kind: str = "") -> str:
    return (
        f'<figure class="card {kind}"><div class="head"><h3>{head}</h3><span class="score">{score}</span></div>'
        f"{content}</figure>"
    )


def _drawn(draw: Callable[[], str]) -> str:
    """Return a figure, or a line that says why it could not be drawn: one broken model must not cost the page."""
    try:
        return draw()
    except Exception as error:
        return f'<p class="note">{both(words.NOT_DRAWN, why=f"{type(error).__name__}: {error}")}</p>'


def _name(exhibit: Exhibit, exhibits: Sequence[Exhibit]) -> str:
    """Return the model's name, with its seed and view where there are several of that name."""
    row, twins = exhibit.row, [e.row for e in exhibits if e.row.model == exhibit.row.model]
    extra = [row.view] if len({(t.data, t.view) for t in twins}) > 1 else []
    extra += [f"seed {row.seed}"] if len({t.seed for t in twins}) > 1 else []
    return escape(row.title) + (f" <small>({escape('; '.join(extra))})</small>" if extra else "")


def _pixels(image: Any, alt: str) -> str:
    return f'<img class="pixels" src="{data_uri(image)}" alt="{escape(alt)}">'


# Samples -------------------------------------------------------------------------------------------------------------


def _samples(exhibits: Sequence[Exhibit]) -> str:
    walls = []
    for data, view in dict.fromkeys((e.row.data, e.row.view) for e in exhibits):
        group = [e for e in exhibits if (e.row.data, e.row.view) == (data, view)]
        real = _drawn(lambda group=group: _real(group[0].data))  # type: ignore[misc]
        cards = [_card(both(words.REAL), f"{escape(data)}, {escape(view)}", real, "real")]
        for exhibit in group:
            content = _drawn(lambda e=exhibit: _sampled(e))  # type: ignore[misc]
            score = nats(exhibit.row.result("nll"))
            label = f"{score.split(' ±')[0]} nats" if score else both(words.NO_LIKELIHOOD)
            summary = escape(registry.entry(exhibit.row.model).summary)
            cards.append(_card(_name(exhibit, group), label, f'{content}<p lang="en">{summary}</p>'))
        walls.append(f'<div class="wall">{"".join(cards)}</div>')
    return _lead(words.SAMPLES_LEAD) + "<br>".join(walls) if walls else ""


def _real(data: Data) -> str:
    x, _ = figures.held_out(data, figures.SHOWN)
    note = f"<p>{both(words.REAL_NOTE)}</p>"
    if is_picture(data.space):
        return _pixels(grid(x, data.space, scale=1), f"{len(x)} real pictures of {data.name}") + note
    return _values(data, None) + note


def _sampled(exhibit: Exhibit) -> str:
    model = exhibit.model
    if is_picture(model.space):
        x, columns = figures.samples(model)
        note = f"<p>{both(words.BY_CLASS)}</p>" if columns else ""
        alt = f"{len(x)} samples of {exhibit.row.model}"
        return _pixels(grid(x, model.space, columns=columns, scale=1), alt) + note
    return _values(exhibit.data, model.sample(figures.MAPPED, seed=0))


def _values(data: Data, drawn: Any) -> str:
    """Return points of the plane as a scatter plot, other numbers as a histogram of each of the first columns."""
    x, _ = figures.held_out(data, figures.MAPPED)
    if isinstance(x, Ragged):
        return f"<p>{escape(str(data.space))}</p>"
    real = torch.as_tensor(x).double().flatten(1)
    fake = real if drawn is None else torch.as_tensor(drawn).double().flatten(1)
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
        parts.append(f"<p>{escape(names[i])}</p>{charts.histograms(*columns, label=names[i])}")
    return "".join(parts) + f"<p>{both(words.HISTOGRAM)}</p>"


# Scores --------------------------------------------------------------------------------------------------------------


def _scores(table: Table) -> str:
    views = table.views()
    if not views:
        return ""
    parts = [_lead(words.SCORES_LEAD)]
    if len(views) > 1:
        parts.append(f'<p class="note">{both(words.VIEWS)}</p>')
    for (data, view), rows in views.items():
        parts.append(_score_table(f"{data}, {view}", rows))
    first = next(iter(views.values()))[0]
    distance, seen = first.result("mmd"), first.result("recognised")
    if distance is not None:
        parts.append(f'<p class="note">{both(words.DISTANCE_NOTE, n=distance["protocol"]["n_generated"])}</p>')
    if seen is not None:
        parts.append(f'<p class="note">{both(words.RECOGNISED_NOTE, trees=TREES)}</p>')
    return "".join(parts)


def _score_table(caption: str, rows: list[Row]) -> str:
    """Return one table; a column that nobody fills is left out."""
    values = [r["value"] for row in rows if (r := row.result("nll")) and r["value"] is not None]
    best, worst = min(values, default=0.0), max(values, default=0.0)
    headings = [words.NATS, words.BITS, words.DISTANCE, words.RECOGNISED, words.PARAMETERS, words.TRAINED, words.SPEED]
    several = len({row.seed for row in rows}) > 1
    lines: list[tuple[str, str, list[str]]] = []  # kind and bar, name, cells
    for row in rows:
        score, distance = row.result("nll"), row.result("mmd")
        value = None if score is None else score["value"]
        width = 0.0 if value is None or best == worst else 8 + 92 * (value - worst) / (best - worst)
        cells = [
            nats(score),
            bits(score),
            thousandths(distance["value"], distance["protocol"]["standard_error"]) if distance else "",
            share(row.result("recognised")),
            "" if row.parameters is None else f"{row.parameters:,}",
            number(row.minutes),
            "" if row.speed is None else f"{row.speed:,.0f}",
        ]
        name = escape(row.title) + (f" <small>{both(words.SEED)} {row.seed}</small>" if several else "")
        lines.append((f"--share:{width:.0f}%", name, cells))
    for name, _, *cells in baselines(rows):
        text = both(words.UNIFORM) if name == "*uniform*" else both(words.FLOOR)
        lines.append(("", text, list(cells)))
    kept = [i for i in range(len(headings)) if any(cells[i] for _, _, cells in lines)]
    head = "".join(f'<th scope="col">{both(headings[i])}</th>' for i in kept)
    body = ""
    for bar, name, cells in lines:
        body += f'<tr{"" if bar else " class=base"}><th scope="row">{name}</th>'
        for i in kept:
            body += f'<td class="bar" style="{bar}">' if i == 0 and bar and cells[0] else "<td>"
            body += f"{escape(cells[i])}</td>"
        body += "</tr>"
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption><thead><tr><th scope="col">{both(words.MODEL)}'
        f"</th>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


# Learning curves -----------------------------------------------------------------------------------------------------


def curves(log: list[dict[str, Any]]) -> tuple[dict[str, list[tuple[float, float]]], list[tuple[float, float]]]:
    """Return the curves of a log: each player's loss where models take turns, else the loss; and the validations."""
    series: dict[str, list[tuple[float, float]]] = {}
    for row in log:
        players = [name for name in row if name.endswith("/loss")]
        for name in players or (["loss"] if "loss" in row else []):
            series.setdefault(name.removesuffix("/loss"), []).append((row["step"], row[name]))
    valid = [] if len(series) > 1 else [(row["step"], row["valid"]) for row in log if "valid" in row]
    return series, valid


def _curves(exhibits: Sequence[Exhibit]) -> str:
    cards = []
    for exhibit in exhibits:
        series, valid = curves(exhibit.log)
        if isinstance(exhibit.model, Energy) and len(valid) > 1:
            series, valid = {"valid": valid}, []  # what such a model descends is no measure: its normaliser moves along
        if not series:
            continue
        statistics = "e_step" in abilities(exhibit.model)
        if max(len(points) for points in series.values()) < 2:
            content = f'<p class="note">{both(words.CLOSED if statistics else words.BRIEF)}</p>'
        else:
            content = charts.lines(series, valid, label=f"learning curves of {exhibit.row.model}")
            names = [both(words.TERMS[name]) if name in words.TERMS else escape(name) for name in series]
            keys = "".join(f'<span><i style="background:var(--c{i})"></i>{n}</span>' for i, n in enumerate(names))
            keys += f"<span>○ {both(words.TERMS['valid'])}</span>" if valid else ""
            unit = both(words.PASS if statistics else words.STEP)
            content += f'<p class="legend">{keys}<span class="far">{unit} →</span></p>'
        cards.append(_card(_name(exhibit, exhibits), "", content))
    return f'{_lead(words.CURVES_LEAD)}<div class="wide">{"".join(cards)}</div>' if cards else ""


# Looking inside ------------------------------------------------------------------------------------------------------


def _maps(exhibits: Sequence[Exhibit]) -> str:
    cards = [
        _card(_name(e, exhibits), "", _drawn(lambda e=e: _map(e)))  # type: ignore[misc]
        for e in exhibits
        if isinstance(e.model, Latent)
    ]
    return f'{_lead(words.LATENT_LEAD)}<div class="again">{"".join(cards)}</div>' if cards else ""


def _map(exhibit: Exhibit) -> str:
    assert isinstance(exhibit.model, Latent)
    plane, name = figures.latent_map(exhibit.model, exhibit.data), exhibit.row.model
    kinds = [0] if plane.labels is None else sorted(set(plane.labels.tolist()))
    groups = [plane.points if plane.labels is None else plane.points[plane.labels == kind] for kind in kinds]
    dots = charts.scatter(
        [g.tolist() for g in groups], label=f"map of the representation of {name}", limits=plane.limits, axes=False
    )
    text = words.MAP_WHOLE if plane.dims <= 2 else words.MAP_PLANE
    caption = f"<p>{both(text, dims=plane.dims, share=f'{100 * plane.share:.0f}')}</p>"
    legend = ""
    if plane.labels is not None and len(kinds) <= 20:
        named = exhibit.data.cond.categories if isinstance(exhibit.data.cond, Finite) else None
        legend = "".join(
            f'<span><i style="background:var(--c{i % 10})"></i>{escape(named[kind] if named else str(kind))}</span>'
            for i, kind in enumerate(kinds)
        )
        legend = f'<p class="legend">{legend}</p>'
    if plane.sheet is None:
        return f'<div class="explorer"><div><div class="map">{dots}</div>{legend}</div><div>{caption}</div></div>'
    height, width = exhibit.model.space.shape[-2:]
    ring, handle = '<span class="ring"></span>', 'tabindex="0" role="application"'
    return (
        f'<div class="explorer" data-side="{plane.side}" style="--side:{plane.side}">'
        f'<div><div class="map" {handle} aria-label="map of {escape(name)}: arrow keys move">{dots}{ring}</div>{legend}'
        "</div>"
        f'<div><div class="map" data-cells {handle} aria-label="decoded map of {escape(name)}: arrow keys move">'
        f"{_pixels(plane.sheet, f'pictures that {name} decodes over the map')}{ring}</div></div>"
        f'<div class="decoded" style="--ratio:{width}/{height}"><div></div>{caption}</div></div>'
    )


def _reconstructions(exhibits: Sequence[Exhibit]) -> str:
    cards = [
        _card(
            _name(e, exhibits),
            "",
            _drawn(  # type: ignore[misc]
                lambda e=e: _pixels(
                    figures.reconstructions(e.model, e.data), f"pictures and what {e.row.model} restores"
                )
            ),
        )
        for e in exhibits
        if isinstance(e.model, Latent) and is_picture(e.model.space)
    ]
    return f'{_lead(words.RECONSTRUCTIONS_LEAD)}<div class="wide">{"".join(cards)}</div>' if cards else ""


def _completions(exhibits: Sequence[Exhibit]) -> str:
    cards = [
        _card(
            _name(e, exhibits),
            both(words.COMPLETION_LAWS[e.model.completion]),
            _drawn(  # type: ignore[misc]
                lambda e=e: _pixels(figures.completions(e.model, e.data), f"half pictures that {e.row.model} completes")
            ),
        )
        for e in exhibits
        if isinstance(e.model, Completer) and is_picture(e.model.space)
    ]
    return f'{_lead(words.COMPLETIONS_LEAD)}<div class="wide">{"".join(cards)}</div>' if cards else ""


# Abilities and commands ----------------------------------------------------------------------------------------------


def _abilities(exhibits: Sequence[Exhibit]) -> str:
    """Return the matrix of the models as they were built: abilities can depend on the space."""
    can = [method for method in ABILITIES.values() if method in words.CAN]
    head = "".join(f'<th scope="col"><code>{method}</code>{both(words.CAN[method])}</th>' for method in can)
    body = ""
    for name, exhibit in {(e.row.model, abilities(e.model)): e for e in exhibits}.items():
        has = name[1]
        marks = "".join(
            '<td><span class="yes" role="img" aria-label="yes">●</span></td>'
            if method in has
            else '<td><span class="no" role="img" aria-label="no">–</span></td>'
            for method in can
        )
        way = next((both(text) for method, text in words.LEARNING.items() if method in has), "")
        body += f'<tr><th scope="row">{_name(exhibit, [exhibit])}</th>{marks}<td class="words">{way}</td></tr>'
    if not body:
        return ""
    return (
        f'{_lead(words.ABILITIES_LEAD)}<div class="scroll"><table class="can"><thead><tr><th scope="col">'
        f'{both(words.MODEL)}</th>{head}<th scope="col">{both(words.LEARNS)}</th></tr></thead><tbody>{body}</tbody>'
        "</table></div>"
    )


def _again(table: Table) -> str:
    cards = []
    for row in [row for rows in table.views().values() for row in rows]:
        reference = escape(registry.entry(row.model).reference)
        cards.append(
            f'<div class="card"><h3>{escape(row.title)}</h3><div class="command"><code>{escape(row.command)}</code>'
            f'<button type="button" data-copy aria-label="copy">⧉</button></div><p lang="en">{reference}</p></div>'
        )
    return f'{_lead(words.AGAIN_LEAD)}<div class="again">{"".join(cards)}</div>' if cards else ""


def _failed(table: Table) -> str:
    lines = [
        f"<li><strong>{escape(row.model)}</strong> ({escape(row.data)}, {escape(row.view)}): {escape(row.error)}</li>"
        for row in table.failed()
    ]
    return f"{_lead(words.FAILED_LEAD)}<ul>{''.join(lines)}</ul>" if lines else ""
