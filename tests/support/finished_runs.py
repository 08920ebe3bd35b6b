"""Finished runs of questions on three birds, whose answers are written down beforehand."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from birds_asked import Asked

from rag_vqa.eval.results.result_files import write_results
from rag_vqa.eval.run.runner import EvaluationRun, Runner, open_run
from rag_vqa.eval.run.spec import Cell
from rag_vqa.eval.scorers import make_scorer
from rag_vqa.pipeline import RagVqa
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.types import Completion, Example, Prompt, PromptLimits, Query

TOP1 = Cell("retrieved", 1, "short")


class Scripted:
    """Says for each question what its script has; "wrong" where it has nothing."""

    name = "scripted"
    settings: Mapping[str, Any] = {"max_new_tokens": 8}
    limits = PromptLimits(images=4, context=4096)

    def __init__(self, script: Mapping[str, str]) -> None:
        self.script = script

    def count(self, prompt: Prompt) -> int:
        return len(prompt.text.split())

    def render(self, prompt: Prompt) -> str:
        return prompt.text

    def generate(self, prompts: Sequence[Prompt], on_text: Any = None, *_: Any) -> list[Completion]:
        said = [
            next((says for asked, says in self.script.items() if asked in p.text), "wrong")
            for p in prompts
        ]
        return [Completion(text, 7, 1) for text in said]

    def choice_probability(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[list[float]]:
        return [[1 / len(choices)] * len(choices) for _ in prompts]


def bird(number: int, **fields: Any) -> Example:
    """Question `q<number>` on puffins, which nest in burrows; two questions a group."""
    text = f"puffins cliffs <{number}>?"
    return replace(
        Example(f"q{number}", Query(text), ("burrows",), ("puffin",), group=f"g{number // 2}"),
        **fields,
    )


class FinishedRuns:
    """Makes folders of finished runs: `runs(right=[0, 2])` answers q0 and q2 right."""

    def __init__(self, kb: KnowledgeBase, home: Path) -> None:
        self._kb, self._home, self._made = kb, home, 0

    def __call__(
        self,
        right: Sequence[int] = (),
        rows: Sequence[Example] | None = None,
        cells: Sequence[Cell] = (TOP1,),
        script: Mapping[str, str] | None = None,
        **asked: Any,
    ) -> Path:
        rows = [bird(i) for i in range(6)] if rows is None else rows
        script = script or {f"<{i}>": "burrows" for i in right}
        folder = self._home / f"run{self._made}"
        self._made += 1
        rag = RagVqa(self._kb, reader=Scripted(script))
        run = EvaluationRun(questions=Asked(rows, **asked), rag=rag, cells=cells)
        with open_run(run, folder) as ledger:
            Runner(run, ledger).run()
            write_results(ledger, make_scorer("text") if cells else None)
        return folder
