"""Diagrams of what classical models are: that they show the numbers of the model, and are well formed."""

import re
from xml.etree import ElementTree

import pytest
import torch

import likely
from likely import driver
from likely.data.parts import Data, Part
from likely.models.table import Table
from likely.report import diagrams, portraits
from likely.spaces import Finite, Real


def numbers(pattern, svg):
    return [tuple(map(float, found.groups())) for found in re.finditer(pattern, svg)]


def test_a_heat_map_is_as_dark_as_its_numbers_are_large():
    svg = diagrams.heat_map([[0.5, 0.25], [0.0, 0.125]], ["a", "b<"], ["c", "d"], label="l")
    assert [v for (v,) in numbers(r'fill-opacity="([\d.]+)"', svg)] == [1.0, 0.5, 0.0, 0.25]
    assert {"a, c: 0.5", "b<, d: 0.125"} <= {one.text for one in ElementTree.fromstring(svg).iter("title")}


def test_an_ellipse_lies_at_two_standard_deviations():
    covariance = [[4.0, 1.2], [1.2, 1.0]]
    svg = diagrams.ellipses([(0, 0)], [(0.0, 0.0)], [covariance], limits=((-10, 10), (-10, 10)), label="l")
    outline = re.search(r'<polyline class="line c0" points="([^"]+)"', svg)[1]
    middle = torch.tensor(numbers(r'cx="([\d.]+)" cy="([\d.]+)"', svg)[0], dtype=torch.float64)
    points = torch.tensor([tuple(map(float, p.split(","))) for p in outline.split()], dtype=torch.float64) - middle
    side = diagrams.HEIGHT * 1.6
    unit = torch.tensor([side - diagrams.LEFT - diagrams.RIGHT, -(side - diagrams.TOP - diagrams.BOTTOM)]) / 20
    x = points / unit
    far = (x @ torch.tensor(covariance, dtype=torch.float64).inverse() * x).sum(1).sqrt()
    torch.testing.assert_close(far, torch.full_like(far, 2.0), rtol=0.03, atol=0)


def test_a_graph_draws_the_likely_moves_alone():
    svg = diagrams.graph([0.9, 0.1, 0.0], [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [0.33, 0.33, 0.34]], label="l")
    root = ElementTree.fromstring(svg)
    moves = {one.find("title").text for one in root if one.get("class") == "move"}
    assert moves == {"0 → 0: 0.500", "0 → 1: 0.500", "1 → 2: 1.000", "2 → 0: 0.330", "2 → 1: 0.330", "2 → 2: 0.340"}
    radii = [float(one.get("r")) for one in root if "state" in (one.get("class") or "")]
    assert radii[0] > radii[1] > radii[2]


def test_a_strip_has_a_band_for_every_stay():
    svg = diagrams.strip([0, 0, 1, 1, 1, 0], [1.0, 2.0, 1.0, 0.0, 3.0, 1.0], label="l")
    assert re.findall(r"<title>([^<]+)</title>", svg) == ["0–1: 0", "2–4: 1", "5–5: 0"]
    widths = [w for (w,) in numbers(r'class="band c\d" x="[\d.]+" y="\d+" width="([\d.]+)"', svg)]
    assert widths[1] == pytest.approx(1.5 * widths[0], rel=0.01)


@pytest.mark.parametrize(
    ("name", "data", "numbers", "captions"),
    [
        ("gmm", "ring", {"components": 8, "passes": 5}, [portraits.WAY]),
        ("gmm", "digits", {"components": 3, "passes": 2}, [portraits.COMPONENTS]),
        ("bernoulli_mixture", "digits-binary", {"components": 3, "passes": 2}, [portraits.COMPONENTS]),
        ("chow_liu", "digits-binary", {}, [portraits.TREE]),
        ("hmm", "digits-binary", {"states": 3, "passes": 2}, [portraits.GRAPH, portraits.DECODED]),
        ("rbm", "digits-binary", {"hidden": 8, "steps": 5}, [portraits.FILTERS, None]),
        ("nade", "digits-binary", {"hidden": 4, "steps": 2}, []),
    ],
)
def test_what_a_model_shows_of_itself(name, data, numbers, captions, tmp_path):
    run = driver.train(name, data, out=tmp_path / "run", quiet=True, **numbers)
    found = portraits.portraits(run.model, run.data, run.record)
    assert len(found) == len(captions)
    for (caption, content), expected in zip(found, captions, strict=True):
        assert expected in (caption, None)
        assert content.startswith(("<svg", "<img"))
        if content.startswith("<svg"):
            ElementTree.fromstring(content)


def test_the_way_of_the_means_ends_where_the_model_is(tmp_path):
    run = driver.train("gmm", "ring", out=tmp_path / "run", quiet=True, components=3, passes=4)
    ways = portraits._way(run.model, run.data, run.record)
    assert len(ways) == 3
    assert len({len(way) for way in ways}) == 1
    torch.testing.assert_close(torch.tensor([way[-1] for way in ways]), run.model.means.float(), rtol=1e-5, atol=1e-5)


def test_small_tables_are_heat_maps_and_many_variables_their_pairs():
    table = Table.from_array(torch.full((2, 3), 1 / 6), names=("rain", "wind"))
    data = Data("t", "levels", Finite((2,), 3), None, *[Part(torch.zeros(1, 2))] * 3)
    [(caption, svg)] = portraits.portraits(table, data)
    assert caption == portraits.HEAT
    assert svg.count('class="cell"') == 6
    p = torch.arange(1, 13, dtype=torch.float64).reshape(2, 3, 2) / 78
    whole, pairs = portraits.portraits(Table.from_array(p, names=("a", "b", "c")), data)
    assert (whole[0], pairs[0]) == (portraits.HEAT, portraits.PAIRS)
    titles = {one.text for one in ElementTree.fromstring(whole[1]).iter("title")}
    named = {f"a={i}, b={j}, c={k}: {float(p[i, j, k]):.4g}" for i in range(2) for j in range(3) for k in range(2)}
    assert {title.replace(",", "").replace(":", "") for title in titles} == {
        name.replace(",", "").replace(":", "") for name in named
    }
    many = Table.from_columns({f"x{i}": [0, 1, 2, 3] for i in range(4)})
    assert [caption for caption, _ in portraits.portraits(many, data)] == [portraits.PAIRS]


def test_a_strip_names_its_steps_where_there_is_room():
    assert ">&lt;b<" in diagrams.strip([0, 1], symbols=["a", "<b"], label="l")
    assert ">a<" not in diagrams.strip([0] * 100, symbols=["a" * 9] + ["a"] * 99, label="l")


def test_a_heat_map_has_room_for_its_names():
    svg = diagrams.heat_map([[1.0] * 3] * 2, ["sprinkler=no", "sprinkler=yes"], ["rain=no, grass=wet"] * 3, label="l")
    assert "sprinkler=yes" in svg
    assert svg.count("rotate(") == 3
    left = min(x for (x,) in numbers(r'class="cell" x="([\d.]+)"', svg))
    assert left > 5.5 * len("sprinkler=yes")
    svg = diagrams.heat_map([[1.0] * 3], ["a"], ["rain=no, grass=wet"] * 3, label="l")
    left = min(x for (x,) in numbers(r'class="cell" x="([\d.]+)"', svg))
    assert left > 0.7 * 5.5 * len("rain=no, grass=wet")  # the first name hangs down to the left


def test_rows_with_missing_values_are_left_out_of_the_plane(tmp_path):
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    x[::2, 0] = float("nan")
    model = likely.build("gmm", Real((2,)), components=2)
    for _ in likely.fit(model, Part(x), passes=3):
        pass
    [(caption, svg)] = portraits.portraits(model, Data("t", "reals", Real((2,)), None, *[Part(x)] * 3))
    assert caption == portraits.ELLIPSES
    assert "nan" not in svg.lower()
