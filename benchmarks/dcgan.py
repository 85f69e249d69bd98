"""How many images a second a DCGAN learns: our loop against the plain textbook loop, on the same networks.

    python benchmarks/dcgan.py

The game is 32x32 RGB, latent 100, 64 channels next to the picture, batch 128. The textbook loop is that of every
tutorial: DataLoader, float32, NCHW, plain Adam, the generated batch shared by both players. The rounds are interleaved
in one process, so that a busy machine slows every row alike; printed are medians over the rounds and their ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import likely
from likely.data.parts import Part
from likely.training.turns import by_turns

SPACE, BATCH, WIDTH, LATENT = likely.Finite((3, 32, 32), 256), 128, 64, 100


def ours(images: Tensor, **options: Any) -> Iterator[object]:
    """Learn for ever by our loop, one update of both players at each `next`."""
    model: Any = likely.build("dcgan", SPACE, latent=LATENT, width=WIDTH)
    return by_turns(model, Part(images), steps=10**9, batch=BATCH, **options)


def textbook(images: Tensor) -> Iterator[object]:
    """Learn for ever as the tutorials do, one update of both players at each `next`."""
    model: Any = likely.build("dcgan", SPACE, latent=LATENT, width=WIDTH)
    generator, critic = model.generator.train(), model.critic.train()
    generator_adam = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    critic_adam = torch.optim.Adam(critic.parameters(), lr=2e-4, betas=(0.5, 0.999))
    loader = DataLoader(TensorDataset(images.float() / 127.5 - 1), batch_size=BATCH, shuffle=True, drop_last=True)
    ones, zeros = torch.ones(BATCH), torch.zeros(BATCH)
    while True:
        for (real,) in loader:
            critic_adam.zero_grad()
            fake = generator(torch.randn(BATCH, LATENT), None).tanh()
            real_loss = cross_entropy(critic(real, None), ones)
            real_loss.backward()
            fake_loss = cross_entropy(critic(fake.detach(), None), zeros)
            fake_loss.backward()
            critic_adam.step()
            generator_adam.zero_grad()
            loss = cross_entropy(critic(fake, None), ones)
            loss.backward()
            generator_adam.step()
            yield real_loss.item(), fake_loss.item(), loss.item()


def timed(loop: Iterator[object], steps: int) -> Callable[[], float]:
    """Return one round: images per second over some steps of the loop."""

    def run() -> float:
        began = time.perf_counter()
        for _ in range(steps):
            next(loop)
        return steps * BATCH / (time.perf_counter() - began)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4, help="updates per round")
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    torch.manual_seed(0)
    images = torch.randint(256, (20 * BATCH, 3, 32, 32), dtype=torch.uint8)
    rows = {
        "likely": timed(ours(images), asked.steps),
        "likely, float32": timed(ours(images, precision="float32"), asked.steps),
        "textbook loop": timed(textbook(images), asked.steps),
    }
    speeds: dict[str, list[float]] = {name: [] for name in rows}
    for run in rows.values():
        run()  # warm-up
    for _ in range(asked.rounds):
        for name, run in rows.items():
            speeds[name].append(run())
    own = statistics.median(speeds["likely"])
    print(f"DCGAN 32x32, width {WIDTH}, batch {BATCH}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{'':22}{'images/s':>10}{'fastest':>10}{'likely is':>12}")
    for name, measured in speeds.items():
        middle = statistics.median(measured)
        print(f"{name:22}{middle:10.0f}{max(measured):10.0f}{own / middle:11.2f}x")


if __name__ == "__main__":
    main()
