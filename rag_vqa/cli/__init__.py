"""The command line: one file a verb. Importing this imports no torch."""

from __future__ import annotations


def main() -> None:
    """Entry point of `rag-vqa` and `python -m rag_vqa`."""
    from rag_vqa.cli.app import run
    from rag_vqa.jobs.signals import exit_process

    exit_process(run())
