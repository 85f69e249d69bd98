"""`likely evaluate --real A --fake B` on folders of pictures: highest memory of the whole command, and minutes.

Both folders are made here, of smooth random pictures, the fakes a little rougher than the real ones, and the command
runs as a process of its own, whose highest resident set the system counts. Without `--pictures` this is the whole
claim: 50,000 pictures in each folder.

With `--run` it is `likely evaluate RUN -n 50000` instead: what is drawn from a model, and held.

Usage: python benchmarks/evaluate_memory.py --run RUN [--number 50000] [-- further options of likely evaluate]
       python benchmarks/evaluate_memory.py [--pictures 50000] [--side 32] [--colour rgb] [--features pca]
           [--kind folder|zip|tar.gz|npy|npz] [--folder DIR] [-- further options of likely evaluate]
"""

from __future__ import annotations

import argparse
import io
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

AT_ONCE = 500


def drawn(n: int, side: int, channels: int, roughness: float, seed: int) -> Iterator[np.ndarray]:
    """Yield pictures, (B, H, W, C) bytes: coarse noise between whose points lies a line, and fine noise."""
    generator = np.random.default_rng(seed)
    coarse = 4
    place = np.linspace(0, coarse - 1, side)
    weights = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(coarse))).astype(np.float32)
    for start in range(0, n, AT_ONCE):
        count = min(AT_ONCE, n - start)
        points = generator.standard_normal((count, coarse, coarse, channels), dtype=np.float32)
        smooth = np.einsum("hi,nijc,wj->nhwc", weights, points, weights, optimize=True)
        fine = generator.standard_normal(smooth.shape, dtype=np.float32)
        yield np.clip(128 + 50 * smooth + 10 * roughness * fine, 0, 255).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(out, "PNG", compress_level=1)
    return out.getvalue()


def write(path: Path, kind: str, n: int, side: int, channels: int, roughness: float, seed: int) -> Path:
    """Write a set of pictures, and return where it lies."""
    batches = drawn(n, side, channels, roughness, seed)
    if kind in ("npy", "npz"):
        shape = (n, side, side, channels)
        path = path.with_suffix(".npy")
        array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
        for i, batch in enumerate(batches):
            array[i * AT_ONCE : i * AT_ONCE + len(batch)] = batch
        array.flush()
        if kind == "npz":
            np.savez_compressed(path.with_suffix(".npz"), x=array)
            return path.with_suffix(".npz")
        return path
    named = ((f"{i * AT_ONCE + j:06d}.png", png(one)) for i, batch in enumerate(batches) for j, one in enumerate(batch))
    if kind == "folder":
        path.mkdir()
        for name, content in named:
            (path / name).write_bytes(content)
        return path
    path = path.with_suffix(f".{kind}")
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in named:
                archive.writestr(name, content)
        return path
    with tarfile.open(
        path, "w:gz" if kind == "tar.gz" else "w", **({"compresslevel": 1} if "gz" in kind else {})
    ) as tar:
        for name, content in named:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=50_000)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--colour", choices=("grey", "rgb"), default="rgb")
    parser.add_argument("--features", default="pca")
    parser.add_argument("--kind", choices=("folder", "zip", "tar", "tar.gz", "npy", "npz"), default="folder")
    parser.add_argument("--folder", type=Path, help="where the pictures are written; without it, a temporary folder")
    parser.add_argument("--run", help="a run folder to measure, instead of two folders of pictures")
    parser.add_argument("--number", type=int, default=50_000, help="how many samples to draw from it")
    parser.add_argument("options", nargs="*", help="further options of likely evaluate, behind --")
    asked = parser.parse_args()
    if asked.run is not None:
        measure([asked.run, "-n", str(asked.number), *asked.options])
        return
    channels = 1 if asked.colour == "grey" else 3
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        begin = time.perf_counter()
        sets = [
            write(Path(folder, name), asked.kind, asked.pictures, asked.side, channels, roughness, seed)
            for seed, (name, roughness) in enumerate((("real", 1.0), ("fake", 1.3)))
        ]
        made = time.perf_counter() - begin
        side = f"{asked.side} x {asked.side}"
        print(f"{asked.pictures:,} pictures of {side}, {asked.colour}, in each {asked.kind}; made in {made:.0f} s")
        measure(["--real", str(sets[0]), "--fake", str(sets[1]), "--features", asked.features, *asked.options])


def measure(words: list[str]) -> None:
    """Run `likely evaluate` and print the highest resident set of its process and how long it took."""
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "likely.cli", "evaluate", *words], check=False)
    minutes = (time.perf_counter() - begin) / 60
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"likely evaluate {' '.join(words)}: exit {done.returncode}, peak {peak:,.0f} MiB, {minutes:.1f} minutes")


if __name__ == "__main__":
    main()
