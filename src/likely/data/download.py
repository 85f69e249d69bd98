"""Public files: found under `LIKELY_DATA` or in the user's cache, else downloaded; never left half-written."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from likely.errors import DataError

TIMEOUT = 10.0  #: seconds without an answer until a download fails
T = TypeVar("T")


@dataclass(frozen=True)
class PublicFile:
    """A file that anyone can download.

    Arguments:
        path: where it lies under `LIKELY_DATA`, in the cache, and on a mirror.
        address: its public address.
        checksum: what identifies its content, in words: "md5 ... of the decompressed file".
    """

    path: str
    address: str
    checksum: str


def cache() -> Path:
    """Return the folder in which downloads are kept."""
    import pooch

    return Path(pooch.os_cache("likely"))


def local(path: str) -> Path | None:
    """Return where a file lies on this machine: under `LIKELY_DATA` or in the cache; None if it is in neither.

    Raises:
        DataError: `LIKELY_DATA` is set, but is not a folder.
    """
    folder = os.environ.get("LIKELY_DATA")
    if folder and not Path(folder).is_dir():
        raise DataError(f"LIKELY_DATA is '{folder}', which is not a folder; correct it or unset it.")
    roots = ([Path(folder)] if folder else []) + [cache()]
    return next((root / path for root in roots if (root / path).is_file()), None)


def obtain(file: PublicFile, read: Callable[[Path], T]) -> T:
    """Return what `read` makes of the file, which is downloaded where the machine does not have it.

    The download lies aside until `read` has accepted it, and takes its name in one step: a broken or interrupted
    download leaves nothing behind, and processes that download at once do not disturb each other. The environment
    variable `LIKELY_MIRROR` names an address to download from instead of the public one, laid out as `LIKELY_DATA`.

    Arguments:
        file: which file.
        read: reads a path and verifies the content; raises `DataError` where it is not what it should be.

    Raises:
        DataError: the file cannot be downloaded, or its content is wrong.
    """
    found = local(file.path)
    if found is not None:
        return read(found)
    target = cache() / file.path
    mirror = os.environ.get("LIKELY_MIRROR")
    address = f"{mirror.rstrip('/')}/{file.path}" if mirror else file.address
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=f".{target.name}")
        os.close(handle)
    except OSError as error:
        raise DataError(f"cannot write to the cache {target.parent}: {error.strerror}.") from None
    try:
        _download(address, aside, file, target)
        try:
            result = read(Path(aside))
        except DataError as error:
            reason = str(error).replace(aside, target.name)
            raise DataError(f"the download from {address} is not the right file and was not kept: {reason}") from None
        os.replace(aside, target)
        return result
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)


def _download(address: str, aside: str, file: PublicFile, target: Path) -> None:
    """Download through pooch, or raise one line that says how to do without."""
    import pooch
    import requests

    responses: list[requests.Response] = []  # pooch leaves them open when a connection breaks off
    hooks = {"response": lambda response, *_, **__: responses.append(response)}
    try:
        with _bar(f"downloading {target.name}") as bar:
            pooch.HTTPDownloader(progressbar=bar, timeout=TIMEOUT, hooks=hooks)(address, aside, None)
    except (requests.RequestException, OSError) as error:
        answer = getattr(error, "response", None)
        reason = f"the server answered {answer.status_code}" if answer is not None else _reason(error)
        raise DataError(
            f"cannot download {address} ({reason}). Without internet, put the file ({file.checksum}) at {target}, or "
            f"at {file.path} in a folder named by LIKELY_DATA."
        ) from None
    finally:
        for response in responses:
            response.close()


def _reason(error: BaseException) -> str:
    """Return what went wrong in a few words."""
    text = str(error)
    for sign, words in (
        ("resol", "no internet: the server's name is unknown"),
        ("Name or service not known", "no internet: the server's name is unknown"),
        ("refused", "connection refused"),
        ("timed out", f"no answer within {TIMEOUT:g} seconds"),
        ("IncompleteRead", "the connection broke off"),
    ):
        if sign in text:
            return words
    return type(error).__name__


@contextlib.contextmanager
def _bar(text: str) -> Iterator[Any]:
    """Show a progress bar in a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield False
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    columns = ("{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _PoochBar(progress, text)


class _PoochBar:
    """The four methods that pooch asks of a progress bar, on rich's."""

    def __init__(self, progress: Any, text: str) -> None:
        self.progress = progress
        self.task = progress.add_task(text, total=None)

    @property
    def total(self) -> int | None:
        return self.progress.tasks[0].total

    @total.setter
    def total(self, value: int) -> None:
        self.progress.update(self.task, total=value or None)

    def update(self, count: int) -> None:
        self.progress.update(self.task, advance=count)

    def reset(self) -> None:
        self.progress.reset(self.task)

    def close(self) -> None:
        """Leave the closing to the `with` block."""


def gunzip(path: Path, limit: int) -> bytes:
    """Return the decompressed content of a gzip file of at most `limit` bytes.

    Raises:
        DataError: it is not gzip, is cut off, damaged, or longer than the limit.
    """
    content = path.read_bytes()
    if not content.startswith(b"\x1f\x8b"):
        raise DataError(f"{path}: not a gzip file; download it again.")
    stream = zlib.decompressobj(wbits=31)
    try:
        plain = stream.decompress(content, limit + 1)
        if len(plain) <= limit:
            # the trailer (checksum, length) may still lie ahead when the output filled the limit exactly
            plain += stream.decompress(stream.unconsumed_tail, limit + 1 - len(plain))
    except zlib.error as error:
        raise DataError(f"{path}: damaged gzip file ({error}); download it again.") from None
    if len(plain) > limit:
        raise DataError(f"{path}: decompresses to more than the {limit:,} bytes expected; download it again.")
    if not stream.eof:
        raise DataError(f"{path}: the gzip file is cut off; download it again.")
    return plain


def verify(content: Any, algorithm: str, expected: str, path: Path, what: str) -> None:
    """Raise unless the digest of the content is as expected.

    Raises:
        DataError: it is not; the message names the file and both digests.
    """
    found = hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()
    if found != expected:
        raise DataError(
            f"{path}: wrong content: {algorithm} of {what} is {found}, expected {expected}; delete it and try again."
        )
