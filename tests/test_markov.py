"""Markov chains against counting by hand and enumeration; the paths through a picture."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import likely
from likely.models.markov import Markov
from likely.models.table import Table
from likely.parts import orders

PATHS = sorted(orders.ORDERS)
seeds = st.integers(0, 2**31)


def fitted(space, x, **given):
    known, weight = given.pop("known", None), given.pop("weight", None)
    model = likely.build("markov", space, **given)
    model.m_step(model.e_step(x, known=known, weight=weight))
    return model


@given(st.sampled_from(PATHS), st.integers(1, 3), st.integers(2, 3), seeds)
def test_the_chain_is_counted_as_by_hand(path, order, levels, seed):
    space = likely.Finite((2, 3), levels)
    x = space.random(40, torch.Generator().manual_seed(seed))
    model = fitted(space, x, order=order, path=path, path_seed=3, pseudo_count=0.6)
    rows = x.reshape(40, 6)[:, orders.order(path, (2, 3), 3)].tolist()
    pairs, contexts = Counter(), Counter()
    for row, t in itertools.product(rows, range(6)):
        context = tuple(row[max(0, t - order) : t])
        pairs[t, context, row[t]] += 1
        contexts[t, context] += 1
    for row, found in zip(rows[:5], model.log_prob(x[:5]).tolist(), strict=True):
        expected = 0.0
        for t in range(6):
            context = tuple(row[max(0, t - order) : t])
            expected += math.log((pairs[t, context, row[t]] + 0.6 / levels) / (contexts[t, context] + 0.6))
        assert found == pytest.approx(expected, abs=1e-10)


def test_a_shared_table_counts_all_positions_together():
    x = torch.tensor([[0, 1, 0, 1, 1], [1, 1, 0, 0, 1]], dtype=torch.uint8)
    model = fitted(likely.Binary((5,)), x, shared=True, pseudo_count=0.0)
    # after 0 came 1, 1, 0, 1; after 1 came 0, 1, 1, 0
    assert model.table[1].tolist() == [pytest.approx([0.25, 0.75]), pytest.approx([0.5, 0.5])]
    assert model.table[0, 0].tolist() == pytest.approx([0.5, 0.5])


def test_the_highest_order_is_the_full_table():
    space = likely.Binary((4,))
    x = space.random(100, torch.Generator().manual_seed(0))
    chain = fitted(space, x, order=9, path="random", pseudo_count=0.0)
    table = Table(space, pseudo_count=0.0)
    table.m_step(table.e_step(x))
    assert chain.order == 4
    assert chain.log_prob(x).numpy() == pytest.approx(table.log_prob(x).numpy(), abs=1e-10)
    assert chain.free_parameters == 2**4 - 1


@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_a_chain_of_bits_spends_2n_minus_1_numbers(n):
    assert likely.build("markov", likely.Binary((n,))).free_parameters == 2 * n - 1
    assert likely.build("markov", likely.Binary((n,)), shared=True).free_parameters == min(2 * n - 1, 3)


@given(st.sampled_from([1, 2]), st.booleans(), seeds)
def test_em_with_missing_entries_is_that_of_enumeration(order, shared, seed):
    """The expected counts of a few passes, against a sum over every completion of every row."""
    space = likely.Finite((4,), 2)
    generator = torch.Generator().manual_seed(seed)
    x, known = space.random(30, generator), torch.rand(30, 4, generator=generator) < 0.6
    weight = torch.rand(30, generator=generator)
    model = likely.build("markov", space, order=order, shared=shared, path="2,0,3,1", pseudo_count=0.5)
    points = space.enumerate()
    agree = ((points[None] == x[:, None]) | ~known[:, None]).all(2)
    for _ in range(3):
        stats = model.e_step(x, known=known, weight=weight)
        joint = agree * model.log_prob(points).exp()
        total = joint.sum(1, keepdim=True)
        share = ((joint / total) * weight[:, None]).sum(0)
        whole = model.e_step(points, weight=share)
        assert stats["counts"].numpy() == pytest.approx(whole["counts"].numpy(), abs=1e-10)
        assert float(stats["log_likelihood"]) == pytest.approx(float(weight.double() @ total[:, 0].log()))
        model.m_step(stats)


def test_a_completion_listens_to_both_sides():
    """0 0 0 or 1 1 1: what stands last decides what came first."""
    x = torch.tensor([[0, 0, 0], [1, 1, 1]], dtype=torch.uint8)
    model = fitted(likely.Binary((3,)), x, pseudo_count=0.0)
    filled = model.complete(torch.tensor([[math.nan, math.nan, 1.0], [math.nan, math.nan, 0.0]]), seed=0)
    assert filled.tolist() == [[1, 1, 1], [0, 0, 0]]
    with pytest.raises(likely.LikelyError, match="cannot complete row 0: what is known there has probability 0"):
        model.complete(torch.tensor([[0.0, math.nan, 1.0]]))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("shape", [(), (5,), (4, 4), (3, 5), (2, 3, 4), (1, 1, 7), (2, 5, 1)])
def test_paths_visit_every_entry_once(path, shape):
    found = orders.order(path, shape, 1)
    assert found.sort().values.tolist() == list(range(math.prod(shape)))
    assert torch.equal(found[orders.inverse(found)], torch.arange(math.prod(shape)))


@pytest.mark.parametrize(
    ("path", "side"), [("snake", 5), ("spiral", 5), ("spiral", 6), ("hilbert", 8), ("hilbert", 16)]
)
def test_these_paths_step_to_a_neighbour(path, side):
    y, x = np.divmod(orders.order(path, (side, side)).numpy(), side)
    assert (abs(np.diff(y)) + abs(np.diff(x)) == 1).all()
    assert (y[0], x[0]) == (0, 0)


def test_the_zigzag_is_that_of_jpeg():
    first = [0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5]
    found = orders.order("zigzag", (8, 8)).tolist()
    assert found[:16] == first
    assert found[-3:] == [55, 62, 63]


def test_bad_numbers_are_one_line():
    bits = likely.Binary((3,))
    cases = {
        r"order must be 1 or more, not 0; .* 'bernoulli'": lambda: likely.build("markov", bits, order=0),
        "pseudo_count must be": lambda: likely.build("markov", bits, pseudo_count=-1.0),
        "tables of 1,073,741,824 numbers": lambda: likely.build("markov", likely.Finite((64,), 256), order=2),
        r"unknown order 'spirall'\. Did you mean 'spiral'": lambda: likely.build("markov", bits, path="spirall"),
        "holds each position 0 to 2 once": lambda: likely.build("markov", bits, path="0,1,1"),
        "takes Binary or Finite, not Real": lambda: likely.build("markov", likely.Real((2,))),
        "nothing to learn from": lambda: fitted(bits, torch.zeros(2, 3), weight=torch.zeros(2)),
        "path must hold": lambda: Markov(bits, torch.tensor([0, 1])),
    }
    for message, ask in cases.items():
        with pytest.raises(likely.LikelyError, match=message) as caught:
            ask()
        assert "\n" not in str(caught.value)
