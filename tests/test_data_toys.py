"""Toys: the densities are exact, and the samples follow them."""

import math
from functools import cache

import pytest
import torch

from likely.data import load
from likely.data.toys import TOYS, toy


@cache
def _cells(name):
    """The probability of each unit cell of [-6, 6]^2, (12, 12)."""
    fine = (torch.arange(240, dtype=torch.float64) + 0.5) / 20 - 6
    p = torch.cat([toy(name).log_prob(torch.cartesian_prod(m[None], fine)) for m in fine]).exp() / 400
    return p.reshape(12, 20, 12, 20).sum((1, 3))


@pytest.mark.parametrize("name", TOYS)
def test_density_integrates_to_one(name):
    """The midpoint rule on [-6, 6]^2 with step 1/20, half the narrowest Gaussian; the board's edges are cell edges."""
    assert _cells(name).sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", TOYS)
def test_samples_follow_the_density(name):
    """Counts in unit cells against the cells' probabilities by quadrature: Pearson's chi-squared."""
    from scipy.stats import chi2

    n = 10_000
    x = toy(name).sample(n, torch.Generator().manual_seed(0))
    expected = n * _cells(name)
    cell = (x.double() + 6).floor().long()
    counts = torch.zeros(12, 12, dtype=torch.float64)
    counts.index_put_((cell[:, 0], cell[:, 1]), torch.ones(n, dtype=torch.float64), accumulate=True)
    big = expected > 5
    statistic = ((counts - expected).square() / expected)[big].sum()
    assert counts[~big].sum() <= expected[~big].sum() + 5 * expected[~big].sum().sqrt() + 5
    assert statistic.item() < chi2.ppf(1 - 1e-4, int(big.sum()))


def test_closed_forms():
    origin = torch.zeros(1, 2, dtype=torch.float64)
    # eight Gaussians of scale 0.2 at distance 2 from the origin
    assert toy("ring").log_prob(origin).item() == pytest.approx(-50 - math.log(2 * math.pi * 0.04), abs=1e-5)
    board = toy("checkerboard").log_prob(torch.tensor([[0.5, 0.5], [2.5, 0.5], [9.0, 0.0], [-0.5, -0.5]]))
    assert board.tolist() == pytest.approx([-math.log(32), -math.inf, -math.inf, -math.log(32)])


@pytest.mark.parametrize("name", TOYS)
def test_loaded_toys_know_their_density(name):
    data = load(name)
    assert data.space.contains(data.train.x)
    score = data.true_log_prob(data.test.x)
    assert score.shape == (10_000,)
    assert score.isfinite().all()
    assert not data.train.x[:100].equal(data.test.x[:100])
    assert load(name, seed=1).fingerprint != data.fingerprint
