"""A table with holes: fit a Gaussian by EM, score rows with missing entries exactly, and fill them in.

python examples/missing_values.py
"""

import torch

import likely
from likely.data.parts import Part

torch.manual_seed(0)
mixing = torch.tensor([[2.0, 0.0, 0.0], [1.5, 0.5, 0.0], [-1.0, 0.3, 0.2]])
table = torch.randn(2000, 3) @ mixing.T + torch.tensor([170.0, 65.0, 30.0])
table[torch.rand(table.shape) < 0.2] = torch.nan

model = likely.build("gaussian", likely.Real((3,), names=("height", "weight", "age")))
for step in likely.fit(model, Part(table)):
    pass
print(f"EM took {step.index} passes; {-step.metrics['loss']:.3f} nats per row over what is known")

row = torch.tensor([[173.0, torch.nan, 28.0]])
print(f"log p(height, age) = {model.log_prob(row).item():.3f} nats, weight integrated out")
filled = model.complete(row.expand(1000, 3), seed=0)[:, 1]
print(f"weight given the rest: {filled.mean():.1f} ± {filled.std():.1f}")
