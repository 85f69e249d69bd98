"""`likely evaluate`, `compare`, `tour`, `report` and `results`: how good models are, alone and side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from likely.cli import files
from likely.cli.answer import Answer, Misuse, columns
from likely.cli.inputs import data_of, opened, undivided

Output = Annotated[str, Parameter(name=["--output", "-o"])]

if TYPE_CHECKING:
    from likely.evaluation import Result
    from likely.report import Table


def evaluate(
    run: str | None = None,
    /,
    *,
    real: str | None = None,
    fake: str | None = None,
    data: str | None = None,
    view: str | None = None,
    size: int | None = None,
    colour: str | None = None,
    resize: str | None = None,
    part: str = "test",
    number: Annotated[int, Parameter(name=["--number", "-n"])] = 1000,
    k: int = 64,
    features: str | None = None,
    metrics: str | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> Answer:
    """Measure a run on held-out data, or one set of data against another.

    Every number stands with its sign (`=` exact, `>=` a lower bound, `~` an estimate), its standard error and 95 %
    interval, and what real data show in place of samples.

    Example: likely evaluate latest

    Arguments:
        run: a run folder, or `latest`.
        real: instead of a run: real data, a name or a path. Sets of any size are read a few rows at a time.
        fake: instead of a run: what is compared with the real data, a name or a path.
        data: a name or a path; without it, the data of the run.
        view: how to look at the data; without it, as the run did.
        size: the side to which pictures are brought; without it, as the run did.
        colour: with --real and --fake: bring pictures to grey, rgb or rgba.
        resize: with --real and --fake: how pictures are brought to --size and to what the extractor reads: clean
            (antialiased bicubic), legacy (TensorFlow 1's bilinear) or, to --size only, lanczos, which is the default.
        part: test or valid.
        number: how many samples to draw for the two-sample distance.
        k: how many importance samples a bound of this kind averages.
        features: measure Frechet distance, KID, precision, recall, density, coverage and others in the features of this
            extractor too: pixels, pca, digits-cnn, mnist-cnn, fashion-mnist-cnn, inception-v3-fid, dinov2 or clip.
        metrics: only these, with commas between: names as in the table (nll for the log-likelihood), or likelihood,
            flow, kernel, features, infinity, bins, columns, recognised, modes, diversity, memory, representation,
            conditional, all; without it, what applies and is cheap.
        seed: decides samples and estimates.
        quiet: show no progress.
    """
    from likely import evaluation
    from likely.progress import Progress

    if run is not None and (real or fake or colour or resize):
        raise Misuse("give either a run, or --real and --fake (and with these --colour and --resize).")
    if run is not None:
        fitted = opened(run)
        loaded = data_of(fitted, data, view, size)
        results = evaluation.evaluate(
            fitted.model, loaded, part=part, n=number, k=k, seed=seed, features=features, metrics=metrics
        )
        return Answer({"run": str(fitted.folder), "data": loaded.name, "results": results}, table(results))
    if real is None or fake is None:
        raise Misuse("give a run, or both --real and --fake.")
    by_extractor = _resizing(resize, size, features)
    with Progress("evaluate", quiet=quiet) as progress:
        progress.tell(0.0, "looking at the files", None)
        options = {"view": view, "size": size, "colour": colour, "resize": None if size is None else resize}
        first, second = (undivided(one, **options) for one in (real, fake))
        results = evaluation.evaluate_samples(
            first, second, seed=seed, features=features, metrics=metrics, resize=by_extractor, tell=progress.tell
        )
    return Answer({"real": real, "fake": fake, "results": results}, table(results))


def _resizing(resize: str | None, size: int | None, features: str | None) -> str | None:
    """Return how the extractor is to resize, or None where that is not for the user to say.

    Raises:
        Misuse: nothing is resized.
    """
    from likely.extractors.pretrained import PRETRAINED

    if resize is None or (features in PRETRAINED and not (size is not None and resize == "lanczos")):
        return resize
    if size is None:
        raise Misuse(f"--resize {resize} needs --size, or --features {', '.join(PRETRAINED)}: nothing is resized.")
    return None


def compare(
    *,
    data: str = "digits",
    view: str | None = None,
    size: int | None = None,
    colour: str | None = None,
    cond: str | None = None,
    models: str | None = None,
    budget: str | None = None,
    samples_seen: int | None = None,
    seed: Annotated[tuple[int, ...], Parameter(negative=())] = (0,),
    k: int = 64,
    number: Annotated[int, Parameter(name=["--number", "-n"])] = 1000,
    features: str = "auto",
    quiet: bool = False,
    output: Output = "comparison",
) -> Answer:
    """Train many models on the same data with the same budget, and write one page: which is best at what, how surely.

    Asked again, it trains only what is not finished. A model that fails costs its own row.

    Example: likely compare --data digits --models gmm,nade,vae --budget 1m

    Arguments:
        data: a name, or a path to your own.
        view: how to look at the data: bytes, reals, fixed, dynamic or threshold.
        size: the side to which pictures are brought.
        colour: bring pictures to grey, rgb or rgba.
        cond: condition on the data's "label" or "caption" every model that can be.
        models: their names with commas between; without it, every model.
        budget: how long each may train, such as 90s or 2m; without it, as its preset says.
        samples_seen: instead of a time, how many training rows each is shown, every row as often as it comes.
        seed: what decides weights, order and noise; with several, every model is trained once from each, and its row is
            the mean with an interval over data and seeds.
        k: how many importance samples a bound of this kind averages.
        number: how many samples to draw for the two-sample distances.
        features: measure Frechet distance, precision, recall and others in the features of this extractor too; auto
            takes the project's own classifier where it knows the data, none takes none.
        quiet: show no progress.
        output: the folder for the page, the table and the runs.
    """
    from likely import comparison

    names = None if models is None else [name.strip() for name in models.split(",") if name.strip()]
    made = comparison.compare(
        names,
        data,
        view=view,
        size=size,
        colour=colour,
        cond=cond,
        budget=budget,
        samples_seen=samples_seen,
        seeds=seed,
        out=output,
        k=k,
        n=number,
        features=features,
        quiet=quiet,
    )
    return _compared(made, output, "every model failed" if len(made.failed()) == len(made.rows) else "")


def tour(*, seed: int = 0, quiet: bool = False, output: Output = "tour") -> Answer:
    """Train every kind of model on the embedded handwritten digits and write one page that shows them side by side.

    Example: likely tour

    Arguments:
        seed: decides everything that is drawn.
        quiet: show no progress.
        output: the folder for the page, the table and the runs.
    """
    from likely import comparison

    made = comparison.tour(output, seed=seed, quiet=quiet)
    return _compared(made, output, "not every model could be trained" if made.failed() else "")


def _compared(table: Table, folder: str, problem: str) -> Answer:
    """Say where the page lies; the table itself was shown while it grew."""
    page = Path(folder) / "index.html"
    failed = [f"{row.model} on {row.data}: {row.error}" for row in table.failed()]
    text = "\n".join([*(f"not trained: {one}" for one in failed), f"The page lies at {page.absolute()}"])
    record = {"folder": folder, "page": str(page), "table": table.to_json(), "failed": failed}
    return Answer(record, text, problem and f"{problem}; the page says why: {page}")


def report(
    run: str,
    /,
    *,
    output: Annotated[str | None, Parameter(name=["--output", "-o"])] = None,
    number: Annotated[int, Parameter(name=["--number", "-n"])] = 1000,
    k: int = 64,
    features: str | None = None,
    seed: int = 0,
) -> Answer:
    """Write one run's page: samples, learning curves, scores, what the model can do.

    Example: likely report latest

    Arguments:
        run: a run folder, or `latest`.
        output: the page (.html); without it, page.html in the run folder.
        number: how many samples to draw for the two-sample distance.
        k: how many importance samples a bound of this kind averages.
        features: measure Frechet distance, precision, recall and others in the features of this extractor too.
        seed: decides samples and estimates.
    """
    from likely.report import run_page

    path = None if output is None else files.target(output, (".html",))
    fitted = opened(run)
    page = run_page(fitted, path, k=k, n=number, seed=seed, features=features)
    return Answer({"run": str(fitted.folder), "page": str(page)}, f"The page lies at {page.absolute()}")


def results(
    *folders: str,
    output: Annotated[str | None, Parameter(name=["--output", "-o"])] = None,
    number: Annotated[int, Parameter(name=["--number", "-n"])] = 1000,
    k: int = 64,
    seed: int = 0,
) -> Answer:
    """Write the table of results of run folders, beside published values, as Markdown: RESULTS.md is made by this.

    A run that cannot be measured (its data are gone, it is not finished) is named, and the others are written.

    Example: likely results runs -o RESULTS.md

    Arguments:
        folders: run folders, or folders that hold them; without any, ./runs.
        output: where to write (.md); without it, to the terminal.
        number: how many samples to draw for the two-sample distance.
        k: how many importance samples a bound of this kind averages.
        seed: decides samples and estimates.
    """
    from likely.report import results_markdown

    path = None if output is None else files.target(output, (".md",))
    made = results_markdown(folders or ("runs",), k=k, n=number, seed=seed)
    listed = "".join(f"\nnot measured: {line}" for line in made.missing)
    problem = f"{len(made.missing)} of the runs could not be measured" if made.missing else ""
    record = {"missing": made.missing}
    if path is None:
        return Answer({"markdown": made.text, **record}, made.text.rstrip("\n") + listed, problem)
    with files.aside(path) as draft:
        draft.write_text(made.text, encoding="utf-8")
    return Answer({"output": str(path), **record}, f"The results lie at {path}{listed}", problem)


def table(results: list[Result]) -> str:
    """Return measurements as aligned columns: what, value with sign and error, interval, floor, and what is beside."""
    rows = []
    for result in results:
        name, value, sign, protocol = result["metric"], result["value"], result["sign"], result["protocol"]
        ends, error, features = result["interval"], protocol["standard_error"], protocol.get("features")
        beside = {key: protocol.get(key) for key in ("uniform", "simple", "reverse")}
        if name in ("nll", "nll_flow"):  # people read log-likelihoods: an upper bound on one is a lower on the other
            name, sign = name.replace("nll", "log-likelihood").replace("_", " by "), sign.replace("<=", ">=")
            ends = None if ends is None else [-ends[1], -ends[0]]
            value, *others = (None if one is None else -one for one in (value, *beside.values()))
            beside = dict(zip(beside, others, strict=True))
        number = "not available" if value is None else f"{sign} {value:.5g}"
        notes = {
            "bits/dim": protocol.get("bits_per_dim"),
            "k": protocol.get("k"),
            protocol.get("simple_model") or "simple law": beside["simple"],
            "uniform law": beside["uniform"],
            "from the other side": beside["reverse"],
            "classes covered": protocol.get("covered"),
            "chance": protocol.get("chance"),
            "real rows": protocol.get("n_real"),
            "samples": protocol.get("n_generated"),
        }
        told = [str(protocol["reason"])] if protocol.get("reason") else []
        told += [f"in {features}"] if features not in (None, "the data themselves") else []
        told += [f"{what} {_short(one)}" for what, one in notes.items() if one is not None]
        rows.append(
            (
                name,
                number + ("" if error is None or value is None else f" ± {error:.2g}"),
                "" if ends is None else f"{ends[0]:.4g} to {ends[1]:.4g}",
                result["unit"],
                "" if protocol.get("floor") is None else _short(protocol["floor"]),
                ", ".join(told),
            )
        )
    return columns(rows, ("measure", "value", "95 %", "unit", "real data", "beside"))


def _short(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
