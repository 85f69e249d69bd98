"""What every model promises: samples of its space, seeds, no side effects, saving, and clear refusals."""

from __future__ import annotations

import copy
import dataclasses
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from likely import core
from likely.core import Completer, Marginal, Model, _rows
from likely.errors import LikelyError, SpaceError
from likely.spaces import Ragged, Real, Space, _Discrete
from likely.testing.subject import ROWS, Subject, expect, promise


def same(a: Any, b: Any) -> bool:
    """Whether two answers are the same, byte by byte."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num())


def close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Whether two tensors are equal up to a tolerance, relative to their size where that is above 1."""
    a, b = a.double(), b.double()
    scale = torch.maximum(a.abs(), b.abs()).clamp(min=1)
    return a.shape == b.shape and bool(((a - b).abs() <= tolerance * scale).all())


def apart(a: Tensor, b: Tensor) -> str:
    """Say how far two tensors of the same shape are apart."""
    if a.shape != b.shape:
        return f"shapes {tuple(a.shape)} and {tuple(b.shape)}"
    worst = int((a.double() - b.double()).abs().flatten().nan_to_num(torch.inf).argmax())
    return f"{float(a.flatten()[worst]):.6g} and {float(b.flatten()[worst]):.6g}"


@promise(Model)
def final_methods(s: Subject) -> None:
    """The public methods are those of likely.core; a model writes their underscored twins."""
    for name in core.ABILITIES:
        ability = getattr(core, name)
        for method, function in vars(ability).items():
            if isinstance(s.model, ability) and getattr(function, "__final__", False):
                own = getattr(type(s.model), method) is function
                expect(own, f"{type(s.model).__name__} overrides {method}; write _{method} instead.")


@promise(Model)
def samples(s: Subject) -> None:
    """Samples are values of the space, as many as asked."""
    for n in (0, 1, ROWS):
        x = s.model.sample(n, None if s.cond is None else s.cond[:n], seed=0)
        expect(s.model.space.contains(x), f"sample({n}) gave values outside {s.model.space}.")
        values, count = (x.values, len(x.lengths)) if isinstance(x, Ragged) else (x, len(x))
        expect(count == n, f"sample({n}) gave {count} values.")
        expect(values.dtype == s.model.space.dtype, f"samples are {values.dtype}, not {s.model.space.dtype}.")
        expect(not values.requires_grad, "samples carry a gradient.")


@promise(Model)
def seeds(s: Subject) -> None:
    """The same seed gives the same bytes; another seed gives other samples."""
    for (name, first), (_, second) in zip(s.answers(seed=5), s.answers(seed=5), strict=True):
        expect(same(first, second), f"{name} gave two answers with the same seed: something is drawn unseeded.")
    first, second = (s.model.sample(4 * ROWS, seed=seed) for seed in (5, 6))
    expect(not same(first, second), "two seeds gave the same samples.")


@promise(Model)
def global_random_state(s: Subject) -> None:
    """Asking leaves the global random state of torch, numpy and Python untouched."""
    before = _random_states()
    for name, _ in s.answers():
        after = _random_states()
        for library in before:
            expect(before[library] == after[library], f"{name} changed the global random state of {library}.")


def _random_states() -> dict[str, str]:
    states = np.random.get_state(legacy=False)  # noqa: NPY002 - the global state is what must not change
    return {
        "torch": str(torch.get_rng_state().tolist()),
        "numpy": str((states["state"]["key"].tolist(), states["state"]["pos"])),  # type: ignore[index, call-overload]
        "Python": str(random.getstate()),
    }


@promise(Model)
def no_trace(s: Subject) -> None:
    """Asking is done in evaluation mode and changes neither the weights nor the mode."""
    model = s.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    calm = dict(s.answers())
    try:
        model.train()
        for name, answer in s.answers():
            expect(same(answer, calm[name]), f"{name} answers differently in training mode.")
            expect(all(m.training for m in model.modules()), f"{name} left the model in evaluation mode.")
    finally:
        model.eval()
    for name, value in model.state_dict().items():
        expect(same(value, before[name]), f"asking changed '{name}'.")


@promise(Model)
def save_and_load(s: Subject) -> None:
    """Weights written and read again, into a model built anew, give the same samples and scores."""
    weights = {name: value.contiguous().clone() for name, value in s.model.state_dict().items()}
    written = safetensors.torch.save(weights)
    other = Subject(_rebuilt(s), s.label)
    other.__dict__["model"] = other.initial
    try:
        other.model.load_state_dict(safetensors.torch.load(written))
    except RuntimeError as error:
        lines = " ".join(str(error).split())
        raise AssertionError(f"the saved weights do not fit the model built anew: {lines}") from None
    other.model.eval()
    for (name, answer), (_, again) in zip(s.answers(), other.answers(), strict=True):
        expect(same(answer, again), f"{name} differs after saving and loading: some weight is not in the state_dict.")


def _rebuilt(s: Subject) -> Model:
    """Return the model as a loader builds it: by name and numbers, or a copy whose plain tensors are spoilt.

    What is neither parameter nor buffer is not saved, so a copy must not carry it over.
    """
    from likely import registry

    model = s.initial
    if model.name:
        return registry.build(model.name, model.space, model.cond_space, seed=99, **model.numbers)
    model = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for value in [*model.parameters(), *_plain_tensors(model)]:
            if value.is_floating_point():
                value.add_(torch.randn(value.shape, generator=generator).to(value))
    return model


def _plain_tensors(model: nn.Module) -> Iterator[Tensor]:
    """Yield the tensors that modules hold as ordinary attributes."""
    for module in model.modules():
        for name, value in vars(module).items():
            if name not in ("_parameters", "_buffers", "_modules"):
                parts = value.values() if isinstance(value, dict) else value
                parts = parts if isinstance(parts, (list, tuple, type({}.values()))) else [value]
                yield from (part for part in parts if isinstance(part, Tensor))


@promise(Model)
def refusals(s: Subject) -> None:
    """Values of another shape or outside the space, and a wrong condition, are refused with a SpaceError."""
    if isinstance(s.x, tuple):
        return
    bad = {"another shape": torch.zeros(2, *s.model.space.shape, 3), "a value outside": _outside(s.model.space)}
    cond = None if s.cond is None else s.cond[:2]
    for name, ask in s.questions().items():
        if name in ("decode", "log_marginal", "complete"):  # they have their own arguments
            continue
        for what, x in bad.items():
            _refused(f"{name}(x with {what})", SpaceError, lambda ask=ask, x=x: ask(x, cond, 0))
        _refused(f"{name}(x, a wrong cond)", SpaceError, lambda ask=ask: ask(s.x[:2], _wrong(s.model.cond_space), 0))
    if isinstance(s.model, Completer):
        model = s.model
        _refused("complete(x, a wrong mask)", SpaceError, lambda: model.complete(s.x, s.known[:, None], s.cond))
    _refused("sample(2, a wrong cond)", SpaceError, lambda: s.model.sample(2, _wrong(s.model.cond_space)))
    _refused("sample(-1)", LikelyError, lambda: s.model.sample(-1))


def _outside(space: Space) -> Tensor:
    if isinstance(space, _Discrete):
        return torch.full((2, *space.shape), float(space.levels))
    return torch.full((2, *space.shape), torch.inf)


def _wrong(space: Space | None) -> Tensor:
    return torch.zeros(2) if space is None else torch.zeros(2, *space.shape, 7, 7)


def _refused(question: str, error: type[Exception], ask: Any) -> None:
    try:
        ask()
    except error:
        return
    raise AssertionError(f"{question} was not refused with {error.__name__}.")


@promise(Model)
def finite_scores(s: Subject) -> None:
    """A score is one finite floating-point number for each row, wherever in the space the row lies."""
    for name, ask in s.scores().items():
        score = ask(s.x, s.cond, 0)
        expect(tuple(score.shape) == (ROWS,), f"{name} of {ROWS} rows has shape {tuple(score.shape)}.")
        expect(score.is_floating_point(), f"{name} is {score.dtype}.")
        expect(score.isfinite().all(), f"{name} is {float(score[~score.isfinite()][:1].sum())} for a row of the space.")
        expect(not score.requires_grad, f"{name} carries a gradient though x does not ask for one.")


@promise(Model)
def rows_are_independent(s: Subject) -> None:
    """A row's score does not depend on the rows beside it, nor on their order."""
    if isinstance(s.cond, tuple):
        return
    model, order = s.model, torch.randperm(ROWS, generator=torch.Generator().manual_seed(6))
    asked: dict[str, Any] = {
        name: (lambda rows, ask=ask: ask(_rows(s.x, rows), _rows(s.cond, rows), 0))
        for name, ask in s.questions().items()
        if name in ("log_prob", "energy", "encode")
    }
    if isinstance(model, Marginal):
        asked["log_marginal"] = lambda rows: model.log_marginal(_rows(s.x, rows), s.known[rows], _rows(s.cond, rows))
    for name, ask in asked.items():
        batch, permuted = ask(slice(None)), ask(order)
        expect(close(permuted, batch[order], 1e-5), f"{name} changes with the order: {apart(permuted, batch[order])}.")
        loop = torch.cat([ask(slice(i, i + 1)) for i in range(ROWS)])
        expect(close(loop, batch, 1e-5), f"{name} of one row and of a batch differ: {apart(loop, batch)}.")


@promise(Model, when=lambda model: isinstance(model.space, Real))
def double_precision(s: Subject) -> None:
    """Data in float64 get the same score as in float32."""
    for name, ask in s.scores().items():
        single, double = ask(s.x, s.cond, 0), ask(s.x.double(), s.cond, 0)
        if name in ("log_prob", "energy"):
            expect(close(single, double, 1e-4), f"{name} in float32 and float64: {apart(single, double)}.")
        expect(double.isfinite().all(), f"{name} of float64 data is not finite.")


@promise(Model, when=lambda model: bool(model.name))
def thousand_dimensions(s: Subject) -> None:
    """Samples and scores stay finite at a thousand dimensions, where the builder takes such a space."""
    from likely import registry

    model = s.initial
    if isinstance(s.x, tuple) or isinstance(s.cond, tuple):
        return
    shape = (*model.space.shape[:-2], 32, 32) if len(model.space.shape) > 2 else (1000,)
    even = {"values": None} if hasattr(model.space, "values") else {}
    large = dataclasses.replace(model.space, shape=shape, names=None, **even)
    try:
        built = registry.build(model.name, large, model.cond_space, **model.numbers)
    except LikelyError:
        return  # the builder says that it does not take this space
    bigger = Subject(built, s.label)
    bigger.__dict__["model"] = built
    x, cond = bigger.data(ROWS)
    if isinstance(built, core.Statistics):
        built.m_step(built.e_step(x, cond))
    drawn = built.sample(2, None if cond is None else cond[:2], seed=0)
    for name, ask in bigger.scores().items():
        score = ask(torch.cat([x[:2], drawn]), None if cond is None else torch.cat([cond[:2], cond[:2]]), 0)
        found = ", ".join(f"{value:g}" for value in score.tolist())
        expect(score.isfinite().all(), f"{name} of two data and two samples of shape {shape} is {found}.")


# Conditions --------------------------------------------------------------------------------------------------------


@promise(Model, when=lambda model: model.cond_space is not None)
def condition(s: Subject) -> None:
    """What is given matters, and a score without it is refused."""
    if isinstance(s.cond, tuple):
        return
    for name, ask in s.scores().items():
        _refused(f"{name} without cond", SpaceError, lambda ask=ask: ask(s.x, None, 0))
    asked = {"sample": lambda c: s.model.sample(ROWS, c, seed=0).double()}
    asked |= {name: (lambda c, ask=ask: ask(s.x, c, 0)) for name, ask in s.scores().items()}
    for name, ask_given in asked.items():
        answers = [ask_given(c) for c in s.conditions]
        differ = any(not torch.equal(answers[0], other) for other in answers[1:])
        expect(differ, f"{name} is the same for every condition.")
