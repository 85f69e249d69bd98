"""Own tables: `.csv`, `.tsv`, `.parquet`."""

import numpy as np
import pytest

import likely
from likely.data import describe, foreign, load
from likely.errors import DataError, UnknownName
from likely.spaces import Binary, Finite, Real


def table(tmp_path, text, name="t.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def whole(path, **options):
    return load(path, valid=0, test=0, **options)


def test_names_values_and_missing_cells(tmp_path):
    data = whole(table(tmp_path, "높이,weight\n1.5,2\n,3e2\nNA, -1 \n?,0\n"))
    assert data.space == Real((2,), names=("높이", "weight"))
    assert data.view == "reals"
    expected = np.array([[1.5, 2], [np.nan, 300], [np.nan, -1], [np.nan, 0]], dtype=np.float32)
    assert np.array_equal(data.train.x.numpy(), expected, equal_nan=True)
    assert describe(data)["missing"] == 3
    assert data.train.weight is None  # a column called weight is a column, unless weight= says otherwise


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a;b\n1;2\n3;4\n", "t.csv"),
        ("a\tb\n1\t2\n3\t4\n", "t.tsv"),
        ("\ufeffa,b\r\n1,2\r\n\r\n3,4\r\n", "t.csv"),
        ('"a","b"\n"1",2\n3,4', "t.CSV"),
    ],
)
def test_forms_of_text(tmp_path, text, name):
    data = whole(table(tmp_path, text, name))
    assert data.space.names == ("a", "b")
    assert data.train.x.tolist() == [[1, 2], [3, 4]]


def test_without_names(tmp_path):
    data = whole(table(tmp_path, "1,2\n3,4\n"))
    assert data.space == Real((2,))
    assert data.train.x.tolist() == [[1, 2], [3, 4]]


def test_bits(tmp_path):
    assert whole(table(tmp_path, "a,b\n1,0\n0,0\n")).space == Binary((2,), names=("a", "b"))


@pytest.mark.parametrize(
    ("text", "categories"),
    [
        ("a,label\n1,cat\n2,dog\n3,cat\n", ("cat", "dog")),
        ("a,Class\n1,10\n2,9\n3,10\n", ("9", "10")),
        ("a,y\n1,0\n2,1\n3,0\n", ("0", "1")),
    ],
)
def test_labels(tmp_path, text, categories):
    data = whole(table(tmp_path, text))
    assert data.space == Real((1,), names=("a",))
    assert data.cond == Finite((), 2, categories=categories, ordered=False)
    assert len({data.train.cond[0].item(), data.train.cond[1].item()}) == 2
    assert data.train.cond[0] == data.train.cond[2]
    assert whole(table(tmp_path, text), cond="none").cond is None


def test_coordinates_called_x_and_y_are_no_labels(tmp_path):
    assert whole(table(tmp_path, "x,y\n1,2\n3,4\n")).space.names == ("x", "y")
    assert whole(table(tmp_path, "a,y\n1,2.5\n3,4.5\n")).space.names == ("a", "y")


def test_a_column_can_be_asked_for(tmp_path):
    path = table(tmp_path, "a,age,w\n1,2.5,1\n3,4.5,3\n5,1.5,0\n")
    data = whole(path, cond="age", weight="w")
    assert data.space.names == ("a",)
    assert data.cond == Real((), names=("age",))
    assert data.train.weight.tolist() == [1, 3, 0]
    with pytest.raises(UnknownName, match="Did you mean 'age'"):
        whole(path, cond="agee")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "is empty"),
        ("\n\n", {}, "is empty"),
        ("a,b\n", {}, "names but no rows"),
        ("a,b\n1,2\n3\n", {}, "line 3 has 1 cells, expected 2"),
        ("a,b\n1,2\n3,4,5\n", {}, "line 3 has 3 cells, expected 2"),
        ("a,a\n1,2\n", {}, "same name 'a'"),
        ("a,\n1,2\n", {}, "column 2 has no name"),
        ("a,town\n1,Seoul\n2,Rome\n", {}, "column 'town' holds text \\('Seoul' in data row 1\\)"),
        ("a,b\n1,\n2,NA\n", {}, "column 'b' has no values"),
        ("a,b\n1,2\n2,inf\n", {}, "column 'b' is infinite or beyond float32 in data row 2"),
        ("a,b\n1,2\n2,1e99\n", {}, "beyond float32"),
        ("a,label\n1,x\n2,\n", {}, "'label' is missing in data row 2"),
        ("a,label\n1,x\n2,x\n", {"cond": "label"}, "one class only"),
        ("label\nx\ny\n", {}, "no columns of values"),
        ("a,b\n1,2\n3,4\n", {"cond": "label"}, "no column of labels"),
        ('a,b\n1,"2\n3,4\n', {}, "not readable as a table"),
        ("a,b\n1,2\0\nx,4\n", {}, "zero byte"),
        ("a,b\n1,2\n", {"colour": "rgb"}, "colour does not apply"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, options, message):
    path = table(tmp_path, text)
    with pytest.raises(DataError, match=message) as caught:
        whole(path, **options)
    assert "\n" not in str(caught.value)
    assert "t.csv" in str(caught.value)


def test_text_that_is_not_utf8(tmp_path):
    path = table(tmp_path, "é,b\n1,2\n", encoding="latin-1")
    with pytest.raises(DataError, match="not UTF-8"):
        load(path)


def test_a_text_table_larger_than_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign, "memory", lambda: 10)
    with pytest.raises(DataError, match="do not fit into memory"):
        load(table(tmp_path, "a,b\n" + "1,2\n" * 10))


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    path = tmp_path / "t.parquet"
    columns = {"a": [1, 2**60, None], "b": [0.5, 1.5, 2.5], "c": [True, False, True], "label": ["u", "v", "u"]}
    built = pyarrow.table(columns)
    parquet.write_table(built.set_column(3, "label", built["label"].dictionary_encode()), path)
    data = whole(path)
    assert data.space == Real((3,), names=("a", "b", "c"))
    expected = np.array([[1, 0.5, 1], [2**60, 1.5, 0], [np.nan, 2.5, 1]], dtype=np.float32)
    assert np.array_equal(data.train.x.numpy(), expected, equal_nan=True)
    assert data.cond.categories == ("u", "v")
    assert data.train.cond.tolist() == [0, 1, 0]


@pytest.mark.parametrize("kind", ["text", "cut", "list", "words", "empty", "large"])
def test_parquet_that_cannot_be_used(tmp_path, monkeypatch, kind):
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    path = tmp_path / "t.parquet"
    columns = {
        "list": {"a": [[1], [2]]},
        "words": {"a": ["x", "y"]},
        "empty": {"a": pyarrow.array([], pyarrow.float64())},
    }.get(kind, {"a": [1.0, 2.0]})
    parquet.write_table(pyarrow.table(columns), path)
    if kind == "text":
        path.write_text("a,b\n1,2\n")
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    if kind == "large":
        monkeypatch.setattr(foreign, "memory", lambda: 10)
    message = {"list": "column 'a' holds list", "words": "holds text", "empty": "is empty", "large": "do not fit"}
    with pytest.raises(DataError, match=message.get(kind, "damaged or not parquet")) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match="pip install"):
        load(table(tmp_path, "x", "t.parquet"))


def test_the_split_does_not_depend_on_what_is_given(tmp_path):
    text = "a,b,label\n" + "".join(f"{i},{i % 7},{'xyyy'[i % 4]}\n" for i in range(40))
    path = table(tmp_path, text)
    cut = [load(path, cond=cond, seed=2).test.rows.tolist() for cond in (None, "none", "label", "b")]
    assert cut[1:] == cut[:1] * 3
    assert sum(i % 4 == 0 for i in cut[0]) == 1  # one of the four held out is of the class of a quarter


def test_bits_of_which_some_are_missing_are_bits(tmp_path):
    (tmp_path / "a.csv").write_text("u,v\n1,0\n,1\n0,\n1,1\n")
    data = load(tmp_path / "a.csv", valid=0, test=0)
    assert str(data.space) == "Binary(2,)"
    assert data.train.x.isnan().tolist() == [[False, False], [True, False], [False, True], [False, False]]
    for name in ("bernoulli", "bernoulli_mixture", "hmm"):
        model = likely.build(name, data.space, seed=0)
        if name == "bernoulli_mixture":
            model = likely.build(name, data.space, components=2, seed=0)
        for _ in likely.fit(model, data.train, passes=3):
            pass
        assert model.complete(data.train.x, seed=0)[~data.train.x.isnan()].tolist() == [1, 0, 1, 0, 1, 1]
    assert str(load(tmp_path / "a.csv", view="reals", valid=0, test=0).space) == "Real(2,)"
    with pytest.raises(likely.LikelyError, match=r"value nan in row 1; .* is it missing"):
        for _ in likely.fit(likely.build("gmm", data.space, components=2), data.train):
            pass


@pytest.mark.parametrize(
    ("weight", "says"),
    [
        ("1e300", r"the weight 'w' is 1e\+300 in row 1, more than 1e\+20; divide all weights"),
        ("-1", "the weight 'w' must be 3 numbers, each 0 or more and finite; row 1 has -1"),
        ("inf", "the weight 'w' must be 3 numbers, each 0 or more and finite; row 1 has inf"),
        ("", "the weight 'w' must be 3 numbers, each 0 or more and finite; row 1 has nan"),
    ],
)
def test_weights_that_cannot_count_rows_are_named(tmp_path, weight, says):
    path = table(tmp_path, f"a,w\n1.5,1\n2.5,{weight}\n3.5,1\n")
    with pytest.raises(DataError, match=says):
        whole(path, weight="w")
    light = table(tmp_path, "a,w\n1.5,1e-300\n2.5,1e-300\n")
    with pytest.raises(DataError, match="the weights add up to 2e-300, less than 1e-20; multiply"):
        whole(light, weight="w")
