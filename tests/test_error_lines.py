"""What users do wrong with tables, distributions and classical models, and the one line that each of them gets."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Gamma, Normal

import likely
from likely.data import Part
from likely.errors import LikelyError, UnknownName
from likely.models.table import Table
from likely.parts import information
from likely.parts.maximum_likelihood import estimate
from likely.spaces import Binary, Finite, Ragged, Real, Sequence, ragged

LEVELS, REALS, STEPS = Finite((3,), 3, ordered=False), Real((3,)), Sequence(step=Finite((), 3), length=5)
DISCRETE = ("table", "markov", "chow_liu", "bernoulli")
FAR = torch.tensor([[0.0, 0, 0], [1e160, 0, 0]], dtype=torch.float64)
RAIN = Table.from_array([[0.5, 0.0], [0.25, 0.25]], names=("rain", "wind"))
IMPOSSIBLE = Table.from_array([[[0.5], [0.5]], [[0.0], [0.0]]], names=("a", "b", "c"))


def build(name, space=None, **numbers):
    return likely.build(name, space or (LEVELS if name in DISCRETE else REALS), **numbers)


def fit(name, space, x, **numbers):
    model = likely.build(name, space, **numbers)
    for _ in likely.fit(model, Part(x)):
        pass
    return model


def learn(name, weight):
    """Fit a model with these weights to eight rows, or sequences, of any kind."""
    space = {"hmm": STEPS, "markov": Binary((2,)), "rbm": Binary((2,))}.get(name) or (
        Binary((2,)) if name.startswith("bernoulli") else Real((2,))
    )
    x = ragged([[0, 1], [2]] * 4) if name == "hmm" else torch.tensor([[0, 1], [1, 1]] * 4).to(space.dtype)
    numbers = {"components": 2} if name in ("gmm", "bernoulli_mixture") else {}
    options = {"steps": 2} if name == "rbm" else {}
    for _ in likely.fit(likely.build(name, space, **numbers), Part(x, weight=weight), **options):
        pass


def zeros(name):
    return fit(name, Binary((3,)), torch.zeros(5, 3, dtype=torch.uint8), pseudo_count=0.0)


#: what is wrong -> (what the line says, what is asked); a line that starts with "unknown" is an `UnknownName`
LINES = {
    # probabilities that do not sum to 1
    "table sum": (r"probabilities must sum to 1; these sum to 1\.1", lambda: Table.from_array([0.5, 0.6])),
    "entropy sum": (r"probabilities must sum to 1; these sum to 0\.9", lambda: information.entropy([0.5, 0.4])),
    "kl sum": (r"probabilities must sum to 1; these sum to 1\.1", lambda: information.kl([0.5, 0.5], [0.5, 0.6])),
    "table NaN": ("holds numbers of 0 or more", lambda: Table.from_array([math.nan, 1.0])),
    "table negative": ("holds numbers of 0 or more", lambda: Table.from_array([1.5, -0.5])),
    "self-information": ("a probability lies between 0 and 1", lambda: information.self_information(1.5)),
    # negative counts
    "counts": ("counts must be finite numbers of 0 or more", lambda: Table.from_counts([3, -1])),
    "counts NaN": ("counts must be finite numbers of 0 or more", lambda: Table.from_counts([3, math.nan])),
    "no counts": ("nothing to learn from", lambda: Table.from_counts([0, 0])),
    "weight": ("weight must be 2 numbers, each 0 or more", lambda: Table.from_columns({"a": [1, 2]}, weight=[1, -1])),
    "estimate weight": (
        "weights must be 0 or more; row 1 has -1",
        lambda: estimate(Normal, [1.0, 2.0], weights=[1, -1]),
    ),
    **{
        f"{wrong} {name}": (says, lambda name=name, weight=weight: learn(name, weight))
        for name in ("gaussian", "gmm", "kde", "bernoulli", "bernoulli_mixture", "hmm", "markov", "rbm")
        for wrong, says, weight in (
            ("heavy weight", r"weight is 1e\+300 in row 1, more than 1e\+20; divide all", [1.0, 1e300] * 4),
            ("light weights", r"weights add up to 8e-300, less than 1e-20; multiply all", [1e-300] * 8),
            ("no weight", "nothing to learn from: no rows, or all weights are 0", [0.0] * 8),
            ("negative weight", "weight must be 8 numbers, each 0 or more and finite; row 7 has -1", [1.0] * 7 + [-1]),
            ("too few weights", r"weight must be 8 numbers, each 0 or more and finite; it has shape \(3,\)", [1.0] * 3),
        )
    },
    # what is no array, or no mask
    **{
        f"texts {name}": (
            "x cannot be read as an array of numbers",
            lambda name=name: build(name).log_prob(["ab", "c"]),
        )
        for name in ("realnvp", "gaussian", "kde", "table")
    },
    "known": ("known must be a mask of True .* not 'abc'", lambda: build("kde").complete(torch.zeros(2, 3), "abc")),
    "n": ("n must be a whole number, 0 or more, not True", lambda: build("gaussian").sample(True)),
    "missing reals": (
        r"x has the value nan in row 1; expected finite real numbers \(Real\(3,\)\); is it missing\? See `likely "
        r"models --can log_marginal`\.$",
        lambda: build("vae").elbo([[0.0, 1, 2], [0, math.nan, 2]]),
    ),
    "infinite weight": (
        "weight must be 2 numbers, each 0 or more and finite",
        lambda: build("gaussian").e_step(torch.zeros(2, 3), weight=[1.0, math.inf]),
    ),
    "text as weight": ("weight must be 2 numbers", lambda: build("gaussian").e_step(torch.zeros(2, 3), weight="ab")),
    # ragged input
    "complete ragged": ("x cannot be read as an array", lambda: build("gaussian").complete([[1.0], [2.0, 3.0]])),
    "marginal ragged": (
        "x cannot be read as an array",
        lambda: build("gaussian").log_marginal([[1.0], [2.0, 3.0]], torch.ones(3, dtype=torch.bool)),
    ),
    # evidence beyond all numbers
    **{
        f"far {name}": (
            "row 1 is too far from every component",
            lambda ask=ask: ask(build("gmm", components=2), FAR),
        )
        for name, ask in {
            "complete": lambda model, x: model.complete(x, torch.tensor([True, True, False])),
            "responsibilities": lambda model, x: model.responsibilities(x),
        }.items()
    },
    # unknown variable names
    "marginal": (r"unknown variable 'rian'\. Did you mean 'rain'", lambda: RAIN.marginal("rian")),
    "condition": (r"unknown variable 'rian'\. Did you mean 'rain'", lambda: RAIN.condition(rian=1)),
    "probability": (r"unknown variable 'rian'\. Did you mean 'rain'", lambda: RAIN.probability(rian=1)),
    "independent": (r"unknown variable 'win'\. Did you mean 'wind'", lambda: RAIN.independent("rain", "win")),
    "factorisation": (r"unknown variable 'rian'\. Did you mean 'rain'", lambda: RAIN.factorisation("rian", "wind")),
    "bayes": (r"unknown variable 'rian'\. Did you mean 'rain'", lambda: RAIN.bayes("rian", wind=1)),
    "expectation": (r"unknown variable 'rian'\. Did you mean 'rain'", lambda: RAIN.expectation(lambda rian: rian)),
    "parameter": (
        r"unknown parameter of Gamma 'rat'\. Did you mean 'rate'",
        lambda: estimate(Gamma, [1.0, 2.0], rat=1),
    ),
    "unit": (r"unknown unit 'bit'\. Did you mean 'bits'", lambda: information.entropy([1.0], unit="bit")),
    "measure": (
        r"unknown measure 'kll'\. Did you mean 'kl'",
        lambda: information.between("kll", Normal(0.0, 1.0), Normal(0.0, 1.0)),
    ),
    "axis": ("axis 2 is not one of the table's 2", lambda: information.mutual_information(torch.eye(2) / 2, 0, 2)),
    "axis name": (
        "an axis is a whole number, not 'a'",
        lambda: information.mutual_information(torch.eye(2) / 2, "a", 1),
    ),
    "value": ("variable 'rain' has no value 7; it has 0 to 1", lambda: RAIN.condition(rain=7)),
    "value text": ("variable 'rain' has no value 'yes'; it has 0 to 1", lambda: RAIN.probability(rain="yes")),
    "value none": ("variable 'rain' has no value None", lambda: RAIN.probability(rain=None)),
    "value NaN": ("variable 'rain' has no value nan", lambda: RAIN.probability(rain=math.nan)),
    "value list": (r"variable 'rain' has no value \[1\]", lambda: RAIN.condition(rain=[1])),
    "names": ("needs a list of 1 names; 2 names are given", lambda: Table.from_array([0.5, 0.5], names=("a", "b"))),
    "one name": ("needs a list of 2 names; 'ab' is", lambda: Table.from_array([[0.5, 0.5]], names="ab")),
    "same names": ("two variables have the same name", lambda: Table.from_array([[0.5, 0.5]], names=("a", "a"))),
    "both sides": ("'rain' is asked for and given", lambda: RAIN.bayes("rain", rain=1)),
    # conditioning on an impossible event
    "impossible": ("cannot condition on a=1: it has probability 0", lambda: IMPOSSIBLE.condition(a=1)),
    "impossible evidence": ("cannot condition on a=1: it has probability 0", lambda: IMPOSSIBLE.bayes("b", a=1)),
    **{
        f"impossible completion, {name}": (
            "what is known there has probability 0",
            lambda name=name: zeros(name).complete(torch.tensor([[1.0, math.nan, math.nan]])),
        )
        for name in ("table", "markov", "chow_liu")
    },
    "impossible missing": (
        "values occur that the table calls impossible",
        lambda: zeros("table").e_step(torch.tensor([[1, 0, 0]]), known=torch.tensor([True, False, False])),
    ),
    # wrong dtype, ragged input, wrong shape, not finite
    **{
        f"{what}, {name}": (line, lambda name=name, x=x: build(name).e_step(x))
        for name in (*DISCRETE, "gmm", "kde", "gaussian")
        for what, (line, x) in {
            "complex": ("x is complex", torch.zeros(2, 3, dtype=torch.complex64)),
            "texts": ("x cannot be read as an array of numbers", [["a", "b", "c"]]),
            "objects": ("x cannot be read as an array of numbers", np.array([["a", 1, 2]], dtype=object)),
            "ragged": ("x cannot be read as an array of numbers", [[0, 1, 2], [0, 1]]),
            "shape": (r"x has shape \(2, 4\), expected \(B, 3\)", torch.zeros(2, 4)),
            "infinite": ("x has the value inf in row 1", torch.tensor([[0.0, 1, 2], [0, math.inf, 1]])),
        }.items()
    },
    **{
        f"level {x}, {name}": (
            f"x has the value {x} in row 0; expected whole numbers 0 to 2",
            lambda name=name, x=x: build(name).e_step([[0, x, 1]]),
        )
        for name in DISCRETE
        for x in (5, -1, 0.5)
    },
    "table texts": ("a table cannot be read as an array of numbers", lambda: Table.from_array(["a", "b"])),
    "table ragged": ("a table cannot be read as an array of numbers", lambda: Table.from_array([[0.5], [0.25, 0.25]])),
    "counts ragged": ("counts cannot be read as an array of numbers", lambda: Table.from_counts([[1], [1, 2]])),
    "counts complex": (
        "counts must hold real numbers, not complex",
        lambda: Table.from_counts(torch.ones(2, dtype=torch.complex64)),
    ),
    "entropy ragged": ("a table cannot be read", lambda: information.entropy([[0.5], [0.25, 0.25]])),
    "entropy complex": ("real numbers, not complex", lambda: information.entropy(torch.ones(1, dtype=torch.complex64))),
    "p text": ("p cannot be read as an array of numbers", lambda: information.self_information("a")),
    "shapes": (r"shapes \(2,\) and \(1,\)", lambda: information.kl([0.5, 0.5], [1.0])),
    "columns ragged": ("column 'a' is ragged", lambda: Table.from_columns({"a": [[1], [1, 2]]})),
    "columns unequal": (
        "same number of rows, 1 or more; here: a 2, b 1",
        lambda: Table.from_columns({"a": [1, 2], "b": [1]}),
    ),
    "columns none": ("same number of rows, 1 or more; here: none", lambda: Table.from_columns({})),
    "column single": ("column 'a' holds a single value", lambda: Table.from_columns({"a": 1})),
    "column mixed": ("mixes texts and numbers", lambda: Table.from_columns({"a": np.array(["x", 1], dtype=object)})),
    "no frame": ("list is no data frame", lambda: Table.from_columns([1, 2])),
    "estimate texts": ("data cannot be read as an array of numbers", lambda: estimate(Normal, ["a"])),
    "estimate ragged": ("data cannot be read as an array of numbers", lambda: estimate(Normal, [[1.0], [1.0, 2.0]])),
    "function": ("a function of the variables is wanted", lambda: RAIN.expectation(3)),
    "function returns": (
        r"must return one number per row, \(2,\), not 'a'",
        lambda: RAIN.expectation(lambda rain: "a"),
    ),
    "function's shape": ("must return one number per row", lambda: RAIN.expectation(lambda rain: torch.ones(7))),
    # more components than rows, no rows, numbers out of range
    "gmm components": (
        "components.* as many rows",
        lambda: fit("gmm", REALS, torch.randn(4, 3), components=9),
    ),
    "gmm none": ("components and rank must be 1 or more", lambda: fit("gmm", REALS, torch.randn(4, 3), components=0)),
    "mvn rows": (
        "3 rows are too few for the covariance of 3 columns",
        lambda: estimate(torch.distributions.MultivariateNormal, torch.randn(3, 3)),
    ),
    **{
        f"no rows, {name}": (
            "there are no training rows",
            lambda name=name: fit(name, LEVELS if name in DISCRETE else REALS, torch.zeros(0, 3)),
        )
        for name in (*DISCRETE, "gmm", "kde", "gaussian")
    },
    **{
        f"weights, {name}": (
            "weight must be 2 numbers, each 0 or more",
            lambda name=name: build(name).e_step(torch.zeros(2, 3), weight=[1, -1]),
        )
        for name in (*DISCRETE, "kde", "gaussian")
    },
    **{
        f"pseudo-count, {name}": (
            "pseudo_count must be a number, 0 or more, not -1",
            lambda name=name: likely.build(name, LEVELS, pseudo_count=-1.0),
        )
        for name in DISCRETE
    },
    "level": ("level must lie between 0 and 1, not 95", lambda: RAIN.independent("rain", "wind", level=95)),
    "dense": (
        "full table of 24 variables has 16,777,216 cells, more than 10,000,000",
        lambda: likely.build("table", Binary((40,))).factorisation(),
    ),
    "Monte Carlo": (
        "n must be a whole number, 2 or more",
        lambda: information.between("entropy", Normal(0.0, 1.0), n=1),
    ),
    # lengths that do not add up
    "lengths": ("must be 0 or more and add up to 4 steps, not to 5", lambda: ragged([1, 2, 3, 4], lengths=[3, 2])),
    "lengths negative": ("must be 0 or more and add up", lambda: ragged([1, 2, 3, 4], lengths=[5, -1])),
    "steps differ": ("sequences must have steps of one shape", lambda: ragged([[1, 2], [[1, 2]]])),
    "lengths missing": (
        "x has 2 sequences and 1 lengths",
        lambda: likely.build("hmm", STEPS).e_step(Ragged(torch.zeros(2, 5), torch.tensor([3]))),
    ),
    "lengths too long": (
        "x has a length of 9 steps; .* allows 0 to 5",
        lambda: likely.build("hmm", STEPS).e_step(Ragged(torch.zeros(2, 5), torch.tensor([3, 9]))),
    ),
    "step": ("a step of x has the value 5", lambda: likely.build("hmm", STEPS).e_step([[0, 5]])),
}


@pytest.mark.parametrize("wrong", LINES)
def test_one_line(wrong):
    says, ask = LINES[wrong]
    torch.manual_seed(0)
    with pytest.raises(LikelyError, match=says) as caught:
        ask()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert isinstance(caught.value, UnknownName) == says.startswith("unknown")


def test_lists_with_missing_levels_are_as_good_as_arrays():
    model = fit("bernoulli", Binary((3,)), torch.tensor([[0, 1, 1], [1, 1, 0]], dtype=torch.uint8))
    rows = [[0, math.nan, 1], [1, 0, 0]]
    assert torch.equal(model.log_prob(rows), model.log_prob(np.array(rows)))
    stats, same = model.e_step(rows), model.e_step(torch.tensor(rows))
    assert all(torch.equal(stats[name], same[name]) for name in stats)
