"""One page that holds everything: it opens from the file system without a network, light or dark, in two languages."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from likely.report import page_end, page_inside, page_samples, page_scores, page_summary, words
from likely.report import words_compare as told
from likely.report.numbers import took
from likely.report.pieces import Exhibit, lead, wall
from likely.report.pooling import pools
from likely.report.table import Row, Table
from likely.report.words import Words, both

HERE = Path(__file__).parent


def page(table: Table, exhibits: Sequence[Exhibit]) -> str:
    """Return a whole HTML page about these models.

    What a model cannot show is left out; what fails while it is drawn is said in its place, and the rest is drawn.

    Arguments:
        table: what was measured; rows that failed are listed with their reason.
        exhibits: the trained models of the other rows.
    """
    exhibits = sorted(exhibits, key=lambda e: _order(table, e.row))
    exhibits = [exhibit for group in wall(exhibits) for exhibit in group]  # of several seeds, the first is shown
    views = pools(table)
    sections = [
        ("best", told.SUMMARY, page_summary.summary(views)),
        ("trade", told.TRADE, page_summary.trade(views)),
        ("samples", words.SAMPLES, page_samples.samples(exhibits)),
        ("scores", words.SCORES, page_scores.scores(views)),
        ("memory", told.MEMORY, page_samples.memory(exhibits)),
        ("classes", told.CLASSES, page_samples.classes(exhibits)),
        ("strange", told.STRANGE, page_samples.strange(exhibits)),
        ("learning", words.CURVES, page_inside.learning(exhibits)),
        ("map", words.LATENT, page_inside.maps(exhibits)),
        ("portraits", words.PORTRAITS, page_inside.portraits(exhibits)),
        ("reconstructions", words.RECONSTRUCTIONS, page_inside.reconstructions(exhibits)),
        ("completions", words.COMPLETIONS, page_inside.completions(exhibits)),
        ("abilities", words.ABILITIES, page_end.can_do(exhibits)),
        ("again", words.AGAIN, page_end.again(table)),
        ("failed", words.FAILED, page_end.failed(table)),
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
<nav><div class="inner"><strong>likely</strong><div class="links">{links}</div><span class="languages">
<button type="button" data-language="en" aria-pressed="true" lang="en">English</button>
<button type="button" data-language="ko" aria-pressed="false" lang="ko">한국어</button></span></div></nav>
<main>
<header><h1>{title}</h1>{lead(words.LEAD if len(table.rows) > 1 else words.LEAD_ONE)}{_facts(table, exhibits)}</header>
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
        (words.TIME, took(minutes)),
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
