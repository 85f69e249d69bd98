"""Dense layers, one after another."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from likely.errors import LikelyError

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


class MLP(nn.Sequential):
    """A multilayer perceptron, (B, inputs) -> (B, outputs): `depth` hidden layers of `width` units, then a linear one.

    Arguments:
        inputs: numbers per row that come in; rows of another shape are flattened.
        outputs: numbers per row that go out.
        width: units per hidden layer.
        depth: hidden layers, 0 for a linear map.
        activation: "relu", "silu" or "tanh".
        zero: whether the last layer starts at zero, so that the network begins as the constant 0.
    """

    def __init__(
        self, inputs: int, outputs: int, width: int, depth: int, activation: str = "relu", zero: bool = False
    ) -> None:
        positive("width", width)
        if depth < 0:
            raise LikelyError(f"depth must be 0 or more, not {depth}.")
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Linear(inputs, width), ACTIVATIONS[activation]()]
            inputs = width
        last = nn.Linear(inputs, outputs)
        if zero:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        super().__init__(*layers, last)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """Return the outputs; a condition vector (B, c) is put beside x and counts among `inputs`."""
        x = x.flatten(1)
        return super().forward(x if cond is None else torch.cat([x, cond.to(x.dtype)], 1))


def positive(name: str, value: int) -> None:
    """Raise one clear line unless a number of units, layers or channels is 1 or more."""
    if value < 1:
        raise LikelyError(f"{name} must be 1 or more, not {value}.")
