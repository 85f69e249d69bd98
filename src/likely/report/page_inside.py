"""What goes on inside: learning curves, maps of representations, reconstructions, completions."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from likely.core import Completer, Energy, Latent, abilities
from likely.report import charts, figures, words
from likely.report.pictures import is_picture
from likely.report.pieces import Exhibit, card, drawn, lead, name_of, pixels
from likely.report.portraits import portraits as portrayed
from likely.report.words import both
from likely.spaces import Finite


def curves(log: list[dict[str, Any]]) -> tuple[dict[str, list[tuple[float, float]]], list[tuple[float, float]]]:
    """Return the curves of a log: each player's loss where models take turns, else the loss; and the validations."""
    series: dict[str, list[tuple[float, float]]] = {}
    for row in log:
        players = [name for name in row if name.endswith("/loss")]
        for name in players or (["loss"] if "loss" in row else []):
            series.setdefault(name.removesuffix("/loss"), []).append((row["step"], row[name]))
    valid = [] if len(series) > 1 else [(row["step"], row["valid"]) for row in log if "valid" in row]
    return series, valid


def learning(exhibits: Sequence[Exhibit]) -> str:
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
        cards.append(card(name_of(exhibit, exhibits), "", content))
    return f'{lead(words.CURVES_LEAD)}<div class="wide">{"".join(cards)}</div>' if cards else ""


def maps(exhibits: Sequence[Exhibit]) -> str:
    cards = [card(name_of(e, exhibits), "", drawn(_map, e)) for e in exhibits if isinstance(e.model, Latent)]
    return f'{lead(words.LATENT_LEAD)}<div class="again">{"".join(cards)}</div>' if cards else ""


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
        f"{pixels(plane.sheet, f'pictures that {name} decodes over the map')}{ring}</div></div>"
        f'<div class="decoded" style="--ratio:{width}/{height}"><div></div>{caption}</div></div>'
    )


def portraits(exhibits: Sequence[Exhibit]) -> str:
    cards = []
    for exhibit in exhibits:
        try:
            shown = portrayed(exhibit.model, exhibit.data, exhibit.record)
        except Exception as error:
            why = both(words.NOT_DRAWN, why=f"{type(error).__name__}: {error}")
            cards.append(card(name_of(exhibit, exhibits), "", f'<p class="note">{why}</p>'))
            continue
        for caption, content in shown:
            cards.append(card(name_of(exhibit, exhibits), "", f"{content}<p>{both(caption)}</p>"))
    return f'{lead(words.PORTRAITS_LEAD)}<div class="again">{"".join(cards)}</div>' if cards else ""


def reconstructions(exhibits: Sequence[Exhibit]) -> str:
    cards = [
        card(
            name_of(e, exhibits),
            "",
            drawn(_restored, e),
        )
        for e in exhibits
        if isinstance(e.model, Latent) and is_picture(e.model.space)
    ]
    return f'{lead(words.RECONSTRUCTIONS_LEAD)}<div class="wide">{"".join(cards)}</div>' if cards else ""


def completions(exhibits: Sequence[Exhibit]) -> str:
    cards = [
        card(
            name_of(e, exhibits),
            both(words.COMPLETION_LAWS[e.model.completion]),
            drawn(_completed, e),
        )
        for e in exhibits
        if isinstance(e.model, Completer) and is_picture(e.model.space)
    ]
    return f'{lead(words.COMPLETIONS_LEAD)}<div class="wide">{"".join(cards)}</div>' if cards else ""


def _restored(exhibit: Exhibit) -> str:
    assert isinstance(exhibit.model, Latent)
    name = exhibit.row.model
    return pixels(figures.reconstructions(exhibit.model, exhibit.data), f"pictures and what {name} restores")


def _completed(exhibit: Exhibit) -> str:
    assert isinstance(exhibit.model, Completer)
    name = exhibit.row.model
    return pixels(figures.completions(exhibit.model, exhibit.data), f"half pictures that {name} completes")
