"""Independent entries against counting by hand."""

import math

import numpy as np
import pytest
import torch

import likely
from likely.errors import LikelyError
from likely.families import criteria
from likely.models import bernoulli


def fitted(space, x, pseudo_count=1.0, **given):
    model = bernoulli.build(space, pseudo_count=pseudo_count)
    model.m_step(model.e_step(x, **given))
    return model


def test_too_many_cells_are_refused_before_they_are_made():
    with pytest.raises(LikelyError, match="cells, more than"):
        bernoulli.Bernoulli(likely.Finite((3,), 10**9))


def test_bits_are_the_observed_frequencies():
    x = torch.tensor([[0, 1], [1, 1], [0, 1], [0, 1]], dtype=torch.uint8)
    model = fitted(likely.Binary((2,)), x, pseudo_count=0.0)
    assert model.probabilities[:, 1].tolist() == pytest.approx([0.25, 1.0])
    assert model.log_prob([[1, 1], [0, 0]]).tolist() == pytest.approx([math.log(0.25), -math.inf])


def test_the_imaginary_row_is_spread_over_the_levels():
    x = torch.zeros(9, 1, dtype=torch.uint8)
    model = fitted(likely.Finite((1,), 5), x, pseudo_count=1.0)
    assert model.probabilities[0].tolist() == pytest.approx([(9 + 0.2) / 10, *[0.2 / 10] * 4])


def test_the_fit_is_the_most_likely_one():
    """No table that is a little off scores higher."""
    torch.manual_seed(0)
    space = likely.Finite((2, 2), 3)
    x = space.random(50)
    model = fitted(space, x, pseudo_count=0.0)
    best = float(model.log_prob(x).sum())
    table = model.table.clone()
    for _ in range(20):
        model.table.copy_((table + 0.02 * torch.randn_like(table)).log_softmax(1))
        assert float(model.log_prob(x).sum()) < best


def test_missing_entries_do_not_count():
    x = torch.tensor([[0, 1], [1, 1], [1, 0]], dtype=torch.uint8)
    known = torch.tensor([[True, True], [True, False], [False, True]])
    model = fitted(likely.Binary((2,)), x, pseudo_count=0.0, known=known)
    assert model.probabilities[:, 1].tolist() == pytest.approx([0.5, 0.5])
    unseen = fitted(likely.Binary((2,)), x, pseudo_count=0.0, known=torch.tensor([True, False]))
    assert unseen.probabilities[1].tolist() == pytest.approx([0.5, 0.5])


def test_bytes_at_mnist_size_agree_with_numpy():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (300, 1, 28, 28)).astype(np.uint8)
    model = fitted(likely.Finite((1, 28, 28)), x)
    counts = np.stack([(x == level).sum(0) for level in range(256)], -1)
    table = np.log((counts + 1 / 256) / 301)
    expected = np.take_along_axis(table[None].repeat(5, 0), x[:5, ..., None].astype(int), -1).sum((1, 2, 3, 4))
    assert model.log_prob(x[:5]).numpy() == pytest.approx(expected, rel=1e-5)


def test_bad_numbers_are_one_line():
    with pytest.raises(likely.LikelyError, match="pseudo_count must be"):
        bernoulli.build(likely.Binary((2,)), pseudo_count=-1.0)
    with pytest.raises(likely.LikelyError, match="nothing to learn from"):
        fitted(likely.Binary((2,)), torch.zeros(2, 2, dtype=torch.uint8), weight=torch.zeros(2))
    with pytest.raises(likely.LikelyError, match="takes Binary or Finite, not Real"):
        bernoulli.build(likely.Real((2,)))


def test_evidence_of_probability_zero_is_told_and_not_made_up():
    x = torch.tensor([[1, 0], [1, 1], [1, 1]], dtype=torch.uint8)
    model = likely.build("bernoulli", likely.Binary((2,)), pseudo_count=0.0)
    model.m_step(model.e_step(x))
    impossible = torch.tensor([[1, 0], [0, 1]], dtype=torch.uint8)
    assert model.log_prob(impossible)[1] == -torch.inf
    assert model.complete(impossible, torch.tensor([False, True]), seed=0)[:, 1].tolist() == [0, 1]
    with pytest.raises(likely.LikelyError, match="cannot complete row 1: what is known there has probability 0"):
        model.complete(impossible, torch.tensor([True, False]), seed=0)
    stats = model.e_step(impossible, weight=torch.tensor([1.0, 0.0]))  # a row of no weight says nothing
    assert stats["log_likelihood"].isfinite()


def test_free_parameters_and_criteria():
    space = likely.Finite((2,), 3, ordered=False, values=(("a", "b"), ("c", "d", "e")))
    x = torch.tensor([[0, 2], [1, 0], [1, 1]])
    model = fitted(space, x)
    assert model.free_parameters == 3
    score = float(model.log_prob(x).double().sum())
    assert criteria.bic(model, x) == pytest.approx(3 * math.log(3) - 2 * score)
    assert criteria.aic(model, x[:2]) == pytest.approx(criteria.aic(model, x, weight=[1, 1, 0]))
    for rows, weight, message in (
        (x[:0], None, "of no rows"),
        (x, [0, 0, 0], "of no rows"),
        (x, [1, 1], "weight must be 3 numbers, each 0 or more and finite; it has shape"),
        (x, [1, 1, math.inf], "3 numbers, each 0 or more and finite; row 2 has inf"),
        (x, ["a", "b", "c"], "weight must be 3 numbers, each 0 or more and finite"),
    ):
        with pytest.raises(likely.LikelyError, match=message):
            criteria.bic(model, rows, weight=weight)


def test_what_is_saved_is_finite_where_levels_never_occurred():
    x = torch.tensor([[1, 0], [1, 1]], dtype=torch.uint8)
    model = fitted(likely.Binary((2,)), x, pseudo_count=0.0)  # a fit that saves a weight of -inf is stopped
    assert all(bool(value.isfinite().all()) for value in model.state_dict().values())
    assert model.probabilities[0].tolist() == [0, 1]
    assert model.log_prob(torch.tensor([[0, 1]])).tolist() == [-math.inf]
    assert model.log_marginal(torch.tensor([[0, 1]]), torch.tensor([False, True])).exp().tolist() == [0.5]
