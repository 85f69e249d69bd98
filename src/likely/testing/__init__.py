"""The contract: what a model's abilities promise, checked. Hold your own models to it.

    import likely.testing
    likely.testing.check_model("vae")  # by name: every configuration that the file declares as TINY
    likely.testing.check_model(MyModel(likely.Binary((2, 3))))  # or any model, on a space small enough to sum up

Every check belongs to an ability; a model gets those of the abilities it has. Before it is asked, a copy of the model
is started on data, its parameters are moved by noise (a zero-initialised layer would hide faults), and it is put into
evaluation mode; the model itself stays as it was.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from likely import registry
from likely.core import Model
from likely.testing import basics, filling, learning, likelihood, mappings  # noqa: F401 - each registers its checks
from likely.testing.subject import PROMISES, Promise, Subject

__all__ = ["Check", "check_model", "checks", "configurations"]


@dataclass(frozen=True)
class Check:
    """One check of one model: call it; it raises AssertionError with one line if the promise is broken."""

    promise: Promise
    subject: Subject

    @property
    def name(self) -> str:
        """The name of the check: `normalised`, `sampler_agrees`, ..."""
        return self.promise.name

    @property
    def ability(self) -> str:
        """The name of the ability that makes the promise."""
        return str(self.promise.ability.__name__)

    def __call__(self) -> None:
        try:
            self.promise.test(self.subject)
        except Exception as error:
            found = str(error) if isinstance(error, AssertionError) else f"it raised {type(error).__name__}: {error}"
            line = f"{self.subject.label} breaks {self.ability}.{self.name} ({self.promise.says}) {found}"
            raise AssertionError(" ".join(line.split())) from error

    def __str__(self) -> str:
        return f"{self.subject.label}-{self.name}"


def configurations(name: str) -> list[dict[str, Any]]:
    """Return the small configurations that a model's file declares as `TINY`: space, cond and numbers."""
    return [dict(one) for one in importlib.import_module(registry.entry(name).module).TINY]


def checks(model: Model | str) -> list[Check]:
    """Return the checks that the model's abilities select: `pytest.mark.parametrize("check", checks(...), ids=str)`.

    The checks of one model share what is expensive (samples, the summed law), and none changes the model.

    Arguments:
        model: a model, best on a discrete space of a few hundred points or on reals of one or two dimensions, where its
            law can be summed up; or a name, for every configuration in the file's `TINY`.

    Raises:
        UnknownName: there is no model of that name.
    """
    if isinstance(model, str):
        built = [(f"{model}[{i}]", registry.build(model, **one)) for i, one in enumerate(configurations(model))]
    else:
        built = [(model.name or type(model).__name__, model)]
    found = []
    for label, one in built:
        subject = Subject(one, label)
        found += [Check(p, subject) for p in PROMISES if isinstance(one, p.ability) and p.when(one)]
    return found


def check_model(model: Model | str) -> int:
    """Check every promise that the model's abilities make; return how many checks held.

    Arguments:
        model: a model or a name, as for `checks`.

    Raises:
        AssertionError: promises are broken; one line for each, with its numbers.
        UnknownName: there is no model of that name.

    Example:
        >>> import likely
        >>> from likely.testing import check_model
        >>> check_model(likely.build("bernoulli", likely.Binary((2, 2)))) > 10
        True
    """
    broken, every = [], checks(model)
    for check in every:
        try:
            check()
        except AssertionError as error:
            broken.append(str(error))
    if broken:
        raise AssertionError("\n".join(broken))
    return len(every)
