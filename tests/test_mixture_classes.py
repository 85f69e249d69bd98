"""Gaussians and mixtures fitted for each class: against scipy, against one class alone, and as classifiers."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits, load_iris

import likely
from likely.core import Bijective, Weighted
from likely.data.parts import Part
from likely.errors import SpaceError
from likely.models import gmm

CLASSES = likely.Finite((), 3, ordered=False)


def iris():
    found = load_iris()
    return torch.from_numpy(found.data), torch.from_numpy(found.target).to(torch.uint8)


def fitted(name, x, cond, classes=CLASSES, passes=10, **numbers):
    model = likely.build(name, likely.Real(tuple(x.shape[1:])), classes, **numbers)
    for _ in likely.fit(model, Part(x, cond), passes=passes, seed=0):
        pass
    return model


def test_gaussians_by_class_are_quadratic_discriminant_analysis():
    x, cond = iris()
    x, cond = x[:130], cond[:130]  # so that classes are not equally frequent
    model = fitted("gaussian", x, cond, passes=1, floor=1e-9)
    joint = np.zeros((len(x), 3))
    for c in range(3):
        own = x[cond == c].numpy()
        law = multivariate_normal(own.mean(0), np.cov(own.T, bias=True))
        score = law.logpdf(x.numpy())
        assert model.log_prob(x, torch.tensor(c)).numpy() == pytest.approx(score, abs=1e-8)
        joint[:, c] = score + np.log(len(own) / 130)
    mixed = model.log_prob(x, cond).numpy()
    assert mixed == pytest.approx((joint - np.log(np.bincount(cond) / 130))[np.arange(130), cond], abs=1e-8)
    assert model.log_prob_of_any(x).numpy() == pytest.approx(logsumexp(joint, 1), abs=1e-8)
    assert model.label_probabilities(x).numpy() == pytest.approx(softmax(joint, 1), abs=1e-8)
    assert isinstance(model, Bijective)
    z = model.encode(x, cond)
    assert model.decode(z, cond).numpy() == pytest.approx(x.numpy(), abs=1e-9)
    assert z[cond == 1].mean(0).numpy() == pytest.approx(np.zeros(4), abs=1e-9)


def test_missing_values_are_integrated_out_of_classes_too():
    x, cond = iris()
    holes = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.3
    x = torch.where(holes, torch.nan, x)
    model = fitted("gmm", x, cond, components=2, covariance="lowrank", rank=1)
    alone = model.of(2)
    assert torch.equal(model.log_prob(x[cond == 2], 2), alone.log_prob(x[cond == 2]))
    assert model.log_prob_of_any(x).isfinite().all()
    assert model.label_probabilities(x).sum(1).numpy() == pytest.approx(np.ones(150))
    filled = model.complete(x, cond=cond, seed=0)
    assert torch.equal(filled[~holes], x[~holes])
    assert filled.isfinite().all()


def test_a_class_is_fitted_as_if_it_were_alone():
    x, cond = iris()
    model = fitted("gmm", x, cond, components=1, passes=5)
    for c in range(3):
        alone = gmm.build(likely.Real((4,)), components=1)
        for _ in likely.fit(alone, Part(x[cond == c]), passes=5, seed=0):
            pass
        assert model.of(c).means.numpy() == pytest.approx(alone.means.numpy(), abs=1e-9)
        assert model.covariances[c].numpy() == pytest.approx(alone.covariances.numpy(), abs=1e-9)
    assert model.weights.shape == (3, 1)
    assert model.means.shape == (3, 1, 4)
    assert model.free_parameters == 3 * (4 + 10) + 2


def test_samples_are_of_the_class_asked_for():
    x, cond = iris()
    model = fitted("gmm", x, cond, components=2)
    drawn = model.sample(3000, torch.arange(3000) % 3, seed=0)
    for c in range(3):
        assert drawn[c::3].mean(0).numpy() == pytest.approx(x[cond == c].mean(0).numpy(), abs=0.1)
    assert float((model.label_probabilities(drawn).argmax(1) == torch.arange(3000) % 3).double().mean()) > 0.9


def test_a_class_without_rows_is_the_model_of_all():
    x, cond = iris()
    model = fitted("gaussian", x, cond, classes=likely.Finite((), 4, ordered=False), passes=1)
    assert model.class_weights.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    assert model.of(3).means[0].numpy() == pytest.approx(x.numpy().mean(0))
    assert model.label_probabilities(x)[:, 3].max() == 0


def test_digits_are_told_apart_through_levels():
    digits = load_digits()
    x = torch.from_numpy(digits.images).to(torch.uint8)[:, None]
    cond = torch.from_numpy(digits.target).to(torch.uint8)
    classes = likely.Finite((), 10, ordered=False)
    model = likely.build("gaussian", likely.Finite((1, 8, 8), 17), classes)
    for _ in likely.fit(model, Part(x[:1400], cond[:1400]), passes=1, seed=0):
        pass
    assert isinstance(model, Weighted)
    scores = torch.stack([model.iwelbo(x[1400:], 4, c, seed=0) for c in classes.enumerate()], 1)
    assert float((scores.argmax(1) == cond[1400:]).double().mean()) > 0.9
    plain = likely.build("gaussian", likely.Finite((1, 8, 8), 17))
    for _ in likely.fit(plain, Part(x[:1400]), passes=1, seed=0):
        pass
    by_class = model.iwelbo(x[1400:], 16, cond[1400:], seed=0).mean()
    assert by_class > plain.iwelbo(x[1400:], 16, seed=0).mean() + 5


def test_bad_classes_are_one_line():
    with pytest.raises(SpaceError, match="cond must be one level"):
        likely.build("gmm", likely.Real((2,)), likely.Real((2,)))
    x, cond = iris()
    with pytest.raises(likely.LikelyError, match="class 0: components=51 needs as many rows, and n_samples=50"):
        fitted("gmm", x, cond, components=51)
    model = likely.build("gaussian", likely.Real((4,)), CLASSES)
    with pytest.raises(SpaceError, match="is conditional"):
        model.log_prob(x)
    with pytest.raises(likely.LikelyError, match="nothing to learn"):
        model.m_step(model.e_step(x, cond, weight=torch.zeros(150)))


def test_a_row_impossible_in_every_class_has_no_label():
    from likely.families.by_class import ByClass
    from likely.models import bernoulli

    space, cond = likely.Binary((2,)), likely.Finite((), 2, ordered=False)
    model = ByClass(space, cond, lambda: bernoulli.build(space, pseudo_count=0.0))
    x = torch.tensor([[1, 0], [1, 1], [1, 0], [1, 1]], dtype=torch.uint8)
    model.m_step(model.e_step(x, torch.tensor([0, 0, 1, 1])))
    assert model.label_probabilities(x).sum(1).tolist() == pytest.approx([1.0] * 4)
    with pytest.raises(likely.LikelyError, match="row 1 has probability 0 in every class"):
        model.label_probabilities(torch.tensor([[1, 0], [0, 0]]))
