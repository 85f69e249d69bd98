"""The best tree: p(x) = prod_d p(x_d | x_parent(d)), its edges those of the greatest mutual information.

Of all distributions in which each entry depends on at most one other, so that the dependences form a tree, the most
likely one joins the entries by the maximum spanning tree of the pairwise mutual informations, and has the observed
p(x_d, x_parent(d)) on every edge. One pass counts all pairs. Scores, marginals and completions are exact, by messages
from the leaves to the root and back; with missing entries each pass chooses tree and tables anew, and none lowers the
likelihood.

Every pair's counts get `pseudo_count` imaginary rows, spread evenly over its cells. It needs a number for each pair of
levels of each pair of entries, (D levels)^2, and with missing entries as many for each row. It fails where entries
depend on several others at once: an exclusive or looks like independence.

Reference: Chow and Liu, Approximating Discrete Probability Distributions with Dependence Trees, 1968,
doi.org/10.1109/TIT.1968.1054142; with missing entries: Meila and Jordan, Learning with Mixtures of Trees, 2000,
jmlr.org/papers/v1/meila00a.html.
"""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn import functional as F

from likely.core import Completer, Marginal, Model, Statistics
from likely.errors import LikelyError
from likely.parts.counting import check_total
from likely.spaces import Binary, Finite, Space, accept, batches

CELLS = 2**26  #: the most pairs of levels of two entries that are counted
TINIEST = torch.finfo(torch.float64).tiny


class ChowLiu(Marginal, Completer, Statistics):
    """A tree of dependences over bits or levels; its root is the first entry.

    Arguments:
        space: what one x is.
        pseudo_count: imaginary rows, spread evenly over the cells of every pair of entries; 0 or more.

    Raises:
        LikelyError: `pseudo_count` is negative, or there are too many pairs; the message says how many.
    """

    closed_form: ClassVar[bool] = True
    completion: ClassVar[str] = "exact"
    autocast: ClassVar[bool] = False
    parent: Tensor  #: (D,), the parent of each entry; the root is its own
    uniform: Tensor  #: 1 / how many levels an entry has, 0 for those that it does not have, (D, levels), float64
    table: Tensor  #: p(level | level of the parent), (D, levels, levels), float64; rows of the root are equal

    def __init__(self, space: Binary | Finite, *, pseudo_count: float = 1.0) -> None:
        super().__init__(space)
        if not 0 <= pseudo_count < float("inf"):
            raise LikelyError(f"pseudo_count must be a number, 0 or more, not {pseudo_count}.")
        size, self.levels, self.sizes = space.size, space.levels, space.sizes
        if (size * self.levels) ** 2 > CELLS:
            raise LikelyError(
                f"a tree over {space} counts {(size * self.levels) ** 2:,} pairs of levels, more than {CELLS:,}; take "
                "fewer entries or fewer levels."
            )
        self.pseudo_count = pseudo_count
        self.register_buffer("parent", torch.zeros(size, dtype=torch.int64))
        sizes = torch.tensor(space.sizes)[:, None]
        uniform = (torch.arange(self.levels) < sizes).double() / sizes  # levels that an entry does not have get none
        self.register_buffer("uniform", uniform, persistent=False)
        self.register_buffer("table", uniform[:, None].repeat(1, self.levels, 1))

    @property
    def free_parameters(self) -> int:
        """How many numbers the tree is free to choose, its edges not counted."""
        sizes = torch.tensor(self.sizes)
        parents = sizes[self.parent.cpu()] * (torch.arange(len(sizes)) != self.parent.cpu())
        return int(((sizes - 1) * parents).sum() + sizes[0] - 1)

    @final
    def edges(self) -> list[tuple[str, str]]:
        """Return the edges, (parent, child), by the names of the entries or their raster positions."""
        names = self.space.names or tuple(map(str, range(self.space.size)))
        return [(names[p], names[d]) for d, p in enumerate(self.parent.tolist()) if p != d]

    def _generations(self) -> list[Tensor]:
        """Return the entries by their distance from the root: first the root."""
        children: dict[int, list[int]] = {}
        for child, parent in enumerate(self.parent.tolist()):
            if child != parent:
                children.setdefault(parent, []).append(child)
        found, current = [], [0]
        while current:
            found.append(torch.tensor(current, device=self.device))
            current = [child for parent in current for child in children.get(parent, [])]
        return found

    # Scores and draws ----------------------------------------------------------------------------------------------

    def _log_marginal(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        whole = known.reshape(len(x), -1).all(1)
        if bool(whole.all()):
            levels = x.reshape(len(x), -1).long()
            entry = torch.arange(levels.shape[1], device=x.device)
            return self.table[entry, levels[:, self.parent], levels].log().sum(1)
        log_below = self._upwards(x, known)
        score = (self.table[0, 0].log() + log_below[:, 0]).logsumexp(1)
        # One way of adding up for rows that are known as a whole, whatever stands beside them.
        return torch.where(whole, self._log_marginal(x, torch.ones_like(known), cond), score)

    def _upwards(self, x: Tensor, known: Tensor) -> Tensor:
        """Return log p(what is known at and below an entry | its level), (B, D, levels): from the leaves upwards."""
        hot = F.one_hot(x.reshape(len(x), -1).long(), self.levels).bool()
        log_below = torch.where(hot | ~known.reshape(len(x), -1, 1), 0.0, -torch.inf).double()
        for children in reversed(self._generations()[1:]):
            own = log_below[:, children]
            top = own.amax(2, keepdim=True).clamp(min=-1e300)  # all -inf: what is known is impossible
            message = torch.einsum("bnc,npc->bnp", (own - top).exp(), self.table[children]).log() + top
            log_below.index_add_(1, self.parent[children], message)
        return log_below

    def _below(self, x: Tensor, known: Tensor) -> Tensor:
        """Return what `_upwards` returns, each entry's largest brought to 1.

        Raises:
            LikelyError: what is known has probability 0.
        """
        log_below = self._upwards(x, known)
        possible = (self.table[0, 0].log() + log_below[:, 0]).amax(1) > -torch.inf
        if not bool(possible.all()):
            row = int((~possible).nonzero()[0, 0])
            raise LikelyError(f"row {row} cannot be: what is known there has probability 0.")
        return (log_below - log_below.amax(2, keepdim=True)).exp()

    def _sample(self, n: int, cond: Tensor | None) -> Tensor:
        x = torch.zeros(n, *self.space.shape, dtype=self.space.dtype, device=self.device)
        return self._downwards(x, torch.ones((), dtype=torch.float64, device=self.device))

    def _complete(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        return self._downwards(x, self._below(x, known))

    def _downwards(self, x: Tensor, below: Tensor) -> Tensor:
        """Draw each entry given its parent and what is known below: from the root to the leaves."""
        below = below.expand(len(x), self.space.size, self.levels)
        drawn = torch.zeros(len(x), self.space.size, dtype=torch.int64, device=x.device)
        for entries in self._generations():
            chance = self.table[entries, drawn[:, self.parent[entries]]] * below[:, entries]
            total = chance.cumsum(2)
            point = torch.rand(*total.shape[:2], 1, dtype=total.dtype, device=x.device) * total[..., -1:]
            drawn[:, entries] = torch.searchsorted(total, point, right=True)[..., 0].clamp(max=self.levels - 1)
        return drawn.reshape(x.shape)

    # Learning ------------------------------------------------------------------------------------------------------

    def _e_step(self, x: Tensor, cond: Tensor | None, known: Tensor | None, weight: Tensor) -> dict[str, Tensor]:
        """Count, by weight, how often each two levels stood at each two entries, (D, levels, D, levels)."""
        weight = weight.double()
        known = torch.ones_like(x, dtype=torch.bool) if known is None else known
        score = self._log_marginal(x, known, cond)
        whole = known.reshape(len(x), -1).all(1)
        hot = F.one_hot(x[whole].reshape(-1, self.space.size).long(), self.levels).flatten(1).double()
        pairs = ((hot * weight[whole, None]).T @ hot).reshape(self._pairs)
        part = (~whole).nonzero()[:, 0]
        for cut in batches(len(part), max(1, 2**23 // (self.space.size * self.levels) ** 2)):
            pairs = pairs + self._expected(x[part[cut]], known[part[cut]], weight[part[cut]])
        return {
            "count": weight.sum(),
            "log_likelihood": torch.where(weight > 0, score * weight, 0).sum(),
            "pairs": pairs,
        }

    @property
    def _pairs(self) -> tuple[int, int, int, int]:
        return (self.space.size, self.levels, self.space.size, self.levels)

    def _expected(self, x: Tensor, known: Tensor, weight: Tensor) -> Tensor:
        """Return the expected counts of all pairs in rows with unknown entries.

        Along the tree, p being the parent of j:
        p(x_i, x_j | known) = sum over x_p of p(x_i, x_p | known) p(x_j | x_p, known).
        """
        below = self._below(x, known)
        step = self.table * below[:, :, None, :]  # (B, D, levels of the parent, levels)
        step = step / step.sum(3, keepdim=True).clamp(min=TINIEST)
        pairs = torch.zeros(len(x), *self._pairs, dtype=torch.float64, device=x.device)
        parents: list[int] = self.parent.tolist()
        done: list[int] = []
        for j in [int(entry) for entries in self._generations() for entry in entries]:
            if not done:
                own = step[:, j, 0]
            else:
                joint = torch.einsum("bilp,blm->bipm", pairs[:, done, :, parents[j]].transpose(2, 3), step[:, j])
                pairs[:, done, :, j] = joint
                pairs[:, j, :, done] = joint.transpose(2, 3).movedim(1, 2)
                own = joint[:, 0].sum(1)
            pairs[:, j, :, j] = own.diag_embed()
            done.append(j)
        return torch.einsum("b,bijkl->ijkl", weight, pairs)

    def m_step(self, stats: dict[str, Tensor]) -> None:
        """Set the tree and its tables to the most likely ones for these counts.

        Raises:
            LikelyError: the weights sum to 0.
        """
        check_total(stats["count"])
        joint, single = self._joint(stats)
        self.parent = spanning_tree(informations(joint, single))
        size = self.space.size
        entry = torch.arange(size, device=self.device)
        edge = joint[self.parent, :, entry]  # (D, levels of the parent, levels)
        given = single[self.parent][:, :, None]
        table = torch.where(given > 0, edge / given, single[:, None, :])
        table[0] = single[0]
        self.table = table / table.sum(2, keepdim=True)

    def _joint(self, stats: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return p(x_i, x_j), (D, levels, D, levels), of which only i != j means anything, and p(x_i), (D, levels)."""
        pairs, total = stats["pairs"], float(stats["count"]) + self.pseudo_count
        entry = torch.arange(self.space.size, device=self.device)
        single = pairs[entry, :, entry].diagonal(dim1=1, dim2=2)
        even = self.uniform[:, :, None, None] * self.uniform
        return (pairs + self.pseudo_count * even) / total, (single + self.pseudo_count * self.uniform) / total


def informations(joint: Tensor, single: Tensor) -> Tensor:
    """Return I(x_i; x_j) = H(x_i) + H(x_j) - H(x_i, x_j) in nats, (D, D); the diagonal means nothing.

    Arguments:
        joint: p(x_i, x_j), (D, levels, D, levels).
        single: p(x_i), (D, levels).
    """
    entropy = torch.special.entr(single).sum(1)
    return entropy[:, None] + entropy - torch.special.entr(joint).sum((1, 3))


def spanning_tree(weight: Tensor) -> Tensor:
    """Return each entry's parent in the maximum spanning tree that hangs from entry 0, (D,): Prim's algorithm.

    Arguments:
        weight: how much an edge is worth, (D, D), symmetric.
    """
    size = len(weight)
    parent = torch.zeros(size, dtype=torch.int64, device=weight.device)
    outside = torch.ones(size, dtype=torch.bool, device=weight.device)
    outside[0] = False
    best = weight[0].clone()
    for _ in range(size - 1):
        new = torch.where(outside, best, -torch.inf).argmax()
        outside[new] = False
        better = outside & (weight[new] > best)
        parent[better] = new
        best = torch.where(better, weight[new], best)
    return parent


def build(space: Space, *, pseudo_count: float = 1.0) -> Model:
    """Return the best tree over bits or levels.

    Arguments:
        pseudo_count: imaginary rows, spread evenly over the cells of every pair, so that nothing is impossible.
    """
    accept(space, Binary, Finite, model="chow_liu", uneven=True)
    assert isinstance(space, (Binary, Finite))
    return ChowLiu(space, pseudo_count=pseudo_count)


TINY = (
    {"space": Binary((2, 3)), "pseudo_count": 0.1},
    {"space": Finite((4,), 3), "pseudo_count": 0.1},
    {"space": Finite((), 5), "pseudo_count": 0.1},
)

PRESETS: dict[str, dict[str, float]] = {"digits": {}, "digits-binary": {}, "binarized-mnist": {}}
