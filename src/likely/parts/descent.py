"""A minimum of a smooth function of a few numbers, for many columns at once, and its curvature there.

    u <- u - a |H|^-1 g      Cov(u) = H^-1

|H| is the Hessian with its eigenvalues made positive, so that each step leads down, and a is halved until it does. Each
column descends on its own: its gradient and Hessian come from derivatives of the sum. Beyond a few hundred numbers
L-BFGS takes over. Bounded parameters are moved onto numbers without bounds. It finds a local minimum only.

Reference: Nocedal and Wright, Numerical Optimization, 2nd edition, 2006, sections 3.4 and 7.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import biject_to, constraints, transform_to

from likely.errors import LikelyError

STEPS = 200  #: Newton steps
FAR = 14.0  #: factors of e by which a bounded number may go while the loss still falls
STALLED = 10  #: so many steps without gain are enough
FLAT = 8.0  #: a standard error this large, of a logarithm: the data do not say

Loss = Callable[[Tensor], Tensor]  #: (B, P) -> (B,)


class Coordinate(NamedTuple):
    """A parameter to be found: which unbounded numbers it is made of."""

    name: str
    shape: tuple[int, ...]  #: of one column
    transform: Any
    raw: tuple[int, ...]  #: the shape that the transform takes
    used: Tensor  #: which of these numbers are used
    bounded: bool

    @property
    def free(self) -> int:
        return len(self.used)

    def value(self, u: Tensor) -> Tensor:
        """Return the parameter, (B, *shape), of its unbounded numbers, (B, count)."""
        raw = torch.zeros(len(u), math.prod(self.raw), dtype=u.dtype).index_copy(1, self.used, u)
        return self.transform(raw.reshape(len(u), *self.raw))

    def unbounded(self, value: Tensor) -> Tensor:
        """Return its unbounded numbers, (B, count)."""
        return self.transform.inv(value).reshape(len(value), -1)[:, self.used]


def coordinate(name: str, shape: tuple[int, ...], constraint: constraints.Constraint) -> Coordinate:
    if constraint.is_discrete:
        raise LikelyError(f"{name} is a whole number and is not estimated; give it: {name}=...")
    try:
        triangle = type(constraint) is type(constraints.positive_definite)  # half of its numbers are not used
        transform: Any = transform_to(constraint) if triangle else biject_to(constraint)
    except NotImplementedError:
        raise LikelyError(f"the range of {name} depends on the others; give it: {name}=..., or ranges=.") from None
    raw = tuple(transform.inverse_shape(torch.Size(shape)))
    index = torch.arange(math.prod(raw))
    if type(constraint) in (type(constraints.positive_definite), type(constraints.lower_cholesky)):
        index = torch.ones(raw).tril().flatten().nonzero()[:, 0]
    bounded = type(getattr(constraint, "base_constraint", constraint)) is not type(constraints.real)
    return Coordinate(name, shape, transform, raw, index, bounded)


def derivatives(loss: Loss, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss of each column (B,), its gradient (B, P) and its Hessian (B, P, P)."""
    point = u.clone().requires_grad_()
    value = loss(point)
    (slope,) = torch.autograd.grad(value.sum(), point, create_graph=True)
    rows = [
        torch.autograd.grad(one.sum(), point, retain_graph=True, materialize_grads=True, allow_unused=True)[0]
        if one.requires_grad
        else torch.zeros_like(u)
        for one in slope.unbind(1)
    ]
    hessian = torch.stack(rows, 1)
    return value.detach(), slope.detach(), (hessian + hessian.transpose(1, 2)) / 2


def inverse(hessian: Tensor) -> Tensor:
    """Return the inverse of each Hessian with its eigenvalues made positive, after bringing its diagonal to 1."""
    scale = hessian.diagonal(dim1=1, dim2=2).abs()
    scale = torch.where(scale > 0, scale, 1.0).rsqrt()
    try:
        values, vectors = torch.linalg.eigh(scale[:, :, None] * hessian * scale[:, None])
    except RuntimeError:  # numbers too far apart: each parameter on its own
        return (scale**2).diag_embed()
    values = values.abs().clamp(min=1e-12)
    return scale[:, :, None] * (vectors / values[:, None] @ vectors.transpose(1, 2)) * scale[:, None]


def newton(loss: Loss, u: Tensor, bounded: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Descend by Newton's method with halved steps, every column on its own.

    Arguments:
        loss: the function.
        u: where to begin, (B, P).
        bounded: which numbers stand for bounded ones, logarithms and the like, (P,).
        rows: how many data the loss of each column adds up, (B,).

    Returns:
        u: where it ended, (B, P).
        arrived: whether the bottom of the parabola is less than 1e-10 nats lower, (B,).
        endless: the numbers with which the loss fell on although they had gone far, (B, P).
    """
    first, arrived = u, torch.zeros(len(u), dtype=torch.bool)
    endless = torch.zeros_like(u, dtype=torch.bool)
    past: list[Tensor] = []
    for _ in range(STEPS):
        value, slope, hessian = derivatives(loss, u)
        past.append(value)
        if len(past) > 1:
            endless |= ((u - first).abs() > FAR) & bounded & (past[-2] - value > 1e-3 * rows)[:, None]
        if not bool(hessian.isfinite().all()):
            break
        step = -(inverse(hessian) @ slope[:, :, None])[:, :, 0]
        gain = -(slope * step).sum(1) / 2  # how much lower the bottom of the parabola is, in nats
        step = step / ((step.abs() * bounded).amax(1, keepdim=True) / 3).clamp(min=1)  # a factor of e^3 at a time
        size, rounding = torch.ones(len(u), 1, dtype=u.dtype), 1e-12 * (1 + value.abs())
        with torch.no_grad():
            for _ in range(30):
                lower = loss(u + size * step) <= value + rounding
                if bool(lower.all()):
                    break
                size = torch.where(lower[:, None], size, size / 2)
        u = u + torch.where(lower[:, None], size, 0) * step
        arrived = gain < 1e-10
        stalled = len(past) > STALLED and bool((past[-1 - STALLED] - value <= 1e-9 * (1 + value.abs())).all())
        if stalled or bool((arrived | ~lower).all()):
            break
    lost = u.abs() > 34  # a factor of 10^15: what looks like a bottom there is the end of the digits
    return u, arrived, endless & (lost | ~arrived[:, None])


def lbfgs(loss: Loss, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Descend by L-BFGS, all columns together; return what `newton` does."""
    point = u.clone().requires_grad_()
    search = torch.optim.LBFGS(
        [point],
        max_iter=1000,
        history_size=30,
        tolerance_grad=1e-9,
        tolerance_change=1e-13,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        search.zero_grad()
        total = loss(point).sum()
        total.backward()
        return total

    search.step(closure)
    total = loss(point)
    (slope,) = torch.autograd.grad(total.sum(), point)
    arrived = slope.abs().amax(1) <= 1e-5 * (1 + total.detach().abs())
    return point.detach(), arrived, torch.zeros_like(u, dtype=torch.bool)


def spread(loss: Loss, u: Tensor, bounded: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inverse observed information, (B, P, P), and which numbers it leaves open, (B, P)."""
    _, _, hessian = derivatives(loss, u)
    covariance = inverse(hessian)
    scale = hessian.diagonal(dim1=1, dim2=2)
    variance = covariance.diagonal(dim1=1, dim2=2)
    return covariance, (scale <= 0) | (bounded & (variance > FLAT**2))
