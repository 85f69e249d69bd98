"""The kernel inception distance against closed forms, an independent formula, and its two protocols."""

import numpy as np
import pytest
import torch

from likely.errors import LikelyError
from likely.evaluation.kid import kernel_inception_distance, kernel_inception_subsets
from likely.evaluation.two_sample import gaussian, kernel_distance, mmd, polynomial


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def textbook(x, y):
    """The unbiased estimate as torch-fidelity has it, in numpy."""
    x, y = x.numpy(), y.numpy()
    xx, yy, xy = ((a @ b.T / x.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    n, m = len(x), len(y)
    return (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1)) - 2 * xy.mean()


def test_agrees_with_the_textbook_at_any_sizes():
    for n, m, d in ((2, 3, 1), (40, 50, 7), (1500, 1001, 5)):
        x, y = draw(n, d), draw(m, d, seed=1) + 0.2
        assert kernel_inception_distance(x, y).value == pytest.approx(textbook(x, y), rel=1e-9, abs=1e-11)


@pytest.mark.parametrize(("d", "a", "expected"), [(1, 1.0, 22.0), (64, 4.0, 0.202850)])
def test_two_gaussians_by_the_closed_form(d, a, expected):
    closed = 3 * a / d + 6 * a**2 / d**2 * 0.5 + 3 * a / d**2 + a**3 / d**3 + 6 * a**2 / d**3 + 6 * a / d**3
    assert closed == pytest.approx(expected, rel=1e-5)
    shift = torch.zeros(d, dtype=torch.float64)
    shift[0] = a**0.5
    value, error = kernel_inception_distance(draw(6000, d), draw(6000, d, seed=1) + shift)
    assert error is not None
    assert abs(value - expected) < 3 * error
    assert error < 0.1 * expected


def test_gaussian_kernel_by_the_closed_form():
    d, s2, a = 2, 2.0, 1.0
    closed = 2 * (s2 / (s2 + 2)) ** (d / 2) * (1 - np.exp(-a / (2 * (s2 + 2))))
    assert closed == pytest.approx(0.117503, abs=1e-6)
    value, error = kernel_distance(draw(3000, d), draw(3000, d, seed=1) + torch.tensor([1.0, 0.0]), gaussian(s2**0.5))
    assert error is not None
    assert abs(value - closed) < 3 * error
    assert error < 0.06 * closed


def test_float32_rows_give_the_number_of_float64_rows():
    x, y = draw(700, 50).float(), (draw(600, 50, seed=1) + 0.1).float()
    single, double = kernel_inception_distance(x, y), kernel_inception_distance(x.double(), y.double())
    assert single.value == pytest.approx(double.value, abs=1e-7 * float(polynomial(x, x).mean()))
    assert single.error == pytest.approx(double.error, rel=1e-5)


def test_unbiased_at_every_size_and_never_clipped():
    values = [kernel_inception_distance(draw(20, 3, seed=2 * s), draw(20, 3, seed=2 * s + 1)).value for s in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 20
    assert min(values) < 0


def test_error_is_the_scatter_of_the_estimate():
    results = [
        kernel_inception_distance(draw(100, 3, seed=2 * s), draw(150, 3, seed=2 * s + 1) + 0.7) for s in range(200)
    ]
    assert np.std([r.value for r in results]) == pytest.approx(np.mean([r.error for r in results]), rel=0.15)


def test_one_subset_of_all_rows_is_the_whole_set():
    x, y = draw(60, 4), draw(60, 4, seed=1) + 0.3
    whole = kernel_inception_subsets(x, y, subsets=1, size=60)
    assert whole.value == pytest.approx(kernel_inception_distance(x, y).value, rel=1e-10)
    assert whole.spread == 0


def test_subsets_centre_on_the_whole_set_and_repeat_with_their_seed():
    x, y = draw(500, 4), draw(400, 4, seed=1) + 0.5
    subsets = kernel_inception_subsets(x, y, subsets=200, size=50, seed=1)
    assert subsets == kernel_inception_subsets(x, y, subsets=200, size=50, seed=1)
    assert subsets != kernel_inception_subsets(x, y, subsets=200, size=50, seed=2)
    assert subsets.value == pytest.approx(kernel_inception_distance(x, y).value, abs=4 * subsets.spread / 200**0.5)


def test_order_and_constants():
    x, y = draw(80, 4), draw(90, 4, seed=1)
    value, error = kernel_inception_distance(x, y)
    assert kernel_inception_distance(x.flip(0), y.flip(0)) == pytest.approx((value, error), rel=1e-10)
    ones = torch.ones(10, 4)
    assert kernel_inception_distance(ones, ones) == (0.0, 0.0)
    assert kernel_inception_distance(ones, 0 * ones).value == 8 + 1 - 2
    assert mmd(x, x).value < 0  # a set is nearer to itself than equal laws are: the diagonal is missing


def test_what_cannot_be_measured_is_said():
    x = draw(5, 2)
    with pytest.raises(LikelyError, match="at least 2 are needed"):
        kernel_inception_distance(x[:1], x)
    with pytest.raises(LikelyError, match="the real set has 5 rows; at least 1000"):
        kernel_inception_subsets(x, x)
    with pytest.raises(LikelyError, match="not finite"):
        kernel_inception_distance(x, x / 0)
    with pytest.raises(LikelyError, match="at least one subset"):
        kernel_inception_subsets(x, x, size=1)
