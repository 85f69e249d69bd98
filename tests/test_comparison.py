"""Many models side by side: views apart, crashes contained, finished runs kept."""

import json
from dataclasses import replace

import pytest

from likely import comparison, driver, registry, report, run
from likely.cli.judging import _compared
from likely.data.parts import Data, Part
from likely.errors import LikelyError, UnknownName
from likely.report.scores import kept_scores
from likely.report.table import from_json
from likely.spaces import Finite


@pytest.fixture
def data():
    space = Finite((1, 3, 3), 4)
    parts = {name: Part(space.random(40)) for name in ("train", "valid", "test")}
    return Data("tiny", "bytes", space, **parts)


def test_one_crash_costs_one_row_and_finished_runs_are_kept(data, tmp_path, monkeypatch, capsys):
    real, calls = driver.train, []

    def train(model, *arguments, **options):
        calls.append(model)
        if model == "gaussian":
            raise RuntimeError("out of\nluck")
        return real(model, *arguments, **options)

    monkeypatch.setattr(driver, "train", train)
    options = {"data": data, "out": tmp_path, "n": 20}
    table = comparison.compare(["bernoulli", "gaussian"], **options)
    assert [row.error for row in table.rows] == ["", "RuntimeError: out of luck"]
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "RuntimeError: out of luck" in page
    assert "bernoulli" in (tmp_path / "table.md").read_text(encoding="utf-8")
    kept = json.loads((tmp_path / "table.json").read_text())
    assert from_json(kept) == table
    assert [one["metric"] for one in kept.pop("standings")][:2] == ["nll", "mmd"]
    assert kept == table.to_json()
    assert "bernoulli on tiny" in capsys.readouterr().err

    again = comparison.compare(["bernoulli"], **options, quiet=True)
    assert calls == ["bernoulli", "gaussian"]  # not trained again
    assert again.rows[0] == table.rows[0]
    assert capsys.readouterr().err == ""

    both = comparison.compare(["bernoulli"], **options, seeds=(0, 1), quiet=True)
    assert calls == ["bernoulli", "gaussian", "bernoulli"]
    assert [row.seed for row in both.rows] == [0, 1]


def test_a_failure_says_of_which_seed(data, tmp_path, monkeypatch, capsys):
    real = driver.train

    def train(model, *arguments, seed, **options):
        if seed == 1:
            raise RuntimeError("out of luck")
        return real(model, *arguments, seed=seed, **options)

    monkeypatch.setattr(driver, "train", train)
    table = comparison.compare(["bernoulli"], data, out=tmp_path, n=20, seeds=(0, 1))
    assert "bernoulli on tiny, bytes, seed 1: RuntimeError" in (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "(tiny, bytes, seed 1): RuntimeError" in (tmp_path / "index.html").read_text(encoding="utf-8")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].split()[1:6] == ["bernoulli", "on", "tiny,", "seed", "0"]
    assert lines[1].split()[1:6] == ["bernoulli", "on", "tiny,", "seed", "1"]
    assert "bernoulli on tiny, bytes, seed 1: RuntimeError" in _compared(table, str(tmp_path), "").text


def test_no_condition_by_name_is_no_condition(tmp_path):
    """`--cond none` is what it is without: the same folder, found again, and the same command in the table."""
    options = {"out": tmp_path, "n": 20, "samples_seen": 500, "quiet": True, "features": "none"}
    first = comparison.compare(["gaussian"], "digits", cond="none", **options)
    again = comparison.compare(["gaussian"], "digits", **options)
    assert [row.folder for row in first.rows] == [row.folder for row in again.rows]
    assert first.rows[0].folder.endswith("gaussian-digits-bytes-0")
    assert first.command == again.command


def test_other_data_are_not_mistaken_for_the_same(data, tmp_path):
    comparison.compare(["bernoulli"], data, out=tmp_path, n=20, quiet=True)
    other = replace(data, train=data.train.head(30))
    table = comparison.compare(["bernoulli"], other, out=tmp_path, n=20, quiet=True)
    assert table.rows[0].folder.endswith("-2")


def test_a_model_of_bits_gets_its_own_view_and_table(tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "_trained", lambda plan, *_: pytest.fail("not trained here"))
    digits = comparison.datasets.load("digits")
    usable, error = comparison._fitting_view("rbm", digits)
    assert (usable.view, error) == ("threshold", "")
    assert comparison._fitting_view("bernoulli", digits)[0] is digits
    assert comparison._named(usable) == ("digits", {"view": "threshold"})


def test_a_model_that_takes_no_view_says_why(tmp_path):
    table = comparison.compare(["nade"], "moons", seeds=(1,), out=tmp_path / "new", quiet=True)
    assert "takes" in table.rows[0].error
    assert table.views() == {}
    assert table.command == "likely compare --data moons --models nade --seed=1"
    assert table.rows[0].error in (tmp_path / "new" / "table.md").read_text(encoding="utf-8")


def test_misspelt_models_are_found_before_anything_is_trained(data, tmp_path):
    with pytest.raises(UnknownName, match="Did you mean 'bernoulli'"):
        comparison.compare(["bernouli"], data, out=tmp_path)
    with pytest.raises(LikelyError, match="at least one model"):
        comparison.compare([], data, out=tmp_path)
    with pytest.raises(LikelyError, match="budget"):
        comparison.compare(["bernoulli"], data, budget="soon", out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_every_model_sees_as_many_samples(tmp_path):
    space = Finite((1, 3, 3), 4)
    part = Part(space.random(50))
    data = Data("tiny", "bytes", space, part, part, part)
    options = {"data": data, "out": tmp_path, "n": 20, "quiet": True}
    table = comparison.compare(["bernoulli", "nade"], **options, samples_seen=1280)
    records = [run.open(row.folder).record for row in table.rows]
    assert [record["fit"].get("passes") for record in records] == [26, None]  # 1280 / 50 rows
    assert records[1]["fit"]["steps"] == 26  # a batch of 128 has only 50 rows
    assert table.rows[1].seen == 26 * 50
    assert table.command.endswith("--samples-seen 1280 -n 20")
    again = comparison.compare(["bernoulli", "nade"], **options, samples_seen=1280)
    assert [row.folder for row in again.rows] == [row.folder for row in table.rows]
    other = comparison.compare(["nade"], **options, samples_seen=640)
    assert other.rows[0].folder.endswith("-2")
    with pytest.raises(LikelyError, match="not both"):
        comparison.compare(["nade"], **options, samples_seen=10, budget="1s")
    with pytest.raises(LikelyError, match="samples_seen"):
        comparison.compare(["nade"], **options, samples_seen=0)
    with pytest.raises(UnknownName, match="Did you mean 'pca'"):
        comparison.compare(["nade"], **options, features="pcs")


def test_a_run_of_another_length_is_not_taken_for_the_preset(tmp_path):
    space = Finite((1, 2, 2), 2)
    part = Part(space.random(20))
    data = Data("tiny", "bytes", space, part, part, part)
    options = {"data": data, "out": tmp_path, "n": 20, "quiet": True}
    comparison.compare(["bernoulli"], **options, samples_seen=40)
    table = comparison.compare(["bernoulli"], **options)
    assert table.rows[0].folder.endswith("-2")


def test_several_seeds_are_one_row_and_features_go_along(data, tmp_path):
    table = comparison.compare(
        ["bernoulli", "nade"], data, out=tmp_path, n=40, seeds=(0, 1), samples_seen=80, features="pixels", quiet=True
    )
    pools = report.pools(table)["tiny", "bytes"]
    assert sorted(len(pool.rows) for pool in pools) == [2, 2]
    frechet = next(r for r in pools[0].row.results if r["metric"] == "frechet")
    assert frechet["protocol"]["seeds"] == 2
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert page.count("type=checkbox") == 2  # the seeds fold open
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "mean of 2" in text
    assert "Each seed by itself" in text
    scores = [kept_scores(row.folder) for row in table.rows]
    for row, kept in zip(table.rows, scores, strict=True):
        assert float(-kept.nats.mean()) == pytest.approx(row.result("nll")["value"], abs=1e-4)


def test_features_are_those_of_the_projects_own_classifier_where_it_knows_the_data(data):
    digits = comparison.datasets.load("digits")
    assert comparison._extractor("auto", digits) == "digits-cnn"
    assert comparison._extractor("auto", data) is None
    assert comparison._extractor("auto", replace(digits, source={"name_or_path": "mine/digits"})) is None
    assert comparison._extractor("none", digits) is None
    assert comparison._extractor("pixels", data) == "pixels"


def test_the_tour_shows_every_model_on_each_view_it_is_named_for(tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "_trained", lambda *_: 1 / 0)
    table = comparison.tour(tmp_path, quiet=True)
    assert {row.model for row in table.rows} == set(registry.names()) - set(comparison.TOUR_LEAVES_OUT)
    assert {(row.data, row.view) for row in table.rows} == {("digits", "bytes"), ("digits-binary", "threshold")}
    assert {row.error for row in table.rows} == {"ZeroDivisionError: division by zero"}
