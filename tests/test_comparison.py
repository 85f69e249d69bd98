"""Many models side by side: views apart, crashes contained, finished runs kept."""

import json
from dataclasses import replace

import pytest

from likely import comparison, driver, registry
from likely.data.parts import Data, Part
from likely.errors import LikelyError, UnknownName
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
    assert json.loads((tmp_path / "table.json").read_text()) == table.to_json()
    assert "bernoulli on tiny" in capsys.readouterr().err

    again = comparison.compare(["bernoulli"], **options, quiet=True)
    assert calls == ["bernoulli", "gaussian"]  # not trained again
    assert again.rows[0] == table.rows[0]
    assert capsys.readouterr().err == ""

    both = comparison.compare(["bernoulli"], **options, seeds=(0, 1), quiet=True)
    assert calls == ["bernoulli", "gaussian", "bernoulli"]
    assert [row.seed for row in both.rows] == [0, 1]


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


def test_the_tour_shows_every_model_on_each_view_it_is_named_for(tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "_trained", lambda *_: 1 / 0)
    table = comparison.tour(tmp_path, quiet=True)
    assert {row.model for row in table.rows} == set(registry.names())
    assert {(row.data, row.view) for row in table.rows} == {("digits", "bytes"), ("digits-binary", "threshold")}
    assert {row.error for row in table.rows} == {"ZeroDivisionError: division by zero"}
