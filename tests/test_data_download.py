"""Downloads, against a server on this machine: MNIST's whole way with small stand-ins for its checksums."""

import gzip
import hashlib
import http.server
import io
import struct
import tarfile
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from likely.data import download, load, named
from likely.data.download import PublicFile, gunzip, obtain
from likely.errors import DataError


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files; names with 'broken' answer 500, with 'short' break off half-way."""

    def do_GET(self):
        if "broken" in self.path:
            self.send_error(500)
        elif "short" in self.path:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(bytes(500))
        else:
            super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder that is served as the mirror, an empty cache, and no LIKELY_DATA."""
    folder = tmp_path / "served"
    folder.mkdir()
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(download, "cache", lambda: tmp_path / "cache")
    monkeypatch.delenv("LIKELY_DATA", raising=False)
    monkeypatch.setenv("LIKELY_MIRROR", f"http://127.0.0.1:{running.server_port}/")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield folder
    running.shutdown()
    running.server_close()
    thread.join()


def kept(folder):
    return sorted(p.name for p in (folder.parent / "cache").rglob("*") if p.is_file())


def idx(array):
    return struct.pack(f">I{array.ndim}I", 0x800 | array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def mnist(server, monkeypatch):
    """A stand-in for MNIST on the server, of the published shapes."""
    rng = np.random.default_rng(0)
    sums = {}
    (server / "mnist").mkdir()
    for part, n in (("train", 60_000), ("t10k", 10_000)):
        images = np.zeros((n, 28, 28), dtype=np.uint8)
        images[:, 0, 0] = rng.integers(256, size=n)
        for file, array in (("images-idx3", images), ("labels-idx1", rng.integers(10, size=n, dtype=np.uint8))):
            content = idx(array)
            sums[f"{part}-{file}"] = hashlib.md5(content, usedforsecurity=False).hexdigest()
            (server / "mnist" / f"{part}-{file}-ubyte.gz").write_bytes(gzip.compress(content, 1))
    monkeypatch.setitem(named.IDX, "mnist", sums)
    return server


def test_a_set_is_downloaded_once_and_then_found(mnist, monkeypatch):
    data = load("mnist")
    assert [len(p) for p in data.parts.values()] == [50_000, 10_000, 10_000]
    assert data.valid.rows[0] == 50_000
    assert len(kept(mnist)) == 4
    monkeypatch.setenv("LIKELY_MIRROR", "http://127.0.0.1:9/")  # nobody answers there
    assert load("mnist").fingerprint == data.fingerprint


def test_likely_data_is_searched_first(mnist, monkeypatch):
    monkeypatch.setenv("LIKELY_DATA", str(mnist))
    monkeypatch.setenv("LIKELY_MIRROR", "http://127.0.0.1:9/")
    assert len(load("mnist").test) == 10_000
    assert kept(mnist) == []
    monkeypatch.setenv("LIKELY_DATA", str(mnist / "nowhere"))
    with pytest.raises(DataError, match="not a folder"):
        load("mnist")


def test_wrong_content_is_not_kept(mnist):
    path = mnist / "mnist" / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[-1] ^= 1
    path.write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match="not the right file and was not kept") as caught:
        load("mnist")
    assert "wrong content: md5 of the decompressed file is" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "t10k-labels-idx1-ubyte.gz" not in kept(mnist)
    assert not [name for name in kept(mnist) if name.startswith(".")]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing.bin", "the server answered 404"),
        ("broken.bin", "the server answered 500"),
        ("short.bin", "the connection broke off"),
    ],
)
def test_a_failed_download_leaves_nothing_and_says_how_to_do_without(server, path, message):
    file = PublicFile(f"some/{path}", "http://127.0.0.1:9/", "sha256 abc")
    with pytest.raises(DataError, match=message) as caught:
        obtain(file, Path.read_bytes)
    text = str(caught.value)
    assert "\n" not in text
    for said in (path, "sha256 abc", str(server.parent / "cache" / "some" / path), "LIKELY_DATA"):
        assert said in text
    assert kept(server) == []


def test_without_a_server(server, monkeypatch):
    monkeypatch.setenv("LIKELY_MIRROR", "http://127.0.0.1:9")
    with pytest.raises(DataError, match="connection refused"):
        load("cifar10")


def test_without_a_name_server(server, monkeypatch):
    monkeypatch.setenv("LIKELY_MIRROR", "http://nowhere.invalid")
    with pytest.raises(DataError, match="no internet"):
        load("binarized-mnist")


def test_processes_that_download_at_once_all_succeed(server):
    (server / "a.bin").write_bytes(bytes(range(256)) * 1000)
    file = PublicFile("a.bin", "http://127.0.0.1:9/", "any")
    results = []
    threads = [threading.Thread(target=lambda: results.append(obtain(file, Path.read_bytes))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [bytes(range(256)) * 1000] * 8
    assert kept(server) == ["a.bin"]


def test_a_terminal_sees_progress(server, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    (server / "a.bin").write_bytes(bytes(50_000))
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    assert len(obtain(PublicFile("a.bin", "http://127.0.0.1:9/", "any"), Path.read_bytes)) == 50_000
    assert "downloading a.bin" in download.sys.stderr.getvalue()


def test_an_interrupted_download_leaves_nothing(server):
    (server / "a.bin").write_bytes(b"x")

    def interrupted(_path):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        obtain(PublicFile("a.bin", "", "any"), interrupted)
    assert kept(server) == []


# Files that are not what they should be ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw, z: z[:-12], "cut off"),
        (lambda raw, z: z[:8], "cut off"),
        (lambda raw, z: raw, "not a gzip file"),
        (lambda raw, z: b"", "not a gzip file"),
        (lambda raw, z: z[:30] + bytes(20) + z[50:], "damaged|cut off"),
        (lambda raw, z: gzip.compress(b"\x00\x00\x0d\x03" + raw[4:]), "not IDX: it begins with 00000d03"),
        (lambda raw, z: gzip.compress(raw[:10]), "header is cut off"),
        (lambda raw, z: gzip.compress(raw[:7] + b"\x09" + raw[8:]), "its header says shape \\(9, 28, 28\\)"),
        (lambda raw, z: gzip.compress(raw[:-5]), "its header says"),
        (lambda raw, z: gzip.compress(raw + b"x"), "more than the"),
        (lambda raw, z: gzip.compress(raw + bytes(10**7)), "more than the"),
        (lambda raw, z: gzip.compress(raw[:-1] + b"\xff"), "wrong content"),
    ],
)
def test_idx_files_that_are_not_right(tmp_path, change, message):
    raw = idx(np.random.default_rng(0).integers(200, size=(8, 28, 28), dtype=np.uint8))
    md5 = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(raw))
    assert named.read_idx(path, (8, 28, 28), md5).shape == (8, 28, 28)
    path.write_bytes(change(raw, gzip.compress(raw)))
    with pytest.raises(DataError, match=message) as caught:
        named.read_idx(path, (8, 28, 28), md5)
    assert "\n" not in str(caught.value)
    assert "images.gz" in str(caught.value)


def test_gunzip_gives_exactly_up_to_the_limit(tmp_path):
    content = np.random.default_rng(0).bytes(100_000)
    (tmp_path / "a.gz").write_bytes(gzip.compress(content))
    assert gunzip(tmp_path / "a.gz", 100_000) == content
    with pytest.raises(DataError, match="more than"):
        gunzip(tmp_path / "a.gz", 99_999)


def _cifar(batches):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in batches.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def test_cifar_binary_rows(tmp_path):
    rng = np.random.default_rng(0)
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    rows = {name: rng.integers(256, size=(4, 3073), dtype=np.uint8) for name in names}
    content = _cifar({name: rows[name].tobytes() for name in reversed(names)} | {"readme.html": b"x"})
    path = tmp_path / "c.tar.gz"
    path.write_bytes(content)
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    read = named._read_cifar(path, md5, rows=4)
    assert np.array_equal(read, np.concatenate([rows[name] for name in names]))
    for broken, message in (
        (_cifar({name: rows[name].tobytes() for name in names[1:]}), "has no data_batch_1.bin"),
        (_cifar({name: rows[name].tobytes()[:-1] for name in names}), "has no data_batch_1.bin"),
        (b"text", "not the CIFAR-10 archive"),
        (content[:-3000], "not the CIFAR-10 archive"),
    ):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=message):
            named._read_cifar(path, hashlib.md5(broken, usedforsecurity=False).hexdigest(), rows=4)
    path.write_bytes(content + b"x")
    with pytest.raises(DataError, match="wrong content"):
        named._read_cifar(path, md5, rows=4)


def test_cifar10_is_cut_and_split_as_published(monkeypatch):
    """Rows of all six batches whose pixels say where they were."""
    rows = np.zeros((60_000, 3073), dtype=np.uint8)
    rows[:, 0] = np.arange(60_000) % 10
    rows[:, 1] = np.arange(60_000) // 1000
    rows[:, 1 + 1024] = 7  # the first green pixel
    monkeypatch.setattr(named, "obtain", lambda file, read: rows)
    data = load("cifar10")
    assert str(data.space) == "Finite((3, 32, 32), 256)"
    assert [len(p) for p in data.parts.values()] == [45_000, 5_000, 10_000]
    assert [p.x[0, 0, 0, 0].item() for p in data.parts.values()] == [0, 45, 50]
    assert data.train.x[0, 1, 0, 0] == 7
    assert data.cond.categories[3] == "cat"
    assert data.test.cond[:3].tolist() == [0, 1, 2]
