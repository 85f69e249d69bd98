"""A parametric family of distributions beside data: which parameters are free, where they may lie, what the data score.

    log p(data | t) = sum_i w_i log p(x_i | t)

Data become columns, (N, B, *event): each column has parameters of its own, (B, *shape). The names, ranges and shapes of
the parameters are those that `torch.distributions` declares; a function of named parameters is one column. It fails, in
one line that names the row, where a value is not of the family's support.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch import distributions as families
from torch.distributions import Distribution, constraints

from likely.errors import LikelyError, unknown
from likely.parts import closed_forms, descent
from likely.parts.counting import HEAVIEST, check_total

LEVELS = 1_000_000  #: the most categories
ALTERNATIVES = (("probs", "logits"), ("covariance_matrix", "precision_matrix", "scale_tril"))
SUPPORTS = {
    "nonnegative_integer": "whole numbers, 0 or more",
    "boolean": "0 or 1",
    "unit_interval": "between 0 and 1",
    "positive": "numbers above 0",
    "nonnegative": "numbers of 0 or more",
    "simplex": "shares that sum to 1",
    "one_hot": "a single 1 among zeros",
}


def numbers(data: Any, what: str = "data") -> Tensor:
    try:
        x = torch.as_tensor(data)
    except (TypeError, ValueError, RuntimeError) as error:
        raise LikelyError(f"{what} cannot be read as an array of numbers: {error}.") from None
    if x.is_complex():
        raise LikelyError(f"{what} must be real numbers, not complex ones.")
    if x.dim() == 0 or not x.numel():
        shape = tuple(x.shape)
        raise LikelyError(f"{what} must be rows, (N, ...) with N of 1 or more and no axis of 0, not of shape {shape}.")
    x = x.detach().double().cpu()
    if bool(x.isinf().any()):
        row = int(x.isinf().reshape(len(x), -1).any(1).nonzero()[0, 0])
        raise LikelyError(f"{what} must be finite; row {row} is infinite.")
    return x


class Parametric:
    """A family, its data as columns, (N, B, *event), and what is to be found; functions make one column."""

    def __init__(
        self,
        family: Callable[..., Distribution],
        x: Tensor,
        start: dict[str, Any],
        prior: dict[str, Distribution],
        ranges: dict[str, constraints.Constraint],
        fixed: dict[str, Any],
    ) -> None:
        self.family, self.prior = family, prior
        self.classed = inspect.isclass(family) and issubclass(family, Distribution)
        self.name = getattr(family, "__name__", type(family).__name__).replace("<lambda>", "the function")
        if isinstance(family, Distribution) or not callable(family):
            raise LikelyError("give a class of torch.distributions, such as Normal, or a function that returns one.")
        self.begin = {name: self._tensor(name, value) for name, value in start.items()}
        declared = getattr(family, "arg_constraints", None) or {}
        likes = ("low", "high", *declared) if isinstance(declared, dict) else ()
        given = {name: self._tensor(name, value) if name in likes else value for name, value in fixed.items()}
        named = self._ranges(given, ranges)
        for name in (*fixed, *start, *prior, *ranges):
            if name not in named and name not in self._arguments():
                raise unknown(f"parameter of {self.name}", name, {*named, *self._arguments()} - {"validate_args"})
        for name in {*start, *prior} & {*fixed}:
            raise LikelyError(f"{name} is fixed and can have neither a start nor a prior.")
        self.event = self._event(x, given)
        if x.dim() < 1 + len(self.event) or x.shape[x.dim() - len(self.event) :] != self.event:
            raise LikelyError(f"{self.name} takes data of shape (N, ..., {self.event}), not {tuple(x.shape)}.")
        self.batch = tuple(x.shape[1 : x.dim() - len(self.event)])
        self.columns = math.prod(self.batch) if self.classed else 1
        self.x = x.reshape(len(x), self.columns, *self.event) if self.classed else x[:, None]
        self.fixed = {
            k: v.reshape((self.columns, *v.shape[len(self.batch) :])) if self._by_column(v) else v
            for k, v in given.items()
        }
        self.levels = self._levels()
        free = [
            name for name in named if name not in given and not self._replaced(name, {*given, *start, *prior}, named)
        ]
        self.coordinates = [descent.coordinate(name, self._shape(name, named[name]), named[name]) for name in free]
        missing = [name for name in self._required() if name not in {*given, *named}]
        if missing:
            raise LikelyError(f"{self.name} needs {', '.join(f'{name}=...' for name in missing)}.")
        if self.family is families.Multinomial and "total_count" not in given:
            self.fixed["total_count"] = int(x.nan_to_num().sum(-1).amax())

    @staticmethod
    def _tensor(name: str, value: Any) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float64)

    def _arguments(self) -> list[str]:
        return list(inspect.signature(self.family).parameters)

    def _required(self) -> list[str]:
        """Return the arguments that the family cannot do without."""
        return [
            name
            for name, one in inspect.signature(self.family).parameters.items()
            if one.default is one.empty and one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
        ]

    def _ranges(self, given: Mapping[str, Tensor], ranges: Mapping[str, Any]) -> dict[str, Any]:
        """Return name -> constraint of the parameters."""
        declared = getattr(self.family, "arg_constraints", None)
        if self.family is families.Uniform:
            return {"low": constraints.real, "high": constraints.real}
        if self.classed and isinstance(declared, dict) and declared:
            return {**declared, **ranges}
        wanted = [name for name in self._required() if name not in given]
        absent = [name for name in wanted if name not in self.begin]
        if absent:
            raise LikelyError(f"give a start for {', '.join(absent)}: start={{'{absent[0]}': ...}}.")
        try:
            made = self.family(**self.begin, **given)
        except (TypeError, ValueError, RuntimeError) as error:
            raise LikelyError(f"{self.name} cannot be built from the start: {error}.".replace("\n", " ")) from None
        own = made.arg_constraints
        return {name: ranges.get(name, own.get(name, constraints.real)) for name in self.begin}

    def _replaced(self, name: str, mentioned: set[str], named: Mapping[str, Any]) -> bool:
        """Whether another parametrisation was chosen: the one that is mentioned, else the first."""
        for group in ALTERNATIVES:
            if name in group:
                chosen = [other for other in group if other in mentioned] or [o for o in group if o in named]
                return name != chosen[0]
        return False

    def _event(self, x: Tensor, given: Mapping[str, Tensor]) -> tuple[int, ...]:
        if self.classed:
            size = getattr(self.family.support, "event_dim", None)  # type: ignore[attr-defined]
            if size is not None:
                return tuple(x.shape[x.dim() - size :]) if size else ()
        made = self.family(**self.begin, **given)
        return tuple(made.batch_shape) + tuple(made.event_shape) if not self.classed else tuple(made.event_shape)

    def _by_column(self, value: Any) -> bool:
        return (
            isinstance(value, Tensor)
            and self.classed
            and bool(self.batch)
            and tuple(value.shape[: len(self.batch)]) == self.batch
        )

    def _levels(self) -> int:
        """Return how many categories there are: those of `start` or of a prior, else the largest that occurs and 1."""
        if self.family is not families.Categorical:
            return 0
        told = [v.shape[-1] for v in (*self.begin.values(), *self.fixed.values()) if v.dim()]
        told += [int(p.event_shape[-1]) for p in self.prior.values() if p.event_shape]
        most = told[0] if told else int(self.x.nan_to_num().amax()) + 1
        if most > LEVELS:
            raise LikelyError(f"Categorical would have {most:,} categories, more than {LEVELS:,}; number them from 0.")
        return most

    def _shape(self, name: str, constraint: Any) -> tuple[int, ...]:
        """Return the shape of a parameter of one column."""
        if name in self.begin:
            value = self.begin[name]
            return tuple(value.shape[len(self.batch) :] if self._by_column(value) else value.shape)
        if not constraint.event_dim:
            return ()
        if self.family is families.LowRankMultivariateNormal and name == "cov_factor":
            size = self.event[-1]
            raise LikelyError(
                f"cov_factor is ({size}, rank), and the rank is not estimated; give a start that is not 0, which would "
                f"stay so: start={{'cov_factor': torch.randn({size}, 1)}}."
            )
        if self.levels:
            return (self.levels,)
        return (self.event[-1],) * constraint.event_dim if self.event else ()

    def shaped(self, value: Tensor) -> Tensor:
        """Return a value of the columns, (B, ...), as the user has them."""
        return value.reshape((*self.batch, *value.shape[1:])) if self.classed else value[0]

    def weigh(self, weights: Any) -> tuple[Tensor, int]:
        """Return how much each datum counts, (N, B), and how many are missing; put a value in their place."""
        event = tuple(range(2, self.x.dim()))
        missing = self.x.isnan().any(dim=event) if event else self.x.isnan()
        w = (~missing).double()
        if weights is not None:
            each = numbers(weights, "weights")
            if each.shape != self.x.shape[:1]:
                raise LikelyError(f"weights must be one number per row, ({len(self.x)},), not {tuple(each.shape)}.")
            if bool((each < 0).any()) or bool(each.isnan().any()):
                row = int(((each < 0) | each.isnan()).nonzero()[0, 0])
                raise LikelyError(f"weights must be 0 or more; row {row} has {float(each[row]):g}.")
            if len(each) and float(each.max()) > HEAVIEST:
                row = int(each.argmax())
                heavy = f"{float(each[row]):g} in row {row} is more than {HEAVIEST:g}"
                raise LikelyError(f"weights count rows, and {heavy}; divide all by one number.")
            w = w * each[:, None]
        total = w.sum(0)
        if not bool((total > 0).all()):
            raise LikelyError("too few rows: a column has no value that counts, all are missing or have weight 0.")
        check_total(total.min())
        used = (w > 0).double().argmax(0)  # a datum that counts stands in for those that do not
        stand_in = self.x[used, torch.arange(self.columns)]
        none = (w == 0).reshape(*w.shape, *[1] * len(event))
        self.x = torch.where(none, stand_in[None], self.x)
        return w, int(missing.sum())

    def check_support(self) -> None:
        """Raise if a value cannot come from the family, whatever its parameters."""
        support = getattr(self.family, "support", None) if self.classed else None
        if self.family is families.Binomial and "total_count" in self.fixed:
            support = constraints.integer_interval(0, self.fixed["total_count"])
        elif self.levels:
            support = constraints.integer_interval(0, self.levels - 1)
        elif self.family is families.Multinomial:
            support = constraints.independent(constraints.nonnegative_integer, 1)
        elif self.family is families.Pareto:
            support = constraints.positive
        if not isinstance(support, constraints.Constraint) or constraints.is_dependent(support):
            return
        bad = ~support.check(self.x)
        if bool(bad.any()):
            self.refuse(bad, support)

    def refuse(self, bad: Tensor, support: Any = None) -> None:
        """Raise the error for the first datum that cannot be."""
        row, column = bad.nonzero()[0, :2].tolist()
        value = self.x[row, column].flatten().tolist()
        several = ", ".join(f"{v:g}" for v in value[:4]) + ", ..." * (len(value) > 4)
        told = several if len(value) == 1 else f"[{several}]"
        plain = getattr(support, "base_constraint", support)
        words = next((word for name, word in SUPPORTS.items() if plain == getattr(constraints, name)), str(plain))
        if isinstance(plain, type(constraints.integer_interval(0, 1))):
            words = f"whole numbers from 0 to {float(torch.as_tensor(plain.upper_bound).max()):g}"
        where = f"row {row}" + (f", column {column}" if self.columns > 1 else "")
        if support is None:
            raise LikelyError(
                f"{self.name} gives {told} in {where} no finite log-density where the search begins; remove it, or "
                "give start=."
            )
        raise LikelyError(f"{self.name} takes {words}; {where} holds {told}.")

    def _made(self, found: Mapping[str, Tensor], validate: bool) -> Distribution:
        values = {**self.fixed, **found}
        if self.classed:
            return self.family(**values, validate_args=validate)
        with no_checks():
            return self.family(**values)

    def distribution(self, found: Mapping[str, Tensor]) -> Distribution:
        """Return the distribution of these parameters, (B, ...), in the shape of the user's data."""
        values = {name: self.shaped(value) for name, value in found.items()}
        if self.classed:
            known = {
                k: v.reshape((*self.batch, *v.shape[1:]))
                if self.batch and isinstance(v, Tensor) and v.dim() and len(v) == self.columns
                else v
                for k, v in self.fixed.items()
            }
            return self.family(**known, **values)
        return self.family(**self.fixed, **values)

    def log_prob(self, found: Mapping[str, Tensor]) -> Tensor:
        """Return log p of each datum, (N, B)."""
        if self.classed:
            made = self._made(found, False)
            if self.family is not families.GeneralizedPareto:
                return made.log_prob(self.x)
            before = torch.get_default_dtype()
            torch.set_default_dtype(torch.float64)  # it compares its concentration with a 0 of the default type
            try:
                return made.log_prob(self.x)
            finally:
                torch.set_default_dtype(before)
        score = self._made({name: value[0] for name, value in found.items()}, False).log_prob(self.x[:, 0])
        return score.reshape(len(self.x), -1).sum(1, keepdim=True)

    def log_likelihood(self, found: Mapping[str, Tensor], w: Tensor) -> Tensor:
        """Return sum w log p of each column, (B,)."""
        return torch.where(w > 0, w * self.log_prob(found), 0).sum(0)

    def log_prior(self, found: Mapping[str, Tensor]) -> Tensor:
        """Return the log-density of the prior of each column, (B,)."""
        total = torch.zeros(self.columns, dtype=torch.float64)
        for name, one in self.prior.items():
            with no_checks():
                total = total + one.log_prob(found[name]).reshape(self.columns, -1).sum(1)
        return total

    def start(self, w: Tensor) -> dict[str, Tensor]:
        """Return where descent begins, name -> (B, *shape)."""
        guessed = closed_forms.starts(self.family, self.x, w) if self.classed else {}
        begin = {}
        for c in self.coordinates:
            shape = (self.columns, *c.shape)
            value = self.begin[c.name] if c.name in self.begin else guessed.get(c.name)
            if value is not None and math.prod(value.shape) not in (1, math.prod(shape), math.prod(c.shape)):
                value = None
            if value is None:
                value = c.value(torch.zeros(self.columns, c.free, dtype=torch.float64))
            full = value.reshape(shape) if value.numel() == math.prod(shape) else value.expand(shape)
            one = self.prior.get(c.name)
            if one is not None and not bool(log_prob_of(one, full).isfinite().all()):
                full = torch.as_tensor(one.mean, dtype=torch.float64).expand(shape)
            begin[c.name] = full
        return begin


class no_checks:
    """Build distributions without their checks, which would stop a search instead of guiding it."""

    def __enter__(self) -> None:
        self.before = Distribution._validate_args
        Distribution.set_default_validate_args(False)

    def __exit__(self, *_: object) -> None:
        Distribution.set_default_validate_args(self.before)


def log_prob_of(one: Distribution, value: Tensor) -> Tensor:
    try:
        return one.log_prob(value)
    except ValueError:  # outside its support
        return torch.tensor(-torch.inf)
