"""Information theory: entropies, divergences, mutual information; exact on tables, estimated where one can only draw.

    H(P) = -sum p log p      H(P, Q) = -sum p log q = H(P) + KL(P, Q)      I(A; B) = H(A) + H(B) - H(A, B)

A table is a tensor of probabilities with one axis per variable. Everything is computed in float64 and answered in nats,
or in bits by name. Tables and distributions with finitely many values are exact; `between` also compares two models of
this package, or two `torch.distributions`: by enumeration where it can, else by Monte Carlo with its standard error.
It fails where draws miss what matters: a Monte Carlo KL sees only places that the first distribution visits.

Reference: Cover and Thomas, Elements of Information Theory, 2nd edition, 2006, doi.org/10.1002/047174882X.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from likely.errors import LikelyError, unknown
from likely.spaces import ENUMERABLE, Space

UNITS = {"nats": 1.0, "bits": math.log(2)}  #: unit -> how many nats it is

Axes = int | Sequence[int]


class Amount(NamedTuple):
    """An amount of information and its standard error, which is 0 where nothing was estimated."""

    value: Tensor
    error: Tensor


# Tables ------------------------------------------------------------------------------------------------------------


def self_information(p: Any, *, unit: str = "nats") -> Tensor:
    """Return -log p, the surprise at an event of probability p, in the shape of p.

    Raises:
        LikelyError: p is not between 0 and 1.

    Example:
        >>> float(self_information(0.25, unit="bits"))
        2.0
    """
    p = numbers(p, "p")
    if not bool(((p >= 0) & (p <= 1)).all()):
        raise LikelyError("a probability lies between 0 and 1.")
    return _in(-p.log(), unit)


def entropy(p: Any, *, unit: str = "nats") -> Tensor:
    """Return H(P) = -sum p log p, (): the mean surprise; of a density the differential entropy.

    Arguments:
        p: a table (an array, or the model `table`), or a `torch.distributions` distribution whose entropy has a closed
            form or whose values are finitely many (`between("entropy", p)` estimates the others).
        unit: nats or bits.

    Raises:
        LikelyError: the table does not sum to 1, or the entropy of the distribution has no closed form.

    Example:
        >>> float(entropy([0.5, 0.25, 0.25], unit="bits"))
        1.5
    """
    if isinstance(p, Distribution) and not p.has_enumerate_support:
        try:
            return _in(p.entropy().double(), unit)
        except NotImplementedError:
            raise LikelyError(f"{p} has no entropy in closed form; estimate it: between('entropy', p).") from None
    return _in(torch.special.entr(table_of(p)).sum(), unit)


def joint_entropy(p: Any, axes: Axes | None = None, *, unit: str = "nats") -> Tensor:
    """Return H(A) of the variables A that the axes name together, (); None names all."""
    p = table_of(p)
    return entropy(p if axes is None else _onto(p, _axes(p, axes)), unit=unit)


def conditional_entropy(p: Any, of: Axes, given: Axes, *, unit: str = "nats") -> Tensor:
    """Return H(A | B) = H(A, B) - H(B), (): what is still unknown of A when B is known."""
    p = table_of(p)
    a, b = _axes(p, of), _axes(p, given)
    return joint_entropy(p, sorted({*a, *b}), unit=unit) - joint_entropy(p, b, unit=unit)


def mutual_information(p: Any, a: Axes, b: Axes, given: Axes = (), *, unit: str = "nats") -> Tensor:
    """Return I(A; B | C) = H(A, C) + H(B, C) - H(A, B, C) - H(C), (): what A tells of B when C is known; never below 0.

    Arguments:
        p: a table.
        a, b: the axes of the variables; they have none in common.
        given: the axes of what is known; () for nothing.
        unit: nats or bits.

    Raises:
        LikelyError: an axis is not of the table, or stands on two sides.

    Example:
        >>> same = torch.eye(2) / 2
        >>> float(mutual_information(same, 0, 1, unit="bits"))
        1.0
    """
    p = table_of(p)
    first, second, known = (_axes(p, axes) for axes in (a, b, given))
    if len({*first, *second, *known}) < len(first) + len(second) + len(known):
        raise LikelyError("the variables of a, b and given must differ from each other.")
    # Divergence from the product keeps what a difference of four entropies would lose to cancellation.
    joint = _onto(p, sorted([*first, *second, *known]), keep=True)
    left, right = _onto(joint, [*first, *known], keep=True), _onto(joint, [*second, *known], keep=True)
    base = _onto(joint, known, keep=True)
    found = torch.where(joint > 0, joint * (joint.log() + base.log() - left.log() - right.log()), 0).sum()
    return _in(found.clamp(min=0), unit)


def cross_entropy(p: Any, q: Any, *, unit: str = "nats") -> Tensor:
    """Return H(P, Q) = -sum p log q, (): the mean surprise of one who believes Q; infinite where q = 0 < p."""
    if _closed(p, q):
        return entropy(p, unit=unit) + kl(p, q, unit=unit)
    p, q = _pair(p, q)
    return _in(-torch.xlogy(p, q).sum(), unit)


def kl(p: Any, q: Any, *, unit: str = "nats") -> Tensor:
    """Return KL(P, Q) = sum p log (p / q), (): infinite where q = 0 < p.

    Arguments:
        p, q: two tables of one shape, or two `torch.distributions` of known divergence or finitely many values.
        unit: nats or bits.

    Raises:
        LikelyError: the shapes differ, a table does not sum to 1, or there is no closed form.

    Example:
        >>> round(float(kl([0.5, 0.5], [0.25, 0.75])), 6)
        0.143841
    """
    if _closed(p, q):
        try:
            return _in(kl_divergence(p, q).double(), unit)
        except NotImplementedError:
            raise LikelyError(f"KL of {p} and {q} has no closed form; estimate it: between('kl', p, q).") from None
    p, q = _pair(p, q)
    return _in(torch.where(p > 0, p * (p.log() - q.log()), 0).sum(), unit)


def jensen_shannon(p: Any, q: Any, *, unit: str = "nats") -> Tensor:
    """Return JS(P, Q) = KL(P, M) / 2 + KL(Q, M) / 2 with M = (P + Q) / 2, (): between 0 and log 2."""
    p, q = _pair(p, q)
    middle = (p + q) / 2
    return (kl(p, middle, unit=unit) + kl(q, middle, unit=unit)) / 2


def total_variation(p: Any, q: Any) -> Tensor:
    """Return sum |p - q| / 2, (): the largest difference that the two give any event."""
    p, q = _pair(p, q)
    return (p - q).abs().sum() / 2


def table_of(p: Any) -> Tensor:
    """Return probabilities as a float64 table: checked, or listed from a distribution with finitely many values.

    The model `table` stands for the array of its probabilities, one axis per variable.

    Raises:
        LikelyError: a probability is negative, they don't sum to 1, or the values cannot be listed.
    """
    if hasattr(p, "factorisation"):  # known by what it can do: this package's tables lie above this module
        p = p.probabilities
    if isinstance(getattr(p, "space", None), Space):
        raise LikelyError(f"{type(p).__name__} is a model and no table; use between(...).")
    if isinstance(p, Distribution):
        if not p.has_enumerate_support or p.batch_shape or p.event_shape:
            raise LikelyError(f"{p} is no single distribution over finitely many values; use between(...).")
        return p.log_prob(p.enumerate_support()).double().exp()
    p = p if isinstance(p, Tensor) else numbers(p, "a table")
    slack = 1e-4 if p.dtype in (torch.float32, torch.bfloat16, torch.float16) else 1e-6
    p = numbers(p, "a table")
    if not bool((p >= 0).all()):
        raise LikelyError("a table of probabilities holds numbers of 0 or more.")
    if not abs(float(p.sum()) - 1) <= slack:
        raise LikelyError(f"probabilities must sum to 1; these sum to {float(p.sum()):.6g}.")
    return p


def numbers(x: Any, what: str) -> Tensor:
    """Return x as float64.

    Raises:
        LikelyError: it is no array of real numbers.
    """
    try:
        x = torch.as_tensor(x)
    except (TypeError, ValueError, RuntimeError) as error:
        raise LikelyError(f"{what} cannot be read as an array of numbers: {error}.") from None
    if x.is_complex():
        raise LikelyError(f"{what} must hold real numbers, not complex ones.")
    return x.double()


def _closed(p: Any, q: Any) -> bool:
    """Whether both are distributions of which one has infinitely many values."""
    both = isinstance(p, Distribution) and isinstance(q, Distribution)
    return both and not (p.has_enumerate_support and q.has_enumerate_support)


def _pair(p: Any, q: Any) -> tuple[Tensor, Tensor]:
    p, q = table_of(p), table_of(q)
    if p.shape != q.shape:
        raise LikelyError(f"the two tables have the shapes {tuple(p.shape)} and {tuple(q.shape)}.")
    return p, q


def _axes(p: Tensor, axes: Axes) -> list[int]:
    named = list(axes) if isinstance(axes, Sequence) and not isinstance(axes, str) else [axes]
    for axis in named:
        if not isinstance(axis, int):
            raise LikelyError(f"an axis is a whole number, not {axis!r}.")
        if not -p.dim() <= axis < p.dim():
            raise LikelyError(f"axis {axis} is not one of the table's {p.dim()}.")
    return [axis % p.dim() for axis in named]


def _onto(p: Tensor, axes: list[int], *, keep: bool = False) -> Tensor:
    """Sum out every axis but these."""
    others = [axis for axis in range(p.dim()) if axis not in axes]
    return p.sum(others, keepdim=keep) if others else p


def _in(amount: Tensor, unit: str) -> Tensor:
    if unit not in UNITS:
        raise unknown("unit", unit, UNITS)
    return amount / UNITS[unit]


# Models and distributions ------------------------------------------------------------------------------------------

_EXACT: dict[str, Callable[..., Tensor]] = {
    "entropy": lambda p, q: entropy(p),
    "cross_entropy": cross_entropy,
    "kl": kl,
    "jensen_shannon": jensen_shannon,
    "total_variation": total_variation,
}
MEASURES = tuple(_EXACT)


def between(
    measure: str, p: Any, q: Any = None, *, n: int = 10_000, seed: int | None = 0, unit: str = "nats"
) -> Amount:
    """Return how far two models are apart: exact by enumeration, else by Monte Carlo with a standard error.

    Samples of p give E_p[log p - log q] for KL, and E_p[max(0, 1 - q/p)] for the total variation, whose terms stay in
    [0, 1]; samples of both give Jensen-Shannon.

    Arguments:
        measure: entropy (of p alone), cross_entropy, kl, jensen_shannon or total_variation.
        p, q: models with an exact `log_prob` over one space, or `torch.distributions`; an energy model where its values
            or its hidden units can be enumerated, as q where only the latter can.
        n: how many samples of each, 2 or more, where the values cannot be listed (up to 65,536 can).
        seed: the same seed gives the same estimate.
        unit: nats or bits; the total variation has none.

    Raises:
        UnknownName: there is no such measure or unit.
        LikelyError: a model has no exact log-probability, or the two are over different spaces.

    Example:
        >>> from torch.distributions import Normal
        >>> value, error = between("kl", Normal(0.0, 1.0), Normal(1.0, 1.0))
        >>> round(float(value), 3), float(error)
        (0.5, 0.0)
    """
    if measure not in MEASURES:
        raise unknown("measure", measure, MEASURES)
    if unit not in UNITS:
        raise unknown("unit", unit, UNITS)
    if (q is None) != (measure == "entropy"):
        raise LikelyError(f"{measure} is of {'one model' if measure == 'entropy' else 'two models'}.")
    if not isinstance(n, int) or n < 2:
        raise LikelyError(f"n must be a whole number, 2 or more, not {n!r}.")
    scale = 1.0 if measure == "total_variation" else UNITS[unit]
    every = [_Source(one) for one in ((p,) if q is None else (p, q))]
    first, last = every[0], every[-1]
    if first.shape != last.shape:
        raise LikelyError(f"the two are over different spaces, {first.where} and {last.where}.")
    exact = _closed_form(measure, p, q)
    if exact is None and first.points is not None and last.points is not None:
        if not _same(first.points, last.points):
            raise LikelyError(f"the two have different values: {first.where} and {last.where}.")
        tables = [_summing_to_one(one.log_prob(first.points).exp()) for one in every]
        exact = _EXACT[measure](tables[0], tables[-1])
    if exact is not None:
        return Amount(exact / scale, torch.zeros_like(exact))
    terms = [_terms(measure, first, last, first.draw(n, seed))]
    if measure == "jensen_shannon":
        terms.append(_terms(measure, last, first, last.draw(n, None if seed is None else seed + 1)))
        terms = [one / 2 for one in terms]
    value = torch.stack([one.mean() for one in terms]).sum()
    variance = torch.stack([one.var() / n for one in terms]).sum()
    error = variance.sqrt() if bool(value.isfinite()) else torch.zeros_like(value)  # one infinite term is certain
    return Amount(value / scale, error / scale)


def _same(a: Any, b: Any) -> bool:
    """Whether two lists of values are equal; those of sequences are several tensors."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return all(map(_same, a, b))
    return isinstance(a, Tensor) and isinstance(b, Tensor) and torch.equal(a, b)


def _summing_to_one(p: Tensor) -> Tensor:
    """Return listed probabilities without the rounding of a model that computes in float32."""
    total = float(p.sum())
    if abs(total - 1) > 1e-3:
        raise LikelyError(f"probabilities must sum to 1; these sum to {total:.6g}.")
    return p / total


def _terms(measure: str, p: _Source, q: _Source, x: Any) -> Tensor:
    """Return one term of the mean for each draw of p, (n,)."""
    log_p = p.log_prob(x)
    if measure == "entropy":
        return -log_p
    log_q = q.log_prob(x)
    if measure == "cross_entropy":
        return -log_q
    if measure == "kl":
        return log_p - log_q
    if measure == "total_variation":
        return 1 - (log_q - log_p).clamp(max=0).exp()
    return log_p - torch.logaddexp(log_p, log_q) + math.log(2)


def _closed_form(measure: str, p: Any, q: Any) -> Tensor | None:
    """Return the measure of two distributions where torch knows it; None where it does not."""
    if not isinstance(p, Distribution) or measure in ("jensen_shannon", "total_variation"):
        return None
    try:
        entropies = p.entropy() if measure in ("entropy", "cross_entropy") else 0.0
        divergence = kl_divergence(p, q) if measure in ("kl", "cross_entropy") else 0.0
    except NotImplementedError:
        return None
    return torch.as_tensor(entropies + divergence).double()


class _Source:
    """What can be drawn and scored: a model or a distribution."""

    def __init__(self, source: Any) -> None:
        self.source = source
        self.points: Any = None  #: every value, where they are few enough to be listed
        self.log_z: Tensor | None = None  #: of an energy model
        if isinstance(source, Distribution):
            if source.batch_shape:
                raise LikelyError(f"{source} is a batch of distributions; give one at a time.")
            self.shape: tuple[int, ...] = tuple(source.event_shape)
            self.where = f"values of shape {self.shape}"
            if source.has_enumerate_support:
                self.points = source.enumerate_support()
        elif isinstance(getattr(source, "space", None), Space) and (
            hasattr(source, "log_prob") or hasattr(source, "log_partition")
        ):
            if source.cond_space is not None:
                raise LikelyError(
                    f"{source.name or type(source).__name__} is conditional: compare models without cond."
                )
            self.shape = tuple(source.space.shape)
            self.where = str(source.space)
            if source.space.points is not None and source.space.points <= ENUMERABLE:
                self.points = source.space.enumerate()
            if not hasattr(source, "log_prob"):
                self.log_z = self._log_z()
        else:
            raise LikelyError(f"{type(source).__name__} has no exact log-probability (`log_prob`) to be compared by.")

    def _log_z(self) -> Tensor:
        """Return the exact log Z of an energy model, ().

        Raises:
            LikelyError: it can only be estimated.
        """
        if self.points is not None:
            return (-self.source.energy(self.points).detach().double().cpu()).logsumexp(0)
        found = self.source.log_partition()
        if float(found.error) > 0:
            raise LikelyError(
                f"log Z of {type(self.source).__name__} over {self.where} can only be estimated, so it has no exact "
                "log-probability to be compared by."
            )
        return found.value.detach().double().cpu()

    def log_prob(self, x: Any) -> Tensor:
        if self.log_z is not None:
            return -self.source.energy(x).detach().double().cpu() - self.log_z
        if not isinstance(self.source, Distribution):
            return self.source.log_prob(x).detach().double().cpu()
        try:
            support = self.source.support
        except NotImplementedError:
            support = None
        if support is None:
            return self.source.log_prob(x).detach().double().cpu()
        inside = support.check(x)  # torch refuses to score what lies outside
        found = torch.full(inside.shape, -torch.inf, dtype=torch.float64)
        if bool(inside.any()):
            found[inside] = self.source.log_prob(x[inside]).detach().double().cpu()
        return found

    def draw(self, n: int, seed: int | None) -> Any:
        if self.log_z is not None:
            raise LikelyError(
                f"draws of {type(self.source).__name__} follow its law only in the limit, so nothing can be estimated "
                "from them; give it as q, beside a p that draws exactly."
            )
        if not isinstance(self.source, Distribution):
            return self.source.sample(n, seed=seed)
        with torch.random.fork_rng(devices=[]):
            torch.seed() if seed is None else torch.manual_seed(seed)
            return self.source.sample((n,))
