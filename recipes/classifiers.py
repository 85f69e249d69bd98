"""Train the small classifiers that come with likely, and write their weights and what they measured beside them.

    LIKELY_DATA=/path/to/data python recipes/classifiers.py [digits mnist fashion-mnist]

Each learns from the training part alone (MNIST and Fashion-MNIST: the first 50,000 published rows; digits: 1,437 rows
of the split with seed 0), on slightly moved pictures; the weights kept are a moving average, stored as float16. The
test part is looked at once, at the end, with the weights as stored. Digits have only 180 test rows, so the same
training is also cross-validated over all 1,797.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

import likely.data
from likely.extractors import classifiers
from likely.extractors.classifiers import Classifier
from likely.spaces import batches
from likely.training.optimize import rate
from likely.training.state import Average

WEIGHTS = Path(classifiers.__file__).parent / "weights"


class Training(NamedTuple):
    """How one data set is learned: the pictures are turned, scaled and moved by at most so much at each visit."""

    epochs: int
    batch: int
    turn: float  # degrees
    scale: float  # share of the size
    move: float  # pixels
    mirror: bool = False
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    average: float = 0.995
    seed: int = 0


TRAININGS = {
    "digits": Training(epochs=40, batch=64, turn=8, scale=0.08, move=0.5),
    "mnist": Training(epochs=8, batch=128, turn=10, scale=0.1, move=2),
    "fashion-mnist": Training(epochs=12, batch=128, turn=3, scale=0.05, move=1, mirror=True),
}


def moved(x: Tensor, how: Training) -> Tensor:
    """Return the pictures, each turned, scaled, moved and mirrored at random."""
    n, _, height, width = x.shape
    angle = (torch.rand(n) * 2 - 1) * math.radians(how.turn)
    size = 1 + (torch.rand(n) * 2 - 1) * how.scale
    shift = (torch.rand(n, 2) * 2 - 1) * how.move * 2 / torch.tensor([width, height])
    flip = torch.where(torch.rand(n) < 0.5, -1.0, 1.0) if how.mirror else torch.ones(n)
    rows = [size * angle.cos() * flip, -size * angle.sin(), shift[:, 0]]
    rows += [size * angle.sin() * flip, size * angle.cos(), shift[:, 1]]
    grid = F.affine_grid(torch.stack(rows, 1).reshape(n, 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def fit(name: str, x: Tensor, y: Tensor, how: Training) -> Classifier:
    """Return a classifier with the averaged weights, rounded to float16."""
    torch.manual_seed(how.seed)
    network = Classifier(name).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), how.learning_rate, weight_decay=how.weight_decay, fused=True)
    average, step = Average(network, how.average), 0
    per_epoch = len(x) // how.batch
    steps, start = how.epochs * per_epoch, time.monotonic()
    for epoch in range(how.epochs):
        loss = torch.zeros(())
        for rows in torch.randperm(len(x))[: per_epoch * how.batch].split(how.batch):
            for group in optimizer.param_groups:
                group["lr"] = how.learning_rate * rate("cosine", step, steps, warmup=per_epoch)
            pictures = moved(x[rows], how).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(pictures)[1]
            loss = F.cross_entropy(logits.float(), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update(network, step)
            step += 1
        if how.epochs <= 20 or epoch % 10 == 9:
            print(f"{name}: epoch {epoch + 1}, loss {loss:.4f}, {(time.monotonic() - start) / 60:.1f} min", flush=True)
    network.load_state_dict({key: as_stored(value).to(value.dtype) for key, value in average.values.items()})
    return network.eval()


def as_stored(value: Tensor) -> Tensor:
    """Return a tensor as it lies in the file."""
    return value.half().contiguous() if value.is_floating_point() else value


@torch.no_grad()
def accuracy(network: Classifier, x: Tensor, y: Tensor) -> float:
    """Return the share of rows whose highest logit is the label's."""
    right = sum(int((network(x[rows])[1].argmax(1) == y[rows]).sum()) for rows in batches(len(x), 500))
    return right / len(x)


def cross_validated(name: str, x: Tensor, y: Tensor, how: Training, folds: int = 5) -> float:
    """Return the accuracy over all rows, each judged by a classifier that has not seen it."""
    fold = torch.randperm(len(x), generator=torch.Generator().manual_seed(how.seed)) % folds
    shares = [
        accuracy(fit(name, x[fold != i], y[fold != i], how), x[fold == i], y[fold == i]) * int((fold == i).sum())
        for i in range(folds)
    ]
    return sum(shares) / len(x)


def main(name: str) -> None:
    """Train one classifier and write its two files."""
    data = likely.data.load(name)
    how, start = TRAININGS[name], time.monotonic()
    parts = {
        part: (rows.x.float() / (Classifier(name).levels - 1), rows.cond.long()) for part, rows in data.parts.items()
    }
    network = fit(name, *parts["train"], how)
    record: dict[str, Any] = {
        "command": f"python recipes/classifiers.py {name}",
        "data": {part: len(x) for part, (x, _) in parts.items()},
        "training": how._asdict(),
        "minutes": round((time.monotonic() - start) / 60, 1),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "valid_accuracy": accuracy(network, *parts["valid"]),
        "test_accuracy": accuracy(network, *parts["test"]),
    }
    if name == "digits":
        x, y = (torch.cat([values[i] for values in parts.values()]) for i in range(2))
        record["cross_validated_accuracy"] = {"folds": 5, "rows": len(x), "value": cross_validated(name, x, y, how)}
    content = save({key: as_stored(value) for key, value in network.state_dict().items()})
    record["sha256"] = hashlib.sha256(content).hexdigest()
    (WEIGHTS / f"{name}.safetensors").write_bytes(content)
    (WEIGHTS / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    unknown = set(sys.argv[1:]) - set(TRAININGS)
    if unknown:
        sys.exit(f"unknown data set {', '.join(sorted(unknown))}; known: {', '.join(TRAININGS)}.")
    for name in sys.argv[1:] or TRAININGS:
        main(name)
