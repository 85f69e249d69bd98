"""Watch a GAN learn eight Gaussians on a ring; the loop of turns is a plain `for`.

python examples/gan_by_hand.py [steps]
"""

import sys

import likely

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
data = likely.data.load("ring")
model = likely.build("gan", data.space, seed=0, latent=8, width=128)

for step in likely.fit(model, data.train, steps=steps, batch=256, learning_rate=1e-3):
    if step.index % max(1, steps // 5) == 0:
        samples = model.sample(2000, seed=0)
        on_the_data = data.true_log_prob(samples).mean()
        print(
            f"step {step.index}: critic {step.metrics['critic/loss']:.3f}, generator "
            f"{step.metrics['generator/loss']:.3f}, mean log p_data(sample) {on_the_data:.2f} nats"
        )
