"""The job behind `eval run`: what is asked of whom, checked before anything loads; then the run.

It knows in which order things can go wrong cheaply, and what a person is told. It does not know
how a question is answered or scored.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.cli.consent import ask_before_download
from rag_vqa.cli.models import open_pipeline
from rag_vqa.cli.output import print_json
from rag_vqa.cli.progress import progress
from rag_vqa.cli.reading import pipeline
from rag_vqa.cli.run import Run as CommandLine
from rag_vqa.cli.sourcing import Shard
from rag_vqa.cli.stopping import Stopped, stopping
from rag_vqa.errors import UsageError
from rag_vqa.types import Example

if TYPE_CHECKING:
    from rag_vqa.eval.run.cells import Cell
    from rag_vqa.eval.run.ledger import Ledger
    from rag_vqa.eval.run.running import Run
    from rag_vqa.eval.scoring import Scorer
    from rag_vqa.formats.questions.opening import Questions
    from rag_vqa.pipeline import RagVqa
    from rag_vqa.settings import Settings

BELOW, IN_PART, INTERRUPTED = 1, 4, 130
# Benchmarks that want the answer alone, and the template that asks for it.
OFFICIAL, SHORT = ("infoseek", "evqa"), "short"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What `eval run` was asked for, as its options say it."""

    benchmark: str
    data: Path
    out: Path
    kb: Path | None = None
    conditions: str | None = None
    grid: tuple[str, ...] = ()
    split: str | None = None
    task: str | None = None
    images: Path | None = None
    missing: str | None = None
    limit: int | None = None
    shard: str | None = None
    devices: str | None = None
    hits: Path | None = None
    repeat: int = 1
    plan: bool = False
    minimum: tuple[str, ...] = ()
    bem: str | None = None
    where: Mapping[str, Any] | None = None
    yes: bool = False


@dataclass(frozen=True, slots=True)
class Limited:
    """The first questions of a set; not the set, and named so."""

    whole: Questions
    count: int

    @property
    def split(self) -> str:
        return f"{self.whole.split}[:{self.count}]"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)

    def examples(self) -> Iterator[Example]:
        yield from islice(self.whole.examples(), self.count)


def evaluate(line: CommandLine, settings: Settings, asked: Evaluation) -> int:
    """Run it, or go on with it; the exit code.

    Raises:
        UsageError, Missing, BadInput: what cannot be meant or is not there, before models load.
    """
    from rag_vqa.eval.results.gate import parse

    limits = parse(asked.minimum)
    shard = Shard.parse(asked.shard)
    if asked.devices is not None:
        if asked.shard or asked.plan:
            raise UsageError("--devices runs all shards: leave out --shard and --plan.")
        from rag_vqa.cli.eval_devices import on_devices

        return on_devices(line, settings, asked, limits)
    if limits and (asked.plan or shard.count > 1):
        raise UsageError("--min looks at a whole run: leave it out of a --plan and of a --shard.")
    try:
        with stopping():
            return _evaluated(line, settings, asked, shard, limits)
    except (KeyboardInterrupt, Stopped) as stop:
        print("Stopped: what was committed is safe. The same command goes on.", file=sys.stderr)
        return INTERRUPTED if isinstance(stop, KeyboardInterrupt) else IN_PART


def _evaluated(
    line: CommandLine,
    settings: Settings,
    asked: Evaluation,
    shard: Shard,
    limits: Mapping[str, float],
) -> int:
    run, scorer = prepared(line, settings, asked, shard)
    from rag_vqa.eval.run.running import opened

    with opened(run, asked.out) as ledger:
        failed = _go(line, run, ledger, scorer, asked)
        if not asked.plan and shard.count == 1:
            return conclude(line, ledger, scorer, limits)
        if failed:
            line.note(f"{failed:,} rows failed. The same command tries them again.")
        return IN_PART if failed else 0


def prepared(
    line: CommandLine, settings: Settings, asked: Evaluation, shard: Shard
) -> tuple[Run, Scorer | None]:
    """What is to be run, and by what it is scored; the reader loads later."""
    from rag_vqa.eval.run.running import DEPTH
    from rag_vqa.eval.run.running import Run as Asked
    from rag_vqa.eval.run.spec import BATCH, SERVED_BATCH

    questions = questions_of(asked)
    cells = _cells(settings, asked, questions.scorer)
    _check(settings, asked, cells)
    scorer = scorer_of(settings, questions.scorer, asked.bem, asked.yes) if cells else None
    deepest = max([DEPTH, *(cell.k for cell in cells)])
    run = Asked(
        questions=questions,
        rag=_pipeline(line, settings, asked, cells),
        cells=cells,
        where=asked.where,
        instruction=settings.retriever.instruction or questions.instruction,
        depth=deepest,
        hits=asked.hits,
        shard=(shard.number, shard.count),
        batch=SERVED_BATCH if settings.reader.servers else BATCH,
    )
    return run, scorer


def questions_of(asked: Evaluation) -> Any:
    """The question set, or its beginning."""
    from rag_vqa.formats.questions.opening import open_questions

    if asked.limit is not None and asked.limit < 1:
        raise UsageError(f"--limit {asked.limit}: give at least 1.")
    questions = open_questions(
        asked.benchmark,
        asked.data,
        split=asked.split,
        images=asked.images,
        missing=asked.missing,  # type: ignore[arg-type]  # what it is, is checked there
        task=asked.task,
    )
    return questions if asked.limit is None else Limited(questions, asked.limit)


def _cells(settings: Settings, asked: Evaluation, scorer: str) -> tuple[Cell, ...]:
    from rag_vqa.eval.run.cells import RETRIEVAL, cells_of
    from rag_vqa.prompts.builder import check

    filtered = settings.filter.name != "none"
    usual = ["none", "retrieved", *(["filtered"] if filtered else []), "oracle"]
    if scorer == RETRIEVAL:
        usual = [RETRIEVAL]
    named = [name.strip() for name in asked.conditions.split(",")] if asked.conditions else usual
    if "filtered" in named and not filtered:
        raise UsageError("--conditions filtered: by what? Name it: --filter critic.")
    if scorer == RETRIEVAL and named != [RETRIEVAL]:
        raise UsageError(f"{asked.benchmark} scores no answers: --conditions {RETRIEVAL}.")
    grid: dict[str, list[str]] = {}
    for axis in asked.grid:
        name, _, values = axis.partition("=")
        grid.setdefault(name, []).extend(value for value in values.split(",") if value)
    template = settings.prompt.template
    if scorer in OFFICIAL and "template" not in settings.prompt.model_fields_set:
        template = SHORT
    cells = cells_of(named, settings.k, template, grid, asked.repeat)
    for template in dict.fromkeys(cell.template for cell in cells):
        check(template)
    return cells


def _check(settings: Settings, asked: Evaluation, cells: tuple[Cell, ...]) -> None:
    searches = not cells or any(cell.condition != "none" for cell in cells)
    if searches and asked.kb is None:
        raise UsageError("--kb: which knowledge base? Only --conditions none asks without one.")
    if asked.bem is not None and not cells:
        raise UsageError("--bem scores answers, and nothing is answered: leave it out.")
    if asked.hits is None:
        return
    if not asked.hits.is_file():
        raise UsageError(f"--hits {asked.hits}: no such file.")
    own = settings.retriever
    if asked.where or not searches or own.hybrid or own.sections or own.instruction:
        raise UsageError(
            "--hits takes the place of searching: leave out --where, --hybrid, --sections and "
            "--instruction, or --hits."
        )


def scorer_of(settings: Settings, kind: str, bem: str | None, yes: bool) -> Scorer:
    """The benchmark's scorer; a BEM that is not here is agreed to first."""
    from rag_vqa.eval.bem import split_revision
    from rag_vqa.eval.scoring import make_scorer

    offline = settings.offline
    if bem is not None and kind == "evqa":
        named = [split_revision(bem)]
        ask_before_download(named, offline=offline, yes=yes, cache=settings.cache_dir)
    return make_scorer(
        kind,  # type: ignore[arg-type]  # of a question set: one of the kinds
        bem=bem,
        device=settings.reader.device,
        offline=offline,
    )


def _pipeline(
    line: CommandLine, settings: Settings, asked: Evaluation, cells: tuple[Cell, ...]
) -> RagVqa:
    if asked.kb is None:
        return pipeline(settings, Path("no knowledge base"))  # never opened: nothing is searched
    settings = settings.model_copy(update={"k": max(settings.k, 1)})
    return open_pipeline(
        line, settings, asked.kb, where=asked.where, yes=asked.yes, read=bool(cells)
    )


def _go(
    line: CommandLine, run: Run, ledger: Ledger, scorer: Scorer | None, asked: Evaluation
) -> int:
    """All batches of the shard, or those of a plan; how many rows failed."""
    from rag_vqa.cli.eval_plan import plan_of
    from rag_vqa.eval.results.scores import check_scorable
    from rag_vqa.eval.run.running import PROBE, Running

    if scorer is not None:
        check_scorable(ledger, scorer)
    running = Running(run, ledger)
    failed = 0
    with progress("evaluate", running.total, quiet=line.quiet) as advance:
        if asked.plan or running.questions > PROBE:
            failed = running.go(advance, at_most=PROBE)
            line.note(plan_of(ledger, running))
        return failed if asked.plan else running.go(advance)


def conclude(
    line: CommandLine, ledger: Ledger, scorer: Scorer | None, limits: Mapping[str, float]
) -> int:
    """Score, write the files, print the table; the exit code."""
    from rag_vqa.cli.eval_report import table_of
    from rag_vqa.eval.report.html import write_report
    from rag_vqa.eval.results.gate import missed
    from rag_vqa.eval.results.results import FAILURES, finish

    with progress("score", None, quiet=line.quiet) as advance:
        results = finish(ledger, scorer, on_progress=advance)
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
    lines = missed(results, limits)
    for text in lines:
        print(text, file=sys.stderr)
    return BELOW if lines else IN_PART if failed or results["missing"] else 0
