"""The registry: files become models, other packages can bring theirs, and nothing is imported before it is needed."""

from __future__ import annotations

import ast
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from likely import registry
from likely.core import Density
from likely.errors import LikelyError, SpaceError, UnknownName
from likely.spaces import Binary, Finite, Real
from likely.testing import check_model, checks

MODEL = '''"""p(x) = 1 / |X|: every value is as likely as any other.

It fails wherever data have structure.

Reference: Laplace, Théorie analytique des probabilités, 1812.
"""

import torch

import likely.core as core
from likely import Binary
from likely.core import Density as Exact
from likely.spaces import accept


class Base(Exact):
    """What the model below derives from."""


class Uniform(Base, core.Completer):
    """The uniform distribution over bits."""

    completion = "exact"

    def _sample(self, n, cond, **options):
        return torch.randint(2, (n, *self.space.shape)).to(torch.uint8)

    def _log_prob(self, x, cond):
        return torch.full((len(x),), -self.space.size * torch.tensor(2.0).log())

    def _complete(self, x, known, cond):
        return self._sample(len(x), cond)


def build(space, *, loudness: int = 3, shout: bool = False):
    """Build it.

    Arguments:
        loudness: how loud it is,
            in decibels
        shout: whether it is louder
    """
    accept(space, Binary, model="uniform")
    return Uniform(space)


TINY = ({"space": Binary((3,))}, {"space": Binary((2, 2)), "loudness": 4})
PRESETS: dict = {"digits": {"loudness": 5, "steps": 10}}
'''

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Return a function that lays an installed package with one model into a folder on the path."""

    def lay(name: str = "uniform", text: str = MODEL) -> Path:
        package = tmp_path / "strange_models"
        package.mkdir(exist_ok=True)
        (package / "__init__.py").write_text("", encoding="utf-8")
        (package / f"{name}_file.py").write_text(text, encoding="utf-8")
        record = tmp_path / f"strange_{name}-1.0.dist-info"
        record.mkdir()
        (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: strange-{name}\nVersion: 1.0\n")
        (record / "entry_points.txt").write_text(f"[likely.models]\n{name} = strange_models.{name}_file\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        registry.refresh()
        return tmp_path

    yield lay
    for module in [m for m in sys.modules if m.startswith("strange_models")]:
        del sys.modules[module]
    monkeypatch.undo()
    registry.refresh()


def python(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a fresh interpreter of this environment."""
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, timeout=120, check=False
    )


def said(code: str, path: Path | None = None) -> str:
    """Return what a fresh interpreter prints for some code."""
    ran = python("-c", code, path=path)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_a_dropped_file_is_a_model(install: Install) -> None:
    install()
    assert "uniform" in registry.names()
    entry = registry.entry("uniform")
    assert entry.module == "strange_models.uniform_file"
    assert entry.summary == "p(x) = 1 / |X|: every value is as likely as any other."
    assert entry.reference == "Laplace, Théorie analytique des probabilités, 1812."
    assert entry.abilities == ("sample", "log_prob", "complete")
    assert not entry.conditional
    assert entry.presets == {"digits": {"loudness": 5, "steps": 10}}
    loudness, shout = entry.numbers
    assert (loudness.name, loudness.type, loudness.default) == ("loudness", "int", 3)
    assert loudness.help == "how loud it is, in decibels"
    assert (shout.name, shout.type, shout.default) == ("shout", "bool", False)
    model = registry.build("uniform", Binary((2,)), loudness=7)
    assert isinstance(model, Density)
    assert (model.name, model.numbers) == ("uniform", {"loudness": 7, "shout": False})


def test_a_dropped_file_is_held_to_the_contract(install: Install) -> None:
    install()
    found = {str(check) for check in checks("uniform")}
    assert {"uniform[0]-normalised", "uniform[1]-completion_law", "uniform[1]-thousand_dimensions"} <= found
    assert check_model("uniform") == len(found)


def test_a_dropped_file_that_breaks_a_promise_fails(install: Install) -> None:
    install(text=MODEL.replace("-self.space.size *", "-0.9 * self.space.size *"))
    with pytest.raises(AssertionError, match=r"uniform\[0\] breaks Density.normalised .* adds up to 1.23"):
        check_model("uniform")


def test_another_process_sees_it_without_importing_torch(install: Install) -> None:
    code = """
        import sys
        from likely import registry
        print("uniform" in registry.names(), registry.entry("uniform").abilities, "torch" in sys.modules)
    """
    line = said("\n".join(part.strip() for part in code.splitlines()), install())
    assert line == "True ('sample', 'log_prob', 'complete') False"


def test_the_command_line_sees_it(install: Install) -> None:
    path = install()
    ran = python("-m", "likely.cli", "models", "--json", path=path)
    assert ran.returncode == 0, ran.stderr
    listed = {one["name"] for one in json.loads(ran.stdout)["models"]}
    assert listed == set(registry.names())
    assert "uniform" in listed
    shown = python("-m", "likely.cli", "fit", "uniform", "--help", path=path)
    assert shown.returncode == 0, shown.stderr
    assert "--loudness" in shown.stdout
    assert "how loud it is" in shown.stdout


def test_two_models_of_one_name_are_refused(install: Install) -> None:
    install("nade")
    with pytest.raises(LikelyError, match=r"two models are called 'nade': likely.models.nade and strange_models"):
        registry.names()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MODEL.replace("def build", "def make"), "has no function `build"),
        (MODEL.replace("(Exact)", ""), None),
        (
            MODEL.replace("class Base(Exact)", "class Base").replace("(Base, core.Completer)", ""),
            "holds no public class",
        ),
        (MODEL.replace("loudness: int = 3", "loudness"), "needs an annotation and a default for 'loudness'"),
        (MODEL.replace("loudness: int = 3", "loudness: int = 2 + 1"), "a plain value as the default of 'loudness'"),
        (MODEL.replace("class Base(", "class Base(("), "is not valid Python"),
    ],
)
def test_an_incomplete_file_is_named(install: Install, text: str, message: str | None) -> None:
    install(text=text)
    if message is None:
        assert registry.entry("uniform").abilities == ("sample", "complete")
    else:
        with pytest.raises(LikelyError, match=message):
            registry.entry("uniform")


def test_a_missing_module_is_named(install: Install) -> None:
    path = install()
    (path / "strange_models" / "uniform_file.py").unlink()
    with pytest.raises(LikelyError, match=r"'strange_models.uniform_file' cannot be found"):
        registry.entry("uniform")
    (path / "strange_models" / "__init__.py").unlink()
    (path / "strange_models").rename(path / "elsewhere")
    importlib.invalidate_caches()
    registry.refresh()
    with pytest.raises(LikelyError, match=r"'strange_models.uniform_file' cannot be found"):
        registry.entry("uniform")


@pytest.mark.parametrize(("wrong", "right"), [("vea", "vae"), ("gmn", "gmm"), ("real_nvp", "realnvp")])
def test_a_misspelt_model_gets_a_suggestion(wrong: str, right: str) -> None:
    with pytest.raises(UnknownName, match=rf"unknown model '{wrong}'\. Did you mean '{right}'"):
        registry.build(wrong, Binary((2,)))


def test_a_misspelt_number_gets_a_suggestion() -> None:
    with pytest.raises(UnknownName, match=r"unknown number of model 'nade' 'hiden'\. Did you mean 'hidden'"):
        registry.build("nade", Binary((2,)), hiden=3)


def test_what_a_model_does_not_take_is_refused() -> None:
    with pytest.raises(LikelyError, match="model 'nade' cannot be conditional"):
        registry.build("nade", Binary((2,)), Finite((), 3))
    with pytest.raises(SpaceError, match="model 'nade' takes Binary or Finite, not Real"):
        registry.build("nade", Real((2,)))


def test_the_seed_decides_the_first_weights() -> None:
    same, again, other = (registry.build("nade", Binary((3,)), hidden=4, seed=seed) for seed in (1, 1, 2))
    assert (same.W == again.W).all()
    assert (same.W != other.W).any()


def test_the_names_are_sorted_and_are_files() -> None:
    files = {f.stem for f in (Path(registry.__file__).parent / "models").glob("*.py") if f.stem != "__init__"}
    assert files <= set(registry.names())
    assert registry.names() == sorted(registry.names())


def test_entries_of_every_model_need_no_heavy_import() -> None:
    """`likely models` and `likely fit MODEL --help` answer before torch is loaded."""
    code = (
        "import sys; from likely import registry; entries = [registry.entry(n) for n in registry.names()]; "
        "print(len(entries), sorted(m for m in "
        "('torch', 'numpy', 'scipy', 'sklearn', 'matplotlib', 'PIL') if m in sys.modules))"
    )
    assert said(code) == f"{len(registry.names())} []"


def test_importing_the_package_imports_almost_nothing() -> None:
    loaded = set(
        ast.literal_eval(said("import sys, likely; print([m for m in sys.modules if m.startswith('likely')])"))
    )
    assert loaded == {"likely"}
    assert said("import likely, sys; likely.Binary; print('likely.driver' in sys.modules)") == "False"


def test_relative_imports_are_followed(install: Install) -> None:
    text = MODEL.replace("from likely.core import Density as Exact", "from .part import Half as Exact")
    path = install(text=text)
    part = "from likely.core import Density, Gradient\n\nclass Half(Density, Gradient):\n    pass\n"
    (path / "strange_models" / "part.py").write_text(part, encoding="utf-8")
    assert registry.entry("uniform").abilities == ("sample", "log_prob", "complete", "loss")
