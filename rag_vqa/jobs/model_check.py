"""Check a model before gigabytes are downloaded: can this version of rag-vqa read it?

Loads configuration, tokenizer and processor, and the model on the meta device from the headers of
its weights: every tensor is looked for, no number is read. Does not know the hub's protocol.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rag_vqa.checkpoints import EMBEDDED, embedded_model
from rag_vqa.errors import Missing, RagVqaError
from rag_vqa.formatting import format_bytes, one_line
from rag_vqa.hub.download import download_files
from rag_vqa.hub.failures import is_network_off
from rag_vqa.hub.folder_check import (
    check_model_files,
    read_config_file,
    read_headers,
    refuse_file,
    weights_of,
)
from rag_vqa.hub.model_cache import find_snapshot, is_available, is_hub_id
from rag_vqa.hub.model_files import network_off_error
from rag_vqa.hub.repository import look_up, needed_files
from rag_vqa.hub.weight_headers import count_tensors, fetch_starts, write_hollow_file
from rag_vqa.jobs.diagnosis import Finding
from rag_vqa.jobs.download_consent import resolve_names
from rag_vqa.presets import PRESETS
from rag_vqa.progress import LOG, Reporter

Role = Literal["retriever", "reader"]


@dataclass(frozen=True)
class ModelCheck:
    """What was found out about a model.

    Attributes:
        size: bytes of its weights.
    """

    model: str
    role: Role
    size: int
    findings: tuple[Finding, ...]

    @property
    def good(self) -> bool:
        """True if this version can read it."""
        return all(each.good for each in self.findings)


def check_models(name: str, reporter: Reporter = LOG, *, offline: bool = False) -> list[ModelCheck]:
    """Check a model of the hub, of a folder, or all models of a preset.

    Raises:
        UsageError: the name is none.
        Missing: the hub cannot be reached or refuses; or the folder holds no model.
    """
    if name == EMBEDDED:
        return [_check_folder(str(embedded_model(role)), embedded_model(role))
                for role in ("retriever", "reader")]  # fmt: skip
    if Path(name).is_dir():
        return [_check_folder(name, Path(name))]
    refuse_file(name)
    if name.startswith(("/", ".", "~")):
        raise Missing(f"{one_line(name)}: there is no such folder.")
    models = resolve_names([name])
    if name in PRESETS:
        wanted = {PRESETS[name].retriever, PRESETS[name].reader}
        models = [each for each in models if each[0] in wanted]
    else:
        models = models[:1]  # without the model whose tokenizer a retriever uses
    return [_check_hub_model(*each, reporter, offline) for each in models]


def _check_hub_model(
    model: str, revision: str | None, reporter: Reporter, offline: bool
) -> ModelCheck:
    """Check a model of the cache, or of the hub by its small files and its weights' headers."""
    snapshot = find_snapshot(model, revision)
    if snapshot is not None and is_available(model, revision) and not _lacks_weights(snapshot):
        return _check_folder(model, snapshot, revision)
    if offline or is_network_off():
        raise network_off_error(one_line(model))
    repository = look_up(model, revision)
    needed = needed_files(repository)
    weights = [file for file in needed if file.name.endswith(".safetensors")]
    snapshot = download_files(repository, [file for file in needed if file not in weights])
    reporter.note(f"{one_line(model)}: reading the headers of {len(weights)} files of weights")
    starts = fetch_starts(repository, weights)
    with tempfile.TemporaryDirectory() as place:
        hollow = Path(place)
        for path in snapshot.iterdir():
            if path.is_file() and path.suffix != ".safetensors":
                (hollow / path.name).write_bytes(path.read_bytes())
        for start in starts:
            write_hollow_file(start, hollow / start.name)
        return _check_folder(model, hollow, revision)


def _lacks_weights(folder: Path) -> bool:
    return not any(folder.glob("*.safetensors"))


def _check_folder(model: str, folder: Path, revision: str | None = None) -> ModelCheck:
    """Check the files of a folder; each step only if the one before it succeeded."""
    from rag_vqa.readers.model_loading import gguf_file
    from rag_vqa.retriever.modeling import FAMILIES

    if packed := gguf_file(str(folder)):
        config: dict[str, Any] = {}
        names = list(packed.values())
    else:
        config, names = read_config_file(model, folder), weights_of(model, folder)
    role: Role = "retriever" if config.get("model_type") in FAMILIES.names() else "reader"
    check = _RetrieverCheck if role == "retriever" else _ReaderCheck
    checks = check(model, folder, revision, config)
    findings: list[Finding] = []
    steps: list[tuple[str, Callable[[], str]]] = [
        ("weights", lambda: _describe_weights(folder, names)),
        ("configuration", checks.configuration),
        ("tensors", checks.tensors),
        ("processor", checks.processor),
    ]
    for title, step in steps:
        try:
            findings.append(Finding(title, True, step()))
        except RagVqaError as error:
            findings.append(Finding(title, False, one_line(str(error))))
            break
        except Exception as error:  # noqa: BLE001  whatever the library raises is the finding
            reason = one_line(str(error).strip().partition("\n")[0])
            findings.append(Finding(title, False, f"it does not load: {reason}"))
            break
    size = sum((folder / name).stat().st_size for name in names if (folder / name).is_file())
    return ModelCheck(model, role, size, tuple(findings))


def _describe_weights(folder: Path, names: list[str]) -> str:
    if [Path(name).suffix for name in names] == [".gguf"]:
        return f"{format_bytes((folder / names[0]).stat().st_size)} of GGUF"
    files = read_headers(folder, names)
    counts: Counter[str] = sum((count_tensors(file) for file in files), Counter())
    kinds = ", ".join(f"{count / 1e6:,.1f} million {kind}" for kind, count in counts.most_common())
    size = format_bytes(sum(file.size for file in files))
    return f"{size} in {len(files)} file{'s' if len(files) > 1 else ''}: {kinds}"


class _ReaderCheck:
    """The steps of a reader."""

    def __init__(
        self, model: str, folder: Path, revision: str | None, config: dict[str, Any]
    ) -> None:
        self.model, self.folder, self.revision, self.raw = model, folder, revision, config
        self.config: Any = None

    def configuration(self) -> str:
        """Load the configuration; says which class of transformers it is."""
        from transformers import AutoConfig

        from rag_vqa.readers.model_loading import gguf_file
        from rag_vqa.readers.refusals import check_reader_class

        self.where = {"local_files_only": True, **gguf_file(str(self.folder))}
        if self.raw:
            check_reader_class(self.model, self.raw)
            check_model_files(self.model, self.folder)
        with self._translate():
            self.config = AutoConfig.from_pretrained(
                self.folder, trust_remote_code=False, **self.where
            )
        return f"{self.config.model_type} ({type(self.config).__name__})"

    def tensors(self) -> str:
        """Place every tensor of the headers in the model, on the meta device."""
        from rag_vqa.model_structure import model_class
        from rag_vqa.readers.model_loading import check_loaded_tensors, stored_quantization

        if "gguf_file" in self.where:  # its numbers would have to be unpacked
            return "weights in GGUF, not looked at"
        if (stored := stored_quantization(self.config)) is not None:
            return f"weights stored in {stored}, not looked at one by one"
        with self._translate():
            network, report = model_class(self.config).from_pretrained(
                self.folder,
                config=self.config,
                device_map={"": "meta"},
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                use_safetensors=True,
                trust_remote_code=False,
                **self.where,
            )
        rest = check_loaded_tensors(self.model, network, report)
        unused = f"; {rest} are not used" if rest else ""
        return f"{type(network).__name__}, {network.num_parameters() / 1e6:,.0f} million{unused}"

    def processor(self) -> str:
        """Load tokenizer, image processor and chat template."""
        from rag_vqa.readers.processor_loading import check_vocabulary, load_processor

        with self._translate():
            processor = load_processor(str(self.folder), self.config, **self.where)
            check_vocabulary(self.model, processor.tokenizer, self.config)
        return f"{type(processor).__name__.lstrip('_')}, {len(processor.tokenizer):,} tokens"

    @contextmanager
    def _translate(self) -> Iterator[None]:
        from rag_vqa.readers.refusals import translate_loading_errors

        with translate_loading_errors(self.model, offline=True):
            yield


class _RetrieverCheck(_ReaderCheck):
    """The steps of a retriever."""

    def configuration(self) -> str:
        """Load the configuration by its family."""
        from rag_vqa.retriever.modeling import find_family

        check_model_files(self.model, self.folder)
        self.family = find_family(self.model, self.raw)
        self.config = self.family.load("configuration")(self.folder, local_files_only=True)
        side = self.config.passage
        return f"{self.family.name}: {side.num_tokens} × {side.token_width} numbers a document"

    def tensors(self) -> str:
        """Place every tensor of the headers in both sides, on the meta device."""
        network = self.family.load("model").from_pretrained(
            str(self.folder), config=self.config, device_map={"": "meta"}, local_files_only=True
        )
        return f"{type(network).__name__}, {network.num_parameters() / 1e6:,.0f} million"

    def processor(self) -> str:
        """Load tokenizer and image processor, which may be those of the towers."""
        is_cached = is_hub_id(self.model) and find_snapshot(self.model, self.revision) is not None
        source = self.model if is_cached else str(self.folder)
        found = self.family.load("processor").load(
            source, self.config.query, revision=self.revision, offline=is_network_off()
        )
        return f"{type(found).__name__}, reads {found.window} tokens of text"
