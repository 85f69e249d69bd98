"""Places and differences: true where there is a difference, silent where there is noise, modest about bounds."""

import math
import re

import numpy as np
import pytest
import torch

from likely import run as runs
from likely.evaluation.results import result
from likely.report import pareto
from likely.report import text as texts
from likely.report.measures import answer, keys_of, measure_of, ranked
from likely.report.pages import page
from likely.report.pooling import Pool, against, mean_of, pool, pools
from likely.report.ranking import holm, ranking, timing
from likely.report.scores import kept_scores, strangest
from likely.report.table import Row, Table

NLL = ("nll", "")


def row(name, value, error=0.5, sign="=", folder="", seed=0, metric="nll", **protocol):
    told = {"k": None, "bits_per_dim": None, "uniform": None, "n_real": 100, **protocol}
    return Row(name, "d", "v", seed, folder=str(folder), results=[result(metric, value, error, sign=sign, **told)])


def lone(*rows):
    return [Pool(one, [one]) for one in rows]


def places(made):
    return {i: (place.low, place.high) for i, place in made.places.items()}


def kept(folder, nats, **what):
    folder.mkdir()
    told = {"fingerprint": "f", "part": "test", "seed": "0", "sign": "=", **what}
    runs.write_tensors(folder / "scores.safetensors", {"nats": torch.as_tensor(nats).double()}, told)
    return folder


# Several tests at once ------------------------------------------------------------------------------------------------


def test_holm_is_that_of_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    generator = np.random.default_rng(0)
    for n in (1, 2, 5, 20):
        p = generator.random(n) ** 3
        assert holm(p.tolist()) == multitest.multipletests(p, method="holm")[0].tolist()


def test_holm_by_hand():
    assert holm([]) == []
    assert holm([0.04]) == [True]
    assert holm([0.005, 0.011, 0.02, 0.04]) == [True, True, True, True]
    assert holm([0.005, 0.02, 0.02, 0.04]) == [True, False, False, False]
    assert holm([0.013, 0.001, 0.001, 0.001]) == [True, True, True, True]


# Places ---------------------------------------------------------------------------------------------------------------


def test_places_say_what_is_noise():
    made = ranking(lone(row("a", 1.0, 0.1), row("b", 5.0, 0.1), row("c", 5.1, 0.1), row("d", 9.0, 0.1)), NLL, float)
    assert places(made) == {0: (1, 1), 1: (2, 3), 2: (2, 3), 3: (4, 4)}
    assert made.best() == [0]
    assert not made.paired
    assert [texts.place_text(made.places[i]) for i in range(4)] == ["1", "2–3", "2–3", "4"]


def test_a_bound_that_stands_behind_proves_nothing():
    made = ranking(lone(row("exact", 1.0, 0.1), row("bound", 5.0, 0.1, "<="), row("bad", 9.0, 0.1)), NLL, float)
    assert places(made) == {0: (1, 1), 1: (2, 2), 2: (3, 3)}
    assert {i: place.proven for i, place in made.places.items()} == {0: (1, 2), 1: (1, 2), 2: (3, 3)}
    assert texts.place_text(made.places[1]) == "2+"
    # a bound that stands in front of an exact number is proven to be better
    made = ranking(lone(row("bound", 1.0, 0.1, "<="), row("exact", 5.0, 0.1)), NLL, float)
    assert [made.places[i].proven for i in (0, 1)] == [(1, 1), (2, 2)]
    # of two bounds nothing is proven
    made = ranking(lone(row("a", 1.0, 0.1, "<="), row("b", 5.0, 0.1, "<=")), NLL, float)
    assert [made.places[i].proven for i in (0, 1)] == [(1, 2), (1, 2)]


def test_which_way_is_better_and_what_is_right():
    shares = lone(*(row(str(v), v, 0.01, "~", metric="recall") for v in (0.2, 0.9)))
    assert ranked(shares, ("recall", "")).order == [1, 0]
    near = lone(*(row(str(v), v, 0.01, "~", metric="intra_class_diversity") for v in (0.2, 1.5, 0.9)))
    assert ranked(near, ("intra_class_diversity", "")).order == [2, 1, 0]
    assert measure_of("brand_new").better == ""


def test_numbers_without_an_error_have_no_place():
    made = ranking(lone(row("a", 1.0, None), row("b", 2.0, None)), NLL, float)
    assert made.order == [0, 1]
    assert made.places == {}


def test_an_infinite_score_is_certain():
    made = ranking(lone(row("a", 1.0), row("b", math.inf, None), row("c", math.inf, None)), NLL, float)
    assert places(made)[0] == (1, 1)
    assert places(made)[1] == places(made)[2] == (2, 3)


# Pairs ----------------------------------------------------------------------------------------------------------------


def test_paired_rows_see_what_intervals_do_not(tmp_path):
    from scipy.stats import ttest_rel

    generator = torch.Generator().manual_seed(0)
    hard = 30 * torch.randn(400, generator=generator, dtype=torch.float64)  # easy and hard rows, for both models
    a = hard + torch.randn(400, generator=generator, dtype=torch.float64)
    b = hard - 0.5 + torch.randn(400, generator=generator, dtype=torch.float64)
    rows = [row(n, float(-s.mean()), 1.5, folder=kept(tmp_path / n, s)) for n, s in (("a", a), ("b", b))]
    made = ranking(lone(*rows), NLL, float)
    assert made.paired
    difference = made.differences[0, 1]
    assert difference.apart
    assert difference.p == pytest.approx(ttest_rel(a, b).pvalue)
    assert difference.value == pytest.approx(float((a - b).mean()))
    assert places(ranking(lone(*(row(n, float(-s.mean()), 1.5) for n, s in (("a", a), ("b", b)))), NLL, float)) == {
        0: (1, 2),
        1: (1, 2),
    }


def test_rows_of_other_data_are_not_paired(tmp_path):
    scores = torch.arange(10.0)
    first = row("a", 1.0, folder=kept(tmp_path / "a", scores))
    for name, change in (("b", {"seed": "1"}), ("c", {"fingerprint": "g"}), ("d", {"part": "valid"})):
        other = row(name, 2.0, folder=kept(tmp_path / name, scores, **change))
        assert not ranking(lone(first, other), NLL, float).paired
    assert not ranking(lone(first, row("e", 2.0, folder=kept(tmp_path / "e", scores[:5]))), NLL, float).paired


def test_a_shared_normaliser_counts(tmp_path):
    a, b = torch.arange(50.0), torch.arange(50.0) - 0.1
    ours = row("a", 0.0, folder=kept(tmp_path / "a", a))
    exact = row("b", 0.1, folder=kept(tmp_path / "b", b))
    energy = row("b", 0.1, sign="~", folder=tmp_path / "b", log_partition_error=1.0)
    assert ranking(lone(ours, exact), NLL, float).differences[0, 1].apart
    assert not ranking(lone(ours, energy), NLL, float).differences[0, 1].apart


def test_false_claims_are_rare(tmp_path):
    """Six equal models: Holm's rule must keep any claim over all pairs to about 5 of 100 tables."""
    generator, false = torch.Generator().manual_seed(1), 0
    for _ in range(300):
        values = torch.randn(6, generator=generator, dtype=torch.float64).tolist()
        made = ranking(lone(*(row(str(i), v, 1.0) for i, v in enumerate(values))), NLL, float)
        false += any(d.apart for d in made.differences.values())
    assert false <= 24  # 15 expected; 24 is 2.4 standard deviations more


# Seeds ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seeds", "between"), [(2, 1.0), (3, 0.5), (5, 3.0), (5, 0.0)])
def test_the_interval_of_several_seeds_covers(seeds, between):
    """v_s = mean + data + seed_s: the data's error is shared by the seeds, the seeds' own is not."""
    generator = np.random.default_rng(seeds)
    covered, trials = 0, 2000
    for _ in range(trials):
        shared = generator.normal(0, 1.0)
        values = shared + generator.normal(0, between, seeds) if between else np.full(seeds, shared)
        made = mean_of([result("nll", float(v), 1.0) for v in values])
        low, high = made["interval"]
        covered += low <= 0 <= high
    assert 0.935 <= covered / trials <= 0.985


def test_seeds_stand_in_one_row():
    made = pool([row("a", 1.0, 0.3, seed=1, counts=[1, 2]), row("a", 3.0, 0.4, seed=0, counts=[3, 4])])
    one = made.row.result("nll")
    assert [each.seed for each in made.rows] == [0, 1]
    assert one["value"] == 2.0
    assert one["protocol"]["counts"] == [4, 6]
    assert one["protocol"]["standard_error"] == pytest.approx(math.sqrt((0.09 + 0.16) / 2 + 2.0 / 2))
    table = Table("c", "m", {}, "t", [row("a", 1.0), row("a", 3.0, seed=1), row("b", 2.0)])
    assert [(p.row.model, len(p.rows)) for p in pools(table)["d", "v"]] == [("a", 2), ("b", 1)]


def test_means_over_seeds_share_a_column_in_the_order_they_were_measured():
    both = []
    for name, first in (("a", 1.0), ("b", 5.0), ("c", 9.0)):
        rows = [row(name, first + 0.2 * seed, 0.1, seed=seed) for seed in (0, 1, 2)]
        for one in rows:
            one.results += [result("mmd", first + one.seed, 0.1 * first), result("modes", None)]
        both += rows
    found = pools(Table("c", "m", {}, "t", both))["d", "v"]
    assert keys_of(found) == [NLL, ("mmd", "")]
    made = ranked(found, NLL)
    assert made.refused == {}
    assert places(made) == {0: (1, 1), 1: (2, 2), 2: (3, 3)}
    assert [r["metric"] for r in found[0].row.results] == ["nll", "mmd", "modes"]
    found[1].rows.pop()  # a seed that failed
    found[1].row = pool(found[1].rows).row
    assert ranked(found, NLL).refused == {}


def test_seeds_of_other_protocols_are_not_averaged():
    made = pool([row("a", 1.0, n_real=100), row("a", 3.0, seed=1, n_real=50)])
    assert "100" in made.refused[NLL]
    assert made.row.results == []


# Protocols ------------------------------------------------------------------------------------------------------------


def test_another_protocol_is_refused_and_the_page_says_why():
    sizes = {"gmm": 1000, "vae": 1000, "nade": 50}
    rows = [row(name, value, n_generated=n) for value, (name, n) in enumerate(sizes.items())]
    for one in rows:
        one.results.append(result("mmd", 0.1, 0.01, n_generated=one.results[0]["protocol"]["n_generated"]))
    made = ranking(lone(*rows), ("mmd", ""), float)
    assert list(made.refused) == [2]
    assert "n_generated" in made.refused[2]
    assert 2 not in made.places
    table = Table("c", "m", {}, "t", rows)
    text = page(table, [])
    assert "n_generated is 1000 in one and 50 in the other" in text
    assert text.count("Not in one column") == 2
    assert "n_generated is 1000" in texts.markdown(table)
    assert {"nade"} == set(texts.standings(table)[0]["refused"])


def test_likelihoods_of_classes_are_told_apart():
    table = Table("c", "m", {}, "t", [row("gmm", 1.0, per_class={"cat": 1.5, "dog": 0.5}), row("vae", 2.0)])
    text = page(table, [])
    assert "<td class=bad>= −1.5</td><td>= −0.5</td>" in text


def test_bounds_by_different_means_share_a_column():
    elbo, weighted = (row("a", 1.0, sign="<=", k=k).results[0] for k in (None, 64))
    other = row("a", 1.0, sign="<=", k=5).results[0]
    assert against(elbo, weighted) == ""
    assert against(weighted, other) != ""


def test_features_never_share_a_column():
    rows = [row("a", 1.0, metric="frechet", features=f) for f in ("pca", "pixels")]
    assert answer(lone(*rows), "samples").order == [0]


# The page -------------------------------------------------------------------------------------------------------------


def test_the_page_says_in_words_what_is_best_and_how_surely():
    rows = [row("nade", 80.0, 0.5), row("vae", 84.0, 0.5, "<="), row("gmm", 84.5, 0.5), row("table", 99.0, 0.5)]
    for one, distance, copying in zip(rows, (0.004, 0.004, 0.004, 0.001), (0.1, 1.0, 3.0, -9.0), strict=True):
        one.results.append(result("mmd", distance, 0.0005, n_generated=9))
        one.results.append(result("data_copying", copying, 0.5))
        one.minutes, one.speed, one.scoring = 1.0 + copying**2, 100.0, 10.0
    text = re.sub(r'<span class="ko".*?</span>', "", page(Table("c", "m", {}, "t", rows), []))
    words = " ".join(re.sub("<[^>]+>", " ", text).split())
    assert "nade = −80.00 ± 0.50 nats better than vae by 4.00 ± 0.71 nats" in words
    assert "table 1.0 ± 0.5 better than nade by 3.0 ± 0.7 by kernel distance ×1000 it copies its training data" in words
    assert "Copies training data: table" in words
    assert "in truth vae may be better" in words
    assert "Each model was trained once" in words
    assert text.count('<td class="first">') == 3  # nade's likelihood, the table's samples, nade's minutes
    rows[1].results[0] = result("nll", 80.1, 0.5, k=None, bits_per_dim=None, uniform=None, n_real=100)
    words = " ".join(re.sub("<[^>]+>", " ", page(Table("c", "m", {}, "t", rows), [])).split())
    assert "not told apart from vae" in words
    assert "No model is seen to copy" not in words


def test_one_model_has_nothing_to_be_best_at():
    text = page(Table("c", "m", {}, "t", [row("nade", 80.0)]), [])
    assert 'id="best"' not in text
    assert 'id="trade"' not in text


# Costs ----------------------------------------------------------------------------------------------------------------


def test_timings_within_a_factor_are_noise():
    assert timing([1.0, 1.4, 10.0, None], fewest=True) == [(1, 2), (1, 2), (3, 3), None]
    assert timing([1.0, 1.4, 10.0, None], fewest=False) == [(2, 3), (2, 3), (1, 1), None]


def test_the_front_is_what_nothing_beats():
    marks = [
        pareto.Mark(str(i), c, -v, -v, -v, v) for i, (c, v) in enumerate([(1, 5), (2, 4), (3, 4.5), (4, 1), (1, 9)])
    ]
    assert pareto.front(marks) == [0, 1, 3]
    brute = [
        i
        for i, m in enumerate(marks)
        if not any(o.cost <= m.cost and o.loss <= m.loss and (o.cost, o.loss) != (m.cost, m.loss) for o in marks)
    ]
    assert sorted(pareto.front(marks)) == brute
    states = pareto.beaten(marks, {(0, 4)})
    assert states == ["front", "front", "near", "front", "behind"]
    svg = pareto.picture(marks, states, label="x < y", up=True)
    assert svg.count("<circle") == 5
    assert "x &lt; y" in svg
    assert "nan" not in svg


# Scores ---------------------------------------------------------------------------------------------------------------


def test_kept_scores_come_back_and_the_strangest_come_first(tmp_path):
    folder = kept(tmp_path / "a", [3.0, -5.0, 1.0, -math.inf])
    scores = kept_scores(folder)
    order, values = strangest(scores, 3)
    assert order.tolist() == [3, 1, 2]
    assert values.tolist() == [-math.inf, -5.0, 1.0]
    assert kept_scores(tmp_path) is None
    assert kept_scores("") is None
    (folder / "scores.safetensors").write_bytes(b"half")
    assert kept_scores(folder) is None
