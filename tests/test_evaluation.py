"""Signs by ability, standard errors, and the two-sample distance against closed forms."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from likely import evaluation
from likely.core import Bounded, Density, Energy, Estimate, Model, Weighted
from likely.data.parts import Data, Part
from likely.errors import LikelyError
from likely.evaluation.results import mean_and_error
from likely.evaluation.two_sample import features, gaussian, kernel_distance, median_distance, mmd, polynomial
from likely.spaces import Binary, Finite, Real, Sequence


class Coins(Density):
    """Independent bits with P(1) = p."""

    def __init__(self, space, p=0.3, cond=None):
        super().__init__(space, cond)
        self.p = p

    def _sample(self, n, cond):
        return (torch.rand(n, *self.space.shape) < self.p).to(torch.uint8)

    def _log_prob(self, x, cond):
        x = x.flatten(1).float()
        return (x * math.log(self.p) + (1 - x) * math.log(1 - self.p)).sum(1)


class Weights(Weighted):
    """log w = log p(x) + s e - s^2 / 2 with e standard normal: E[w] = p(x)."""

    _sample = Coins._sample
    p = 0.3

    def _log_weight(self, x, cond):
        return Coins._log_prob(self, x, cond) + torch.randn(len(x)) - 0.5


class Bound(Bounded):
    _sample = Coins._sample
    p = 0.3

    def _elbo(self, x, cond):
        return Coins._log_prob(self, x, cond) - 1


class Ising(Energy):
    """E(x | c) = -(c + 1) sum x: log Z = D log(1 + e^(c + 1)), reported with an error that the test chooses."""

    error = 0.0
    _sample = Coins._sample
    p = 0.3

    def _strength(self, cond):
        return torch.ones(()) if cond is None else cond.float() + 1

    def _energy(self, x, cond):
        return -self._strength(cond) * x.flatten(1).float().sum(1)

    def _log_partition(self, cond):
        return Estimate(
            (self.space.size * self._strength(cond).exp().log1p()).reshape(()), torch.tensor(float(self.error))
        )


class Sampler(Model):
    _sample = Coins._sample
    p = 0.5


SPACE = Binary((4,))
X = SPACE.enumerate()


@pytest.mark.parametrize(
    ("model", "sign"),
    [(Coins(SPACE), "="), (Weights(SPACE), ">="), (Bound(SPACE), ">="), (Ising(SPACE), "~"), (Sampler(SPACE), "")],
)
def test_the_sign_follows_from_the_ability(model, sign):
    result = evaluation.likelihood(model, Part(X), k=4)
    assert evaluation.sign_of(model) == sign
    assert result["sign"] == sign.replace(">", "<")  # a lower bound on log p(x) is an upper bound on -log p(x)
    assert (result["value"] is None) == (sign == "")
    assert result["protocol"]["k"] == (4 if isinstance(model, Weighted) else None)
    assert json.loads(json.dumps(result)) == result


def test_likelihood_is_the_mean_with_its_standard_error_and_bits():
    model = Coins(SPACE)
    nats = model.log_prob(X).double()
    result = evaluation.likelihood(model, Part(X))
    assert result["value"] == pytest.approx(-float(nats.mean()))
    assert result["protocol"]["standard_error"] == pytest.approx(error := float(nats.std()) / 4)
    assert result["interval"] == pytest.approx([result["value"] - 1.96 * error, result["value"] + 1.96 * error])
    assert result["protocol"]["bits_per_dim"] == pytest.approx(-float(nats.mean()) / 4 / math.log(2))
    assert result["protocol"]["uniform"] == pytest.approx(4 * math.log(2))
    assert evaluation.likelihood(model, Part(X), rows=3)["protocol"]["n_real"] == 3
    assert evaluation.likelihood(model, Part(X[:1]))["protocol"]["standard_error"] is None


def test_known_conversions():
    assert evaluation.uniform(Binary((784,))) == pytest.approx(-543.43, abs=0.01)
    assert evaluation.bits_per_dim(evaluation.uniform(Finite((1, 8, 8), 256)), Finite((1, 8, 8), 256)) == 8.0
    assert evaluation.bits_per_dim(-3.0, Real((2,))) is None
    assert evaluation.uniform(Real((2,))) is None


def test_weights_count_rows():
    values = torch.tensor([1.0, 2.0, 5.0])
    weighted = mean_and_error(values, torch.tensor([1.0, 0.0, 1.0]))[0]
    assert weighted == 3.0
    assert mean_and_error(values, torch.full((3,), 7.0)) == pytest.approx(mean_and_error(values))


def test_an_impossible_row_gives_minus_infinity_and_no_error():
    assert mean_and_error(torch.tensor([0.0, -math.inf])) == (-math.inf, None)


def test_energy_subtracts_log_z_and_adds_its_error_in_quadrature():
    model = Ising(SPACE)
    nats, sign = evaluation.scores(model, X)
    assert sign == "~"
    assert float(nats.double().exp().sum()) == pytest.approx(1, abs=1e-6)
    exact = evaluation.likelihood(model, Part(X))["protocol"]["standard_error"]
    model.error = 0.5
    assert evaluation.likelihood(model, Part(X))["protocol"]["standard_error"] == pytest.approx(math.hypot(exact, 0.5))


def test_every_condition_has_its_own_normaliser():
    model = Ising(SPACE, Finite((), 3))
    nats, _ = evaluation.scores(model, X.repeat(3, 1), torch.arange(3).repeat_interleave(16))
    assert nats.double().exp().reshape(3, 16).sum(1).numpy() == pytest.approx([1, 1, 1], abs=1e-6)
    one, _ = evaluation.scores(model, X, 2)
    assert torch.equal(one, nats[32:])


def test_scores_of_a_sampler_are_refused_and_bounds_repeat_with_the_seed():
    with pytest.raises(LikelyError, match="says nothing about likelihood"):
        evaluation.scores(Sampler(SPACE), X)
    a, b, c = (evaluation.scores(Weights(SPACE), X, k=2, seed=s)[0] for s in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_nan_scores_and_empty_parts_are_errors():
    broken = Coins(SPACE, p=float("nan"))
    with pytest.raises(LikelyError, match="row 0 is not a number"):
        evaluation.likelihood(broken, Part(X))
    with pytest.raises(LikelyError, match="no rows"):
        evaluation.likelihood(Coins(SPACE), Part(X[:0]))


# The kernel distance ------------------------------------------------------------------------------------------------


def _shifted(n, mu, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, len(mu), generator=generator, dtype=torch.float64)
    return x, torch.randn(n, len(mu), generator=generator, dtype=torch.float64) + torch.tensor(mu)


def test_gaussian_kernel_of_two_shifted_normals():
    """2 (s2 / (s2 + 2))^(D/2) (1 - exp(-a / (2 (s2 + 2)))) with a = |mu|^2; for D = 2, s2 = 2, a = 1 it is 0.117503."""
    x, y = _shifted(4000, [1.0, 0.0])
    value, error = kernel_distance(x, y, gaussian(math.sqrt(2)))
    assert 2 * (2 / 4) * (1 - math.exp(-1 / 8)) == pytest.approx(0.117503, abs=1e-6)
    assert error < 0.006
    assert abs(value - 0.117503) < 3 * error


def test_polynomial_kernel_of_two_shifted_normals():
    """For D = 1 and |mu|^2 = 1 the cubic kernel's distance is 22."""
    x, y = _shifted(4000, [1.0])
    value, error = kernel_distance(x, y, polynomial)
    assert error < 2.5
    assert abs(value - 22) < 3 * error


def test_the_standard_error_is_that_of_repetition():
    kernel = gaussian(math.sqrt(2))
    for shift, low, high in (
        (1.0, 0.8, 1.25),
        (0.0, 0.95, 1.9),
    ):  # equal laws: sqrt(2) too large
        repeated = [kernel_distance(*_shifted(60, [shift, 0.0], seed), kernel) for seed in range(200)]
        spread = np.std([value for value, _ in repeated])
        assert low < np.mean([error for _, error in repeated]) / spread < high


def test_unbiased_for_equal_laws():
    kernel = gaussian(math.sqrt(2))
    values = np.array([kernel_distance(*_shifted(20, [0.0, 0.0], seed), kernel).value for seed in range(400)])
    assert (values < 0).any()
    assert abs(values.mean()) < 3.5 * values.std() / math.sqrt(len(values))


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 12), st.integers(3, 12), st.integers(0, 1000))
def test_order_does_not_matter_and_the_sum_is_the_definition(n, m, seed):
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(n, 3, generator=generator).double(), torch.randn(m, 3, generator=generator).double()
    kernel = gaussian(1.5)
    result = kernel_distance(x, y, kernel)
    xx, yy, xy = kernel(x, x), kernel(y, y), kernel(x, y)
    plain = (
        sum(xx[i, j] for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
        + sum(yy[i, j] for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
        - 2 * xy.mean()
    )
    assert result.value == pytest.approx(float(plain), abs=1e-12)
    mixed = kernel_distance(x.flip(0), y[torch.randperm(m, generator=generator)], kernel)
    assert mixed == pytest.approx(result, abs=1e-12)
    assert kernel_distance(y, x, kernel) == pytest.approx(result, abs=1e-12)


def test_chunks_do_not_change_the_value(monkeypatch):
    import sys

    module = sys.modules["likely.evaluation.two_sample"]
    x, y = _shifted(50, [1.0, 0.0])
    whole = kernel_distance(x, y, polynomial)
    monkeypatch.setattr(module, "ROWS", 7)
    assert kernel_distance(x, y, polynomial) == pytest.approx(whole, rel=1e-12)


def test_the_bandwidth_comes_from_the_real_data_and_units_do_not_matter():
    x, y = _shifted(40, [1.0, 0.0])
    assert median_distance(torch.tensor([[0.0], [0.0], [0.0], [2.0]])) == 2.0  # equal pairs do not count
    assert mmd(x, y) == kernel_distance(x, y, gaussian(median_distance(x)))
    assert mmd(1000 * x, 1000 * y) == pytest.approx(mmd(x, y))


def test_kernel_distance_errors():
    x = torch.zeros(3, 2)
    with pytest.raises(LikelyError, match="at least 2 rows"):
        kernel_distance(x[:1], x, polynomial)
    with pytest.raises(LikelyError, match="2 and 3 numbers"):
        kernel_distance(x, torch.zeros(3, 3), polynomial)
    with pytest.raises(LikelyError, match="finite"):
        kernel_distance(x, x / 0, polynomial)
    with pytest.raises(LikelyError, match="two different data"):
        median_distance(x)
    with pytest.raises(LikelyError, match="bandwidth"):
        gaussian(0.0)


def test_features_make_columns_comparable_and_categories_distinct():
    table = torch.tensor([[0.0, 1e6], [1.0, 3e6], [2.0, 5e6]])
    rows = features(Real((2,)), table)(table)
    assert torch.allclose(rows[:, 0], rows[:, 1])
    kinds = features(Finite((2,), 3, ordered=False), torch.tensor([[0, 2]]))(torch.tensor([[0, 2], [1, 2]]))
    assert kinds.tolist() == [[1, 0, 0, 0, 0, 1], [0, 1, 0, 0, 0, 1]]
    assert float(features(Finite((1,), 17), None)(torch.tensor([[16]]))) == 1.0
    with pytest.raises(LikelyError, match="sequences"):
        features(Sequence(step=Binary(), length=3), None)


# The whole protocol -------------------------------------------------------------------------------------------------


def _coins(n, seed, p=0.3):
    return (torch.rand(n, 4, generator=torch.Generator().manual_seed(seed)) < p).to(torch.uint8)


def _data(labels=False):
    parts = {}
    for seed, name in enumerate(("train", "valid", "test")):
        x = _coins(200, seed)
        parts[name] = Part(x, x.long().sum(1).clamp(max=2) if labels else None)
    return Data("coins", "bits", SPACE, cond=Finite((), 3) if labels else None, **parts)


def test_evaluate_tells_a_right_model_from_a_wrong_one_and_names_its_floor():
    data = _data()
    right, wrong = (
        {r["metric"]: r for r in evaluation.evaluate(model, data)} for model in (Coins(SPACE), Coins(SPACE, p=0.8))
    )
    tables, memory = ["column_distance", "pair_distance"], ["data_copying", "authenticity", "copies"]
    assert list(right) == ["nll", "mmd", "kid", *tables, *memory]
    assert right["nll"]["value"] < wrong["nll"]["value"]
    for metric in ("mmd", "kid"):
        good, bad = right[metric], wrong[metric]
        assert bad["value"] > 10 * abs(good["value"])
        assert abs(good["value"]) < 4 * good["protocol"]["standard_error"]
        assert good["protocol"]["floor"] == bad["protocol"]["floor"]
        assert good["protocol"]["n_real"] == good["protocol"]["n_generated"] == good["protocol"]["floor_n"] == 200
    assert evaluation.evaluate(Coins(SPACE), data) == list(right.values())
    assert json.loads(json.dumps(list(right.values()))) == list(right.values())


def test_evaluate_takes_a_run():
    class Run:
        model, data = Coins(SPACE), _data()

    assert evaluation.evaluate(Run, n=50) == evaluation.evaluate(Run.model, Run.data, n=50)
    with pytest.raises(LikelyError, match="give the data"):
        evaluation.evaluate(Run.model)
    with pytest.raises(LikelyError, match=r"unknown held-out part .* Known: test, valid"):
        evaluation.evaluate(Run, part="train")


def test_evaluate_with_labels_recognises_samples():
    result = evaluation.find(evaluation.evaluate(Coins(SPACE), _data(labels=True)), "recognised")
    assert result["value"] > 0.9  # the label is a function of x
    assert result["protocol"]["covered"] == result["protocol"]["classes"] == 3
    assert sum(result["protocol"]["counts"]) == round(result["value"] * result["protocol"]["n_generated"])


def test_the_classifier_does_not_recognise_noise():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = torch.tensor(x).to(torch.uint8)[order], torch.tensor(y)[order]
    train = Part(x[:1400], y[:1400])
    noise = Finite((64,), 17).random(300, torch.Generator().manual_seed(0))
    real = evaluation.recognised(x[1400:], train)
    assert real["confident"] > 0.85
    assert real["covered"] == 10
    assert evaluation.recognised(noise, train)["confident"] < 0.02
    with pytest.raises(LikelyError, match="no samples"):
        evaluation.recognised(x[:0], train)
    with pytest.raises(LikelyError, match="label"):
        evaluation.recognised(x, Part(x))
    with pytest.raises(LikelyError, match="one"):
        evaluation.recognised(x, Part(x, torch.zeros(len(x), dtype=torch.long)))


def test_evaluate_samples():
    data, near, far = _data(), _coins(150, 7), _coins(150, 8, p=0.8)
    good, bad = (evaluation.evaluate_samples(data, fake)[0] for fake in (near, far))
    assert bad["value"] > 10 * abs(good["value"])
    assert good["protocol"]["floor"] is not None
    plain = evaluation.evaluate_samples(data.test.x, data)[0]
    assert plain["protocol"]["n_generated"] == 600
    assert plain["protocol"]["floor"] is None
    with pytest.raises(LikelyError, match="shape"):
        evaluation.evaluate_samples(near, torch.zeros(3, 5))
    with pytest.raises(LikelyError, match="at least 2"):
        evaluation.evaluate_samples(near, near[:1])


def test_missing_values_are_left_out_and_counted():
    real = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    real[3, 1] = math.nan
    result = evaluation.evaluate_samples(real, real[10:40])[0]
    assert result["protocol"]["n_incomplete"] == 1
    assert result["protocol"]["n_real"] == 49
