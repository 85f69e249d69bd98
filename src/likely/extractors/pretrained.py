"""Networks that others trained on millions of pictures: `inception-v3-fid`, `dinov2` and `clip`.

Their weights are large and are published as pickles, which are programs and are never read here. They are read from
`weights/NAME.safetensors` in the folder of `LIKELY_DATA` or in the user's cache; `recipes/feature_weights.py NAME`
downloads the published file, verifies its SHA-256 and converts it once. Files that the transformers library or
open_clip store as safetensors are read as they are. What was read is part of the name: a hash of the numbers
themselves, which does not depend on the file's layout, and the way of resizing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from likely.data import download
from likely.errors import DataError, SpaceError
from likely.extractors.base import Extractor, digest, levelled
from likely.extractors.inception import FEATURES, OUTPUTS, Inception
from likely.extractors.inception import SIDE as INCEPTION_SIDE
from likely.extractors.resize import resize as resized
from likely.extractors.vit import CLIP_BASE_32, DINOV2_SMALL, VisionTransformer, renamed
from likely.extractors.vit import SIDE as TRANSFORMER_SIDE
from likely.spaces import Space

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Pretrained:
    """A published network.

    Arguments:
        build: returns the network with random weights; it maps (B, 3, side, side) to features, or to those and logits.
        size: numbers per feature.
        side: the pixels along a side of what it reads.
        resize: how pictures are resized unless one asks otherwise.
        address: where the published file lies.
        sha256: of the published file.
        mean, scale: pictures with values 0 to 255 go in as (x - mean) / scale per channel.
        classes: how many logits there are; None for none.
        rename: brings tensors of known published layouts to the network's names.
        rows: how many pictures are read at once.
    """

    build: Callable[[], nn.Module]
    size: int
    side: int
    resize: str
    address: str
    sha256: str
    mean: Triple = (0.0, 0.0, 0.0)
    scale: Triple = (1.0, 1.0, 1.0)
    classes: int | None = None
    rename: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict
    rows: int = 20


PRETRAINED = {
    "inception-v3-fid": Pretrained(
        build=Inception,
        size=FEATURES,
        side=INCEPTION_SIDE,
        resize="legacy",
        address="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        classes=OUTPUTS,
    ),
    "dinov2": Pretrained(
        build=lambda: VisionTransformer(DINOV2_SMALL),
        size=DINOV2_SMALL.width,
        side=TRANSFORMER_SIDE,
        resize="clean",
        address="https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth",
        sha256="b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9",
        mean=(123.675, 116.28, 103.53),
        scale=(58.395, 57.12, 57.375),
        rename=renamed,
    ),
    "clip": Pretrained(
        build=lambda: VisionTransformer(CLIP_BASE_32),
        size=CLIP_BASE_32.outputs,
        side=TRANSFORMER_SIDE,
        resize="clean",
        address="https://openaipublic.azureedge.net/clip/models/40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt",
        sha256="40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
        mean=(122.7709383, 116.7460125, 104.09373615),
        scale=(68.5005327, 66.6321579, 70.32316305),
        rename=renamed,
    ),
}


def load(name: str, *, resize: str | None = None, device: str | torch.device = "cpu") -> Extractor:
    """Return a published network as an extractor, with the weights found on this machine.

    Raises:
        DataError: the weights are not there, or are not this network's; the message says what to do.
        UnknownName: `resize` is neither "legacy" nor "clean".
    """
    path = place(name)
    found = download.local(path)
    if found is None:
        raise DataError(
            f"the weights of '{name}' are not on this machine: run `python recipes/feature_weights.py {name}` (it "
            f"downloads {PRETRAINED[name].address}, sha256 {PRETRAINED[name].sha256[:8]}..., and converts it), or put "
            f"a safetensors file of them at {download.cache() / path}, or at {path} in a folder named by LIKELY_DATA."
        )
    network = PRETRAINED[name].build()
    fill(network, read(found), found, PRETRAINED[name].rename)
    return with_network(name, network, resize=resize, device=device)


def place(name: str) -> str:
    """Return where the weights lie, under `LIKELY_DATA` or in the cache."""
    return f"weights/{name}.safetensors"


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Raises:
        DataError: it is not one.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: not a safetensors file of weights ({error}); write or convert it again.") from None


def fill(
    network: nn.Module, tensors: dict[str, Tensor], path: Path | str, rename: Callable[[Any], dict[str, Tensor]] = dict
) -> None:
    """Give a network the tensors of a file, in float32.

    Raises:
        DataError: a tensor is missing, is not the network's, or has another shape; the message names it.
    """
    tensors, wanted = rename(tensors), network.state_dict()
    counters = {key for key in {*wanted, *tensors} if key.endswith("num_batches_tracked")}  # old files lack them
    for problem, keys in (
        ("lacks", wanted.keys() - tensors.keys() - counters),
        ("has, and the network has not,", tensors.keys() - wanted.keys() - counters),
    ):
        if keys:
            raise DataError(
                f"{path}: not the weights of this network: it {problem} {len(keys)} tensors, as '{min(keys)}'."
            )
    for key in sorted(wanted.keys() - counters):
        if tensors[key].shape != wanted[key].shape:
            shapes = f"{tuple(tensors[key].shape)}, expected {tuple(wanted[key].shape)}"
            raise DataError(f"{path}: not the weights of this network: '{key}' has shape {shapes}.")
        wanted[key] = tensors[key].float()
    network.load_state_dict(wanted)


def with_network(
    name: str, network: nn.Module, *, resize: str | None = None, device: str | torch.device = "cpu"
) -> Extractor:
    """Return the extractor of a published network's form with these weights, whatever they are."""
    form, where = PRETRAINED[name], torch.device(device)
    how = resize or form.resize
    resized(torch.zeros(1, 3, 1, 1), 1, how)  # an unknown way is an error now, not at the first picture
    network = network.eval().to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster
    mean, scale = (torch.tensor(values, device=where)[:, None, None] for values in (form.mean, form.scale))

    def extract(x: Tensor, space: Space) -> tuple[Tensor, Tensor | None]:
        found = network((resized(coloured(x, space), form.side, how) - mean) / scale)
        return found if isinstance(found, tuple) else (found, None)

    full_name = f"{name}-{digest(network.state_dict())}-{how}"
    return Extractor(
        full_name, form.size, extract, lambda space: pictures(space, name), form.classes, form.rows, device=where
    )


def pictures(space: Space, extractor: str) -> None:
    """Raise unless the space is one of grey or colour pictures of levels.

    Raises:
        SpaceError: the message names the space and what is read.
    """
    if len(space.shape) != 3 or space.shape[0] not in (1, 3):
        raise SpaceError(f"'{extractor}' reads pictures (C, H, W) with 1 or 3 channels, not {space}.")
    levelled(space, extractor)


def coloured(x: Tensor, space: Space) -> Tensor:
    """Return pictures of levels as three channels of values 0 to 255; grey is repeated."""
    levels: int = space.levels  # type: ignore[attr-defined]
    values = x.float() * (255 / max(levels - 1, 1))
    return values.expand(-1, 3, -1, -1)
