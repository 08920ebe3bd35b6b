"""The C library told to give arrays back to the system when they are freed.

It knows glibc's threshold between heap and system. It does not know models. Left to itself glibc
raises the threshold to the largest array freed so far (up to 32 MB): those of one layer then lie
between those of another in a heap that only grows, 10 to 15% over what is in use.
"""

from __future__ import annotations

import ctypes
import os
import sys

_M_MMAP_THRESHOLD = -3  # malloc.h
ARRAYS = 2**20  # one token's activations are below
PICTURES = 2**23  # Pillow holds them in blocks of 16 MB


def give_back_freed(least: int) -> None:
    """From now on, what takes `least` bytes or more is the system's again as soon as it is freed.

    It holds for the whole process. Call it before a model loads: what loading leaves in the heap is
    filled again first. Where MALLOC_MMAP_THRESHOLD_ is set, or where another C library than glibc
    runs, nothing is changed. See mallopt(3).
    """
    if sys.platform != "linux" or "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, least)
