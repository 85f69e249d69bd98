"""Every one-page example runs, at a small size."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
SAYS = {
    "anomalies_in_a_table": "row  42:",
    "fair_likelihoods": "nade        =",
    "first_vae": "nats (k=64)",
    "gan_by_hand": "step 50: critic",
    "hmm_weather": "the likeliest weather: sunny, rainy, rainy, rainy, sunny",
    "missing_values": "weight given the rest",
    "strangest_pictures": "test row",
    "your_own_model": "the contract holds",
}  #: what each prints


def test_every_example_is_run() -> None:
    assert sorted(SAYS) == sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.mark.parametrize("name", sorted(SAYS))
def test_example(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, "50"])
    runpy.run_path(str(FOLDER / f"{name}.py"))
    assert SAYS[name] in capsys.readouterr().out
