"""What `evaluate` can measure on a model: groups of metrics that are found together, to whom they apply, at what cost.

Samples, held-out rows and the classifier are drawn or fitted once, when the first group asks for them, and shared: all
metrics of one evaluation speak of the same samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from likely import extractors
from likely.core import Latent, Model, Weighted, _rows, seeded, watched
from likely.errors import LikelyError
from likely.evaluation.bins import bins
from likely.evaluation.bootstrap import jackknife
from likely.evaluation.by_features import JACKKNIFED, SPLITS, feature_distances, frechet, too_few
from likely.evaluation.classifier import Recogniser
from likely.evaluation.conditional import condition_accuracy, within_condition
from likely.evaluation.diversity import Classifier, intra_class_diversity, mode_coverage
from likely.evaluation.frechet import frechet_infinity
from likely.evaluation.likelihood import AGAIN, FLOW_ROWS, Flowing, Keep, flow_likelihood, likelihood, sign_of
from likely.evaluation.memorisation import memorisation
from likely.evaluation.pace import Pace
from likely.evaluation.reading import extractor
from likely.evaluation.representation import disentanglement, no_factors, representation
from likely.evaluation.results import Result, missing, result, result_of_share
from likely.evaluation.samples import PAIRED, complete_rows, sample_distances, table_distances
from likely.evaluation.sharded import by_first, gathered
from likely.evaluation.two_sample import features as rows_of
from likely.extractors import Extractor
from likely.parts.collective import place
from likely.spaces import Finite, Sequence, Space

if TYPE_CHECKING:
    from likely.data.parts import Data, Part

NO_FEATURES = "no features are named."
FOREST = "extremely randomised trees, more than half agree"
LEARNED = 10_000  #: training rows that an extractor learns from, where it must
BINNED = 20_000  #: training rows that are cut into bins
MEMORY_WORK = 10**11  #: products (training rows x other rows x entries) up to which copies are looked for unasked
PROBE_WORK = 10**6  #: training rows x entries up to which probes are fitted unasked


class Setting:
    """One evaluation: a model, its data, and what was drawn for it.

    Arguments:
        model: a trained model.
        data: the data set.
        part: the held-out part, "test" or "valid".
        k: importance samples of a `Weighted` model.
        n: how many samples to draw.
        seed: decides the samples and every estimate.
        rows: how many held-out rows to score, or None for all.
        features: the extractor's name, the extractor, or None.
        keep: what is told every row's log-likelihood (`likelihood`), or None.
        pace: is told how far it is.
        fabric: launched `lightning_fabric.Fabric` of the processes that share the work, or None.
    """

    def __init__(
        self,
        model: Model,
        data: Data,
        part: str,
        *,
        k: int,
        n: int,
        seed: int,
        rows: int | None,
        features: str | Extractor | None,
        keep: Keep | None = None,
        pace: Pace | None = None,
        fabric: Any = None,
    ) -> None:
        self.model, self.data, self.split = model, data, part
        self.k, self.n, self.seed, self.rows, self.features = k, n, seed, rows, features
        self.keep, self.pace, self.fabric = keep, pace or Pace(), fabric
        self.held: Part = getattr(data, part)
        self.m = min(n, len(self.held), len(data.train))  #: rows of each set in a two-sample metric

    @property
    def drawn(self) -> dict[str, Any]:
        """What every protocol says of the draw."""
        return {"split": self.split, "seed": self.seed}

    @property
    def labelled(self) -> bool:
        """Whether the data have one class per row, at least two of them."""
        cond = self.data.cond
        return isinstance(cond, Finite) and cond.shape == () and cond.levels > 1

    @property
    def ragged(self) -> str:
        """Why rows are not compared: a sequence has no fixed length; "" for other data."""
        return "sequences differ in length." if isinstance(self.model.space, Sequence) else ""

    @property
    def alone(self) -> str:
        """Why nothing is measured on samples: data are sequences, or there are no training rows; "" for other data."""
        return self.ragged or ("" if len(self.data.train) else "there are no training rows.")

    @property
    def by_class(self) -> bool:
        """Whether the model is given a class."""
        cond = self.model.cond_space
        return isinstance(cond, Finite) and cond.shape == ()

    @cached_property
    def asked(self) -> Any:
        """The conditions samples are drawn for: those of rows of the training data, or None."""
        if self.model.cond_space is None:
            return None
        with seeded(self.seed):
            return self.data.train.batch(torch.randint(len(self.data.train), (self.n,)))[1]

    @cached_property
    def fake(self) -> Tensor:
        """The samples, (n, *shape)."""
        with watched(self.n, self.pace.at):
            x: Tensor = self.model.sample(self.n, self.asked, seed=self.seed)
        return x.cpu()

    @property
    def compared(self) -> Tensor:
        """The samples that two-sample metrics take, (m, *shape), in every process: the first draws them.

        Raises:
            LikelyError: they could not be drawn.
        """
        rank, size = place(self.fabric)
        if size == 1:
            return self.fake[: self.m]
        by_first(lambda: len(self.fake), self.fabric)
        if rank == 0:
            return gathered(self.fake[: self.m], self.fabric)
        one = self.model.sample(1, None if self.asked is None else _rows(self.asked, slice(0, 1)), seed=self.seed)
        return gathered(one.cpu()[:0], self.fabric)

    @cached_property
    def real(self) -> Tensor:
        """As many held-out rows as two-sample metrics take, (m, *shape)."""
        return draw(self.held, self.m, self.seed)[0]

    @cached_property
    def training(self) -> Tensor:
        """As many training rows, for the floor, (m, *shape)."""
        return draw(self.data.train, self.m, self.seed + 1)[0]

    @cached_property
    def all_held(self) -> tuple[Tensor, Any]:
        """All held-out rows with what is given of each."""
        return draw(self.held, len(self.held), self.seed)

    @cached_property
    def forest(self) -> Recogniser:
        """The classifier that also says when it does not recognise a sample."""
        classes = self.data.cond.levels if isinstance(self.data.cond, Finite) else None
        return Recogniser(self.data.train, classes=classes, seed=self.seed)

    @cached_property
    def seen(self) -> Tensor:
        """The class in which the forest recognises each sample, (n,), -1 for none."""
        return self.forest.labels(self.fake)

    @cached_property
    def classifier(self) -> tuple[str, Classifier]:
        """The best classifier there is: the project's own for named data that it knows, else the forest."""
        name = extractors.own(self.data.name) if self.data.source.get("name_or_path") == self.data.name else None
        if name is not None:
            try:
                network = extractors.load(name)
                network.accept(self.model.space)
                return network.name, lambda x: network.logits(x, self.model.space)
            except LikelyError:  # the data are in a view that it does not read
                pass
        return FOREST, self.forest.labels

    @cached_property
    def extractor(self) -> Extractor:
        """The extractor: without a name the project's own for these data, else principal components."""
        features = self.features or extractors.own(self.data.name) or "pca"
        # what it must learn (principal components) it learns from training data, the same whatever n and the seed
        return extractor(features, draw(self.data.train, LEARNED, 0)[0], self.model.space)

    def complete(self, *sets: Tensor) -> list[Tensor]:
        """Return the rows of each set that an extractor can read: those without missing values."""
        return [complete_rows(self.model.space, x) for x in sets]


@dataclass(frozen=True)
class Group:
    """Metrics that are found together.

    Arguments:
        metrics: their names.
        measure: finds them.
        why_not: why they do not apply to this setting, or "".
        unasked: whether they are measured where nobody names them.
        must: whether a failure is an error; otherwise it becomes a result without a value that says the reason.
        samples: whether samples are drawn for it.
        shared: whether several processes share its work; otherwise the first does it alone.
        seconds: how long it takes by plan, roughly.
        absent: why a metric may be missing from what was found, for those that may.
    """

    metrics: tuple[str, ...]
    measure: Callable[[Setting], list[Result]]
    why_not: Callable[[Setting], str]
    unasked: Callable[[Setting], bool] = lambda s: True
    must: bool = False
    samples: bool = True
    shared: bool = False
    seconds: Callable[[Setting], float] = lambda s: 1.0
    absent: dict[str, str] = field(default_factory=dict)

    def results(self, s: Setting, wanted: set[str] | None) -> list[Result]:
        """Return what was measured of the wanted metrics (None: all), in their order.

        Raises:
            LikelyError: the metrics apply, must be had, and cannot be computed.
        """
        names = [name for name in self.metrics if wanted is None or name in wanted]
        reason = self.why_not(s)
        if reason:
            return [] if wanted is None else [missing(name, reason, **s.drawn) for name in names]
        try:
            found = self.measure(s)
        except LikelyError as error:
            if self.must:
                raise
            return [missing(name, str(error), **s.drawn) for name in names]
        had = {one["metric"] for one in found}
        absent = [] if wanted is None else [name for name in names if name not in had]
        kept = [one for one in found if one["metric"] in names]
        return kept + [missing(name, self.absent[name], **s.drawn) for name in absent]


def draw(part: Part, n: int, seed: int) -> tuple[Tensor, Any]:
    """Return n different rows of a part (all, if there are fewer), chosen by the seed, and what is given of each."""
    with seeded(seed):
        return part.batch(torch.randperm(len(part))[:n])


# Each group -----------------------------------------------------------------------------------------------------------


def _likelihood(s: Setting) -> list[Result]:
    parts: dict[str, Any] = {"train": s.data.train, "valid": s.data.valid, "keep": s.keep, "fabric": s.fabric}
    with watched(_scored(s), s.pace.at):
        return [likelihood(s.model, s.held, k=s.k, rows=s.rows, seed=s.seed, split=s.split, **parts)]


def _flow(s: Setting) -> list[Result]:
    parts: dict[str, Any] = {"train": s.data.train, "valid": s.data.valid}
    rows = FLOW_ROWS if s.rows is None else s.rows
    return [flow_likelihood(s.model, s.held, rows=rows, seed=s.seed, split=s.split, **parts)]


def _kernel(s: Setting) -> list[Result]:
    return sample_distances(s.model.space, s.real, s.fake[: s.m], training=s.training, seed=s.seed, split=s.split)


def _features(s: Setting) -> list[Result]:
    inner = lambda done, what, left: s.pace.at(done)  # noqa: E731
    told: dict[str, Any] = {"tell": inner, "fabric": s.fabric, "seed": s.seed, "split": s.split}
    fake, (real, training) = s.compared, s.complete(s.real, s.training)
    reason = too_few(len(real), len(fake))
    if reason:
        return [missing(name, reason, **s.drawn) for name in GROUPS["features"].metrics]
    return feature_distances(s.extractor, s.model.space, real, fake, training=training, **told)


def _infinity(s: Setting) -> list[Result]:
    x, y, base = (s.extractor(values, s.model.space) for values in s.complete(s.real, s.fake, s.training))
    found = frechet_infinity(x, y, seed=s.seed)
    noted: dict[str, Any] = {"n_real": len(x), "n_generated": len(y), **s.drawn, "features": s.extractor.name}
    noted |= {"dimensions": x.shape[1], "floor": frechet_infinity(x, base, seed=s.seed).value, "floor_n": len(base)}
    error = None
    if x.shape[1] <= JACKKNIFED:

        def line(real: Tensor, fake: Tensor) -> float:
            return frechet_infinity(real, fake, points=5, seed=s.seed).value

        error = jackknife(line, x, y, groups=10, seed=s.seed).error
    return [result("frechet_infinity", found.value, error, interval_method="jackknife", **noted)]


def _bins(s: Setting) -> list[Result]:
    """Fill bins of the training data with samples, and with held-out data for the floor."""
    train = draw(s.data.train, BINNED, s.seed + 1)[0]
    to_rows = rows_of(s.model.space, train)
    k = max(2, min(100, len(train) // 10))
    train, real, fake = (to_rows(complete_rows(s.model.space, x)) for x in (train, s.real, s.fake))
    found, floor = (bins(train, x, k, seed=s.seed) for x in (fake, real))
    sides = ((found.real, found.fake, len(train)), (found.fake, found.real, len(fake)))
    noted: dict[str, Any] = {
        "n_train": len(train),
        "n_real": len(real),
        "n_generated": len(fake),
        **s.drawn,
        "features": "the data themselves",
        "bins": k,
        "floor_n": len(real),
    }
    error = math.hypot(*(divergence_error(p, q, n) for p, q, n in sides))
    return [
        result_of_share("ndb", found.different / k, k, **noted, floor=floor.different / k),
        result("js", found.divergence, error, unit="nats", **noted, floor=floor.divergence),
    ]


def divergence_error(p: Tensor, q: Tensor, n: int) -> float:
    """Return the standard error that n rows, of which shares p fell into the bins, give the divergence from q."""
    slope = torch.where(p > 0, (2 * p / (p + q)).log() / 2, 0.0)
    return math.sqrt(max(float((p * slope.square()).sum() - (p * slope).sum().square()), 0.0) / n)


def _columns(s: Setting) -> list[Result]:
    return table_distances(s.model.space, s.real, s.fake[: s.m], training=s.training, **s.drawn)


def _recognised(s: Setting) -> list[Result]:
    held = s.all_held[0]
    counts = s.seen[s.seen >= 0].bincount(minlength=s.forest.classes)
    share = float((s.seen >= 0).double().mean())
    own = s.forest(held)["confident"]
    return [
        result_of_share(
            "recognised",
            share,
            len(s.seen),
            n_real=len(held),
            n_generated=len(s.seen),
            **s.drawn,
            classifier=FOREST,
            covered=int((counts > 0).sum()),
            classes=s.forest.classes,
            counts=counts.tolist(),
            floor=own,
            floor_n=len(held),
        )
    ]


def _modes(s: Setting) -> list[Result]:
    with seeded(s.seed):
        labels = torch.as_tensor(s.data.train.cond).long()
    expected = labels.bincount(minlength=s.forest.classes)
    found = mode_coverage(s.seen, s.forest.classes, expected=expected, seed=s.seed)
    for one in found:
        one["protocol"] |= {"split": s.split, "classifier": FOREST}
    return found[:2]  # the share of recognised samples has been measured


def _diversity(s: Setting) -> list[Result]:
    held, labels = s.all_held
    which = s.asked if s.by_class else s.seen
    found = intra_class_diversity(s.model.space, s.fake, which, held, labels, seed=s.seed, split=s.split)
    found["protocol"]["classifier"] = "the class asked for" if s.by_class else FOREST
    return [found]


def _memory(s: Setting) -> list[Result]:
    space, whole = s.model.space, s.data.train
    with seeded(s.seed):
        train = complete_rows(space, whole.batch(slice(0, len(whole)))[0])
    return memorisation(space, train, complete_rows(space, s.real), s.fake, seed=s.seed, split=s.split)


def _representation(s: Setting) -> list[Result]:
    return representation(s.model, s.data, seed=s.seed, split=s.split)


def _factors(s: Setting) -> list[Result]:
    return [disentanglement(s.model, s.data, seed=s.seed, split=s.split)]


def _conditional(s: Setting) -> list[Result]:
    name, classify = s.classifier
    held, labels = s.all_held
    train, train_labels = draw(s.data.train, 10 * s.n, s.seed + 1)
    kinds: dict[str, Any] = {"real_labels": labels, "asked": s.asked, "training_labels": train_labels, **s.drawn}
    to_rows: Any = rows_of(s.model.space, held)
    accuracy = condition_accuracy(s.fake, s.asked, classify, real=held, real_labels=labels, classifier=name, **s.drawn)
    found = [accuracy, within_condition(held, fake=s.fake, training=train, to_rows=to_rows, **kinds)]
    if s.features is not None:
        sets = (s.extractor(x, s.model.space) for x in (held, s.fake, train))
        real, fake, training = sets
        kinds |= {"measure": frechet, "metric": "frechet", "features": s.extractor.name}
        found.append(within_condition(real, fake=fake, training=training, **kinds))
    return found


# How long they take, in rough seconds of one core ---------------------------------------------------------------------


def _scored(s: Setting) -> int:
    """Return for how many rows a likelihood is found, those that are scored again included."""
    return (len(s.held) if s.rows is None else min(s.rows, len(s.held))) + AGAIN * (sign_of(s.model) == ">=")


def drawing_seconds(s: Setting) -> float:
    """Return how long drawing the samples takes by plan."""
    return 1e-8 * s.n * s.model.space.size * (1 + sum(p.numel() > 1 for p in s.model.parameters()))


def _scoring_seconds(s: Setting) -> float:
    draws = s.k if isinstance(s.model, Weighted) else 1
    return 0.5 + 3e-8 * s.model.space.size * (len(s.data.train) + _scored(s) * draws)  # the simple law sees all data


def _kernel_seconds(s: Setting) -> float:
    return 4 * s.m**2 * (6e-11 * s.model.space.size + 2e-8)


def _feature_seconds(s: Setting) -> float:
    return 1 + 3e-3 * s.m + 1e-7 * s.m**2


def _forest_seconds(s: Setting) -> float:
    return 1 + 1e-4 * (len(s.held) + s.n)


def _memory_seconds(s: Setting) -> float:
    return 1e-10 * len(s.data.train) * (s.m + s.n) * s.model.space.size


# To whom they apply ---------------------------------------------------------------------------------------------------


def _labels(s: Setting) -> str:
    return s.alone or ("" if s.labelled else "the data have no labels.")


def _no_code(s: Setting) -> str:
    if not isinstance(s.model, Latent):
        return f"{s.model._who()} has no representation."
    given = s.model.cond_space is not None
    return f"{s.model._who()} is given the label when it encodes: a probe would only read it back." if given else ""


def _no_probe(s: Setting) -> str:
    return _no_code(s) or _labels(s)


def _no_factors(s: Setting) -> str:
    return _no_code(s) or s.ragged or no_factors(s.data)


def no_table(space: Space) -> str:
    """Return why there are no columns to compare, or ""."""
    return "" if len(space.shape) == 1 else f"{space} is no table."


def _no_table(s: Setting) -> str:
    return s.alone or no_table(s.model.space)


def _no_pair(s: Setting) -> str:
    rows = min(len(s.held), len(s.data.train))
    return s.alone or ("" if rows > 1 else f"a two-sample distance needs at least 2 rows; there is {rows}.")


def _no_condition(s: Setting) -> str:
    return _labels(s) or ("" if s.by_class else f"{s.model._who()} is not given a class.")


def _small_memory(s: Setting) -> bool:
    return len(s.data.train) * (s.m + s.n) * s.model.space.size <= MEMORY_WORK


def _small_probe(s: Setting) -> bool:
    return len(s.data.train) * s.model.space.size <= PROBE_WORK


GROUPS: dict[str, Group] = {
    "likelihood": Group(
        ("nll",), _likelihood, lambda s: "", must=True, samples=False, shared=True, seconds=_scoring_seconds
    ),
    "flow": Group(
        ("nll_flow",),
        _flow,
        lambda s: "" if isinstance(s.model, Flowing) else f"{s.model._who()} has no probability flow.",
        unasked=lambda s: False,
        samples=False,
        seconds=lambda s: 60.0,
    ),
    "kernel": Group(("mmd", "kid"), _kernel, _no_pair, must=True, seconds=_kernel_seconds),
    "features": Group(
        (
            "frechet",
            "kid",
            "precision",
            "recall",
            "density",
            "coverage",
            "sliced_wasserstein",
            "vendi",
            "classifier_test",
            "inception_score",
        ),
        _features,
        lambda s: s.alone,
        unasked=lambda s: s.features is not None,
        must=True,
        shared=True,
        seconds=_feature_seconds,
        absent={"inception_score": f"the extractor names no classes, or there are fewer than {SPLITS} rows."},
    ),
    "infinity": Group(("frechet_infinity",), _infinity, lambda s: s.alone, unasked=lambda s: False),
    "bins": Group(("ndb", "js"), _bins, lambda s: s.alone, unasked=lambda s: False),
    "columns": Group(
        ("column_distance", "pair_distance"),
        _columns,
        _no_table,
        absent={"pair_distance": f"pairs are looked at in tables of 2 to {PAIRED} columns."},
    ),
    "recognised": Group(("recognised",), _recognised, _labels, seconds=_forest_seconds),
    "modes": Group(("modes", "mode_kl"), _modes, _labels),
    "diversity": Group(("intra_class_diversity",), _diversity, _labels),
    "memory": Group(
        ("data_copying", "authenticity", "copies"), _memory, lambda s: s.alone, _small_memory, seconds=_memory_seconds
    ),
    "representation": Group(
        ("linear_probe", "neighbour_accuracy"), _representation, _no_probe, _small_probe, samples=False
    ),
    "factors": Group(("mutual_information_gap",), _factors, _no_factors, samples=False),
    "conditional": Group(
        ("condition_accuracy", "mmd_within", "frechet_within"),
        _conditional,
        _no_condition,
        absent={"frechet_within": NO_FEATURES},
    ),
}
