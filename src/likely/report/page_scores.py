"""How good models are: one table for each view, with places; another with every other measure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from likely.evaluation import Result
from likely.evaluation.classifier import TREES
from likely.report import words
from likely.report import words_compare as told
from likely.report.measures import keys_of, measure_of, ranked
from likely.report.numbers import bits, nats, number, share, thousandths
from likely.report.pieces import lead
from likely.report.pooling import Key, Pool
from likely.report.ranking import Ranking
from likely.report.table import Row
from likely.report.text import baselines, place_text
from likely.report.words import both

Views = dict[tuple[str, str], list[Pool]]
MOST_CLASSES = 20  #: that the table of likelihoods by class shows
MAIN = ("nll", "mmd", "recognised")  #: what the first table shows; "mmd" in the space of the data


def scores(views: Views) -> str:
    """Return the tables of every view, and what their columns mean."""
    if not views:
        return ""
    parts = [lead(words.SCORES_LEAD)]
    if len(views) > 1:
        parts.append(f'<p class="note">{both(words.VIEWS)}</p>')
    for (data, view), pools in views.items():
        rankings = {key: ranked(pools, key) for key in keys_of(pools)}
        parts.append(_main(f"{data}, {view}", pools, rankings))
        parts.append(_more(pools, {key: made for key, made in rankings.items() if not _is_main(key)}))
        parts.append(_by_class(pools))
        parts += [f'<p class="note">{_refused(made, pools)}</p>' for made in rankings.values() if made.refused]
    first = next(iter(views.values()))[0].row
    distance, seen = first.result("mmd"), first.result("recognised")
    if distance is not None:
        parts.append(f'<p class="note">{both(words.DISTANCE_NOTE, n=distance["protocol"]["n_generated"])}</p>')
    if seen is not None:
        parts.append(f'<p class="note">{both(words.RECOGNISED_NOTE, trees=TREES)}</p>')
    return "".join(parts)


def _is_main(key: Key) -> bool:
    return key[0] in MAIN


def _main(caption: str, pools: Sequence[Pool], rankings: dict[Key, Ranking]) -> str:
    """Return the first table; a column that nobody fills is left out, seeds fold open."""
    likelihoods = rankings.get(("nll", ""))
    values = [-v for pool in pools if (r := pool.row.result("nll")) and (v := r["value"]) is not None]
    best, worst = max(values, default=0.0), min(values, default=0.0)
    headings = [told.RANK, words.NATS, words.BITS, words.DISTANCE, words.RECOGNISED, words.PARAMETERS]
    headings += [words.TRAINED, words.SPEED, told.SCORING, told.SEEN]
    refused = [{i for key, made in rankings.items() if key[0] == metric for i in made.refused} for metric in MAIN]
    bodies: list[list[tuple[str, str, list[str]]]] = []  # for each model its lines: kind and bar, name, cells
    for i, pool in enumerate(pools):
        score = pool.row.result("nll")
        value = None if score is None or score["value"] is None else -score["value"]
        width = 0.0 if value is None or best == worst else 8 + 92 * (value - worst) / (best - worst)
        place = place_text(likelihoods.places.get(i)) if likelihoods is not None else ""
        name, several = escape(pool.row.title), len(pool.rows) > 1
        if several:
            name = f"<label><input type=checkbox> {name} <small>{both(told.SEEDS, n=len(pool.rows))}</small></label>"
        shown = [metric not in [m for m, out in zip(MAIN, refused, strict=True) if i in out] for metric in MAIN]
        lines = [(f"--share:{width:.0f}%", name, _cells(pool.row, place, shown))]
        if several:
            lines += [("seed", f"{both(words.SEED)} {row.seed}", _cells(row, "", shown)) for row in pool.rows]
        bodies.append(lines)
    base = []
    for name, _, *cells in baselines([pool.row for pool in pools]):
        plain = name.strip("*")
        known = {"uniform": both(words.UNIFORM), "real data": both(words.FLOOR)}
        base.append(("base", known.get(plain) or both(told.SIMPLE, name=plain), ["", *cells, ""]))
    bodies.append(base)
    kept = [j for j in range(len(headings)) if any(cells[j] for lines in bodies for _, _, cells in lines)]
    head = "".join(f'<th scope="col">{both(headings[j])}</th>' for j in kept)
    text = ""
    for lines in bodies:
        text += "<tbody>"
        for kind, name, cells in lines:
            text += f"<tr{f' class={kind}' if kind in ('seed', 'base') else ''}><th scope=row>{name}</th>"
            for j in kept:
                bar = j == 1 and kind.startswith("--") and cells[j]
                text += f'<td class="bar" style="{kind}">' if bar else "<td>"
                text += f"{escape(cells[j])}</td>"
            text += "</tr>"
        text += "</tbody>"
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption><thead><tr><th scope="col">'
        f"{both(words.MODEL)}</th>{head}</tr></thead>{text}</table></div>"
    )


def _cells(row: Row, place: str, shown: Sequence[bool]) -> list[str]:
    """Return the texts of one line; numbers of another protocol than the column's are left out."""
    score, distance, seen = (row.result(m) if ok else None for m, ok in zip(MAIN, shown, strict=True))
    return [
        place,
        nats(score),
        bits(score),
        thousandths(distance["value"], distance["protocol"]["standard_error"]) if distance else "",
        share(seen),
        "" if row.parameters is None else f"{row.parameters:,.0f}",
        number(row.minutes),
        _rate(row.speed),
        _rate(row.scoring),
        "" if row.seen is None else f"{row.seen:,.0f}",
    ]


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _more(pools: Sequence[Pool], rankings: dict[Key, Ranking]) -> str:
    """Return the table of every other measure, one column for each metric and space of features."""
    if not rankings:
        return ""
    head, body, floors = "", "", ""
    for key, made in rankings.items():
        space = "" if key[1] in ("", "the data themselves") else f"<small>{escape(key[1])}</small>"
        head += f'<th scope="col">{both(measure_of(key[0]).name)}{space}</th>'
        floors += f"<td>{escape(_floor(next(iter(made.results.values()), None)))}</td>"
    for i, pool in enumerate(pools):
        body += f"<tr><th scope=row>{escape(pool.row.title)}</th>"
        body += "".join(f"<td>{_entry(made, i)}</td>" for made in rankings.values()) + "</tr>"
    return (
        f"<details open><summary>{both(told.ALL_MEASURES)}</summary>{lead(told.ALL_LEAD)}"
        f'<div class="scroll"><table class="more"><thead><tr><th scope="col">{both(words.MODEL)}</th>{head}</tr>'
        f"</thead><tbody>{body}<tr class=base><th scope=row>{both(words.FLOOR)}</th>{floors}</tr></tbody></table></div>"
        "</details>"
    )


def _by_class(pools: Sequence[Pool]) -> str:
    """Return the log-likelihood of each class of held-out data, each model's least likely class marked."""
    found = {}
    for pool in pools:
        score = pool.rows[0].result("nll")  # of several seeds, the first
        if score is not None and score["protocol"].get("per_class"):
            found[pool.row.title] = (score["sign"].replace("<=", "≥"), score["protocol"]["per_class"])
    classes = list(dict.fromkeys(name for _, each in found.values() for name in each))
    if not 1 < len(classes) <= MOST_CLASSES:
        return ""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in classes)
    body = ""
    for title, (sign, each) in found.items():
        worst = max((value for value in each.values() if value is not None), default=None)
        body += f"<tr><th scope=row>{escape(title)}</th>"
        for name in classes:
            value = each.get(name)
            kind = " class=bad" if value is not None and value == worst else ""
            body += f"<td{kind}>{'' if value is None else f'{sign} {number(-value, 1)}'}</td>"
        body += "</tr>"
    return (
        f"<details><summary>{both(told.BY_CLASS)}</summary>{lead(told.BY_CLASS_LEAD)}"
        f'<div class="scroll"><table class="more"><thead><tr><th scope="col">{both(words.MODEL)}</th>{head}</tr>'
        f"</thead><tbody>{body}</tbody></table></div></details>"
    )


def _entry(made: Ranking, i: int) -> str:
    if i in made.refused:
        return '<span class="no">≠</span>'
    if i not in made.results:
        return ""
    measure, place = measure_of(made.key[0]), made.places.get(i)
    rank = f" <small>[{place_text(place)}]</small>" if place is not None and measure.better else ""
    return escape(measure.text(made.results[i])) + rank


def _floor(result: Result | None) -> str:
    if result is None or result["protocol"].get("floor") is None:
        return ""
    floor = {**result, "value": result["protocol"]["floor"], "protocol": {}}
    return measure_of(result["metric"]).text(floor, error=False)  # type: ignore[arg-type]


def _refused(made: Ranking, pools: Sequence[Pool]) -> str:
    metric = measure_of(made.key[0]).name
    return " ".join(
        both(told.REFUSED, metric=metric, model=pools[i].row.title, why=why) for i, why in made.refused.items()
    )
