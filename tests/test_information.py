"""Information on tables, distributions and models: scipy, identities, closed forms, enumeration."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy as scipy_entropy
from torch.distributions import Bernoulli, Binomial, Categorical, Gamma, Laplace, LogNormal, Normal, Poisson, StudentT

import likely
from likely.models.table import Table
from likely.parts import information

shapes = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
seeds = st.integers(0, 2**31)


def random_table(shape, seed, *, zeros=True):
    """Return a random joint distribution, some of whose cells are impossible."""
    generator = torch.Generator().manual_seed(seed)
    p = torch.rand(shape, generator=generator, dtype=torch.float64) ** 3 + 1e-9
    if zeros:
        p = torch.where(torch.rand(shape, generator=generator) < 0.3, 0.0, p)
        p.flatten()[0] += 0.1
    return p / p.sum()


@given(shapes, seeds)
def test_entropies_and_divergences_are_those_of_scipy(shape, seed):
    p, q = random_table(shape, seed), random_table(shape, seed + 1, zeros=False)
    flat, other = p.numpy().ravel(), q.numpy().ravel()
    assert float(information.entropy(p)) == pytest.approx(scipy_entropy(flat), abs=1e-12)
    assert float(information.entropy(p, unit="bits")) == pytest.approx(scipy_entropy(flat, base=2), abs=1e-12)
    assert float(information.kl(p, q)) == pytest.approx(scipy_entropy(flat, other), abs=1e-12)
    assert float(information.jensen_shannon(p, q)) == pytest.approx(jensenshannon(flat, other) ** 2, abs=1e-10)
    assert float(information.total_variation(p, q)) == pytest.approx(np.abs(flat - other).sum() / 2, abs=1e-15)


@given(shapes, seeds)
def test_cross_entropy_is_entropy_plus_divergence(shape, seed):
    p, q = random_table(shape, seed), random_table(shape, seed + 1, zeros=False)
    gap = information.cross_entropy(p, q) - information.entropy(p) - information.kl(p, q)
    assert abs(float(gap)) < 1e-12


@given(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)), seeds)
def test_the_identities_of_mutual_information(shape, seed):
    p = random_table(shape, seed)
    h = information.joint_entropy
    exact = {
        (0, 1, ()): h(p, 0) + h(p, 1) - h(p, (0, 1)),
        (0, 1, (2,)): h(p, (0, 2)) + h(p, (1, 2)) - h(p) - h(p, 2),
        ((0, 1), 2, ()): h(p, (0, 1)) + h(p, 2) - h(p),
    }
    for (a, b, c), expected in exact.items():
        assert float(information.mutual_information(p, a, b, c)) == pytest.approx(float(expected), abs=1e-12)
    assert float(information.conditional_entropy(p, 0, (1, 2))) == pytest.approx(float(h(p) - h(p, (1, 2))), abs=1e-12)
    chain = h(p, 0) + information.conditional_entropy(p, 1, 0) + information.conditional_entropy(p, 2, (0, 1))
    assert float(chain) == pytest.approx(float(h(p)), abs=1e-12)


def test_an_exclusive_or_is_seen_only_with_the_third_variable():
    p = torch.zeros(2, 2, 2)
    for a in (0, 1):
        for b in (0, 1):
            p[a, b, a ^ b] = 0.25
    assert float(information.mutual_information(p, 0, 1)) == 0
    assert float(information.mutual_information(p, 0, 1, 2, unit="bits")) == pytest.approx(1)


def test_what_is_impossible_under_q_is_infinitely_surprising():
    assert float(information.kl([0.5, 0.5], [1.0, 0.0])) == math.inf
    assert float(information.cross_entropy([0.5, 0.5], [1.0, 0.0])) == math.inf
    assert float(information.kl([1.0, 0.0], [0.5, 0.5])) == pytest.approx(math.log(2))
    assert float(information.self_information(0.0)) == math.inf


def test_distributions_of_torch():
    p, q = Categorical(torch.tensor([0.2, 0.3, 0.5])), Categorical(torch.tensor([0.5, 0.25, 0.25]))
    assert float(information.kl(p, q)) == pytest.approx(scipy_entropy([0.2, 0.3, 0.5], [0.5, 0.25, 0.25]), rel=1e-6)
    assert float(information.entropy(Bernoulli(0.5), unit="bits")) == pytest.approx(1)
    assert float(information.entropy(Normal(0.0, 2.0))) == pytest.approx(0.5 * math.log(2 * math.pi * math.e * 4))
    p, q = Normal(0.0, 1.0), Normal(1.0, 2.0)
    closed = math.log(2) + (1 + 1) / 8 - 0.5
    assert float(information.kl(p, q)) == pytest.approx(closed, rel=1e-6)
    entropy = 0.5 * math.log(2 * math.pi * math.e)
    assert float(information.cross_entropy(p, q)) == pytest.approx(entropy + closed, rel=1e-6)


@pytest.mark.parametrize(
    ("p", "q"),
    [(StudentT(5.0), Normal(0.0, 2.0)), (Gamma(2.0, 1.0), LogNormal(0.5, 0.8)), (Normal(0, 1.0), Laplace(0, 1.0))],
)
def test_estimates_agree_with_quadrature_within_their_error(p, q):
    x = torch.linspace(-200, 200, 800_001, dtype=torch.float64)
    inside = x[x > 0] if isinstance(p, Gamma) else x
    log_p, log_q = p.log_prob(inside).double(), q.log_prob(inside).double()
    step = float(x[1] - x[0])
    mixed = torch.logaddexp(log_p, log_q) - math.log(2)
    exact = {
        "kl": (log_p.exp() * (log_p - log_q)).sum() * step,
        "cross_entropy": -(log_p.exp() * log_q).sum() * step,
        "entropy": -(log_p.exp() * log_p).sum() * step,
        "total_variation": (log_p.exp() - log_q.exp()).abs().sum() * step / 2,
        "jensen_shannon": (log_p.exp() * (log_p - mixed) + log_q.exp() * (log_q - mixed)).sum() * step / 2,
    }
    for measure, expected in exact.items():
        value, error = information.between(measure, p, None if measure == "entropy" else q, n=20_000, seed=0)
        assert abs(float(value) - float(expected)) < 5 * float(error) + 1e-4, measure
        assert float(error) < 0.05


def models(size, seed):
    torch.manual_seed(seed)
    space = likely.Binary((size,))
    made = []
    for shift in (0.3, 0.6):
        model = likely.build("bernoulli", space)
        model.m_step(model.e_step((torch.rand(200, size) < shift).byte()))
        made.append(model)
    return made


def test_models_by_enumeration_and_by_simulation_agree():
    p, q = models(5, 0)
    for measure in information.MEASURES:
        other = None if measure == "entropy" else q
        exact, none = information.between(measure, p, other)
        assert float(none) == 0
        first, second = (information._Source(one) for one in (p, q))
        drawn = information._terms(measure, first, second, p.sample(20_000, seed=1))
        if measure != "jensen_shannon":
            assert float(drawn.mean()) == pytest.approx(float(exact), abs=5 * float(drawn.std()) / 20_000**0.5)
    exact, _ = information.between("kl", p, q)
    rate = torch.stack([m.probabilities.double() for m in (p, q)])
    assert float(exact) == pytest.approx(float((rate[0] * (rate[0] / rate[1]).log()).sum()), rel=1e-5)


def test_models_too_large_to_list_are_estimated():
    p, q = models(40, 0)
    rate = torch.stack([m.probabilities.double() for m in (p, q)])
    exact = float((rate[0] * (rate[0] / rate[1]).log()).sum())
    value, error = information.between("kl", p, q, n=4000, seed=3)
    assert 0 < float(error) < 0.2
    assert abs(float(value) - exact) < 5 * float(error)
    again = information.between("kl", p, q, n=4000, seed=3)
    assert torch.equal(value, again.value)
    bits = information.between("kl", p, q, n=4000, seed=3, unit="bits")
    assert float(bits.value) == pytest.approx(float(value) / math.log(2))
    assert float(bits.error) == pytest.approx(float(error) / math.log(2))


def test_a_distribution_of_few_values_beside_one_of_many():
    """Only one of the two can be listed: so draws decide."""
    p, q = Binomial(4, torch.tensor(0.3)), Poisson(1.2)
    k = torch.arange(60.0)
    log_q = q.log_prob(k)
    first = torch.cat([p.log_prob(k[:5]).exp(), torch.zeros(55)])
    exact = {
        "kl": (first[:5] * (first[:5].log() - log_q[:5])).sum(),
        "total_variation": (first - log_q.exp()).abs().sum() / 2,
    }
    for measure, expected in exact.items():
        value, error = information.between(measure, p, q, n=20_000)
        assert float(error) > 0
        assert abs(float(value) - float(expected)) < 5 * float(error)


def test_sequences_are_enumerated_and_estimated():
    from likely.spaces import Finite, Sequence

    made = {}
    for length in (3, 12):
        space = Sequence(step=Finite((), 2), length=length)
        made[length] = []
        for seed in (0, 1):
            model = likely.build("hmm", space, states=2)
            x = space.random(60, torch.Generator().manual_seed(seed))
            for _ in likely.fit(model, likely.data.Part(x), passes=2, seed=seed):
                pass
            made[length].append(model)
    p, q = made[3]
    points = p.space.enumerate()
    log_p, log_q = (model.log_prob(points).double() for model in (p, q))
    found = information.between("kl", p, q)
    assert float(found.error) == 0
    assert float(found.value) == pytest.approx(float((log_p.exp() * (log_p - log_q)).sum()), rel=1e-5)
    exact, (value, error) = (
        information.between("kl", *made[12]),
        information.between("kl", *_estimated(made[12]), n=4000),
    )
    assert float(exact.error) == 0
    assert abs(float(value) - float(exact.value)) < 5 * float(error)


def _estimated(models):
    """Hide that the values of two models can be listed."""
    from dataclasses import replace

    for model in models:
        model.space = replace(model.space, length=40)
    return models


def test_energy_models_are_compared_where_they_are_exact():
    torch.manual_seed(0)
    rbm, other = (likely.build("rbm", likely.Binary((6,)), hidden=3) for _ in range(2))
    for model in (rbm, other):
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.7)
    points = rbm.space.enumerate()
    log_p, log_q = ((-m.energy(points)).double().log_softmax(0) for m in (rbm, other))
    exact = float((log_p.exp() * (log_p - log_q)).sum())
    assert float(information.between("kl", rbm, other).value) == pytest.approx(exact, rel=1e-5)
    p = models(6, 0)[0]
    crossed = information.between("cross_entropy", p, rbm)
    assert float(crossed.value) == pytest.approx(float(-(p.log_prob(points).double().exp() * log_p).sum()), rel=1e-5)
    wide, simple = likely.build("rbm", likely.Binary((40,)), hidden=3), models(40, 0)[0]
    value, error = information.between("cross_entropy", simple, wide, n=2000)
    x = simple.sample(2000, seed=0)
    by_hand = wide.energy(x).double().mean() + wide.log_partition().value.double()
    assert float(value) == pytest.approx(float(by_hand), rel=1e-6)
    assert float(error) < 0.2
    with pytest.raises(likely.LikelyError, match="only in the limit"):
        information.between("entropy", wide)


def test_what_lies_outside_a_support_has_no_probability():
    from torch.distributions import Uniform

    exact = 1 - (torch.erf(torch.tensor(1 / 2**0.5)) / 2)  # the smaller density is the normal one, inside [0, 1]
    value, error = information.between("total_variation", Normal(0.0, 1.0), Uniform(0.0, 1.0), n=20_000)
    assert abs(float(value) - float(exact)) < 5 * float(error)


dit_shapes = st.lists(st.integers(1, 3), min_size=2, max_size=4).map(tuple)


@settings(max_examples=15)
@given(dit_shapes, seeds)
def test_the_same_as_dit(shape, seed):
    dit = pytest.importorskip("dit")
    p, q = random_table(shape, seed), random_table(shape, seed + 1, zeros=False)
    cells = [tuple(map(str, place)) for place in np.ndindex(*shape)]
    theirs, other = (
        dit.Distribution(
            [c for c, v in zip(cells, t.flatten().tolist(), strict=True) if v > 0],
            [v for v in t.flatten().tolist() if v > 0],
        )
        for t in (p, q)
    )
    bits = {"unit": "bits"}
    close = {"abs": 1e-9}
    assert float(information.entropy(p, **bits)) == pytest.approx(dit.shannon.entropy(theirs), **close)
    assert float(information.joint_entropy(p, (0, 1), **bits)) == pytest.approx(
        dit.shannon.entropy(theirs, [0, 1]), **close
    )
    assert float(information.conditional_entropy(p, 0, 1, **bits)) == pytest.approx(
        dit.shannon.conditional_entropy(theirs, [0], [1]), **close
    )
    assert float(information.mutual_information(p, 0, 1, **bits)) == pytest.approx(
        dit.shannon.mutual_information(theirs, [0], [1]), **close
    )
    if len(shape) > 2:
        rest = list(range(2, len(shape)))
        assert float(information.mutual_information(p, 0, 1, rest, **bits)) == pytest.approx(
            dit.multivariate.total_correlation(theirs, [[0], [1]], rest), **close
        )
    divergences = dit.divergences
    assert float(information.kl(p, q, **bits)) == pytest.approx(
        divergences.kullback_leibler_divergence(theirs, other), **close
    )
    assert float(information.cross_entropy(p, q, **bits)) == pytest.approx(
        divergences.cross_entropy(theirs, other), **close
    )
    assert float(information.jensen_shannon(p, q, **bits)) == pytest.approx(
        divergences.jensen_shannon_divergence([theirs, other]), **close
    )
    assert float(information.total_variation(p, q)) == pytest.approx(
        divergences.variational_distance(theirs, other), **close
    )


def test_a_model_and_itself():
    p, _ = models(40, 0)
    for measure in ("kl", "jensen_shannon", "total_variation"):
        assert float(information.between(measure, p, p, n=100).value) == pytest.approx(0, abs=1e-12)


def test_bad_questions_are_one_line():
    with pytest.raises(likely.LikelyError, match=r"must sum to 1; these sum to 0\.9"):
        information.entropy([0.5, 0.4])
    with pytest.raises(likely.LikelyError, match="0 or more"):
        information.entropy([1.5, -0.5])
    with pytest.raises(likely.LikelyError, match=r"unknown unit 'bit'\. Did you mean 'bits'"):
        information.entropy([1.0], unit="bit")
    with pytest.raises(likely.LikelyError, match=r"shapes \(2,\) and \(3,\)"):
        information.kl([0.5, 0.5], [0.5, 0.25, 0.25])
    with pytest.raises(likely.LikelyError, match="axis 2 is not one"):
        information.mutual_information(torch.eye(2) / 2, 0, 2)
    with pytest.raises(likely.LikelyError, match="must differ"):
        information.mutual_information(torch.eye(2) / 2, 0, 0)
    with pytest.raises(likely.LikelyError, match="between 0 and 1"):
        information.self_information(1.5)
    with pytest.raises(likely.LikelyError, match="no closed form"):
        information.kl(StudentT(5.0), Normal(0.0, 2.0))
    with pytest.raises(likely.LikelyError, match="different spaces"):
        information.between("kl", models(3, 0)[0], models(4, 0)[0])
    with pytest.raises(likely.LikelyError, match="no exact log-probability"):
        information.between("entropy", 3)
    with pytest.raises(likely.LikelyError, match="unknown measure"):
        information.between("kll", Normal(0.0, 1.0), Normal(0.0, 1.0))
    with pytest.raises(likely.LikelyError, match="of two models"):
        information.between("kl", Normal(0.0, 1.0))
    with pytest.raises(likely.LikelyError, match="cannot be read as an array of numbers"):
        information.entropy([[0.5], [0.25, 0.25]])
    with pytest.raises(likely.LikelyError, match="real numbers, not complex"):
        information.entropy(torch.ones(1, dtype=torch.complex64))
    with pytest.raises(likely.LikelyError, match="different values"):
        information.between("kl", Binomial(3, 0.1), Binomial(4, 0.1))
    with pytest.raises(likely.LikelyError, match="batch of distributions"):
        information.between("entropy", Binomial(3, torch.tensor([0.1, 0.2])))


def test_the_model_table_is_its_probabilities():
    p = random_table((2, 3), 0, zeros=False)
    table = Table.from_array(p, names=("a", "b"))
    q = Table.from_array(random_table((2, 3), 1, zeros=False))
    assert float(information.entropy(table)) == pytest.approx(float(information.entropy(p)))
    assert float(information.mutual_information(table, 0, 1)) == pytest.approx(
        float(information.mutual_information(p, 0, 1))
    )
    assert float(information.kl(table, q)) == pytest.approx(float(information.kl(p, q.probabilities)))
    with pytest.raises(likely.LikelyError, match="is a model and no table; use between"):
        information.entropy(likely.build("bernoulli", likely.Binary((2,))))
