"""Query tuning: fine-tune the query encoder on a few hundred pairs; keep it only if it is better.

Better means: the 95% interval of the gain in recall@1 lies above zero. Knows this rule. Does not
know how a model is trained (`rag_vqa.retriever.training`).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.jobs.train import StopRequested, watch_training
from rag_vqa.progress import LOG, Reporter

if TYPE_CHECKING:
    from rag_vqa.retriever.training.query_tuning import TuningResult


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningOptions:
    """Options of a query tuning: checkpoint, pairs and output.

    Attributes:
        start: the checkpoint to tune: a folder, a hub id, or "demo".
        pairs: JSONL file of questions with their documents.
        out: folder of all that is written; tuning in it is resumed.
        documents: the documents that the pairs name by id.
    """

    start: str
    pairs: Path
    out: Path
    documents: Path | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class RecallChange:
    """Recall@K before and after tuning, on pairs that tuning did not see.

    Attributes:
        low, high: paired 95% interval of the difference.
        pairs: number of pairs.
        passages: number of passages that were searched.
    """

    k: int
    before: float
    after: float
    low: float
    high: float
    pairs: int
    passages: int

    def as_json(self) -> dict[str, Any]:
        """The JSON object that `rag-vqa train --pairs --json` prints."""
        return {
            "recall": f"@{self.k}",
            "before": self.before,
            "after": self.after,
            "low": self.low,
            "high": self.high,
            "n": self.pairs,
            "passages": self.passages,
        }


@dataclass(frozen=True, slots=True)
class TuningReport:
    """The result of a query tuning.

    Attributes:
        steps: number of steps done so far.
        stopped: it was asked to stop, and has saved its state.
        is_main: this is the first of several processes, the one that reports.
        changes: recall@1 and @5; empty if it was stopped.
        best: the tuned checkpoint; None if it is not better than the one it began with.
    """

    steps: int
    stopped: bool
    is_main: bool
    changes: Sequence[RecallChange] = ()
    best: Path | None = None


def run_query_tuning(
    options: TuningOptions,
    reporter: Reporter = LOG,
    stop_requested: StopRequested = lambda: False,
) -> TuningReport:
    """Tune the query encoder, or resume; keep the tuned checkpoint if it is better.

    Args:
        stop_requested: called once a step; True saves the state and ends the tuning.

    Raises:
        UsageError, BadInput: too few pairs, or `out` was started with other pairs.
    """
    from rag_vqa.retriever.training.query_tuning import tune_query_side
    from rag_vqa.retriever.training.training_loop import make_accelerator
    from rag_vqa.retriever.training.training_settings import SourceSettings

    source = SourceSettings(format="pairs", questions=options.pairs, documents=options.documents)
    accelerator = make_accelerator("fp32")
    is_main = accelerator.is_main_process
    try:
        with watch_training(options.out, None, reporter, stop_requested, is_main) as callbacks:
            result = tune_query_side(
                options.start, source, options.out, accelerator, callbacks, options.seed
            )
    finally:
        accelerator.end_training()
    if result.fitted.stopped or not is_main:
        return TuningReport(result.fitted.step, result.fitted.stopped, is_main)
    best = keep_if_better(result, options.out)
    return TuningReport(result.fitted.step, False, is_main, recall_changes(result), best)


def recall_changes(result: TuningResult) -> list[RecallChange]:
    """recall@1 and recall@5 before and after, with paired 95% intervals of the difference."""
    from rag_vqa.eval.intervals import paired_bootstrap

    changes = []
    for k in (1, 5):
        before, after = result.before <= k, result.after <= k
        low, high = paired_bootstrap(after, before, result.passages)
        means = float(before.mean()), float(after.mean())
        changes.append(RecallChange(k, *means, low, high, len(before), result.searched))
    return changes


def has_gain(result: TuningResult) -> bool:
    """True if recall@1 has risen by more than chance explains."""
    return bool(recall_changes(result)[0].low > 0)


def keep_if_better(result: TuningResult, out: Path) -> Path | None:
    """Copy the tuned checkpoint to `best` in `out`; without a gain remove an older `best`."""
    from rag_vqa.retriever.training.query_tuning import BEST_FOLDER
    from rag_vqa.storage.atomic import PARTIAL_SUFFIX, replace_folder

    best, new = out / BEST_FOLDER, out / f"{BEST_FOLDER}{PARTIAL_SUFFIX}"
    if not has_gain(result):
        shutil.rmtree(best, ignore_errors=True)  # of this training: another's was refused before
        return None
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(result.folder, new)
    replace_folder(new, best)
    return best
