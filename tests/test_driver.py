"""The driver: run folders, validation, best weights, budgets, interruption and bit-identical resumption."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import likely
from likely import driver, registry, run
from likely.core import Model
from likely.data.parts import Data, Part
from likely.errors import LikelyError, UnknownName
from likely.training.optimize import NonFiniteLoss

QUICK = {"steps": 12, "batch": 16, "width": 16, "latent": 2, "quiet": True}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run"


def weights(folder: Path, name: str = "model") -> dict[str, Tensor]:
    return load_file(folder / f"{name}.safetensors")


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_folder_rebuilds_the_model_and_says_what_was_done(out: Path) -> None:
    made = likely.train("vae", "digits", out=out, **QUICK)
    record = json.loads((out / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["numbers"]["latent"] == 2
    assert record["fit"]["steps"] == 12
    assert record["data"]["name"] == "digits"
    assert record["command"].startswith("likely fit vae --data digits")
    assert record["result"]["valid"] == pytest.approx(made.record["result"]["valid"])
    assert {"likely", "torch", "python"} <= record["versions"].keys()
    loaded = likely.load(out)
    assert torch.equal(loaded.sample(3, seed=0), made.model.sample(3, seed=0))
    steps = [row["step"] for row in made.log() if "loss" in row]
    assert steps[-1] == 12
    assert not list(out.parent.glob(".*"))
    assert not list(out.glob(".*"))


def test_the_recorded_command_repeats_the_fit(out: Path, tmp_path: Path) -> None:
    made = likely.train("bernoulli", "digits-binary", out=out, quiet=True)
    words = [*made.record["command"].split()[1:], "--out", str(tmp_path / "again"), "--json"]
    subprocess.run([sys.executable, "-m", "likely.cli", *words], check=True, capture_output=True, timeout=120)
    assert same(weights(out), weights(tmp_path / "again"))


def test_best_weights_are_kept_and_patience_stops(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([3.0, 1.0, 2.0, 2.5, 0.1])
    kept: list[Tensor] = []

    def fake(model: Model, part: Part, seed: int) -> float:
        kept.append(next(iter(model.state_dict().values())).clone())
        return next(values)

    monkeypatch.setattr(driver, "validation", fake)
    made = likely.train("vae", "digits", out=out, validate_every=2, patience=2, **QUICK)
    assert made.record["result"] == {"valid": 1.0, "step": 4}
    assert made.record["steps_done"] == 8
    assert torch.equal(next(iter(made.model.state_dict().values())), kept[1])


def test_the_average_is_what_is_validated_and_saved(out: Path) -> None:
    likely.train("vae", "digits", out=out, average=0.5, validate_every=12, **QUICK)
    state = weights(out, "state")
    average = {name.removeprefix("average/"): v for name, v in state.items() if name.startswith("average/")}
    last = {name.removeprefix("model/"): v for name, v in state.items() if name.startswith("model/")}
    assert same(average, weights(out))
    assert not same(last, weights(out))


def test_a_budget_becomes_steps_and_holds(out: Path) -> None:
    began = time.monotonic()
    options = {k: v for k, v in QUICK.items() if k != "steps"}
    made = likely.train("vae", "digits", out=out, budget="3s", **options)
    assert made.record["fit"]["steps"] > 12
    assert made.record["minutes"] * 60 < 6
    assert time.monotonic() - began < 30


def test_epochs_become_steps(out: Path) -> None:
    options = {k: v for k, v in QUICK.items() if k != "steps"}
    made = likely.train("vae", "digits", out=out, epochs=0.1, **options)
    rows = made.record["data"]["rows"]["train"]
    assert made.record["fit"]["steps"] == round(0.1 * (rows // 16))


CHILD = """
import sys, time, likely
from likely import training
inner = training.fit
def slow(*args, **options):
    for step in inner(*args, **options):
        print(step.index, flush=True)
        time.sleep(0.03)
        yield step
training.fit = slow
likely.train({model!r}, "digits", steps=40, batch=300, out=sys.argv[1], quiet=True, average=0.9, **{numbers!r})
"""


@pytest.mark.parametrize(
    ("model", "numbers", "how"),
    [
        ("vae", {"width": 16, "latent": 2, "schedule": "cosine"}, signal.SIGTERM),
        ("gan", {"width": 16, "latent": 2}, signal.SIGINT),
        ("vae", {"width": 16, "latent": 2}, signal.SIGKILL),
    ],
    ids=["vae-term", "gan-int", "vae-kill"],
)
def test_a_killed_process_resumes_to_the_same_bits(
    model: str, numbers: dict[str, object], how: signal.Signals, tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    code = CHILD.format(model=model, numbers=numbers)
    subprocess.run(
        [sys.executable, "-c", code, str(whole)], check=True, env=environment, capture_output=True, timeout=120
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(cut)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    for line in child.stdout:
        if line.strip() == "6":  # in the middle of an epoch of 4 batches
            child.send_signal(how)
            break
    _, error = child.communicate(timeout=60)
    assert child.returncode != 0
    if how != signal.SIGKILL:
        assert json.loads((cut / "run.json").read_text())["status"] == "interrupted"
        assert f"likely resume {cut}" in error
    resumed = "import sys, likely; likely.resume(sys.argv[1], quiet=True)"
    subprocess.run([sys.executable, "-c", resumed, str(cut)], check=True, env=environment, timeout=120)
    assert same(weights(whole), weights(cut))
    assert same(weights(whole, "state"), weights(cut, "state"))
    steps = [row["step"] for row in run.open(cut).log() if "loss" in row]
    assert steps == sorted(set(steps))


def test_a_non_finite_loss_keeps_the_last_good_weights(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = registry.build

    def diverging(*args: object, **numbers: object) -> Model:
        model = build(*args, **numbers)  # type: ignore[arg-type]
        loss, calls = model.loss, [0]

        def bad(x: Tensor, cond: Tensor | None = None) -> dict[str, Tensor]:
            calls[0] += model.training
            return {name: v * (math.nan if calls[0] == 9 else 1) for name, v in loss(x, cond).items()}

        model.loss = bad
        return model

    monkeypatch.setattr(registry, "build", diverging)
    with pytest.raises(NonFiniteLoss, match=r"nan at step 9.*last good weights \(step 8\)"):
        likely.train("vae", "digits", out=out, validate_every=4, **QUICK)
    monkeypatch.undo()
    assert json.loads((out / "run.json").read_text())["status"] == "failed"
    assert run.all_finite(likely.load(out).state_dict())


def test_resume_of_a_finished_run_trains_further_only_when_asked(out: Path) -> None:
    likely.train("vae", "digits", out=out, **QUICK)
    with pytest.raises(LikelyError, match="finished; give --steps"):
        likely.resume(out)
    assert likely.resume(out, steps=20, quiet=True).record["steps_done"] == 20


def test_resume_refuses_data_that_changed(tmp_path: Path, out: Path) -> None:
    import numpy as np

    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32))
    likely.train("realnvp", path, out=out, steps=3, quiet=True)
    np.save(path, np.random.default_rng(1).normal(size=(200, 2)).astype(np.float32))
    with pytest.raises(LikelyError, match="changed since"):
        likely.resume(out, steps=6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "vea"}, "Did you mean 'vae'"),
        ({"data": "digit"}, "Did you mean 'digits'"),
        ({"latnt": 3}, "Did you mean 'latent'"),
        ({"preset": "mnits"}, "Did you mean 'mnist'"),
        ({"optimizer": "adm"}, "Did you mean 'adam'"),
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"precision": "bfloat"}, "Did you mean 'bfloat16'"),
        ({"budget": "soon"}, "90s, 2m or 1h"),
        ({"cond": "lable"}, "Did you mean 'label'"),
        ({"cond": "caption"}, "have no caption, but a label"),
        ({"passes": 3}, "has no option 'passes'"),
        ({"batch": 0}, "batch must be"),
        ({"device": "tpu9"}, "device 'tpu9'"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_what_is_misspelt_is_said_and_nothing_is_left_behind(
    arguments: dict[str, object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"model": "vae", "data": "digits", "steps": 2, "quiet": True, **arguments}
    with pytest.raises((LikelyError, UnknownName), match=message):
        likely.train(**options)
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_not_overwritten(out: Path) -> None:
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(LikelyError, match="exists already"):
        likely.train("bernoulli", "digits", out=out, quiet=True)
    assert (out / "thesis.txt").read_text() == "mine"


def test_a_model_without_missing_values_refuses_nan(tmp_path: Path, out: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("a,b\n" + "".join(f"{i},{i * 2 if i % 7 else ''}\n" for i in range(100)))
    with pytest.raises(LikelyError, match="missing"):
        likely.train("realnvp", table, out=out, steps=2, quiet=True)
    likely.train("gaussian", table, out=out, quiet=True)


@pytest.mark.parametrize("damage", ["truncated", "text", "missing"])
def test_damaged_weights_are_named(damage: str, out: Path) -> None:
    likely.train("bernoulli", "digits", out=out, quiet=True)
    path = out / "model.safetensors"
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[:40] if damage == "truncated" else b"not weights")
    with pytest.raises(LikelyError, match=r"model\.safetensors"):
        likely.load(out)


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(LikelyError, match=r"no run\.json"):
        likely.load(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(LikelyError, match="damaged"):
        likely.load(tmp_path)
    (tmp_path / "run.json").write_text('{"format": 99}')
    with pytest.raises(LikelyError, match="upgrade"):
        likely.load(tmp_path)


def test_weights_of_another_model_do_not_load(out: Path) -> None:
    likely.train("vae", "digits", out=out, **QUICK)
    record = json.loads((out / "run.json").read_text())
    record["numbers"]["latent"] = 3
    run.write_json(out / "run.json", record)
    with pytest.raises(LikelyError, match="do not fit model 'vae'"):
        likely.load(out)


def test_loaded_data_can_be_given(out: Path) -> None:
    loaded = likely.data.load("digits")
    assert isinstance(loaded, Data)
    made = likely.train("bernoulli", loaded, out=out, quiet=True)
    assert made.data is loaded
    assert run.open(out).data.fingerprint == loaded.fingerprint


def test_tensorboard_files_are_written_when_asked(out: Path) -> None:
    pytest.importorskip("tensorboard")
    likely.train("vae", "digits", out=out, tensorboard=True, **QUICK)
    assert list((out / "tensorboard").glob("events*"))
