"""Data larger than memory: computed splits, sweeps in the order of the file, and fits at bounded memory."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib import format as npy

import likely
from likely import training
from likely.data import blocks, foreign, parts, rows
from likely.data.blocks import BLOCK, Blocks, Every
from likely.data.parts import Mapped, Part
from likely.data.rows import split
from likely.training import optimize
from likely.training.optimize import has_missing

MEGABYTE = 2**20


@pytest.fixture
def few_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a split of more than 100 rows be one of very many."""
    for module in (blocks, rows, parts):
        monkeypatch.setattr(module, "LARGE", 100)


# The computed split --------------------------------------------------------------------------------------------------


@given(st.integers(1, 20 * BLOCK), st.floats(0, 0.5), st.floats(0, 0.49), st.integers(0, 2**63 - 1))
def test_the_parts_of_a_computed_split_are_the_rows(n: int, test: float, valid: float, seed: int) -> None:
    cuts = [(0.0, test), (test, test + valid), (test + valid, 1.0)]
    found = [Blocks(n, low, high, seed) for low, high in cuts]
    numbers = np.concatenate([part[:] for part in found])
    assert np.array_equal(np.sort(numbers), np.arange(n))
    for part, (low, high) in zip(found, cuts, strict=True):
        assert abs(len(part) - n * (high - low)) <= 1 + n // BLOCK + 1  # rounded in each block
        assert np.array_equal(part[part.positions(slice(None))], part.in_order(np.arange(len(part))))


def test_a_computed_split_is_spread_over_the_file_and_its_seed_decides() -> None:
    one, other = Blocks(10**6, 0.0, 0.1, 0), Blocks(10**6, 0.0, 0.1, 1)
    head = np.sort(one[:1000])  # as validation takes it: from a sorted file, rows of every region
    assert np.diff(head, prepend=0, append=10**6).max() < 8000
    assert np.isin(one[:], other[:]).mean() == pytest.approx(0.1, abs=0.01)
    places = one[:] % BLOCK
    assert np.bincount(places, minlength=BLOCK).std() < 2 * np.sqrt(len(one) / BLOCK)


def test_rows_of_a_computed_split_are_indexed_as_an_array_is() -> None:
    for numbers in (Blocks(5000, 0.2, 0.7, 3), Every(40)):
        every = numbers[:]
        assert len(numbers) == len(every)
        assert numbers[5] == every[5]
        assert numbers[-1] == every[-1]
        assert np.array_equal(numbers[3:9:2], every[3:9:2])
        assert np.array_equal(numbers[np.array([7, 0, 7])], every[[7, 0, 7]])
        with pytest.raises(IndexError):
            numbers[len(every)]


def test_few_rows_are_split_as_ever_and_many_need_no_list_of_them() -> None:
    assert isinstance(split(1000, None, seed=0)[0]["train"], np.ndarray)
    cuts, how = split(10**12, None, seed=0)
    assert [round(len(cuts[part]) / 10**12, 3) for part in ("train", "valid", "test")] == [0.8, 0.1, 0.1]
    assert "within each 1009 rows by seed 0" in how
    assert cuts["train"][np.array([0, 10**11])].dtype == np.int64
    assert split(10**12, None, seed=0, valid=0, test=0)[0]["train"][10**12 - 1] == 10**12 - 1


@pytest.mark.parametrize("kind", ["reals", "bits"])
def test_a_computed_split_is_the_same_in_memory_and_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few_are_large: None, kind: str
) -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(2500, 3)) if kind == "reals" else generator.integers(0, 2, (2500, 3))
    np.save(tmp_path / "a.npy", values)
    memory = likely.data.load(tmp_path / "a.npy")
    monkeypatch.setattr(foreign, "memory", lambda: 1000)
    disk = likely.data.load(tmp_path / "a.npy")
    assert isinstance(disk.train.x, Mapped)
    assert disk.fingerprint == memory.fingerprint
    for name, part in disk.parts.items():
        assert part.batch(slice(0, len(part)))[0].equal(memory.parts[name].x)
        assert part.head(7).batch(slice(0, 7))[0].equal(memory.parts[name].x[:7])
    runs = list(disk.train.sweep(100))
    assert torch.cat(runs).sort().values.equal(torch.arange(len(disk.train)))
    assert all(np.ptp(disk.train.x.rows[run.numpy()]) < 3 * BLOCK for run in runs)  # what is read together lies near
    assert torch.cat([disk.train.batch(run)[0] for run in runs]).equal(memory.train.x[torch.cat(runs)])
    ascending = torch.cat(list(disk.train.x.ascending()))
    assert ascending.equal(memory.train.rows.argsort())
    model = "gaussian" if kind == "reals" else "bernoulli"
    fitted = [likely.build(model, one.space) for one in (memory, disk)]
    for one, data in zip(fitted, (memory, disk), strict=True):
        list(training.fit(one, data.train, batch=300))
    for name, value in fitted[0].state_dict().items():
        assert torch.allclose(value, fitted[1].state_dict()[name], rtol=1e-6, atol=1e-6), name


def test_labels_stay_with_their_rows(tmp_path: Path, few_are_large: None) -> None:
    x = np.arange(900.0)[:, None] + 0.5
    np.savez(tmp_path / "a.npz", x=x, age=x[:, 0])
    data = likely.data.load(tmp_path / "a.npz", cond="age")
    assert data.train.x[:, 0].equal(data.train.cond.float())
    assert data.train.x[:, 0].long().equal(data.train.rows)


# Reading -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("wanted", [[3, 4, 5, 6], [0, 2, 3, 7], [1, 150], [], [199]])
def test_runs_and_scattered_rows_are_read_alike(tmp_path: Path, order: str, wanted: list[int]) -> None:
    array = np.random.default_rng(0).normal(size=(200, 2, 3)).astype(">f4")
    np.save(tmp_path / "a.npy", np.asarray(array, order=order))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    chosen = np.array(wanted, dtype=np.int64)
    assert np.array_equal(parts.read(mapped, chosen), array[chosen])
    assert np.array_equal(parts.read(array, chosen), array[chosen])


def test_missing_values_are_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "memory", lambda: 1000)
    x = np.random.default_rng(0).normal(size=(500, 3))
    np.save(tmp_path / "full.npy", x)
    x[7, 1] = np.nan
    np.save(tmp_path / "holes.npy", x)
    full, holes = (likely.data.load(tmp_path / f"{name}.npy", valid=0, test=0).train for name in ("full", "holes"))
    assert has_missing(holes)
    monkeypatch.setattr(Mapped, "__getitem__", None)
    assert not has_missing(full)


def test_a_start_on_very_many_rows_makes_no_permutation_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    class Starting(likely.core.Model):
        def start(self, x: torch.Tensor, cond: torch.Tensor | None = None) -> None:
            seen.append(x)

        def _sample(self, n: int, cond: torch.Tensor | None) -> torch.Tensor:
            return torch.zeros(n, 1)

    monkeypatch.setattr(optimize, "SHUFFLED", 1000)
    part = Part(torch.arange(50_000.0)[:, None])
    for _ in range(2):
        optimize.start(Starting(likely.Real((1,))), part, seed=0, rows=500)
    assert seen[0].equal(seen[1])
    assert len(seen[0]) == 500
    assert len(seen[0].unique()) == 500
    assert float(seen[0].mean()) == pytest.approx(25_000, abs=3 * 50_000 / 12**0.5 / 500**0.5)


def test_a_container_s_limit_is_the_memory_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(foreign, "CONTAINER", (str(tmp_path / "no such file"), str(limit)))
    limit.write_text("max\n")
    whole = foreign.memory()
    limit.write_text(f"{2**20}\n")
    assert foreign.memory() == 2**20 // foreign.MEMORY_SHARE < whole


# Passes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["gaussian", "gmm", "hmm"])
def test_e_step_over_an_iterator_is_a_pass_in_memory(model: str) -> None:
    """With nothing of `likely.training`: batches come from anywhere, one at a time."""
    space = likely.Real((4,)) if model != "hmm" else likely.Sequence(step=likely.Real((2,)), length=6)
    torch.manual_seed(0)
    x = space.random(700) if model == "hmm" else torch.randn(700, 4, dtype=torch.float64)

    def stream() -> Iterator[object]:
        for low in range(0, 700, 64):
            yield type(x)(*(one[low : low + 64] for one in x)) if isinstance(x, tuple) else x[low : low + 64]

    memory, streamed = (likely.build(model, space, seed=0) for _ in range(2))
    for one in (memory, streamed):
        torch.manual_seed(1)
        one.start(x)
    for _ in range(3):
        memory.m_step(memory.e_step(x))
        total: dict[str, torch.Tensor] = {}
        for batch in stream():
            stats = streamed.e_step(batch)
            total = {name: total[name] + value for name, value in stats.items()} if total else stats
        streamed.m_step(total)
    for name, value in memory.state_dict().items():
        assert torch.allclose(value, streamed.state_dict()[name], rtol=1e-6, atol=1e-6), name


# Memory --------------------------------------------------------------------------------------------------------------


def sparse(path: Path, bytes: int, columns: int, dtype: str) -> None:
    """Make a .npy file of about so many bytes, nearly all of them holes that take no room on the disk."""
    count = bytes // (columns * np.dtype(dtype).itemsize)
    with path.open("wb") as file:
        header = {"descr": npy.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": (count, columns)}
        npy.write_array_header_2_0(file, header)
        file.truncate(file.tell() + count * columns * np.dtype(dtype).itemsize)
    array, generator = np.load(path, mmap_mode="r+"), np.random.default_rng(0)
    for low in np.linspace(0, count - 500, 8).astype(int):
        some = generator.normal(size=(500, columns)) if dtype == "f4" else generator.integers(0, 2, (500, columns))
        array[low : low + 500] = some
    array.flush()


PROGRAM = """
import json, resource, sys
from likely.data import foreign
foreign.memory = lambda: 2**20  # so that these files stay on disk
import likely
model, folder, numbers = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
peaks = []
for name in ("small", "large"):
    run = likely.train(model, f"{folder}/{name}.npy", passes=1, out=f"{folder}/run-{name}", quiet=True, **numbers)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(json.dumps(peaks))
"""


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """A file of 128 MB takes at most 32 MB more than one of 8 MB."""
    for name, size in (("small", 8), ("large", 128)):
        sparse(tmp_path / f"{name}.npy", size * MEGABYTE, 64, "f4")  # more than 20,000 rows
    numbers = {"covariance": "diagonal", "components": 2, "batch": 1000}
    call = [sys.executable, "-c", PROGRAM, "gmm", str(tmp_path), json.dumps(numbers)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    small, large = (peak * 1024 for peak in json.loads(done.stdout))
    assert large - small < 32 * MEGABYTE


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "columns", "dtype", "numbers"),
    [
        ("gaussian", 256, "f4", []),
        ("gmm", 256, "f4", ["--components", "4", "--covariance", "diagonal"]),
        ("bernoulli", 784, "u1", []),
        ("bernoulli", 32, "u1", []),  # 670 million rows: a list of their numbers would be 5 GB
    ],
)
def test_twenty_gigabytes_are_fitted_in_one(
    tmp_path: Path, model: str, columns: int, dtype: str, numbers: list[str]
) -> None:
    sparse(tmp_path / "a.npy", 20 * 2**30, columns, dtype)
    code = "from likely.data import foreign; foreign.memory = lambda: 2**20; from likely.cli import main; main()"
    call = [sys.executable, "-c", code, "fit", model, "--data", str(tmp_path / "a.npy"), "--passes", "1", *numbers]
    subprocess.run([*call, "--out", str(tmp_path / "run"), "--quiet"], check=True, timeout=3500, capture_output=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(f"{model}, {columns} columns: {peak / MEGABYTE:.0f} MB")
    assert peak < 2**30
