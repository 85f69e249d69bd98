"""The named data sets: embedded, downloaded, or drawn."""

from __future__ import annotations

import math
import struct
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from likely.data import download, foreign
from likely.data.download import PublicFile, obtain
from likely.data.parts import Data, Part
from likely.data.rows import Rows, seen, split, split_and_view
from likely.data.toys import SIZES, TOYS, Squares, load_toy
from likely.errors import DataError, unknown
from likely.spaces import Binary, Finite, Space

#: a name that means another data set in one view
ALIASES = {"digits-binary": ("digits", "threshold"), "mnist-binary": ("mnist", "dynamic")}

ADDRESSES = {
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist",
    "fashion-mnist": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    "binarized-mnist": "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist",
    "cifar10": "https://www.cs.toronto.edu/~kriz",
}
#: set -> file -> md5 of the decompressed file (the gzip wrapping differs between mirrors)
IDX = {
    "mnist": {
        "train-images-idx3": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion-mnist": {
        "train-images-idx3": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}
#: part -> rows, sha256 of the bits packed eight to a byte, row by row (98 bytes an image)
BINARIZED = {
    "train": (50_000, "727146c35424b019f3e350e1e69faa05644a0abaf787e3f4e1a9632220a13906"),
    "valid": (10_000, "a256ac44ae26be720fad8616a05ed6ecfd1619930d9a208379bb2a4405df5b6d"),
    "test": (10_000, "9fcd8da6f0fdf09b2ba30fe63a0bb784042a0de82563172530229b983e294ff2"),
}
CIFAR = ("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")
CLASSES = {
    "digits": "0 1 2 3 4 5 6 7 8 9",
    "mnist": "0 1 2 3 4 5 6 7 8 9",
    "fashion-mnist": "t-shirt trouser pullover dress coat sandal shirt sneaker bag boot",
    "cifar10": "airplane automobile bird cat deer dog frog horse ship truck",
}


def load_named(
    name: str,
    *,
    view: str | None = None,
    size: Any = None,
    colour: str | None = None,
    cond: str | None = None,
    seed: int,
) -> Data:
    """Load a data set of `likely.data.names()`; see `likely.data.load`."""
    if name in TOYS:
        _no_cond(name, cond)
        return load_toy(name, view=view, seed=seed)
    if name == "squares":
        return _squares(view, cond, seed)
    if name == "cifar10-jpeg":
        return _cifar10_jpeg(view, size, colour, cond, seed)
    if name == "binarized-mnist":
        _no_cond(name, cond)
        return _binarized_mnist(view, seed)
    base, fixed_view = ALIASES.get(name, (name, None))
    if fixed_view and view not in (None, fixed_view):
        raise DataError(f"'{name}' is '{base}' with view '{fixed_view}'; for the view '{view}' load '{base}'.")
    if cond in ("caption", "text"):
        raise DataError(f"'{base}' has labels only; cond is label or none, not '{cond}'.")
    if cond not in (None, "label", "none"):
        raise unknown("cond", cond, ("label", "none"))
    loaders: dict[str, Callable[[int], tuple[dict[str, Part], Space, str]]] = {
        "digits": _digits,
        "mnist": partial(_mnist, "mnist"),
        "fashion-mnist": partial(_mnist, "fashion-mnist"),
        "cifar10": _cifar10,
    }
    parts, space, note = loaders[base](seed)
    cond_space: Space | None = Finite((), 10, categories=tuple(CLASSES[base].split()), ordered=False)
    if cond == "none":
        cond_space = None
        for part in parts.values():
            part.cond = None
    return seen(name, parts, space, cond_space, [note], view=view or fixed_view, seed=seed)


def _squares(view: str | None, cond: str | None, seed: int) -> Data:
    """Return pictures of squares, whose condition is the factors that made them."""
    if cond not in (None, "label", "none"):
        raise unknown("cond", cond, ("label", "none"))
    toy, generator = Squares(), torch.Generator().manual_seed(seed)
    drawn = {part: toy.sample(n, generator) for part, n in SIZES.items()}
    parts = {part: Part(x, None if cond == "none" else factors) for part, (x, factors) in drawn.items()}
    space, factors = Finite((1, toy.side, toy.side), 256), None if cond == "none" else toy.factors
    note = f"drawn by seed {seed} from 768 equally probable pictures, which all parts share"
    data = seen("squares", parts, space, factors, [note], view=view, seed=seed)
    data.true_log_prob = toy.log_prob if data.view == "bytes" else None
    return data


def _no_cond(name: str, cond: str | None) -> None:
    if cond not in (None, "none"):
        raise DataError(f"'{name}' has no labels; leave out cond.")


def _digits(seed: int) -> tuple[dict[str, Part], Space, str]:
    """Return scikit-learn's digits: the test part of the UCI set, 8 x 8, levels 0 to 16."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(images.reshape(-1, 1, 8, 8).astype(np.uint8))
    cuts, how = split(len(x), labels, seed=seed)
    rows = Rows(x, Finite((1, 8, 8), 17), torch.from_numpy(labels.astype(np.uint8)))
    return {part: rows.take(cut) for part, cut in cuts.items()}, rows.space, how


def _cut_train(x: Tensor, y: Tensor, test_x: Tensor, test_y: Tensor, held_out: int) -> dict[str, Part]:
    """Return the parts where the last training rows are the validation part."""
    n = len(x) - held_out
    rows = torch.arange(len(x))
    return {
        "train": Part(x[:n], y[:n], rows=rows[:n]),
        "valid": Part(x[n:], y[n:], rows=rows[n:]),
        "test": Part(test_x, test_y, rows=torch.arange(len(test_x))),
    }


def _mnist(name: str, seed: int) -> tuple[dict[str, Part], Space, str]:
    """Return a set of MNIST's form: four gzipped IDX files."""
    tensors = []
    for file, md5 in IDX[name].items():
        part, kind = file.split("-")[:2]
        n = 60_000 if part == "train" else 10_000
        shape = (n, 28, 28) if kind == "images" else (n,)
        path = f"{file}-ubyte.gz"
        public = PublicFile(f"{name}/{path}", f"{ADDRESSES[name]}/{path}", f"md5 of the decompressed file {md5}")
        array = obtain(public, partial(read_idx, shape=shape, md5=md5))
        tensors.append(torch.from_numpy(array).reshape(n, *((1, 28, 28) if kind == "images" else ())))
    x, y, test_x, test_y = tensors
    parts = _cut_train(x, y, test_x, test_y, held_out=10_000)
    return parts, Finite((1, 28, 28), 256), "valid is the last 10,000 rows of the published training part"


def read_idx(path: Path, shape: tuple[int, ...], md5: str) -> np.ndarray:
    """Return the bytes of a gzipped IDX file, verified.

    Arguments:
        path: the file.
        shape: the shape it must have.
        md5: of the decompressed file.

    Raises:
        DataError: not gzip, cut off, not IDX of bytes, of another shape than its header or `shape` says, or of other
            content.

    Reference: LeCun, Cortes and Burges, The MNIST Database, 1998, yann.lecun.com/exdb/mnist.
    """
    size = 4 + 4 * len(shape) + math.prod(shape)
    content = download.gunzip(path, limit=size)
    magic = bytes([0, 0, 8, len(shape)])  # 8: unsigned bytes; then how many dimensions
    if content[:4] != magic:
        raise DataError(f"{path}: not IDX: it begins with {content[:4].hex()}, expected {magic.hex()}.")
    if len(content) < 4 + 4 * len(shape):
        raise DataError(f"{path}: the IDX header is cut off; download it again.")
    declared = struct.unpack(f">{len(shape)}I", content[4 : 4 + 4 * len(shape)])
    if declared != shape or len(content) != size:
        raise DataError(
            f"{path}: its header says shape {declared} and {len(content):,} bytes follow in all; expected {shape} and "
            f"{size:,}; download it again."
        )
    download.verify(content, "md5", md5, path, "the decompressed file")
    return np.frombuffer(content, dtype=np.uint8, offset=size - math.prod(shape)).reshape(shape).copy()


def _binarized_mnist(view: str | None, seed: int) -> Data:
    """Return Larochelle and Murray's binarization: one packed file where the machine has it, else three text files."""
    packed = download.local("binarized_mnist.npz")
    parts = {}
    for part, (n, digest) in BINARIZED.items():
        if packed is not None:
            bits = _read_packed(packed, part, n, digest)
        else:
            path = f"binarized_mnist_{part}.amat"
            words = f"sha256 of its bits, packed, {digest}"
            public = PublicFile(f"binarized_mnist/{path}", f"{ADDRESSES['binarized-mnist']}/{path}", words)
            bits = obtain(public, partial(_read_amat, n=n, digest=digest))
        parts[part] = Part(torch.from_numpy(bits).reshape(n, 1, 28, 28), rows=torch.arange(n))
    note = "the fixed binarization of Larochelle and Murray (2011), on which the literature's nats are quoted"
    return seen("binarized-mnist", parts, Binary((1, 28, 28)), None, [note], view=view, seed=seed)


def _read_packed(path: Path, part: str, n: int, digest: str) -> np.ndarray:
    from likely.data.arrays import Archive

    with Archive(path) as archive:
        packed = archive.read(part)
    if packed.shape != (n, 98) or packed.dtype != np.uint8:
        raise DataError(f"{path}: '{part}' is {packed.dtype}{packed.shape}, expected uint8{(n, 98)}.")
    download.verify(np.ascontiguousarray(packed), "sha256", digest, path, f"'{part}'")
    return np.unpackbits(packed, axis=1)


def _read_amat(path: Path, n: int, digest: str) -> np.ndarray:
    """Return the bits of a text file with one image a line, bits separated by spaces, (n, 784)."""
    limit = n * (2 * 784 + 2)
    if path.stat().st_size > limit:
        raise DataError(f"{path}: larger than the {limit:,} bytes expected; download it again.")
    text = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    bits = text[(text == ord("0")) | (text == ord("1"))] - ord("0")
    spaces = np.isin(text, np.frombuffer(b" \r\n\t", dtype=np.uint8)).sum()
    if len(bits) != n * 784 or len(bits) + spaces != len(text):
        raise DataError(f"{path}: holds {len(bits):,} bits, expected {n:,} lines of 784; download it again.")
    bits = bits.reshape(n, 784)
    download.verify(np.packbits(bits, axis=1), "sha256", digest, path, "the packed bits")
    return bits


def _cifar10(seed: int) -> tuple[dict[str, Part], Space, str]:
    """Return CIFAR-10 from the public binary version, which nothing needs to be unpickled for."""
    path, md5 = CIFAR
    public = PublicFile(path, f"{ADDRESSES['cifar10']}/{path}", f"md5 {md5}")
    try:
        batches = obtain(public, partial(_read_cifar, md5=md5))
    except DataError as error:
        if download.local("cifar10-jpeg.tar.xz") is not None and download.local(path) is None:
            raise DataError(f"{error} This machine has 'cifar10-jpeg', the same pictures re-encoded.") from None
        raise
    rows = torch.from_numpy(batches)
    x, y = rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0].clone()
    parts = _cut_train(x[:-10_000], y[:-10_000], x[-10_000:], y[-10_000:], held_out=5_000)
    return parts, Finite((3, 32, 32), 256), "valid is the last 5,000 rows of the published training part"


def _read_cifar(path: Path, md5: str, rows: int = 10_000) -> np.ndarray:
    """Return label and picture of each row, five training batches and then the test batch, (6 * rows, 1 + 3072)."""
    download.verify(path.read_bytes(), "md5", md5, path, "the file")
    wanted = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = Path(member.name).name
                if name in wanted and member.isfile() and member.size == rows * 3073:
                    content = archive.extractfile(member)
                    assert content is not None  # it is a plain file
                    found[name] = content.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{path}: not the CIFAR-10 archive ({foreign.reason(error)}); download it again.") from None
    for name in wanted:
        if len(found.get(name, b"")) != rows * 3073:
            raise DataError(f"{path}: has no {name} of {rows * 3073:,} bytes; take the binary version of CIFAR-10.")
    return np.frombuffer(b"".join(found[name] for name in wanted), dtype=np.uint8).reshape(-1, 3073).copy()


def _cifar10_jpeg(view: str | None, size: Any, colour: str | None, cond: str | None, seed: int) -> Data:
    from likely.data.pictures import read_pictures

    path = download.local("cifar10-jpeg.tar.xz")
    if path is None:
        place = download.cache() / "cifar10-jpeg.tar.xz"
        raise DataError(f"'cifar10-jpeg' is a local archive: put it at {place} or in a folder named by LIKELY_DATA.")
    rows = read_pictures(path, size=size, colour=colour, cond=cond)
    rows.note.insert(0, "re-encoded as JPEG, quality about 75: not comparable with figures on cifar10")
    return split_and_view(rows, "cifar10-jpeg", view=view, seed=seed, valid=None, test=None)
