"""Hidden Markov models against enumeration, closed forms and, where it is installed, hmmlearn."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, poisson

import likely
from likely.data.parts import Part
from likely.families import emissions
from likely.models import hmm
from likely.spaces import Ragged, ragged


def chances(generator, *shape):
    drawn = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.05
    return drawn / drawn.sum(-1, keepdim=True)


def symbols(levels=3, length=6, states=2, seed=0, **numbers):
    """Return a model over symbols with random parameters."""
    generator = torch.Generator().manual_seed(seed)
    model = hmm.build(likely.Sequence(step=likely.Finite((), levels), length=length), states=states, **numbers)
    model.set_parts(
        initial=chances(generator, states),
        transition=chances(generator, states, states),
        probabilities=chances(generator, states, levels),
    )
    return model


def passes(model, x, n, **given):
    found = []
    for _ in range(n):
        stats = model.e_step(x, **given)
        found.append(float(stats["log_likelihood"] / stats["count"]))
        model.m_step(stats)
    return np.array(found)


def over_paths(model, frame):
    """Return log p(x | length) of one sequence by summing over all paths; frame is (T, K), likelihoods."""
    total = 0.0
    for path in itertools.product(range(model.states), repeat=len(frame)):
        p = float(model.initial[path[0]]) * frame[0][path[0]]
        for t in range(1, len(frame)):
            p *= float(model.transition[path[t - 1], path[t]]) * frame[t][path[t]]
        total += p
    return math.log(total)


# Scores --------------------------------------------------------------------------------------------------------------


@given(
    st.integers(0, 1000), st.integers(1, 3), st.lists(st.lists(st.integers(0, 2), max_size=5), min_size=1, max_size=4)
)
def test_symbols_are_scored_by_the_sum_over_paths(seed, states, sequences):
    model = symbols(3, 5, states, seed)
    table = model.emission.probabilities[:, 0]
    expected = [
        (over_paths(model, table[:, row].T.tolist()) if row else 0.0) + math.log(model.lengths[len(row)])
        for row in sequences
    ]
    assert model.log_prob(sequences).tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", ["full", "tied", "diagonal", "spherical"])
def test_gaussian_mixtures_with_holes_are_scored_by_scipy(kind):
    generator = torch.Generator().manual_seed(1)
    space = likely.Sequence(step=likely.Real((2,)), length=4)
    model = hmm.build(space, states=2, components=2, covariance=kind)
    factor = torch.randn(2, 2, 2, 2, generator=generator).double()
    covariances = factor @ factor.mT + torch.eye(2)
    covariances = covariances[:1, :1].expand(2, 2, 2, 2) if kind == "tied" else covariances
    if kind in ("diagonal", "spherical"):
        covariances = covariances.diagonal(dim1=2, dim2=3)
        covariances = (covariances if kind == "diagonal" else covariances[..., :1].expand(2, 2, 2)).diag_embed()
    means, mixture = torch.randn(2, 2, 2, generator=generator).double(), chances(generator, 2, 2)
    model.set_parts(
        transition=chances(generator, 2, 2), means=means, covariances=covariances, mixture=mixture, initial=[0.3, 0.7]
    )
    torch.testing.assert_close(model.emission.covariances, covariances)
    x = torch.randn(3, 4, 2, generator=generator, dtype=torch.float64)
    x[0, 1, 0] = x[1, 2] = torch.nan
    x[2, :, 1] = torch.nan
    for row, score in zip(x, model.log_prob(x) - model.lengths[4].log(), strict=True):
        frame = []
        for step in row.numpy():
            o = ~np.isnan(step)
            frame.append(
                [
                    sum(
                        float(mixture[k, m])
                        * multivariate_normal(means[k, m].numpy()[o], covariances[k, m].numpy()[np.ix_(o, o)]).pdf(
                            step[o]
                        )
                        for m in range(2)
                    )
                    if o.any()
                    else 1.0
                    for k in range(2)
                ]
            )
        assert float(score) == pytest.approx(over_paths(model, frame), rel=1e-9)


def test_counts_follow_poissons_law():
    model = hmm.build(likely.Sequence(step=likely.Finite((2,), 60), length=3), states=2, counts=True)
    rates = torch.tensor([[1.0, 4.0], [9.0, 0.5]])
    model.set_parts(rates=rates)
    x = torch.tensor([[[0, 3], [8, 1], [2, 2]]])
    frame = [[float(np.prod(poisson(rates[k].numpy()).pmf(step.numpy()))) for k in range(2)] for step in x[0]]
    expected = over_paths(model, frame) + math.log(model.lengths[3])
    assert float(model.log_prob(x)) == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(model.emission.mean(), rates.double())


def test_pictures_are_sequences_of_rows():
    """A picture scores as the sequence of its rows, whatever its channels."""
    pictures = torch.randint(4, (5, 2, 3, 4), generator=torch.Generator().manual_seed(0))
    whole = hmm.build(likely.Finite((2, 3, 4), 4), states=3)
    rows = hmm.build(likely.Sequence(step=likely.Finite((2, 4), 4), length=3), states=3)
    whole.start(pictures)
    rows.load_state_dict({**whole.state_dict(), "lengths": rows.lengths})
    expected = rows.log_prob(pictures.movedim(2, 1)) - rows.lengths[3].log()
    torch.testing.assert_close(whole.log_prob(pictures), expected)
    assert whole.sample(2, seed=0).shape == (2, 2, 3, 4)
    assert whole.viterbi(pictures)[0].shape == (5, 3)


def test_the_gradient_of_sequences_with_holes():
    generator = torch.Generator().manual_seed(0)
    model = hmm.build(likely.Sequence(step=likely.Real((2,)), length=5), states=3, covariance="full")
    x = torch.randn(4, 5, 2, generator=generator, dtype=torch.float64)
    model.start(x)
    batch = Ragged(x.requires_grad_(), torch.tensor([5, 3, 1, 0]))
    (slope,) = torch.autograd.grad(model.log_prob(batch).sum(), x)
    way = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        ahead, behind = (model.log_prob(Ragged(x + h * way, batch.lengths)).sum() for h in (1e-6, -1e-6))
    assert float((slope * way).sum()) == pytest.approx(float(ahead - behind) / 2e-6, rel=1e-6)
    assert slope[1, 3:].abs().sum() == 0


# States --------------------------------------------------------------------------------------------------------------


def weather():
    """Return the textbook's weather: states rainy and sunny; walk, shop and clean are seen."""
    model = hmm.build(likely.Sequence(step=likely.Finite((), 3), length=10), states=2)
    model.set_parts(
        initial=[0.6, 0.4], transition=[[0.7, 0.3], [0.4, 0.6]], probabilities=[[0.1, 0.4, 0.5], [0.6, 0.3, 0.1]]
    )
    return model


def test_published_weather():
    path, log_prob = weather().viterbi([[0, 1, 2]])
    assert path.tolist() == [[1, 0, 0]]
    assert math.exp(log_prob) == pytest.approx(0.01344)
    posterior = weather().posterior([[0, 1, 2]])[0, :, 0]
    assert posterior.tolist() == pytest.approx([0.23170303, 0.62406281, 0.86397706], abs=2e-7)


def test_states_of_sequences_of_different_lengths():
    model = weather()
    sequences = [[0, 1, 2], [2], [], [1, 1]]
    posterior, (path, score) = model.posterior(sequences), model.viterbi(sequences)
    for i, row in enumerate(sequences):
        n = len(row)
        assert path[i, n:].tolist() == [-1] * (3 - n)
        assert posterior[i, n:].sum() == 0
        if row:
            torch.testing.assert_close(posterior[i, :n], model.posterior([row])[0])
            alone, log_prob = model.viterbi([row])
            assert path[i, :n].tolist() == alone[0].tolist()
            assert float(score[i]) == pytest.approx(float(log_prob))
    assert float(score[2]) == 0


def test_filtering_knows_only_the_past():
    model = weather()
    filtered = model.posterior([[0, 1, 2]], filtered=True)[0]
    for t in range(1, 4):
        torch.testing.assert_close(filtered[t - 1], model.posterior([[0, 1, 2][:t]])[0, -1])


def test_prediction_is_the_ratio_of_probabilities():
    """p(next | x) = p(x, next) / p(x), for sequences of any length, and two steps ahead."""
    model = symbols(3, 6, 2, seed=4)
    sequences = [[0, 1, 2], [2], []]
    predicted = model.predict(sequences, 2)
    assert predicted.mean.shape == (3, 2, 3)
    for i, row in enumerate(sequences):
        here = float((model.log_prob([row]) - model.lengths[len(row)].log()).exp())
        n = len(row)
        one = [float((model.log_prob([[*row, v]]) - model.lengths[n + 1].log()).exp()) / here for v in range(3)]
        assert predicted.mean[i, 0].tolist() == pytest.approx(one)
        two = [
            sum(float((model.log_prob([[*row, v, w]]) - model.lengths[n + 2].log()).exp()) for v in range(3)) / here
            for w in range(3)
        ]
        assert predicted.mean[i, 1].tolist() == pytest.approx(two)
    with pytest.raises(likely.LikelyError, match="steps must be"):
        model.predict(sequences, 0)


def test_the_chain_goes_on_in_completion():
    """The law of filled steps is that of the posterior given both sides, here by enumeration."""
    model = symbols(3, 4, 2, seed=2)
    x, known = torch.tensor([[0, 0, 2, 1]]), torch.tensor([[True, False, True, True]])
    filled = model.complete(x.expand(20_000, 4), known.expand(20_000, 4), seed=0)
    share = filled.values[:, 1].long().bincount(minlength=3) / 20_000
    exact = model.log_prob([[0, v, 2, 1] for v in range(3)]).softmax(0)
    torch.testing.assert_close(share.double(), exact, atol=0.015, rtol=0)


# Learning ------------------------------------------------------------------------------------------------------------


def made(space, n, seed=0, **numbers):
    """Return a model with clear states, and sequences drawn from it."""
    model = hmm.build(space, **numbers)
    torch.manual_seed(seed)
    model.start(space.random(200, torch.Generator().manual_seed(seed)))
    generator = torch.Generator().manual_seed(seed)
    model.set_parts(transition=0.8 * torch.eye(model.states) + 0.2 * chances(generator, model.states, model.states))
    return model, model.sample(n, seed=seed)


SPACES = {
    "categorical": (likely.Sequence(step=likely.Finite((), 6), length=30), {}),
    "Bernoulli": (likely.Sequence(step=likely.Binary((5,)), length=30), {}),
    "Poisson": (likely.Sequence(step=likely.Finite((2,), 30), length=30), {"counts": True}),
    "full": (likely.Sequence(step=likely.Real((3,)), length=30), {"covariance": "full"}),
    "mixture": (likely.Sequence(step=likely.Real((2,)), length=30), {"components": 3}),
    "rows": (likely.Binary((1, 6, 5)), {}),
}


@pytest.mark.parametrize("name", SPACES)
def test_em_never_falls_and_streams(name):
    """In float32, over many passes; and batches give the same statistics as all at once."""
    space, numbers = SPACES[name]
    _, x = made(space, 150, states=3, **numbers)
    model = hmm.build(space, states=3, **numbers)
    torch.manual_seed(1)
    model.start(x)
    found = passes(model, x, 25)
    assert (np.diff(found) > -2e-6 * np.abs(found[1:])).all()
    assert found[-1] > found[0]
    whole = model.e_step(x)
    total = {}
    for rows in likely.spaces.batches(150, 37):
        part = Ragged(x.values[rows], x.lengths[rows]) if isinstance(x, Ragged) else x[rows]
        for key, value in model.e_step(part).items():
            total[key] = total.get(key, 0) + value
    for key, value in whole.items():
        torch.testing.assert_close(value, total[key], rtol=1e-5, atol=1e-4)


def test_the_truth_is_found():
    space = likely.Sequence(step=likely.Real((2,)), length=50)
    truth = hmm.build(space, states=2)
    transition = torch.tensor([[0.9, 0.1], [0.3, 0.7]])
    truth.set_parts(transition=transition, means=[[0.0, 0.0], [3.0, -3.0]], covariances=torch.eye(2).expand(2, 2, 2))
    x = truth.sample(200, seed=0)
    model = hmm.build(space, states=2)
    for _ in likely.fit(model, Part(x), passes=60):
        pass
    order = model.emission.mean()[:, 0].argsort()
    torch.testing.assert_close(model.emission.mean()[order].float(), truth.emission.mean().float(), atol=0.1, rtol=0)
    torch.testing.assert_close(model.transition[order][:, order].float(), transition, atol=0.03, rtol=0)
    assert float(model.log_prob(x).sum()) >= float(truth.log_prob(x).sum())


def test_known_states_are_counted():
    """With all states given one pass is counting."""
    model = hmm.build(likely.Sequence(step=likely.Finite((), 3), length=4), states=2, floor=1e-6)
    x, states = [[0, 1, 1, 2], [2, 2, 0]], [[0, 0, 1, 1], [1, 0, 0]]
    model.start(x)
    model.learn_with_states(x, states, passes=1)
    assert model.initial.tolist() == pytest.approx([0.5, 0.5])
    assert model.transition.tolist() == [pytest.approx([2 / 3, 1 / 3]), pytest.approx([0.5, 0.5])]
    table = model.emission.probabilities[:, 0]
    assert table[0].tolist() == pytest.approx([0.5, 0.25, 0.25], abs=1e-5)
    assert table[1].tolist() == pytest.approx([0, 1 / 3, 2 / 3], abs=1e-5)


def test_some_states_known_beat_none():
    """A few labelled sequences among many give the states their names, and EM does not fall."""
    space = likely.Sequence(step=likely.Real((1,)), length=20)
    truth = hmm.build(space, states=3)
    truth.set_parts(
        transition=0.7 * torch.eye(3) + 0.1, means=[[0.0], [2.0], [4.0]], covariances=torch.ones(3, 1, 1) * 0.5
    )
    x = truth.sample(100, seed=0)
    states, _ = truth.viterbi(x)
    given = torch.where(torch.arange(100)[:, None] < 10, states, -1)
    model = hmm.build(space, states=3)
    model.start(x)
    found = model.learn_with_states(x, given, passes=50)
    assert (np.diff(found) > -1e-5).all()
    guessed, _ = model.viterbi(x)
    unlabelled = (states >= 0) & (torch.arange(100)[:, None] >= 10)
    assert (guessed == states)[unlabelled].double().mean() > 0.9


def test_frozen_parts_and_forbidden_moves_stay():
    x = made(SPACES["categorical"][0], 50, states=3)[1]
    model = hmm.build(SPACES["categorical"][0], states=3, frozen="emission, initial")
    table = chances(torch.Generator().manual_seed(0), 3, 6)
    left_to_right = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]])
    model.set_parts(initial=[1.0, 0.0, 0.0], transition=left_to_right, probabilities=table)
    for _ in likely.fit(model, Part(x), passes=5):
        pass
    torch.testing.assert_close(model.emission.probabilities[:, 0], table)
    assert model.initial.tolist() == [1, 0, 0]
    assert bool((model.transition[left_to_right == 0] == 0).all())
    assert not torch.equal(model.transition.float(), left_to_right)
    path, _ = model.viterbi(x)
    assert all((np.diff(row[row >= 0]) >= 0).all() for row in path.numpy())
    assert model.free_parameters == 2  # one for each state that can be left


def test_weights_are_repetitions():
    x = made(SPACES["categorical"][0], 20, states=2)[1]
    weight = torch.arange(20) % 3
    first, second = (symbols(6, 30, 2) for _ in range(2))
    passes(first, x, 3, weight=weight)
    passes(second, Ragged(x.values.repeat_interleave(weight, 0), x.lengths.repeat_interleave(weight)), 3)
    torch.testing.assert_close(first.transition, second.transition, rtol=1e-5, atol=1e-6)


def test_missing_steps_are_learned_around():
    """Steps that are missing at random leave the estimates near those of the whole data."""
    x = made(SPACES["full"][0], 150, states=2, covariance="full")[1]
    holes = x._replace(values=x.values.clone())
    holes.values[torch.rand(x.values.shape, generator=torch.Generator().manual_seed(0)) < 0.2] = torch.nan
    models = []
    for data in (x, holes):
        model = hmm.build(SPACES["full"][0], states=2, covariance="full")
        torch.manual_seed(0)
        model.start(x)
        assert (np.diff(passes(model, data, 15)) > -1e-5).all()
        models.append(model)
    whole, part = (m.emission.mean()[m.emission.mean()[:, 0].argsort()] for m in models)
    torch.testing.assert_close(whole, part, atol=0.35, rtol=0)
    filled = models[1].complete(holes, seed=0)
    assert filled.values.isfinite().all()
    assert torch.equal(filled.values[holes.values.isfinite()], x.values[holes.values.isfinite()])


@given(
    st.lists(st.floats(0, 50), min_size=2, max_size=6).filter(lambda c: sum(c) > 0.1),
    st.sampled_from([1e-3, 0.05, 0.15]),
)
def test_floored_chances_are_the_most_likely(counts, least):
    counts = torch.tensor(counts, dtype=torch.float64)
    best = emissions.floored(counts, least)
    assert float(best.sum()) == pytest.approx(1)
    assert float(best.min()) >= least * (1 - 1e-12)
    score = float(torch.xlogy(counts, best).sum())
    generator = torch.Generator().manual_seed(0)
    others = torch.distributions.Dirichlet(torch.ones(len(counts), dtype=torch.float64)).sample((200,))
    others = least + (1 - least * len(counts)) * others
    near = 0.95 * best + 0.05 * others
    assert score >= float(torch.xlogy(counts, torch.cat([others, near])).sum(1).max()) - 1e-9
    del generator


@pytest.mark.parametrize("mean", [0.0, 0.3, 2.0, 4.9, 5.0])
def test_the_cut_off_poisson_law_has_the_mean_of_the_data(mean):
    part = emissions.Poisson(1, 1, 6, 1e-3)
    counts = torch.zeros(1, 1, 6, dtype=torch.float64)
    low = min(int(mean), 4)
    counts[0, 0, low], counts[0, 0, low + 1] = low + 1 - mean, mean - low
    part.maximise({"counts": counts})
    assert float(part.mean()) == pytest.approx(mean, abs=1e-6)
    assert part.table.isfinite().all()


def test_criteria_of_choice():
    x = made(SPACES["full"][0], 30, states=2, covariance="full")[1]
    model = hmm.build(SPACES["full"][0], states=2, covariance="full")
    model.start(x)
    assert model.free_parameters == 1 + 2 + 2 * (3 + 6)
    total = float(model.log_prob(x).double().sum())
    assert model.aic(x) == pytest.approx(2 * 21 - 2 * total)
    assert model.bic(x) == pytest.approx(21 * math.log(int(x.lengths.sum())) - 2 * total)
    assert symbols(3, 6, 2).free_parameters == 1 + 2 + 2 * 2
    holes = x._replace(values=x.values.clone())
    holes.values[0, 0, 1] = torch.nan
    known = ~holes.values.isnan()
    marginal = float(model.log_marginal(holes._replace(values=holes.values.nan_to_num()), known).double().sum())
    assert model.aic(holes) == pytest.approx(2 * 21 - 2 * marginal)
    assert model.bic(holes) - model.bic(x) == pytest.approx(model.aic(holes) - model.aic(x))
    mixture = hmm.build(likely.Sequence(step=likely.Real((2,)), length=3), states=2, components=3)
    assert mixture.free_parameters == 1 + 2 + 6 * 4 + 2 * 2


@pytest.mark.parametrize(
    "x",
    [
        torch.full((1, 4, 2), 1e8),
        torch.zeros(20, 4, 2),
        torch.randn(2, 1, 2, generator=torch.Generator().manual_seed(0)),
        1e8 + 1e6 * torch.randn(10, 4, 2, generator=torch.Generator().manual_seed(0)),
        torch.tensor([[0.0, 1.0], [1.0, 5.0]]).repeat(10, 4, 1),
    ],
    ids=["one constant", "constant", "few steps", "large", "two points"],
)
@pytest.mark.parametrize("numbers", [{"covariance": "full"}, {"components": 2}, {"covariance": "tied"}], ids=str)
def test_degenerate_data_give_a_proper_density(x, numbers):
    model = hmm.build(likely.Sequence(step=likely.Real((2,)), length=8), states=4, **numbers)
    torch.manual_seed(0)
    model.start(x)
    found = passes(model, x, 6)
    assert np.isfinite(found).all()
    assert model.log_prob(x).isfinite().all()
    assert model.sample(4, seed=0).values.isfinite().all()


def test_levels_never_seen_are_improbable_and_not_impossible():
    model = hmm.build(likely.Sequence(step=likely.Finite((), 1000), length=50), states=3)
    x = torch.zeros(5, 20, dtype=torch.int64)
    model.start(x)
    passes(model, x, 3)
    assert model.log_prob(x + 999).isfinite().all()
    assert float(model.log_prob(x)[0]) > float(model.log_prob(x + 999)[0]) + 20
    assert model.log_prob([[0] * 50]).isfinite().all()  # nor is a length that never occurred


def test_saving_lengths_and_driver(tmp_path):
    """A whole run over ragged sequences: fitted, saved, loaded."""
    from likely.data.parts import Data

    space, _ = SPACES["categorical"]
    x = made(space, 120, states=2)[1]
    parts = [Part(Ragged(x.values[rows], x.lengths[rows])) for rows in (slice(80), slice(80, 100), slice(100, 120))]
    data = Data("own", "bytes", space, *parts)
    run = likely.train("hmm", data, states=2, passes=3, out=tmp_path / "run", quiet=True)
    loaded = likely.load(tmp_path / "run")
    torch.testing.assert_close(loaded.log_prob(x), run.model.log_prob(x))


def test_every_sequence_is_listed_once():
    space = likely.Sequence(step=likely.Finite((2,), 3), length=2)
    points = space.enumerate()
    assert space.points == 1 + 9 + 81 == len(points.lengths)
    rows = {(int(n), *v[:n].flatten().tolist()) for v, n in zip(*points, strict=True)}
    assert len(rows) == space.points
    assert likely.Sequence(step=likely.Finite((), 1), length=4).points == 5
    assert likely.Sequence(step=likely.Real(), length=2).points is None
    with pytest.raises(likely.LikelyError, match="infinitely many points"):
        likely.Sequence(step=likely.Real(), length=2).enumerate()
    with pytest.raises(likely.LikelyError, match="more than 65536 points"):
        likely.Sequence(step=likely.Finite((), 256), length=5).enumerate()


def test_many_samples_are_joined():
    """Samples are drawn a thousand at a time; the longest sequence of each thousand differs."""
    model = symbols(3, 40, 2)
    model.lengths = torch.tensor([0.0, 0.999, *[0.001 / 39] * 39], dtype=torch.float64)
    drawn = model.sample(3500, seed=0)
    assert drawn.values.shape == (3500, int(drawn.lengths.max()))
    assert model.space.contains(drawn)
    assert bool((drawn.values[torch.arange(drawn.values.shape[1]) >= drawn.lengths[:, None]] == 0).all())


def test_errors_are_one_line():
    space = likely.Sequence(step=likely.Finite((), 3), length=4)
    for numbers, message in [
        ({"states": 0}, "states, components and n_init must be 1 or more, not 0, 1 and 1"),
        ({"floor": 0.0}, "floor must be between"),
        ({"frozen": "emissions"}, "frozen names parts among"),
        ({"components": 2}, "components mixes Gaussians"),
    ]:
        with pytest.raises(likely.LikelyError, match=message):
            hmm.build(space, **numbers)
    with pytest.raises(likely.LikelyError, match="counts needs whole numbers"):
        hmm.build(likely.Real((2,)), counts=True)
    with pytest.raises(likely.LikelyError, match="covariance must be one of"):
        hmm.build(likely.Real((2,)), covariance="diag")
    model = hmm.build(space, states=2)
    for parts, message in [
        ({"initial": [0.5, 0.6]}, r"initial must be 0 or more and sum to 1; there is a sum of 1\.1"),
        ({"transition": [[1.0, 0.0]]}, r"transition has shape \(1, 2\), expected \(2, 2\)"),
        ({"probabilities": torch.full((2, 3), 0.5)}, "sum of 1.5"),
        ({"means": torch.zeros(2, 1)}, "means cannot be set"),
    ]:
        with pytest.raises(likely.LikelyError, match=message):
            model.set_parts(**parts)
    with pytest.raises(likely.LikelyError, match="at least one step"):
        model.start(torch.zeros(0, 2))
    with pytest.raises(likely.LikelyError, match="nothing to learn from"):
        model.m_step(model.e_step([[0, 1]], weight=[0.0]))
    with pytest.raises(likely.LikelyError, match="length of 5 steps"):
        model.log_prob([[0] * 5])
    with pytest.raises(likely.LikelyError, match="add up to 4 steps, not to 3"):
        ragged([0, 1, 2, 0], lengths=[1, 2])
    with pytest.raises(likely.LikelyError, match="steps of one shape"):
        ragged([[0, 1], [[0, 1]]])
    with pytest.raises(likely.LikelyError, match="sequence 0 has 3 steps but 2 states"):
        model.learn_with_states([[0, 1, 2]], [[0, 1]])
    with pytest.raises(likely.LikelyError, match="states must be whole numbers 0 to 1"):
        model.learn_with_states([[0, 1, 2]], [[0, 1, 2]])
    model.set_parts(initial=[1.0, 0.0])
    with pytest.raises(likely.LikelyError, match="the given states of sequence 0 are impossible"):
        model.learn_with_states([[0, 1, 2]], [[1, 1, 1]])


# hmmlearn ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["categorical", "Poisson", "full", "tied", "diagonal", "spherical", "mixture"])
def test_em_follows_hmmlearn_pass_by_pass(name):
    """Same start, five passes: parameters, likelihood, posterior and best path; not run where hmmlearn is missing."""
    peer = pytest.importorskip("hmmlearn.hmm")
    generator = torch.Generator().manual_seed(0)
    k, size, lengths = 3, 2, [12, 1, 30, 7]
    total = sum(lengths)
    initial, transition = chances(generator, k), chances(generator, k, k)
    common = {"n_components": k, "init_params": "", "n_iter": 5, "tol": -np.inf}
    space = likely.Sequence(step=likely.Real((size,)), length=30)
    numbers = {"states": k, "floor": 1e-12}
    if name == "categorical":
        space = likely.Sequence(step=likely.Finite((), 4), length=30)
        flat, guess = torch.randint(4, (total,), generator=generator), chances(generator, k, 4)
        theirs, parts = peer.CategoricalHMM(**common, n_features=4), {"probabilities": guess}
        theirs.emissionprob_ = guess.numpy().copy()
    elif name == "Poisson":
        space, numbers = likely.Sequence(step=likely.Finite((size,), 80), length=30), {**numbers, "counts": True}
        flat = torch.randint(12, (total, size), generator=generator)
        guess = 1 + 5 * torch.rand(k, size, generator=generator).double()
        theirs, parts = peer.PoissonHMM(**common, lambdas_prior=0, lambdas_weight=0), {"rates": guess}
        theirs.lambdas_ = guess.numpy().copy()
    else:
        m = 2 if name == "mixture" else 1
        kind = "diagonal" if name == "mixture" else name
        flat = torch.randn(total, size, generator=generator, dtype=torch.float64)
        means, wide = torch.randn(k, m, size, generator=generator).double(), 1.5 * torch.eye(size).double()
        parts = {"means": means, "covariances": wide.expand(k, m, size, size)}
        numbers |= {"covariance": kind, "components": m}
        if name == "mixture":
            theirs = peer.GMMHMM(
                **common, n_mix=m, covariance_type="diag", covars_prior=-1.5, covars_weight=0, means_weight=0
            )
            theirs.weights_ = np.full((k, m), 1 / m)
            theirs.means_, theirs.covars_ = means.numpy().copy(), np.full((k, m, size), 1.5)
        else:
            their_kind = {"diagonal": "diag"}.get(kind, kind)
            theirs = peer.GaussianHMM(
                **common, covariance_type=their_kind, covars_prior=0, covars_weight=0, min_covar=0
            )
            theirs.n_features = size
            theirs.means_ = means[:, 0].numpy().copy()
            shape = {"full": (k, 1, 1), "tied": (1, 1), "diag": None, "spherical": None}[their_kind]
            start = np.tile(wide.numpy(), shape) if shape else np.full((k, size) if their_kind == "diag" else k, 1.5)
            theirs.covars_ = start
    theirs.startprob_, theirs.transmat_ = initial.numpy().copy(), transition.numpy().copy()
    ours = hmm.build(space, **numbers)
    ours.set_parts(initial=initial, transition=transition, **parts)
    x = ragged(flat, lengths)
    rows = flat.reshape(total, -1).numpy()
    inside = torch.arange(30) < x.lengths[:, None]

    def agree():
        score = float((ours.log_prob(x) - ours.lengths[x.lengths].log()).sum())
        assert score == pytest.approx(theirs.score(rows, lengths), abs=2e-3)
        np.testing.assert_allclose(ours.posterior(x)[inside], theirs.predict_proba(rows, lengths), atol=1e-4)
        path, log_prob = ours.viterbi(x)
        their_score, their_path = theirs.decode(rows, lengths)
        assert float(log_prob.sum()) == pytest.approx(their_score, abs=1e-3)
        assert (path[inside].numpy() == their_path).mean() > 0.95  # several paths may be equally probable

    agree()
    if name == "mixture":  # its second moments are taken about the means before the pass, which is not quite EM
        theirs.n_iter = 1
    theirs.fit(rows, lengths)
    passes(ours, x, theirs.n_iter)
    np.testing.assert_allclose(ours.transition, theirs.transmat_, atol=2e-5)
    np.testing.assert_allclose(ours.initial, theirs.startprob_, atol=2e-5)
    if name == "mixture":
        np.testing.assert_allclose(ours.emission.means, theirs.means_, atol=1e-5)
        np.testing.assert_allclose(ours.emission.mixture, theirs.weights_, atol=1e-5)
    else:
        agree()


# What is impossible, and what is not a number -------------------------------------------------------------------------


def certain(step):
    """Return a model that begins in its first state, where every entry is 0, and moves to its second, where it is 1."""
    model = hmm.build(likely.Sequence(step=step, length=4), states=2)
    table = torch.tensor([[1.0, 0.0], [0.0, 1.0]])[:, None].expand(2, step.size, 2)
    model.set_parts(initial=[1, 0], transition=[[0, 1], [0, 1]], probabilities=table.contiguous())
    return model


@pytest.mark.parametrize("step", [likely.Binary(()), likely.Binary((3,))])
def test_levels_of_probability_zero_are_impossible_and_never_nan(step):
    model = certain(step)
    x = ragged(
        [
            torch.tensor(levels).reshape(-1, *[1] * len(step.shape)).expand(-1, *step.shape)
            for levels in ([0, 1, 1], [1, 0], [0])
        ]
    )
    score = model.log_prob(x)
    assert score.isneginf().tolist() == [False, True, False]
    assert not score.isnan().any()
    weighed = model.e_step(x, weight=torch.tensor([1.0, 0.0, 1.0]))
    assert float(weighed["log_likelihood"]) == pytest.approx(float(score[[0, 2]].sum()))
    assert all(bool(value.isfinite().all()) for value in weighed.values())
    assert model.viterbi(x)[1].isneginf().tolist() == [False, True, False]
    known = torch.zeros(x.values.shape, dtype=torch.bool)
    known[:, 0] = True
    with pytest.raises(likely.LikelyError, match="cannot complete row 1: what is known there has probability 0"):
        model.complete(x, known, seed=0)
    for ask in (model.posterior, lambda x: model.posterior(x, filtered=True), model.predict):
        with pytest.raises(likely.LikelyError, match="sequence 1 has probability 0"):
            ask(x)


def test_symbols_are_given_by_what_they_are_called():
    step = likely.Finite((), 3, categories=("a", "b", "c"), ordered=False)
    model = hmm.build(likely.Sequence(step=step, length=5), states=2)
    numbers = model.log_prob([[0, 1, 1], [2]])
    assert torch.equal(model.log_prob(["abb", "c"]), numbers)
    assert torch.equal(model.log_prob((["a", "b", "b"], ["c"])), numbers)
    assert model.viterbi(["abb", "c"])[0].shape == (2, 3)
    with pytest.raises(likely.LikelyError, match="symbol 'z'; known are a, b, c"):
        model.log_prob(["abz"])
    with pytest.raises(likely.LikelyError, match="have no names: give numbers"):
        symbols().log_prob(["ab"])


@pytest.mark.parametrize("x", ["ab", np.array([[0, 1], [2]], dtype=object), [[0, None]], [0, 1], 3])
def test_what_are_no_sequences_is_one_line(x):
    with pytest.raises(likely.LikelyError):
        symbols().log_prob(x)


def test_sequences_may_be_a_tuple():
    model = symbols()
    assert torch.equal(model.log_prob(([0, 1], [2])), model.log_prob([[0, 1], [2]]))
    assert float(model.e_step([])["count"]) == 0


@pytest.mark.parametrize("states", [5, [["a"], ["b"]], [[0, 1], None]])
def test_states_that_are_no_numbers_are_one_line(states):
    with pytest.raises(likely.LikelyError, match="states must be whole numbers, a list for each sequence"):
        symbols().learn_with_states([[0, 1], [2]], states)


@pytest.mark.parametrize("initial", ["ab", 0.5, [None, None]])
def test_parts_that_are_no_numbers_are_one_line(initial):
    with pytest.raises(likely.LikelyError, match="initial"):
        symbols().set_parts(initial=initial)


@pytest.mark.parametrize("step", [likely.Binary(()), likely.Binary((3,))])
def test_what_is_saved_is_finite_where_levels_are_impossible(step):
    assert all(bool(value.isfinite().all()) for value in certain(step).state_dict().values())
