"""Strangeness: each way against its formula, refusals, streams, contributions; thresholds and AUROC by oracles."""

import contextlib
import json
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.covariance import EmpiricalCovariance
from sklearn.ensemble import IsolationForest

import likely
from likely import registry
from likely.core import Bijective, Bounded, Density, Energy, Latent
from likely.data.parts import Part
from likely.errors import LikelyError, UnknownName
from likely.evaluation.anomaly import WAYS, Detector, NothingLost, anomaly_scores, code_length, ways
from likely.evaluation.detection import (
    alarm_threshold,
    auroc,
    average_precision,
    detection,
    false_alarms,
    share_threshold,
)
from likely.spaces import Binary, Finite, Real, Sequence

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
NORMAL = torch.randn(400, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2.0, 0.5])
BITS = (torch.rand(300, 1, 4, 4, generator=torch.Generator().manual_seed(1)) < 0.3).to(torch.uint8)


def fitted(name, x, space, **options):
    numbers = {key: options.pop(key) for key in list(options) if key in ("latent", "width", "hidden", "components")}
    torch.manual_seed(0)
    model = likely.build(name, space, **numbers)
    for _ in likely.fit(model, Part(x), **options):
        pass
    return model


@pytest.fixture(scope="module")
def gaussian():
    return fitted("gaussian", NORMAL, Real((3,)))


@pytest.fixture(scope="module")
def bernoulli():
    return fitted("bernoulli", BITS, Binary((1, 4, 4)))


@pytest.fixture(scope="module")
def vae():
    return fitted("vae", BITS, Binary((1, 4, 4)), latent=2, width=8, steps=30)


@pytest.fixture(scope="module")
def gan():
    return fitted("gan", NORMAL, Real((3,)), latent=3, width=16, steps=60)


# Which ways there are -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", registry.names())
def test_ways_follow_from_abilities(name):
    module = (
        registry.load_module(name)
        if hasattr(registry, "load_module")
        else __import__(f"likely.models.{name}", fromlist=["TINY"])
    )
    for tiny in module.TINY:
        numbers = dict(tiny)
        space, cond = numbers.pop("space"), numbers.pop("cond", None)
        model = likely.build(name, space, **({} if cond is None else {"cond": cond}), **numbers)
        can = ways(model)
        assert ("nll" in can) == isinstance(model, Density)
        assert ("bound" in can) == isinstance(model, Bounded)
        assert ("energy" in can) == isinstance(model, Energy)
        lossy = isinstance(model, Latent) and not isinstance(model, Bijective) and not isinstance(space, Sequence)
        assert ("reconstruction" in can) == lossy
        assert ("typicality" in can) == isinstance(model, (Density, Bounded, Energy))
        # what is promised is kept, or the one line says why not
        x = model.space.random(5)
        given = None if cond is None else cond.random(5)
        for way in set(can) - {"typicality", "likelihood-ratio", "inversion"}:
            with contextlib.suppress(NothingLost):
                values = anomaly_scores(model, x, given, by=way, k=2).values
                assert values.shape == (5,)
                assert not values.isnan().any()


def test_a_score_that_a_model_cannot_give_is_refused_with_those_it_can(gaussian, gan):
    with pytest.raises(LikelyError, match=r"cannot answer by critic; it can by: nll, typicality, likelihood-ratio\."):
        Detector(gaussian, "critic")
    with pytest.raises(LikelyError, match="it can by: critic, inversion"):
        Detector(gan, "nll")
    with pytest.raises(UnknownName, match="Did you mean 'typicality'"):
        Detector(gaussian, "typicalty")
    with pytest.raises(LikelyError, match="give reference="):
        Detector(gaussian, "typicality")
    with pytest.raises(LikelyError, match="give background="):
        Detector(gaussian, "likelihood-ratio")
    with pytest.raises(LikelyError, match="has none"):
        Detector(gaussian, "likelihood-ratio", background=gan)
    with pytest.raises(LikelyError, match="no rows"):
        Detector(gaussian, "typicality", reference=Part(NORMAL[:0]))
    with pytest.raises(LikelyError, match="no rows"):
        Detector(gan, "inversion", reference=Part(NORMAL[:0]))


def test_what_the_families_tell_is_public_and_checked(gan):
    chain = likely.build("nade", Finite((2, 2), 3), hidden=4)
    x = chain.space.random(6, torch.Generator().manual_seed(0))
    parts = chain.log_conditionals(x)
    assert parts.shape == x.shape
    assert torch.allclose(parts.flatten(1).sum(1), chain.log_prob(x), atol=1e-5)
    scores = gan.criticise(NORMAL[:5])
    assert scores.shape == (5,)
    assert torch.allclose(scores, -anomaly_scores(gan, NORMAL[:5], by="critic").values)
    near = gan.invert(NORMAL[:5], steps=20, seed=0)
    assert near.shape == (5, 3)
    assert torch.equal(near, gan.invert(NORMAL[:5], steps=20, seed=0))
    far = (gan.invert(NORMAL[:5], steps=1, starts=1, seed=0) - NORMAL[:5]).square().sum()
    assert float((near - NORMAL[:5]).square().sum()) < float(far)
    for ask in (gan.criticise, gan.invert):
        with pytest.raises(LikelyError, match="shape"):
            ask(torch.zeros(2, 4))


# Each against its formula ---------------------------------------------------------------------------------------------


def test_likelihood_ways(gaussian, bernoulli):
    nll = -gaussian.log_prob(NORMAL)
    assert torch.equal(anomaly_scores(gaussian, NORMAL).values, nll)
    typical = Detector(gaussian, "typicality", reference=Part(NORMAL[:100]))
    assert typical.typical == pytest.approx(float(nll[:100].mean()), rel=1e-6)
    assert torch.allclose(typical(NORMAL), (nll - nll[:100].mean()).abs(), atol=1e-5)
    other = fitted("gaussian", NORMAL[:50], Real((3,)))
    ratio = anomaly_scores(gaussian, NORMAL, by="likelihood-ratio", background=other)
    assert torch.allclose(ratio.values, nll + other.log_prob(NORMAL), atol=1e-5)
    assert ratio.unit == "nats"
    complexity = anomaly_scores(bernoulli, BITS, by="complexity").values
    assert torch.allclose(complexity, -bernoulli.log_prob(BITS) - code_length(BITS, bernoulli.space).float(), atol=1e-4)


def test_typicality_counts_the_reference_by_weight(gaussian):
    weight = torch.cat([torch.ones(50), torch.zeros(50)])
    detector = Detector(gaussian, "typicality", reference=Part(NORMAL[:100], weight=weight))
    assert detector.typical == pytest.approx(float(-gaussian.log_prob(NORMAL[:50]).mean()), rel=1e-6)


def test_a_datum_more_probable_than_usual_is_strange_by_typicality(gaussian):
    centre = NORMAL.mean(0, keepdim=True)
    usual = Detector(gaussian, "typicality", reference=Part(NORMAL))
    assert float(usual(centre)) > float(usual(NORMAL).median())
    assert float(anomaly_scores(gaussian, centre).values) < float(-gaussian.log_prob(NORMAL).max()) + 0.1


def test_bound_energy_and_reconstruction(vae):
    bound = anomaly_scores(vae, BITS, by="bound", k=3, seed=5).values
    assert torch.equal(bound, -vae.iwelbo(BITS, 3, seed=5))
    wrong = (vae.decode(vae.encode(BITS)) != BITS).flatten(1).sum(1)
    assert torch.equal(anomaly_scores(vae, BITS, by="reconstruction").values, wrong.float())
    rbm = fitted("rbm", BITS, Binary((1, 4, 4)), hidden=4, steps=2)
    assert torch.equal(anomaly_scores(rbm, BITS, by="energy").values, rbm.energy(BITS))


def test_a_reference_gives_a_tables_columns_their_units():
    model = fitted("vae", NORMAL, Real((3,)), latent=1, width=8, steps=30)
    scaled = (NORMAL - model.decode(model.encode(NORMAL))) / NORMAL.std(0, correction=0)
    expected = scaled.square().sum(1)
    values = anomaly_scores(model, NORMAL, by="reconstruction", reference=Part(NORMAL)).values
    assert torch.allclose(values, expected, rtol=1e-4)
    plain = anomaly_scores(model, NORMAL, by="reconstruction").values
    assert not torch.allclose(plain, values)


def test_the_critic_sees_what_it_was_trained_on(gan):
    scaled = (NORMAL - NORMAL.mean(0)) / NORMAL.std(0, correction=0)
    with torch.no_grad():
        expected = -gan.critic(scaled, None)
    assert torch.allclose(anomaly_scores(gan, NORMAL, by="critic").values, expected, atol=1e-5)
    assert ways(gan) == ("critic", "inversion")


def test_inversion_finds_what_the_generator_can_make_and_not_the_rest(gan):
    made = gan.sample(20, seed=3)
    far = made + 30
    gan.zero_grad(set_to_none=True)
    before = torch.random.get_rng_state()
    detector = Detector(gan, "inversion")
    near, away = detector(made), detector(far)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(p.grad is None for p in gan.parameters())
    assert float(near.max()) < 0.2 < float(away.min())
    assert torch.equal(near, detector(made))
    assert torch.allclose(detector.contributions(made).sum(1), near)


# Code lengths ---------------------------------------------------------------------------------------------------------


def test_code_length_orders_constant_pattern_noise():
    space = Finite((1, 32, 32), 256)
    generator = torch.Generator().manual_seed(0)
    constant = torch.full((1, 1, 32, 32), 7)
    stripes = torch.arange(32).expand(1, 1, 32, 32) % 4 * 60
    noise = torch.randint(256, (1, 1, 32, 32), generator=generator)
    lengths = code_length(torch.cat([constant, stripes, noise]), space)
    assert lengths[0] < lengths[1] < lengths[2]
    # noise cannot be compressed: 1024 bytes, and little more
    assert 1024 <= float(lengths[2]) / (8 * math.log(2)) <= 1024 * 1.05


@pytest.mark.parametrize(
    "space", [Binary((16, 16)), Binary((256,)), Finite((3, 8, 8), 17), Finite((5,), 300), Finite((2, 3, 4, 5), 4)]
)
def test_every_discrete_space_has_code_lengths(space):
    lengths = code_length(space.random(4), space)
    assert lengths.shape == (4,)
    assert (lengths > 0).all()
    if space.levels == 2:  # bits are packed: never more than a byte for eight of them and an overhead
        assert float(lengths.max()) / (8 * math.log(2)) <= 256 / 8 + 20


def test_reals_have_no_code_length():
    with pytest.raises(LikelyError, match="only bits and levels have a code length"):
        code_length(NORMAL, Real((3,)))


# Streams and contributions --------------------------------------------------------------------------------------------


def test_a_stream_need_not_end(gaussian):
    def forever():
        while True:
            yield NORMAL[:7]

    detector = Detector(gaussian)
    stream = detector.stream(forever())
    for _ in range(3):
        assert torch.equal(next(stream), detector(NORMAL[:7]))


def test_how_a_stream_is_cut_changes_nothing(gaussian):
    detector = Detector(gaussian, "typicality", reference=Part(NORMAL))
    whole = detector(NORMAL)
    for size in (1, 64, 399):
        assert torch.allclose(torch.cat(list(detector.stream(NORMAL.split(size)))), whole, atol=1e-5)


def test_a_stream_of_pairs_gives_the_condition():
    space, cond = Binary((4,)), Finite((), 3)
    model = likely.build("vae", space, cond=cond, latent=2, width=8)
    x, labels = space.random(6), torch.tensor([0, 1, 2, 0, 1, 2])
    (found,) = Detector(model, k=2, seed=4).stream([(x, labels)])
    assert torch.equal(found, -model.iwelbo(x, 2, labels, seed=4))


def test_contributions_of_a_chain_sum_to_the_score():
    model = fitted("nade", BITS, Binary((1, 4, 4)), hidden=5, steps=5)
    parts = Detector(model).contributions(BITS)
    assert parts.shape == BITS.shape
    assert torch.allclose(parts.flatten(1).sum(1), -model.log_prob(BITS), atol=1e-4)
    levels = Finite((2, 2), 3)
    model = fitted("nade", levels.random(50), levels, hidden=5, steps=5)
    x = levels.enumerate()
    assert torch.allclose(Detector(model).contributions(x).flatten(1).sum(1), -model.log_prob(x), atol=1e-4)


def test_contributions_of_independent_entries_sum_to_the_score(bernoulli):
    parts = Detector(bernoulli).contributions(BITS)
    assert torch.allclose(parts.flatten(1).sum(1), -bernoulli.log_prob(BITS), atol=1e-4)
    p = bernoulli.probabilities.gather(-1, BITS[0].long()[..., None])[..., 0]
    assert torch.allclose(parts[0], -p.log(), atol=1e-5)


def test_contributions_of_a_gaussian_are_its_conditionals(gaussian):
    """-log p(x_1 | x_2, x_3) against the regression formula, and 0 for what is missing."""
    covariance, mean = gaussian.covariances[0], gaussian.means[0]
    inner, cross = covariance[1:, 1:], covariance[0, 1:]
    centre = mean[0] + (NORMAL[:5, 1:] - mean[1:]) @ torch.linalg.solve(inner, cross)
    spread = (covariance[0, 0] - cross @ torch.linalg.solve(inner, cross)).sqrt()
    expected = -torch.distributions.Normal(centre, spread).log_prob(NORMAL[:5, 0])
    parts = Detector(gaussian).contributions(NORMAL[:5])
    assert torch.allclose(parts[:, 0], expected.float(), atol=1e-4)
    holes = NORMAL[:2].clone()
    holes[0, 1] = math.nan
    assert float(Detector(gaussian).contributions(holes)[0, 1]) == 0
    planted = NORMAL[:1].clone()
    planted[0, 2] = 40
    assert int(Detector(gaussian).contributions(planted).argmax()) == 2


def test_contributions_of_a_ratio_are_differences(bernoulli):
    other = fitted("bernoulli", BITS[:20], Binary((1, 4, 4)))
    detector = Detector(bernoulli, "likelihood-ratio", background=other)
    assert torch.allclose(detector.contributions(BITS).flatten(1).sum(1), detector(BITS), atol=1e-4)


def test_contributions_are_refused_where_a_score_does_not_come_apart(vae):
    with pytest.raises(LikelyError, match="does not come apart"):
        Detector(vae, "bound").contributions(BITS)
    detector = Detector(vae, "reconstruction")
    assert torch.equal(detector.contributions(BITS).flatten(1).sum(1), detector(BITS))


# Thresholds -----------------------------------------------------------------------------------------------------------


def test_contamination_draws_the_line_that_scikit_learn_draws():
    forest = IsolationForest(n_estimators=10, contamination=0.07, random_state=0).fit(NORMAL.numpy())
    scores = torch.from_numpy(-forest.score_samples(NORMAL.numpy()))
    strange = scores > share_threshold(scores, 0.07)
    assert np.array_equal(strange.numpy(), forest.predict(NORMAL.numpy()) == -1)


def test_a_promised_share_of_false_alarms_is_kept_over_many_draws():
    """With n = 99 and a share of 0.05 the chance of an alarm is exactly 5 in 100."""
    random = torch.Generator().manual_seed(0)
    alarms = [
        float(torch.rand(1, generator=random)) > alarm_threshold(torch.rand(99, generator=random), 0.05)
        for _ in range(4000)
    ]
    assert np.mean(alarms) == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / 4000))


def test_bad_thresholds_are_refused():
    with pytest.raises(LikelyError, match="at least 19 are needed"):
        alarm_threshold(torch.arange(18.0), 0.05)
    assert alarm_threshold(torch.arange(19.0), 0.05) == 18.0
    for share in (0, -1, 0.6):
        with pytest.raises(LikelyError, match="contamination"):
            share_threshold(NORMAL[:, 0], share)
    with pytest.raises(LikelyError, match="row 1 is not a number"):
        share_threshold(torch.tensor([0.0, math.nan]), 0.1)
    with pytest.raises(LikelyError, match="at least one number"):
        share_threshold(torch.zeros(0), 0.1)


# AUROC and its kin ----------------------------------------------------------------------------------------------------

LABELLED = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=4, max_size=60).filter(
    lambda rows: 2 <= sum(strange for _, strange in rows) <= len(rows) - 2
)


@given(LABELLED)
def test_areas_equal_those_of_scikit_learn_with_ties(rows):
    values, strange = (torch.tensor(column) for column in zip(*rows, strict=True))
    random = np.random.default_rng(0)
    area, alarms = auroc(values, strange).value, false_alarms(values, strange, random).value
    precision = average_precision(values, strange, random, replicates=2).value
    assert area == pytest.approx(metrics.roc_auc_score(strange, values))
    assert precision == pytest.approx(metrics.average_precision_score(strange, values))
    false, true, _ = metrics.roc_curve(strange, values, drop_intermediate=False)
    assert alarms == pytest.approx(false[np.argmax(true >= 0.95 - 1e-9)])


def test_the_standard_error_of_auroc_is_delongs():
    """Two against three by hand: v = (1, 2/3), w = (1, 1, 1/2); var v / 2 + var w / 3 = 1/36 + 1/36."""
    area = auroc([5.0, 2.0, 1.0, 0.0, 3.0], [True, True, False, False, False])
    assert area.value == pytest.approx(5 / 6)
    assert area.error == pytest.approx(math.sqrt(1 / 18 / 2 + 1 / 12 / 3))


def test_intervals_cover():
    """N(1, 1) against N(0, 1): AUROC = Phi(1 / sqrt 2)."""
    truth, random = 0.5 * (1 + math.erf(0.5)), np.random.default_rng(0)
    strange = np.arange(120) < 40
    covered = 0
    for _ in range(1000):
        low, high = auroc(random.normal(size=120) + strange, strange).interval
        covered += low <= truth <= high
    assert 0.93 <= covered / 1000 <= 0.97


def test_intervals_of_precision_and_false_alarms_cover():
    """N(1.5, 1) against N(0, 1), 60 against 300. FPR95 = 1 - Phi(1.5 - 1.645); AUPR from a sample of 600,000."""
    random = np.random.default_rng(0)
    strange = np.arange(360) < 60
    covered = np.zeros(2)
    for trial in range(120):
        scores = random.normal(size=360) + 1.5 * strange
        inner = np.random.default_rng(trial)
        precision = average_precision(scores, strange, inner, replicates=100).interval
        alarms = false_alarms(scores, strange, inner).interval
        covered += [precision[0] <= 0.5962 <= precision[1], alarms[0] <= 0.5577 <= alarms[1]]
    assert (covered / 120 >= 0.89).all()
    assert covered[0] / 120 <= 0.99


def test_perfect_detection_still_has_an_interval():
    results = detection(torch.arange(20.0), torch.arange(20) >= 10)
    area = results[0]
    low, high = area["interval"]
    assert (area["value"], high) == (1, 1)
    assert 0.7 < low < 0.9
    low, high = results[1]["interval"]
    assert (results[1]["value"], high) == (1, 1)
    assert low == pytest.approx(0.025 ** (1 / 10))  # ten of ten, by Clopper and Pearson
    low, high = results[2]["interval"]
    assert results[2]["value"] == low == 0
    assert high > 0.9  # ten anomalies: the next may well lie among the usual rows
    assert json.loads(json.dumps(results)) == results
    low, high = auroc(-np.arange(20.0), np.arange(20) >= 10).interval
    assert low == 0
    assert 0.1 < high < 0.3


def test_bootstrap_intervals_hold_the_estimate_and_follow_the_seed():
    scores = torch.randn(200, generator=torch.Generator().manual_seed(2))
    strange = torch.arange(200) < 30
    first = detection(scores + strange, strange, by="nll", seed=1)
    for result in first:
        low, high = result["interval"]
        assert low <= result["value"] <= high
        assert result["protocol"]["n_anomalies"] == 30
        assert result["protocol"]["n_real"] == 170
    assert first == detection(scores + strange, strange, by="nll", seed=1)
    assert [r["metric"] for r in first] == ["auroc", "aupr", "fpr95"]


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(LikelyError, match="one label per score"):
        detection(torch.zeros(4), torch.zeros(3))
    with pytest.raises(LikelyError, match="2 anomalies"):
        detection(torch.zeros(4), torch.tensor([1, 0, 0, 0]))


# Finding what is planted ----------------------------------------------------------------------------------------------


def test_planted_anomalies_of_digits_are_found_by_every_way_of_a_likelihood():
    data = likely.data.load("digits-binary")
    model = fitted("nade", data.train.x, data.space, hidden=32, steps=200)
    background = fitted("bernoulli", data.train.x, data.space)
    usual = data.test.x[:180]
    shuffled = usual.flatten(1)[:, torch.randperm(64, generator=torch.Generator().manual_seed(0))].reshape(usual.shape)
    x, strange = torch.cat([usual, shuffled]), torch.arange(360) >= 180
    for way in ("nll", "typicality", "likelihood-ratio", "complexity"):
        found = anomaly_scores(model, x, by=way, reference=data.valid, background=background).values
        area = detection(found, strange)[0]
        assert area["value"] > 0.9, way


def adbench(folder, monkeypatch, *arguments):
    monkeypatch.setenv("LIKELY_DATA", str(folder))
    return runpy.run_path(str(ROOT / "recipes" / "adbench.py"))["main"](list(arguments))


def test_the_adbench_recipe_ranks_as_mahalanobis_distances_do(tmp_path, monkeypatch, capsys):
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 3)) @ random.normal(size=(3, 3))
    x[:40] += random.normal(size=(40, 3)) * 2
    (tmp_path / "adbench").mkdir()
    np.savez(tmp_path / "adbench" / "7_made-up.npz", X=np.c_[x, np.ones(400)], y=np.arange(400) < 40)
    assert adbench(tmp_path, monkeypatch, "--seeds", "1", "--json", str(tmp_path / "all.json")) == 0
    printed = capsys.readouterr().out
    assert printed.count("| made-up | 400 | 3 | 10.0% |") == 2
    record = json.loads((tmp_path / "all.json").read_text())
    found = {(r["model"], r["trained_on"]): r["results"][0][0] for r in record["rows"]}
    split = runpy.run_path(str(ROOT / "recipes" / "adbench.py"))["split"]
    train, test = (rows.numpy() for rows in split(torch.arange(400) < 40, 0))
    assert len(train) == 280
    assert len({*train, *test}) == 400
    distance = EmpiricalCovariance().fit(x[train]).mahalanobis(x[test])
    expected = metrics.roc_auc_score(test < 40, distance)
    assert found["gaussian", "all"]["value"] == pytest.approx(expected, abs=2e-3)
    assert found["gaussian", "usual"]["protocol"]["n_anomalies"] == 12


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("--seeds", "0"), "must be 1 or more"), (("--json", "no/such/all.json"), "there is no folder no/such")],
)
def test_the_adbench_recipe_looks_at_its_arguments_first(tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        adbench(tmp_path, monkeypatch, *arguments)
    assert stop.value.code == 2
    assert says in capsys.readouterr().err


def test_the_adbench_recipe_says_when_there_are_no_tables(tmp_path, monkeypatch, capsys):
    assert adbench(tmp_path, monkeypatch) == 1
    assert "set LIKELY_DATA" in capsys.readouterr().err


@pytest.mark.skipif(not (SHARED / "adbench").is_dir(), reason="no ../shared/data")
def test_a_gaussian_finds_tumours(tmp_path, monkeypatch, capsys):
    (tmp_path / "adbench").mkdir()
    (tmp_path / "adbench" / "4_breastw.npz").symlink_to(SHARED / "adbench" / "4_breastw.npz")
    assert adbench(tmp_path, monkeypatch, "--seeds", "1") == 0
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("| breastw")]
    assert [cell.strip() for cell in rows[0][1:5]] == ["breastw", "683", "9", "35.0%"]
    assert all(float(cells[5].split("±")[0].strip(" *")) > 0.96 for cells in rows)


def test_the_concept_page_names_every_way():
    text = (ROOT / "docs" / "concepts" / "anomaly-detection.md").read_text(encoding="utf-8")
    for way in WAYS:
        assert f"`{way}`" in text
