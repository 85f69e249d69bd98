"""`likely parameters`: how many numbers a model is free to choose, beside a full table and Markov chains."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from likely import registry
from likely.cli.answer import Answer, Misuse, columns
from likely.cli.flags import assignments

if TYPE_CHECKING:
    from likely.core import Model


def parameters(
    model: str,
    /,
    *,
    data: str = "digits",
    view: str | None = None,
    size: int | None = None,
    order: int = 2,
    preset: str = "auto",
    numbers: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
) -> Answer:
    """Count the numbers that a model is free to choose, beside what a full table of the same data would need.

    For n bits a full table has 2^n - 1, independent bits have n, a Markov chain has 2n - 1. All are exact integers,
    however large; --json gives their digits as text, since most readers round large numbers.

    Example: likely parameters nade --data binarized-mnist

    Arguments:
        model: the model's name, as listed by `likely models`.
        data: a name or a path: it decides how many entries there are, and of how many levels.
        view: how to look at the data: bytes, reals, fixed, dynamic, threshold or levels.
        size: the side to which pictures are brought.
        order: of the longer Markov chain: on how many entries before it an entry depends.
        preset: the model's numbers for a named data set; auto takes the one of these data, none takes none.
        numbers: a number of this model as name=value, such as components=50; may stand several times.
    """
    entry = registry.entry(model)
    if order < 0:
        raise Misuse(f"--order must be 0 or more, not {order}.")
    kinds = {number.name: number.type for number in entry.numbers}
    words = [name for name, kind in kinds.items() if kind.startswith("str")]
    given = assignments(numbers, kinds, f"number of model '{model}'", words)

    from likely import data as sets
    from likely import driver
    from likely.spaces import Binary, Finite

    loaded = sets.load(data, view=view, size=size)
    chosen = {name: value for name, value in driver._preset(entry, preset, loaded).items() if name in kinds}
    built = registry.build(model, loaded.space, **chosen | given)
    rows = [(model, "as it learns them", free(built))]
    n = loaded.space.size
    if isinstance(loaded.space, (Binary, Finite)):
        levels = loaded.space.levels
        rows += [
            ("full table", f"{levels}^{n} - 1", full_table(n, levels)),
            ("independence", _formula(n, levels, 0), chain(n, levels, 0)),
            ("Markov chain", _formula(n, levels, 1), chain(n, levels, 1)),
            (f"Markov chain of order {order}", _formula(n, levels, order), chain(n, levels, order)),
        ]
    told = [(name, formula, f"{Decimal(count):,f}") for name, formula, count in rows]
    text = columns(told, ("model", "how many", f"numbers free to choose, {n:,} entries of {loaded.space}"))
    counted = [{"name": name, "formula": formula, "parameters": str(Decimal(count))} for name, formula, count in rows]
    return Answer({"model": model, "data": loaded.name, "n": n, "numbers": built.numbers, "counts": counted}, text)


def full_table(n: int, levels: int = 2) -> int:
    """Return how many numbers a table over n variables is free to choose: levels^n - 1.

    Example:
        >>> full_table(10)
        1023
    """
    return levels**n - 1


def chain(n: int, levels: int = 2, order: int = 1) -> int:
    """Return how many numbers a Markov chain is free to choose: (levels - 1) for each context of each of n entries.

    Order 0 is independence. A chain of order n - 1 is the full table.

    Example:
        >>> chain(784), chain(784, order=0), chain(10, order=9) == full_table(10)
        (1567, 784, True)
    """
    order = min(order, n)
    # The first `order` entries have 1, levels, levels^2, ... contexts: together levels^order - 1 numbers.
    return levels**order - 1 + (n - order) * levels**order * (levels - 1)


def _formula(n: int, levels: int, order: int) -> str:
    if order == 0:
        return f"{n}" if levels == 2 else f"{n} * {levels - 1}"
    if order == 1 and levels == 2:
        return f"2 * {n} - 1"
    order = min(order, n)
    rest = f" + {n - order} * {levels}^{order}" if n > order else ""
    return f"{levels}^{order} - 1{rest}{f' * {levels - 1}' if rest and levels > 2 else ''}"


def free(model: Model) -> int:
    """Return how many numbers a model is free to choose: what it counts itself, else the sizes of its weights."""
    from likely.families.dequantized import Dequantized
    from likely.models.bernoulli import Bernoulli

    if isinstance(model, Dequantized):
        return free(model.inner)
    own = getattr(model, "free_parameters", None)
    if own is not None:
        return int(own)
    if isinstance(model, Bernoulli):
        return chain(model.space.size, model.levels, 0)
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
