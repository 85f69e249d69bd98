"""Fitted families against scipy, textbooks, each other, and simulation."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import FactorAnalysis
from torch import distributions as families
from torch.distributions import constraints

import likely
from likely.errors import LikelyError, UnknownName
from likely.parts import closed_forms
from likely.parts.maximum_likelihood import estimate

seeds = st.integers(0, 2**31)


def wide(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def drawn(family, *parameters, n=400, seed=0):
    torch.manual_seed(seed)
    return family(*(torch.tensor(p, dtype=torch.float64) for p in parameters)).sample((n,))


#: family, parameters, what the closed form may take for granted
EASY = [
    (families.Bernoulli, (0.3,), {}),
    (families.Categorical, ([0.2, 0.5, 0.3],), {}),
    (families.Exponential, (2.0,), {}),
    (families.Geometric, (0.3,), {}),
    (families.HalfNormal, (2.0,), {}),
    (families.LogNormal, (1.0, 0.5), {}),
    (families.MultivariateNormal, ([1.0, 2.0], [[2.0, 0.5], [0.5, 1.0]]), {}),
    (families.Normal, (1.0, 2.0), {}),
    (families.Normal, (1.0, 2.0), {"loc": 1.0}),
    (families.Normal, (1.0, 2.0), {"scale": 2.0}),
    (families.OneHotCategorical, ([0.2, 0.5, 0.3],), {}),
    (families.Poisson, (2.0,), {}),
]


@pytest.mark.parametrize(("family", "parameters", "fixed"), EASY, ids=lambda value: getattr(value, "__name__", None))
@pytest.mark.parametrize("weighted", [False, True])
def test_closed_forms_and_descent_agree(family, parameters, fixed, weighted):
    """Value, standard errors and covariance: one from textbooks, the other from derivatives."""
    x = drawn(family, *parameters)
    weights = torch.arange(400) % 3 if weighted else None
    closed = estimate(family, x, weights=weights, **fixed)
    start = {name: torch.as_tensor(v) * 0.9 + 0.1 * torch.ones_like(v) for name, v in closed.parameters.items()}
    for name in start:
        if name == "probs":
            start[name] = torch.full_like(start[name], 1 / max(2, start[name].numel()))
        if name == "covariance_matrix":
            start[name] = torch.eye(len(start[name]))
    descended = estimate(family, x, weights=weights, start=start, **fixed)
    assert (closed.method, descended.method) == ("closed form", "Newton")
    assert descended.converged
    assert descended.log_likelihood == pytest.approx(closed.log_likelihood, rel=1e-10)
    for name, value in closed.parameters.items():
        assert descended.parameters[name].numpy() == pytest.approx(value.numpy(), rel=1e-6, abs=1e-6)
        assert descended.errors[name].numpy() == pytest.approx(closed.errors[name].numpy(), rel=1e-5)
    assert descended.covariance.numpy() == pytest.approx(closed.covariance.numpy(), abs=1e-7, rel=1e-5)
    assert descended.free == closed.free


def test_the_rest_of_the_closed_forms():
    x = drawn(families.Laplace, 1.0, 2.0)
    found = estimate(families.Laplace, x)
    loc, scale = scipy.stats.laplace.fit(x.numpy())
    assert [float(v) for v in found.parameters.values()] == pytest.approx([loc, scale])
    assert [float(v) for v in found.errors.values()] == pytest.approx([scale / 20, scale / 20])
    x = drawn(families.Uniform, 1.0, 3.0)
    found = estimate(families.Uniform, x)
    assert float(found.parameters["low"]) == x.min()
    assert float(found.parameters["high"]) == pytest.approx(float(x.max()), rel=1e-15)
    assert found.log_likelihood == pytest.approx(-400 * math.log(x.max() - x.min()))
    assert set(found.edges) == {"low", "high"}
    assert all(math.isinf(e) for e in found.errors.values())
    x = drawn(families.Pareto, 1.5, 3.0)
    found = estimate(families.Pareto, x)
    alpha, _, scale = scipy.stats.pareto.fit(x.numpy(), floc=0)
    assert float(found.parameters["scale"]) == pytest.approx(scale)
    assert float(found.parameters["alpha"]) == pytest.approx(alpha)
    assert float(found.errors["alpha"]) == pytest.approx(alpha / 20)
    torch.manual_seed(0)
    x = families.Binomial(10, wide(0.3)).sample((400,))[:, 0]
    found = estimate(families.Binomial, x, total_count=10)
    p = float(x.mean()) / 10
    assert float(found.parameters["probs"]) == pytest.approx(p)
    assert float(found.errors["probs"]) == pytest.approx(math.sqrt(p * (1 - p) / 4000))
    x = drawn(families.NegativeBinomial, 3.0, 0.4)
    known, free = (
        estimate(families.NegativeBinomial, x, total_count=3.0, **more) for more in ({}, {"start": {"probs": 0.5}})
    )
    assert (known.method, free.method) == ("closed form", "Newton")
    assert float(known.parameters["probs"]) == pytest.approx(float(free.parameters["probs"]))
    assert float(known.errors["probs"]) == pytest.approx(float(free.errors["probs"]), rel=1e-5)
    counts = torch.tensor([[3, 1, 0], [2, 2, 1]])
    found = estimate(families.Multinomial, counts)
    assert found.parameters["probs"].tolist() == pytest.approx([5 / 9, 3 / 9, 1 / 9])
    tested = {family for family, _, _ in EASY} | {
        getattr(families, name)
        for name in ("Laplace", "Uniform", "Pareto", "Binomial", "NegativeBinomial", "Multinomial")
    }
    assert tested == set(closed_forms.CLOSED)


#: ours, its parameters, scipy's, what scipy holds fixed, scipy's parameters as ours
HARD = [
    (families.Gamma, (2.0, 3.0), scipy.stats.gamma, {"floc": 0}, lambda a, _, s: (a, 1 / s)),
    (families.Beta, (2.0, 3.0), scipy.stats.beta, {"floc": 0, "fscale": 1}, lambda a, b, *_: (a, b)),
    (families.StudentT, (4.0, 1.0, 2.0), scipy.stats.t, {}, lambda d, m, s: (d, m, s)),
    (families.VonMises, (1.0, 2.0), scipy.stats.vonmises, {"fscale": 1}, lambda k, m, _: (m, k)),
    (families.Weibull, (2.0, 1.5), scipy.stats.weibull_min, {"floc": 0}, lambda c, _, s: (s, c)),
    (families.Cauchy, (1.0, 2.0), scipy.stats.cauchy, {}, lambda m, s: (m, s)),
    (families.Gumbel, (1.0, 2.0), scipy.stats.gumbel_r, {}, lambda m, s: (m, s)),
    (families.InverseGamma, (3.0, 2.0), scipy.stats.invgamma, {"floc": 0}, lambda a, _, s: (a, s)),
    (families.HalfCauchy, (2.0,), scipy.stats.halfcauchy, {"floc": 0}, lambda _, s: (s,)),
    (families.Chi2, (5.0,), scipy.stats.chi2, {"floc": 0, "fscale": 1}, lambda d, *_: (d,)),
]


@pytest.mark.parametrize(("family", "parameters", "peer", "held", "ours"), HARD, ids=[row[0].__name__ for row in HARD])
def test_descent_agrees_with_scipy(family, parameters, peer, held, ours):
    x = drawn(family, *parameters, n=600, seed=3)
    found = estimate(family, x)
    theirs = peer.fit(x.numpy(), **held)
    assert found.converged
    assert [float(v) for v in found.parameters.values()] == pytest.approx(ours(*theirs), rel=2e-3, abs=2e-3)
    # torch's von Mises takes a polynomial of seven digits for the Bessel function
    assert found.log_likelihood >= peer.logpdf(x.numpy(), *theirs).sum() - 1e-3
    for value, error, true in zip(found.parameters.values(), found.errors.values(), parameters, strict=True):
        assert abs(float(value) - true) < 4.5 * float(error)


def test_generalised_pareto_dirichlet_and_negative_binomial():
    x = torch.from_numpy(scipy.stats.genpareto.rvs(0.3, size=800, random_state=0))
    found = estimate(families.GeneralizedPareto, x, loc=0.0)
    shape, _, scale = scipy.stats.genpareto.fit(x.numpy(), floc=0)
    assert [float(found.parameters[name]) for name in ("concentration", "scale")] == pytest.approx(
        [shape, scale], rel=1e-3
    )
    x = drawn(families.Dirichlet, [0.5, 2.0, 5.0], n=1000)
    found = estimate(families.Dirichlet, x)
    # Minka, Estimating a Dirichlet distribution, 2000: psi(a_k) - psi(sum a) = mean log x_k at the maximum
    a = found.parameters["concentration"]
    assert (a.digamma() - a.sum().digamma()).numpy() == pytest.approx(x.log().mean(0).numpy(), abs=1e-8)
    information = 1000 * (torch.diag(torch.polygamma(1, a)) - torch.polygamma(1, a.sum()))
    assert found.covariance.numpy() == pytest.approx(torch.linalg.inv(information).numpy(), rel=1e-6, abs=1e-9)
    x = drawn(families.NegativeBinomial, 3.0, 0.6, n=1000)
    found = estimate(families.NegativeBinomial, x)
    count, p = (float(found.parameters[name]) for name in ("total_count", "probs"))
    assert count * p / (1 - p) == pytest.approx(float(x.mean()))  # the mean is that of the data at the maximum
    best = scipy.stats.nbinom.logpmf(x.numpy(), count, 1 - p).sum()
    assert found.log_likelihood == pytest.approx(best)
    for factor in (0.98, 1.02):
        other = count * factor
        assert scipy.stats.nbinom.logpmf(x.numpy(), other, other / (other + float(x.mean()))).sum() < best


@given(seeds, st.floats(0.3, 20), st.floats(0.1, 50))
def test_the_gamma_equations_hold_at_the_maximum(seed, shape, rate):
    """log a - psi(a) = log mean x - mean log x and b = a / mean x, and the errors of the 2 x 2 information."""
    x = drawn(families.Gamma, shape, rate, n=50, seed=seed)
    found = estimate(families.Gamma, x)
    a, b = found.parameters["concentration"], found.parameters["rate"]
    assert float(a.log() - a.digamma()) == pytest.approx(float(x.mean().log() - x.log().mean()), rel=1e-6)
    assert float(b) == pytest.approx(float(a / x.mean()), rel=1e-6)
    information = 50 * torch.stack([torch.stack([torch.polygamma(1, a), -1 / b]), torch.stack([-1 / b, a / b**2])])
    assert found.covariance.numpy() == pytest.approx(torch.linalg.inv(information).numpy(), rel=1e-4)


@pytest.mark.parametrize(
    ("family", "parameters"),
    [
        (families.Gamma, (2.0, 3.0)),
        (families.Beta, (2.0, 5.0)),
        (families.Weibull, (2.0, 1.5)),
        (families.NegativeBinomial, (4.0, 0.5)),
        (families.StudentT, (5.0, 0.0, 1.0)),
        (families.Normal, (1.0, 2.0)),
        (families.Laplace, (1.0, 2.0)),
        (families.Poisson, (3.0,)),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_intervals_hold_the_truth_as_often_as_they_say(family, parameters):
    """300 data sets as columns of one call; 95 of 100 intervals must hold the truth."""
    torch.manual_seed(0)
    given = [torch.full((300,), p, dtype=torch.float64) for p in parameters]
    found = estimate(family, family(*given).sample((400,)))
    assert found.n.tolist() == [400] * 300
    for name, true in zip(family.arg_constraints, parameters, strict=False):
        if name not in found.parameters:
            continue
        true = dict(zip(_order(family), parameters, strict=True))[name]
        low, high = found.interval(name)
        inside = ((low < true) & (true < high)).double()
        regular = found.errors[name].isfinite()
        assert regular.double().mean() > 0.97
        assert float(inside.mean()) == pytest.approx(0.95, abs=0.04), name
        z = (found.parameters[name] - true)[regular] / found.errors[name][regular]
        assert float(z.std()) == pytest.approx(1, abs=0.17), name


def _order(family):
    import inspect

    return [name for name in inspect.signature(family).parameters if name not in ("validate_args", "logits")]


# What is believed ----------------------------------------------------------------------------------------------------


def test_priors_that_have_a_closed_form():
    x = wide(1, 1, 0, 1, 1)
    found = estimate(families.Bernoulli, x, prior={"probs": families.Beta(wide(2.0)[0], wide(3.0)[0])})
    assert float(found.parameters["probs"]) == pytest.approx((4 + 1) / (5 + 1 + 2))
    assert found.log_posterior == pytest.approx(
        found.log_likelihood + scipy.stats.beta.logpdf(float(found.parameters["probs"]), 2, 3)
    )
    counts = torch.tensor([0, 2, 2, 2, 1])
    found = estimate(families.Categorical, counts, prior={"probs": families.Dirichlet(wide(2.0, 3.0, 1.5, 2.0))})
    assert found.parameters["probs"].tolist() == pytest.approx([2 / 9.5, 3 / 9.5, 3.5 / 9.5, 1 / 9.5], abs=1e-7)
    x = drawn(families.Poisson, 3.0, n=20)
    found = estimate(families.Poisson, x, prior={"rate": families.Gamma(wide(4.0)[0], wide(2.0)[0])})
    assert float(found.parameters["rate"]) == pytest.approx((float(x.sum()) + 3) / 22)
    x = drawn(families.Normal, 3.0, 2.0, n=20)
    found = estimate(families.Normal, x, scale=2.0, prior={"loc": families.Normal(wide(0.0)[0], wide(1.0)[0])})
    precision = 1 + 20 / 4
    assert float(found.parameters["loc"]) == pytest.approx(float(x.sum()) / 4 / precision)
    assert float(found.errors["loc"]) == pytest.approx(precision**-0.5)


def test_a_prior_is_a_density_of_the_parameter_by_its_name():
    """A flat prior on the scale changes nothing; the Jacobian of log scale would move it."""
    x = drawn(families.Normal, 0.0, 2.0, n=30)
    plain = estimate(families.Normal, x)
    flat = estimate(families.Normal, x, prior={"scale": families.Uniform(wide(0.0)[0], wide(100.0)[0])})
    assert float(flat.parameters["scale"]) == pytest.approx(float(plain.parameters["scale"]), rel=1e-8)


def test_a_prior_mends_what_has_no_maximum():
    with pytest.raises(LikelyError, match="grows without bound as scale goes to 0"):
        estimate(families.Normal, [3.0, 3.0, 3.0])
    found = estimate(
        families.Normal, [3.0, 3.0, 3.0], prior={"scale": families.Gamma(wide(3.0)[0], wide(2.0)[0])}, loc=3.1
    )
    assert found.converged
    s = float(found.parameters["scale"])
    assert -3 / s + 3 * 0.01 / s**3 + 2 / s - 2 == pytest.approx(0, abs=1e-6)


# Missing, weighted, in columns ---------------------------------------------------------------------------------------


@given(seeds)
def test_missing_values_are_left_out(seed):
    x = drawn(families.Gamma, 2.0, 1.0, n=60, seed=seed).reshape(30, 2)
    gone = torch.rand(30, 2, generator=torch.Generator().manual_seed(seed)) < 0.3
    for family in (families.Gamma, families.Normal):
        found = estimate(family, x.masked_fill(gone, math.nan))
        assert found.dropped == int(gone.sum())
        total = 0.0
        for d in (0, 1):
            alone = estimate(family, x[~gone[:, d], d])
            total += alone.log_likelihood
            assert float(found.n[d]) == float(alone.n)
            for name in alone.parameters:
                assert float(found.parameters[name][d]) == pytest.approx(float(alone.parameters[name]), rel=1e-7)
                assert float(found.errors[name][d]) == pytest.approx(float(alone.errors[name]), rel=1e-5)
        assert found.log_likelihood == pytest.approx(total)
    both = ~gone.any(1)
    found = estimate(families.MultivariateNormal, x.masked_fill(gone, math.nan))
    assert found.dropped == int((~both).sum())
    assert found.parameters["covariance_matrix"].numpy() == pytest.approx(np.cov(x[both].numpy().T, ddof=0))


@pytest.mark.parametrize(
    "family", [families.Gamma, families.Normal, families.Laplace, families.Uniform, families.Weibull]
)
def test_a_weight_is_so_many_rows(family):
    x = drawn(families.Gamma, 2.0, 1.0, n=30)
    times = torch.arange(30) % 4
    weighted, repeated = estimate(family, x, weights=times), estimate(family, x.repeat_interleave(times))
    assert float(weighted.n) == float(repeated.n)
    assert weighted.log_likelihood == pytest.approx(repeated.log_likelihood)
    assert weighted.bic == pytest.approx(repeated.bic)
    for name in repeated.parameters:
        assert float(weighted.parameters[name]) == pytest.approx(float(repeated.parameters[name]), rel=1e-7)
        assert float(weighted.errors[name]) == pytest.approx(float(repeated.errors[name]), rel=1e-6)


def test_functions_of_named_parameters():
    torch.manual_seed(0)
    x = torch.cat([torch.randn(300) - 2, torch.randn(200) + 2]).double()

    def pair(share, low, high, scale):
        parts = families.Normal(torch.stack([low, high]), scale)
        return families.MixtureSameFamily(families.Categorical(torch.stack([share, 1 - share])), parts)

    ranges = {"share": constraints.unit_interval, "scale": constraints.positive}
    found = estimate(pair, x, start={"share": 0.5, "low": -1.0, "high": 1.0, "scale": 1.0}, ranges=ranges)
    assert found.converged
    assert [float(v) for v in found.parameters.values()] == pytest.approx([0.6, -2, 2, 1], abs=0.25)
    assert found.distribution.log_prob(x).sum().item() == pytest.approx(found.log_likelihood)
    plain = estimate(families.Normal, x)
    named = estimate(lambda loc, scale: families.Normal(loc, scale), x, start={"loc": 0.0, "scale": 1.0})
    assert float(named.errors["scale"]) == pytest.approx(float(plain.errors["scale"]), rel=1e-6)


def test_criteria_and_print():
    found = estimate(families.Normal, [1.0, 2.0, 3.0, math.nan])
    by_hand = scipy.stats.norm.logpdf([1, 2, 3], 2, (2 / 3) ** 0.5).sum()
    assert found.log_likelihood == pytest.approx(by_hand)
    assert found.aic == pytest.approx(4 - 2 * by_hand)
    assert found.bic == pytest.approx(2 * math.log(3) - 2 * by_hand)
    assert (found.dropped, found.free, found.method) == (1, 2, "closed form")
    assert "Normal: 3 data" in str(found)
    assert "loc    2 +- 0.47" in str(found)


def test_many_parameters_go_to_lbfgs():
    torch.manual_seed(0)
    x = families.Dirichlet(torch.full((300,), 2.0, dtype=torch.float64)).sample((50,))
    found = estimate(families.Dirichlet, x)
    assert (found.method, found.converged) == ("L-BFGS", True)
    a = found.parameters["concentration"]
    assert (a.digamma() - a.sum().digamma()).numpy() == pytest.approx(x.log().mean(0).numpy(), abs=1e-3)
    assert float(found.errors["concentration"].mean()) == pytest.approx(float((a - 2).std()), rel=0.3)


# Edges and errors ----------------------------------------------------------------------------------------------------


def test_estimates_at_an_edge_say_so():
    found = estimate(families.Bernoulli, [0.0, 0.0])
    assert float(found.parameters["probs"]) == 0
    assert math.isinf(found.errors["probs"])
    assert "edge of its range" in found.edges["probs"]
    assert found.log_likelihood == pytest.approx(0, abs=1e-12)
    found = estimate(families.Categorical, [0, 0, 2, 2])
    assert found.errors["probs"].tolist() == [0.25, math.inf, 0.25]
    found = estimate(families.Poisson, [0, 0])
    assert "rate" in found.edges
    torch.manual_seed(0)
    flat = estimate(families.StudentT, torch.rand(200))  # lighter tails than any t
    assert flat.converged
    assert set(flat.edges) == {"df"}
    normal = estimate(families.Normal, torch.rand(200, generator=torch.Generator().manual_seed(0)))
    assert float(flat.errors["loc"]) == pytest.approx(float(normal.errors["loc"]), rel=0.1)
    narrow = estimate(families.NegativeBinomial, [3, 3, 4, 3, 4, 3])  # a smaller variance than any of them has
    assert set(narrow.edges) == {"total_count", "probs"}
    poisson = estimate(families.Poisson, [3, 3, 4, 3, 4, 3])  # the limit; lgamma loses digits on the way there
    assert narrow.log_likelihood == pytest.approx(poisson.log_likelihood, abs=2e-3)


ONE_LINE = {
    r"Gamma takes numbers of 0 or more; row 1 holds -1\.": lambda: estimate(families.Gamma, [1.0, -1.0]),
    r"no finite log-density where the search begins": lambda: estimate(families.Gamma, [1.0, 0.0, 2.0]),
    r"Bernoulli takes 0 or 1; row 2 holds 0\.5": lambda: estimate(families.Bernoulli, [1, 0, 0.5]),
    r"Binomial takes whole numbers from 0 to 3; row 0 holds 5": lambda: estimate(families.Binomial, [5], total_count=3),
    r"Categorical takes whole numbers.*row 1 holds -1": lambda: estimate(families.Categorical, [0, -1]),
    r"Poisson takes whole numbers, 0 or more; row 0, column 1 holds 1\.5": lambda: estimate(
        families.Poisson, [[1, 1.5]]
    ),
    r"Dirichlet takes shares that sum to 1; row 0 holds \[0\.5, 0\.6\]": lambda: estimate(
        families.Dirichlet, [[0.5, 0.6]]
    ),
    r"unknown parameter of Gamma 'rat'\. Did you mean 'rate'": lambda: estimate(families.Gamma, [1.0, 2.0], rat=1.0),
    r"unknown parameter of Normal 'locc'": lambda: estimate(
        families.Normal, [1.0, 2.0], prior={"locc": families.Normal(0.0, 1.0)}
    ),
    r"data must be finite; row 1 is infinite": lambda: estimate(families.Normal, [1.0, math.inf]),
    r"data cannot be read as an array of numbers": lambda: estimate(families.Normal, ["a"]),
    r"data cannot be read as an array of numbers: expected sequence": lambda: estimate(
        families.Normal, [[1.0], [1.0, 2.0]]
    ),
    r"must be real numbers, not complex": lambda: estimate(families.Normal, torch.ones(2, dtype=torch.complex64)),
    r"N of 1 or more and no axis of 0, not of shape \(0,\)": lambda: estimate(families.Normal, []),
    r"data must be rows, .* not of shape \(3, 0\)": lambda: estimate(families.Normal, torch.zeros(3, 0)),
    r"too few rows: a column has no value that counts": lambda: estimate(families.Normal, [math.nan, math.nan]),
    r"2 rows are too few for the covariance of 2 columns; 3": lambda: estimate(
        families.MultivariateNormal, torch.eye(2)
    ),
    r"a column is a weighted sum of others": lambda: estimate(
        families.MultivariateNormal, torch.arange(9.0).reshape(3, 3)[:, :2] ** 2 @ torch.tensor([[1.0, 2], [0, 0]])
    ),
    r"has no maximum, it grows on as concentration goes to": lambda: estimate(families.Gamma, [2.0, 2.0, 2.0]),
    r"MultivariateNormal: all values of a column are equal": lambda: estimate(
        families.MultivariateNormal, torch.tensor([[1.0, 2], [1, 3], [1, 5], [1, 4]])
    ),
    r"total_count is a whole number and is not estimated; give it": lambda: estimate(families.Binomial, [1, 2]),
    r"RelaxedBernoulli needs temperature=": lambda: estimate(families.RelaxedBernoulli, [0.5, 0.6]),
    r"weights must be one number per row": lambda: estimate(families.Normal, [1.0, 2.0], weights=[1.0]),
    r"weights must be 0 or more; row 1 has -1": lambda: estimate(families.Normal, [1.0, 2.0], weights=[1.0, -1.0]),
    r"give a start for rate": lambda: estimate(lambda rate: families.Exponential(rate), [1.0]),
    r"give a class of torch\.distributions": lambda: estimate(families.Normal(0.0, 1.0), [1.0]),
    r"loc is fixed and can have neither": lambda: estimate(families.Normal, [1.0, 2.0], loc=0.0, start={"loc": 1.0}),
    r"impossible under the parameters that were fixed": lambda: estimate(families.Uniform, [1.0, 2.0], low=1.5),
    r"level must lie between 0 and 1": lambda: estimate(families.Normal, [1.0, 2.0]).interval("loc", 95),
    r"unknown parameter 'mean'": lambda: estimate(families.Normal, [1.0, 2.0]).interval("mean"),
}


@pytest.mark.parametrize("message", ONE_LINE)
def test_bad_questions_are_one_line(message):
    with pytest.raises(LikelyError, match=message) as caught:
        ONE_LINE[message]()
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UnknownName) == message.startswith("unknown")


def test_large_numbers_and_small_types():
    x = drawn(families.Normal, 0.0, 1.0) + 1e8
    found = estimate(families.Normal, x)
    assert float(found.parameters["scale"]) == pytest.approx(float((x - 1e8).std(correction=0)), rel=1e-6)
    t = estimate(families.StudentT, x, df=5.0)
    assert t.converged
    assert float(t.parameters["loc"]) == pytest.approx(1e8, abs=0.3)
    half = estimate(families.Exponential, torch.tensor([1.0, 2.0], dtype=torch.bfloat16))
    assert half.parameters["rate"].dtype == torch.float64
    assert likely.LikelyError is LikelyError


def test_a_low_rank_covariance_does_not_stay_at_no_rank():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(400, 1)) @ np.array([[1.0, 2.0, -1.0, 0.5]]) + 0.3 * generator.normal(size=(400, 4))
    with pytest.raises(LikelyError, match="the rank is not estimated; give a start that is not 0"):
        estimate(families.LowRankMultivariateNormal, x)
    found = estimate(families.LowRankMultivariateNormal, x, start={"cov_factor": torch.ones(4, 1)})
    assert found.log_likelihood == pytest.approx(400 * FactorAnalysis(1, tol=1e-9).fit(x).score(x), abs=1e-3)


@pytest.mark.parametrize("family", [families.Gamma, families.Weibull, families.StudentT, families.Normal])
def test_the_maximum_does_not_depend_on_the_size_of_the_weights(family):
    data = [1.0, 2.0, 4.0, 9.0, 0.3, 50.0, 2.0, 3.0, 2.5]
    once = estimate(family, data)
    for size in (1e-20, 1e-10, 1e-3, 1e10, 1e20):
        found = estimate(family, data, weights=np.full(9, size))
        assert found.converged
        for name, value in once.parameters.items():
            torch.testing.assert_close(found.parameters[name], value, rtol=1e-5, atol=0)
        assert found.log_likelihood == pytest.approx(size * once.log_likelihood, rel=1e-6)


def test_weights_that_numbers_cannot_add_up_get_one_line():
    for weights, says in (
        ([1.0, 1e300], r"weights count rows, and 1e\+300 in row 1 is more than 1e\+20; divide all by one number"),
        ([1e-300, 1e-300], r"weights add up to 2e-300, less than 1e-20; multiply all by one number"),
    ):
        with pytest.raises(LikelyError, match=says):
            estimate(families.Normal, [1.0, 2.0], weights=np.array(weights))
