"""An epoch of persistent contrastive divergence against scikit-learn: 784 bits, 256 hidden, batches of 100.

Both see the same 50,000 rows, with the same learning rate, batches and number of chains, and take turns epoch by epoch
in one process, after a pause, since the threads of the library before go on waiting for work for some time. Printed are
the median and the fastest epoch, the ratio, and the log-likelihood of validation rows after the same number of epochs,
by the same annealed importance sampling, with its standard error and the bound from the other side. `likely` is measured as `likely.fit` runs it, the loop included; scikit-learn by its inner step alone.
`--clock process` counts the processor's time: what is left to compare on a machine that others use, with
OMP_NUM_THREADS=1, since threads that wait for work count too.

LIKELY_DATA=../shared/data python benchmarks/rbm.py [--epochs 5] [--rungs 2000] [--clock wall|process]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import torch
from sklearn.neural_network import BernoulliRBM
from sklearn.utils import gen_even_slices

import likely
from likely import data as datasets
from likely.data.parts import Part
from likely.models.rbm import RBM

HIDDEN, BATCH, LEARNING_RATE, JUDGED = 256, 100, 0.05, 100
PAUSE = 0.5  #: seconds
CLOCKS = {"wall": time.perf_counter, "process": time.process_time}


def ours(part: Part, epochs: int, precision: str) -> tuple[RBM, Callable[[], object]]:
    """Return our model and what trains it for one more epoch."""
    model = likely.build("rbm", likely.Binary((1, 28, 28)), hidden=HIDDEN, chains=BATCH)
    per_epoch = len(part) // BATCH
    steps: Iterator[object] = likely.fit(
        model,
        part,
        steps=epochs * per_epoch,
        batch=BATCH,
        optimizer="sgd",
        momentum=0.0,
        learning_rate=LEARNING_RATE,
        precision=precision,
    )
    return model, lambda: list(islice(steps, per_epoch))


def theirs(x: np.ndarray) -> tuple[BernoulliRBM, Callable[[], object]]:
    """Return scikit-learn's model and what trains it for one more epoch, as its `fit` does."""
    model = BernoulliRBM(HIDDEN, learning_rate=LEARNING_RATE, batch_size=BATCH, random_state=0)
    model.partial_fit(x[:BATCH])
    slices = list(gen_even_slices(len(x) // BATCH * BATCH, len(x) // BATCH))

    def epoch() -> None:
        for rows in slices:
            model._fit(x[rows], model.random_state_)

    return model, epoch


def as_ours(model: BernoulliRBM, like: RBM) -> RBM:
    """Return scikit-learn's parameters as a model of ours, to be judged by the same estimator."""
    copy = likely.build("rbm", like.space, hidden=HIDDEN)
    with torch.no_grad():
        copy.base.copy_(like.base)
        for mine, its in zip(
            (copy.W, copy.b, copy.c),
            (model.components_.T, model.intercept_visible_, model.intercept_hidden_),
            strict=True,
        ):
            mine.copy_(torch.as_tensor(its.copy()))
    return copy


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rungs", type=int, default=2000)
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall")
    asked = parser.parse_args()
    clock = CLOCKS[asked.clock]
    data = datasets.load("binarized-mnist")
    x, _ = data.train.batch(slice(0, len(data.train)))
    part, held_out = Part(x.contiguous()), data.valid.batch(slice(0, len(data.valid)))[0]
    flat = x.reshape(len(x), -1).contiguous().numpy()
    models, runs = {}, {}
    for name, precision in {"likely": "auto", "likely, float32": "float32"}.items():
        models[name], runs[name] = ours(part, asked.epochs, precision)
    peers = {}
    for name, dtype in {"sklearn float64": np.float64, "sklearn float32": np.float32}.items():
        peers[name], runs[name] = theirs(flat.astype(dtype))
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(asked.epochs):
        for name, run in runs.items():
            time.sleep(PAUSE)
            begun = clock()
            run()
            seconds[name].append(clock() - begun)
    models |= {name: as_ours(peer, models["likely"]) for name, peer in peers.items()}
    threads = f"{torch.get_num_threads()} threads, {asked.clock} time"
    print(f"RBM 784 x {HIDDEN}, batch {BATCH}, {asked.epochs} epochs, {threads}")
    print(f"{'':18}{'s an epoch':>11}{'fastest':>9}{'likely is':>11}{'nats (AIS)':>22}{'from below':>12}")
    for name, took in seconds.items():
        middle, fast = statistics.median(took), min(took)
        times = middle / statistics.median(seconds["likely"])
        models[name].rungs = asked.rungs
        log_z = models[name].log_partition(seed=0)
        nats = -models[name].energy(held_out) - log_z.value.float()
        below = models[name].conservative_log_prob(held_out[:JUDGED], seed=0) - nats[:JUDGED]
        print(
            f"{name:18}{middle:11.3f}{fast:9.3f}{times:10.2f}x{float(nats.mean()):14.2f} +- {float(log_z.error):4.2f}"
            f"{float(nats.mean() + below.mean()):12.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
