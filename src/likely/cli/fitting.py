"""`likely fit MODEL` and `likely resume`: training, with flags read from the builder and from the driver."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Group, Parameter

from likely import registry
from likely.cli.answer import Answer, quoted
from likely.cli.flags import assignments, command, flag

if TYPE_CHECKING:
    from likely.run import Run

#: options of the driver that are about the data
DATA = ("view", "size", "colour", "sequence", "weight", "cond", "preset")

SET = "a flag of this model as name=value, for scripts; may stand several times."


def app(words: Sequence[str]) -> App:
    """Return `likely fit` with one command for each model; only the one that is asked for gets its flags.

    Raises:
        UnknownName: the words name a model that does not exist.
    """
    fit = App(
        name="fit",
        help="Train a model on data. Flags differ from model to model: likely fit MODEL --help.\n\n"
        "Example: likely fit vae --data digits --latent 8 --budget 1m",
        sort_key=-1,
    )
    if words[:1] != ["fit"]:  # nobody asks for these flags
        return fit
    asked = words[1] if len(words) > 1 and not words[1].startswith("-") else None
    for name in [asked] if asked else registry.names():
        entry = registry.entry(name)
        fit.command(_command(entry) if asked else _listed(entry), name=name)
    return fit


def _listed(entry: registry.Entry) -> Callable[..., Answer]:
    """Return a command that is only shown: its first line of help."""
    return command(lambda given: Answer({}), entry.summary, [])


def _command(entry: registry.Entry) -> Callable[..., Answer]:
    """Return the command that fits one model, with a flag for each number and each option of the driver."""
    model, about_data, training = Group(f"Model {entry.name}"), Group("Data", sort_key=0), Group("Training")
    options = registry.options("likely.driver", "train")
    parameters = [flag(number, model) for number in entry.numbers]
    parameters.append(flag(registry.Number("data", "str", "digits", "a name, or a path to your own data."), about_data))
    parameters += [flag(option, about_data if option.name in DATA else training) for option in options]
    setting = Annotated[tuple[str, ...], Parameter(help=SET, group=training, negative=())]
    parameters.append(inspect.Parameter("set", inspect.Parameter.KEYWORD_ONLY, default=(), annotation=setting))

    def fit(given: dict[str, Any]) -> Answer:
        from likely import driver

        kinds = {number.name: number.type for number in (*entry.numbers, *options)} | {"data": "str"}
        words = [name for name, kind in kinds.items() if kind.startswith("str")]
        given |= assignments(given.pop("set", ()), kinds, f"number or option of model '{entry.name}'", words)
        return _report(driver.train(entry.name, **given))

    presets = f"Presets: {', '.join(entry.presets)}." if entry.presets else "No presets."
    doc = f"{entry.summary}\n\n{presets}\n\nExample: likely fit {entry.name} --data digits --budget 1m"
    return command(fit, doc, parameters)


def resume(run: str, /, *, data: str | None = None, steps: int | None = None, quiet: bool = False) -> Answer:
    """Continue an interrupted run, to the same weights that an uninterrupted one would have reached.

    Example: likely resume latest

    Arguments:
        run: a run folder, or `latest`.
        data: where the data lie now, if they were moved.
        steps: train to this many updates in all; also continues a finished run.
        quiet: show no progress.
    """
    from likely import driver

    return _report(driver.resume(run, data=data, steps=steps, quiet=quiet))


def _report(run: Run) -> Answer:
    """Say where the run lies and what can be done with it."""
    from likely.core import abilities
    from likely.report.pictures import is_picture

    record, folder, able = run.record, quoted(run.folder), abilities(run.model)
    picture = is_picture(run.model.space)
    following = [f"likely sample {folder} -n 64 -o samples.{'png' if picture else 'npz'}"]
    following.append(f"likely evaluate {folder}")
    if {"log_prob", "elbo", "energy"} & set(able):
        following.append(f"likely score {folder} -o scores.csv")
    if "complete" in able and picture:
        following.append(f"likely complete {folder} --known upper-half -o completed.png")
    if "encode" in able:
        following.append(f"likely encode {folder} -o z.npz")
    best = record["result"]["valid"]
    valid = "" if best is None else f", best validation {best:.4f} at step {record['result']['step']}"
    name, minutes = record["data"]["name"], record["minutes"]
    text = f"{record['model']} on {name}: {record['steps_done']} steps, {minutes:.1f} min{valid}"
    done = {key: record[key] for key in ("model", "status", "steps_done", "minutes", "result", "parameters", "command")}
    return Answer(
        {"run": str(run.folder), "data": name, **done, "next": following},
        f"{text}\nThe run lies in {folder}. Go on with:\n" + "\n".join(f"  {line}" for line in following),
    )
