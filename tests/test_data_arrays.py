"""Own arrays: `.npy` and `.npz`, and what hostile or broken ones get."""

import io
import struct
import zipfile

import numpy as np
import pytest
import torch

from likely.data import describe, foreign, load
from likely.data.parts import Mapped
from likely.errors import DataError
from likely.spaces import Binary, Finite, Real

RNG = np.random.default_rng(0)


def one_line(path, message, **options):
    with pytest.raises(DataError, match=message) as caught:
        load(path, **options)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


@pytest.mark.parametrize(
    ("array", "space"),
    [
        (RNG.normal(size=(20, 3)), Real((3,))),
        (RNG.normal(size=20), Real((1,))),
        (RNG.integers(256, size=(20, 6, 5), dtype=np.uint8), Finite((1, 6, 5), 256)),
        (RNG.integers(256, size=(20, 3, 6, 5), dtype=np.uint8), Finite((3, 6, 5), 256)),
        (RNG.integers(256, size=(20, 6, 5, 3), dtype=np.uint8), Finite((3, 6, 5), 256)),
        (RNG.integers(2, size=(20, 4)), Binary((4,))),
        (RNG.integers(2, size=(20, 4)).astype(float), Binary((4,))),
        (RNG.integers(2, size=(20, 4)).astype(bool), Binary((4,))),
        (RNG.integers(5, size=(200, 4)), Finite((4,), 5)),
        (RNG.integers(-5, 5, size=(20, 4)), Real((4,))),
        (RNG.integers(0, 3000, size=(20, 4)).astype(">i4"), Real((4,))),
        (np.asfortranarray(RNG.normal(size=(20, 3)).astype(np.float16)), Real((3,))),
    ],
)
def test_the_values_decide_the_space(tmp_path, array, space):
    np.save(tmp_path / "a.npy", array)
    data = load(tmp_path / "a.npy", valid=0, test=0)
    assert data.space == space
    assert data.train.x.dtype == space.dtype
    expected = np.moveaxis(array, 3, 1) if array.shape[-1:] == (3,) and array.ndim == 4 else array
    assert np.array_equal(data.train.x.numpy().reshape(expected.shape), expected.astype(data.train.x.numpy().dtype))
    assert data.name == "a.npy"
    assert len(data.valid) == len(data.test) == 0


def test_missing_values_stay_nan(tmp_path):
    array = RNG.normal(size=(20, 3))
    array[4, 1] = np.nan
    np.save(tmp_path / "a.npy", array)
    assert describe(load(tmp_path / "a.npy"))["missing"] == 1


@pytest.mark.parametrize("view", ["bytes", "reals", "threshold", "dynamic"])
def test_an_array_larger_than_memory_stays_on_disk_and_gives_the_same_batches(tmp_path, monkeypatch, view):
    np.save(tmp_path / "a.npy", RNG.integers(256, size=(100, 4, 4, 3), dtype=np.uint8))
    memory = load(tmp_path / "a.npy", view=view)
    monkeypatch.setattr(foreign, "memory", lambda: 1000)
    disk = load(tmp_path / "a.npy", view=view)
    assert isinstance(disk.train.x, Mapped)
    assert isinstance(memory.train.x, torch.Tensor)
    assert describe(disk)["on_disk"]
    assert disk.space == memory.space
    assert disk.fingerprint == memory.fingerprint
    rows = torch.tensor([5, 1, 70, 1])
    torch.manual_seed(0)
    ours = disk.train.batch(rows)[0]
    torch.manual_seed(0)
    theirs = memory.train.batch(rows)[0]
    assert ours.equal(theirs)
    assert ours.dtype == disk.space.dtype


@pytest.mark.parametrize("key", ["X", "x", "images", "data", "anything"])
@pytest.mark.parametrize("labels", ["y", "labels"])
def test_npz_with_labels(tmp_path, key, labels):
    x, y = RNG.normal(size=(50, 3)), np.repeat([3, 7], 25)
    np.savez_compressed(tmp_path / "a.npz", **{key: x, labels: y})
    data = load(tmp_path / "a.npz")
    assert data.cond == Finite((), 2, categories=("3", "7"), ordered=False)
    for part in data.parts.values():
        assert np.array_equal(np.array([3, 7])[part.cond], y[part.rows])
        assert np.allclose(part.x, x[part.rows])
    assert len(data.test) == 5
    assert load(**data.source).fingerprint == data.fingerprint
    bare = load(tmp_path / "a.npz", cond="none")
    assert bare.cond is None
    assert bare.train.cond is None


def test_npz_with_texts_numbers_and_weights(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=RNG.normal(size=(4, 2)), y=["cat", "dog", "dog", "cat"], age=[0.5, 2, 1, 1], w=[1, 2, 0, 1.0])
    data = load(path, weight="w", valid=0, test=0)
    assert data.cond.categories == ("cat", "dog")
    assert data.train.cond.tolist() == [0, 1, 1, 0]
    assert data.train.weight.tolist() == [1, 2, 0, 1]
    data = load(path, cond="age", weight="w", valid=0, test=0)
    assert data.cond == Real((), names=("age",))
    assert data.train.cond.tolist() == [0.5, 2, 1, 1]
    one_line(path, "has no array 'sex'", cond="sex")


def test_one_class_only_is_left_out_unless_it_was_asked_for(tmp_path):
    np.savez(tmp_path / "a.npz", x=RNG.normal(size=(20, 2)), y=np.zeros(20, dtype=int))
    data = load(tmp_path / "a.npz")
    assert data.cond is None
    assert "one class only" in data.note
    one_line(tmp_path / "a.npz", "one class only", cond="label")


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"a": [1.0], "b": [2.0]}, {}, "which array is the data"),
        ({"x": np.zeros((3, 2)), "y": np.zeros(4)}, {}, "shape \\(4,\\) for 3 rows"),
        ({"x": np.zeros((3, 0))}, {}, "is empty"),
        ({"x": np.float64(3)}, {}, "is empty"),
        ({"x": np.array(["a", "b"])}, {}, "holds <U1"),
        ({"x": np.zeros(3, dtype=complex)}, {}, "real numbers"),
        ({"x": np.array([[1.0], [np.inf]])}, {}, "row 1 holds a number that is infinite"),
        ({"x": np.array([[1.0], [1e300]])}, {}, "row 1 holds"),
        ({"x": np.array([1, "a", None], dtype=object)}, {}, "Python objects"),
        ({"x": np.ones((4, 2)), "y": np.array([1, 2, np.nan, 4])}, {}, "no value in row 2"),
        ({"x": np.ones((4, 2)), "w": np.array([1, 2, -1, 4])}, {"weight": "w"}, "each 0 or more"),
        ({"x": np.ones((4, 2))}, {"cond": "label"}, "has no labels"),
        ({"x": np.ones((4, 2))}, {"size": 8}, "size does not apply"),
        ({"x": np.ones((2, 2))}, {}, "too few"),
        ({"x": np.arange(4.0)}, {"view": "dynamic"}, "view 'dynamic' does not apply"),
    ],
)
def test_npz_that_cannot_be_used(tmp_path, arrays, options, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    one_line(tmp_path / "bad.npz", message, **options)


def _npy(shape, dtype="<f8", body=b"", version=1):
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(header)) + header + body


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_npy((10**12,), body=bytes(8)), "its header says shape"),
        (_npy((2, 2), body=bytes(8)), "32 bytes|header says shape"),
        (_npy((2,), body=bytes(800)), "its header says shape"),
        (_npy((-1, 2), body=bytes(8)), "shape"),
        (_npy((2,), dtype="|O", body=bytes(16)), "Python objects"),
        (_npy((2,), body=bytes(16), version=9), "not a numpy array"),
        (b"hello, this is text", "not a numpy array"),
        (b"", "not a numpy array"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "not a numpy array"),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_headers_that_lie_are_refused_before_anything_is_allocated(tmp_path, content, message, suffix):
    path = tmp_path / f"bad{suffix}"
    if suffix == ".npy":
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", content)
    one_line(path, message)


def test_npz_bombs(tmp_path, monkeypatch):
    path = tmp_path / "bomb.npz"
    monkeypatch.setattr(foreign, "HARMLESS", 100_000)
    np.savez_compressed(path, x=np.zeros((1000, 1000)))
    assert path.stat().st_size < 50_000
    one_line(path, "look like a bomb")
    monkeypatch.setattr(foreign, "HARMLESS", 10**9)
    monkeypatch.setattr(foreign, "memory", lambda: 100_000)
    one_line(path, "do not fit into memory")


def test_broken_npz(tmp_path):
    path = tmp_path / "bad.npz"
    path.write_bytes(b"not a zip")
    one_line(path, "damaged or not a .npz")
    buffer = io.BytesIO()
    np.savez(buffer, x=RNG.normal(size=(50, 4)))
    whole = buffer.getvalue()
    path.write_bytes(whole[: len(whole) // 2])
    one_line(path, "damaged or not a .npz")
    path.write_bytes(whole.replace(whole[200:210], bytes(10)))
    one_line(path, "Bad CRC")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    one_line(path, "holds no arrays")


def test_options_that_do_not_apply_and_unknown_kinds(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((5, 2)))
    one_line(tmp_path / "a.npy", "cond does not apply", cond="label")
    one_line(tmp_path / "a.npy", "weight does not apply", weight="w")
    (tmp_path / "a.docx").write_bytes(b"PK")
    one_line(tmp_path / "a.docx", "not a kind of file")


def test_own_files_are_found_under_likely_data(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    np.save(tmp_path / "sub" / "a.npy", RNG.normal(size=(20, 2)))
    monkeypatch.setenv("LIKELY_DATA", str(tmp_path))
    data = load("sub/a.npy")
    assert data.source["name_or_path"] == str(tmp_path / "sub" / "a.npy")


@pytest.mark.parametrize("on_disk", [False, True])
def test_an_entry_without_any_value_is_named(tmp_path, on_disk, monkeypatch):
    x = np.random.default_rng(0).normal(size=(40, 2, 3)).astype(np.float32)
    x[::2, 0, 1] = np.nan
    x[:, 1, 2] = np.nan
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x=x)
    if on_disk:
        monkeypatch.setattr(foreign, "memory", lambda: 100)
    for path in [tmp_path / "x.npy"] if on_disk else [tmp_path / "x.npy", tmp_path / "x.npz"]:
        with pytest.raises(DataError, match=r"x.np.*: the entry at \(1, 2\) has no value in any row; leave it out"):
            load(path)
    x[39, 1, 2] = 1.0
    np.save(tmp_path / "x.npy", x)
    assert load(tmp_path / "x.npy").space.shape == (2, 3)
