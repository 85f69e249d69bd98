r"""From noise to data: functions that follow a diffusion backwards, given a denoiser E[x_0 | x_t].

A solver is a function (denoise, x, times, schedule) -> x at the last time. All of them take steps of one form,

    x_s = keep x_t + pull denoise(x_t, t) + spread z,    z ~ N(0, I),    s < t,

and differ in how much fresh noise z they add: all that the diffusion took away (DDPM), or none (DDIM).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from likely.parts.schedules import Schedule

#: (x_t, t) -> E[x_0 | x_t]; t is a number
Denoise = Callable[[Tensor, float], Tensor]
Solver = Callable[[Denoise, Tensor, Tensor, Schedule], Tensor]


class Transition(NamedTuple):
    """The law q(x_s | x_t, x_0) = N(keep x_t + pull x_0, spread^2), numbers or one per row."""

    keep: Tensor
    pull: Tensor
    spread: Tensor


def transition(schedule: Schedule, s: Tensor, t: Tensor, eta: float = 1.0) -> Transition:
    r"""Return how x_s follows from x_t and x_0, for s < t.

    spread^2 = eta^2 (sigma_s / sigma_t)^2 (1 - alpha_t^2 / alpha_s^2); keep and pull make x_s have the mean alpha_s x_0
    and the variance sigma_s^2 whatever eta is. With eta = 1 this is the posterior of the diffusion (Ho et al., 2020,
    eq. 7), with eta = 0 it is deterministic.

    Arguments:
        schedule: t -> alpha, sigma.
        s: the earlier times, any shape; float64 is best, since neighbouring times nearly cancel.
        t: the later times, same shape.
        eta: the share of fresh noise, 0 to 1.

    Reference: Song, Meng and Ermon, Denoising Diffusion Implicit Models, 2021, arxiv.org/abs/2010.02502, eq. 7 and 16.
    """
    (alpha_s, sigma_s), (alpha_t, sigma_t) = schedule(s), schedule(t)
    spread = eta * sigma_s / sigma_t * (1 - (alpha_t / alpha_s) ** 2).clamp(min=0).sqrt()
    keep = (sigma_s**2 - spread**2).clamp(min=0).sqrt() / sigma_t
    return Transition(keep, alpha_s - alpha_t * keep, spread)


def ddim(denoise: Denoise, x: Tensor, times: Tensor, schedule: Schedule, eta: float = 0.0) -> Tensor:
    """Follow the deterministic path of DDIM, a first-order solver of the probability-flow ODE, and return the last x.

    Arguments:
        denoise: (x_t, t) -> E[x_0 | x_t].
        x: x at the first time, (B, *shape): standard normal at t = 1.
        times: falling times, (steps + 1,), float64; the first in (0, 1], the last may be 0.
        schedule: t -> alpha, sigma.
        eta: the share of fresh noise: 0 is DDIM, 1 is DDPM.

    Example:
        >>> import torch
        >>> from likely.parts.schedules import cosine
        >>> times = torch.linspace(1, 0, 11, dtype=torch.float64)
        >>> ddim(lambda x, t: torch.ones_like(x), torch.randn(5, 2), times, cosine).mean()  # all data are at 1
        tensor(1.)

    Reference: Song, Meng and Ermon, Denoising Diffusion Implicit Models, 2021, arxiv.org/abs/2010.02502, eq. 12.
    """
    for keep, pull, spread, t in _steps(times, schedule, eta):
        x = keep * x + pull * denoise(x, t)
        if spread:
            x = x + spread * torch.randn_like(x)
    return x


def ddpm(denoise: Denoise, x: Tensor, times: Tensor, schedule: Schedule) -> Tensor:
    """Draw from the ancestral chain of DDPM; arguments as for `ddim`.

    Reference: Ho, Jain and Abbeel, Denoising Diffusion Probabilistic Models, 2020, arxiv.org/abs/2006.11239, alg. 2.
    """
    return ddim(denoise, x, times, schedule, eta=1.0)


def repaint(
    denoise: Denoise, x_0: Tensor, known: Tensor, times: Tensor, schedule: Schedule, repeats: int = 5
) -> Tensor:
    """Draw what is not known: the known part is diffused forwards, the rest comes from the ancestral chain.

    After each step x is sent back by one step and drawn again, `repeats` times in all, so that the two parts agree. The
    law is approximate: it is right only as the number of repeats grows.

    Arguments:
        denoise: (x_t, t) -> E[x_0 | x_t].
        x_0: the data, (B, *shape); unknown entries may hold anything finite.
        known: True where x_0 is given, same shape.
        times: falling times, (steps + 1,), float64, from 1 to 0.
        schedule: t -> alpha, sigma.
        repeats: how often each step is made, 1 or more.

    Reference: Lugmayr et al., RePaint: Inpainting using Denoising Diffusion Probabilistic Models, 2022,
    arxiv.org/abs/2201.09865, alg. 1 (with jumps of one step).
    """
    x = torch.randn_like(x_0)
    levels = [(float(alpha), float(sigma)) for alpha, sigma in zip(*schedule(times), strict=True)]
    for i, (keep, pull, spread, t) in enumerate(_steps(times, schedule, 1.0)):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = levels[i], levels[i + 1]
        for repeat in range(repeats):
            drawn = keep * x + pull * denoise(x, t) + spread * torch.randn_like(x)
            x = torch.where(known, alpha_s * x_0 + sigma_s * torch.randn_like(x), drawn)
            if repeat + 1 < repeats:
                ratio = alpha_t / alpha_s
                x = ratio * x + max(sigma_t**2 - (ratio * sigma_s) ** 2, 0.0) ** 0.5 * torch.randn_like(x)
    return x


def _steps(times: Tensor, schedule: Schedule, eta: float) -> list[tuple[float, float, float, float]]:
    """Return keep, pull, spread and t of every step from times[i] to times[i + 1], as numbers."""
    columns = transition(schedule, times[1:], times[:-1], eta)
    return list(zip(*(column.tolist() for column in columns), times[:-1].tolist(), strict=True))


SOLVERS: dict[str, Solver] = {"ddpm": ddpm, "ddim": ddim}
