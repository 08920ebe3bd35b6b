import itertools

from rag_vqa.retriever.training.permutation import key_of, permuted


def test_every_size_is_permuted_as_a_whole() -> None:
    for size in (1, 2, 3, 4, 5, 16, 17, 255, 1000):
        got = [permuted(place, size, key_of(0, 0)) for place in range(size)]
        assert sorted(got) == list(range(size))


def test_another_seed_or_epoch_is_another_order_and_the_same_is_the_same() -> None:
    orders = {
        (seed, epoch): tuple(permuted(place, 100, key_of(seed, epoch)) for place in range(100))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(set(orders.values())) == 9
    assert orders[1, 2] == tuple(permuted(place, 100, key_of(1, 2)) for place in range(100))
    assert key_of(1, 23) != key_of(12, 3)


def test_where_a_row_goes_is_spread_evenly() -> None:
    """χ² of where place 0 of 8 goes under 4,000 keys: 7 degrees of freedom, P(> 24.3) = .001."""
    seen = [0] * 8
    for seed in range(4000):
        seen[permuted(0, 8, key_of(seed, 0))] += 1
    assert sum((count - 500) ** 2 / 500 for count in seen) < 24.3


def test_neighbours_do_not_stay_neighbours() -> None:
    """In a random order of n the next place holds the next row with probability 1 / n."""
    got = [permuted(place, 2000, key_of(7, 7)) for place in range(2000)]
    assert sum(b == a + 1 for a, b in itertools.pairwise(got)) < 10
