"""Learning by sufficient statistics: one pass is closed form, many are expectation maximisation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from likely.core import Statistics
from likely.data.parts import Part
from likely.training.optimize import UPDATE, NonFiniteLoss, has_missing, on_stream, start
from likely.training.processes import Group
from likely.training.state import State, Step


def by_statistics(
    model: Statistics,
    part: Part,
    *,
    passes: int = 0,
    tolerance: float = 1e-4,
    batch: int = 10_000,
    seed: int = 0,
    resume: tuple[dict[str, Any], dict[str, Tensor]] | None = None,
    fabric: Any = None,
) -> Iterator[Step]:
    """Yield a `Step` after each pass over the data: statistics of all batches added up, then the best parameters.

    The logged loss is the negative mean log-likelihood of the parameters *before* the pass, in nats per datum: EM makes
    it fall. The loop ends when a pass gains less than `tolerance`.

    Arguments:
        model: the model; it is trained in place.
        part: the training rows; `part.weight` counts them.
        passes: the most passes; 0 takes one where one is enough (`closed_form`, no missing values), else 100.
        tolerance: the gain in nats per datum below which to stop.
        batch: rows per call of `e_step`: bounds memory, does not change the result.
        seed: decides where the model starts.
        resume: what `State.plain` and `State.tensors` returned; the model holds the parameters of that pass.
        fabric: a launched `lightning_fabric.Fabric`: its processes share the rows and add their statistics up.

    Raises:
        NonFiniteLoss: the likelihood became infinite or NaN.
    """
    state, processes = State(), Group(fabric)
    if resume is None:
        start(model, part, seed)
    else:
        state.restore(*resume)
    processes.same_start(model)
    once = model.closed_form and not has_missing(part)
    passes = passes or (1 if once else 100)
    before, gain = state.extra.get("log_likelihood", -math.inf), state.extra.get("gain", math.inf)
    for index in range(state.step, passes):
        if gain < tolerance:
            return
        total: dict[str, Any] = {}
        with on_stream(seed, UPDATE, index), torch.no_grad():
            for rows in part.sweep(batch):
                stats = processes.e_step(model, part, rows)
                total = {name: total[name] + value for name, value in stats.items()} if total else stats
            total = processes.sum(total)
            now = float(total["log_likelihood"] / total["count"])
            if math.isnan(now) or now == math.inf:
                raise NonFiniteLoss(f"the log-likelihood became {now} at pass {index + 1}; are two columns identical?")
            model.m_step(total)
        gain, before = now - before if index > 0 else math.inf, now
        state.step, state.extra = index + 1, {"log_likelihood": now, "gain": gain}
        last = gain < tolerance or state.step == passes
        yield Step(state.step, {"loss": -now}, state, model, (index + 1) * len(part), last)
