"""Two arrays that lie side by side in one file, as one mapping of it: nothing is copied.

It knows numpy's mappings. It does not know what is in a file: only that its bytes never change.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def together(first: Array, second: Array) -> Array | None:
    """Rows of one and of the other, mapped; None where they do not lie so, or no longer can be."""
    one, two = mapping(first), mapping(second)
    if one is None or two is None or one.filename is None or one.filename != two.filename:
        return None
    if one.offset + one.nbytes != two.offset:
        return None
    try:
        size = one.nbytes + two.nbytes
        mapped = np.memmap(one.filename, np.uint8, "r", one.offset, (size,))
    except (OSError, ValueError):  # the file was removed, or is shorter than it was
        return None
    return mapped.view(np.ndarray).view(first.dtype).reshape(-1, *first.shape[1:])


def mapping(array: Array) -> np.memmap[Any, Any] | None:
    """The mapping that an array is all of."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap) and isinstance(base.base, mmap.mmap):
            return base if base.nbytes == array.nbytes else None
        base = base.base
    return None
