"""EM for mixtures of Gaussians against scikit-learn, on MNIST: side by side, same start, same passes.

Ours and scikit-learn in float64 and float32 take turns, one pass each, from random rows as means and the covariance of
all data. Printed are the fastest and the median pass, the ratio, the mean log-likelihood after all passes, and the peak
of memory beyond the data. scikit-learn has no mixture of factor analysers. With other work on the machine, processor
time (`--clock process`, with OMP_NUM_THREADS=1) is steadier than time on the wall.

LIKELY_DATA=... python benchmarks/gmm.py [--only pca,pixels,diagonal,factors] [--passes 10] [--clock wall|process]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.mixture import GaussianMixture as Peer
from torch import Tensor

import likely
from likely import data
from likely.models.gmm import GMM

warnings.simplefilter("ignore")
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "process": time.process_time}
#: rows -> what one case is: covariance, components, what is added to variances (scikit-learn's reg_covar), passes
CASES: dict[str, dict[str, Any]] = {
    "pca": {"covariance": "full", "components": 50, "ridge": 1e-3, "passes": 10},
    "pixels": {"covariance": "full", "components": 10, "ridge": 1e-2, "passes": 4},
    "diagonal": {"covariance": "diagonal", "components": 50, "ridge": 1e-3, "passes": 10},
    "factors": {"covariance": "lowrank", "components": 50, "rank": 10, "passes": 5},
}
BATCH = 10_000


def rows_of(case: str) -> Tensor:
    """Return MNIST's 60,000 training pictures as reals from 0 to 1, or their first 50 principal components."""
    part = data.load("mnist").train
    x = torch.cat([part.batch(slice(a, a + BATCH))[0] for a in range(0, len(part), BATCH)])
    x = torch.cat([x, *(data.load("mnist").valid.batch(slice(0, None))[0],)])[:60_000].reshape(-1, 784).float() / 255
    if case in ("pixels", "factors"):
        return x.contiguous()
    centred = x - x.mean(0)
    vectors = torch.linalg.eigh((centred.T @ centred).double() / len(x)).eigenvectors.float()
    return (centred @ vectors.flip(1)[:, :50]).contiguous()


def ours(x: Tensor, case: dict[str, Any], chosen: Tensor) -> tuple[GMM, Callable[[], None]]:
    numbers = {name: value for name, value in case.items() if name != "passes"}
    model = GMM(likely.Real((x.shape[1],)), floor=1e-4 if case["covariance"] == "lowrank" else 1e-12, **numbers)
    if model.low_rank:
        torch.manual_seed(0)
        model.start(x[:20_000])
    else:
        wide = torch.cov(x.T.double()) + case["ridge"] * torch.eye(x.shape[1], dtype=torch.float64)
        model.put(x[chosen], wide)

    def one_pass() -> None:
        total: dict[str, Tensor] = {}
        with torch.no_grad():
            for a in range(0, len(x), BATCH):
                stats = model.e_step(x[a : a + BATCH])
                total = {name: total[name] + value for name, value in stats.items()} if total else stats
            model.m_step(total)

    return model, one_pass


def theirs(x: Tensor, case: dict[str, Any], chosen: Tensor, dtype: Any) -> tuple[Peer, Callable[[], None]]:
    components = case["components"]
    wide = np.cov(x.numpy().astype(np.float64).T) + case["ridge"] * np.eye(x.shape[1])
    flat = case["covariance"] == "diagonal"
    precision = 1 / np.diag(wide) if flat else np.linalg.inv(wide)
    model = Peer(
        components,
        covariance_type="diag" if flat else "full",
        reg_covar=case["ridge"],
        max_iter=1,
        tol=0,
        warm_start=True,
        weights_init=np.full(components, 1 / components, dtype),
        means_init=x[chosen].numpy().astype(dtype),
        precisions_init=np.stack([precision] * components).astype(dtype),
    )
    rows = x.numpy().astype(dtype)
    model._initialize_parameters = lambda *_a, **_k: None  # the start is given: spare it k-means
    model._initialize(rows, np.zeros((len(rows), components), dtype))
    model.lower_bound_, model.converged_ = -np.inf, False

    def one_pass() -> None:
        _, log_share = model._e_step(rows)
        model._m_step(rows, log_share)

    return model, one_pass


def compare(name: str, passes: int | None, clock: Callable[[], float]) -> None:
    case, x = CASES[name], rows_of(name)
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(x), generator=generator)[: case["components"]]
    runs: dict[str, tuple[Any, Callable[[], None]]] = {"likely": ours(x, case, chosen)}
    if name != "factors":
        runs["scikit-learn float64"] = theirs(x, case, chosen, np.float64)
        runs["scikit-learn float32"] = theirs(x, case, chosen, np.float32)
    seconds: dict[str, list[float]] = {one: [] for one in runs}
    for _ in range(passes or case["passes"]):
        for one, (_, run) in runs.items():
            begun = clock()
            run()
            seconds[one].append(clock() - begun)
    best = {one: min(times) for one, times in seconds.items()}
    middle = {one: statistics.median(times) for one, times in seconds.items()}
    print(
        f"{name}: {len(x):,} x {x.shape[1]}, {case}, {len(seconds['likely'])} passes, {torch.get_num_threads()} threads"
    )
    first = sum(seconds["likely"])
    for one, (model, _) in runs.items():
        score = float(model.log_prob(x).double().mean()) if one == "likely" else model.score(x.numpy())
        times = " ".join(f"{t:.3f}" for t in seconds[one])
        print(
            f"  {one:22} median {middle[one]:7.3f} s  fastest {best[one]:7.3f} s  mean {np.mean(seconds[one]):7.3f} s  "
            f"likely is {middle[one] / middle['likely']:5.2f}x (by means {sum(seconds[one]) / first:5.2f}x)"
            f"  log-likelihood {score:.4f}\n    passes: {times}"
        )


def memory(name: str, who: str) -> None:
    """Print by how many MB two passes lift the peak of this process's memory above the data; run in its own process."""
    case, x = CASES[name], rows_of(name)
    chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[: case["components"]]
    dtype = np.float64 if who.endswith("64") else np.float32
    _, run = ours(x, case, chosen) if who == "likely" else theirs(x, case, chosen, dtype)
    if who == "likely":  # libraries' own buffers and kernels are no cost of the rows
        model, _ = ours(x, case, chosen)
        model.m_step(model.e_step(x[:1000]))
    with open("/proc/self/clear_refs", "w", encoding="ascii") as reset:
        reset.write("5")
    before = _status("VmRSS")
    run()
    run()
    print(f"  {who:22} peak extra memory {(_status('VmHWM') - before) / 1024:7.1f} MB", flush=True)


def _status(what: str) -> float:
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(float(line.split()[1]) for line in lines if line.startswith(what))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--passes", type=int, default=None)
    parser.add_argument("--clock", default="wall", choices=CLOCKS)
    parser.add_argument("--memory", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.memory:
        memory(asked.only, asked.memory)
        return
    for name in asked.only.split(","):
        compare(name, asked.passes, CLOCKS[asked.clock])
        for who in ["likely"] + ([] if name == "factors" else ["scikit-learn float64", "scikit-learn float32"]):
            subprocess.run([sys.executable, __file__, "--only", name, "--memory", who], check=True)


if __name__ == "__main__":
    main()
