"""What foreign files may take, held against what they declare before memory is given; and how their errors are told."""

from __future__ import annotations

import os

MEGABYTE = 2**20
MEMORY_SHARE = 4  #: data of up to one part in this many of the machine's memory are held in it
RATIO = 200  #: compressed data that expand more than this are taken for a bomb
HARMLESS = 64 * MEGABYTE  #: unless they expand to no more than this
PICTURE_BYTES = 64 * MEGABYTE  #: the largest picture file
PICTURE_PIXELS = 25_000_000  #: the largest picture, width x height


def memory() -> int:
    """Return how many bytes a data set may take in memory: a quarter of the machine's."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MEMORY_SHARE
    except (AttributeError, ValueError, OSError):  # not POSIX
        return 2048 * MEGABYTE


def reason(error: BaseException) -> str:
    """Return the first line of what an error says, or its kind."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def bomb(declared: int, compressed: int) -> bool:
    """Return whether data of so many bytes, compressed to so few, look like a decompression bomb."""
    return declared > HARMLESS and declared > RATIO * compressed
