"""Mixtures of independent entries against EM written out, enumeration and what must hold for every fit."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp

import likely
from likely.data.parts import Part

seeds = st.integers(0, 2**31)


def rows(space, n, seed, groups=3):
    """Return noisy copies of a few prototypes."""
    generator = torch.Generator().manual_seed(seed)
    prototypes, noise = space.random(groups, generator), space.random(n, generator)
    which = torch.randint(groups, (n,), generator=generator)
    keep = torch.rand(n, *space.shape, generator=generator) < 0.7
    return torch.where(keep, prototypes[which], noise)


def started(space, x, seed=0, **numbers):
    model = likely.build("bernoulli_mixture", space, **numbers)
    torch.manual_seed(seed)
    model.start(x)
    return model


def by_hand(model, x, known):
    """Return log w_k + log p_k of the known entries, (B, K), in float64."""
    log_p = model.table.double().reshape(len(model.weight), -1, model.levels).numpy()
    flat, seen = x.reshape(len(x), -1).long().numpy(), known.reshape(len(x), -1).numpy()
    each = np.stack([log_p[:, d, flat[:, d]].T * seen[:, d, None] for d in range(flat.shape[1])])
    return each.sum(0) + np.log(model.weight.numpy())


@given(seeds, st.sampled_from([2, 4]), st.booleans())
def test_em_is_em_written_out(seed, levels, missing):
    space = likely.Finite((5,), levels)
    x, pseudo = rows(space, 40, seed), 0.7
    generator = torch.Generator().manual_seed(seed)
    known = torch.rand(40, 5, generator=generator) < (0.6 if missing else 2)
    weight = torch.rand(40, generator=generator) + 0.1
    model = started(space, x, components=3, pseudo_count=pseudo)
    hot = np.eye(levels)[x.long().numpy()] * known.numpy()[:, :, None]
    for _ in range(3):
        joint = by_hand(model, x, known)
        share = np.exp(joint - logsumexp(joint, 1, keepdims=True))
        assert model.responsibilities(x, known).numpy() == pytest.approx(share, abs=1e-5)
        stats = model.e_step(x, known=known if missing else None, weight=weight)
        expected = float(weight.numpy().astype(float) @ logsumexp(joint, 1))
        assert float(stats["log_likelihood"]) == pytest.approx(expected, rel=1e-5)
        share = share * weight.numpy()[:, None]
        counts = np.einsum("bk,bdl->kdl", share, hot)
        mean = counts.sum(0) + 1 / levels
        mean /= mean.sum(1, keepdims=True)
        table = (counts + pseudo * mean) / (share.T @ known.numpy() + pseudo)[:, :, None]
        model.m_step(stats)
        assert model.probabilities.numpy() == pytest.approx(table, abs=1e-4)
        assert model.weight.numpy() == pytest.approx(share.sum(0) / share.sum(), abs=1e-5)


def test_one_component_is_the_model_of_independent_entries():
    space = likely.Finite((2, 3), 4)
    x = rows(space, 100, 0)
    model = started(space, x, components=1, pseudo_count=0.0)
    model.m_step(model.e_step(x))
    alone = likely.build("bernoulli", space, pseudo_count=0.0)
    alone.m_step(alone.e_step(x))
    assert model.probabilities[0].numpy() == pytest.approx(alone.probabilities.numpy(), abs=1e-6)


@pytest.mark.parametrize("pseudo_count", [0.0, 2.0])
@given(seed=seeds)
def test_what_em_climbs_never_falls(pseudo_count, seed):
    """The likelihood for 0; with a prior the posterior, log p(x) + sum_kd a mean_d log p_kd."""
    space = likely.Binary((8,))
    x = rows(space, 60, seed)
    model = started(space, x, components=4, pseudo_count=pseudo_count)
    mean = (x.double().sum(0) + 0.5) / 61
    mean = torch.stack([1 - mean, mean], 1)
    last = -math.inf
    for _ in range(30):
        stats = model.e_step(x)
        now = float(stats["log_likelihood"] + pseudo_count * (mean * model.table.double()).sum())
        assert now > last - 1e-6 * abs(now)
        last = now
        model.m_step(stats)


def test_the_prototypes_are_found():
    space = likely.Binary((30,))
    x = rows(space, 600, 1)
    model = started(space, x, components=3, n_init=5, pseudo_count=0.0)
    for _ in likely.fit(model, Part(x), passes=30):
        pass
    prototypes = space.random(3, torch.Generator().manual_seed(1))
    found = model.probabilities[:, :, 1] > 0.5
    distance = (found[:, None] != prototypes[None].bool()).sum(2)
    assert distance.min(0).values.tolist() == [0, 0, 0]


def test_the_best_of_several_starts_stays():
    space = likely.Binary((12,))
    x = rows(space, 100, 2, groups=6)
    single = []
    for seed in range(8):
        model = started(space, x, seed, components=6)
        for _ in range(5):
            model.m_step(model.e_step(x))
        single.append(float(model.e_step(x)["log_likelihood"]))
    best = started(space, x, 0, components=6, n_init=8)
    assert float(best.e_step(x)["log_likelihood"]) > np.mean(single)


def test_streams_give_the_same_fit_as_memory():
    space = likely.Finite((6,), 3)
    x = rows(space, 500, 0)
    fits = []
    for batch in (500, 37):
        model = likely.build("bernoulli_mixture", space, components=4)
        for _ in likely.fit(model, Part(x), passes=8, batch=batch, tolerance=0.0):
            pass
        fits.append(model.table)
    assert fits[0].numpy() == pytest.approx(fits[1].numpy(), abs=1e-6)


def test_a_weight_counts_a_row_so_often():
    space = likely.Binary((4,))
    x = rows(space, 30, 0)
    times = torch.arange(30) % 3
    models = []
    for values, weight in ((x, times), (x.repeat_interleave(times, 0), None)):
        model = started(space, x, components=2)
        model.m_step(model.e_step(values, weight=weight))
        models.append(model)
    assert models[0].table.numpy() == pytest.approx(models[1].table.numpy(), abs=1e-5)


@pytest.mark.parametrize(
    ("n", "change"),
    [(5, 1), (50, 0)],
    ids=["as many rows as components", "constant columns"],
)
@pytest.mark.parametrize("first", ["random", "k-means++"])
def test_degenerate_data_end_in_a_sensible_fit(n, change, first):
    space = likely.Binary((6,))
    x = rows(space, n, 0) * change
    model = likely.build("bernoulli_mixture", space, components=5, first=first)
    for _ in likely.fit(model, Part(x), passes=10):
        pass
    assert bool(model.table.isfinite().all())
    assert float(model.weight.sum()) == pytest.approx(1)
    assert bool(model.log_prob(space.enumerate()).isfinite().all())


def test_a_component_without_rows_is_put_beside_the_heaviest():
    space = likely.Binary((4,))
    x = rows(space, 80, 0)
    model = started(space, x, components=3)
    stats = model.e_step(x)
    for name in ("mass", "known", "levels"):
        stats[name][1] = 0
    model.m_step(stats)
    assert bool((model.weight > 0).all())
    heavy = int(stats["mass"].argmax())
    assert float(model.weight[1]) == pytest.approx(float(model.weight[heavy]))
    assert not torch.equal(model.table[1], model.table[heavy])


def test_with_labels_there_is_a_mixture_for_each_class():
    space, classes = likely.Binary((6,)), likely.Finite((), 2, ordered=False)
    x, cond = rows(space, 400, 0), (torch.arange(400) % 4 == 0).to(torch.uint8)
    x[cond == 1] = 1 - x[cond == 1]
    both = likely.build("bernoulli_mixture", space, classes, components=2)
    for _ in likely.fit(both, Part(x, cond), passes=10, seed=0):
        pass
    assert both.class_weights.tolist() == [0.75, 0.25]
    assert both.free_parameters == 2 * (1 + 2 * 6) + 1
    points = space.enumerate()
    scores = torch.stack([both.log_prob(points, c) for c in classes.enumerate()], 1)
    assert scores.exp().sum(0).tolist() == pytest.approx([1, 1], abs=1e-5)
    joint = scores + both.class_weights.log()
    assert both.log_prob_of_any(points).numpy() == pytest.approx(joint.logsumexp(1).numpy(), abs=1e-5)
    assert both.label_probabilities(points).numpy() == pytest.approx(joint.softmax(1).numpy(), abs=1e-5)
    assert (both.label_probabilities(x).argmax(1) == cond).float().mean() > 0.8


def test_free_parameters_are_counted():
    model = likely.build("bernoulli_mixture", likely.Finite((5,), 4), components=3)
    assert model.free_parameters == 2 + 3 * 5 * 3


def test_bad_input_is_one_line():
    bits = likely.Binary((2,))
    cases = {
        "components and n_init must be 1 or more, not 0": lambda: likely.build("bernoulli_mixture", bits, components=0),
        "pseudo_count must be": lambda: likely.build("bernoulli_mixture", bits, pseudo_count=-1.0),
        r"unknown way to start 'kmeans'\. Did you mean": lambda: likely.build(
            "bernoulli_mixture", bits, first="kmeans"
        ),
        "takes Binary or Finite, not Real": lambda: likely.build("bernoulli_mixture", likely.Real((2,))),
        "components=20 needs as many rows, and n_samples=3": lambda: likely.build("bernoulli_mixture", bits).start(
            bits.random(3)
        ),
        "nothing to learn from": lambda: (m := likely.build("bernoulli_mixture", bits)).m_step(
            m.e_step(torch.zeros(2, 2), weight=torch.zeros(2))
        ),
    }
    for message, ask in cases.items():
        with pytest.raises(likely.LikelyError, match=message) as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_many_passes_over_batches_are_those_in_memory_to_the_last_digits():
    space = likely.Binary((20,))
    x = rows(space, 1500, seed=0, groups=4)
    memory, streamed = (started(space, x, components=8) for _ in range(2))
    for _ in range(20):
        memory.m_step(memory.e_step(x))
        total = {}
        for low in range(0, len(x), 77):
            stats = streamed.e_step(x[low : low + 77])
            total = {name: total[name] + value for name, value in stats.items()} if total else stats
        streamed.m_step(total)
    for name, value in memory.state_dict().items():
        assert torch.allclose(value, streamed.state_dict()[name], rtol=1e-9, atol=1e-9), name


@pytest.mark.parametrize("first", ["random", "k-means++"])
def test_missing_bits_neither_bend_the_start_nor_the_shares(first):
    space = likely.Finite((6,), 4)
    x = rows(space, 300, seed=1).double()
    x[:, 0] = 3
    x[::2, 0] = torch.nan  # what is known of this entry is always 3
    model = started(space, x, components=3, first=first, n_init=2)
    assert float(model.probabilities[:, 0, 3].min()) > 0.9
    known = ~x.isnan()
    whole = torch.where(known, x, 0)
    assert torch.equal(model.responsibilities(x), model.responsibilities(whole, known))
