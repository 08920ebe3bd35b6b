"""Templates: from a Jinja source and what fills it to the parts of a prompt.

Text that stands in the template is trusted. What fills its holes is not, and never becomes a
string of the template: Jinja yields each hole as the object that it is, so nothing inside a
document can be mistaken for template text, and no filter can launder it. This module knows
neither documents nor budgets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path

from jinja2 import StrictUndefined, Template, Undefined, meta
from jinja2.nativetypes import NativeEnvironment
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rag_vqa.errors import Missing, RagVqaError, UsageError
from rag_vqa.types import Part, TextPart

TEMPLATE_NAMES = ("answer", "short", "closed-book")
CRITIC_TEMPLATE = "critic"  # asks about one document, not the question: no template that answers


class Placeholder:
    """A part that the template places and cannot read: true, and without a string form.

    The attribute is underscored because the sandbox hides those from templates.
    """

    __slots__ = ("_part",)

    def __init__(self, part: Part) -> None:
        self._part = part

    def __str__(self) -> str:
        raise UsageError(
            "a template may only print documents, question and images as they are: "
            "no filter, no `~`, no {% set %} around them, e.g. {{ doc.text }}"
        )

    __repr__ = __str__


class _Environment(ImmutableSandboxedEnvironment, NativeEnvironment):
    """Sandboxed, and yielding objects instead of one joined string."""


_ENVIRONMENT = _Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def template_source(template: str) -> str:
    """The text of a template: one of `TEMPLATE_NAMES`, or the path of a file of the user's.

    Raises:
        Missing: there is neither.
    """
    if template in (*TEMPLATE_NAMES, CRITIC_TEMPLATE):
        return _packaged_source(template)
    path = Path(template)
    if not path.is_file():
        raise Missing(
            f"there is no prompt template {template!r}: "
            f"take one of {', '.join(TEMPLATE_NAMES)}, or give the path of a .jinja file"
        )
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the prompt template {template} cannot be read: {error}") from error


@cache
def _packaged_source(name: str) -> str:
    return (files("rag_vqa.prompts") / f"{name}.jinja").read_text("utf-8")


@lru_cache(maxsize=64)
def template_variables(source: str) -> frozenset[str]:
    """Names that the template takes from outside, e.g. {"question", "documents"}."""
    with _translate_template_errors("cannot be read"):
        return frozenset(meta.find_undeclared_variables(_ENVIRONMENT.parse(source)))


def render_template(source: str, values: Mapping[str, object]) -> tuple[Part, ...]:
    """The parts that the template makes of `values`; neighbouring trusted texts are one part.

    Raises:
        UsageError: the template is wrong; the message says where.
    """
    template = _compile_template(source)
    with _translate_template_errors("does not work", f"; it is given {', '.join(sorted(values))}"):
        pieces = list(template.root_render_func(template.new_context(dict(values))))
        return tuple(_join_texts(_flatten_parts(pieces)))


@lru_cache(maxsize=64)
def _compile_template(source: str) -> Template:
    with _translate_template_errors("cannot be read"):
        return _ENVIRONMENT.from_string(source)


@contextmanager
def _translate_template_errors(what: str, more: str = "") -> Iterator[None]:
    """Whatever a template raises, as one line: it is a program of the user's, and may do anything
    that the sandbox lets it, such as divide by zero."""
    try:
        yield
    except RagVqaError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"the prompt template {what}: {reason}{more}") from error


def _flatten_parts(pieces: Iterable[object]) -> Iterator[Part]:
    for piece in pieces:
        if isinstance(piece, Placeholder):
            yield piece._part
        elif isinstance(piece, (tuple, list)):  # {{ doc.images }}
            yield from _flatten_parts(piece)
        elif isinstance(piece, Undefined):
            raise UsageError(f"the prompt template does not work: {piece._undefined_message}")
        elif piece != "":
            yield TextPart(str(piece), trusted=True)


def _join_texts(parts: Iterable[Part]) -> Iterator[Part]:
    text = ""
    for part in parts:
        if isinstance(part, TextPart) and part.trusted:
            text += part.text
            continue
        if text:
            yield TextPart(text, trusted=True)
            text = ""
        yield part
    if text:
        yield TextPart(text, trusted=True)
