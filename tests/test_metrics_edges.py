"""What every two-sample metric does at its edges and what changes none of them: one table of metrics, one of cases."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from likely.errors import LikelyError
from likely.evaluation import kid, vendi
from likely.evaluation import manifold as manifolds
from likely.evaluation.bins import bins
from likely.evaluation.classifier_test import classifier_test
from likely.evaluation.columns import column_distances
from likely.evaluation.frechet import frechet_distance, frechet_error
from likely.evaluation.inception_score import inception_score
from likely.evaluation.kid import kernel_inception_distance, kernel_inception_subsets
from likely.evaluation.manifold import manifold
from likely.evaluation.sliced import sliced_wasserstein
from likely.evaluation.two_sample import mmd
from likely.evaluation.vendi import vendi_error, vendi_score

Metric = Callable[[Tensor, Tensor], float]

#: distances, and what is larger for sets further apart
METRICS: dict[str, Metric] = {
    "frechet": lambda x, y: frechet_distance(x, y).value,
    "kid": lambda x, y: kernel_inception_distance(x, y).value,
    "kid of subsets": lambda x, y: kernel_inception_subsets(x, y, subsets=300, size=min(len(x), len(y), 100)).value,
    "mmd": lambda x, y: mmd(x, y).value,
    "sliced wasserstein": lambda x, y: sliced_wasserstein(x, y, projections=50).value,
    "precision": lambda x, y: manifold(x, y).precision.value,
    "recall": lambda x, y: manifold(x, y).recall.value,
    "density": lambda x, y: manifold(x, y).density.value,
    "coverage": lambda x, y: manifold(x, y).coverage.value,
    "vendi": lambda x, y: vendi_score(y),
    "classifier": lambda x, y: classifier_test(x, y).accuracy,
    "inception score": lambda x, y: inception_score(y, splits=2).value,
    "bins": lambda x, y: bins(x, y, 8).divergence,
    "columns": lambda x, y: sum(column.wasserstein for column in column_distances(x, y)),
}
#: which draw rows, so that the order of rows moves them a little
DRAWN = {"kid of subsets": 0.1, "classifier": 0.06, "inception score": 0.1, "bins": 0.02}
#: least rows of the smaller set, where it is not one
LEAST = {
    "frechet": 2,
    "kid": 2,
    "kid of subsets": 2,
    "mmd": 2,
    "precision": 6,
    "recall": 6,
    "density": 6,
    "coverage": 6,
    "classifier": 5,
    "inception score": 2,
}
#: what two equal sets have: a number, or None where it is only finite
EQUAL = {
    "frechet": 0.0,
    "sliced wasserstein": 0.0,
    "precision": 1.0,
    "recall": 1.0,
    "coverage": 1.0,
    "bins": 0.0,
    "columns": 0.0,
}

every = pytest.mark.parametrize("name", METRICS)


def draw(n: int, d: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float32).to(dtype)


@every
def test_the_order_of_rows_changes_nothing(name: str) -> None:
    x, y = draw(150, 4), draw(120, 4, 1) * 1.2 + 0.3
    a, b = (torch.randperm(n, generator=torch.Generator().manual_seed(n)) for n in (150, 120))
    expected = METRICS[name](x, y)
    assert METRICS[name](x[a], y[b]) == pytest.approx(expected, rel=1e-9, abs=DRAWN.get(name, 1e-12))


@every
def test_rows_sorted_by_class_are_rows_in_any_order(name: str) -> None:
    classes = torch.arange(3.0).repeat(50)[:, None]
    x, y = draw(150, 4) + classes, draw(150, 4, 1) + classes
    order = classes[:, 0].argsort(stable=True)
    assert METRICS[name](x[order], y[order]) == pytest.approx(METRICS[name](x, y), rel=1e-9, abs=DRAWN.get(name, 1e-12))


@every
def test_float32_rows_give_the_number_of_float64_rows(name: str) -> None:
    x, y = draw(130, 5, 0, torch.float32), draw(110, 5, 1, torch.float32) + 0.25
    assert METRICS[name](x, y) == pytest.approx(METRICS[name](x.double(), y.double()), rel=1e-6, abs=1e-6)


@every
def test_equal_sets(name: str) -> None:
    x = draw(60, 3)
    value = METRICS[name](x, x)
    assert math.isfinite(value)
    if name in EQUAL:
        assert value == pytest.approx(EQUAL[name], abs=1e-9)


@every
def test_constant_features(name: str) -> None:
    x = torch.full((40, 3), 2.0, dtype=torch.float64)
    if name == "mmd":
        with pytest.raises(LikelyError, match="all rows are equal"):
            METRICS[name](x, x)
        return
    value = METRICS[name](x, x)
    assert math.isfinite(value)
    if name in EQUAL:
        assert value == pytest.approx(EQUAL[name], abs=1e-9)
    assert math.isfinite(METRICS[name](draw(40, 3), x))


@every
def test_features_that_are_not_numbers(name: str) -> None:
    x, y = draw(40, 3), draw(40, 3, 1)
    y[7, 1] = math.nan
    if name == "columns":  # of tables, where NaN stands for what is missing and is left out
        assert math.isfinite(METRICS[name](x, y))
        return
    with pytest.raises(LikelyError, match=r"finite"):
        METRICS[name](x, y)


@every
def test_fewer_rows_than_dimensions(name: str) -> None:
    assert math.isfinite(METRICS[name](draw(12, 30), draw(11, 30, 1)))


@every
def test_one_row(name: str) -> None:
    one, many = draw(1, 3), draw(30, 3, 1)
    if name in LEAST:
        with pytest.raises(LikelyError, match=r"row"):
            METRICS[name](many, one)
    else:
        assert math.isfinite(METRICS[name](many, one))


def test_errors_of_one_row_and_of_constants() -> None:
    ones = torch.ones(10, 3)
    assert frechet_error(ones, ones) is None
    assert vendi_error(ones) == pytest.approx(0)
    with pytest.raises(LikelyError, match="at least 2"):
        vendi_error(ones[:1])


# blocks, strips and what is held: how it is computed changes no number


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_subsets_by_strips_are_the_textbook(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = draw(300, 20, 0, dtype), draw(300, 20, 1, dtype) + 0.1
    monkeypatch.setattr(kid, "STRIP", 300 * 70)  # five strips, the last one shorter
    xx, yy, xy = ((a.double() @ b.double().T / 20 + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    expected = (xx.sum() - xx.trace() + yy.sum() - yy.trace()) / (300 * 299) - 2 * xy.mean()
    found = kernel_inception_subsets(x, y, subsets=2, size=300)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-6
    assert found.value == pytest.approx(float(expected), abs=tolerance)
    assert found.spread < tolerance


def test_a_manifold_of_rows_that_are_not_held_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = draw(200, 6, 0, torch.float32) + 3, draw(150, 6, 1, torch.float32) + 3
    monkeypatch.setattr(manifolds, "ROWS", 64)
    held = manifold(x, y)
    monkeypatch.setattr(manifolds, "HELD", 0)
    assert manifold(x, y) == held


@pytest.mark.parametrize(("n", "d"), [(50, 8), (8, 50)])
def test_a_vendi_score_by_blocks_is_the_same(n: int, d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = draw(n, d)
    whole = vendi_score(x), vendi_error(x)
    monkeypatch.setattr(vendi, "ROWS", 7)
    assert (vendi_score(x), vendi_error(x)) == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize(
    "measure",
    [
        lambda x, y, tell: kernel_inception_distance(x, y, tell=tell),
        lambda x, y, tell: manifold(x, y, tell=tell),
        lambda x, y, tell: sliced_wasserstein(x, y, projections=20, tell=tell),
    ],
    ids=["kid", "manifold", "sliced"],
)
def test_what_is_told_goes_from_little_to_all(
    measure: Callable[[Tensor, Tensor, Callable[[float], None]], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifolds, "ROWS", 20)
    told: list[float] = []
    measure(draw(70, 2), draw(50, 2, 1), told.append)
    assert told == sorted(told)
    assert 0 < told[0] <= told[-1] == pytest.approx(1)
