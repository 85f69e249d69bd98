"""Annealed importance sampling against normalisers that are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from likely.parts.annealing import annealed_log_weights, log_mean_exp


def gaussian_climb(variance: float):
    """Return climb and move from N(0, 1) to N(0, variance), both without their constants."""

    def precision(beta: float) -> float:
        return (1 - beta) + beta / variance

    def climb(x: Tensor, beta: float, following: float) -> Tensor:
        return -0.5 * (precision(following) - precision(beta)) * x.square()

    def move(x: Tensor, beta: float) -> Tensor:  # keeps N(0, 1 / precision)
        return 0.6 * x + 0.8 * torch.randn_like(x) / math.sqrt(precision(beta))

    return climb, move


@pytest.mark.parametrize("variance", [0.05, 4.0])
def test_ratio_of_gaussian_normalisers(variance):
    torch.manual_seed(0)
    weights = annealed_log_weights(
        torch.randn(2000, dtype=torch.float64), torch.linspace(0, 1, 60), *gaussian_climb(variance)
    )
    value, error = log_mean_exp(weights)
    assert weights.dtype == torch.float64
    assert float(error) < 0.05
    assert abs(float(value) - 0.5 * math.log(variance)) < 3 * float(error)


def test_down_the_ladder_gives_the_reciprocal():
    torch.manual_seed(1)
    start = torch.randn(2000, dtype=torch.float64) * 2
    value, error = log_mean_exp(annealed_log_weights(start, torch.linspace(1, 0, 60), *gaussian_climb(4.0)))
    assert abs(float(value) + math.log(2)) < 3 * float(error)


def test_one_jump_is_importance_sampling():
    torch.manual_seed(2)
    x = torch.randn(500, dtype=torch.float64)
    climb, move = gaussian_climb(0.5)
    torch.testing.assert_close(annealed_log_weights(x, torch.tensor([0.0, 1.0]), climb, move), -0.5 * x.square())


def test_error_of_the_mean_weight_is_honest():
    torch.manual_seed(3)
    off = []
    for _ in range(400):  # log w ~ N(-1/8, 1/4), so E[w] = 1
        value, error = log_mean_exp(0.5 * torch.randn(200, dtype=torch.float64) - 0.125)
        off.append(float(value / error))
    spread = torch.tensor(off).std()
    assert 0.85 < float(spread) < 1.15


def test_mean_of_weights_survives_large_numbers_and_one_chain_has_no_error():
    value, error = log_mean_exp(torch.tensor([5000.0, 5000.0], dtype=torch.float64))
    assert (float(value), float(error)) == (5000.0, 0.0)
    assert math.isinf(float(log_mean_exp(torch.tensor([1.0]))[1]))
