r"""The probability flow of a diffusion: its density without its noise, from the denoiser E[x_0 | x_t] alone.

A diffusion and an ordinary differential equation have the same laws at every time. With u = log(sigma / alpha), and
alpha^2 + sigma^2 = 1, it is

    dx/du = alpha^2 x - alpha E[x_0 | x],    d log p(x)/du = -div dx/du,

so log p at the least noise is that of N(0, I) at the end of the path plus the integral of the divergence along it. The
divergence of a network is estimated without bias as v^T J v with random signs v (Hutchinson).

When it fails: the number is right for the law of the flow, which is that of the data only as far as the denoiser is
right; few steps miss narrow laws (compare with twice as many), and few signs scatter.

Reference: Song, Sohl-Dickstein, Kingma, Kumar, Ermon and Poole, Score-Based Generative Modeling through Stochastic
Differential Equations, 2021, arxiv.org/abs/2011.13456, eq. 39-40; Grathwohl et al., FFJORD, 2019,
arxiv.org/abs/1810.01367.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from likely.errors import LikelyError
from likely.parts.schedules import Schedule

Denoise = Callable[[Tensor, float], Tensor]  #: (x_t, t) -> E[x_0 | x_t]


def flow_log_density(
    denoise: Denoise, x: Tensor, schedule: Schedule, least: float, *, steps: int = 50, probes: int = 1
) -> Tensor:
    """Return log p(x) at the time `least` of the flow that ends in N(0, I) at time 1, (B,), nats.

    The equation is solved by Heun's method, whose error falls with the square of the number of steps. With as many
    probes as x has entries, or more, the divergence is exact.

    Arguments:
        denoise: (x_t, t) -> E[x_0 | x_t], through which gradients flow.
        x: values at the time `least`, (B, *shape).
        schedule: t -> alpha, sigma, with alpha^2 + sigma^2 = 1.
        least: the time at which the density is asked, in (0, 1].
        steps: of the solver, evenly spaced in u; each costs two denoisings and `probes` gradients each.
        probes: random directions that estimate the divergence.

    Raises:
        LikelyError: steps or probes is below 1, `least` is not in (0, 1], or the schedule does not keep the variance.
    """
    if steps < 1 or probes < 1:
        raise LikelyError(f"take at least one step and one probe, not {steps} and {probes}.")
    if not 0 < least <= 1:
        raise LikelyError(f"the time of a density lies above 0 and not above 1, not at {least}.")
    times = noise_levels(schedule, least, steps)
    alphas, sigmas = schedule(times)
    if not torch.allclose(alphas.square() + sigmas.square(), torch.ones_like(alphas), atol=1e-6):
        raise LikelyError("a probability flow is computed for schedules that keep the variance: alpha^2 + sigma^2 = 1.")
    u = (sigmas / alphas).log().tolist()
    size = x[0].numel() if len(x) else 0
    signs = _signs(x, size, probes)

    def slope(x: Tensor, i: int) -> tuple[Tensor, Tensor]:
        """Return dx/du and its divergence at the i-th time."""
        alpha = float(alphas[i])
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            x_0 = denoise(x, float(times[i]))
            inside = torch.zeros(len(x), device=x.device)
            for number, v in enumerate(signs, 1):
                (pulled,) = torch.autograd.grad(x_0, x, v, retain_graph=number < len(signs), allow_unused=True)
                if pulled is not None:
                    inside = inside + (pulled * v).flatten(1).sum(1)
        if probes < size:
            inside = inside / probes
        x, x_0 = x.detach(), x_0.detach()
        return alpha * (alpha * x - x_0), alpha**2 * size - alpha * inside

    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for i in range(steps):
        h = u[i + 1] - u[i]
        if h == 0 or len(x) == 0:
            continue
        first, spread = slope(x, i)
        second, spread_there = slope(x + h * first, i + 1)
        x = x + 0.5 * h * (first + second)
        total += 0.5 * h * (spread + spread_there).double()
    normal = -0.5 * (x.double().square() + math.log(2 * math.pi)).flatten(1).sum(1)
    return (normal + total).to(x.dtype)


def noise_levels(schedule: Schedule, least: float, steps: int) -> Tensor:
    """Return `steps` + 1 rising times from `least` to 1 at which log(sigma / alpha) is evenly spaced, float64."""

    def level(t: Tensor) -> Tensor:
        alpha, sigma = schedule(t)
        return (sigma / alpha).log()

    low = torch.full((steps + 1,), least, dtype=torch.float64)
    high = torch.ones(steps + 1, dtype=torch.float64)
    share = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    wanted = level(low).lerp(level(high), share)
    for _ in range(60):
        middle = (low + high) / 2
        below = level(middle) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    times = (low + high) / 2
    times[0], times[-1] = least, 1.0
    return times


def _signs(x: Tensor, size: int, probes: int) -> list[Tensor]:
    """Return directions, each (B, *shape): random signs, or every axis once."""
    if probes >= size:
        return [axis.reshape(x.shape[1:]).expand_as(x) for axis in torch.eye(size, device=x.device, dtype=x.dtype)]
    return [torch.randint_like(x, 2) * 2 - 1 for _ in range(probes)]
