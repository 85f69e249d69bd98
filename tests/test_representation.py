"""Probes against scikit-learn, and the mutual information gap where the factors are known."""

import json
import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mutual_info_score
from sklearn.preprocessing import StandardScaler

import likely
from likely.core import Latent
from likely.data.parts import Data, Part
from likely.errors import LikelyError
from likely.evaluation.representation import (
    _binned,
    _mutual_information,
    linear_probe,
    mutual_information_gap,
    neighbour_accuracy,
    representation,
)
from likely.spaces import Finite, Real

LABELS = torch.arange(600) % 3
CLOUDS = torch.randn(600, 4, generator=torch.Generator().manual_seed(0)) + LABELS[:, None] * 1.5


class Keeps(Latent):
    """A representation of the first `kept` numbers."""

    def __init__(self, kept, space=Real((4,)), cond=None):
        super().__init__(space, cond)
        self.kept = kept

    def _sample(self, n, cond):
        return self.space.random(n)

    def _encode(self, x, cond):
        return x[:, : self.kept]

    def _decode(self, z, cond):
        return torch.zeros(len(z), *self.space.shape)


def labelled(x=CLOUDS, labels=LABELS):
    cut = [Part(x[rows], labels[rows]) for rows in (slice(0, 300), slice(300, 400), slice(400, 600))]
    return Data("clouds", "reals", Real((4,)), *cut, cond=Finite((), 3))


# Probes ---------------------------------------------------------------------------------------------------------------


def test_a_linear_probe_is_a_logistic_regression():
    scaler = StandardScaler().fit(CLOUDS[:300].numpy())
    train, test = (scaler.transform(x.numpy()) for x in (CLOUDS[:300], CLOUDS[300:]))
    expected = LogisticRegression(max_iter=2000).fit(train, LABELS[:300]).score(test, LABELS[300:])
    found = linear_probe(CLOUDS[:300], LABELS[:300], CLOUDS[300:], LABELS[300:])
    assert found == pytest.approx(expected, abs=0.005)


def test_neighbours_see_what_a_line_cannot():
    """A ring around a disc: no line parts them."""
    angle = torch.arange(400) * 0.7
    radius = torch.where(torch.arange(400) % 2 == 0, 1.0, 3.0)
    x, labels = torch.stack([angle.cos(), angle.sin()], 1) * radius[:, None], torch.arange(400) % 2
    assert neighbour_accuracy(x[:200], labels[:200], x[200:], labels[200:]) == 1
    assert linear_probe(x[:200], labels[:200], x[200:], labels[200:]) < 0.7


def test_a_representation_that_loses_the_label_is_at_chance():
    data = labelled()
    whole, nothing = (representation(Keeps(kept), data) for kept in (4, 1))
    assert whole[0]["value"] == pytest.approx(whole[0]["protocol"]["floor"])
    assert nothing[0]["value"] < whole[0]["value"]
    noise = CLOUDS.clone()
    noise[:, 0] = torch.randn(600, generator=torch.Generator().manual_seed(1))
    lost = representation(Keeps(1), labelled(noise))
    for result in lost:
        assert result["value"] == pytest.approx(1 / 3, abs=4 * result["protocol"]["standard_error"])
        assert result["protocol"]["floor"] > 0.7
        assert result["protocol"]["chance"] == pytest.approx(1 / 3, abs=0.01)
    assert [one["metric"] for one in lost] == ["linear_probe", "neighbour_accuracy"]
    assert lost[0]["protocol"]["dimensions"] == 1
    assert json.loads(json.dumps(lost)) == lost


def test_probes_of_digits():
    data = likely.data.load("digits")
    model = likely.build("vae", data.space, latent=8, width=32)
    found = representation(model, data, rows=300)
    assert found[0]["protocol"]["n_train"] == 300
    assert found[0]["protocol"]["floor"] > 0.85
    assert 0.15 < found[0]["value"] < found[0]["protocol"]["floor"]  # an untrained encoder keeps something
    assert found == representation(model, data, rows=300)


def test_what_cannot_be_probed_is_refused():
    data = labelled()
    with pytest.raises(LikelyError, match="likely models --can encode"):
        representation(likely.build("gmm", Real((4,))), data)
    with pytest.raises(LikelyError, match="is given the label"):
        representation(Keeps(1, cond=Finite((), 3)), data)
    with pytest.raises(LikelyError, match="these have none"):
        representation(Keeps(1), Data("none", "reals", Real((4,)), data.train, data.valid, data.test))
    with pytest.raises(LikelyError, match="two classes"):
        linear_probe(CLOUDS, torch.zeros(600), CLOUDS, LABELS)
    with pytest.raises(LikelyError, match="empty"):
        linear_probe(CLOUDS, LABELS, CLOUDS[:0], LABELS[:0])
    with pytest.raises(LikelyError, match="no 5 nearest"):
        neighbour_accuracy(CLOUDS[:3], LABELS[:3], CLOUDS, LABELS)


# Mutual information ---------------------------------------------------------------------------------------------------


def test_mutual_information_equals_scikit_learns():
    random = np.random.default_rng(0)
    first, second = random.integers(0, 5, 200), random.integers(0, 3, 200)
    second[:80] = first[:80] % 3
    assert _mutual_information(first, second) == pytest.approx(mutual_info_score(first, second))


def test_bins_have_equal_width_and_a_constant_has_one():
    assert np.bincount(_binned(np.arange(100.0), 20)).tolist() == [5] * 20
    assert _binned(np.array([0.0, 0.04, 0.06, 1.0]), 20).tolist() == [0, 0, 1, 19]
    assert len(np.unique(_binned(np.zeros(9), 20))) == 1


def factors(n=4000):
    random = torch.Generator().manual_seed(0)
    return torch.randint(4, (n, 2), generator=random)


def test_the_gap_of_known_codes():
    v = factors()
    noise = 0.01 * torch.randn(len(v), 2, generator=torch.Generator().manual_seed(1))
    assert mutual_information_gap(v + noise, v) == pytest.approx(1, abs=0.02)
    doubled = torch.cat([v + noise, v - noise], 1)
    assert mutual_information_gap(doubled, v) == pytest.approx(0, abs=0.02)
    one = torch.stack([v[:, 0] + noise[:, 0], noise[:, 1]], 1)
    assert mutual_information_gap(one, v) == pytest.approx(0.5, abs=0.02)


def test_a_rotation_closes_the_gap():
    v = factors()
    z = torch.stack([v[:, 0] + v[:, 1], v[:, 0] - v[:, 1]], 1) / math.sqrt(2)
    assert mutual_information_gap(z, v) == pytest.approx(0, abs=0.02)


def test_factors_that_do_not_fit_are_refused():
    v = factors(50)
    with pytest.raises(LikelyError, match="at least two entries"):
        mutual_information_gap(v[:, :1], v)
    with pytest.raises(LikelyError, match="constant"):
        mutual_information_gap(v, torch.zeros(50, 1))
    with pytest.raises(LikelyError, match="50 representations but 49"):
        mutual_information_gap(v, v[1:])
