"""The contract: every model in every TINY configuration keeps every promise of its abilities."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

import likely
from likely import registry
from likely.core import ABILITIES, Bounded, Density, Energy, Model, abilities
from likely.data.parts import Part
from likely.spaces import Space
from likely.testing import Check, checks, configurations
from likely.testing.subject import summable
from likely.training import gradient, statistics, turns

FILES = sorted(f.stem for f in Path(registry.__file__).parent.glob("models/*.py") if not f.stem.startswith("_"))
CHECKS = [check for name in registry.names() for check in checks(name)]

#: what a preset may say besides the builder's numbers: the options of the three loops
OPTIONS = {
    name
    for loop in (gradient.by_gradient, statistics.by_statistics, turns.by_turns)
    for name, parameter in inspect.signature(loop).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY and name != "resume"
} | {"epochs", "budget", "validate_every", "patience"}


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_contract(check: Check) -> None:
    check()


def test_nothing_escapes_the_contract() -> None:
    """An empty list of files, configurations or checks must not pass."""
    assert len(FILES) >= 10
    assert set(registry.names()) >= set(FILES)
    checked = {check.subject.label for check in CHECKS}
    assert checked == {f"{name}[{i}]" for name in registry.names() for i in range(len(configurations(name)))}
    assert len(CHECKS) >= 12 * len(checked) >= 12 * 2 * len(FILES)
    used = {check.ability for check in CHECKS}
    missing = set(ABILITIES) - used
    assert not missing, f"no model has a check of {missing}"


def _module(name: str) -> ModuleType:
    return importlib.import_module(registry.entry(name).module)


def _model_class(name: str) -> type[Model]:
    """Return the public model class that the file itself defines."""
    module = _module(name)
    found = [
        value
        for key, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and not key.startswith("_")
    ]
    assert len(found) == 1, f"{name}.py defines the public classes {[c.__name__ for c in found]}; one model is wanted"
    assert issubclass(found[0], Model)
    return found[0]


@pytest.mark.parametrize("name", registry.names())
class TestFile:
    """What every file in models/ holds."""

    def test_documentation(self, name: str) -> None:
        entry = registry.entry(name)
        assert re.fullmatch(r"\S.{20,}\.", entry.summary), f"the first paragraph is one sentence, not {entry.summary!r}"
        assert re.search(r"\b(19|20)\d\d\b", entry.reference), (
            f"'Reference:' with a year is missing: {entry.reference!r}"
        )
        assert len(inspect.getdoc(_model_class(name)) or "") > 40

    def test_abilities_are_those_of_the_class(self, name: str) -> None:
        assert registry.entry(name).abilities == abilities(_model_class(name))

    def test_class_is_concrete_and_final(self, name: str) -> None:
        kind = _model_class(name)
        assert not inspect.isabstract(kind)
        assert not kind.__subclasses__(), "a model class is final: nothing derives from it"

    def test_numbers_are_plain_and_explained(self, name: str) -> None:
        entry, signature = registry.entry(name), inspect.signature(_module(name).build)
        assert next(iter(signature.parameters)) == "space"
        for number in entry.numbers:
            assert number.help, f"'{number.name}' is not explained under `Arguments:` of build"
            assert number.default is None or isinstance(number.default, bool | int | float | str | tuple)
        assert entry.conditional == ("cond" in signature.parameters)

    def test_presets_name_numbers_or_options(self, name: str) -> None:
        entry, module = registry.entry(name), _module(name)
        assert entry.presets == module.PRESETS, "PRESETS must be a literal, to be read without importing the file"
        known = {number.name for number in entry.numbers} | OPTIONS
        for preset, values in entry.presets.items():
            assert set(values) <= known, f"preset '{preset}' has {set(values) - known}"

    def test_presets_exist_for_digits(self, name: str) -> None:
        assert any(preset.startswith("digits") for preset in registry.entry(name).presets)

    def test_tiny_configurations(self, name: str) -> None:
        tiny = configurations(name)
        assert len(tiny) >= 2
        numbers = {number.name for number in registry.entry(name).numbers}
        for one in tiny:
            assert isinstance(one["space"], Space)
            assert set(one) - {"space", "cond"} <= numbers
        models = [registry.build(name, **one) for one in tiny]
        if isinstance(models[0], Density | Bounded | Energy):
            assert any(summable(model) for model in models), "no configuration is small enough to be summed up"
        if registry.entry(name).conditional:
            assert any(model.cond_space is not None for model in models), "no configuration has a condition"

    def test_training_takes_a_step(self, name: str) -> None:
        """The loop that the abilities choose runs on the first configuration."""
        model = registry.build(name, **configurations(name)[0])
        x = model.space.random(40)
        cond = None if model.cond_space is None else model.cond_space.random(40)
        limit = {"passes": 1} if "e_step" in abilities(model) else {"steps": 1, "batch": 20}
        steps = list(likely.fit(model, Part(x, cond), **limit))
        assert len(steps) == 1
        assert "loss" in steps[0].metrics


def test_no_model_file_imports_another() -> None:
    for name in FILES:
        tree = ast.parse(Path(inspect.getfile(_module(name))).read_text(encoding="utf-8"))
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not {module for module in imported if module and module.startswith("likely.models")}, name
