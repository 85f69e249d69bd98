"""What a classical model itself looks like: a table as a heat map, a mixture's ellipses and the way EM took, the graph
of a chain's states and a decoded sequence, a Boltzmann machine's filters and chains, a tree over the pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from torch import Tensor

from likely import registry, training
from likely.core import Model, seeded
from likely.data.parts import Data
from likely.families.mixture import GaussianMixture
from likely.models.bernoulli_mixture import BernoulliMixture
from likely.models.chow_liu import ChowLiu
from likely.models.hmm import HMM
from likely.models.rbm import RBM
from likely.models.table import Table
from likely.parts.information import mutual_information
from likely.report import diagrams
from likely.report.charts import _limits
from likely.report.pictures import grid, is_picture
from likely.report.pieces import pixels
from likely.report.words import Words
from likely.spaces import Finite, Real, Sequence

SHOWN = 100  #: components, filters and steps that are shown, at most
STATES = 24  #: states up to which a graph of them can be read
CELLS = 100  #: cells up to which a whole table is drawn
VARIABLES = 30  #: variables up to which a table's pairs are drawn
REPLAYED = 2_000_000  #: rows times passes up to which EM is run again for the way it took
CHAIN = (8, 16, 20)  #: chains, pictures of each, Gibbs steps between two pictures

HEAT = Words("the table", "확률표")
PAIRS = Words("mutual information of each pair, nats", "두 변수의 상호정보량 (nat)")
ELLIPSES = Words("each Gaussian at two standard deviations", "각 가우시안의 2 표준편차 타원")
WAY = Words(
    "each Gaussian at two standard deviations, and the way its mean took in EM",
    "각 가우시안의 2 표준편차 타원과 EM 동안 평균이 지나온 경로",
)
COMPONENTS = Words("the mean of each component, heaviest first", "성분별 평균, 비중이 큰 순서")
GRAPH = Words("states and their likely moves", "상태와 주요 전이")
DECODED = Words("a held-out sequence and the states that most likely made it", "평가용 수열과 가장 그럴듯한 상태열")
FILTERS = Words("filters: the weights of each hidden unit", "필터: 은닉 단위별 가중치")
CHAINS = Words(
    "Gibbs chains from noise, each row one chain, {steps} steps apart",
    "잡음에서 시작한 깁스 연쇄, 행마다 하나, {steps}단계 간격",
)
TREE = Words("the tree: each entry and the one it depends on", "나무: 각 변수와 그것이 의존하는 변수")

Portrait = tuple[Words, str]  #: the caption and the diagram or picture, as HTML


def portraits(model: Model, data: Data, record: dict[str, Any] | None = None) -> list[Portrait]:
    """Return what this model can show of itself, each with its caption: nothing for most models.

    Arguments:
        model: a trained model.
        data: what it was trained on.
        record: its run's record, from which EM is run again to draw its way; None leaves that out.
    """
    inner = getattr(model, "inner", model)  # a density over reals, judged on levels
    for kind, draw in PAINTERS.items():
        if isinstance(inner, kind):
            return draw(inner, data, record)
    return []


def _table(model: Table, data: Data, record: Any) -> list[Portrait]:
    names, sizes = model.names, model.sizes.tolist()
    found: list[Portrait] = []
    if len(names) > 1 and math.prod(sizes) <= CELLS:
        first = 1  # the variables of the rows; the others share the columns
        while first + 1 < len(names) and math.prod(sizes[: first + 1]) <= math.prod(sizes[first + 1 :]):
            first += 1
        p = model.probabilities.reshape(math.prod(sizes[:first]), -1)
        rows, columns = (_cells(model, list(range(len(names)))[cut]) for cut in (slice(0, first), slice(first, None)))
        found.append((HEAT, diagrams.heat_map(p.tolist(), rows, columns, label="probability of each cell")))
    if 2 < len(names) <= VARIABLES:
        pairs = [[_shared(model, a, b) for b in names] for a in names]
        label = "mutual information of each pair of variables"
        found.append((PAIRS, diagrams.heat_map(pairs, names, names, label=label)))
    return found


def _cells(model: Table, variables: list[int]) -> list[str]:
    """Return what each joint value of these variables is called, in the order of the table."""
    named = [model.categories[i] or range(int(model.sizes[i])) for i in variables]
    return [
        ", ".join(f"{model.names[i]}={value}" for i, value in zip(variables, values, strict=True))
        for values in product(*named)
    ]


def _shared(model: Table, a: str, b: str) -> float:
    return 0.0 if a == b else max(0.0, float(mutual_information(model.marginal(a, b).probabilities, 0, 1)))


def _mixture(model: GaussianMixture, data: Data, record: dict[str, Any] | None) -> list[Portrait]:
    if is_picture(data.space):
        heaviest = model.weight.argsort(descending=True)[:SHOWN]
        means = model.means[heaviest]
        return [(COMPONENTS, pixels(grid(means, Real(tuple(means.shape[1:]))), "means of the components"))]
    if model.space.size != 2 or not isinstance(data.space, Real):
        return []
    x: Any = _complete(data.test.batch(slice(0, min(1000, len(data.test))))[0]).reshape(-1, 2)
    if len(x) == 0:
        return []
    limits = (_limits(x[:, 0].tolist()), _limits(x[:, 1].tolist()))
    centres: Any = model.means.reshape(-1, 2).tolist()
    paths = [] if record is None else _way(model, data, record)
    drawn = diagrams.ellipses(
        x.tolist(),
        centres,
        model.covariances.tolist(),
        paths,
        limits=limits,
        label="data, Gaussians and the way of their means",
    )
    return [(WAY if paths else ELLIPSES, drawn)]


def _way(model: GaussianMixture, data: Data, record: dict[str, Any]) -> list[list[tuple[float, float]]]:
    """Run EM again as it was run, which the seed makes the same, and return where each mean has been until it was kept.

    Where no pass ends at the model's means (another version trained it), there is no way to show.
    """
    options = {**record["fit"]}
    if len(model.means) < 2 or len(data.train) * options.get("passes", 100) > REPLAYED:
        return []
    again: Any = registry.build(record["model"], data.space, seed=record["seed"], **record["numbers"])
    places: list[Tensor] = []
    for _ in training.fit(again, data.train, seed=record["seed"], **options):
        places.append(again.means.reshape(-1, 2).clone())
        if torch.allclose(places[-1], model.means.reshape(-1, 2)):  # the best on validation data, which training keeps
            return torch.stack(places, 1).tolist()
    return []


def _components(model: BernoulliMixture, data: Data, record: Any) -> list[Portrait]:
    if not is_picture(data.space):
        return []
    heaviest = model.weight.argsort(descending=True)[:SHOWN]
    p = model.probabilities[heaviest]
    levels = torch.arange(p.shape[-1], dtype=p.dtype)
    means = (p * levels).sum(-1).reshape(-1, *data.space.shape) / max(p.shape[-1] - 1, 1)
    return [(COMPONENTS, pixels(grid(means, Real(data.space.shape)), "means of the components"))]


def _chain(model: HMM, data: Data, record: Any) -> list[Portrait]:
    found: list[Portrait] = []
    if len(model.initial) <= STATES:
        graph = diagrams.graph(model.initial.tolist(), model.transition.tolist(), label="graph of the states")
        found.append((GRAPH, graph))
    with seeded(0):
        x = data.test.batch(slice(0, 1))[0]
    path = model.viterbi(x)[0]
    steps = [state for state in torch.as_tensor(path)[0].tolist() if state >= 0][: 2 * SHOWN]
    values, symbols = None, []
    if isinstance(data.space, Sequence) and isinstance(data.space.step, Finite) and data.space.step.categories:
        symbols = [data.space.step.categories[int(level)] for level in x.values[0].flatten()[: len(steps)]]
    elif isinstance(data.space, Sequence):
        step = torch.as_tensor(x.values[0], dtype=torch.float64).reshape(len(x.values[0]), -1)
        values = step[: len(steps), 0].tolist() if step.shape[1] == 1 else None
    found.append((DECODED, diagrams.strip(steps, values, symbols=symbols, label="states of a held-out sequence")))
    return found


def _boltzmann(model: RBM, data: Data, record: Any) -> list[Portrait]:
    if not is_picture(data.space):
        return []
    W = model.W.detach().T[:SHOWN].reshape(-1, *data.space.shape)  # (H, *shape)
    bound = float(W.abs().quantile(0.99)) or 1.0
    filters = grid(W, Real(data.space.shape), limits=(-bound, bound))
    rows, pictures, steps = CHAIN
    drawn = [model.sample(rows, seed=0, steps=1 + i * steps) for i in range(pictures)]
    sheet = grid(torch.stack(drawn, 1).flatten(0, 1), data.space, columns=pictures)
    caption = Words(CHAINS.en.format(steps=steps), CHAINS.ko.format(steps=steps))
    return [(FILTERS, pixels(filters, "filters")), (caption, pixels(sheet, "Gibbs chains"))]


def _branches(model: ChowLiu, data: Data, record: Any) -> list[Portrait]:
    if not is_picture(data.space) or data.space.size > 2000:
        return []
    height, width = data.space.shape[-2:]
    places = [
        ((i % width) / max(width - 1, 1), (i // width % height) / max(height - 1, 1)) for i in range(data.space.size)
    ]
    edges = [(i, int(j)) for i, j in enumerate(model.parent.tolist()) if j >= 0 and j != i]
    return [(TREE, diagrams.tree(places, edges, label="tree over the pixels"))]


def _complete(x: Tensor) -> Tensor:
    return x[~x.flatten(1).isnan().any(1)]


PAINTERS: dict[type[Model], Callable[[Any, Data, Any], list[Portrait]]] = {
    Table: _table,
    GaussianMixture: _mixture,
    BernoulliMixture: _components,
    HMM: _chain,
    RBM: _boltzmann,
    ChowLiu: _branches,
}
