"""How probable held-out data are under a model, with a sign that says what kind of number it is.

Which question is asked of a model follows from its abilities, never from its name: `log_prob` is exact and prints `=`;
`iwelbo` and `elbo` are lower bounds and print `>=`; an energy with an estimated normaliser prints `~`; a model with
none of them prints nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from likely.core import Bounded, Density, Energy, Estimate, Model, Weighted, seeded
from likely.errors import LikelyError
from likely.evaluation.results import Result, mean_and_error, result
from likely.spaces import Binary, Finite, Space

if TYPE_CHECKING:
    from likely.data.parts import Part


def sign_of(model: Model) -> str:
    """Return what a model's score is to log p(x): "=", ">=", "~", or "" where it has none."""
    if isinstance(model, Density):
        return "="
    if isinstance(model, Bounded):
        return ">="
    return "~" if isinstance(model, Energy) else ""


def scores(model: Model, x: Any, cond: Any = None, *, k: int = 64, seed: int = 0) -> tuple[Tensor, str]:
    """Return the score of each row in nats, (B,), and its sign: how near to log p(x | cond) this model can say.

    Arguments:
        model: any model with a likelihood, a bound or an energy.
        x: values of the model's space, (B, *shape).
        cond: what is given, one value or one per row.
        k: how many importance samples a `Weighted` model averages.
        seed: the same seed gives the same scores.

    Raises:
        LikelyError: the model says nothing about likelihood.
        SpaceError: x or cond is not of the model's space.

    Example:
        >>> import likely, torch
        >>> model = likely.build("bernoulli", likely.Binary((4,)))
        >>> scores(model, torch.zeros(1, 4))
        (tensor([-2.7726]), '=')
    """
    nats, sign, _ = _scores(model, x, cond, k, seed)
    return nats, sign


def _scores(model: Model, x: Any, cond: Any, k: int, seed: int) -> tuple[Tensor, str, float]:
    """Return the scores, their sign, and the standard error that all rows share (that of log Z)."""
    sign = sign_of(model)
    if isinstance(model, Density):
        return model.log_prob(x, cond), sign, 0.0
    if isinstance(model, Weighted):
        return model.iwelbo(x, k, cond, seed=seed), sign, 0.0
    if isinstance(model, Bounded):
        return model.elbo(x, cond, seed=seed), sign, 0.0
    if isinstance(model, Energy):
        energy = model.energy(x, cond)
        log_z = _log_partitions(model, cond, len(energy), seed)
        return -energy - log_z.value.to(energy), sign, float(log_z.error)
    raise LikelyError(
        f"model '{model.name or type(model).__name__}' says nothing about likelihood: it can only be sampled. "
        "Compare its samples instead (`likely evaluate`)."
    )


def _log_partitions(model: Energy, cond: Any, n: int, seed: int) -> Estimate:
    """Return log Z for each row, (n,), and the standard error of its mean; every different condition has its own Z."""
    if cond is None:
        value, error = model.log_partition(seed=seed)
        return Estimate(value.expand(n), error)
    rows = torch.as_tensor(cond)
    if model.cond_space is not None and tuple(rows.shape) == model.cond_space.shape:
        rows = rows.expand(n, *rows.shape)
    kinds, which, counts = rows.unique(dim=0, return_inverse=True, return_counts=True)
    each = [model.log_partition(kind, seed=seed) for kind in kinds]
    values, errors = (torch.stack([part[i].double().cpu() for part in each]) for i in (0, 1))
    return Estimate(values[which], (errors * counts / n).square().sum().sqrt())


def bits_per_dim(nats: float, space: Space) -> float | None:
    """Return -nats / (D ln 2): bits per entry of a discrete space; None where nats are of a density or of sequences.

    Example:
        >>> from likely import Binary
        >>> round(bits_per_dim(-88.33, Binary((784,))), 4)
        0.1625
    """
    return -nats / (space.size * math.log(2)) if isinstance(space, (Binary, Finite)) else None


def uniform(space: Space) -> float | None:
    """Return the log-probability of any point under the uniform law, -D log(levels); None where there is none."""
    return -space.size * math.log(space.levels) if isinstance(space, (Binary, Finite)) else None


def likelihood(
    model: Model, part: Part, *, k: int = 64, rows: int | None = None, seed: int = 0, split: str = "test"
) -> Result:
    """Return the mean negative log-likelihood of a part, nats per datum, signed by the model's abilities.

    "=" is exact; "<=" an upper bound, from a lower bound on log p(x) (with k); "~" an estimate; "" has no value. The
    standard error is over the data; where log Z was estimated, its error is added in quadrature. The protocol also
    holds the same number in bits per dimension and the uniform law's (both None unless the space is discrete).

    Arguments:
        model: any model; one without a likelihood gives the value None and the sign "".
        part: held-out data of the model's space.
        k: how many importance samples a `Weighted` model averages.
        rows: how many rows to score, from the first; None means all.
        seed: decides importance samples, chains, and bits that are drawn anew at every visit.
        split: what the part is called, for the protocol.

    Raises:
        LikelyError: the part is empty, or a score is not a number.
        SpaceError: the part is not of the model's space.
    """
    sign = sign_of(model)
    part = part if rows is None else part.head(rows)
    baseline = uniform(model.space)
    shown = sign.replace(">=", "<=")
    protocol: dict[str, Any] = {
        "n_real": len(part),
        "split": split,
        "seed": seed,
        "k": k if isinstance(model, Weighted) and sign == ">=" else None,
        "bits_per_dim": None,
        "uniform": None if baseline is None else -baseline,
        "uniform_bits_per_dim": None if baseline is None else bits_per_dim(baseline, model.space),
    }
    if not sign:
        return result("nll", None, unit="nats", sign="", **protocol)
    with seeded(seed):
        x, cond = part.batch(slice(0, len(part)))
    nats, sign, shared = _scores(model, x, None if model.cond_space is None else cond, k, seed)
    value, error = mean_and_error(nats, part.weight)
    if error is not None:
        error = math.hypot(error, shared)
    protocol["bits_per_dim"] = bits_per_dim(value, model.space)
    if sign == "~":
        protocol["log_partition_error"] = shared
    return result("nll", -value, error, unit="nats", sign=shown, **protocol)
