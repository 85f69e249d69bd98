"""The command line: quick and torch-free help, exit codes, one line per error, pure JSON, agreement with Python."""

from __future__ import annotations

import csv
import inspect
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
from PIL import Image

import likely
from likely import registry
from likely.cli import files, main
from likely.cli.answer import Misuse, columns, plain
from likely.cli.flags import assignments
from likely.cli.inputs import condition, known_mask
from likely.cli.judging import table
from likely.errors import DataError, LikelyError, UnknownName
from likely.spaces import Finite, Real

COMMANDS = [
    "models",
    "data",
    "resume",
    "sample",
    "score",
    "complete",
    "encode",
    "evaluate",
    "compare",
    "tour",
    "report",
    "results",
]
QUICK = 0.5  #: processor seconds within which help and listings answer


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one tiny run of each kind that the commands treat differently."""
    folder = tmp_path_factory.mktemp("desk")
    values = torch.randn(60, 3, generator=torch.Generator().manual_seed(0)).cumsum(1)
    lines = [[f"{value:.4f}" for value in row] for row in values.tolist()]
    lines[4][1] = lines[7][2] = ""
    (folder / "table.csv").write_text("\n".join(",".join(line) for line in [["a", "b", "c"], *lines]) + "\n")
    tiny: dict[str, list[Any]] = {
        "exact": ["bernoulli", "digits-binary"],
        "table": ["gaussian", folder / "table.csv"],
        "bound": ["vae", "digits-binary"],
        "sampler": ["gan", "ring"],
    }
    numbers: dict[str, dict[str, Any]] = {
        "bound": {"latent": 2, "width": 8, "steps": 2, "cond": "label", "validate_every": 2},
        "sampler": {"steps": 2, "validate_every": 2},
    }
    for name, (model, data) in tiny.items():
        likely.train(model, data, out=folder / name, quiet=True, **numbers.get(name, {}))
    return folder


@pytest.fixture(autouse=True)
def at_desk(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)


def ask(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    """Run a command with --json and return its record: nothing else may stand on standard output."""
    code = main([str(word) for word in (*words, "--json")])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    record: dict[str, Any] = json.loads(printed.out)
    return record


def tell(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Run a command and return what a person reads."""
    code = main([str(word) for word in words])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return printed.out


def refuse(capsys: pytest.CaptureFixture[str], code: int, *words: object) -> str:
    """Run a command that must fail with one line and nothing else, and return that line."""
    assert main([str(word) for word in words]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("likely: error: ")
    assert "Traceback" not in line
    return line


def process(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "likely.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


# Quick, and without torch --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", ["--help", "fit --help", "fit vae --help", "score --help", "models", "models vae", "models va", "data"]
)
def test_help_and_listings_are_quick_and_torch_free(words: str) -> None:
    code = (
        "import resource, sys; from likely.cli import main; main(sys.argv[1:]); "
        "used = resource.getrusage(resource.RUSAGE_SELF); "
        "print(used.ru_utime + used.ru_stime, 'torch' in sys.modules, 'numpy' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words.split()], capture_output=True, text=True, check=True)
    seconds, *imported = done.stderr.splitlines()[-1].split()
    assert imported == ["False", "False"]
    assert float(seconds) < QUICK


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = tell(capsys, command, "--help")
    assert f"Example: likely {command}" in text
    assert "--json" in text
    assert "[default" not in text.split("Example")[0]


def test_the_front_page_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    text = tell(capsys, "--help")
    for command in ["fit", *COMMANDS]:
        assert f"│ {command} " in text


def test_the_installed_command_is_this_one() -> None:
    installed = Path(sys.executable).parent / "likely"
    done = subprocess.run([installed, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == likely.__version__


# Flags from signatures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", registry.names())
def test_every_number_of_a_model_is_a_flag_with_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    entry = registry.entry(name)
    text = tell(capsys, "fit", name, "--help")
    for number in entry.numbers:
        assert f"--{number.name.replace('_', '-')}" in text
        assert number.help, f"{number.name} is not documented under `Arguments:` of build"


def test_fit_options_are_read_from_the_driver(capsys: pytest.CaptureFixture[str]) -> None:
    from likely import driver

    signature = inspect.signature(driver.train).parameters.values()
    options = registry.options("likely.driver", "train")
    expected = [(p.name, p.default) for p in signature if p.kind is p.KEYWORD_ONLY]
    assert [(option.name, option.default) for option in options] == expected
    assert all(option.help for option in options)


@pytest.mark.parametrize("name", registry.names())
def test_no_number_hides_an_option(name: str) -> None:
    options = {option.name for option in registry.options("likely.driver", "train")} | {"model", "data", "set"}
    assert not options & {number.name for number in registry.entry(name).numbers}


def test_a_model_of_another_package_is_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Path(registry.__file__).with_name("models") / "bernoulli.py"
    (tmp_path / "coins.py").write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    info = tmp_path / "coins-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: coins\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[likely.models]\ncoins = coins\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry.refresh()
    try:
        assert any(model["name"] == "coins" for model in ask(capsys, "models")["models"])
        assert "coins" in tell(capsys, "fit", "coins", "--help")
        record = ask(capsys, "fit", "coins", "--data", "digits-binary", "--out", tmp_path / "run", "--quiet")
        assert record["model"] == "coins"
    finally:
        monkeypatch.undo()
        sys.modules.pop("coins", None)
        registry.refresh()


# Fitting -------------------------------------------------------------------------------------------------------------


def test_fit_takes_flags_and_settings(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["fit", "nade", "--data", "digits-binary", "--steps", "3", "--validate-every", "3", "--quiet"]
    record = ask(capsys, *words, "--hidden", 5, "--set", "order=reverse", "--set", "batch=7", "-o", tmp_path / "run")
    assert (record["run"], record["status"], record["steps_done"]) == (str(tmp_path / "run"), "finished", 3)
    written = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (written["numbers"]["hidden"], written["numbers"]["order"], written["fit"]["batch"]) == (5, "reverse", 7)
    assert record["next"][0] == f"likely sample {tmp_path / 'run'} -n 64 -o samples.png"


def test_fit_says_where_the_run_lies(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "my run"
    text = tell(capsys, "fit", "bernoulli", "--data", "digits-binary", "--out", folder, "--quiet")
    assert f"The run lies in '{folder}'" in text
    assert f"likely complete '{folder}' --known upper-half" in text


def test_the_command_in_the_run_fits_it_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import shlex

    record = ask(capsys, "fit", "bernoulli", "--data", "digits-binary", "--seed", 3, "-o", tmp_path / "a", "--quiet")
    words = shlex.split(record["command"])
    again = ask(capsys, *words[1:], "-o", tmp_path / "b", "--quiet")
    assert words[0] == "likely"
    assert again["result"] == record["result"]


def test_interrupting_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    words = ["fit", "nade", "--data", "digits-binary", "--steps", "1000000", "--hidden", "4", "-o", "run"]
    command = [sys.executable, "-m", "likely.cli", *words]
    child = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "run" / "log.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and log.stat().st_size) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=120)
    assert child.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("likely: interrupted at step")
    assert "likely resume run" in err.splitlines()[-1]


def test_resume_goes_on(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["fit", "nade", "--data", "digits-binary", "--hidden", "4", "--steps", "2", "-o", tmp_path / "run"]
    ask(capsys, *words, "--quiet")
    assert ask(capsys, "resume", tmp_path / "run", "--steps", 4, "--quiet")["steps_done"] == 4


# Asking a run --------------------------------------------------------------------------------------------------------


def test_sample_agrees_with_python(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = likely.load("exact")
    expected = model.sample(5, seed=7)
    for name in ("x.npz", "x.npy", "x.csv"):
        record = ask(capsys, "sample", "exact", "-n", 5, "--seed", 7, "-o", tmp_path / name)
        assert record["output"] == str(tmp_path / name)
    assert np.array_equal(np.load(tmp_path / "x.npz", allow_pickle=False)["x"], expected)
    assert np.array_equal(np.load(tmp_path / "x.npy", allow_pickle=False), expected)
    with (tmp_path / "x.csv").open() as stream:
        heading, *lines = list(csv.reader(stream))
    assert heading[:2] == ["x0", "x1"]
    assert np.array_equal(np.array(lines, dtype=int), expected.flatten(1))


def test_samples_as_pictures(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    tell(capsys, "sample", "exact", "-n", 4, "--seed", 1, "-o", tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.width == grid.height >= 256
    tell(capsys, "sample", "exact", "-n", 3, "--seed", 1, "-o", f"{tmp_path / 'each'}/")
    each = sorted((tmp_path / "each").iterdir())
    assert [path.name for path in each] == ["00000.png", "00001.png", "00002.png"]
    with Image.open(each[0]) as one:
        assert np.array_equal(np.asarray(one), 255 * likely.load("exact").sample(3, seed=1)[0, 0].numpy())
    line = refuse(capsys, 1, "sample", "exact", "-n", 3, "-o", f"{tmp_path / 'each'}/")
    assert "not an empty folder" in line


def test_samples_of_one_class(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ask(capsys, "sample", "bound", "-n", 3, "--cond", "7", "--seed", 0, "-o", tmp_path / "x.npy")
    drawn = np.load(tmp_path / "x.npy", allow_pickle=False)
    assert np.array_equal(drawn, likely.load("bound").sample(3, 7, seed=0))


def test_the_latest_run_is_found(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        record = ask(capsys, "fit", "bernoulli", "--data", "digits-binary", "--quiet")
    assert record["run"] == "runs/bernoulli-digits-binary-2"
    assert ask(capsys, "sample", "latest", "-o", "x.npy")["run"] == record["run"]


def test_score_agrees_with_python(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    record = ask(capsys, "score", "exact", "--data", "digits-binary", "-o", tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert list(lines[0]) == ["row", "nats", "sign"]
    data = likely.data.load("digits-binary")
    expected = likely.load("exact").log_prob(data.test.x)
    assert [int(line["row"]) for line in lines] == list(range(len(data.test)))
    assert np.allclose([float(line["nats"]) for line in lines], expected, atol=1e-5)
    assert {line["sign"] for line in lines} == {"="}
    assert record["mean_nats"] == pytest.approx(float(expected.mean()))
    assert (record["rows"], record["part"], record["k"]) == (len(data.test), "test", None)


def test_score_of_a_bound_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    record = ask(capsys, "score", "bound", "-n", 3, "--k", 4, "--seed", 1)
    part = likely.data.load("digits-binary").test
    expected = likely.load("bound").iwelbo(part.x[:3], 4, part.cond[:3], seed=1)
    assert (record["sign"], record["k"]) == (">=", 4)
    assert np.allclose(record["nats"], expected)


def test_scores_go_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for output in ([], ["-o", "-"]):
        heading, *lines = tell(capsys, "score", "exact", "-n", 2, *output).splitlines()
        assert heading == "row,nats,sign"
        assert [line.split(",")[0] for line in lines] == ["0", "1"]


def test_a_file_is_scored_whole_and_in_its_order(capsys: pytest.CaptureFixture[str], desk: Path) -> None:
    record = ask(capsys, "score", "table", "--data", desk / "table.csv")
    x = torch.tensor(np.genfromtxt(desk / "table.csv", delimiter=",", skip_header=1), dtype=torch.float32)
    assert (record["part"], record["rows"]) == ("all", 60)
    assert np.allclose(record["nats"], likely.load("table").log_prob(x), atol=1e-4)
    assert ask(capsys, "score", "table")["part"] == "test"


def test_a_folder_that_is_split_is_scored_whole(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bits = likely.data.load("digits-binary").test.x[:6, 0].numpy() * 255
    for number, part in enumerate(["train", "train", "train", "valid", "test", "test"]):
        (tmp_path / "folder" / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(bits[number]).save(tmp_path / "folder" / part / f"{number}.png")
    record = ask(capsys, "score", "exact", "--data", tmp_path / "folder")
    expected = likely.load("exact").log_prob(torch.from_numpy(bits // 255)[:, None])
    assert (record["part"], record["rows"]) == ("all", 6)
    assert np.allclose(sorted(record["nats"]), expected.sort().values, atol=1e-5)
    assert ask(capsys, "score", "exact", "--data", tmp_path / "folder", "--part", "valid")["rows"] == 1


def test_complete_fills_in_missing_cells(capsys: pytest.CaptureFixture[str], desk: Path, tmp_path: Path) -> None:
    record = ask(capsys, "complete", "table", "--data", desk / "table.csv", "-o", tmp_path / "full.csv")
    before = np.genfromtxt(desk / "table.csv", delimiter=",", skip_header=1)
    after = np.genfromtxt(tmp_path / "full.csv", delimiter=",", skip_header=1)
    assert record["law"] == "exact"
    assert (tmp_path / "full.csv").read_text().splitlines()[0] == "a,b,c"
    assert np.isfinite(after).all()
    known = np.isfinite(before)
    assert (~known).sum() == 2
    assert np.allclose(after[known], before[known], atol=1e-6)


def test_complete_keeps_the_half_that_is_known(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["complete", "exact", "--known", "upper-half", "-n", 4, "--seed", 2]
    ask(capsys, *words, "-o", tmp_path / "x.npz")
    drawn = np.load(tmp_path / "x.npz", allow_pickle=False)["x"]
    x = likely.data.load("digits-binary").test.x[:4]
    known = torch.zeros(1, 8, 8, dtype=torch.bool)
    known[:, :4] = True
    assert np.array_equal(drawn, likely.load("exact").complete(x, known, seed=2))
    assert np.array_equal(drawn[:, :, :4], x[:, :, :4])
    np.save(tmp_path / "mask.npy", known.numpy())
    ask(capsys, *words[:2], "--known", tmp_path / "mask.npy", *words[4:], "-o", tmp_path / "y.npz")
    assert np.array_equal(np.load(tmp_path / "y.npz", allow_pickle=False)["x"], drawn)
    tell(capsys, *words, "-o", tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.width > picture.height  # two rows of a datum, what was known of it, its completion


def test_encode_agrees_with_python(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    record = ask(capsys, "encode", "bound", "-n", 6, "-o", tmp_path / "z.npz")
    part = likely.data.load("digits-binary").test
    written = np.load(tmp_path / "z.npz", allow_pickle=False)
    assert record["shape"] == [2]
    assert np.allclose(written["z"], likely.load("bound").encode(part.x[:6], part.cond[:6]), atol=1e-6)
    assert np.array_equal(written["cond"], part.cond[:6])
    tell(capsys, "encode", "bound", "-n", 6, "-o", tmp_path / "z.csv")
    assert np.allclose(np.genfromtxt(tmp_path / "z.csv", delimiter=",", skip_header=1), written["z"], atol=1e-6)


# Judging -------------------------------------------------------------------------------------------------------------


def test_evaluate_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    record = ask(capsys, "evaluate", "exact", "-n", 40)
    first = record["results"][0]
    expected = likely.load("exact").log_prob(likely.data.load("digits-binary").test.x).mean()
    assert (first["metric"], first["sign"], first["unit"]) == ("log_likelihood", "=", "nats")
    assert first["value"] == pytest.approx(float(expected))
    text = table(record["results"])
    assert f"= {float(expected):.5g} ± " in text
    assert "bits/dim" in text


def test_evaluate_two_sets(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ask(capsys, "sample", "exact", "-n", 60, "--seed", 0, "-o", tmp_path / "fake.npz")
    record = ask(capsys, "evaluate", "--real", "digits-binary", "--fake", tmp_path / "fake.npz")
    distance = record["results"][0]
    assert distance["value"] > distance["protocol"]["floor"]


def test_compare_and_report(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["compare", "--data", "ring", "--models", "gaussian,gmm", "-n", 50, "--quiet", "-o", tmp_path / "c"]
    record = ask(capsys, *words)
    assert [row["model"] for row in record["table"]["rows"]] == ["gaussian", "gmm"]
    assert record["failed"] == []
    assert Path(record["page"]).read_text(encoding="utf-8").lower().startswith("<!doctype html>")
    page = ask(capsys, "report", "table", "-n", 20, "-o", tmp_path / "page.html")["page"]
    assert page == str(tmp_path / "page.html")
    assert (tmp_path / "page.html").exists()
    assert "gmm" in tell(capsys, "results", tmp_path / "c", "-n", 50)


def test_compare_fails_when_every_model_does(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code = main(["compare", "--data", "ring", "--models", "rbm", "--quiet", "--json", "-o", str(tmp_path / "c")])
    printed = capsys.readouterr()
    assert code == 1
    assert len(json.loads(printed.out)["failed"]) == 1
    assert printed.err.startswith("likely: error: every model failed")


def test_the_tour_fails_when_one_model_does(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from likely import comparison

    monkeypatch.setattr(comparison, "TOUR", {"digits-binary": {"bernoulli": None}})
    assert ask(capsys, "tour", "--quiet", "-o", tmp_path / "good")["page"] == str(tmp_path / "good" / "index.html")
    monkeypatch.setattr(comparison, "TOUR", {"ring": {"gaussian": None, "rbm": None}})
    assert main(["tour", "--quiet", "-o", str(tmp_path / "bad")]) == 1
    assert "rbm on ring" in capsys.readouterr().out


# Listings ------------------------------------------------------------------------------------------------------------


def test_models_by_ability(capsys: pytest.CaptureFixture[str]) -> None:
    record = ask(capsys, "models", "--can", "log-prob")
    found = {model["name"] for model in record["models"]}
    assert {"bernoulli", "gaussian", "nade"} <= found
    assert not {"gan", "vae", "rbm"} & found


def test_one_model(capsys: pytest.CaptureFixture[str]) -> None:
    entry = registry.entry("nade")
    text = tell(capsys, "models", "nade")
    for expected in (entry.summary, "--hidden", "Larochelle", "log_prob", "likely fit nade"):
        assert expected in text
    assert ask(capsys, "models", "nade")["numbers"][0]["name"] == entry.numbers[0].name


def test_data_sets(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert set(ask(capsys, "data")["data"]) == set(likely.data.names())
    record = ask(capsys, "data", "digits", "-o", tmp_path / "digits.png")
    assert record["rows"] == {"train": 1437, "valid": 180, "test": 180}
    with Image.open(record["picture"]) as picture:
        assert picture.width > 100
    text = tell(capsys, "data", "table.csv")
    assert "missing" in text
    assert "Real(3,)" in text


# Bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("smaple exact", 'Did you mean "sample"?'),
        ("models nad", "Did you mean 'nade'?"),
        ("models --can log_porb", "Did you mean 'log_prob'?"),
        ("models --kan x", "Did you mean --can?"),
        ("fit nad --data digits", "Did you mean 'nade'?"),
        ("fit nade --data digit", "Did you mean 'digits'?"),
        ("fit nade --data digits-binary --preset mnst-binary", "Did you mean 'mnist-binary'?"),
        ("fit nade --hiden 3", "Did you mean --hidden?"),
        ("fit nade --hidden three", 'unable to convert "three" into int'),
        ("fit nade --set hiden=3", "Did you mean 'hidden'?"),
        ("fit nade --set hidden", "not of the form name=value"),
        ("data digitz", "Did you mean 'digits'?"),
        ("sample exact", "--output"),
        ("sample", "sample"),
        ("sample exact -o x.jpg", "must end in .png, .npz, .npy, .csv"),
        ("sample exact -n 0 -o x.npy", "must be 1 or more"),
        ("sample exact -n two -o x.npy", "into int"),
        ("sample exact --cond 3 -o x.npy", "not conditional"),
        ("sample bound --cond seven -o x.npy", "unknown category 'seven'"),
        ("sample exact --option temprature=2 -o x.npy", "temprature"),
        ("score exact --data digits-binary --part tset", "Did you mean 'test'?"),
        ("score exact -n 0", "must be 1 or more"),
        ("score exact -o scores.png", "must end in .csv"),
        ("complete exact -o x.npz", "--known upper-half"),
        ("complete exact --known uper-half -o x.npz", "Did you mean 'upper-half'?"),
        ("complete table --known upper-half -o x.npz", "has no upper-half"),
        ("encode bound -o z.png", "must end in .npz, .npy, .csv"),
        ("evaluate", "give a run"),
        ("evaluate exact --real digits --fake digits", "either a run"),
        ("compare --models nad", "Did you mean 'nade'?"),
        ("compare --buget 2m", "Did you mean --budget?"),
        ("tour extra", "extra"),
    ],
)
def test_misuse_is_named_and_exits_2(words: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert expected in refuse(capsys, 2, *words.split())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("sample nowhere -o x.npy", "'nowhere' is not a run folder"),
        ("sample latest -o x.npy", "there is no run"),
        ("resume exact", "is finished"),
        ("score sampler", "says nothing about likelihood"),
        ("score exact --data missing/file.npz", "no such file"),
        ("score exact --data ring", "'threshold' does not apply"),
        ("score table --data ring", "expected (B, 3)"),
        ("complete sampler --known left -o x.csv", "cannot complete"),
        ("complete exact --known missing.npy -o x.npz", "missing.npy"),
        ("complete exact --known table.npy -o x.npz", "cannot be read"),
        ("encode exact -o z.npz", "likely models --can encode"),
        ("sample bound --cond 11 -o x.npy", "11"),
        ("sample table -o x.png", "not a space of pictures"),
        ("fit bernoulli --data digits --out exact", "exists already"),
        ("fit rbm --data ring", "rbm"),
        ("fit nade --data digits-binary --budget soon", "soon"),
        ("fit bernoulli --data digits --cond label --quiet", "cond"),
        ("data broken.npz", "broken.npz"),
        ("data broken.csv", "broken.csv"),
    ],
)
def test_failure_is_one_line_and_exits_1(
    words: str, expected: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "table.npy").write_bytes(b"no array")
    (desk / "broken.npz").write_bytes(b"PK\x03\x04 not a zip")
    (desk / "broken.csv").write_text("a,b\n1\n")
    before = set(desk.iterdir())
    assert expected in refuse(capsys, 1, *words.split())
    assert set(desk.iterdir()) == before  # nothing half-written


def test_exit_codes_of_the_process(desk: Path) -> None:
    for words, code in (("models bernoulli", 0), ("sample nowhere -o x.npy", 1), ("models nad", 2)):
        done = process(*words.split(), cwd=desk)
        assert done.returncode == code
        assert len(done.stderr.splitlines()) == (0 if code == 0 else 1)
        assert bool(done.stdout) == (code == 0)


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "nowhere", "-o", "x.npy", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_fault_of_ours_is_one_line_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("one\ntwo")

    monkeypatch.setattr(files, "write_values", broken)
    line = refuse(capsys, 1, "sample", "exact", "-o", tmp_path / "x.npy")
    assert "ZeroDivisionError: one." in line
    assert "--debug" in line


def test_a_reader_that_left_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "likely.cli", "models"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


# The parts -----------------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    def fail_midway() -> None:
        with files.aside(path) as draft:
            draft.write_text("half")
            raise ZeroDivisionError

    path = tmp_path / "new" / "scores.csv"
    files.write_table(path, ["a", "b"], [[1, "x,y"]])
    assert path.read_text() == 'a,b\n1,"x,y"\n'
    with pytest.raises(ZeroDivisionError):
        fail_midway()
    assert path.read_text() == 'a,b\n1,"x,y"\n'
    assert list(path.parent.iterdir()) == [path]


def test_settings_are_plain_values() -> None:
    texts = ["a=1", "b=1e-3", "c=true", "d=None", "e=(1, 2)", "learning-rate=x y", "f='2'", "g="]
    expected = {"a": 1, "b": 1e-3, "c": True, "d": None, "e": (1, 2), "learning_rate": "x y", "f": "2", "g": ""}
    assert assignments(texts, None, "option") == expected
    with pytest.raises(UnknownName, match="Did you mean 'steps'"):
        assignments(["step=1"], ["steps"], "option")


def test_conditions() -> None:
    animals = Finite((), 3, categories=("dog", "cat", "3"))
    assert condition(None, None) is None
    assert int(condition("cat", animals)) == 1
    assert int(condition("3", animals)) == 2  # a category's name comes before its number
    assert int(condition("0", animals)) == 0
    assert condition("1,2.5", Real((2,))).tolist() == [1.0, 2.5]
    with pytest.raises(UnknownName, match="Did you mean 'cat'"):
        condition("cta", animals)
    with pytest.raises(Misuse, match="not a point"):
        condition("1,2,3", Real((2,)))
    with pytest.raises(LikelyError):
        condition("5", animals)


@pytest.mark.parametrize("shape", [(3, 5), (1, 3, 5)])
def test_halves_make_a_whole(shape: tuple[int, ...]) -> None:
    space = Finite(shape, 2)
    for one, other in (("upper-half", "lower-half"), ("left", "right")):
        first, second = known_mask(one, space, 1), known_mask(other, space, 1)
        assert first.shape == shape
        assert bool((first ^ second).all())
    assert bool(known_mask("upper-half", space, 1)[..., 0, :].all())
    assert bool(known_mask("left", space, 1)[..., 0].all())


def test_a_mask_must_fit(tmp_path: Path) -> None:
    for number, bad in enumerate([np.full((2, 2), 2), np.ones(3, dtype=bool)]):
        path = tmp_path / f"{number}.npy"
        np.save(path, bad)
        with pytest.raises(DataError, match="must hold True"):
            known_mask(str(path), Real((2, 2)), 4)


def test_json_holds_what_json_can() -> None:
    record = {"a": float("nan"), "b": [float("inf"), 1.5], "c": Path("x"), 1: (True, None)}
    assert plain(record) == {"a": None, "b": [None, 1.5], "c": "x", "1": [True, None]}


def test_columns_align() -> None:
    assert columns([("vae", 16), ("gaussian", 2)], ("model", "n")) == "model     n\nvae       16\ngaussian  2"
