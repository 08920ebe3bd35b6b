"""What scores lose without a word: against weights that are known, and values counted out."""

import itertools

import torch

from rag_vqa.retriever.explain import MASKS, word_ablation_losses


def test_what_each_word_adds_is_found_again() -> None:
    adds = torch.tensor([[3.0, 0.0], [-1.0, 2.0], [0.0, 0.5]])  # of 3 words, to 2 scores
    owners = [-1, 0, 1, 1, 2, -1]

    def scores(seen: torch.Tensor) -> torch.Tensor:
        assert seen.shape == (MASKS, 6) and seen[:, [0, 5]].all()
        assert (seen[:, 2] == seen[:, 3]).all()  # a word's tokens go together
        return 20 + seen[:, [1, 2, 4]].float() @ adds

    torch.testing.assert_close(
        word_ablation_losses(scores, owners).float(), adds, atol=0.15, rtol=0.05
    )


def test_of_words_that_say_the_same_each_counts() -> None:
    """Left out by itself neither lowers the score; its Banzhaf value counts subsets of the rest."""

    def either(first: bool, second: bool, third: bool) -> float:
        return float(first or second) + 0.25 * third

    banzhaf = []
    for word in range(3):
        without = []
        for rest in itertools.product([False, True], repeat=2):
            seen = [*rest[:word], True, *rest[word:]]
            hidden = [*rest[:word], False, *rest[word:]]
            without.append(either(*seen) - either(*hidden))
        banzhaf.append(sum(without) / len(without))

    found = word_ablation_losses(
        lambda seen: torch.tensor([[either(*row)] for row in seen.tolist()]), [0, 1, 2]
    )
    torch.testing.assert_close(found[:, 0].float(), torch.tensor(banzhaf), atol=0.1, rtol=0)


def test_a_text_without_words_has_no_losses() -> None:
    assert word_ablation_losses(lambda seen: torch.ones(len(seen), 4), [-1, -1]).shape == (0, 4)
