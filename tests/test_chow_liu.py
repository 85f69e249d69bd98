"""The best tree against every tree, scipy's spanning tree, and enumeration."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import minimum_spanning_tree

import likely
from likely.models import chow_liu
from likely.parts import information

seeds = st.integers(0, 2**31)


def fitted(space, x, pseudo_count=0.0, **given):
    model = likely.build("chow_liu", space, pseudo_count=pseudo_count)
    model.m_step(model.e_step(x, **given))
    return model


def rows(size, levels, n, seed):
    """Return rows whose neighbours agree more often than not."""
    generator = torch.Generator().manual_seed(seed)
    x = likely.Finite((size,), levels).random(n, generator)
    for d in range(1, size):
        earlier = int(torch.randint(d, (), generator=generator))
        x[:, d] = torch.where(torch.rand(n, generator=generator) < 0.6, x[:, earlier], x[:, d])
    return x


@settings(max_examples=10)
@given(seeds, st.integers(2, 3))
def test_no_other_tree_is_more_likely(seed, levels):
    """Over all parents of four entries that hang together, each with its most likely tables."""
    x = rows(4, levels, 60, seed)
    model = fitted(likely.Finite((4,), levels), x)
    best = float(model.log_prob(x).sum())
    counts = {}
    for i, j in itertools.permutations(range(4), 2):
        table = torch.zeros(levels, levels, dtype=torch.float64)
        table.index_put_((x[:, i].long(), x[:, j].long()), torch.ones(60, dtype=torch.float64), accumulate=True)
        counts[i, j] = table / 60
    entropy = {i: float(information.entropy(counts[i, (i + 1) % 4].sum(1))) for i in range(4)}
    likelihoods = []
    for parents in itertools.product(range(4), repeat=3):
        walk, roots = dict(enumerate(parents, start=1)), set()
        for d in range(1, 4):
            seen = d
            for _ in range(4):
                seen = walk.get(seen, 0)
            roots.add(seen)
        if roots == {0}:
            shared = sum(float(information.mutual_information(counts[p, d], 0, 1)) for d, p in walk.items())
            likelihoods.append(60 * (shared - sum(entropy.values())))
    assert len(likelihoods) == 16  # Cayley: 4^2 trees
    assert best == pytest.approx(max(likelihoods), abs=1e-8)


@given(st.integers(2, 12), seeds)
def test_the_tree_is_as_heavy_as_that_of_scipy(size, seed):
    weight = np.random.default_rng(seed).random((size, size))
    weight = weight + weight.T
    parent = chow_liu.spanning_tree(torch.from_numpy(weight)).numpy()
    heavy = -minimum_spanning_tree(np.triu(-weight, 1)).sum()
    assert sum(weight[p, d] for d, p in enumerate(parent) if d) == pytest.approx(heavy)


def test_a_chain_is_found_and_its_tables_are_the_frequencies():
    generator = torch.Generator().manual_seed(0)
    x = torch.zeros(4000, 6, dtype=torch.uint8)
    for d in range(6):
        flip = torch.rand(4000, generator=generator) < (0.5 if d == 0 else 0.2)
        x[:, d] = flip ^ (x[:, d - 1].bool() if d else False)
    space = likely.Binary((6,), names=tuple("abcdef"))
    model = fitted(space, x)
    assert model.edges() == [("a", "b"), ("b", "c"), ("c", "d"), ("d", "e"), ("e", "f")]
    both = (x[:, 2] & x[:, 3]).sum() / x[:, 2].sum()
    assert float(model.table[3, 1, 1]) == pytest.approx(float(both))
    assert model.free_parameters == 11


def test_with_one_entry_it_is_the_table_of_frequencies():
    x = torch.tensor([[0], [2], [2], [1]])
    model = fitted(likely.Finite((1,), 3), x)
    assert model.log_prob([[2], [0]]).exp().tolist() == pytest.approx([0.5, 0.25])
    assert model.edges() == []


@settings(max_examples=10)
@given(st.integers(2, 3), seeds)
def test_em_with_missing_entries_is_that_of_enumeration(levels, seed):
    space = likely.Finite((4,), levels)
    x = rows(4, levels, 40, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    known, weight = torch.rand(40, 4, generator=generator) < 0.6, torch.rand(40, generator=generator)
    model = likely.build("chow_liu", space, pseudo_count=0.5)
    points = space.enumerate()
    agree = ((points[None] == x[:, None]) | ~known[:, None]).all(2)
    for _ in range(3):
        stats = model.e_step(x, known=known, weight=weight)
        joint = agree * model.log_prob(points).exp()
        total = joint.sum(1, keepdim=True)
        whole = model.e_step(points, weight=((joint / total) * weight[:, None]).sum(0))
        assert stats["pairs"].numpy() == pytest.approx(whole["pairs"].numpy(), abs=1e-9)
        assert float(stats["log_likelihood"]) == pytest.approx(float(weight.double() @ total[:, 0].log()))
        model.m_step(stats)


def test_a_long_chain_neither_underflows_nor_overflows():
    space = likely.Binary((2000,))
    x = rows(2000, 2, 50, 0)[:, torch.arange(2000)]
    model = fitted(space, x, pseudo_count=1.0)
    known = torch.arange(2000) % 2 == 0
    score = model.log_marginal(x, known)
    assert bool(score.isfinite().all())
    assert bool((score > model.log_prob(x)).all())
    assert space.contains(model.complete(x, known, seed=0))


def test_bad_input_is_one_line():
    bits = likely.Binary((2,))
    sure = fitted(bits, torch.tensor([[0, 0], [1, 1]]))
    cases = {
        "pseudo_count must be": lambda: likely.build("chow_liu", bits, pseudo_count=-1.0),
        "counts 40,282,095,616 pairs of levels": lambda: likely.build("chow_liu", likely.Finite((784,), 256)),
        "takes Binary or Finite, not Real": lambda: likely.build("chow_liu", likely.Real((2,))),
        "nothing to learn from": lambda: fitted(bits, torch.zeros(2, 2), weight=torch.zeros(2)),
        "row 0 cannot be: what is known there has probability 0": lambda: sure.complete(
            torch.tensor([[0, 1]]), torch.tensor([True, True])
        ),
    }
    for message, ask in cases.items():
        with pytest.raises(likely.LikelyError, match=message) as caught:
            ask()
        assert "\n" not in str(caught.value)
    assert sure.log_prob([[0, 1]]).item() == -math.inf
