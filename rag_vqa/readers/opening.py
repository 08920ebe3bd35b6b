"""A reader by name: the embedded one, one of transformers on this machine, or one behind servers.

It knows which options belong to which, and what is known of a model. It does not know how a model
loads, or how a server is asked.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from rag_vqa import presets
from rag_vqa.errors import Missing, UsageError
from rag_vqa.readers.checking import check_choice
from rag_vqa.readers.loading import Quantization
from rag_vqa.settings import EMBEDDED, model_source

if TYPE_CHECKING:
    from rag_vqa.readers.reader import Reader

# Options of one kind of reader that the other has not.
HERE = ("revision", "quantization", "device", "dtype", "batch_size")
THERE = ("tokenizer", "concurrency", "requests_per_minute", "timeout", "api_key", "retries")
BOTH = (
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
    given = check_given(options, servers)
    if servers:
        return _remote(model, servers, given)
    if model is None:
        _log.warning("No reader is named: the embedded one answers. Name one: reader=…")
    return _local(model or EMBEDDED, given)


def check_given(
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
        if name not in (*BOTH, *HERE, *THERE):
            close = get_close_matches(name, (*BOTH, *HERE, *THERE), n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise UsageError(f"{name}: no option of a reader.{hint}")
    given = {name: value for name, value in options.items() if value is not None}
    if not named and (given or servers):
        said = ", ".join([*given, *(["servers"] if servers else [])])
        raise UsageError(f"{said}: this reader is open already. Leave it out, or name a model")
    check_options(given, servers)
    if "quantization" in given:
        check_choice("quantization", given["quantization"], get_args(Quantization))
    return given


def check_options(given: Iterable[str], servers: Sequence[str]) -> None:
    """Raises UsageError if one of the names in `given` is the other kind's."""
    wrong = [name for name in given if name in (HERE if servers else THERE)]
    if wrong:
        why = "its server loads the model" if servers else "it is about servers, and none is named"
        raise UsageError(f"reader: {', '.join(wrong)} cannot be meant, for {why}. Leave it out")


def check_named(model: str | None) -> str:
    """The model that servers are asked for. Raises UsageError without one."""
    if model is None:
        raise UsageError("--server: which model does it serve? Name it as it does: --reader MODEL")
    return model


def _remote(model: str | None, servers: Sequence[str], given: dict[str, Any]) -> Reader:
    named = check_named(model)
    if find_spec("openai") is None:
        raise Missing(
            "readers behind servers need openai: install it with pip install 'rag-vqa[openai]'"
        )
    from rag_vqa.readers.remote import RemoteReader

    return RemoteReader(named, servers, **{**presets.limits(named), **given})


def _local(model: str, given: dict[str, Any]) -> Reader:
    from rag_vqa.readers.local import LocalReader

    options = {"quantization": "nf4", **presets.limits(model), **given}
    options["revision"] = presets.revision(model, options.get("revision"))
    _say_terms(model)
    return LocalReader(model_source(model, "reader"), **options)


def _say_terms(model: str) -> None:
    """Logs licence and size of a model that comes from the hub."""
    if model != EMBEDDED and not Path(model).is_dir():
        known = presets.MODELS.get(model)
        free = known is None or known.commercial
        _log.log(logging.INFO if free else logging.WARNING, "%s", presets.terms(model))
