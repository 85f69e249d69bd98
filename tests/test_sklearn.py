"""scikit-learn's own checks of estimators, and agreement with its density and outlier models."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.covariance import EllipticEnvelope
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

import likely
from likely.errors import LikelyError
from likely.sklearn import Density, Outlier

ESTIMATORS = (Density(), Density("gaussian"), Outlier(), Outlier("gaussian"))
CHECKS = [
    (f"{estimator!r}-{getattr(check, 'func', check).__name__}-{number}", one, check)
    for estimator in ESTIMATORS
    for number, (one, check) in enumerate(estimator_checks_generator(estimator, legacy=True, mark="skip"))
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), [row[1:] for row in CHECKS], ids=[row[0] for row in CHECKS])
def test_scikit_learns_own_check(estimator, check):
    check(estimator)


def test_there_are_checks():
    assert len(CHECKS) > 40 * len(ESTIMATORS)


@pytest.fixture
def x():
    random = np.random.default_rng(0)
    return np.concatenate([random.normal(-3, 1, (150, 2)), random.normal(2, 0.5, (150, 2))])


def test_a_mixture_agrees_with_scikit_learns(x):
    mine = Density("gmm", components=2, floor=1e-9, passes=200, tolerance=1e-12, random_state=0).fit(x)
    theirs = GaussianMixture(2, reg_covar=0, tol=1e-12, max_iter=500, random_state=0).fit(x)
    np.testing.assert_allclose(mine.score_samples(x), theirs.score_samples(x), atol=1e-5)
    assert mine.score(x) == pytest.approx(theirs.score(x), abs=1e-6)
    order = np.argsort(theirs.means_[:, 0])
    mine_order = np.argsort(mine.model_.means[:, 0].numpy())
    np.testing.assert_allclose(mine.predict_proba(x)[:, mine_order], theirs.predict_proba(x)[:, order], atol=1e-5)


def test_samples_are_an_array_that_the_seed_decides(x):
    density = Density("gmm", components=2, random_state=3).fit(x)
    drawn = density.sample(2000)
    assert drawn.shape == (2000, 2)
    np.testing.assert_array_equal(drawn, density.sample(2000))
    np.testing.assert_allclose(drawn.mean(0), x.mean(0), atol=0.25)
    other = Density("gmm", components=2).fit(x)
    assert not np.array_equal(other.sample(5), other.sample(5))


def test_only_mixtures_tell_components(x):
    assert hasattr(Density("gmm"), "predict_proba")
    assert not hasattr(Density("gaussian"), "predict_proba")
    assert not hasattr(Density("gaussian").fit(x), "predict_proba")


def test_numbers_are_parameters(x):
    density = Density("gmm", components=3, passes=5)
    assert density.get_params() == {
        "model": "gmm",
        "levels": None,
        "random_state": None,
        "components": 3,
        "passes": 5,
    }
    copied = clone(density).set_params(components=4, random_state=0)
    assert len(copied.fit(x).model_.means) == 4
    assert copied.n_iter_ <= 5
    assert density.components == 3
    search = GridSearchCV(Density("gmm", random_state=0), {"components": [1, 2]}, cv=3).fit(x)
    assert search.best_params_ == {"components": 2}


def test_missing_values_are_integrated_out(x):
    holes = x.copy()
    holes[::7, 0] = np.nan
    density = Density("gaussian", passes=50).fit(holes)
    assert np.isfinite(density.score_samples(holes)).all()
    assert density.score_samples([[np.nan, np.nan]]) == pytest.approx(0)


def test_levels_and_models_trained_by_gradient():
    random = np.random.default_rng(0)
    bits = (random.random((300, 4)) < [0.9, 0.1, 0.5, 0.5]).astype(float)
    density = Density("bernoulli", levels=2).fit(bits)
    points = np.array([[i >> b & 1 for b in range(4)] for i in range(16)])
    assert np.exp(density.score_samples(points)).sum() == pytest.approx(1, abs=1e-5)
    assert set(np.unique(density.sample(50))) <= {0, 1}
    nade = Density("nade", levels=2, hidden=8, steps=30, batch=50, random_state=0).fit(bits)
    assert nade.n_iter_ == 30
    assert np.exp(nade.score_samples(points)).sum() == pytest.approx(1, abs=1e-4)
    bound = Density("gaussian", levels=2).fit(bits)  # dequantised: an importance-weighted bound
    assert bound.score_samples(points).shape == (16,)


def test_a_pipeline_changes_densities_by_the_scaling(x):
    plain = Density("gaussian").fit(x)
    scaled = make_pipeline(StandardScaler(), Density("gaussian")).fit(x)
    difference = scaled.score_samples(x) - plain.score_samples(x)
    np.testing.assert_allclose(difference, np.log(x.std(0)).sum(), atol=1e-6)


def test_outliers_are_those_of_one_gaussian(x):
    mine = Outlier("gaussian", contamination=0.05).fit(x)
    theirs = EllipticEnvelope(contamination=0.05, support_fraction=1.0).fit(x)
    np.testing.assert_array_equal(mine.predict(x), theirs.predict(x))
    assert (mine.predict(x) == -1).sum() == 15
    assert mine.decision_function([[50.0, 50.0]])[0] < 0 < mine.decision_function(x).max()
    np.testing.assert_allclose(mine.decision_function(x), mine.score_samples(x) - mine.offset_)


def test_pyods_convention_has_the_opposite_sign(x):
    detector = Outlier("gaussian", contamination=0.05).as_pyod().fit(x)
    scikit = detector.outlier
    np.testing.assert_array_equal(detector.decision_scores_, -scikit.score_samples(x))
    np.testing.assert_array_equal(detector.labels_, (scikit.predict(x) == -1).astype(int))
    assert detector.labels_.sum() == 15
    assert (detector.decision_function(x) > detector.threshold_).sum() == 15
    chances = detector.predict_proba(x)
    np.testing.assert_allclose(chances.sum(1), 1)
    assert np.argmax(chances[:, 1]) == np.argmax(detector.decision_scores_)
    assert detector.predict([[50.0, 50.0]]).tolist() == [1]


def test_errors_are_one_line(x):
    with pytest.raises(likely.LikelyError, match="Did you mean 'gmm'"):
        Density("gmn").fit(x)
    with pytest.raises(likely.LikelyError, match="Did you mean 'components'"):
        Density("gmm", componets=3).fit(x)
    with pytest.raises(likely.LikelyError, match="contamination must be above 0"):
        Outlier(contamination=0.7).fit(x)
    with pytest.raises(likely.LikelyError, match="takes"):
        Density("bernoulli").fit(x)
    with pytest.raises(likely.LikelyError, match="expected 0 or 1"):
        Density("bernoulli", levels=2).fit(x)
    with pytest.raises(likely.LikelyError, match="no likelihood"):
        Density("gan", steps=1, batch=50).fit(x).score_samples(x)
    with pytest.raises(ValueError, match="invalid parameters"):
        Density().set_params(inner__components=3)


def test_missing_levels_are_integrated_out():
    bits = (np.random.default_rng(0).random((300, 4)) < [0.9, 0.1, 0.5, 0.5]).astype(float)
    bits[::3, 0] = np.nan
    for model in ("bernoulli", "bernoulli_mixture"):
        density = Density(model, levels=2, random_state=0).fit(bits)
        assert np.isfinite(density.score_samples(bits)).all()
        assert density.score_samples([[np.nan] * 4]) == pytest.approx(0, abs=1e-6)
    assert density.predict_proba(bits).sum(1) == pytest.approx(1)
    with pytest.raises(LikelyError, match="X has the value 7"):
        Density("bernoulli", levels=2).fit([[np.nan, 7], [0, 1]])
    with pytest.raises(LikelyError, match="missing values"):
        Density("gaussian", levels=2).fit(bits)  # dequantised: it cannot


def test_numbers_of_another_kind_are_one_line(x):
    for levels in ("x", 1, 2.5):
        with pytest.raises(LikelyError, match="levels must be None for reals, or a whole number"):
            Density("bernoulli", levels=levels).fit(x)
    for contamination in ("auto", None):
        with pytest.raises(LikelyError, match="contamination must be above 0"):
            Outlier("gaussian", contamination=contamination).fit(x)
    with pytest.raises(NotFittedError, match="call 'fit'"):
        Outlier("gaussian").fit(x).as_pyod().predict_proba(x)  # whose training rows it has not seen
    assert hasattr(Density("bernoulli_mixture", levels=2), "predict_proba")


def test_how_many_may_be_a_number_of_numpy():
    density = Density("gaussian").fit(np.random.default_rng(0).normal(size=(20, 2)))
    assert density.sample(np.int64(3)).shape == (3, 2)
