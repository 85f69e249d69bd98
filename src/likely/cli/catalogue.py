"""`likely models` and `likely data`: what there is."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from likely import registry
from likely.cli import files
from likely.cli.answer import Answer, columns, quoted
from likely.errors import unknown

if TYPE_CHECKING:
    from likely.spaces import Space

Output = Annotated[str | None, Parameter(name=["--output", "-o"])]

PICTURED = 64  #: how many data a picture shows


def models(name: str | None = None, /, *, can: str | None = None) -> Answer:
    """List the models: what each is, what it can do, its paper.

    With a name: everything about that model, with the numbers its builder takes.

    Example: likely models --can log_prob

    Arguments:
        name: one model.
        can: only models with this ability: log_prob, elbo, encode, complete, ...
    """
    if name is not None:
        return _model(registry.entry(name))
    entries = [registry.entry(one) for one in registry.names()]
    if can is not None:
        can = can.replace("-", "_")
        known = {ability for entry in entries for ability in entry.abilities}
        if can not in known:
            raise unknown("ability", can, known)
        entries = [entry for entry in entries if can in entry.abilities]
    lines = [(e.name, line) for e in entries for line in (e.summary, f"Can: {', '.join(e.abilities)}.", e.reference)]
    text = columns([("" if i % 3 else name, line) for i, (name, line) in enumerate(lines)], ("model", "what it is"))
    return Answer({"models": [asdict(entry) for entry in entries]}, f"{text}\n\nAll about one: likely models NAME")


def _model(entry: registry.Entry) -> Answer:
    numbers = [(f"--{n.name.replace('_', '-')}", n.type, repr(n.default), n.help) for n in entry.numbers]
    presets = [(name, " ".join(f"{k}={v}" for k, v in values.items())) for name, values in entry.presets.items()]
    parts = [
        f"{entry.name}\n\n{entry.description}",
        f"Can: {', '.join(entry.abilities)}." + (" Takes a condition." if entry.conditional else ""),
        columns(numbers, ("number", "type", "default", "what it is")) if numbers else "It takes no numbers.",
        columns(presets, ("preset", "values")) if presets else "",
        f"Fit it: likely fit {entry.name} --data digits",
    ]
    return Answer(asdict(entry), "\n\n".join(part for part in parts if part))


def data(
    name: str | None = None,
    /,
    *,
    view: str | None = None,
    size: int | None = None,
    colour: str | None = None,
    sequence: str | None = None,
    output: Output = None,
) -> Answer:
    """List the named data sets, or describe one: its parts, its space, a picture of it.

    Example: likely data digits -o digits.png

    Arguments:
        name: a name, or a path: folder, zip or tar of pictures, .npz, .npy, .csv, .parquet.
        view: how to look at it: bytes, reals, fixed, dynamic, threshold or levels.
        size: the side to which pictures are brought.
        colour: bring pictures to grey, rgb or rgba.
        sequence: the column of a table that says which sequence a row is a step of.
        output: where to write a picture of the first training data (.png).
    """
    from likely import data as sets

    if name is None:
        known = sets.names()
        text = columns(known.items(), ("data", "what it is"))
        return Answer({"data": known}, f"{text}\n\nAbout one, or about your own: likely data NAME|PATH")
    path = None if output is None else files.target(output, (".png",))
    loaded = sets.load(name, view=view, size=size, colour=colour, sequence=sequence)
    record = sets.describe(loaded) | {"picture": None if path is None else str(path)}
    if path is not None:
        x, _ = loaded.train.batch(slice(0, PICTURED))
        files.write_picture(path, x, loaded.space)
    spoken = record | {"space": loaded.space, "cond": loaded.cond, "source": None}
    told = {key: value for key, value in spoken.items() if value is not None and value is not False and value != ""}
    lines = [(key.replace("_", " "), _words(value)) for key, value in told.items()]
    flags = {"view": view, "size": size, "colour": colour, "sequence": sequence}
    again = "".join(f" --{flag} {quoted(value)}" for flag, value in flags.items() if value is not None)
    command = f"likely fit {_first(loaded.space)} --data {quoted(name)}{again}"
    return Answer(record, f"{columns(lines, ('data', name))}\n\nFit it: {command}")


def _first(space: Space) -> str:
    """Return a model that takes values of this space, to begin with."""
    from likely.spaces import Finite, Sequence

    if isinstance(space, Sequence):
        return "hmm"
    return "table" if isinstance(space, Finite) and space.uneven else "vae"


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {one}" for key, one in value.items())
    return "yes" if value is True else str(value)
