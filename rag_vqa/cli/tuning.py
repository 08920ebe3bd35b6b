"""The job behind `train --pairs`: the query side tuned, and kept if held-out pairs say so.

It knows what gain is: recall@1 whose 95% interval of the difference lies above zero. It does not
know how a model is trained.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.cli.output import print_json, table
from rag_vqa.cli.run import Run
from rag_vqa.cli.stopping import asked_to_stop
from rag_vqa.cli.training import IN_PART, Given, shown
from rag_vqa.errors import UsageError

if TYPE_CHECKING:
    from rag_vqa.retriever.training.query_side import Tuned


def run(run: Run, given: Given) -> int:
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
    from rag_vqa.retriever.training.processes import accelerator
    from rag_vqa.retriever.training.query_side import tune
    from rag_vqa.retriever.training.sources.settings import SourceSettings

    source = SourceSettings(format="pairs", questions=given.pairs, documents=given.documents)
    made = accelerator("fp32")
    quiet = run.quiet or not made.is_main_process
    try:
        with asked_to_stop(quiet) as stop, shown(given.out, None, quiet, run, stop) as watch:
            seed = run.flags.get("seed") or 0
            tuned = tune(given.start, source, given.out, made, watch, seed)
    finally:
        made.end_training()
    if tuned.fitted.stopped:
        run.note(f"Stopped after {tuned.fitted.step:,} steps, saved. The same command goes on.")
        return IN_PART
    if made.is_main_process:
        _tell(run, given.start, judged(tuned), _kept(tuned, given.out))
    return 0


def judged(tuned: Tuned) -> list[dict[str, Any]]:
    """recall@1 and @5 before and after, and their paired difference with its 95% interval."""
    from rag_vqa.eval.intervals import paired

    rows = []
    for k in (1, 5):
        before, after = tuned.before <= k, tuned.after <= k
        low, high = paired(after, before, tuned.passages)
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


def gained(tuned: Tuned) -> bool:
    """Whether recall@1 has risen by more than chance explains."""
    return bool(judged(tuned)[0]["low"] > 0)


def _kept(tuned: Tuned, out: Path) -> Path | None:
    """The tuned checkpoint under its lasting name, or none."""
    from rag_vqa.retriever.store.files import NEW
    from rag_vqa.retriever.training.exporting import take_place
    from rag_vqa.retriever.training.query_side import KEPT

    best, new = out / KEPT, out / f"{KEPT}{NEW}"
    if not gained(tuned):
        shutil.rmtree(best, ignore_errors=True)  # of this training: another's was refused
        return None
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(tuned.folder, new)
    take_place(new, best)
    return best


def _tell(run: Run, start: str, rows: list[dict[str, Any]], best: Path | None) -> None:
    if run.json:
        print_json({"kept": str(best or start), "gain": best is not None, "recall": rows})
        return
    print(table([_as_row(row) for row in rows]))
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
