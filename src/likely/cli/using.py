"""`likely sample`, `score`, `complete` and `encode`: what a fitted model is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from likely.cli import anomalies, files
from likely.cli.anomalies import CALM, Strange
from likely.cli.answer import Answer, Misuse
from likely.cli.flags import assignments
from likely.cli.inputs import Weights, Which, condition, known_mask, opened, rows
from likely.errors import LikelyError

if TYPE_CHECKING:
    from likely.core import Model

Output = Annotated[str, Parameter(name=["--output", "-o"])]
Settings = Annotated[tuple[str, ...], Parameter(negative=())]

ARRAYS = (".npz", ".npy", ".csv")
DEFAULT = Which()
PICTURED = 64  #: how many rows a picture shows unless told otherwise


def sample(
    run: str,
    /,
    *,
    output: Output,
    number: Annotated[int, Parameter(name=["--number", "-n"])] = 64,
    cond: str | None = None,
    seed: int | None = None,
    option: Settings = (),
) -> Answer:
    """Draw from a fitted model.

    Example: likely sample latest -n 64 --seed 0 -o grid.png

    Arguments:
        run: a run folder, or `latest`.
        output: a picture (.png), arrays (.npz, .npy), a table (.csv), texts (.txt: sequences of symbols, one a line),
            or a folder/ with one picture each.
        number: how many.
        cond: what is given to a conditional model: a category's name or number; without it, drawn uniformly.
        seed: the same seed gives the same samples.
        option: a sampling option of the model, as name=value; may stand several times.
    """
    path = files.target(output, (".png", *ARRAYS, ".txt"), folder=True)
    if number < 1:
        raise Misuse(f"-n must be 1 or more, not {number}.")
    fitted = opened(run)
    model = fitted.model
    if path.suffix.lower() == ".txt":
        files.check_texts(model.space)
    elif path.suffix.lower() not in ARRAYS:
        files.check_pictures(model.space)
    options = assignments(option, model._sampling_options(), f"sampling option of model '{model.name}'")
    x = model.sample(number, condition(cond, model.cond_space), seed=seed, **options)
    files.write_values(path, x, model.space)
    record = {"run": str(fitted.folder), "samples": number, "cond": cond, "seed": seed, "output": str(path), **options}
    return Answer(record, f"{number} samples: {path}")


def score(
    run: str,
    /,
    *,
    which: Which = DEFAULT,
    strange: Strange = CALM,
    k: Weights = 64,
    seed: int = 0,
    output: Annotated[str | None, Parameter(name=["--output", "-o"], allow_leading_hyphen=True)] = None,
) -> Answer:
    """Say how probable each datum is, in nats: one row per datum, with the columns row, nats, sign.

    The sign says what the number is to log p(x): `=` exact, `>=` a lower bound, `~` an estimate. The lowest scores are
    the most unusual data.

    With --by, or another flag that looks for anomalies, further columns say how strange each datum is: score (higher is
    stranger), outlier (1 or 0, where a threshold is asked for), and contributions. Without --by, the first way that the
    model can answer is taken. Where the model has no likelihood, nats and sign stay empty.

    Example: likely score latest --data digits -o scores.csv

    Example: likely score latest --by typicality --contamination 0.01 -o scores.csv

    Example: likely score latest --top 10 -o strangest.png

    Arguments:
        run: a run folder, or `latest`.
        k: how many importance samples a bound of this kind averages.
        seed: decides what is estimated by drawing.
        output: where to write (.csv, or .png with --top); without it, or with `-`, to the terminal.
    """
    from likely import evaluation
    from likely.core import Weighted

    endings = (".csv",) if strange.top is None else (".csv", ".png")
    path = None if output in (None, "-") else files.target(str(output), endings)
    fitted = opened(run)
    model = fitted.model
    if path is not None and path.suffix.lower() == ".png":
        files.check_pictures(model.space)
    detector = None if strange == CALM else anomalies.detector(fitted, strange, k=k, seed=seed)
    asked = rows(fitted, which, seed=seed)
    sign = evaluation.sign_of(model)
    nats = None  # where the model has no likelihood, only strangeness can be asked for
    if sign or detector is None:
        nats, sign = evaluation.scores(model, asked.x, asked.cond, k=k, seed=seed)
    record: dict[str, Any] = {
        "run": str(fitted.folder),
        **asked.record,
        "sign": sign,
        "mean_nats": None if nats is None else float(nats.mean()),
        "k": k if isinstance(model, Weighted) and sign == ">=" else None,
        "seed": seed,
        "output": None if path is None else str(path),
    }
    heading = ["row", "nats", "sign"]
    texts = [""] * asked.n if nats is None else [f"{value:.6f}" for value in nats.tolist()]
    table: list[tuple[object, ...]] = [(row, text, sign) for row, text in enumerate(texts)]
    said = "" if nats is None else f", on average {sign} {record['mean_nats']:.3f} nats"
    found = None
    if detector is not None:
        found = anomalies.find(detector, fitted, strange, which, asked, nats, seed=seed)
        heading += found.heading
        table = [(*table[row], *found.columns[row]) for row in found.order]
        record |= found.record
        said = found.said
        if path is not None and path.suffix.lower() == ".png":
            parts = None if found.contributions is None else found.contributions[found.order]
            anomalies.write_strangest(path, asked.x[found.order], parts, model.space)
            return Answer(record, f"the {len(table)} strangest of {asked.n} rows{said}: {path}")
    if path is None:
        order = list(range(asked.n)) if found is None else found.order
        listed = {} if nats is None else {"nats": nats[order].tolist()}
        listed |= {} if found is None else {"score": found.values[order].tolist()}
        return Answer(record | listed, files.table_text(heading, table))
    files.write_table(path, heading, table)
    return Answer(record, f"{len(table)} scores{said}: {path}")


def complete(
    run: str,
    /,
    *,
    output: Output,
    which: Which = DEFAULT,
    known: str | None = None,
    seed: int = 0,
) -> Answer:
    """Keep what is known of each datum and draw the rest: inpaint pictures, fill in missing cells of tables.

    Example: likely complete latest --known upper-half -n 32 -o completed.png

    Arguments:
        run: a run folder, or `latest`.
        output: a picture (.png: each datum, what was known of it, its completion), .npz, .npy, .csv, or a folder/.
        known: upper-half, lower-half, left, right, or a mask .npy (True where known); without it, what is not NaN.
        seed: the same seed gives the same completions.
    """
    from likely.core import Completer

    path = files.target(output, (".png", *ARRAYS), folder=True)
    fitted = opened(run)
    model = able(fitted.model, Completer, "complete")
    asked = rows(fitted, which, most=PICTURED if path.suffix.lower() == ".png" else None, seed=seed)
    mask = None if known is None else known_mask(known, model.space, asked.n)
    if mask is None and not (asked.x.is_floating_point() and asked.x.isnan().any()):
        raise Misuse("nothing is missing in these data: say what is known of them, such as `--known upper-half`.")
    completed = model.complete(asked.x, mask, asked.cond, seed=seed)
    if path.suffix.lower() == ".png" and mask is not None:
        files.write_completions(path, asked.x, mask, completed, model.space)
    else:
        files.write_values(path, completed, model.space)
    record = {
        "run": str(fitted.folder),
        **asked.record,
        "known": known,
        "law": model.completion,
        "seed": seed,
        "output": str(path),
    }
    return Answer(record, f"{asked.n} completions ({model.completion}): {path}")


def encode(
    run: str,
    /,
    *,
    output: Output,
    which: Which = DEFAULT,
) -> Answer:
    """Write the representation z of each datum.

    Example: likely encode latest --data digits -o z.npz

    Arguments:
        run: a run folder, or `latest`.
        output: .npz (z, and cond where the data have labels or captions), .npy or .csv.
    """
    from likely.core import Latent

    path = files.target(output, ARRAYS)
    fitted = opened(run)
    model = able(fitted.model, Latent, "encode")
    asked = rows(fitted, which)
    z = model.encode(asked.x, asked.cond)
    flat = z.reshape(len(z), -1)
    if path.suffix.lower() == ".csv":
        files.write_table(path, [f"z{i}" for i in range(flat.shape[1])], flat.tolist())
    else:
        named = {} if path.suffix.lower() == ".npy" else files.arrays("cond", asked.labels)
        files.write_arrays(path, {"z": z, **named})
    record = {
        "run": str(fitted.folder),
        **asked.record,
        "shape": list(z.shape[1:]),
        "output": str(path),
    }
    return Answer(record, f"{len(z)} representations of {flat.shape[1]} numbers: {path}")


def able(model: Model, ability: type, method: str) -> Any:
    """Return the model if it has an ability, or say that it lacks it and where to find those that have it."""
    if not isinstance(model, ability):
        raise LikelyError(f"model '{model.name}' cannot {method}; these can: likely models --can {method}")
    return model
