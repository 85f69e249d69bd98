"""Probes against scikit-learn, and the mutual information gap where the factors are known."""

import json
import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mutual_info_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

import likely
from likely.core import Latent
from likely.data.parts import Data, Part
from likely.data.toys import Squares
from likely.errors import LikelyError
from likely.evaluation import results, tabling
from likely.evaluation.representation import (
    _binned,
    _mutual_information,
    disentanglement,
    factor_gaps,
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


def test_neighbours_that_are_equally_near_all_vote():
    """Bits have many of them: which stands first, and how many threads look, must not count."""
    generator = torch.Generator().manual_seed(0)
    x, labels = torch.randint(0, 2, (400, 8), generator=generator), torch.randint(0, 3, (400,), generator=generator)
    found = neighbour_accuracy(x[:300], labels[:300], x[300:], labels[300:])
    for seed in range(5):
        order = torch.randperm(300, generator=generator.manual_seed(seed))
        assert neighbour_accuracy(x[order], labels[order], x[300:], labels[300:]) == found
    one = neighbour_accuracy([[0], [0], [0], [1]], [1, 1, 0, 0], [[0]], [1], k=1)  # two of the three nearest say 1
    assert one == 1
    expected = KNeighborsClassifier(5).fit(CLOUDS[:300], LABELS[:300]).score(CLOUDS[300:], LABELS[300:])
    for far in (0.0, 1e7):  # there are no ties
        x = CLOUDS.double() + far
        assert neighbour_accuracy(x[:300], LABELS[:300], x[300:], LABELS[300:]) == expected


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
    assert lost[0]["protocol"]["latent"] == 1
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


# Known factors --------------------------------------------------------------------------------------------------------

#: orthogonal, and every entry as large as every other: each entry of the rotated code holds as much of each factor
TURN = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2


class Reads(Latent):
    """Reads the factors of a square off its picture, and turns them into a code."""

    def __init__(self, code):
        super().__init__(Finite((1, 16, 16), 256))
        self.code = code

    def _sample(self, n, cond):
        return self.space.random(n)

    def _encode(self, x, cond):
        lit = (x[:, 0] > 0).float()
        place = torch.arange(16.0)
        side = lit.sum(2).amax(1)
        across, down = ((lit.sum(axis) * place).sum(1) / lit.sum(axis).sum(1) for axis in (1, 2))
        factors = torch.stack([across, down, side, x.flatten(1).amax(1).float()], 1)
        return self.code((factors - factors.mean(0)) / factors.std(0))

    def _decode(self, z, cond):
        return torch.zeros(len(z), *self.space.shape)


def gap_of(code):
    return disentanglement(Reads(code), likely.data.load("squares"), rows=4000)


def test_a_disentangled_code_of_squares_has_all_the_gap():
    found = gap_of(lambda factors: torch.cat([factors.flip(1), torch.rand(len(factors), 2)], 1))
    assert found["value"] == pytest.approx(1, abs=0.02)
    assert found["protocol"]["factors"] == ["x", "y", "size", "brightness"]
    assert all(gap == pytest.approx(1, abs=0.02) for gap in found["protocol"]["per_factor"].values())
    assert found["protocol"]["floor"] < 0.05  # a pixel knows little of any factor
    assert 0 < found["protocol"]["standard_error"] < 0.01
    assert found["interval"][0] < found["value"] < found["interval"][1]
    assert json.loads(json.dumps(found)) == found


def test_a_rotated_code_of_squares_has_no_gap_and_loses_nothing():
    found = gap_of(lambda factors: factors @ TURN)
    assert found["value"] == pytest.approx(0, abs=0.02)


def test_a_random_code_of_squares_has_no_gap():
    assert gap_of(lambda factors: torch.randn(len(factors), 8))["value"] == pytest.approx(0, abs=0.01)


def test_the_gap_of_each_factor():
    v = factors()
    found = factor_gaps(torch.cat([v[:, :1], torch.zeros(len(v), 1)], 1), torch.cat([v, torch.ones(len(v), 1)], 1))
    assert found[0] == pytest.approx(1)
    assert found[1] == pytest.approx(0, abs=0.01)
    assert found[2] is None


def test_evaluate_measures_the_gap_where_factors_are_known():
    squares = likely.data.load("squares")
    model = likely.build("vae", squares.space, latent=3, width=8)
    found = likely.evaluate(model, squares, n=20, rows=20, metrics="nll,factors")
    assert [one["metric"] for one in found] == ["nll", "mutual_information_gap"]
    assert found[1]["protocol"]["latent"] == 3
    assert found[1]["protocol"]["n_real"] == 10_000
    unasked = likely.evaluate(
        model, squares.__class__(**{**vars_of(squares), "train": squares.train.head(300)}), rows=9
    )
    assert "mutual_information_gap" in [one["metric"] for one in unasked]


def vars_of(data):
    return {name: getattr(data, name) for name in ("name", "view", "space", "train", "valid", "test", "cond", "source")}


@pytest.mark.parametrize(
    ("model", "data", "cond", "why"),
    [
        ("vae", "digits", False, "the data have no known factors"),
        ("gmm", "squares", False, "has no representation"),
        ("vae", "squares", True, "is given the label"),
    ],
)
def test_why_there_is_no_gap(model, data, cond, why):
    loaded = likely.data.load(data)
    numbers = {"components": 1} if model == "gmm" else {"latent": 2, "width": 4}
    built = likely.build(model, loaded.space, loaded.cond if cond else None, **numbers)
    found = likely.evaluate(built, loaded, n=10, rows=2, k=1, metrics="mutual_information_gap")
    assert found[-1]["value"] is None
    assert why in found[-1]["protocol"]["reason"]
    with pytest.raises(LikelyError, match=why):
        disentanglement(built, loaded)


def test_squares_are_read_as_they_were_made():
    x, made = Squares().sample(50, torch.Generator().manual_seed(0))
    seen = Reads(lambda factors: factors)._encode(x, None)
    assert all(abs(float(np.corrcoef(seen[:, i], made[:, i])[0, 1]) - 1) < 1e-3 for i in range(4))


@pytest.mark.parametrize(("metric", "key"), [("linear_probe", "latent"), ("nll", "reverse_rows")])
def test_what_is_the_models_own_affair_keeps_no_number_out_of_a_column(metric, key):
    one, other = (results.result(metric, 0.5, 0.1, **{key: value}, n_real=100) for value in (64, None))
    assert tabling.comparable(one, other) == ""
