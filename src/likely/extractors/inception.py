"""The network behind the FID: Inception v3 as it was published for TensorFlow on 5 December 2015.

features = the mean over positions of the last block, 2048 numbers, which the papers call pool3; logits = features times
the last layer's weights, without its bias, as the original Inception score takes them. The published graph differs from
other ports of Inception v3 in three places, and distances in other ports' features are other numbers: average pooling
does not count the padding, the last block pools by maximum, and there are 1008 outputs.

Pictures come as values 0 to 255 at 299 x 299 and are scaled to (x - 128) / 128. The parameters have the names of the
usual port of the weights to torch, `pt_inception-2015-12-05-6726825d`.

Reference: Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, Rethinking the Inception Architecture for Computer Vision, 2016,
arxiv.org/abs/1512.00567; Heusel et al., GANs Trained by a Two Time-Scale Update Rule, 2017, arxiv.org/abs/1706.08500.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 299
FEATURES = 2048
OUTPUTS = 1008


class Layer(NamedTuple):
    """A convolution of a block: its name in the published weights, its channels, kernel and stride."""

    name: str
    channels: int
    kernel: int | tuple[int, int] = 1
    stride: int = 1


Part = Layer | tuple[Layer, Layer] | str  #: a layer; two layers side by side on the same input; a pooling by its name
Branch = list[Part]

POOLS = {
    "average": lambda x: F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False),
    "maximum": lambda x: F.max_pool2d(x, 3, stride=1, padding=1),
    "halve": lambda x: F.max_pool2d(x, 3, stride=2),
}
ACROSS, DOWN = (1, 7), (7, 1)


def _a(pooled: int) -> list[Branch]:
    return [
        [Layer("branch1x1", 64)],
        [Layer("branch5x5_1", 48), Layer("branch5x5_2", 64, 5)],
        [Layer("branch3x3dbl_1", 64), Layer("branch3x3dbl_2", 96, 3), Layer("branch3x3dbl_3", 96, 3)],
        ["average", Layer("branch_pool", pooled)],
    ]


def _b() -> list[Branch]:
    return [
        [Layer("branch3x3", 384, 3, 2)],
        [Layer("branch3x3dbl_1", 64), Layer("branch3x3dbl_2", 96, 3), Layer("branch3x3dbl_3", 96, 3, 2)],
        ["halve"],
    ]


def _c(inner: int) -> list[Branch]:
    double = [Layer("branch7x7dbl_1", inner), Layer("branch7x7dbl_2", inner, DOWN)]
    double += [Layer("branch7x7dbl_3", inner, ACROSS), Layer("branch7x7dbl_4", inner, DOWN)]
    return [
        [Layer("branch1x1", 192)],
        [Layer("branch7x7_1", inner), Layer("branch7x7_2", inner, ACROSS), Layer("branch7x7_3", 192, DOWN)],
        [*double, Layer("branch7x7dbl_5", 192, ACROSS)],
        ["average", Layer("branch_pool", 192)],
    ]


def _d() -> list[Branch]:
    long = [Layer("branch7x7x3_1", 192), Layer("branch7x7x3_2", 192, ACROSS), Layer("branch7x7x3_3", 192, DOWN)]
    return [
        [Layer("branch3x3_1", 192), Layer("branch3x3_2", 320, 3, 2)],
        [*long, Layer("branch7x7x3_4", 192, 3, 2)],
        ["halve"],
    ]


def _e(pool: str) -> list[Branch]:
    fork = (Layer("branch3x3_2a", 384, (1, 3)), Layer("branch3x3_2b", 384, (3, 1)))
    double = (Layer("branch3x3dbl_3a", 384, (1, 3)), Layer("branch3x3dbl_3b", 384, (3, 1)))
    return [
        [Layer("branch1x1", 320)],
        [Layer("branch3x3_1", 384), fork],
        [Layer("branch3x3dbl_1", 448), Layer("branch3x3dbl_2", 384, 3), double],
        [pool, Layer("branch_pool", 192)],
    ]


#: the first convolutions (name, channels, kernel, stride, padding), or a pooling
STEM: list[tuple[str, int, int, int, int] | str] = [
    ("Conv2d_1a_3x3", 32, 3, 2, 0),
    ("Conv2d_2a_3x3", 32, 3, 1, 0),
    ("Conv2d_2b_3x3", 64, 3, 1, 1),
    "halve",
    ("Conv2d_3b_1x1", 80, 1, 1, 0),
    ("Conv2d_4a_3x3", 192, 3, 1, 0),
    "halve",
]
BLOCKS = {
    "Mixed_5b": _a(32),
    "Mixed_5c": _a(64),
    "Mixed_5d": _a(64),
    "Mixed_6a": _b(),
    "Mixed_6b": _c(128),
    "Mixed_6c": _c(160),
    "Mixed_6d": _c(160),
    "Mixed_6e": _c(192),
    "Mixed_7a": _d(),
    "Mixed_7b": _e("average"),
    "Mixed_7c": _e("maximum"),
}


class Convolution(nn.Module):
    """relu(normalised(convolution of x)), without a bias before the normalisation."""

    def __init__(
        self, inputs: int, outputs: int, kernel: tuple[int, int], stride: int, padding: tuple[int, int]
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """A block: branches that see the same input, put side by side in their outputs' channels."""

    def __init__(self, inputs: int, branches: list[Branch]) -> None:
        super().__init__()
        self.branches = branches
        self.outputs = 0
        for branch in branches:
            channels = inputs
            for part in branch:
                if not isinstance(part, str):
                    layers = [part] if isinstance(part, Layer) else list(part)
                    for layer in layers:
                        self.add_module(layer.name, _convolution(channels, layer))
                    channels = sum(layer.channels for layer in layers)
            self.outputs += channels

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for branch in self.branches:
            y = x
            for part in branch:
                if isinstance(part, str):
                    y = POOLS[part](y)
                elif isinstance(part, Layer):
                    y = self.get_submodule(part.name)(y)
                else:
                    y = torch.cat([self.get_submodule(layer.name)(y) for layer in part], 1)
            outputs.append(y)
        return torch.cat(outputs, 1)


def _convolution(inputs: int, layer: Layer) -> Convolution:
    """Return a block's convolution, which keeps the size where its stride is 1 and is not padded where it is 2."""
    kernel = layer.kernel if isinstance(layer.kernel, tuple) else (layer.kernel, layer.kernel)
    padding = (kernel[0] // 2, kernel[1] // 2) if layer.stride == 1 else (0, 0)
    return Convolution(inputs, layer.channels, kernel, layer.stride, padding)


class Inception(nn.Module):
    """From pictures with values 0 to 255, (B, 3, 299, 299), to features (B, 2048) and logits (B, 1008)."""

    def __init__(self) -> None:
        super().__init__()
        channels = 3
        for part in STEM:
            if not isinstance(part, str):
                name, outputs, kernel, stride, padding = part
                convolution = Convolution(channels, outputs, (kernel, kernel), stride, (padding, padding))
                self.add_module(name, convolution)
                channels = outputs
        for name, branches in BLOCKS.items():
            block = Mixed(channels, branches)
            self.add_module(name, block)
            channels = block.outputs
        self.fc = nn.Linear(channels, OUTPUTS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = (x - 128) / 128
        for part in STEM:
            x = POOLS[part](x) if isinstance(part, str) else self.get_submodule(part[0])(x)
        for name in BLOCKS:
            x = self.get_submodule(name)(x)
        features = x.mean((2, 3))
        return features, features @ self.fc.weight.T
