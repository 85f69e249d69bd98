"""Own pictures: folders, zips and tars, and what hostile or broken ones get."""

import io
import json
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from likely.data import foreign, load
from likely.errors import DataError, UnknownName
from likely.spaces import Finite, Ragged, Sequence

RNG = np.random.default_rng(0)
MODES = {"L": (), "RGB": (3,), "RGBA": (4,)}


def png(mode="RGB", height=6, width=5, seed=None, **options):
    rng = RNG if seed is None else np.random.default_rng(seed)
    pixels = rng.integers(256, size=(height, width, *MODES[mode]), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", **options)
    return out.getvalue(), pixels


def pack(tmp_path, files, kind):
    """Write the files, name -> bytes, as a folder or an archive."""
    path = tmp_path / f"pictures{kind}"
    if kind == "":
        for name, content in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
    elif kind == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, f"w:{kind.rpartition('.')[2]}" if kind.count(".") > 1 else "w") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def classes(n=4):
    """Two classes, n pictures each; the pixels by name."""
    made = {f"{c}/{i}.png": png() for c in ("cat", "dog") for i in range(n)}
    return {k: v[0] for k, v in made.items()}, np.stack([v[1].transpose(2, 0, 1) for v in made.values()])


def one_line(path, message, **options):
    with pytest.raises(DataError, match=message) as caught:
        load(path, **options)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


@pytest.mark.parametrize("kind", ["", ".zip", ".tar", ".tar.gz", ".tar.xz", ".tar.bz2"])
@pytest.mark.parametrize("root", ["", "all/mine/"])
def test_folders_and_archives_are_read_alike(tmp_path, kind, root):
    files, pixels = classes()
    clutter = {"notes.txt": b"x", ".hidden.png": b"x", "__MACOSX/._a.png": b"x", "cat/.DS_Store": b"x"}
    path = pack(tmp_path, {root + name: content for name, content in (files | clutter).items()}, kind)
    data = load(path, valid=0, test=0)
    assert data.space == Finite((3, 6, 5), 256)
    assert np.array_equal(data.train.x.numpy(), pixels)
    assert data.train.x.is_contiguous()
    assert data.cond == Finite((), 2, categories=("cat", "dog"), ordered=False)
    assert data.train.cond.tolist() == [0] * 4 + [1] * 4
    assert load(**data.source).fingerprint == data.fingerprint
    assert load(path, valid=0, test=0, cond="none").cond is None


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 4)])
def test_colours_as_stored(tmp_path, mode, channels):
    content, pixels = png(mode)
    data = load(pack(tmp_path, {"a.png": content, "b.png": content}, ""), valid=0, test=0)
    assert data.space == Finite((channels, 6, 5), 256)
    assert np.array_equal(data.train.x[1].permute(1, 2, 0).squeeze(-1).numpy(), pixels)


def test_colours_asked_for(tmp_path):
    clear = np.zeros((4, 4, 4), dtype=np.uint8)
    clear[:2, :, 3] = 255  # black above, transparent below
    out = io.BytesIO()
    Image.fromarray(clear).save(out, "PNG")
    path = pack(tmp_path, {"a.png": out.getvalue(), "b.png": png("L", 4, 4)[0]}, "")
    one_line(path, "b.png is grey where most are rgba|a.png is rgba where most are grey")
    rgb = load(path, colour="rgb", valid=0, test=0).train.x
    assert rgb.shape == (2, 3, 4, 4)
    assert rgb[0, :, :2].max() == 0
    assert rgb[0, :, 2:].min() == 255  # over white
    assert load(path, colour="grey", valid=0, test=0).train.x.shape == (2, 1, 4, 4)
    assert load(path, colour="rgba", valid=0, test=0).train.x[0].permute(1, 2, 0).equal(torch.from_numpy(clear))
    with pytest.raises(UnknownName, match="Did you mean 'grey'"):
        load(path, colour="gray")


def test_palettes_bits_and_turned_photographs(tmp_path):
    files = {}
    for name, image, options in (
        ("p", Image.new("P", (4, 2)), {}),
        ("t", Image.new("P", (4, 2)), {"transparency": 0}),
        ("b", Image.new("1", (4, 2), 1), {}),
    ):
        out = io.BytesIO()
        image.save(out, "PNG", **options)
        files[name] = out.getvalue()
    for name, channels in (("p", 3), ("t", 4), ("b", 1)):
        (tmp_path / name).mkdir()
        path = pack(tmp_path / name, {"a.png": files[name]}, "")
        assert load(path, valid=0, test=0).space.shape == (channels, 2, 4)
    assert load(tmp_path / "b" / "pictures", valid=0, test=0).train.x.unique().tolist() == [255]
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    out = io.BytesIO()
    Image.new("RGB", (8, 4)).save(out, "JPEG", exif=exif)
    (tmp_path / "j").mkdir()
    assert load(pack(tmp_path / "j", {"a.jpg": out.getvalue()}, ""), valid=0, test=0).space.shape == (3, 8, 4)


def test_size_keeps_the_centre_and_resizes(tmp_path):
    wide = np.zeros((4, 12), dtype=np.uint8)
    wide[:, 4:8] = 200  # the centred square
    out = io.BytesIO()
    Image.fromarray(wide).save(out, "PNG")
    path = pack(tmp_path, {"a.png": out.getvalue(), "b.png": png("L", 9, 9)[0]}, "")
    data = load(path, size=2, valid=0, test=0)
    assert data.space.shape == (1, 2, 2)
    assert data.train.x[0].unique().tolist() == [200]
    assert "resized to 2 x 2" in data.note
    assert load(path, size=(3, 6), valid=0, test=0).space.shape == (1, 3, 6)
    assert load(**load(path, size=(3, 6), valid=0, test=0).source).space.shape == (1, 3, 6)
    for size in (0, -1, (1, 2, 3), "big", True, 10**6):
        with pytest.raises(DataError, match="size must be"):
            load(path, size=size)


@pytest.mark.parametrize("names", [("train", "valid", "test"), ("train", "val", "test"), ("Train", "Test")])
def test_part_folders_are_the_split(tmp_path, names):
    files, _ = classes(10)
    path = pack(tmp_path, {f"{part}/{name}": content for part in names for name, content in files.items()}, "")
    data = load(path)
    assert data.cond.categories == ("cat", "dog")
    assert len(data.test) == 20
    assert (len(data.train), len(data.valid)) == ((20, 20) if len(names) == 3 else (18, 2))
    with pytest.raises(DataError, match="already holds"):
        load(path, test=0.2)


def test_captions(tmp_path):
    texts = {"a.png": "a cat", "b.png": "고양이", "c.png": "🐈 cat"}
    lines = [json.dumps({"file_name": k, "text": v, "n": len(v), "label": v[-1]}) for k, v in texts.items()]
    files = {name: png()[0] for name in texts} | {"metadata.jsonl": "\n".join(lines).encode()}
    path = pack(tmp_path, files, ".zip")
    data = load(path, cond="text", valid=0, test=0)
    assert data.cond == Sequence(step=Finite((), 256, ordered=False), length=9)
    given = data.train.cond
    assert isinstance(given, Ragged)
    read = [bytes(v[:n].tolist()).decode() for v, n in zip(given.values, given.lengths, strict=True)]
    assert read == list(texts.values())
    assert load(path, valid=0, test=0).cond.categories == ("t", "이")
    assert load(path, cond="n", valid=0, test=0).cond.categories == ("3", "5")
    assert isinstance(data.train.batch(torch.tensor([2, 0]))[1], Ragged)
    one_line(path, "has no colour to condition on: metadata.jsonl has text, n, label", cond="colour")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["{"], "line 1: not JSON"),
        (["[1]"], "line 1: has no 'file_name'"),
        (['{"file_name": "z.png", "text": "z"}'], "'z.png' is no file"),
        (['{"file_name": "a.png", "text": "z"}'] * 2, "'a.png' is there twice"),
        (['{"file_name": "a.png", "text": "z"}'], "b.png has no line"),
        (['{"file_name": "a.png", "text": "z"}', '{"file_name": "b.png"}'], "no text for b.png"),
        (['{"file_name": "a.png", "text": "z"}', '{"file_name": "b.png", "text": 3}'], "a text or a number"),
    ],
)
def test_metadata_that_do_not_fit(tmp_path, lines, message):
    files = {"a.png": png()[0], "b.png": png()[0], "metadata.jsonl": "\n".join(lines).encode()}
    one_line(pack(tmp_path, files, ""), message)


def test_one_class_only(tmp_path):
    path = pack(tmp_path, {f"cat/{i}.png": png()[0] for i in range(20)}, "")
    data = load(path)
    assert data.cond is None
    assert "no labels" in data.note
    one_line(path, "one subfolder per class, at least two", cond="label")
    (tmp_path / "split").mkdir()
    files = {f"{part}/cat/{i}.png": png()[0] for part in ("train", "test") for i in range(20)}
    path = pack(tmp_path / "split", files, "")
    assert "one class only" in load(path).note
    one_line(path, "one class only", cond="label")


def test_numbered_classes_come_in_the_order_of_numbers(tmp_path):
    path = pack(tmp_path, {f"{c}/a.png": png()[0] for c in (10, 9, 0)}, "")
    data = load(path, valid=0, test=0)
    assert data.cond.categories == ("0", "9", "10")
    assert data.train.cond.tolist() == [0, 2, 1]  # files are sorted by name: 0, 10, 9


def _turned(mode):
    out = io.BytesIO()
    Image.new(mode, (5, 6)).save(out, "PNG")
    return out.getvalue()


def _huge(width, height):
    """A PNG whose header declares a size that its data do not have."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    whole = png("L")[0]
    return whole[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + whole[33:]


@pytest.mark.parametrize("kind", ["", ".zip", ".tar.gz"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"this is text, not pixels", "bad.png: not a picture"),
        (b"", "bad.png: not a picture"),
        (b"GIF89a", "bad.png: "),
        (png()[0][:-30], "bad.png: damaged picture"),
        (png(height=7)[0], "bad.png is 7 x 5 pixels where most are 6 x 5 pixels"),
        (png("L")[0], "bad.png is grey where most are rgb"),
        (_turned("I;16"), "bad.png: has more than 8 bits"),
        (_huge(6000, 6000), "bad.png: 6000 x 6000 pixels; up to"),
        (_huge(12000, 12000), "bad.png: has too many pixels"),
        (_huge(60000, 60000), "bad.png: has too many pixels"),
    ],
)
def test_a_bad_picture_is_named(tmp_path, kind, bad, message):
    files, _ = classes()
    one_line(pack(tmp_path, files | {"dog/bad.png": bad}, kind), message)


def test_a_picture_beside_the_class_folders(tmp_path):
    path = pack(tmp_path, classes()[0] | {"stray.png": png()[0]}, "")
    one_line(path, "stray.png lies beside the class folders")
    assert len(load(path, cond="none", valid=0, test=0).train) == 9


@pytest.mark.parametrize("kind", ["", ".zip", ".tar"])
def test_nothing_to_read(tmp_path, kind):
    (tmp_path / "pictures").mkdir()
    one_line(pack(tmp_path, {"readme.txt": b"x"}, kind), "holds no pictures")


def test_empty_folder(tmp_path):
    one_line(tmp_path, "holds no pictures")


@pytest.mark.parametrize("kind", [".zip", ".tar", ".tar.gz", ".tar.xz"])
def test_damaged_archives(tmp_path, kind):
    path = pack(tmp_path, classes(20)[0], kind)
    content = path.read_bytes()
    for broken in (content[: len(content) // 2], b"not an archive at all", b""):
        path.write_bytes(broken)
        one_line(path, "damaged or cut off")


@pytest.mark.parametrize("kind", [".zip", ".tar"])
@pytest.mark.parametrize("name", ["../../evil.png", "/etc/evil.png", "a/..\\..\\evil.png"])
def test_unsafe_names(tmp_path, kind, name):
    one_line(pack(tmp_path, {name: png()[0]}, kind), "unsafe name")


def test_links_are_refused(tmp_path):
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("a.png")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    one_line(path, "link or device")
    path = tmp_path / "links.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("a.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    one_line(path, "is a link")


def test_zip_that_declares_less_than_it_holds(tmp_path):
    path = tmp_path / "lie.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(10_000))
    content = path.read_bytes().replace(struct.pack("<I", 10_000), struct.pack("<I", 100))
    path.write_bytes(content)
    one_line(path, "damaged")


@pytest.mark.parametrize("kind", [".zip", ".tar.gz", ".tar.xz"])
def test_bombs(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(foreign, "HARMLESS", 100_000)
    path = tmp_path / f"bomb{kind}"
    if kind == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.png", bytes(3_000_000))
    else:
        packed = pack(tmp_path, {"a.png": bytes(3_000_000)}, kind)
        packed.rename(path)
    assert path.stat().st_size < 15_000
    one_line(path, "declares 3,000,000 bytes|expands to more than")


def test_a_tar_header_that_asks_for_much_memory(tmp_path, monkeypatch):
    """The name of a long member is read by tarfile itself: it too must stay within the bounds."""
    monkeypatch.setattr(foreign, "HARMLESS", 100_000)
    member = tarfile.TarInfo("x" * 2_000_000 + ".png")
    path = tmp_path / "name.tar.xz"
    with tarfile.open(path, "w:xz", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(member)
    one_line(path, "expands to more than")


def test_too_large_a_file_and_too_many_pixels_in_all(tmp_path, monkeypatch):
    path = pack(tmp_path, classes()[0], "")
    monkeypatch.setattr(foreign, "memory", lambda: 500)
    one_line(path, "the pictures take more than 500 bytes")
    monkeypatch.setattr(foreign, "PICTURE_BYTES", 50)
    one_line(path, "up to 50 are read")


def test_encrypted_zip(tmp_path):
    path = pack(tmp_path, {"a.png": png()[0]}, ".zip")
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the flag "encrypted", in the file's header and in the directory
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    one_line(path, "encrypted")


@pytest.mark.parametrize("blocks", range(1, 24))
def test_a_tar_cut_off_anywhere_gives_no_partial_data(tmp_path, blocks):
    path = pack(tmp_path, classes()[0], ".tar")
    path.write_bytes(path.read_bytes()[: 512 * blocks])
    if blocks <= 8 * 2:  # eight pictures, one block for the name and one for the pixels
        one_line(path, "damaged or cut off")
    else:
        assert len(load(path, valid=0, test=0).train) == 8
