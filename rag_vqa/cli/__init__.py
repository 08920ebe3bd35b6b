"""The command line: one file a verb. Importing this imports no torch."""

from __future__ import annotations


def main() -> None:
    """Entry point of `rag-vqa` and `python -m rag_vqa`."""
    import os
    import sys

    from rag_vqa.cli.app import run
    from rag_vqa.jobs import signals

    code = run()
    if signals.exits_at_once:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
