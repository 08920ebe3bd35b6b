"""An event loop in a thread of its own, so that synchronous code can wait for coroutines.

It works inside a running loop too (a notebook), keeps connections open between calls, and ^C
cancels what it waits for. It knows nothing of servers.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from functools import cache
from typing import Any, TypeVar

Result = TypeVar("Result")


def wait_for(work: Coroutine[Any, Any, Result]) -> Result:
    """What the coroutine returns or raises; it runs in the background loop."""
    future = asyncio.run_coroutine_threadsafe(work, _loop(os.getpid()))
    try:
        return future.result()
    except CancelledError as error:
        raise RuntimeError("the background loop cancelled its work") from error
    except BaseException:  # ^C above all: it interrupts this thread, not the loop's
        future.cancel()
        raise


def start(work: Coroutine[Any, Any, object]) -> None:
    """Begin the coroutine, and wait for nothing."""
    asyncio.run_coroutine_threadsafe(work, _loop(os.getpid()))


@cache
def _loop(process: int) -> asyncio.AbstractEventLoop:
    """One for each process: a thread does not survive a fork."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="rag-vqa-servers", daemon=True).start()
    return loop
