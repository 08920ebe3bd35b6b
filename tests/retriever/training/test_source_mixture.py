import pickle
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from rag_vqa.errors import UsageError
from rag_vqa.retriever.training.source_mixture import CYCLE_PLACES, Mixture, apportion
from rag_vqa.retriever.training.training_pairs import Item, Pair


@dataclass(frozen=True)
class Counting:
    """Pairs that say where they stand."""

    name: str

    def draw(self, seed: int, rows: Sequence[int]) -> list[Pair]:
        return [
            Pair(Item(f"{seed}"), Item(id="p"), ("p",), name=f"{self.name}{row}") for row in rows
        ]


def mixed(*weights: float) -> Mixture:
    return Mixture([Counting(name) for name in "abc"[: len(weights)]], weights)


def names(pairs: Sequence[Pair]) -> list[str]:
    return [pair.name for pair in pairs]


def test_a_cycle_holds_each_source_by_its_weight_and_its_places_in_order() -> None:
    mixture = mixed(5, 3, 2)
    drawn = names(mixture.draw(0, range(2 * CYCLE_PLACES)))
    assert Counter(name[0] for name in drawn) == {"a": CYCLE_PLACES, "b": 6000, "c": 4000}
    for source in "abc":
        places = [int(name[1:]) for name in drawn if name[0] == source]
        assert places == list(range(len(places)))  # none is missing, none comes twice


def test_weights_that_divide_nothing_are_met_to_the_row() -> None:
    assert apportion([1, 1, 1], 10_000) == (3334, 3333, 3333)
    assert apportion([0.1, 0.2], 10_000) == (3333, 6667)
    assert sum(apportion([0.3, 11, 2.7, 1e-3], 10_000)) == 10_000


def test_shares_of_ranks_join_to_the_batch_of_one_process() -> None:
    mixture = mixed(1, 2)
    alone = [names(mixture.share(3, step, 12)) for step in range(4)]
    for world in (2, 3, 4):
        for step, whole in enumerate(alone):
            shares = [mixture.share(3, step, 12, rank, world) for rank in range(world)]
            assert [name for share in shares for name in names(share)] == whole


def test_what_is_drawn_depends_on_seed_and_place_alone() -> None:
    mixture = mixed(1, 1)
    straight = names(mixture.draw(0, range(50)))
    assert names(mixture.draw(0, [49, 3, 3, 20])) == [straight[at] for at in (49, 3, 3, 20)]
    assert names(mixed(1, 1).draw(0, range(CYCLE_PLACES + 9, CYCLE_PLACES + 20))) == names(
        pickle.loads(pickle.dumps(mixture)).draw(0, range(CYCLE_PLACES + 9, CYCLE_PLACES + 20))  # noqa: S301
    )
    assert names(mixture.draw(1, range(50))) != straight


@pytest.mark.parametrize("weights", [(), (1,), (1, 0), (1, -1), (1, float("nan")), (1, 1e-9)])
def test_weights_that_cannot_be_meant_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(UsageError):
        Mixture([Counting("a"), Counting("b")], weights)


def test_a_batch_that_does_not_split_is_refused() -> None:
    with pytest.raises(UsageError, match="10 does not split evenly over 3"):
        mixed(1).share(0, 0, 10, 0, 3)
