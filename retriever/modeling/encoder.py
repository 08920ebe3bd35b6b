"""Encoder: queries and passages to (N, K, D) unit tokens on the CPU, as numpy.

Knows batching, devices and dtypes. Groups items by what they have, so that an item without an
image (or text) does not run that tower. Several threads may use one encoder. Does not know indexes
or storage.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch.nn import functional as F

from rag_vqa.checkpoints import model_source
from rag_vqa.devices import resolve_device
from rag_vqa.errors import Missing, RagVqaError, UsageError
from rag_vqa.retriever.image_workers import ImageOpener, ImageTransform
from rag_vqa.retriever.modeling.model import RetModel, RetrieverModel
from rag_vqa.retriever.modeling.processor import RetProcessor
from rag_vqa.types import ImageSource, Passage, Query

INSTRUCTION_FILE = "instructions.json"  # ours: {"default": "…"}, beside a checkpoint
Item = tuple[str, ImageSource | None]
_log = logging.getLogger("rag_vqa.retriever")
_SURROGATES = re.compile("[\ud800-\udfff]")  # tokenizers take Unicode only


class Encoder:
    """A loaded retriever that turns queries and passages into tokens.

    Attributes:
        source, revision: what was loaded. K, D: tokens an item, width of a token.
        workers: processes that open pictures, see `load`.
        options: what was said to `load` beyond the defaults and shapes the document side.
        fingerprint: hex digest of all that shapes the document side (weights, configuration,
            tokenizer, image processing, dtype).
        query_fingerprint: likewise of the query side.
        instruction: put before a query's text unless the query brings its own.
    """

    def __init__(
        self,
        model: RetrieverModel,
        processor: RetProcessor,
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
        self.model, self.processor, self.batch_size = model.eval(), processor, batch_size
        self.source, self.revision, self.instruction = source, revision, instruction
        self.workers = workers
        self.options = dict(options or {})
        side = model.config.passage
        self.K: int = 1 if side.use_pooler_features else side.num_queries
        self.D: int = side.late_proj_output_size or side.hidden_size
        self._fingerprint: str | None = None
        self._told_cut = False  # of a batch
        # One thread may search while another adds; how a tokenizer pads and cuts is its own state.
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
            batch_size: items that go through the model at once.
            workers: processes that open pictures as documents are added; 0: none but this one. A
                script that gives some guards its start by `if __name__ == "__main__":`.

        Raises Missing (not there), UsageError (no ReT checkpoint, unknown device or dtype).
        """
        name, source = str(source), model_source(str(source), "retriever")
        where = {"revision": revision, "local_files_only": offline}
        number = getattr(torch, dtype, None)
        if number not in (torch.float32, torch.bfloat16, torch.float16):
            raise UsageError(f"dtype {dtype!r} is none of float32, bfloat16, float16.")
        where_to = torch.device(resolve_device(device))
        try:
            model = RetrieverModel.from_pretrained(str(source), dtype=number, **where)
        except OSError as error:
            raise Missing(
                f"{source}: no such retriever ({str(error).splitlines()[0]}). Give a folder with "
                "config.json and model.safetensors, or a hub id while online."
            ) from error
        except (SafetensorError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise RagVqaError(f"{source} is damaged, or no whole checkpoint: {reason}") from error
        processor = RetProcessor.load(
            source,
            model.config.query,
            tokenizer=tokenizer,
            image_processor=image_processor,
            revision=revision,
            parity=parity,
            offline=offline,
        )
        model.to(where_to)
        own = {"dtype": dtype, "parity": parity}
        own |= {"tokenizer": tokenizer, "image_processor": image_processor}
        return cls(
            model,
            processor,
            source=name,  # the embedded one's folder moves with the installation
            revision=getattr(model.config, "_commit_hash", None) or revision,
            options={
                key: value if isinstance(value, bool) else str(value)
                for key, value in own.items()
                if value not in (None, False, "float32")
            },
            instruction=_read_instruction(source) if instruction is None else instruction,
            batch_size=batch_size,
            workers=workers,
        )

    def opener(self) -> ImageOpener:
        """What opens pictures of documents as this encoder's image processor wants them."""
        processor = self.processor
        return ImageOpener(
            ImageTransform.from_processor(processor.image_processor, exif=not processor.parity),
            self.workers,
        )

    @property
    def window(self) -> int:
        """Tokens of text that the towers read."""
        return self.processor.window

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, start and end marks included, not truncated."""
        with self._lock:
            return self.processor.count_tokens(text)

    @property
    def fingerprint(self) -> str:
        """See the class; computed once, from what is in memory."""
        if self._fingerprint is None:
            self._fingerprint = _fingerprint_side(self.model.get_passage_model(), self.processor)
        return self._fingerprint

    @property
    def query_fingerprint(self) -> str:
        """See the class; computed each time."""
        return _fingerprint_side(self.model.get_query_model(), self.processor)

    def encode_queries(self, queries: Sequence[Query]) -> NDArray[np.float32]:
        """(N, K, D) float32 unit tokens; text = instruction + " " + question, as in M2KR.

        A text that is longer than the window loses its end, as in the release; that is logged: of
        one query each time, of many at once the first time.
        """
        items = [(self.query_text(query), query.image) for query in queries]
        if self.model.config.query.reads_text:
            self._warn_of_truncation([text for text, _ in items])
        return self._encode(self.model.get_query_model(), items)

    def query_text(self, query: Query) -> str:
        """What is encoded of a query's text, its instruction in front."""
        instruction = self.instruction if query.instruction is None else query.instruction
        return _SURROGATES.sub("\ufffd", f"{instruction} {query.text}".strip())

    def _warn_of_truncation(self, texts: Sequence[str]) -> None:
        cut = [length for text in texts if (length := self.count_tokens(text)) > self.window]
        if not cut or (self._told_cut and len(texts) > 1):
            return
        if len(texts) == 1:
            told = f"the first {self.window} of this question's {cut[0]} tokens"
        else:
            self._told_cut = True  # an evaluation asks by the batch: one line, not hundreds
            told = f"{self.window} tokens of a question, and {len(cut)} of {len(texts)} have more"
        _log.warning("The retriever reads %s: the end is not searched for", told)

    def encode_passages(
        self, passages: Sequence[Passage], on_progress: Callable[[int], object] | None = None
    ) -> NDArray[np.float32]:
        """(N, K, D) float32 unit tokens. `on_progress` gets the number done after each batch."""
        items = [(passage.text, passage.image) for passage in passages]
        return self._encode(self.model.get_passage_model(), items, on_progress)

    @torch.inference_mode()
    def _encode(
        self,
        side: RetModel,
        items: Sequence[Item],
        on_progress: Callable[[int], object] | None = None,
    ) -> NDArray[np.float32]:
        reads_text, reads_images = side.config.reads_text, side.config.reads_images
        # What is not read is neither tokenised nor decoded.
        items = [(t if reads_text else "", i if reads_images else None) for t, i in items]
        out = np.empty((len(items), self.K, self.D), dtype=np.float32)
        done = 0
        for rows in self._batches(items):
            with self._lock:
                inputs = self.processor([items[r][0] for r in rows], [items[r][1] for r in rows])
            features = side(**inputs.to(side.device, side.dtype)).ret_features
            unit = F.normalize(features, dim=-1).float().cpu().numpy()
            out[rows] = unit.reshape(len(rows), self.K, self.D)  # pooled (B, D) → (B, 1, D)
            done += len(rows)
            if on_progress is not None:
                on_progress(done)
        return out

    def _batches(self, items: Sequence[Item]) -> Iterable[list[int]]:
        # Grouped by what is there, so that an absent modality's tower does not run at all;
        # by length within a group, so that little is padding.
        def kind(row: int) -> tuple[bool, bool, int]:
            text, image = items[row]
            return bool(text), image is not None and image != "", len(text)

        order = sorted(range(len(items)), key=kind)
        start = 0
        while start < len(order):
            group = kind(order[start])[:2]
            batch = [r for r in order[start : start + self.batch_size] if kind(r)[:2] == group]
            yield batch
            start += len(batch)


def _read_instruction(source: str | Path) -> str:
    file = Path(source) / INSTRUCTION_FILE
    if not file.is_file():
        return ""
    try:
        said = json.loads(file.read_text("utf-8"))
    except ValueError as error:  # broken JSON, or not UTF-8
        raise RagVqaError(f"{file} is damaged ({error}). Mend it, or delete it.") from error
    if not (isinstance(said, dict) and isinstance(said.get("default"), str)):
        raise RagVqaError(f'{file} should read {{"default": "…"}}. Mend it, or delete it.')
    return str(said["default"])


def _fingerprint_side(side: RetModel, processor: RetProcessor) -> str:
    digest = hashlib.sha256()
    tensors = dict(side.state_dict())
    for name, tower in (("text", side.text_model), ("vision", side.vision_model)):
        tensors |= {f"{name}_model.{key}": value for key, value in tower.state_dict().items()}
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    config = side.config
    shape = {"layers": config.layers, "tanh": config.use_tanh, "activation": config.activation_fn}
    shape["pooled"] = config.use_pooler_features
    for tower in (config.text_config, config.vision_config):  # quick_gelu and gelu differ
        shape[tower.model_type] = [
            tower.hidden_act, tower.layer_norm_eps, tower.num_attention_heads,
        ]  # fmt: skip
    digest.update(json.dumps(shape, sort_keys=True).encode())
    words = json.loads(processor.tokenizer.backend_tokenizer.to_str())
    words["truncation"] = words["padding"] = None  # left over from the last call, no property
    digest.update(json.dumps(words, sort_keys=True).encode())
    image = processor.image_processor.to_dict()
    digest.update(json.dumps(image, sort_keys=True, default=str).encode())
    digest.update(f"parity={processor.parity} window={processor.window}".encode())
    return digest.hexdigest()
