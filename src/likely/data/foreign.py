"""What foreign files may take, held against what they declare before memory is given; and how their errors are told."""

from __future__ import annotations

import os
from pathlib import Path

MEGABYTE = 2**20
CONTAINER = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  #: files of its limit
MEMORY_SHARE = 4  #: data of up to one part in this many of the machine's memory are held in it
RATIO = 200  #: compressed data that expand more than this are taken for a bomb
HARMLESS = 64 * MEGABYTE  #: unless they expand to no more than this
PICTURE_BYTES = 64 * MEGABYTE  #: the largest picture file
PICTURE_PIXELS = 25_000_000  #: the largest picture, width x height


def memory() -> int:
    """Return how many bytes a data set may take in memory: a quarter of the machine's, or of what a container has."""
    try:
        return min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_allowed()) // MEMORY_SHARE
    except (AttributeError, ValueError, OSError):  # not POSIX
        return 2048 * MEGABYTE


def _allowed() -> list[int]:
    """Return the limits, in bytes, that were set on this process or its container."""
    import resource

    limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    found = [limit for limit in limits if limit != resource.RLIM_INFINITY]
    for name in CONTAINER:
        try:
            said = Path(name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if said.isdigit():  # without a limit it says "max"
            found.append(int(said))
    return [*found, 2**62]


def reason(error: BaseException) -> str:
    """Return the first line of what an error says, or its kind."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def bomb(declared: int, compressed: int) -> bool:
    """Return whether data of so many bytes, compressed to so few, look like a decompression bomb."""
    return declared > HARMLESS and declared > RATIO * compressed
