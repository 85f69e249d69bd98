"""Distances of tables, column by column and pair by pair, against scipy and closed forms."""

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from likely.errors import LikelyError
from likely.evaluation.columns import column_distances, kolmogorov_smirnov, pair_distances, total_variation


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 5), st.integers(0, 10**6))
def test_columns_of_numbers_are_those_of_scipy(n, m, levels, seed):
    x, y = (draw(n, 2, seed=seed) * levels).round(), (draw(m, 2, seed=seed + 1) * levels).round() + 1  # with ties
    for column in column_distances(x, y):
        a, b = x[:, column.column].numpy(), y[:, column.column].numpy()
        assert column.distance == pytest.approx(scipy.stats.ks_2samp(a, b, method="exact").statistic)
        assert column.wasserstein == pytest.approx(scipy.stats.wasserstein_distance(a, b), rel=1e-9, abs=1e-12)


def test_a_shift_has_its_size():
    x = draw(300, 2)
    moved = column_distances(x, x + torch.tensor([0.0, 2.5]))
    assert (moved[0].distance, moved[0].wasserstein) == (0, 0)
    assert moved[1].wasserstein == pytest.approx(2.5)
    assert kolmogorov_smirnov(torch.zeros(3), torch.ones(2)) == 1


def test_columns_of_categories():
    x = torch.tensor([[0.0], [0], [1], [2]])
    y = torch.tensor([[0.0], [3], [3], [3]])
    (column,) = column_distances(x, y, categorical=[0])
    assert column == (0, True, 0.75, None, 0)
    assert total_variation(torch.tensor([0, 1]), torch.tensor([0, 1, 1, 0])) == 0


def test_total_variation_of_equal_laws_is_as_documented():
    generator = torch.Generator().manual_seed(0)
    k, n = 20, 500
    values = [total_variation(*torch.randint(k, (2, n), generator=generator)) for _ in range(100)]
    assert np.mean(values) == pytest.approx((k / (np.pi * n)) ** 0.5, rel=0.05)


def test_missing_values_are_left_out_and_counted():
    x, y = draw(50, 2), draw(40, 2, seed=1)
    holes = torch.cat([x, torch.full((50, 2), torch.nan)])
    for column, whole in zip(column_distances(holes, y), column_distances(x, y), strict=True):
        assert column.missing == pytest.approx(-0.5)
        assert column._replace(missing=0.0) == whole
    assert pair_distances(holes, y).value == pytest.approx(pair_distances(x, y).value)
    with pytest.raises(LikelyError, match="column 0 has only missing values in the fake table"):
        column_distances(x, torch.full((3, 2), torch.nan))


def test_pairs_of_numbers_are_differences_of_correlations():
    x, y = draw(200, 3) @ draw(3, 3, seed=5), draw(100, 3, seed=1)
    r, s = (np.corrcoef(v.numpy(), rowvar=False) for v in (x, y))
    pairs = pair_distances(x, y)
    assert np.allclose(pairs.distances.numpy(), abs(r - s) / 2)
    assert pairs.value == pytest.approx(abs(r - s)[np.triu_indices(3, 1)].mean() / 2)
    assert pair_distances(x, -x).value == 0  # correlations keep their sign when both columns turn
    assert pair_distances(x[:, :2], x[:, :2] * torch.tensor([1, -1])).value == pytest.approx(abs(r[0, 1]))


def test_shuffled_columns_are_seen_by_pairs_only():
    x = torch.cat([draw(300, 1), draw(300, 1)], 1)
    shuffled = torch.stack([x[:, 0], x[torch.randperm(300, generator=torch.Generator().manual_seed(0)), 1]], 1)
    assert [c.distance for c in column_distances(x, shuffled)] == [0, 0]
    assert pair_distances(x, shuffled).value > 0.4
    labels = torch.cat([(x[:, :1] > 0).double(), x[:, 1:]], 1)
    broken = torch.stack([labels[:, 0], shuffled[:, 1]], 1)
    assert pair_distances(labels, broken, categorical=[0]).value > 0.4
    both = (labels > 0).double()
    assert pair_distances(both, (broken > 0).double(), categorical=[0, 1]).value > 0.4
    for table, kinds in ((x, []), (labels, [0]), (both, [0, 1])):
        assert pair_distances(table, table, categorical=kinds).value == 0


def test_order_constants_and_precision():
    x, y = draw(60, 3).float(), draw(50, 3, seed=1).float()
    x[:, 2] = 0.1
    single, double = column_distances(x, y), column_distances(x.double(), y.double())
    assert single == double == column_distances(x.flip(0), y.flip(0))
    pairs = pair_distances(x, y).distances
    assert pairs[0, 2] == pytest.approx(abs(float(np.corrcoef(y[:, 0], y[:, 2])[0, 1])) / 2)
    assert torch.allclose(pairs, pair_distances(x.flip(0), y.flip(0)).distances)
    assert column_distances(x[:1], x[:1])[0][2:4] == (0, 0)


def test_what_is_no_pair_of_tables_is_said():
    x = draw(5, 2)
    for a, b in ((x, x[:, :1]), (x[:0], x), (x[0], x[0])):
        with pytest.raises(LikelyError, match="two tables with the same columns"):
            column_distances(a, b)
    with pytest.raises(LikelyError, match="infinite"):
        column_distances(x, x / 0)
    with pytest.raises(LikelyError, match="no column 2"):
        pair_distances(x, x, categorical=[2])
    with pytest.raises(LikelyError, match="at least two columns"):
        pair_distances(x[:, :1], x[:, :1])
    holes = x.clone()
    holes[:3, 0], holes[3:, 1] = torch.nan, torch.nan
    with pytest.raises(LikelyError, match="columns 0 and 1 are never both known in the real table"):
        pair_distances(holes, x)
