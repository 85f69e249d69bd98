"""`evaluate` on sets that stay on disk: the numbers are those of sets in memory, and what is held is bounded."""

from __future__ import annotations

import dataclasses
import gc
import io
import json
import tarfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from likely import extractors
from likely.cli import main
from likely.data import load
from likely.data.decoding import Pictures, resized
from likely.data.parts import Mapped
from likely.errors import DataError, LikelyError, UnknownName
from likely.evaluation import by_features, evaluate_samples, feature_distances, reading, samples
from likely.evaluation.frechet import frechet_distance
from likely.evaluation.pace import LATE, Pace, Stage
from likely.extractors.resize import legacy as legacy_of_networks
from likely.progress import Progress
from likely.spaces import Finite

KINDS = ("", ".zip", ".tar", ".tar.gz")


def pixels(n: int, side: int = 8, channels: int = 3, seed: int = 0, rough: float = 1.0) -> np.ndarray:
    """Return smooth pictures, (N, H, W, C), bytes."""
    rng = np.random.default_rng(seed)
    smooth = rng.normal(size=(n, 1, 1, channels)) + np.linspace(-1, 1, side)[:, None, None] * rng.normal(
        size=(n, 1, 1, 1)
    )
    return np.clip(128 + 40 * smooth + 15 * rough * rng.normal(size=(n, side, side, channels)), 0, 255).astype(np.uint8)


def write(
    path: Path, arrays: np.ndarray | list[np.ndarray], kind: str = "", spoil: dict[int, bytes] | None = None
) -> Path:
    """Write pictures as a folder or an archive; those in `spoil` get these bytes."""
    contents = {}
    for i, one in enumerate(arrays):
        out = io.BytesIO()
        Image.fromarray(one.squeeze()).save(out, "PNG")
        contents[f"{i:04d}.png"] = (spoil or {}).get(i, out.getvalue())
    path = path.with_name(path.name + kind)
    if not kind:
        path.mkdir()
        for name, content in contents.items():
            (path / name).write_bytes(content)
    elif kind == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in contents.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz" if kind == ".tar.gz" else "w") as archive:
            for name, content in contents.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take few directions, and no jackknife of small sets, which is most of the time."""
    monkeypatch.setattr(by_features, "PROJECTIONS", 20)
    monkeypatch.setattr(by_features, "JACKKNIFED", 0)


def on_disk(path: Path, **options: Any) -> Any:
    return load(path, on_disk=True, **options)


def numbers(results: list[Any]) -> dict[tuple[str, str], float]:
    return {(r["metric"], r["protocol"]["features"]): r["value"] for r in results}


# data that stay on disk


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_on_disk_are_those_in_memory(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "p", pixels(30), kind)
    memory, disk = load(path), on_disk(path)
    assert isinstance(disk.train.x, Mapped)
    assert isinstance(disk.train.x.array, Pictures)
    assert disk.space == memory.space
    assert disk.fingerprint == memory.fingerprint
    assert disk.source == memory.source
    rows = torch.tensor([5, 2, 2, 17])
    assert disk.train.batch(rows)[0].equal(memory.train.batch(rows)[0])
    assert torch.from_numpy(disk.test.x[1]).equal(memory.test.x[1])
    small = {"size": (4, 6), "colour": "grey", "valid": 0, "test": 0}
    assert torch.from_numpy(on_disk(path, **small).train.x[:]).equal(load(path, **small).train.x)
    del disk
    gc.collect()  # what is open is closed without a warning


def test_views_and_labels_of_pictures_on_disk(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    for name in ("cat", "dog"):
        write(tmp_path / "p" / name, pixels(10, channels=1))
    memory, disk = (load(tmp_path / "p", view="threshold", on_disk=where) for where in (False, True))
    assert disk.fingerprint == memory.fingerprint
    assert disk.train.cond.equal(memory.train.cond)


@pytest.mark.parametrize("suffix", [".npy", ".npz", "compressed.npz"])
def test_arrays_on_disk_are_those_in_memory(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path, array = tmp_path / f"a{suffix}", pixels(40)
    if suffix == ".npy":
        np.save(path, array)
    else:
        (np.savez_compressed if "compressed" in suffix else np.savez)(path, x=np.asfortranarray(array))
    memory, disk = load(path), on_disk(path)
    assert isinstance(disk.train.x, Mapped)
    assert disk.fingerprint == memory.fingerprint
    del disk
    gc.collect()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]  # nothing is left behind


def test_a_picture_that_is_not_like_the_others_is_named_before_any_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = list(pixels(20))
    path = write(tmp_path / "sizes", [*many, pixels(1, 9)[0]])
    with pytest.raises(DataError, match=r"sizes: 0020.png is 9 x 9 pixels where most are 8 x 8 pixels: give size=32"):
        on_disk(path)
    path = write(tmp_path / "colours", [*many, pixels(1, channels=1)[0]])
    with pytest.raises(DataError, match=r"0020.png is grey where most are rgb: give colour='rgb'"):
        on_disk(path)
    assert on_disk(path, colour="rgb").space == Finite((3, 8, 8), 256)
    assert len(on_disk(tmp_path / "sizes", size=8, valid=0, test=0).train) == 21
    path = write(tmp_path / "texts", many, spoil={7: b"no picture"})
    with pytest.raises(DataError, match=r"0007.png: not a picture"):
        on_disk(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_picture_is_named_when_it_is_read(tmp_path: Path, kind: str) -> None:
    good = write(tmp_path / "one", pixels(1)).joinpath("0000.png").read_bytes()
    path = write(tmp_path / "p", pixels(20), kind, spoil={13: good[:-40]})
    with pytest.raises(DataError, match=r"0013.png: damaged picture") as caught:
        evaluate_samples(on_disk(path, valid=0, test=0), pixels(20).transpose(0, 3, 1, 2))
    assert "\n" not in str(caught.value)


def test_a_picture_that_was_turned_by_its_camera(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "p").mkdir()
    for i in range(4):
        Image.new("RGB", (8, 4)).save(tmp_path / "p" / f"{i}.jpg", exif=exif)
    data = on_disk(tmp_path / "p", valid=0, test=0)
    assert data.space.shape == (3, 8, 4)
    assert data.train.x[:].shape == (4, 3, 8, 4)


def test_resizing_by_name(tmp_path: Path) -> None:
    row = np.array([[0, 100]], np.uint8).repeat(2, 0)
    legacy = resized(Image.fromarray(row), 4, 4, "legacy")
    assert legacy.tolist() == [[0, 50, 100, 100]] * 4  # uncentred: pixel i lies at i / 2
    picture = Image.fromarray(pixels(1, 12)[0])
    bicubic, lanczos = (
        np.asarray(picture.resize((5, 5), how)) for how in (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
    )
    assert np.array_equal(resized(picture, 5, 5, "clean"), bicubic)
    assert np.array_equal(resized(picture, 5, 5, "lanczos"), lanczos)
    old = legacy_of_networks(torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None].float(), 5)[0]
    assert np.abs(resized(picture, 5, 5, "legacy").transpose(2, 0, 1) - old.numpy()).max() <= 0.5 + 1e-4

    path = write(tmp_path / "p", pixels(10, 12))
    sets = {how: load(path, size=5, resize=how, valid=0, test=0) for how in ("lanczos", "clean", "legacy")}
    assert len({data.fingerprint for data in sets.values()}) == 3
    assert "legacy: TensorFlow 1's bilinear" in sets["legacy"].note
    assert load(**sets["legacy"].source).fingerprint == sets["legacy"].fingerprint
    with pytest.raises(UnknownName, match="Did you mean 'legacy'"):
        load(path, size=5, resize="legaci")
    with pytest.raises(DataError, match="needs a size"):
        load(path, resize="clean")


# metrics of what is on disk


@pytest.mark.parametrize("features", ["pca", "pixels"])
def test_numbers_of_sets_on_disk_are_those_of_sets_in_memory(tmp_path: Path, features: str) -> None:
    real, fake = write(tmp_path / "real", pixels(90)), write(tmp_path / "fake", pixels(70, seed=1, rough=1.5), ".zip")
    found = [
        evaluate_samples(
            *(load(path, valid=0, test=0, on_disk=where) for path in (real, fake)), features=features, seed=3
        )
        for where in (False, True)
    ]
    assert numbers(found[1]) == pytest.approx(numbers(found[0]), rel=1e-9)
    for one, other in zip(*found, strict=True):
        assert one["protocol"]["fingerprint"] == other["protocol"]["fingerprint"]
        assert one["protocol"]["floor_of"] == "two halves of the real rows"
        assert one["protocol"]["floor"] == pytest.approx(other["protocol"]["floor"], rel=1e-9)
        assert (one["protocol"]["n_real"], one["protocol"]["n_generated"]) == (90, 70)
        assert one["protocol"]["floor_n"] == (90 if one["metric"] == "inception_score" else 45)


def test_a_split_by_folders_gives_the_floor(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    for i, part in enumerate(("train", "test")):
        write(tmp_path / "p" / part, pixels(30 + 10 * i, seed=i))
    found = evaluate_samples(on_disk(tmp_path / "p", valid=0), on_disk(tmp_path / "p", valid=0), features="pixels")
    for one in found:
        assert "floor_of" not in one["protocol"]
        assert (one["protocol"]["n_real"], one["protocol"]["n_generated"], one["protocol"]["floor_n"]) == (30, 70, 30)


@pytest.mark.parametrize("name", ["digits-cnn", "pca", "pixels"])
def test_batch_size_changes_nothing(name: str) -> None:
    data = load("digits")
    extractor = extractors.load(name, real=data.train.x, space=data.space)
    found = [
        numbers(feature_distances(dataclasses.replace(extractor, rows=rows), data.space, data.test.x, data.valid.x))
        for rows in (7, 64, 10_000)
    ]
    assert found[1] == pytest.approx(found[0], rel=1e-5, abs=1e-6)
    assert found[2] == pytest.approx(found[0], rel=1e-5, abs=1e-6)


def test_of_features_that_are_not_all_held_random_rows_and_all_moments_count(monkeypatch: pytest.MonkeyPatch) -> None:
    space = Finite((3, 4, 4), 256)
    x, y = (torch.from_numpy(pixels(n, 4, seed=n).transpose(0, 3, 1, 2).copy()) for n in (300, 260))
    extractor = dataclasses.replace(extractors.load("pixels"), rows=32)
    features = extractor(x, space), extractor(y, space)
    monkeypatch.setattr(reading, "HELD", 100 * 48 * 4)
    monkeypatch.setattr(reading, "TOGETHER", 50)
    held = reading.read(extractor, x, space, seed=1)
    assert (held.rows.shape, held.total) == ((100, 48), 300)
    assert held.moments is not None
    assert torch.allclose(held.moments.covariance, features[0].double().T.cov(), rtol=1e-10)
    assert len({tuple(row.tolist()) for row in held.rows} & {tuple(row.tolist()) for row in features[0]}) == 100
    assert not reading.read(extractor, x, space, seed=2).rows.equal(held.rows)
    found = {r["metric"]: r for r in feature_distances(extractor, space, x, y, halves=True)}
    assert found["frechet"]["value"] == pytest.approx(frechet_distance(*features).value, rel=1e-9)
    assert found["frechet"]["protocol"]["n_real"] == 300
    assert (found["kid"]["protocol"]["n_real"], found["kid"]["protocol"]["n_generated"]) == (100, 100)


class Crew:
    """What two threads have of a fabric: sums over both."""

    world_size = 2

    def __init__(self, rank: int, shared: dict[str, Any]) -> None:
        self.global_rank, self.shared = rank, shared

    def all_reduce(self, values: torch.Tensor, reduce_op: str = "mean") -> torch.Tensor:
        assert reduce_op == "sum"
        self.shared[self.global_rank] = values
        self.shared["met"].wait(60)
        found = self.shared[0] + self.shared[1]
        self.shared["met"].wait(60)
        return found


@pytest.mark.parametrize("n", [300, 20], ids=["shared", "one batch for two"])
def test_rows_that_processes_hold_are_those_of_one(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    """Half a gigabyte of each set, however many read it: the metrics are taken of the same rows."""
    space = Finite((3, 4, 4), 256)
    x = torch.from_numpy(pixels(n, 4).transpose(0, 3, 1, 2).copy())
    extractor = dataclasses.replace(extractors.load("pixels"), rows=32)
    monkeypatch.setattr(reading, "HELD", 15 * 48 * 4)
    alone = reading.read(extractor, x, space, seed=1)
    shared: dict[str, Any] = {"met": threading.Barrier(2)}
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda rank: reading.read(extractor, x, space, seed=1, fabric=Crew(rank, shared)), (0, 1)))
    assert alone.moments is not None
    for one in both:
        assert one.rows.equal(alone.rows)
        assert one.total == n
        assert one.moments is not None
        assert torch.allclose(one.moments.covariance, alone.moments.covariance, rtol=1e-10)


def test_features_too_wide_for_covariances_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_features, "WIDE", 20)
    space = Finite((3, 4, 4), 256)
    x, y = (torch.from_numpy(pixels(n, 4, seed=n).transpose(0, 3, 1, 2).copy()) for n in (60, 50))
    found = {r["metric"]: r for r in feature_distances(extractors.load("pixels"), space, x, y)}
    assert found["frechet"]["value"] is None
    assert "48 features" in found["frechet"]["protocol"]["reason"]
    assert found["vendi"]["protocol"]["n_generated"] == 20
    assert found["kid"]["value"] is not None


def test_kernel_distances_of_large_sets_take_random_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "NUMBERS", 50 * 48)
    x, y = (torch.from_numpy(pixels(n, 4, seed=n).transpose(0, 3, 1, 2).copy()) for n in (200, 300))
    found = evaluate_samples(x, y)[0]
    assert (found["protocol"]["n_real"], found["protocol"]["n_generated"]) == (50, 50)
    assert found == evaluate_samples(x, y)[0]


def test_pictures_are_decoded_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0
    decode = Pictures.__getitem__

    def counted(self: Pictures, rows: Any) -> np.ndarray:
        nonlocal most
        found = decode(self, rows)
        most = max(most, len(found))
        return found

    monkeypatch.setattr(Pictures, "__getitem__", counted)
    monkeypatch.setattr(samples, "NUMBERS", 20 * 48)
    monkeypatch.setattr("likely.data.parts.SOME", 16)
    sets = [write(tmp_path / name, pixels(100, 4)) for name in ("a", "b")]
    extractor = dataclasses.replace(extractors.load("pixels"), rows=16)
    evaluate_samples(*(on_disk(path, valid=0, test=0) for path in sets), features=extractor)
    assert 0 < most <= 100  # the fingerprint, the kernel distances' rows, and the extractor's


# what is told


def test_pace_learns_from_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    told: list[tuple[float, str, float | None]] = []
    pace = Pace(lambda *what: told.append(what))
    pace.plan([Stage("real", "read", 10.0), Stage("fake", "read", 10.0), Stage("kid", "kid", 20.0)])
    pace.begin("real")
    assert told[-1] == (0.0, "real", None)
    clock[0] = 10.0
    pace.at(0.5)  # twice as slow as planned: so are the others, for all that is known
    assert told[-1] == (0.125, "real", pytest.approx(70.0))
    clock[0] = 20.0
    pace.begin("fake")
    clock[0] = 40.0
    pace.begin("kid")
    assert told[-1] == (0.5, "kid", pytest.approx(40.0))
    clock[0] = 41.0
    pace.at(0.5)  # and these are faster
    assert told[-1] == (0.75, "kid", pytest.approx(1.0))
    pace.end()
    assert told[-1] == (1.0, "kid", 0.0)


def test_a_measurement_tells_its_stages_and_the_time_left() -> None:
    data = load("digits")
    told: list[tuple[float, str, float | None]] = []
    extractor = dataclasses.replace(extractors.load("digits-cnn"), rows=50)
    feature_distances(
        extractor,
        data.space,
        data.test.x,
        data.valid.x,
        training=data.train.x[:180],
        tell=lambda *what: told.append(what),
    )
    titles = list(dict.fromkeys(what for _, what, _ in told))
    assert titles[:3] == ["reading real data", "reading training data", "frechet of real data"]
    assert "reading generated data" in titles
    assert titles[-1] == "classifier test"
    assert told[-1][0] == 1
    assert all(left is not None and left >= 0 for share, _, left in told[1:] if share < LATE)
    assert all(share <= LATE for share, _, _ in told[:-1])  # "100 %" is never said of what still goes on


def test_plain_lines_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("evaluate", every=-1) as progress:
        progress.tell(0.25, "kid", 65.0)
        progress.tell(0.0, "looking", None)
    assert capsys.readouterr().err.splitlines() == ["evaluate:  25 %  kid  1m 05s left", "evaluate: looking"]
    with Progress("evaluate", quiet=True, every=-1) as progress:
        progress.tell(0.5, "kid", 1.0)
    assert capsys.readouterr().err == ""


# the command


def asked(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, dict[str, Any]]:
    code = main([*map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_command_on_two_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    real, fake = (
        write(tmp_path / "real", pixels(80, 12)),
        write(tmp_path / "fake", pixels(70, 12, seed=1, rough=2), ".tar.gz"),
    )
    words = (
        "evaluate",
        "--real",
        real,
        "--fake",
        fake,
        "--features",
        "pca",
        "--size",
        9,
        "--colour",
        "grey",
        "--quiet",
    )
    code, record = asked(capsys, *words, "--resize", "legacy")
    assert code == 0
    for one in record["results"]:
        assert one["protocol"]["resize"] == "9 x 9, legacy"
        assert (one["protocol"]["n_real"], one["protocol"]["data"]) == (80, "real")
    other = asked(capsys, *words)[1]
    assert other["results"][0]["protocol"]["resize"] == "9 x 9, Lanczos"
    assert other["results"][0]["value"] != record["results"][0]["value"]


def test_what_cannot_be_resized_or_compared_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = write(tmp_path / "real", pixels(20)), write(tmp_path / "fake", pixels(20, 9))
    words = ("evaluate", "--quiet", "--real", sets[0], "--fake")
    for more, message in (
        ((sets[0], "--resize", "clean"), "--resize clean needs --size"),
        ((sets[1],), r"one real datum has shape (3, 8, 8), one fake (3, 9, 9)"),
        ((tmp_path / "nowhere.zip",), "no such file or folder"),
    ):
        assert main([*map(str, words), *map(str, more)]) != 0
        assert message in capsys.readouterr().err
    assert main(["evaluate", "run", "--colour", "grey"]) != 0
    assert "give either a run, or --real and --fake" in capsys.readouterr().err


def test_sets_that_differ_are_refused(tmp_path: Path) -> None:
    data = on_disk(write(tmp_path / "p", pixels(20)), valid=0, test=0)
    with pytest.raises(LikelyError, match="shape"):
        evaluate_samples(data, np.zeros((5, 3, 9, 9), np.uint8))
