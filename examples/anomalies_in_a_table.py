"""Which rows of a table are strange, and because of which column? No labels are needed.

python examples/anomalies_in_a_table.py
"""

import torch

import likely
from likely.data.parts import Part
from likely.evaluation.anomaly import Detector
from likely.evaluation.detection import alarm_threshold

names = ("height", "weight", "age")
torch.manual_seed(0)
height = 170 + 10 * torch.randn(2000)
table = torch.stack([height, 65 + 0.9 * (height - 170) + 6 * torch.randn(2000), 40 + 12 * torch.randn(2000)], 1)

model = likely.build("gaussian", likely.Real((3,), names=names))
for _ in likely.fit(model, Part(table[:1000])):
    pass

# Two rows are spoilt. Each of their numbers is usual by itself: what is strange is how they go together.
asked = table[1500:].clone()
asked[7, :2] = torch.tensor([186.0, 52.0])
asked[42, :2] = torch.tensor([152.0, 81.0])

detector = Detector(model)
line = alarm_threshold(detector(table[1000:1500]), false_alarms=0.01)  # from rows that the model has not seen
scores = detector(asked)
parts = detector.contributions(asked)
print(f"{int((scores > line).sum())} of {len(asked)} rows are stranger than {line:.2f} nats; the first three:")
for row in scores.argsort(descending=True)[:3].tolist():
    reasons = ", ".join(f"{name} {part:.1f}" for name, part in zip(names, parts[row].tolist(), strict=True))
    print(f"row {row:3}: {scores[row]:6.2f} nats; given the other columns: {reasons}")
