"""Pictures, charts, tables and pages: what they show is what was measured, and they need nothing but themselves."""

import io
import json
import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import likely
from likely import driver, report
from likely import run as runs
from likely.data.parts import Data, Part
from likely.errors import LikelyError
from likely.evaluation import results
from likely.evaluation.glossary import GLOSSARY
from likely.report import charts, figures, measuring, page_samples, pictures, words, words_compare
from likely.report import numbers as told
from likely.report import table as tables
from likely.report.measures import MEASURES
from likely.report.page_inside import curves
from likely.report.pages import page
from likely.report.pieces import Exhibit
from likely.report.published import PUBLISHED
from likely.spaces import Binary, Finite, Ragged, Real, Sequence

RECORDS = Path(__file__).parents[1] / "recipes" / "records"

# Pictures -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "mode"),
    [
        (Binary((4, 5)), "L"),
        (Finite((1, 4, 5), 17), "L"),
        (Finite((3, 4, 5)), "RGB"),
        (Real((3, 4, 5)), "RGB"),
        (Finite((4, 4, 5)), "RGBA"),
    ],
)
def test_grid_keeps_a_single_picture_and_its_levels(space, mode):
    x = space.random(1, torch.Generator().manual_seed(0))
    image = pictures.grid(x, space)
    assert (image.mode, image.size) == (mode, (5, 4))
    pixels = torch.tensor(np.array(image)).reshape(4, 5, -1).permute(2, 0, 1).reshape(x.shape)
    if not isinstance(space, Real):
        assert torch.equal((pixels.double() / 255 * (space.levels - 1)).round().to(x.dtype), x)
    again = Image.open(io.BytesIO(pictures.png(image)))
    assert np.array_equal(np.array(again), np.array(image))


def test_grid_places_pictures_row_by_row_and_hides_what_is_not_known():
    space = Binary((1, 2, 2))
    x = torch.ones(3, 1, 2, 2, dtype=torch.uint8)
    known = torch.tensor([[[True, True], [False, False]]])
    pixels = np.array(pictures.grid(x, space, columns=2, scale=1, known=known))
    assert pixels.shape == (5, 5)
    assert (pixels[0, [0, 1, 3, 4]] == 255).all()
    assert (pixels[1] == pictures.GREY).all()  # not known
    assert (pixels[:, 2] == pictures.GREY).all()  # the gap
    assert (pixels[3:, 3:] == pictures.GREY).all()  # nothing there
    assert pictures.grid(x, space, columns=2, scale=3).size == (15, 15)


def test_reals_run_from_black_to_white():
    space = Real((1, 2))
    assert pictures.is_picture(Real((2, 2)))
    assert not pictures.is_picture(space)
    space = Real((2, 2))
    x = torch.tensor([[[-2.0, 0.0], [1.0, 2.0]]])
    assert pictures.to_bytes(x, space).flatten().tolist() == [0, 128, 191, 255]
    assert pictures.to_bytes(x.clamp(0, 1), space).flatten().tolist() == [0, 0, 255, 255]
    assert pictures.to_bytes(x, space, limits=(-2.0, 0.0)).flatten().tolist() == [0, 255, 255, 255]


def test_what_is_no_picture_is_refused():
    for space in (Real((3,)), Finite((2, 4, 4)), Sequence(step=Binary(), length=3)):
        assert not pictures.is_picture(space)
    with pytest.raises(LikelyError, match="not a space of pictures"):
        pictures.grid(torch.zeros(1, 3), Real((3,)))
    with pytest.raises(LikelyError, match="n is 0"):
        pictures.grid(torch.zeros(0, 4, 4), Binary((4, 4)))


# Charts ---------------------------------------------------------------------------------------------------------------


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_and_within(low, width):
    high = low + width
    marks = charts.ticks(low, high)
    assert 1 <= len(marks) <= 5
    assert all(low - 1e-6 * width <= mark <= high + 1e-6 * width for mark in marks)
    assert marks == sorted(set(marks))


def test_lines_draw_every_series_inside_the_frame():
    series = {"generator": [(i, math.sin(i)) for i in range(1000)], "critic": [(0, 1.0), (999, math.nan)]}
    svg = charts.lines(series, [(500, 0.5)], label='a "chart" <of two>')
    assert svg.count("<polyline") == 2
    assert svg.count('class="mark"') == 1
    assert "&quot;chart&quot; &lt;of two&gt;" in svg
    assert "nan" not in svg
    x, y = zip(*(map(float, p.split(",")) for p in re.findall(r"[\d.]+,[\d.]+", svg)), strict=True)
    assert len(x) <= 301
    assert charts.LEFT <= min(x) < max(x) <= charts.WIDTH - charts.RIGHT
    assert charts.TOP <= min(y) < max(y) <= charts.HEIGHT - charts.BOTTOM


def test_histograms_hold_every_value():
    values = [0.0] * 3 + [1.0]
    svg = charts.histograms(values, values, label="x", bins=2)
    filled, outline = re.findall(r'<path class="[a-z0-9 ]+" d="([^"]+)"', svg)
    assert filled == outline
    tops = [float(v) for v in re.findall(r"V([\d.]+)H", filled)]
    base, full = charts.HEIGHT - charts.BOTTOM, charts.TOP
    assert [round((base - top) / (base - full), 2) for top in tops] == [1.0, 0.33]


# Tables ---------------------------------------------------------------------------------------------------------------


def _result(value, sign="=", error=0.5, **protocol):
    """A negative log-likelihood, told as the log-likelihood that the tables show."""
    told = {"k": None, "bits_per_dim": None, "uniform": None, **protocol}
    nll = None if value is None else -value
    return results.result("nll", nll, error, unit="nats", sign=sign.replace(">=", "<="), **told)


def _table(*rows):
    return report.Table("likely compare", "a machine", {"likely": "1"}, "today", list(rows))


def test_tables_keep_views_apart_and_rank_best_first():
    made = _table(
        report.Row("a", "d", "bytes", results=[_result(-3.0)]),
        report.Row("b", "d", "bits", results=[_result(-1.0)]),
        report.Row("c", "d", "bytes", results=[_result(-2.0, ">=", k=64)]),
        report.Row("sampler", "d", "bytes", results=[_result(None, "", None)]),
        report.Row("broken", "d", "bytes", error="no | luck"),
    )
    views = {key: [row.model for row in rows] for key, rows in made.views().items()}
    assert views == {("d", "bytes"): ["c", "a", "sampler"], ("d", "bits"): ["b"]}
    assert [row.model for row in made.failed()] == ["broken"]
    assert tables.from_json(json.loads(json.dumps(made.to_json()))) == made
    text = report.markdown(made)
    assert "| c | 0 | ≥ −2.00 ± 0.50 (k = 64) |" in text
    assert "no \\| luck" in text


def test_bounds_turn_round_in_bits():
    result = _result(-88.33, ">=", k=5, bits_per_dim=0.1625)
    assert told.nats(result) == "≥ −88.33 ± 0.50 (k = 5)"
    assert told.bits(result) == "≤ 0.163"
    assert told.nats(_result(-1.0, "~", None)) == "~ −1.00"
    assert told.nats(None) == told.bits(_result(None, "")) == ""
    assert told.thousandths(-0.0021, 0.0004) == "−2.1 ± 0.4"


# Pages ----------------------------------------------------------------------------------------------------------------


class Checked(HTMLParser):
    """Fails on tags that are not closed in order; collects addresses and languages."""

    EMPTY = {"meta", "img", "br", "link"}

    def __init__(self, text):
        super().__init__()
        self.open, self.addresses, self.counts, self.images = [], [], {}, []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.addresses += [attributes[a] for a in ("src", "href") if a in attributes]
        self.counts[attributes.get("class")] = self.counts.get(attributes.get("class"), 0) + 1
        if tag == "img":
            assert attributes["alt"]
            self.images.append(attributes["src"])
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def _digits():
    return likely.data.load("digits", view="threshold")


def _exhibit(name, data, log=(), **numbers):
    model = likely.build(name, data.space, **numbers)
    row = report.Row(name, data.name, data.view, results=[_result(-30.0, uniform=-44.0, uniform_bits_per_dim=1.0)])
    row.command = f"likely fit {name} --data '{data.name}'"
    return Exhibit(row, model, data, list(log))


def test_the_page_is_whole_needs_no_network_and_speaks_both_languages():
    data = _digits()
    log = [{"step": i, "loss": 1 / i} for i in range(1, 20)] + [{"step": 19, "valid": 0.1}]
    shown = [_exhibit("bernoulli", data), _exhibit("vae", data, log, latent=3)]
    made = _table(*(e.row for e in shown), report.Row("gan", data.name, data.view, error="<diverged>"))
    text = page(made, shown)
    checked = Checked(text)
    assert '<meta charset="utf-8">' in text
    assert all(a.startswith(("data:image/png;base64,", "#")) for a in checked.addresses)
    assert "http" not in re.sub(r"base64,[^\"]+", "", text).replace("http://www.w3.org", "")
    assert checked.counts["en"] == checked.counts["ko"] > 30
    assert "표본" in text
    assert "&lt;diverged&gt;" in text
    for section in ("samples", "scores", "learning", "map", "reconstructions", "completions", "abilities", "again"):
        assert f'<section id="{section}">' in text
    # real data, two walls of samples, the decoded sheet, reconstructions of the vae, completions of both or of one
    assert len(checked.images) >= 6
    assert 'data-side="15"' in text
    assert len(text) < 2_000_000
    assert "@page" in text  # printed, it is slides


def test_every_text_has_both_languages_and_the_same_values():
    every = {**vars(words), **vars(words_compare), **{name: one.name for name, one in MEASURES.items()}}
    for name, value in every.items():
        for text in value.values() if isinstance(value, dict) else [value]:
            if isinstance(text, words.Words):
                assert text.en, name
                assert re.search("[가-힣]", text.ko) or text.ko == text.en, name
                assert set(re.findall(r"{(\w+)}", text.en)) == set(re.findall(r"{(\w+)}", text.ko)), name
    assert words.both(words.NOT_DRAWN, why="<x>").count("&lt;x&gt;") == 2


def test_names_are_escaped_and_a_broken_model_costs_only_its_figure(monkeypatch):
    data = _digits()
    data.name = "<script>alert(1)</script>"
    exhibit = _exhibit("bernoulli", data)

    def broken(n, cond, **options):
        raise RuntimeError("no & sample")

    monkeypatch.setattr(exhibit.model, "_sample", broken)
    text = page(_table(exhibit.row), [exhibit])
    Checked(text)
    assert "<script>alert" not in text
    assert "RuntimeError: no &amp; sample" in text
    assert '<section id="scores">' in text


def test_points_and_columns_are_drawn_too():
    plane = likely.data.load("moons")
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(60, 3, generator=generator)
    rows[0, 0] = math.nan
    part = Part(rows)
    columns = Data("costs", "reals", Real((3,), names=("a<b", "weight", "무게")), part, part, part)
    shown = [_exhibit("gaussian", plane), _exhibit("gaussian", columns)]
    text = page(_table(*(e.row for e in shown)), shown)
    Checked(text)
    assert 'class="dots c0"' in text
    assert "a&lt;b" in text
    assert "무게" in text
    assert text.count('class="outline"') == 6


def _columns(space, x):
    data = Data("t", "levels", space, None, *[Part(x)] * 3)
    return page_samples._values(data, x[:2])


def test_columns_of_few_levels_are_bars_with_their_names():
    space = Finite((3,), 3, values=(("no", "yes"), ("low", "<mid>", "high"), ("a",)))
    html = _columns(space, torch.tensor([[0, 0, 0], [1, 2, 0], [1, 1, 0]], dtype=torch.uint8))
    assert [name in html for name in (">no<", ">yes<", "&lt;mid&gt;"[:8], ">a<")] == [True] * 4
    assert html.count("<rect") == 2 + 3 + 1
    assert "<rect" not in _columns(Finite((3,), 200), torch.zeros(3, 3, dtype=torch.uint8))


def test_sequences_are_shown_as_texts_or_curves():
    lengths = torch.tensor([3, 1])
    text = Sequence(step=Finite((), 3, categories=("a", "<", "b")), length=3)
    html = page_samples._sequences(Ragged(torch.tensor([[0, 1, 2], [2, 0, 0]]), lengths), text)
    assert re.findall(r'<p class="text">([^<]*)</p>', html) == ["a&lt;b", "b"]
    said = Sequence(step=Finite((), 3, categories=("to", "be", "or")), length=3)
    assert ">to be or<" in page_samples._sequences(Ragged(torch.tensor([[0, 1, 2]]), lengths[:1]), said)
    curves = page_samples._sequences(Ragged(torch.randn(2, 3, 2), lengths), Sequence(step=Real((2,)), length=3))
    assert curves.count("<polyline") == 2


def test_curves_are_those_of_the_players_where_models_take_turns():
    log = [{"step": 1, "loss": 3.0, "generator/loss": 2.0, "critic/loss": 1.0}, {"step": 1, "valid": 0.5}]
    series, valid = curves(log)
    assert series == {"generator": [(1, 2.0)], "critic": [(1, 1.0)]}
    assert valid == []
    assert curves([{"step": 2, "loss": 3.0}, {"step": 2, "valid": 0.5}]) == ({"loss": [(2, 3.0)]}, [(2, 0.5)])


def test_the_plane_is_that_of_principal_components():
    from sklearn.decomposition import PCA

    generator = torch.Generator().manual_seed(0)
    z = torch.randn(200, 5, generator=generator, dtype=torch.float64) * torch.tensor([3.0, 2.0, 1.0, 0.5, 0.1])
    centre, axes, share = figures.plane(z)
    oracle = PCA(2).fit(z.numpy())
    assert share == pytest.approx(oracle.explained_variance_ratio_.sum())
    assert np.abs((axes.numpy() * oracle.components_).sum(1)) == pytest.approx([1, 1])
    assert centre.numpy() == pytest.approx(oracle.mean_)
    flat = figures.plane(z[:, :2])
    assert torch.equal((z[:, :2] - flat[0]) @ flat[1].T, z[:, :2])


def test_the_sheet_is_what_the_model_decodes_there():
    data = _digits()
    model = likely.build("vae", data.space, latent=2, seed=1)
    made = figures.latent_map(model, data)
    (left, right), (low, high) = made.limits
    corners = torch.tensor([[left, high], [right, low]])  # first and last picture of the sheet
    expected = model.decode(corners).squeeze(1).numpy() * 255
    sheet = np.array(made.sheet)
    assert np.array_equal(sheet[:8, :8], expected[0])
    assert np.array_equal(sheet[-8:, -8:], expected[1])
    assert made.sheet.size == (8 * made.side, 8 * made.side)


def test_captions_stand_in_no_ones_way():
    data, told = _digits(), Sequence(step=Finite((), 256), length=3)
    captions = {name: told.random(len(part), torch.Generator().manual_seed(0)) for name, part in data.parts.items()}
    x, _ = figures.many(data, 30)
    parts = {name: Part(part.x, captions[name]) for name, part in data.parts.items()}
    again, given = figures.many(Data("d", "v", data.space, **parts, cond=told), 30)
    assert torch.equal(x, again)
    assert len(given.lengths) == len(x)
    model = likely.build("vae", data.space, latent=2, seed=1)
    assert figures.latent_map(model, Data("d", "v", data.space, **parts, cond=told)).side > 0


def test_incomplete_rows_have_no_place_on_the_map():
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    x[::3, 1] = math.nan
    part = Part(x, torch.arange(60))
    made = figures.latent_map(likely.build("gaussian", Real((3,))), Data("t", "reals", Real((3,)), part, part, part))
    assert len(made.points) == 120  # the map takes all three parts
    assert made.points.isfinite().all()


@pytest.mark.parametrize(("levels", "abreast"), [(2, 8), (3, 6), (10, 10)])
def test_each_column_of_samples_is_of_one_class(levels, abreast, monkeypatch):
    model = likely.build("vae", Binary((1, 4, 4)), Finite((), levels, ordered=False), latent=2, width=8)
    asked = []
    monkeypatch.setattr(type(model), "sample", lambda self, n, cond=None, seed=None: asked.append(cond) or cond)
    _, columns = figures.samples(model)
    assert columns == abreast
    assert (asked[0].reshape(-1, columns) == asked[0][:columns]).all()
    assert set(asked[0].tolist()) == set(range(levels))


def test_small_errors_are_not_rounded_away():
    result = results.result("nll", 3.36, 0.0021, sign="=")
    assert told.nats(result) == "= −3.36 ± 0.002"


def test_pages_have_words_for_every_metric():
    told_by_score = {"auroc", "aupr", "fpr95"}  # by `likely score`, which tables no models
    assert set(GLOSSARY) - set(MEASURES) == told_by_score
    assert set(MEASURES) <= set(GLOSSARY)


# Runs -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return driver.train("bernoulli", "digits", out=tmp_path_factory.mktemp("runs") / "one", quiet=True)


def test_run_page_and_results(run, monkeypatch):
    path = report.run_page(run, n=50)
    assert path == run.folder / "page.html"
    Checked(path.read_text(encoding="utf-8"))
    kept = json.loads((run.folder / "evaluation.json").read_text())
    monkeypatch.setitem(PUBLISHED, ("digits", "bytes"), {"bernoulli": PUBLISHED["binarized-mnist", "fixed"]["nade"]})
    monkeypatch.setattr("likely.report.measuring.evaluate", None)  # measured once, it must not be measured again
    text, missing = report.results_markdown([run.folder.parent], n=50)
    assert missing == []
    value = kept["results"][0]["value"]
    assert f"= −{value:.2f}" in text
    assert "= −88.33" in text
    assert "[memory]" in text
    assert run.record["command"] in text
    assert run.record["machine"] in text


def test_a_run_that_cannot_be_measured_does_not_stop_the_others(run, tmp_path):
    for name, change in (("interrupted", {"status": "interrupted"}), ("gone", {"data": {**run.record["data"]}})):
        record = json.loads(json.dumps({**run.record, **change}))
        if name == "gone":
            record["data"]["source"] = {"name_or_path": "nowhere.csv"}
        shutil.copytree(run.folder, tmp_path / name)
        (tmp_path / name / "evaluation.json").unlink(missing_ok=True)
        (tmp_path / name / "run.json").write_text(json.dumps(record))
    text, missing = report.results_markdown([tmp_path, run.folder], n=50)
    assert [("nowhere.csv" in line, "likely resume" in line) for line in missing] == [(True, False), (False, True)]
    assert "| bernoulli |" in text
    assert "Not measured" in text
    assert "nowhere.csv" in text
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.json").write_text("{")
    assert len(report.results_markdown([tmp_path, run.folder], n=50).missing) == 3


def test_results_need_finished_runs(run, tmp_path):
    with pytest.raises(LikelyError, match=r"no run\.json"):
        report.results_markdown([tmp_path])
    record = {**run.record, "status": "interrupted"}
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(LikelyError, match="likely resume"):
        report.results_markdown([tmp_path])


def test_results_hold_the_comparisons_of_their_folders(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "runs" / "one")
    table = report.Table("likely compare --data digits", "a machine", {}, "today", [report.measured(run, n=50)])
    (tmp_path / "table.json").write_text(json.dumps(table.to_json()))
    text = report.results_markdown([tmp_path], n=50).text
    comparison = text.split("## Comparison\n")[1]
    assert "`likely compare --data digits` on a machine, today." in comparison
    assert "| bernoulli |" in comparison.split("### digits, bytes")[1]


def test_records_stand_for_runs_that_are_gone(run, tmp_path, monkeypatch):
    folders = [tmp_path / "runs", tmp_path / "elsewhere"]
    for folder, name in zip(folders, ("one", "two"), strict=True):
        shutil.copytree(run.folder, folder / name)
    table = report.Table("likely compare --data digits", "a machine", {}, "today", [report.measured(run, n=50)])
    (folders[0] / "table.json").write_text(json.dumps(table.to_json()))
    first = report.results_markdown(folders, keep=tmp_path / "records", n=50)
    assert first.missing == []
    kept = {str(path.relative_to(tmp_path / "records")) for path in (tmp_path / "records").rglob("*.*")}
    files = ("run.json", "evaluation.json", "scores.safetensors")
    assert kept == {"table.json"} | {f"{n}/{f}" for n in ("one", "two") for f in files}
    monkeypatch.setattr(measuring, "evaluate", None)  # a record is read, not measured
    shutil.rmtree(folders[1])
    (folders[0] / "table.json").unlink()
    again = report.results_markdown(folders[:1], keep=tmp_path / "records", n=50)
    assert again == first
    assert first.text.count("| bernoulli | digits (bytes) |") == 2


def test_sections_of_recipes_follow_as_they_stand(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "runs" / "one")
    (tmp_path / "runs" / "other").mkdir()
    (tmp_path / "runs" / "other" / "results.md").write_text("## Another table\n\n| ± |\n", encoding="utf-8")
    first = report.results_markdown([tmp_path / "runs"], keep=tmp_path / "records", n=50)
    assert first.text.endswith("\n\n## Another table\n\n| ± |\n")
    shutil.rmtree(tmp_path / "runs" / "other")
    assert report.results_markdown([tmp_path / "runs"], keep=tmp_path / "records", n=50) == first


def test_two_runs_never_share_a_record(run, tmp_path):
    for folder in ("a", "b"):
        shutil.copytree(run.folder, tmp_path / folder / "one")
    with pytest.raises(LikelyError, match="would both be called 'one'"):
        report.results_markdown([tmp_path / "a", tmp_path / "b"], keep=tmp_path / "records", n=50)


def test_records_may_lie_among_the_runs(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "one")
    first = report.results_markdown([tmp_path], keep=tmp_path / "records", n=50)
    assert report.results_markdown([tmp_path], keep=tmp_path / "records", n=50) == first
    assert first.text.count("| bernoulli | digits (bytes) |") == 1


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
@pytest.mark.parametrize("name", ["one/evaluation.json", "one/run.json", "table.json"])
def test_damaged_records_are_named_and_the_others_written(run, tmp_path, name, content):
    for folder in ("one", "two"):
        shutil.copytree(run.folder, tmp_path / folder)
        report.measured(runs.open(tmp_path / folder), n=50)
    (tmp_path / name).write_text(content)
    text, missing = report.results_markdown([tmp_path], n=50)
    anew = (name, content) == ("one/evaluation.json", "{}")  # as of an older version: measured again
    assert text.count("| bernoulli | digits (bytes) |") == 1 + (anew or name == "table.json")
    assert len(missing) == (not anew)
    assert all(str(tmp_path / name).removesuffix("/run.json") in line and line.endswith(".") for line in missing)


def test_a_folder_that_cannot_be_written_does_not_stop_the_others(run, tmp_path, monkeypatch):
    for folder in ("one", "two"):
        shutil.copytree(run.folder, tmp_path / folder)
        (tmp_path / folder / "evaluation.json").unlink(missing_ok=True)
    inner = runs.write_json

    def locked(path, record):
        if path.parent.name == "one":
            raise PermissionError(13, "Permission denied", str(path))
        inner(path, record)

    monkeypatch.setattr(runs, "write_json", locked)
    text, missing = report.results_markdown([tmp_path], n=50)
    assert text.count("| bernoulli | digits (bytes) |") == 1
    assert [line.endswith("one/evaluation.json: Permission denied") for line in missing] == [True]


def test_records_need_a_folder(run, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LikelyError, match="not a folder"):
        report.results_markdown([run.folder], keep=tmp_path / "file", n=50)
    with pytest.raises(OSError, match="Not a directory"):
        report.results_markdown([run.folder], keep=tmp_path / "file" / "below", n=50)


def test_a_record_that_lacks_something_is_damaged(run, tmp_path):
    (tmp_path / "run.json").write_text('{"format": 1, "model": "vae"}')
    with pytest.raises(LikelyError, match=r"damaged \(no numbers, space"):
        runs.open(tmp_path)


@pytest.mark.skipif(not RECORDS.is_dir(), reason="needs the repository")
def test_results_md_is_made_of_the_records():
    text, missing = report.results_markdown([RECORDS])
    assert missing == []
    assert text == (RECORDS.parents[1] / "RESULTS.md").read_text(encoding="utf-8"), "run `make results`"


def test_what_was_measured_in_features_answers_without_them(run, tmp_path, monkeypatch):
    shutil.copytree(run.folder, tmp_path / "one")
    again = runs.open(tmp_path / "one")
    first = report.measured(again, n=60, features="pca")
    monkeypatch.setattr(measuring, "evaluate", None)  # nothing is measured again
    assert report.measured(again, n=60).results == first.results
    with pytest.raises(TypeError):
        report.measured(again, n=60, features="pixels")
