"""`likely choose`: which value of a number (components, states, hidden units) suits the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from likely import registry
from likely.cli.answer import Answer, Misuse, columns, quoted
from likely.cli.flags import assignments
from likely.cli.judging import _check, _twice

if TYPE_CHECKING:
    from likely.core import Model

CRITERIA = ("valid", "bic", "aic")
MOST = 100  #: values that are tried, at most


def choose(
    model: str,
    over: str,
    /,
    *,
    data: str = "digits",
    view: str | None = None,
    size: int | None = None,
    criterion: str = "valid",
    preset: str = "auto",
    numbers: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
    seed: int = 0,
) -> Answer:
    """Fit a model with each of several values of one number, and say which suits the data.

    The criterion is the negative log-likelihood of the validation part (nats per datum), or an information criterion on
    the training part, for models with an exact density and counted parameters. Lower is better.

    Example: likely choose gmm components=1:10 --data ring --criterion bic

    Arguments:
        model: the model's name, as listed by `likely models`.
        over: the number and its values: name=first:last, name=first:last:step, or name=a,b,c.
        data: a name, or a path to your own.
        view: how to look at the data: bytes, reals, fixed, dynamic, threshold or levels.
        size: the side to which pictures are brought.
        criterion: valid, bic or aic.
        preset: the model's numbers for a named data set; auto takes the one of these data, none takes none.
        numbers: another number of this model as name=value; may stand several times.
        seed: decides starts and order.
    """
    _check(2, 1, seed)
    entry = registry.entry(model)
    kinds = {number.name: number.type for number in entry.numbers}
    name, values = _values(over, kinds, model)
    words = [name for name, kind in kinds.items() if kind.startswith("str")]
    given = assignments(numbers, kinds, f"number of model '{model}'", words)

    from likely import data as sets
    from likely import driver, evaluation, training
    from likely.errors import unknown
    from likely.families.criteria import aic, bic, check_counted

    if criterion not in CRITERIA:
        raise unknown("criterion", criterion, CRITERIA)
    loaded = sets.load(data, view=view, size=size)
    chosen = driver._preset(entry, preset, loaded) | given
    options = {key: value for key, value in chosen.items() if key not in kinds}
    options = {key: value for key, value in options.items() if key not in ("budget", "validate_every", "patience")}
    built = {key: value for key, value in chosen.items() if key in kinds}
    scores: dict[Any, float] = {}
    for value in values:
        one = registry.build(model, loaded.space, seed=seed, **built | {name: value})
        if criterion == "valid" and not evaluation.sign_of(one):
            raise Misuse(f"model '{model}' has no likelihood to choose by; compare its samples: likely compare.")
        if criterion != "valid":
            check_counted(one)
        for _ in training.fit(one, loaded.train, seed=seed, **_in_updates(options, one, len(loaded.train))):
            pass
        if criterion == "valid":
            found = evaluation.likelihood(one, loaded.valid, seed=seed, split="valid")["value"]
            assert found is not None  # it has a sign, so it has a value
            scores[value] = found
        else:
            x = loaded.train.batch(slice(0, len(loaded.train)))[0]
            scores[value] = (bic if criterion == "bic" else aic)(one, x, weight=loaded.train.weight)
    best = min(scores, key=lambda value: scores[value])
    rows = [(str(value), f"{score:.6g}", "<- lowest" if value == best else "") for value, score in scores.items()]
    unit = "nats per datum, validation part" if criterion == "valid" else f"{criterion.upper()}, training part"
    flags = {"view": view, "size": size, "preset": None if preset == "auto" else preset}
    words = [f"--{flag} {quoted(value)}" for flag, value in flags.items() if value is not None]
    words += [f"--set {quoted(text)}" for text in numbers] + ([f"--seed {seed}"] if seed else [])
    again = " ".join(
        ["likely fit", model, "--data", quoted(data), *words, f"--{name.replace('_', '-')} {quoted(best)}"]
    )
    text = columns(rows, (name, unit, "")) + f"\n\n{again}"
    record = {"model": model, "data": loaded.name, "number": name, "criterion": criterion}
    told = [{"value": value, "score": score} for value, score in scores.items()]
    return Answer({**record, "scores": told, "best": best, "command": again}, text)


def _in_updates(options: dict[str, Any], model: Model, rows: int) -> dict[str, Any]:
    """Return options in which epochs, of a preset, are updates or passes, as a fit counts them."""
    from likely import training

    given = dict(options)
    epochs = given.pop("epochs", None)
    if epochs is not None:
        taken = training.options_of(model) | given
        each = 1 if "passes" in taken else max(1, rows // min(taken["batch"], rows))
        given["passes" if "passes" in taken else "steps"] = max(1, round(epochs * each))
    return given


def _values(over: str, kinds: dict[str, str], model: str) -> tuple[str, list[Any]]:
    """Read name=first:last, name=first:last:step (both ends count) or name=a,b,c."""
    name, _, text = over.partition("=")
    if not text:
        raise Misuse(f"'{over}' names no values; say which to try, such as {name or 'components'}=1:10 or =2,4,8.")
    if ":" in text:
        assignments([f"{name}=0"], kinds, f"number of model '{model}'")
        ends = text.split(":")
        whole = 2 <= len(ends) <= 3 and all(end.strip().isdigit() for end in ends)
        first, last, step = (*map(int, ends), 1)[:3] if whole else (0, 0, 0)
        if step < 1:
            raise Misuse(
                f"'{over}' is not of the form name=first:last or name=first:last:step, in whole numbers, the step 1 or "
                "more."
            )
        values: list[Any] = list(range(first, last + 1, step))
    else:
        read = [assignments([f"{name}={each}"], kinds, f"number of model '{model}'") for each in text.split(",")]
        values = [value for each in read for value in each.values()]
    if not values or len(values) > MOST:
        raise Misuse(f"'{over}' gives {len(values)} values to try; name 1 to {MOST}.")
    _twice("the value", values)
    return name.strip().replace("-", "_"), values
