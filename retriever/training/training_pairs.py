"""Training pairs, their sources, and a batch of them as tensors.

Knows names, shapes, and which passages are right for a query. Does not know file formats, models
or losses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Protocol

import torch
from torch import Tensor

from rag_vqa.types import ImageSource


@dataclass(frozen=True, slots=True)
class Item:
    """What one side encodes. `id` names a passage; items that share an `image` object share its
    encoding."""

    text: str = ""
    image: ImageSource | None = None
    id: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """A query, a passage that is right for it, and passages that are wrong and alike.

    Attributes:
        query: its text holds the instruction.
        positives: ids of all passages that are right, that of `passage` among them: none of them
            is ever a negative of this query, whosever passage it is in the batch.
        name: where the pair comes from, for messages: "train.jsonl:1203".
    """

    query: Item
    passage: Item
    positives: tuple[str, ...]
    negatives: tuple[Item, ...] = ()
    name: str = ""


class PairSource(Protocol):
    """An endless order of pairs that is a function of the seed alone: what a resumed run, or
    another rank, draws is what the straight run drew."""

    @property
    def name(self) -> str: ...

    def draw(self, seed: int, rows: Sequence[int]) -> list[Pair]:
        """Pairs of these places (0, 1, …) in the order; each depends on its place alone."""
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """One rank's share of a step. B queries, N >= B passages, P right ids at most.

    Attributes:
        query, passage: inputs of `RetModel.forward`: B rows, and N rows of which the first B are
            the queries' own passages; then negatives.
        passage_ids: (N) int64, `number(id)` of each passage.
        positives: (B, P) int64, numbers of all that is right for each query; a row with fewer
            repeats its first.
        names: (B) of the pairs.
        skipped: why each row was left out for which another one is here.
    """

    query: Mapping[str, Tensor]
    passage: Mapping[str, Tensor]
    passage_ids: Tensor
    positives: Tensor
    names: tuple[str, ...] = field(default=())
    skipped: tuple[str, ...] = field(default=())


def id_number(identity: str) -> int:
    """A signed 64-bit number for an id, the same in every process: ranks exchange numbers.

    >>> id_number("a") == id_number("a"), id_number("a") == id_number("b")
    (True, False)
    """
    return int.from_bytes(blake2b(identity.encode(), digest_size=8).digest(), "big", signed=True)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with all its tensors on a device."""
    return replace(
        batch,
        query={name: tensor.to(device) for name, tensor in batch.query.items()},
        passage={name: tensor.to(device) for name, tensor in batch.passage.items()},
        passage_ids=batch.passage_ids.to(device),
        positives=batch.positives.to(device),
    )
