"""Sphinx: `make docs`. Pages about models are written from the registry at build time, so that they cannot drift."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from likely import __version__, registry

project = "likely"
author = "the likely developers"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.doctest"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "likely"
exclude_patterns = ["_build"]
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_use_ivar = True
napoleon_custom_sections = [("Source", "notes_style")]
suppress_warnings = ["config.cache"]

BAR = "\\|"  # within a table


def model_page(name: str) -> str:
    """Return the page of one model, from its file."""
    entry = registry.entry(name)
    lines = [f"# {name}", "", *entry.description.splitlines(), "", "## What it can do", ""]
    lines += [f"- `{method}`" for method in entry.abilities]
    lines += ["", "It can be conditional: `--cond label`." if entry.conditional else "It cannot be conditional.", ""]
    lines += ["## Numbers", "", "| flag | type | default | meaning |", "|---|---|---|---|"]
    for number in entry.numbers:
        kind, text = (value.replace("|", BAR) for value in (number.type, number.help))
        lines.append(f"| `--{number.name.replace('_', '-')}` | `{kind}` | `{number.default}` | {text} |")
    lines += ["", "## Presets", ""]
    for preset, values in entry.presets.items():
        told = ", ".join(f"`{k}={v}`" for k, v in values.items())
        lines.append(f"- **{preset}**: {told}")
    lines += ["", "```bash", f"likely fit {name} --data digits", "```", ""]
    return "\n".join(lines)


def write_models(app: Any) -> None:
    """Write a page per model and their index."""
    folder = Path(app.srcdir) / "models"
    folder.mkdir(exist_ok=True)
    for name in registry.names():
        text = model_page(name)
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    table = ["# Models", "", "| model | what it is |", "|---|---|"]
    table += [f"| [{n}]({n}.md) | {registry.entry(n).summary.replace('|', BAR)} |" for n in registry.names()]
    table += ["", "```{toctree}", ":hidden:", "", *registry.names(), "```", ""]
    (folder / "index.md").write_text("\n".join(table), encoding="utf-8")


def plain_text(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with code in backticks: keep (B, *shape), |det| and x_ from being read as markup."""
    in_example = False
    for number, line in enumerate(lines):
        in_example = line.lstrip().startswith(">>>") or (in_example and bool(line.strip()))
        if not in_example:
            pieces = line.split("`")
            pieces[::2] = [re.sub(r"(\*|\||_\b)", r"\\\1", piece) for piece in pieces[::2]]
            lines[number] = "`".join(pieces)


def setup(app: Any) -> None:
    """Hook into Sphinx."""
    app.connect("autodoc-process-docstring", plain_text, priority=100)  # before napoleon reads the sections
    app.connect("builder-inited", write_models)
