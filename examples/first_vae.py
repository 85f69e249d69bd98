"""Fit a VAE on digits, draw new ones, bound their likelihood, and save a picture.

python examples/first_vae.py [steps]
"""

import sys

import likely
from likely.report.pictures import grid

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 1500
run = likely.train("vae", "digits", steps=steps, seed=0)

x = run.data.test.x[:200]
bound = run.model.iwelbo(x, k=64, seed=0)
print(f"test digits: >= {bound.mean():.1f} nats (k=64) on average over {len(x)}")

samples = run.model.sample(64, seed=0)  # (64, 1, 8, 8), levels 0 to 16, as in the data
grid(samples, run.data.space).save(run.folder / "grid.png")
print(f"64 new digits: {run.folder / 'grid.png'}")
