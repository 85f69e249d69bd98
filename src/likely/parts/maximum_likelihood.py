"""Any family of `torch.distributions` fitted to data: the parameters under which the data are likeliest.

    maximum likelihood    max_t sum_i w_i log p(x_i | t)
    maximum a posteriori  max_t sum_i w_i log p(x_i | t) + log p(t)

In closed form where there is one (`closed_forms.CLOSED`: Bernoulli, Binomial, Categorical, Exponential, Geometric,
HalfNormal, Laplace, LogNormal, Multinomial, MultivariateNormal, NegativeBinomial of a given count, Normal,
OneHotCategorical, Pareto, Poisson, Uniform), else by Newton's method, or L-BFGS beyond 200 parameters, on numbers
without bounds that `biject_to(constraint)` maps onto the parameters. Standard errors come from the observed
information, minus the second derivative of what is maximised, brought back to the parameters by the delta method. A
prior is a density of the parameter by its name, without a Jacobian: a prior on a scale is not one on its logarithm.

It fails where there is no maximum (values that are all equal), which is an error, or where it lies at an edge, which
`edges` tells instead of a standard error. It finds a local maximum, the one to which moments and quantiles lead.

Reference: Efron and Hinkley, Assessing the accuracy of the maximum likelihood estimator: observed versus expected
Fisher information, 1978, doi.org/10.1093/biomet/65.3.457.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from likely.errors import LikelyError, unknown
from likely.parts import closed_forms, descent, parametric

LARGE = 200  #: more parameters than this are found by L-BFGS
LARGEST = 2_000  #: more than this get no standard errors


@dataclass(frozen=True)
class Estimate:
    """What was fitted; `print` shows it.

    Arguments:
        distribution: the fitted distribution, float64.
        parameters: name -> value.
        errors: name -> standard error, in the parameter's shape; infinite where there is none, see `edges`.
        covariance: of all parameters, flattened and in their order, (..., F, F), infinite at edges; None where it is
            too large to be written out.
        log_likelihood: sum of w log p(x) over the data, nats.
        log_posterior: log_likelihood plus the log-density of the prior; the same without one.
        n: how many data were used, the sum of their weights; one number for each column, where there are columns.
        free: how many numbers were free.
        dropped: how many data were left out because a value is missing.
        method: closed form, Newton or L-BFGS.
        converged: whether a maximum was reached.
        edges: name -> why it has no standard error.
    """

    distribution: Distribution
    parameters: dict[str, Tensor]
    errors: dict[str, Tensor]
    covariance: Tensor | None
    log_likelihood: float
    log_posterior: float
    n: Tensor
    free: int
    dropped: int
    method: str
    converged: bool
    edges: dict[str, str]

    @property
    def aic(self) -> float:
        """Akaike's criterion, 2 free - 2 log_likelihood: the lower the better."""
        return 2 * self.free - 2 * self.log_likelihood

    @property
    def bic(self) -> float:
        """Schwarz's criterion, free log n - 2 log_likelihood; columns, fitted apart, count their own n."""
        return self.free * float(self.n.log().mean()) - 2 * self.log_likelihood

    def interval(self, name: str, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """Return the interval that holds the parameter at this level where estimates are normal: value -+ z error.

        Raises:
            LikelyError: there is no such parameter, or the level is not between 0 and 1.
        """
        if name not in self.parameters:
            raise unknown("parameter", name, self.parameters)
        if not 0 < level < 1:
            raise LikelyError(f"level must lie between 0 and 1, not {level}.")
        z = math.sqrt(2) * float(torch.erfinv(torch.tensor(level, dtype=torch.float64)))
        return self.parameters[name] - z * self.errors[name], self.parameters[name] + z * self.errors[name]

    def __str__(self) -> str:
        rows = (
            f"{self.n.flatten()[0]:,.6g}" if self.n.unique().numel() == 1 else f"{self.n.min():g} to {self.n.max():g}"
        )
        state = "" if self.converged else ", not converged"
        lines = [
            f"{type(self.distribution).__name__}: {rows} data, log-likelihood {self.log_likelihood:,.6g} nats, "
            f"AIC {self.aic:,.6g}, BIC {self.bic:,.6g} ({self.method}{state})"
        ]
        width = max(map(len, self.parameters), default=0)
        for name, value in self.parameters.items():
            each = [
                f"{v:.6g} +- {e:.2g}" if math.isfinite(e) else f"{v:.6g}"
                for v, e in zip(value.flatten().tolist(), self.errors[name].flatten().tolist(), strict=True)
            ]
            told = "; ".join(each[:12]) + (f"; ... {len(each) - 12} more" if len(each) > 12 else "")
            edge = f" ({self.edges[name]})" if name in self.edges else ""
            lines.append(f"  {name:<{width}}  {told}{edge}")
        return "\n".join(lines)


def estimate(
    family: Callable[..., Distribution],
    data: Any,
    *,
    prior: Mapping[str, Distribution] | None = None,
    weights: Any = None,
    start: Mapping[str, Any] | None = None,
    ranges: Mapping[str, constraints.Constraint] | None = None,
    **fixed: Any,
) -> Estimate:
    """Return the parameters that maximise sum w log p(x | parameters) + log p(parameters), with their standard errors.

    A datum that is missing (NaN) is left out: of a univariate family an entry, of a multivariate one the whole datum.
    Data of more axes than a datum has are columns, each fitted on its own: Normal on (N, D) has D means.

    Arguments:
        family: a class of `torch.distributions`; or a function of named parameters that returns a distribution, which
            needs `start` (and `ranges`, for parameters that it names as no distribution does).
        data: (N, ...), numbers that the family can take; NaN is missing.
        prior: name -> the distribution believed of that parameter, a density of the parameter itself (no Jacobian).
        weights: how often each row counts, (N,), 0 or more; None means once.
        start: name -> where to begin; the names also choose between parametrisations (probs or logits).
        ranges: name -> the constraint of a function's parameter.
        fixed: parameters that are known, `total_count=10`: they are not estimated.

    Raises:
        UnknownName: there is no such parameter.
        LikelyError: data or weights cannot be used (the message names the row), or there is no maximum.

    Example:
        >>> from torch.distributions import Beta, Bernoulli, Normal
        >>> print(estimate(Normal, [1.0, 2.0, 3.0, float("nan")]))
        Normal: 3 data, log-likelihood -3.64862 nats, AIC 11.2972, BIC 9.49446 (closed form)
          loc    2 +- 0.47
          scale  0.816497 +- 0.33
        >>> found = estimate(Bernoulli, [1.0, 1.0, 1.0], prior={"probs": Beta(2.0, 2.0)})
        >>> round(float(found.parameters["probs"]), 6)
        0.8
    """
    x = parametric.numbers(data)
    problem = parametric.Parametric(family, x, dict(start or {}), dict(prior or {}), dict(ranges or {}), fixed)
    w, dropped = problem.weigh(weights)
    problem.check_support()
    free = {c.name for c in problem.coordinates}
    line = closed_forms.CLOSED.get(family) if isinstance(family, type) else None
    if line is not None and not prior and not start and free in line[0]:
        known = problem.fixed | ({"levels": torch.tensor(problem.levels)} if problem.levels else {})
        closed = line[1](problem.x, w, known)
        found = {c.name: closed.parameters[c.name] for c in problem.coordinates}
        variances = {name: closed.variances[name] for name in found}
        covariance, edges, method, converged = closed.covariance, closed.edges, "closed form", True
        if (
            covariance is None
            and sum(v[0].numel() for v in variances.values()) <= closed_forms.WIDE
            and not any(v.dim() > 2 for v in variances.values())
        ):
            covariance = torch.cat([v.reshape(problem.columns, -1) for v in variances.values()], 1).diag_embed()
    elif problem.coordinates:
        found, variances, covariance, edges, method, converged = _descend(problem, w)
    else:
        found, variances, covariance, edges, method, converged = {}, {}, None, {}, "closed form", True
    with torch.no_grad():
        likelihood = problem.log_likelihood(found, w).sum()
        posterior = likelihood + problem.log_prior(found).sum()
    if not bool(likelihood.isfinite()):
        raise LikelyError(f"{problem.name}: the data are impossible under the parameters that were fixed.")
    return Estimate(
        problem.distribution(found),
        {name: problem.shaped(value) for name, value in found.items()},
        {name: problem.shaped(value.sqrt()) for name, value in variances.items()},
        None if covariance is None else problem.shaped(covariance),
        float(likelihood),
        float(posterior),
        w.sum(0).reshape(problem.batch) if problem.classed else w.sum(0)[0],
        problem.columns * sum(c.free for c in problem.coordinates),
        dropped,
        method,
        converged,
        edges,
    )


# Descent -----------------------------------------------------------------------------------------------------------


def _descend(
    problem: parametric.Parametric, w: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor | None, dict[str, str], str, bool]:
    """Return parameters, squared errors, covariance, edges, the method, and whether all columns converged."""
    coordinates = problem.coordinates
    counts = [c.free for c in coordinates]
    size = sum(counts)
    bounded = torch.tensor([c.bounded for c in coordinates]).repeat_interleave(torch.tensor(counts))

    def values(u: Tensor) -> dict[str, Tensor]:
        return {c.name: c.value(part) for c, part in zip(coordinates, u.split(counts, 1), strict=True)}

    def loss(u: Tensor) -> Tensor:
        found = values(u)
        return -problem.log_likelihood(found, w) - problem.log_prior(found)

    begin = problem.start(w)
    first = torch.cat([c.unbounded(begin[c.name]) for c in coordinates], 1)
    with torch.no_grad():
        score = problem.log_prob(values(first))
    impossible = ~score.isfinite() & (w > 0)
    if bool(impossible.any()):
        problem.refuse(impossible)
    if not bool(loss(first).isfinite().all()):
        raise LikelyError(
            f"{problem.name}: the prior is 0 or has no finite density where the search begins; give start=."
        )
    rows = w.sum(0)
    # The search ends by what it gains in nats, of which rows that count together less than one have too few.
    unit = torch.ones_like(rows) if problem.prior else rows.clamp(max=1)
    scaled = lambda u: loss(u) / unit  # noqa: E731
    if size <= LARGE:
        u, arrived, endless = descent.newton(scaled, first, bounded, rows / unit)
        method = "Newton"
    else:
        u, arrived, endless = descent.lbfgs(scaled, first)
        method = "L-BFGS"
    if bool(endless.any()):
        place = int(endless.any(0).nonzero()[0, 0])
        name = [c.name for c in coordinates for _ in range(c.free)][place]
        last = float(values(u)[name].flatten()[0])
        raise LikelyError(
            f"{problem.name}: the likelihood has no maximum, it grows on as {name} goes to {last:.3g} (too few rows, "
            f"or equal values); fix it, {name}=..., or give it a prior."
        )
    if size > LARGEST:
        found = values(u)
        reason = f"more than {LARGEST:,} parameters: no standard errors"
        without = {name: torch.full_like(value, torch.inf) for name, value in found.items()}
        return found, without, None, dict.fromkeys(found, reason), method, bool(arrived.all())
    covariance, flat = descent.spread(loss, u, bounded)
    converged = bool((arrived | flat.any(1)).all())
    point = u.clone().requires_grad_()
    free = values(point)
    flattened = torch.cat([value.reshape(len(u), -1) for value in free.values()], 1)
    jacobian = torch.stack(
        [torch.autograd.grad(one.sum(), point, retain_graph=True)[0] for one in flattened.unbind(1)], 1
    )
    moved = ((jacobian != 0) & flat[:, None, :]).any(2)
    covariance = jacobian @ covariance @ jacobian.transpose(1, 2)
    moved |= ~covariance.diagonal(dim1=1, dim2=2).isfinite()
    covariance = torch.where(moved[:, :, None] | moved[:, None], 0, covariance)
    variance = torch.where(moved, torch.inf, covariance.diagonal(dim1=1, dim2=2))
    covariance = torch.where(moved.diag_embed(), torch.inf, covariance)
    found = {name: value.detach() for name, value in free.items()}
    widths = [value[0].numel() for value in found.values()]
    variances, edges = {}, {}
    for (name, value), part, lost in zip(found.items(), variance.split(widths, 1), moved.split(widths, 1), strict=True):
        variances[name] = part.reshape(value.shape)
        if bool(lost.any()):
            edges[name] = "the likelihood hardly changes from here on: the data do not bound it"
    return found, variances, covariance, edges, method, converged
