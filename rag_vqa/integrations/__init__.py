"""Adapters for the frameworks people already use, each behind its extra."""

from __future__ import annotations

import threading

# Models are not made for threads, and frameworks call from many: whoever asks holds this.
MODEL_LOCK = threading.Lock()
