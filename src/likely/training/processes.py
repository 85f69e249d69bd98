"""Learning in several processes that hold the same model: each sees a share of the rows, and what they find is summed.

Statistics add, so EM over shares is EM over all rows: sum_r S(x_r) = S(x), and every process takes the same M-step. The
gradient of a mean loss is the mean of the shares' gradients, weighted by their rows. Sums of counts (bernoulli, table,
markov, chow_liu) are whole numbers in float64: they agree bit for bit with one process. Other sums differ by rounding
in the order of summation. A loss that draws noise draws other noise in each process, and a layer that looks at its
batch (batch normalisation) sees its share only: there, results agree in law, not in numbers.

The processes and their collective calls are Lightning Fabric's; `fabric` below is a launched `lightning_fabric.Fabric`,
and None is one process.

Reference: Chu, Kim, Lin, Yu, Bradski, Ng and Olukotun, Map-Reduce for Machine Learning on Multicore, 2006,
papers.nips.cc/paper/3150-map-reduce-for-machine-learning-on-multicore.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from likely.core import Model, Statistics, _rows
from likely.data.parts import Part
from likely.errors import LikelyError
from likely.parts import collective
from likely.training.optimize import draw


class Group:
    """The processes that learn together, or this one alone.

    Arguments:
        fabric: a launched `lightning_fabric.Fabric`, or None for one process.
        batch: the fewest rows that are shared out at once.

    Raises:
        LikelyError: there are fewer rows than processes.

    Example:
        >>> import torch
        >>> Group().share(torch.arange(5))
        tensor([0, 1, 2, 3, 4])
    """

    def __init__(self, fabric: Any = None, *, batch: int | None = None) -> None:
        self.fabric = fabric
        self.rank, self.size = collective.place(fabric)
        if batch is not None and batch < self.size:
            raise LikelyError(
                f"{self.size} processes cannot share batches of {batch} rows; take fewer, or a larger batch."
            )

    @property
    def own(self) -> tuple[int, ...]:
        """What a process adds to the name of a random stream: nothing in the first, which draws as one alone does."""
        return (self.rank,) if self.rank else ()

    def share(self, rows: Tensor) -> Tensor:
        """Return this process's run of some rows; the shares of all processes are the rows."""
        return rows[collective.share(len(rows), self.fabric)]

    # Statistics ------------------------------------------------------------------------------------------------------

    def e_step(self, model: Statistics, part: Part, rows: slice | Tensor) -> dict[str, Any]:
        """Return the statistics of this process's share of a batch; of no rows they are zeros."""
        if self.size == 1:
            weight = None if part.weight is None else part.weight[rows]
            return model.e_step(*draw(model, part, rows), weight=weight)
        numbers = torch.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
        mine = collective.share(len(numbers), self.fabric)
        cut = slice(mine.start, max(mine.stop, mine.start + 1))  # without rows, one that weighs nothing
        if part.dynamic is None:
            x, cond = draw(model, part, numbers[cut])
        else:  # all draw the bits of the whole batch, so that they are those of one process
            x, cond = (_rows(values, cut) for values in draw(model, part, rows))
        weight = torch.ones(cut.stop - cut.start) if part.weight is None else part.weight[numbers[cut]]
        return model.e_step(x, cond, weight=weight if mine.stop > mine.start else torch.zeros(1))

    def sum(self, stats: dict[str, Any]) -> dict[str, Any]:
        """Return the statistics of all processes added up, the same in each.

        Statistics that are no tensors, as the sparse counts of a table, add with `+`; their `total()` is a tuple of
        tensors, of which their class makes them again.
        """
        if self.size == 1:
            return stats
        tensors = {name: value for name, value in stats.items() if isinstance(value, Tensor)}
        summed = dict(zip(tensors, collective.add_all(list(tensors.values()), self.fabric), strict=True))
        return {name: summed[name] if name in summed else self._merged(value) for name, value in stats.items()}

    def _merged(self, value: Any) -> Any:
        found = value.total()
        shares = zip(*(collective.gather(tensor, self.fabric) for tensor in found), strict=True)
        first, *others = [type(value)([type(found)(*share)]) for share in shares]
        for other in others:
            first = first + other
        return first

    # Descent ---------------------------------------------------------------------------------------------------------

    def same_start(self, model: Model) -> None:
        """Give every process the first one's parameters and buffers."""
        if self.size > 1:
            with torch.no_grad():
                values = list(model.state_dict().values())
                # bits do not add
                mine = [value.to(torch.uint8) if value.dtype is torch.bool else value for value in values]
                first = [value if self.rank == 0 else torch.zeros_like(value) for value in mine]
                for value, given in zip(values, collective.add_all(first, self.fabric), strict=True):
                    value.copy_(given)

    def mean(self, losses: dict[str, Tensor], rows: int, of: int) -> dict[str, Tensor]:
        """Return each term averaged over the processes, of which this one saw `rows` of `of` rows."""
        if self.size == 1:
            return losses
        stacked = torch.stack([value.detach().float().reshape(()) for value in losses.values()]) * (rows / of)
        return dict(zip(losses, collective.add(stacked, self.fabric), strict=True))

    def average_gradients(self, parameters: Iterable[nn.Parameter], rows: int, of: int) -> None:
        """Replace each gradient by its mean over the processes, of which this one saw `rows` of `of` rows."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        for dtype in {g.dtype for g in gradients}:
            some = [g for g in gradients if g.dtype == dtype]
            summed = collective.add(torch.cat([g.flatten() for g in some]) * (rows / of), self.fabric)
            for gradient, mean in zip(some, summed.split([g.numel() for g in some]), strict=True):
                gradient.copy_(mean.view_as(gradient))
