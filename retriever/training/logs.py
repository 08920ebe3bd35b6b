"""What a training says of itself: a log of JSON lines, and TensorBoard where it is asked for.

Knows figures by name and files. Does not know what they mean, or terminals.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rag_vqa.errors import Missing
from rag_vqa.retriever.store import files

Figures = Mapping[str, float]


class Log:
    """Lines at the end of a file, each with its step. Those beyond `first`, and validations beyond
    `validated`, are cut off: they were written after the state that a run goes on from, and will
    be written again.

    Raises:
        Missing: `tensorboard` is asked for and not installed.
    """

    def __init__(
        self, path: Path, first: int, validated: int = 0, tensorboard: bool = False
    ) -> None:
        self.path = path
        if path.exists():
            kept = [x for x in path.read_text("utf-8").splitlines() if _stands(x, first, validated)]
            files.write_whole(path, "".join(f"{x}\n" for x in kept).encode())
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


def _stands(line: str, first: int, validated: int) -> bool:
    """Whether a line is of what was saved; one that a kill cut short is not."""
    try:
        told = json.loads(line)
    except ValueError:
        return False
    return bool(told["step"] <= (validated if told["kind"] == "validation" else first))


def _board(folder: Path, first: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise Missing(
            "tensorboard: true, but TensorBoard is not installed. Get it: pip install "
            "'rag-vqa[train]', or leave it out: log.jsonl is written anyway."
        ) from error
    return SummaryWriter(str(folder), purge_step=first + 1)
