"""Chat templates: a prompt's messages as the text that one model was trained on.

Knows which form of messages a template takes (parts or texts, with a system message or without),
and which of its variables switch thinking. It finds both out by trying, without a table of models.
Does not know pixels, token ids or documents: texts arrive neutralised.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from jinja2 import TemplateError, meta, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rag_vqa.errors import ReaderError, UsageError
from rag_vqa.readers.thoughts import has_thought_mark, opens_thoughts, thought_end
from rag_vqa.types import ImagePart, Thinking

Message = tuple[Literal["system", "user"], list[str | ImagePart]]
# Words that stand in for texts while a template is tried out.
_SYSTEM, _BEFORE, _AFTER = "Zq1system", "Zq2before", "Zq3after"
_EFFORTS = frozenset({"none", "minimal", "low", "medium", "high"})
# What a template may raise: its own refusals, and errors such as adding a text to a list.
_TEMPLATE_ERRORS = (TemplateError, TypeError, ValueError, KeyError, AttributeError, IndexError)


@dataclass(frozen=True, slots=True)
class MessageForm:
    """How messages are handed to a template.

    Attributes:
        parts: the content of a user message is a list of parts; else one text, in which the mark
            of an image stands where the image was.
        system: the content of a system message is "parts" or "text"; "user": the template takes
            none, so its text begins the user message.
    """

    parts: bool
    system: Literal["parts", "text", "user"]


_FORMS = (
    MessageForm(True, "parts"),
    MessageForm(True, "text"),
    MessageForm(True, "user"),
    MessageForm(False, "text"),
    MessageForm(False, "user"),
)


class ChatTemplate:
    """Renders messages with one chat template.

    Args:
        tokenizer: of transformers; it knows the texts of special tokens.
        source: the template, in Jinja.
        image_mark: text of one image, where the template takes texts alone; "" for a model that
            does not see.
        image_token: the placeholder of an image in the rendered text; "" for such a model.
        thinking: how much the model should think before it answers.

    Attributes:
        source: the template.
        form: the form of messages that it takes.
        opens_thoughts: the rendered text ends inside of thoughts, so the model's text begins there.
        is_switchable: one of its variables switches thinking.
        answer_begin: text after which the model answers without thoughts: it ends those that the
            template has opened; "" if there are none.
        may_think: the model decides whether its text begins with thoughts.

    Raises:
        ReaderError: the template takes no form of message that we know.
        UsageError: the template refuses this amount of thinking.
    """

    def __init__(
        self,
        tokenizer: Any,
        source: str,
        image_mark: str = "",
        image_token: str = "",
        thinking: Thinking = "off",
    ) -> None:
        self.source = source
        self._tokenizer, self._mark, self._token = tokenizer, image_mark, image_token
        self._names, self._efforts = _read_template(source)
        self._values: dict[str, Any] = {}
        self.form = self._find_form()
        self._thinking = thinking
        self._values = self._thinking_values(thinking)
        self.is_switchable = bool(self._values)
        end = self._generation_prompt()
        self.opens_thoughts = opens_thoughts(end)
        self.answer_begin = thought_end(end)
        self.may_think = thinking != "off" and not has_thought_mark(end)

    def render(self, messages: Sequence[Message]) -> str:
        """The messages as one text, up to where the model continues.

        Args:
            messages: role and contents of each; neighbouring texts are joined.

        Raises:
            ReaderError: the template does not take these messages.
        """
        try:
            return self._render(self._chat(messages, self.form), self._values)
        except _TEMPLATE_ERRORS as error:
            raise self._refusal(error) from error

    def without_thinking(self) -> ChatTemplate:
        """The same template with thinking off; itself if it is off already."""
        if self._thinking == "off":
            return self
        return ChatTemplate(self._tokenizer, self.source, self._mark, self._token)

    def _chat(self, messages: Sequence[Message], form: MessageForm) -> list[dict[str, Any]]:
        """The messages as transformers takes them."""
        if form.system == "user":
            messages = _fold_system_messages(messages)
        return [
            {"role": role, "content": self._content(contents, form, role)}
            for role, contents in messages
        ]

    def _content(self, contents: Sequence[str | ImagePart], form: MessageForm, role: str) -> Any:
        if form.parts and not (role == "system" and form.system == "text"):
            return [
                {"type": "text", "text": each} if isinstance(each, str) else {"type": "image"}
                for each in contents
            ]
        return "".join(each if isinstance(each, str) else self._mark for each in contents)

    def _render(self, chat: list[dict[str, Any]], values: Mapping[str, Any]) -> str:
        # The tokenizer's method: SmolVLM's processor would use its video part first.
        return str(
            self._tokenizer.apply_chat_template(
                chat,
                chat_template=self.source,
                add_generation_prompt=True,
                tokenize=False,
                **values,
            )
        )

    def _find_form(self) -> MessageForm:
        """The first form that shows all texts in order, and the image.

        Some templates write all images of a message before its texts.

        Raises:
            ReaderError: there is none.
        """
        forms = _FORMS if self._token else (*_FORMS[3:], *_FORMS[:3])
        reason: Exception | None = None
        for form in forms:
            try:
                text = self._render(self._chat(self._probe(), form), self._values)
            except _TEMPLATE_ERRORS as error:
                reason = reason or error
                continue
            if self._shows_probe(text):
                return form
        raise self._refusal(reason or ReaderError("it leaves out texts or images of a message"))

    def _probe(self) -> list[Message]:
        image: list[str | ImagePart] = [ImagePart(b"")] if self._token else []
        return [("system", [_SYSTEM]), ("user", [_BEFORE, *image, _AFTER])]

    def _shows_probe(self, text: str) -> bool:
        places = [text.find(each) for each in (_SYSTEM, _BEFORE, _AFTER)]
        seen = not self._token or text.count(self._token) == 1
        as_list = "'type': 'text'" in text
        return seen and not as_list and -1 not in places and places == sorted(places)

    def _refusal(self, error: Exception) -> ReaderError:
        advice = "name a model that takes images in its messages"
        if not self._token:
            advice = "name a model that was trained to follow instructions"
        reason = " ".join(str(error).split())
        return ReaderError(
            f"the reader's chat template does not take this prompt: {reason}; {advice}"
        )

    def _thinking_values(self, thinking: Thinking) -> dict[str, Any]:
        """Values of the template's variables that switch thinking, for this amount of it."""
        on = thinking != "off"
        values: dict[str, Any] = {
            name: on for name in ("enable_thinking", "thinking") if name in self._names
        }
        if "thinking_budget" in self._names and not on:  # Seed-OSS: tokens; absent is no limit
            values["thinking_budget"] = 0
        if "reasoning_effort" in self._names:
            values |= self._effort(thinking, values)
        if not self._accepts(values):
            raise UsageError(
                f"thinking = {thinking}: the reader's chat template refuses it. "
                "Use another amount: --thinking off, on, low, medium or high"
            )
        return values

    def _effort(self, thinking: Thinking, values: Mapping[str, Any]) -> dict[str, str]:
        """The value of `reasoning_effort`; {} leaves it to the template.

        Templates that know "none" or "minimal" name them; gpt-oss has "low" as its least. Where
        another variable switches thinking, only an amount that was asked for is given. "on" is
        the first amount that is accepted and changes the prompt.
        """
        named = [name for name in ("none", "minimal") if name in self._efforts]
        least = named if values else [*named, "low"]
        off = next(
            (
                {"reasoning_effort": each}
                for each in least
                if self._accepts({**values, "reasoning_effort": each})
            ),
            {},
        )
        if thinking == "off":
            return off
        if thinking != "on":
            return {"reasoning_effort": thinking}
        if values:
            return {}
        without = self._generation_text({**values, **off})
        for each in ("medium", "high"):
            given = {**values, "reasoning_effort": each}
            if self._accepts(given) and self._generation_text(given) != without:
                return {"reasoning_effort": each}
        return {}

    def _accepts(self, values: Mapping[str, Any]) -> bool:
        try:
            self._generation_text(values)
        except _TEMPLATE_ERRORS:
            return False
        return True

    def _generation_text(self, values: Mapping[str, Any]) -> str:
        return self._render(self._chat(self._probe(), self.form), values)

    def _generation_prompt(self) -> str:
        """What the template writes after the last text."""
        return self._generation_text(self._values).rpartition(_AFTER)[2]


def _fold_system_messages(messages: Sequence[Message]) -> list[Message]:
    """The messages as those of the user alone: the text of a system message, then what follows."""
    contents: list[str | ImagePart] = []
    for role, each in messages:
        contents += [f"{text}\n\n" if role == "system" else text for text in each]
    return [("user", list(_join_texts(contents)))]


def _join_texts(contents: Sequence[str | ImagePart]) -> Iterator[str | ImagePart]:
    for is_text, group in groupby(contents, key=lambda each: isinstance(each, str)):
        if is_text:
            yield "".join(each for each in group if isinstance(each, str))
        else:
            yield from group


class _GenerationTag(Extension):
    """`{% generation %}` marks an answer in templates for training; its body is kept."""

    tags = {"generation"}  # noqa: RUF012  as jinja2 declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


_ENVIRONMENT = ImmutableSandboxedEnvironment(extensions=[_GenerationTag, "jinja2.ext.loopcontrols"])


def _read_template(source: str) -> tuple[frozenset[str], frozenset[str]]:
    """Names of the template's variables, and the amounts of thinking that it names.

    Raises:
        ReaderError: it is no template.
    """
    try:
        tree = _ENVIRONMENT.parse(source)
    except TemplateError as error:
        reason = " ".join(str(error).split())
        raise ReaderError(f"the reader's chat template cannot be read: {reason}") from error
    texts = {node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)}
    return frozenset(meta.find_undeclared_variables(tree)), _EFFORTS & texts
