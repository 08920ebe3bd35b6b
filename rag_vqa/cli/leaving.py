"""How the process ends once the last line is printed: as Python does it, or at once.

It knows the process. What is to be safe by then is the matter of whoever asks for it.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

_at_once = False


def at_once() -> None:
    """End without waiting for threads, for a server: one may wait minutes for a reader elsewhere.
    Nor is what models hold looked through for garbage, which takes seconds."""
    global _at_once
    _at_once = True


def leave(code: int) -> NoReturn:
    """End the process."""
    if _at_once:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
