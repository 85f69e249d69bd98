"""Modes, histograms, variety within classes, and whether a sample shows what was asked for."""

import json
import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import entropy

import likely
from likely.data.parts import Data, Part
from likely.errors import LikelyError
from likely.evaluation.conditional import condition_accuracy, conditional, within_condition
from likely.evaluation.diversity import intra_class_diversity, labels_of, mode_coverage, near_centres, variety
from likely.evaluation.two_sample import mmd
from likely.spaces import Finite, Real


def by_name(results):
    return {result["metric"]: result for result in results}


# Modes ----------------------------------------------------------------------------------------------------------------


def test_counts_and_kl_against_scipy():
    labels = torch.tensor([0, 0, 1, 3, 3, 3, -1, -1])
    found = by_name(mode_coverage(labels, 4))
    assert found["modes"]["value"] == 3
    assert found["mode_kl"]["value"] == pytest.approx(entropy([2, 1, 0, 3], [1, 1, 1, 1]))
    assert found["recognised"]["value"] == 0.75
    assert found["modes"]["protocol"]["counts"] == [2, 1, 0, 3]
    other = by_name(mode_coverage(labels, 4, expected=[4, 2, 1, 3]))
    assert other["mode_kl"]["value"] == pytest.approx(entropy([2, 1, 0, 3], [4, 2, 1, 3]))
    assert json.loads(json.dumps(list(other.values()))) == list(other.values())


def test_the_floor_of_stacked_digits():
    """1,000 modes and 26,000 samples: KL 999 / 52,000 = 0.0192 for a perfect sampler."""
    random = np.random.default_rng(0)
    found = [by_name(mode_coverage(torch.from_numpy(random.integers(0, 1000, 26_000)), 1000)) for _ in range(20)]
    assert found[0]["mode_kl"]["protocol"]["floor"] == pytest.approx(0.0192, abs=5e-5)
    values = [one["mode_kl"]["value"] for one in found]
    # chi^2 with 999 degrees of freedom over 2 n: standard deviation sqrt(2 * 999) / (2 n)
    assert np.mean(values) == pytest.approx(0.0192, abs=4 * math.sqrt(2 * 999) / 52_000 / math.sqrt(20) + 2e-4)
    assert {one["modes"]["value"] for one in found} == {1000}


def test_the_floor_of_modes_hit_is_their_expected_number():
    random = np.random.default_rng(1)
    q = [0.7, 0.2, 0.1]
    hit = [by_name(mode_coverage(random.choice(3, size=5, p=q), 3, expected=q))["modes"] for _ in range(1500)]
    mean = np.mean([one["value"] for one in hit])
    assert mean == pytest.approx(hit[0]["protocol"]["floor"], abs=4 * 0.7 / math.sqrt(1500))


def test_an_impossible_mode_gives_an_infinite_kl_and_no_recognised_sample_none():
    assert by_name(mode_coverage([0, 1], 2, expected=[1, 0]))["mode_kl"]["value"] == math.inf
    none = by_name(mode_coverage([-1, -1], 2))
    assert (none["mode_kl"]["value"], none["mode_kl"]["sign"]) == (None, "")
    assert none["modes"]["value"] == 0


def test_bad_labels_are_refused():
    with pytest.raises(LikelyError, match="one is 4"):
        mode_coverage([0, 4], 4)
    with pytest.raises(LikelyError, match="no labels"):
        mode_coverage([], 4)
    for wrong in ([1, 2], [0, 0, 0], [1, -1, 1]):
        with pytest.raises(LikelyError, match="expected histogram"):
            mode_coverage([0], 3, expected=wrong)


def test_a_ring_with_a_lost_mode():
    angle = torch.arange(8) * math.pi / 4
    centres = torch.stack([angle.cos(), angle.sin()], 1) * 2
    classify = near_centres(centres, 0.3)
    random = torch.Generator().manual_seed(0)
    which = torch.randint(7, (2500,), generator=random)
    samples = centres[which] + 0.1 * torch.randn(2500, 2, generator=random)
    found = by_name(mode_coverage(labels_of(classify, samples), 8))
    assert found["modes"]["value"] == 7
    # within three standard deviations in two dimensions: 1 - exp(-9/2)
    assert found["recognised"]["value"] == pytest.approx(1 - math.exp(-4.5), abs=0.01)
    assert found["mode_kl"]["value"] == pytest.approx(math.log(8 / 7), abs=0.01)


def test_a_classifier_may_answer_with_scores():
    x = torch.tensor([[0.1, 0.9], [0.8, 0.2]])
    assert labels_of(lambda rows: rows, x).tolist() == [1, 0]
    assert labels_of(lambda rows: rows, x[:0]).tolist() == []
    with pytest.raises(LikelyError, match="2 labels"):
        labels_of(lambda rows: rows[:1], x)


# Variety --------------------------------------------------------------------------------------------------------------


def test_variety_is_the_mean_over_all_pairs():
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    assert variety(x)[0] == pytest.approx(float(np.mean(pdist(x.numpy()) ** 2)), rel=1e-5)


def test_the_error_of_variety_by_simulation():
    random = torch.Generator().manual_seed(0)
    found = [variety(torch.randn(200, 3, generator=random)) for _ in range(500)]
    values, errors = np.array(found).T
    assert values.mean() == pytest.approx(6, abs=4 * values.std() / math.sqrt(500))
    assert errors.mean() == pytest.approx(values.std(), rel=0.1)


def test_a_collapsed_class_is_seen():
    random = torch.Generator().manual_seed(0)
    real, labels = torch.randn(300, 2, generator=random), torch.arange(300) % 3
    fake = torch.randn(300, 2, generator=random)
    fake[labels == 1] = fake[1].clone()  # one sample stands for the whole class
    result = intra_class_diversity(Real((2,)), fake, labels, real, labels)
    each = result["protocol"]["per_class"]
    assert each["1"] == pytest.approx(0, abs=1e-12)
    assert each["0"] == pytest.approx(1, abs=0.35)
    assert result["value"] == pytest.approx(np.mean(list(each.values())))
    same = intra_class_diversity(Real((2,)), real, labels, real, labels)
    assert same["value"] == pytest.approx(1)
    assert json.loads(json.dumps(same)) == same


def test_classes_that_cannot_be_judged_are_named():
    real, labels = torch.tensor([[0.0], [1.0], [5.0], [7.0]]), torch.tensor([0, 0, 1, 2])
    result = intra_class_diversity(Real((1,)), torch.tensor([[0.0], [1.0]]), torch.tensor([0, 0]), real, labels)
    assert result["protocol"]["skipped"] == [1, 2]
    with pytest.raises(LikelyError, match="no class"):
        intra_class_diversity(Real((1,)), real[:1], labels[:1], real, labels)
    with pytest.raises(LikelyError, match="one label per row"):
        intra_class_diversity(Real((1,)), real, labels[:2], real, labels)
    with pytest.raises(LikelyError, match="at least 2 rows"):
        variety(real[:1])


# Conditions -----------------------------------------------------------------------------------------------------------


def test_every_class_counts_the_same():
    asked, seen = torch.tensor([0, 0, 0, 0, 1]), torch.tensor([0, 0, 0, 1, 0])
    result = condition_accuracy(torch.zeros(5, 1), asked, lambda x: seen)
    assert result["value"] == pytest.approx(0.375)
    assert result["protocol"]["per_class"] == {"0": 0.75, "1": 0.0}
    assert result["protocol"]["standard_error"] == pytest.approx(math.sqrt(0.75 * 0.25 / 4) / 2)
    with pytest.raises(LikelyError, match="at least one"):
        condition_accuracy(torch.zeros(0, 1), [], lambda x: x[:, 0])


def test_distances_are_taken_within_each_condition():
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 2
    real = torch.randn(200, 2, generator=random) + 6.0 * labels[:, None]
    fake = torch.randn(200, 2, generator=random) + 6.0 * labels[:, None]
    right, swapped = (within_condition(real, labels, fake, asked) for asked in (labels, 1 - labels))
    assert right["value"] == pytest.approx(np.mean([mmd(real[labels == c], fake[labels == c]).value for c in (0, 1)]))
    assert abs(right["value"]) < 4 * right["protocol"]["standard_error"] < swapped["value"]
    # over everything the two are the same set
    assert mmd(real, fake).value == pytest.approx(mmd(real, fake.flip(0)).value)
    assert right["metric"] == "mmd_within"
    with pytest.raises(LikelyError, match="condition 1 has 100 real and 0"):
        within_condition(real, labels, fake, torch.zeros(200))


class Obedient(likely.Model):
    """N(8 c, 1), or, if it does not listen, the same of a condition of its own choice."""

    def __init__(self, listens):
        super().__init__(Real((2,)), Finite((), 3))
        self.listens = listens

    def _sample(self, n, cond):
        cond = cond if self.listens else torch.randint(3, (n,))
        return torch.randn(n, 2) + 8.0 * cond[:, None]


def test_a_model_that_ignores_its_condition_is_seen():
    torch.manual_seed(0)
    labels = torch.arange(300) % 3
    parts = [Part(torch.randn(300, 2) + 8.0 * labels[:, None], labels) for _ in range(3)]
    data = Data("three", "reals", Real((2,)), *parts, cond=Finite((), 3))
    classify = near_centres(torch.tensor([[0.0, 0.0], [8.0, 8.0], [16.0, 16.0]]), 6.0)
    good, deaf = (conditional(Obedient(listens), data, classify, n=60) for listens in (True, False))
    assert good[0]["value"] == pytest.approx(good[0]["protocol"]["floor"], abs=0.02)
    assert deaf[0]["value"] == pytest.approx(1 / 3, abs=0.1)
    assert abs(good[1]["value"]) < 4 * good[1]["protocol"]["standard_error"]
    assert deaf[1]["value"] > 0.3
    assert json.loads(json.dumps([*good, *deaf])) == [*good, *deaf]
    with pytest.raises(LikelyError, match="--cond label"):
        conditional(likely.build("gaussian", Real((2,))), data, classify)
