"""Encoder: queries and passages to (N, K, D) unit tokens on the CPU, as numpy.

Knows batching, devices and dtypes. Groups items by what they have, so that an item without an
image (or text) does not run that tower. Several threads may use one encoder. `encode_query`,
`encode_document` and `similarity` are what sentence-transformers calls them. Does not know indexes
or storage.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from rag_vqa.checkpoints import model_source
from rag_vqa.devices import resolve_device
from rag_vqa.errors import Missing, RagVqaError, UsageError
from rag_vqa.formatting import one_line
from rag_vqa.hub import folder_check
from rag_vqa.hub.model_cache import find_snapshot
from rag_vqa.hub.model_files import ensure_available
from rag_vqa.retriever.image_workers import ImageOpener
from rag_vqa.retriever.model_card import ModelCard
from rag_vqa.retriever.modeling import (
    FAMILIES,
    INSTRUCTION_FILE,
    RetrieverFamily,
    RetrieverNetwork,
    RetrieverProcessor,
    RetrieverSide,
    find_family,
)
from rag_vqa.retriever.modeling.configuration import read_config
from rag_vqa.retriever.scoring import late_interaction
from rag_vqa.types import ImageSource, Passage, Query

Item = tuple[str, ImageSource | None]
QueryInput = str | Path | bytes | Image.Image | Mapping[str, Any] | Query | Passage
_log = logging.getLogger("rag_vqa.retriever")
_SURROGATES = re.compile("[\ud800-\udfff]")  # tokenizers take Unicode only


class Encoder:
    """A loaded retriever of any family: turns queries and passages into tokens.

    Attributes:
        family: the registry's entry for the model's type.
        source, revision: where the model came from. K, D: tokens of an item, width of a token.
        workers: number of processes that open pictures, see `load`.
        options: those given to `load` that differ from their defaults and shape the document side.
        fingerprint: hex digest of everything that shapes the document side (weights,
            configuration, tokenizer, image processing, dtype).
        query_fingerprint: the same of the query side.
        instruction: put before a query's text unless the query brings its own.
    """

    def __init__(
        self,
        model: RetrieverNetwork,
        processor: RetrieverProcessor,
        *,
        source: str = "memory",
        revision: str | None = None,
        options: Mapping[str, str | bool] | None = None,
        instruction: str = "",
        batch_size: int = 32,
        workers: int = 0,
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}; it must be at least 1.")
        if workers < 0:
            raise UsageError(f"workers is {workers}; it must be at least 0.")
        self.family: RetrieverFamily = FAMILIES.get(model.config.model_type)
        self.model, self.processor, self.batch_size = model.eval(), processor, batch_size
        self.source, self.revision, self.instruction = source, revision, instruction
        self.workers = workers
        self.options = dict(options or {})
        side = model.config.passage
        self.K: int = side.num_tokens
        self.D: int = side.token_width
        self._fingerprint: str | None = None
        self._warned_of_batch = False
        # One thread may search while another adds; padding and truncation are a tokenizer's state.
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "float32",
        batch_size: int = 32,
        workers: int = 0,
        tokenizer: str | Path | None = None,
        image_processor: str | Path | None = None,
        instruction: str | None = None,
        parity: bool = False,
        offline: bool = False,
    ) -> Self:
        """Load a checkpoint from a folder or the hub; "demo" is the embedded one.

        Args:
            batch_size: number of items that go through the model at once.
            workers: number of processes that open pictures while documents are added; 0 opens them
                in this one. A script that uses some needs `if __name__ == "__main__":`.

        Raises Missing (no such folder, or the hub does not give it), UsageError (of no known
        family, unknown device or dtype), RagVqaError (damaged).
        """
        name, source = str(source), model_source(str(source), "retriever")
        torch_dtype = getattr(torch, dtype, None)
        if torch_dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise UsageError(f"dtype {dtype!r} is none of float32, bfloat16, float16.")
        torch_device = torch.device(resolve_device(device))
        family, model = _load_model(source, torch_dtype, revision, offline)
        processor = family.load("processor").load(
            source,
            model.config.query,
            tokenizer=tokenizer,
            image_processor=image_processor,
            revision=revision,
            parity=parity,
            offline=offline,
        )
        model.to(torch_device)
        options = {"dtype": dtype, "parity": parity}
        options |= {"tokenizer": tokenizer, "image_processor": image_processor}
        return cls(
            model,
            processor,
            source=name,  # not the embedded one's folder, which moves with the installation
            revision=getattr(model.config, "_commit_hash", None) or revision,
            options={
                key: value if isinstance(value, bool) else str(value)
                for key, value in options.items()
                if value not in (None, False, "float32")
            },
            instruction=_read_instruction(source, revision) if instruction is None else instruction,
            batch_size=batch_size,
            workers=workers,
        )

    def opener(self) -> ImageOpener:
        """Opens documents' pictures as this encoder's image processor needs them."""
        return ImageOpener(self.processor.image_transform, self.workers)

    @property
    def window(self) -> int:
        """Number of text tokens that the towers read."""
        return self.processor.window

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, start and end marks included, not truncated."""
        with self._lock:
            return self.processor.count_tokens(text)

    @property
    def fingerprint(self) -> str:
        """See the class; computed once, from what is in memory."""
        if self._fingerprint is None:
            self._fingerprint = self._digest(self.model.get_passage_model())
        return self._fingerprint

    @property
    def query_fingerprint(self) -> str:
        """See the class; computed each time."""
        return self._digest(self.model.get_query_model())

    def encode_queries(self, queries: Sequence[Query]) -> NDArray[np.float32]:
        """(N, K, D) float32 unit tokens; text = instruction + " " + question, as in M2KR.

        Truncates texts longer than the window, as the release does, and logs it: for a single query
        each time, for a batch the first time.
        """
        items = [(self.query_text(query), query.image) for query in queries]
        if self.model.config.query.reads_text:
            self._warn_of_truncation([text for text, _ in items])
        return self._encode(self.model.get_query_model(), items)

    def encode_query(self, inputs: QueryInput | Sequence[QueryInput]) -> NDArray[np.float32]:
        """Tokens of one query, (K, D), or of a list of them, (Q, K, D); unit rows.

        Args:
            inputs: a text, a picture (path or PIL image), {"text": …, "image": …} with one or both,
                or a Query.
        """
        found = [_as_query(one) for one in _as_list(inputs)]
        tokens = self.encode_queries(found)
        return tokens if _is_list(inputs) else tokens[0]

    def encode_document(self, inputs: QueryInput | Sequence[QueryInput]) -> NDArray[np.float32]:
        """Tokens of one document, (K, D), or of a list of them, (N, K, D); unit rows.

        Args:
            inputs: as for `encode_query`, or a Passage. The tower reads the first `window` tokens
                of a text: a KnowledgeBase divides longer ones.
        """
        found = [_as_passage(one) for one in _as_list(inputs)]
        tokens = self.encode_passages(found)
        return tokens if _is_list(inputs) else tokens[0]

    @staticmethod
    def similarity(queries: Any, documents: Any) -> torch.Tensor:
        """(Q, N) late interaction scores of queries (Q, K, D) or (K, D), documents alike."""
        first, second = (torch.as_tensor(tokens).float() for tokens in (queries, documents))
        first, second = (x[None] if x.ndim == 2 else x for x in (first, second))
        return late_interaction(first, second)

    def save_pretrained(
        self, folder: str | Path, card: ModelCard | None = None, name: str = ""
    ) -> None:
        """Write model, processor, instruction and card; `Encoder.load` and AutoModel load it.

        Replaces `folder`. `name`: hub id in the card's examples, if not the folder's name.
        """
        from rag_vqa.retriever.modeling.export import export_checkpoint

        export_checkpoint(
            self.model,
            self.processor,
            Path(folder),
            instruction=self.instruction,
            scale=self.model.config.logit_scale,
            dtype=str(self.options.get("dtype", "float32")),
            card=card,
            name=name,
        )

    def push_to_hub(self, repo: str, card: ModelCard | None = None, **options: Any) -> str:
        """Upload it to the hub in one commit; returns the address of the commit.

        Args:
            repo: "name" or "owner/name"; made if it does not exist.
            card: replaces the README.md there; None: one is written if there is none.
            options: `private` and `token` as huggingface_hub takes them.
        """
        from rag_vqa.retriever.modeling.export import push_checkpoint

        return push_checkpoint(
            lambda folder, name: self.save_pretrained(folder, card, name),
            repo,
            keep_card=card is None,
            **options,
        )

    def query_text(self, query: Query) -> str:
        """The text that is encoded for a query: its instruction, then its question."""
        instruction = self.instruction if query.instruction is None else query.instruction
        return _SURROGATES.sub("\ufffd", f"{instruction} {query.text}".strip())

    def _warn_of_truncation(self, texts: Sequence[str]) -> None:
        too_long = [length for text in texts if (length := self.count_tokens(text)) > self.window]
        if not too_long or (self._warned_of_batch and len(texts) > 1):
            return
        if len(texts) == 1:
            part = f"the first {self.window} of this question's {too_long[0]} tokens"
        else:
            self._warned_of_batch = True  # an evaluation sends many batches: warn once
            part = (
                f"{self.window} tokens of a question, and {len(too_long)} of {len(texts)} have more"
            )
        _log.warning("The retriever reads %s: the end is not searched for", part)

    def encode_passages(
        self, passages: Sequence[Passage], on_progress: Callable[[int], object] | None = None
    ) -> NDArray[np.float32]:
        """(N, K, D) float32 unit tokens. `on_progress` gets the number done after each batch."""
        items = [(passage.text, passage.image) for passage in passages]
        return self._encode(self.model.get_passage_model(), items, on_progress)

    @torch.inference_mode()
    def _encode(
        self,
        side: RetrieverSide,
        items: Sequence[Item],
        on_progress: Callable[[int], object] | None = None,
    ) -> NDArray[np.float32]:
        reads_text, reads_images = side.config.reads_text, side.config.reads_images
        # An unread modality is neither tokenised nor decoded.
        items = [(t if reads_text else "", i if reads_images else None) for t, i in items]
        tokens = np.empty((len(items), self.K, self.D), dtype=np.float32)
        done = 0
        for rows in self._batches(items):
            with self._lock:
                inputs = self.processor([items[r][0] for r in rows], [items[r][1] for r in rows])
            unit = F.normalize(side.encode(inputs), dim=-1).float().cpu().numpy()
            tokens[rows] = unit.reshape(len(rows), self.K, self.D)  # pooled (B, D) → (B, 1, D)
            done += len(rows)
            if on_progress is not None:
                on_progress(done)
        return tokens

    def _batches(self, items: Sequence[Item]) -> Iterable[list[int]]:
        """Rows of items, batch by batch: grouped by modality, so that the tower of an absent one
        does not run at all, and by length within a group, so that there is little padding."""

        def sort_key(row: int) -> tuple[bool, bool, int]:
            text, image = items[row]
            return bool(text), image is not None and image != "", len(text)

        order = sorted(range(len(items)), key=sort_key)
        start = 0
        while start < len(order):
            group, candidates = sort_key(order[start])[:2], order[start : start + self.batch_size]
            batch = [row for row in candidates if sort_key(row)[:2] == group]
            yield batch
            start += len(batch)

    def _digest(self, side: RetrieverSide) -> str:
        digest = hashlib.sha256()
        side.update_digest(digest)
        self.processor.update_digest(digest)
        return digest.hexdigest()


def _is_list(inputs: Any) -> bool:
    return not isinstance(inputs, str | bytes | Path | Image.Image | Mapping | Query | Passage)


def _as_list(inputs: Any) -> list[Any]:
    return list(inputs) if _is_list(inputs) else [inputs]


def _as_query(given: QueryInput) -> Query:
    if isinstance(given, Query):
        return given
    text, image = _text_and_image(given)
    return Query(text, image)


def _as_passage(given: QueryInput) -> Passage:
    if isinstance(given, Passage):
        return given
    text, image = _text_and_image(given)
    return Passage("", 0, text, image)


def _text_and_image(given: Any) -> Item:
    if isinstance(given, Mapping):
        if not given or set(given) - {"text", "image"}:
            raise UsageError(f"{sorted(given)}: give 'text', 'image', or both")
        return str(given.get("text") or ""), given.get("image")
    if isinstance(given, Path | bytes | Image.Image):
        return "", given
    if not isinstance(given, str):
        raise UsageError(f"{type(given).__name__}: give a text, a picture, or a dict of them")
    return given, None


def _load_model(
    source: str, dtype: torch.dtype, revision: str | None, offline: bool
) -> tuple[RetrieverFamily, Any]:
    """The family of a checkpoint, and its model. Downloads no weights of another family."""
    folder_check.refuse_file(source)
    if (folder := Path(source)).is_dir():
        find_family(source, folder_check.read_config_file(source, folder))
    try:
        location = ensure_available(source, revision, offline=offline, marker="config.json")
        family = find_family(source, read_config(source, **location))
        ensure_available(source, revision, offline=offline)
        config = family.load("configuration")(source, **location)
        network = family.load("model")
        return family, network.from_pretrained(str(source), config=config, dtype=dtype, **location)
    except RagVqaError:
        raise
    except OSError as error:
        raise Missing(
            f"{source} has no retriever ({str(error).splitlines()[0]}). Give a folder with "
            "config.json and model.safetensors, or a hub id."
        ) from error
    except Exception as error:  # whatever the libraries raise about a checkpoint
        reason = one_line(str(error)) or type(error).__name__
        raise RagVqaError(f"{source} is damaged, or no whole checkpoint: {reason}") from error


def _read_instruction(source: str, revision: str | None) -> str:
    """The default instruction beside a checkpoint, "" if it has none."""
    folder = Path(source) if Path(source).is_dir() else find_snapshot(source, revision)
    if folder is None or not (file := folder / INSTRUCTION_FILE).is_file():
        return ""
    try:
        content = folder_check.read_object(file)
    except RagVqaError as error:
        raise RagVqaError(f"{error}. Mend it, or delete it.") from error
    if not isinstance(content.get("default"), str):
        raise RagVqaError(f'{file} should read {{"default": "…"}}. Mend it, or delete it.')
    return str(content["default"])
