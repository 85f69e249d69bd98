"""Sequences of different lengths: folders, long tables, arrays with lengths, lines of symbols; a model over them."""

import csv
import json

import numpy as np
import pytest
import torch

import likely
from likely import cli, data
from likely.data import load
from likely.data.sequences import like, lines
from likely.errors import DataError, LikelyError, UnknownName
from likely.spaces import Binary, Finite, Ragged, Real, Sequence

GENERATOR = np.random.default_rng(0)


def whole(path, **options):
    return load(path, valid=0, test=0, **options)


def rows(x):
    """Return the sequences of a batch as nested lists without padding."""
    return [values[:n].tolist() for values, n in zip(x.values, x.lengths.tolist(), strict=True)]


def files(folder, **arrays):
    """Write a folder of arrays: name -> values; `__` in a name is a folder."""
    for name, values in arrays.items():
        path = folder / f"{name.replace('__', '/')}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.asarray(values))
    return folder


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


# What is read --------------------------------------------------------------------------------------------------------


def test_a_folder_of_arrays(tmp_path):
    data = whole(files(tmp_path / "d", b=[[1.5, 2], [3, 4]], a=[[0.5, np.nan]], c=[[1, 2]] * 3 + [[1.0, 2.5]]))
    assert data.space == Sequence(step=Real((2,)), length=4)
    assert data.train.x.lengths.tolist() == [1, 2, 4]
    assert rows(data.train.x)[1:] == [[[1.5, 2], [3, 4]], [[1, 2], [1, 2], [1, 2], [1, 2.5]]]
    assert torch.isnan(data.train.x.values[0, 0, 1])
    assert data.view == "reals"


@pytest.mark.parametrize(
    ("values", "step"),
    [
        (np.array([0, 1, 1]), Binary(())),
        (np.array([0.0, 1.0]), Binary(())),
        (np.array([0, 7], dtype=np.uint8), Finite((), 8)),
        (np.array([0, 40_000]), Finite((), 40_001)),
        (np.array([[0, 300]]), Real((2,))),
        (np.array([-1, 3]), Real(())),
        (np.array([[2, 3, 1]]), Finite((3,), 4)),
    ],
)
def test_steps_say_what_they_are(tmp_path, values, step):
    data = whole(files(tmp_path / "d", a=values, b=values[:1]))
    assert data.space == Sequence(step=step, length=len(values))
    assert rows(data.train.x) == [values.tolist(), values[:1].tolist()]


def test_tables_as_files_keep_the_names_of_columns(tmp_path):
    text(tmp_path / "d/a.csv", "up,down\n1,2\n3,\n")
    text(tmp_path / "d/b.csv", "down,up\n5,6\n")
    data = whole(tmp_path / "d")
    assert data.space.step == Real((2,), names=("up", "down"))
    assert data.train.x.values[1, 0].tolist() == [6, 5]
    assert data.train.x.values[0].isnan().tolist() == [[False, False], [False, True]]


def test_folders_are_parts_and_classes(tmp_path):
    split = load(files(tmp_path / "s", train__a=[0.5, 1], train__b=[2.5], test__c=[3.5, 4, 5]), valid=0)
    assert [len(part) for part in split.parts.values()] == [2, 0, 1]
    assert rows(split.test.x) == [[3.5, 4, 5]]
    assert split.cond is None
    classes = whole(files(tmp_path / "c", cat__1=[0.5], cat__2=[1.5, 2], dog__1=[3.5]))
    assert classes.cond.categories == ("cat", "dog")
    assert classes.train.cond.tolist() == [0, 0, 1]
    assert whole(tmp_path / "c", cond="none").cond is None


def test_long_tables(tmp_path):
    path = text(tmp_path / "t.csv", "who,x,y,label,mass\nbo,1,2,u,1\nal,3,4,v,2\nbo,5,,u,1\n")
    data = whole(path, sequence="who", weight="mass")
    assert data.space == Sequence(step=Real((2,), names=("x", "y")), length=2)
    assert data.train.x.lengths.tolist() == [2, 1]  # in the order in which they begin
    assert data.train.x.values[0, :, 0].tolist() == [1, 5]
    assert data.train.x.values[0, 1].isnan().tolist() == [False, True]
    assert data.train.cond.tolist() == [0, 1]
    assert data.train.weight.tolist() == [1, 2]
    again = load(**data.source)
    assert again.fingerprint == data.fingerprint
    changing = whole(text(tmp_path / "c.csv", "who,x,label\n1,1,a\n1,2,b\n2,5,a\n"), sequence="who")
    assert changing.cond is None
    assert "'label' changes within sequences: left out" in changing.note


def test_parquet_and_symbols(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "t.parquet"
    parquet.write_table(arrow.table({"id": [7, 7, 2, 7], "what": ["walk", "shop", "clean", "walk"]}), path)
    data = whole(path, sequence="id")
    assert data.space.step == Finite((), 3, categories=("clean", "shop", "walk"), ordered=False)
    assert rows(data.train.x) == [[2, 1, 2], [0]]


def test_arrays_with_lengths(tmp_path):
    values = np.arange(12.0).reshape(6, 2) + 0.5
    np.savez(tmp_path / "flat.npz", values=values, lengths=[1, 3, 2], y=["a", "b", "a"])
    data = whole(tmp_path / "flat.npz")
    assert rows(data.train.x) == [values[:1].tolist(), values[1:4].tolist(), values[4:].tolist()]
    assert data.cond.categories == ("a", "b")
    drawn = Ragged(torch.tensor([[1, 2, 0], [0, 1, 2]], dtype=torch.uint8), torch.tensor([2, 3]))
    np.savez(tmp_path / "x.npz", x=drawn.values, lengths=drawn.lengths)  # as `likely sample -o` writes it
    again = whole(tmp_path / "x.npz")
    assert again.space == Sequence(step=Finite((), 3), length=3)
    assert rows(again.train.x) == rows(drawn)


def test_lines_of_symbols(tmp_path):
    words = whole(text(tmp_path / "w.txt", "walk shop walk\nclean\n  shop\twalk \n\n"))
    assert words.space.step.categories == ("clean", "shop", "walk")
    assert rows(words.train.x) == [[2, 1, 2], [0], [1, 2]]
    letters = whole(text(tmp_path / "c.txt", "\ufeffabba\nc한\n"))
    assert letters.space == Sequence(step=Finite((), 4, categories=("a", "b", "c", "한"), ordered=False), length=4)
    assert rows(letters.train.x) == [[0, 1, 1, 0], [2, 3]]


def test_views_of_sequences(tmp_path):
    path = text(tmp_path / "t.csv", "id,n\n1,0\n1,4\n2,2\n")
    assert whole(path, sequence="id").space.step == Real((1,), names=("n",))
    counts = whole(path, sequence="id", view="bytes")
    assert counts.space.step == Finite((1,), 5, names=("n",))
    assert counts.train.x.values.dtype == torch.uint8
    bits = files(tmp_path / "b", a=[0, 1], b=[1])
    assert whole(bits).view == "fixed"
    assert whole(bits, view="reals").space.step == Real(())
    with pytest.raises(DataError, match="view 'threshold' does not apply; take fixed or reals"):
        whole(bits, view="threshold")
    with pytest.raises(DataError, match="view 'reals' does not apply; take bytes"):
        whole(text(tmp_path / "s.txt", "ab\n"), view="reals")
    assert whole(bits, view="bytes").space.step == Finite((), 2)
    with pytest.raises(DataError, match="view 'bytes' does not apply; take reals"):
        whole(files(tmp_path / "r", a=[0.5]), view="bytes")


def test_random_splits_are_of_sequences(tmp_path):
    data = load(files(tmp_path / "d", **{f"s{i}": GENERATOR.standard_normal(i + 1) for i in range(20)}))
    assert [len(part) for part in data.parts.values()] == [16, 2, 2]
    assert sorted(n for part in data.parts.values() for n in part.x.lengths.tolist()) == list(range(1, 21))
    assert data.train.rows.tolist() == [n - 1 for n in _sorted_names(data.train.x.lengths.tolist())]
    assert len(data.train.head(3)) == 3
    assert load(**data.source).fingerprint == data.fingerprint


def _sorted_names(lengths):
    """Return the place, from 1, of each file of a length among the names s0, s1, s10, s11, ..., s2, ..."""
    names = sorted(f"s{i}" for i in range(20))
    return [names.index(f"s{n - 1}") + 1 for n in lengths]


# Symbols of another file ---------------------------------------------------------------------------------------------


def test_symbols_go_by_name(tmp_path):
    mine = whole(text(tmp_path / "a.txt", "abca\n"))
    other = whole(text(tmp_path / "b.txt", "cc\nac\n"))
    assert rows(other.train.x) == [[1, 1], [0, 1]]
    brought = like(other, mine.space)
    assert rows(brought.train.x) == [[2, 2], [0, 2]]
    assert brought.space.step == mine.space.step
    assert rows(like(mine, mine.space).train.x) == rows(mine.train.x)
    assert like(load("digits"), mine.space).name == "digits"
    with pytest.raises(DataError, match=r"'b\.txt' has the symbol 'c', which the run does not know; it knows a, b"):
        like(other, whole(text(tmp_path / "d.txt", "ab\n")).space)


def test_columns_go_by_name(tmp_path):
    mine = whole(text(tmp_path / "a.csv", "id,x,y\n1,0.5,2\n"), sequence="id")
    other = whole(text(tmp_path / "b.csv", "id,y,x\n1,3,4\n2,5,\n2,7,8.5\n"), sequence="id")
    brought = like(other, mine.space)
    assert brought.space.step == mine.space.step
    assert brought.train.x.values[0].tolist() == [[4, 3], [0, 0]]
    assert brought.train.x.values[1, 1].tolist() == [8.5, 7]
    with pytest.raises(DataError, match=r"'c.csv' has the columns z; the run was fitted on x, y"):
        like(whole(text(tmp_path / "c.csv", "id,z\n1,0.5\n"), sequence="id"), mine.space)


# Errors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": [[1.0, 2]], "b": [[1.0]]}, r"b.npy has steps of shape \(1,\), a.npy has \(2,\)"),
        ({"a": [1.5], "b": [1]}, "b.npy has steps of whole numbers, a.npy has real numbers"),
        ({"a": [1.5], "b": ["x"]}, "b.npy has steps of text, a.npy has real numbers"),
        ({"a": [1.5], "b": []}, r"b.npy: is empty \(shape \(0,\)\)"),
        ({"a": 1.5}, r"is empty \(shape \(\)\)"),
        ({"a": [np.inf]}, "infinite or beyond float32"),
        ({"a": [np.nan]}, "all are missing"),
        ({"a": [1j]}, "holds complex128"),
        ({"cat__a": [1.5], "b": [1.5]}, "b.npy lies beside the folders of classes"),
    ],
)
def test_faults_of_folders(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message) as caught:
        whole(files(tmp_path / "d", **arrays))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("id,x\n1,2\n", {"sequence": "idd"}, "idd.*id"),
        ("id,x\n1,2\n,3\n", {"sequence": "id"}, "'id' is missing in data row 2"),
        ("id,x,w\n1,2,a\n", {"sequence": "id"}, "column 'w' holds text, so it must be the only one; there is also x"),
        ("id,w\n1,a\n1,\n", {"sequence": "id"}, "'w' is missing in data row 2"),
        ("id,x\n1,2\n1,3,4\n", {"sequence": "id"}, "line 3 has 3 cells, expected 2"),
        ("id,x\n1,2\n", {"sequence": "id", "cond": "label"}, "has no column of labels"),
        ("id,x,k\n1,2,a\n1,2,b\n", {"sequence": "id", "cond": "k"}, "'k' differs within a sequence"),
        ("id,x,k\n1,2,1\n1,2,2\n", {"sequence": "id", "weight": "k"}, "'k' differs within a sequence"),
        ("id\n1\n", {"sequence": "id"}, "has no columns of values besides id"),
    ],
)
def test_faults_of_long_tables(tmp_path, content, options, message):
    with pytest.raises((DataError, UnknownName), match=message) as caught:
        whole(text(tmp_path / "t.csv", content), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"values": [1.5, 2], "lengths": [1, 2]}, "the lengths add up to 3 steps, 'values' has 2"),
        ({"values": [1.5, 2], "lengths": [2, 0]}, "sequence 1 has no steps; remove it"),
        ({"values": [1.5, 2], "lengths": [3, -1]}, "'lengths' must be whole numbers"),
        ({"values": [1.5, 2], "lengths": [0.5, 1.5]}, "'lengths' must be whole numbers"),
        (
            {"x": [[1.5, 2]], "lengths": [3]},
            r"'x' has shape \(1, 2\), which does not hold 1 sequences of up to 3 steps",
        ),
        ({"z": [1.5, 2], "lengths": [2]}, "has lengths, but neither values nor x"),
        ({"values": [1.5, 2], "lengths": [2], "y": [1, 2]}, "'y' does not have one value for each of 1 sequences"),
        ({"values": [1.5 + 2j], "lengths": [1]}, "holds complex128"),
    ],
)
def test_faults_of_lengths(tmp_path, arrays, message):
    np.savez(tmp_path / "t.npz", **{name: np.asarray(values) for name, values in arrays.items()})
    with pytest.raises(DataError, match=message) as caught:
        whole(tmp_path / "t.npz")
    assert "\n" not in str(caught.value)


def test_other_faults(tmp_path, monkeypatch):
    for content, message in [("ab\n\ncd\n", "line 2 is empty"), ("  \n", "is empty"), ("", "is empty")]:
        with pytest.raises(DataError, match=message):
            whole(text(tmp_path / "t.txt", content))
    (tmp_path / "b.txt").write_bytes(b"ab\xff\n")
    with pytest.raises(DataError, match=r"not UTF-8 text \(byte 2\)"):
        whole(tmp_path / "b.txt")
    folder = files(tmp_path / "d", a=[1.5])
    with pytest.raises(DataError, match="size does not apply to a folder of sequences"):
        whole(folder, size=8)
    with pytest.raises(DataError, match="cond='k' does not apply"):
        whole(folder, cond="k")
    np.save(tmp_path / "a.npy", [1.5])
    with pytest.raises(DataError, match="sequence='id' names a column of a table"):
        whole(tmp_path / "a.npy", sequence="id")
    with pytest.raises(DataError, match="sequence does not apply to 'digits'"):
        load("digits", sequence="id")
    long = files(tmp_path / "long", a=np.zeros(50_000) + 0.5, **{f"s{i}": [0.5] for i in range(20)})
    monkeypatch.setattr(data.foreign, "memory", lambda: 2_000_000)
    with pytest.raises(DataError, match="21 sequences brought to the longest, of 50,000 steps"):
        whole(long)


# A model over them ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["walk shop walk\nclean\nshop walk\n", "abba\ncab\nb\n"])
def test_symbols_are_written_as_they_are_read(tmp_path, content):
    read = whole(text(tmp_path / "t.txt", content))
    written = lines(read.train.x, read.space)
    assert sorted(written) == sorted(content.splitlines())
    again = whole(text(tmp_path / "again.txt", "\n".join(written)))
    assert rows(again.train.x) == rows(read.train.x)


def test_what_is_no_text_is_not_written_as_one():
    with pytest.raises(DataError, match="holds no texts"):
        lines(Ragged(torch.zeros(1, 2), torch.tensor([2])), Sequence(step=Real(()), length=2))
    places = Sequence(step=Finite((), 2, categories=("New York", "Rome"), ordered=False), length=2)
    with pytest.raises(DataError, match="the symbol 'New York' has a space"):
        lines(Ragged(torch.zeros(1, 2), torch.tensor([2])), places)


def _run(capsys, *words):
    assert cli.main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_from_files_to_scores(tmp_path, capsys, monkeypatch):
    """`likely fit hmm --data DIR`, then sample and score, also data that were not seen."""
    monkeypatch.chdir(tmp_path)
    sequences = {f"s{i}": GENERATOR.standard_normal((5 + i % 7, 2)) + 3 * (i % 2) for i in range(40)}
    files(tmp_path / "d", **sequences)
    _run(capsys, "fit", "hmm", "--data", "d", "--states", "2", "--passes", "5", "--out", "run")
    _run(capsys, "sample", "run", "-n", "6", "--seed", "0", "-o", "x.npz")
    scored = _run(capsys, "score", "run", "--data", "d", "-o", "scores.csv")
    assert scored["rows"] == 40
    with open("scores.csv", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    model = likely.load("run")
    expected = model.log_prob([torch.tensor(sequences[name]).float() for name in sorted(sequences)])
    assert [float(row["nats"]) for row in table] == pytest.approx(expected.tolist(), abs=1e-3)
    drawn = np.load("x.npz")
    assert len(drawn["lengths"]) == 6
    files(tmp_path / "e", long=np.zeros((12, 2)) + 0.5)
    assert cli.main(["score", "run", "--data", "e"]) != 0
    assert "12" in capsys.readouterr().err


def test_symbols_are_fitted_and_drawn(tmp_path):
    lines = ["".join(GENERATOR.choice(list("abc"), 8, p=[0.6, 0.3, 0.1])) for _ in range(60)]
    loaded = load(text(tmp_path / "t.txt", "\n".join(lines)))
    run = likely.train("hmm", loaded, states=2, passes=4, out=tmp_path / "run", quiet=True)
    again = likely.load(tmp_path / "run")
    assert again.space.step.categories == ("a", "b", "c")
    drawn = again.sample(300, seed=0)
    share = np.bincount(np.concatenate(rows(drawn)), minlength=3) / int(drawn.lengths.sum())
    assert share == pytest.approx([0.6, 0.3, 0.1], abs=0.06)
    assert torch.equal(run.model.log_prob(loaded.test.x), again.log_prob(loaded.test.x))
    with pytest.raises(LikelyError):
        again.log_prob([[0, 3]])


def test_the_column_and_the_symbols_on_the_command_line(tmp_path, capsys, monkeypatch):
    """`--sequence` says the column once; other files are read the same way, and symbols go by name."""
    monkeypatch.chdir(tmp_path)
    lines = ["id,what", *(f"{i // 6},{'ab'[int(GENERATOR.random() < 0.3)]}" for i in range(120))]
    text(tmp_path / "t.csv", "\n".join(lines))
    _run(capsys, "fit", "hmm", "--data", "t.csv", "--sequence", "id", "--states", "2", "--passes", "3", "--out", "run")
    told = _run(capsys, "data", "t.csv", "--sequence", "id")
    assert told["space"]["kind"] == "Sequence"
    assert (told["min"], told["max"]) == (0, 1)
    assert _run(capsys, "score", "run", "--data", "t.csv")["rows"] == 20
    text(tmp_path / "u.txt", "bb\nb\n")
    other = _run(capsys, "score", "run", "--data", "u.txt")
    model = likely.load("run")
    assert other["mean_nats"] == pytest.approx(float(model.log_prob([[1, 1], [1]]).mean()), abs=1e-5)
    text(tmp_path / "v.txt", "bc\n")
    assert cli.main(["score", "run", "--data", "v.txt"]) != 0
    assert "'c', which the run does not know" in capsys.readouterr().err
