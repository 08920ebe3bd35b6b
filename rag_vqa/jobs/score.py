"""Scoring: score the answers of a run, or a file of predictions; write result files and the page.

Knows which scorer a run needs, and asks before it downloads a model for it. Does not know the rules
of a scorer, or how answers were made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.errors import UsageError
from rag_vqa.jobs.download_consent import ask_before_download
from rag_vqa.progress import LOG, Reporter

if TYPE_CHECKING:
    from rag_vqa.eval.results.result_files import Seconds
    from rag_vqa.eval.run.ledger import Ledger
    from rag_vqa.formats.benchmark import Scorer
    from rag_vqa.settings_schema import Settings


@dataclass(frozen=True, slots=True)
class RunScores:
    """The scores of a run.

    Attributes:
        folder: the run's folder, which holds all files.
        results: contents of results.json.
        seconds: mean seconds per question, by cell and stage.
        page: path of report.html; None if it was not written.
        below: one line for each threshold that is not reached.
    """

    folder: Path
    results: Mapping[str, Any]
    seconds: Seconds
    page: Path | None
    below: Sequence[str] = ()

    @property
    def failed_rows(self) -> int:
        """Number of rows that failed. The same run tries them again."""
        cells = sum(cell["failed"] for cell in self.results["cells"])
        return int(self.results["failed_retrieval"] + cells)

    @property
    def missing_rows(self) -> int:
        """Number of rows that are neither answered nor failed: the run is incomplete."""
        return int(self.results["missing"])


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionOptions:
    """A file of predictions, and by which rules it is scored.

    Attributes:
        benchmark: "infoseek" or "evqa".
        predictions: JSONL with "prediction" and "data_id" (evqa: "id").
        references: the benchmark's questions: JSONL, or evqa's CSV.
        qtypes: infoseek: JSONL with the types of the questions.
        cell: if the predictions are a run's answers.jsonl: the cell to score.
        scorer: infoseek: "strict", or "official", which accepts files with gaps.
        bem: evqa: a BERT classifier: folder, id or id@revision.
        device: of the BERT classifier.
        yes: download it without asking.
    """

    benchmark: str
    predictions: Path
    references: Path
    qtypes: Path | None = None
    cell: str | None = None
    scorer: str | None = None
    bem: str | None = None
    device: str | None = None
    yes: bool = False


def score_run(
    folder: Path,
    settings: Settings | None = None,
    reporter: Reporter = LOG,
    *,
    bem: str | None = None,
    yes: bool = False,
    page: bool = True,
) -> RunScores:
    """Score what has no score yet in a run; write its result files and its page.

    Args:
        bem: score all answers again, with this BERT classifier.
        yes: download it without asking.
        page: write report.html.

    Raises:
        Missing: the folder holds no run, or a model is missing.
        UsageError: the scorer of the other answers must be named again.
    """
    from rag_vqa.eval.run.ledger import Ledger
    from rag_vqa.settings import load_settings
    from rag_vqa.storage import lock

    with Ledger(folder) as ledger, lock.hold_lock(folder):
        scorer = _scorer_of_run(ledger, settings or load_settings(), reporter, bem, yes)
        return score_ledger(ledger, scorer, reporter, page=page)


def score_ledger(
    ledger: Ledger,
    scorer: Scorer | None,
    reporter: Reporter,
    thresholds: Mapping[str, float] | None = None,
    page: bool = True,
) -> RunScores:
    """Score an open ledger, write the result files and the page, check thresholds."""
    from rag_vqa.eval.report.html import write_report
    from rag_vqa.eval.results.result_files import (
        failed_thresholds,
        seconds_per_question,
        write_results,
    )

    with reporter.progress("score", None) as advance:
        results = write_results(ledger, scorer, on_progress=advance)
    path = write_report(ledger.folder) if page else None
    below = failed_thresholds(results, thresholds or {})
    return RunScores(ledger.folder, results, seconds_per_question(ledger), path, below)


def _scorer_of_run(
    ledger: Ledger, settings: Settings, reporter: Reporter, bem: str | None, yes: bool
) -> Scorer | None:
    """The scorer of a run's benchmark; None if nothing was answered.

    Without `bem` it is the scorer that made the stored scores. Its model is not loaded.
    """
    from rag_vqa.eval.results.result_files import count_unscored
    from rag_vqa.eval.scorers import make_summary_scorer

    if not ledger.meta("cells"):
        return None
    name, stored = ledger.meta("spec")["questions"]["scorer"], ledger.meta("scorer")
    scorer = open_scorer(name, settings, reporter, bem=bem, yes=yes)
    if bem is not None or stored in (None, scorer.name):
        return scorer
    if count := count_unscored(ledger):
        raise UsageError(
            f"{count:,} answers have no score yet, the others were scored by {stored}. Name its "
            f"BERT again: rag-vqa eval report {ledger.folder} --bem MODEL"
        )
    return make_summary_scorer(name, stored)


def open_scorer(
    name: str,
    settings: Settings,
    reporter: Reporter,
    *,
    bem: str | None = None,
    device: str | None = None,
    yes: bool = False,
) -> Scorer:
    """Open the scorer of that name; ask before its BERT classifier is downloaded.

    Args:
        device: of the BERT classifier; None: the reader's.
    """
    from rag_vqa.eval.bem import split_revision
    from rag_vqa.eval.scorers import find_benchmark, make_scorer

    offline = settings.offline
    if bem is not None and find_benchmark(name).takes_bem:
        ask_before_download([split_revision(bem)], reporter, offline=offline, yes=yes)
    return make_scorer(name, bem=bem, device=device or settings.reader.device, offline=offline)


def score_predictions(
    options: PredictionOptions, settings: Settings | None = None, reporter: Reporter = LOG
) -> Mapping[str, Any]:
    """Score a file of predictions as the benchmark's own script does.

    Raises:
        UsageError: an option that the benchmark does not have.
        BadInput: predictions that do not match the questions; the message gives counts.
    """
    from rag_vqa.formats.benchmark import PredictionFiles, benchmarks_for
    from rag_vqa.settings import load_settings

    known = {found.name: found for found in benchmarks_for("evaluation") if found.score_file}
    name, bem = options.benchmark, options.bem
    if name not in known:
        raise UsageError(f"eval score {name}: give one of {', '.join(known)}.")
    benchmark = known[name]
    assert benchmark.score_file is not None
    own = {"qtypes": options.qtypes, "scorer": options.scorer}
    _refuse({f"--{n}": v for n, v in own.items() if n not in benchmark.score_options}, name)
    bem_options = {"--device": options.device, "--yes": options.yes or None}
    if not benchmark.takes_bem:
        _refuse({"--bem": bem, **bem_options}, name)
    elif bem is None:
        _refuse(bem_options, f"{name} without --bem")
        reporter.note("no --bem: exact match only, which is not the official score")

    def open_when_needed() -> Scorer:
        chosen, device = settings or load_settings(), options.device or "auto"
        return open_scorer(
            benchmark.scorer, chosen, reporter, bem=bem, device=device, yes=options.yes
        )

    files = PredictionFiles(
        predictions=options.predictions,
        references=options.references,
        cell=options.cell,
        qtypes=options.qtypes,
        scorer=options.scorer,
    )
    result = benchmark.score_file(files, open_when_needed)
    if cut := result.get("bem_truncated"):
        reporter.note(f"{cut} answers were cut for BEM, which reads 512 tokens")
    return result


def _refuse(options: Mapping[str, object], benchmark: str) -> None:
    for option, value in options.items():
        if value is not None:
            raise UsageError(f"{option} does not belong to eval score {benchmark}: leave it out.")
