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

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from likely.core import Model, Statistics
from likely.data.tables import columns_of, levels_of
from likely.errors import LikelyError
from likely.families import tabular
from likely.families.joint import Joint
from likely.parts import information
from likely.spaces import ENUMERABLE, Binary, Finite, Space, accept


class Table(Joint, Statistics):
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
        sizes = list(space.sizes) if sizes is None else [int(size) for size in sizes]
        if len(sizes) != space.size or not all(1 <= size <= space.levels for size in sizes):
            raise LikelyError(f"sizes must be {space.size} numbers, each 1 to {space.levels}, not {sizes}.")
        self.pseudo_count = pseudo_count
        named = getattr(space, "values", None) if categories is None else categories
        self.categories = tuple(named) if named is not None else (None,) * space.size
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
        array = information.numbers(counts, "counts")
        if not bool(((array >= 0) & array.isfinite()).all()):
            raise LikelyError("counts must be finite numbers of 0 or more.")
        return cls._of_array(array, names, pseudo_count, counted=True)

    @classmethod
    def from_columns(cls, columns: Any, *, pseudo_count: float = 0.0, weight: Any = None, passes: int = 100) -> Table:
        """Return the table of the rows of a data frame: pandas, polars, pyarrow, or a mapping from names to columns.

        Missing values (None or NaN) are learned from by EM, where the table has up to 65,536 cells.

        Arguments:
            columns: the frame; the distinct values of a column, numbers or texts, become the variable's categories.
            pseudo_count: imaginary rows, spread evenly over all cells.
            weight: how much each row counts, (N,), 0 or more; None means 1.
            passes: the most passes of EM; it stops when one gains less than 1e-9 nats a row.

        Raises:
            LikelyError: columns differ in length, are empty, or mix texts and numbers.

        Example:
            >>> seen = Table.from_columns({"sky": ["grey", "blue", "grey"], "rain": [1, 0, 0]})
            >>> seen.probability(sky="grey", rain=1) == 1 / 3
            True
        """
        given = columns_of(columns)
        scalar = [name for name, values in given.items() if not hasattr(values, "__len__") or isinstance(values, str)]
        if scalar:
            raise LikelyError(f"column '{scalar[0]}' holds a single value; a list or array of them is wanted.")
        lengths = {name: len(values) for name, values in given.items()}
        if not given or len(set(lengths.values())) != 1 or not next(iter(lengths.values())):
            told = ", ".join(f"{name} {length}" for name, length in lengths.items()) or "none"
            raise LikelyError(f"columns must have the same number of rows, 1 or more; here: {told}.")
        found = [levels_of(values, name, "table") for name, values in given.items()]
        sizes, categories = [len(values) for _, values in found], [values for _, values in found]
        table = cls(_space(sizes, tuple(given)), pseudo_count=pseudo_count, sizes=sizes, categories=categories)
        x = torch.stack([torch.from_numpy(levels) for levels, _ in found], 1)
        known = x >= 0
        if bool(known.all()):
            table.m_step(table.e_step(x, weight=weight))
            return table
        before = -math.inf
        for _ in range(passes):
            stats = table.e_step(x.clamp(min=0), known=known, weight=weight)
            table.m_step(stats)
            now = float(stats["log_likelihood"] / stats["count"])
            if now - before < 1e-9:
                break
            before = now
        return table

    @classmethod
    def _of_array(cls, array: Tensor, names: Sequence[str] | None, pseudo_count: float, counted: bool = False) -> Table:
        if array.dim() == 0:
            raise LikelyError("a table needs one axis per variable; this array has none.")
        if names is not None and (isinstance(names, str) or len(names) != array.dim()):
            told = f"'{names}' is" if isinstance(names, str) else f"{len(names)} names are given"
            raise LikelyError(f"a table of {array.dim()} axes needs a list of {array.dim()} names; {told}.")
        if names is not None and len(set(names)) < len(names):
            raise LikelyError(f"two variables have the same name: {', '.join(names)}.")
        table = cls(_space(list(array.shape), names), pseudo_count=pseudo_count, sizes=list(array.shape))
        table.m_step({"counts": array.flatten(), "count": array.sum()})
        if not counted:
            table.count.zero_()
        return table

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
    accept(space, Binary, Finite, model="table", uneven=True)
    assert isinstance(space, (Binary, Finite))
    return Table(space, pseudo_count=pseudo_count)


TINY = (
    {"space": Binary((3,))},
    {"space": Finite((1, 2, 2), 3), "pseudo_count": 20.0},
    {"space": Finite((), 5), "pseudo_count": 0.1},
    {"space": Finite((2,), 3, ordered=False, values=(("a", "b"), ("c", "d", "e")))},
)

PRESETS: dict[str, dict[str, float]] = {"digits": {}, "digits-binary": {}, "mnist": {}, "binarized-mnist": {}}
