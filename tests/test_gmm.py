"""Mixtures of Gaussians against scikit-learn, scipy, and brute force over what is missing."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as Oracle

import likely
from likely.models import gmm
from likely.parts import kmeans

KINDS = ("full", "tied", "diagonal", "spherical", "lowrank", "ppca")


def clusters(rows=300, size=3, k=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centres = 4 * torch.randn(k, size, generator=generator, dtype=torch.float64)
    shapes = torch.randn(k, size, size, generator=generator, dtype=torch.float64)
    which = torch.arange(rows) % k
    noise = torch.randn(rows, size, generator=generator, dtype=torch.float64)
    return centres[which] + torch.einsum("bij,bj->bi", shapes[which], noise)


def started(x, seed=0, **numbers):
    model = gmm.build(likely.Real(tuple(x.shape[1:])), **numbers)
    torch.manual_seed(seed)
    model.start(x)
    return model


def passes(model, x, n, **given):
    """Run n passes of EM and return the log-likelihood before each."""
    found = []
    for _ in range(n):
        stats = model.e_step(x, **given)
        found.append(float(stats["log_likelihood"] / stats["count"]))
        model.m_step(stats)
    return np.array(found)


def brute_force(model, x):
    """Return log w_k + log p_k of the entries that are not NaN, (B, K), by scipy."""
    means, covariances, weights = model.means.numpy(), model.covariances.numpy(), model.weight.numpy()
    rows = []
    for row in x.numpy():
        o = ~np.isnan(row)
        rows.append(
            [
                np.log(w) + (multivariate_normal(m[o], c[np.ix_(o, o)]).logpdf(row[o]) if o.any() else 0.0)
                for w, m, c in zip(weights, means, covariances, strict=True)
            ]
        )
    return np.array(rows)


@pytest.mark.parametrize(
    ("kind", "theirs"), [("full", "full"), ("tied", "tied"), ("diagonal", "diag"), ("spherical",) * 2]
)
def test_em_follows_scikit_learn_step_by_step(kind, theirs):
    x = clusters()
    model = started(x, components=4, covariance=kind, floor=1e-9)
    precisions = np.linalg.inv(model.covariances.numpy())
    first = {
        "full": precisions,
        "tied": precisions[0],
        "diag": np.diagonal(precisions, axis1=1, axis2=2),
        "spherical": precisions[:, 0, 0],
    }[theirs]
    weights, means = model.weight.numpy().copy(), model.means.numpy().copy()
    for n in (1, 2, 5, 30):
        oracle = Oracle(
            4,
            covariance_type=theirs,
            reg_covar=0,
            tol=0,
            max_iter=n,
            weights_init=weights,
            means_init=means,
            precisions_init=first,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            oracle.fit(x.numpy())
        mine = started(x, components=4, covariance=kind, floor=1e-9)
        passes(mine, x, n)
        assert mine.log_prob(x).mean().item() == pytest.approx(oracle.score(x.numpy()), abs=1e-6)
        assert mine.means.numpy() == pytest.approx(oracle.means_, abs=1e-5)
        assert mine.responsibilities(x).numpy() == pytest.approx(oracle.predict_proba(x.numpy()), abs=1e-5)


@given(
    st.sampled_from(KINDS),
    st.integers(1, 6),
    st.integers(1, 5),
    st.integers(2, 60),
    st.integers(0, 999),
    st.sampled_from([torch.float32, torch.float64]),
    st.booleans(),
)
def test_the_likelihood_never_falls(kind, components, size, rows, seed, dtype, holes):
    """Also where the floor holds the variances up, and in float32."""
    assume(components <= rows)
    x = (100 + 1e3 * clusters(rows, size, 3, seed)).to(dtype)
    if holes:
        x[torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) < 0.2] = torch.nan
    model = started(x, components=components, covariance=kind, rank=2, floor=1e-3, shrink=False)
    steps = []
    for _ in range(8):
        stats = model.e_step(x)
        revived = bool((stats["mass"] < 2e-6 * rows / components).any())
        steps.append((float(stats["log_likelihood"]) / rows, revived))
        model.m_step(stats)
    for (before, revived), (after, _) in itertools.pairwise(steps):
        assert after > before - 2e-6 * max(1, abs(before)) - (0.01 if revived else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_and_marginals_agree_with_scipy(kind):
    x = clusters(40)
    model = started(x, components=3, covariance=kind, rank=1)
    passes(model, x, 3)
    assert model.log_prob(x).numpy() == pytest.approx(logsumexp(brute_force(model, x), 1), abs=1e-8)
    assert model.log_prob(x.float()).numpy() == pytest.approx(model.log_prob(x).numpy(), abs=1e-3)
    x[torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.4] = torch.nan
    joint = brute_force(model, x)
    assert model.log_prob(x).numpy() == pytest.approx(logsumexp(joint, 1), abs=1e-8)
    expected = np.exp(joint - logsumexp(joint, 1, keepdims=True))
    assert model.responsibilities(x).numpy() == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_the_e_step_with_missing_values_is_the_expectation_of_the_complete_one(kind):
    """Row by row and component by component, from the textbook's conditional mean and covariance."""
    x = clusters(12)
    model = started(x, components=2, covariance=kind, rank=1)
    x[torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.4] = torch.nan
    stats = model.e_step(x)
    joint = brute_force(model, x)
    share = np.exp(joint - logsumexp(joint, 1, keepdims=True))
    assert float(stats["log_likelihood"]) == pytest.approx(logsumexp(joint, 1).sum(), abs=1e-8)
    assert stats["mass"].numpy() == pytest.approx(share.sum(0), abs=1e-9)
    scale = model.scale.numpy()
    rank = model.factor.shape[2] if model.low_rank else 0
    first, second, cross = np.zeros((2, 3)), np.zeros((2, 3, 3)), np.zeros((2, 3, rank + 1))
    latent = np.zeros((2, rank + 1, rank + 1))
    for row, r in zip(x.numpy(), share, strict=True):
        o = np.r_[~np.isnan(row), np.zeros(rank, bool)]  # of (x, z), z is never seen
        for k in range(2):
            m, c = model.means[k].numpy(), model.covariances[k].numpy() / np.outer(scale, scale)
            if rank:
                w = model.factor[k].numpy()
                c = np.block([[c, w], [w.T, np.eye(rank)]])
            gain = c[:, o] @ np.linalg.inv(c[np.ix_(o, o)])
            d = gain @ ((row - m) / scale)[o[:3]]
            both = np.outer(d, d) + c - gain @ c[o]
            first[k] += r[k] * d[:3]
            second[k] += r[k] * both[:3, :3]
            cross[k] += r[k] * np.c_[both[:3, 3:], d[:3]]
            latent[k] += r[k] * np.block([[both[3:, 3:], d[3:, None]], [d[None, 3:], np.ones((1, 1))]])
    if rank:
        assert stats["cross"].numpy() == pytest.approx(cross, abs=1e-8)
        assert stats["latent"].numpy() == pytest.approx(latent, abs=1e-8)
        assert stats["square"].numpy() == pytest.approx(np.diagonal(second, axis1=1, axis2=2), abs=1e-8)
        return
    assert stats["first"].numpy() == pytest.approx(first, abs=1e-8)
    mine = stats["second"].numpy()
    if kind == "tied":
        assert mine[0] == pytest.approx(second.sum(0), abs=1e-8)
    elif mine.ndim == 2:
        assert mine == pytest.approx(np.diagonal(second, axis1=1, axis2=2), abs=1e-8)
    else:
        assert mine == pytest.approx(second, abs=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_all_known_by_mask_is_the_fast_path(kind):
    x = clusters(50)
    model = started(x, components=3, covariance=kind)
    weight = torch.rand(50, generator=torch.Generator().manual_seed(0)) * 1e-9  # small, and not all equal
    fast = model.e_step(x, weight=weight)
    slow = model.e_step(x, known=torch.ones(3, dtype=torch.bool), weight=weight)
    for name, value in fast.items():
        assert value.numpy() == pytest.approx(slow[name].numpy(), rel=1e-9, abs=1e-18), name


def test_completions_follow_the_conditional_mixture():
    """Given x_0 at the middle between two clusters, x_1 comes from each as often as the responsibilities say."""
    model = gmm.build(likely.Real((2,)), components=2)
    model.mean.copy_(torch.tensor([[-1.0, -10.0], [1.0, 10.0]]))
    model.weight.copy_(torch.tensor([0.2, 0.8]))
    x = torch.tensor([[0.3, torch.nan]])
    share = model.responsibilities(x)[0]
    draws = model.complete(x.repeat(20_000, 1), seed=0)
    assert torch.equal(draws[:, 0], torch.full((20_000,), 0.3))
    assert (draws[:, 1] > 0).float().mean().item() == pytest.approx(share[1].item(), abs=0.015)
    assert draws[draws[:, 1] > 0, 1].mean().item() == pytest.approx(10, abs=0.05)


def test_a_component_without_rows_is_revived_and_helps():
    x = clusters(600, 2, 3)
    model = started(x, components=3)
    passes(model, x, 30)
    best = float(model.log_prob(x).mean())
    model.mean[2] = 1e3
    found = passes(model, x, 100)
    assert np.diff(found).min() > -0.01
    assert float(model.weight.min()) > 0.1
    assert found[-1] == pytest.approx(best, abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "x",
    [
        torch.full((3, 3), 1e8),
        torch.zeros(20, 3),
        torch.tensor([[0.0, 1.0, 2.0], [1.0, 1.0, 5.0]]).repeat(10, 1),
        torch.randn(4, 12, generator=torch.Generator().manual_seed(0)),
        1e8 + 1e6 * torch.randn(30, 3, generator=torch.Generator().manual_seed(0)),
    ],
    ids=["one row repeated", "constant", "two points", "few rows", "large"],
)
def test_degenerate_data_give_a_proper_density(x, kind):
    model = started(x, components=3, covariance=kind)
    passes(model, x, 5)
    assert model.log_prob(x).isfinite().all()
    assert model.sample(5, seed=0).isfinite().all()
    assert model.log_prob(2 * x + 10 * x.abs().max() + 1).mean() < model.log_prob(x).mean()


def test_float32_agrees_with_float64_after_em():
    x = clusters(2000, 8, 5)
    wide, narrow = (started(x, components=5) for _ in range(2))
    passes(wide, x, 10)
    passes(narrow, x.float(), 10)
    assert narrow.log_prob(x).mean().item() == pytest.approx(wide.log_prob(x).mean().item(), abs=1e-5)


def test_k_means_is_as_good_as_scikit_learns():
    x = torch.from_numpy(load_digits().data)
    torch.manual_seed(0)
    centres, index = kmeans.lloyd(x, kmeans.plus_plus(x, 10), rounds=50)
    mine = float((x - centres[index]).square().sum())
    assert mine < 1.02 * KMeans(10, n_init=3, random_state=0).fit(x.numpy()).inertia_


def test_seeding_takes_far_rows_and_bears_repeated_ones():
    torch.manual_seed(0)
    far = torch.tensor([[0.0], [100.0], [200.0]]).repeat(50, 1) + torch.rand(150, 1)
    assert sorted((kmeans.plus_plus(far, 3)[:, 0] / 100).floor().tolist()) == [0, 1, 2]
    assert torch.equal(kmeans.plus_plus(torch.ones(5, 2), 3), torch.ones(3, 2))


def test_a_mixture_beats_one_gaussian_on_digits():
    digits = torch.from_numpy(load_digits().images).to(torch.uint8)[:, None]
    train, test = digits[:1400], digits[1400:1600]
    scores = {}
    for name in ("gaussian", "gmm"):
        preset = {k: v for k, v in likely.entry(name).presets["digits"].items() if k != "passes"}
        model = likely.build(name, likely.Finite((1, 8, 8), 17), **preset)
        torch.manual_seed(0)
        model.start(train)
        found = passes(model, train, 1 if model.closed_form else 15)
        assert (np.diff(found) > -1e-5).all()
        scores[name] = float(model.iwelbo(test, 8, seed=0).mean())
    assert scores["gmm"] > scores["gaussian"] + 2


def test_bad_numbers_are_one_line():
    with pytest.raises(likely.LikelyError, match="components and rank must be"):
        gmm.build(likely.Real((2,)), components=0)
    with pytest.raises(likely.LikelyError, match="covariance must be one of"):
        gmm.build(likely.Real((2,)), covariance="diagnal")
    with pytest.raises(likely.LikelyError, match="unknown way to start"):
        gmm.build(likely.Real((2,)), first="kmeans")
    with pytest.raises(likely.LikelyError, match="unknown kind of weights"):
        gmm.build(likely.Real((2,)), weights="bayes")
    with pytest.raises(likely.LikelyError, match="n_init must be"):
        gmm.build(likely.Real((2,)), n_init=0)
    with pytest.raises(likely.LikelyError, match="ridge must be"):
        gmm.build(likely.Real((2,)), ridge=-1.0)
    model = gmm.build(likely.Real((2,)))
    with pytest.raises(likely.LikelyError, match="at least one row"):
        model.start(torch.zeros(0, 2))
    with pytest.raises(likely.LikelyError, match="components=10 needs as many rows, and n_samples=9"):
        model.start(torch.randn(9, 2))
    with pytest.raises(likely.LikelyError, match="nothing to learn from"):
        model.m_step(model.e_step(torch.zeros(3, 2), weight=torch.zeros(3)))
