"""Several processes: the same parameters and metrics as one, from Python, from a script and from the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import likely
from likely import crew, registry
from likely.cli import main
from likely.data.parts import Data, Part
from likely.errors import LikelyError
from likely.evaluation.frechet import Moments
from likely.evaluation.sharded import features_of, gathered, summed_moments
from likely.parts.collective import share

pytest.importorskip("lightning_fabric")
pytestmark = pytest.mark.timeout(900)  # of a busy machine: processes wait for each other

SCRIPT = Path(__file__).with_name("processes_script.py")
LEARNED = [name for name in registry.names() if "e_step" in registry.entry(name).abilities]
COUNTED = ("bernoulli", "chow_liu", "markov", "table")  # their statistics are whole numbers


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two real processes wrote."""
    out = tmp_path_factory.mktemp("two") / "result.json"
    call = [sys.executable, "-W", "error", str(SCRIPT), str(out)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=800, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(out.read_text())


def test_there_were_two_processes(found: dict[str, Any]) -> None:
    assert found["processes"] == 2


@pytest.mark.parametrize("name", LEARNED)
def test_statistics_of_two_processes_are_those_of_one(found: dict[str, Any], name: str) -> None:
    mine = {key: value for key, value in found["statistics"].items() if key.startswith(f"{name}[")}
    assert len(mine) >= 2
    for key, value in mine.items():
        # the mixture of Bernoullis holds its logarithms in float32, which three passes blow up a little
        assert value["apart"] <= (1e-5 if name == "bernoulli_mixture" else 1e-6), key
        assert value["loss"] <= 1e-6, key
        assert value["equal"] or name not in COUNTED, key


@pytest.mark.parametrize("case", ["one row", "dynamic", "sparse table"])
def test_special_statistics_are_those_of_one_process(found: dict[str, Any], case: str) -> None:
    """Fewer rows than processes; bits drawn at every visit; counts that are not one tensor."""
    assert found["statistics"][case] == {"apart": 0.0, "equal": True, "loss": 0.0}


def test_averaged_gradients_are_those_of_one_process(found: dict[str, Any]) -> None:
    assert found["descent"]["nade"]["apart"] < 1e-6
    assert found["descent"]["realnvp"]["apart"] < 1e-5
    assert found["descent"]["gan agrees"]["equal"]
    assert found["descent"]["vae agrees"]["equal"]


def test_metrics_of_two_processes_are_those_of_one(found: dict[str, Any]) -> None:
    assert found["metrics"]["frechet"]["apart"] < 1e-12
    assert all(found["metrics"][name]["equal"] for name in ("rows", "features", "kid", "part of the rows held"))
    assert found["metrics"]["an extractor"]["apart"] < 1e-6
    assert found["metrics"]["evaluate_samples"]["apart"] < 1e-6


def test_one_process_needs_no_fabric() -> None:
    x = torch.randn(5, 2)
    assert gathered(x, None) is not None
    assert features_of(torch.sin, x, None).equal(x.sin())
    assert summed_moments(Moments.of(x), None).scatter.equal(Moments.of(x).scatter)


def test_the_shares_of_all_processes_are_the_rows() -> None:
    class Place:
        world_size = 3

        def __init__(self, rank: int) -> None:
            self.global_rank = rank

    for n in (0, 1, 2, 3, 10):
        runs = [share(n, Place(rank)) for rank in range(3)]
        assert [i for run in runs for i in range(n)[run]] == list(range(n))


def test_the_command_line_fits_and_resumes_in_two_processes(tmp_path: Path) -> None:
    call = [sys.executable, "-m", "likely.cli", "fit", "gmm", "--data", "digits", "--components", "3", "--passes", "2"]
    call += ["--tolerance", "-1", "--processes", "2", "--out", str(tmp_path / "two"), "--json"]
    done = subprocess.run(call, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert "--processes 2" in json.loads(done.stdout)["command"]
    resumed = likely.resume(tmp_path / "two", steps=4, quiet=True)
    assert resumed.record["processes"] == 2
    alone = likely.train(
        "gmm", "digits", components=3, passes=4, tolerance=-1, out=tmp_path / "one", quiet=True, preset="auto"
    )
    ours, theirs = (load_file(run.folder / "model.safetensors") for run in (resumed, alone))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.allclose(value, theirs[name], rtol=1e-6, atol=1e-6), name
    assert not torch.distributed.is_initialized()
    assert "MASTER_PORT" not in os.environ


def evaluated(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    """What `likely evaluate` prints: one record, whatever the number of processes."""
    code = main(["evaluate", *map(str, words), "--json", "--quiet"])
    out, error = capsys.readouterr()
    assert (code, error) == (0, "")
    return json.loads(out)


def same(one: Any, other: Any) -> bool:
    """Whether two records are equal, numbers to 1e-9."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == pytest.approx(other, rel=1e-9, abs=1e-9) if isinstance(one, float) else one == other


@pytest.mark.parametrize("model", ["gmm", "vae"])
def test_the_command_line_measures_a_run_in_two_processes(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The likelihood of a mixture is exact and shared; that of a VAE is drawn, and the first process's."""
    few = {"components": 2, "passes": 1} if model == "gmm" else {"latent": 2, "width": 8, "steps": 2, "cond": "label"}
    run = likely.train(model, "digits", **few, out=tmp_path / "run", quiet=True, preset="none")
    words = (run.folder, "--features", "digits-cnn", "-n", 120, "-k", 4)
    alone, together = (evaluated(capsys, *words, *more) for more in ((), ("--processes", 2)))
    assert same(alone, together)
    assert {"nll", "mmd", "frechet", "precision", "recognised"} <= {one["metric"] for one in together["results"]}
    assert "condition_accuracy" in str(together) or model == "gmm"


@pytest.mark.parametrize("features", ["pca", "pixels"])
def test_the_command_line_compares_sets_in_two_processes(
    tmp_path: Path, features: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 700 rows the second process reads a batch, of 90 nothing."""
    digits = likely.data.load("digits")
    np.save(tmp_path / "real.npy", digits.test.x[:120].numpy())
    np.save(tmp_path / "fake.npy", digits.train.x[: 700 if features == "pca" else 90].numpy() ** 2)
    words = ("--real", tmp_path / "real.npy", "--fake", tmp_path / "fake.npy")
    alone, together = (evaluated(capsys, *words, "--features", features, *more) for more in ((), ("--processes", 2)))
    assert same(alone, together)
    assert {"mmd", "kid", "frechet", "coverage"} <= {one["metric"] for one in together["results"]}


def test_the_command_line_compares_models_fitted_in_two_processes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["compare", "--data", "digits-binary", "--models", "bernoulli,markov", "-n", "50", "--features", "none"]
    assert main([*call, "--quiet", "--json", "-o", str(tmp_path / "two"), "--processes", "2"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert "--processes 2" in record["table"]["command"]
    runs = sorted((tmp_path / "two" / "runs").glob("*/run.json"))
    assert [json.loads(file.read_text())["processes"] for file in runs] == [2, 2]
    alone = likely.train("bernoulli", "digits-binary", out=tmp_path / "one", quiet=True)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (runs[0].parent, alone.folder))
    assert all(ours[name].equal(theirs[name]) for name in theirs)


@pytest.mark.slow
def test_the_code_of_the_guide_runs(tmp_path: Path) -> None:
    page = Path(__file__).parents[1] / "docs" / "guide" / "large-data.md"
    said = []
    for number, block in enumerate(page.read_text(encoding="utf-8").split("```python\n")[1:]):
        (tmp_path / f"{number}.py").write_text(block.split("```")[0], encoding="utf-8")
        call = [sys.executable, str(tmp_path / f"{number}.py")]
        said.append(subprocess.run(call, check=True, capture_output=True, text=True, timeout=400).stdout.splitlines())
    stream, several = said
    assert [line.split()[0] for line in stream] == [str(i) for i in range(10)]
    assert [line.split()[0] for line in several] == ["1", "2", "3", "4", "5", "frechet"]  # printed by the first alone


# What goes wrong ---------------------------------------------------------------------------------------------------


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(LikelyError, match=r"^several processes need the extra: pip install 'likely\[distributed\]'\.$"):
        likely.train("bernoulli", "digits-binary", processes=2, quiet=True)


@pytest.mark.parametrize("command", [["evaluate", "--real", "digits", "--fake", "digits"], ["compare"]])
def test_commands_name_what_is_missing(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--processes", "0"]) == 1
    assert capsys.readouterr().err == "likely: error: processes must be a whole number, 1 or more, not 0.\n"
    assert main([*command, "--processes", "100000"]) == 1
    assert "processes are more than this machine has cores for; take " in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    assert main([*command, "--processes", "2"]) == 1
    assert capsys.readouterr().err == (
        "likely: error: several processes need the extra: pip install 'likely[distributed]'.\n"
    )


DYING = """
import os, signal, sys
from likely import crew
from likely.extractors import Extractor
def dies(*given):
    {how}
{place} = dies
crew._member(*map(int, sys.argv[1:4]), *sys.argv[4:])
"""


@pytest.mark.parametrize(
    ("place", "how", "said"),
    [
        (
            "Extractor.stream",
            "os.kill(os.getpid(), signal.SIGKILL)",
            "process 1 was killed, perhaps",
        ),
        ("crew._store", "os.kill(os.getpid(), signal.SIGKILL)", "process 1 was killed, perhaps"),
        ("Extractor.stream", "sys.exit('the disk is gone')", "process 1 stopped: the disk is gone"),
    ],
)
def test_an_evaluation_ends_when_another_process_does(
    place: str, how: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def started(task: Any, rank: int, size: int, port: int, words: Any) -> subprocess.Popen[str]:
        call = [sys.executable, "-c", DYING.format(place=place, how=how), str(rank), str(size), str(port), *task]
        pipe = subprocess.PIPE
        return subprocess.Popen(call, stdin=pipe, stdout=pipe, stderr=words, text=True)

    monkeypatch.setattr(crew, "_started", started)
    call = ["evaluate", "--real", "digits", "--fake", "digits", "--features", "digits-cnn", "--processes", "2"]
    assert main([*call, "--quiet"]) == 1
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert said in error
    assert not torch.distributed.is_initialized()


def test_what_every_process_finds_wrong_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["evaluate", "--real", "digits", "--fake", "ring", "--processes", "2", "--quiet"]
    assert main(call) == 1
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert "one real datum has shape" in error


@pytest.mark.parametrize("number", [0, -1, 1.5, True])
def test_a_number_of_processes_that_is_none_is_refused(number: Any) -> None:
    with pytest.raises(LikelyError, match="processes must be a whole number, 1 or more"):
        likely.train("bernoulli", "digits-binary", processes=number, quiet=True)


def test_data_made_in_python_cannot_be_loaded_by_other_processes(tmp_path: Path) -> None:
    space = likely.Binary((3,))
    data = Data("mine", "fixed", space, *(Part(space.random(20)) for _ in range(3)))
    with pytest.raises(LikelyError, match="give a name or a path"):
        likely.train("bernoulli", data, processes=2, quiet=True, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_another_process_died_of_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dying(task: Any, rank: int, size: int, port: int, words: Any) -> subprocess.Popen[str]:
        call = [sys.executable, "-c", "import sys; sys.exit('the disk is gone')"]
        pipe = subprocess.PIPE
        return subprocess.Popen(call, stdin=pipe, stdout=pipe, stderr=words, text=True)

    monkeypatch.setattr(crew, "_started", dying)
    with pytest.raises(LikelyError, match=r"^process 1 stopped: the disk is gone$"):
        likely.train("bernoulli", "digits-binary", processes=2, quiet=True, out=tmp_path / "run")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"


@pytest.mark.slow
def test_what_another_process_died_of_in_the_middle_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import sys
from likely import crew, errors
from likely.training.processes import Group
def fail(self, stats):
    raise errors.LikelyError("a row is bad")
Group.sum = fail
try:
    crew._member(*map(int, sys.argv[1:4]), *sys.argv[4:])
except errors.LikelyError as error:
    sys.exit(str(error))
"""

    def failing(task: Any, rank: int, size: int, port: int, words: Any) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        call = [sys.executable, "-c", code, str(rank), str(size), str(port), *task]
        return subprocess.Popen(call, stdin=pipe, stdout=pipe, stderr=words, text=True)

    monkeypatch.setattr(crew, "_started", failing)
    with pytest.raises(LikelyError, match=r"^process 1 stopped: a row is bad$"):
        likely.train("bernoulli", "digits-binary", processes=2, quiet=True, out=tmp_path / "run")
    assert not torch.distributed.is_initialized()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_the_others_end_with_the_first(tmp_path: Path, how: signal.Signals) -> None:
    call = [sys.executable, "-m", "likely.cli", "fit", "nade", "--data", "digits-binary", "--steps", "1000000"]
    first = subprocess.Popen([*call, "--processes", "2", "--out", str(tmp_path / "run"), "--quiet"])
    log, until = tmp_path / "run" / "log.jsonl", time.monotonic() + 120
    while not (log.exists() and log.stat().st_size) and time.monotonic() < until:
        time.sleep(0.2)
    others = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
    assert others
    first.send_signal(how)
    first.wait(60)
    while any(_runs(pid) for pid in others) and time.monotonic() < until:
        time.sleep(0.2)
    assert not any(_runs(pid) for pid in others)
    if how is signal.SIGINT:
        assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "interrupted"
        assert (tmp_path / "run" / "state.safetensors").exists()


def _runs(pid: str) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
