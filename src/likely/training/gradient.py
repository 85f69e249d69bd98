"""Learning by descent on the model's loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from likely.core import Gradient, Written
from likely.data.parts import Part
from likely.training.optimize import UPDATE, Order, autocast, draw, finite, make_optimizer, on_stream, rate, start
from likely.training.processes import Group
from likely.training.state import Average, State, Step

LOGGED = 10  #: every how many updates a model that writes its gradient out is asked for all its terms


def by_gradient(
    model: Gradient,
    part: Part,
    *,
    steps: int = 2000,
    batch: int = 128,
    learning_rate: float = 1e-3,
    optimizer: str = "adam",
    momentum: float = 0.9,
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
    """Yield a `Step` after each update of the model by the gradient of its loss; the caller logs, saves and stops.

    Arguments:
        model: the model; it is trained in place.
        part: the training rows.
        steps: how many updates.
        batch: rows per update.
        learning_rate: the optimiser's step size, before the schedule.
        optimizer: adam, adamw or sgd.
        momentum: Adam's beta1, or SGD's momentum.
        weight_decay: pull of the weights towards 0.
        schedule: constant, cosine or linear decay to 0 at the last step.
        warmup: updates over which the learning rate rises from 0.
        clip: the largest norm of the gradient; 0 leaves it alone.
        average: decay of the moving average of the weights (`step.state.average`); 0 keeps none.
        precision: auto (bfloat16 where the processor has it and the model allows), float32 or bfloat16.
        compile: compile the loss with torch.compile; pays on long runs.
        seed: decides data order and noise; step i draws from the stream (seed, i).
        resume: what `State.plain` and `State.tensors` returned; the model holds the weights of that step.
        fabric: a launched `lightning_fabric.Fabric`: its processes share each batch and average their gradients.

    Raises:
        NonFiniteLoss: the loss became infinite or NaN; its update was not made.

    Example:
        >>> import likely
        >>> from likely.data.parts import Part
        >>> space = likely.Binary((4,))
        >>> model = likely.build("nade", space, hidden=8)
        >>> for step in by_gradient(model, Part(space.random(100)), steps=3):
        ...     pass
        >>> step.index
        3
    """
    if model.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    parameters = [p for p in model.parameters() if p.requires_grad]
    descent = make_optimizer(parameters, optimizer, learning_rate, momentum, weight_decay)
    if resume is None:
        start(model, part, seed)
    state = State(0, {"model": descent}, Average(model, average) if average else None)
    state.steps = steps
    if resume is not None:
        state.restore(*resume)
    processes = Group(fabric, batch=min(batch, len(part)))
    processes.same_start(model)
    loss = torch.compile(model.loss, dynamic=False) if compile else model.loss
    order, context = Order(part, batch, seed), autocast(model, precision)
    while state.step < state.steps:
        index = state.step
        if not model.training:
            model.train()
        for group in descent.param_groups:
            group["lr"] = learning_rate * rate(schedule, index, state.steps, warmup)
        with on_stream(seed, UPDATE, index, *processes.own):
            rows = processes.share(order(index))
            x, cond = draw(model, part, rows)
            gradients: list[torch.Tensor] = []
            with context:
                if isinstance(model, Written):
                    losses, gradients = model.gradient(x, cond, terms=index % LOGGED == 0)
                else:
                    losses = loss(x, cond)
            metrics = finite(processes.mean(losses, len(rows), order.batch), index + 1)
            if gradients:
                for parameter, value in zip(parameters, gradients, strict=True):
                    parameter.grad = value
            else:
                descent.zero_grad(set_to_none=True)
                losses["loss"].backward()
            processes.average_gradients(parameters, len(rows), order.batch)
            if clip:
                metrics["gradient"] = float(torch.nn.utils.clip_grad_norm_(parameters, clip))
            descent.step()
        if state.average is not None:
            state.average.update(model, index)
        state.step = index + 1
        yield Step(state.step, metrics, state, model, (index + 1) * order.batch, state.step == state.steps)
