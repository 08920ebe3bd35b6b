"""Token counter: the tokenizer of a retriever alone, for counting without loading the model.

Apart because it must not import torch, as its neighbours do: `kb show` answers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from rag_vqa.checkpoints import model_source, processor_source

_FILE = "tokenizer.json"


def find_token_counter(
    source: str, revision: str | None, options: Mapping[str, str | bool]
) -> Callable[[str], int] | None:
    """Counts tokens as the retriever does, start and end marks included; None without its files.

    Nothing is downloaded.

    Args:
        source, revision, options: of the knowledge base's manifest.
    """
    from tokenizers import Tokenizer

    named = options.get("tokenizer")
    own = model_source(source, "retriever")
    places = [named] if isinstance(named, str) else [own, processor_source(own)]
    for place in filter(None, places):
        file = _find_file(place, revision if place == own else None)
        if file is None:
            continue
        try:
            tokenizer = Tokenizer.from_file(str(file))
        except Exception:  # noqa: BLE001  the library raises no class of its own
            return None
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return lambda text: len(tokenizer.encode(text).ids)
    return None


def _find_file(place: str, revision: str | None) -> Path | None:
    """The tokenizer's file in a folder, or in the hub's cache."""
    if Path(place).is_dir():
        file = Path(place) / _FILE
        return file if file.is_file() else None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(place, _FILE, revision=revision)
    except HFValidationError:  # a folder that is gone
        return None
    return Path(found) if isinstance(found, str) else None
