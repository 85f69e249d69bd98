"""Baum-Welch against hmmlearn: 1,000 sequences of 200 steps, 16 states; 32 symbols, or 8 Gaussian numbers.

Both start from the same parameters and run interleaved in one process; printed are the fastest and the median time of
a pass, the ratio of the fastest, and both log-likelihoods after the same number of passes. hmmlearn is no dependency:

pip install --no-deps --target /tmp/oracles hmmlearn && PYTHONPATH=/tmp/oracles python benchmarks/hmm.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hmmlearn import hmm as peer
from torch import Tensor

import likely
from likely.models.hmm import HMM

SEQUENCES, LENGTH, STATES, SYMBOLS, SIZE = 1000, 200, 16, 32, 8
PASSES = 9


def chances(generator: torch.Generator, *shape: int, concentration: float = 1.0) -> Tensor:
    """Draw rows of probabilities, the more uneven the smaller the concentration."""
    drawn = torch._standard_gamma(torch.full(shape, concentration, dtype=torch.float64), generator=generator) + 1e-6
    return drawn / drawn.sum(-1, keepdim=True)


def chain(generator: torch.Generator) -> Tensor:
    """Draw paths of states, (SEQUENCES, LENGTH), of a chain that likes to stay."""
    moves = 0.8 * torch.eye(STATES, dtype=torch.float64) + 0.2 * chances(generator, STATES, STATES)
    path = torch.empty(SEQUENCES, LENGTH, dtype=torch.int64)
    path[:, 0] = torch.randint(STATES, (SEQUENCES,), generator=generator)
    for t in range(1, LENGTH):
        path[:, t] = torch.multinomial(moves[path[:, t - 1]], 1, generator=generator)[:, 0]
    return path


def problem(kind: str) -> tuple[Any, HMM, dict[str, np.ndarray]]:
    """Return the data, our model, and the parameters that both start from."""
    generator = torch.Generator().manual_seed(0)
    path = chain(generator)
    initial, transition = chances(generator, STATES), chances(generator, STATES, STATES)
    begin = {"startprob_": initial.numpy(), "transmat_": transition.numpy()}
    if kind == "categorical":
        truth = chances(generator, STATES, SYMBOLS, concentration=0.3)
        x = torch.multinomial(truth[path.flatten()], 1, generator=generator).reshape(path.shape).to(torch.uint8)
        guess = chances(generator, STATES, SYMBOLS)
        model = HMM(likely.Sequence(step=likely.Finite((), SYMBOLS), length=LENGTH), states=STATES, floor=1e-9)
        model.set_parts(initial=initial, transition=transition, probabilities=guess)
        return x, model, {**begin, "emissionprob_": guess.numpy()}
    centres = 1.5 * torch.randn(STATES, SIZE, generator=generator)
    x = centres[path] + torch.randn(SEQUENCES, LENGTH, SIZE, generator=generator)
    means = torch.randn(STATES, SIZE, generator=generator, dtype=torch.float64)
    wide = torch.full((STATES, SIZE), 3.0, dtype=torch.float64)
    model = HMM(likely.Sequence(step=likely.Real((SIZE,)), length=LENGTH), states=STATES, floor=1e-6)
    model.set_parts(initial=initial, transition=transition, means=means, covariances=wide.diag_embed())
    return x, model, {**begin, "means_": means.numpy(), "covars_": wide.numpy()}


def theirs(kind: str, implementation: str, begin: dict[str, np.ndarray]) -> Any:
    """Return hmmlearn's model with these parameters, learning without priors, one pass a call of `fit`."""
    common = {"n_components": STATES, "init_params": "", "n_iter": 1, "tol": -np.inf, "implementation": implementation}
    if kind == "categorical":
        model = peer.CategoricalHMM(**common, n_features=SYMBOLS)
    else:
        model = peer.GaussianHMM(**common, covariance_type="diag", covars_prior=0, covars_weight=1, min_covar=1e-6)
    for name, value in begin.items():
        setattr(model, name, value.copy())
    return model


def compare(kind: str) -> None:
    x, ours, begin = problem(kind)
    flat = x.reshape(-1, 1).long().numpy() if kind == "categorical" else x.reshape(-1, SIZE).double().numpy()
    lengths = [LENGTH] * SEQUENCES
    peers = {name: theirs(kind, name, begin) for name in ("log", "scaling")}

    def one_pass() -> None:
        with torch.no_grad():
            ours.m_step(ours.e_step(x))

    runs: dict[str, Callable[[], object]] = {"likely": one_pass}
    runs |= {name: (lambda model=model: model.fit(flat, lengths)) for name, model in peers.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(PASSES):
        for name, run in runs.items():
            begun = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begun)
    ours_now = float((ours.log_prob(x) - ours.lengths[LENGTH].log()).sum())
    fast = min(seconds["likely"])
    typical = {
        name: f"{1e3 * min(times):7.1f} ms (median {1e3 * statistics.median(times):.1f})"
        for name, times in seconds.items()
    }
    print(f"{kind}: likely {typical['likely']} a pass, log-likelihood {ours_now:.1f} after {PASSES}")
    for name, model in peers.items():
        score = model.score(flat, lengths)
        print(
            f"{'':12} hmmlearn {name:8} {typical[name]}, ratio {min(seconds[name]) / fast:5.1f}, "
            f"log-likelihood {score:.1f} (difference {abs(score - ours_now) / abs(score):.1e})"
        )


if __name__ == "__main__":
    for kind in ("categorical", "gaussian"):
        compare(kind)
