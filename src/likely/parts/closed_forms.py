"""Maximum likelihood in one line, for the families of `torch.distributions` where there is such a line, and starts.

    Normal: m = mean x, s^2 = mean (x - m)^2      Exponential: rate = 1 / mean x      Categorical: p_k = n_k / N

Rows are weighted, and every mean is sum w x / sum w. Standard errors come from the observed information at the
maximum, sd(m) = s / sqrt N, sd(s) = s / sqrt(2 N), and so on; for Laplace, whose likelihood has a corner there, from
the expected information; at the edge of a range there are none. Where there is no closed form, moments say where to
start. It fails where the likelihood has no maximum: equal values have no spread. That is said, with what to do.

Reference: Casella and Berger, Statistical Inference, 2nd edition, 2002, chapters 7 and 10; for the covariance of a
covariance: Anderson, An Introduction to Multivariate Statistical Analysis, 3rd edition, 2003, section 3.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch import distributions as families

from likely.errors import LikelyError

WIDE = 2_000  #: the most parameters whose covariance is written out
EDGE = "at the edge of its range, where the information says nothing"
CORNER = "at the outermost value, where the likelihood is cut off"

Values = Mapping[str, Tensor]


class Closed(NamedTuple):
    """A closed-form maximum, for B columns at once.

    Arguments:
        parameters: name -> value, (B, *shape of the parameter).
        variances: name -> its squared standard error, same shape; infinite where the information says nothing.
        edges: name -> why it has no standard error, for the parameters that have an infinite one.
        covariance: of all parameters, flattened and in their order, (B, F, F); None takes the variances alone.
    """

    parameters: dict[str, Tensor]
    variances: dict[str, Tensor]
    edges: dict[str, str] = {}
    covariance: Tensor | None = None


def mean(x: Tensor, w: Tensor) -> Tensor:
    """Return the weighted mean over the rows, (N, B, ...) -> (B, ...)."""
    each = w.reshape(*w.shape, *[1] * (x.dim() - w.dim()))
    return (each * x).sum(0) / each.sum(0)


def quantile(x: Tensor, w: Tensor, q: float) -> Tensor:
    """Return the weighted quantile of each column, (N, B) -> (B,), midway where two values do equally well."""
    values, order = x.sort(0)
    total = w.gather(0, order).cumsum(0)
    goal = q * total[-1:]
    rounding = 1e-12 * total[-1:]
    low = (total < goal - rounding).sum(0, keepdim=True).clamp(max=len(x) - 1)
    high = (total <= goal + rounding).sum(0, keepdim=True).clamp(max=len(x) - 1)
    return ((values.gather(0, low) + values.gather(0, high)) / 2)[0]


def _at_edge(p: Tensor, variance: Tensor, name: str) -> Closed:
    """Return the closed form of one parameter whose variance is 0 at the edge of its range, where it has none."""
    edge = variance <= 0
    return Closed({name: p}, {name: torch.where(edge, torch.inf, variance)}, {name: EDGE} if bool(edge.any()) else {})


def _spread(family: str, name: str, scale: Tensor, least: Tensor | float = 0.0) -> Tensor:
    """Return a scale, or say that the likelihood grows without bound as it goes to 0."""
    if not bool((scale > least).all()):
        raise LikelyError(
            f"{family}: all values of a column are equal, so the likelihood grows without bound as {name} goes to 0; "
            f"fix it, {name}=..., or give it a prior."
        )
    return scale


# Families ----------------------------------------------------------------------------------------------------------


def _bernoulli(x: Tensor, w: Tensor, fixed: Values) -> Closed:
    p = mean(x, w)
    return _at_edge(p, p * (1 - p) / w.sum(0), "probs")


def _binomial(x: Tensor, w: Tensor, fixed: Values) -> Closed:
    count = fixed["total_count"]
    trials = (w * count).sum(0)
    p = (w * x).sum(0) / trials
    return _at_edge(p, p * (1 - p) / trials, "probs")


def _geometric(x: Tensor, w: Tensor, fixed: Values) -> Closed:
    p = 1 / (1 + mean(x, w))
    return _at_edge(p, p**2 * (1 - p) / w.sum(0), "probs")


def _negative_binomial(x: Tensor, w: Tensor, fixed: Values) -> Closed:
    count = fixed["total_count"] + torch.zeros_like(w)
    total, failures = (w * x).sum(0), (w * count).sum(0)
    p = total / (total + failures)
    return _at_edge(p, p * (1 - p) ** 2 / failures, "probs")


def _poisson(x: Tensor, w: Tensor, fixed: Values) -> Closed:
    rate = mean(x, w)
    return _at_edge(rate, rate / w.sum(0), "rate")


def _exponential(x: Tensor, w: Tensor, fixed: Values) -> Closed:
    centre = mean(x, w)
    if not bool((centre > 0).all()):
        raise LikelyError("Exponential: all values of a column are 0, so the likelihood grows without bound.")
    return Closed({"rate": 1 / centre}, {"rate": 1 / centre**2 / w.sum(0)})


def _normal(x: Tensor, w: Tensor, fixed: Values, name: str = "Normal") -> Closed:
    n = w.sum(0)
    made, variances = {}, {}
    loc = fixed.get("loc", mean(x, w))
    scale = fixed.get("scale", mean((x - loc) ** 2, w).sqrt())
    if "scale" not in fixed:
        # An even column leaves the rounding of its mean, not 0.
        scale = _spread(name, "scale", scale, 4 * torch.finfo(x.dtype).eps * x.abs().amax(0))
        made["scale"], variances["scale"] = scale, scale**2 / (2 * n)
    if "loc" not in fixed:
        made["loc"], variances["loc"] = loc, scale**2 / n
    return Closed(made, variances)


def _log_normal(x: Tensor, w: Tensor, fixed: Values) -> Closed:
    return _normal(torch.where(w > 0, x.log(), 0), w, fixed, "LogNormal")


def _half_normal(x: Tensor, w: Tensor, fixed: Values) -> Closed:
    scale = _spread("HalfNormal", "scale", mean(x**2, w).sqrt())
    return Closed({"scale": scale}, {"scale": scale**2 / (2 * w.sum(0))})


def _laplace(x: Tensor, w: Tensor, fixed: Values) -> Closed:
    n = w.sum(0)
    loc = fixed.get("loc", quantile(x, w, 0.5))
    scale = fixed.get("scale", mean((x - loc).abs(), w))
    made = {"loc": loc, "scale": scale}
    if "scale" not in fixed:
        _spread("Laplace", "scale", scale)
    made = {name: value for name, value in made.items() if name not in fixed}
    return Closed(made, {name: scale**2 / n + torch.zeros_like(n) for name in made})


def _uniform(x: Tensor, w: Tensor, fixed: Values) -> Closed:
    low, high = (torch.where(w > 0, x, outside) for outside in (torch.inf, -torch.inf))
    least, most = low.amin(0), high.amax(0)
    _spread("Uniform", "high - low", most - least)
    most = torch.nextafter(most, torch.full_like(most, torch.inf))  # torch leaves `high` itself outside
    made = {name: value for name, value in (("low", least), ("high", most)) if name not in fixed}
    return Closed(made, {name: torch.full_like(least, torch.inf) for name in made}, dict.fromkeys(made, CORNER))


def _pareto(x: Tensor, w: Tensor, fixed: Values) -> Closed:
    n = w.sum(0)
    scale = fixed.get("scale", torch.where(w > 0, x, torch.inf).amin(0))
    made, variances = {}, {}
    if "scale" not in fixed:
        made["scale"], variances["scale"] = scale, torch.full_like(scale, torch.inf)
    if "alpha" not in fixed:
        excess = mean(torch.where(w > 0, (x / scale).log(), 0), w)
        made["alpha"] = 1 / _spread("Pareto", "1 / alpha", excess, 1e-12)
        variances["alpha"] = made["alpha"] ** 2 / n
    return Closed(made, variances, {"scale": CORNER} if "scale" in made else {})


def _shares(p: Tensor, n: Tensor) -> Closed:
    """Return shares with the covariance (diag p - p p') / n of n draws; one that is 0 or 1 has no standard error."""
    variance = p * (1 - p) / n[:, None]
    edge = (p <= 0) | (p >= 1)
    covariance = (torch.diag_embed(p) - p[:, :, None] * p[:, None]) / n[:, None, None] if p.shape[1] <= WIDE else None
    edges = {"probs": EDGE} if bool(edge.any()) else {}
    return Closed({"probs": p}, {"probs": torch.where(edge, torch.inf, variance)}, edges, covariance)


def _categorical(x: Tensor, w: Tensor, fixed: Values) -> Closed:
    levels = int(fixed["levels"])
    place = x.long() + levels * torch.arange(x.shape[1])
    counts = place.flatten().bincount(w.flatten(), minlength=levels * x.shape[1]).reshape(-1, levels)
    return _shares(counts / counts.sum(1, keepdim=True), w.sum(0))


def _one_hot(x: Tensor, w: Tensor, fixed: Values) -> Closed:
    counts = (w[..., None] * x).sum(0)
    total = counts.sum(1)
    if not bool((total > 0).all()):
        raise LikelyError("Multinomial: all counts are 0, so they say nothing of probs; give rows with a count.")
    return _shares(counts / total[:, None], total)


def _multivariate_normal(x: Tensor, w: Tensor, fixed: Values) -> Closed:
    n, size = w.sum(0), x.shape[-1]
    rows = int((w > 0).sum(0).min())
    if rows <= size:
        raise LikelyError(
            f"MultivariateNormal: {rows} rows are too few for the covariance of {size} columns; {size + 1} or more are "
            "needed, or a prior."
        )
    loc = mean(x, w)
    centred = (x - loc) * w[..., None].sqrt()
    covariance = torch.einsum("nbi,nbj->bij", centred, centred) / n[:, None, None]
    deviation = covariance.diagonal(dim1=1, dim2=2).sqrt()
    if not bool((deviation > 4 * torch.finfo(x.dtype).eps * x.abs().amax(0)).all()):
        raise LikelyError("MultivariateNormal: all values of a column are equal, so there is no maximum; leave it out.")
    correlation = covariance / (deviation[:, :, None] * deviation[:, None])
    if not bool((torch.linalg.eigvalsh(correlation)[:, 0] > 1e-13 * size).all()):
        raise LikelyError(
            "MultivariateNormal: a column is a weighted sum of others, so there is no maximum; leave it out, or give a "
            "prior."
        )
    each = n[:, None, None]
    variance = torch.diagonal(covariance, dim1=1, dim2=2)
    variances = {
        "loc": variance / n[:, None],
        "covariance_matrix": (variance[:, :, None] * variance[:, None] + covariance**2) / each,
    }
    whole = None
    if size + size**2 <= WIDE:  # Cov(S_ij, S_kl) = (S_ik S_jl + S_il S_jk) / n
        pairs = torch.einsum("bik,bjl->bijkl", covariance, covariance)
        pairs = (pairs + torch.einsum("bil,bjk->bijkl", covariance, covariance)).reshape(len(n), size**2, size**2)
        whole = torch.zeros(len(n), size + size**2, size + size**2, dtype=x.dtype)
        whole[:, :size, :size], whole[:, size:, size:] = covariance / each, pairs / each
    return Closed({"loc": loc, "covariance_matrix": covariance}, variances, {}, whole)


Formula = Callable[[Tensor, Tensor, Values], Closed]

#: family -> which parameters may be free together, and the formula
CLOSED: dict[type, tuple[tuple[set[str], ...], Formula]] = {
    families.Bernoulli: (({"probs"},), _bernoulli),
    families.Binomial: (({"probs"},), _binomial),
    families.Categorical: (({"probs"},), _categorical),
    families.Exponential: (({"rate"},), _exponential),
    families.Geometric: (({"probs"},), _geometric),
    families.HalfNormal: (({"scale"},), _half_normal),
    families.Laplace: (({"loc", "scale"}, {"loc"}, {"scale"}), _laplace),
    families.LogNormal: (({"loc", "scale"}, {"loc"}, {"scale"}), _log_normal),
    families.Multinomial: (({"probs"},), _one_hot),
    families.MultivariateNormal: (({"loc", "covariance_matrix"},), _multivariate_normal),
    families.NegativeBinomial: (({"probs"},), _negative_binomial),
    families.Normal: (({"loc", "scale"}, {"loc"}, {"scale"}), _normal),
    families.OneHotCategorical: (({"probs"},), _one_hot),
    families.Pareto: (({"scale", "alpha"}, {"scale"}, {"alpha"}), _pareto),
    families.Poisson: (({"rate"},), _poisson),
    families.Uniform: (({"low", "high"}, {"low"}, {"high"}), _uniform),
}


# Starts ------------------------------------------------------------------------------------------------------------


def starts(family: object, x: Tensor, w: Tensor) -> dict[str, Tensor]:
    """Return where descent begins, name -> (B, ...), by moments and quantiles; names not given begin at 1 or 0.

    Arguments:
        family: the class.
        x: the values, (N, B) or (N, B, D).
        w: how much each counts, (N, B); 0 where it is missing.
    """
    centre = mean(x, w)
    variance = (mean((x - centre) ** 2, w) + 1e-4 * centre**2).clamp(min=1e-12)
    if family is families.Dirichlet:
        total = (centre * (1 - centre) / variance - 1).mean(-1, keepdim=True).clamp(0.1, 1e4)
        return {"concentration": total * centre.clamp(min=1e-6)}
    if x.dim() > 2:
        deviation = variance.sqrt().clamp(min=1e-3)
        tril = torch.diag_embed(deviation)
        return {
            "loc": centre,
            "covariance_matrix": tril**2,
            "precision_matrix": torch.diag_embed(deviation**-2),
            "scale_tril": tril,
            "cov_diag": deviation**2,
            "probs": (centre + 1e-3) / (centre + 1e-3).sum(-1, keepdim=True),
        }
    middle = quantile(x, w, 0.5)
    quarters = (quantile(x, w, 0.75) - quantile(x, w, 0.25)) / 2
    width = torch.where(quarters > 0, quarters, variance.sqrt())
    if family in (families.Beta, families.Kumaraswamy):
        total = (centre * (1 - centre) / variance - 1).clamp(0.1, 1e4)
        return {"concentration1": total * centre, "concentration0": total * (1 - centre)}
    if family is families.Gamma:
        return {"concentration": centre**2 / variance, "rate": centre / variance}
    if family is families.InverseGamma:
        shape = 2 + centre**2 / variance
        return {"concentration": shape, "rate": centre * (shape - 1)}
    if family is families.Weibull:
        log_x = torch.where(w > 0, x.clamp(min=1e-300).log(), 0)
        spread = mean((log_x - mean(log_x, w)) ** 2, w).sqrt().clamp(min=1e-6)
        return {"concentration": math.pi / math.sqrt(6) / spread, "scale": centre}
    if family is families.NegativeBinomial:
        count = (centre**2 / (variance - centre).clamp(min=1e-3 * variance)).clamp(1e-3, 1e3)
        return {"total_count": count, "probs": centre / (centre + count)}
    if family is families.Gumbel:
        scale = variance.sqrt() * math.sqrt(6) / math.pi
        return {"loc": centre - 0.5772 * scale, "scale": scale}
    if family is families.VonMises:
        sine, cosine = mean(x.sin(), w), mean(x.cos(), w)
        length = (sine**2 + cosine**2).sqrt().clamp(1e-6, 1 - 1e-8)
        return {"loc": torch.atan2(sine, cosine), "concentration": length * (2 - length**2) / (1 - length**2)}
    if family is families.StudentT:
        return {"df": torch.full_like(middle, 4.0), "loc": middle, "scale": width}
    if family is families.HalfCauchy:
        return {"scale": middle}
    if family is families.GeneralizedPareto:  # at 0 torch takes another formula, which has no slope
        return {"loc": x.amin(0), "scale": centre - x.amin(0), "concentration": torch.full_like(middle, 0.1)}
    if family is families.Chi2:
        return {"df": centre}
    inside = mean(x, w).clamp(1e-3, 1 - 1e-3)
    return {"loc": middle, "scale": width, "rate": centre.clamp(min=1e-6), "probs": inside}
