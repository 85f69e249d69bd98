"""The command line: quick and torch-free help, exit codes, one line per error, pure JSON, agreement with Python."""

from __future__ import annotations

import csv
import gzip
import inspect
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import zipfile
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
    "parameters",
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
        "rows": ["nade", "digits-binary"],
        "sampler": ["gan", "ring"],
    }
    numbers: dict[str, dict[str, Any]] = {
        "bound": {"latent": 2, "width": 8, "steps": 2, "cond": "label", "validate_every": 2},
        "rows": {"hidden": 8, "steps": 1},
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


def test_texts_are_sampled_as_texts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("to be\nor not\nto be or\n" * 8)
    ask(capsys, "fit", "hmm", "--data", tmp_path / "lines.txt", "--states", 2, "--quiet", "--out", tmp_path / "run")
    ask(capsys, "sample", tmp_path / "run", "-n", 9, "--seed", 0, "-o", tmp_path / "new.txt")
    new = (tmp_path / "new.txt").read_text().splitlines()
    assert len(new) == 9
    assert {word for line in new for word in line.split()} <= {"to", "be", "or", "not"}
    assert "holds no texts" in refuse(capsys, 1, "sample", "exact", "-n", 3, "-o", tmp_path / "x.txt")


def test_samples_of_one_class(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ask(capsys, "sample", "bound", "-n", 3, "--cond", "7", "--seed", 0, "-o", tmp_path / "x.npy")
    drawn = np.load(tmp_path / "x.npy", allow_pickle=False)
    assert np.array_equal(drawn, likely.load("bound").sample(3, 7, seed=0))


@pytest.mark.parametrize("name", ["x.npz", "X.NPZ", "X.NPY", "그림 1.PNG", "x.csv"])
def test_endings_are_read_in_either_case(name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ask(capsys, "sample", "exact", "-n", 2, "-o", tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


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


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


def test_score_by_a_way_adds_columns(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "strange.csv"
    record = ask(capsys, "score", "exact", "--by", "typicality", "--contamination", 0.05, "-o", path)
    lines = read(path)
    assert list(lines[0]) == ["row", "nats", "sign", "score", "outlier"]
    run = likely.load("exact")
    data = likely.data.load("digits-binary")
    usual = float(-run.log_prob(data.valid.x).mean())
    expected = (-run.log_prob(data.test.x) - usual).abs()
    assert np.allclose([float(line["score"]) for line in lines], expected, atol=1e-4)
    assert [line["outlier"] == "1" for line in lines] == (expected > record["threshold"]).tolist()
    assert record["outliers"] == sum(line["outlier"] == "1" for line in lines) == 9  # of 180
    assert (record["by"], record["unit"], record["threshold_by"]) == ("typicality", "nats", "contamination 0.05")


def test_score_without_by_takes_what_the_model_can(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    record = ask(capsys, "score", "exact", "--top", 2)
    assert (record["by"], record["score"]) == ("nll", [-nats for nats in record["nats"]])
    record = ask(capsys, "score", "bound", "--contamination", 0.1, "-n", 10, "--k", 2)
    assert (record["by"], record["outliers"]) == ("bound", 1)
    record = ask(capsys, "score", "sampler", "--contamination", 0.1, "-o", tmp_path / "scores.csv")
    assert (record["by"], record["sign"], record["mean_nats"]) == ("critic", "", None)
    lines = read(tmp_path / "scores.csv")
    assert {(line["nats"], line["sign"]) for line in lines} == {("", "")}
    assert len({line["score"] for line in lines}) > 10


def test_false_alarms_are_counted_on_validation_rows(capsys: pytest.CaptureFixture[str]) -> None:
    record = ask(capsys, "score", "exact", "--false-alarms", 0.1)
    valid = -likely.load("exact").log_prob(likely.data.load("digits-binary").valid.x)
    assert float((valid > record["threshold"]).double().mean()) <= 0.1
    assert record["threshold"] in valid.tolist()


def test_the_strangest_are_listed_and_pictured(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    record = ask(capsys, "score", "exact", "--top", 3, "-o", tmp_path / "top.csv")
    nll = -likely.load("exact").log_prob(likely.data.load("digits-binary").test.x)
    assert record["top"] == nll.argsort(descending=True, stable=True)[:3].tolist()
    assert [int(line["row"]) for line in read(tmp_path / "top.csv")] == record["top"]
    ask(capsys, "score", "exact", "--top", 3, "-o", tmp_path / "top.png")
    with Image.open(tmp_path / "top.png") as image:
        assert image.size[0] > 3 * 8
    assert "the 3 strangest of 180 rows" in tell(capsys, "score", "exact", "--top", 3, "-o", tmp_path / "again.png")
    assert ask(capsys, "score", "exact", "--top", 2)["nats"] == pytest.approx((-nll[record["top"][:2]]).tolist())


def test_maps_stand_beside_the_strangest(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ask(capsys, "score", "exact", "--top", 2, "--contributions", "-o", tmp_path / "maps.png")
    x = likely.data.load("digits-binary").test.x
    model = likely.load("exact")
    first = x[model.log_prob(x).argmin()]
    p = model.probabilities.gather(-1, first.long()[..., None])[0, ..., 0]
    expected = (255 * p.log() / p.log().min()).round()
    with Image.open(tmp_path / "maps.png") as image:
        scale = image.width // (2 * 8 + 1)  # one datum, a gap, its map
        pixels = np.asarray(image.convert("L"))[::scale, ::scale][:8]
    assert np.array_equal(pixels[:, :8], first[0] * 255)
    assert np.abs(pixels[:, 9:17] - expected.numpy()).max() <= 1


def test_contributions_are_named_by_column(capsys: pytest.CaptureFixture[str], desk: Path, tmp_path: Path) -> None:
    ask(capsys, "score", "table", "--data", desk / "table.csv", "--contributions", "-o", tmp_path / "parts.csv")
    lines = read(tmp_path / "parts.csv")
    assert list(lines[0])[4:] == ["from a", "from b", "from c"]
    assert float(lines[4]["from b"]) == 0  # the cell is empty
    assert float(lines[5]["from b"]) != 0


def test_known_anomalies_give_an_area_with_its_interval(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    np.savez(tmp_path / "noise.npz", x=np.random.default_rng(0).integers(0, 256, (50, 1, 8, 8), dtype=np.uint8))
    record = ask(capsys, "score", "exact", "--by", "nll", "--against", tmp_path / "noise.npz")
    area = record["results"][0]
    assert area["metric"] == "auroc"
    assert area["value"] > 0.99
    assert (area["protocol"]["n_anomalies"], area["protocol"]["n_real"]) == (50, 180)


def test_a_label_may_name_the_anomalies(capsys: pytest.CaptureFixture[str]) -> None:
    record = ask(capsys, "score", "exact", "--anomaly", "0")
    test = likely.data.load("digits-binary").test
    protocol = record["results"][0]["protocol"]
    assert (protocol["n_anomalies"], protocol["n_real"]) == (int((test.cond == 0).sum()), int((test.cond != 0).sum()))
    nll = -likely.load("exact").log_prob(test.x)
    assert record["results"][0]["value"] == pytest.approx(
        float((nll[test.cond == 0][:, None] > nll[test.cond != 0]).double().mean())
    )


def test_a_background_run_gives_a_likelihood_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["score", "bound", "-n", 4, "--by", "likelihood-ratio", "--background", "exact", "-o", "ratio.csv"]
    record = ask(capsys, *words, "--k", 2)
    lines = read(Path("ratio.csv"))
    x = likely.data.load("digits-binary").test.x[:4]
    expected = likely.load("exact").log_prob(x) - torch.tensor([float(line["nats"]) for line in lines])
    assert np.allclose([float(line["score"]) for line in lines], expected, atol=1e-4)
    assert record["by"] == "likelihood-ratio"


def drawn(folder: Path, classes: dict[str, list[int]]) -> Path:
    """Write digits as pictures, black and white, into folders of these names; each list holds rows of the test part."""
    test = likely.data.load("digits-binary").test
    for name, rows in classes.items():
        (folder / name).mkdir(parents=True)
        for row in rows:
            Image.fromarray(test.x[row, 0].numpy() * 255).save(folder / name / f"{row}.png")
    return folder


def test_classes_of_another_file_go_by_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model, test = likely.load("bound"), likely.data.load("digits-binary").test
    folder = drawn(tmp_path / "some", {"3": [0, 1, 2], "7": [3, 4, 5]})
    record = ask(capsys, "score", "bound", "--data", folder, "-k", 4)
    given = torch.tensor([3, 3, 3, 7, 7, 7], dtype=torch.uint8)
    assert np.allclose(record["nats"], model.iwelbo(test.x[:6], 4, given, seed=0), atol=1e-5)  # type: ignore[attr-defined]
    ask(capsys, "encode", "bound", "--data", folder, "-o", tmp_path / "z.npz")
    assert np.load(tmp_path / "z.npz")["cond"].tolist() == given.tolist()
    drawn(tmp_path / "strange", {"3": [0, 1, 2], "seven": [3, 4, 5]})
    line = refuse(capsys, 1, "score", "bound", "--data", tmp_path / "strange")
    assert "'strange' has the label seven, which the run does not know; it knows 0, 1" in line
    drawn(tmp_path / "alike", {"3": [0, 1, 2]})
    said = refuse(capsys, 1, "score", "bound", "--data", tmp_path / "alike")
    assert said.endswith("'alike' has nothing to condition on: give data with labels.")


def test_columns_of_another_file_go_by_name(capsys: pytest.CaptureFixture[str], desk: Path, tmp_path: Path) -> None:
    rows = [line.split(",") for line in (desk / "table.csv").read_text().splitlines()]
    (tmp_path / "turned.csv").write_text("\n".join(",".join([c, a, b]) for a, b, c in rows))
    turned = ask(capsys, "score", "table", "--data", tmp_path / "turned.csv")["nats"]
    assert np.allclose(turned, ask(capsys, "score", "table", "--data", desk / "table.csv")["nats"])
    (tmp_path / "other.csv").write_text("\n".join(",".join(row) for row in [["a", "b", "d"], *rows[1:]]))
    line = refuse(capsys, 1, "score", "table", "--data", tmp_path / "other.csv")
    assert "'other.csv' has the columns a, b, d; the run was fitted on a, b, c" in line


def test_levels_of_another_set_must_be_those_of_the_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(640, dtype=np.uint8).reshape(10, 1, 8, 8))
    ask(capsys, "fit", "bernoulli", "--data", tmp_path / "x.npy", "--out", tmp_path / "run", "--quiet")
    line = refuse(capsys, 1, "score", tmp_path / "run", "--data", "digits")
    assert "'digits' has 17 levels and the run was fitted on 256" in line
    np.save(tmp_path / "dark.npy", np.arange(64, dtype=np.int64).reshape(1, 1, 8, 8) // 9)
    assert ask(capsys, "score", tmp_path / "run", "--data", tmp_path / "dark.npy")["rows"] == 1


def test_captions_are_written_with_their_lengths(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = drawn(tmp_path / "told", {"": list(range(12))})
    lines = [json.dumps({"file_name": f"{i}.png", "text": "가" * (i + 1)}) for i in range(12)]
    (folder / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    ask(capsys, "fit", "vae", "--data", folder, "--steps", 1, "--out", tmp_path / "run", "--quiet")
    ask(capsys, "encode", tmp_path / "run", "--part", "all", "-o", tmp_path / "z.npz")
    written = np.load(tmp_path / "z.npz")
    assert written["cond"].shape == (12, 36)
    assert sorted(written["lengths"]) == [3 * (i + 1) for i in range(12)]


def test_pictures_of_mixed_colours_are_brought_to_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for number in range(12):
        Image.new("L" if number % 2 else "RGB", (4, 4), number).save(tmp_path / f"{number}.png")
    assert "--colour rgb" in refuse(capsys, 1, "data", tmp_path)
    for colour, channels in (("grey", 1), ("rgb", 3)):
        assert ask(capsys, "data", tmp_path, "--colour", colour)["space"]["shape"] == [channels, 4, 4]
    assert "Did you mean 'grey'" in refuse(capsys, 2, "data", tmp_path, "--colour", "gray")
    run = tmp_path / "run"
    done = ask(capsys, "fit", "vae", "--data", tmp_path, "--colour", "grey", "--steps", 1, "--out", run, "--quiet")
    assert "--colour grey" in done["command"]
    assert likely.load(run).space.shape == (1, 4, 4)


def test_a_column_can_be_the_condition(capsys: pytest.CaptureFixture[str], desk: Path, tmp_path: Path) -> None:
    (tmp_path / "표.csv").write_text(
        "키,성별\n" + "".join(f"{i * i % 13}.5,{'남여'[i % 2]}\n" for i in range(40)), encoding="utf-8"
    )
    run, words = tmp_path / "run", ("--steps", 1, "--out", tmp_path / "run", "--quiet")
    ask(capsys, "fit", "vae", "--data", tmp_path / "표.csv", "--cond", "성별", *words)
    ask(capsys, "sample", run, "--cond", "남", "-n", 2, "-o", tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text(encoding="utf-8").splitlines()[0] == "키"
    assert ask(capsys, "score", run, "--data", tmp_path / "표.csv")["rows"] == 40
    words = ("--out", tmp_path / "none", "--quiet")
    assert "Did you mean '성별'" in refuse(
        capsys, 2, "fit", "vae", "--data", tmp_path / "표.csv", "--cond", "성벌", *words
    )


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
    assert (first["metric"], first["sign"], first["unit"]) == ("nll", "=", "nats")
    assert first["value"] == pytest.approx(-float(expected))
    text = table(record["results"])
    assert f"= {float(expected):.5g} ± " in text
    assert "bits/dim" in text


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("evaluate", 2, "give a run, or both --real and --fake"),
        ("evaluate exact --metrics frechett", 2, "Did you mean 'frechet'"),
        ("evaluate exact --metrics ,", 1, "no metric is named"),
        ("evaluate exact --features inceptio", 2, "Did you mean 'inception-v3-fid'"),
        ("evaluate exact --part tset", 2, "Did you mean 'test'"),
        ("evaluate exact -n 1", 2, "--number must be 2 or more, not 1"),
        ("evaluate exact -n -5", 2, "--number must be 2 or more, not -5"),
        ("evaluate exact -k 0", 2, "--k must be 1 or more, not 0"),
        ("evaluate exact --seed -1", 2, "--seed must be a whole number from 0"),
        ("evaluate exact --processes -1", 1, "processes must be a whole number, 1 or more, not -1"),
        ("evaluate exact --real digits --fake digits", 2, "give either a run, or --real and --fake"),
        ("evaluate nowhere", 1, "'nowhere' is not a run folder"),
        ("evaluate hollow", 1, "'hollow' is not a run folder"),
        ("evaluate table.csv", 1, "'table.csv' is not a run folder"),
        ("evaluate exact --data damaged.npz", 1, "damaged.npz: damaged"),
        ("evaluate --real digits", 2, "give a run, or both --real and --fake"),
        ("evaluate --real digits --fake digits --metrics frechet", 2, "name an extractor, such as --features pca"),
        ("evaluate --real digits --fake digits --metrics features", 2, "name an extractor, such as --features pca"),
        ("evaluate --real digits --fake digits --part valid", 2, "--part: for a run only"),
        ("evaluate --real digits --fake digits -n 5 --data mnist", 2, "--data, --number: for a run only"),
        ("evaluate --real nowhere.npz --fake digits", 1, "nowhere.npz: no such file or folder"),
        ("evaluate --real hollow --fake digits", 1, "hollow: holds no pictures"),
        ("evaluate --real damaged.npz --fake digits", 1, "damaged.npz: damaged"),
        ("evaluate --real damaged.zip --fake digits", 1, "damaged.zip: damaged"),
        ("evaluate --real words.txt --fake words.txt", 1, "sequences differ in length"),
        ("compare --models vea", 2, "Did you mean 'vae'"),
        ("compare --models bernoulli,bernoulli", 2, "model bernoulli stands twice"),
        ("compare --models bernoulli --seed 1 --seed 1", 2, "--seed 1 stands twice"),
        ("compare --models bernoulli --seed -1", 2, "--seed must be a whole number from 0"),
        ("compare --models bernoulli -n 0", 2, "--number must be 2 or more, not 0"),
        ("compare --models bernoulli --cond labels", 2, "Did you mean 'label'"),
        ("compare --models bernoulli -o table.csv", 2, "--output table.csv is a file; name a folder"),
        ("compare --data damaged.npz", 1, "damaged.npz: damaged"),
        ("tour -o table.csv", 2, "--output table.csv is a file; name a folder"),
        ("tour --seed -1", 2, "--seed must be a whole number from 0"),
        ("report hollow", 1, "'hollow' is not a run folder"),
        ("report exact -n 0", 2, "--number must be 2 or more, not 0"),
        ("report exact -o page.txt", 2, "must end in .html"),
        ("results hollow", 1, "holds no run"),
        ("results exact -k 0", 2, "--k must be 1 or more, not 0"),
        ("results exact -o page.txt", 2, "must end in .md"),
    ],
)
def test_what_cannot_be_judged_gets_one_line(
    words: str, code: int, said: str, capsys: pytest.CaptureFixture[str], desk: Path
) -> None:
    (desk / "hollow").mkdir(exist_ok=True)
    for name in ("damaged.npz", "damaged.zip"):
        (desk / name).write_bytes(b"no archive")
    (desk / "words.txt").write_text("one\ntwo\n")
    assert main(words.split()) == code
    out, error = capsys.readouterr()
    assert out == ""
    assert [line for line in error.splitlines() if "error: " in line] == error.splitlines()[-1:]
    assert said in error


def test_the_number_of_weights_has_a_short_flag(capsys: pytest.CaptureFixture[str]) -> None:
    found = ask(capsys, "evaluate", "bound", "-k", 3, "-n", 20, "--metrics", "nll")["results"]
    assert found[0]["protocol"]["k"] == 3


def test_the_measurement_of_a_run_tells_how_far_it_is() -> None:
    said: list[tuple[float, str, float | None]] = []
    run = likely.run.open("bound")
    told = likely.evaluate(run, n=60, k=2, features="pixels", tell=lambda *one: said.append(one))
    assert told == likely.evaluate(run, n=60, k=2, features="pixels")
    shares = [share for share, _, _ in said]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    stages = list(dict.fromkeys(what for _, what, _ in said))
    assert stages[:4] == ["likelihood", "drawing samples", "kernel", "features"]
    assert all(left is None or left >= 0 for _, _, left in said)
    assert said[-1][2] == 0


def test_evaluate_by_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    record = ask(capsys, "evaluate", "exact", "-n", 40, "--metrics", "nll,memory,linear_probe", "--features", "pixels")
    names = [one["metric"] for one in record["results"]]
    assert names == ["nll", "data_copying", "authenticity", "copies", "linear_probe"]
    text = table(record["results"])
    assert text.splitlines()[0].split() == ["measure", "value", "95", "%", "unit", "real", "data", "beside"]
    assert "not available" in text
    assert "has no representation" in text
    assert "independent entries" in text
    low, high = record["results"][0]["interval"]
    assert f"{-high:.4g} to {-low:.4g}" in text  # of the log-likelihood


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
    code = main(["compare", "--data", "ring", "--models", "nade", "--quiet", "--json", "-o", str(tmp_path / "c")])
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
    monkeypatch.setattr(comparison, "TOUR", {"ring": {"gaussian": None, "nade": None}})
    assert main(["tour", "--quiet", "-o", str(tmp_path / "bad")]) == 1
    assert "nade on ring" in capsys.readouterr().out


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


@pytest.mark.parametrize(
    ("words", "model"),
    [("digits", "vae"), ("words.csv --view levels", "table"), ("lines.txt", "hmm")],
)
def test_the_suggested_model_takes_the_data(desk, monkeypatch, capsys, words, model):
    monkeypatch.chdir(desk)
    (desk / "words.csv").write_text("a,b,c\n" + "x,1,u\ny,2,v\nx,3,w\n" * 8)
    (desk / "lines.txt").write_text("abab\nba\naab\n" * 8)
    assert main(["data", *words.split()]) == 0
    assert f"likely fit {model} --data {words}" in capsys.readouterr().out
    fit = ["fit", model, "--data", *words.split(), "--preset", "none", "--out", str(desk / f"first-{model}")]
    assert main(fit) == 0


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
        ("data table.csv --view levls", "Did you mean 'levels'?"),
        ("choose gmm components", "names no values; say which to try, such as components=1:10"),
        ("choose gan latent=2,4", "no likelihood to choose by"),
        ("choose gmm components=1:9:0", "whole numbers, the step 1 or more"),
        ("choose gmm components=2,2", "the value 2 stands twice"),
        ("choose gmm components=2 --seed -1", "--seed must be a whole number from 0"),
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
        ("score exact --by typicalty", "Did you mean 'typicality'?"),
        ("score exact --by likelihood-ratio", "--background RUN belong together"),
        ("score exact --background exact", "--background RUN belong together"),
        ("score exact --contamination 0.1 --false-alarms 0.1", "give either"),
        ("score exact --top 0", "must be 1 or more"),
        ("score exact --anomaly eleven", "unknown category 'eleven'"),
        ("score exact --anomaly 1 --against digits", "give either"),
        ("complete exact -o x.npz", "--known upper-half"),
        ("complete exact --known uper-half -o x.npz", "Did you mean 'upper-half'?"),
        ("complete table --known upper-half -o x.npz", "has no upper-half"),
        ("encode bound -o z.png", "must end in .npz, .npy, .csv"),
        ("evaluate", "give a run"),
        ("evaluate exact --metrics nl", "Did you mean 'nll'"),
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
        ("choose vae latent=2,4 --criterion aic", "vae has no exact density with counted parameters"),
        ("sample latest -o x.npy", "there is no run"),
        ("resume exact", "is finished"),
        ("score sampler", "says nothing about likelihood"),
        ("score exact --by critic", "it can by: nll, typicality, likelihood-ratio, complexity."),
        ("score sampler --anomaly 1", "no column of labels"),
        ("score exact --contamination 0.7", "at most 0.5"),
        ("score exact --false-alarms 0.0001", "too few"),
        ("score table --top 2 -o top.png", "not a space of pictures"),
        ("score bound --contributions", "does not come apart"),
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
        ("fit nade --data ring", "nade"),
        ("fit nade --data digits-binary --budget soon", "soon"),
        ("fit bernoulli --data digits --cond label --quiet", "cond"),
        ("fit vae --data alike.csv --cond label", "one class only (cat); leave out cond, or add data"),
        ("fit vae --data digits --momentum 2", "momentum must be"),
        ("fit vae --data digits --epochs nan", "epochs must be"),
        ("fit vae --data digits --seed 9223372036854775808", "seed must be"),
        ("fit vae --set latent=two", "latent of model 'vae' must be int, not 'two'"),
        ("fit vae --set data=3.5 --steps 1", "3.5: no such file"),
        ("fit vae --set tolerance=x", "has no option 'tolerance'"),
        ("resume exact --steps 1", "has made 1 steps already"),
        ("sample exact -o x.npy --seed -1", "seed must be"),
        ("sample rows -o x.npy --option temperature=hot", "temperature must be float, not 'hot'"),
        ("sample table -o folder/", "not a space of pictures"),
        ("sample exact -o table.csv/x.npy", "table.csv"),
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
    (desk / "alike.csv").write_text("a,label\n" + "".join(f"{i % 7},cat\n" for i in range(20)))
    before = set(desk.iterdir())
    assert expected in refuse(capsys, 1, *words.split())
    assert set(desk.iterdir()) == before  # nothing half-written


def _png(mode: str = "L", size: tuple[int, int] = (8, 8)) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, "PNG")
    return stream.getvalue()


def _npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def _zip(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", content)
        archive.writestr("b.png", content)
    return stream.getvalue()


def test_a_file_that_does_not_fit_says_why_and_not_how_to_split_it(desk, monkeypatch, capsys):
    monkeypatch.chdir(desk)
    (desk / "two.csv").write_text("a,b,c\n1,2,x\n3,4,y\n")
    assert "column 'c' holds text" in refuse(capsys, 1, "score", "table", "--data", "two.csv")
    assert "column 'c' holds text" in refuse(capsys, 1, "evaluate", "--real", "two.csv", "--fake", "two.csv")


def test_rows_count_by_the_column_that_says_so(desk, monkeypatch):
    monkeypatch.chdir(desk)
    (desk / "weighted.csv").write_text("a,b,often\n" + "0,1,1\n1,0,3\n" * 20)
    fit = "fit table --data weighted.csv --view levels --weight often --pseudo-count 0 --quiet --out weighted"
    assert main(fit.split()) == 0
    model = likely.load(desk / "weighted")
    assert float(model.log_prob(torch.tensor([[1, 0]])).exp()) == pytest.approx(0.75, abs=0.05)
    assert "--weight often" in json.loads((desk / "weighted" / "run.json").read_text())["command"]
    assert main(["evaluate", "weighted", "--metrics", "nll"]) == 0


IMAGES = "mnist/train-images-idx3-ubyte.gz"
HEADER = b"\x93NUMPY\x01\x00\x46\x00{'descr': '<f8', 'fortran_order': False, 'shape': (%d, 4), }".ljust(81) + b"\n"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (IMAGES, gzip.compress(bytes(range(256)) * 999)[:-20], "the gzip file is cut off; download it again"),
        (IMAGES, gzip.compress(b"\x00\x00\x09\x03" + bytes(99)), "not IDX: it begins with 00000903, expected 00000803"),
        (IMAGES, b"<html>404</html>", "not a gzip file; download it again"),
        ("pictures/3.png", _png(size=(9, 8)), "3.png is 8 x 9 pixels where most are 8 x 8"),
        ("pictures/3.png", _png("RGB"), "3.png is rgb where most are grey: give colour='rgb' (--colour rgb)"),
        ("pictures/3.png", b"hello", "3.png: not a picture"),
        ("pictures/3.png", _png(size=(99, 99))[:-30], "3.png: damaged picture"),
        ("empty/notes.txt", b"", "holds no pictures"),
        ("x.npy", HEADER % 9 + bytes(32), "its header says shape (9, 4) of float64"),
        ("x.npz", _npz(x=np.array([{}, 1], dtype=object)), "holds Python objects, which are never loaded"),
        ("x.npz", _npz(x=np.zeros((80, 2**20), dtype=np.uint8)), "look like a bomb"),
        ("x.zip", _zip(bytes(60 * 2**20)), "too much for its size or this machine"),
        ("x.zip", _zip(_png())[:-30], "damaged or cut off"),
        ("x.csv", b"a,b\n" + b"1,2\n3,\n" * 20, "x.csv: there are missing values (NaN) and vae cannot"),
        ("x.csv", b"a,b\n1,two\n", "column 'b' holds text ('two' in data row 1)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_data_are_named_in_one_line_and_leave_nothing(
    name: str,
    content: bytes,
    expected: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "자료 1" / name).parent.mkdir(parents=True)
    if name.startswith("pictures"):
        for number in range(3):
            (tmp_path / "자료 1" / "pictures" / f"{number}.png").write_bytes(_png())
    (tmp_path / "자료 1" / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    if name == IMAGES:
        monkeypatch.setenv("LIKELY_DATA", str(tmp_path / "자료 1"))
    data = "mnist" if name == IMAGES else Path("자료 1", name.split("/")[0])
    before = sorted(tmp_path.rglob("*"))
    line = refuse(capsys, 1, "fit", "vae", "--data", data, "--steps", 2)
    assert expected in line
    assert sorted(tmp_path.rglob("*")) == before


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


def test_the_command_that_choose_ends_with_fits_what_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same data in the same view, the same other numbers, and as long as the preset says."""
    from likely import training

    lengths = []

    def fit(model: Any, part: Any, **options: Any) -> Any:
        lengths.append(options)
        return iter(())

    monkeypatch.setattr(training, "fit", fit)
    np.save(tmp_path / "my rows.npy", np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32))
    place = str(tmp_path / "my rows.npy")
    words = ["--data", place, "--view", "reals", "--set", "covariance=tied", "--seed", "3", "--preset", "none"]
    assert main(["choose", "gmm", "components=2,3", *words, "--json"]) == 0
    said = shlex.split(json.loads(capsys.readouterr().out)["command"])
    expected = ["--view", "reals", "--preset", "none", "--set", "covariance=tied", "--seed", "3"]
    assert said[:5] == ["likely", "fit", "gmm", "--data", place]
    assert said[5:-2] == expected
    assert said[-2] == "--components"
    assert main(["choose", "rbm", "hidden=2", "--data", "digits-binary", "--preset", "mnist-binary"]) == 0
    again = "likely fit rbm --data digits-binary --preset mnist-binary --hidden 2"
    assert capsys.readouterr().out.splitlines()[-1] == again
    epochs, batch = (registry.entry("rbm").presets["mnist-binary"][name] for name in ("epochs", "batch"))
    assert lengths[-1]["steps"] == epochs * (len(likely.data.load("digits-binary").train) // batch)


def test_the_help_names_every_group_of_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    from likely.evaluation.groups import GROUPS

    main(["evaluate", "--help"])
    words = set(re.findall(r"[a-z]+", capsys.readouterr().out.split("--metrics")[1].split("--processes")[0]))
    assert words >= {"nll", "all", *GROUPS}


def test_the_command_that_data_ends_with_can_be_typed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "".join(f"{i // 5},{i % 3}\n" for i in range(60))
    (tmp_path / "steps.csv").write_text("who is it,what\n" + rows)
    assert main(["data", str(tmp_path / "steps.csv"), "--sequence", "who is it"]) == 0
    again = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert again[-2:] == ["--sequence", "who is it"]


def test_an_interrupted_command_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(registry, "entry", stop)
    assert main(["models", "vae"]) == 130
    assert capsys.readouterr().err == "likely: interrupted.\n"
