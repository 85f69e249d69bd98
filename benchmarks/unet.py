"""How many images a second a diffusion UNet learns and draws: ours against the plain textbook way, on one network.

    python benchmarks/unet.py

28x28 grey, 32, 64 and 128 channels, two blocks per size, batch 64. The textbook loop is DataLoader, float32 and plain
Adam; "channels last" is our loop with the memory order that helps convolutions and hurts group normalisation. Sampling
is by DDIM, in images per second for one evaluation of the network. Rounds are interleaved in one process; printed are
medians and ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import likely
from likely.data.parts import Part
from likely.training.gradient import by_gradient

SPACE, BATCH = likely.Finite((1, 28, 28), 256), 64


def model() -> Any:
    return likely.build("ddpm", SPACE, timesteps=1000, width=32, depth=2)


def ours(images: Tensor, channels_last: bool = False, **options: Any) -> Iterator[object]:
    """Learn for ever by our loop, one update at each `next`."""
    ddpm = model()
    if channels_last:
        ddpm.to(memory_format=torch.channels_last)
    return by_gradient(ddpm, Part(images), steps=10**9, batch=BATCH, **options)


def textbook(images: Tensor) -> Iterator[object]:
    """Learn for ever as the tutorials do: independent times, the squared error of epsilon, float32, plain Adam."""
    ddpm = model().train()
    adam = torch.optim.Adam(ddpm.parameters(), lr=1e-3)
    loader = DataLoader(TensorDataset(images.float() / 127.5 - 1), batch_size=BATCH, shuffle=True, drop_last=True)
    while True:
        for (x,) in loader:
            t = torch.randint(1, 1001, (BATCH,)) / 1000
            alpha, sigma = (value[:, None, None, None] for value in ddpm.schedule(t))
            epsilon = torch.randn_like(x)
            x_t = alpha * x + sigma * epsilon
            drawn = (x_t - alpha * ddpm.denoise(x_t, t, None)) / sigma
            loss = (drawn - epsilon).square().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            yield loss.item()


def learning(loop: Iterator[object], steps: int) -> Callable[[], float]:
    """Return one round: images learned per second."""

    def run() -> float:
        began = time.perf_counter()
        for _ in range(steps):
            next(loop)
        return steps * BATCH / (time.perf_counter() - began)

    return run


def drawing(steps: int, precision: torch.dtype | None) -> Callable[[], float]:
    """Return one round: images times network evaluations per second while drawing, in this precision."""
    ddpm = model()

    def run() -> float:
        began = time.perf_counter()
        with torch.autocast("cpu", precision or torch.bfloat16, enabled=precision is not None):
            ddpm.sample(BATCH, seed=0, solver="ddim", steps=steps)
        return steps * BATCH / (time.perf_counter() - began)

    return run


def table(title: str, rows: dict[str, Callable[[], float]], rounds: int) -> None:
    """Measure the rows in turn and print medians and ratios to the first."""
    speeds: dict[str, list[float]] = {name: [] for name in rows}
    for run in rows.values():
        run()  # warm-up
    for _ in range(rounds):
        for name, run in rows.items():
            speeds[name].append(run())
    first = statistics.median(next(iter(speeds.values())))
    print(f"{title:26}{'images/s':>10}{'fastest':>10}{'first is':>12}")
    for name, measured in speeds.items():
        middle = statistics.median(measured)
        print(f"{name:26}{middle:10.1f}{max(measured):10.1f}{first / middle:11.2f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2, help="updates, or network evaluations, per round")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    torch.manual_seed(0)
    images = torch.randint(256, (20 * BATCH, 1, 28, 28), dtype=torch.uint8)
    print(f"UNet 28x28, batch {BATCH}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    table(
        "learning",
        {
            "likely": learning(ours(images), asked.steps),
            "likely, channels last": learning(ours(images, channels_last=True), asked.steps),
            "likely, float32": learning(ours(images, precision="float32"), asked.steps),
            "textbook loop": learning(textbook(images), asked.steps),
        },
        asked.rounds,
    )
    table(
        "drawing, per evaluation",
        {"likely": drawing(asked.steps, None), "in bfloat16": drawing(asked.steps, torch.bfloat16)},
        asked.rounds,
    )


if __name__ == "__main__":
    main()
