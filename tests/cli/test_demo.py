"""The verb `demo`, with the flag world replaced by three birds."""

import sys
from types import ModuleType

import pytest
from PIL import Image

from rag_vqa.retriever.knowledge_base import KnowledgeBase


@pytest.fixture(autouse=True)
def small_world(monkeypatch: pytest.MonkeyPatch) -> None:
    gallery, evaluation = ModuleType("gallery"), ModuleType("evaluation")

    documents = [{"id": "jm/government", "title": "Jamaica", "section": "Government",
                  "text": "The capital is Kingston."}]  # fmt: skip

    def build(path, encoder, on_progress=None):
        kb = KnowledgeBase.create(path, encoder)
        kb.add(documents, on_progress=on_progress)
        return kb

    measured = {
        "retrieval": {"both": {"recall@1": 0.5, "recall@5": 1.0, "n": 2, "ci95": [0.0, 1.0]}},
        "answers": {"nf4": {"k=1": {"accuracy": 0.5, "n": 2, "ci95": [0.0, 1.0]}}},
        "unknown": {"no flag": {"rate": 1.0, "n": 2}},
    }
    gallery.real_documents = lambda: documents  # type: ignore[attr-defined]
    gallery.build_knowledge_base = build  # type: ignore[attr-defined]
    gallery.sample_photo = lambda code, seed: Image.new("RGB", (8, 6), "green")  # type: ignore[attr-defined]
    evaluation.evaluate_demo = lambda **options: measured  # type: ignore[attr-defined]
    for module in (gallery, evaluation):
        monkeypatch.setitem(sys.modules, f"rag_vqa.demo.{module.__name__}", module)
        monkeypatch.setattr(f"rag_vqa.demo.{module.__name__}", module, raising=False)


@pytest.fixture
def demo(cli, monkeypatch, encoder):
    monkeypatch.setattr("rag_vqa.demo.walkthrough.load_encoder", lambda *given: encoder)
    return lambda *args: cli("demo", *args)


def test_evidence_answer_seconds_and_how_to_go_on(demo) -> None:
    done = demo()
    lines = done.out.splitlines()
    assert done.code == 0
    assert lines[0].startswith("[1] Jamaica · Government")
    assert lines[1] == "In burrows [1]."
    assert "read " in done.err
    assert "encode the flag documents  1/1" in done.err  # a bar has its end
    assert "rag-vqa ask flags.kb" in done.err


def test_json_is_one_answer(demo) -> None:
    done = demo("--json", "What is its capital?")
    assert {"text", "hits", "prompt", "seconds"} <= set(done.json)
    assert {"id", "title", "score"} <= set(done.json["hits"][0])
    assert "What is its capital?" in done.json["prompt"]


def test_what_is_kept_can_be_asked(demo, cli, tmp_path) -> None:
    kept, photo = tmp_path / "flags.kb", tmp_path / "flag.png"
    assert demo("--kb", kept, "--photo", photo).code == 0
    assert cli("ask", kept, "capital", "--image", photo, "--reader", "demo").code == 0
    again = demo("--kb", kept)
    assert (again.code, "exists" in again.err) == (2, True)


def test_a_photo_of_ones_own(demo, tmp_path, reader) -> None:
    photo = tmp_path / "mine.png"
    Image.new("RGB", (8, 6)).save(photo)
    assert demo("--image", photo).code == 0
    assert any(getattr(part, "image", None) == photo for part in reader.prompts[0].parts)
    assert demo("--image", tmp_path / "none.png").code == 2


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--evaluate", "why?"], "QUESTION"),
        (["--evaluate", "--image", "{photo}"], "--image"),
        (["--evaluate", "--kb", "new.kb", "-k", "0"], "--kb, -k"),
        (["--evaluate", "--photo", "p.png"], "--photo"),
        (["--evaluate", "--quantization", "none"], "--quantization"),
        (["--image", "{photo}", "--photo", "p.png"], "--photo"),
        (["--photo", "flag"], ".png"),
        (["--set", "prompt.template=nosuch"], "nosuch"),
        (["--evaluate", "--seed", "3"], "seed"),
        (["--evaluate", "--set", "reader.dtype=float32"], "reader.dtype"),
        (["--evaluate", "--preset", "12gb"], "preset"),
        (["--image", "{photo}", "--seed", "3"], "seed"),
        (["--set", "retriever.model=a/b"], "retriever.model"),
        (["--set", "retriever.model=demo", "--set", "retriever.revision=1"], "retriever.revision"),
        (["--preset", "laptop"], "preset"),
    ],
)
def test_nothing_given_is_ignored(demo, tmp_path, loads, args, says) -> None:
    photo = tmp_path / "mine.png"
    Image.new("RGB", (8, 6)).save(photo)
    done = demo(*[arg.format(photo=photo) for arg in args])
    assert (done.code, done.out, loads) == (2, "", [])
    assert says in done.err


def test_a_preset_of_the_environment_is_not_ignored_either(demo, monkeypatch) -> None:
    monkeypatch.setenv("RAG_VQA_PRESET", "laptop")
    assert (demo().code, demo("--evaluate").code) == (2, 2)


def test_what_the_demo_can_honour_it_does(demo, reader, monkeypatch) -> None:
    done = demo("--preset", "demo", "--set", "reader.max_new_tokens=7", "--seed", 3, "-k", 1)
    assert (done.code, reader.options["max_new_tokens"]) == (0, 7)
    assert demo("--evaluate", "--offline", "--preset", "demo").code == 0
    asked = []

    def ask(rag, text, image, instruction):
        asked.append(instruction)

    monkeypatch.setattr("rag_vqa.pipeline.RagVqa.ask", ask)
    monkeypatch.setattr("rag_vqa.cli.demo.answer_json", str)
    demo("--json", "--set", "retriever.instruction=Find:")
    assert asked == ["Find:"]


def test_evaluate_prints_the_table_or_its_numbers(demo) -> None:
    assert "recall@1" in demo("--evaluate").out
    assert demo("--evaluate", "--json").json["answers"]["nf4"]["k=1"]["accuracy"] == 0.5
