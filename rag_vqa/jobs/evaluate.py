"""Evaluation: answer the questions of a benchmark under several conditions, then score the answers.

Checks everything that is cheap to check before a model loads. Runs in this process, or as one
shard in one process for each device. Knows options and their order. Does not know how a question
is answered (`rag_vqa.eval.run`) or scored (score.py).
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.context import CommandContext as CommandLine
from rag_vqa.cli.progress import progress
from rag_vqa.devices import parse_devices
from rag_vqa.errors import EXIT_INTERRUPTED, EXIT_PARTIAL, RagVqaError, UsageError
from rag_vqa.jobs.document_source import Shard
from rag_vqa.jobs.local_processes import stop_processes
from rag_vqa.jobs.models import make_pipeline, open_pipeline
from rag_vqa.jobs.score import open_scorer, score_and_report
from rag_vqa.jobs.signals import Stopped, raise_on_signals
from rag_vqa.types import Example

if TYPE_CHECKING:
    from rag_vqa.eval.run.conditions import Cell
    from rag_vqa.eval.run.ledger import Ledger
    from rag_vqa.eval.run.runner import EvaluationRun
    from rag_vqa.formats.benchmark import Scorer
    from rag_vqa.formats.question_set import Questions
    from rag_vqa.pipeline import RagVqa
    from rag_vqa.settings_schema import Settings

_POLL = 0.2  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions:
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
class FirstQuestions:
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


def evaluate(line: CommandLine, settings: Settings, asked: EvaluateOptions) -> int:
    """Run it, or go on with it; the exit code.

    Raises:
        UsageError, Missing, BadInput: what cannot be meant or is not there, before models load.
    """
    from rag_vqa.eval.results.result_files import parse_thresholds

    limits = parse_thresholds(asked.minimum)
    shard = Shard.parse(asked.shard)
    if asked.devices is not None:
        if asked.shard or asked.plan:
            raise UsageError("--devices runs all shards: leave out --shard and --plan.")

        return evaluate_on_devices(line, settings, asked, limits)
    if limits and (asked.plan or shard.count > 1):
        raise UsageError("--min looks at a whole run: leave it out of a --plan and of a --shard.")
    try:
        with raise_on_signals():
            return _evaluate_shard(line, settings, asked, shard, limits)
    except (KeyboardInterrupt, Stopped) as stop:
        print("Stopped: what was committed is safe. The same command goes on.", file=sys.stderr)
        return EXIT_INTERRUPTED if isinstance(stop, KeyboardInterrupt) else EXIT_PARTIAL


def _evaluate_shard(
    line: CommandLine,
    settings: Settings,
    asked: EvaluateOptions,
    shard: Shard,
    limits: Mapping[str, float],
) -> int:
    run, scorer = prepare_run(line, settings, asked, shard)
    from rag_vqa.eval.run.runner import open_run

    with open_run(run, asked.out) as ledger:
        failed = _run_batches(line, run, ledger, scorer, asked)
        if not asked.plan and shard.count == 1:
            return score_and_report(line, ledger, scorer, limits)
        if failed:
            line.note(f"{failed:,} rows failed. The same command tries them again.")
        return EXIT_PARTIAL if failed else 0


def prepare_run(
    line: CommandLine, settings: Settings, asked: EvaluateOptions, shard: Shard
) -> tuple[EvaluationRun, Scorer | None]:
    """What is to be run, and by what it is scored; the reader loads later."""
    from rag_vqa.eval.run.runner import RETRIEVAL_DEPTH
    from rag_vqa.eval.run.runner import EvaluationRun as Asked
    from rag_vqa.eval.run.spec import BATCH_SIZE, SERVED_BATCH_SIZE

    questions = open_question_set(asked)
    cells = _make_cells(settings, asked, questions.scorer)
    _check_options(settings, asked, cells)
    scorer = open_scorer(settings, questions.scorer, asked.bem, asked.yes, line) if cells else None
    deepest = max([RETRIEVAL_DEPTH, *(cell.k for cell in cells)])
    run = Asked(
        questions=questions,
        rag=_open_pipeline(line, settings, asked, cells),
        cells=cells,
        where=asked.where,
        instruction=settings.retriever.instruction or questions.instruction,
        depth=deepest,
        hits=asked.hits,
        shard=(shard.number, shard.count),
        batch=SERVED_BATCH_SIZE if settings.reader.servers else BATCH_SIZE,
    )
    return run, scorer


def open_question_set(asked: EvaluateOptions) -> Any:
    """The question set, or its beginning."""
    from rag_vqa.formats.question_set import open_questions

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
    return questions if asked.limit is None else FirstQuestions(questions, asked.limit)


def _make_cells(settings: Settings, asked: EvaluateOptions, scorer: str) -> tuple[Cell, ...]:
    from rag_vqa.eval.run.conditions import RETRIEVAL, make_cells
    from rag_vqa.formats.benchmark import BENCHMARKS
    from rag_vqa.prompts.builder import check_template

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
    if "template" not in settings.prompt.model_fields_set:
        template = BENCHMARKS.get(asked.benchmark).template or template
    cells = make_cells(named, settings.k, template, grid, asked.repeat)
    for template in dict.fromkeys(cell.template for cell in cells):
        check_template(template)
    return cells


def _check_options(settings: Settings, asked: EvaluateOptions, cells: tuple[Cell, ...]) -> None:
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


def _open_pipeline(
    line: CommandLine, settings: Settings, asked: EvaluateOptions, cells: tuple[Cell, ...]
) -> RagVqa:
    if asked.kb is None:
        return make_pipeline(
            settings, Path("no knowledge base")
        )  # never opened: nothing is searched
    settings = settings.model_copy(update={"k": max(settings.k, 1)})
    return open_pipeline(
        settings, asked.kb, line, where=asked.where, yes=asked.yes, read=bool(cells)
    )


def _run_batches(
    line: CommandLine,
    run: EvaluationRun,
    ledger: Ledger,
    scorer: Scorer | None,
    asked: EvaluateOptions,
) -> int:
    """All batches of the shard, or those of a plan; how many rows failed."""
    from rag_vqa.eval.results.judgement import check_scorable
    from rag_vqa.eval.run.runner import PROBE_QUESTIONS, Runner

    if scorer is not None:
        check_scorable(ledger, scorer)
    running = Runner(run, ledger)
    failed = 0
    with progress("evaluate", running.total, quiet=line.quiet) as advance:
        if asked.plan or running.questions > PROBE_QUESTIONS:
            failed = running.run(advance, at_most=PROBE_QUESTIONS)
            line.note(running.estimate())

        return failed if asked.plan else running.run(advance)


def evaluate_on_devices(
    line: CommandContext, settings: Settings, asked: EvaluateOptions, limits: Mapping[str, float]
) -> int:
    """Run all shards and merge them; the exit code."""
    from rag_vqa.eval.run.ledger import LEDGER_FILE

    devices = parse_devices(asked.devices or "")
    folder = asked.out.with_name(f"{asked.out.name}.parts")
    parts = [folder / f"{n}-of-{len(devices)}" for n in range(1, len(devices) + 1)]
    if (asked.out / LEDGER_FILE).exists() and not folder.exists():
        raise UsageError(f"{asked.out} was run without --devices: go on without, or give --out.")
    context = multiprocessing.get_context("spawn")
    shards = [
        replace(asked, devices=None, out=part, shard=f"{n}/{len(devices)}", minimum=())
        for n, part in enumerate(parts, 1)
    ]
    processes = [
        context.Process(
            target=_shard_process,
            args=(_without_output(line), with_device(settings, device), shard),
        )
        for device, shard in zip(devices, shards, strict=True)
    ]
    line.note(f"{len(devices)} shards: {', '.join(devices)}")
    try:
        try:
            with raise_on_signals():
                for process in processes:
                    process.start()
                while any(process.is_alive() for process in processes):
                    time.sleep(_POLL)
                    if any(process.exitcode for process in processes):
                        break
        finally:
            stop_processes(processes)
    except (KeyboardInterrupt, Stopped) as stop:
        print("Stopped: what was committed is safe. The same command goes on.", file=sys.stderr)
        return EXIT_INTERRUPTED if isinstance(stop, KeyboardInterrupt) else EXIT_PARTIAL
    bad = [process.exitcode for process in processes if process.exitcode]
    if bad:  # below 0: killed by a signal
        return max(bad[0], 0) or 1
    return _merge_and_report(line, settings, asked, parts, limits)


def with_device(settings: Settings, device: str) -> Settings:
    """The settings with retriever and reader on a device."""
    retriever = settings.retriever.model_copy(update={"device": device})
    reader = settings.reader.model_copy(update={"device": device})
    return settings.model_copy(update={"retriever": retriever, "reader": reader})


def _without_output(line: CommandContext) -> CommandContext:
    return replace(line, quiet=True)


def _shard_process(line: CommandContext, settings: Settings, asked: EvaluateOptions) -> None:
    code = EXIT_PARTIAL
    with suppress(Stopped, KeyboardInterrupt):
        try:
            code = evaluate(line, settings, asked)
            code = 0 if code == EXIT_PARTIAL else code  # failed rows are told once all are together
        except (RagVqaError, OSError) as error:
            print(f"shard {asked.shard}: {error}", file=sys.stderr)
            code = error.exit_code if isinstance(error, RagVqaError) else 1
    sys.exit(code)


def _merge_and_report(
    line: CommandContext,
    settings: Settings,
    asked: EvaluateOptions,
    parts: list[Path],
    limits: Mapping[str, float],
) -> int:
    from rag_vqa.eval.run.ledger import LEDGER_FILE, Ledger
    from rag_vqa.eval.run.shards import merge_shards

    (asked.out / LEDGER_FILE).unlink(missing_ok=True)  # made of the parts: it is made anew
    merge_shards(asked.out, parts)
    with Ledger(asked.out) as ledger:
        scorer = None
        if ledger.meta("cells"):
            kind = ledger.meta("spec")["questions"]["scorer"]
            scorer = open_scorer(settings, kind, asked.bem, asked.yes, line)
        return score_and_report(line, ledger, scorer, limits)
