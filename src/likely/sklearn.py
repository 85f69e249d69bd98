"""Any model of this package as a scikit-learn estimator: `Density` scores, `Outlier` says what is strange.

from likely.sklearn import Density, Outlier

Density("gmm", components=5).fit(X).score_samples(X)  # log-density of each row, in nats
Outlier("gmm", contamination=0.05).fit(X).predict(X)  # 1 for an inlier, -1 for an outlier

What a model's builder and its training loop take (`components`, `passes`, `steps`, ...) are parameters of the
estimator, so `GridSearchCV` can search over them. Scores are in the units of X: a scaler in front of the estimator in
a pipeline changes them by log |det| of the scaling, and is rarely needed, since models standardise inside.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, DensityMixin, OutlierMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from likely import registry, training
from likely.core import Bounded, Marginal, Weighted
from likely.core import Density as HasDensity
from likely.data.parts import Part
from likely.errors import LikelyError, unknown
from likely.spaces import Binary, Finite, Real, Space

IMPORTANCE_SAMPLES = 64  #: how many importance samples a bound is made of, where a model has no exact density


class _Estimator(BaseEstimator):
    """What both estimators share: parameters, fitting, scores."""

    _own: tuple[str, ...] = ("model", "levels", "random_state")

    def _set_numbers(self, numbers: dict[str, Any]) -> None:
        for name, value in numbers.items():
            if name in self._own or hasattr(type(self), name):
                raise unknown(f"number of {type(self).__name__}", name, self._own)
            setattr(self, name, value)

    def _number_names(self) -> list[str]:
        """Return the names of the model's numbers and options that were given."""
        return [name for name in vars(self) if name not in self._own and not name.endswith("_") and name[0] != "_"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the estimator's parameters, with the numbers of the model that were given."""
        return {name: getattr(self, name) for name in (*self._own, *self._number_names()) if hasattr(self, name)}

    def set_params(self, **params: Any) -> Self:
        """Set parameters of the estimator, or numbers of the model."""
        own = {name: value for name, value in params.items() if name in self._own}
        for name, value in own.items():
            setattr(self, name, value)
        numbers = {name: value for name, value in params.items() if name not in own}
        if any("__" in name for name in numbers):
            raise ValueError(f"invalid parameters {sorted(numbers)} for {type(self).__name__}.")
        self._set_numbers(numbers)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = "log_marginal" in _abilities(self.model)
        return tags

    def _checked(self, X: Any, *, reset: bool) -> Tensor:
        """Return X as a tensor (N, D): float32 or float64 for reals, whole numbers for levels."""
        finite = "allow-nan" if self.__sklearn_tags__().input_tags.allow_nan else True
        X = validate_data(self, X, dtype=[np.float64, np.float32], ensure_all_finite=finite, reset=reset)
        return torch.from_numpy(np.array(X, order="C"))

    def _space(self, size: int) -> Space:
        if self.levels is None:
            return Real((size,))
        if not isinstance(self.levels, (int, np.integer)) or self.levels < 2:
            raise LikelyError(f"levels must be None for reals, or a whole number, 2 or more, not {self.levels!r}.")
        return Binary((size,)) if self.levels == 2 else Finite((size,), int(self.levels))

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the model.

        Arguments:
            X: (N, D): reals, or whole numbers 0 to levels - 1; among both NaN stands for a missing value where the
                model can learn from such rows.
            y: ignored.

        Raises:
            UnknownName: the model or a number's name is not known.
            LikelyError: a number is out of range, or X does not fit the model.
        """
        x = self._checked(X, reset=True)
        space = self._space(x.shape[1])
        missing = x.isnan() if isinstance(space, (Binary, Finite)) else torch.zeros(1, dtype=torch.bool)
        if bool(missing.any()):
            space.check(torch.where(missing, 0, x), "X")  # levels among which some are missing stay floating numbers
        else:
            x = space.check(x, "X", missing=isinstance(space, Real))
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        known = {number.name for number in registry.entry(self.model).numbers}
        given = {name: getattr(self, name) for name in self._number_names()}
        model = registry.build(
            self.model, space, seed=seed, **{name: value for name, value in given.items() if name in known}
        )
        if bool(missing.any()) and not isinstance(model, Marginal):
            raise LikelyError(f"model '{self.model}' over levels cannot learn from missing values; fill them in.")
        options = {name: value for name, value in given.items() if name not in known}
        for name in options:
            if name not in training.options_of(model):
                raise unknown(f"number of model '{self.model}'", name, known | set(training.options_of(model)))
        self.n_iter_ = 0
        for step in training.fit(model, Part(x), seed=seed, **options):
            self.n_iter_ = step.index
        self.model_ = model.eval()
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Return log p of each row in nats, (N,): exact, or the model's lower bound where it has no exact density.

        Raises:
            LikelyError: the model says nothing about likelihood.
        """
        check_is_fitted(self)
        x = self._checked(X, reset=False)
        model = self.model_
        if isinstance(model, HasDensity):
            score = model.log_prob(x)
        elif isinstance(model, Weighted):
            score = model.iwelbo(x, IMPORTANCE_SAMPLES, seed=0)
        elif isinstance(model, Bounded):
            score = model.elbo(x, seed=0)
        else:
            raise LikelyError(
                f"model '{self.model}' has no likelihood to score with; see `likely models --can log_prob`."
            )
        return score.double().numpy()

    def sample(self, n_samples: int = 1) -> np.ndarray:
        """Draw rows from the fitted model, (n_samples, D).

        Unlike scikit-learn's mixture this returns the array alone. An integer `random_state` gives the same rows again.
        """
        check_is_fitted(self)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        n = int(n_samples) if isinstance(n_samples, np.integer) else n_samples
        return self.model_.sample(n, seed=seed).numpy()


def _abilities(model: Any) -> tuple[str, ...]:
    try:
        return registry.entry(model).abilities
    except LikelyError:
        return ()


def _has_components(estimator: Any) -> bool:
    """Whether the model is a mixture, whose components can be told; before fitting, by its name."""
    if hasattr(estimator, "model_"):
        return hasattr(estimator.model_, "responsibilities")
    return estimator.model == ("gmm" if estimator.levels is None else "bernoulli_mixture")


class Density(DensityMixin, _Estimator):
    """A model as scikit-learn's kind of density estimator.

    Arguments:
        model: the model's name, as listed by `likely models`.
        levels: None for reals; else X holds whole numbers 0 to levels - 1.
        random_state: a seed, a numpy random state, or None for a fresh one.
        numbers: what the model's builder and training loop take: components, covariance, passes, steps, ...

    Example:
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(500, 2))
        >>> density = Density("gaussian").fit(X)
        >>> bool(abs(density.score(X) + 2.84) < 0.1)  # minus the entropy of two standard normals
        True
        >>> density.sample(3).shape
        (3, 2)
    """

    def __init__(
        self, model: str = "gmm", *, levels: int | None = None, random_state: Any = None, **numbers: Any
    ) -> None:
        self.model = model
        self.levels = levels
        self.random_state = random_state
        self._set_numbers(numbers)

    def score(self, X: Any, y: Any = None) -> float:
        """Return the *mean* log p of the rows, in nats (as `GaussianMixture`; `KernelDensity` returns the sum)."""
        return float(self.score_samples(X).mean())

    @available_if(_has_components)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each component of a mixture for each row, (N, components)."""
        check_is_fitted(self)
        model: Any = self.model_
        return model.responsibilities(self._checked(X, reset=False)).double().numpy()


class Outlier(OutlierMixin, _Estimator):
    """A model as an outlier detector: what is improbable under it is strange.

    decision_function(x) = score_samples(x) - offset_ is *low* for outliers, as everywhere in scikit-learn, and negative
    for the share `contamination` of the training rows. PyOD's detectors have the opposite sign: see `as_pyod`.

    Arguments:
        model: the model's name, as listed by `likely models`.
        contamination: the share of outliers among the training rows, above 0 and at most 0.5.
        levels: None for reals; else X holds whole numbers 0 to levels - 1.
        random_state: a seed, a numpy random state, or None for a fresh one.
        numbers: what the model's builder and training loop take.

    Example:
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> Outlier("gaussian").fit(X).predict([[0.0, 0.0], [9.0, 9.0]]).tolist()
        [1, -1]
    """

    _own = ("model", "contamination", "levels", "random_state")

    def __init__(
        self,
        model: str = "gmm",
        *,
        contamination: float = 0.1,
        levels: int | None = None,
        random_state: Any = None,
        **numbers: Any,
    ) -> None:
        self.model = model
        self.contamination = contamination
        self.levels = levels
        self.random_state = random_state
        self._set_numbers(numbers)

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the model, and set the offset so that the share `contamination` of the rows lies below 0.

        Raises:
            LikelyError: as for `Density`; contamination is out of range.
        """
        if not isinstance(self.contamination, (int, float, np.number)) or not 0 < self.contamination <= 0.5:
            raise LikelyError(f"contamination must be above 0 and at most 0.5, not {self.contamination!r}.")
        super().fit(X, y)
        self.offset_ = float(np.percentile(self.score_samples(X), 100 * self.contamination))
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Return score_samples(X) - offset_, (N,): negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """Return 1 for inliers and -1 for outliers, (N,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def as_pyod(self) -> PyODDetector:
        """Return this detector with PyOD's names and signs: high scores and the label 1 for outliers."""
        return PyODDetector(self)


class PyODDetector:
    """An `Outlier` with PyOD's conventions: scores are *high* for outliers, labels 0 for inliers and 1 for outliers.

    Arguments:
        outlier: the detector; fitted or not, and fitted in place.

    After `fit` it has `decision_scores_` and `labels_` of the training rows, and `threshold_`.

    Example:
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> Outlier("gaussian").as_pyod().fit(X).predict([[0.0, 0.0], [9.0, 9.0]]).tolist()
        [0, 1]
    """

    def __init__(self, outlier: Outlier) -> None:
        self.outlier = outlier
        self.contamination = outlier.contamination

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the detector; the labels y, if given, are ignored."""
        self.outlier.fit(X)
        self.decision_scores_ = self.decision_function(X)
        self.threshold_ = -self.outlier.offset_
        self.labels_ = (self.decision_scores_ > self.threshold_).astype(int)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Return -log p of each row, (N,): high for outliers."""
        return -self.outlier.score_samples(X)

    def predict(self, X: Any) -> np.ndarray:
        """Return 0 for inliers and 1 for outliers, (N,)."""
        return (self.outlier.predict(X) < 0).astype(int)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return scores mapped linearly so that the training rows span 0 to 1, as (1 - score, score), (N, 2).

        These are PyOD's default "probabilities" of inlier and outlier: an order, and no calibrated probability.
        """
        if not hasattr(self, "decision_scores_"):
            raise NotFittedError("this detector is not fitted yet; call 'fit' with the training rows first.")
        low, high = self.decision_scores_.min(), self.decision_scores_.max()
        strange = np.clip((self.decision_function(X) - low) / max(high - low, np.finfo(float).tiny), 0, 1)
        return np.stack([1 - strange, strange], 1)
