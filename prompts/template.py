"""Templates: renders a Jinja source and its values as the parts of a prompt.

Knows trusted and untrusted text. The template's own text is trusted. Its placeholders are filled
with objects that never become strings: Jinja yields each of them as it is, so nothing in a document
can pass for template text, and no filter can change that. Does not know documents or budgets.
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
CRITIC_TEMPLATE = "critic"  # judges one document, so users cannot choose it for answers


class Placeholder:
    """A part that the template can place but not read: true in `{% if %}`, without a string form.

    The attribute is private because the sandbox hides private ones from templates.
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
    """The text of a template: one of `TEMPLATE_NAMES`, or a file of the user's.

    Raises:
        Missing: there is no such template and no such file.
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
    """Names of the variables that the template uses, e.g. {"question", "documents"}."""
    with _translate_template_errors("cannot be read"):
        return frozenset(meta.find_undeclared_variables(_ENVIRONMENT.parse(source)))


def render_template(source: str, values: Mapping[str, object]) -> tuple[Part, ...]:
    """The parts that the template makes of `values`. Neighbouring trusted texts become one part.

    Raises:
        UsageError: the template has an error; the message says where.
    """
    template = _compile_template(source)
    with _translate_template_errors(
        "does not work", f"; its variables are {', '.join(sorted(values))}"
    ):
        pieces = list(template.root_render_func(template.new_context(dict(values))))
        return tuple(_join_texts(_flatten_parts(pieces)))


@lru_cache(maxsize=64)
def _compile_template(source: str) -> Template:
    with _translate_template_errors("cannot be read"):
        return _ENVIRONMENT.from_string(source)


@contextmanager
def _translate_template_errors(what: str, more: str = "") -> Iterator[None]:
    """Raises UsageError of one line for any exception.

    A template is a program of the user's and may do all that the sandbox allows, such as divide by
    zero.
    """
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
