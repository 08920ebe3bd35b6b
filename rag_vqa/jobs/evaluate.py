"""Evaluation: answer the questions of a benchmark under several conditions, then score the answers.

Checks everything that is cheap to check before a model loads. Runs in this process, or as one
shard in one process for each device. Knows options and their order. Does not know how a question
is answered (`rag_vqa.eval.run`) or scored (score.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.checkpoints import EMBEDDED
from rag_vqa.devices import parse_devices
from rag_vqa.errors import EXIT_FAILED, EXIT_PARTIAL, RagVqaError, UsageError
from rag_vqa.jobs.document_source import Shard
from rag_vqa.jobs.local_processes import exit_of, run_processes
from rag_vqa.jobs.models import make_pipeline, open_pipeline, without_automatic_words
from rag_vqa.jobs.score import RunScores, open_scorer, score_ledger
from rag_vqa.jobs.signals import JobStopped
from rag_vqa.progress import LOG, Reporter
from rag_vqa.types import Example, Where

if TYPE_CHECKING:
    from rag_vqa.eval.run.ledger import Ledger
    from rag_vqa.eval.run.runner import EvaluationRun
    from rag_vqa.eval.run.spec import Cell
    from rag_vqa.formats.benchmark import Scorer
    from rag_vqa.formats.question_set import Questions
    from rag_vqa.pipeline import RagVqa
    from rag_vqa.settings_schema import Settings

_SAFE = "what was committed is safe. The same command goes on."


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOptions:
    """Options of an evaluation: questions, knowledge base, conditions and output.

    Attributes:
        benchmark: name of a benchmark, or "own".
        data: its folder; for "own" a JSONL file.
        out: folder of the run; a run in it is resumed.
        kb: the knowledge base. Only the condition "none" needs none.
        conditions: some of none, retrieved, filtered and oracle, with commas; or "retrieval",
            which answers nothing. None: all that apply.
        grid: values to combine: "k=1,3", "prompt=short,mine.jinja".
        split, task, images: which questions, and where their pictures are.
        missing: what to do if a picture is missing: "fail", "skip" or "text-only".
        limit: only the first questions.
        shard: "i/n": run the i-th of n shards.
        devices: "all", or "cuda:0,cuda:1": run one shard on each device, then merge.
        hits: a TREC run whose hits are used instead of searching.
        repeat: number of times that each cell is answered.
        plan: answer a few questions and estimate the time for all.
        minimum: thresholds, such as "accuracy=.8".
        bem: evqa: a BERT classifier: folder, id or id@revision.
        where: metadata filter of the search.
        yes: download models without asking.
    """

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
    where: Where | None = None
    yes: bool = False


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """The result of an evaluation.

    Attributes:
        failed: number of rows that failed. The same call tries them again.
        scores: None after a plan, or a shard: the whole run is scored at its end.
    """

    failed: int
    scores: RunScores | None = None


@dataclass(frozen=True, slots=True)
class FirstQuestions:
    """The first questions of a set. The name of its split shows their number: "test[:500]"."""

    whole: Questions
    count: int

    @property
    def split(self) -> str:
        return f"{self.whole.split}[:{self.count}]"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)

    def examples(self) -> Iterator[Example]:
        yield from islice(self.whole.examples(), self.count)


def run_evaluation(
    options: EvaluationOptions, settings: Settings | None = None, reporter: Reporter = LOG
) -> EvaluationReport:
    """Answer all questions and score the answers, or resume.

    Raises:
        UsageError, Missing, BadInput: invalid options or missing files, before a model loads.
        JobStopped: a signal or ^C; the same call resumes.
    """
    from rag_vqa.eval.results.result_files import parse_thresholds
    from rag_vqa.settings import load_settings

    settings = settings or load_settings()
    thresholds = parse_thresholds(options.minimum)
    shard = Shard.parse(options.shard)
    if options.devices is not None and (options.shard or options.plan):
        raise UsageError("--devices runs all shards: leave out --shard and --plan.")
    if thresholds and (options.plan or shard.count > 1):
        raise UsageError("--min needs a whole run: leave out --min, or --plan and --shard.")
    try:
        if options.devices is not None:
            return _run_on_devices(options, settings, reporter, thresholds)
        return _run_shard(options, settings, reporter, shard, thresholds)
    except (KeyboardInterrupt, JobStopped) as stop:
        raise JobStopped.after(stop, _SAFE) from None


def _run_shard(
    options: EvaluationOptions,
    settings: Settings,
    reporter: Reporter,
    shard: Shard,
    thresholds: Mapping[str, float],
) -> EvaluationReport:
    run, scorer = prepare_run(options, settings, reporter, shard)
    from rag_vqa.eval.run.runner import open_run

    with open_run(run, options.out) as ledger:
        failed = _run_batches(run, ledger, scorer, reporter, options.plan)
        if options.plan or shard.count > 1:
            return EvaluationReport(failed)
        scores = score_ledger(ledger, scorer, reporter, thresholds)
        return EvaluationReport(scores.failed_rows, scores)


def prepare_run(
    options: EvaluationOptions,
    settings: Settings,
    reporter: Reporter = LOG,
    shard: Shard = Shard(),  # noqa: B008  frozen
) -> tuple[EvaluationRun, Scorer | None]:
    """The run, and the scorer of its answers; the reader loads at the first question."""
    from rag_vqa.eval.run.runner import RETRIEVAL_DEPTH, EvaluationRun
    from rag_vqa.eval.run.spec import BATCH_SIZE, SERVED_BATCH_SIZE

    questions = open_question_set(options)
    settings = without_automatic_words(settings)
    cells = _make_cells(options, settings, questions.scorer)
    _check_options(options, settings, cells)
    scorer = None
    if cells:
        scorer = open_scorer(questions.scorer, settings, reporter, bem=options.bem, yes=options.yes)
    run = EvaluationRun(
        questions=questions,
        rag=_open_pipeline(options, settings, reporter, cells),
        cells=cells,
        where=options.where,
        instruction=settings.retriever.instruction or questions.instruction,
        depth=max([RETRIEVAL_DEPTH, *(cell.k for cell in cells)]),
        hits=options.hits,
        shard=(shard.number, shard.count),
        batch=SERVED_BATCH_SIZE if settings.reader.servers else BATCH_SIZE,
    )
    return run, scorer


def open_question_set(options: EvaluationOptions) -> Any:
    """The questions of the benchmark, or the first ones."""
    from rag_vqa.formats.question_set import open_questions

    if options.limit is not None and options.limit < 1:
        raise UsageError(f"--limit {options.limit}: give at least 1.")
    questions = open_questions(
        options.benchmark,
        options.data,
        split=options.split,
        images=options.images,
        missing=options.missing,  # type: ignore[arg-type]  # checked there
        task=options.task,
    )
    return questions if options.limit is None else FirstQuestions(questions, options.limit)


def _make_cells(options: EvaluationOptions, settings: Settings, scorer: str) -> tuple[Cell, ...]:
    """The cells of the conditions and the grid; checks the templates."""
    from rag_vqa.eval.run.spec import RETRIEVAL, make_cells
    from rag_vqa.formats.benchmark import BENCHMARKS
    from rag_vqa.prompts.builder import check_template

    has_filter = settings.filter.name != "none"
    conditions = ["none", "retrieved", *(["filtered"] if has_filter else []), "oracle"]
    if scorer == RETRIEVAL:
        conditions = [RETRIEVAL]
    if options.conditions:
        conditions = [name.strip() for name in options.conditions.split(",")]
    if "filtered" in conditions and not has_filter:
        raise UsageError("--conditions filtered needs a filter: add --filter critic.")
    if scorer == RETRIEVAL and conditions != [RETRIEVAL]:
        raise UsageError(f"{options.benchmark} scores no answers: --conditions {RETRIEVAL}.")
    grid: dict[str, list[str]] = {}
    for axis in options.grid:
        name, _, values = axis.partition("=")
        grid.setdefault(name, []).extend(value for value in values.split(",") if value)
    template = settings.prompt.template
    if "template" not in settings.prompt.model_fields_set:
        template = BENCHMARKS.get(options.benchmark).template or template
    cells = make_cells(conditions, settings.k, template, grid, options.repeat)
    for template in dict.fromkeys(cell.template for cell in cells):
        check_template(template)
    return cells


def _check_options(options: EvaluationOptions, settings: Settings, cells: tuple[Cell, ...]) -> None:
    """Raise UsageError for options that do not go together."""
    searches = not cells or any(cell.condition != "none" for cell in cells)
    if searches and options.kb is None:
        raise UsageError("--kb is missing. Only --conditions none runs without a knowledge base.")
    if options.bem is not None and not cells:
        raise UsageError("--bem scores answers, but nothing is answered: leave it out.")
    if options.hits is None:
        return
    if not options.hits.is_file():
        raise UsageError(f"--hits {options.hits}: no such file.")
    own = settings.retriever
    if options.where or not searches or own.hybrid or own.sections or own.instruction:
        raise UsageError(
            "--hits replaces searching: leave out --where, --hybrid, --sections and "
            "--instruction, or --hits."
        )


def _open_pipeline(
    options: EvaluationOptions, settings: Settings, reporter: Reporter, cells: tuple[Cell, ...]
) -> RagVqa:
    if options.kb is None:
        # Nothing is searched, so this folder is never opened.
        return make_pipeline(settings, Path("no knowledge base"))
    settings = settings.model_copy(update={"k": max(settings.k, 1)})
    rag = open_pipeline(
        settings, options.kb, reporter, where=options.where, yes=options.yes, read=bool(cells)
    )
    if notice := rag.kb.describe_no_match(options.where):
        reporter.note(notice)
    kb = rag.kb
    if kb.manifest.source == EMBEDDED and not kb.hybrid and not kb.is_flag_world:
        reporter.note("Searching without words; ask does with: --set retriever.hybrid=auto")
    return rag


def _run_batches(
    run: EvaluationRun, ledger: Ledger, scorer: Scorer | None, reporter: Reporter, plan: bool
) -> int:
    """Run all batches of the shard, or those of a plan; return how many rows failed."""
    from rag_vqa.eval.results.judgement import check_scorable
    from rag_vqa.eval.run.runner import PROBE_QUESTIONS, Runner

    if scorer is not None:
        check_scorable(ledger, scorer)
    runner = Runner(run, ledger)
    with reporter.progress("evaluate", runner.total) as advance:
        if plan or runner.questions > PROBE_QUESTIONS:
            failed = runner.run(advance, at_most=PROBE_QUESTIONS)
            reporter.note(runner.estimate())
            if plan:
                return failed
        return runner.run(advance)


def _run_on_devices(
    options: EvaluationOptions,
    settings: Settings,
    reporter: Reporter,
    thresholds: Mapping[str, float],
) -> EvaluationReport:
    """Run one shard on each device, each in a process of its own; merge and score them."""
    from rag_vqa.eval.run.ledger import LEDGER_FILE, Ledger
    from rag_vqa.eval.run.shards import merge_shards

    devices = parse_devices(options.devices or "")
    folder = options.out.with_name(f"{options.out.name}.parts")
    parts = [folder / f"{n}-of-{len(devices)}" for n in range(1, len(devices) + 1)]
    if (options.out / LEDGER_FILE).exists() and not folder.exists():
        raise UsageError(
            f"{options.out} was run without --devices: resume without it, or give another --out."
        )
    shards = [
        replace(options, devices=None, out=part, shard=f"{n}/{len(devices)}", minimum=())
        for n, part in enumerate(parts, 1)
    ]
    reporter.note(f"{len(devices)} shards: {', '.join(devices)}")
    codes = run_processes(
        [
            (_run_shard_process, (shard, with_device(settings, device)))
            for shard, device in zip(shards, devices, strict=True)
        ]
    )
    if any(codes):
        error = RagVqaError("A shard failed, see its message above.")
        # The others were stopped: their codes are below 0, or that of a stopped job.
        own = [code for code in codes if code and code > 0 and code != EXIT_PARTIAL]
        error.exit_code = own[0] if own else EXIT_FAILED
        raise error
    (options.out / LEDGER_FILE).unlink(missing_ok=True)  # an earlier merge of the same shards
    merge_shards(options.out, parts)
    with Ledger(options.out) as ledger:
        scorer = None
        if ledger.meta("cells"):
            name = ledger.meta("spec")["questions"]["scorer"]
            scorer = open_scorer(name, settings, reporter, bem=options.bem, yes=options.yes)
        scores = score_ledger(ledger, scorer, reporter, thresholds)
    return EvaluationReport(scores.failed_rows, scores)


def _run_shard_process(options: EvaluationOptions, settings: Settings) -> None:
    """Run one shard in a process of its own. Failed rows are reported after the merge."""
    sys.exit(exit_of(lambda: run_evaluation(options, settings), f"shard {options.shard}"))


def with_device(settings: Settings, device: str) -> Settings:
    """The settings with retriever and reader on a device."""
    retriever = settings.retriever.model_copy(update={"device": device})
    reader = settings.reader.model_copy(update={"device": device})
    return settings.model_copy(update={"retriever": retriever, "reader": reader})
