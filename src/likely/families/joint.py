"""A joint distribution of named variables with finitely many values, and every question that it answers exactly.

    p(x) = (1 - e) m(x) + e / C        marginal: sum_b p(a, b)        conditional: p(a, b) / p(b)

It is kept as the rows that occurred, with their mass m, and a part e spread evenly over all C cells; so a question
costs as many steps as there are rows, however many cells there could be. What must be written out as an array, cell by
cell, is refused beyond ten million cells, with the number that it would have.

Reference: Pearl, Probabilistic Reasoning in Intelligent Systems, 1988, chapter 2.
"""

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

import torch
from torch import Tensor

from likely.core import Completer, Marginal
from likely.errors import LikelyError, unknown
from likely.families import tabular

DENSE = 10_000_000  #: the most cells that are ever written out


class Joint(Marginal, Completer):
    """A table kept as rows; the class of a model says how these are found.

    Variables are called by the names of the space, or x0, x1, ... in raster order.
    """

    cells: Tensor  #: the stored cells, (M, D), in ascending order of their keys
    key: Tensor  #: their keys, (M,)
    mass: Tensor  #: their share of the observed rows, (M,), float64
    smooth: Tensor  #: e, the weight of the uniform part, ()
    count: Tensor  #: N, how many rows were counted; 0 for a table that was given
    sizes: Tensor  #: how many values each variable has, (D,)
    categories: tuple[tuple[Any, ...] | None, ...]  #: what they are called, or None where they are numbers

    @abstractmethod
    def _made(self, columns: list[int], cells: Tensor, mass: Tensor, smooth: Tensor, count: Tensor) -> Self:
        """Return a table of these columns; equal cells are added up."""

    @abstractmethod
    def _log_spread(self, columns: list[int]) -> Tensor:
        """Return log of what the uniform part gives to any values of these columns, ()."""

    # The variables -------------------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the variables."""
        return self.space.names or tuple(f"x{d}" for d in range(self.space.size))

    @property
    def points(self) -> int:
        """C, how many cells the full table has."""
        return math.prod(self.sizes.tolist())

    @property
    def free_parameters(self) -> int:
        """How many numbers a full table is free to choose, an exact integer."""
        return self.points - 1

    @property
    def probabilities(self) -> Tensor:
        """The full table, one axis per variable, float64.

        Raises:
            LikelyError: it would have more than 10 million cells; the message says how many.
        """
        if self.points > DENSE:
            raise LikelyError(
                f"the full table of {self.space.size} variables has {self.points:,} cells, more than {DENSE:,}; "
                "ask for fewer variables: table.marginal('a', 'b')."
            )
        full = torch.full((self.points,), float(self.smooth) / self.points, dtype=torch.float64, device=self.device)
        full[self.key] += (1 - self.smooth) * self.mass
        return full.reshape(self.sizes.tolist())

    def _columns(self, names: str | Iterable[str]) -> list[int]:
        wanted = [names] if isinstance(names, str) else list(names)
        for name in wanted:
            if name not in self.names:
                raise unknown("variable", name, self.names)
        if len(set(wanted)) < len(wanted):
            raise LikelyError(f"a variable is named twice: {', '.join(wanted)}.")
        return [self.names.index(name) for name in wanted]

    def _event(self, values: Mapping[str, Any]) -> dict[int, int]:
        """Return column -> level of an event such as rain=1, sky='grey'."""
        sizes = self.sizes.tolist()
        columns = self._columns(values)
        return {
            d: tabular.level_of(value, self.names[d], sizes[d], self.categories[d])
            for d, value in zip(columns, values.values(), strict=True)
        }

    def _value(self, column: int, level: int) -> Any:
        named = self.categories[column]
        return level if named is None else named[level]

    # Questions -----------------------------------------------------------------------------------------------------

    def probability(self, **event: Any) -> float:
        """Return the probability of an event: `table.probability(rain=1, sky="grey")`.

        Raises:
            LikelyError: there is no such variable or value.
        """
        x = torch.zeros(1, self.space.size, dtype=self.space.dtype)
        known = torch.zeros(1, self.space.size, dtype=torch.bool)
        for d, level in self._event(event).items():
            x[0, d], known[0, d] = level, True
        shape = (1, *self.space.shape)
        return float(self.log_marginal(x.reshape(shape), known.reshape(shape)).exp())

    def marginal(self, *names: str) -> Self:
        """Return the table of these variables alone, in this order: the others are summed out.

        Raises:
            LikelyError: there is no such variable.
        """
        columns = self._columns(names)
        if not columns:
            raise LikelyError(f"name at least one variable: {', '.join(self.names)}.")
        return self._made(columns, self.cells[:, columns], self.mass, self.smooth, self.count)

    def condition(self, **event: Any) -> Self:
        """Return p(the other variables | event): `table.condition(rain=1)`.

        Raises:
            LikelyError: the event is impossible, names all variables, or there is no such variable or value.
        """
        given = self._event(event)
        columns = [d for d in range(self.space.size) if d not in given]
        if not columns:
            raise LikelyError("the event names every variable: nothing is left to be distributed.")
        matches = torch.ones(len(self.cells), dtype=torch.bool, device=self.device)
        for d, level in given.items():
            matches &= self.cells[:, d] == level
        mass = self.mass[matches]
        seen = (1 - self.smooth) * mass.sum()
        spread = self.smooth / math.prod(int(self.sizes[d]) for d in given)
        if not float(seen + spread) > 0:
            told = ", ".join(f"{name}={value}" for name, value in event.items())
            raise LikelyError(f"cannot condition on {told}: it has probability 0.")
        mass = mass / mass.sum() if len(mass) else mass
        count = self.count * self.mass[matches].sum()
        return self._made(columns, self.cells[matches][:, columns], mass, spread / (seen + spread), count)

    def conditional(self, of: str, given: str | Iterable[str] = ()) -> Tensor:
        """Return p(of | given) as an array: the axes of the given variables first; 0 where these are impossible."""
        before = self._columns(given)
        names = [self.names[d] for d in before]
        joint = self.marginal(*names, of).probabilities
        base = joint.sum(-1, keepdim=True)
        return torch.where(base > 0, joint / base, 0)

    def factorisation(self, *order: str) -> tabular.Factorisation:
        """Return the chain rule p(a) p(b | a) p(c | a, b) in this order of the variables, else in their own; printable.

        Raises:
            LikelyError: a variable is unknown, or the last factor has more than 10 million cells.
        """
        names = order or self.names
        self._columns(names)
        return tabular.Factorisation(
            tuple(
                tabular.Factor(name, tuple(names[:i]), self.conditional(name, names[:i]))
                for i, name in enumerate(names)
            )
        )

    def bayes(self, of: str, **evidence: Any) -> tabular.Bayes:
        """Return Bayes' rule: p(of | evidence) = p(of) p(evidence | of) / p(evidence).

        Raises:
            LikelyError: the evidence is impossible, or there is no such variable or value.

        Example:
            >>> from likely.models.table import Table
            >>> ill = Table.from_array([[0.9405, 0.0495], [0.0005, 0.0095]], names=("ill", "test"))
            >>> round(float(ill.bayes("ill", test=1).posterior[1]), 3)
            0.161
        """
        if of in evidence:
            raise LikelyError(f"'{of}' is asked for and given as evidence; leave it out of one.")
        prior = self.marginal(of).probabilities
        certain = self.probability(**evidence)
        posterior = self.condition(**evidence).marginal(of).probabilities
        likelihood = torch.where(prior > 0, posterior * certain / prior, 0)
        return tabular.Bayes(prior, likelihood, torch.tensor(certain, dtype=torch.float64), posterior)

    def independent(
        self, a: str | Iterable[str], b: str | Iterable[str], given: str | Iterable[str] = (), *, level: float = 0.05
    ) -> tabular.Independence:
        """Return whether a and b are independent given other variables: exactly, or by a G-test on counted rows.

        A table that was given is exact: they are independent where I(a; b | given) = 0. A table that was counted over
        rows says whether these rows speak against it, without the pseudo-counts.

        Arguments:
            a, b, given: names of variables, one or several.
            level: the p-value below which counted variables are called dependent.

        Raises:
            LikelyError: a variable is unknown or named twice, or the level is not between 0 and 1.
        """
        if not 0 <= level <= 1:
            raise LikelyError(f"level must lie between 0 and 1, not {level}.")
        sides = [[side] if isinstance(side, str) else list(side) for side in (a, b, given)]
        names = [name for side in sides for name in side]
        if not sides[0] or not sides[1]:
            raise LikelyError("name at least one variable on each side.")
        columns = self._columns(names)
        rows = float(self.count)
        smooth = torch.zeros_like(self.smooth) if rows else self.smooth
        table = self._made(columns, self.cells[:, columns], self.mass, smooth, self.count)
        sizes = [math.prod(int(self.sizes[d]) for d in self._columns(side)) for side in sides]
        return tabular.independence(table.probabilities.reshape(sizes), rows, level)

    def expectation(self, function: Callable[..., Any]) -> float:
        """Return E[f] of a function of the variables, which its arguments name: `lambda die, coin: die * coin`.

        The function is called once, with tensors: the categories where these are numbers, else the levels, which can
        be compared with what they are called: `lambda sky, rain: (sky == "grey") * rain`.

        Raises:
            LikelyError: an argument is not a variable.
        """
        return float(self._moments(function)[0])

    def variance(self, function: Callable[..., Any]) -> float:
        """Return Var[f] of a function of the variables, which its arguments name."""
        return self.covariance(function, function)

    def covariance(self, f: Callable[..., Any], g: Callable[..., Any]) -> float:
        """Return Cov[f, g] = E[(f - E f)(g - E g)] of two functions of the variables."""
        return float(self._moments(f, g)[1])

    def _moments(self, *functions: Callable[..., Any]) -> tuple[Tensor, Tensor]:
        """Return the mean of the first function, and the covariance of the first and the last."""
        try:
            arguments = [list(inspect.signature(function).parameters) for function in functions]
        except (TypeError, ValueError):  # it cannot be called, or does not say what it takes
            arguments = [[]]
        names = list(dict.fromkeys(name for each in arguments for name in each))
        if not names:
            raise LikelyError("a function of the variables is wanted: lambda rain, wind: rain * wind.")
        table = self.marginal(*names)
        if float(table.smooth) > 0:
            p = table.probabilities.flatten()
            levels = torch.cartesian_prod(*[torch.arange(size) for size in table.sizes.tolist()]).reshape(len(p), -1)
        else:
            p, levels = table.mass, table.cells.long()
        columns = {}
        for d, name in enumerate(names):
            named = table.categories[d]
            numbers = named is not None and all(isinstance(value, (int, float)) for value in named)
            if numbers or named is None:
                columns[name] = torch.tensor(named)[levels[:, d]] if numbers else levels[:, d]
            else:
                columns[name] = tabular.called(levels[:, d], name, named)
        values = []
        for function, each in zip(functions, arguments, strict=True):
            try:
                value = function(*(columns[name] for name in each))
            except (TypeError, ValueError, RuntimeError) as error:
                raise LikelyError(
                    "a function of the variables is called once, with tensors: write (a > b) * a for `a if a > b else "
                    f"0` and torch.log for math.log; it failed: {error}."
                ) from None
            try:
                values.append(torch.as_tensor(value, dtype=torch.float64).expand(len(p)))
            except (TypeError, ValueError, RuntimeError):
                raise LikelyError(
                    f"a function of the variables must return one number per row, ({len(p)},), not {value!r:.60}."
                ) from None
        means = [p @ value for value in values]
        return means[0], p @ ((values[0] - means[0]) * (values[-1] - means[-1]))

    def mode(self) -> dict[str, Any]:
        """Return the most probable cell, name -> value."""
        levels = self.cells[int(self.mass.argmax())].tolist() if len(self.cells) else [0] * self.space.size
        return {name: self._value(d, level) for d, (name, level) in enumerate(zip(self.names, levels, strict=True))}

    def __str__(self) -> str:
        """Show the cells with the greatest probabilities, up to 20."""
        spread = self._log_spread(list(range(self.space.size))).exp()
        mass, best = ((1 - self.smooth) * self.mass + spread).topk(min(20, len(self.mass)))
        rows = [
            [*(str(self._value(d, level)) for d, level in enumerate(self.cells[i].tolist())), f"{p:.6f}"]
            for i, p in zip(best.tolist(), mass.tolist(), strict=True)
        ]
        table = [[*self.names, "p"], *rows]
        widths = [max(len(row[d]) for row in table) for d in range(len(table[0]))]
        lines = ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in table]
        other = self.points - len(rows)
        return "\n".join(
            [*lines, f"{other:,} other cells share {max(0.0, 1 - float(mass.sum())):.6f}"] if other else lines
        )
