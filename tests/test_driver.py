"""The driver: run folders, validation, best weights, budgets, interruption and bit-identical resumption."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import likely
from likely import driver, registry, run, training
from likely.core import Model
from likely.data.parts import Data, Part
from likely.errors import LikelyError, UnknownName
from likely.progress import Progress
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


def clocked(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> None:
    """Let the driver's clock go on by so many seconds an update, in the first fit, the second and so on."""
    now, each, inner = [0.0], iter(seconds), training.fit

    def fit(*args: Any, **options: Any) -> Any:
        one = next(each)
        for step in inner(*args, **options):
            now[0] += one
            yield step

    monkeypatch.setattr(driver, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(training, "fit", fit)


@pytest.mark.parametrize(
    ("trial", "update"),
    [
        (0.01, 0.01),
        (0.2, 0.01),  # the machine was busy during the trial
        (0.01, 0.03),  # or is now
    ],
)
def test_a_budget_becomes_steps_and_holds(
    out: Path, monkeypatch: pytest.MonkeyPatch, trial: float, update: float
) -> None:
    clocked(monkeypatch, trial, update)
    options = {k: v for k, v in QUICK.items() if k not in ("steps", "validate_every")}
    made = likely.train("vae", "digits", out=out, budget="8s", **options)
    steps = made.record["fit"]["steps"]
    assert steps == made.record["steps_done"]  # a schedule of the learning rate came to its end
    assert 0.75 * 8 / update < steps < 8 / update
    assert 6 < made.record["minutes"] * 60 <= 8
    assert 8 <= sum("valid" in row for row in made.log()) <= 15  # validations are spread over the mended plan


def test_players_on_constant_data_are_kept_without_a_distance_to_choose_by(out: Path) -> None:
    space = likely.Real((2,))
    parts = [Part(torch.ones(n, 2)) for n in (40, 10, 10)]
    data = Data("constant", "reals", space, *parts)
    made = likely.train("gan", data, out=out, steps=4, batch=8, quiet=True)
    assert made.record["status"] == "finished"
    assert made.record["result"] == {"valid": None, "step": 4}


def test_a_budget_ends_a_fit_that_became_slow_too_late_to_mend_the_plan(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "CHECKED", ())
    clocked(monkeypatch, 0.01, 0.1)
    options = {k: v for k, v in QUICK.items() if k != "steps"}
    made = likely.train("vae", "digits", out=out, budget="3s", **options)
    assert made.record["steps_done"] < 35 < made.record["fit"]["steps"]
    assert 3 <= made.record["minutes"] * 60 < 3.2
    assert made.record["status"] == "finished"


def test_epochs_become_steps(out: Path) -> None:
    options = {k: v for k, v in QUICK.items() if k != "steps"}
    made = likely.train("vae", "digits", out=out, epochs=0.1, **options)
    rows = made.record["data"]["rows"]["train"]
    assert made.record["fit"]["steps"] == round(0.1 * (rows // 16))


CHILD = """
import json, sys, time, likely
from likely import driver, training
driver.SAVE_EVERY = {save_every}
inner = training.fit
def slow(*args, **options):
    for step in inner(*args, **options):
        print(step.index, flush=True)
        time.sleep(0.03)
        yield step
training.fit = slow
likely.train({model!r}, {data!r}, out=sys.argv[1], quiet=True, **json.loads(sys.argv[2]))
"""
SMALL = {"width": 16, "latent": 2, "steps": 40, "batch": 300, "average": 0.9}  # epochs of 4 batches
EM = {"components": 8, "passes": 40, "tolerance": -1.0}


@pytest.mark.parametrize(
    ("model", "data", "options", "how", "save_every"),
    [
        ("vae", "digits", SMALL | {"schedule": "cosine"}, signal.SIGTERM, 60),
        ("gan", "digits", SMALL, signal.SIGINT, 60),
        ("vae", "digits", SMALL, signal.SIGKILL, 60),
        ("rbm", "digits-binary", {"hidden": 16, "steps": 40, "batch": 300}, signal.SIGKILL, 0),
        ("gmm", "ring", EM, signal.SIGTERM, 60),
        ("gmm", "ring", EM, signal.SIGKILL, 0),
    ],
    ids=["vae-term", "gan-int", "vae-kill-before-a-checkpoint", "rbm-kill", "gmm-term", "gmm-kill"],
)
def test_a_killed_process_resumes_to_the_same_bits(
    model: str, data: str, options: dict[str, object], how: signal.Signals, save_every: float, tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    code = CHILD.format(model=model, data=data, save_every=save_every)
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(cut), json.dumps(options)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    for line in child.stdout:
        if line.strip() == "6":  # in the middle of an epoch
            child.send_signal(how)
            break
    _, error = child.communicate(timeout=60)
    assert child.returncode != 0
    if how == signal.SIGKILL:
        assert (cut / "state.safetensors").exists() == (save_every == 0)
    else:
        assert json.loads((cut / "run.json").read_text())["status"] == "interrupted"
        assert f"likely resume {cut}" in error
    both = "import json, sys, likely; likely.resume(sys.argv[1], quiet=True); "
    both += f"likely.train({model!r}, {data!r}, out=sys.argv[2], quiet=True, **json.loads(sys.argv[3]))"
    words = [sys.executable, "-c", both, str(cut), str(whole), json.dumps(options)]
    subprocess.run(words, check=True, env=environment, timeout=120)
    assert same(weights(whole), weights(cut))
    assert same(weights(whole, "state"), weights(cut, "state"))
    steps = [row["step"] for row in run.open(cut).log() if "loss" in row]
    assert steps == sorted(set(steps))
    assert steps[-1] == 40


def test_a_signal_at_the_last_update_loses_nothing(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = training.fit

    def signalled(*arguments: Any, **options: Any) -> Iterator[training.Step]:
        for step in fit(*arguments, **options):
            os.kill(os.getpid(), signal.SIGTERM)
            yield step

    monkeypatch.setattr(training, "fit", signalled)
    with pytest.raises(driver.Interrupted, match="was just finished"):
        likely.train("bernoulli", "digits", out=out, quiet=True)  # one pass: its first update is its last
    monkeypatch.undo()
    likely.train("bernoulli", "digits", out=tmp_path / "whole", quiet=True)
    assert json.loads((out / "run.json").read_text())["status"] == "finished"
    assert same(weights(out), weights(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("model", "options"), [("vae", QUICK), ("gmm", {"components": 2, "quiet": True})], ids=["descent", "em"]
)
def test_a_run_killed_after_its_last_checkpoint_is_finished_as_it_is(
    model: str, options: dict[str, Any], out: Path
) -> None:
    made = likely.train(model, "digits" if model == "vae" else "ring", out=out, **options)
    before, state, log = weights(out), weights(out, "state"), made.log()
    record = json.loads((out / "run.json").read_text())
    run.write_json(out / "run.json", record | {"status": "running", "steps_done": 0})
    again = likely.resume(out, quiet=True)
    assert again.record["status"] == "finished"
    assert again.record["steps_done"] == record["steps_done"] > 0
    assert again.record["result"] == record["result"]
    assert same(before, weights(out))
    assert same(state, weights(out, "state"))
    assert again.log() == log


def test_runs_that_begin_at_once_get_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = likely.train("bernoulli", "digits", quiet=True)
    names = iter([first.folder, run.fresh_folder("bernoulli-digits")])
    monkeypatch.setattr(run, "fresh_folder", lambda stem: next(names))
    real, blind = run.check_vacant, iter([lambda folder: None] * 2)  # this process looked before the other wrote
    monkeypatch.setattr(run, "check_vacant", lambda folder: next(blind, real)(folder))
    assert likely.train("bernoulli", "digits", quiet=True).folder.name == "bernoulli-digits-2"
    assert sorted(f.name for f in Path("runs").iterdir()) == ["bernoulli-digits-1", "bernoulli-digits-2"]


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
    with pytest.raises(LikelyError, match="made 12 steps already"):
        likely.resume(out, steps=12)
    assert likely.resume(out, steps=20, quiet=True).record["steps_done"] == 20


def test_resume_refuses_data_that_changed(tmp_path: Path, out: Path) -> None:
    import numpy as np

    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32))
    likely.train("realnvp", path, out=out, steps=3, quiet=True)
    np.save(path, np.random.default_rng(1).normal(size=(200, 2)).astype(np.float32))
    with pytest.raises(LikelyError, match="changed since"):
        likely.resume(out, steps=6)


def test_resume_finds_data_that_were_moved(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "내 자료"
    folder.mkdir()
    (folder / "t.csv").write_text("키,나이\n" + "".join(f"{i % 7},{i * i % 11}\n" for i in range(60)))
    monkeypatch.chdir(folder)
    likely.train("realnvp", "t.csv", out=out, steps=3, quiet=True)
    monkeypatch.chdir(tmp_path)
    likely.resume(out, steps=4, quiet=True)  # a relative path means the same from elsewhere
    (folder / "t.csv").rename(tmp_path / "moved.csv")
    with pytest.raises(LikelyError, match=r"t\.csv: no longer there.*give --data"):
        likely.resume(out, steps=6)
    assert likely.resume(out, data="moved.csv", steps=6, quiet=True).record["steps_done"] == 6
    assert len(run.open(out).data.train) == 48
    with pytest.raises(LikelyError, match="not those that"):
        likely.resume(out, data="digits", steps=8)


def test_data_given_in_python_cannot_be_loaded_again(out: Path) -> None:
    part = Part(torch.randn(40, 2, generator=torch.Generator().manual_seed(0)))
    likely.train("gaussian", Data("mine", "reals", likely.Real((2,)), part, part, part), out=out, quiet=True)
    with pytest.raises(LikelyError, match="given in Python"):
        _ = run.open(out).data


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
        ({"cond": "caption"}, "labels only"),
        ({"data": likely.data.load("digits"), "cond": "caption"}, "have no caption, but a label"),
        ({"data": likely.data.load("digits"), "cond": "lable"}, "Did you mean 'label'"),
        ({"passes": 3}, "has no option 'passes'"),
        ({"batch": 0}, "batch must be a whole number, 1 or more"),
        ({"steps": -1}, "steps must be"),
        ({"steps": 2.5}, "steps must be a whole number"),
        ({"epochs": -1}, "epochs must be"),
        ({"epochs": math.nan}, "epochs must be"),
        ({"learning_rate": math.inf}, "learning_rate must be"),
        ({"learning_rate": "fast"}, "learning_rate must be"),
        ({"momentum": 2.0}, "momentum must be"),
        ({"average": 1.0}, "average must be"),
        ({"patience": -1}, "patience must be"),
        ({"validate_every": -1}, "validate_every must be"),
        ({"compile": "yes"}, "compile must be"),
        ({"model": "gmm", "steps": None, "tolerance": "small"}, "tolerance must be"),
        ({"latent": "two"}, "latent of model 'vae' must be int, not 'two'"),
        ({"latent": True}, "latent of model 'vae' must be int, not True"),
        ({"seed": 2**63}, "seed must be"),
        ({"device": "tpu9"}, "device 'tpu9'"),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, dict) else "",
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
    held_out = likely.data.load(table).valid.rows
    assert held_out is not None
    lines = [f"{i},{i}" for i in range(100)]
    lines[int(held_out[0])] = "3,"  # a missing value among the validation rows alone is seen before training too
    table.write_text("\n".join(["a,b", *lines]))
    with pytest.raises(LikelyError, match=r"t\.csv: there are missing values"):
        likely.train("realnvp", table, out=tmp_path / "other", steps=2, quiet=True)
    assert not (tmp_path / "other").exists()


def test_tensorboard_that_is_not_there_is_said_first(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(LikelyError, match="needs the extra"):
        likely.train("vae", "digits", out=out, tensorboard=True, **QUICK)
    assert not out.exists()


def test_progress_says_what_it_knows(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("gmm on ring", every=0.0) as progress:
        progress.update(5, 0.25, {"loss": 2.0}, 1000.0, 30.0)
        progress.update(6, 0.0, {"loss": 1.5}, 1000.0, None)  # passes without an end: no time left to tell
    assert capsys.readouterr().err.splitlines() == [
        "gmm on ring:  25 %  step 5  loss 2  1,000 rows/s  30s left",
        "gmm on ring: step 6  loss 1.5  1,000 rows/s",
    ]


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
