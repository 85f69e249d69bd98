"""Files of a folder, zip or tar by name, read when they are wanted. Links and unsafe names are refused.

What a compressed tar holds goes into one temporary file without a name, since it can be read from its start only.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tarfile
import tempfile
import threading
import weakref
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

from likely.data import foreign
from likely.errors import DataError

TAR = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
Read = Callable[[], bytes]


class Files(dict[str, Read]):
    """Path within -> what reads the file, sorted by name; open until it is left (`with`), or no longer used."""

    def __init__(self, files: dict[str, Read], stack: ExitStack) -> None:
        super().__init__((name.removeprefix("./"), files[name]) for name in sorted(files))
        self.close = weakref.finalize(self, stack.close)

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_archive(path: Path) -> bool:
    """Whether the name of a file is that of a zip or tar."""
    return path.name.lower().endswith((".zip", *TAR))


def open_files(path: Path, wanted: Callable[[str], bool]) -> Files:
    """Return the wanted files of a folder, zip or tar.

    Arguments:
        path: the folder or archive.
        wanted: takes a file's path within and says whether to take it; hidden files never are.

    Raises:
        DataError: the archive is damaged, encrypted, holds links or unsafe names, or looks like a bomb.
    """
    take = _Wanted(path, wanted)
    with ExitStack() as stack:
        if path.is_dir():
            files = dict(_folder(path, take))
        else:
            try:
                if path.name.lower().endswith(".zip"):
                    files = _zip(path, stack.enter_context(zipfile.ZipFile(path)), take)
                else:
                    files = _tar(path, stack, take)
            except DataError:
                raise
            except Exception as error:  # the parsers raise many kinds on damaged bytes
                raise _damaged(path, error) from None
        return Files(files, stack.pop_all())


def _damaged(where: object, error: Exception) -> DataError:
    return DataError(f"{where}: damaged or cut off ({foreign.reason(error)}); make or download it again.")


class _Wanted:
    def __init__(self, path: Path, wanted: Callable[[str], bool]) -> None:
        self.path, self.wanted = path, wanted

    def __call__(self, name: str) -> bool:
        steps = name.replace("\\", "/").split("/")
        if steps[0] == "" or ".." in steps:
            raise DataError(f"{self.path}: holds the unsafe name '{name}'; it is not to be trusted.")
        hidden = any(step.startswith((".", "__MACOSX")) and step != "." for step in steps)
        return not hidden and self.wanted(name)


def _folder(root: Path, take: _Wanted) -> Iterator[tuple[str, Read]]:
    for folder, _, names in os.walk(root):
        for name in names:
            file = Path(folder, name)
            inside = file.relative_to(root).as_posix()
            if take(inside) and file.is_file():
                _check_size(root, inside, file.stat().st_size)
                yield inside, file.read_bytes


def _zip(path: Path, archive: zipfile.ZipFile, take: _Wanted) -> dict[str, Read]:
    """Return readers; what they give is at most the size that the directory declares, which is checked here."""
    files: dict[str, Read] = {}
    total = 0
    for info in archive.infolist():
        if info.is_dir() or not take(info.filename):
            continue
        if (info.external_attr >> 16) & 0o170000 == 0o120000:
            raise DataError(f"{path}: '{info.filename}' is a link; pack the file itself.")
        _check_size(path, info.filename, info.file_size)
        total += info.file_size
        files[info.filename] = _reader(path, archive, info)
    if total > foreign.memory() or foreign.bomb(total, path.stat().st_size):
        raise DataError(f"{path}: declares {total:,} bytes, too much for its size or this machine; unpack it first.")
    return files


def _reader(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Read:
    def read() -> bytes:
        try:
            return archive.read(info)
        except Exception as error:
            raise _damaged(f"{path}: '{info.filename}'", error) from None

    return read


def _tar(path: Path, stack: ExitStack, take: _Wanted) -> dict[str, Read]:
    """Return readers; the archive is passed through once, and what cannot be read from within it is laid aside."""
    files: dict[str, Read] = {}
    plain = _Shared(stack.enter_context(path.open("rb")))
    spool = _Shared(stack.enter_context(tempfile.TemporaryFile()))  # noqa: SIM115  # the stack closes it
    with _uncompressed(path) as stream, tarfile.open(fileobj=cast(Any, stream), mode="r:") as archive:
        for member in archive:
            if member.isdir() or not take(member.name):
                continue
            if not member.isfile():
                raise DataError(f"{path}: '{member.name}' is a link or device; pack the file itself.")
            _check_size(path, member.name, member.size)
            content = archive.extractfile(member)
            data = content.read() if content is not None else b""
            if len(data) != member.size:
                raise tarfile.ReadError(f"'{member.name}' is too short")
            if stream.compressed or member.sparse is not None:
                files[member.name] = spool.keep(data)
            else:
                files[member.name] = plain.part(member.offset_data, member.size)
        if stream.last != bytes(tarfile.BLOCKSIZE):  # tarfile takes a missing or broken header for the end
            raise tarfile.ReadError("no mark of the end")
    return files


class _Shared:
    """A file whose parts several threads read."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.lock, self.end = file, threading.Lock(), 0

    def part(self, start: int, size: int) -> Read:
        """Return what reads a part."""

        def read() -> bytes:
            with self.lock:
                self.file.seek(start)
                return self.file.read(size)

        return read

    def keep(self, data: bytes) -> Read:
        """Write data at the end, and return what reads them."""
        self.file.seek(self.end)
        self.file.write(data)
        start, self.end = self.end, self.end + len(data)
        return self.part(start, len(data))


@contextmanager
def _uncompressed(path: Path) -> Iterator[_Bounded]:
    """Give the bytes of a tar that may be compressed, as a stream that ends in an error beyond its bounds."""
    with path.open("rb") as file:
        magic = file.read(6)
    kinds: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
    opener: Any = next((o for start, o in kinds.items() if magic.startswith(start)), None)
    size = path.stat().st_size
    with (opener or open)(path, "rb") as stream:
        yield _Bounded(
            stream, path, opener is not None, min(foreign.memory(), max(foreign.HARMLESS, foreign.RATIO * size))
        )


class _Bounded:
    """The part of a stream that tarfile uses; nothing behind the limit is read, whatever the headers ask for."""

    def __init__(self, stream: Any, path: Path, compressed: bool, limit: int) -> None:
        self.stream, self.path, self.compressed, self.limit = stream, path, compressed, limit
        self.tell = stream.tell
        self.last = b""  #: what was read last

    def _check(self, place: int) -> None:
        if place > self.limit:
            raise DataError(f"{self.path}: expands to more than {self.limit:,} bytes, too much; unpack it first.")

    def read(self, count: int) -> bytes:
        self._check(self.tell() + count)
        self.last = self.stream.read(count)
        return self.last

    def seek(self, place: int) -> int:
        self._check(place)
        return self.stream.seek(place)


def _check_size(path: Path, name: str, size: int) -> None:
    if size > foreign.PICTURE_BYTES:
        raise DataError(f"{path}: '{name}' has {size:,} bytes; up to {foreign.PICTURE_BYTES:,} are read.")
