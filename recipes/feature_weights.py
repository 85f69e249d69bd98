"""Download published feature weights, verify them, and write them as safetensors where likely looks for them.

    python recipes/feature_weights.py inception-v3-fid [dinov2 clip] [--file PATH]

The published files are pickles (CLIP's is a TorchScript archive): programs, which the library itself never reads. Here
the whole file's SHA-256 is compared first with the one under which it is known, and the pickles are read by torch's
restricted reader (`weights_only`). The result lies in the user's cache, or in LIKELY_DATA where that is set; CLIP's
text network is left out.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from likely.data import download
from likely.errors import LikelyError
from likely.extractors.pretrained import PRETRAINED, fill, load, place


def published(name: str, file: Path | None) -> Path:
    """Return the published file, downloaded where none is given.

    Raises:
        DataError: it cannot be downloaded, or its content is wrong.
    """
    form = PRETRAINED[name]
    if file is not None:
        return verified(file, form.sha256)
    path = f"weights/{Path(form.address).name}"
    public = download.PublicFile(path, form.address, f"sha256 {form.sha256}")

    def check(found: Path) -> Path:
        verified(found, form.sha256)
        return download.cache() / path if download.local(path) is None else found

    return download.obtain(public, check)


def verified(path: Path, sha256: str) -> Path:
    """Return the path of a file whose digest is as expected.

    Raises:
        DataError: it is not; the message says both.
    """
    download.verify(path.read_bytes(), "sha256", sha256, path, "the file")
    return path


def tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a verified file: a state dict, or the parameters of a TorchScript archive."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            script = any("/code/" in name for name in archive.namelist())
        if script:
            return dict(torch.jit.load(path, map_location="cpu").state_dict())
    return torch.load(path, map_location="cpu", weights_only=True)


def convert(name: str, file: Path | None = None) -> Path:
    """Write the weights of one extractor as safetensors, in float32 and under the library's names; return where."""
    network = PRETRAINED[name].build()
    source = published(name, file)
    fill(network, tensors(source), source, PRETRAINED[name].rename)
    target = Path(os.environ.get("LIKELY_DATA") or download.cache()) / place(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    content = {key: value.contiguous() for key, value in network.state_dict().items()}
    aside = target.with_suffix(".part")
    save_file(content, aside, metadata={"source": PRETRAINED[name].address, "sha256": PRETRAINED[name].sha256})
    aside.replace(target)
    return target


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=PRETRAINED)
    parser.add_argument("--file", type=Path, help="the published file, where it is on this machine already")
    asked = parser.parse_args()
    if asked.file is not None and len(asked.names) > 1:
        parser.error("--file is one file; name one extractor.")
    try:
        for name in asked.names:
            written = convert(name, asked.file)
            digest = hashlib.sha256(written.read_bytes()).hexdigest()
            print(f"{load(name).name}: {written} (sha256 {digest})")
    except LikelyError as error:
        raise SystemExit(str(error)) from None
