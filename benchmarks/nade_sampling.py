"""NADE against the loop that textbooks write: drawing 64 pictures, and a training step; 784 bits, 500 hidden units.

Both run interleaved in one process; the medians and their ratio are printed. Usage: python benchmarks/nade_sampling.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

import likely
from likely.models.nade import NADE


def textbook_sample(model: NADE, n: int) -> Tensor:
    """Draw entry by entry, with a fresh tensor for every result."""
    a, x = model.c.expand(n, -1), torch.zeros(n, model.space.size)
    for d in range(model.space.size):
        p = torch.sigmoid(torch.relu(a) @ model.V[d].T + model.b[d])
        x[:, d] = torch.distributions.Bernoulli(probs=p).sample()[:, 0]
        a = a + x[:, d : d + 1] @ model.W[d]
    return x


def textbook_loss(model: NADE, x: Tensor) -> Tensor:
    """Return -log p(x) by the paper's recursion over entries, differentiated by autograd."""
    x = x.flatten(1).float()
    a, total = model.c.expand(len(x), -1), torch.zeros(())
    for d in range(model.space.size):
        log_odds = torch.relu(a) @ model.V[d].T + model.b[d]
        total = total + torch.nn.functional.binary_cross_entropy_with_logits(log_odds[:, 0], x[:, d], reduction="sum")
        a = a + x[:, d : d + 1] @ model.W[d]
    return total / len(x)


def compare(what: str, textbook: Callable[[], object], ours: Callable[[], object], rounds: int) -> None:
    """Time both in turn and print the medians and their ratio."""
    seconds: dict[Callable[[], object], list[float]] = {textbook: [], ours: []}
    for _ in range(rounds + 1):  # the first round warms up
        for run in seconds:
            begin = time.perf_counter()
            run()
            seconds[run].append(time.perf_counter() - begin)
    slow, fast = (statistics.median(times[1:]) for times in seconds.values())
    print(f"{what:32} textbook {1e3 * slow:8.1f} ms   likely {1e3 * fast:8.1f} ms   ratio {slow / fast:6.1f}")


def main() -> None:
    model = likely.build("nade", likely.Binary((1, 28, 28)), hidden=500)
    assert isinstance(model, NADE)
    x = (torch.rand(100, 1, 28, 28, generator=torch.Generator().manual_seed(0)) < 0.132).to(torch.uint8)  # MNIST's ink

    def draw_textbook() -> None:
        with torch.no_grad():
            textbook_sample(model, 64)

    def train_ours() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.loss(x)["loss"]
        loss.backward()

    difference = float((textbook_loss(model, x) - model.loss(x)["loss"]).abs().detach())
    print(f"largest difference of the two losses: {difference:.1e} nats")
    compare("draw 64 pictures", draw_textbook, lambda: model.sample(64, seed=0), 7)
    compare("training step, batch 100", lambda: textbook_loss(model, x).backward(), train_ours, 3)


if __name__ == "__main__":
    main()
