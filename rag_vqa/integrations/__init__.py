"""Adapters for other frameworks, each behind its extra; they share one lock."""

from __future__ import annotations

import threading

# Models are not thread-safe, and frameworks call from many threads: every adapter holds this lock
# while it asks.
MODEL_LOCK = threading.Lock()
