"""Thoughts and end marks are split off alike, however the text is cut into pieces."""

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rag_vqa.readers.thoughts import ThoughtSplitter, answer_end

# What a model writes → (answer, thoughts).
SPLIT = {
    "Porto": ("Porto", ""),
    "<think>A bridge.\nSo:</think>\n\nPorto": ("Porto", "A bridge.\nSo:"),
    "\n <THINK>A bridge.</Think> Porto": ("Porto", "A bridge."),
    "<thinking>\nCellars.\n</thinking>\nPorto\n": ("Porto\n", "Cellars."),
    "<seed:think>Cellars.</seed:think>Porto": ("Porto", "Cellars."),
    "[THINK]Iron.[/THINK]Porto": ("Porto", "Iron."),
    "◁think▷Iron.◁/think▷Porto": ("Porto", "Iron."),
    "<think>\n\n</think>\n\nPorto": ("Porto", ""),
    "<think>a</think><think>b</think>Porto": ("Porto", "a\nb"),
    "<|channel|>analysis<|message|>Two.<|end|><|start|>assistant<|channel|>final<|message|>Porto"
    "<|return|>": ("Porto", "Two."),
    "<|start|>assistant<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>"
    "commentary<|message|>b<|end|><|start|>assistant<|channel|>final<|message|>Porto": (
        "Porto",
        "a\nb",
    ),
    "<|channel|>final<|message|>Porto<|return|>": ("Porto", ""),
    "<|channel>thought\nIron.<channel|>Porto<turn|>": ("Porto", "Iron."),
    "Porto <think>sure</think>it is": ("Porto it is", "sure"),
    # a lone end mark: the template wrote the beginning
    "A river\nand a bridge.\n</think>\n\nPorto": ("Porto", "A river\nand a bridge."),
    "A river[/THINK]Porto": ("Porto", "A river"),
    "Two.<|end|><|start|>assistant<|channel|>final<|message|>Porto": ("Porto", "Two."),
    # what only looks like a mark
    "<thick> mist over Porto": ("<thick> mist over Porto", ""),
    "[THINKER] by Rodin": ("[THINKER] by Rodin", ""),
    "a < b, [1] and <": ("a < b, [1] and <", ""),
    "The <think> tag opens": ("The <think> tag opens", ""),
    "What <|channel|> means": ("What <|channel|> means", ""),
    "What <|start|> means": ("What <|start|> means", ""),
    # end marks
    "Porto<|im_end|>": ("Porto", ""),
    "Porto<eos>\n</s> ": ("Porto", ""),
    "Porto<｜end▁of▁sentence｜>": ("Porto", ""),
    "Write <s>old</s> to strike it out": ("Write <s>old</s> to strike it out", ""),
    "Porto<|eot_id|> is right": ("Porto<|eot_id|> is right", ""),
    "x<sup>2</sup>": ("x<sup>2</sup>", ""),
}  # fmt: skip
UNCLOSED = [
    "<think>It may be",
    "[THINK]It",
    "<|channel|>analysis<|message|>It",
    "<|channel>thought\nIt",
    "<|channel|>ana",
]
MARKS = ["<think>", "</think>", "[THINK]", "[/THINK]", "<|channel|>", "analysis", "final"]
MARKS += ["<|message|>", "<|start|>assistant", "<|end|>", "<|channel>", "<channel|>"]
MARKS += ["<|im_end|>", "</s>", "<thi", " ", "\n", "Porto", "<", ">", "|", "x" * 60]


def split(pieces: list[str], **how: bool) -> tuple[ThoughtSplitter, str]:
    splitter = ThoughtSplitter(**how)
    answer = "".join(map(splitter.feed, pieces))
    return splitter, answer + splitter.finish()


def cut(text: str, places: list[int]) -> list[str]:
    bounds = sorted({0, len(text), *(p % (len(text) + 1) for p in places)})
    return [text[a:b] for a, b in pairwise(bounds)]


@pytest.mark.parametrize("text", SPLIT)
def test_answer_and_thoughts(text: str) -> None:
    splitter, answer = split([text])

    assert (answer, splitter.reasoning) == SPLIT[text]
    assert not splitter.late_end


@pytest.mark.parametrize("text", SPLIT)
def test_one_letter_at_a_time_gives_the_same(text: str) -> None:
    splitter, answer = split(list(text), held=True)

    assert (answer, splitter.reasoning) == SPLIT[text]


@pytest.mark.parametrize("text", UNCLOSED)
def test_thoughts_without_an_end_are_no_answer(text: str) -> None:
    splitter, answer = split(list(text))

    assert answer == ""
    assert splitter.unclosed


def test_text_of_an_opened_template_is_thought_until_its_end() -> None:
    splitter = ThoughtSplitter(opened=True)

    assert splitter.feed("A bridge. ") == ""
    assert splitter.unclosed
    assert splitter.feed("</think> Por") + splitter.feed("to") == "Porto"
    assert splitter.reasoning == "A bridge."

    never, answer = split(["A bridge."], opened=True)
    assert (answer, never.reasoning, never.unclosed) == ("", "A bridge.", True)


def test_late_end_of_thoughts_is_noticed() -> None:
    splitter, _ = split(["A bridge and ", "a river.</think>", "Porto"])
    assert splitter.late_end

    held, answer = split(["A bridge and ", "a river.</think>", "Porto"], held=True)
    assert (answer, held.late_end) == ("Porto", False)
    assert splitter.lone_end
    assert held.lone_end
    assert not split(["<think>A bridge.</think>Porto"])[0].lone_end


def test_answer_is_returned_early() -> None:
    splitter = ThoughtSplitter()

    assert splitter.feed("<think>a</think>Porto ") == "Porto "
    assert splitter.feed("and <b") == "and "
    assert splitter.feed(">Gaia</b><|im") == "<b>Gaia</b>"
    assert splitter.feed("_end|>") + splitter.finish() == ""


@given(
    st.lists(st.sampled_from(MARKS) | st.text(max_size=3), max_size=9).map("".join),
    st.lists(st.integers(0, 500), max_size=12),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=400, deadline=None)
@example("<think></think></think>a", [1, 9, 20], True, False)
def test_any_cut_gives_the_same(text: str, places: list[int], held: bool, opened: bool) -> None:
    whole, answer = split([text], held=held, opened=opened)

    pieces, joined = split(cut(text, places), held=held, opened=opened)

    if not pieces.late_end:
        assert joined == answer
        assert (pieces.reasoning, pieces.unclosed) == (whole.reasoning, whole.unclosed)


@given(st.text(alphabet=st.characters(exclude_characters="<[◁")), st.integers(0, 99))
def test_text_without_marks_is_the_answer_as_it_is(text: str, place: int) -> None:
    splitter, answer = split(cut(text, [place]))

    assert (answer, splitter.reasoning) == (text, "")
    assert answer_end(text) == len(text)
