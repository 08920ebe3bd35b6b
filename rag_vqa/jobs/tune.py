"""Query tuning: fine-tune the query encoder on a few hundred pairs; keep it only if it is better.

Better means: the 95% interval of the gain in recall@1 lies above zero. Knows this rule. Does not
know how a model is trained.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.output import print_json
from rag_vqa.errors import EXIT_PARTIAL, UsageError
from rag_vqa.formatting import format_table
from rag_vqa.jobs.signals import defer_signals
from rag_vqa.jobs.train import TrainOptions, watch_training

if TYPE_CHECKING:
    from rag_vqa.retriever.training.query_tuning import TuningResult


def run(run: CommandContext, given: TrainOptions) -> int:
    """Tune, or go on; the exit code: no gain is none's fault.

    Raises UsageError: options that do not go together.
    """
    if given.start is None or given.out is None or given.side != "query":
        raise UsageError(
            "--pairs tunes the query side alone: give --from MODEL --side query --out DIR with it. "
            "To train both sides on pairs, name them in a file: --config train.yaml"
        )
    if run.file is not None or run.assignments or run.flags.get("preset"):
        raise UsageError("--pairs has settings of its own: leave out --config, --set and --preset.")
    assert given.pairs is not None
    run.settings()  # for --offline, before anything that could use the network
    from rag_vqa.retriever.training.query_tuning import tune_query_side
    from rag_vqa.retriever.training.training_loop import make_accelerator
    from rag_vqa.retriever.training.training_settings import SourceSettings

    source = SourceSettings(format="pairs", questions=given.pairs, documents=given.documents)
    made = make_accelerator("fp32")
    quiet = run.quiet or not made.is_main_process
    try:
        with (
            defer_signals(quiet) as stop,
            watch_training(given.out, None, quiet, run, stop) as watch,
        ):
            seed = run.flags.get("seed") or 0
            tuned = tune_query_side(given.start, source, given.out, made, watch, seed)
    finally:
        made.end_training()
    if tuned.fitted.stopped:
        run.note(f"Stopped after {tuned.fitted.step:,} steps, saved. The same command goes on.")
        return EXIT_PARTIAL
    if made.is_main_process:
        _print_result(run, given.start, recall_change(tuned), _keep_if_better(tuned, given.out))
    return 0


def recall_change(tuned: TuningResult) -> list[dict[str, Any]]:
    """recall@1 and @5 before and after, and their paired difference with its 95% interval."""
    from rag_vqa.eval.intervals import paired_bootstrap

    rows = []
    for k in (1, 5):
        before, after = tuned.before <= k, tuned.after <= k
        low, high = paired_bootstrap(after, before, tuned.passages)
        rows.append({
            "recall": f"@{k}",
            "before": float(before.mean()),
            "after": float(after.mean()),
            "low": low,
            "high": high,
            "n": len(before),
            "passages": tuned.searched,
        })  # fmt: skip
    return rows


def has_gain(tuned: TuningResult) -> bool:
    """Whether recall@1 has risen by more than chance explains."""
    return bool(recall_change(tuned)[0]["low"] > 0)


def _keep_if_better(tuned: TuningResult, out: Path) -> Path | None:
    """The tuned checkpoint under its lasting name, or none."""
    from rag_vqa.retriever.training.query_tuning import BEST_FOLDER
    from rag_vqa.storage.atomic import PARTIAL_SUFFIX, replace_folder

    best, new = out / BEST_FOLDER, out / f"{BEST_FOLDER}{PARTIAL_SUFFIX}"
    if not has_gain(tuned):
        shutil.rmtree(best, ignore_errors=True)  # of this training: another's was refused
        return None
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(tuned.folder, new)
    replace_folder(new, best)
    return best


def _print_result(
    run: CommandContext, start: str, rows: list[dict[str, Any]], best: Path | None
) -> None:
    if run.json:
        print_json({"kept": str(best or start), "gain": best is not None, "recall": rows})
        return
    print(format_table([_as_row(row) for row in rows]))
    if best is None:
        print(f"No gain that {rows[0]['n']} held-out pairs can show: keep {start}.")
    else:
        print(f"Tuned: {best}. Knowledge bases stay valid: --retriever {best}")


def _as_row(row: dict[str, Any]) -> dict[str, str]:
    return {
        "recall": row["recall"],
        "before": f"{row['before']:.3f}",
        "after": f"{row['after']:.3f}",
        "difference, 95%": f"{row['low']:+.3f} … {row['high']:+.3f}",
        "n": str(row["n"]),
        "among": f"{row['passages']:,} passages",
    }
