"""likely: every kind of generative model, fitted, sampled, scored, looked into and compared through one interface.

import likely

run = likely.train("vae", "mnist", latent=16)
run.model.sample(64, seed=0)
run.model.iwelbo(run.data.test.x[:100], k=64)
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

#: public name -> module; imported on first use, so that the command line answers before torch is loaded
_PUBLIC = {
    "Binary": "spaces",
    "Finite": "spaces",
    "LikelyError": "errors",
    "Model": "core",
    "Ragged": "spaces",
    "Real": "spaces",
    "Sequence": "spaces",
    "Space": "spaces",
    "abilities": "core",
    "build": "registry",
    "compare": "comparison",
    "entry": "registry",
    "estimate": "parts.maximum_likelihood",
    "evaluate": "evaluation",
    "fit": "training",
    "load": "run",
    "names": "registry",
    "resume": "driver",
    "train": "driver",
}
_MODULES = (
    "core",
    "data",
    "driver",
    "errors",
    "evaluation",
    "registry",
    "report",
    "run",
    "spaces",
    "testing",
    "training",
)

__all__ = sorted([*_PUBLIC, "data", "testing", "__version__"])


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"likely.{_PUBLIC[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"likely.{name}")
    raise AttributeError(f"module 'likely' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES})
