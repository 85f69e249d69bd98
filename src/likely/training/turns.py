"""Learning by taking turns: GANs, adversarial autoencoders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from likely.core import Turns
from likely.data.parts import Part
from likely.training.optimize import UPDATE, Order, autocast, draw, finite, make_optimizer, on_stream, rate, start
from likely.training.processes import Group
from likely.training.state import Average, State, Step


def by_turns(
    model: Turns,
    part: Part,
    *,
    steps: int = 2000,
    batch: int = 128,
    learning_rate: float = 2e-4,
    optimizer: str = "adam",
    momentum: float = 0.5,
    weight_decay: float = 0.0,
    schedule: str = "constant",
    warmup: int = 0,
    clip: float = 0.0,
    average: float = 0.0,
    precision: str = "auto",
    compile: bool = False,
    seed: int = 0,
    resume: tuple[dict[str, Any], dict[str, torch.Tensor]] | None = None,
    fabric: Any = None,
) -> Iterator[Step]:
    """Yield a `Step` after each round in which every player of `model.turns` moved once, each on rows of its own.

    Arguments are those of `by_gradient`; each player has an optimiser of its own, and Adam's beta1 (`momentum`) starts
    at 0.5, after Radford et al., 2016. A player's update moves that player's parameters only.

    Raises:
        NonFiniteLoss: a player's loss became infinite or NaN; its update was not made.
    """
    if model.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    players = {name: [p for p in module.parameters() if p.requires_grad] for name, module in model.players.items()}
    descents = {
        name: make_optimizer(parameters, optimizer, learning_rate, momentum, weight_decay)
        for name, parameters in players.items()
    }
    if resume is None:
        start(model, part, seed)
    state = State(0, dict(descents), Average(model, average) if average else None)
    state.steps = steps
    if resume is not None:
        state.restore(*resume)
    processes = Group(fabric, batch=min(batch, len(part)))
    processes.same_start(model)
    loss = torch.compile(model.loss, dynamic=False) if compile else model.loss
    order, context, turns = Order(part, batch, seed), autocast(model, precision), model.turns
    while state.step < state.steps:
        index = state.step
        if not model.training:
            model.train()
        metrics: dict[str, float] = {}
        with on_stream(seed, UPDATE, index, *processes.own):
            for turn, player in enumerate(turns):
                for group in descents[player].param_groups:
                    group["lr"] = learning_rate * rate(schedule, index, state.steps, warmup)
                rows = processes.share(order(index * len(turns) + turn))
                x, cond = draw(model, part, rows)
                with context:
                    losses = loss(x, cond, player)
                metrics |= finite(processes.mean(losses, len(rows), order.batch), index + 1, player)
                descents[player].zero_grad(set_to_none=True)
                losses["loss"].backward(inputs=players[player])
                processes.average_gradients(players[player], len(rows), order.batch)
                if clip:
                    norm = torch.nn.utils.clip_grad_norm_(players[player], clip)
                    metrics[f"{player}/gradient"] = float(norm)
                descents[player].step()
        metrics["loss"] = metrics[f"{turns[-1]}/loss"]
        if state.average is not None:
            state.average.update(model, index)
        state.step = index + 1
        yield Step(state.step, metrics, state, model, (index + 1) * order.batch * len(turns), state.step == state.steps)
