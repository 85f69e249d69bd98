"""The project's own small classifiers: convolutions, a mean over positions, and one linear layer.

features h(x) = mean over positions of the last convolution's outputs, logits = W h(x) + b. They have seen digits and
clothes, which ImageNet's networks were never shown, and are small enough to come with the package. When they fail: they
know ten classes and nothing else. What does not change the class may leave the features where they were, so read a
distance between them beside one of pixels; and a number in their space compares with no published FID.

`recipes/classifiers.py` trained them; what it measured lies beside the weights as JSON.

Reference: Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, 2015,
arxiv.org/abs/1409.1556.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor, nn

from likely.errors import LikelyError, SpaceError
from likely.extractors.base import Extractor, levelled, plain
from likely.spaces import Space

CLASSES = 10
WEIGHTS = Path(__file__).parent / "weights"

#: data set -> (shape of one datum, levels, layers): a number is a 3x3 convolution with so many channels
DESIGNS: dict[str, tuple[tuple[int, int, int], int, tuple[int | Literal["halve"], ...]]] = {
    "digits": ((1, 8, 8), 17, (32, 64, "halve", 64, 64)),
    "mnist": ((1, 28, 28), 256, (32, "halve", 64, 64, "halve", 128, 128)),
    "fashion-mnist": ((1, 28, 28), 256, (32, "halve", 64, 64, "halve", 128, 128)),
}


class Classifier(nn.Module):
    """From a picture with values in [0, 1] to features and logits, (B, C, H, W) -> (B, D), (B, 10).

    Arguments:
        data: a name of `DESIGNS`.
    """

    def __init__(self, data: str) -> None:
        super().__init__()
        self.shape, self.levels, design = DESIGNS[data]
        channels = self.shape[0]
        layers: list[nn.Module] = [nn.BatchNorm2d(channels, affine=False)]  # the data's own mean and scale
        for layer in design:
            if layer == "halve":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(channels, layer, 3, padding=1, bias=False), nn.BatchNorm2d(layer), nn.ReLU()]
                channels = layer
        self.layers = nn.Sequential(*layers)
        self.size = channels
        self.last = nn.Linear(channels, CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.layers(x).mean((2, 3))
        return features, self.last(features)


def load(name: str, *, device: str | torch.device = "cpu") -> Extractor:
    """Return one of the project's classifiers, by the name of its data set, as an extractor that gives logits too.

    It reads any levels of its picture's shape, scaled to [0, 1]: bytes, fewer levels, or bits.

    Raises:
        LikelyError: the weights do not lie in the installed package, or are not those that were measured.
    """
    path = WEIGHTS / f"{name}.safetensors"
    try:
        content, expected = path.read_bytes(), record(name)["sha256"]
    except FileNotFoundError as error:
        raise LikelyError(f"{error.filename}: not in the installed package; install likely again.") from None
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise LikelyError(f"{path}: sha256 is {found}, expected {expected}; install likely again.")
    network, where = Classifier(name), torch.device(device)
    network.load_state_dict(safetensors.torch.load(content))
    network.eval().to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]  # a quarter faster

    def accept(space: Space) -> None:
        if space.shape != network.shape:
            raise SpaceError(f"'{name}-cnn' reads pictures of shape {network.shape}, not {space}.")
        levelled(space, f"{name}-cnn")

    return Extractor(
        name=f"{name}-cnn-{found[:6]}",
        size=network.size,
        read=lambda x, space: network(plain(x, space)),
        accept=accept,
        classes=CLASSES,
        rows=100,  # what fits a processor's cache
        device=where,
    )


def record(name: str) -> dict[str, Any]:
    """Return how a classifier was trained and what it measured: command, seed, minutes, accuracies, sha256."""
    return json.loads((WEIGHTS / f"{name}.json").read_text(encoding="utf-8"))
