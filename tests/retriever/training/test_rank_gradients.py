"""A step's loss and gradients: one process, two, and chunks, against the formula written out."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, multiprocessing
from training_ranks import Case, batches, gradients_of, rank, step, together, two_sides

CASES = {
    "plain": Case(),
    "fixed scale, one direction": Case(symmetric=False, learn_scale=False),
    "hard negatives": Case(negatives=(3, 3)),
    "ranks of unequal size": Case(pairs=(5, 3), negatives=(0, 2)),
    "single vectors": Case(pooled=True, negatives=(1, 1)),
    "in chunks": Case(negatives=(2, 4), chunks=4),
    "single vectors in chunks": Case(pooled=True, chunks=2),
    "pictures on one rank": Case(pictures=(True, False)),
    "pictures on one rank, in chunks": Case(pictures=(False, True), chunks=2),
    "no picture at all": Case(pictures=(False, False)),
}


def expected(case: Case) -> dict[str, Tensor]:
    """The whole batch at once in one process, each score, target and hit by itself."""
    module, batch = two_sides(case), together(batches(case))
    queries, passages, scale = module(batch.query, batch.passage)
    if case.pooled:
        queries, passages = queries[:, None], passages[:, None]
    scores = torch.stack(
        [torch.stack([(q @ p.T).amax(dim=1).sum() for p in passages]) for q in queries]
    )
    right = [
        [int(i) in positives.tolist() for i in batch.passage_ids] for positives in batch.positives
    ]
    losses = [uniform(row * scale, of) for row, of in zip(scores, right, strict=True)]
    loss = torch.stack(losses).mean()
    if case.symmetric:
        columns = [
            uniform(scores[:, j] * scale, [row[j] for row in right]) for j in range(len(queries))
        ]
        loss = (loss + torch.stack(columns).mean()) / 2
    loss.backward()
    hits = [row[int(score.argmax())] for row, score in zip(right, scores, strict=True)]
    recall = torch.tensor(hits).float().mean()
    return {**gradients_of(module), "loss": loss.detach(), "recall@1": recall}


def uniform(logits: Tensor, right: list[bool]) -> Tensor:
    """Cross entropy against a target that is uniform over what is right."""
    chosen = [logit for logit, good in zip(logits, right, strict=True) if good]
    return logits.exp().sum().log() - torch.stack(chosen).mean()


def close(found: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> None:
    assert found.keys() == right.keys()
    for name, tensor in right.items():
        worst = float((found[name] - tensor).abs().max())
        assert worst <= 1e-6 + 1e-5 * float(tensor.abs().max()), (name, worst)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes computed of all cases."""
    folder = tmp_path_factory.mktemp("ranks")
    multiprocessing.spawn(rank, (CASES, str(folder)), nprocs=2)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_one_process_and_two_have_the_gradients_of_the_formula(name: str, ranks: Path) -> None:
    right = expected(CASES[name])
    close(step(two_sides(CASES[name]), together(batches(CASES[name])), CASES[name]), right)
    for number in range(2):
        close(load_file(ranks / f"{name}.{number}"), right)


def test_what_no_rank_s_items_have_gets_no_gradient(ranks: Path) -> None:
    vision = "model.query_model.ret_cell.vision_xa.in_proj_weight"
    assert load_file(ranks / "pictures on one rank.1")[vision].any()
    assert not load_file(ranks / "no picture at all.1")[vision].any()
