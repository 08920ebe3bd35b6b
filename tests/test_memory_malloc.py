"""glibc returns freed arrays to the system, by its own counts, in a separate process."""

import ctypes
import os
import subprocess
import sys

import pytest

# Bytes of arrays that lie outside of the heap (hblkhd of mallinfo2(3)), as 2 MB are taken a second
# time: after the first were freed glibc's own threshold is above 2 MB.
LOOK = """
import ctypes, sys
from rag_vqa.memory import ARRAY_BYTES, return_freed_memory
class Info(ctypes.Structure):
    _fields_ = [(n, ctypes.c_size_t) for n in "a o s h hblkhd u f v w k".split()]
c = ctypes.CDLL(None)
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = (
    ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p])
c.mallinfo2.restype = Info
if sys.argv[1] == "given back":
    return_freed_memory(ARRAY_BYTES)
c.free(c.malloc(2 * 2**20))
before = c.mallinfo2().hblkhd
held = c.malloc(2 * 2**20)
print(c.mallinfo2().hblkhd - before >= 2 * 2**20)
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="glibc alone"
)
@pytest.mark.parametrize(
    ("how", "set_by_user", "outside"),
    [("left", None, "False"), ("given back", None, "True"), ("given back", "33554432", "False")],
)
def test_where_arrays_lie_once_one_was_freed(
    how: str, set_by_user: str | None, outside: str
) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "MALLOC_MMAP_THRESHOLD_"}
    if set_by_user:
        environment["MALLOC_MMAP_THRESHOLD_"] = set_by_user
    done = subprocess.run(
        [sys.executable, "-c", LOOK, how],
        capture_output=True, text=True, env=environment, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == outside
