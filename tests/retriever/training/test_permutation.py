import itertools

from rag_vqa.retriever.training.packed_source import permutation_key, permute


def test_every_size_is_permuted_as_a_whole() -> None:
    for size in (1, 2, 3, 4, 5, 16, 17, 255, 1000):
        got = [permute(place, size, permutation_key(0, 0)) for place in range(size)]
        assert sorted(got) == list(range(size))


def test_another_seed_or_epoch_is_another_order_and_the_same_is_the_same() -> None:
    orders = {
        (seed, epoch): tuple(
            permute(place, 100, permutation_key(seed, epoch)) for place in range(100)
        )
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(set(orders.values())) == 9
    assert orders[1, 2] == tuple(permute(place, 100, permutation_key(1, 2)) for place in range(100))
    assert permutation_key(1, 23) != permutation_key(12, 3)


def test_where_a_row_goes_is_spread_evenly() -> None:
    """χ² of where place 0 of 8 goes under 4,000 keys: 7 degrees of freedom, P(> 24.3) = .001."""
    seen = [0] * 8
    for seed in range(4000):
        seen[permute(0, 8, permutation_key(seed, 0))] += 1
    assert sum((count - 500) ** 2 / 500 for count in seen) < 24.3


def test_neighbours_do_not_stay_neighbours() -> None:
    """In a random order of n the next place holds the next row with probability 1 / n."""
    got = [permute(place, 2000, permutation_key(7, 7)) for place in range(2000)]
    assert sum(b == a + 1 for a, b in itertools.pairwise(got)) < 10
