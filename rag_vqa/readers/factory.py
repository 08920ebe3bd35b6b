"""Opens a reader by name, from the registry of back ends.

Knows the back ends, which options each of them takes, and the presets of known models. Does not
know how a model loads or how a server is called: each back end opens its own reader. To add a back
end, write its reader in one file and register one `ReaderBackend`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from rag_vqa import checkpoints, presets
from rag_vqa.checkpoints import EMBEDDED, model_source
from rag_vqa.errors import Missing, UsageError
from rag_vqa.formatting import did_you_mean
from rag_vqa.readers.base import check_choice
from rag_vqa.registry import Registry
from rag_vqa.types import Quantization, Thinking

if TYPE_CHECKING:
    from rag_vqa.readers.base import Reader

# Options that each reader of ours takes; a back end names those that it takes itself.
COMMON_OPTIONS = (
    "max_new_tokens", "max_pixels", "max_images", "max_context", "stop_at_newline", "thinking",
    "offline",
)  # fmt: skip
QUOTE = "quote"  # name of the reader that needs no model
_log = logging.getLogger("rag_vqa")


@dataclass(frozen=True, slots=True)
class ReaderBackend:
    """One way to run a reader.

    Attributes:
        name: its name in the registry.
        options: names of the options that `open` takes.
        accepts: from the model's name (or None) and the servers' addresses to True if this back
            end opens that reader. "local" opens all that no other back end accepts.
        open: from model, servers and options (none of them None) to the reader.
        refusal: why it takes no option of another back end; completes "because …".
        loads_weights: the model comes from a folder or the hub; a download is confirmed before.
        missing_model: message of the UsageError where no model is named; "" takes the embedded one.
    """

    name: str
    options: tuple[str, ...]
    accepts: Callable[[str | None, Sequence[str]], bool]
    open: Callable[[str, Sequence[str], dict[str, Any]], Reader]
    refusal: str
    loads_weights: bool = False
    missing_model: str = ""

    def check_options(self, names: Iterable[str]) -> None:
        """Raises UsageError if this back end does not take one of the named options."""
        refused = [name for name in names if name not in self.options]
        if refused:
            raise UsageError(
                f"reader: {', '.join(refused)} cannot be combined with this reader, because "
                f"{self.refusal}. Leave it out"
            )

    def require_model(self, model: str | None) -> str:
        """The model's name, or the embedded one. Raises UsageError if a name is needed."""
        if model is None and self.missing_model:
            raise UsageError(self.missing_model)
        return model or EMBEDDED


def open_reader(model: str | None, *, servers: Sequence[str] = (), **options: Any) -> Reader:
    """Opens a reader, with its weights loaded.

    Args:
        model: folder, hub id, "demo", the embedded model, or "quote", which needs no model. None is
            "demo" too, with a warning in the log. With `servers`: the name that the servers use.
        servers: addresses of OpenAI-compatible servers. Without any, the model runs here.
        options: of `LocalReader` or `RemoteReader`; None counts as not given. Defaults come from
            `rag_vqa.presets` (revision and limits); a local reader is quantised to nf4.

    Raises:
        UsageError: an option of another back end, or servers without a model.
        Missing: the model is not on this machine, or the openai package is not installed.
    """
    given = check_reader_options(model, servers, options)
    backend = find_backend(model, servers)
    if model is None and not backend.missing_model:
        _log.warning("No reader is named: the embedded one answers. Name one: reader=…")
    return backend.open(backend.require_model(model), servers, given)


def find_backend(model: str | None, servers: Sequence[str] = ()) -> ReaderBackend:
    """The back end that opens this model; "local" if no other one accepts it."""
    local = READER_BACKENDS.get("local")
    others = (backend for backend in READER_BACKENDS.entries() if backend is not local)
    return next((backend for backend in others if backend.accepts(model, servers)), local)


def check_reader_options(
    reader: Reader | str | Path | None, servers: Sequence[str], options: Mapping[str, Any]
) -> dict[str, Any]:
    """The options that are not None, checked before a model loads.

    Args:
        reader: a model's name, or a reader that is open already, which takes no option.

    Raises:
        UsageError: an unknown option, one of another back end, one for an open reader, or an
            unknown quantization or amount of thinking.
    """
    known = list(dict.fromkeys(name for each in READER_BACKENDS.entries() for name in each.options))
    for name in options:
        if name not in known:
            raise UsageError(f"{name}: no option of a reader.{did_you_mean(name, known)}")
    given = {name: value for name, value in options.items() if value is not None}
    if not isinstance(reader, str | Path | None):
        if given or servers:
            names = ", ".join([*given, *(["servers"] if servers else [])])
            raise UsageError(f"{names}: this reader is open already. Leave it out, or name a model")
        return {}
    find_backend(None if reader is None else str(reader), servers).check_options(given)
    if "quantization" in given:
        check_choice("quantization", given["quantization"], get_args(Quantization))
    if "thinking" in given:
        check_choice("thinking", given["thinking"], get_args(Thinking))
    return given


def _open_remote(model: str, servers: Sequence[str], options: dict[str, Any]) -> Reader:
    if find_spec("openai") is None:
        raise Missing(
            "readers behind servers need openai: install it with pip install 'rag-vqa[openai]'"
        )
    from rag_vqa.readers.remote.reader import RemoteReader

    return RemoteReader(model, servers, **{**presets.reader_limits(model), **options})


def _open_local(model: str, servers: Sequence[str], options: dict[str, Any]) -> Reader:
    from rag_vqa.readers.local.reader import LocalReader

    options = {"quantization": "nf4", **presets.reader_limits(model), **options}
    options["revision"] = checkpoints.known_revision(model, options.get("revision"))
    _log_licence(model)
    return LocalReader(model_source(model, "reader"), **options)


def _log_licence(model: str) -> None:
    """Logs licence and size of a model that comes from the hub."""
    if model != EMBEDDED and not Path(model).is_dir():
        known = checkpoints.CHECKPOINTS.get(model)
        free = known is None or known.commercial
        _log.log(logging.INFO if free else logging.WARNING, "%s", checkpoints.licence_line(model))


def _open_quote(model: str, servers: Sequence[str], options: dict[str, Any]) -> Reader:
    from rag_vqa.readers.quote.quote_reader import QuoteReader

    return QuoteReader(**options)


READER_BACKENDS: Registry[ReaderBackend] = Registry("reader back end")
READER_BACKENDS.register(
    ReaderBackend(
        "local",
        (*COMMON_OPTIONS, "revision", "quantization", "device", "dtype", "batch_size"),
        accepts=lambda model, servers: not servers,
        open=_open_local,
        refusal="no server is named",
        loads_weights=True,
    )
)
READER_BACKENDS.register(
    ReaderBackend(
        "remote",
        (
            *COMMON_OPTIONS,
            *("tokenizer", "concurrency", "requests_per_minute"),
            *("timeout", "api_key", "retries"),
        ),
        accepts=lambda model, servers: bool(servers),
        open=_open_remote,
        refusal="its server loads the model",
        missing_model="--server: which model does it serve? Name it as it does: --reader MODEL",
    )
)
READER_BACKENDS.register(
    ReaderBackend(
        QUOTE,
        ("max_new_tokens", "max_context"),
        accepts=lambda model, servers: model == QUOTE and not servers,
        open=_open_quote,
        refusal="it quotes documents and runs no model",
    )
)
