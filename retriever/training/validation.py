"""Validation: how well a retriever finds the passages of held-out pairs, among all their passages.

Knows pairs, tokens and ranks. Encodes as in use. Does not know knowledge bases: all scores are
computed, so the measurement concerns the model alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rag_vqa.errors import BadInput
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.retriever.modeling.model import RetrieverModel
from rag_vqa.retriever.modeling.processor import RetProcessor
from rag_vqa.retriever.scoring import maxsim
from rag_vqa.retriever.training.batch_loader import open_pictures
from rag_vqa.retriever.training.training_pairs import Item, Pair, PairSource
from rag_vqa.retriever.training.training_settings import VALIDATION_SEED
from rag_vqa.types import Passage, Query


class ValidationSet:
    """Pairs kept out of training, and the pool of passages to search: theirs, each once."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        model: RetrieverModel,
        processor: RetProcessor,
        more: Sequence[Item] = (),
    ) -> None:
        """`more`: further passages for the pool. Raises BadInput if there are no pairs."""
        if not pairs:
            raise BadInput("there are no held-out pairs to measure with.")
        self.pairs, self.model = tuple(pairs), model
        with eval_mode(model):
            self.encoder = Encoder(model, processor)
        items = [item for pair in pairs for item in (pair.passage, *pair.negatives)]
        self.pool = {item.id: item for item in (*items, *more)}
        self._passages: Tensor | None = None  # encoded once, if the passage side is frozen

    @classmethod
    def from_source(
        cls,
        source: PairSource,
        count: int,
        model: RetrieverModel,
        processor: RetProcessor,
        note: Callable[[str], None] = lambda message: None,
    ) -> ValidationSet:
        """The first `count` pairs of a source, without repeated ones; see `usable_pairs`."""
        drawn = {pair.name: pair for pair in source.draw(VALIDATION_SEED, range(count))}
        skip = getattr(source, "on_bad", "stop") == "skip"
        return cls(usable_pairs(list(drawn.values()), processor, skip, note), model, processor)

    def recall(self) -> dict[str, float]:
        """Share of queries with a right passage at the first place, and among the first five."""
        ranks = self.ranks()
        return {f"recall@{k}": float((ranks <= k).mean()) for k in (1, 5)}

    def ranks(self) -> NDArray[np.int64]:
        """(Q), from 1: each pair's best right passage. Equal scores count against it."""
        places = {identity: place for place, identity in enumerate(self.pool)}
        with eval_mode(self.model):
            queries = self._encode([pair.query for pair in self.pairs], queries=True)
            passages = self.encode_pool()
        ranks = []
        for query, pair in zip(queries, self.pairs, strict=True):
            scores = maxsim(query[None], passages)[0]
            right = torch.zeros(len(scores), dtype=torch.bool)
            right[[places[identity] for identity in pair.positives if identity in places]] = True
            ranks.append(1 + int((scores[~right] >= scores[right].max()).sum()))
        return np.array(ranks)

    def encode_pool(self) -> Tensor:
        """(N, K, D) of the pool, in its order, on the CPU; (N, 1, D) if the model pools."""
        if self._passages is not None:
            return self._passages
        encoded = self._encode(list(self.pool.values()), queries=False)
        side = self.model.get_passage_model()
        parts = (side, side.text_model, side.vision_model)
        if not any(p.requires_grad for part in parts for p in part.parameters()):
            self._passages = encoded
        return encoded

    def _encode(self, items: Sequence[Item], *, queries: bool) -> Tensor:
        if queries:
            as_queries = [Query(item.text, item.image, instruction="") for item in items]
            return torch.from_numpy(self.encoder.encode_queries(as_queries))
        as_passages = [Passage(item.id, 0, item.text, item.image) for item in items]
        return torch.from_numpy(self.encoder.encode_passages(as_passages))


def usable_pairs(
    pairs: Sequence[Pair], processor: RetProcessor, skip: bool, note: Callable[[str], None]
) -> list[Pair]:
    """The pairs whose pictures can be opened. Fails now, not hours later; keeps none open.

    Args:
        skip: leave out pairs whose pictures cannot be opened, and note them.

    Raises BadInput: a picture cannot be opened, unless `skip`; it names the pair.
    """
    usable = []
    for pair in pairs:
        try:
            open_pictures(pair, processor, {})
        except BadInput as error:
            if not skip:
                raise
            note(f"left out of the validation: {error}")
        else:
            usable.append(pair)
    return usable


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode within the block; afterwards each part has its former mode."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
