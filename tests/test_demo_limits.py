"""The built-in models only know flags: they say so, and other models are not mixed with them."""

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag_vqa import RagVqa
from rag_vqa.demo.world.facts import SECTIONS
from rag_vqa.demo_limits import ModelPair, default_reader, explain_unknown, warn_once
from rag_vqa.errors import DemoLimits, Mismatch, UsageError
from rag_vqa.presets import PRESETS
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.types import Answer

REAL = "Qwen/Qwen3-VL-2B-Instruct"
FLAGS = [{"id": str(n), "text": f"The capital is City {n}. It became independent in 19{n}."}
         for n in range(10, 14)]  # fmt: skip
MUSEUM = [{"id": "vase", "text": "A blue vase with cranes, made in Harne."}]


@pytest.fixture
def demo(encoder: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An encoder that passes for the built-in retriever."""
    monkeypatch.setattr(encoder, "source", "demo", raising=False)
    return encoder


@pytest.fixture
def museum(tmp_path: Path, demo: Any) -> Iterator[KnowledgeBase]:
    """Other documents than the demo's, by the built-in retriever."""
    with KnowledgeBase.create(tmp_path / "museum.kb", demo) as kb:
        kb.add(MUSEUM)
        yield kb


@pytest.fixture
def flags(tmp_path: Path, demo: Any) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.create(tmp_path / "flags.kb", demo) as kb:
        kb.add(FLAGS)
        yield kb


@pytest.fixture
def clip(tmp_path: Path, encoder: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[KnowledgeBase]:
    """By a retriever that is not the built-in one."""
    monkeypatch.setattr(encoder, "source", "aimagelab/ReT-CLIP-ViT-L-14", raising=False)
    with KnowledgeBase.create(tmp_path / "clip.kb", encoder) as kb:
        kb.add(MUSEUM)
        yield kb


@pytest.fixture(autouse=True)
def no_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is refused is refused before a model loads."""

    def load(*_: Any, **__: Any) -> None:
        raise AssertionError("a model loads")

    monkeypatch.setattr("rag_vqa.readers.local.reader.LocalReader", load)
    warn_once.cache_clear()


def test_other_documents_are_warned_of_with_the_command_that_helps(museum: KnowledgeBase) -> None:
    with pytest.warns(DemoLimits) as given:
        RagVqa(museum)
    (line,) = [str(each.message) for each in given]
    assert "\n" not in line
    assert line.startswith("The built-in retriever only knows national flags. For these documents")
    assert "--preset laptop (6.3 GB download): rag-vqa kb build SOURCE --out NEW.kb" in line
    assert f"{PRESETS['laptop'].download / 1e9:.1f} GB" in line


def test_a_process_warns_once(museum: KnowledgeBase) -> None:
    with pytest.warns(DemoLimits) as given:
        for _ in range(3):
            RagVqa(museum).search("vase")
    assert len(given) == 1


def test_the_warning_points_at_the_line_of_the_user(tmp_path: Path, museum: KnowledgeBase) -> None:
    script = tmp_path / "mine.py"
    script.write_text(f"from rag_vqa import RagVqa\nRagVqa({str(museum.path)!r}).kb\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stderr.count("The built-in retriever only knows") == 1
    assert "mine.py:2: DemoLimits: " in done.stderr and done.stdout == ""


def test_the_flag_world_and_an_empty_one_are_not_warned_of(
    flags: KnowledgeBase, tmp_path: Path, demo: Any
) -> None:
    with warnings.catch_warnings(), KnowledgeBase.create(tmp_path / "empty.kb", demo) as empty:
        warnings.simplefilter("error")
        assert RagVqa(flags).limits == ""
        assert RagVqa(empty).limits == ""


def test_who_says_it_in_another_way_gets_no_python_warning(museum: KnowledgeBase) -> None:
    museum.warns = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert RagVqa(museum).limits.startswith("The built-in retriever only knows")


@pytest.mark.filterwarnings("ignore::rag_vqa.errors.DemoLimits")
@pytest.mark.parametrize("by_path", [False, True])
@pytest.mark.parametrize(
    "chosen",
    [
        {"reader": REAL},
        {"reader": REAL, "servers": ["http://localhost:9/v1"]},
        {"reader": "demo", "servers": ["http://localhost:9/v1"]},
    ],
)
def test_the_demo_retriever_is_not_combined_with_another_reader(
    museum: KnowledgeBase, flags: KnowledgeBase, chosen: dict[str, Any], by_path: bool
) -> None:
    for kb in (museum, flags):
        with pytest.raises(UsageError) as refused:
            RagVqa(kb.path if by_path else kb, **chosen)
        assert f"--retriever demo --reader {chosen['reader']}" in str(refused.value)
        assert "rag-vqa kb build SOURCE --out NEW.kb --preset laptop" in str(refused.value)


@pytest.mark.filterwarnings("ignore::rag_vqa.errors.DemoLimits")
def test_both_named_are_combined(museum: KnowledgeBase, clip: KnowledgeBase) -> None:
    assert RagVqa(museum, reader=REAL, retriever="demo").search("vase")
    assert RagVqa(clip, reader="demo").search("vase")
    assert RagVqa(clip, reader=REAL).limits == ""


@pytest.mark.filterwarnings("ignore::rag_vqa.errors.DemoLimits")
def test_without_retrieval_nothing_is_combined_until_something_is_retrieved(
    museum: KnowledgeBase,
) -> None:
    rag = RagVqa(museum, reader=REAL, k=0)
    with pytest.raises(UsageError, match="name both"):
        rag.search("vase", k=1)


def test_nobody_named_a_reader(museum: KnowledgeBase, clip: KnowledgeBase) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DemoLimits)
        for kb in (museum, clip):
            answer = RagVqa(kb).ask("Where was the vase made?")
            assert answer.text == "unknown" or answer.text.startswith("“")
            assert "quot" in answer.notes[0].lower() or "No sentence" in answer.notes[0]


def test_the_default_reader(
    museum: KnowledgeBase, flags: KnowledgeBase, clip: KnowledgeBase
) -> None:
    assert [default_reader(kb) for kb in (flags, museum, clip, None)] == [
        "demo", "quote", "quote", "demo",
    ]  # fmt: skip


def test_the_name_of_another_retriever_is_a_mismatch(museum: KnowledgeBase) -> None:
    with pytest.raises(Mismatch, match="was built with demo"):
        RagVqa(museum, retriever="aimagelab/ReT-CLIP-ViT-L-14")


@pytest.mark.parametrize("reader", ["quote", "demo", None])
def test_a_reader_without_a_model_goes_with_any_retriever(reader: str | None) -> None:
    ModelPair(retriever="demo", reader=reader).check()


@pytest.mark.filterwarnings("ignore::rag_vqa.errors.DemoLimits")
def test_unknown_is_explained_beside_the_text(
    museum: KnowledgeBase, flags: KnowledgeBase, reader: Any
) -> None:
    reader.says = "unknown"
    assert RagVqa(museum, reader).ask("Where?").notes == ()  # not the built-in reader
    reader.name = "demo@0123+nf4"
    answer = RagVqa(museum, reader).ask("Where was the vase made?")
    assert (answer.text, *answer.notes) == (
        "unknown",
        "No answer found. The built-in demo reader only understands questions about flags; use "
        "--preset laptop for these documents.",
    )
    other = RagVqa(flags, reader).ask("Who wrote Hamlet?")
    assert other.text == "unknown"
    assert all(section in other.notes[0] for section in SECTIONS)
    *_, last = RagVqa(flags, reader).stream("Who wrote Hamlet?")
    assert isinstance(last, Answer) and last.notes == other.notes
    assert other.notes[0] in repr(other)


@pytest.mark.parametrize("says", ["unknown", "unknown.", "[1] unknown", "Kingston [1]"])
def test_only_unknown_is_explained(flags: KnowledgeBase, reader: Any, says: str) -> None:
    reader.says, reader.name = says, "demo@0123+nf4"
    notes = RagVqa(flags, reader).ask("What is the capital?").notes
    assert notes == ((explain_unknown(True),) if "unknown" in says else ())


def test_without_a_knowledge_base_unknown_is_explained_too(tmp_path: Path, reader: Any) -> None:
    reader.says, reader.name = "unknown", "demo@0123+nf4"
    rag = RagVqa(tmp_path, reader, k=0)
    assert rag.ask("Who wrote Hamlet?").notes == (explain_unknown(True),)
