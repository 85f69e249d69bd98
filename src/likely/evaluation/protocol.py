"""The protocol: what is measured, on which rows, with which seed. Every number carries it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from likely.core import Model, seeded
from likely.data.parts import Mapped
from likely.errors import LikelyError, unknown
from likely.evaluation.by_features import feature_distances
from likely.evaluation.groups import GROUPS, NO_FEATURES, Group, Setting, drawing_seconds, no_table
from likely.evaluation.likelihood import Keep
from likely.evaluation.menu import chosen, metric_names
from likely.evaluation.pace import Pace, Stage, Tell
from likely.evaluation.reading import extractor
from likely.evaluation.results import Result, completed, missing
from likely.evaluation.samples import complete_rows, sample_distances, some_rows, table_distances
from likely.evaluation.sharded import by_first
from likely.extractors import Extractor
from likely.parts.collective import place
from likely.spaces import Finite, Real, Sequence, Space

DRAWING = "drawing samples"

if TYPE_CHECKING:
    from likely.data.parts import Data, Part


def evaluate(
    model: Any,
    data: Data | None = None,
    *,
    part: str = "test",
    k: int = 64,
    n: int = 1000,
    seed: int = 0,
    rows: int | None = None,
    features: str | Extractor | None = None,
    metrics: str | Iterable[str] | None = None,
    keep: Keep | None = None,
    tell: Tell | None = None,
    fabric: Any = None,
) -> list[Result]:
    """Measure a model against held-out data: likelihood, two-sample metrics, diversity, memory, representation.

    Arguments:
        model: a trained model, or a run (anything with `.model` and `.data`).
        data: the data set; None takes the run's own.
        part: which part is held out: "test" or "valid".
        k: how many importance samples a `Weighted` model averages.
        n: how many samples to draw; two-sample metrics take as many of them as there are held-out rows.
        seed: decides the samples and every estimate.
        rows: how many held-out rows to score; None means all.
        features: the extractor in whose features Frechet distance, KID, precision, recall, density, coverage and
            others are measured too: a name (`likely.extractors.names()`), an `Extractor`, or None for none of them.
        metrics: names of metrics or groups (`menu.chosen`); None measures all that apply and are cheap. Metrics by
            features that are named without an extractor take the project's own for these data, or `pca`.
        keep: is called with the log-likelihood of every held-out row, (N,), and the seconds that they took.
        tell: is told how much is done, what is done, and how many seconds are left.
        fabric: launched `lightning_fabric.Fabric` of processes that share an exact likelihood and the reading of
            features, or None. Every process makes the same call and gets the same numbers: those of one process.

    Returns:
        A list of results in plain values, each with the whole `results.SCHEMA` in its protocol. What does not apply is
        left out, or, where it was named, there without a value and with the reason in its protocol. The likelihood is
        always there: its empty sign is itself the statement.

    Raises:
        UnknownName: the part is neither test nor valid, or there is no such metric or extractor.
        LikelyError: there are no data, n, k, rows or the seed is none, or a score is not a number.
        SpaceError: the data are not of the model's space.
    """
    run, model = (None, model) if isinstance(model, Model) else (model, model.model)
    data = run.data if data is None and run is not None else data
    if data is None:
        raise LikelyError("give the data to evaluate on: `evaluate(model, data)`.")
    if part not in ("test", "valid"):
        raise unknown("held-out part", part, ("test", "valid"))
    for name, value, least in (("n", n, 1), ("k", k, 1), ("rows", 1 if rows is None else rows, 1), ("seed", seed, 0)):
        _whole(name, value, least)
    wanted = chosen(metrics)
    pace = Pace(tell, least=0.05)
    options: dict[str, Any] = {"rows": rows, "features": features, "keep": keep, "pace": pace, "fabric": fabric}
    setting = Setting(model, data, part, k=k, n=n, seed=seed, **options)
    for one, what in ((data.train, "training data"), (setting.held, "held-out data")):
        _check(model.space, one, what)
    asked = {name: group for name, group in GROUPS.items() if _is_asked(name, group, setting, wanted)}
    drawing = next((name for name, group in asked.items() if group.samples and not group.why_not(setting)), None)
    for name, group in asked.items():
        if name == drawing:
            pace.plan([Stage(DRAWING, DRAWING, drawing_seconds(setting))])
        pace.plan([Stage(name, name, 0.0 if group.why_not(setting) else group.seconds(setting))])
    results: list[Result] = []
    for name, group in asked.items():
        if name == drawing:
            pace.begin(DRAWING)
            if place(fabric)[0] == 0:
                with suppress(LikelyError):  # the metrics that need samples say what is wrong
                    len(setting.fake)
        if not group.why_not(setting):
            pace.begin(name)
        find = partial(group.results, setting, wanted)
        results += find() if group.shared else by_first(find, fabric)
    pace.end()
    return completed(
        results,
        data=data.name,
        view=data.view,
        fingerprint=data.fingerprint[:12],
        resize=_resized(data),
    )


def _check(space: Space, part: Part, what: str) -> None:
    """Raise unless rows are of a space; of rows on disk the first is looked at, and the others when they are read.

    Raises:
        SpaceError: a row is not.
    """
    with seeded(0):
        x = part.batch(slice(0, min(len(part), 1) if isinstance(part.x, Mapped) else len(part)))[0]
    space.check(x, what, missing=True)


def _whole(name: str, value: Any, least: int) -> None:
    """Raise unless an argument is a whole number, and not too small.

    Raises:
        LikelyError: it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise LikelyError(f"{name} must be a whole number, {least} or more, not {value!r}.")


def _is_asked(name: str, group: Group, setting: Setting, wanted: set[str] | None) -> bool:
    """Return whether a group is to be measured."""
    if wanted is None:
        return group.unasked(setting)
    if name == "features" and setting.features is None:
        return bool(wanted & (set(group.metrics) - set(GROUPS["kernel"].metrics)))
    return not wanted.isdisjoint(group.metrics)


def evaluate_samples(
    real: Any,
    fake: Any,
    *,
    space: Space | None = None,
    seed: int = 0,
    features: str | Extractor | None = None,
    metrics: str | Iterable[str] | None = None,
    resize: str | None = None,
    tell: Tell | None = None,
    fabric: Any = None,
) -> list[Result]:
    """Compare two sets of data: kernel two-sample distances of `fake` from `real`, columns of tables, and by features.

    Data on disk (`load(..., on_disk=True)`) are read a few rows at a time; see `feature_distances` for what is held.

    Arguments:
        real: a data set, whose test part is held against and whose training part gives the floor (without a test part
            all of it is held against, and the floor is one half against the other); or values, (N, ...).
        fake: a data set, all of whose parts count, or values, (M, ...).
        space: what one x is; None takes the data set's, or bytes for whole numbers and reals for the rest.
        seed: decides which rows are taken where there are more than are needed.
        features: as in `evaluate`.
        metrics: names of metrics or groups of which only these are wanted, or None.
        resize: how the named extractor brings pictures to its size, "legacy" or "clean"; None takes its default.
        tell: is told how much is done, what is done, and how many seconds are left.
        fabric: as in `feature_distances`.

    Raises:
        LikelyError: a set is none, or the sets differ in shape or have fewer than two rows.
    """
    wanted = chosen(metrics)
    _whole("seed", seed, 0)
    for one in (real, fake):
        if isinstance(space or getattr(one, "space", None), Sequence):
            name = getattr(one, "name", "these data")
            raise LikelyError(f"{name}: sequences differ in length, and no distance of two sets of them is known here.")
    training, halves, common = None, False, dict[str, Any]()
    if hasattr(real, "train"):
        space = real.space if space is None else space
        if tell is not None:
            tell(0.0, "reading real data", None)
        common = {"data": real.name, "view": real.view, "fingerprint": real.fingerprint[:12], "resize": _resized(real)}
        n = min(len(real.train), len(real.test))
        halves = not n
        training = None if halves else _taken(real.train, n, seed + 1)
        real = _every(real, seed) if halves else _taken(real.test, n, seed)
    if hasattr(fake, "train"):
        fake = _every(fake, seed)
    real, fake = (x if isinstance(x, Mapped) else _values(x, what) for x, what in ((real, "real"), (fake, "fake")))
    shapes = [tuple(torch.as_tensor(x[:1]).shape[1:]) for x in (real, fake)]
    if shapes[0] != shapes[1]:
        raise LikelyError(f"one real datum has shape {shapes[0]}, one fake {shapes[1]}.")
    if space is None:
        space = Finite(shapes[0], 256) if real.dtype == torch.uint8 else Real(shapes[0])
    if isinstance(fake, Tensor):
        fake = space.check(fake, "a fake datum")
    results: list[Result] = []
    if wanted is None or wanted & {*GROUPS["kernel"].metrics, *GROUPS["columns"].metrics}:
        if tell is not None:
            tell(0.0, "kernel distances between data", None)
        results += by_first(lambda: _in_the_data(space, real, fake, training, halves, seed), fabric)
    if features is not None and (wanted is None or wanted & set(GROUPS["features"].metrics)):
        real, fake, training = (None if x is None else complete_rows(space, x) for x in (real, fake, training))
        reader = extractor(features, real if training is None else training, space, resize=resize)
        results += feature_distances(
            reader, space, real, fake, training=training, halves=halves, seed=seed, tell=tell, fabric=fabric
        )
    return completed(results if wanted is None else _only(results, wanted, space, features is not None), **common)


def _values(x: Any, what: str) -> Tensor:
    """Return a set of data as one tensor, (N, ...).

    Raises:
        LikelyError: it is none.
    """
    try:
        values = torch.as_tensor(x)
    except (TypeError, ValueError, RuntimeError) as error:
        raise LikelyError(f"the {what} data cannot be read as an array of numbers ({error}).") from None
    if values.is_complex():
        raise LikelyError(f"the {what} data are complex; real numbers are compared.")
    if values.dim() < 2:
        raise LikelyError(f"the {what} data must have one row per datum, (N, ...), not of shape {tuple(values.shape)}.")
    return values


def _in_the_data(space: Space, real: Any, fake: Any, training: Any, halves: bool, seed: int) -> list[Result]:
    """Return the distances of two sets that need no features."""
    looked = space.check(some_rows(space, fake, seed + 2), "a fake datum")
    results = sample_distances(space, real, looked, training=training, seed=seed, split="test")
    if halves and len(real) >= 4:
        order = torch.randperm(len(real), generator=torch.Generator().manual_seed(seed))
        one, other = (_rows(real, rows.sort().values) for rows in order[: len(order) // 2 * 2].chunk(2))
        for found, floor in zip(results, sample_distances(space, one, other, seed=seed), strict=True):
            found["protocol"] |= {
                "floor": floor["value"],
                "floor_standard_error": floor["protocol"]["standard_error"],
                "floor_n": floor["protocol"]["n_real"],
                "floor_of": "two halves of the real rows",
            }
    if len(space.shape) == 1 and not isinstance(space, Sequence):
        rows = some_rows(space, real, seed)  # where the value is missing, the row counts in the other columns
        results += table_distances(space, rows, looked, training=training, seed=seed)
    return results


def _only(results: list[Result], wanted: set[str], space: Space, by_features: bool) -> list[Result]:
    """Return the wanted results, and for those that two sets cannot have, why."""
    kept, had = [one for one in results if one["metric"] in wanted], {one["metric"] for one in results}
    for name in metric_names():
        if name in wanted and name not in had:
            reason = "two sets alone do not tell."
            if name in GROUPS["features"].metrics:
                reason = GROUPS["features"].absent[name] if by_features else NO_FEATURES
            elif name in GROUPS["columns"].metrics:
                reason = GROUPS["columns"].absent[name] if len(space.shape) == 1 else no_table(space)
            kept.append(missing(name, reason))
    return kept


def _rows(x: Any, rows: Tensor) -> Any:
    return x.take(rows.numpy()) if isinstance(x, Mapped) else x[rows]


def _taken(part: Part, n: int, seed: int) -> Any:
    """Return n different rows of a part (all, if there are fewer), in its order; what lies on disk stays there."""
    with seeded(seed):
        rows = torch.randperm(len(part))[:n].sort().values
        if isinstance(part.x, Mapped) and part.dynamic is None:
            return _rows(part.x, rows)
        return part.batch(rows)[0]


def _every(data: Data, seed: int) -> Any:
    """Return the values of all parts, in the order of the file where that is known; what lies on disk stays there."""
    parts = [part for part in data.parts.values() if len(part)]
    if all(isinstance(part.x, Mapped) and part.dynamic is None for part in parts):
        first: Mapped = parts[0].x
        if len(parts) == 1:
            return first
        return Mapped(first.array, first.change, np.sort(np.concatenate([part.x.rows[:] for part in parts])))
    values = torch.cat([_taken(part, len(part), seed) for part in parts])
    known = [part.rows for part in parts if part.rows is not None]
    return values[torch.cat(known).argsort()] if len(known) == len(parts) else values


def _resized(data: Data) -> str | None:
    """Return how pictures were brought to size, or None where they are as they were."""
    size = data.source.get("size")
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    return f"{height} x {width}, {data.source.get('resize') or 'Lanczos'}"
