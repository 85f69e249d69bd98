"""Joint tables against enumeration, counting, scipy, and rules that hold for every table."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

import likely
from likely.data.parts import Part
from likely.families import tabular
from likely.families.joint import DENSE
from likely.models.table import Table
from likely.parts import information

shapes = st.lists(st.integers(1, 3), min_size=2, max_size=4).map(tuple)
seeds = st.integers(0, 2**31)


def random_array(shape, seed, zeros=0.3):
    generator = np.random.default_rng(seed)
    p = generator.random(shape) * (generator.random(shape) > zeros)
    p.flat[-1] += 0.1
    return p / p.sum()


def fitted(space, x, pseudo_count=0.0, **given):
    model = Table(space, pseudo_count=pseudo_count)
    model.m_step(model.e_step(x, **given))
    return model


@given(shapes, seeds)
def test_an_array_comes_back_and_every_marginal_is_its_sum(shape, seed):
    p = random_array(shape, seed)
    table = Table.from_array(p)
    assert table.probabilities.numpy() == pytest.approx(p, abs=1e-14)
    for size in range(1, len(shape) + 1):
        for axes in itertools.permutations(range(len(shape)), size):
            others = tuple(axis for axis in range(len(shape)) if axis not in axes)
            expected = p.sum(others).transpose(np.argsort(np.argsort(axes)))
            found = table.marginal(*(f"x{axis}" for axis in axes)).probabilities.numpy()
            assert found == pytest.approx(expected, abs=1e-14)


@given(shapes, seeds, st.sampled_from([0.0, 3.0]))
def test_conditions_follow_the_definition(shape, seed, pseudo_count):
    counts = np.random.default_rng(seed).integers(0, 4, shape)
    counts.flat[0] += 1
    table = Table.from_counts(counts, pseudo_count=pseudo_count)
    p = (counts + pseudo_count / counts.size) / (counts.sum() + pseudo_count)
    assert table.probabilities.numpy() == pytest.approx(p, abs=1e-14)
    for level in range(shape[0]):
        part = p[level]
        assert table.probability(x0=level) == pytest.approx(part.sum(), abs=1e-14)
        if part.sum() == 0:
            with pytest.raises(likely.LikelyError, match=f"cannot condition on x0={level}: it has probability 0"):
                table.condition(x0=level)
        else:
            found = table.condition(x0=level).probabilities.numpy()
            assert found == pytest.approx(part / part.sum(), abs=1e-12)


@given(shapes, seeds)
def test_the_chain_rule_gives_the_joint_in_any_order(shape, seed):
    p = random_array(shape, seed)
    table = Table.from_array(p)
    order = np.random.default_rng(seed).permutation(len(shape))
    made = table.factorisation(*(f"x{axis}" for axis in order))
    assert made.product.numpy() == pytest.approx(p.transpose(order), abs=1e-12)
    for factor in made.factors:
        total = factor.probabilities.sum(-1)
        assert bool(((total - 1).abs().lt(1e-9) | (total == 0)).all())


def test_the_factorisation_can_be_read():
    text = str(Table.from_array([[0.5, 0.0], [0.1, 0.4]], names=("sun", "wet")).factorisation())
    assert text.splitlines() == [
        "p(sun, wet) = p(sun) p(wet | sun)",
        "",
        "p(sun)",
        "  0.5000 0.5000",
        "",
        "p(wet | sun)",
        "  sun=0: 1.0000 0.0000",
        "  sun=1: 0.2000 0.8000",
    ]


@given(st.tuples(st.integers(2, 3), st.integers(2, 3)), seeds)
def test_bayes_rule(shape, seed):
    p = random_array(shape, seed, zeros=0.0)
    rule = Table.from_array(p, names=("cause", "sign")).bayes("cause", sign=1)
    assert (rule.prior * rule.likelihood / rule.evidence).numpy() == pytest.approx(rule.posterior.numpy())
    assert rule.posterior.numpy() == pytest.approx(p[:, 1] / p[:, 1].sum())
    assert rule.likelihood.numpy() == pytest.approx(p[:, 1] / p.sum(1))


@given(st.tuples(*[st.integers(2, 3)] * 3), seeds)
def test_independence_is_exact_on_a_table(shape, seed):
    generator = np.random.default_rng(seed)
    a, b, c = (generator.dirichlet(np.ones(size)) for size in shape)
    table = Table.from_array(np.einsum("a,b,c->abc", a, b, c), names=("a", "b", "c"))
    assert table.independent("a", "b")
    assert table.independent("a", ["b", "c"])
    # a - c - b: apart given c, together without it
    given_c = generator.dirichlet(np.ones(shape[0]) / 4, shape[2]), generator.dirichlet(np.ones(shape[1]) / 4, shape[2])
    chain = Table.from_array(np.einsum("c,ca,cb->abc", c, *given_c), names=("a", "b", "c"))
    assert chain.independent("a", "b", given="c")
    amount = float(information.mutual_information(chain.probabilities, 0, 1))
    assert bool(chain.independent("a", "b")) == (amount <= 1e-12)
    assert chain.independent("a", "b").information == pytest.approx(amount, abs=1e-14)


@given(seeds)
def test_the_g_test_is_that_of_scipy(seed):
    counts = np.random.default_rng(seed).integers(1, 30, (3, 4))
    expected = chi2_contingency(counts, correction=False, lambda_="log-likelihood")
    found = Table.from_counts(counts, names=("a", "b"), pseudo_count=7.0).independent("a", "b")
    assert found.statistic == pytest.approx(expected.statistic, abs=1e-9)
    assert (found.freedom, found.independent) == (expected.dof, expected.pvalue >= 0.05)
    assert found.p == pytest.approx(expected.pvalue, abs=1e-10)


def test_the_conditional_g_test_adds_up_over_what_is_given():
    counts = np.random.default_rng(0).integers(1, 30, (3, 4, 2))
    counts[0, :, 1] = 0  # a value of a that does not occur there has no degree of freedom
    parts = [
        chi2_contingency(table[table.sum(1) > 0], correction=False, lambda_="log-likelihood")
        for table in np.moveaxis(counts, 2, 0)
    ]
    found = Table.from_counts(counts).independent("x0", "x1", given="x2")
    assert found.statistic == pytest.approx(sum(part.statistic for part in parts))
    assert found.freedom == sum(part.dof for part in parts) == 6 + 3


def test_the_g_test_errs_as_often_as_it_says():
    torch.manual_seed(0)
    p = [
        fitted(likely.Binary((2,)), (torch.rand(400, 2) < torch.tensor([0.3, 0.6])).byte()).independent("x0", "x1").p
        for _ in range(400)
    ]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.035)
    assert np.mean(p) == pytest.approx(0.5, abs=0.06)


@given(shapes, seeds, st.sampled_from([0.0, 2.0]))
def test_expectations_are_sums_over_the_table(shape, seed, pseudo_count):
    counts = np.random.default_rng(seed).integers(0, 4, shape)
    counts.flat[0] += 1
    table = Table.from_counts(counts, pseudo_count=pseudo_count)
    p = table.probabilities.numpy()
    first, second = np.indices(shape)[0], np.indices(shape)[1]
    f, g = first**2 - second, 3.0 * second
    mean = (p * f).sum()
    assert table.expectation(lambda x0, x1: x0**2 - x1) == pytest.approx(mean, abs=1e-12)
    assert table.variance(lambda x0, x1: x0**2 - x1) == pytest.approx((p * (f - mean) ** 2).sum(), abs=1e-12)
    both = (p * f * g).sum() - mean * (p * g).sum()
    assert table.covariance(lambda x0, x1: x0**2 - x1, lambda x1: 3.0 * x1) == pytest.approx(both, abs=1e-10)


def test_columns_keep_the_words_of_the_user():
    columns = {"sky": ["grey", "blue", "grey", "grey"], "degrees": [10.5, 20.0, 10.5, 20.0]}
    table = Table.from_columns(columns)
    assert table.probability(sky="grey", degrees=10.5) == pytest.approx(0.5)
    assert table.mode() == {"sky": "grey", "degrees": 10.5}
    assert table.expectation(lambda degrees: degrees) == pytest.approx(15.25)
    assert table.condition(degrees=20.0).probability(sky="blue") == pytest.approx(0.5)
    assert str(table).splitlines()[:2] == ["sky   degrees  p", "grey  10.5     0.500000"]
    assert "1 other cells share 0.000000" in str(table)
    weighted = Table.from_columns(columns, weight=[0, 1, 0, 1])
    assert weighted.probability(sky="blue") == pytest.approx(0.5)


class Frame:
    """What polars offers, and nothing more."""

    def __init__(self, columns):
        self.columns = columns

    def get_columns(self):
        return [Series(name, values) for name, values in self.columns.items()]


class Series:
    def __init__(self, name, values):
        self.name, self.values = name, values

    def to_numpy(self):
        return np.array(self.values)


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow", "polars by duck typing", "mapping"])
def test_any_data_frame(kind):
    columns = {"sky": ["grey", "blue", None, "grey"], "wind": [1, 2, 2, None], "rain": [True, False, True, True]}
    if kind == "pandas":
        frame = pytest.importorskip("pandas").DataFrame(columns)
    elif kind == "polars":
        frame = pytest.importorskip("polars").DataFrame(columns)
    elif kind == "pyarrow":
        frame = pytest.importorskip("pyarrow").table(columns)
    else:
        frame = columns if kind == "mapping" else Frame(columns)
    table = Table.from_columns(frame)
    assert table.names == ("sky", "wind", "rain")
    assert table.categories == (("blue", "grey"), (1, 2), (False, True))
    assert table.probability(sky="grey", rain=True) == pytest.approx(0.75, abs=1e-6)


@settings(max_examples=5)
@given(seeds)
def test_missing_cells_of_a_frame_are_learned_from_by_em(seed):
    """The likelihood of what is known cannot be raised: its slope is 0 along every cell that has mass."""
    generator = np.random.default_rng(seed)
    a = generator.integers(0, 3, 80)
    b = np.where(generator.random(80) < 0.7, a, generator.integers(0, 3, 80))
    columns = {"a": a.astype(float), "b": b.astype(float)}
    for values in columns.values():
        values[generator.random(80) < 0.3] = np.nan
    table = Table.from_columns(columns, passes=1000)
    p = table.probabilities.numpy()
    found = [np.unique(values[~np.isnan(values)], return_inverse=True) for values in columns.values()]
    slope = np.zeros_like(p)
    for row in zip(*columns.values(), strict=True):
        place = tuple(
            slice(None) if np.isnan(value) else int(np.searchsorted(levels, value))
            for value, (levels, _) in zip(row, found, strict=True)
        )
        slope[place] += 1 / p[place].sum()
    assert slope[p > 1e-4] == pytest.approx(80, rel=2e-2)  # the multiplier of sum p = 1 is the number of rows
    assert slope.max() < 80 * 1.02


def test_variables_of_different_sizes_never_leave_their_values():
    table = Table.from_counts(np.ones((2, 5)), pseudo_count=10.0)
    drawn = table.sample(2000, seed=0)
    assert drawn.max(0).values.tolist() == [1, 4]
    assert table.log_prob([[1, 4]]).exp().item() == pytest.approx(0.1)
    assert table.log_prob([[4, 1]]).item() == -math.inf
    with pytest.raises(likely.LikelyError, match="value that its variable does not have"):
        table.e_step([[4, 1]])


def test_missing_values_are_learned_from_by_em():
    """Against EM written out over every cell."""
    space = likely.Finite((3,), 2)
    x = space.random(200, torch.Generator().manual_seed(0))
    x[:, 1] = torch.where(torch.rand(200, generator=torch.Generator().manual_seed(1)) < 0.8, x[:, 0], x[:, 1])
    known = torch.rand(200, 3, generator=torch.Generator().manual_seed(2)) < 0.6
    model, p = Table(space, pseudo_count=0.0), np.full(8, 1 / 8)
    points = space.enumerate().numpy()
    agree = ((points[None] == x.numpy()[:, None]) | ~known.numpy()[:, None]).all(2)
    for _ in range(5):
        stats = model.e_step(x, known=known)
        assert float(stats["log_likelihood"]) == pytest.approx(np.log(agree @ p).sum())
        p = (agree * p / (agree @ p)[:, None]).mean(0)
        model.m_step(stats)
        assert model.probabilities.numpy().ravel() == pytest.approx(p, abs=1e-12)


def test_a_wide_table_is_the_same_whichever_way_its_rows_are_found():
    """Hashed keys of 100 variables, of which 97 are constant, against the table of the other three."""
    x = likely.Finite((3,), 3).random(500, torch.Generator().manual_seed(0))
    wide = torch.zeros(500, 100, dtype=torch.uint8)
    wide[:, [3, 50, 99]] = x
    small, large = fitted(likely.Finite((3,), 3), x), fitted(likely.Finite((100,), 3), wide)
    assert large.points == 3**100
    assert large.log_prob(wide).numpy() == pytest.approx(small.log_prob(x).numpy(), abs=1e-12)
    assert large.marginal("x3", "x50", "x99").probabilities.numpy() == pytest.approx(small.probabilities.numpy())
    parts = [large.e_step(wide[s])["counts"] for s in (slice(50), slice(50, 51), slice(51, 500))]
    total = (parts[0] + parts[1] + parts[2]).total()
    assert torch.equal(total.keys, large.key)
    assert total.mass.sum() == 500
    filled = large.complete(wide[:50].float().masked_fill(torch.arange(100) == 50, torch.nan), seed=0)
    assert torch.isfinite(large.log_prob(filled)).all()


def test_an_unseen_picture_gets_its_share_of_the_imagined_rows():
    space = likely.Binary((784,))
    x = space.random(30, torch.Generator().manual_seed(0))
    model = fitted(space, x, pseudo_count=1.0)
    assert float(model.log_prob(x[:1])) == pytest.approx(math.log(1 / 31), abs=1e-9)
    assert float(model.log_prob(1 - x[:1])) == pytest.approx(-math.log(31) - 784 * math.log(2))
    known = torch.zeros(784, dtype=torch.bool)
    known[:700] = True
    assert torch.equal(model.complete(x, known, seed=0), x)
    assert bool((model.complete(1 - x, known, seed=0)[:, :700] == 1 - x[:, :700]).all())


def test_streams_give_the_same_table_as_memory():
    space = likely.Finite((20,), 4)
    x = (space.random(5000, torch.Generator().manual_seed(0)) // 3).to(torch.uint8)
    x[2500:] = x[:2500]
    model = Table(space, pseudo_count=1.0)
    for _ in likely.fit(model, Part(x), batch=137):
        pass
    whole = fitted(space, x, pseudo_count=1.0)
    assert torch.equal(model.cells, whole.cells)
    assert model.mass.numpy() == pytest.approx(whole.mass.numpy(), rel=1e-12)


def test_rows_of_equal_keys_are_not_taken_for_the_same():
    rows = torch.tensor([[0, 1], [1, 0]])
    with pytest.raises(likely.LikelyError, match="share a 64-bit key"):
        tabular.distinct(torch.zeros(2, dtype=torch.int64), rows, torch.ones(2))


def test_bad_input_is_one_line():
    table = Table.from_array([[0.5, 0.0], [0.25, 0.25]], names=("rain", "wind"))
    cases = {
        r"must sum to 1; these sum to 0\.5": lambda: Table.from_array([0.25, 0.25]),
        "counts must be finite numbers of 0 or more": lambda: Table.from_counts([3, -1]),
        "counts cannot be read as an array of numbers": lambda: Table.from_counts([[1], [1, 2]]),
        "a table cannot be read as an array of numbers": lambda: Table.from_array(["a", "b"]),
        "column 'a' mixes texts and numbers": lambda: Table.from_columns({"a": np.array(["x", 1], dtype=object)}),
        "nothing to learn from": lambda: Table.from_counts([0, 0]),
        "a table of 1 axes needs a list of 1 names; 2 names are given": lambda: Table.from_array(
            [0.5, 0.5], names=("a", "b")
        ),
        r"unknown variable 'rian'\. Did you mean 'rain'": lambda: table.marginal("rian"),
        "variable 'rain' has no value 'yes'; it has 0 to 1": lambda: table.condition(rain="yes"),
        r"variable 'rain' has no value 2": lambda: table.probability(rain=2),
        "cannot condition on rain=0, wind=1: it has probability 0": lambda: Table.from_array(
            [[[0.5], [0.0]], [[0.25], [0.25]]], names=("rain", "wind", "x")
        ).condition(rain=0, wind=1),
        "names every variable": lambda: table.condition(rain=0, wind=0),
        "named twice": lambda: table.independent("rain", "rain"),
        "same number of rows, 1 or more; here: a 2, b 1": lambda: Table.from_columns({"a": [1, 2], "b": [1]}),
        "column 'a' has no values": lambda: Table.from_columns({"a": [math.nan, math.nan]}),
        "ndarray is no data frame": lambda: Table.from_columns(np.ones((2, 2))),
        "pseudo_count must be": lambda: likely.build("table", likely.Binary((2,)), pseudo_count=-1.0),
        "takes Binary or Finite, not Real": lambda: likely.build("table", likely.Real((2,))),
        r"30 variables has 1,073,741,824 cells, more than 10,000,000": lambda: (
            likely.build("table", likely.Binary((30,))).probabilities
        ),
        "missing values can be learned from where": lambda: likely.build("table", likely.Binary((30,))).e_step(
            torch.zeros(2, 30), known=torch.arange(30) < 3
        ),
    }
    assert DENSE == 10_000_000
    for message, ask in cases.items():
        with pytest.raises(likely.LikelyError, match=message) as caught:
            ask()
        assert "\n" not in str(caught.value)
    impossible = torch.tensor([[0.0, math.nan], [math.nan, 1.0]])
    gone = Table.from_array([[0.0, 0.0], [0.5, 0.5]])
    with pytest.raises(likely.LikelyError, match="cannot complete row 0: what is known there has probability 0"):
        gone.complete(impossible)


def test_functions_of_texts_compare_them():
    table = Table.from_columns({"sky": ["grey", "blue", "grey", "grey"], "rain": [2, 0, 0, 2]})
    assert table.expectation(lambda sky: sky == "grey") == pytest.approx(0.75)
    assert table.expectation(lambda sky, rain: (sky != "blue") * rain) == pytest.approx(1.0)
    assert table.expectation(lambda sky: sky) == pytest.approx(0.75)  # the levels, in the order of the alphabet
    with pytest.raises(likely.LikelyError, match="variable 'sky' has no value 'green'; it has blue, grey"):
        table.expectation(lambda sky: sky == "green")


def test_functions_that_cannot_be_asked_are_one_line():
    table = Table.from_columns({"a": [1, 0, 1], "b": [1, 0, 0]})
    for function in (lambda a, b: a if a > b else b, lambda a: math.log(a)):
        with pytest.raises(likely.LikelyError, match="called once, with tensors"):
            table.expectation(function)
    for function in (max, 3):
        with pytest.raises(likely.LikelyError, match="a function of the variables is wanted"):
            table.expectation(function)
