"""`likely evaluate`, `compare`, `tour`, `report` and `results`: how good models are, alone and side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from likely.cli import files
from likely.cli.answer import Answer, Misuse, columns
from likely.cli.inputs import data_of, opened

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
    part: str = "test",
    number: Annotated[int, Parameter(name=["--number", "-n"])] = 1000,
    k: int = 64,
    features: str | None = None,
    seed: int = 0,
) -> Answer:
    """Measure a run on held-out data, or one set of data against another.

    Every number stands with its sign (`=` exact, `>=` a lower bound, `~` an estimate), its standard error, and what a
    perfect model would show.

    Example: likely evaluate latest

    Arguments:
        run: a run folder, or `latest`.
        real: instead of a run: real data, a name or a path.
        fake: instead of a run: what is compared with the real data, a name or a path.
        data: a name or a path; without it, the data of the run.
        view: how to look at the data; without it, as the run did.
        size: the side to which pictures are brought; without it, as the run did.
        part: test or valid.
        number: how many samples to draw for the two-sample distance.
        k: how many importance samples a bound of this kind averages.
        features: measure Frechet distance, KID, precision, recall, density, coverage and others in the features of this
            extractor too: pixels, pca, digits-cnn, mnist-cnn, fashion-mnist-cnn, inception-v3-fid, dinov2 or clip.
        seed: decides samples and estimates.
    """
    from likely import data as sets
    from likely import evaluation

    if run is not None and (real or fake):
        raise Misuse("give either a run, or --real and --fake.")
    if run is not None:
        fitted = opened(run)
        loaded = data_of(fitted, data, view, size)
        results = evaluation.evaluate(fitted.model, loaded, part=part, n=number, k=k, seed=seed, features=features)
        return Answer({"run": str(fitted.folder), "data": loaded.name, "results": results}, table(results))
    if real is None or fake is None:
        raise Misuse("give a run, or both --real and --fake.")
    first, second = (sets.load(one, view=view, size=size) for one in (real, fake))
    results = evaluation.evaluate_samples(first, second, seed=seed, features=features)
    return Answer({"real": real, "fake": fake, "results": results}, table(results))


def compare(
    *,
    data: str = "digits",
    view: str | None = None,
    size: int | None = None,
    colour: str | None = None,
    cond: str | None = None,
    models: str | None = None,
    budget: str | None = None,
    seed: Annotated[tuple[int, ...], Parameter(negative=())] = (0,),
    k: int = 64,
    number: Annotated[int, Parameter(name=["--number", "-n"])] = 1000,
    quiet: bool = False,
    output: Output = "comparison",
) -> Answer:
    """Train many models on the same data; one table, one page. Asked again, it trains only what is not finished.

    Example: likely compare --data digits --models gmm,nade,vae --budget 1m

    Arguments:
        data: a name, or a path to your own.
        view: how to look at the data: bytes, reals, fixed, dynamic or threshold.
        size: the side to which pictures are brought.
        colour: bring pictures to grey, rgb or rgba.
        cond: condition on the data's "label" or "caption" every model that can be.
        models: their names with commas between; without it, every model.
        budget: how long each may train, such as 90s or 2m; without it, as its preset says.
        seed: what decides weights, order and noise; several train every model once from each.
        k: how many importance samples a bound of this kind averages.
        number: how many samples to draw for the two-sample distance.
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
        seeds=seed,
        out=output,
        k=k,
        n=number,
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
    seed: int = 0,
) -> Answer:
    """Write one run's page: samples, learning curves, scores, what the model can do.

    Example: likely report latest

    Arguments:
        run: a run folder, or `latest`.
        output: the page (.html); without it, page.html in the run folder.
        number: how many samples to draw for the two-sample distance.
        k: how many importance samples a bound of this kind averages.
        seed: decides samples and estimates.
    """
    from likely.report import run_page

    path = None if output is None else files.target(output, (".html",))
    fitted = opened(run)
    page = run_page(fitted, path, k=k, n=number, seed=seed)
    return Answer({"run": str(fitted.folder), "page": str(page)}, f"The page lies at {page.absolute()}")


def results(
    *folders: str,
    output: Annotated[str | None, Parameter(name=["--output", "-o"])] = None,
    number: Annotated[int, Parameter(name=["--number", "-n"])] = 1000,
    k: int = 64,
    seed: int = 0,
) -> Answer:
    """Write the table of results of run folders, beside published values, as Markdown: RESULTS.md is made by this.

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
    text = results_markdown(folders or ("runs",), k=k, n=number, seed=seed)
    if path is None:
        return Answer({"markdown": text}, text.rstrip("\n"))
    with files.aside(path) as draft:
        draft.write_text(text, encoding="utf-8")
    return Answer({"output": str(path)}, f"The results lie at {path}")


def table(results: list[Result]) -> str:
    """Return measurements as aligned columns: what, value with sign and error, unit, and what to hold it against."""
    rows = []
    for result in results:
        name, value, sign, protocol = result["metric"], result["value"], result["sign"], result["protocol"]
        uniform = protocol.get("uniform")
        if name == "nll":  # people read log-likelihoods: an upper bound on one is a lower bound on the other
            name, sign = "log-likelihood", sign.replace("<=", ">=")
            value, uniform = (None if one is None else -one for one in (value, uniform))
        number, error = "not available" if value is None else f"{sign} {value:.5g}", protocol["standard_error"]
        beside = {
            "bits/dim": protocol.get("bits_per_dim"),
            "k": protocol.get("k"),
            "uniform law": uniform,
            "real data": protocol.get("floor"),
            "classes covered": protocol.get("covered"),
            "rows": protocol.get("n_real"),
        }
        notes = ", ".join(f"{what} {_short(one)}" for what, one in beside.items() if one is not None)
        rows.append((name, number + ("" if error is None else f" ± {error:.2g}"), result["unit"], notes))
    return columns(rows, ("measure", "value", "unit", "beside"))


def _short(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
