"""Hidden Markov models on random problems: every emission against the sum over all paths, and against hmmlearn."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

import likely
from likely.models import hmm
from likely.spaces import ragged

KINDS = ("categorical", "Bernoulli", "Poisson", "full", "tied", "diagonal", "spherical", "mixture")
few = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def chances(generator, *shape):
    drawn = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.05
    return drawn / drawn.sum(-1, keepdim=True)


def covariances(generator, kind, states, components, size):
    """Return random covariances of a kind, (K, M, D, D)."""
    factor = torch.randn(states, components, size, size, generator=generator).double()
    wide = factor @ factor.mT + torch.eye(size)
    if kind == "tied":
        return wide[:1, :1].expand_as(wide)
    if kind in ("diagonal", "spherical"):
        variance = wide.diagonal(dim1=2, dim2=3)
        return (variance if kind == "diagonal" else variance[..., :1].expand_as(variance)).diag_embed()
    return wide


def problem(kind, seed, states, longest, size=2):
    """Return a model with random parameters, what draws a step, and what says how probable a step is, (K,)."""
    generator = torch.Generator().manual_seed(seed)
    chain = {"initial": chances(generator, states), "transition": chances(generator, states, states)}
    if kind in ("categorical", "Bernoulli", "Poisson"):
        levels = {"categorical": 3, "Bernoulli": 2, "Poisson": 40}[kind]
        size = 1 if kind == "categorical" else size
        shape = () if kind == "categorical" else (size,)
        step = likely.Binary(shape) if kind == "Bernoulli" else likely.Finite(shape, levels)
        model = hmm.build(likely.Sequence(step=step, length=longest), states=states, counts=kind == "Poisson")
        if kind == "Poisson":
            rates = 3 * torch.rand(states, size, generator=generator).double() + 0.1
            model.set_parts(**chain, rates=rates)
            level = torch.arange(levels).double()
            table = (torch.xlogy(level, rates[..., None]) - torch.lgamma(level + 1)).exp()
            table = table / table.sum(2, keepdim=True)
        else:
            table = chances(generator, states, size, levels)
            model.set_parts(**chain, probabilities=table)
        top = min(levels, 6)
        draw = lambda n: torch.randint(top, (n, *shape), generator=generator)  # noqa: E731

        def chance(row):
            row = np.atleast_1d(row)
            return [math.prod(float(table[k, d, int(v)]) for d, v in enumerate(row)) for k in range(states)]

        return model, draw, chance
    many = 2 if kind == "mixture" else 1
    spread = "full" if kind == "mixture" else kind
    space = likely.Sequence(step=likely.Real((size,)), length=longest)
    model = hmm.build(space, states=states, components=many, covariance=spread)
    means = 2 * torch.randn(states, many, size, generator=generator).double()
    wide, mixture = covariances(generator, spread, states, many, size), chances(generator, states, many)
    model.set_parts(**chain, means=means, covariances=wide, mixture=mixture)
    draw = lambda n: 2 * torch.randn(n, size, generator=generator, dtype=torch.float64)  # noqa: E731

    def chance(row):
        seen = ~np.isnan(row)
        if not seen.any():
            return [1.0] * states
        laws = [
            [
                multivariate_normal(means[k, m].numpy()[seen], wide[k, m].numpy()[np.ix_(seen, seen)])
                for m in range(many)
            ]
            for k in range(states)
        ]
        return [sum(float(mixture[k, m]) * laws[k][m].pdf(row[seen]) for m in range(many)) for k in range(states)]

    return model, draw, chance


def over_paths(model, frame):
    """Return p(x | length), the posterior, the expected moves, and the best path with its probability, by listing."""
    frame = torch.tensor(frame, dtype=torch.float64)
    paths = torch.tensor(list(itertools.product(range(model.states), repeat=len(frame))))
    share = model.initial[paths[:, 0]]
    for t in range(len(frame)):
        share = share * frame[t, paths[:, t]]
        if t:
            share = share * model.transition[paths[:, t - 1], paths[:, t]]
    hot = torch.nn.functional.one_hot(paths, model.states).double()
    posterior = torch.einsum("n,ntk->tk", share, hot) / share.sum()
    moves = torch.einsum("n,nti,ntj->ij", share, hot[:, :-1], hot[:, 1:]) / share.sum()
    return float(share.sum().log()), posterior, moves, paths[share.argmax()], float(share.max().log())


@few
@given(
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 10_000),
    states=st.integers(1, 3),
    lengths=st.lists(st.integers(0, 4), min_size=1, max_size=4),
    holes=st.booleans(),
)
def test_every_emission_is_summed_over_all_paths(kind, seed, states, lengths, holes):
    """Scores, posteriors, moves, best paths and predictions of ragged sequences, with entries missing or not."""
    model, draw, chance = problem(kind, seed, states, 5)
    x = ragged(draw(sum(lengths)), lengths) if sum(lengths) else ragged([draw(0)] * len(lengths))
    if holes and x.values.is_floating_point() and x.values.numel():
        lost = torch.rand(x.values.shape, generator=torch.Generator().manual_seed(seed)) < 0.4
        x.values[lost & (torch.arange(x.values.shape[1]) < x.lengths[:, None])[..., None]] = torch.nan
    score = model.log_prob(x) if not bool(torch.isnan(x.values.double()).any()) else None
    stats, posterior, (path, best) = model.e_step(x), model.posterior(x), model.viterbi(x)
    predicted = model.predict(x).states[:, 0]
    total, moves, first = 0.0, torch.zeros(states, states).double(), torch.zeros(states).double()
    for b, n in enumerate(lengths):
        total += math.log(model.lengths[n])
        if not n:
            torch.testing.assert_close(predicted[b], model.initial)
            continue
        exact, share, moved, way, height = over_paths(model, [chance(row) for row in x.values[b, :n].numpy()])
        if score is not None:
            assert float(score[b]) == pytest.approx(exact + math.log(model.lengths[n]), rel=1e-6, abs=1e-6)
        torch.testing.assert_close(posterior[b, :n], share, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(predicted[b], share[-1] @ model.transition, rtol=1e-6, atol=1e-8)
        assert float(best[b]) == pytest.approx(height, rel=1e-8, abs=1e-8)
        assert path[b, :n].tolist() == way.tolist()
        total, moves, first = total + exact, moves + moved, first + share[0]
    assert float(stats["log_likelihood"]) == pytest.approx(total, rel=1e-5, abs=1e-5)
    torch.testing.assert_close(stats["transition"], moves, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(stats["initial"], first, rtol=1e-4, atol=1e-5)


@few
@given(
    kind=st.sampled_from([kind for kind in KINDS if kind not in ("Bernoulli", "mixture")]),
    seed=st.integers(0, 10_000),
    states=st.integers(1, 4),
    size=st.integers(1, 3),
    lengths=st.lists(st.integers(1, 25), min_size=2, max_size=5),
)
def test_em_is_that_of_hmmlearn(kind, seed, states, size, lengths):
    """Three passes from the same random start: the likelihood to 1e-8, and what was learned."""
    peer = pytest.importorskip("hmmlearn.hmm")
    lengths = [40, *lengths]  # enough steps for every covariance
    ours, draw, _ = problem(kind, seed, states, 40, size)
    ours.emission.floor = 1e-12
    flat = draw(sum(lengths))
    x, rows = ragged(flat, lengths), flat.reshape(len(flat), -1).numpy()
    common = {"n_components": states, "init_params": "", "n_iter": 3, "tol": -np.inf}
    if kind == "categorical":
        theirs = peer.CategoricalHMM(**common, n_features=3)
        theirs.emissionprob_ = ours.emission.probabilities[:, 0].numpy().copy()
    elif kind == "Poisson":
        theirs = peer.PoissonHMM(**common, lambdas_prior=0, lambdas_weight=0)
        theirs.lambdas_ = ours.emission.log_rate.exp().numpy().copy()
    else:
        named = {"diagonal": "diag"}.get(kind, kind)
        theirs = peer.GaussianHMM(**common, covariance_type=named, covars_prior=0, covars_weight=0, min_covar=0)
        theirs.n_features = size
        theirs.means_ = ours.emission.means[:, 0].numpy().copy()
        wide = ours.emission.covariances[:, 0]
        theirs.covars_ = {
            "full": wide,
            "tied": wide[0],
            "diagonal": wide.diagonal(dim1=1, dim2=2),
            "spherical": wide[:, 0, 0],
        }[kind].numpy()
    theirs.startprob_, theirs.transmat_ = ours.initial.numpy().copy(), ours.transition.numpy().copy()

    def gap():
        score = float((ours.log_prob(x) - ours.lengths[x.lengths].log()).sum())
        return abs(score / theirs.score(rows, lengths) - 1)

    assert gap() < 1e-9
    theirs.fit(rows, lengths)
    for _ in range(3):
        ours.m_step(ours.e_step(x))
    assert gap() < (1e-8 if rows.dtype == np.float64 else 1e-6)  # levels are learned from in float32
    np.testing.assert_allclose(ours.transition, theirs.transmat_, atol=1e-4)
    np.testing.assert_allclose(ours.initial, theirs.startprob_, atol=1e-4)


DEGENERATE = {
    "one step": torch.randn(1, 1, 2, generator=torch.Generator().manual_seed(0)),
    "one step of each length": torch.randn(1, 8, 2, generator=torch.Generator().manual_seed(0)),
    "constant column": torch.stack([torch.randn(5, 8), torch.full((5, 8), 7.0)], 2),
    "constant": torch.full((3, 8, 2), -2.5),
    "large constant": torch.full((3, 8, 2), 1e8),
    "large": 1e8 + 1e6 * torch.randn(6, 8, 2, generator=torch.Generator().manual_seed(0)),
    "tiny": 1e-20 * torch.randn(6, 8, 2, generator=torch.Generator().manual_seed(0)),
    "outlier": torch.cat([torch.randn(5, 8, 2), torch.full((1, 8, 2), 1e8)]),
    "missing column": torch.stack([torch.randn(5, 8), torch.full((5, 8), torch.nan)], 2),
    "repeated": torch.tensor([[0.0, 1.0]]).expand(6, 8, 2),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("numbers", [{}, {"covariance": "full"}, {"covariance": "tied"}, {"components": 2}], ids=str)
@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_data(name, numbers, dtype):
    """Also with more states than steps, EM never falls, and what comes out is finite."""
    x = DEGENERATE[name].to(dtype)
    model = hmm.build(likely.Sequence(step=likely.Real((2,)), length=8), states=10, **numbers)
    torch.manual_seed(0)
    model.start(x)
    found = []
    for _ in range(8):
        stats = model.e_step(x)
        found.append(float(stats["log_likelihood"] / stats["count"]))
        model.m_step(stats)
    found = np.array(found)
    assert np.isfinite(found).all()
    assert (np.diff(found) > -1e-5 * (1 + np.abs(found[1:]))).all()
    assert model.posterior(x).isfinite().all()
    assert model.sample(4, seed=0).values.isfinite().all()
    assert model.predict(x, 2).mean.isfinite().all()


@pytest.mark.parametrize("numbers", [{}, {"counts": True}], ids=str)
@pytest.mark.parametrize("x", [[[0]], [[3] * 6] * 3, [[0, 4, 0, 4]], [[4]] * 2], ids=str)
def test_degenerate_levels(x, numbers):
    model = hmm.build(likely.Sequence(step=likely.Finite((), 5), length=6), states=4, **numbers)
    torch.manual_seed(0)
    model.start(x)
    found = []
    for _ in range(10):
        stats = model.e_step(x)
        found.append(float(stats["log_likelihood"]))
        model.m_step(stats)
    assert np.isfinite(found).all()
    assert (np.diff(found) > -1e-5).all()
    assert model.log_prob([[0, 1, 2, 3, 4, 0]]).isfinite().all()


def test_the_best_of_several_starts():
    """More starts never end lower, and the chances that were forbidden stay so."""
    space = likely.Sequence(step=likely.Finite((), 6), length=40)
    truth = hmm.build(space, states=4)
    generator = torch.Generator().manual_seed(3)
    sharp = torch.rand(4, 6, generator=generator, dtype=torch.float64) ** 6 + 1e-3
    truth.set_parts(
        probabilities=sharp / sharp.sum(1, keepdim=True), transition=0.8 * torch.eye(4) + 0.2 * chances(generator, 4, 4)
    )
    x = truth.sample(60, seed=0)

    def likelihood(n_init):
        model = hmm.build(space, states=4, n_init=n_init)
        torch.manual_seed(1)
        model.start(x)
        if n_init == 1:
            for _ in range(hmm.TRIAL_PASSES):
                model.m_step(model.e_step(x))
        return float(model.e_step(x)["log_likelihood"]), model

    one, several = likelihood(1)[0], likelihood(6)[0]
    assert several > one
    model = hmm.build(space, states=2, n_init=3)
    model.set_parts(initial=[1.0, 0.0], transition=[[0.5, 0.5], [0.0, 1.0]])
    model.start(x)
    assert model.initial.tolist() == [1, 0]
    assert float(model.transition[1, 0]) == 0


def test_many_steps_and_pieces_change_nothing(monkeypatch):
    """Batches that are cut to pieces by length, and starts from a part of the steps."""
    from likely.families import hidden

    model, draw, _ = problem("diagonal", 0, 3, 30)
    lengths = [30, 1, 7, 30, 2, 19, 0, 5]
    x = ragged(draw(sum(lengths)), lengths)
    states = [[-1] * n for n in lengths]
    whole = model.log_prob(x), model.posterior(x), *model.viterbi(x), model.predict(x).mean
    stats = model.e_step(x)
    monkeypatch.setattr(hidden, "CELLS", 100)
    monkeypatch.setattr(hmm, "START_STEPS", 20)
    for mine, theirs in zip(
        (model.log_prob(x), model.posterior(x), *model.viterbi(x), model.predict(x).mean), whole, strict=True
    ):
        torch.testing.assert_close(mine, theirs)
    for name, value in model.e_step(x).items():
        torch.testing.assert_close(value, stats[name])
    holes = x._replace(values=x.values.clone())
    holes.values[0, 5] = holes.values[5, 3, 1] = torch.nan
    filled = model.complete(holes, seed=0).values
    assert torch.equal(filled[~holes.values.isnan()], x.values[~holes.values.isnan()])
    assert filled.isfinite().all()
    model.set_parts(initial=[1.0, 0.0, 0.0])
    states[5][0] = 1
    with pytest.raises(likely.LikelyError, match="the given states of sequence 5 are impossible"):
        model.learn_with_states(x, states)
    model.start(x)
    assert model.emission.means.isfinite().all()
