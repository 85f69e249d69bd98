"""`likely evaluate`, `compare`, `tour`, `report` and `results`: how good models are, alone and side by side."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from likely.cli import files
from likely.cli.answer import Answer, Misuse, columns
from likely.cli.inputs import Weights, data_of, opened, undivided
from likely.errors import unknown

Output = Annotated[str, Parameter(name=["--output", "-o"])]

if TYPE_CHECKING:
    from likely.evaluation import Result
    from likely.evaluation.pace import Tell
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
    k: Weights = 64,
    features: str | None = None,
    metrics: str | None = None,
    processes: int = 1,
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
            factors, conditional, all; without it, what applies and is cheap.
        processes: how many processes of this machine read features, and score rows exactly, together; the numbers are
            those of one.
        seed: decides samples and estimates.
        quiet: show no progress.
    """
    _check(number, k, seed)
    from likely import crew
    from likely.evaluation.menu import chosen
    from likely.progress import Progress

    crew.possible(processes)
    chosen(metrics)
    if run is not None and (real or fake or colour or resize):
        raise Misuse("give either a run, or --real and --fake (and with these --colour and --resize).")
    given: dict[str, Any] = {"seed": seed, "features": features, "metrics": metrics, "view": view, "size": size}
    with Progress("evaluate", quiet=quiet) as progress:
        if run is not None:
            folder = opened(run).folder
            given |= {"folder": str(folder.absolute()), "data": data, "part": part, "n": number, "k": k}
            name, results = crew.shared(of_run, given, processes, tell=progress.tell)
            return Answer({"run": str(folder), "data": name, "results": results}, table(results))
        if real is None or fake is None:
            raise Misuse("give a run, or both --real and --fake.")
        _of_runs_alone(data, part, number, k)
        _featureless(metrics, features)
        by_extractor = _resizing(resize, size, features)
        progress.tell(0.0, "looking at the files", None)
        given |= {"real": real, "fake": fake, "colour": colour, "resize": resize, "by_extractor": by_extractor}
        results = crew.shared(of_sets, given, processes, tell=progress.tell)
    return Answer({"real": real, "fake": fake, "results": results}, table(results))


def of_run(
    *,
    folder: str,
    data: str | None,
    view: str | None,
    size: int | None,
    tell: Tell | None = None,
    fabric: Any = None,
    **options: Any,
) -> tuple[str, list[Result]]:
    """Return the name of the data on which a run was measured, and what was found; every process makes this call."""
    from likely import evaluation

    fitted = opened(folder)
    loaded = data_of(fitted, data, view, size)
    return loaded.name, evaluation.evaluate(fitted.model, loaded, tell=tell, fabric=fabric, **options)


def of_sets(
    *,
    real: str,
    fake: str,
    view: str | None,
    size: int | None,
    colour: str | None,
    resize: str | None,
    by_extractor: str | None,
    tell: Tell | None = None,
    fabric: Any = None,
    **options: Any,
) -> list[Result]:
    """Return how far one set of data is from another; every process makes this call."""
    from likely import evaluation

    looked: dict[str, Any] = {"view": view, "size": size, "colour": colour, "resize": None if size is None else resize}
    first, second = (undivided(one, **looked) for one in (real, fake))
    return evaluation.evaluate_samples(first, second, resize=by_extractor, tell=tell, fabric=fabric, **options)


def _check(number: int, k: int, *seeds: int) -> None:
    """Raise unless numbers that every command of this file takes can be used.

    Raises:
        Misuse: one cannot.
    """
    for flag, value, least in (("--number", number, 2), ("--k", k, 1)):
        if value < least:
            raise Misuse(f"{flag} must be {least} or more, not {value}.")
    for seed in seeds:
        if not 0 <= seed < 2**63:
            raise Misuse(f"--seed must be a whole number from 0 to 2^63 - 1, not {seed}.")


def _of_runs_alone(data: str | None, part: str, number: int, k: int) -> None:
    """Raise where a flag is given that two sets of data have no use for.

    Raises:
        Misuse: one is.
    """
    given = {"--data": data is not None, "--part": part != "test", "--number": number != 1000, "--k": k != 64}
    idle = [flag for flag, is_given in given.items() if is_given]
    if idle:
        raise Misuse(f"{', '.join(idle)}: for a run only; two sets of data are compared whole: leave it out.")


def _featureless(metrics: str | None, features: str | None) -> None:
    """Raise where a metric by features is named and no features are.

    Raises:
        Misuse: so it is.
    """
    from likely.evaluation.groups import GROUPS

    only = {"features", *GROUPS["features"].metrics} - set(GROUPS["kernel"].metrics)
    for name in (metrics or "").split(","):
        if features is None and name.strip() in only:
            raise Misuse(f"{name.strip()} is measured in features: name an extractor, such as --features pca.")


def _twice(what: str, values: Iterable[object]) -> None:
    """Raise where a value stands twice.

    Raises:
        Misuse: one does.
    """
    seen = list(values)
    for one in seen:
        if seen.count(one) > 1:
            raise Misuse(f"{what} {one} stands twice; name each once.")


def _folder(output: str) -> None:
    """Raise where a folder is to be written and a file lies.

    Raises:
        Misuse: so it is.
    """
    if Path(output).exists() and not Path(output).is_dir():
        raise Misuse(f"--output {output} is a file; name a folder.")


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
    k: Weights = 64,
    number: Annotated[int, Parameter(name=["--number", "-n"])] = 1000,
    features: str = "auto",
    processes: int = 1,
    quiet: bool = False,
    output: Output = "comparison",
) -> Answer:
    """Train many models on the same data with the same budget, and write one page: which is best at what, how surely.

    Asked again, it trains only what is not finished. A model that fails costs its own row.

    Example: likely compare --data digits --models gmm,nade,vae --budget 1m

    Arguments:
        data: a name, or a path to your own.
        view: how to look at the data: bytes, reals, fixed, dynamic, threshold or levels.
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
        processes: how many processes of this machine fit each model together.
        quiet: show no progress.
        output: the folder for the page, the table and the runs.
    """
    _check(number, k, *seed)
    names = None if models is None else [name.strip() for name in models.split(",") if name.strip()]
    _twice("model", names or ())
    _twice("--seed", seed)
    _folder(output)
    from likely import comparison
    from likely import data as datasets

    if data in datasets.names() and cond not in (None, "label", "none"):
        raise unknown("cond", cond, ("label", "none"))
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
        processes=processes,
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
    _check(2, 1, seed)
    _folder(output)
    from likely import comparison

    made = comparison.tour(output, seed=seed, quiet=quiet)
    return _compared(made, output, "not every model could be trained" if made.failed() else "")


def _compared(table: Table, folder: str, problem: str) -> Answer:
    """Say where the page lies; the table itself was shown while it grew."""
    page = Path(folder) / "index.html"
    failed = [f"{row.title} on {table.where(row)}: {row.error}" for row in table.failed()]
    text = "\n".join([*(f"failed: {one}" for one in failed), f"The page lies at {page.absolute()}"])
    record = {"folder": folder, "page": str(page), "table": table.to_json(), "failed": failed}
    return Answer(record, text, problem and f"{problem}; the page says why: {page}")


def report(
    run: str,
    /,
    *,
    output: Annotated[str | None, Parameter(name=["--output", "-o"])] = None,
    number: Annotated[int, Parameter(name=["--number", "-n"])] = 1000,
    k: Weights = 64,
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
    _check(number, k, seed)
    from likely.report import run_page

    path = None if output is None else files.target(output, (".html",))
    fitted = opened(run)
    page = run_page(fitted, path, k=k, n=number, seed=seed, features=features)
    return Answer({"run": str(fitted.folder), "page": str(page)}, f"The page lies at {page.absolute()}")


def results(
    *folders: str,
    output: Annotated[str | None, Parameter(name=["--output", "-o"])] = None,
    keep: str | None = None,
    number: Annotated[int, Parameter(name=["--number", "-n"])] = 1000,
    k: Weights = 64,
    seed: int = 0,
) -> Answer:
    """Write the table of results of run folders, beside published values, as Markdown: RESULTS.md is made by this.

    A run that cannot be measured (its data are gone, it is not finished) is named, and the others are written.

    Example: likely results runs -o RESULTS.md

    Arguments:
        folders: run folders, or folders that hold them; without any, ./runs.
        output: where to write (.md); without it, to the terminal.
        keep: a folder for the runs' records without their weights; those that lie there already are in the table too.
        number: how many samples to draw for the two-sample distance.
        k: how many importance samples a bound of this kind averages.
        seed: decides samples and estimates.
    """
    _check(number, k, seed)
    from likely.report import results_markdown

    path = None if output is None else files.target(output, (".md",))
    made = results_markdown(folders or ("runs",), keep=keep, k=k, n=number, seed=seed)
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
        told = [str(protocol["reason"]).rstrip(".")] if protocol.get("reason") else []
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
