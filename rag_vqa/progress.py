"""Progress: how a job reports to whoever started it.

Knows the Reporter protocol. Knows no terminal: the command line's reporter is cli/context.py.
"""

from __future__ import annotations

from collections.abc import Callable

Advance = Callable[[int], None]  # is told how many are done in all
LineNote = Callable[[], str]  # what else stands on the line now
