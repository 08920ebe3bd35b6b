"""Decodes JPEG XL in a process of its own, which has a limit of time and of memory.

Apart because its decoder can be told neither: it goes through all layers of a file, of which a
hostile one has thousands, decodes before it says the size, and ends a program by a panic of Rust.
Knows pillow-jxl, from the extra [jxl]. Does not know what is inside the file (image_boxes.py).
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import Final

from PIL import Image

SECONDS: Final = 20  # 64 million pixels take about 3
MEMORY: Final = 3 * 2**30  # bytes of address space; 64 million pixels take 1 GB
_CHILD: Final = """
import json, sys
seconds, memory, paths = json.loads(sys.argv[1])
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
except (ImportError, OSError, ValueError):
    pass  # Windows: the parent ends this process
sys.path[:] = paths
from pillow_jxl import Decoder
_, found, pixels, *_ = Decoder(num_threads=0)(sys.stdin.buffer.read())
head = json.dumps([found.mode, found.width, found.height]).encode()
sys.stdout.buffer.write(head + b"\\n" + pixels)
"""


def has_jxl() -> bool:
    """True if the extra is installed."""
    return importlib.util.find_spec("pillow_jxl") is not None


def decode_jxl(data: bytes, seconds: int = SECONDS, memory: int = MEMORY) -> Image.Image:
    """The picture of a codestream, in the mode that it has.

    Raises:
        ValueError: it is damaged, or takes more time or memory.
    """
    limits = json.dumps([seconds, memory, sys.path])
    command = [sys.executable, "-c", _CHILD, limits]
    try:
        child = subprocess.run(command, input=data, capture_output=True, timeout=seconds + 5)
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"decoding takes over {seconds} seconds") from error
    if child.returncode < 0 and not child.stderr:  # ended by a signal
        raise ValueError(f"decoding takes over {seconds} seconds or {memory >> 20} MB")
    if child.returncode:
        raise ValueError("libjxl cannot decode it")
    head, _, pixels = child.stdout.partition(b"\n")
    mode, width, height = json.loads(head)
    return Image.frombytes("F" if mode.startswith("F") else mode, (width, height), pixels)
