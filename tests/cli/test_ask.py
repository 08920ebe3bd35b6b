"""ask, search, prompt show: what they print where, and how they end."""

import pytest
from PIL import Image

from rag_vqa.retriever.knowledge_base import KnowledgeBase

QUESTION = "where do puffins nest"


def test_ask_prints_evidence_then_the_answer_and_seconds_apart(cli, birds) -> None:
    done = cli("ask", birds, QUESTION, "-k", 2)
    lines = done.out.splitlines()
    assert done.code == 0
    assert lines[0].startswith("[1] Atlantic puffin · Breeding  ")
    assert lines[1].startswith("[2] ")
    assert lines[2:] == ["In burrows [1]."]
    assert "read" in done.err
    assert "built-in reader" in done.err


def test_quiet_says_nothing_on_stderr(cli, birds) -> None:
    done = cli("ask", birds, QUESTION, "--quiet")
    assert (done.code, done.err) == (0, "")


def test_thoughts_are_printed_if_somebody_asks(cli, birds, reader) -> None:
    reader.says, reader.thinks, reader.note = "", "Cliffs.\n\x1b[2Jsea", "only thoughts came"
    plain, shown = (cli("ask", birds, QUESTION, *more) for more in ((), ("--show-thinking",)))
    assert "Cliffs" not in plain.out + plain.err and "only thoughts came" in plain.err
    assert "thoughts (2 tokens):\n    Cliffs.\n    \\x1b[2Jsea\n" in shown.err
    assert "Cliffs" not in shown.out
    found = cli("ask", birds, QUESTION, "--json").json
    assert (found["text"], found["reasoning"]) == ("", reader.thinks)
    assert (found["notes"], found["tokens"]["reasoning"]) == (["only thoughts came"], 2)
    assert reader.options["thinking"] == "off"
    cli("ask", birds, QUESTION, "--reader", "fake", "--thinking", "low")
    assert reader.options["thinking"] == "low"
    assert cli("ask", birds, QUESTION, "--thinking", "hard").code == 2


@pytest.mark.parametrize("before", [True, False])
def test_json_before_or_after_the_verb(cli, birds, before) -> None:
    verb = ["ask", birds, QUESTION, "-k", 1]
    done = cli("--json", *verb) if before else cli(*verb, "--json")
    assert done.code == 0
    assert done.json["text"] == "In burrows [1]."
    assert [hit["id"] for hit in done.json["hits"]] == ["puffin"]
    assert done.json["hits"][0]["title"] == "Atlantic puffin"
    assert done.json["hits"][0]["score"] > 0
    assert QUESTION in done.json["prompt"]
    assert set(done.json["seconds"]) == {"retrieve", "select", "read"}


def test_global_options_reach_the_settings_from_anywhere(cli, birds, reader) -> None:
    done = cli("ask", birds, QUESTION, "--set", "reader.max_new_tokens=7", "--set=k=1", "--json")
    assert len(done.json["hits"]) == 1
    assert reader.options["max_new_tokens"] == 7


def test_a_flag_wins_over_set(cli, birds) -> None:
    assert len(cli("ask", birds, QUESTION, "--set", "k=1", "-k", 2, "--json").json["hits"]) == 2


def test_k_zero_loads_no_retriever(cli, birds, loads) -> None:
    done = cli("ask", birds, QUESTION, "-k", 0, "--json")
    assert (done.code, done.json["hits"]) == (0, [])
    assert loads == ["embedded reader"]


def test_k_over_the_corpus_returns_all(cli, birds) -> None:
    assert len(cli("search", birds, QUESTION, "-k", 1000, "--json").json) == 3


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["-k", "-1"], "k = -1"),
        (["-k", "many"], "integer"),
        (["--image", "none.jpg"], "no such file"),
        (["--image", "."], "folder"),
        (["--where", "lang"], "name=value"),
        (["--where", "langg=de"], "lang"),
        (["--where", "lang=de", "-k", "0"], "--where"),
        (["--template", "nosuch"], "nosuch"),
        (["--set", "retriever.revision=c0ffee"], "--retriever"),
        (["--set", "reader.modle=x"], "Did you mean reader.model?"),
        (["--set", "retriever.batch_size=0"], "batch_size"),
        (["--quantization", "fp3"], "quantization"),
        (["--max-images", "-1"], "max_images"),
        (["--preset", "13gb"], "There are: demo"),
        (["--config", "none.yaml"], "no such settings file"),
        (["--retriever", "aimagelab/ReT-CLIP-ViT-L-14"], "was built with fake"),
        (["--no-such-option"], "--no-such-option"),
    ],
)
def test_what_cannot_be_meant_ends_with_2_before_any_model_loads(
    cli, birds, loads, args, says
) -> None:
    done = cli("ask", birds, QUESTION, *args)
    assert done.code == 2, done.err
    assert says in done.err
    assert done.err.startswith("error: ")
    assert len(done.err.splitlines()) == 1
    assert done.out == ""
    assert loads == []


@pytest.mark.parametrize("verb", [["ask"], ["prompt", "show"]])
def test_an_empty_question_is_refused_before_any_model_loads(cli, birds, loads, verb) -> None:
    for text in ("", " \n"):
        done = cli(*verb, birds, text)
        assert (done.code, loads) == (2, [])
        assert "question is empty" in done.err


def test_the_demo_reader_is_the_same_named_or_not(cli, birds, reader, loads) -> None:
    options = []
    for named in ([], ["--reader", "demo"], ["--preset", "demo"]):
        assert cli("ask", birds, QUESTION, *named).code == 0
        options.append(reader.options)
    assert options[0] == options[1] == options[2]
    assert (options[0]["max_images"], options[0]["max_new_tokens"]) == (8, 48)
    assert loads.count("embedded reader") == 3
    cli("ask", birds, QUESTION, "--reader", "demo", "--max-images", 2, "--max-new-tokens", 9)
    assert (reader.options["max_images"], reader.options["max_new_tokens"]) == (2, 9)
    # Another reader has nothing of the demo's.
    cli("ask", birds, QUESTION, "--preset", "demo", "--reader", "fake")
    assert {"max_images", "max_new_tokens"}.isdisjoint(reader.options)


def test_a_template_that_fails_on_use_is_refused_before_any_model_loads(
    cli, birds, loads, tmp_path
) -> None:
    (tmp_path / "loud.jinja").write_text("{{ question|upper }}")
    for verb in (["ask"], ["chat"], ["prompt", "show"]):
        text = [] if verb == ["chat"] else [QUESTION]
        done = cli(*verb, birds, *text, "--template", tmp_path / "loud.jinja")
        assert (done.code, len(done.err.splitlines()), loads) == (2, 1, [])
        assert "no filter" in done.err


def test_a_knowledge_base_that_is_not_there(cli, tmp_path, loads) -> None:
    done = cli("ask", tmp_path / "none.kb", QUESTION)
    assert (done.code, loads) == (2, [])
    assert "rag-vqa kb build" in done.err


def test_models_that_are_not_here_end_with_3(cli, birds, loads) -> None:
    for model in ("Qwen/Qwen3-VL-2B-Instruct", "./nothing"):
        done = cli("ask", birds, QUESTION, "--reader", model)
        assert (done.code, loads) == (3, [])
        assert "Traceback" not in done.err


def test_a_preset_gives_way_to_the_knowledge_bases_own_retriever(cli, birds, monkeypatch) -> None:
    monkeypatch.setattr(
        "rag_vqa.jobs.download_consent.is_available", lambda model, revision=None: True
    )
    done = cli("ask", birds, QUESTION, "--preset", "laptop")
    assert done.code == 0
    assert "was built with fake" in done.err


def test_a_retriever_that_is_named_does_not_give_way_though_the_preset_has_it_too(
    cli, birds, loads
) -> None:
    released = "aimagelab/ReT-CLIP-ViT-L-14"
    for named in (["--retriever", released], ["--set", f"retriever.model={released}"]):
        done = cli("ask", birds, QUESTION, "--preset", "laptop", *named)
        assert (done.code, loads) == (2, [])
        assert "was built with fake" in done.err


@pytest.mark.parametrize("stated", ["dtype=float32", "parity=false", "tokenizer=other"])
def test_what_shaped_the_documents_cannot_be_contradicted(
    cli, tmp_path, encoder, loads, stated
) -> None:
    from rag_vqa.retriever.knowledge_base import KnowledgeBase

    encoder.options = {"dtype": "bfloat16", "parity": True, "tokenizer": "own"}
    path = tmp_path / "bf.kb"
    with KnowledgeBase.create(path, encoder) as kb:
        kb.add([{"id": "1", "text": "puffins"}])
    done = cli("search", path, "x", "--set", f"retriever.{stated}")
    assert (done.code, loads) == (2, [])
    assert f"retriever.{stated.partition('=')[0]} = " in done.err
    same = "--set=retriever.dtype=bfloat16"
    assert cli("search", path, "x", same).code == cli("search", path, "x").code == 0


@pytest.mark.parametrize(("place", "kind"), [("/dev/null", "a file"), (".", "a folder")])
def test_what_is_no_knowledge_base_is_a_usage_error(cli, loads, place, kind) -> None:
    done = cli("search", place, "x")
    assert (done.code, len(done.err.splitlines()), loads) == (2, 1, [])
    assert kind in done.err
    assert "rag-vqa kb build" in done.err


def test_documents_cannot_steer_the_terminal(cli, birds, encoder) -> None:
    from rag_vqa.retriever.knowledge_base import KnowledgeBase

    with KnowledgeBase.open(birds, encoder) as kb:
        kb.add(
            [{"id": "evil", "title": "\x1b[2J\u202epuffin\u200b", "text": "puffins \x1b]0;x\x07"}]
        )
    for args in (["ask"], ["search"], ["prompt", "show"]):
        for extra in ([], ["--json"]):
            done = cli(*args, birds, "puffins", *extra)
            assert done.code == 0
            assert not {"\x1b", "\u202e", "\x07", "\u200b"} & set(done.out)
    assert cli("search", birds, "puffins", "--json").json[0]["title"].startswith("\x1b[2J")


def test_a_surrogate_in_the_answer_does_not_crash(cli, birds, reader) -> None:
    reader.says = "half \ud800"
    assert "\\ud800" in cli("ask", birds, QUESTION).out
    assert cli("ask", birds, QUESTION, "--json").code == 0


def test_json_has_all_of_a_document(cli, birds, encoder) -> None:
    """The same as `kb show` prints of it, and the text of the passage that was found."""
    said = {"title": "Robin", "section": "Song", "text": "robins sing", "parent": "birds"}
    known = {"url": "https://example.org/robin", "metadata": {"lang": "en"}}
    robin = {"id": "robin", "image": Image.new("RGB", (4, 4), "red"), **said, **known}
    with KnowledgeBase.open(birds, encoder) as kb:
        kb.add([robin])
    shown = cli("kb", "show", birds, "robin", "--json").json
    [passage] = shown.pop("passages")
    del shown["retrieval_text"]
    [hit] = cli("search", birds, "robins sing", "-k", 1, "--json").json
    assert {name: hit[name] for name in shown} == shown and shown["images"]
    assert hit["passage"] == {"text": passage["text"], "position": 0}
    assert cli("ask", birds, "robins sing", "-k", 1, "--json").json["hits"] == [hit]


def test_search_needs_something_to_look_for(cli, birds, loads) -> None:
    assert cli("search", birds).code == 2
    assert cli("search", birds, "x", "-k", 0).code == 2
    assert loads == []


def test_prompt_show_is_what_ask_sends(cli, birds, reader) -> None:
    shown = cli("prompt", "show", birds, QUESTION, "-k", 2)
    assert reader.prompts == []
    cli("ask", birds, QUESTION, "-k", 2)
    assert shown.out.rstrip("\n") == reader.render(reader.prompts[0]).rstrip("\n")
    kept = cli("prompt", "show", birds, QUESTION, "-k", 1, "--json").json["kept"]
    assert kept == ["puffin"]


def test_dropped_documents_are_named_and_numbers_stay_true(cli, birds, reader) -> None:
    from rag_vqa.types import PromptLimits

    full = reader.count(_prompt(cli, birds, reader))
    reader.limits = PromptLimits(images=4, context=full - 1)
    done = cli("ask", birds, QUESTION, "-k", 2)
    # The second document does not fit: it has no number, for the reader saw none.
    first, second = done.out.splitlines()[:2]
    assert first.startswith("[1] Atlantic puffin · Breeding")
    assert second.startswith("    ")
    assert second.endswith("not read")
    assert "not shown to the reader" in done.err
    told = cli("ask", birds, QUESTION, "-k", 2, "--json").json
    assert told["kept"] == ["puffin"]
    # The others share as many words with the question: which of them is second is no matter here.
    assert told["hits"][0]["id"] == "puffin" and len(told["hits"]) == 2


def _prompt(cli, birds, reader):
    cli("ask", birds, QUESTION, "-k", 2)
    return reader.prompts[-1]


def test_interrupted_is_130_and_says_so(cli, birds, reader) -> None:
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    reader.generate = interrupt
    done = cli("ask", birds, QUESTION)
    assert (done.code, done.err.splitlines()[-1]) == (130, "^C stopped.")


# Readers behind servers


def test_citations_that_are_not_there_and_none_at_all_are_said(cli, birds, reader) -> None:
    reader.says = "In burrows [1] [7]."
    done = cli("ask", birds, QUESTION, "-k", 2)
    assert "the answer cites [7], but the prompt has no such document" in done.err
    assert "no source cited" not in done.err
    found = cli("ask", birds, QUESTION, "-k", 2, "--json").json
    assert (found["citations"], found["invalid_citations"]) == ([1], [7])
    reader.says = "In burrows."
    assert "no source cited" in cli("ask", birds, QUESTION).err
    # Nothing to cite, nothing asked to be cited, nothing claimed.
    assert "no source cited" not in cli("ask", birds, QUESTION, "-k", 0).err
    assert "no source cited" not in cli("ask", birds, QUESTION, "--template", "short").err
    reader.says = "unknown"
    assert "no source cited" not in cli("ask", birds, QUESTION).err


def test_the_language_reaches_the_prompt_or_is_refused_before_any_model_loads(
    cli, birds, reader, loads
) -> None:
    done = cli("ask", birds, QUESTION, "--language", "German", "--json")
    assert "else answer in German" in done.json["prompt"]
    loads.clear()
    done = cli("ask", birds, QUESTION, "--set", "prompt.language=de_DE")
    assert (done.code, loads) == (2, [])
    assert "--language German" in done.err
