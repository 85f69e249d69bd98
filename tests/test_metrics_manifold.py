"""Precision, recall, density and coverage against the definition, prdc, and what is known of equal laws."""

import contextlib
import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from likely.errors import LikelyError
from likely.evaluation import manifold as module
from likely.evaluation.manifold import expected_coverage, manifold


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def values(result):
    return tuple(share.value for share in result)


def definition(x, y, k, strict=False):
    """All distances by differences, every ball by its definition."""
    x, y = x.double(), y.double()

    def squared(a, b):
        return torch.stack([(row - b).square().sum(1) for row in a])

    def radii(a):
        return torch.sort(squared(a, a) + torch.diag(torch.full((len(a),), torch.inf)))[0][:, k - 1]

    between = squared(x, y)
    inside = torch.lt if strict else torch.le
    real, fake = inside(between, radii(x)[:, None]), inside(between, radii(y)[None])
    shares = real.any(0), fake.any(1), real.sum(0).double() / k, real.any(1)
    return tuple(float(share.double().mean()) for share in shares)


@given(st.integers(0, 10**6), st.integers(1, 6), st.booleans())
def test_is_the_definition(seed, k, strict):
    x, y = draw(40, 3, seed=seed), draw(30, 3, seed=seed + 1) * 1.2 + 0.2
    assert values(manifold(x, y, k, strict=strict)) == pytest.approx(definition(x, y, k, strict), abs=1e-12)


@given(st.integers(0, 10**6), st.integers(1, 4), st.booleans())
def test_is_the_definition_where_many_distances_are_equal(seed, k, strict):
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randint(3, (n, 3), generator=generator).float() / 255 for n in (60, 50))
    assert values(manifold(x, y, k, strict=strict)) == pytest.approx(definition(x, y, k, strict), abs=1e-12)


def test_is_the_definition_over_many_blocks_and_far_from_zero(monkeypatch):
    monkeypatch.setattr(module, "ROWS", 16)
    monkeypatch.setattr(module, "NUMBERS", 64)
    for shift, scale in ((0.0, 1.0), (1e5, 1.0), (0.0, 1e25), (0.0, 1e-25)):
        x, y = (draw(70, 8) + shift) * scale, (draw(55, 8, seed=1) + shift) * scale
        assert values(manifold(x, y, 3)) == pytest.approx(definition(x, y, 3), abs=1e-12)


def test_rounding_of_float32_products_decides_nothing():
    x, y = draw(200, 4) * 1e-4, draw(200, 4, seed=1) * 1e-4  # a far row makes float32 products useless for the others
    x[0], y[0] = 1.0, -1.0
    assert values(manifold(x, y, 3)) == pytest.approx(definition(x, y, 3), abs=1e-12)


def test_block_size_changes_nothing(monkeypatch):
    x, y = draw(300, 5), draw(250, 5, seed=1)
    whole = manifold(x, y)
    monkeypatch.setattr(module, "ROWS", 37)
    assert manifold(x, y) == whole


def test_agrees_with_prdc():
    prdc = pytest.importorskip("prdc")
    for n, m, d, k in ((300, 400, 5, 5), (900, 700, 64, 3)):
        x, y = draw(n, d), draw(m, d, seed=1) * 0.9 + 0.1
        with contextlib.redirect_stdout(io.StringIO()):
            theirs = prdc.compute_prdc(x.numpy(), y.numpy(), k)
        ours = manifold(x, y, k, strict=True)
        assert {name: getattr(ours, name).value for name in theirs} == pytest.approx(theirs, abs=1e-12)


def test_equal_laws_in_many_dimensions():
    results = np.mean([values(manifold(draw(500, 50, seed=2 * s), draw(500, 50, seed=2 * s + 1))) for s in range(8)], 0)
    assert results[0] == pytest.approx(results[1], abs=0.05)
    assert results[2] == pytest.approx(1, abs=0.1)
    assert results[3] == pytest.approx(expected_coverage(500, 500), abs=0.01)


def test_expected_coverage():
    assert [round(expected_coverage(10_000, 10_000, k), 4) for k in (3, 5, 10)] == [0.875, 0.9688, 0.999]
    for n, m, k in ((60, 40, 2), (30, 90, 4)):
        seen = [manifold(draw(n, 2, seed=2 * s), draw(m, 2, seed=2 * s + 1), k).coverage.value for s in range(300)]
        assert np.mean(seen) == pytest.approx(expected_coverage(n, m, k), abs=4 * np.std(seen) / 300**0.5)


def test_precision_is_not_recall():
    real = torch.cat([draw(100, 2), draw(100, 2, seed=1) + 50])  # two modes, of which the fakes have one
    one_mode = manifold(real, draw(200, 2, seed=2))
    assert one_mode.precision.value > 0.9
    assert one_mode.recall.value < 0.6
    assert one_mode.coverage.value < 0.6
    swapped = manifold(draw(200, 2, seed=2), real)
    assert (swapped.precision, swapped.recall) == (one_mode.recall, one_mode.precision)


def test_rows_that_coincide():
    ones = torch.ones(20, 3)
    assert values(manifold(ones, ones)) == (1, 1, 4, 1)
    assert values(manifold(ones, ones, strict=True)) == (0, 0, 0, 0)
    x = draw(100, 3)
    assert values(manifold(x, x))[:2] == (1, 1)
    assert manifold(x, x).coverage.value == 1
    collapsed = manifold(x, x[:1].repeat(100, 1))
    assert collapsed.precision.value == 1
    assert collapsed.coverage.value < 0.2
    assert collapsed.recall.value == 0.01  # balls of radius 0 hold the repeated row alone


def test_float32_order_and_scale_change_nothing():
    x, y = draw(150, 6).float(), draw(120, 6, seed=1).float()
    result = manifold(x, y)
    assert manifold(x.double(), y.double()) == result
    assert values(manifold(x.flip(0), y.flip(0))) == pytest.approx(values(result), abs=1e-12)
    assert values(manifold(x * 4096, y * 4096)) == values(result)


def test_errors_are_those_of_means():
    x, y = draw(100, 2), draw(150, 2, seed=1) + 1
    precision = manifold(x, y).precision
    share = precision.value
    assert precision.error == pytest.approx((share * (1 - share) / 149) ** 0.5)


def test_what_cannot_be_measured_is_said():
    x = draw(6, 2)
    with pytest.raises(LikelyError, match="the fake set has 5 rows; at least 6"):
        manifold(x, x[:5])
    with pytest.raises(LikelyError, match="k must be at least 1"):
        manifold(x, x, 0)
    with pytest.raises(LikelyError, match="row 2 of the real set is not finite"):
        manifold(x.index_fill(0, torch.tensor([2]), torch.nan), x)
