"""A tiny retriever, batches for it, and ranks that train it: what several tests of training need.

Knows shapes and processes. Does not know what comes out: no loss is written here.
"""

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from rag_vqa.retriever.modeling.configuration import RetrieverConfig
from rag_vqa.retriever.modeling.model import RetrieverModel
from rag_vqa.retriever.training.dual_encoder import DualEncoder
from rag_vqa.retriever.training.step_gradients import compute_gradients
from rag_vqa.retriever.training.training_pairs import Batch

LENGTH, SIZE, WORDS = 6, 16, 30  # tokens of a text, pixels of a picture, vocabulary


@dataclass(frozen=True)
class Case:
    """What two ranks compute together, and what one computes alone.

    Attributes:
        pairs, negatives: on each rank, in turn.
        pictures: which ranks have any.
    """

    pairs: Sequence[int] = (4, 4)
    negatives: Sequence[int] = (0, 0)
    pictures: Sequence[bool] = (True, True)
    symmetric: bool = True
    pooled: bool = False
    learn_scale: bool = True
    chunks: int = 1
    dropout: float = 0.0


def two_sides(case: Case) -> DualEncoder:
    """The same weights in every process; both towers are trained."""
    tower = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2,
             "num_attention_heads": 1}  # fmt: skip
    side = {
        "text_config": {**tower, "vocab_size": WORDS, "max_position_embeddings": LENGTH},
        "vision_config": {**tower, "image_size": SIZE, "patch_size": 8},
        "is_text_frozen": False,
        "is_vision_frozen": False,
        "layer_strategy": {"text": [0, 1], "vision": [0, 1]},
        "hidden_size": 64,
        "num_queries": 5,
        "late_proj_output_size": 16,
        "use_pooler_features": case.pooled,
        "dropout_p": case.dropout,
        "attention_dropout": case.dropout,
    }
    torch.manual_seed(7)
    model = RetrieverModel(RetrieverConfig(query_config=side, passage_config=side))
    return DualEncoder(model, scale=1.5, learn_scale=case.learn_scale).train()


def batches(case: Case) -> list[Batch]:
    """Each rank's share. Passages are few, so that ids repeat on a rank and over ranks; each
    query has its own and one more that is right; every other item shares its picture."""
    generator = torch.manual_seed(11)

    def inputs(rows: int, pictures: bool) -> dict[str, Tensor]:
        shown = torch.arange(rows) % 3 < 2 if pictures else torch.zeros(rows)
        return {
            "input_ids": torch.randint(WORDS, (rows, LENGTH), generator=generator),
            "attention_mask": torch.ones(rows, LENGTH, dtype=torch.long),
            "text_mask": torch.ones(rows),
            "image_mask": shown.float(),
            "image_index": torch.arange(rows) // 2,
            "pixel_values": torch.randn((rows + 1) // 2, 3, SIZE, SIZE, generator=generator),
        }

    made = []
    for rank, (pairs, negatives) in enumerate(zip(case.pairs, case.negatives, strict=True)):
        ids = torch.randint(6, (pairs + negatives,), generator=generator)
        more = torch.randint(6, (pairs,), generator=generator)
        made.append(
            Batch(
                query=inputs(pairs, case.pictures[rank]),
                passage=inputs(pairs + negatives, case.pictures[rank]),
                passage_ids=ids,
                positives=torch.stack((ids[:pairs], more), dim=1),
            )
        )
    return made


def together(shares: Sequence[Batch]) -> Batch:
    """All ranks' rows as one process would have them: queries' own passages first."""
    own = [slice(0, len(share.positives)) for share in shares]
    rest = [slice(len(share.positives), None) for share in shares]
    passages = [(share, rows) for rows, share in zip([*own, *rest], [*shares] * 2, strict=True)]
    return Batch(
        query=_joined([share.query for share in shares]),
        passage=_joined([_rows(share.passage, rows) for share, rows in passages]),
        passage_ids=torch.cat([share.passage_ids[rows] for share, rows in passages]),
        positives=torch.cat([share.positives for share in shares]),
    )


def _rows(inputs: Mapping[str, Tensor], rows: slice) -> dict[str, Tensor]:
    return {k: v if k == "pixel_values" else v[rows] for k, v in inputs.items()}


def _joined(sides: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    start, indices = 0, []
    for side in sides:
        indices.append(side["image_index"] + start)
        start += len(side["pixel_values"])
    joined = {name: torch.cat([side[name] for side in sides]) for name in sides[0]}
    return {**joined, "image_index": torch.cat(indices)}


def gradients_of(module: nn.Module) -> dict[str, Tensor]:
    """Of what is trained; where none came, zeros."""
    return {
        name.removeprefix("module."): torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in module.named_parameters()
        if p.requires_grad
    }


def step(module: nn.Module, batch: Batch, case: Case, **given: Any) -> dict[str, Tensor]:
    """One step's gradients, loss and recall as named tensors."""
    torch.manual_seed(13)
    loss, figures = compute_gradients(
        module,
        batch,
        chunks=case.chunks,
        symmetric=case.symmetric,
        backward=Tensor.backward,
        **given,
    )
    return {
        **gradients_of(module),
        "loss": loss,
        "recall@1": torch.tensor(figures["recall@1"]),
    }


def rank(number: int, cases: Mapping[str, Case], folder: str) -> None:
    """One process of as many as a case has pairs for; writes `folder/NAME.RANK`."""
    torch.set_num_threads(1)
    world = len(next(iter(cases.values())).pairs)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meet",
        rank=number,
        world_size=world,
        timeout=timedelta(seconds=60),  # a rank that waits in vain fails
    )
    for name, case in cases.items():
        _in_ranks(case, number, Path(folder) / f"{name}.{number}")
    # torch hangs where a reducer that outlived its process group is freed.
    gc.collect()
    dist.destroy_process_group()


def _in_ranks(case: Case, number: int, out: Path) -> None:
    module = DistributedDataParallel(two_sides(case))
    save_file(step(module, batches(case)[number], case, no_sync=module.no_sync), out)
