"""`likely.data.load`: named sets, views, splits, sources, fingerprints."""

import hashlib
import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from likely.data import describe, load, names
from likely.data.parts import Mapped, Part
from likely.data.rows import split
from likely.errors import DataError, LikelyError, UnknownName
from likely.spaces import Binary, Finite, Ragged, Real

SHARED = Path(__file__).parents[2] / "shared" / "data"


def test_importing_the_package_imports_no_reader_and_no_torch():
    heavy = ("torch", "numpy", "PIL", "pooch", "sklearn", "pyarrow")
    code = f"import sys, likely.data as d; d.names(); print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_digits_are_scikit_learns_cut_into_three_parts():
    from sklearn.datasets import load_digits

    data = load()
    assert str(data.space) == "Finite((1, 8, 8), 17)"
    assert data.cond.categories == tuple("0123456789")
    assert [len(p) for p in data.parts.values()] == [1437, 180, 180]
    images, labels = load_digits(return_X_y=True)
    seen = torch.cat([p.rows for p in data.parts.values()])
    assert seen.sort().values.equal(torch.arange(1797))  # each row is in exactly one part
    for part in data.parts.values():
        assert np.array_equal(part.x.reshape(-1, 64).numpy(), images[part.rows])
        assert np.array_equal(part.cond.numpy(), labels[part.rows])
        assert data.space.contains(part.x)
        assert data.cond.contains(part.cond)
        shares = np.bincount(part.cond, minlength=10) / len(part)
        assert np.abs(shares - np.bincount(labels) / 1797).max() < 0.006  # stratified


@pytest.mark.parametrize(
    ("view", "space"),
    [("bytes", Finite((1, 8, 8), 17)), ("reals", Real((1, 8, 8))), ("threshold", Binary((1, 8, 8)))],
)
def test_views_of_digits(view, space):
    levels, data = load("digits").train.x, load("digits", view=view)
    assert data.space == space
    assert data.view == view
    assert data.train.x.dtype == space.dtype
    assert all(space.contains(p.x) for p in data.parts.values())
    expected = (levels >= 8) if view == "threshold" else levels
    assert data.train.x.equal(expected.to(space.dtype))


def test_dynamic_bits_have_the_right_chance_and_held_out_bits_are_fixed():
    levels = load("digits")
    data = load("digits", view="dynamic")
    assert data.space == Binary((1, 8, 8))
    assert data.train.dynamic == 16
    assert "seed 0" in data.note
    torch.manual_seed(1)
    draws = torch.stack([data.train.batch(slice(0, 50))[0].double() for _ in range(400)])
    expected = levels.train.x[:50].double() / 16
    error = (draws.mean(0) - expected).abs() / (expected * (1 - expected) / 400).sqrt().clamp(min=1e-9)
    assert error.max() < 5
    assert draws[:, expected == 0].max() == 0
    assert draws[:, expected == 1].min() == 1
    again = load("digits", view="dynamic")
    for part, other in ((data.valid, again.valid), (data.test, again.test)):
        assert part.dynamic is None
        assert part.x.equal(other.x)
    chance = levels.test.x.double() / 16
    spread = (chance * (1 - chance)).sum().sqrt()
    assert (data.test.x.double().sum() - chance.sum()).abs() < 5 * spread
    assert not load("digits", view="dynamic", seed=1).test.x.equal(data.test.x)


def test_an_alias_is_its_set_in_one_view():
    alias, plain = load("digits-binary"), load("digits", view="threshold")
    assert alias.name == "digits-binary"
    assert alias.fingerprint == plain.fingerprint
    with pytest.raises(DataError, match="for the view 'reals' load 'digits'"):
        load("digits-binary", view="reals")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("digits", {"view": "fixed"}, "view 'fixed' does not apply"),
        ("ring", {"view": "bytes"}, "view 'bytes' does not apply"),
        ("digits", {"size": 4}, "size does not apply to 'digits'"),
        ("digits", {"valid": 0.2}, "valid does not apply to 'digits'"),
        ("digits", {"cond": "text"}, "labels only"),
        ("ring", {"cond": "label"}, "no labels"),
        ("digits", {"seed": -1}, "seed must be"),
        ("digits", {"seed": True}, "seed must be"),
        ("no/such/folder", {}, "no such file or folder"),
        ("nothing.csv", {}, "no such file or folder"),
    ],
)
def test_what_cannot_be_asked_gets_one_line(name, options, message):
    with pytest.raises(DataError, match=message) as caught:
        load(name, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "near"), [("digit", "digits"), ("minst", "mnist"), ("fashionmnist", "fashion-mnist")])
def test_a_misspelt_name_gets_the_nearest(name, near):
    with pytest.raises(UnknownName, match=f"Did you mean '{near}'"):
        load(name)


def test_a_misspelt_view_gets_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'threshold'"):
        load("digits", view="treshold")


def test_every_name_has_one_line_and_a_loader():
    from likely.data import named

    assert all(text and "\n" not in text for text in names().values())
    toys = {*named.TOYS, "squares"}
    assert set(names()) == toys | set(named.ALIASES) | set(named.ADDRESSES) | {"digits", "cifar10-jpeg"}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("digits", {}),
        ("digits", {"view": "dynamic", "seed": 3}),
        ("digits", {"cond": "none"}),
        ("moons", {"seed": 7}),
    ],
)
def test_source_is_plain_and_loads_the_same_again(name, options):
    data = load(name, **options)
    source = json.loads(json.dumps(data.source))
    assert load(**source).fingerprint == data.fingerprint
    assert load(**source).source == data.source


def test_fingerprints_differ_where_the_data_do():
    prints = [
        load("digits").fingerprint,
        load("digits", view="reals").fingerprint,
        load("digits", view="threshold").fingerprint,
        load("digits", view="dynamic").fingerprint,
        load("digits", seed=1).fingerprint,
        load("digits", cond="none").fingerprint,
    ]
    assert len(set(prints)) == len(prints)


def test_description():
    found = describe(load("digits"))
    assert json.loads(json.dumps(found))["space"]["levels"] == 17
    assert found["rows"] == {"train": 1437, "valid": 180, "test": 180}
    assert sum(found["classes"].values()) == 1797
    assert (found["min"], found["max"], found["missing"], found["on_disk"]) == (0, 16, 0, False)
    assert describe(load("ring"))["density_known"]


# Splits ------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(3, 300),
    classes=st.integers(1, 5),
    seed=st.integers(0, 10),
    valid=st.sampled_from([0, 0.1, 0.3]),
    test=st.sampled_from([0, 0.1, 0.45]),
)
def test_a_split_is_a_partition_with_the_shares_asked(n, classes, seed, valid, test):
    labels = np.random.default_rng(seed).integers(classes, size=n)
    cuts, _ = split(n, labels, seed=seed, valid=valid, test=test)
    assert np.array_equal(np.sort(np.concatenate(list(cuts.values()))), np.arange(n))
    for part, share in (("valid", valid), ("test", test)):
        assert len(cuts[part]) == (max(1, round(n * share)) if share else 0)
    again, _ = split(n, labels, seed=seed, valid=valid, test=test)
    assert all(np.array_equal(cuts[part], again[part]) for part in cuts)
    if test:  # the classes' shares, to within a row of each
        counts = np.bincount(labels[cuts["test"]], minlength=classes)
        assert np.abs(counts - len(cuts["test"]) * np.bincount(labels, minlength=classes) / n).max() <= 1 + classes / 2


def test_without_held_out_parts_the_order_stays():
    cuts, how = split(5, None, seed=0, valid=0, test=0)
    assert cuts["train"].tolist() == [0, 1, 2, 3, 4]
    assert "not split" in how


def test_the_only_row_of_a_class_is_for_training():
    labels = np.array([0] * 50 + [1])
    for seed in range(20):
        assert 50 in split(51, labels, seed=seed)[0]["train"]


@pytest.mark.parametrize(("valid", "test"), [(0.5, 0.5), (-0.1, 0.1), (1, 0), ("a", 0), (float("nan"), 0)])
def test_fractions_that_leave_nothing_are_refused(valid, test):
    with pytest.raises(DataError, match="fractions"):
        split(100, None, seed=0, valid=valid, test=test)


def test_too_few_rows_to_split():
    with pytest.raises(DataError, match="too few"):
        split(2, None, seed=0)


# Parts -------------------------------------------------------------------------------------------------------------


def test_rows_on_disk_are_the_rows_in_memory(tmp_path):
    array = np.arange(60, dtype=">i4").reshape(20, 3)
    np.save(tmp_path / "a.npy", array)
    disk = Mapped(np.load(tmp_path / "a.npy", mmap_mode="r"), lambda a: a.astype(np.float32))
    disk = disk.take(np.array([5, 2, 19, 0, 7]))
    memory = torch.from_numpy(array.astype(np.float32))[[5, 2, 19, 0, 7]]
    rows = torch.tensor([4, 0, 0, 2])
    assert Part(disk).batch(rows)[0].equal(Part(memory).batch(rows)[0])
    assert Part(disk).batch(slice(1, 4))[0].equal(memory[1:4])
    assert Part(disk).head(2).batch(slice(0, 9))[0].equal(memory[:2])
    assert torch.from_numpy(disk[1]).equal(memory[1])
    assert torch.from_numpy(disk.then(lambda x: 2 * x)[:]).equal(2 * memory)


def test_head_keeps_all_that_belongs_to_a_row():
    part = Part(
        torch.arange(4),
        Ragged(torch.ones(4, 2, dtype=torch.uint8), torch.tensor([1, 2, 1, 2])),
        torch.ones(4),
        rows=torch.arange(4),
    )
    head = part.head(2)
    assert len(head) == len(head.cond.lengths) == len(head.weight) == len(head.rows) == 2


# The published sets, where this machine has them --------------------------------------------------------------------

shared = pytest.mark.skipif(not (SHARED / "mnist").is_dir(), reason="no ../shared/data")


@shared
def test_published_mnist(monkeypatch):
    monkeypatch.setenv("LIKELY_DATA", str(SHARED))
    data = load("mnist")
    assert [len(p) for p in data.parts.values()] == [50_000, 10_000, 10_000]
    # the first labels of the published files, and the mean of the published training pixels (33.318)
    assert data.train.cond[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    assert data.test.cond[:8].tolist() == [7, 2, 1, 0, 4, 1, 4, 9]
    mean = torch.cat([data.train.x, data.valid.x]).double().mean().item()
    assert mean == pytest.approx(33.3184, abs=1e-3)


@shared
def test_published_binarized_mnist_from_text_is_that_from_the_packed_file(monkeypatch, tmp_path):
    from likely.data import download, named

    monkeypatch.setenv("LIKELY_DATA", str(SHARED))
    data = load("binarized-mnist")
    assert (data.view, str(data.space)) == ("fixed", "Binary(1, 28, 28)")
    assert [len(p) for p in data.parts.values()] == [50_000, 10_000, 10_000]
    with np.load(SHARED / "binarized_mnist.npz") as packed:
        bits = np.unpackbits(packed["test"], axis=1)
    assert np.array_equal(data.test.x.reshape(-1, 784).numpy(), bits)
    text = np.full((10_000, 784, 2), ord(" "), dtype=np.uint8)
    text[:, :, 0] = bits + ord("0")
    text[:, -1, 1] = ord("\n")
    path = tmp_path / "binarized_mnist_test.amat"
    path.write_bytes(text.tobytes())
    read = named._read_amat(path, *named.BINARIZED["test"])
    assert np.array_equal(read, bits)
    assert download.local("binarized_mnist.npz") == SHARED / "binarized_mnist.npz"


def test_text_of_bits_that_is_not_as_published(tmp_path):
    from likely.data import named

    bits = np.random.default_rng(0).integers(2, size=(3, 784))
    digest = hashlib.sha256(np.packbits(bits.astype(np.uint8), axis=1)).hexdigest()
    path = tmp_path / "b.amat"
    lines = [" ".join(map(str, row)) for row in bits]
    path.write_text("\n".join(lines) + "\n")
    assert np.array_equal(named._read_amat(path, 3, digest), bits)
    for text, message in (
        ("\n".join(lines[:2]), "1,568 bits"),
        ("\n".join([*lines[:2], lines[2][:-1] + "2"]), "bits"),
        ("\n".join(lines[::-1]), "wrong content"),
        ("\n".join(lines) * 2, "larger than"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            named._read_amat(path, 3, digest)


# Damage of any kind ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory):
    """One small file of each kind."""
    import pyarrow
    import pyarrow.parquet
    from PIL import Image

    folder = tmp_path_factory.mktemp("whole")
    rng = np.random.default_rng(0)
    np.save(folder / "a.npy", rng.normal(size=(9, 3)))
    np.savez_compressed(folder / "a.npz", x=rng.normal(size=(9, 3)), y=rng.integers(3, size=9))
    pyarrow.parquet.write_table(pyarrow.table({"a": [1.0, 2, 3], "label": ["x", "y", "x"]}), folder / "a.parquet")
    (folder / "a.csv").write_text("a,b,label\n1,2,x\n3,4,y\n5,,x\n")
    for suffix in ("png", "jpg", "gif"):
        pixels = rng.integers(256, size=(8, 8, 3), dtype=np.uint8)
        (folder / suffix / "c").mkdir(parents=True)
        Image.fromarray(pixels).save(folder / suffix / "c" / f"a.{suffix}")
        shutil.make_archive(str(folder / suffix), "zip", folder / suffix)
        shutil.make_archive(str(folder / suffix), "gztar", folder / suffix)
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_load_or_get_one_line(whole_files, tmp_path, data):
    name = data.draw(st.sampled_from(sorted(whole_files)))
    content = bytearray(whole_files[name])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        new = data.draw(st.binary(max_size=6) | st.sampled_from([b"\0\0\0\0", b"\xff\xff\xff\xff"]))
        content[at : at + data.draw(st.sampled_from([0, len(new), 4, 10_000]))] = new
        content = content or bytearray(b"\0")
    (tmp_path / name).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # decoders warn about odd files
        try:
            load(tmp_path / name, valid=0, test=0)
            message = ""
        except LikelyError as error:
            message = str(error)
    assert not message or (name in message and "\n" not in message)


def test_rows_lie_together_in_memory():
    """Picking rows of a column-major array took a hundred times as long, and so did every training step."""
    x = torch.randn(5, 3).T.contiguous().T
    assert not x.is_contiguous()
    part = Part(x)
    assert part.x.is_contiguous()
    assert torch.equal(part.x, x)
