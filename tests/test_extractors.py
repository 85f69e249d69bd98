"""Feature extractors: what they compute, what they are called, what they refuse."""

import dataclasses
import hashlib
import importlib.util
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.decomposition import PCA
from torch import nn

import likely.core
import likely.data
from likely import extractors
from likely.data import download
from likely.errors import DataError, LikelyError, SpaceError, UnknownName
from likely.extractors import classifiers, pretrained, resize, vit
from likely.extractors.inception import POOLS, Inception
from likely.extractors.linear import pca
from likely.extractors.vit import CLIP_BASE_32, DINOV2_SMALL, VisionTransformer, renamed
from likely.spaces import Binary, Finite, Ragged, Real, Sequence

LIKELY_DATA = os.environ.get("LIKELY_DATA")  # looked at before conftest.py removes it
BYTES = Finite((3, 12, 10), 256)
GOALS = {"digits": 0.98, "mnist": 0.993, "fashion-mnist": 0.915}


@pytest.fixture(scope="module")
def digits():
    return likely.data.load("digits")


@pytest.fixture(scope="module")
def cnn():
    return extractors.load("digits-cnn")


def pictures(n, space=BYTES, seed=0):
    return space.random(n, torch.Generator().manual_seed(seed))


def in_rows(extractor, rows):
    return dataclasses.replace(extractor, rows=rows)


def initialised(network, seed=0):
    """Give a network random weights through which a signal passes."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


# Names ----------------------------------------------------------------------------------------------------------------


def test_every_own_classifier_has_a_name():
    assert set(extractors.OWN.values()) == {f"{name}-cnn" for name in classifiers.DESIGNS}
    assert set(extractors.OWN.values()) <= set(extractors.names())
    assert set(extractors.OWN) <= set(likely.data.names())


def test_a_misspelt_name_is_corrected():
    with pytest.raises(UnknownName, match="Did you mean 'mnist-cnn'"):
        extractors.load("mnist-cn")


def test_what_does_not_apply_is_refused():
    with pytest.raises(LikelyError, match="give real and space"):
        extractors.load("pca", real=pictures(5))
    with pytest.raises(LikelyError, match="resize does not apply to 'pixels'"):
        extractors.load("pixels", resize="clean")


# Pixels and principal components --------------------------------------------------------------------------------------


def test_pixels_are_levels_over_the_highest_level():
    pixels = extractors.load("pixels")
    assert pixels.name == "pixels"
    space = Finite((2,), 17)
    assert pixels(torch.tensor([[0, 16], [4, 8]]), space).tolist() == [[0, 1], [0.25, 0.5]]


def test_pixels_of_categories_are_one_hot_and_reals_are_kept():
    pixels = extractors.load("pixels")
    assert pixels(torch.tensor([[2, 0]]), Finite((2,), 3, ordered=False)).tolist() == [[0, 0, 1, 1, 0, 0]]
    x = torch.tensor([[1 / 3, -7.0]], dtype=torch.float64)
    assert torch.equal(pixels(x, Real((2,))), x)


@pytest.mark.parametrize("n", [200, 20])  # more and fewer rows than numbers
def test_components_are_those_of_scikit_learn(digits, n):
    x = digits.train.x[:n]
    z = pca(x, digits.space, components=8)(digits.test.x, digits.space)
    oracle = PCA(8, svd_solver="full").fit(x.flatten(1).double() / 16)
    expected = oracle.transform(digits.test.x.flatten(1).double() / 16)
    signs = np.sign((expected * z.numpy()).sum(0))
    assert z.dtype == torch.float64
    np.testing.assert_allclose(z, expected * signs, atol=1e-10)


def test_components_are_named_after_what_they_were_fitted_on(digits):
    names = [
        pca(digits.train.x[:rows], digits.space, components=k).name for rows, k in ((50, 4), (50, 4), (51, 4), (50, 5))
    ]
    assert names[0] == names[1]
    assert len(set(names)) == 3
    assert re.fullmatch(r"pca-4-[0-9a-f]{6}", names[0])


def test_the_sign_of_a_component_is_fixed():
    x = torch.tensor([[0.0, 0.0], [3.0, -4.0]])
    z = pca(x, Real((2,)), components=1)
    assert z(x, Real((2,))).flatten().tolist() == pytest.approx([2.5, -2.5])  # towards (-0.6, 0.8): 0.8 is positive


def test_components_read_a_file_that_stays_on_disk(tmp_path, digits):
    np.save(tmp_path / "x.npy", digits.train.x.numpy())
    on_disk = np.load(tmp_path / "x.npy", mmap_mode="r", allow_pickle=False)
    here, there = (pca(x, digits.space, components=3) for x in (digits.train.x, on_disk))
    assert here.name == there.name
    assert torch.equal(here(digits.train.x, digits.space), there(on_disk, digits.space))


@pytest.mark.parametrize("components", [0, 20, 65])
def test_components_must_fit_the_data(digits, components):
    with pytest.raises(LikelyError, match="components must be from 1 to 19 for 20 rows of 64 numbers"):
        pca(digits.train.x[:20], digits.space, components=components)


def test_components_read_only_the_space_they_were_fitted_on(digits):
    fitted = pca(digits.train.x[:20], digits.space, components=2)
    for other in (Real((1, 8, 8)), Finite((1, 8, 8), 16)):
        with pytest.raises(SpaceError, match=re.escape(f"fitted on Finite((1, 8, 8), 17); they cannot read {other}")):
            fitted(other.random(2), other)


# The project's own classifiers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", classifiers.DESIGNS)
def test_the_shipped_weights_are_small_named_and_good(name):
    content = (classifiers.WEIGHTS / f"{name}.safetensors").read_bytes()
    record = classifiers.record(name)
    extractor = extractors.load(f"{name}-cnn")
    assert len(content) < 2e6
    assert record["sha256"] == hashlib.sha256(content).hexdigest()
    assert extractor.name == f"{name}-cnn-{record['sha256'][:6]}"
    assert record["test_accuracy"] >= GOALS[name]
    assert record["command"] == f"python recipes/classifiers.py {name}"
    assert 64 <= extractor.size <= 128


def test_the_recorded_accuracies_are_reached_again(digits, cnn):
    record = classifiers.record("digits")
    for part in ("valid", "test"):
        rows = digits.parts[part]
        found = (cnn.logits(rows.x, digits.space).argmax(1) == rows.cond).double().mean()
        assert float(found) == pytest.approx(record[f"{part}_accuracy"], abs=1e-9)
    assert record["cross_validated_accuracy"]["value"] >= GOALS["digits"]
    assert record["cross_validated_accuracy"]["rows"] == 1797


@pytest.mark.skipif(LIKELY_DATA is None, reason="needs MNIST under LIKELY_DATA")
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_first_thousand_test_pictures_are_recognised(monkeypatch, name):
    monkeypatch.setenv("LIKELY_DATA", str(LIKELY_DATA))
    data = likely.data.load(name)
    part = data.test.head(1000)
    right = extractors.load(f"{name}-cnn").logits(part.x, data.space).argmax(1) == part.cond
    assert float(right.float().mean()) > GOALS[name] - 0.02  # three standard errors of 1,000 rows


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_neither_batch_nor_repetition_changes_features(name):
    extractor, space = extractors.load(f"{name}-cnn"), Finite((1, 28, 28), 256)
    x = pictures(23, space)
    features, logits = extractor.both(x, space)
    assert features.shape == (23, extractor.size)
    assert logits.shape == (23, 10)
    assert features.dtype == torch.float32
    assert torch.equal(features, extractor(x, space))
    assert torch.equal(logits, extractor.logits(x, space))
    torch.testing.assert_close(in_rows(extractor, 1)(x, space), features, rtol=1e-6, atol=1e-6)
    streamed = torch.cat([some for some, _ in in_rows(extractor, 7).stream(x, space)])
    torch.testing.assert_close(streamed, features, rtol=1e-6, atol=1e-6)


def test_features_are_the_same_from_tensor_array_and_fewer_levels(digits, cnn):
    x = digits.test.x[:20]
    assert torch.equal(cnn(x, digits.space), cnn(x.numpy(), digits.space))
    bits = (x >= 8).to(torch.uint8)
    assert torch.equal(cnn(bits, Binary((1, 8, 8))), cnn(bits * 16, digits.space))


def test_more_noise_moves_features_further(digits, cnn):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(17, digits.test.x.shape, generator=generator)
    centre, moves = cnn(digits.test.x, digits.space).mean(0), []
    for share in (0.05, 0.1, 0.2, 0.4, 0.8):
        chosen = torch.rand(digits.test.x.shape, generator=generator) < share
        moved = torch.where(chosen, noise, digits.test.x)
        moves.append(float((cnn(moved, digits.space).mean(0) - centre).norm()))
    assert moves == sorted(moves)
    assert moves[0] > 0


def test_autocast_does_not_reach_the_features(digits, cnn):
    with torch.autocast("cpu", torch.bfloat16):
        inside = cnn(digits.test.x[:5], digits.space)
    assert torch.equal(inside, cnn(digits.test.x[:5], digits.space))


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (Finite((1, 28, 28), 256), "reads pictures of shape (1, 8, 8), not Finite((1, 28, 28), 256)"),
        (Real((1, 8, 8)), "reads pictures of levels, not Real(1, 8, 8)"),
        (Finite((1, 8, 8), 17, ordered=False), "not the categories"),
        (Sequence(step=Binary(), length=4), "reads data of one size"),
    ],
)
def test_a_classifier_refuses_what_it_does_not_know(cnn, space, words):
    with pytest.raises(SpaceError, match=re.escape(words)):
        cnn(space.random(2), space)


def test_values_must_be_of_the_space(cnn):
    with pytest.raises(SpaceError, match="has the value 17 in row 1"):
        cnn(torch.tensor([[0], [17]]).expand(2, 64).reshape(2, 1, 8, 8), Finite((1, 8, 8), 17))


def test_damaged_and_missing_weights_are_named(monkeypatch, tmp_path):
    for suffix in (".json", ".safetensors"):
        content = (classifiers.WEIGHTS / f"digits{suffix}").read_bytes()
        (tmp_path / f"digits{suffix}").write_bytes(content if suffix == ".json" else content[:-1] + b"?")
    monkeypatch.setattr(classifiers, "WEIGHTS", tmp_path)
    with pytest.raises(LikelyError, match=r"digits.safetensors: sha256 is .* expected .* install likely again"):
        extractors.load("digits-cnn")
    with pytest.raises(LikelyError, match=r"mnist.safetensors: not in the installed package"):
        extractors.load("mnist-cnn")


def test_the_wheel_holds_the_weights():
    wheel = pytest.importorskip("hatchling.builders.wheel")
    builder = wheel.WheelBuilder(str(Path(__file__).parents[1]))
    held = {file.distribution_path for file in builder.recurse_included_files()}
    for name in classifiers.DESIGNS:
        assert {f"likely/extractors/weights/{name}.{end}" for end in ("safetensors", "json")} <= held


# Resizing -------------------------------------------------------------------------------------------------------------


def test_legacy_resizing_by_hand():
    x = torch.tensor([[[[0.0, 1.0]]]])
    assert (
        resize.legacy(x, 4)[0, 0].tolist() == [[0, 0.5, 1, 1]] * 4
    )  # pixel i lies at i / 2, the last ones at the edge
    row = torch.tensor([[[[0.0, 10.0, 20.0, 30.0, 40.0, 50.0]]]])
    assert resize.legacy(row, 4)[0, 0, 0].tolist() == [0, 15, 30, 45]  # shrinking takes single points, without means


def test_legacy_resizing_equals_its_definition():
    x = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    y = resize.legacy(x, 11)
    for i, j in ((0, 0), (3, 8), (10, 10), (6, 1)):
        row, column = i * 5 / 11, j * 7 / 11
        top, left = int(row), int(column)
        bottom, right = min(top + 1, 4), min(left + 1, 6)
        down, across = row - top, column - left
        expected = (1 - down) * ((1 - across) * x[..., top, left] + across * x[..., top, right])
        expected = expected + down * ((1 - across) * x[..., bottom, left] + across * x[..., bottom, right])
        torch.testing.assert_close(y[..., i, j], expected)


def test_clean_resizing_is_that_of_pillow():
    x = torch.rand(2, 3, 9, 14, generator=torch.Generator().manual_seed(0)) * 255
    y = resize.clean(x, 6)
    for b, c in ((0, 0), (1, 2)):
        one = Image.fromarray(x[b, c].numpy()).resize((6, 6), Image.Resampling.BICUBIC)
        assert np.array_equal(y[b, c], np.asarray(one))
    assert float(resize.clean(torch.full((1, 1, 4, 4), 7.0), 9).sub(7).abs().max()) < 1e-5


@pytest.mark.parametrize("how", resize.RESIZES)
def test_pictures_of_the_right_size_stay(how):
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(resize.resize(x, 8, how), x)


def test_an_unknown_resizing_is_corrected():
    with pytest.raises(UnknownName, match="Did you mean 'clean'"):
        pretrained.with_network("dinov2", Tiny(), resize="cleen")


# Published networks, with random weights ------------------------------------------------------------------------------


class Tiny(nn.Module):
    """A network in the place of a published one: features and logits of the mean colour."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 4)
        self.bn = nn.BatchNorm2d(3)

    def forward(self, x):
        features = self.fc(self.bn(x).mean((2, 3)))
        return features, features[:, :2]


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Put a small network in the place of `dinov2`, and an empty folder in that of the weights."""
    form = pretrained.Pretrained(Tiny, 4, 8, "clean", "https://somewhere", "0123456789", classes=2, scale=(255.0,) * 3)
    monkeypatch.setitem(pretrained.PRETRAINED, "dinov2", form)
    monkeypatch.setattr(download, "cache", lambda: tmp_path / "cache")
    monkeypatch.setenv("LIKELY_DATA", str(tmp_path))
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights" / "dinov2.safetensors"


def test_missing_weights_say_what_to_do(tiny):
    with pytest.raises(DataError) as caught:
        extractors.load("dinov2")
    for part in (
        "feature_weights.py dinov2",
        "https://somewhere",
        "01234567",
        str(tiny.parents[1] / "cache"),
        "LIKELY_DATA",
    ):
        assert part in str(caught.value)


def test_weights_are_read_and_named(tiny):
    network = initialised(Tiny())
    tensors = {key: value for key, value in network.state_dict().items() if "num_batches" not in key}
    save_file(tensors, tiny, metadata={"written": "once"})
    first = extractors.load("dinov2")
    save_file(network.state_dict(), tiny)  # another file with the same numbers
    assert first.name == extractors.load("dinov2").name
    assert re.fullmatch(r"dinov2-[0-9a-f]{6}-clean", first.name)
    assert extractors.load("dinov2", resize="legacy").name == first.name.replace("clean", "legacy")
    x = pictures(5)
    with torch.no_grad():
        expected = network(resize.clean(x.float(), 8) / 255)
    torch.testing.assert_close(first.both(x, BYTES), expected)
    network.fc.bias.data += 1
    save_file(network.state_dict(), tiny)
    assert extractors.load("dinov2").name != first.name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("fc.bias"), "lacks 1 tensors, as 'fc.bias'"),
        (lambda t: t.update(more=torch.zeros(1)), "has, and the network has not, 1 tensors, as 'more'"),
        (lambda t: t.update({"fc.bias": torch.zeros(5)}), "'fc.bias' has shape (5,), expected (4,)"),
    ],
)
def test_other_weights_are_refused(tiny, change, words):
    tensors = dict(Tiny().state_dict())
    change(tensors)
    save_file(tensors, tiny)
    with pytest.raises(DataError, match=re.escape(words)):
        extractors.load("dinov2")


def test_a_file_that_is_not_safetensors_is_refused(tiny):
    tiny.write_bytes(b"PK\x03\x04 a pickle in a zip")
    with pytest.raises(DataError, match="not a safetensors file"):
        extractors.load("dinov2")


def test_grey_and_bits_are_pictures_too(tiny):
    extractor = pretrained.with_network("dinov2", initialised(Tiny()))
    bits = pictures(3, Binary((1, 9, 9)))
    as_bytes = (bits * 255).expand(-1, 3, -1, -1)
    assert torch.equal(extractor(bits, Binary((1, 9, 9))), extractor(as_bytes, Finite((3, 9, 9), 256)))


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (Finite((4, 9, 9), 256), "with 1 or 3 channels, not Finite((4, 9, 9), 256)"),
        (Finite((9, 9), 256), "with 1 or 3 channels"),
        (Real((3, 9, 9)), "whose scale it cannot know"),
    ],
)
def test_published_networks_refuse_what_is_no_picture(tiny, space, words):
    with pytest.raises(SpaceError, match=re.escape(words)):
        pretrained.with_network("dinov2", Tiny())(space.random(2), space)


def test_inception_is_the_published_one():
    network = initialised(Inception())
    # torchvision's count of Inception v3, less its auxiliary classifier, with 1008 outputs for 1000
    assert sum(p.numel() for p in network.parameters()) == 27_161_264 - 3_326_696 + 8 * 2049
    state = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert sum(key.endswith("conv.weight") for key in state) == 94
    assert state["Conv2d_1a_3x3.conv.weight"] == (32, 3, 3, 3)
    assert state["Mixed_5b.branch5x5_2.conv.weight"] == (64, 48, 5, 5)
    assert state["Mixed_6e.branch7x7dbl_5.conv.weight"] == (192, 192, 1, 7)
    assert state["Mixed_7a.branch7x7x3_4.bn.running_var"] == (192,)
    assert state["Mixed_7c.branch3x3dbl_3b.conv.weight"] == (384, 384, 3, 1)
    assert state["fc.weight"] == (1008, 2048)
    extractor = pretrained.with_network("inception-v3-fid", network)
    x = pictures(2)
    features, logits = extractor.both(x, BYTES)
    assert features.shape == (2, 2048)
    assert features.std(0).max() > 0.01  # the pictures tell through the random network
    torch.testing.assert_close(logits, features @ network.fc.weight.detach().T)  # without the bias
    one_by_one = in_rows(extractor, 1)(x, BYTES)
    assert float((one_by_one - features).abs().max()) <= 1e-6 * float(features.abs().max())
    assert extractor.name.endswith("-legacy")


def test_inception_pools_without_counting_the_padding():
    ones = torch.ones(1, 1, 4, 4)
    assert torch.equal(POOLS["average"](ones), ones)
    assert torch.equal(POOLS["maximum"](-ones), -ones)
    assert torch.equal(POOLS["halve"](torch.arange(25.0).reshape(1, 1, 5, 5)), torch.tensor([[[[12.0, 14], [22, 24]]]]))


def published(state, layout):
    """Return a vision transformer's tensors under the names, and in the shapes, of a published layout."""
    rules = {
        "openai": [
            (r"blocks\.(\d+)\.attn\.qkv\.(.*)", r"visual.transformer.resblocks.\1.attn.in_proj_\2"),
            (r"blocks\.(\d+)\.attn\.proj\.(.*)", r"visual.transformer.resblocks.\1.attn.out_proj.\2"),
            (r"blocks\.(\d+)\.norm(\d)\.(.*)", r"visual.transformer.resblocks.\1.ln_\2.\3"),
            (r"blocks\.(\d+)\.mlp\.fc1\.(.*)", r"visual.transformer.resblocks.\1.mlp.c_fc.\2"),
            (r"blocks\.(\d+)\.mlp\.fc2\.(.*)", r"visual.transformer.resblocks.\1.mlp.c_proj.\2"),
            (r"cls_token", "visual.class_embedding"),
            (r"pos_embed", "visual.positional_embedding"),
            (r"patch_embed\.proj\.weight", "visual.conv1.weight"),
            (r"norm_pre\.(.*)", r"visual.ln_pre.\1"),
            (r"norm\.(.*)", r"visual.ln_post.\1"),
            (r"head\.weight", "visual.proj"),
        ],
        "transformers clip": [
            (r"blocks\.(\d+)\.attn\.([qkv])\.(.*)", r"vision_model.encoder.layers.\1.self_attn.\2_proj.\3"),
            (r"blocks\.(\d+)\.attn\.proj\.(.*)", r"vision_model.encoder.layers.\1.self_attn.out_proj.\2"),
            (r"blocks\.(\d+)\.norm(\d)\.(.*)", r"vision_model.encoder.layers.\1.layer_norm\2.\3"),
            (r"blocks\.(\d+)\.mlp\.(.*)", r"vision_model.encoder.layers.\1.mlp.\2"),
            (r"cls_token", "vision_model.embeddings.class_embedding"),
            (r"pos_embed", "vision_model.embeddings.position_embedding.weight"),
            (r"patch_embed\.proj\.weight", "vision_model.embeddings.patch_embedding.weight"),
            (r"norm_pre\.(.*)", r"vision_model.pre_layrnorm.\1"),
            (r"norm\.(.*)", r"vision_model.post_layernorm.\1"),
            (r"head\.weight", "visual_projection.weight"),
        ],
        "transformers dinov2": [
            (r"blocks\.(\d+)\.attn\.q\.(.*)", r"encoder.layer.\1.attention.attention.query.\2"),
            (r"blocks\.(\d+)\.attn\.k\.(.*)", r"encoder.layer.\1.attention.attention.key.\2"),
            (r"blocks\.(\d+)\.attn\.v\.(.*)", r"encoder.layer.\1.attention.attention.value.\2"),
            (r"blocks\.(\d+)\.attn\.proj\.(.*)", r"encoder.layer.\1.attention.output.dense.\2"),
            (r"blocks\.(\d+)\.ls(\d)\.gamma", r"encoder.layer.\1.layer_scale\2.lambda1"),
            (r"blocks\.(\d+)\.(norm.*|mlp.*)", r"encoder.layer.\1.\2"),
            (r"cls_token", "embeddings.cls_token"),
            (r"pos_embed", "embeddings.position_embeddings"),
            (r"patch_embed\.proj\.(.*)", r"embeddings.patch_embeddings.projection.\1"),
            (r"norm\.(.*)", r"layernorm.\1"),
        ],
    }[layout]
    state = dict(state)
    if layout.startswith("transformers"):
        for key in [key for key in state if ".qkv." in key]:
            for which, part in zip("qkv", state.pop(key).chunk(3), strict=True):
                state[key.replace("qkv", which)] = part
    if "clip" in layout or layout == "openai":
        state["cls_token"], state["pos_embed"] = state["cls_token"][0, 0], state["pos_embed"][0]
    if layout == "openai":
        state["head.weight"] = state["head.weight"].T
    found = {}
    for key, value in state.items():
        (new,) = {re.sub(pattern, there, key) for pattern, there in rules if re.fullmatch(pattern, key)}
        found[new] = value
    return found


SMALL = {
    "openai": CLIP_BASE_32._replace(width=12, heads=2, depth=2, outputs=5),
    "transformers clip": CLIP_BASE_32._replace(width=12, heads=2, depth=2, outputs=5),
    "transformers dinov2": DINOV2_SMALL._replace(width=12, heads=2, depth=2, learned=16),
}


@pytest.mark.parametrize("layout", SMALL)
def test_published_layouts_are_read(layout):
    state = VisionTransformer(SMALL[layout]).state_dict()
    layed = published(state, layout)
    others = {
        "openai": ["transformer.resblocks.0.ln_1.weight", "logit_scale", "ln_final.bias", "token_embedding.weight"]
    }
    others["transformers clip"] = ["text_model.final_layer_norm.bias", "vision_model.embeddings.position_ids"]
    others["transformers dinov2"] = ["embeddings.mask_token"]
    layed |= {name: torch.zeros(1) for name in others[layout]}
    back = renamed(layed)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)
    assert renamed(state).keys() == state.keys()  # the library's own names are kept


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [("dinov2", DINOV2_SMALL, 22_056_576 - 384), ("clip", CLIP_BASE_32, 87_849_216)],  # DINOv2's without its mask token
)
def test_transformers_are_the_published_ones(name, shape, parameters):
    network = VisionTransformer(shape)
    assert sum(p.numel() for p in network.parameters()) == parameters
    extractor = pretrained.with_network(name, network)
    x = pictures(2)
    features = extractor(x, BYTES)
    assert features.shape == (2, extractor.size)
    assert torch.equal(features, extractor(x, BYTES))
    one_by_one = in_rows(extractor, 1)(x, BYTES)
    assert float((one_by_one - features).abs().max()) <= 1e-6 * max(1, float(features.abs().max()))
    with pytest.raises(LikelyError, match="names no classes"):
        extractor.logits(x, BYTES)


def test_attention_is_that_of_torch():
    shape = SMALL["openai"]
    ours, theirs = vit._Attention(shape), nn.MultiheadAttention(shape.width, shape.heads, batch_first=True)
    ours.qkv.weight.data, ours.qkv.bias.data = theirs.in_proj_weight.data, theirs.in_proj_bias.data
    ours.proj.load_state_dict(theirs.out_proj.state_dict())
    x = torch.randn(2, 5, shape.width, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(x), theirs(x, x, x)[0])


def test_positions_are_stretched_as_dinov2_does():
    network = VisionTransformer(SMALL["transformers dinov2"]._replace(learned=37))
    rows = torch.randn(37, generator=torch.Generator().manual_seed(0)).double()
    network.pos_embed.data[0, 1:] = rows.repeat_interleave(37)[:, None].float()  # each patch holds its row's number
    found = network._positions()[0, 1:].detach().reshape(16, 16, 12)
    expected = torch.zeros(16, dtype=torch.float64)
    for i in range(16):
        place = (i + 0.5) * 37 / 16.1 - 0.5  # the scale is that of 16.1 rows
        for neighbour in range(int(place) - 1, int(place) + 3):
            t = abs(place - neighbour)  # Keys' cubic with a = -3/4
            near, far = (5 * t**3 - 9 * t**2 + 4) / 4, -3 * (t**3 - 5 * t**2 + 8 * t - 4) / 4
            expected[i] += (near if t <= 1 else far) * rows[min(max(neighbour, 0), 36)]
    torch.testing.assert_close(found.double(), expected[:, None, None].expand(16, 16, 12), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(LIKELY_DATA is None, reason="needs published weights and CIFAR-10 under LIKELY_DATA")
def test_the_published_distance_of_cifar_is_found_again(monkeypatch):
    monkeypatch.setenv("LIKELY_DATA", str(LIKELY_DATA))
    for path in (pretrained.place("inception-v3-fid"), "cifar-10-binary.tar.gz"):
        if download.local(path) is None:
            pytest.skip(f"{path} is not under LIKELY_DATA")
    data, extractor = likely.data.load("cifar10"), extractors.load("inception-v3-fid")
    train, test = (extractor(part.x[:5000], data.space).double() for part in (data.train, data.test))
    root = np.linalg.cholesky(np.cov(train.T) + 1e-12 * np.eye(2048))
    cross = np.linalg.eigvalsh(root.T @ np.cov(test.T) @ root).clip(0)
    distance = (train.mean(0) - test.mean(0)).square().sum() + train.var(0).sum() + test.var(0).sum()
    # torch-fidelity's tests: the first 5,000 rows of each part, by the original TensorFlow code
    assert float(distance) - 2 * np.sqrt(cross).sum() == pytest.approx(10.3233274, rel=1e-3)


# The recipes behind the weights ---------------------------------------------------------------------------------------


def recipe(name):
    path = Path(__file__).parents[1] / "recipes" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_moved_pictures_stay_where_nothing_moves_and_are_mirrored_whole():
    training = recipe("classifiers")
    still = training.Training(epochs=1, batch=1, turn=0, scale=0, move=0)
    x = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(training.moved(x, still), x)
    with likely.core.seeded(0):
        mirrored = training.moved(x, still._replace(mirror=True))
    same, flipped = (torch.isclose(mirrored, picture, atol=1e-5).flatten(1).all(1) for picture in (x, x.flip(3)))
    assert bool((same ^ flipped).all())
    assert 16 < int(flipped.sum()) < 48


def test_the_recipe_learns_digits_and_stores_what_it_measures(digits):
    training = recipe("classifiers")
    how = training.TRAININGS["digits"]._replace(epochs=3, average=0.9)
    x, y = digits.train.x.float() / 16, digits.train.cond.long()
    with likely.core.seeded(0):
        network = training.fit("digits", x, y, how)
    assert training.accuracy(network, x, y) > 0.8
    for value in network.state_dict().values():
        assert torch.equal(training.as_stored(value).to(value.dtype), value)


def test_published_files_are_verified_and_converted(tiny, tmp_path, monkeypatch):
    weights = recipe("feature_weights")
    network, file = initialised(Tiny()), tmp_path / "published.pth"
    torch.save(network.state_dict(), file)
    with pytest.raises(DataError, match="wrong content: sha256 of the file"):
        weights.convert("dinov2", file)
    assert not tiny.exists()
    right = dataclasses.replace(
        pretrained.PRETRAINED["dinov2"], sha256=hashlib.sha256(file.read_bytes()).hexdigest(), address="https://x/y.pth"
    )
    monkeypatch.setitem(pretrained.PRETRAINED, "dinov2", right)
    assert weights.convert("dinov2", file) == tiny
    assert extractors.load("dinov2").name == pretrained.with_network("dinov2", network).name
    tiny.unlink()
    file.rename(tmp_path / "weights" / "y.pth")  # where a download would lie
    assert weights.convert("dinov2") == tiny


# Networks of one's own ------------------------------------------------------------------------------------------------


def test_any_module_is_an_extractor():
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Dropout(0.5))
    extractor, x = extractors.of(module), pictures(4)
    features = extractor(x, BYTES)
    assert re.fullmatch("Sequential-[0-9a-f]{6}", extractor.name)
    assert features.shape == (4, 2 * 10 * 8)
    with torch.no_grad():
        torch.testing.assert_close(features, module[0](x / 255).flatten(1))  # dropout is off
    module[0].weight.data += 1
    assert extractors.of(module).name != extractor.name


def test_a_module_may_classify():
    extractor = extractors.of(Tiny(), name="mine", classes=2)
    assert extractor.logits(pictures(3), BYTES).shape == (3, 2)
    with pytest.raises(LikelyError, match="did not return logits of 3 classes"):
        extractors.of(Tiny(), classes=3)(pictures(3), BYTES)


class Wrong(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.change = change

    def forward(self, x):
        return self.change(x.flatten(1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x.mean(0, keepdim=True), "must return one row of features per datum"),
        (lambda x: {"features": x}, "must return one row of features per datum"),
        (lambda x: x.where(x != 1, torch.nan), "the features of row 3 under 'Wrong-.*' are not finite"),
    ],
)
def test_a_module_that_returns_something_else_is_refused(change, words):
    x = torch.tensor([[0], [0], [0], [1]], dtype=torch.uint8)
    with pytest.raises(LikelyError, match=words):
        in_rows(extractors.of(Wrong(change)), 2)(x, Binary((1,)))


def test_no_rows_and_sequences_are_refused():
    pixels = extractors.load("pixels")
    with pytest.raises(LikelyError, match="there are no rows"):
        pixels(torch.zeros(0, 3), Real((3,)))
    space = Sequence(step=Binary(), length=4)
    with pytest.raises(SpaceError, match="reads data of one size"):
        pixels(Ragged(torch.zeros(2, 4), torch.tensor([1, 2])), space)
    with pytest.raises(SpaceError, match="reads data of one size"):
        pca(space.random(9), space)


# ONNX -----------------------------------------------------------------------------------------------------------------


def test_a_missing_runtime_says_what_to_install(monkeypatch, tmp_path):
    def absent(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(LikelyError, match=r"pip install 'likely\[onnx\]'"):
        extractors.onnx(tmp_path / "net.onnx")


@pytest.fixture
def exported(tmp_path):
    """A network y = x W, with the class scores y V where asked, as an ONNX file."""
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    weights = np.arange(6, dtype=np.float32).reshape(3, 2)

    def write(*, classes=False, rows="B"):
        nodes = [helper.make_node("MatMul", ["x", "W"], ["y"])]
        outputs = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [rows, 2])]
        initial = [numpy_helper.from_array(weights, "W")]
        if classes:
            nodes.append(helper.make_node("MatMul", ["y", "V"], ["logits"]))
            outputs.append(helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [rows, 4]))
            initial.append(numpy_helper.from_array(np.ones((2, 4), np.float32), "V"))
        inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [rows, 3])]
        graph = helper.make_graph(nodes, "net", inputs, outputs, initial)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        path = tmp_path / "net.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return write


def test_an_onnx_file_is_an_extractor(exported):
    path = exported(classes=True)
    extractor = extractors.onnx(path, rows=2)
    x = pictures(5, Binary((3,)))
    features, logits = extractor.both(x, Binary((3,)))
    assert extractor.name == f"net-{hashlib.sha256(path.read_bytes()).hexdigest()[:6]}"
    assert extractor.classes == 4
    assert torch.equal(features, x.float() @ torch.arange(6.0).reshape(3, 2))
    assert torch.equal(logits, features.sum(1, keepdim=True).expand(-1, 4))
    with pytest.raises(DataError, match=re.escape("cannot read Binary(5,)")):
        extractor(pictures(2, Binary((5,))), Binary((5,)))


def test_a_file_that_is_not_onnx_is_refused(exported):
    path = exported()
    with pytest.raises(DataError, match="no such file"):
        extractors.onnx(path.with_name("other.onnx"))
    path.write_bytes(b"not a network")
    with pytest.raises(DataError, match="not a network that onnxruntime can run"):
        extractors.onnx(path)


def test_the_records_are_plain_json():
    for name in classifiers.DESIGNS:
        record = json.loads((classifiers.WEIGHTS / f"{name}.json").read_text(encoding="utf-8"))
        assert {"command", "training", "minutes", "test_accuracy", "valid_accuracy", "sha256"} <= record.keys()
        assert record["training"]["seed"] == 0
