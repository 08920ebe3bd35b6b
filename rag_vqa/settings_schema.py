"""The schema of the settings: sections, fields, types and defaults.

Knows what can be set. Does not know how layers are merged (settings.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from rag_vqa.errors import UsageError
from rag_vqa.types import Hybrid, Thinking

Device: TypeAlias = str
Dtype: TypeAlias = Literal["float32", "bfloat16", "float16"]


def parse_server_addresses(addresses: Any) -> Any:
    """Addresses of servers, checked; a text holds several with commas between.

    >>> parse_server_addresses("http://a:8000/v1/, https://b/v1")
    ('http://a:8000/v1', 'https://b/v1')

    Raises:
        UsageError: one that is no http address, or that holds a password: it would be printed
            with the settings.
    """
    if isinstance(addresses, str):
        addresses = [part.strip() for part in addresses.split(",") if part.strip()]
    if not isinstance(addresses, Iterable):
        return addresses  # refused as any other value that does not fit
    return tuple(dict.fromkeys(_parse_address(str(address)) for address in addresses))


def parse_names(names: Any) -> Any:
    """Names; a text holds several with commas between.

    >>> parse_names("artist, year"), parse_names(["licence", "artist,year"])
    (('artist', 'year'), ('licence', 'artist', 'year'))
    """
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, list | tuple) or not all(isinstance(part, str) for part in listed):
        return names  # refused as any other value that does not fit
    split = (name.strip() for part in listed for name in part.split(","))
    return tuple(dict.fromkeys(name for name in split if name))


def _parse_address(address: str) -> str:
    try:
        parts = urlsplit(address)
        named = parts.scheme in ("http", "https") and bool(parts.hostname)
        secret = parts.username or parts.password or parts.query or parts.fragment
        _ = parts.port  # raises where it is no number
    except ValueError:
        named, secret = False, None
    if secret:
        raise UsageError(
            "the address of a server holds a password, a query or a fragment: leave that out. "
            "The key is RAG_VQA_API_KEY in the environment"
        )
    if not named:
        raise UsageError(f"{address!r} is no server: give one such as http://localhost:8000/v1")
    return address.rstrip("/")


class Section(BaseModel):
    """Frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class RetrieverSettings(Section):
    """The retriever, and how it runs.

    Attributes:
        model: None takes the embedded one, with a note.
        workers: processes that open images of documents; None: as many as the cores allow.
        hybrid: searches words as well, and fuses the two rankings; "auto": where the embedded
            retriever needs that. Evaluations and mining do so only if a setting asks for it.
        sections: ranks pages (`parent`), then returns the best document of each page.
    """

    model: str | None = None
    revision: str | None = None
    tokenizer: str | None = None
    image_processor: str | None = None
    device: Device = "auto"
    dtype: Dtype = "float32"
    batch_size: int = Field(default=32, ge=1)
    workers: int | None = Field(default=None, ge=0)
    parity: bool = False
    instruction: str | None = None
    index: str = "auto"  # or a name of `retriever.index.ENGINES`, checked before a model loads
    hybrid: Hybrid = "auto"
    sections: bool = False


class ReaderSettings(Section):
    """The vision-language model that answers, and how it runs.

    Attributes:
        max_pixels: pixels of one image.
        max_new_tokens: longest answer in tokens, thoughts included.
        max_images, max_new_tokens, max_context: None takes the limits of a known model
            (`presets.reader_limits`), else the reader's own.
        stop_at_newline: an answer ends with its first line, for benchmarks of short answers.
        thinking: how much the model thinks before it answers, if it can.
        servers: addresses of OpenAI-compatible servers that run the model; none: it runs here.
        tokenizer, concurrency, requests_per_minute, timeout: for servers only; None takes the
            default of `RemoteReader`.
    """

    model: str | None = None
    revision: str | None = None
    quantization: Literal["nf4", "int8", "none"] = "nf4"
    device: Device = "auto"
    dtype: Dtype | Literal["auto"] = "auto"
    max_new_tokens: int | None = Field(default=None, ge=1)
    max_pixels: int | None = Field(default=None, ge=1)
    max_images: int | None = Field(default=None, ge=0)
    max_context: int | None = Field(default=None, ge=1)
    stop_at_newline: bool = False
    thinking: Thinking = "off"
    servers: Annotated[tuple[str, ...], BeforeValidator(parse_server_addresses)] = ()
    tokenizer: str | None = None
    concurrency: int | None = Field(default=None, ge=1)
    requests_per_minute: int | None = Field(default=None, ge=1)
    timeout: float | None = Field(default=None, ge=1)


class PromptSettings(Section):
    """A template of `rag_vqa.prompts`, and the language of answers; "" leaves it to the reader."""

    template: str = "answer"
    language: str = ""


class FilterSettings(Section):
    """Which retrieved documents the reader reads: all, or those that the critic keeps.

    Attributes:
        threshold: lowest P(yes) of the critic.
        top: most documents of a question; None means no limit.
    """

    name: Literal["none", "critic"] = "none"
    threshold: float = Field(default=0.1, ge=0, le=1)
    top: int | None = Field(default=None, ge=1)


class MetadataSettings(Section):
    """Metadata of documents.

    Attributes:
        show: names of the metadata that the reader and people see beside title, section and text;
            None: those that the knowledge base remembers; none of them: "".
    """

    show: Annotated[tuple[str, ...] | None, BeforeValidator(parse_names)] = None


class Settings(Section):
    """All settings. `k` 0 asks the reader without retrieval."""

    preset: str | None = None
    retriever: RetrieverSettings = RetrieverSettings()
    reader: ReaderSettings = ReaderSettings()
    prompt: PromptSettings = PromptSettings()
    filter: FilterSettings = FilterSettings()
    metadata: MetadataSettings = MetadataSettings()
    k: int = Field(default=5, ge=0)
    offline: bool = False
    seed: int = 0
    cache_dir: Path | None = None
