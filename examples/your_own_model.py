"""A model of your own in thirty lines, held to the same contract as those of the package.

python examples/your_own_model.py
"""

import torch
from torch import Tensor, nn

import likely
from likely.core import Density, Gradient
from likely.data.parts import Part
from likely.testing import check_model


class Laplace(Density, Gradient):
    """p(x) = prod_i exp(-|x_i - m_i| / b_i) / (2 b_i): sharper peaks and longer tails than a Gaussian."""

    autocast = False  # plain arithmetic gains nothing from bfloat16

    def __init__(self, space: likely.Real) -> None:
        super().__init__(space)
        self.centre = nn.Parameter(torch.zeros(space.shape))
        self.log_scale = nn.Parameter(torch.zeros(space.shape))

    def _law(self) -> torch.distributions.Laplace:
        return torch.distributions.Laplace(self.centre, self.log_scale.exp())

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        return self._law().log_prob(x).flatten(1).sum(1)

    def _sample(self, n: int, cond: Tensor | None) -> Tensor:
        return self._law().sample((n,))

    def loss(self, x: Tensor, cond: Tensor | None = None) -> dict[str, Tensor]:
        return {"loss": -self._log_prob(x, cond).mean()}


check_model(Laplace(likely.Real((2,))))
print("the contract holds")

model = Laplace(likely.Real((1,)))
rows = torch.distributions.Laplace(3.0, 0.5).sample((5000, 1))
for step in likely.fit(model, Part(rows), steps=1000, learning_rate=0.02, schedule="cosine"):
    pass
print(f"centre {model.centre.item():.2f} (3.00), scale {model.log_scale.exp().item():.2f} (0.50)")
