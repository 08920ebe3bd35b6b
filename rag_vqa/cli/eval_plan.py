"""What a run will take, told after its first questions.

It knows what they took. It does not know how they were answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rag_vqa.eval.run.ledger import Ledger
    from rag_vqa.eval.run.running import Running


def plan_of(ledger: Ledger, running: Running) -> str:
    """Questions, tokens and hours, from what was done since this process began."""
    [(probed, seconds)] = ledger.rows(
        "SELECT sum(questions), sum(seconds) FROM (SELECT max(questions) AS questions, "
        "sum(seconds) AS seconds FROM times WHERE rowid > ? GROUP BY first)",
        [running.begun],
    )
    [(answered, tokens)] = ledger.rows(
        "SELECT count(DISTINCT position), sum(json_extract(body, '$.tokens_in') + "
        "json_extract(body, '$.tokens_out')) FROM answers"
    )
    if not probed or not seconds:
        return f"{running.questions:,} questions"
    cells = len(ledger.meta("cells", []))
    shape = f"{running.questions:,} questions"
    if cells:
        each = (tokens or 0) / max(answered, 1)
        shape += f" × {cells} cells · about {_count(each * running.questions)} tokens"
    whole = seconds / probed * running.questions
    return f"{shape} · about {_clock(whole)} in all (from {probed:,} questions)"


def _count(tokens: float) -> str:
    """
    >>> _count(1234), _count(2_500_000), _count(7.1e9)
    ('1 k', '2.5 M', '7.1 G')
    """
    for size, unit in ((1e9, "G"), (1e6, "M")):
        if tokens >= size:
            return f"{tokens / size:.1f} {unit}"
    return f"{tokens / 1e3:.0f} k"


def _clock(seconds: float) -> str:
    """
    >>> _clock(30), _clock(90), _clock(7000)
    ('30 s', '2 min', '1.9 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
