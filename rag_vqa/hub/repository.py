"""A repository of the hub: its files with sizes and hashes, and which of them a model needs.

Knows the names of files that transformers reads. Does not know what is on this machine
(model_cache.py), and downloads no file.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any

from rag_vqa.errors import Missing
from rag_vqa.formatting import one_line
from rag_vqa.hub.failures import (
    call_with_deadline,
    first_answer_seconds,
    not_a_hub,
    translate_hub_errors,
)

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
# What loads a configuration, a tokenizer and a processor; and the terms of the model.
SMALL_FILES = (
    "config.json", "generation_config.json", "processor_config.json", "preprocessor_config.json",
    "video_preprocessor_config.json", "chat_template.jinja", "chat_template.json",
    "additional_chat_templates/*.jinja", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt",
    "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "*.tiktoken", "tekken.json",
    "instructions.json", "LICENSE*", "LICENCE*", "NOTICE*", "README.md",
)  # fmt: skip
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.onnx")
# Weights of the same model again, in another precision or for another program.
_OTHER_WEIGHTS = ("consolidated*", "adapter_*", "*.fp16.*", "*.fp32.*", "*.bf16.*", "*.int8.*")


@dataclass(frozen=True)
class RepositoryFile:
    """A file of a repository.

    Attributes:
        digest: SHA-256 if the hub keeps it as a large file, else git's hash of its content.
        large: which of the two.
    """

    name: str
    size: int
    digest: str
    large: bool


@dataclass(frozen=True)
class Repository:
    """A model of the hub at one commit."""

    model: str
    revision: str | None
    commit: str
    files: tuple[RepositoryFile, ...]
    licence: str = ""
    gated: bool = False
    tags: tuple[str, ...] = field(default=(), repr=False)

    def find_file(self, name: str) -> RepositoryFile | None:
        """The file of this name."""
        return next((file for file in self.files if file.name == name), None)


def look_up(model: str, revision: str | None = None) -> Repository:
    """Ask the hub for a model's commit and files.

    Raises:
        Missing: the hub cannot be reached, or does not show the model; within ten seconds.
    """
    with translate_hub_errors(model, revision):
        seconds = first_answer_seconds()
        info = call_with_deadline(lambda: _ask_twice(model, revision, seconds), seconds)
    files = tuple(_repository_file(each) for each in info.siblings or ())
    if not info.sha or not files or any(not file.digest for file in files):
        raise not_a_hub("it lists no files with sizes and hashes")
    card = info.card_data
    return Repository(
        model,
        revision,
        info.sha,
        files,
        licence=_licence(info, card),
        gated=bool(info.gated),
        tags=tuple(info.tags or ()),
    )


def _ask_twice(model: str, revision: str | None, seconds: float) -> Any:
    """The hub's information about a model; a server's error is asked about once more."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    def ask() -> Any:
        try:
            return HfApi().model_info(
                model, revision=revision, files_metadata=True, timeout=seconds
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if type(error).__module__.startswith("huggingface_hub"):
                raise
            raise not_a_hub("what it sent is not the description of a model") from error

    try:
        return ask()
    except HfHubHTTPError as error:
        if error.response.status_code < 500:
            raise
        time.sleep(1)
        return ask()


def _repository_file(entry: Any) -> RepositoryFile:
    if entry.lfs is not None:
        return RepositoryFile(entry.rfilename, entry.lfs.size, entry.lfs.sha256, large=True)
    return RepositoryFile(entry.rfilename, entry.size or 0, entry.blob_id or "", large=False)


def _licence(info: Any, card: Any) -> str:
    """The licence as the model card names it; "" if it does not."""
    named = card.get("license") if card is not None else None
    if named == "other":
        named = card.get("license_name") or named
    tagged = (tag.partition(":")[2] for tag in info.tags or () if tag.startswith("license:"))
    return one_line(str(named or next(tagged, "")))


def is_small_file(name: str) -> bool:
    """True of a file that belongs to configuration, tokenizer, processor or terms."""
    return any(fnmatch(name, pattern) for pattern in SMALL_FILES) and (
        "/" not in name or name.startswith("additional_chat_templates/")
    )


def weight_names(names: Collection[str]) -> list[str]:
    """Names of the weights to load, or of the index that names them; as transformers chooses.

    >>> weight_names(["a-1.safetensors", "model.safetensors", "pytorch_model.bin"])
    ['model.safetensors']
    """
    for name in (WEIGHTS, INDEX):
        if name in names:
            return [name]
    found = [name for name in names if name.endswith(".safetensors") and "/" not in name]
    return sorted(
        name for name in found if not any(fnmatch(name, pattern) for pattern in _OTHER_WEIGHTS)
    )


def shard_names(index: Any) -> list[str]:
    """Names of the files that an index of weights (its JSON) names."""
    found = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        return []
    return sorted(set(found.values()))


def needed_files(repository: Repository, *, weights: bool = True) -> list[RepositoryFile]:
    """The files that a model needs, small ones first; of sharded weights all shards.

    Args:
        weights: False: only configuration, tokenizer and processor.

    Raises:
        Missing: it has no weights in safetensors.
    """
    small = [file for file in repository.files if is_small_file(file.name)]
    if not weights:
        return small
    names = weight_names([file.name for file in repository.files])
    if not names:
        raise no_weights_error(repository.model, [file.name for file in repository.files])
    return [*small, *_with_shards(repository, names)]


def _with_shards(repository: Repository, names: list[str]) -> Iterator[RepositoryFile]:
    """The weights; for an index, the index and all shards that are named as it says.

    The names of shards follow a pattern, so that the index need not be read before consent.
    """
    if names == [INDEX]:
        shards = [
            file.name for file in repository.files if fnmatch(file.name, "model-*-of-*.safetensors")
        ]
        names = [INDEX, *shards]
    for name in names:
        file = repository.find_file(name)
        if file is not None:
            yield file


def no_weights_error(model: str, names: Collection[str]) -> Missing:
    """The error for a model without safetensors, by what it has instead."""
    pickled = [name for name in names if any(fnmatch(name, pattern) for pattern in _PICKLED)]
    gguf = [name for name in names if name.endswith(".gguf")]
    model = one_line(model)
    if gguf:
        return Missing(
            f"{model} has its weights as GGUF ({one_line(gguf[0])}), not in safetensors. Run it "
            "behind a server such as llama.cpp: --server URL"
        )
    if pickled:
        return Missing(
            f"{model} has no weights in safetensors, only pickled ones ({one_line(pickled[0])}), "
            "which can run code. Use a revision that has them (MODEL@REVISION), such as refs/pr/1"
        )
    return Missing(
        f"{model} has no weights in safetensors, so there is nothing to load. Fetch it again: "
        "rag-vqa models pull MODEL; or name another"
    )
