"""`likely score --by ...`: how strange each datum is to a fitted model, and which are outliers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from cyclopts import Parameter

from likely.cli import files
from likely.cli.answer import Misuse
from likely.cli.inputs import Rows, Which, condition, data_of, opened, rows
from likely.errors import LikelyError

if TYPE_CHECKING:
    from torch import Tensor

    from likely.evaluation.anomaly import Detector
    from likely.evaluation.results import Result
    from likely.run import Run
    from likely.spaces import Space


@Parameter(name="*")
@dataclass(frozen=True)
class Strange:
    """What is to be said about anomalies: flags of `score`.

    Arguments:
        by: nll, bound, energy, reconstruction, typicality, likelihood-ratio, complexity, critic or inversion.
        contamination: call this share of the rows outliers, the strangest ones, such as 0.01.
        false_alarms: or call outlier what is stranger than all but this share of the run's own validation rows.
        background: for likelihood-ratio, a run whose model knows only what is common to everything.
        against: data, a name or a path, that are anomalies: say how well the score tells them apart.
        anomaly: or, where the rows have labels, the label that anomalies have.
        top: only the strangest rows, so many of them, the strangest first.
        contributions: also say what each entry adds: a further column for each, or a map beside each picture.
    """

    by: str | None = None
    contamination: float | None = None
    false_alarms: float | None = None
    background: str | None = None
    against: str | None = None
    anomaly: str | None = None
    top: int | None = None
    contributions: Annotated[bool, Parameter(negative=())] = False


CALM = Strange()  #: nothing about anomalies was asked


class Found(NamedTuple):
    """What was found.

    Arguments:
        order: the rows to tell of, in this order.
        heading: the names of the further columns.
        columns: for each row asked about, the further cells.
        values: how strange each row asked about is, (N,).
        contributions: what each entry adds, (N, D), where it was asked for.
        record: what a machine is to know.
        said: what a person is told in a few words.
    """

    order: list[int]
    heading: list[str]
    columns: list[tuple[object, ...]]
    values: Tensor
    contributions: Tensor | None
    record: dict[str, Any]
    said: str


def detector(run: Run, strange: Strange, *, k: int, seed: int) -> Detector:
    """Return the run's model as a detector; its validation rows, or training rows where it has none, are the usual.

    Raises:
        Misuse: flags contradict each other, or a number makes no sense.
        LikelyError: the model cannot answer in this way.
    """
    from likely.evaluation.anomaly import Detector, way_of

    if strange.contamination is not None and strange.false_alarms is not None:
        raise Misuse("give either --contamination or --false-alarms: each draws the line.")
    if strange.against is not None and strange.anomaly is not None:
        raise Misuse("give either --against or --anomaly: each says which data are anomalies.")
    if strange.top is not None and strange.top < 1:
        raise Misuse(f"--top must be 1 or more, not {strange.top}.")
    way = way_of(run.model, strange.by)
    if (way == "likelihood-ratio") != (strange.background is not None):
        raise Misuse("--by likelihood-ratio and --background RUN belong together.")
    usual = None
    if way in ("typicality", "reconstruction", "inversion"):
        # rows on which false alarms are counted must have no part in the score, or new rows would not be like them
        usual = run.data.valid if len(run.data.valid) and strange.false_alarms is None else run.data.train
    background = None if strange.background is None else opened(strange.background).model
    return Detector(run.model, way, reference=usual, background=background, k=k, seed=seed)


def find(
    detector: Detector, run: Run, strange: Strange, which: Which, asked: Rows, nats: Tensor | None, *, seed: int
) -> Found:
    """Return how strange the rows are, which are outliers, and how well labelled anomalies are told apart.

    Raises:
        LikelyError: a threshold or a measure cannot be had from so few rows.
    """
    from likely.evaluation.anomaly import WAYS
    from likely.evaluation.likelihood import sign_of

    by = detector.by
    known = nats is not None and (by == "nll" or (by == "bound" and sign_of(run.model) == ">="))
    values = -nats if known and nats is not None else detector(asked.x, asked.cond)
    threshold, drawn_by = _threshold(detector, run, strange, values, seed)
    heading, columns = ["score"], [[f"{value:.6f}" for value in values.tolist()]]
    record: dict[str, Any] = {"by": by, "unit": WAYS[by], "threshold": threshold, "threshold_by": drawn_by}
    said = f" by {by}"
    if threshold is not None:
        outlier = (values > threshold).int()
        heading.append("outlier")
        columns.append([str(one) for one in outlier.tolist()])
        record["outliers"] = int(outlier.sum())
        said += f", {record['outliers']} of {asked.n} outliers above {threshold:.6g}"
    parts = None
    if strange.contributions:
        parts = detector.contributions(asked.x, asked.cond).reshape(asked.n, -1)
        heading += [f"from {name}" for name in run.model.space.names or [f"x{i}" for i in range(parts.shape[1])]]
        columns += [[f"{value:.6f}" for value in column] for column in parts.T.tolist()]
    results = _told_apart(detector, run, strange, which, asked, values, seed)
    if results:
        record["results"] = results
        said += "".join(f", {_short(result)}" for result in results)
    order = list(range(asked.n))
    if strange.top is not None:
        order = values.argsort(descending=True, stable=True)[: strange.top].tolist()
        record["top"] = order
    return Found(order, heading, list(zip(*columns, strict=True)), values, parts, record, said)


def write_strangest(path: Path, x: Tensor, contributions: Tensor | None, space: Space) -> None:
    """Write one picture of data in this order; each beside a map of what its pixels contribute, where that is given.

    White is what contributes most to its own datum, black what contributes nothing or speaks against strangeness.
    """
    import torch

    from likely.report import pictures
    from likely.spaces import Finite

    if contributions is None:
        files.write_picture(path, x, space)
        return
    shown = pictures.to_bytes(x, space)
    n, height, width, channels = shown.shape
    maps = contributions.reshape(n, -1, height, width).sum(1).clamp(min=0)
    brightest = maps.flatten(1).max(1).values.clamp(min=torch.finfo(maps.dtype).tiny)
    maps = (255 * maps / brightest[:, None, None]).round().to(torch.uint8)[..., None].expand_as(shown).clone()
    if channels == 4:
        maps[..., 3] = 255  # not see-through
    pairs = torch.stack([shown, maps], 1).flatten(0, 1).permute(0, 3, 1, 2)
    image = pictures.grid(pairs, Finite((channels, height, width), 256), columns=2 * math.ceil((n / 2) ** 0.5))
    with files.aside(path) as draft:
        image.save(draft)


def _threshold(
    detector: Detector, run: Run, strange: Strange, values: Tensor, seed: int
) -> tuple[float | None, str | None]:
    """Return the score above which a row is an outlier, and what it was drawn by."""
    from likely.evaluation.detection import alarm_threshold, share_threshold

    if strange.contamination is not None:
        return share_threshold(values, strange.contamination), f"contamination {strange.contamination:g}"
    if strange.false_alarms is None:
        return None, None
    if len(run.data.valid) == 0:
        raise LikelyError("the run has no validation rows to count false alarms on; give --contamination instead.")
    usual = rows(run, Which(part="valid"), seed=seed)
    allowed = f"false alarms {strange.false_alarms:g} on {usual.n} validation rows"
    return alarm_threshold(detector(usual.x, usual.cond), strange.false_alarms), allowed


def _told_apart(
    detector: Detector, run: Run, strange: Strange, which: Which, asked: Rows, values: Tensor, seed: int
) -> list[Result]:
    """Return AUROC, AUPR and FPR95 where it was said which data are anomalies: other data, or rows with one label."""
    import torch

    from likely.evaluation.detection import detection
    from likely.spaces import Sequence

    if strange.against is not None:
        other = rows(run, Which(data=strange.against), seed=seed)
        further = detector(other.x, other.cond)
        labels = torch.arange(len(values) + len(further)) >= len(values)
        return detection(torch.cat([values, further]), labels, by=detector.by, seed=seed)
    if strange.anomaly is None:
        return []
    space = data_of(run, which.data, which.view, which.size).cond
    if asked.labels is None or space is None or space.shape != () or isinstance(space, Sequence):
        raise LikelyError(f"'{asked.record['data']}' has no column of labels of which --anomaly could name one.")
    return detection(values, asked.labels == condition(strange.anomaly, space), by=detector.by, seed=seed)


def _short(result: Result) -> str:
    low, high = result["interval"]
    return f"{result['metric']} {result['value']:.4f} [{low:.4f}, {high:.4f}]"
