"""Two-sample metrics from features, 10,000 x 2,048, against the way that other packages compute them.

Peers that can be imported run as they are (prdc); the others need torchvision or a network of their own before they
show their formula, so that it is written out here with the same calls of numpy, scipy and torch: the matrix square root
(clean-fid, pytorch-fid), the eigenvalues of a product that is not symmetric (torch-fidelity, and torchmetrics with
float64 statistics), and numpy subsets of the kernel distance (torch-fidelity).

Times are interleaved in one process: in each round every contestant runs once. Medians and fastest rounds are printed
with their ratios. `--clock process` counts the seconds of all threads together: what is left to compare on a machine
that others use, best with OMP_NUM_THREADS=1, since threads that wait for work count too.
Peak memory is what a process of its own needs more than the features: the highest resident set while it runs.

Usage: python benchmarks/metrics.py [--rounds 3] [--rows 10000] [--columns 2048] [--only frechet,manifold,kernel,memory]
           [--clock wall|process]
With the defaults it takes some minutes of two idle cores; `--rounds 1` is the quick look.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from likely.evaluation.frechet import frechet_distance
from likely.evaluation.kid import kernel_inception_distance, kernel_inception_subsets
from likely.evaluation.manifold import manifold

try:
    from prdc import compute_prdc
except ImportError:
    compute_prdc = None


def features(rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Return two sets that look like features of a network: correlated, not negative, some columns nearly dead."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(columns, columns, generator=generator) / columns**0.5
    spread = torch.logspace(0, -2, columns)

    def draw(shift: float) -> Tensor:
        return torch.relu((torch.randn(rows, columns, generator=generator) * spread) @ mix + shift)

    return draw(0.1), draw(0.13)


def statistics_of(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean (of float32 rows in float32) and covariance, as the peers compute them."""
    return np.mean(x.numpy(), axis=0), np.cov(x.numpy(), rowvar=False)


def square_root(x: Tensor, y: Tensor) -> float:
    (m1, s1), (m2, s2) = statistics_of(x), statistics_of(y)
    root = scipy.linalg.sqrtm(s1.dot(s2)).real
    return float((m1 - m2).dot(m1 - m2) + np.trace(s1) + np.trace(s2) - 2 * np.trace(root))


def eigenvalues_numpy(x: Tensor, y: Tensor) -> float:
    (m1, s1), (m2, s2) = statistics_of(x), statistics_of(y)
    traced = np.sum(np.sqrt(np.linalg.eigvals(s1.dot(s2)).astype("complex128")).real)
    return float((m1 - m2).dot(m1 - m2) + np.trace(s1) + np.trace(s2) - 2 * traced)


def eigenvalues_torch(x: Tensor, y: Tensor) -> float:
    """From sums of rows and of products of rows in float64, as they are accumulated there."""

    def moments(values: Tensor) -> tuple[Tensor, Tensor]:
        values, n = values.double(), len(values)
        mean = values.sum(0) / n
        return mean, (values.T @ values - n * mean[:, None] @ mean[None]) / (n - 1)

    (m1, s1), (m2, s2) = moments(x), moments(y)
    traced = torch.linalg.eigvals(s1 @ s2).sqrt().real.sum()
    return float((m1 - m2).square().sum() + s1.trace() + s2.trace() - 2 * traced)


def numpy_subsets(x: Tensor, y: Tensor, subsets: int = 100, size: int = 1000) -> float:
    size = min(size, len(x))
    random = np.random.RandomState(2020)
    values = []
    for _ in range(subsets):
        a = x.numpy()[random.choice(len(x), size, replace=False)]
        b = y.numpy()[random.choice(len(y), size, replace=False)]
        aa, bb, ab = ((np.matmul(u, v.T) / u.shape[1] + 1) ** 3 for u, v in ((a, a), (b, b), (a, b)))
        within = aa.sum() - np.trace(aa) + bb.sum() - np.trace(bb)
        values.append(within / (size * (size - 1)) - 2 * ab.sum() / size**2)
    return float(np.mean(values))


def prdc(x: Tensor, y: Tensor) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        shares = compute_prdc(x.numpy(), y.numpy(), 5)
    return [round(float(shares[name]), 6) for name in ("precision", "recall", "density", "coverage")]


def ours_manifold(x: Tensor, y: Tensor) -> list[float]:
    return [round(share.value, 6) for share in manifold(x, y, 5, strict=True)]


Contest = dict[str, Callable[[Tensor, Tensor], object]]

CONTESTS: dict[str, Contest] = {
    "frechet": {
        "likely": lambda x, y: frechet_distance(x, y).value,
        "matrix square root (clean-fid)": square_root,
        "eigenvalues (torch-fidelity)": eigenvalues_numpy,
        "eigenvalues (torchmetrics)": eigenvalues_torch,
    },
    "manifold": {"likely": ours_manifold} | ({"prdc": prdc} if compute_prdc else {}),
    "kernel": {
        "likely, 100 subsets of 1,000": lambda x, y: kernel_inception_subsets(x, y, size=min(1000, len(x))).value,
        "likely, the whole sets": lambda x, y: kernel_inception_distance(x, y).value,
        "numpy subsets (torch-fidelity)": numpy_subsets,
    },
}


CLOCKS = {"wall": time.perf_counter, "process": time.process_time}


def race(title: str, contest: Contest, x: Tensor, y: Tensor, rounds: int, clock: str) -> None:
    """Run all contestants in turn and print their medians, fastest rounds, ratios and values."""
    seconds: dict[str, list[float]] = {name: [] for name in contest}
    values: dict[str, object] = {}
    for _ in range(rounds):
        for name, run in contest.items():
            begin = CLOCKS[clock]()
            values[name] = run(x, y)
            seconds[name].append(CLOCKS[clock]() - begin)
    print(f"\n{title}: seconds ({clock}) and peer time / ours: median of {rounds}, fastest")
    ours = next(iter(seconds.values()))
    for name, times in seconds.items():
        each = [(f(times), f(times) / f(ours)) for f in (statistics.median, min)]
        shown = "  ".join(f"{taken:7.2f} s {ratio:6.2f}" for taken, ratio in each)
        print(f"  {name:34} {shown}  {values[name]}", flush=True)


def highest() -> int:
    """Return the highest resident set of this process, in KiB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def peak(run: Callable[[Tensor, Tensor], object], rows: int, columns: int) -> float:
    """Return by how many MiB the highest resident set of a process of its own grows while it runs."""
    receive, send = multiprocessing.Pipe(duplex=False)

    def work() -> None:
        x, y = features(rows, columns)
        run(x[:32], y[:32])  # libraries are loaded and threads started
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is held now
        before = highest()
        run(x, y)
        send.send((highest() - before) / 1024)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    grown = receive.recv()
    process.join()
    return float(grown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--columns", type=int, default=2048)
    parser.add_argument("--only", default="memory,frechet,manifold,kernel")
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    wanted = asked.only.split(",")
    print(f"{asked.rows} x {asked.columns} features, float32; {torch.get_num_threads()} threads")
    if "memory" in wanted:  # first: a forked child must not inherit the threads that the races start
        print("\npeak memory beyond the features")
        for title, contest in CONTESTS.items():
            for name, run in contest.items():
                print(f"  {title:9} {name:34} {peak(run, asked.rows, asked.columns):7.0f} MiB", flush=True)
    x, y = features(asked.rows, asked.columns)
    for title, contest in CONTESTS.items():
        if title in wanted:
            race(title, contest, x, y, asked.rounds, asked.clock)


if __name__ == "__main__":
    main()
