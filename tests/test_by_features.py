"""Metrics by features, wired into `evaluate`: names, floors, protocols, and which numbers may stand together."""

from __future__ import annotations

import pytest
import torch

import likely
from likely import extractors
from likely.errors import LikelyError, UnknownName
from likely.evaluation import comparable, evaluate, evaluate_samples, feature_distances

NAMES = {
    "frechet",
    "kid",
    "precision",
    "recall",
    "density",
    "coverage",
    "sliced_wasserstein",
    "vendi",
    "classifier_test",
    "inception_score",
}


@pytest.fixture(scope="module")
def digits() -> likely.data.Data:
    return likely.data.load("digits")


def test_every_metric_has_its_floor_and_the_extractor_in_its_protocol(digits: likely.data.Data) -> None:
    extractor = extractors.load("digits-cnn")
    results = feature_distances(
        extractor, digits.space, digits.test.x, digits.valid.x, training=digits.train.x[:180], seed=1
    )
    assert {r["metric"] for r in results} == NAMES
    for result in results:
        assert result["protocol"]["features"] == extractor.name
        assert result["protocol"]["floor"] is not None
        assert result["protocol"]["seed"] == 1
    own = {r["metric"]: r for r in results}
    assert own["inception_score"]["value"] > 7  # of at most 10: splits of 18 digits do not hold all classes
    assert own["classifier_test"]["value"] == pytest.approx(0.5, abs=0.1)  # two samples of one law


def test_corruption_moves_every_distance(digits: likely.data.Data) -> None:
    noisy = digits.valid.x.float() + 4 * torch.randn(digits.valid.x.shape, generator=torch.Generator().manual_seed(0))
    noisy = noisy.round().clamp(0, 16).to(torch.uint8)
    clean, spoiled = (
        {r["metric"]: r["value"] for r in evaluate_samples(digits.test.x, x, space=digits.space, features="digits-cnn")}
        for x in (digits.valid.x, noisy)
    )
    assert all(spoiled[name] > clean[name] for name in ("frechet", "kid", "sliced_wasserstein", "classifier_test"))
    assert all(spoiled[name] < clean[name] for name in ("precision", "coverage", "inception_score"))


def test_evaluate_takes_a_name(digits: likely.data.Data) -> None:
    model = likely.build("gmm", digits.space, components=3)
    for _ in likely.fit(model, digits.train, passes=2):
        pass
    results = evaluate(model, digits, k=2, n=100, rows=50, features="pca")
    assert {"nll", "frechet", "vendi"} <= {r["metric"] for r in results}
    assert "inception_score" not in {r["metric"] for r in results}  # principal components do not classify
    with pytest.raises(UnknownName, match="Did you mean 'mnist-cnn'"):
        evaluate(model, digits, k=2, n=100, rows=50, features="mnist-cn")


def test_too_few_rows_are_said(digits: likely.data.Data) -> None:
    with pytest.raises(LikelyError, match="at least 6 rows"):
        feature_distances(extractors.load("digits-cnn"), digits.space, digits.test.x[:3], digits.valid.x)


def test_results_of_different_protocols_do_not_share_a_column(digits: likely.data.Data) -> None:
    by = {
        name: {
            r["metric"]: r for r in evaluate_samples(digits.test.x, digits.valid.x, space=digits.space, features=name)
        }
        for name in ("digits-cnn", "pixels")
    }
    assert comparable(by["pixels"]["kid"], by["pixels"]["kid"]) == ""
    assert "features is" in comparable(by["pixels"]["kid"], by["digits-cnn"]["kid"])
    assert "one is kid" in comparable(by["pixels"]["kid"], by["pixels"]["frechet"])
