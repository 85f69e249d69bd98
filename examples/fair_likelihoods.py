"""Three families on the same digits, scored in the same unit: exact and bound side by side.

python examples/fair_likelihoods.py [steps]
"""

import sys

import likely
from likely.evaluation import scores

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 1500
data = likely.data.load("digits")

for name, numbers in {"bernoulli": {}, "gmm": {"components": 10}, "nade": {"hidden": 128}}.items():
    model = likely.build(name, data.space, seed=0, **numbers)
    options = {"steps": steps} if isinstance(model, likely.core.Gradient) else {}
    for step in likely.fit(model, data.train, **options):
        pass  # the loop is yours: log, plot, stop early
    nats, sign = scores(model, data.test.x, k=64, seed=0)
    print(f"{name:10} {sign:>2} {nats.mean():8.1f} nats  (after {step.index} updates)")
