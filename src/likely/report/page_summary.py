"""The top of the page: which model is best at what, in words, as a matrix, and against what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from statistics import NormalDist

from likely.report import pareto
from likely.report import words_compare as told
from likely.report.measures import ASPECTS, answer, measure_of, quality_text
from likely.report.numbers import number, took
from likely.report.pieces import lead
from likely.report.pooling import Pool
from likely.report.ranking import Ranking, holm, timing
from likely.report.text import place_text
from likely.report.words import MODEL, Words, both

NAMED = 3  #: how many models a sentence names before it counts the rest
COSTS: dict[str, tuple[Callable[[Pool], float | None], bool]] = {  #: and whether few is best
    "minutes": (lambda pool: pool.row.minutes, True),
    "speed": (lambda pool: pool.row.speed, False),
    "scoring": (lambda pool: pool.row.scoring, False),
}

Views = dict[tuple[str, str], list[Pool]]


def summary(views: Views) -> str:
    """Return, for each view of several models, what is best in words and the matrix of all models."""
    parts = []
    for (data, view), pools in views.items():
        if len(pools) < 2:
            continue
        head = f"<h3>{escape(data)}, {escape(view)}</h3>" if len(views) > 1 else ""
        parts.append(
            f'<div class="slide">{head}<div class="verdicts">{_sentences(pools)}</div>{_matrix(pools)}'
            f"{_remarks(pools)}</div>"
        )
    return f"{lead(told.SUMMARY_LEAD)}{''.join(parts)}" if parts else ""


# In words ------------------------------------------------------------------------------------------------------------


def _sentences(pools: Sequence[Pool]) -> str:
    lines, copiers = [], _copiers(pools)
    for aspect in ASPECTS:
        made = answer(list(pools), aspect)
        if made is not None and made.places and measure_of(made.key[0]).better:
            name, rest = _best(made, pools)
            if aspect != "likelihood":
                rest += f'<span class="small">{both(told.BY_MEASURE, measure=measure_of(made.key[0]).name)}</span>'
            if aspect not in ("likelihood", "representation") and made.order[0] in (copiers or []):
                rest += f'<span class="small bad">{both(told.BUT_COPIES)}</span>'
            lines.append((told.BEST[aspect], name, rest))
    if copiers is not None:
        names = _names([pools[i].row.title for i in copiers])
        sentence = both(told.COPIERS, names=names) if copiers else both(told.NO_COPIES)
        lines.append((told.MEMORY_WHAT, "", sentence))
    for aspect, (cost, fewest) in COSTS.items():
        values = [cost(pool) for pool in pools]
        places = timing(values, fewest=fewest)
        first = [i for i, place in enumerate(places) if place is not None and place[0] == 1]
        if len(pools) > 1 and first:
            first.sort(key=lambda i: (values[i] or 0.0) * (1 if fewest else -1))
            winners = ", ".join(f"<b>{escape(pools[i].row.title)}</b>" for i in first[:NAMED])
            shown = f'<span class="small">{_cost_text(aspect, values[first[0]])}</span>'
            lines.append((told.BEST[aspect], winners, shown))
    return "".join(f"<div><dt>{both(what)}</dt><dd>{name} {rest}</dd></div>" for what, name, rest in lines)


def _best(made: Ranking, pools: Sequence[Pool]) -> tuple[str, str]:
    """Return the best model with its number, and how sure that is."""
    first = made.order[0]
    told_name = f"<b>{escape(pools[first].row.title)}</b> {escape(quality_text(made.results[first]))}"
    if len(made.order) == 1:
        return told_name, f'<span class="small">{both(told.ALONE)}</span>'
    tied = [i for i in made.order[1:] if not made.differences[first, i].apart]
    if tied:
        sentence = both(told.TIED, others=_names([pools[i].row.title for i in tied]))
        return told_name, f'<span class="small">{sentence}</span>'
    second = made.order[1]
    difference, measure = made.differences[first, second], measure_of(made.key[0])
    amount = number(measure.scale * difference.value, measure.digits)
    if difference.error is not None:
        amount += f" ± {number(measure.scale * difference.error, measure.digits)}"
    amount += measure.unit
    name = pools[second].row.title
    return told_name, f'<span class="small">{both(told.AHEAD, second=name, difference=amount)}</span>'


def _names(names: Sequence[str]) -> Words:
    """Return names in a row; of many, the first ones and how many more there are."""
    if len(names) <= NAMED + 1:
        return Words(", ".join(names), ", ".join(names))
    first, rest = ", ".join(names[:NAMED]), len(names) - NAMED
    return Words(*(text.format(names=first, n=rest) for text in told.AND_MORE))


def _copiers(pools: Sequence[Pool]) -> list[int] | None:
    """Return the models that are seen to copy, None where that was not measured."""
    states = [_copying(pool) for pool in pools]
    known = [i for i, state in enumerate(states) if state is not None]
    if not known:
        return None
    seen = holm([states[i][0] for i in known])  # type: ignore[index]
    return [i for i, found in zip(known, seen, strict=True) if found or states[i][1]]  # type: ignore[index]


def _copying(pool: Pool) -> tuple[float, bool] | None:
    """Return how probable so low a C_T is without copying, and whether exact copies are more than real data have."""
    copying, copies = pool.row.result("data_copying"), pool.row.result("copies")
    if copying is None or copying["value"] is None:
        return None
    error = copying["protocol"].get("standard_error") or 1.0
    exact = False
    if copies is not None and copies["interval"] is not None:
        exact = copies["interval"][0] > (copies["protocol"].get("floor") or 0.0) + 0.01
    return NormalDist().cdf(copying["value"] / error), exact


def _cost_text(aspect: str, value: float | None) -> str:
    if value is None:
        return ""
    if aspect == "minutes":
        return took(value)
    return f"{value:,.0f} /s" if value >= 10 else f"{value:.2g} /s"


def _remarks(pools: Sequence[Pool]) -> str:
    """Return what a reader must know of these places."""
    remarks = []
    bounds = [p.row.title for p in pools if (r := p.row.result("nll")) is not None and r["sign"] == "<="]
    if bounds:
        remarks.append(both(told.MAY_BE_BETTER, names=_names(bounds)))
    drawn = answer(list(pools), "samples")
    if drawn is not None and drawn.key[0] == "mmd":
        remarks.append(both(told.NO_FEATURES))
    seeds = max(len(pool.rows) for pool in pools)
    remarks.append(both(told.SEVERAL_SEEDS, n=seeds) if seeds > 1 else both(told.ONE_SEED))
    return "".join(f'<p class="note">{remark}</p>' for remark in remarks)


# As a matrix ---------------------------------------------------------------------------------------------------------


def _matrix(pools: Sequence[Pool]) -> str:
    """Return models by questions: in each cell the place, the number behind it, and how sure the first place is."""
    columns: list[tuple[str, str, list[tuple[str, str]]]] = []  # question, measure in words, cells of (kind, content)
    for aspect in ASPECTS:
        made = answer(list(pools), aspect)
        if made is not None:
            measure = measure_of(made.key[0])
            below = "" if aspect == "recognised" else both(measure.name)
            if aspect == "likelihood":
                below = "nats"
            columns.append((aspect, below, [_cell(made, i) for i in range(len(pools))]))
        if aspect == "diversity" and (copiers := _copiers(pools)) is not None:
            columns.append(("memory", "C<sub>T</sub>", [_memory_cell(p, i in copiers) for i, p in enumerate(pools)]))
    for aspect, (cost, fewest) in COSTS.items():
        values = [cost(pool) for pool in pools]
        places = timing(values, fewest=fewest)
        cells = [
            ("", "") if place is None else (_kind(*place), _two(_between(*place), _cost_text(aspect, value)))
            for place, value in zip(places, values, strict=True)
        ]
        columns.append((aspect, "", cells))
    columns = [column for column in columns if any(content for _, content in column[2])]
    head = "".join(
        f'<th scope="col">{both(told.QUESTIONS[what])}<small>{below}</small></th>' for what, below, _ in columns
    )
    body = ""
    for i, pool in enumerate(pools):
        count = f" <small>{both(told.SEEDS, n=len(pool.rows))}</small>" if len(pool.rows) > 1 else ""
        body += f'<tr><th scope="row">{escape(pool.row.title)}{count}</th>'
        body += "".join(f'<td class="{cells[i][0]}">{cells[i][1]}</td>' for _, _, cells in columns) + "</tr>"
    return (
        f'<div class="scroll"><table class="best"><thead><tr><th scope="col">{both(MODEL)}</th>{head}</tr></thead>'
        f'<tbody>{body}</tbody></table></div><p class="note">{both(told.MATRIX_NOTE)} {both(told.TIMED_ONCE)}</p>'
    )


def _cell(made: Ranking, i: int) -> tuple[str, str]:
    if i in made.refused:
        return "", '<span class="no">≠</span>'
    if i not in made.results:
        return "", ""
    result, place, measure = made.results[i], made.places.get(i), measure_of(made.key[0])
    shown = quality_text(result, error=False).removesuffix(" nats").split(" (")[0]
    if place is None or not measure.better:
        return "", _two("", shown)
    kind = _kind(place.low, place.high) if len(made.order) > 1 else ""
    return kind, _two(place_text(place), shown)


def _memory_cell(pool: Pool, copies: bool) -> tuple[str, str]:
    result = pool.row.result("data_copying")
    if result is None or result["value"] is None:
        return "", ""
    verdict = told.COPIES_CELL if copies else told.CLEAN_CELL
    return ("bad" if copies else ""), _two(both(verdict), number(result["value"], 1))


def _kind(low: int, high: int) -> str:
    return "first" if (low, high) == (1, 1) else "maybe" if low == 1 else ""


def _between(low: int, high: int) -> str:
    return f"{low}" if low == high else f"{low}–{high}"


def _two(place: str, number: str) -> str:
    return f"<b>{place}</b> <span>{escape(number)}</span>"


# Against cost --------------------------------------------------------------------------------------------------------


def trade(views: Views) -> str:
    """Return pictures of quality (likelihood, samples) against cost (training, sampling)."""
    parts = []
    for (data, view), pools in views.items():
        cards = []
        for aspect in ("likelihood", "samples"):
            made = answer(list(pools), aspect)
            if made is None or len(made.order) < 2:
                continue
            name = told.LOG_LIKELIHOOD if aspect == "likelihood" else measure_of(made.key[0]).name
            for cost, of in ((told.COST_TRAINING, _training), (told.COST_SAMPLING, _sampling)):
                shown = [i for i in made.order if of(pools[i]) is not None]
                if len(shown) < 2:
                    continue
                heading = both(told.QUALITY_AGAINST, quality=name, cost=cost)
                picture = _trade(made, pools, shown, of, f"{data}, {view}: {name.en} against {cost.en}")
                cards.append(
                    f'<figure class="card"><div class="head"><h3>{heading}</h3><span class="score">{escape(data)}, '
                    f"{escape(view)}</span></div>{picture}</figure>"
                )
        parts.append(f'<div class="pair">{"".join(cards)}</div>' if cards else "")
    return lead(told.TRADE_LEAD) + "".join(parts) if any(parts) else ""


def _training(pool: Pool) -> float | None:
    return None if pool.row.minutes is None else max(60 * pool.row.minutes, 0.06)  # what a run folder can tell from 0


def _sampling(pool: Pool) -> float | None:
    return None if not pool.row.speed else 1000 / pool.row.speed


def _trade(
    made: Ranking, pools: Sequence[Pool], shown: Sequence[int], cost: Callable[[Pool], float | None], label: str
) -> str:
    measure, up = measure_of(made.key[0]), made.key[0] == "nll"
    factor = -1.0 if up else measure.scale
    marks = []
    for i in shown:
        result = made.results[i]
        value = float(result["value"] or 0.0)
        ends = sorted(factor * end for end in (result["interval"] or [value, value]))
        loss, seconds = measure.loss(value), cost(pools[i]) or 0.0
        marks.append(
            pareto.Mark(pools[i].row.title, seconds, factor * value, ends[0], ends[1], loss, result["sign"] == "<=")
        )
    marks = [mark for mark in marks if math.isfinite(mark.value)]
    place = {i: at for at, i in enumerate(shown)}
    apart = {(place[i], place[j]) for (i, j), d in made.differences.items() if d.apart and i in place and j in place}
    higher = up or measure.better == "high"
    return pareto.picture(marks, pareto.beaten(marks, apart), label=label, up=higher)
