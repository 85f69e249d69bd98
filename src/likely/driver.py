"""Fit a model on data from first to last: build, train, validate, keep the best, log, save, continue.

`train` and `resume` are the loops of `likely.training` with a run folder around them; there is no trainer class.
"""

from __future__ import annotations

import copy
import json
import math
import os
import platform
import shlex
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import likely
from likely import crew, registry, run, training
from likely import data as datasets
from likely.core import Density, Energy, Gradient, Model, Turns, Weighted
from likely.data.parts import Data, Part
from likely.errors import DataError, LikelyError, unknown
from likely.evaluation.two_sample import features, gaussian, kernel_distance, median_distance
from likely.progress import Progress, clock
from likely.run import Run
from likely.spaces import Sequence, batches
from likely.training.optimize import NonFiniteLoss, draw, on_stream
from likely.training.state import Average, Step

VALIDATION_ROWS = 1000  #: how many validation rows choose the best weights
VALIDATE = 3  #: the random stream of validation
SAVE_EVERY = 60.0  #: seconds between checkpoints
#: shares of the updates planned for a budget after which the plan is held against the clock: a trial on a busy machine
#: says little of what follows; later on, the schedule of the learning rate would jump
CHECKED = (0.02, 0.05, 0.09)
SURE = 10  #: updates whose time says how long one takes


SOURCE = ("name_or_path", "view", "size", "colour", "sequence", "weight")  #: what a command says of its data


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or a termination signal arrived; the run was saved first."""


def train(
    model: str,
    data: str | Path | Data = "digits",
    *,
    view: str | None = None,
    size: int | None = None,
    colour: str | None = None,
    sequence: str | None = None,
    weight: str | None = None,
    cond: str | None = None,
    preset: str = "auto",
    steps: int | None = None,
    epochs: float | None = None,
    budget: str | float | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    optimizer: str | None = None,
    momentum: float | None = None,
    weight_decay: float | None = None,
    schedule: str | None = None,
    warmup: int | None = None,
    clip: float | None = None,
    average: float | None = None,
    precision: str | None = None,
    compile: bool | None = None,
    passes: int | None = None,
    tolerance: float | None = None,
    validate_every: int | None = None,
    patience: int | None = None,
    device: str = "auto",
    processes: int = 1,
    seed: int = 0,
    out: str | Path | None = None,
    tensorboard: bool = False,
    quiet: bool = False,
    **numbers: Any,
) -> Run:
    """Fit a model on data and return the finished run; what is not given comes from the model's preset for these data.

    Arguments:
        model: the model's name, as listed by `likely models`.
        data: a data set's name, a path to your own, or loaded data.
        view: how values are looked at: bytes, reals, fixed, dynamic, threshold or levels.
        size: resize pictures to this many pixels a side.
        colour: bring pictures to grey, rgb or rgba.
        sequence: the column of a table that says which sequence a row is a step of.
        weight: the column of a table, or array of a file, that says how much each row counts.
        cond: condition the model on the data's "label" or "caption", or on a column of your own.
        preset: the model's numbers for a named data set; auto takes the one of these data, none takes none.
        steps: how many updates.
        epochs: how often every row is used, instead of steps.
        budget: how long to train, such as 90s, 2m or 1h, instead of steps.
        batch: rows per update.
        learning_rate: the optimiser's step size, before the schedule.
        optimizer: adam, adamw or sgd.
        momentum: Adam's beta1, or SGD's momentum.
        weight_decay: pull of the weights towards 0.
        schedule: constant, cosine or linear decay of the learning rate.
        warmup: updates over which the learning rate rises from 0.
        clip: the largest norm of the gradient; 0 leaves it alone.
        average: decay of the moving average of the weights; 0 keeps none.
        precision: auto (bfloat16 where the processor has it and the model allows), float32 or bfloat16.
        compile: compile the loss with torch.compile; pays on long runs.
        passes: the most passes over the data, for models learned by statistics.
        tolerance: the gain in nats per datum at which such a model stops.
        validate_every: updates between validations; 0 validates ten times.
        patience: validations without gain before stopping early; 0 never stops early.
        device: auto, cpu or cuda.
        processes: how many processes of this machine fit together, each on its share of the rows.
        seed: decides weights, data order and noise.
        out: the run folder; by default a new one under runs/.
        tensorboard: also write TensorBoard event files.
        quiet: show no progress.
        numbers: what the model's builder takes.

    Raises:
        UnknownName: a model, data set, preset or number is misspelt.
        LikelyError: an option does not belong to the model, or the data do not fit it.
        NonFiniteLoss: training diverged; the last good weights are kept in the run folder.
        Interrupted: a signal arrived; the run is saved and can be resumed.

    Example:
        >>> import likely  # doctest: +SKIP
        >>> run = likely.train("vae", "digits", latent=8, steps=500)  # doctest: +SKIP
        >>> run.model.sample(4, seed=0).shape  # doctest: +SKIP
        torch.Size([4, 1, 8, 8])
    """
    asked: dict[str, Any] = {
        name: value for name, value in locals().items() if name in FIT_OPTIONS and value is not None
    }
    described = registry.entry(model)
    given = _given(view=view, size=size, colour=colour, sequence=sequence, weight=weight)
    loaded = data if isinstance(data, Data) else datasets.load(data, **given, **_given(cond=cond))
    said = _said(loaded) if isinstance(data, Data) else {"name_or_path": str(data), **given}
    several = {"processes": processes} if processes != 1 else {}
    command = _command(model, {**said, "cond": cond, **several, "seed": seed, **asked, **numbers}, preset)
    chosen = _preset(described, preset, loaded)
    if {"steps", "epochs", "budget", "passes"} & set(asked):  # how long: the user's word replaces the preset's
        chosen = {k: v for k, v in chosen.items() if k not in ("steps", "epochs", "budget", "passes")}
    options = {k: v for k, v in chosen.items() if k in FIT_OPTIONS} | asked
    numbers = {k: v for k, v in chosen.items() if k not in FIT_OPTIONS} | numbers
    built = registry.build(model, loaded.space, _condition(loaded, cond), seed=seed, **numbers)
    place = _device(device)
    crew.check(processes, place, loaded.source)
    built.to(place)
    control = {k: options.pop(k) for k in ("epochs", "budget", "validate_every", "patience") if k in options}
    for name in ("epochs", "validate_every", "patience"):
        training.at_least(name, control.get(name, 0), 0, whole=name != "epochs")
    try:
        for part in (loaded.train, loaded.valid):
            if part is loaded.train or len(part):
                training.check(built, part, options)
    except DataError as error:
        raise DataError(f"{loaded.name}: {error}") from None
    if tensorboard:
        _summary_writer()
    options = training.options_of(built) | options
    rows = len(loaded.train)
    if "epochs" in control:
        per_epoch = 1 if "passes" in options else max(1, rows // min(options["batch"], rows))
        options["passes" if "passes" in options else "steps"] = max(1, round(control["epochs"] * per_epoch))
    seconds = duration(control["budget"]) if "budget" in control else None
    record: dict[str, Any] = {
        "format": run.FORMAT,
        "model": model,
        "numbers": built.numbers,
        "space": loaded.space.to_json(),
        "cond": built.cond_space.to_json() if built.cond_space is not None else None,
        "data": {
            "name": loaded.name,
            "view": loaded.view,
            "note": loaded.note,
            "source": loaded.source,
            "fingerprint": loaded.fingerprint,
            "rows": {"train": rows, "valid": len(loaded.valid), "test": len(loaded.test)},
        },
        "fit": options,
        "budget": seconds,
        "validate_every": control.get("validate_every", 0),
        "patience": control.get("patience", 0),
        "seed": seed,
        "device": str(place),
        "processes": processes,
        "parameters": sum(p.numel() for p in built.parameters()) or sum(b.numel() for b in built.buffers()),
        "versions": {"likely": likely.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "machine": machine(),
        "command": command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "status": "running",
        "tensorboard": tensorboard,
    }
    stem = f"{model}-{_slug(loaded.name)}"
    folder = Path(out) if out is not None else run.fresh_folder(stem)
    run.check_vacant(folder)
    spent = aside = 0.0
    if seconds is not None and "steps" in options:
        began = time.monotonic()
        options["steps"], aside = _affordable(built, loaded, options, seed, seconds)
        spent = time.monotonic() - began
    while True:
        try:
            made = run.create(folder, record, built)
            break
        except run.Taken:
            if out is not None:
                raise
            folder = run.fresh_folder(stem)  # another process was quicker
    return _go(made, built, loaded, None, spent, quiet, aside=aside)


def resume(folder: str | Path, *, data: str | Path | None = None, steps: int | None = None, quiet: bool = False) -> Run:
    """Continue an interrupted run to the same weights, bit for bit, that an uninterrupted run would have reached.

    Arguments:
        folder: the run folder.
        data: where the data lie now, if they were moved.
        steps: train to this many updates in all, instead of the number the run was started with.
        quiet: show no progress.

    Raises:
        LikelyError: the folder is no run, is finished or has made that many updates; or the data changed.
    """
    opened = run.open(folder)
    record = opened.record
    if steps is not None:
        key = "passes" if "passes" in record["fit"] else "steps"
        record["fit"][key], record["budget"] = steps, None
    elif record["status"] == "finished":
        raise LikelyError(f"'{opened.folder}' is finished; give --steps to train it further.")
    loaded = opened.data_at(data)
    record["data"]["source"] = loaded.source
    model = run.blank(record)
    model.to(_device(record["device"]))
    saved = crew.saved(opened, model)
    if saved is None:  # killed before the first checkpoint: start again
        run.rewrite_log(opened.folder, [])
        return _go(opened, model, loaded, None, 0.0, quiet)
    plain, _, own = saved
    if steps is not None and steps <= plain["step"]:
        raise LikelyError(f"'{opened.folder}' has made {plain['step']} steps already; give more than that.")
    run.rewrite_log(opened.folder, [row for row in opened.log() if row["step"] <= plain["step"]])
    return _go(opened, model, loaded, saved, own["seconds"], quiet)


FIT_OPTIONS = (
    "steps",
    "epochs",
    "budget",
    "batch",
    "learning_rate",
    "optimizer",
    "momentum",
    "weight_decay",
    "schedule",
    "warmup",
    "clip",
    "average",
    "precision",
    "compile",
    "passes",
    "tolerance",
    "validate_every",
    "patience",
)  #: arguments of `train` that a preset may set


# The loop ------------------------------------------------------------------------------------------------------------


def _go(
    made: Run,
    model: Model,
    data: Data,
    saved: tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]] | None,
    spent: float,
    quiet: bool,
    *,
    aside: float | None = None,
) -> Run:
    """Train to the end, keeping log, best weights and checkpoints.

    Arguments:
        made: the run.
        model: with the weights to start from.
        data: its data.
        saved: what `crew.saved` returned, or None.
        spent: seconds of the budget that are gone.
        quiet: whether no progress is shown.
        aside: seconds of a budget that validations will take; None keeps to the planned number of updates.
    """
    record, folder, seed = made.record, made.folder, made.record["seed"]
    options, budget = dict(record["fit"]), record["budget"]
    total = options.get("steps") or options.get("passes") or 0
    every = record["validate_every"] or max(1, (total or 100) // 10)
    own: dict[str, Any] = saved[2] if saved else {"best": None, "best_step": 0, "waited": 0, "seconds": spent}
    began, checkpointed = time.monotonic() - spent, time.monotonic()
    window: dict[str, list[float]] = {}
    shown: dict[str, float] = {}
    step: Step | None = None
    validated, rows_before = -1, None
    checks: tuple[float, ...] = (
        CHECKED if budget and aside is not None and "steps" in options and record["processes"] == 1 else ()
    )
    mark = (0, 0.0)  #: from which update, at which second, the time of an update is measured
    resume_from = saved[:2] if saved else None
    record["status"] = "running"
    run.write_json(folder / "run.json", record)

    def validate(step: Step) -> None:
        nonlocal validated
        with averaged(model, step.state.average):
            value = validation(model, data.valid, seed)
            validated = step.index
            if value is None or own["best"] is None or value < own["best"]:
                _check_weights(model, step.index)
                own.update(best=value, best_step=step.index, waited=0)
                run.write_tensors(folder / "model.safetensors", model.state_dict())
            else:
                own["waited"] += 1
        if value is not None:
            own["last"] = value
            write({"step": step.index, "seconds": round(time.monotonic() - began, 3), "valid": value})
            progress.line(f"step {step.index}  valid {value:.4f}{'  (best)' if own['best_step'] == step.index else ''}")

    def checkpoint(step: Step) -> None:
        _check_weights(model, step.index)
        own["seconds"] = time.monotonic() - began
        tensors = {f"model/{name}": value for name, value in model.state_dict().items()} | step.state.tensors()
        metadata = {"state": json.dumps(step.state.plain()), "driver": json.dumps(own)}
        run.write_tensors(folder / "state.safetensors", tensors, metadata)

    def finish(status: str) -> None:
        now = time.monotonic() - began
        reached = step.index if step else saved[0]["step"] if saved else 0
        record.update(status=status, minutes=round(now / 60, 3), steps_done=reached)
        record["result"] = {"valid": own["best"], "step": own["best_step"]}
        run.write_json(folder / "run.json", record)

    title = f"{record['model']} on {data.name}"
    with (
        Progress(title, quiet=quiet) as progress,
        _signals() as asked,
        _writer(folder, record) as write,
        ExitStack() as stack,
    ):
        try:
            fabric = stack.enter_context(crew.together(made, record.get("processes", 1)))
            for step in training.fit(model, data.train, seed=seed, resume=resume_from, fabric=fabric, **options):
                for name, value in step.metrics.items():
                    window.setdefault(name, []).append(value)
                now = time.monotonic() - began
                done = max(step.index / total if total else 0.0, now / budget if budget else 0.0)
                rows_before = step.data * (step.index - 1) // step.index if rows_before is None else rows_before
                speed = (step.data - rows_before) / max(now - spent, 1e-9)
                shown.update(step.metrics)  # of a term that is not taken at every step, the newest
                progress.update(step.index, done, shown, speed, now / done - now if done else None)
                out_of_time = budget is not None and now >= budget
                if step.index % max(1, (total or 100) // 200) == 0 or step.index == 1 or out_of_time:
                    means = {name: sum(values) / len(values) for name, values in window.items()}
                    write({"step": step.index, "seconds": round(now, 3), "rows": step.data, **means})
                    window.clear()
                if step.index % every == 0 and step.index != total:
                    validate(step)
                    if record["patience"] and own["waited"] >= record["patience"]:
                        progress.line(f"stopped early: no gain in {own['waited']} validations")
                        break
                if step.index <= 2:  # start-up, and compilation
                    mark = (step.index, now)
                elif checks and step.index >= checks[0] * total and step.index - mark[0] >= SURE and not step.last:
                    each, checks, mark = (now - mark[1]) / (step.index - mark[0]), checks[1:], (step.index, now)
                    total = step.index + max(1, int(0.97 * (budget - aside - now) / each))
                    every = record["validate_every"] or max(1, total // 10)
                    step.state.steps = record["fit"]["steps"] = total
                    run.write_json(folder / "run.json", record)
                    checkpoint(step)
                if step.last:  # it is saved once it is validated, so that a state of the last step needs nothing more
                    continue
                if asked or time.monotonic() - checkpointed > SAVE_EVERY:
                    checkpoint(step)
                    checkpointed = time.monotonic()
                if asked:
                    finish("interrupted")
                    raise Interrupted(
                        f"interrupted at step {step.index}; continue with `likely resume {shlex.quote(str(folder))}`"
                    )
                if out_of_time:
                    break
            if step is not None:
                if validated != step.index:
                    validate(step)
                checkpoint(step)
        except NonFiniteLoss as error:
            finish("failed")
            raise NonFiniteLoss(
                f"{error} The last good weights (step {own['best_step']}) are kept in '{folder}'."
            ) from None
        except BaseException as error:
            if record["status"] == "running":
                finish("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
            raise
    finish("finished")
    progress.line(f"done in {clock(time.monotonic() - began)}: {folder}")
    if asked:
        raise Interrupted(f"interrupted; '{folder}' was just finished")
    made.__dict__.pop("model", None)  # the weights to use are the best ones, on disk
    made.__dict__["data"] = data
    return made


def validation(model: Model, part: Part, seed: int) -> float | None:
    """Return what chooses between weights, lower is better; None where there are no validation rows.

    Negative log-likelihood (or its estimate) for models learned by statistics and energies, the loss for models learned
    by gradient, the kernel distance between samples and validation rows for models learned by turns.
    """
    part = part.head(VALIDATION_ROWS)
    n = len(part)
    if n < 2:
        return None
    x, cond = draw(model, part, slice(0, n))
    noise = training.stream(seed, VALIDATE)
    if isinstance(model, Energy):
        value = float(model.energy(x, cond).mean() + model.log_partition(seed=noise).value)
    elif isinstance(model, Density):
        value = -float(model.log_prob(x, cond).mean())
    elif isinstance(model, Turns):
        rows_of = features(model.space, x.cpu())
        real = rows_of(x.cpu())
        if bool((real == real[0]).all()):  # there is no distance to measure by
            return None
        fake = rows_of(model.sample(n, cond, seed=noise).cpu())
        value = kernel_distance(real, fake, gaussian(median_distance(real))).value
    elif isinstance(model, Gradient):
        value = _loss(model, part, seed)
    elif isinstance(model, Weighted):
        value = -float(model.elbo(x, cond, seed=noise).mean())
    else:
        return None
    if math.isnan(value):
        raise NonFiniteLoss("the validation score became NaN; lower learning_rate, or set clip.")
    return value


@torch.no_grad()
def _loss(model: Gradient, part: Part, seed: int) -> float:
    """Return the mean loss over all rows in evaluation mode."""
    was, total = model.training, 0.0
    model.eval()
    with on_stream(seed, VALIDATE):
        for rows in batches(len(part), 250):
            loss = model.loss(*draw(model, part, rows))["loss"]
            total += float(loss) * (rows.stop - rows.start)
    model.train(was)
    return total / len(part)


@contextmanager
def averaged(model: Model, average: Average | None) -> Iterator[None]:
    """Lend the model its averaged weights."""
    if average is None:
        yield
        return
    own = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(average.values)
    try:
        yield
    finally:
        model.load_state_dict(own)


def _check_weights(model: Model, step: int) -> None:
    if not run.all_finite(model.state_dict()):
        raise NonFiniteLoss(
            f"a weight became infinite or NaN at or before step {step}; lower learning_rate or set clip."
        )


def _affordable(model: Model, data: Data, options: dict[str, Any], seed: int, seconds: float) -> tuple[int, float]:
    """Return how many updates fit into a budget, from a short trial on a copy of the model, and what validations take.

    A schedule needs to know its end: so there is a number before the run starts, which its first updates may mend.
    """
    trial, began, first = copy.deepcopy(model), time.monotonic(), 0.0
    each = seconds
    for step in training.fit(trial, data.train, seed=seed, **{**options, "steps": 10**9}):
        now = time.monotonic()
        if step.index <= 2:  # start-up, and compilation where it was asked for
            first = now
        else:
            each = (now - first) / (step.index - 2)
        if now - began > seconds / 2 or (step.index > 2 and now - first > max(0.5, 0.04 * seconds)):
            break
    before = time.monotonic()
    validation(trial, data.valid, seed)
    once = time.monotonic() - before
    left = seconds - (time.monotonic() - began) - 10 * once
    return max(1, int(0.95 * max(left, 0.1 * seconds) / each)), 10 * once


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect Ctrl-C and termination signals in a list; a second one acts at once."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    kinds = [signal.SIGINT, signal.SIGTERM]
    before = {kind: signal.getsignal(kind) for kind in kinds}

    def note(kind: int, frame: Any) -> None:
        asked.append(kind)
        for each in kinds:
            signal.signal(each, before[each])

    for kind in kinds:
        signal.signal(kind, note)
    try:
        yield asked
    finally:
        for kind in kinds:
            signal.signal(kind, before[kind])


def _summary_writer() -> Any:
    """Return the class that writes TensorBoard files."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise LikelyError("--tensorboard needs the extra: pip install 'likely[tensorboard]'.") from None
    return SummaryWriter


@contextmanager
def _writer(folder: Path, record: dict[str, Any]) -> Iterator[Any]:
    """Yield a function that logs a row: always as a JSON line, for TensorBoard where it was asked for."""
    if not record["tensorboard"]:
        yield lambda row: run.append_log(folder, row)
        return
    board = _summary_writer()(str(folder / "tensorboard"))

    def write(row: dict[str, Any]) -> None:
        run.append_log(folder, row)
        for name, value in row.items():
            if name not in ("step", "rows"):
                board.add_scalar(name, value, row["step"])  # type: ignore[no-untyped-call]

    try:
        yield write
    finally:
        board.close()  # type: ignore[no-untyped-call]


# What was asked for --------------------------------------------------------------------------------------------------


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _preset(described: registry.Entry, preset: str, data: Data) -> dict[str, Any]:
    """Return the numbers and options of a preset; `auto` takes the one named like the data, if there is one."""
    if preset == "none":
        return {}
    if preset == "auto":
        return dict(described.presets.get(data.name, {}))
    if preset not in described.presets:
        raise unknown(f"preset of model '{described.name}'", preset, [*described.presets, "auto", "none"])
    return dict(described.presets[preset])


def _condition(data: Data, cond: str | None) -> Any:
    """Return the space to condition on, or None."""
    if cond in (None, "none"):
        return None
    own = data.source.get("cond")  # what the data were loaded with may also be a column
    if cond not in ("label", "caption", own):
        raise unknown("cond", cond, ["label", "caption"])
    has = None if data.cond is None else "caption" if isinstance(data.cond, Sequence) else "label"
    if has is None or cond not in (has, own):
        raise LikelyError(f"data '{data.name}' have no {cond}{f', but a {has}' if has else ''}; leave out --cond.")
    return data.cond


def _device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        raise LikelyError(f"device '{device}' cannot be used here ({str(error).splitlines()[0]}).") from None
    return place


def duration(text: str | float) -> float:
    """Return seconds for '90s', '2m', '1h' or a plain number of seconds.

    Example:
        >>> duration("2m"), duration("1.5h"), duration(30)
        (120.0, 5400.0, 30.0)
    """
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    raw = str(text).strip()
    number, unit = (raw[:-1], units[raw[-1]]) if raw and raw[-1] in units else (raw, 1.0)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = math.nan
    if not (0 < seconds < math.inf):
        raise LikelyError(f"budget must be a time such as 90s, 2m or 1h, not '{text}'.")
    return seconds


def machine() -> str:
    """Return the machine in words: processor, cores, accelerator."""
    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    accelerator = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{processor}, {os.cpu_count()} cores{accelerator}"


def _slug(name: str) -> str:
    stem = Path(name).name.split(".")[0] or "data"
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in stem)


def _said(data: Data) -> dict[str, Any]:
    """Return how loaded data are asked for on the command line."""
    return {k: v for k, v in data.source.items() if k in SOURCE} or {"name_or_path": data.name}


def _command(model: str, options: dict[str, Any], preset: str) -> str:
    """Return the command line that repeats a fit."""
    words = ["likely", "fit", model, "--data", options.pop("name_or_path")]
    if preset != "auto":
        words += ["--preset", preset]
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None and not (name == "seed" and value == 0):
            words += [f"--{flag}", str(value)]
    return shlex.join(words)
