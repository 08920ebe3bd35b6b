"""How well a retriever finds the passages of held-out pairs, among all passages of those pairs.

Knows pairs, features, ranks. Does not know knowledge bases: all scores are computed, so that what
is measured is the model alone.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rag_vqa.errors import BadInput
from rag_vqa.retriever.maxsim import maxsim
from rag_vqa.retriever.training.batch import Batch, Pair, Source, moved

ROWS = 32  # pairs encoded at once
SEED = 1_000_003  # of what is drawn: nobody trains with it, or endless sources would give the same
Collate = Callable[[Sequence[Pair]], Batch]


@dataclass(frozen=True)
class HeldOut:
    """Pairs that are not trained on.

    Attributes:
        module: TwoSides.
        pairs: each another query; their passages and negatives, each once, are what is searched.
    """

    module: nn.Module
    pairs: tuple[Pair, ...]
    collate: Collate

    @classmethod
    def of(cls, source: Source, count: int, module: nn.Module, collate: Collate) -> "HeldOut":
        """The first `count` pairs of a source, those that come again left out."""
        drawn = {pair.name: pair for pair in source.draw(SEED, range(count))}
        return cls(module, tuple(drawn.values()), collate)

    def recall(self) -> dict[str, float]:
        """Shares of queries with a right passage at the first place, and among the first five."""
        ranks = self.ranks()
        return {f"recall@{k}": float((ranks <= k).mean()) for k in (1, 5)}

    @torch.no_grad()
    def ranks(self) -> NDArray[np.int64]:
        """(Q) of each pair, from 1: where its best right passage stands. Equal scores count
        against it.

        Raises BadInput where there are no pairs.
        """
        if not self.pairs:
            raise BadInput("there are no held-out pairs to measure with.")
        with encoding(self.module):
            parts = list(self._encoded())
        queries = torch.cat([part[0] for part in parts])
        ids = torch.cat([part[2] for part in parts])
        first = torch.from_numpy(np.sort(np.unique(ids.numpy(), return_index=True)[1]))
        passages, ids = torch.cat([part[1] for part in parts])[first], ids[first]
        ranks = []
        positives = [row for part in parts for row in part[3]]
        for query, right in zip(queries.split(1), positives, strict=True):
            scores = maxsim(query, passages)[0]
            hits = torch.isin(ids, right)
            ranks.append(1 + int((scores[~hits] >= scores[hits].max()).sum()))
        return np.array(ranks)

    def _encoded(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Queries, passages, their ids and what is right, of some pairs at a time, on the CPU."""
        device = next(self.module.parameters()).device
        for start in range(0, len(self.pairs), ROWS):
            batch = moved(self.collate(self.pairs[start : start + ROWS]), device)
            queries, passages, _ = self.module(batch.query, batch.passage)
            yield queries.cpu(), passages.cpu(), batch.passage_ids.cpu(), batch.positives.cpu()


@contextmanager
def encoding(module: nn.Module) -> Iterator[None]:
    """Evaluation mode within; afterwards each part is in the mode that it was in."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
