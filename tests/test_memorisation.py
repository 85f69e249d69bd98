"""Copies of training data: exact neighbours, the null of C_T by simulation, and a copycat that a distance loves."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, mannwhitneyu
from sklearn.neighbors import NearestNeighbors

import likely
from likely.errors import LikelyError
from likely.evaluation.memorisation import authentic, beside_nearest, data_copying, mann_whitney, memorisation, nearest
from likely.evaluation.protocol import sample_distances
from likely.spaces import Real


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Neighbours -----------------------------------------------------------------------------------------------------------


def test_neighbours_equal_those_of_scikit_learn():
    x, others = normal(40, 5), normal(1300, 5, seed=1)
    distance, row = NearestNeighbors(n_neighbors=3, algorithm="brute").fit(others.numpy()).kneighbors(x.numpy())
    found = nearest(x, others, 3)
    assert np.array_equal(found.row, row)
    assert np.allclose(found.distance, distance, atol=1e-5)
    own = nearest(others, others, 2, same=True)
    distance, row = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(others.numpy()).kneighbors()
    assert np.array_equal(own.row, row)


def test_copies_have_distance_zero_however_far_from_the_origin():
    others = normal(50, 4) + 1e6
    found = nearest(others[[7, 3]], others)
    assert found.row[:, 0].tolist() == [7, 3]
    assert found.distance[:, 0].tolist() == [0, 0]


def test_a_doubled_row_is_a_neighbour_but_a_row_is_not_its_own():
    x = torch.tensor([[0.0], [0.0], [5.0]])
    assert nearest(x, x, same=True).distance[:, 0].tolist() == [0, 0, 5]


def test_what_has_no_neighbours_is_refused():
    with pytest.raises(LikelyError, match="no 2 nearest among 1"):
        nearest(normal(3, 2), normal(2, 2), 2, same=True)
    with pytest.raises(LikelyError, match="must agree"):
        nearest(normal(3, 2), normal(2, 3))
    with pytest.raises(LikelyError, match="finite"):
        nearest(torch.full((1, 2), math.nan), normal(2, 2))
    assert nearest(normal(0, 2), normal(3, 2)).distance.shape == (0, 1)


# C_T ------------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 4), min_size=2, max_size=20), st.lists(st.integers(0, 4), min_size=2, max_size=20))
def test_mann_whitney_equals_scipys_with_ties(first, second):
    z = mann_whitney(torch.tensor(first).double(), torch.tensor(second).double())
    if len({*first, *second}) == 1:
        assert z == 0
        return
    p = mannwhitneyu(first, second, method="asymptotic", use_continuity=False).pvalue
    assert math.erfc(abs(z) / math.sqrt(2)) == pytest.approx(p, abs=1e-9)
    u = mannwhitneyu(first, second).statistic
    assert (z > 0) == (u > len(first) * len(second) / 2)


def test_under_the_null_the_statistic_is_standard_normal():
    """Generated and held-out rows of the same law: C_T over its stated error is N(0, 1), here in 400 draws."""
    train = normal(150, 2)
    z = []
    for seed in range(400):
        drawn = normal(160, 2, seed=1000 + seed)
        found = data_copying(train, drawn[:80], drawn[80:], cells=2)
        z.append(found.value / found.error)
    assert abs(np.mean(z)) < 3 / math.sqrt(400)
    assert np.std(z) == pytest.approx(1, abs=3 / math.sqrt(800))
    assert kstest(z, "norm").pvalue > 0.01


def test_copying_is_negative_and_underfitting_positive():
    train, test = normal(300, 3), normal(200, 3, seed=1)
    copies = train[:200] + 0.01 * normal(200, 3, seed=2)
    wide = 3 * normal(200, 3, seed=3)
    assert data_copying(train, test, copies).value < -8
    assert data_copying(train, test, wide).value > 5


def test_copying_within_one_cell_is_seen_in_that_cell():
    """Half of the data copied, half drawn too far away: the mean over everything would hide it."""
    centre = torch.tensor([10.0, 0.0])

    def law(n, seed):
        return normal(n, 2, seed=seed) + centre * (torch.arange(n)[:, None] % 2)

    train, test = law(400, 0), law(200, 1)
    wide = law(200, 2) + 2 * normal(200, 2, seed=3)
    fake = torch.where(torch.arange(200)[:, None] % 2 == 0, train[:200] + 1e-3, wide)
    found = data_copying(train, test, fake, cells=2)
    assert min(found.z) < -6
    assert max(found.z) > 3
    assert abs(found.value) < max(found.z)
    assert found.weight == [0.5, 0.5]
    fewer = data_copying(train, torch.cat([test[::2], test[1:50:2]]), fake, cells=2)  # 100 of one cell, 25 of the other
    assert sorted(fewer.weight) == [0.2, 0.8]
    assert fewer.value == pytest.approx(fewer.weight[0] * fewer.z[0] + fewer.weight[1] * fewer.z[1])
    assert fewer.error == pytest.approx(math.sqrt(0.2**2 + 0.8**2))


def test_cells_without_enough_rows_do_not_count():
    train = torch.cat([normal(50, 1), normal(50, 1) + 100])
    found = data_copying(train, train[::2] + 0.1, normal(60, 1, seed=1), cells=2)
    assert len(found.z) == 1
    with pytest.raises(LikelyError, match="draw more samples"):
        data_copying(train, train[::2], normal(10, 1), cells=2)
    with pytest.raises(LikelyError, match="3 cells"):
        data_copying(train[:2], train, train)


# Authenticity ---------------------------------------------------------------------------------------------------------


def test_authentic_by_hand():
    """Training rows 0, 1, 10: their own neighbours lie at 1, 1 and 9."""
    train = torch.tensor([[0.0], [1.0], [10.0]])
    fake = torch.tensor([[-0.5], [-2.0], [1.0], [18.0], [20.0]])
    assert authentic(train, fake).tolist() == [False, True, False, False, True]


def test_an_exact_copy_of_a_doubled_row_is_not_authentic():
    train = torch.tensor([[0.0], [0.0], [4.0]])
    assert authentic(train, torch.tensor([[0.0], [0.1]])).tolist() == [False, True]


# The copycat ----------------------------------------------------------------------------------------------------------


def test_a_copycat_that_a_distance_loves_is_caught():
    """Training rows, handed out: MMD finds them as good as real data; C_T and authenticity do not."""
    data = likely.data.load("digits")
    n = len(data.test)
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))
    copycat, honest = data.train.x[order[:n]], data.valid.x
    loved = sample_distances(data.space, data.test.x, copycat, training=data.train.x[order[n : 2 * n]])[0]
    assert loved["value"] < loved["protocol"]["floor"] + 3 * loved["protocol"]["standard_error"]
    caught = {r["metric"]: r for r in memorisation(data.space, data.train.x, data.test.x, copycat)}
    fine = {r["metric"]: r for r in memorisation(data.space, data.train.x, data.test.x, honest)}
    assert caught["data_copying"]["value"] < -10
    assert caught["data_copying"]["protocol"]["p_copying"] < 1e-9
    assert caught["authenticity"]["value"] == 0
    assert caught["copies"]["value"] == 1
    assert abs(fine["data_copying"]["value"]) < 3 * fine["data_copying"]["protocol"]["standard_error"]
    floor = fine["authenticity"]["protocol"]["floor"]
    assert fine["authenticity"]["value"] == pytest.approx(floor, abs=0.12)
    assert fine["copies"]["value"] == fine["copies"]["protocol"]["floor"] == 0
    assert json.loads(json.dumps(list(caught.values()))) == list(caught.values())


def test_a_noisy_copycat_is_caught_too():
    data = likely.data.load("digits")
    noise = torch.randint(-1, 2, (300, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    noisy = (data.train.x[:300].long() + noise).clamp(0, 16).to(torch.uint8)
    found = {r["metric"]: r for r in memorisation(data.space, data.train.x, data.test.x, noisy)}
    assert found["data_copying"]["value"] < -5
    assert found["authenticity"]["value"] < 0.1 < found["authenticity"]["protocol"]["floor"]
    assert found["copies"]["value"] == 0


def test_samples_are_shown_beside_their_nearest():
    data = likely.data.load("digits")
    fake = data.train.x[[5, 9]]
    shown = beside_nearest(data.space, fake, data.train.x, 2)
    assert shown.shape == (6, 1, 8, 8)
    assert torch.equal(shown[[0, 3]], fake)
    assert torch.equal(shown[[1, 4]], fake)
    assert not torch.equal(shown[2], shown[1])


def test_units_of_columns_change_nothing():
    space, units = Real((2,)), torch.tensor([1.0, 1000.0])
    sets = [normal(120, 2, seed=seed) for seed in range(3)]
    plain, scaled = (memorisation(space, *(x * u for x in sets)) for u in (torch.ones(2), units))
    for first, second in zip(plain, scaled, strict=True):
        assert first["value"] == pytest.approx(second["value"], abs=1e-6)
