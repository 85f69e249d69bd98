"""Fit small models in one process and in several, and write how far apart they are; run by test_processes.py.

    python tests/processes_script.py RESULT.json

Fabric starts the second process by running this file again.
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

import likely
from likely import extractors, registry
from likely.core import Marginal, Model, Statistics
from likely.data.parts import Part
from likely.evaluation import evaluate_samples
from likely.evaluation.frechet import Moments, frechet_distance
from likely.evaluation.kid import kernel_inception_distance
from likely.evaluation.manifold import manifold
from likely.evaluation.reading import Set, read
from likely.evaluation.sharded import features_of, gathered, merged, summed_moments
from likely.parts.collective import gather, share
from likely.spaces import Binary, Real, holds_reals
from likely.testing import configurations
from likely.testing.subject import Subject

ROWS = 203  # odd: the shares are unequal


def counting() -> list[str]:
    """Names of all models that learn by statistics."""
    return [name for name in registry.names() if "e_step" in registry.entry(name).abilities]


def apart(a: Model, b: Model) -> dict[str, Any]:
    """How far the parameters of two models are apart: relative to the largest of each, and whether bit for bit."""
    found, equal = 0.0, True
    for name, value in a.state_dict().items():
        other = b.state_dict()[name]
        if value.shape != other.shape:
            return {"apart": float("inf"), "equal": False}
        equal = equal and torch.equal(value, other)
        finite = value.isfinite() & other.isfinite()
        if not torch.allclose(value[~finite], other[~finite], equal_nan=True):  # kept rows may have missing entries
            return {"apart": float("inf"), "equal": False}
        if value.is_floating_point() and bool(finite.any()):
            size = max(1.0, float(value[finite].abs().max()))
            found = max(found, float((value - other)[finite].abs().max()) / size)
        elif not value.is_floating_point() and not torch.equal(value, other):
            found = float("inf")
    return {"apart": found, "equal": equal}


def fitted(model: Model, part: Part, fabric: Any, **options: Any) -> tuple[Model, list[float]]:
    model = copy.deepcopy(model)
    losses = [step.metrics["loss"] for step in likely.fit(model, part, seed=1, fabric=fabric, **options)]
    return model, losses


def statistics(fabric: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    torch.manual_seed(0)  # every process makes the same data
    for name in counting():
        for i, configuration in enumerate(configurations(name)):
            model = registry.build(name, **configuration)
            assert isinstance(model, Statistics)
            x, cond = Subject(model, name).data(ROWS)
            weight = torch.randint(4, (ROWS,), generator=torch.Generator().manual_seed(2)).float()
            parts = {"": Part(x, cond), " weighted": Part(x, cond, weight)}
            if holds_reals(model.space) and isinstance(model, Marginal) and isinstance(x, Tensor):
                holes = torch.rand(x.shape, generator=torch.Generator().manual_seed(3)) < 0.2
                parts[" missing"] = Part(x.masked_fill(holes, torch.nan), cond)
            for what, part in parts.items():
                options = {"passes": 3, "batch": 90, "tolerance": -1.0}
                alone, losses = fitted(model, part, None, **options)
                several, others = fitted(model, part, fabric, **options)
                gap = max(abs(a - b) / max(1, abs(a)) for a, b in zip(losses, others, strict=True))
                found[f"{name}[{i}]{what}"] = {**apart(alone, several), "loss": gap}
    torch.manual_seed(0)
    one = Part(Binary((3,)).random(1))
    model = registry.build("bernoulli", Binary((3,)))
    found["one row"] = apart(fitted(model, one, None)[0], fitted(model, one, fabric)[0]) | {"loss": 0.0}
    digits = likely.data.load("digits", view="dynamic").train
    model = registry.build("bernoulli", Binary((1, 8, 8)))
    found["dynamic"] = apart(fitted(model, digits, None)[0], fitted(model, digits, fabric)[0]) | {"loss": 0.0}
    sparse = Binary((40,))  # too many cells for a dense table: counts are kept as rows, and are no tensors
    x, model = (torch.rand(500, 40) < 0.05).to(torch.uint8), registry.build("table", sparse)
    found["sparse table"] = apart(fitted(model, Part(x), None)[0], fitted(model, Part(x), fabric)[0]) | {"loss": 0.0}
    return found


def descent(fabric: Any) -> dict[str, Any]:
    """Losses without noise give the same weights; others the same weights in every process."""
    found: dict[str, Any] = {}
    torch.manual_seed(0)
    x = Binary((6,)).random(300)
    options = {"steps": 8, "batch": 31, "precision": "float32", "clip": 1.0, "average": 0.9}
    model = registry.build("nade", Binary((6,)), hidden=5)
    found["nade"] = apart(fitted(model, Part(x), None, **options)[0], fitted(model, Part(x), fabric, **options)[0])
    reals = torch.randn(300, 2, generator=torch.Generator().manual_seed(4))
    model = registry.build("realnvp", Real((2,)))
    alone, several = (fitted(model, Part(reals), f, **options)[0] for f in (None, fabric))
    found["realnvp"] = apart(alone, several)
    found["gan agrees"] = agreed(fitted(registry.build("gan", Real((2,))), Part(reals), fabric, **options)[0], fabric)
    found["vae agrees"] = agreed(fitted(registry.build("vae", Binary((6,))), Part(x), fabric, **options)[0], fabric)
    return found


def agreed(model: Model, fabric: Any) -> dict[str, Any]:
    """Whether all processes hold the same parameters."""
    values = torch.cat([p.detach().flatten() for p in model.parameters()])
    first, *others = gather(values[None], fabric)
    return {"apart": max(float((first - o).abs().max()) for o in others), "equal": all(first.equal(o) for o in others)}


def metrics(fabric: Any) -> dict[str, Any]:
    """Moments are summed, other metrics take gathered rows: both equal to one process's."""
    generator = torch.Generator().manual_seed(5)
    real, fake = torch.randn(301, 8, generator=generator), torch.randn(200, 8, generator=generator) + 0.1
    mine = [rows[share(len(rows), fabric)] for rows in (real, fake)]
    there = [gathered(rows, fabric) for rows in mine]
    moments = [summed_moments(Moments.of(rows), fabric) for rows in mine]
    exact = frechet_distance(real, fake).value
    return {
        "features": {"equal": features_of(torch.sin, real, fabric).equal(real.sin())},
        "rows": {"equal": there[0].equal(real) and there[1].equal(fake)},
        "frechet": {"apart": abs(frechet_distance(*moments).value - exact) / exact},
        "an extractor": {"apart": extracted(fabric)},
        "evaluate_samples": {"apart": evaluated(fabric)},
        "part of the rows held": {"equal": held_in_part(fabric)},
        "kid": {"equal": kernel_inception_distance(*there) == kernel_inception_distance(real, fake)},
    }


def held_in_part(fabric: Any) -> bool:
    """Whether moments are those of all rows where a process holds some of its own, and another all."""
    x = torch.randn(100, 3, generator=torch.Generator().manual_seed(6))
    mine = x[share(100, fabric)]
    some = fabric.global_rank == 0
    seen = Set(mine[:10] if some else mine, len(mine), Moments.of(mine) if some else None, None)
    whole, exact = merged(seen, fabric), Moments.of(x)
    close = torch.allclose(whole.moments.scatter, exact.scatter, rtol=1e-12, atol=1e-12)
    return close and whole.total == 100 and len(whole.rows) == 60 and whole.moments.count == 100


def extracted(fabric: Any) -> float:
    """How far the metrics of shards are from those of one process, in the features of a real network."""
    data = likely.data.load("digits")
    extractor = extractors.load("digits-cnn", space=data.space)
    sets = data.test.x, data.valid.x
    alone = [extractor(x, data.space) for x in sets]
    several = [features_of(lambda x: extractor(x, data.space), x, fabric) for x in sets]
    found = [
        [frechet_distance(a, b).value, kernel_inception_distance(a, b).value, *(s.value for s in manifold(a, b, 5))]
        for a, b in (alone, several)
    ]
    parts = [merged(read(extractor, x[share(len(x), fabric)], data.space), fabric) for x in sets]
    for one, x in zip(parts, sets, strict=True):
        whole = read(extractor, x, data.space)
        assert one.total == whole.total == len(one.rows)
        assert one.moments is None
        found[1] += [float(one.rows.sum()), float(one.logits.sum())]
        found[0] += [float(whole.rows.sum()), float(whole.logits.sum())]
    return max(abs(one - other) / max(1, abs(one)) for one, other in zip(*found, strict=True))


def evaluated(fabric: Any) -> float:
    """How far what `evaluate_samples` says to several processes is from what it says to one."""
    data = likely.data.load("digits")
    wanted = ["frechet", "kid", "precision", "recall", "density", "coverage", "vendi", "inception_score"]
    call = {"features": "digits-cnn", "metrics": wanted, "space": data.space}
    alone, several = (evaluate_samples(data.test.x, data.valid.x, **call, fabric=each) for each in (None, fabric))
    assert [one["metric"] for one in alone] == [one["metric"] for one in several]
    return max(abs(a["value"] - b["value"]) / max(1, abs(a["value"])) for a, b in zip(alone, several, strict=True))


if __name__ == "__main__":
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
    fabric.launch()
    result = {"processes": fabric.world_size} | {f.__name__: f(fabric) for f in (statistics, descent, metrics)}
    if fabric.global_rank == 0:
        Path(sys.argv[1]).write_text(json.dumps(result))
    fabric.barrier()
    torch.distributed.destroy_process_group()  # left to the interpreter's end, its threads at times abort the process
