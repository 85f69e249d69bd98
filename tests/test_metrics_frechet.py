"""The Frechet distance against closed forms, published check values and the textbook formula."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st

from likely.errors import LikelyError
from likely.evaluation.bootstrap import jackknife
from likely.evaluation.frechet import Moments, frechet_distance, frechet_error, frechet_infinity


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_moments(mean, covariance, n=500, seed=0):
    """Return rows whose sample mean and covariance are exactly these."""
    x = draw(n, len(mean), seed=seed)
    x = x - x.mean(0)
    whitened = torch.linalg.solve_triangular(torch.linalg.cholesky(x.T.cov()), x.T, upper=False).T
    covariance = torch.tensor(covariance, dtype=torch.float64)
    return whitened @ torch.linalg.cholesky(covariance).T + torch.tensor(mean, dtype=torch.float64)


def textbook(x, y):
    """|m1 - m2|^2 + tr(S1 + S2 - 2 sqrtm(S1 S2)) by scipy, as clean-fid and pytorch-fid have it."""
    (m1, s1), (m2, s2) = ((v.mean(0), np.cov(v, rowvar=False)) for v in (x.double().numpy(), y.double().numpy()))
    return float(((m1 - m2) ** 2).sum() + np.trace(s1 + s2 - 2 * scipy.linalg.sqrtm(s1 @ s2).real))


def test_published_value_of_compare_gan():
    real, fake = torch.ones(100, 2), 9 * torch.ones(100, 2)
    real[:50, 0], fake[50:, 0] = 2, 2
    distance = frechet_distance(real, fake)
    assert distance.value == pytest.approx(80 + 900 / 99, rel=1e-12)
    assert distance.means == pytest.approx(80)
    assert distance.covariances == pytest.approx(900 / 99)


def test_two_gaussians_by_the_closed_form():
    d, s, shift = 5, 1.7, 0.4
    x = with_moments([0.0] * d, np.eye(d))
    y = with_moments([shift] * d, s**2 * np.eye(d), seed=1)
    assert frechet_distance(x, y).value == pytest.approx(d * shift**2 + d * (1 - s) ** 2, rel=1e-10)


def test_covariances_that_do_not_commute():
    x = with_moments([0.0, 0.0], [[2, 1], [1, 2]])
    y = with_moments([0.0, 0.0], [[1, 0], [0, 3]], n=300, seed=1)
    assert frechet_distance(x, y).value == pytest.approx(8 - 2 * math.sqrt(14), abs=1e-10)


@given(st.integers(2, 12), st.integers(0, 10**6))
def test_agrees_with_the_matrix_square_root_and_is_symmetric(d, seed):
    x, y = draw(60, d, seed=seed), draw(40, d, seed=seed + 1) @ draw(d, d, seed=seed + 2) + 0.3
    value = frechet_distance(x, y).value
    assert value == pytest.approx(textbook(x, y), rel=1e-6, abs=1e-8)
    assert value == pytest.approx(frechet_distance(y, x).value, rel=1e-9, abs=1e-9)


def test_fewer_rows_than_columns_is_exact_and_finite():
    x, y = draw(4, 9), draw(6, 9, seed=1)
    a, b = ((v - v.mean(0)) / math.sqrt(len(v) - 1) for v in (x, y))
    nuclear = float(torch.linalg.svdvals(a @ b.T).sum())  # tr (S1 S2)^{1/2} from the rows themselves
    expected = (x.mean(0) - y.mean(0)).square().sum() + a.square().sum() + b.square().sum() - 2 * nuclear
    assert frechet_distance(x, y).value == pytest.approx(float(expected), rel=1e-12)
    random = np.random.RandomState(1)
    assert math.isfinite(frechet_distance(random.randn(4, 4), random.randn(4, 4)).value)


def test_one_singular_covariance_among_many_rows_is_exact():
    """The way by Cholesky factors, which uses its matrices up, is tried first and left."""
    x, y = draw(60, 4), draw(50, 4, seed=1)
    y = torch.cat([y, 2 * y[:, :2] + y[:, 2:]], 1) + 1
    x = torch.cat([x, draw(60, 2, seed=2)], 1)
    a, b = ((v - v.mean(0)) / math.sqrt(len(v) - 1) for v in (x, y))
    nuclear = float(torch.linalg.svdvals(a @ b.T).sum())
    expected = (x.mean(0) - y.mean(0)).square().sum() + a.square().sum() + b.square().sum() - 2 * nuclear
    for one, other in ((x, y), (y, x)):
        assert frechet_distance(one, other).value == pytest.approx(float(expected), rel=1e-11)


def test_arguments_are_left_as_they_are():
    x, y = draw(60, 5), draw(50, 5, seed=1)
    moments, rows = Moments.of(x), x.clone()
    scatter = moments.scatter.clone()
    first = frechet_distance(moments, Moments.of(y))
    assert first == frechet_distance(moments, Moments.of(y))
    assert torch.equal(moments.scatter, scatter)
    assert torch.equal(x, rows)


def test_identical_sets_are_at_zero_also_when_singular():
    for x in (draw(50, 6), draw(5, 40), torch.ones(10, 3), torch.cat([draw(50, 3), torch.zeros(50, 2)], 1)):
        assert frechet_distance(x, x).value == pytest.approx(0, abs=1e-10)


def test_constant_features():
    x, y = torch.ones(10, 3), 3 * torch.ones(7, 3)
    assert frechet_distance(x, y) == (12.0, 12.0, 0.0)
    assert frechet_distance(x, draw(20, 3)).covariances == pytest.approx(float(draw(20, 3).var(0).sum()))


def test_float32_rows_give_the_number_of_float64_rows():
    x, y = draw(100, 4).float() + 1000, draw(100, 4, seed=1).float() + 1000
    assert frechet_distance(x, y) == frechet_distance(x.double(), y.double())


def test_rows_in_any_order_give_the_same_number():
    x, y = draw(200, 5), draw(150, 5, seed=1)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(x[order], y).value == pytest.approx(frechet_distance(x, y).value, rel=1e-12)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_moments_of_batches_add_to_the_moments_of_all(sizes):
    x = draw(sum(sizes) + 2, 3) * 1e-3 + 1e6  # far from 0: sums of squares would lose everything
    total = Moments.of(x[:2])
    for part in x[2:].split(sizes):
        total = total + Moments.of(part)
    assert total.count == len(x)
    assert torch.allclose(total.mean, x.mean(0), rtol=1e-14)
    assert torch.allclose(total.covariance, x.T.cov(), rtol=1e-6, atol=1e-12)


def test_moments_stand_for_rows():
    x, y = draw(5000, 3), draw(100, 3, seed=1)  # more rows than one block
    assert frechet_distance(Moments.of(x), Moments.of(y)) == frechet_distance(x, y)
    assert torch.allclose(Moments.of(x).covariance, x.T.cov(), rtol=1e-12, atol=1e-15)


def test_what_cannot_be_measured_is_said():
    x = draw(5, 2)
    with pytest.raises(LikelyError, match="at least 2 rows"):
        frechet_distance(x[:1], x)
    with pytest.raises(LikelyError, match="rows of 2 and 3 numbers"):
        frechet_distance(x, draw(5, 3))
    with pytest.raises(LikelyError, match="row 3 of the set is not finite"):
        frechet_distance(x, x.index_fill(0, torch.tensor([3]), torch.nan))
    with pytest.raises(LikelyError, match="matrix of rows"):
        frechet_distance(x[0], x)
    with pytest.raises(LikelyError, match="rows without numbers"):
        frechet_distance(x[:, :0], x)


def test_numbers_whose_sum_overflows_are_still_numbers():
    large = torch.full((3, 2), 3e38)
    assert frechet_distance(large, large).value == 0


def test_null_level_of_two_equal_laws():
    d, n = 8, 2000
    values = [frechet_distance(draw(n, d, seed=2 * s), draw(n, d, seed=2 * s + 1)).value for s in range(30)]
    assert np.mean(values) == pytest.approx(2 * d / n + d * (d + 1) / (2 * n), rel=0.1)


def test_infinity_takes_away_the_bias_of_the_fakes():
    d, n = 8, 2000
    exact = with_moments([0.0] * d, np.eye(d), n=5000)
    plain, infinite = [], []
    for seed in range(10):
        fake = draw(n, d, seed=seed + 50)
        plain.append(frechet_distance(exact, fake).value)
        infinite.append(frechet_infinity(exact, fake, seed=seed).value)
    bias = d / n + d * (d + 1) / (4 * n)
    assert np.mean(plain) == pytest.approx(bias, rel=0.15)
    assert abs(np.mean(infinite)) < bias / 2  # the line is not quite one at 200 rows


def test_infinity_repeats_with_its_seed_and_shows_its_line():
    x, y = draw(300, 3), draw(400, 3, seed=1) * 1.5
    line = frechet_infinity(x, y, points=5, seed=3)
    assert line == frechet_infinity(x, y, points=5, seed=3)
    assert line.value != frechet_infinity(x, y, points=5, seed=4).value
    assert (line.sizes[0], line.sizes[-1]) == (40, 400)
    assert line.distances[-1] == pytest.approx(frechet_distance(x, y).value, rel=1e-10)
    with pytest.raises(LikelyError, match="at least 20"):
        frechet_infinity(x, y[:19])
    with pytest.raises(LikelyError, match="2 points"):
        frechet_infinity(x, y, points=1)


def test_error_by_influence_is_the_jackknife_and_the_scatter():
    def pairs(seed):
        return draw(300, 3, seed=2 * seed), draw(400, 3, seed=2 * seed + 1) @ torch.tensor(
            [[1.5, 0.4, 0], [0, 1, 0], [0, 0.2, 0.7]], dtype=torch.float64
        ) + 0.5

    x, y = pairs(0)
    error = frechet_error(x, y)
    assert error == pytest.approx(
        jackknife(lambda a, b: frechet_distance(a, b).value, x, y, groups=1000).error, rel=0.03
    )
    values = [frechet_distance(*pairs(seed)).value for seed in range(200)]
    assert np.std(values) == pytest.approx(error, rel=0.2)


def test_error_does_not_exist_for_singular_covariances():
    assert frechet_error(draw(4, 9), draw(40, 9)) is None
    assert frechet_error(torch.ones(10, 3), draw(40, 3)) is None


def test_a_column_that_is_constant_in_one_set_adds_its_variance_alone():
    x, y = draw(60, 4), draw(50, 4, seed=1)
    dead = torch.cat([x, torch.full((60, 1), 3.0)], 1), torch.cat([y, draw(50, 1, seed=2)], 1)
    extra = frechet_distance(dead[0][:, 4:], dead[1][:, 4:])
    assert extra.covariances == pytest.approx(float(dead[1][:, 4].var()))
    alone = frechet_distance(x[:, :3], y[:, :3])
    together = frechet_distance(torch.cat([x[:, :3], dead[0][:, 4:]], 1), torch.cat([y[:, :3], dead[1][:, 4:]], 1))
    assert together.value == pytest.approx(alone.value + extra.value, rel=1e-10)
