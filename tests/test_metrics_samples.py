"""Inception score, Vendi score, sliced Wasserstein distance, classifier test and bins against what is known of them."""

import gzip
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from likely.errors import LikelyError
from likely.evaluation.bins import bins, jensen_shannon
from likely.evaluation.classifier_test import classifier_test, wilson
from likely.evaluation.inception_score import inception_score
from likely.evaluation.sliced import sliced_wasserstein, transport_cost
from likely.evaluation.vendi import vendi_score, vendi_score_of


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# the inception score


def test_inception_score_between_one_and_the_number_of_classes():
    classes = torch.eye(10).repeat(50, 1)
    assert inception_score(classes, logits=False, splits=1).value == pytest.approx(10)
    assert inception_score(torch.full((50, 10), 0.1), logits=False) == pytest.approx((1, 0, 0))
    assert inception_score(draw(1, 10).repeat(60, 1)).value == pytest.approx(1)


def test_inception_score_is_the_definition_of_each_split():
    logits = 3 * draw(53, 4)
    shares = torch.softmax(logits, 1).numpy()
    scores = [
        np.exp(np.mean([scipy.stats.entropy(p, part.mean(0)) for p in part]))
        for part in np.array_split(shares, 5)  # in the order given
    ]
    value, error, spread = inception_score(logits, splits=5, seed=None)
    assert (value, spread) == pytest.approx((np.mean(scores), np.std(scores)))
    assert error == pytest.approx(np.std(scores, ddof=1) / 5**0.5)
    assert inception_score(shares, logits=False, splits=5, seed=None) == pytest.approx((value, error, spread))
    assert inception_score(logits.float(), splits=5, seed=None) == pytest.approx((value, error, spread), rel=1e-6)


def test_samples_sorted_by_class_are_shuffled():
    sorted_by_class = torch.eye(10).repeat_interleave(100, 0)
    assert inception_score(sorted_by_class, logits=False, seed=None).value == pytest.approx(1)  # the trap
    assert inception_score(sorted_by_class, logits=False).value > 9.4
    assert inception_score(sorted_by_class, logits=False) == inception_score(sorted_by_class, logits=False, seed=0)


def test_inception_score_of_what_is_no_classification():
    assert inception_score(torch.eye(3)[:1], logits=False, splits=1) == (1.0, None, None)
    with pytest.raises(LikelyError, match="are these logits"):
        inception_score(draw(20, 3), logits=False)
    with pytest.raises(LikelyError, match="5 rows; at least 10"):
        inception_score(draw(5, 3))
    with pytest.raises(LikelyError, match="row 0 of the set of outputs is not finite"):
        inception_score(torch.full((20, 3), torch.nan))
    with pytest.raises(LikelyError, match="at least one split"):
        inception_score(draw(20, 3), splits=0)


# the Vendi score


def test_vendi_scores_of_its_paper():
    x = np.array([0.0, 0, 10, 10, 20, 20])
    assert 2.9999 <= vendi_score_of(np.exp(-abs(x[:, None] - x))) < 3
    assert vendi_score_of([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]]) == pytest.approx(2.1573, abs=5e-5)


@pytest.mark.parametrize("q", [0, 0.1, 0.5, 1, 2, math.inf])
def test_vendi_score_from_one_to_n(q):
    assert vendi_score(torch.ones(7, 3), q) == pytest.approx(1)
    assert vendi_score(torch.eye(7), q) == pytest.approx(7)
    assert vendi_score(3 * torch.eye(7).repeat(4, 1), q) == pytest.approx(7)  # duplicates and lengths count nothing
    assert vendi_score(torch.tensor([[1.0, 2.0]]), q) == pytest.approx(1)


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 10**6))
def test_vendi_score_is_the_same_by_either_matrix(n, d, seed):
    x = draw(n, d, seed=seed)
    unit = x / x.norm(dim=1, keepdim=True)
    for q in (0.5, 1, 2, math.inf):
        assert vendi_score(x, q) == pytest.approx(vendi_score_of(unit @ unit.T, q), rel=1e-6)


def test_vendi_score_falls_with_its_order_continuously():
    x = draw(40, 5) * torch.tensor([5, 2, 1, 0.5, 0.1])
    scores = [vendi_score(x, q) for q in (0, 0.5, 1 - 1e-6, 1, 1 + 1e-6, 2, 50, math.inf)]
    assert scores == sorted(scores, reverse=True)
    assert scores[2] == pytest.approx(scores[4], rel=1e-5)
    assert scores[-2] == pytest.approx(scores[-1], rel=0.05)
    lengths = x / x.norm(dim=1, keepdim=True)
    assert vendi_score(x, 2) == pytest.approx(1 / float((lengths @ lengths.T / 40).square().sum()))


def test_vendi_score_of_what_has_none():
    with pytest.raises(LikelyError, match="row 1 is zero"):
        vendi_score(torch.tensor([[1.0], [0.0]]))
    with pytest.raises(LikelyError, match="at least 0"):
        vendi_score(torch.eye(2), -1)
    with pytest.raises(LikelyError, match="symmetric"):
        vendi_score_of([[1, 0.5], [0.4, 1]])
    with pytest.raises(LikelyError, match="semidefinite"):
        vendi_score_of([[1, 2], [2, 1]])
    with pytest.raises(LikelyError, match="not finite"):
        vendi_score(torch.full((2, 2), torch.inf))


# the sliced Wasserstein distance


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 10**6))
def test_transport_in_one_dimension_is_that_of_scipy(n, m, seed):
    x, y = draw(n, 2, seed=seed), draw(m, 2, seed=seed + 1) * 2
    expected = [scipy.stats.wasserstein_distance(a, b) for a, b in zip(x.T.numpy(), y.T.numpy(), strict=True)]
    assert transport_cost(x, y, 1).tolist() == pytest.approx(expected, rel=1e-9)


def test_transport_of_different_sizes_is_that_of_repeated_rows():
    x, y = draw(4, 1), draw(6, 1, seed=1)
    same = transport_cost(x.repeat_interleave(3, 0), y.repeat_interleave(2, 0), 2)
    assert float(transport_cost(x, y, 2)) == pytest.approx(float(same))


def test_sliced_distance_of_a_shift():
    d, shift = 6, 0.5
    x = draw(200, d)
    value, error = sliced_wasserstein(x, x + shift, projections=4000)
    assert value == pytest.approx(shift**2, abs=4 * error)  # |shift|^2 / d
    assert error < 0.02
    assert sliced_wasserstein(x, x + 1e6) == pytest.approx((1e12 * 1.0, error), rel=0.1, abs=1e12)
    assert sliced_wasserstein(x[:, :1], x[:, :1] + 3, p=1).value == pytest.approx(3)


def test_sliced_distance_of_equal_sets_of_single_rows_and_of_order():
    x, y = draw(50, 3).float(), draw(40, 3, seed=1).float()
    result = sliced_wasserstein(x, y)
    assert sliced_wasserstein(x, x) == (0, 0)
    assert sliced_wasserstein(x.double(), y.double()) == result
    assert sliced_wasserstein(x.flip(0), y.flip(0)) == pytest.approx(result, rel=1e-6)
    assert sliced_wasserstein(x, y, seed=1) != result
    assert sliced_wasserstein(x[:1, :1], y[:1, :1]).value == pytest.approx(float((x[0, 0] - y[0, 0]) ** 2), rel=1e-6)
    assert sliced_wasserstein(x, y, projections=1).error is None
    with pytest.raises(LikelyError, match="p of at least 1"):
        sliced_wasserstein(x, y, p=0.5)
    with pytest.raises(LikelyError, match="row 0 of the fake set"):
        sliced_wasserstein(x, y / 0)


def test_blocks_of_projections_change_nothing(monkeypatch):
    x, y = draw(30, 3), draw(40, 3, seed=1)
    whole = sliced_wasserstein(x, y, projections=50)
    monkeypatch.setattr("likely.evaluation.sliced.NUMBERS", 500)
    assert sliced_wasserstein(x, y, projections=50) == pytest.approx(whole, rel=1e-12)


# the classifier test


@pytest.mark.parametrize("classifier", ["logistic", "neighbour"])
def test_classifier_test_of_equal_laws_and_of_laws_apart(classifier):
    p_values = [
        classifier_test(draw(60, 2, seed=2 * s), draw(60, 2, seed=2 * s + 1), classifier=classifier).p_value
        for s in range(60)
    ]
    assert sum(p < 0.05 for p in p_values) <= 8  # 3 are expected, more than 8 in one of 200 such tests
    apart = classifier_test(draw(60, 2), draw(80, 2, seed=1) + 10, classifier=classifier)
    assert (apart.accuracy, apart.rows) == (1, 60)
    assert apart.low < apart.high == pytest.approx(1)
    assert apart.p_value == pytest.approx(2.0**-120)


def test_classifier_test_is_as_sure_as_its_interval():
    x, y = draw(400, 3), draw(400, 3, seed=1) + torch.tensor([1.0, 0, 0])
    result = classifier_test(x, y)
    best = scipy.stats.norm.cdf(0.5)  # of a shift by one standard deviation
    assert result.low < best < result.high
    assert result.p_value < 1e-6
    assert classifier_test(x, y) == result
    assert classifier_test(x.flip(0), y).accuracy == pytest.approx(result.accuracy, abs=0.03)


def test_a_neighbour_finds_copies():
    x = draw(100, 2)
    assert classifier_test(x, x + 1e-9, classifier="neighbour").accuracy < 0.3
    assert classifier_test(torch.ones(20, 2), torch.ones(20, 2)).accuracy == pytest.approx(0.5, abs=0.1)


def test_classifier_test_says_what_is_missing():
    with pytest.raises(LikelyError, match="4 rows; at least 5"):
        classifier_test(draw(4, 2), draw(9, 2))
    with pytest.raises(LikelyError, match="logistic, neighbour"):
        classifier_test(draw(9, 2), draw(9, 2), classifier="forest")
    with pytest.raises(LikelyError, match="not finite"):
        classifier_test(draw(9, 2), draw(9, 2) * torch.nan)


@given(st.integers(0, 40), st.integers(1, 60))
def test_wilson_interval_is_that_of_scipy(hits, more):
    theirs = scipy.stats.binomtest(hits, hits + more).proportion_ci(method="wilson")
    assert wilson(hits, hits + more) == pytest.approx(tuple(theirs), abs=1e-6)


# bins


def test_a_perfect_model_has_as_many_different_bins_as_its_level():
    results = [bins(draw(1000, 2, seed=2 * s), draw(1000, 2, seed=2 * s + 1), 20) for s in range(20)]
    assert 0.01 < sum(r.different for r in results) / 400 < 0.12
    assert np.mean([r.divergence for r in results]) < 0.01


def test_missing_modes_are_missing_bins():
    modes = torch.tensor(list(itertools.product([0.0, 10.0, 20.0], [0.0, 10.0, 20.0])))
    real = modes.repeat(100, 1) + 0.1 * draw(900, 2)
    fake = modes[:6].repeat(100, 1) + 0.1 * draw(600, 2, seed=1)
    result = bins(real, fake, 9)
    assert result.different == result.bins == 9
    assert int((result.fake == 0).sum()) == 3
    p, q = np.full(9, 1 / 9), np.r_[np.full(6, 1 / 6), np.zeros(3)]
    expected = scipy.spatial.distance.jensenshannon(p, q) ** 2
    assert result.divergence == pytest.approx(expected, abs=1e-3)
    assert float(result.real.sum()) == pytest.approx(1)


def test_bins_by_the_test_of_two_shares():
    x, y = torch.tensor([[0.0]] * 60 + [[1.0]] * 40), torch.tensor([[0.0]] * 40 + [[1.0]] * 60)
    assert bins(x, y, 2, alpha=0.01).different == 2  # z = 2.83
    assert bins(x, y, 2, alpha=0.001).different == 0
    assert bins(x, x, 2).different == 0
    assert bins(torch.ones(20, 1), torch.ones(5, 1), 10)[0] == 0  # bins that are empty in both do not differ


def test_bins_repeat_with_their_seed_and_leave_the_random_stream_alone():
    x, y = draw(200, 3).float(), draw(100, 3, seed=1).float()
    before = torch.get_rng_state()
    one, again, double = bins(x, y, 15), bins(x, y, 15), bins(x.double(), y.double(), 15)
    assert torch.equal(torch.get_rng_state(), before)
    for other in (again, double):
        assert torch.equal(one.fake, other.fake)
    assert bins(x, y.flip(0), 15).divergence == one.divergence
    assert bins(x, y[:1], 15).fake.max() == 1


def test_bins_say_what_is_missing():
    with pytest.raises(LikelyError, match="100 bins need"):
        bins(draw(50, 2), draw(50, 2))
    with pytest.raises(LikelyError, match="at least one bin"):
        bins(draw(50, 2), draw(50, 2), 0)
    with pytest.raises(LikelyError, match="not finite"):
        bins(draw(50, 2), draw(50, 2) / 0)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8))
def test_jensen_shannon_is_that_of_scipy(counts):
    p, q = (torch.tensor(c, dtype=torch.float64) + 1e-9 * (sum(c) == 0) for c in zip(*counts, strict=True))
    p, q = p / p.sum(), q / q.sum()
    assert jensen_shannon(p, q) == pytest.approx(scipy.spatial.distance.jensenshannon(p, q) ** 2, abs=1e-9)


MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist"


@pytest.mark.skipif(not MNIST.exists(), reason="the MNIST test set is not beside the repository")
def test_vendi_scores_of_the_digits_of_mnist():
    """The pixel Vendi scores that the authors print, digit by digit."""
    published = [7.68, 5.31, 12.18, 9.97, 11.10, 13.51, 9.06, 9.58, 9.69, 8.56]
    pixels, labels = (
        np.frombuffer(gzip.decompress((MNIST / f"t10k-{name}-ubyte.gz").read_bytes()), np.uint8, offset=offset)
        for name, offset in (("images-idx3", 16), ("labels-idx1", 8))
    )
    for digit in (0, 1, 5):
        pictures = pixels.reshape(-1, 28, 28)[labels == digit]
        resized = np.stack([np.asarray(Image.fromarray(picture).resize((32, 32))) for picture in pictures])
        assert vendi_score(resized) == pytest.approx(published[digit], abs=0.005)
