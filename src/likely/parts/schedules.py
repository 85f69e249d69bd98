r"""How diffusion mixes data with noise: x_t = alpha(t) x_0 + sigma(t) epsilon, from t = 0 (data) to t = 1 (noise).

A schedule is a function t -> (alpha, sigma). All here preserve variance, alpha^2 + sigma^2 = 1, so that data of unit
variance stay at unit variance; alpha^2 is the paper's cumulative product "alpha bar", and the beta of T discrete steps
is 1 - alpha(t)^2 / alpha(t - 1/T)^2.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Schedule = Callable[[Tensor], tuple[Tensor, Tensor]]


def linear(t: Tensor, first: float = 0.1, last: float = 20.0) -> tuple[Tensor, Tensor]:
    r"""Return alpha and sigma with alpha(t)^2 = exp(-first t - (last - first) t^2 / 2).

    It is the limit of Ho et al.'s betas, which rise linearly from 1e-4 to 0.02 over 1,000 steps, and does not depend on
    the number of steps.

    Arguments:
        t: times in [0, 1], any shape.
        first: the rate of noise at t = 0.
        last: the rate of noise at t = 1.

    Reference: Song et al., Score-Based Generative Modeling through Stochastic Differential Equations, 2021,
    arxiv.org/abs/2011.13456, eq. 33.
    """
    log_alpha = -0.5 * t * (first + 0.5 * (last - first) * t)
    return log_alpha.exp(), (-torch.expm1(2 * log_alpha)).sqrt()


def cosine(t: Tensor, offset: float = 0.008, least: float = 1e-4) -> tuple[Tensor, Tensor]:
    r"""Return alpha and sigma with alpha(t)^2 = least + (1 - least) f(t), f(t) = cos^2(u(t)) / cos^2(u(0)).

    Here u(t) = pi/2 (t + offset) / (1 + offset). Noise comes more slowly than with `linear`, which suits small images.
    The paper cuts the last beta at 0.999 so that alpha(1) > 0; `least` does the same without a kink.

    Arguments:
        t: times in [0, 1], any shape.
        offset: keeps the first steps from being too small.
        least: alpha(1)^2.

    Reference: Nichol and Dhariwal, Improved Denoising Diffusion Probabilistic Models, 2021, arxiv.org/abs/2102.09672,
    eq. 17.
    """
    start = 0.5 * math.pi * offset / (1 + offset)
    angle = 0.5 * math.pi * (t + offset) / (1 + offset)
    # sin(a - b) sin(a + b) = cos^2 b - cos^2 a, without the cancellation near t = 0
    gone = torch.sin(angle - start) * torch.sin(angle + start) / math.cos(start) ** 2
    variance = ((1 - least) * gone).clamp(0, 1)
    return (1 - variance).sqrt(), variance.sqrt()


SCHEDULES: dict[str, Schedule] = {"cosine": cosine, "linear": linear}
