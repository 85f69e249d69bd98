"""The tables of a comparison as text: cells, Markdown, and the rows that no model stands behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from likely.report.measures import keys_of, measure_of, ranked
from likely.report.numbers import bits, nats, number, share, thousandths
from likely.report.pooling import Key, Pool, pools
from likely.report.ranking import Place, Ranking
from likely.report.table import Row, Table

COLUMNS = (
    "model",
    "seed",
    "log-likelihood (nats)",
    "bits/dim",
    "kernel distance ×1000",
    "recognised",
    "parameters",
    "minutes",
    "samples/s",
    "scores/s",
)
RANKS = """Places are by the log-likelihood, with every pair of models tested on the same held-out rows (Holm, 95 %):
2–3 means that the model stands second or third and the data cannot say which; + that its number is a bound, so that it
may stand better in truth. ± is one standard error{seeds}."""
SEEDS = """; where there are several seeds, of their mean, over data and seeds: error² = mean of the seeds' squared data
errors + s² / S"""


def cells(row: Row, seeds: int = 1) -> tuple[str, ...]:
    """Return the texts of a row, in the order of `COLUMNS`.

    Arguments:
        row: one seed, or the mean of several.
        seeds: of how many seeds the row is the mean.
    """
    score, distance = row.result("nll"), row.result("mmd")
    return (
        row.title,
        str(row.seed) if seeds == 1 else f"mean of {seeds}",
        nats(score),
        bits(score),
        thousandths(distance["value"], distance["protocol"]["standard_error"]) if distance else "",
        share(row.result("recognised")),
        "" if row.parameters is None else f"{row.parameters:,}",
        number(row.minutes),
        "" if row.speed is None else f"{row.speed:,.0f}",
        "" if row.scoring is None else f"{row.scoring:,.0f}",
    )


def place_text(place: Place | None) -> str:
    """Return a place as it is printed: 1, or 2–3, or 2–3+ for a bound, which may stand better in truth.

    Example:
        >>> place_text(Place(2, 3, True, (1, 5)))
        '2–3+'
    """
    if place is None:
        return ""
    return (f"{place.low}" if place.low == place.high else f"{place.low}–{place.high}") + ("+" if place.bound else "")


def markdown(table: Table) -> str:
    """Return the whole comparison as Markdown: one table per view, then what failed."""
    found = pools(table)
    several = any(len(pool.rows) > 1 for each in found.values() for pool in each)
    parts = ["# Comparison", "", f"`{table.command}` on {table.machine}, {table.created}.", ""]
    parts += [RANKS.format(seeds=SEEDS if several else ""), ""] if found else []
    for (data, view), each in found.items():
        likelihoods = ranked(each, ("nll", ""))
        lines = [(place_text(likelihoods.places.get(i)), *cells(p.row, len(p.rows))) for i, p in enumerate(each)]
        parts += [f"## {data}, {view}", "", *_lines(("rank", *COLUMNS), lines)]
        parts += ["| " + " | ".join(("", *line)) + " |" for line in baselines([pool.row for pool in each])]
        parts += [""]
        more = [key for key in keys_of(each) if key[0] not in ("nll", "mmd", "recognised")]
        if more:
            rankings = [ranked(each, key) for key in more]
            headings = ["model", *(_heading(key) for key in more)]
            lines = [(pool.row.title, *(_entry(one, i) for one in rankings)) for i, pool in enumerate(each)]
            parts += [*_lines(headings, lines), ""]
        refused = _refusals(each, [likelihoods, *(ranked(each, key) for key in keys_of(each) if key[0] != "nll")])
        parts += [*(f"- not in the column: {line}" for line in refused), ""] if refused else []
        seeds = [row for pool in each if len(pool.rows) > 1 for row in pool.rows]
        if seeds:
            parts += ["Each seed by itself:", "", *_lines(COLUMNS, [cells(row) for row in seeds]), ""]
    if table.failed():
        parts += ["## Not finished", ""]
        parts += [f"- {row.title} on {table.where(row)}: {_plain(row.error)}" for row in table.failed()]
    return "\n".join(parts).rstrip() + "\n"


def standings(table: Table) -> list[dict[str, Any]]:
    """Return every ranking in plain values: per view and measure the models in order, places and tested differences."""
    told = []
    for (data, view), each in pools(table).items():
        for key in keys_of(each):
            made = ranked(each, key)
            names = {i: pool.row.title for i, pool in enumerate(each)}
            models = [
                {
                    "model": names[i],
                    "seeds": len(each[i].rows),
                    "result": made.results[i],
                    "place": [made.places[i].low, made.places[i].high] if i in made.places else None,
                    "proven": list(made.places[i].proven) if i in made.places else None,
                }
                for i in made.order
            ]
            pairs = [
                {"better": names[i], "worse": names[j], **difference._asdict()}
                for (i, j), difference in made.differences.items()
            ]
            told.append(
                {
                    "data": data,
                    "view": view,
                    "metric": key[0],
                    "features": key[1],
                    "better": measure_of(key[0]).better,
                    "paired": made.paired,
                    "models": models,
                    "differences": pairs if measure_of(key[0]).better else [],
                    "refused": {names[i]: why for i, why in made.refused.items()},
                }
            )
    return told


def baselines(rows: list[Row]) -> list[tuple[str, ...]]:
    """Return the rows that no model stands behind: the uniform law, and real training data in place of samples."""
    found: list[tuple[str, ...]] = []
    first = {r["metric"]: r for row in rows for r in reversed(row.results)}
    score, distance, seen = (first.get(m) for m in ("nll", "mmd", "recognised"))
    rest = ("", "", "", "")
    if score is not None and score["protocol"].get("uniform") is not None:
        uniform: Any = {**score, "value": score["protocol"]["uniform"], "sign": "="}
        uniform["protocol"] = {"bits_per_dim": score["protocol"]["uniform_bits_per_dim"]}
        found.append(("*uniform*", "", nats(uniform), bits(uniform), "", "", *rest))
    if score is not None and score["protocol"].get("simple") is not None:
        simple: Any = {**score, "value": score["protocol"]["simple"], "sign": "=", "protocol": {}}
        name = score["protocol"].get("simple_model") or "simple model"
        found.append((f"*{name}*", "", nats(simple), "", "", "", *rest))
    if distance is not None and distance["protocol"].get("floor") is not None:
        protocol = distance["protocol"]
        own = (
            "" if seen is None or seen["protocol"].get("floor") is None else f"{100 * seen['protocol']['floor']:.0f} %"
        )
        floor = thousandths(protocol["floor"], protocol["floor_standard_error"])
        found.append(("*real data*", "", "", "", floor, own, *rest))
    return found


def refusals(pools: list[Pool]) -> list[str]:
    """Return, in words, which numbers may not stand in their column and why."""
    return _refusals(pools, [ranked(pools, key) for key in keys_of(pools)])


def _refusals(pools: list[Pool], rankings: list[Ranking]) -> list[str]:
    return [
        f"{measure_of(made.key[0]).name.en} of {pools[i].row.title}: {why}"
        for made in rankings
        for i, why in made.refused.items()
    ]


def _entry(made: Ranking, i: int) -> str:
    """Return a number with its place, "" where there is none, a dash where it is refused."""
    if i in made.refused:
        return "(other protocol)"
    if i not in made.results:
        return ""
    measure, place = measure_of(made.key[0]), made.places.get(i)
    return measure.text(made.results[i]) + (f" [{place_text(place)}]" if place and measure.better else "")


def _heading(key: Key) -> str:
    """Return what a column is called: its measure, and the features where they are not the data themselves."""
    name = measure_of(key[0]).name.en
    return name if key[1] in ("", "the data themselves") else f"{name} in {key[1]}"


def _lines(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table."""
    body = ["| " + " | ".join(_plain(cell) for cell in row) + " |" for row in rows]
    return ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings), *body]


def _plain(text: str) -> str:
    """Return text that cannot break a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")
