"""How strange is a datum to a model? Nine answers; whatever the way, higher is stranger.

- `nll`: -log p(x), of models with an exact likelihood.
- `bound`: minus a lower bound on log p(x), of models that have one.
- `energy`: E(x), of unnormalised models.
- `reconstruction`: |x - decode(encode(x))|^2, of models whose representation loses something.
- `typicality`: |S(x) - mean of S over a reference part|, with S the first of -log p, its bound and its estimate.
- `likelihood-ratio`: S(x) - S'(x), with S' of a background model.
- `complexity`: S(x) - nats of the compressed x, of models of bits and levels.
- `critic`: minus the critic's score, of adversarial models.
- `inversion`: min over z of |x - G(z)|^2, of adversarial models.

When they fail: a likelihood is high where data are simple, so `nll` and `bound` may find smooth pictures of another
kind *less* strange than the data they were trained on; `likelihood-ratio` and `complexity` take out what is only
simplicity, `typicality` calls both sides strange. A reconstruction or an inversion by a flexible model succeeds for
anything, and a critic has learned to tell data from one generator's samples, which need not look like anomalies.

Reference: Nalisnick et al., Detecting Out-of-Distribution Inputs Using Typicality, 2019, arxiv.org/abs/1906.02994; Ren
et al., Likelihood Ratios for Out-of-Distribution Detection, 2019, arxiv.org/abs/1906.02845; Serrà et al., Input
Complexity and Out-of-Distribution Detection, 2020, arxiv.org/abs/1909.11480; Schlegl et al., Unsupervised Anomaly
Detection with Generative Adversarial Networks, 2017, arxiv.org/abs/1703.05921.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from likely.core import Bijective, Bounded, Density, Energy, Latent, Marginal, Model, _count, seeded
from likely.errors import LikelyError, unknown
from likely.evaluation.likelihood import scores, sign_of
from likely.evaluation.results import mean_and_error
from likely.evaluation.two_sample import Features, features
from likely.spaces import Binary, Finite, Sequence, Space, batches

if TYPE_CHECKING:
    from likely.data.parts import Part

WAYS = {
    "nll": "nats",
    "bound": "nats",
    "energy": "nats",
    "reconstruction": "squared distance",
    "typicality": "nats",
    "likelihood-ratio": "nats",
    "complexity": "nats",
    "critic": "score",
    "inversion": "squared distance",
}  #: way -> the unit of its scores; a model is asked by the first it can answer

REFERENCE_ROWS = 10_000  #: rows of the reference part that are looked at
PNG_FRAME = 57  #: bytes of a PNG file that say nothing of the picture: signature, header, ends of the chunks
STEPS = 200  #: of the search for the z whose G(z) is nearest


class NothingLost(LikelyError):
    """A reconstruction is asked for, and the representation keeps all of x."""


@runtime_checkable
class Adversary(Protocol):
    """A generator and its critic."""

    def criticise(self, x: Any, cond: Any = None) -> Tensor:
        """Return the critic's score of each row, (B,), high for real."""
        ...

    def invert(self, x: Any, cond: Any = None, *, steps: int, seed: int | None) -> Tensor:
        """Return the nearest G(z) that is found for each row, (B, *shape)."""
        ...


@runtime_checkable
class Chained(Protocol):
    """A product of conditionals, one for each entry."""

    def log_conditionals(self, x: Any, cond: Any = None) -> Tensor:
        """Return log p(x_d | the entries before d) of each entry, (B, *shape)."""
        ...


class Scores(NamedTuple):
    """How strange each datum is, (B,), higher is stranger; by which score, and in which unit."""

    values: Tensor
    by: str
    unit: str


def ways(model: Model) -> tuple[str, ...]:
    """Return the ways of asking that a model can answer, the default first.

    Example:
        >>> import likely
        >>> ways(likely.build("gaussian", likely.Real((2,))))
        ('nll', 'typicality', 'likelihood-ratio')
    """
    scored, ragged = bool(sign_of(model)), isinstance(model.space, Sequence)
    can = {
        "nll": isinstance(model, Density),
        "bound": isinstance(model, Bounded),
        "energy": isinstance(model, Energy),
        "reconstruction": isinstance(model, Latent) and not isinstance(model, Bijective) and not ragged,
        "typicality": scored,
        "likelihood-ratio": scored,
        "complexity": scored and isinstance(model.space, (Binary, Finite)),
        "critic": isinstance(model, Adversary),
        "inversion": isinstance(model, Adversary),
    }
    return tuple(way for way in WAYS if can[way])


def way_of(model: Model, by: str | None) -> str:
    """Return the way in which a model is asked: `by` if it can, or its first where `by` is None.

    Raises:
        UnknownName: there is no such way.
        LikelyError: the model cannot answer in this way; the message lists those in which it can.
    """
    can = ways(model)
    if by is not None and by not in WAYS:
        raise unknown("way of asking", by, WAYS)
    if not can or (by is not None and by not in can):
        asked = "cannot say how strange a datum is" if by is None else f"cannot answer by {by}"
        raise LikelyError(f"{model._who()} {asked}; it can by: {', '.join(can) or 'nothing, only be sampled'}.")
    return by or can[0]


def anomaly_scores(
    model: Model,
    x: Any,
    cond: Any = None,
    *,
    by: str | None = None,
    reference: Part | None = None,
    background: Model | None = None,
    k: int = 64,
    seed: int = 0,
) -> Scores:
    """Return how strange each row of x is to a fitted model: arguments and errors are those of `Detector`.

    Example:
        >>> import likely, torch
        >>> model = likely.build("bernoulli", likely.Binary((4,)))
        >>> anomaly_scores(model, torch.zeros(1, 4))
        Scores(values=tensor([2.7726]), by='nll', unit='nats')
    """
    detector = Detector(model, by, reference=reference, background=background, k=k, seed=seed)
    return Scores(detector(x, cond), detector.by, WAYS[detector.by])


class Detector:
    """A fitted model as a detector of anomalies: called with data it returns how strange each row is.

    Arguments:
        model: any fitted model.
        by: the way of asking, one of `ways(model)`; None takes the first.
        reference: usual data. `typicality` needs them (best not the training rows themselves, which an overfitted model
            finds too probable); `reconstruction` and `inversion` take from them the units of a table's columns.
        background: for `likelihood-ratio`, a model of what is common to everything, such as independent entries.
        k: how many importance samples a `Weighted` model averages.
        steps: descents of an inversion.
        seed: decides what is estimated by drawing, and which rows of a large reference are looked at.

    Raises:
        UnknownName: there is no such way.
        LikelyError: the model cannot answer in this way; a reference or a background is missing or not finite.
    """

    def __init__(
        self,
        model: Model,
        by: str | None = None,
        *,
        reference: Part | None = None,
        background: Model | None = None,
        k: int = 64,
        steps: int = STEPS,
        seed: int = 0,
    ) -> None:
        self.model, self.by, self.background = model, way_of(model, by), background
        self.k, self.steps, self.seed = k, steps, seed
        self.typical: float | None = None  #: the mean of S over the reference, for `typicality`
        self.units: Features | None = None  #: how distances are measured, once known
        if self.by == "typicality":
            if reference is None:
                raise LikelyError("typicality needs usual data: give reference=, such as the validation part.")
            self.typical = self._mean(reference)
        elif self.by == "likelihood-ratio":
            if background is None:
                raise LikelyError("a likelihood ratio needs a background model: give background=.")
            if not sign_of(background) or background.space != model.space:
                raise LikelyError(
                    f"the background model must have a likelihood on {model.space}; {background._who()} is a model of "
                    f"{background.space}" + ("." if sign_of(background) else " and has none.")
                )
        elif self.by in ("reconstruction", "inversion"):
            self.units = _units(model.space, reference, seed)

    def __call__(self, x: Any, cond: Any = None, *, seed: int | None = None) -> Tensor:
        """Return how strange each row of x, (B, *shape), is: (B,), higher is stranger.

        Arguments:
            x: values of the model's space, (B, *shape).
            cond: what is given, one value or one per row.
            seed: takes the place of the detector's own.

        Raises:
            SpaceError: x or cond is not of the model's space.
            NothingLost: every reconstruction is perfect: the representation keeps all of x.
        """
        seed = self.seed if seed is None else seed
        if self.by in ("nll", "typicality", "likelihood-ratio", "complexity"):
            values = -scores(self.model, x, cond, k=self.k, seed=seed)[0]
        elif self.by == "bound":
            values = self._bound(x, cond, seed)
        elif self.by == "energy":
            values = cast(Energy, self.model).energy(x, cond)
        elif self.by == "critic":
            values = self._critic(x, cond)
        else:
            values = self._errors(x, cond, seed).reshape(_count(x), -1).sum(1)
        if self.typical is not None:
            return (values - self.typical).abs()
        if self.by == "likelihood-ratio" and self.background is not None:
            given = None if self.background.cond_space is None else cond
            return values + scores(self.background, x, given, k=self.k, seed=seed)[0]
        return values - code_length(x, self.model.space).to(values) if self.by == "complexity" else values

    def stream(self, data: Iterable[Any]) -> Iterator[Tensor]:
        """Yield the scores of each batch as it comes: nothing of it is kept, so a stream need not end.

        Each batch is x, (B, *shape), or a pair (x, cond). Estimates of the i-th batch take the seed + i.
        """
        for number, batch in enumerate(data):
            # a `Ragged` batch is a tuple too, but one value
            x, cond = batch if type(batch) is tuple else (batch, None)
            yield self(x, cond, seed=self.seed + number)

    def contributions(self, x: Any, cond: Any = None) -> Tensor:
        """Return what each entry adds to the strangeness of x, (B, *shape): per pixel, or per column of a table.

        A product of conditionals gives -log p(x_d | entries before d), which sums to -log p(x). A model that
        marginalises gives -log p(x_d | all other entries): for independent entries the same sum, otherwise each entry
        is judged with everything else known. A reconstruction or an inversion gives the squared error of each entry;
        a likelihood ratio the difference of the two models' contributions.

        Arguments:
            x: values of the space, (B, *shape); NaN, where the model marginalises, adds 0.
            cond: what is given, one value or one per row.

        Raises:
            LikelyError: the score does not come apart into entries.
        """
        if self.by in ("reconstruction", "inversion"):
            return self._errors(x, cond, self.seed)
        if self.by == "likelihood-ratio" and self.background is not None:
            return _improbability(self.model, x, cond) - _improbability(self.background, x, None)
        return _improbability(self.model, x, cond)

    def _bound(self, x: Any, cond: Any, seed: int) -> Tensor:
        if isinstance(self.model, Density):  # a model may have both: here the bound was asked for
            return -cast(Bounded, self.model).elbo(x, cond, seed=seed)
        return -scores(self.model, x, cond, k=self.k, seed=seed)[0]

    def _critic(self, x: Any, cond: Any) -> Tensor:
        assert isinstance(self.model, Adversary)
        return -self.model.criticise(x, cond)

    def _errors(self, x: Any, cond: Any, seed: int) -> Tensor:
        """Return the squared error of each entry, (B, *shape), of the way back to x."""
        model = self.model
        x, cond = model._given(x, cond)
        if self.by == "reconstruction":
            assert isinstance(model, Latent)
            back = model.decode(model.encode(x, cond), cond)
        else:
            assert isinstance(model, Adversary)
            back = model.invert(x, cond, steps=self.steps, seed=seed)
        errors = self._distance(x, back)
        if self.by == "reconstruction" and len(errors) and not bool(errors.any()):
            raise NothingLost(f"{model._who()} reconstructs every datum perfectly: reconstruction tells nothing.")
        return errors.reshape(len(x), *model.space.shape)

    def _distance(self, x: Tensor, other: Tensor) -> Tensor:
        """Return the squared difference of each entry, (B, D); a category's one-hot numbers are summed."""
        assert self.units is not None
        squares = (self.units(x.cpu()) - self.units(other.cpu())).square()
        return squares.reshape(len(x), self.model.space.size, -1).sum(2).float()

    def _mean(self, part: Part) -> float:
        values, weights = [], []
        with seeded(self.seed):
            chosen = torch.randperm(len(part))[:REFERENCE_ROWS].sort().values
            for cut in batches(len(chosen), self.model.rows_at_once):
                x, cond = part.batch(chosen[cut])
                given = None if self.model.cond_space is None else cond
                values.append(-scores(self.model, x, given, k=self.k, seed=self.seed + cut.start)[0])
                weights.append(torch.ones(len(values[-1])) if part.weight is None else part.weight[chosen[cut]])
        if not values:
            raise LikelyError("the reference part has no rows.")
        mean, _ = mean_and_error(torch.cat(values), torch.cat(weights))
        if not math.isfinite(mean):
            raise LikelyError("the reference holds a row that the model finds impossible: its mean score is infinite.")
        return mean


def code_length(x: Any, space: Space) -> Tensor:
    """Return how long each datum is when compressed without loss, in nats, (B,): 8 ln 2 for each byte.

    The shortest of zlib and, for pictures, PNG counts (without the 57 bytes that frame every PNG file); bits are
    packed. It is an upper bound on what is needed, in steps of a byte, with a few bytes of overhead.

    Arguments:
        x: values of the space, (B, *shape).
        space: bits or levels.

    Raises:
        LikelyError: the space is neither: a real number has no finite code.
    """
    if not isinstance(space, (Binary, Finite)):
        raise LikelyError(f"{space} cannot be compressed without loss: only bits and levels have a code length.")
    values = space.check(x).cpu().numpy()
    lengths = [min(len(zlib.compress(_packed(one, space), 9)), _png_length(one, space)) for one in values]
    return torch.tensor(lengths, dtype=torch.float64) * 8 * math.log(2)


def _packed(one: np.ndarray, space: Binary | Finite) -> bytes:
    if space.levels == 2:
        return np.packbits(one).tobytes()
    return one.astype(np.uint8 if space.levels <= 256 else ">u2" if space.levels <= 2**16 else ">u8").tobytes()


def _png_length(one: np.ndarray, space: Binary | Finite) -> float:
    """Return the bytes that PNG needs for one picture, without its frame; infinite where it is none."""
    from PIL import Image

    planes = one[None] if one.ndim == 2 else one
    if planes.ndim != 3 or len(planes) not in (1, 3) or space.levels > 256:
        return math.inf
    pixels = planes.transpose(1, 2, 0).astype(np.uint8)
    image = Image.fromarray(pixels[..., 0] if len(planes) == 1 else pixels)
    if space.levels == 2 and len(planes) == 1:
        image = Image.fromarray(pixels[..., 0] * np.uint8(255)).convert("1", dither=Image.Dither.NONE)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return len(file.getvalue()) - PNG_FRAME


def _units(space: Space, reference: Part | None, seed: int) -> Features:
    """Return how values become rows of numbers: in units of a reference, or as they are without one."""
    if reference is None:
        zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
        return Features(space, zero, one)
    if len(reference) == 0:
        raise LikelyError("the reference part has no rows.")
    with seeded(seed):
        x, _ = reference.batch(torch.randperm(len(reference))[:REFERENCE_ROWS].sort().values)
    complete = ~x.flatten(1).isnan().any(1) if x.is_floating_point() else slice(None)
    return features(space, x[complete])


def _improbability(model: Model, x: Any, cond: Any) -> Tensor:
    """Return minus the log-probability of each entry given others, (B, *shape), nats."""
    if isinstance(model, Chained) and isinstance(model.space, (Binary, Finite)):
        return -model.log_conditionals(x, cond)
    if not isinstance(model, Marginal) or isinstance(model.space, Sequence):
        raise LikelyError(
            f"the likelihood of {model._who()} does not come apart into entries: take a product of conditionals, a "
            "model of `likely models --can log_marginal`, or the score `reconstruction`."
        )
    x = torch.as_tensor(x)
    known = ~x.isnan()
    whole = model.log_marginal(x, known, cond)
    each = []
    for entry in range(model.space.size):
        others = known.clone().reshape(_count(x), -1)
        others[:, entry] = False
        each.append(model.log_marginal(x, others.reshape(x.shape), cond) - whole)
    return torch.stack(each, 1).reshape(x.shape)
