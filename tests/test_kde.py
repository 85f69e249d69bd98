"""Kernel density estimates against scikit-learn, leave-one-out written out, and enumeration of the levels."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KernelDensity

import likely
from likely.data.parts import Part
from likely.models import kde

seeds = st.integers(0, 2**31)


def reals(n, size, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, size, generator=generator, dtype=torch.float64)
    return scale * (x + 3 * (torch.rand(n, 1, generator=generator) < 0.5))


def fitted(space, x, **numbers):
    model = likely.build("kde", space, **numbers)
    for _ in likely.fit(model, Part(x)):
        pass
    return model


@given(st.integers(2, 60), st.integers(1, 4), seeds, st.sampled_from([0.1, 0.5, 2.0]))
def test_the_density_is_that_of_scikit_learn(n, size, seed, bandwidth):
    x = reals(n, size, seed) * torch.tensor([1.0, 100.0, 0.01, 5.0])[:size] + 7
    model = fitted(likely.Real((size,)), x, bandwidth=bandwidth)
    scale = x.std(0, unbiased=False)
    oracle = KernelDensity(bandwidth=bandwidth).fit((x / scale).numpy())
    ask = x[:10] + 0.3 * scale
    expected = oracle.score_samples((ask / scale).numpy()) - float(scale.log().sum())
    assert model.log_prob(ask).numpy() == pytest.approx(expected, abs=1e-7)


@settings(max_examples=4)
@given(st.integers(5, 16), st.integers(1, 3), seeds)
def test_the_bandwidth_is_the_best_by_leaving_one_out(n, size, seed):
    """Every bandwidth of the grid, scored by scikit-learn on n fits of n - 1 rows."""
    x = reals(n, size, seed)
    model = fitted(likely.Real((size,)), x)
    standard = ((x - x.mean(0)) / x.std(0, unbiased=False)).numpy()
    scores = []
    for h in model.grid.tolist():
        others = (KernelDensity(bandwidth=h).fit(np.delete(standard, i, 0)) for i in range(n))
        scores.append(sum(one.score_samples(standard[i : i + 1])[0] for i, one in enumerate(others)))
    assert float(model.bandwidth) == model.grid[int(np.argmax(scores))]
    stats = model.e_step(x)
    units = n * float(x.std(0, unbiased=False).log().sum())
    assert stats["left_out"].numpy() == pytest.approx(np.array(scores) - units, abs=1e-6)


def test_the_bandwidth_is_not_at_the_edge_of_what_is_tried():
    for space, x in (
        (likely.Real((2,)), reals(200, 2)),
        (likely.Binary((8,)), (torch.rand(200, 8, generator=torch.Generator().manual_seed(0)) < 0.3).byte()),
        (likely.Finite((3,), 40), (reals(200, 3) * 4 + 15).clamp(0, 39).byte()),
    ):
        model = fitted(space, x)
        place = int((model.grid == model.bandwidth).nonzero()[0, 0])
        assert 0 < place < len(model.grid) - 1


def test_more_rows_make_narrower_kernels():
    few, many = (float(fitted(likely.Real((1,)), reals(n, 1)).bandwidth) for n in (30, 600))
    assert many < few
    x, space = reals(600, 1), likely.Real((1,))
    own = fitted(space, x).log_prob(reals(300, 1, 5)).mean()
    worse = [fitted(space, x, bandwidth=h).log_prob(reals(300, 1, 5)).mean() for h in (0.005, 1.0)]
    assert all(float(own) > float(one) for one in worse)


@given(seeds, st.sampled_from([0.3, 1.0, 3.0]), st.booleans())
def test_on_levels_it_is_the_mean_of_the_kernels(seed, bandwidth, ordered):
    space = likely.Finite((3,), 4, ordered=ordered)
    x = space.random(9, torch.Generator().manual_seed(seed))
    model = fitted(space, x, bandwidth=bandwidth)
    level = np.arange(4)
    difference = level[:, None] - level
    table = np.exp(-((difference if ordered else difference != 0) ** 2) / (2 * bandwidth**2))
    table /= table.sum(1, keepdims=True)
    points, rows = space.enumerate().long().numpy(), x.long().numpy()
    expected = np.mean([table[row, points].prod(1) for row in rows], 0)
    assert model.log_prob(space.enumerate()).exp().numpy() == pytest.approx(expected, abs=1e-10)


def test_duplicates_leave_out_one_copy_only():
    space = likely.Binary((2,))
    x = torch.tensor([[0, 0], [0, 0], [1, 1]], dtype=torch.uint8)
    model = fitted(space, x, bandwidth=1.0)
    flip = math.exp(-0.5) / (1 + math.exp(-0.5))
    near, far = (1 - flip) ** 2, flip**2
    expected = 2 * math.log((near + far) / 2) + math.log(far)
    assert float(model.e_step(x)["left_out"][0]) == pytest.approx(expected)


def test_missing_values_are_integrated_out_and_rows_with_them_carry_no_kernel():
    x = reals(50, 2)
    holes = x.clone()
    holes[::5, 1] = torch.nan
    model = fitted(likely.Real((2,)), holes)
    assert torch.equal(model.rows, x[torch.arange(50) % 5 != 0])
    only_first = KernelDensity(bandwidth=float(model.bandwidth)).fit((model.rows / model.scale).numpy()[:, :1])
    ask = torch.stack([x[:, 0], torch.full((50,), torch.nan)], 1)
    expected = only_first.score_samples((x / model.scale).numpy()[:, :1]) - math.log(float(model.scale[0]))
    assert model.log_prob(ask).numpy() == pytest.approx(expected, abs=1e-8)
    with pytest.raises(likely.LikelyError, match="every row has missing values"):
        fitted(likely.Real((2,)), torch.tensor([[1.0, math.nan], [math.nan, 1.0]]))


def test_samples_of_ordered_levels_follow_their_kernel():
    model = fitted(likely.Finite((), 256), torch.tensor([255, 0]), bandwidth=3.0)
    drawn = model.sample(10_000, seed=0)
    share = torch.bincount(drawn.long(), minlength=256) / 10_000
    expected = model.log_prob(torch.arange(256)).exp()
    assert float((share - expected).abs().max()) < 0.015
    assert int(drawn[drawn < 128].max()) < 20


def test_a_large_offset_costs_nothing():
    x = reals(200, 2)
    near, far = fitted(likely.Real((2,)), x), fitted(likely.Real((2,)), x + 1e8)
    assert far.log_prob(x + 1e8).numpy() == pytest.approx(near.log_prob(x).numpy(), abs=1e-4)


@pytest.mark.parametrize(
    "x",
    [torch.ones(1, 3), torch.ones(20, 3), torch.eye(3).repeat(5, 1), torch.eye(4, 1000)],
    ids=["one row", "constant columns", "duplicates", "a thousand columns"],
)
def test_degenerate_data_end_in_a_sensible_fit(x):
    model = fitted(likely.Real((x.shape[1],)), x)
    assert bool(model.log_prob(x).isfinite().all())
    assert float(model.bandwidth) > 0


def test_the_kernels_are_at_most_so_many_rows():
    model = fitted(likely.Real((2,)), reals(300, 2), kernels=100)
    assert model.rows.shape == (100, 2)
    assert {tuple(row) for row in model.rows.tolist()} <= {tuple(row) for row in reals(300, 2).tolist()}


def test_bad_numbers_are_one_line():
    cases = {
        "bandwidth must be a number, 0": lambda: kde.build(likely.Real((2,)), bandwidth=-1.0),
        "kernels must be 1 or more": lambda: kde.build(likely.Real((2,)), kernels=0),
        "takes Real or Binary or Finite": lambda: kde.build(likely.Sequence(step=likely.Real(()), length=3)),
        "nothing to learn from": lambda: (m := kde.build(likely.Real((2,)))).m_step(
            m.e_step(torch.zeros(2, 2), weight=torch.zeros(2))
        ),
    }
    for message, ask in cases.items():
        with pytest.raises(likely.LikelyError, match=message) as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_what_is_beyond_all_numbers_is_one_line():
    with pytest.raises(likely.LikelyError, match="variances overflow"):
        fitted(likely.Real((2,)), reals(50, 2) * 1e200)
    model = fitted(likely.Real((2,)), reals(50, 2))
    far = torch.tensor([[0.0, 0.0], [1e200, 0.0]], dtype=torch.float64)
    with pytest.raises(likely.LikelyError, match="cannot complete row 1: what is known there is too far"):
        model.complete(far, torch.tensor([True, False]), seed=0)
