"""How probable held-out data are under a model, with a sign that says what kind of number it is.

Which question is asked of a model follows from its abilities, never from its name: `log_prob` is exact and prints `=`;
`iwelbo` and `elbo` are lower bounds and print `>=`; an energy with an estimated normaliser prints `~`; a model with
none of them prints nothing.

The standard error is over the data. Where the score of a row is itself estimated by drawing, that noise is in it; its
own share is the `estimator_error`. The error of log Z, which all rows share, is added in quadrature.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from likely.core import Bounded, Density, Energy, Estimate, Model, Weighted, _count, _rows, seeded
from likely.errors import LikelyError
from likely.evaluation.results import Result, mean_and_error, result
from likely.evaluation.sharded import by_first, gathered
from likely.evaluation.simple import simple
from likely.parts.collective import place, share
from likely.spaces import Binary, Finite, Space, batches

if TYPE_CHECKING:
    from likely.data.parts import Part

AGAIN = 64  #: rows that are scored a second time, from other draws, to see how far the estimates of one row scatter
FLOW_STEPS = 50  #: of the probability-flow estimate
FLOW_ROWS = 200  #: rows for which it is made where nobody says how many
REVERSE_ROWS = 100  #: rows for which the bound from the other side is made


@runtime_checkable
class Flowing(Protocol):
    """A model with a probability-flow estimate of log p(x)."""

    def flow_log_prob(
        self, x: Any, cond: Any = None, *, steps: int = 50, probes: int = 1, seed: int | None = None
    ) -> Tensor:
        """Return the estimate, (B,), nats."""
        ...


@runtime_checkable
class Conservative(Protocol):
    """An energy with a bound on log p(x) that errs downwards, where an estimated log Z makes it err upwards."""

    def conservative_log_prob(self, x: Any, *, seed: int | None = None) -> Tensor:
        """Return the bound, (B,), nats."""
        ...


Keep = Callable[[Tensor, float], None]  #: takes the log-likelihood of every row, (N,), and the seconds they took


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


def _by_shares(model: Model, x: Any, cond: Any, fabric: Any) -> Tensor:
    """Return log p(x | cond) of each row, (N,), of which every process found a share: whole runs of `rows_at_once`."""
    assert isinstance(model, Density)
    cuts = list(batches(_count(x), model.rows_at_once))
    mine = cuts[share(len(cuts), fabric)]
    if len(cuts) < place(fabric)[1]:  # too few to be shared
        return model.log_prob(x, cond)
    run = slice(mine[0].start, mine[-1].stop)
    return gathered(model.log_prob(_rows(x, run), _rows(cond, run)).cpu(), fabric)


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
    """Return the log-probability of any point under the uniform law, -log of how many points there are, or None."""
    if not isinstance(space, (Binary, Finite)):
        return None
    return -sum(map(math.log, space.sizes)) if space.uneven else -space.size * math.log(space.levels)


def likelihood(
    model: Model,
    part: Part,
    *,
    k: int = 64,
    rows: int | None = None,
    seed: int = 0,
    split: str = "test",
    train: Part | None = None,
    valid: Part | None = None,
    keep: Keep | None = None,
    fabric: Any = None,
) -> Result:
    """Return the mean negative log-likelihood of a part, nats per datum, signed by the model's abilities.

    "=" is exact; "<=" an upper bound, from a lower bound on log p(x) (with k); "~" an estimate; "" has no value. The
    protocol also holds: the same in bits per dimension (discrete spaces); `estimator_error`, the part of the standard
    error that more draws would take away; `per_class`, where the part has labels; `given`, whether the law is of x or
    of x given the label; for an energy with an estimated log Z `reverse`, the same from a bound that errs the other
    way, if the model has one (where they are far apart, believe neither); and the laws to hold it against: `uniform`
    and, with `train`, the best `simple` one (`simple.simple`).

    Arguments:
        model: any model; one without a likelihood gives the value None and the sign "".
        part: held-out data of the model's space.
        k: how many importance samples a `Weighted` model averages.
        rows: how many rows to score, from the first; None means all.
        seed: decides importance samples, chains, and bits that are drawn anew at every visit.
        split: what the part is called, for the protocol.
        train: the training part, on which the simple law is fitted; None leaves it out.
        valid: the part on which simple laws of reals are chosen.
        keep: is called with the log-likelihood of every row, (N,), and the seconds that they took.
        fabric: launched `lightning_fabric.Fabric` of the processes that share the rows of an exact likelihood, or None.
            Others are drawn from one random stream: the first process draws them alone. All return the same.

    Raises:
        LikelyError: the part is empty, or a score is not a number.
        SpaceError: the part is not of the model's space.
    """
    if fabric is not None and not isinstance(model, Density):
        return by_first(
            lambda: likelihood(
                model, part, k=k, rows=rows, seed=seed, split=split, train=train, valid=valid, keep=keep
            ),
            fabric,
        )
    sign = sign_of(model)
    part = part if rows is None else part.head(rows)
    with seeded(seed):
        x, labels = part.batch(slice(0, len(part)))
    model.space.check(x, "held-out data", missing=True)
    cond = None if model.cond_space is None else labels
    protocol = by_first(lambda: _beside(model, part, x, cond, seed, split, train, valid), fabric)
    protocol["k"] = k if isinstance(model, Weighted) and sign == ">=" else None
    if not sign:
        return result("nll", None, unit="nats", sign="", **protocol)
    began = time.perf_counter()
    if place(fabric)[1] > 1:
        nats, shared = _by_shares(model, x, cond, fabric), 0.0
    else:
        nats, sign, shared = _scores(model, x, cond, k, seed)
    if keep is not None and place(fabric)[0] == 0:
        keep(nats, time.perf_counter() - began)
    value, error = mean_and_error(nats, part.weight)
    if error is not None:
        error = math.hypot(error, shared)
    protocol["bits_per_dim"] = bits_per_dim(value, model.space)
    protocol |= _per_class(nats, labels, part.weight)
    if sign == "~":
        protocol |= {"log_partition_error": shared, "estimator_error": shared}
        protocol |= _reverse(model, x, nats, value, shared, seed)
    elif sign == ">=":
        again = slice(0, AGAIN)
        other = _scores(model, _rows(x, again), _rows(cond, again), k, seed + 1)[0]
        protocol["estimator_error"] = _scatter(nats[again], other, len(part))
    else:
        protocol["estimator_error"] = 0.0
    return result("nll", -value, error, unit="nats", sign=sign.replace(">=", "<="), **protocol)


def flow_likelihood(
    model: Model,
    part: Part,
    *,
    steps: int = FLOW_STEPS,
    rows: int | None = None,
    seed: int = 0,
    split: str = "test",
    train: Part | None = None,
    valid: Part | None = None,
) -> Result:
    """Return the mean negative log-likelihood by the probability flow of a diffusion model, nats per datum: "~".

    It is an estimate: the equation is solved in finitely many steps and its divergence estimated at random. Discrete
    data are lifted to reals by noise (`dequantised` in the protocol), which makes it, up to that, an upper bound.

    Arguments:
        model: a model with `flow_log_prob`.
        part: held-out data of the model's space.
        steps: of the solver; each costs two evaluations of the network and of its gradient.
        rows: how many rows to score, from the first; None means `FLOW_ROWS`, for it is dear.
        seed: decides noise and directions.
        split: what the part is called, for the protocol.
        train, valid: for the simple law, as in `likelihood`.

    Raises:
        LikelyError: the model has no probability flow, the part is empty, or a score is not a number.
    """
    if not isinstance(model, Flowing):
        raise LikelyError(f"{model._who()} has no probability flow; diffusion models have one.")
    part = part.head(FLOW_ROWS if rows is None else rows)
    with seeded(seed):
        x, labels = part.batch(slice(0, len(part)))
    cond = None if model.cond_space is None else labels
    nats = model.flow_log_prob(x, cond, steps=steps, seed=seed)
    value, error = mean_and_error(nats, part.weight)
    again = slice(0, AGAIN)
    other = model.flow_log_prob(_rows(x, again), _rows(cond, again), steps=steps, seed=seed + 1)
    protocol = _beside(model, part, x, cond, seed, split, train, valid) | _per_class(nats, labels, part.weight)
    protocol |= {
        "steps": steps,
        "dequantised": "by the model's first noise" if isinstance(model.space, (Binary, Finite)) else None,
        "bits_per_dim": bits_per_dim(value, model.space),
        "estimator_error": _scatter(nats[again], other, len(part)),
    }
    return result("nll_flow", -value, error, unit="nats", sign="~", **protocol)


def _beside(
    model: Model,
    part: Part,
    x: Any,
    cond: Any,
    seed: int,
    split: str,
    train: Part | None,
    valid: Part | None,
) -> dict[str, Any]:
    """Return what stands beside every likelihood: on what it was measured, and the laws to hold it against."""
    baseline = uniform(model.space)
    classes = cond is not None and isinstance(model.cond_space, Finite) and model.cond_space.shape == ()
    found = None
    if train is not None and len(part):
        found = simple(model.space, train, x, cond if classes else None, valid=valid)
    best = None if found is None else mean_and_error(found.nats, part.weight)[0]
    return {
        "n_real": len(part),
        "split": split,
        "seed": seed,
        "given": None if cond is None else "label" if classes else "cond",
        "bits_per_dim": None,
        "uniform": None if baseline is None else -baseline,
        "uniform_bits_per_dim": None if baseline is None else bits_per_dim(baseline, model.space),
        "simple": None if best is None else -best,
        "simple_bits_per_dim": None if best is None else bits_per_dim(best, model.space),
        "simple_model": None if found is None else found.name,
    }


def _per_class(nats: Tensor, labels: Any, weight: Tensor | None) -> dict[str, Any]:
    """Return the mean and its error over the rows of each class, where there are classes."""
    labels = None if labels is None or isinstance(labels, tuple) else torch.as_tensor(labels)
    if labels is None or labels.dim() != 1 or labels.is_floating_point():
        return {}
    means, errors = {}, {}
    for label in labels.unique().tolist():
        own = labels == label
        mean, error = mean_and_error(nats[own.to(nats.device)], None if weight is None else weight[own])
        means[str(label)], errors[str(label)] = -mean, error
    return {"per_class": means, "per_class_standard_error": errors}


def _scatter(first: Tensor, second: Tensor, n: int) -> float | None:
    """Return the standard error that the draws alone give the mean of n rows, from two scores of some of them.

    Half the mean square of the difference is the variance of one row's score; rows are drawn independently.
    """
    half = (first.double() - second.double()).square().mean() / 2
    return math.sqrt(float(half) / n) if bool(half.isfinite()) else None


def _reverse(model: Model, x: Any, nats: Tensor, value: float, shared: float, seed: int) -> dict[str, Any]:
    """Return the mean log-likelihood by the bound from the other side, where the model has one and log Z is estimated.

    It is made for the first rows alone, for it is dear: their mean difference moves the mean of all rows.
    """
    if not isinstance(model, Conservative) or shared == 0:
        return {}
    first = slice(0, REVERSE_ROWS)
    below = model.conservative_log_prob(_rows(x, first), seed=seed)
    gap, error = mean_and_error(nats[first].double() - below.double())
    return {"reverse": gap - value, "reverse_error": error, "reverse_rows": len(below)}
