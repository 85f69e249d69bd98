"""The repository itself: style, types, the direction of imports, documentation, and what the front page promises."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import likely

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
BIN = Path(sys.executable).parent

#: modules that run code found in a file, and one that cannot be imported beside the tested torch
FORBIDDEN = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "torchvision"}


def run(*command: object) -> None:
    done = subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_style() -> None:
    run(BIN / "ruff", "check", "src", "tests")


def test_format() -> None:
    run(BIN / "ruff", "format", "--check", "src", "tests")


def test_types() -> None:
    run(BIN / "mypy")


def test_imports_flow_one_way() -> None:
    run(BIN / "lint-imports")


def test_hooks_are_configured() -> None:
    run(BIN / "pre-commit", "validate-config")


def test_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    run(sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", tmp_path / "trees", "docs", tmp_path / "html")


def test_the_count_of_sources() -> None:
    assert len(SOURCES) > 30  # so that the walks below cannot pass on nothing


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_nothing_is_unpickled(path: Path) -> None:
    found = forbidden(ast.parse(path.read_text(encoding="utf-8")))
    assert not found, f"{path.relative_to(ROOT)}: {found}"


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "import torchvision.transforms as T",
        "from joblib import load",
        "import torch\ntorch.load('x')",
        "np.load(f, allow_pickle=True)",
        "np.load(f)",
        "pandas.read_pickle(f)",
    ],
)
def test_what_is_forbidden_is_found(code: str) -> None:
    assert forbidden(ast.parse(code))


def test_what_is_allowed_is_not_found() -> None:
    assert not forbidden(ast.parse("import json\nnp.load(f, allow_pickle=False)\nlikely.load(f)\njson.load(f)"))


def forbidden(tree: ast.Module) -> list[str]:
    """Return the places of a module where something could be unpickled, or torchvision is imported."""
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        found += [f"import of {name}" for name in names if name.split(".")[0] in FORBIDDEN]
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            safe = any(word.arg == "allow_pickle" and ast.unparse(word.value) == "False" for word in node.keywords)
            arrays = called in ("np.load", "numpy.load", "np.memmap.load")
            if called in ("torch.load", "torch.save") or "pickle" in called or (arrays and not safe):
                found.append(f"line {node.lineno}: {called}")
    return found


def test_version_stands_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "version" in project["dynamic"]
    assert importlib.metadata.version("likely") == likely.__version__
    newest = re.search(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert newest is not None
    assert newest[1] == likely.__version__


def test_every_public_name_is_there() -> None:
    space: dict[str, object] = {}
    exec("from likely import *", space)
    assert set(likely.__all__) <= set(space)
    assert set(likely.__all__) <= set(dir(likely))


def test_tested_versions_cover_what_is_required() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    names = {re.split(r"[\[<>=~! ]", one)[0].lower() for one in wanted} - {"likely"}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.lower().replace("_", "-").split("==") for line in lines if not line.startswith("#"))
    assert names - set(pinned) == set()
    different = {
        name: importlib.metadata.version(name)
        for name in names
        if importlib.metadata.version(name).split("+")[0] != pinned[name]
    }
    assert not different, f"installed versions differ from constraints.txt: {different}"


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))


@pytest.mark.parametrize(("page", "named"), [("README.md", {"tour", "test"}), ("CONTRIBUTING.md", {"test"})])
def test_commands_of_the_front_pages_exist(page: str, named: set[str]) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    asked = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M))
    assert named <= asked <= targets()


def test_continuous_integration_runs_the_command_of_the_readme() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    commands = [line for line in script.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert commands[0] == "set -eu"
    assert commands[-1].startswith("exec make test")
