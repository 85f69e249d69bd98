"""The whole of `evaluate`: which metrics it measures, what every result carries, names, and what may be tabled."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import likely
from likely.core import Energy, Estimate, Model, Weighted
from likely.data.parts import Data, Part
from likely.errors import LikelyError, SpaceError, UnknownName
from likely.evaluation import comparable, evaluate, evaluate_samples, find, likelihood, metric_names, tabled
from likely.evaluation.diversity import mode_coverage
from likely.evaluation.glossary import GLOSSARY, markdown
from likely.evaluation.groups import GROUPS, divergence_error
from likely.evaluation.menu import chosen
from likely.evaluation.results import SCHEMA, Result, result
from likely.evaluation.samples import table_distances
from likely.evaluation.simple import simple
from likely.evaluation.vendi import vendi_error, vendi_score
from likely.spaces import Binary, Finite, Real, Sequence

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def digits() -> Data:
    return likely.data.load("digits")


def trained(name: str, data: Data, *, cond: Any = None, **options: Any) -> Model:
    numbers = {
        key: options.pop(key) for key in list(options) if key not in ("steps", "passes", "batch", "learning_rate")
    }
    torch.manual_seed(0)
    model = likely.build(name, data.space, cond, **numbers) if cond else likely.build(name, data.space, **numbers)
    for _ in likely.fit(model, data.train, **options):
        pass
    return model


@pytest.fixture(scope="module")
def vae(digits: Data) -> Model:
    return trained("vae", digits, steps=400, latent=8, width=64, learning_rate=3e-3)


@pytest.fixture(scope="module")
def by_label(digits: Data) -> Model:
    return trained("vae", digits, cond=digits.cond, steps=60, latent=4, width=32)


def check_schema(results: list[Result]) -> None:
    """Every result is whole, plain and true to its own interval."""
    for one in results:
        assert set(one) == {"metric", "value", "interval", "unit", "sign", "protocol"}
        assert one["metric"] in GLOSSARY
        protocol, value = one["protocol"], one["value"]
        assert set(SCHEMA) <= set(protocol), one["metric"]
        assert (value is None) == (one["sign"] == "")
        assert one["sign"] in ("=", "<=", "~", "")
        assert protocol["data"]
        assert len(protocol["fingerprint"]) == 12
        assert protocol["split"] == "test"
        assert protocol["seed"] == 0
        if value is None:
            assert one["metric"] == "nll" or protocol["reason"]
            continue
        assert protocol["n_real"] or protocol["n_generated"]
        assert one["unit"] == GLOSSARY[one["metric"]].unit or one["metric"] == "sliced_wasserstein"
        assert (one["interval"] is None) == (protocol["interval_method"] is None)
        if one["interval"] is not None:
            low, high = one["interval"]
            assert low <= value <= high
            assert protocol["standard_error"] is not None
        if one["metric"] not in ("nll", "nll_flow"):
            assert protocol["floor"] is not None, one["metric"]
    assert json.loads(json.dumps(results, allow_nan=False)) == results


def test_every_result_of_a_labelled_run_is_whole(digits: Data, vae: Model) -> None:
    results = evaluate(vae, digits, k=4, n=120, features="digits-cnn")
    check_schema(results)
    names = [one["metric"] for one in results]
    expected = ["nll", "mmd", "kid", *GROUPS["features"].metrics, "recognised", "modes", "mode_kl"]
    expected += ["intra_class_diversity", "data_copying", "authenticity", "copies"]
    assert names == [*expected, "linear_probe", "neighbour_accuracy"]
    assert all(one["interval"] is not None for one in results if one["metric"] not in ("modes", "mode_kl"))
    assert find(results, "kid", "digits-cnn")["protocol"]["features"].startswith("digits-cnn-")
    assert find(results, "kid")["protocol"]["features"] == "the data themselves"
    again = evaluate(vae, digits, k=4, n=120, metrics="nll,mmd,recognised,memory")
    assert again == [one for one in results if one["metric"] in {r["metric"] for r in again}]


def test_a_model_of_classes_is_asked_whether_it_shows_them(digits: Data, by_label: Model) -> None:
    results = evaluate(by_label, digits, k=2, n=200, features="pixels")
    check_schema(results)
    names = {one["metric"] for one in results}
    assert {"condition_accuracy", "mmd_within", "frechet_within", "intra_class_diversity"} <= names
    assert "linear_probe" not in names  # it knows the label already
    accuracy = find(results, "condition_accuracy")
    assert accuracy["protocol"]["classifier"].startswith("digits-cnn-")
    assert accuracy["protocol"]["floor"] > 0.97
    assert find(results, "frechet_within")["protocol"]["features"] == find(results, "frechet")["protocol"]["features"]
    assert find(results, "nll")["protocol"]["given"] == "label"
    assert find(results, "nll")["protocol"]["simple_model"] == "independent entries in each class"


def test_everything_by_name_and_what_does_not_apply_says_why(digits: Data, vae: Model) -> None:
    results = evaluate(vae, digits, k=2, n=100, rows=20, metrics="all")
    check_schema(results)
    assert {one["metric"] for one in results} == set(metric_names())
    absent = {one["metric"]: one["protocol"]["reason"] for one in results if one["value"] is None}
    assert set(absent) == {
        "nll_flow",
        "column_distance",
        "pair_distance",
        "mutual_information_gap",
        "condition_accuracy",
        "mmd_within",
        "frechet_within",
    }
    assert absent["nll_flow"] == "vae has no probability flow."
    assert "is no table" in absent["pair_distance"]
    assert "not given a class" in absent["mmd_within"]


def test_metrics_are_chosen_by_name(digits: Data, vae: Model) -> None:
    results = evaluate(vae, digits, k=2, n=60, metrics=["copies", "mmd"])
    assert [one["metric"] for one in results] == ["mmd", "copies"]
    assert results[0] == evaluate(vae, digits, k=2, n=60, metrics="kernel")[0]  # the choice changes no number
    (one,) = evaluate(vae, digits, n=60, metrics="frechet")  # the project's own classifier, where none is named
    assert one["protocol"]["features"].startswith("digits-cnn-")
    both = evaluate(vae, digits, n=60, metrics="kid", features="pca")
    assert [r["protocol"]["features"].split("-")[0] for r in both] == ["the data themselves", "pca"]
    assert [r["metric"] for r in evaluate(vae, digits, n=60, metrics="modes")] == ["modes", "mode_kl"]


def test_a_misspelt_metric_gets_a_suggestion() -> None:
    with pytest.raises(UnknownName, match=r"unknown metric 'frechett'. Did you mean 'frechet'\?"):
        chosen("nll,frechett")
    with pytest.raises(LikelyError, match="no metric is named"):
        chosen(" , ")
    assert chosen(None) is None
    assert chosen("all") == set(metric_names())


def test_too_few_samples_make_a_reason_and_not_a_crash(digits: Data, vae: Model) -> None:
    results = evaluate(vae, digits, k=2, n=10, metrics="memory")
    reason = find(results, "data_copying")["protocol"]["reason"]
    assert "draw more samples" in reason


def test_sequences_have_a_likelihood_only() -> None:
    space = Sequence(step=Binary(), length=6)
    torch.manual_seed(0)
    parts = {name: Part(space.random(40)) for name in ("train", "valid", "test")}
    model = likely.build("hmm", space, states=2)
    data = Data("bits", "fixed", space, **parts)
    assert [one["metric"] for one in evaluate(model, data)] == ["nll"]
    (one,) = evaluate(model, data, metrics="mmd")
    assert "differ in length" in one["protocol"]["reason"]


def test_a_table_is_compared_by_columns() -> None:
    data = likely.data.load("ring")
    model = trained("gaussian", data)
    results = evaluate(model, data, n=300)
    check_schema(results)
    found = find(results, "column_distance")
    x, y = (part.numpy() for part in (data.test.x, model.sample(300, seed=0)))
    assert set(found["protocol"]["per_column"]) == set(data.space.names or ("0", "1"))
    assert found["protocol"]["n_real"] == found["protocol"]["n_generated"] == 300
    assert find(results, "nll")["protocol"]["simple_model"] in ("one Gaussian", "independent Gaussians")
    real = data.test.x[:300]
    one = table_distances(data.space, real, model.sample(300, seed=0))[0]
    kolmogorov = [stats.ks_2samp(real[:, i].numpy(), y[:, i]).statistic for i in range(2)]
    assert one["value"] == pytest.approx(sum(kolmogorov) / 2)
    assert len(x) >= 300


def test_two_sets_have_what_two_sets_can_have() -> None:
    ring = likely.data.load("ring")
    results = evaluate_samples(ring, ring.valid.x, metrics="mmd,columns,nll,frechet")
    assert [one["metric"] for one in results] == ["mmd", "column_distance", "pair_distance", "nll", "frechet"]
    assert [one["protocol"].get("reason") for one in results[3:]] == [
        "two sets alone do not tell.",
        "no features are named.",
    ]
    check_schema(evaluate_samples(ring, ring.valid.x, features="pixels"))


def test_the_glossary_names_every_metric_and_the_page_is_it() -> None:
    assert set(metric_names()) <= set(GLOSSARY)
    page = (ROOT / "docs" / "concepts" / "metrics.md").read_text(encoding="utf-8")
    assert markdown() in page


# What stands beside a likelihood --------------------------------------------------------------------------------------


def test_the_simple_law_of_levels_is_counting() -> None:
    space = Finite((2,), 3)
    train = torch.tensor([[0, 2], [0, 1], [1, 2]], dtype=torch.uint8)
    x = torch.tensor([[0, 2], [2, 0]], dtype=torch.uint8)
    found = simple(space, Part(train), x)
    assert found.name == "independent entries"
    assert found.nats.exp().tolist() == pytest.approx([3 / 6 * 3 / 6, 1 / 6 * 1 / 6])
    # the law is normalised, and a weight counts like a repetition
    assert float(simple(space, Part(train), space.enumerate()).nats.exp().sum()) == pytest.approx(1)
    weighted = simple(space, Part(train, weight=torch.tensor([2.0, 1.0, 1.0])), x)
    assert torch.allclose(weighted.nats, simple(space, Part(torch.cat([train[:1], train])), x).nats)


def test_the_simple_law_is_one_for_each_class() -> None:
    space = Binary((1,))
    train = Part(torch.tensor([[0], [0], [1]], dtype=torch.uint8), torch.tensor([0, 0, 1]))
    found = simple(space, train, torch.tensor([[0], [0]], dtype=torch.uint8), torch.tensor([0, 1]))
    assert found.nats.exp().tolist() == pytest.approx([3 / 4, 1 / 3])


def test_the_simple_law_of_reals_is_the_better_gaussian() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(4000, 3, generator=generator).double()
    mixed = z @ torch.tensor([[1.0, 0.9, 0.0], [0.0, 0.3, 0.0], [0.0, 0.0, 5.0]]).double() + 7
    train, valid, test = mixed[:2000], mixed[2000:3000], mixed[3000:]
    found = simple(Real((3,)), Part(train), test, valid=Part(valid))
    assert found.name == "one Gaussian"
    law = stats.multivariate_normal(train.mean(0).numpy(), train.T.cov(correction=0).numpy())
    assert float(found.nats.mean()) == pytest.approx(law.logpdf(test.numpy()).mean(), abs=0.01)
    apart = simple(Real((3,)), Part(z[:30]), z[3000:], valid=Part(z[2000:3000]))
    assert apart.name == "independent Gaussians"  # thirty rows do not show a covariance that is not there
    # units of columns move every law alike
    scaled = simple(Real((3,)), Part(train * 10), test * 10, valid=Part(valid * 10))
    assert torch.allclose(scaled.nats, found.nats - 3 * math.log(10))


def test_constant_and_missing_columns_leave_the_simple_law_finite() -> None:
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    x[:, 1] = 3.0
    x[0, 0] = math.nan
    found = simple(Real((2,)), Part(x), x)
    assert bool(found.nats.isfinite().all())
    assert simple(Sequence(step=Binary(), length=3), Part(torch.zeros(0)), None) is None


class Noisy(Weighted):
    """log w = log p(x) + 0.5 e: its single-sample bound scatters by 0.5 from draw to draw."""

    def _sample(self, n, cond):
        return self.space.random(n)

    def _log_weight(self, x, cond):
        return -self.space.size * math.log(2) + 0.5 * torch.randn(len(x))


def test_the_error_of_the_estimator_is_that_of_its_draws() -> None:
    space = Binary((4,))
    found = likelihood(Noisy(space), Part(space.random(4000)), k=1)
    assert found["protocol"]["estimator_error"] == pytest.approx(0.5 / math.sqrt(4000), rel=0.35)
    # the data are all equally probable: nothing else scatters
    assert found["protocol"]["standard_error"] == pytest.approx(0.5 / math.sqrt(4000), rel=0.05)
    repeated = torch.tensor(
        [likelihood(Noisy(space), Part(space.random(400)), k=1, seed=s)["value"] for s in range(60)]
    )
    assert float(repeated.std()) == pytest.approx(0.5 / math.sqrt(400), rel=0.3)


class Conserved(Energy):
    """log Z = 0, estimated 0.3 too low with an error of 0.1; the bound from the other side errs by 0.2."""

    def _sample(self, n, cond):
        return self.space.random(n)

    def _energy(self, x, cond):
        return torch.full((len(x),), self.space.size * math.log(2))

    def _log_partition(self, cond):
        return Estimate(torch.tensor(-0.3), torch.tensor(0.1))

    def conservative_log_prob(self, x, *, seed=None):
        return torch.full((len(x),), -self.space.size * math.log(2) - 0.2, dtype=torch.float64)


def test_an_energy_has_a_bound_on_either_side() -> None:
    space = Binary((4,))
    found = likelihood(Conserved(space), Part(space.random(150)))
    truth = 4 * math.log(2)
    assert found["value"] == pytest.approx(truth - 0.3, abs=1e-5)
    assert found["protocol"]["reverse"] == pytest.approx(truth + 0.2, abs=1e-5)
    assert found["protocol"]["reverse_rows"] == 100
    assert found["protocol"]["estimator_error"] == pytest.approx(0.1)


def test_every_class_has_its_own_likelihood(digits: Data, vae: Model) -> None:
    found = likelihood(vae, digits.test, k=2)["protocol"]
    assert set(found["per_class"]) == {str(c) for c in range(10)}
    counts = digits.test.cond.bincount(minlength=10).double()
    mean = sum(found["per_class"][str(c)] * float(counts[c]) for c in range(10)) / len(digits.test)
    assert mean == pytest.approx(likelihood(vae, digits.test, k=2)["value"])


def test_the_flow_of_a_diffusion_model_is_measured_when_asked(digits: Data) -> None:
    model = trained("ddpm", digits, steps=30, timesteps=20, width=8, depth=1, attention=False)
    results = evaluate(model, digits, rows=2, metrics="nll,nll_flow")
    check_schema(results)
    one = results[1]
    assert (one["metric"], one["sign"], one["protocol"]["n_real"]) == ("nll_flow", "~", 2)
    assert one["protocol"]["dequantised"]
    assert one["protocol"]["bits_per_dim"] == pytest.approx(one["value"] / 64 / math.log(2))
    assert one["protocol"]["estimator_error"] > 0


# What may stand in one column -----------------------------------------------------------------------------------------


def one(metric: str = "kid", value: float | None = 0.1, sign: str = "~", unit: str = "", **protocol: Any) -> Result:
    return result(metric, value, sign=sign, unit=unit, **{"n_real": 100, "features": "pca-1", **protocol})


@pytest.mark.parametrize(
    ("key", "first", "second"),
    [
        ("n_real", 100, 50),
        ("n_generated", 100, 50),
        ("split", "test", "valid"),
        ("features", "digits-cnn-a7b490", "digits-cnn-000000"),
        ("data", "digits", "mnist"),
        ("view", "bytes", "reals"),
        ("fingerprint", "aa", "bb"),
        ("resize", "32 x 32, Lanczos", None),
        ("k", 5, 3),
        ("bandwidth", 1.0, 2.0),
        ("classifier", "a forest", "a network"),
        ("given", "label", None),
        ("a setting that nobody has thought of", 1, 2),
    ],
)
def test_every_setting_must_agree(key: str, first: Any, second: Any) -> None:
    reason = comparable(one(**{key: first}), one(**{key: second}))
    assert reason == f"{key} is {first} in one and {second} in the other"
    if key == "features":
        assert set(tabled({"vae": [one(**{key: first})], "gan": [one(**{key: second})]})) == {
            f"kid ({first})",
            f"kid ({second})",
        }
    else:
        with pytest.raises(LikelyError, match="may not stand in one column"):
            tabled({"vae": [one(**{key: first})], "gan": [one(**{key: second})]})


def test_draws_and_findings_may_differ() -> None:
    assert comparable(one(seed=0, floor=0.1, per_class={"0": 1}), one(seed=1, floor=0.2, per_class={"0": 2})) == ""
    exact, bound = one("nll", 90.0, "=", "nats"), one("nll", 91.0, "<=", "nats", k=64)
    assert comparable(exact, bound) == ""  # the sign says that they are of different kinds
    assert "k is 64 in one and 8" in comparable(bound, one("nll", 91.0, "<=", "nats", k=8))
    assert comparable(exact, one("nll", None, "", n_real=7)) == ""  # nothing is claimed
    assert "unit is nats" in comparable(exact, one("nll", 1.3, "=", "bits/dim"))
    assert "one is kid" in comparable(one(), one("mmd"))


def test_models_of_one_evaluation_may_be_tabled_and_others_not(digits: Data, vae: Model) -> None:
    other = trained("bernoulli_mixture", digits, passes=2, components=3)
    names = "nll,kernel,representation"
    first, second = (evaluate(model, digits, k=2, n=100, metrics=names) for model in (vae, other))
    table = tabled({"vae": first, "mixture": second})
    assert list(table["nll"]) == ["vae", "mixture"]
    assert next(iter(table["linear_probe"])) == "vae"
    with pytest.raises(LikelyError, match=r"'vae' and of 'few' .* n_real is 100 in one and 60 in the other"):
        tabled({"vae": first, "few": evaluate(other, digits, k=2, n=60, metrics=names)})
    with pytest.raises(LikelyError, match="two results called nll"):
        tabled({"vae": [*first, first[0]]})


# Errors of single metrics ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimensions", [3, 40])
def test_the_error_of_the_vendi_score_is_that_of_repetition(dimensions: int) -> None:
    generator = torch.Generator().manual_seed(0)
    scale = torch.linspace(1, 0.1, dimensions)
    n = 400 if dimensions == 3 else 1200
    draws = [torch.randn(n, dimensions, generator=generator) * scale + 0.5 for _ in range(60)]
    spread = float(torch.tensor([vendi_score(x) for x in draws]).std())
    assert sum(vendi_error(x) for x in draws) / 60 == pytest.approx(spread, rel=0.25)


def test_the_error_of_the_vendi_score_is_the_same_from_either_matrix() -> None:
    x = torch.randn(30, 30, generator=torch.Generator().manual_seed(0))
    wide = torch.cat([x, torch.zeros(30, 5)], 1)
    assert vendi_error(wide) == pytest.approx(vendi_error(x))


def test_the_errors_of_histograms_are_those_of_repetition() -> None:
    expected, drawn = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0.3, 0.3, 0.2, 0.2])
    generator = torch.Generator().manual_seed(0)
    values, errors, divergences, sides = [], [], [], []
    for _ in range(150):
        labels = torch.multinomial(drawn, 500, replacement=True, generator=generator)
        found = mode_coverage(labels, 4, expected=expected)[1]
        values.append(found["value"])
        errors.append(found["protocol"]["standard_error"])
        p, q = (
            torch.multinomial(law, 500, replacement=True, generator=generator).bincount(minlength=4).double() / 500
            for law in (drawn, expected)
        )
        middle = (p + q) / 2
        divergences.append(float((p * (p / middle).log()).sum() + (q * (q / middle).log()).sum()) / 2)
        sides.append(math.hypot(divergence_error(p, q, 500), divergence_error(q, p, 500)))
    assert sum(errors) / 150 == pytest.approx(float(torch.tensor(values).std()), rel=0.2)
    assert sum(sides) / 150 == pytest.approx(float(torch.tensor(divergences).std()), rel=0.2)
    # one class only: the histogram says nothing of its own spread, and yet the error is not 0
    assert mode_coverage(torch.zeros(50), 4)[1]["protocol"]["standard_error"] > 0


def test_the_errors_of_table_distances_are_those_of_repetition() -> None:
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(50):
        x, y = (torch.randn(60, 2, generator=generator) for _ in range(2))
        y[:, 1] = 0.8 * y[:, 0] + 0.6 * y[:, 1] + 0.7
        found.append(table_distances(Real((2,)), x, y))
    for place in range(2):
        values, errors = (
            torch.tensor([f(one[place]) for one in found])
            for f in (lambda r: r["value"], lambda r: r["protocol"]["standard_error"])
        )
        assert 0.8 < float(errors.mean() / values.std()) < 1.6  # never too small


def table_of(x: Any, space: Any = None) -> Data:
    """Rows as they are: the first 60 of 100 for training, 20 and 20 held out."""
    rows = torch.as_tensor(x)
    space = Real(tuple(rows.shape[1:])) if space is None else space
    return Data("rows", "reals", space, Part(rows[:60]), Part(rows[60:80]), Part(rows[80:]))


def test_principal_components_are_as_many_as_the_data_allow() -> None:
    """A table of three columns has no 64 of them, and neither have 20 pictures."""
    torch.manual_seed(0)
    data = table_of(torch.randn(100, 3))
    found = find(evaluate(trained("gaussian", data), data, n=20, metrics="frechet"), "frechet")
    assert found["protocol"]["features"].startswith("pca-3-")
    assert found["protocol"]["dimensions"] == 3
    wide = evaluate_samples(torch.randn(20, 300), torch.randn(30, 300), metrics="frechet", features="pca")
    assert wide[0]["protocol"]["features"].startswith("pca-19-")
    with pytest.raises(LikelyError, match="principal components need at least 2 complete rows, not 1"):
        evaluate_samples(torch.randn(1, 3), torch.randn(30, 3), metrics="frechet", features="pca")


def test_rows_with_missing_values_have_no_features_and_are_not_counted(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(100, 3)
    x[[5, 62, 85, 90], 1] = torch.nan
    data = table_of(x)
    model = trained("gaussian", data)
    for metrics in ("frechet", "infinity"):
        found = evaluate(model, data, n=40, metrics=metrics, features="pca")[0]
        assert found["value"] is not None, found["protocol"]["reason"]
        assert found["protocol"]["n_real"] == 18
    for name, rows in (("real", x), ("fake", x[:50].nan_to_num())):
        np.save(tmp_path / f"{name}.npy", rows.numpy())
    whole = {"valid": 0.0, "test": 0.0}
    for on_disk in (False, True):
        sets = [likely.data.load(tmp_path / f"{name}.npy", **whole, on_disk=on_disk) for name in ("real", "fake")]
        for features in ("pca", "pixels"):
            found = find(evaluate_samples(*sets, features=features, metrics="frechet"), "frechet", features)
            assert found["protocol"]["n_real"] == 96


def test_what_is_named_and_not_found_says_why(digits: Data, vae: Model, by_label: Model) -> None:
    reasons = {}
    for model, data, metrics in (
        (vae, digits, "inception_score,precision"),
        (by_label, digits, "conditional"),
        (trained("gaussian", table_of(torch.randn(100, 1))), table_of(torch.randn(100, 1)), "columns"),
    ):
        results = evaluate(model, data, n=200, metrics=metrics, features="pca" if "score" in metrics else None)
        assert {one["metric"] for one in results} == chosen(metrics)
        reasons |= {one["metric"]: one["protocol"]["reason"] for one in results if one["value"] is None}
    assert reasons == {
        "inception_score": "the extractor names no classes, or there are fewer than 10 rows.",
        "frechet_within": "no features are named.",
        "pair_distance": "pairs are looked at in tables of 2 to 40 columns.",
    }
    pair = torch.randn(40, 2), torch.randn(40, 2)
    sets = evaluate_samples(*pair, metrics="inception_score,precision", features="pixels")
    assert [one["protocol"].get("reason") for one in sets] == [None, reasons["inception_score"]]
    (one,) = evaluate_samples(digits, digits.valid.x, metrics="column_distance")
    assert one["protocol"]["reason"].endswith("is no table.")


@pytest.mark.parametrize("fabric", [False, True], ids=["alone", "shared"])
def test_data_of_another_space_are_refused(fabric: bool, digits: Data) -> None:
    """In one line, whatever is measured first: the simple law beside the likelihood reads the data before the model."""
    model = likely.build("bernoulli", digits.space)
    other = table_of(torch.randint(0, 17, (100, 5)).byte(), Finite((5,), 17))
    more = table_of(torch.randint(0, 200, (100, 1, 8, 8)).byte(), Finite((1, 8, 8), 256))
    both = {"fabric": None} if not fabric else {"fabric": SimpleNamespace(global_rank=0, world_size=1)}
    for data in (other, more):
        for metrics in ("nll", "mmd", "frechet", "bins", "memory"):
            with pytest.raises(SpaceError, match=r"held-out data|training data"):
                evaluate(model, data, n=20, metrics=metrics, **both)


def test_rows_that_are_all_equal_cost_one_metric(digits: Data) -> None:
    """Without a median distance there is no Gaussian kernel; the likelihood and the other metrics stand."""
    data = table_of(torch.ones(100, 3))
    results = evaluate(trained("gaussian", data), data, n=20)
    assert find(results, "nll")["value"] is not None
    assert find(results, "mmd")["protocol"]["reason"] == "all real rows are equal: there is no median distance."
    assert find(results, "kid")["value"] is not None
    sets = evaluate_samples(torch.ones(30, 3), torch.randn(30, 3), features="pixels", metrics="mmd,frechet")
    assert [one["value"] is None for one in sets] == [True, False]


def test_one_held_out_row_has_a_likelihood_and_no_distance() -> None:
    rows = torch.randn(100, 3)
    data = Data("rows", "reals", Real((3,)), Part(rows[:98]), Part(rows[98:99]), Part(rows[99:]))
    model = trained("gaussian", data)
    results = evaluate(model, data, n=20)
    assert find(results, "nll")["value"] is not None
    assert "mmd" not in {one["metric"] for one in results}
    (one,) = evaluate(model, data, n=20, metrics="mmd")
    assert one["protocol"]["reason"] == "a two-sample distance needs at least 2 rows; there is 1."


def test_two_sets_are_measured_by_what_is_named_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("likely.evaluation.protocol.sample_distances", lambda *_, **__: pytest.fail("not asked for"))
    pair = torch.randn(40, 2), torch.randn(40, 2)
    assert evaluate_samples(*pair, features="pixels", metrics="precision")[0]["value"] is not None


def test_the_error_of_directions_is_no_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how well the number is computed, and not how it would change with other data."""
    torch.manual_seed(0)
    few, many = (find_sliced(torch.randn(n, 4), torch.randn(n, 4) + 1) for n in (20, 80))
    assert few["interval"] is None
    assert few["protocol"]["standard_error"] is None
    assert few["protocol"]["estimator_error"] > 0
    assert many["interval"] is not None
    assert many["protocol"]["estimator_error"] < many["protocol"]["standard_error"]


def find_sliced(real: torch.Tensor, fake: torch.Tensor) -> Result:
    return evaluate_samples(real, fake, features="pixels", metrics="sliced_wasserstein")[0]


def test_too_few_rows_for_features_cost_these_metrics_alone() -> None:
    rows = torch.randn(100, 3)
    data = Data("rows", "reals", Real((3,)), Part(rows[:95]), Part(rows[95:97]), Part(rows[97:]))
    results = evaluate(trained("gaussian", data), data, n=20, features="pixels")
    assert find(results, "nll")["value"] is not None
    reason = "metrics by features need at least 6 rows in each set, not 3 and 3."
    assert [find(results, name)["protocol"]["reason"] for name in ("frechet", "vendi")] == [reason, reason]


@pytest.mark.parametrize(
    ("real", "options", "expected"),
    [
        ([[1, 2], [3]], {}, "the real data cannot be read as an array of numbers"),
        ("nofile", {}, "the real data cannot be read as an array of numbers"),
        (None, {}, "the real data cannot be read as an array of numbers"),
        (torch.tensor(3.0), {}, r"one row per datum, \(N, ...\), not of shape \(\)"),
        (torch.randn(30), {}, r"one row per datum, \(N, ...\), not of shape \(30,\)"),
        (torch.randn(30, 2) * 1j, {}, "the real data are complex"),
        (torch.randn(30, 2), {"metrics": 3}, "metrics must be names, not 3"),
        (torch.randn(30, 2), {"seed": 1.5}, "seed must be"),
        (torch.randn(30, 2), {"seed": -1}, "seed must be"),
    ],
)
def test_what_is_no_set_of_data_is_said(real: Any, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(LikelyError, match=expected):
        evaluate_samples(real, torch.randn(30, 2), **options)
    if not options and real is not None:
        with pytest.raises(LikelyError, match=expected.replace("real", "fake")):
            evaluate_samples(torch.randn(30, 2), real)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"n": 0}, "n must be a whole number, 1 or more"),
        ({"n": 2.5}, "n must be a whole number"),
        ({"k": 0}, "k must be a whole number, 1 or more"),
        ({"rows": 0}, "rows must be a whole number, 1 or more"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_numbers_of_an_evaluation_that_cannot_be_are_refused(options: dict[str, Any], expected: str) -> None:
    data = table_of(torch.randn(100, 2))
    with pytest.raises(LikelyError, match=expected):
        evaluate(trained("gaussian", data), data, **options)


def test_without_training_rows_there_is_a_likelihood_only(digits: Data, vae: Model) -> None:
    """As of a folder that holds a test part alone."""
    data = Data("rows", "bytes", digits.space, digits.train.head(0), digits.valid.head(0), digits.test, digits.cond)
    assert [one["metric"] for one in evaluate(vae, data, k=1, n=20)] == ["nll"]
    results = evaluate(vae, data, k=1, n=20, rows=5, metrics="all", features="pixels")
    absent = {one["metric"]: one["protocol"]["reason"] for one in results if one["value"] is None}
    assert "no known factors" in absent.pop("mutual_information_gap")  # which would need no training rows
    said = set(absent.values()) - {"vae has no probability flow."}
    assert said == {"there are no training rows."}
