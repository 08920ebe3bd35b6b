"""The command line: one file a verb. Importing this imports no torch."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of `rag-vqa` and `python -m rag_vqa`."""
    from rag_vqa.cli.app import run

    sys.exit(run())
