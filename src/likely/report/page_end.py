"""What each model can do, how to do it again, and what failed."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from likely import registry
from likely.core import ABILITIES, abilities
from likely.report import words
from likely.report.pieces import Exhibit, lead, name_of
from likely.report.table import Table
from likely.report.words import both


def can_do(exhibits: Sequence[Exhibit]) -> str:
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
        body += f'<tr><th scope="row">{name_of(exhibit, [exhibit])}</th>{marks}<td class="words">{way}</td></tr>'
    if not body:
        return ""
    return (
        f'{lead(words.ABILITIES_LEAD)}<div class="scroll"><table class="can"><thead><tr><th scope="col">'
        f'{both(words.MODEL)}</th>{head}<th scope="col">{both(words.LEARNS)}</th></tr></thead><tbody>{body}</tbody>'
        "</table></div>"
    )


def again(table: Table) -> str:
    cards = []
    for row in [row for rows in table.views().values() for row in rows]:
        reference = escape(registry.entry(row.model).reference)
        cards.append(
            f'<div class="card"><h3>{escape(row.title)}</h3><div class="command"><code>{escape(row.command)}</code>'
            f'<button type="button" data-copy aria-label="copy">⧉</button></div><p lang="en">{reference}</p></div>'
        )
    return f'{lead(words.AGAIN_LEAD)}<div class="again">{"".join(cards)}</div>' if cards else ""


def failed(table: Table) -> str:
    lines = [
        f"<li><strong>{escape(row.title)}</strong> ({escape(table.where(row))}): {escape(row.error)}</li>"
        for row in table.failed()
    ]
    return f"{lead(words.FAILED_LEAD)}<ul>{''.join(lines)}</ul>" if lines else ""
