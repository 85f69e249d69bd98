"""Toys: the densities are exact, and the samples follow them."""

import math
from functools import cache

import pytest
import torch

from likely.data import load
from likely.data.toys import TOYS, Squares, toy
from likely.errors import LikelyError


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


# Squares --------------------------------------------------------------------------------------------------------------


def test_the_factors_of_squares_are_independent_and_uniform():
    """Counts of all 768 combinations against equal probabilities: Pearson's chi-squared."""
    from scipy.stats import chi2

    _, factors = Squares().sample(20_000, torch.Generator().manual_seed(0))
    sizes = torch.tensor(Squares().factors.sizes)
    assert sizes.tolist() == [8, 8, 3, 4]
    cell = ((factors[:, 0].long() * 8 + factors[:, 1]) * 3 + factors[:, 2]) * 4 + factors[:, 3]
    counts = cell.bincount(minlength=768).double()
    assert len(counts) == 768
    assert float(((counts - 20_000 / 768).square() / (20_000 / 768)).sum()) < chi2.ppf(1 - 1e-4, 767)


def test_a_square_is_drawn_where_its_factors_say():
    (picture,) = Squares().draw(torch.tensor([[0, 7, 1, 3]]))  # column 4, row 11, side 4, the brightest
    assert picture.shape == (1, 16, 16)
    lit = picture[0].nonzero()
    assert (lit.min(0).values.tolist(), lit.max(0).values.tolist()) == ([9, 2], [12, 5])
    assert picture.unique().tolist() == [0, 255]


def test_the_law_of_squares_is_normalised():
    squares = Squares()
    every = squares.draw(torch.cartesian_prod(*(torch.arange(size) for size in squares.factors.sizes)))
    assert len(every.flatten(1).unique(dim=0)) == 768  # no factor hides another
    assert squares.log_prob(every).exp().sum().item() == pytest.approx(1, rel=1e-5)
    every[0, 0, 0, 0] = 1
    assert squares.log_prob(every[:1]).item() == -math.inf


def test_loaded_squares_know_factors_and_density():
    data = load("squares")
    assert data.cond == Squares().factors
    assert data.cond.contains(data.train.cond)
    assert Squares().draw(data.test.cond).equal(data.test.x)
    assert data.true_log_prob(data.test.x[:10]).tolist() == pytest.approx([-math.log(768)] * 10, rel=1e-5)
    assert load(**data.source).fingerprint == data.fingerprint
    assert load("squares", cond="none").train.cond is None
    assert load("squares", view="reals").true_log_prob is None
    with pytest.raises(LikelyError, match="Did you mean 'label'"):
        load("squares", cond="labels")
