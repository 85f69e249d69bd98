"""Tables seen as levels: each column has its own, by name, from the file to the model and back."""

import csv
import math

import numpy as np
import pytest
import torch

import likely
from likely.data import load
from likely.errors import DataError, SpaceError
from likely.spaces import Finite, from_json

TEXT = "sky,rain,wind,class\n" + "grey,yes,3,a\nblue,no,1,b\ngrey,no,10,a\nwhite,no,2.5,b\n" * 5 + "grey,?,1,a\n"
MODELS = ("table", "bernoulli", "markov", "chow_liu")
UNEVEN = Finite(
    (3,), 4, ordered=False, names=("a", "b", "c"), values=(("x", "y"), ("p", "q", "r", "s"), ("0", "1", "2"))
)


def written(tmp_path, text=TEXT, name="people.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_each_column_has_its_own_levels(tmp_path):
    data = load(written(tmp_path), view="levels", valid=0, test=0)
    space = data.space
    assert space.values == (("blue", "grey", "white"), ("no", "yes"), ("1", "2.5", "3", "10"), ("a", "b"))
    assert (space.names, space.levels, space.ordered) == (("sky", "rain", "wind", "class"), 4, False)
    assert (data.view, data.cond) == ("levels", None)
    assert data.train.x[:4].tolist() == [[1, 1, 2, 0], [0, 0, 0, 1], [1, 0, 3, 0], [2, 0, 1, 1]]
    assert math.isnan(data.train.x[-1, 1])
    assert "sky: blue, grey, white" in data.note
    whole = load(written(tmp_path, TEXT.replace("?", "no")), view="levels", valid=0, test=0)
    assert whole.train.x.dtype == torch.uint8
    asked = load(written(tmp_path), view="levels", cond="label", valid=0, test=0)
    assert asked.space.names == ("sky", "rain", "wind")
    assert asked.cond.categories == ("a", "b")
    assert from_json(space.to_json()) == space


def test_parquet_is_read_the_same_way(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")

    rows = list(csv.reader(TEXT.splitlines()))
    table = {name: [row[i] for row in rows[1:]] for i, name in enumerate(rows[0])}
    table["rain"] = [None if value == "?" else value for value in table["rain"]]
    table["wind"] = [float(value) for value in table["wind"]]
    parquet.write_table(pyarrow.table(table), tmp_path / "people.parquet")
    one, other = (load(path, view="levels") for path in (written(tmp_path), tmp_path / "people.parquet"))
    assert one.space == other.space
    assert np.array_equal(one.train.x.numpy(), other.train.x.numpy(), equal_nan=True)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b\n" + "".join(f"x{i},1\n" for i in range(1001)), {"view": "levels"}, "'a' has 1,001 different values"),
        ("a,b\n?,1\n,2\n", {"view": "levels"}, "column 'a' has no values"),
        ("a,b\nx,1\ny,2\n", {}, "take view='levels', remove it"),
        ("a,b\nx,1\ny,2\n", {"view": "bytes"}, "take view='levels'"),
    ],
)
def test_what_cannot_be_levels(tmp_path, text, options, message):
    with pytest.raises(DataError, match=message) as caught:
        load(written(tmp_path, text), valid=0, test=0, **options)
    assert "\n" not in str(caught.value)


def test_pictures_have_no_levels():
    with pytest.raises(DataError, match="view 'levels' does not apply"):
        load("digits", view="levels")


def test_a_space_of_uneven_entries():
    assert UNEVEN.points == 24
    assert len(UNEVEN.enumerate()) == 24
    assert UNEVEN.contains(UNEVEN.enumerate())
    drawn = UNEVEN.random(2000, torch.Generator().manual_seed(0))
    assert drawn.max(0).values.tolist() == [1, 3, 2]
    assert not UNEVEN.contains(torch.tensor([[2, 0, 0]]))
    with pytest.raises(SpaceError, match="value 2 in row 0; expected whole numbers below how many levels"):
        UNEVEN.check([[2, 0, 0]])
    with pytest.raises(SpaceError, match="values must name 1 to 4 levels for each of 3 entries"):
        Finite((3,), 4, values=(("a",), ("b",)))


@pytest.mark.parametrize("name", likely.names())
def test_models_use_the_levels_that_there_are_or_refuse(name):
    if name not in MODELS:
        with pytest.raises(SpaceError, match="takes"):
            likely.build(name, UNEVEN)
        return
    model = likely.build(name, UNEVEN)
    x = UNEVEN.random(300, torch.Generator().manual_seed(0))
    for _ in range(2):
        points = UNEVEN.enumerate()
        assert float(model.log_prob(points).double().exp().sum()) == pytest.approx(1, abs=1e-6)
        assert UNEVEN.contains(model.sample(500, seed=0))
        model.m_step(model.e_step(x))
    missing = x.float().masked_fill(torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.3, math.nan)
    known = ~missing.isnan()
    assert model.log_prob(missing).numpy() == pytest.approx(model.log_marginal(x, known).numpy())
    given, masked = model.e_step(missing), model.e_step(x, known=known)
    assert float(given["log_likelihood"]) == pytest.approx(float(masked["log_likelihood"]))
    assert UNEVEN.contains(model.complete(missing, seed=0))


def test_free_parameters_count_the_levels_that_there_are():
    x = UNEVEN.random(300, torch.Generator().manual_seed(0))
    found = {}
    for name in ("table", "markov", "chow_liu"):
        model = likely.build(name, UNEVEN)
        model.m_step(model.e_step(x))
        found[name] = model.free_parameters
        if name == "chow_liu":
            sizes = dict(zip(UNEVEN.names, UNEVEN.sizes, strict=True))
            assert found[name] == 1 + sum(sizes[parent] * (sizes[child] - 1) for parent, child in model.edges())
    assert (found["table"], found["markov"]) == (23, 1 + 2 * 3 + 4 * 2)


def test_from_the_file_to_the_run_and_back(tmp_path, monkeypatch):
    """Names survive the run folder; a file whose columns and levels come in another order is understood by name."""
    from likely.cli import main

    monkeypatch.chdir(tmp_path)
    written(tmp_path)
    assert main(["fit", "table", "--data", "people.csv", "--view", "levels", "--out", "run", "--quiet"]) == 0
    table = likely.load("run")
    assert table.categories[0] == ("blue", "grey", "white")
    assert table.probability(sky="grey", rain="yes") > 0
    assert set(table.mode()) == {"sky", "rain", "wind", "class"}
    assert main(["sample", "run", "-n", "5", "-o", "drawn.csv"]) == 0
    drawn = list(csv.DictReader((tmp_path / "drawn.csv").read_text(encoding="utf-8").splitlines()))
    assert {row["sky"] for row in drawn} <= {"blue", "grey", "white"}
    written(tmp_path, "class,sky,wind,rain\nb,white,1,yes\na,grey,3,\n", "other.csv")
    assert main(["score", "run", "--data", "other.csv", "-o", "scores.csv"]) == 0
    lines = (tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()
    scores = [float(row["nats"]) for row in csv.DictReader(lines)]
    by_name = {"sky": "grey", "wind": "3", "class": "a"}
    assert scores[1] == pytest.approx(math.log(table.probability(**by_name)), abs=1e-5)
    written(tmp_path, "class,sky,wind,rain\nb,pink,1,yes\na,grey,3,no\n", "strange.csv")
    assert main(["score", "run", "--data", "strange.csv", "-o", "s.csv"]) == 1
