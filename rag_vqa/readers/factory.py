"""Opens a reader by name, from the registry of back ends.

Knows the registered back ends, which options belong to which, and the presets of known models. Does
not know how a model loads or how a server is called: each back end opens its own reader.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from rag_vqa import checkpoints, presets
from rag_vqa.checkpoints import EMBEDDED, model_source
from rag_vqa.errors import Missing, UsageError
from rag_vqa.readers.base import check_choice
from rag_vqa.types import Quantization

if TYPE_CHECKING:
    from rag_vqa.readers.base import Reader

# Options of one kind of reader that the other has not.
LOCAL_OPTIONS = ("revision", "quantization", "device", "dtype", "batch_size")
REMOTE_OPTIONS = (
    "tokenizer",
    "concurrency",
    "requests_per_minute",
    "timeout",
    "api_key",
    "retries",
)
COMMON_OPTIONS = (
    "max_new_tokens", "max_pixels", "max_images", "max_context", "stop_at_newline", "offline",
)  # fmt: skip
_log = logging.getLogger("rag_vqa")


def open_reader(model: str | None, *, servers: Sequence[str] = (), **options: Any) -> Reader:
    """The reader, loaded.

    Args:
        model: folder, hub id, or "demo", the embedded one, which None is too (and then logged);
            with `servers`, as they call it.
        servers: addresses of OpenAI-compatible servers; none: the model runs here.
        options: of `LocalReader`, or of `RemoteReader`; None is not given. What is not given is
            taken from `rag_vqa.presets`: revision and limits; here, weights are in nf4.

    Raises:
        UsageError: an option of the other kind, or servers without a model.
        Missing: the model, or the package that asks servers, is not here.
    """
    given = check_reader_options(options, servers)
    if servers:
        return _open_remote(model, servers, given)
    if model is None:
        _log.warning("No reader is named: the embedded one answers. Name one: reader=…")
    return _open_local(model or EMBEDDED, given)


def check_reader_options(
    options: Mapping[str, Any], servers: Sequence[str], named: bool = True
) -> dict[str, Any]:
    """Those options that are given, checked before a model loads.

    Args:
        named: the reader is one by name; one that is open takes none.

    Raises:
        UsageError: an option of no reader, of the other kind, or of one that is open; a
            quantization that there is not.
    """
    for name in options:
        if name not in (*COMMON_OPTIONS, *LOCAL_OPTIONS, *REMOTE_OPTIONS):
            close = get_close_matches(name, (*COMMON_OPTIONS, *LOCAL_OPTIONS, *REMOTE_OPTIONS), n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise UsageError(f"{name}: no option of a reader.{hint}")
    given = {name: value for name, value in options.items() if value is not None}
    if not named and (given or servers):
        said = ", ".join([*given, *(["servers"] if servers else [])])
        raise UsageError(f"{said}: this reader is open already. Leave it out, or name a model")
    check_backend_options(given, servers)
    if "quantization" in given:
        check_choice("quantization", given["quantization"], get_args(Quantization))
    return given


def check_backend_options(given: Iterable[str], servers: Sequence[str]) -> None:
    """Raises UsageError if one of the names in `given` is the other kind's."""
    wrong = [name for name in given if name in (LOCAL_OPTIONS if servers else REMOTE_OPTIONS)]
    if wrong:
        why = "its server loads the model" if servers else "it is about servers, and none is named"
        raise UsageError(f"reader: {', '.join(wrong)} cannot be meant, for {why}. Leave it out")


def require_model(model: str | None) -> str:
    """The model that servers are asked for. Raises UsageError without one."""
    if model is None:
        raise UsageError("--server: which model does it serve? Name it as it does: --reader MODEL")
    return model


def _open_remote(model: str | None, servers: Sequence[str], given: dict[str, Any]) -> Reader:
    named = require_model(model)
    if find_spec("openai") is None:
        raise Missing(
            "readers behind servers need openai: install it with pip install 'rag-vqa[openai]'"
        )
    from rag_vqa.readers.remote.reader import RemoteReader

    return RemoteReader(named, servers, **{**presets.reader_limits(named), **given})


def _open_local(model: str, given: dict[str, Any]) -> Reader:
    from rag_vqa.readers.local.reader import LocalReader

    options = {"quantization": "nf4", **presets.reader_limits(model), **given}
    options["revision"] = checkpoints.known_revision(model, options.get("revision"))
    _log_licence(model)
    return LocalReader(model_source(model, "reader"), **options)


def _log_licence(model: str) -> None:
    """Logs licence and size of a model that comes from the hub."""
    if model != EMBEDDED and not Path(model).is_dir():
        known = checkpoints.CHECKPOINTS.get(model)
        free = known is None or known.commercial
        _log.log(logging.INFO if free else logging.WARNING, "%s", checkpoints.licence_line(model))
