"""The one kind of error a user is meant to read: what is wrong, where, and what to do, in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LikelyError(ValueError):
    """Something the user can mend: a bad value, file or name. The command line prints it alone, exit 1."""


class SpaceError(LikelyError):
    """A value does not lie in the space it was declared for, or a model does not take that space."""


class DataError(LikelyError):
    """A file or folder cannot be used as data; the message names it and what to do."""


class AlreadySplit(DataError):
    """Files say themselves which part a row belongs to, and cannot be split otherwise."""


class UnknownName(LikelyError):
    """A misspelt name of a model, data set, preset or flag (exit 2); the message suggests the nearest."""


def unknown(kind: str, name: object, known: Iterable[str]) -> UnknownName:
    """Return the error for a name that is not known, with the nearest known name as a suggestion.

    Example:
        >>> str(unknown("model", "vea", ["vae", "gmm"]))
        "unknown model 'vea'. Did you mean 'vae'? Known: gmm, vae."
    """
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return UnknownName(f"unknown {kind} '{name}'.{hint} Known: {', '.join(known) or 'none'}.")


PLAIN: dict[str, type | tuple[type, ...]] = {"bool": bool, "float": (float, int), "int": int, "str": str}


def check_plain(what: str, value: object, annotation: str) -> None:
    """Raise unless a value is of the plain type, or one of those, that an annotation names in words.

    Raises:
        LikelyError: it is not.

    Example:
        >>> check_plain("steps", 3, "int | None")
    """
    kinds = [kind.strip() for kind in annotation.split("|")]
    if (value is None and "None" in kinds) or not set(kinds) <= {*PLAIN, "None"}:
        return
    named = [kind for kind in kinds if kind != "None"]
    if not any(isinstance(value, PLAIN[kind]) and isinstance(value, bool) == (kind == "bool") for kind in named):
        raise LikelyError(f"{what} must be {' or '.join(named)}, not {value!r}.")
