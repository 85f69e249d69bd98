"""Which models there are: file name -> model, read from the folder and imported only when built.

A model is one file in `likely/models/`, or a module that an installed package names under the entry-point group
`likely.models`. What a listing needs (summary, abilities, numbers, presets, paper) is read from the file's text without
importing it, so that `likely models` and `likely fit vae --help` answer before torch is loaded.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likely.errors import LikelyError, check_plain, unknown

if TYPE_CHECKING:
    from likely.core import Model
    from likely.spaces import Space

GROUP = "likely.models"  #: the entry-point group by which other packages register models


@dataclass(frozen=True)
class Number:
    """One plain value that a builder takes: a flag of the command line."""

    name: str
    type: str
    default: Any
    help: str


@dataclass(frozen=True)
class Entry:
    """What is known of a model without importing it."""

    name: str
    module: str
    summary: str
    description: str
    reference: str
    abilities: tuple[str, ...]  #: public methods, as in `core.ABILITIES`
    conditional: bool  #: whether `build` takes `cond`
    numbers: tuple[Number, ...]
    presets: dict[str, dict[str, Any]] = field(default_factory=dict)


@cache
def _modules() -> dict[str, str]:
    """Return name -> module of every model: the files beside this one, then what other packages register."""
    folder = Path(__file__).parent / "models"
    found = {f.stem: f"likely.models.{f.stem}" for f in sorted(folder.glob("*.py")) if not f.stem.startswith("_")}
    for point in entry_points(group=GROUP):
        if point.name in found:
            raise LikelyError(
                f"two models are called '{point.name}': {found[point.name]} and {point.value}; uninstall one."
            )
        found[point.name] = point.value
    return found


def names() -> list[str]:
    """Return the names of all models, sorted.

    Example:
        >>> "vae" in names()
        True
    """
    return sorted(_modules())


def refresh() -> None:
    """Look at the folder and the entry points again (after installing a package in a running process)."""
    for cached in (_modules, entry, _tree):
        cached.cache_clear()


@cache
def entry(name: str) -> Entry:
    """Return what is known of a model without importing it.

    Raises:
        UnknownName: there is no such model; the message suggests the nearest name.
        LikelyError: the file lacks a class, a docstring or a `build`.
    """
    if name not in _modules():
        raise unknown("model", name, _modules())
    module = _modules()[name]
    tree = _tree(module)
    builder = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "build"), None)
    if builder is None:
        raise LikelyError(f"model '{name}' ({module}) has no function `build(space, ...)`.")
    doc = ast.get_docstring(tree) or ""
    summary = doc.split("\n\n")[0].replace("\n", " ").strip()
    reference = re.search(r"^References?: (.*?)(?:\n\s*\n|\Z)", doc, re.M | re.S)
    arguments = [a.arg for a in (*builder.args.posonlyargs, *builder.args.args, *builder.args.kwonlyargs)]
    constants = _constants(tree)
    return Entry(
        name=name,
        module=module,
        summary=summary,
        description=doc,
        reference=" ".join(reference[1].split()) if reference else "",
        abilities=_abilities(module, tree),
        conditional="cond" in arguments,
        numbers=tuple(number for number in _numbers(builder) if number.name != "cond"),
        presets=constants.get("PRESETS", {}),
    )


def options(module: str, function: str) -> tuple[Number, ...]:
    """Return the keyword-only arguments of a module's function, read from the file's text without importing it.

    Example:
        >>> "steps" in [option.name for option in options("likely.driver", "train")]
        True
    """
    found = [n for n in _tree(module).body if isinstance(n, ast.FunctionDef) and n.name == function]
    return _numbers(found[-1])


def build(name: str, space: Space, cond: Space | None = None, *, seed: int = 0, **numbers: Any) -> Model:
    """Build an untrained model by name.

    Arguments:
        name: the model's file name, as listed by `names()`.
        space: what one x is.
        cond: the space of what is given, or None.
        seed: decides the first weights.
        numbers: what the model's builder takes (`likely models NAME` lists it).

    Raises:
        UnknownName: the model or a number's name is not known; the message suggests the nearest.
        SpaceError: the model does not take this space.
        LikelyError: a number is of another type than the builder says, or the model cannot be conditional.

    Example:
        >>> import likely
        >>> model = likely.build("bernoulli", likely.Binary((4,)))
        >>> model.sample(2, seed=0).shape
        torch.Size([2, 4])
    """
    from likely.core import seeded

    described = entry(name)
    allowed = [n.name for n in described.numbers]
    for given in numbers:
        if given not in allowed:
            raise unknown(f"number of model '{name}'", given, allowed)
    for number in described.numbers:
        value = numbers.get(number.name, number.default)
        check_plain(f"{number.name} of model '{name}'", value, number.type)
    if cond is not None and not described.conditional:
        raise LikelyError(f"model '{name}' cannot be conditional; leave out cond.")
    module = importlib.import_module(described.module)
    with seeded(seed):
        model: Model = module.build(space, **({"cond": cond} if cond is not None else {}), **numbers)
    model.name = name
    model.numbers = {n.name: numbers.get(n.name, n.default) for n in described.numbers}
    return model


# Reading a file without importing it -------------------------------------------------------------------------------


@cache
def _tree(module: str) -> ast.Module:
    """Return the syntax tree of a module's file."""
    if module.startswith("likely."):
        path = Path(__file__).parent.joinpath(*module.split(".")[1:])
        origin = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    else:
        try:
            spec = importlib.util.find_spec(module)
        except ImportError:  # the package that should hold it is missing
            spec = None
        if spec is None or not spec.origin or not spec.origin.endswith(".py"):
            raise LikelyError(f"the model module '{module}' cannot be found or is not a Python file.")
        origin = Path(spec.origin)
    try:
        return ast.parse(origin.read_text(encoding="utf-8"), filename=str(origin))
    except (SyntaxError, ValueError) as error:
        raise LikelyError(f"the model module '{module}' is not valid Python: {error}.") from None


def _abilities(module: str, tree: ast.Module) -> tuple[str, ...]:
    """Return the abilities of the module's model class, following its bases through the files they come from."""
    known: dict[str, str] = _constants(_tree("likely.core"))["ABILITIES"]
    classes = [n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]
    for node in reversed(classes):
        found = _bases(module, node.name, known)
        if "Model" in found:
            return tuple(method for name, method in known.items() if name in found)
    raise LikelyError(f"the model module '{module}' holds no public class that derives from likely's Model.")


def _bases(module: str, name: str, known: dict[str, str]) -> set[str]:
    """Return the names of all abilities that a class in a module derives from."""
    if module == "likely.core" and name == "Model":
        return {"Model"}
    tree = _tree(module)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == name:
            found = {name} if module == "likely.core" and name in known else set()
            for base in node.bases:
                while isinstance(base, ast.Subscript):
                    base = base.value
                found |= _follow(module, tree, base, known)
            return found
    return _follow(module, tree, ast.Name(name), known)


def _follow(module: str, tree: ast.Module, base: ast.expr, known: dict[str, str]) -> set[str]:
    """Find where the expression of a base class was imported from, and go on there."""
    *path, last = ast.unparse(base).split(".")
    first = path[0] if path else last
    if not path and any(isinstance(n, ast.ClassDef) and n.name == last for n in tree.body):
        return _bases(module, last, known)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                package = module.rsplit(".", node.level)[0]
                source = f"{package}.{source}" if source else package
            for alias in node.names:
                if (alias.asname or alias.name) == first and source.split(".")[0] in ("likely", module.split(".")[0]):
                    if not path and source == "likely":  # `from likely import Model`, the public names
                        home = _constants(_tree("likely"))["_PUBLIC"].get(alias.name)
                        return _bases(f"likely.{home}", alias.name, known) if home else set()
                    target = ".".join([source, alias.name, *path[1:]]) if path else source
                    return _bases(target, last if path else alias.name, known)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                spoken = alias.asname or alias.name
                if path and ".".join(path) == spoken and alias.name.startswith("likely"):
                    return _bases(alias.name, last, known)
    return set()


def _constants(tree: ast.Module) -> dict[str, Any]:
    """Return the module's upper-case names that are plain literals."""
    found = {}
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            try:
                found[target.id] = ast.literal_eval(node.value)
            except (ValueError, TypeError):
                continue
    return found


def _numbers(builder: ast.FunctionDef) -> tuple[Number, ...]:
    """Return the keyword-only arguments of a function, with the help from its docstring."""
    texts = arguments_help(ast.get_docstring(builder) or "")
    numbers = []
    for argument, default in zip(builder.args.kwonlyargs, builder.args.kw_defaults, strict=True):
        if default is None or argument.annotation is None:
            raise LikelyError(f"`{builder.name}` needs an annotation and a default for '{argument.arg}'.")
        try:
            value = ast.literal_eval(default)
        except (ValueError, TypeError):
            raise LikelyError(f"`{builder.name}` needs a plain value as the default of '{argument.arg}'.") from None
        numbers.append(Number(argument.arg, ast.unparse(argument.annotation), value, texts.get(argument.arg, "")))
    return tuple(numbers)


def arguments_help(docstring: str) -> dict[str, str]:
    """Return name -> text of the `Arguments:` part of a docstring."""
    part = re.search(r"^Arguments:\n(.*?)(?:^\S|\Z)", docstring, re.M | re.S)
    if part is None:
        return {}
    found: dict[str, str] = {}
    name = ""
    for line in part[1].splitlines():
        if match := re.match(r" {4}(\w+): (.*)", line):
            name, found[match[1]] = match[1], match[2]
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found
