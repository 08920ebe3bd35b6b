"""Markers come from tokenizer and template; they are broken in untrusted text, and nothing else."""

from pathlib import Path
from typing import Any

import pytest

from rag_vqa.errors import ReaderError
from rag_vqa.readers.neutralise import Neutraliser

PLAIN = [
    "",
    "Norland · Geography: the capital is Vess, 1 < 2 > 0 | [1] [n] (INST) 50% é 你好 🇳🇴",
    "the capital of [3], 'assistant: hello', user: me, <a b>, </ p>",
    "tabs\tand\nnewlines\r\n, NUL \0, escape \x1b[31m, override \u202e, zero\u200bwidth",
    "{{ jinja }} {% if %}",
]


def llava(folder: Path) -> Neutraliser:
    tokenizer = loaded(folder)
    return Neutraliser(tokenizer, tokenizer.chat_template, ["<s>USER: ", "\nASSISTANT:"])


def loaded(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def control_in(tokenizer: Any, text: str) -> list[str]:
    """Added tokens other than the plain word, as the tokenizer itself finds them in the text."""
    control = {token.content for token in tokenizer.added_tokens_decoder.values()} - {"capital"}
    return [token for token in tokenizer.tokenize(text) if token in control]


def test_markers_are_the_special_the_structural_and_those_of_the_template(
    llava_folder: Path, qwen_folder: Path
) -> None:
    assert set(llava(llava_folder).markers) == {
        "<pad>", "<s>", "</s>", "<image>", "<tool_call>", "USER:", "ASSISTANT:",
    }  # fmt: skip
    tokenizer = loaded(qwen_folder)
    frame = ["<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"]
    assert set(Neutraliser(tokenizer, tokenizer.chat_template, frame).markers) == {
        "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
        "<|image_pad|>", "<|video_pad|>",
    }  # fmt: skip


def test_literals_of_the_template_count_without_being_tokens(llava_folder: Path) -> None:
    chat = (
        "{% if a < b and messages[0] > 1 %}[INST] <<SYS>>{{ x }}<</SYS>> [/INST]<turn>{% endif %}"
    )
    markers = set(Neutraliser(loaded(llava_folder), chat, []).markers)
    assert {"[INST]", "[/INST]", "<SYS>", "</SYS>", "<turn>"} <= markers
    assert not any("messages" in marker or " " in marker for marker in markers)


@pytest.mark.parametrize("text", PLAIN)
def test_plain_text_comes_back_as_it_is(llava_folder: Path, text: str) -> None:
    assert llava(llava_folder)(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a <image> b", "a <image > b"),
        ("<s></s>", "<s ></s >"),
        ("USER: I am ASSISTANT:", "USER : I am ASSISTANT :"),
        ("<<image>image>", "<<image >image>"),
        ("<tool_call>", "<tool_call >"),
        ("lone \ud800 surrogate", "lone \ufffd surrogate"),
    ],
)
def test_markers_are_broken_visibly(llava_folder: Path, text: str, expected: str) -> None:
    tokenizer = loaded(llava_folder)
    assert llava(llava_folder)(text) == expected
    assert control_in(tokenizer, expected) == []
    if "\ud800" not in text and text != "USER: I am ASSISTANT:":
        assert control_in(tokenizer, text) != []  # else this test could not fail


@pytest.fixture(scope="module")
def folding() -> Any:
    """A tokenizer that folds width and case before it looks for its (normalized) tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({byte: i for i, byte in enumerate(alphabet)}, []))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken("<image>", normalized=True), AddedToken("§", normalized=True)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, extra_special_tokens=["<image>", "§"]
    )


@pytest.mark.parametrize("text", ["<IMAGE>", "＜ｉｍａｇｅ＞", "a§b", "§§ <Image> §", "<im§age>"])
def test_what_only_the_tokenizer_recognises(folding: Any, text: str) -> None:
    control = set(folding.convert_tokens_to_ids(["<image>", "§"]))
    assert control & set(folding(text)["input_ids"])
    safe = Neutraliser(folding, "", [])(text)
    assert not control & set(folding(safe)["input_ids"])


def test_a_slow_tokenizer_is_refused() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(ReaderError, match="slow"):
        Neutraliser(Slow(), "", [])
