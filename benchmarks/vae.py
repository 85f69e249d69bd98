"""How many images a second a VAE learns: our loop against pythae's trainer and against the plain textbook loop.

    python -m pip install --no-deps --target /tmp/pythae pythae pydantic pydantic-core annotated-types \\
        typing-extensions typing-inspection cloudpickle imageio
    PYTHONPATH=/tmp/pythae python benchmarks/vae.py

The architecture is the same for all (784-512-16 and back, ReLU, Bernoulli, batch 128, Adam), the data are MNIST-shaped
bits, and the rounds are interleaved in one process, so that a busy machine slows every row alike. Printed are medians
over the rounds and their ratios to ours. pythae is a peer to measure, never a dependency: without it only the textbook
loop is compared. Its import of torchvision, which it needs for pictures alone, is met by an empty module.
"""

from __future__ import annotations

import argparse
import importlib.machinery
import logging
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import likely
from likely.data.parts import Part
from likely.training.gradient import by_gradient

LATENT, WIDTH, BATCH = 16, 512, 128


def ours(bits: Tensor, **options: Any) -> Callable[[], float]:
    """Return one round of our loop, which yields images per second; all rounds are one training."""
    model: Any = likely.build("vae", likely.Binary((1, 28, 28)), latent=LATENT, width=WIDTH)
    training = by_gradient(model, Part(bits), steps=10**9, batch=BATCH, **options)
    steps = len(bits) // BATCH

    def run() -> float:
        began = time.perf_counter()
        for _ in range(steps):
            next(training)
        return steps * BATCH / (time.perf_counter() - began)

    return run


class Textbook(nn.Module):
    """The VAE of every tutorial."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.mean, self.log_variance = (
            nn.Linear(784, WIDTH),
            nn.Linear(WIDTH, LATENT),
            nn.Linear(WIDTH, LATENT),
        )
        self.outer, self.logits = nn.Linear(LATENT, WIDTH), nn.Linear(WIDTH, 784)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.inner(x.flatten(1)))
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        logits = self.logits(F.relu(self.outer(z)))
        reconstruction = F.binary_cross_entropy_with_logits(logits, x.flatten(1), reduction="sum")
        return (reconstruction - 0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum()) / len(x)


def textbook(bits: Tensor) -> Callable[[], float]:
    """Return one epoch of the loop of the tutorials: DataLoader, float32, plain Adam."""
    model = Textbook()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(TensorDataset(bits.float()), batch_size=BATCH, shuffle=True, drop_last=True)

    def run() -> float:
        began = time.perf_counter()
        for (x,) in loader:
            optimizer.zero_grad()
            loss = model(x)
            loss.backward()
            optimizer.step()
            loss.item()
        return len(loader) * BATCH / (time.perf_counter() - began)

    return run


def pythae(bits: Tensor) -> Callable[[], float] | None:
    """Return one epoch of pythae's own BaseTrainer, or None where it is not installed."""
    for name in ("torchvision", "torchvision.datasets", "torchvision.transforms"):
        stub = types.ModuleType(name)
        stub.__spec__ = importlib.machinery.ModuleSpec(name, None)
        sys.modules.setdefault(name, stub)
    sys.modules["torchvision"].transforms = sys.modules["torchvision.transforms"]  # type: ignore[attr-defined]
    sys.modules["torchvision"].datasets = sys.modules["torchvision.datasets"]  # type: ignore[attr-defined]
    try:
        from pythae.data.datasets import BaseDataset
        from pythae.models import VAE, VAEConfig
        from pythae.trainers import BaseTrainer, BaseTrainerConfig
    except ImportError as error:
        print(f"pythae is not measured ({error}); see the top of this file.")
        return None
    logging.disable(logging.WARNING)
    # its networks are 784-512-16 by default; all it is told is the size of the data
    model = VAE(VAEConfig(input_dim=(1, 28, 28), latent_dim=LATENT, reconstruction_loss="bce"))
    settings = BaseTrainerConfig(
        output_dir=tempfile.mkdtemp(),
        num_epochs=1,
        per_device_train_batch_size=BATCH,
        learning_rate=1e-3,
        no_cuda=True,
        train_dataloader_num_workers=0,
    )
    data = BaseDataset(bits.float(), torch.zeros(len(bits)))
    trainer = BaseTrainer(model, data, training_config=settings)
    trainer.prepare_training()

    def run() -> float:
        began = time.perf_counter()
        trainer.train_step(1)
        return len(bits) / (time.perf_counter() - began)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=12_800, help="images per round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--compile", action="store_true", help="measure our loop with torch.compile too")
    asked = parser.parse_args()
    torch.manual_seed(0)
    bits = (torch.rand(asked.images, 1, 28, 28) < 0.13).to(torch.uint8)  # MNIST's share of ink
    rows = {"likely": ours(bits), "likely, float32": ours(bits, precision="float32")}
    if asked.compile:
        rows["likely, compiled"] = ours(bits, compile=True)
    rows["textbook loop"] = textbook(bits)
    if (peer := pythae(bits)) is not None:
        rows["pythae BaseTrainer"] = peer
    speeds: dict[str, list[float]] = {name: [] for name in rows}
    for run in rows.values():
        run()  # warm-up
    for _ in range(asked.rounds):
        for name, run in rows.items():
            speeds[name].append(run())
    own = statistics.median(speeds["likely"])
    print(f"MLP VAE 784-{WIDTH}-{LATENT}, batch {BATCH}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{'':22}{'images/s':>10}{'fastest':>10}{'likely is':>12}")
    for name, measured in speeds.items():
        middle = statistics.median(measured)
        print(f"{name:22}{middle:10.0f}{max(measured):10.0f}{own / middle:11.2f}x")


if __name__ == "__main__":
    main()
