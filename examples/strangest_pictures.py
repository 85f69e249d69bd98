"""Which test digits are the strangest? Any model with a score finds out.

python examples/strangest_pictures.py
"""

import likely
from likely.evaluation import scores

data = likely.data.load("digits")
model = likely.build("gmm", data.space, components=20)
for _ in likely.fit(model, data.train):
    pass

nats, _ = scores(model, data.test.x, k=16, seed=0)
for row in nats.argsort()[:10].tolist():
    print(f"test row {row:3}: {nats[row]:8.1f} nats, labelled {int(data.test.cond[row])}")
