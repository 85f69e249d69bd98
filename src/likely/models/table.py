"""A joint distribution of named variables as a table: p(x) = (1 - e) n(x) / N + e / C, one probability for each cell.

n(x) of N rows fell into the cell x of C cells, and e = a / (N + a) for `pseudo_count` a: 0 gives maximum likelihood,
n(x) / N; above 0 it is the posterior mean under a symmetric Dirichlet prior worth a imaginary rows, spread evenly over
all cells. Every question has an exact answer here: marginals, conditionals, the chain rule, independence, expectations.
Only cells that occurred are stored, so ten million rows over twenty variables fit, and so do 784 pixels.

Missing entries are summed out exactly; to learn from rows with missing entries takes EM, and at most 65,536 cells.

It fails because there are too many cells: n bits have 2^n, nearly all of them never seen, and an unseen cell gets no
more than its share of the pseudo-counts. What a table cannot do is the reason for every other model.

Reference: Good, The Estimation of Probabilities: An Essay on Modern Bayesian Methods, 1965, MIT Press (pseudo-counts as
a Dirichlet prior).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from likely.core import Completer, Marginal, Model, Statistics
from likely.errors import LikelyError, unknown
from likely.families import tabular
from likely.parts import information
from likely.spaces import ENUMERABLE, Binary, Finite, Space, accept

DENSE = 10_000_000  #: the most cells that are ever written out


class Table(Marginal, Completer, Statistics):
    """A joint table over named variables with finitely many values.

    Variables are called by the names of the space, or x0, x1, ... in raster order.

    Arguments:
        space: what one x is; an entry is a variable.
        pseudo_count: imaginary rows, spread evenly over all cells; 0 is maximum likelihood.
        sizes: how many values each variable has, (D,), at most the space's levels; None gives all of them to each.
        categories: the values of each variable as the user calls them, or None where they are numbers.

    Raises:
        LikelyError: a number is out of range.

    Example:
        >>> rain = Table.from_array([[0.4, 0.1], [0.1, 0.4]], names=("cloudy", "rain"))
        >>> round(rain.condition(cloudy=1).probability(rain=1), 6)
        0.8
        >>> print(rain.factorisation().factors[1])
        p(rain | cloudy)
    """

    closed_form: ClassVar[bool] = True
    completion: ClassVar[str] = "exact"
    autocast: ClassVar[bool] = False
    rows_at_once: ClassVar[int] = 65_536
    cells: Tensor  #: the stored cells, (M, D), in ascending order of their keys
    key: Tensor  #: their keys, (M,)
    mass: Tensor  #: their share of the observed rows, (M,), float64
    smooth: Tensor  #: e, the weight of the uniform part, ()
    count: Tensor  #: N, how many rows were counted; 0 for a table that was given
    sizes: Tensor  #: how many values each variable has, (D,)

    def __init__(
        self,
        space: Binary | Finite,
        *,
        pseudo_count: float = 1.0,
        sizes: Sequence[int] | None = None,
        categories: Sequence[tuple[Any, ...] | None] | None = None,
    ) -> None:
        super().__init__(space)
        if not 0 <= pseudo_count < float("inf"):
            raise LikelyError(f"pseudo_count must be a number, 0 or more, not {pseudo_count}.")
        sizes = [space.levels] * space.size if sizes is None else [int(size) for size in sizes]
        if len(sizes) != space.size or not all(1 <= size <= space.levels for size in sizes):
            raise LikelyError(f"sizes must be {space.size} numbers, each 1 to {space.levels}, not {sizes}.")
        self.pseudo_count = pseudo_count
        self.categories = tuple(categories) if categories is not None else (None,) * space.size
        wide = torch.float64
        self.register_buffer("cells", torch.zeros(0, space.size, dtype=space.dtype))
        self.register_buffer("key", torch.zeros(0, dtype=torch.int64), persistent=False)
        self.register_buffer("mass", torch.zeros(0, dtype=wide))
        self.register_buffer("smooth", torch.ones((), dtype=wide))
        self.register_buffer("count", torch.zeros((), dtype=wide))
        self.register_buffer("sizes", torch.tensor(sizes))

    # Made from what is at hand -------------------------------------------------------------------------------------

    @classmethod
    def from_array(cls, p: Any, names: Sequence[str] | None = None) -> Table:
        """Return the table of an array of probabilities, one axis per variable.

        Raises:
            LikelyError: the probabilities don't sum to 1, or names and axes differ in number.
        """
        table = information.table_of(p)
        return cls._of_array(table / table.sum(), names, 0.0)

    @classmethod
    def from_counts(cls, counts: Any, names: Sequence[str] | None = None, *, pseudo_count: float = 0.0) -> Table:
        """Return the table that counts give: maximum likelihood, or with pseudo-counts the Bayesian estimate.

        Arguments:
            counts: how often each cell occurred, one axis per variable. To imagine other rows for each cell, add them.
            names: the names of the variables.
            pseudo_count: imaginary rows, spread evenly over all cells.

        Raises:
            LikelyError: a count is negative or not finite, or all are 0 and nothing is imagined.
        """
        try:
            array = torch.as_tensor(counts, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise LikelyError(f"counts cannot be read as an array of numbers: {error}.") from None
        if not bool(((array >= 0) & array.isfinite()).all()):
            raise LikelyError("counts must be finite numbers of 0 or more.")
        return cls._of_array(array, names, pseudo_count, counted=True)

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any], *, pseudo_count: float = 0.0, weight: Any = None) -> Table:
        """Return the table of the rows of a data frame, or of any mapping from names to columns.

        Arguments:
            columns: name -> values, numbers or texts, (N,); the distinct ones become the variable's categories.
            pseudo_count: imaginary rows, spread evenly over all cells.
            weight: how much each row counts, (N,), 0 or more; None means 1.

        Raises:
            LikelyError: columns differ in length, are empty, or a value is missing.

        Example:
            >>> seen = Table.from_columns({"sky": ["grey", "blue", "grey"], "rain": [1, 0, 0]})
            >>> seen.probability(sky="grey", rain=1) == 1 / 3
            True
        """
        arrays = {str(name): np.asarray(values) for name, values in columns.items()}
        lengths = {name: len(array) for name, array in arrays.items()}
        if not arrays or len(set(lengths.values())) != 1 or not next(iter(lengths.values())):
            told = ", ".join(f"{name} {length}" for name, length in lengths.items()) or "none"
            raise LikelyError(f"columns must have the same number of rows, 1 or more; here: {told}.")
        levels, categories = [], []
        for name, array in arrays.items():
            if array.ndim != 1:
                raise LikelyError(f"column '{name}' has the shape {array.shape}; one value per row is wanted.")
            if any(value is None or value != value for value in (array if array.dtype.kind in "Of" else ())):
                raise LikelyError(f"column '{name}' has a missing value; fill it in, or fit with known=.")
            try:
                values, index = np.unique(array, return_inverse=True)
            except TypeError:
                raise LikelyError(f"column '{name}' mixes texts and numbers.") from None
            levels.append(torch.from_numpy(index))
            categories.append(tuple(values.tolist()))
        sizes = [len(values) for values in categories]
        table = cls(_space(sizes, tuple(arrays)), pseudo_count=pseudo_count, sizes=sizes, categories=categories)
        table.m_step(table.e_step(torch.stack(levels, 1), weight=weight))
        return table

    @classmethod
    def _of_array(cls, array: Tensor, names: Sequence[str] | None, pseudo_count: float, counted: bool = False) -> Table:
        if array.dim() == 0:
            raise LikelyError("a table needs one axis per variable; this array has none.")
        if names is not None and len(names) != array.dim():
            raise LikelyError(f"{len(names)} names for a table of {array.dim()} axes.")
        table = cls(_space(list(array.shape), names), pseudo_count=pseudo_count, sizes=list(array.shape))
        table.m_step({"counts": array.flatten(), "count": array.sum()})
        if not counted:
            table.count.zero_()
        return table

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

    def marginal(self, *names: str) -> Table:
        """Return the table of these variables alone, in this order: the others are summed out.

        Raises:
            LikelyError: there is no such variable.
        """
        columns = self._columns(names)
        if not columns:
            raise LikelyError(f"name at least one variable: {', '.join(self.names)}.")
        return self._made(columns, self.cells[:, columns], self.mass, self.smooth, self.count)

    def condition(self, **event: Any) -> Table:
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
            >>> ill = Table.from_array([[0.9405, 0.0495], [0.0005, 0.0095]], names=("ill", "test"))
            >>> round(float(ill.bayes("ill", test=1).posterior[1]), 3)
            0.161
        """
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
            LikelyError: a variable is unknown or named twice.
        """
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

        The function is called once, with tensors: the categories where these are numbers, else the levels.

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
        arguments = [list(inspect.signature(function).parameters) for function in functions]
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
            columns[name] = torch.tensor(named)[levels[:, d]] if numbers else levels[:, d]
        values = [
            torch.as_tensor(function(*(columns[name] for name in each)), dtype=torch.float64).expand(len(p))
            for function, each in zip(functions, arguments, strict=True)
        ]
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

    # The cells -----------------------------------------------------------------------------------------------------

    def _keys(self, rows: Tensor, columns: list[int] | None = None) -> Tensor:
        sizes = self.sizes.tolist()
        return tabular.keys(rows, tabular.multipliers(sizes if columns is None else [sizes[d] for d in columns]))

    def _made(self, columns: list[int], cells: Tensor, mass: Tensor, smooth: Tensor, count: Tensor) -> Table:
        """Return a table of these columns; equal cells are added up."""
        sizes = [int(self.sizes[d]) for d in columns]
        table = Table(
            _space(sizes, [self.names[d] for d in columns]),
            pseudo_count=self.pseudo_count,
            sizes=sizes,
            categories=[self.categories[d] for d in columns],
        ).to(self.device)
        found = tabular.distinct(table._keys(cells), cells, mass)
        table.key, table.cells, table.mass = found.keys, found.rows.to(table.space.dtype), found.mass
        table.smooth, table.count = smooth.clone(), count.clone()
        return table

    def _grouped(self, columns: list[int]) -> tabular.Found:
        """Return the stored cells with only these columns, equal ones added up."""
        if len(columns) == self.space.size:
            return tabular.Found(self.key, self.cells, self.mass)
        cells = self.cells[:, columns]
        return tabular.distinct(self._keys(cells, columns), cells, self.mass)

    def _log_spread(self, columns: list[int]) -> Tensor:
        """Return log of what the uniform part gives to any values of these columns, ()."""
        return self.smooth.log() - self.sizes[columns].double().log().sum()

    # The abilities -------------------------------------------------------------------------------------------------

    def _log_marginal(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        x, known = x.reshape(len(x), -1), known.reshape(len(x), -1)
        score = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for mask, rows in tabular.groups(known):
            columns = mask.nonzero()[:, 0].tolist()
            found, asked = self._grouped(columns), x[rows][:, columns]
            inside = (asked.long() < self.sizes[columns]).all(1)
            log_spread = self._log_spread(columns)
            each = torch.where(inside, log_spread, -torch.inf)
            if len(found.keys):
                key = self._keys(asked, columns)
                place = torch.searchsorted(found.keys, key).clamp(max=len(found.keys) - 1)
                hit = (found.keys[place] == key) & (found.rows[place] == asked).all(1)
                seen = ((1 - self.smooth) * found.mass[place]).log()
                each = torch.where(hit, torch.logaddexp(seen, each), each)
            score[rows] = each if columns else 0.0
        return score

    def _uniform(self, n: int) -> Tensor:
        drawn = torch.rand(n, self.space.size, dtype=torch.float64, device=self.device) * self.sizes
        return drawn.long().to(self.space.dtype)

    def _sample(self, n: int, cond: Tensor | None) -> Tensor:
        nothing = torch.zeros(n, *self.space.shape, dtype=torch.bool, device=self.device)
        return self._complete(torch.zeros_like(nothing, dtype=self.space.dtype), nothing, cond)

    def _complete(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        flat, known = x.reshape(len(x), -1), known.reshape(len(x), -1)
        filled = flat.clone()
        for mask, rows in tabular.groups(known):
            columns = mask.nonzero()[:, 0].tolist()
            key, order = self._keys(self.cells[:, columns], columns).sort(stable=True)
            asked = self._keys(flat[rows][:, columns], columns)
            low, high = torch.searchsorted(key, asked), torch.searchsorted(key, asked, right=True)
            total = torch.cat([self.mass.new_zeros(1), self.mass[order].cumsum(0)])
            seen = (1 - self.smooth) * (total[high] - total[low])
            inside = (flat[rows][:, columns].long() < self.sizes[columns]).all(1)
            spread = torch.where(inside, self._log_spread(columns).exp(), 0)
            # Where the spread underflows (a thousand known entries never seen together) only the uniform part remains.
            spread = torch.where(inside & (self.smooth > 0) & (low == high), 1.0, spread)
            if not bool((seen + spread > 0).all()):
                row = int(rows[(seen + spread <= 0).nonzero()[0, 0]])
                raise LikelyError(f"cannot complete row {row}: what is known there has probability 0.")
            chance = torch.rand(2, len(rows), dtype=torch.float64, device=x.device)
            drawn = self._uniform(len(rows))
            if len(key):
                at = torch.searchsorted(total, total[low] + chance[0] * (total[high] - total[low]), right=True) - 1
                at = torch.minimum(torch.maximum(at, low), (high - 1).clamp(min=0)).clamp(max=len(key) - 1)
                drawn = torch.where((chance[1] * (seen + spread) < seen)[:, None], self.cells[order[at]], drawn)
            filled[rows] = torch.where(mask, flat[rows], drawn)
        return filled.reshape(x.shape)

    def _e_step(self, x: Tensor, cond: Tensor | None, known: Tensor | None, weight: Tensor) -> dict[str, Any]:
        """Count the rows by weight; one with unknown entries counts for all cells that agree, by p(unknown | known)."""
        weight = weight.double()
        every = torch.ones_like(x, dtype=torch.bool) if known is None else known
        flat = x.reshape(len(x), -1)
        if not bool((flat.long() < self.sizes).logical_or(~every.reshape(flat.shape)).all()):
            raise LikelyError("a row has a value that its variable does not have.")
        score = self._log_marginal(x, every, cond)
        stats: dict[str, Any] = {
            "count": weight.sum(),
            "log_likelihood": torch.where(weight > 0, score * weight, 0).sum(),
        }
        if self.points <= ENUMERABLE:
            stats["counts"] = self._expected(flat, every.reshape(flat.shape), weight)
        elif bool(every.all()):
            stats["counts"] = tabular.Counts([tabular.distinct(self._keys(flat), flat, weight)])
        else:
            raise LikelyError(
                f"missing values can be learned from where the table has up to {ENUMERABLE:,} cells; this one has "
                f"{self.points:,}."
            )
        return stats

    def _expected(self, flat: Tensor, known: Tensor, weight: Tensor) -> Tensor:
        """Return how often each cell is expected to have occurred, (C,)."""
        sizes = self.sizes.tolist()
        counts = torch.zeros(sizes, dtype=torch.float64, device=self.device)
        for mask, rows in tabular.groups(known):
            columns = mask.nonzero()[:, 0].tolist()
            cells = math.prod(sizes[d] for d in columns)
            seen = self._keys(flat[rows][:, columns], columns).bincount(weight[rows], minlength=cells)
            whole = len(columns) == len(sizes)
            counts += seen.reshape(sizes) if whole else tabular.spread(seen, self.probabilities, columns)
        return counts.flatten()

    def m_step(self, stats: dict[str, Any]) -> None:
        """Set the cells to the observed frequencies, and the uniform part to its share of the pseudo-counts.

        Raises:
            LikelyError: the weights sum to 0 and no rows are imagined.
        """
        total, counts = float(stats["count"]), stats["counts"]
        if not total + self.pseudo_count > 0:
            raise LikelyError("nothing to learn from: no rows, or all weights are 0.")
        if isinstance(counts, Tensor):
            seen = (counts > 0).nonzero()[:, 0]
            places = torch.unravel_index(seen, tuple(self.sizes.tolist()))
            cells, mass = torch.stack(places, 1), counts[seen]
        else:
            found = counts.total()
            cells, mass = found.rows[found.mass > 0], found.mass[found.mass > 0]
        self.cells, self.mass = cells.to(self.space.dtype), mass / mass.sum()
        self.key = self._keys(self.cells)
        self.smooth = torch.full_like(self.smooth, self.pseudo_count / (total + self.pseudo_count))
        self.count = torch.full_like(self.count, total)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        """Make room for as many cells as were saved."""
        for name in ("cells", "mass"):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=self.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self.key = self._keys(self.cells)


def _space(sizes: Sequence[int], names: Sequence[str] | None) -> Binary | Finite:
    """Return the space of so many variables: bits where each has two values."""
    shape, named = (len(sizes),), None if names is None else tuple(names)
    if all(size == 2 for size in sizes):
        return Binary(shape, names=named)
    return Finite(shape, max(sizes), ordered=False, names=named)


def build(space: Space, *, pseudo_count: float = 1.0) -> Model:
    """Return a joint table over bits or levels.

    Arguments:
        pseudo_count: imaginary rows, spread evenly over all cells, so that nothing is impossible; 0 counts only.
    """
    accept(space, Binary, Finite, model="table")
    assert isinstance(space, (Binary, Finite))
    return Table(space, pseudo_count=pseudo_count)


TINY = (
    {"space": Binary((3,))},
    {"space": Finite((1, 2, 2), 3), "pseudo_count": 20.0},
    {"space": Finite((), 5), "pseudo_count": 0.1},
)

PRESETS: dict[str, dict[str, float]] = {"digits": {}, "digits-binary": {}, "mnist": {}, "binarized-mnist": {}}
