"""The main job, for real: the whole tour, and what its numbers promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from likely import registry
from likely.comparison import TOUR_LEAVES_OUT, tour
from likely.report import Table


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Table, Path]:
    out = tmp_path_factory.mktemp("tour")
    return tour(out, quiet=True), out


def value(table: Table, model: str, metric: str, data: str = "digits") -> float:
    row = next(row for row in table.rows if row.model == model and row.data == data)
    result = row.result(metric)
    assert result is not None
    assert result["value"] is not None
    return float(result["value"])


@pytest.mark.slow
def test_every_model_is_trained_and_shown(told: tuple[Table, Path]) -> None:
    table, out = told
    assert not table.failed()
    assert {row.model for row in table.rows} == set(registry.names()) - set(TOUR_LEAVES_OUT)
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert all(f">{row.model}" in page for row in table.rows)


@pytest.mark.slow
def test_structure_beats_independence_by_far(told: tuple[Table, Path]) -> None:
    table, _ = told
    assert value(table, "nade", "nll") < value(table, "bernoulli", "nll") - 15
    binary = [value(table, model, "nll", "digits-binary") for model in ("bernoulli", "nade")]
    assert binary[1] < binary[0] - 5
    assert value(table, "gmm", "nll") < value(table, "gaussian", "nll") - 3


@pytest.mark.slow
@pytest.mark.parametrize("model", ["dcgan", "ddpm"])
def test_samples_are_seen_to_be_digits_of_every_class(told: tuple[Table, Path], model: str) -> None:
    table, _ = told
    row = next(row for row in table.rows if row.model == model)
    seen = row.result("recognised")
    assert seen is not None
    assert seen["value"] >= 0.8
    assert seen["protocol"]["covered"] == 10
