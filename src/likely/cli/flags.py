"""Flags from signatures: a builder's numbers and the driver's options become the flags of `likely fit MODEL`.

Signatures are read from the files' text (`registry.entry`, `registry.options`), so that `--help` needs no torch, and a
new argument anywhere is a new flag without a line here.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Annotated, Any, Literal, get_origin

from cyclopts import Group, Parameter

from likely.cli.answer import Answer, Misuse
from likely.errors import unknown
from likely.registry import Number

#: what an annotation of a plain value may name
_TYPES: dict[str, Any] = {
    "bool": bool,
    "float": float,
    "int": int,
    "list": list,
    "Literal": Literal,
    "Path": str,
    "Sequence": Sequence,
    "str": str,
    "tuple": tuple,
}


def flag(number: Number, group: Group) -> inspect.Parameter:
    """Return the parameter of the command that stands for one plain value."""
    # the annotation stands in a model's source, which is imported and run when the model is built: no user's words
    kind: Any = eval(number.type, {"__builtins__": {}}, _TYPES)
    names = [f"--{number.name.replace('_', '-')}", *(["-o"] if number.name == "out" else [])]
    marker = Parameter(
        name=names,
        help=number.help,
        group=group,
        consume_multiple=get_origin(kind) in (tuple, list, Sequence) or None,
        negative="" if number.default is False else None,
        negative_iterable=(),
        negative_none=(),
        show_default=number.default is not None and number.default is not False,
    )
    only = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(number.name, only, default=number.default, annotation=Annotated[kind, marker])


def command(
    run: Callable[[dict[str, Any]], Answer], doc: str, parameters: Iterable[inspect.Parameter]
) -> Callable[..., Answer]:
    """Return a function with these parameters which calls `run` with those that were given on the command line.

    Presets lie between the defaults and what the user gave, so a default must not look as if it had been given.
    """

    def given(**values: Any) -> Answer:
        return run(values)

    given.__doc__ = doc
    given.__signature__ = inspect.Signature(list(parameters))  # type: ignore[attr-defined]
    return given


def assignments(
    texts: Iterable[str], allowed: Iterable[str] | None, kind: str, words: Collection[str] = ()
) -> dict[str, Any]:
    """Read `name=value` texts into plain values; text that is no Python literal stays text.

    Arguments:
        texts: what the user wrote.
        allowed: the names there are; None allows all.
        kind: what these names are, for messages.
        words: the names whose values stay text, whatever they look like.

    Raises:
        Misuse: a text has no `=`.
        UnknownName: a name is not among those allowed.

    Example:
        >>> assignments(["steps=50", "solver=ddim"], ["steps", "solver"], "option")
        {'steps': 50, 'solver': 'ddim'}
    """
    allowed = None if allowed is None else sorted(allowed)
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise Misuse(f"'{text}' is not of the form name=value.")
        if allowed is not None and name not in allowed:
            raise unknown(kind, name, allowed)
        found[name] = value.strip() if name in words else _literal(value.strip())
    return found


def _literal(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
