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
    """Text and image that one side encodes; `id` identifies a passage.

    Items that share an `image` object share its encoding.
    """

    text: str = ""
    image: ImageSource | None = None
    id: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """A query, a passage that is right for it, and hard negatives: wrong but similar passages.

    Attributes:
        query: its text includes the instruction.
        positives: ids of all right passages, including `passage`: none of them is ever a negative
            of this query, even if another pair of the batch brings it.
        name: where the pair comes from, for messages: "train.jsonl:1203".
    """

    query: Item
    passage: Item
    positives: tuple[str, ...]
    negatives: tuple[Item, ...] = ()
    name: str = ""


class PairSource(Protocol):
    """An endless sequence of pairs, determined by the seed alone.

    A resumed run and other ranks draw the same pairs as an uninterrupted run.
    """

    @property
    def name(self) -> str: ...

    def draw(self, seed: int, rows: Sequence[int]) -> list[Pair]:
        """Pairs at these places (0, 1, …) of the sequence; each depends on its place alone."""
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """One rank's share of a step. B queries, N >= B passages, P right ids at most.

    Attributes:
        query, passage: inputs of `RetModel.forward`, of B rows and N rows. The first B passages
            are the queries' own, negatives follow.
        passage_ids: (N) int64, `id_number(id)` of each passage.
        positives: (B, P) int64, numbers of all right passages of each query; a row with fewer
            repeats its first.
        names: (B) names of the pairs.
        skipped: for each row that was replaced by another one, the reason.
    """

    query: Mapping[str, Tensor]
    passage: Mapping[str, Tensor]
    passage_ids: Tensor
    positives: Tensor
    names: tuple[str, ...] = field(default=())
    skipped: tuple[str, ...] = field(default=())


def id_number(identity: str) -> int:
    """A signed 64-bit number for an id, equal in all processes, because ranks exchange numbers.

    >>> id_number("a") == id_number("a"), id_number("a") == id_number("b")
    (True, False)
    """
    return int.from_bytes(blake2b(identity.encode(), digest_size=8).digest(), "big", signed=True)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on a device."""
    return replace(
        batch,
        query={name: tensor.to(device) for name, tensor in batch.query.items()},
        passage={name: tensor.to(device) for name, tensor in batch.passage.items()},
        passage_ids=batch.passage_ids.to(device),
        positives=batch.positives.to(device),
    )
