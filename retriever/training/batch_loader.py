"""Batches of training pairs, prepared ahead by worker processes; the same for any worker count.

Knows steps, ranks, workers, the retriever's processor, and what happens to a pair whose picture
cannot be opened. Does not know losses or models. Batch i depends on the seed and i alone, so a run
resumed at step i gets what an uninterrupted run got.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from rag_vqa import images
from rag_vqa.errors import BadInput, RagVqaError, UsageError
from rag_vqa.retriever.image_workers import ImageTransform
from rag_vqa.retriever.modeling.processor import RetProcessor
from rag_vqa.retriever.training.source_mixture import Mixture, step_places
from rag_vqa.retriever.training.training_pairs import Batch, Item, Pair, id_number

PREFETCH_BATCHES = 2  # that each worker has ready
GRACE_SECONDS = 10  # a worker lives on after SIGTERM, so that the parent can save its state
# Rows skipped one after the other: more mean that a folder is missing.
MAX_SKIPPED_ROWS = 20
# Text lengths are padded to multiples of this: kernels are compiled or chosen for each shape.
LENGTH_MULTIPLE = 16
OpenPictures = dict[str | bytes, Image]  # pictures of a batch, resized, by path or by content


def load_batches(
    mixture: Mixture,
    processor: RetProcessor,
    *,
    seed: int,
    first_step: int,
    steps: int,
    batch: int,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
) -> Iterator[Batch]:
    """This rank's batches for the steps first_step … steps - 1.

    Args:
        batch: pairs per step, over all ranks.
        workers: processes that read, open pictures and tokenise; 0: this process. They are
            spawned, so a script that uses them must guard its start with
            `if __name__ == "__main__":`.

    Raises:
        UsageError: the batch does not split evenly over the ranks.
        BadInput: a picture cannot be opened, unless its source has on_bad: skip; then the pair at
            the next good place replaces it, and `Batch.skipped` has the reason.
        RagVqaError: a worker has died.
    """
    step_places(0, batch, rank, world)  # refuses before any process starts
    steps_of = _StepDataset(mixture, processor, seed, batch, rank, world)
    loader = DataLoader(
        steps_of,
        batch_size=None,
        sampler=range(first_step, steps),
        num_workers=workers,
        collate_fn=_keep_batch,
        prefetch_factor=PREFETCH_BATCHES if workers else None,
        # A fork would copy threads and CUDA. An own generator leaves torch's to dropout.
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=_init_worker,
        generator=torch.Generator(),
    )
    yield from _raise_errors(loader)


def _raise_errors(loader: DataLoader[Batch | RagVqaError]) -> Iterator[Batch]:
    made = iter(loader)
    try:
        while (one := next(made, None)) is not None:
            if isinstance(one, RagVqaError):
                raise one
            yield one
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise RagVqaError(
            "a process that prepares batches has ended. If memory ran out, set fewer data.workers."
        ) from error
    finally:
        del made  # ends the processes now, not when the traceback is freed


@dataclass(frozen=True)
class _StepDataset(Dataset[Batch | RagVqaError]):
    """Maps a step to this rank's batch.

    Returns errors as values: if a worker raised them, their text would include its traceback.
    """

    mixture: Mixture
    processor: RetProcessor
    seed: int
    batch: int
    rank: int
    world: int

    def __getitem__(self, step: int) -> Batch | RagVqaError:
        seen: OpenPictures = {}
        skipped: list[str] = []
        own = step_places(step, self.batch, self.rank, self.world)
        try:
            drawn = self.mixture.draw(self.seed, own)
            pairs = [
                self._good(place, pair, seen, skipped)
                for place, pair in zip(own, drawn, strict=True)
            ]
            return collate(pairs, self.processor, skipped)
        except RagVqaError as error:
            return error

    def _good(self, place: int, pair: Pair, opened: OpenPictures, skipped: list[str]) -> Pair:
        """The pair with its pictures opened, or else the next good pair."""
        for _ in range(MAX_SKIPPED_ROWS):
            try:
                return open_pictures(pair, self.processor, opened)
            except BadInput as error:
                if not self.mixture.skips_bad_rows(self.seed, place):
                    raise
                skipped.append(str(error))
            place += 1
            (pair,) = self.mixture.draw(self.seed, [place])
        raise BadInput(
            f"{MAX_SKIPPED_ROWS} rows in a row cannot be used; the last one: {skipped[-1]}"
        )


def _keep_batch(batch: Any) -> Any:
    """Replaces torch's own collating, which would look into a batch."""
    return batch


def _init_worker(worker: int) -> None:
    """Use one thread, and leave signals to the process group to the parent.

    The parent saves its work when it is stopped, and must not lose a worker meanwhile: so a worker
    ends some seconds after SIGTERM.
    """
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "SIGALRM"):  # not on Windows
        signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_SECONDS))


def collate(pairs: Sequence[Pair], processor: RetProcessor, skipped: Sequence[str] = ()) -> Batch:
    """A batch of the pairs' queries, their own passages in the same order, then all negatives.

    As in the release, the query side has no text_mask: of an absent text it reads the start and
    end marks.

    Raises:
        BadInput: a picture cannot be opened, or a passage is not among its query's positives.
        UsageError: pairs have different numbers of negatives, so ranks would differ in shape.
    """
    if len({len(pair.negatives) for pair in pairs}) != 1:
        raise UsageError(
            "All pairs of a batch need the same number of negatives, and a batch needs a pair."
        )
    for pair in pairs:
        if pair.passage.id not in pair.positives:
            raise BadInput(f"{pair.name}: its passage is not among its positives.")
    seen: OpenPictures = {}
    pairs = [open_pictures(pair, processor, seen) for pair in pairs]
    negatives = [item for pair in pairs for item in pair.negatives]
    passages = [*(pair.passage for pair in pairs), *negatives]
    query = _input_tensors([pair.query for pair in pairs], processor)
    query.pop("text_mask")
    most = max(len(pair.positives) for pair in pairs)
    right = [[id_number(one) for one in pair.positives] for pair in pairs]
    return Batch(
        query=query,
        passage=_input_tensors(passages, processor),
        passage_ids=torch.tensor([id_number(item.id) for item in passages]),
        positives=torch.tensor([row + row[:1] * (most - len(row)) for row in right]),
        names=tuple(pair.name for pair in pairs),
        skipped=tuple(skipped),
    )


def open_pictures(pair: Pair, processor: RetProcessor, opened: OpenPictures) -> Pair:
    """The pair with its pictures decoded and resized. Pictures in `opened` are used again.

    Pictures that come decoded stay unchanged: the processor resizes them.

    Raises BadInput with the name of the pair, if a picture cannot be opened.
    """
    opening = ImageTransform.from_processor(processor.image_processor, exif=not processor.parity)

    def item(given: Item) -> Item:
        if given.image is None or given.image == "" or isinstance(given.image, Image):
            return given
        key = given.image if isinstance(given.image, bytes) else str(given.image)
        if key not in opened:
            opened[key] = opening.shrink(images.load(given.image, exif=opening.exif))
        return replace(given, image=opened[key])

    try:
        return replace(
            pair,
            query=item(pair.query),
            passage=item(pair.passage),
            negatives=tuple(item(one) for one in pair.negatives),
        )
    except RagVqaError as error:
        raise BadInput(f"{pair.name}: {error}") from error


def _input_tensors(items: Sequence[Item], processor: RetProcessor) -> dict[str, Tensor]:
    inputs = processor([item.text for item in items], [item.image for item in items])
    given: Mapping[str, Tensor | None] = vars(inputs)
    tensors = {name: value for name, value in given.items() if value is not None}
    length = tensors["input_ids"].shape[1]
    more = min(-(-length // LENGTH_MULTIPLE) * LENGTH_MULTIPLE, processor.window) - length
    padding = {"input_ids": processor.tokenizer.pad_token_id, "attention_mask": 0}
    for name, value in padding.items():
        tensors[name] = F.pad(tensors[name], (0, more), value=value)
    return tensors
