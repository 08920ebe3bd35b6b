"""What a training says of itself: a log of JSON lines, and TensorBoard where it is asked for.

Knows figures by name and files. Does not know what they mean, or terminals.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rag_vqa.errors import Missing

Figures = Mapping[str, float]


class Log:
    """Lines at the end of a file, each with its step; lines beyond `first` are cut off: they were
    written after the state that a run goes on from, and will be written again.

    Raises:
        Missing: `tensorboard` is asked for and not installed.
    """

    def __init__(self, path: Path, first: int, tensorboard: bool = False) -> None:
        self.path = path
        if path.exists():
            lines = [x for x in path.read_text("utf-8").splitlines() if _step(x) <= first]
            path.write_text("".join(f"{x}\n" for x in lines), "utf-8")
        self.board = _board(path.parent / "tensorboard", first) if tensorboard else None

    def write(self, step: int, figures: Figures, kind: str = "train") -> dict[str, Any]:
        """One line, rounded; returns it."""
        line = {"step": step, "kind": kind, **{k: round(v, 6) for k, v in figures.items()}}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self.board is not None:
            for name, value in figures.items():
                self.board.add_scalar(f"{kind}/{name}", value, step)
            self.board.flush()
        return line


def _step(line: str) -> float:
    """The step of a line; a line that a kill cut short counts as beyond all."""
    try:
        return float(json.loads(line)["step"])
    except ValueError:
        return float("inf")


def _board(folder: Path, first: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise Missing(
            "tensorboard: true, but TensorBoard is not installed. Get it: pip install "
            "'rag-vqa[train]', or leave it out: log.jsonl is written anyway."
        ) from error
    return SummaryWriter(str(folder), purge_step=first + 1)
