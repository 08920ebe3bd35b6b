"""Scoring: score the answers of a run, write its result files and its page, check thresholds.

Knows which scorer a run needs, and what makes it fail. Does not know the rules of a scorer, or how
answers were made.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.context import CommandContext as CommandLine
from rag_vqa.cli.output import print_json
from rag_vqa.cli.progress import progress
from rag_vqa.errors import EXIT_FAILED, EXIT_PARTIAL, UsageError
from rag_vqa.jobs.download_consent import ask_before_download
from rag_vqa.progress import Reporter

if TYPE_CHECKING:
    from rag_vqa.eval.run.ledger import Ledger
    from rag_vqa.formats.benchmark import Scorer
    from rag_vqa.settings_schema import Settings


def scorer_for_ledger(
    run: CommandContext, ledger: Ledger, bem: str | None, yes: bool
) -> Scorer | None:
    """The scorer of the run's benchmark; None where nothing was answered.

    Without --bem that of before: its scores stand, and its model is not needed.
    """
    from rag_vqa.eval.results.result_files import count_unscored
    from rag_vqa.eval.scoring import make_summary_scorer

    if not ledger.meta("cells"):
        return None
    kind, before = ledger.meta("spec")["questions"]["scorer"], ledger.meta("scorer")
    made = open_scorer(run.settings(), kind, bem, yes, run)
    if bem is not None or before in (None, made.name):
        return made
    if count := count_unscored(ledger):
        raise UsageError(
            f"{count:,} answers have no score yet, the others are scored by {before}. Name its "
            f"BERT again: rag-vqa eval report {ledger.folder} --bem MODEL"
        )
    return make_summary_scorer(kind, before)


def open_scorer(
    settings: Settings, kind: str, bem: str | None, yes: bool, reporter: Reporter
) -> Scorer:
    """The benchmark's scorer; a BEM that is not here is agreed to first."""
    from rag_vqa.eval.bem import split_revision
    from rag_vqa.eval.scoring import find_benchmark, make_scorer

    offline = settings.offline
    if bem is not None and find_benchmark(kind).takes_bem:
        named = [split_revision(bem)]
        ask_before_download(named, reporter, offline=offline, yes=yes)
    return make_scorer(kind, bem=bem, device=settings.reader.device, offline=offline)


def score_and_report(
    line: CommandLine, ledger: Ledger, scorer: Scorer | None, limits: Mapping[str, float]
) -> int:
    """Score, write the files, print the table; the exit code."""
    from rag_vqa.cli.eval.report import table_of
    from rag_vqa.eval.report.html import write_report
    from rag_vqa.eval.results.result_files import FAILURES, failed_thresholds, write_results

    with progress("score", None, quiet=line.quiet) as advance:
        results = write_results(ledger, scorer, on_progress=advance)
    report = write_report(ledger.folder)
    if line.json:
        print_json(results)
    else:
        print(table_of(results, ledger))
    line.note(f"Report: {report}")
    failed = results["failed_retrieval"] + sum(cell["failed"] for cell in results["cells"])
    if failed:
        line.note(
            f"{failed:,} rows failed, see {ledger.folder / FAILURES}. The same command tries them "
            "again."
        )
    lines = failed_thresholds(results, limits)
    for text in lines:
        print(text, file=sys.stderr)
    return EXIT_FAILED if lines else EXIT_PARTIAL if failed or results["missing"] else 0
