"""Choosing the number of components, priors, sparse weights, starts and shrinkage, against scikit-learn and by hand."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf
from sklearn.datasets import load_digits
from sklearn.mixture import BayesianGaussianMixture
from sklearn.mixture import GaussianMixture as Oracle

import likely
from likely.data.parts import Part
from likely.errors import SpaceError
from likely.families.criteria import aic, bic
from likely.models import gaussian, gmm

KINDS = ("full", "tied", "diagonal", "spherical", "lowrank", "ppca")


def clusters(rows=300, size=2, k=3, seed=0, apart=6.0):
    generator = torch.Generator().manual_seed(seed)
    centres = apart * torch.randn(k, size, generator=generator, dtype=torch.float64)
    return centres[torch.arange(rows) % k] + torch.randn(rows, size, generator=generator, dtype=torch.float64)


def started(x, seed=0, **numbers):
    model = gmm.build(likely.Real(tuple(x.shape[1:])), **numbers)
    torch.manual_seed(seed)
    model.start(x)
    return model


def fitted(x, passes=20, **numbers):
    model = started(x, **numbers)
    for _ in range(passes):
        model.m_step(model.e_step(x))
    return model


def oracle_of(model, kind):
    """Return scikit-learn's mixture with our parameters."""
    theirs = Oracle(len(model.weights), covariance_type={"diagonal": "diag"}.get(kind, kind))
    wide = model.covariances.numpy()
    theirs.weights_, theirs.means_ = model.weights.numpy(), model.means.numpy()
    flat = np.diagonal(wide, axis1=1, axis2=2)
    theirs.covariances_ = {"full": wide, "tied": wide[0], "diagonal": flat, "spherical": flat[:, 0]}[kind]
    inverse = np.linalg.inv(np.linalg.cholesky(wide)).transpose(0, 2, 1)
    theirs.precisions_cholesky_ = {
        "full": inverse,
        "tied": inverse[0],
        "diagonal": 1 / np.sqrt(flat),
        "spherical": 1 / np.sqrt(flat[:, 0]),
    }[kind]
    return theirs


@pytest.mark.parametrize("kind", ["full", "tied", "diagonal", "spherical"])
def test_criteria_are_scikit_learns(kind):
    x = clusters(200, 3)
    model = fitted(x, 5, components=2, covariance=kind)
    theirs = oracle_of(model, kind)
    assert bic(model, x) == pytest.approx(theirs.bic(x.numpy()), rel=1e-9)
    assert aic(model, x) == pytest.approx(theirs.aic(x.numpy()), rel=1e-9)
    assert bic(model, x, weight=torch.full((200,), 2.0)) == pytest.approx(bic(model, x.repeat(2, 1)), rel=1e-9)


@pytest.mark.parametrize("criterion", ["bic", "aic"])
def test_the_true_number_of_components_is_chosen(criterion):
    x = clusters(400, 2, 3)
    found = gmm.choose(x, range(1, 6), criterion=criterion, covariance="spherical", n_init=3, seed=0)
    assert found.components == len(found.model.weights) == 3 if criterion == "bic" else found.components >= 3
    assert set(found.scores) == {1, 2, 3, 4, 5}
    assert found.scores[found.components] == min(found.scores.values())


def test_a_choice_that_cannot_be_made_is_one_line():
    x = clusters(20)
    with pytest.raises(likely.LikelyError, match="unknown criterion 'bik'"):
        gmm.choose(x, [1], criterion="bik")
    with pytest.raises(likely.LikelyError, match="no number of components"):
        gmm.choose(x, [])
    with pytest.raises(SpaceError, match="array of reals"):
        gmm.choose(torch.zeros(3, 2, dtype=torch.int64))
    with pytest.raises(likely.LikelyError, match="array of reals"):
        gmm.choose("abc", [1])
    with pytest.raises(likely.LikelyError, match="weight must be 3 numbers"):
        gmm.choose(torch.randn(3, 2), [1], weight="x")
    with pytest.raises(likely.LikelyError, match="no exact density"):
        bic(gmm.build(likely.Binary((2,))), torch.zeros(3, 2))


@pytest.mark.parametrize("kind", ["full", "diagonal"])
def test_priors_are_imaginary_rows(kind):
    """S = (N S' + p C) / (N + p) with C the data's variances over K^(2/D); w = (N + a - 1) / (total + K (a - 1))."""
    x, rows, alpha = clusters(90, 2), 7.0, 4.0
    plain = started(x, components=3, covariance=kind)
    prior = started(x, components=3, covariance=kind, pseudo_count=rows, concentration=alpha)
    stats = plain.e_step(x)
    plain.m_step(stats)
    prior.m_step(stats)
    mass = stats["mass"]
    imagined = x.var(0, correction=0).diag() / 3
    expected = (mass[:, None, None] * plain.covariances + rows * imagined) / (mass + rows)[:, None, None]
    assert prior.covariances.numpy() == pytest.approx(expected.numpy(), rel=1e-9)
    assert prior.weights.numpy() == pytest.approx(((mass + 3) / (90 + 9)).numpy(), rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(KINDS), st.integers(1, 4), st.integers(1, 6), st.integers(4, 40), st.integers(0, 99), st.booleans()
)
def test_with_priors_the_posterior_never_falls(kind, components, size, rows, seed, holes):
    assume(components <= rows)
    x = clusters(rows, size, 3, seed)
    if holes:
        x[torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) < 0.2] = torch.nan
    model = started(x, components=components, covariance=kind, rank=2, pseudo_count=0.5, concentration=1.5)
    before = -np.inf
    for _ in range(8):
        stats = model.e_step(x)
        now = float(stats["log_likelihood"] + model.log_prior(float(stats["count"])))
        assert now > before - 1e-7 * max(1, abs(now))
        revived = bool((stats["mass"] <= 1e-6 * rows / components).any())
        before = -np.inf if revived else now
        model.m_step(stats)


def test_ridge_is_scikit_learns_reg_covar():
    x = clusters(200, 3)
    model = started(x, components=3, floor=1e-12, ridge=0.3)
    theirs = oracle_of(model, "full")
    theirs.reg_covar = 0.3
    for _ in range(5):
        _, log_share = theirs._e_step(x.numpy())
        theirs._m_step(x.numpy(), log_share)
        model.m_step(model.e_step(x))
    assert model.covariances.numpy() == pytest.approx(theirs.covariances_, rel=1e-6, abs=1e-8)


def test_sparse_weights_keep_what_pays():
    """Ten components on three clusters: seven vanish. scikit-learn's Bayesian mixture leaves as many."""
    x = clusters(600, 2, 3, apart=8.0)
    model = started(x, components=10, weights="sparse")
    for _ in likely.fit(model, Part(x), passes=30, seed=0):
        pass
    alive = model.weights > 0
    theirs = BayesianGaussianMixture(
        n_components=10, weight_concentration_prior=1e-3, max_iter=500, random_state=0
    ).fit(x.numpy())
    assert int(alive.sum()) == 3
    assert int((theirs.weights_ > 0.02).sum()) == 3
    assert model.weights[alive].sort().values.numpy() == pytest.approx(np.full(3, 1 / 3), abs=0.02)
    known = Oracle(3, random_state=0).fit(x.numpy()).score(x.numpy())
    assert model.log_prob(x).mean().item() == pytest.approx(known, abs=0.01)
    assert model.free_parameters == 2 + 3 * (2 + 3)
    assert model.sample(100, seed=0).isfinite().all()
    assert model.responsibilities(x)[:, ~alive].max() == 0


def test_the_best_of_several_starts_stays():
    x = clusters(300, 2, 8, seed=3)
    single = [float(fitted(x, seed=s, components=8, first="random").log_prob(x).mean()) for s in range(8)]
    best = float(fitted(x, components=8, first="random", n_init=8).log_prob(x).mean())
    assert best > np.mean(single) + 0.01
    assert best > np.sort(single)[-3]


@pytest.mark.parametrize("first", ["k-means", "k-means++", "random"])
def test_every_way_to_start_finds_the_clusters(first):
    x = clusters(300, 2, 3, apart=8.0)
    model = fitted(x, 40, components=3, first=first, n_init=4)
    assert model.weights.sort().values.numpy() == pytest.approx(np.full(3, 1 / 3), abs=0.02)


@pytest.mark.parametrize("rows", [10, 30, 64, 100])
def test_fewer_rows_than_dimensions_are_shrunk_as_well_as_ledoit_and_wolf_do(rows):
    digits = torch.from_numpy(load_digits().data)
    # Pictures between whole numbers, so that no column is constant and no score infinite.
    digits = digits + torch.rand(digits.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    train, test = digits[:rows], digits[1000:]
    scores = {}
    for shrink in (True, False):
        model = gaussian.build(likely.Real((64,)), shrink=shrink)
        model.start(train)
        scores[shrink] = float(model.log_prob(test).mean())
    # Their target is spherical: in standard units it is ours.
    mean, scale = train.mean(0), train.std(0, correction=0)
    theirs = LedoitWolf().fit(((train - mean) / scale).numpy()).score(((test - mean) / scale).numpy())
    theirs -= float(scale.log().sum())
    assert scores[True] > scores[False] + 20
    assert scores[True] > theirs - 8
    if rows < 64:
        starved = {s: fitted(train, 5, components=2, shrink=s).log_prob(test).mean() for s in (True, False)}
        assert starved[True] > starved[False] + 100


def test_shrinking_ends_at_four_rows_a_dimension():
    x = clusters(24, 6, 1)
    model = gaussian.build(likely.Real((6,)))
    model.start(x)
    assert model.covariances[0].numpy() == pytest.approx(np.cov(x.numpy().T, bias=True), rel=1e-9)


def test_weights_of_rows_count_as_repetitions():
    x = clusters(60)
    times = torch.arange(60) % 3
    fits = [started(x, components=2) for _ in range(2)]
    for _ in range(5):
        fits[0].m_step(fits[0].e_step(x, weight=times))
        fits[1].m_step(fits[1].e_step(x.repeat_interleave(times, 0)))
    assert fits[0].covariances.numpy() == pytest.approx(fits[1].covariances.numpy(), rel=1e-8, abs=1e-10)


def test_the_path_of_em_can_be_watched():
    x = clusters(200)
    model = gmm.build(likely.Real((2,)), components=3, first="random")
    path = [
        (s.model.means.clone(), s.model.covariances, s.model.weights)
        for s in likely.fit(model, Part(x), passes=4, tolerance=-1.0)
    ]
    assert len(path) == 4
    assert path[0][0].shape == (3, 2)
    assert path[0][1].shape == (3, 2, 2)
    assert not torch.equal(path[0][0], path[-1][0])


def test_put_sets_the_parameters_in_the_datas_units():
    x = clusters(50, 3)
    source = fitted(x, 3, components=2)
    for kind in ("full", "tied", "diagonal"):
        wide = source.covariances[0] if kind == "tied" else source.covariances
        model = gmm.build(likely.Real((3,)), components=2, covariance=kind)
        model.put(source.means, wide, source.weights)
        assert model.means.numpy() == pytest.approx(source.means.numpy())
        assert model.weights.numpy() == pytest.approx(source.weights.numpy())
        expected = wide.expand(2, 3, 3).numpy() * (np.eye(3) if kind == "diagonal" else 1)
        assert model.covariances.numpy() == pytest.approx(expected, abs=1e-12)
    with pytest.raises(likely.LikelyError, match="not positive definite"):
        model.put(source.means, -source.covariances)
    with pytest.raises(likely.LikelyError, match="low rank"):
        gmm.build(likely.Real((3,)), components=2, covariance="lowrank").put(source.means, source.covariances)
