"""What a training step leaves behind, and what a resumed run needs besides the weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from likely.core import Model


def stream(seed: int, *path: int) -> int:
    """Return the seed of an independent random stream for (seed, path): splitmix64 over the numbers.

    Every step draws from the stream of (seed, step) and every epoch shuffles by (seed, epoch), so a resumed run needs
    no saved random state to continue bit for bit.

    Reference: Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, 2014,
    doi.org/10.1145/2660193.2660195.
    """
    mask = (1 << 64) - 1
    state = 0
    for number in (seed, *path):
        state = (state ^ (number & mask)) + 0x9E3779B97F4A7C15 & mask
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & mask
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & mask
        state ^= state >> 31
    return state >> 1


class Average:
    """The exponential moving average of a model's floating-point state, with a warm-up.

    average <- d average + (1 - d) value, d = min(decay, (1 + step) / (10 + step)); whole-number state is copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            mine = self.values[name]
            if mine.is_floating_point():
                mine.lerp_(value, 1 - decay)
            else:
                mine.copy_(value)


@dataclass
class State:
    """Everything that a loop needs to go on, besides the model's own weights.

    Arguments:
        step: how many updates were made.
        optimizers: player -> optimiser; "model" where there is one player.
        average: the moving average of the weights, or None.
        extra: other numbers a loop keeps (the last log-likelihood of EM).
        steps: how many updates there will be; who reads the steps may change it, and the schedule with it.
    """

    step: int = 0
    optimizers: dict[str, torch.optim.Optimizer] = field(default_factory=dict)
    average: Average | None = None
    extra: dict[str, float] = field(default_factory=dict)
    steps: int = 0

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor of the state under a flat name."""
        found: dict[str, Tensor] = {}
        for player, optimizer in self.optimizers.items():
            for index, values in optimizer.state_dict()["state"].items():
                found |= {f"optimizer/{player}/{index}/{k}": v for k, v in values.items() if isinstance(v, Tensor)}
        if self.average is not None:
            found |= {f"average/{name}": value for name, value in self.average.values.items()}
        return found

    def plain(self) -> dict[str, Any]:
        """Return the numbers of the state."""
        return {"step": self.step, "extra": self.extra}

    def restore(self, plain: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take over what `plain` and `tensors` returned, into optimisers and an average built the same way."""
        self.step = int(plain["step"])
        self.extra = dict(plain["extra"])
        for player, optimizer in self.optimizers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                kind, _, rest = name.partition("/")
                if kind == "optimizer" and rest.split("/")[0] == player:
                    _, index, key = rest.split("/")
                    state.setdefault(int(index), {})[key] = value
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        if self.average is not None:
            for name, mine in self.average.values.items():
                mine.copy_(tensors[f"average/{name}"])


@dataclass
class Step:
    """What a loop yields after each update.

    Arguments:
        index: how many updates were made, from 1 (passes over the data for `by_statistics`).
        metrics: name -> number; "loss" is always there; the players' terms are "generator/loss" and so on.
        state: what a resumed run needs.
        data: how many rows were used so far.
        last: whether no update follows.
    """

    index: int
    metrics: dict[str, float]
    state: State
    model: Model
    data: int = 0
    last: bool = False
