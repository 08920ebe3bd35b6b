"""Explanations: why a passage matched a query, by its strongest token pairs, words and patches.

Knows scores, pairs and how weights are normalised. Encodes both anew, so that searching costs
nothing for it. Does not know the index, which holds the same tokens with fewer bits, nor how a
family traces its model (attribution.py does it for ReT).

What is computed, and why it is approximate. A score is Σ_i Q_i · D_j(i), j(i) the best partner of
query token i: that part is exact. A word weighs what the score loses, on average, if that word is
hidden together with half of the other words; a word without a loss weighs 0. This takes MASKS
forward passes of text tower and cell on either side, and reads pictures once: 0.6 seconds on one
core with the embedded retriever.

Patches, and the share of all words against all patches, are traced. A token is the end of R steps
of the cell. At each step each learned query reads the words (or patches) by gated cross attention.
The gradient of a pair's score (or of the whole score) by each read says how much that read still
counts at the end, through its input gate and the forget gates of all later steps. It is multiplied
with what each position adds to the read, attention × value, without its sign, since a part that
lowers a score has shaped it as well; heads, learned queries and steps are summed. Attention rollout
takes positions of a tower's layer back to its input. Left out are: what layers of towers do besides
attention, that a gradient holds for small changes only, and the towers' own marks (start, end,
class token), whose share nothing gets. The weights of words and patches of one side are ≥ 0 and sum
to 1.

How far to trust it. With the embedded retriever, hiding the heaviest tenth of a query's words, of
its patches, of a document's words or of its patches lowers the score more than hiding another tenth
does; a test measures all four. For a query's words it is 1.25 [1.07, 1.46] of 28 more, for a
document's 0.48 [0.33, 0.65] (benchmarks/explain.py, 120 test questions). **A document's weights
hold on average, not each time**: the median is 0.11, and for a quarter of the questions the
heaviest tenth lowers the score no more than others do. A document says the same in several words:
without half of them the score falls by 0.1, without all by 5. Traced by gradients, as patches are,
a query's words gave 1.27 and a document's -0.02, where these give 1.55 and 0.40 (60 questions of
the development half). Leaving out one word at a time gave 0.06 for a document's (40 questions).

Word ablation. The score of a document rests on many words that say the same, so that leaving out
one by itself shows little: what counts is what a word takes away from texts that lack others. Each
word is hidden in half of `MASKS` random texts, and a ridge regression fits the scores by a sum of
what the hidden words take away. Sources: Ribeiro et al., "Why Should I Trust You?", KDD 2016
(LIME); with halves the coefficients estimate Banzhaf values (Wang and Jia, "Data Banzhaf", AISTATS
2023).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from rag_vqa import images
from rag_vqa.errors import UsageError
from rag_vqa.retriever.explain.token_spans import (
    Patch,
    Span,
    image_patches,
    locate_words,
    word_spans,
)
from rag_vqa.retriever.modeling import RetrieverSide
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.types import ImageSource, Passage, Query

MASKS = 128
_RIDGE = 1.0  # in texts: it decides only for words that were always hidden together


@dataclass(frozen=True, slots=True)
class PairMatch:
    """A token of the query and its best partner: `score` = Q_i · D_j, and where both come from.

    Spans are of `query_text` and `document_text` of the Explanation. An absent modality has none.
    `query_token`, `document_token`: i and j, from 0.
    """

    query_token: int
    document_token: int
    score: float
    query_words: tuple[Span, ...]
    query_patches: tuple[Patch, ...]
    document_words: tuple[Span, ...]
    document_patches: tuple[Patch, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a passage matched a query. The module says what weights are, and how far to trust them.

    Attributes:
        score: late interaction of both, as encoded now; the sum over all K pairs.
        pairs: the strongest, by falling score.
        query_text: as encoded, with the instruction; `document_text` with the title.
        query_words, …: of the whole score rather than of one pair.
        approximate: True; a display should say so.
    """

    score: float
    pairs: tuple[PairMatch, ...]
    query_text: str
    document_text: str
    query_words: tuple[Span, ...]
    query_patches: tuple[Patch, ...]
    document_words: tuple[Span, ...]
    document_patches: tuple[Patch, ...]
    approximate: bool = True


class Attribution(Protocol):
    """What a family's attribution offers of one encoded item; see `attribution.Trace`.

    Its family's processor has a fast tokenizer as `tokenizer`.
    """

    @property
    def tokens(self) -> Tensor: ...
    @property
    def has_text(self) -> bool: ...
    @property
    def image_size(self) -> tuple[int, int] | None: ...
    @property
    def patch_size(self) -> int: ...
    @property
    def probes(self) -> list[Tensor]: ...
    def weights(self, gradients: Sequence[Tensor]) -> tuple[Tensor, Tensor]: ...
    def encode_masked(self, visible: Tensor) -> Tensor: ...


@torch.inference_mode(False)
@torch.enable_grad()
def explain(encoder: Encoder, query: Query, passage: Passage, pairs: int | None = 5) -> Explanation:
    """Why `passage` matches `query`.

    Args:
        pairs: number of the strongest pairs to trace, each by a backward pass through both cells;
            None: all K.

    Raises:
        UsageError: pairs < 0, or the retriever's family has no attribution.
        BadImage, Missing: a picture does not open.
    """
    if pairs is not None and pairs < 0:
        raise UsageError(f"pairs is {pairs}: give 0 or more.")
    text, network = encoder.query_text(query), encoder.model
    query_side = _TracedSide(encoder, network.get_query_model(), text, query.image)
    passage_side = _TracedSide(encoder, network.get_passage_model(), passage.text, passage.image)
    best, partners = _best_partners(query_side.trace.tokens, passage_side.trace.tokens)
    losses = _word_losses(query_side, passage_side)
    total = best.sum()
    order = best.argsort(descending=True, stable=True)[:pairs]
    return Explanation(
        float(total.detach()),
        tuple(
            PairMatch(
                int(i),
                int(partners[i]),
                float(best[i].detach()),
                *_locate(best[i], query_side, passage_side, [side_loss[i] for side_loss in losses]),
            )
            for i in order
        ),
        text,
        passage.text,
        *_locate(total, query_side, passage_side, [loss.sum(dim=0) for loss in losses]),
    )


class _TracedSide:
    """The query or the passage: its trace, and where its tokens lie."""

    def __init__(
        self, encoder: Encoder, side: RetrieverSide, text: str, image: ImageSource | None
    ) -> None:
        if encoder.family.attribution is None:
            raise UsageError(
                f"Matches of {encoder.source} cannot be explained: retrievers of type "
                f"{encoder.family.name!r} have no attribution. Search without --explain."
            )
        processor: Any = encoder.processor
        picture = None
        if image is not None and image != "":
            picture = images.load(image, exif=processor.image_transform.exif)
        self.processor, self.text, self.picture = processor, text, picture
        self.batch_size = encoder.batch_size
        self.trace: Attribution = encoder.family.load("attribution")(
            side, processor([text], [picture])
        )

    def losses(self, scores: Callable[[Tensor], Tensor]) -> Tensor:
        """(K, W): what `scores` (K) of this side's tokens (K, D) lose without each word."""
        if not self.trace.has_text:
            return torch.empty(len(scores(self.trace.tokens.detach())), 0)
        _, owners = locate_words(self.processor.tokenizer, self.text, self.processor.window)

        def masked_scores(visible: Tensor) -> Tensor:
            batches = torch.split(visible, self.batch_size)
            return torch.cat([scores(self.trace.encode_masked(masks)).cpu() for masks in batches])

        return word_ablation_losses(masked_scores, owners).T

    def locate(
        self, gradients: Sequence[Tensor], losses: Tensor
    ) -> tuple[tuple[Span, ...], tuple[Patch, ...]]:
        """Words and patches; their weights sum to 1 together.

        Args:
            losses: (W), what the score loses without each word. The words' share of the weight is
                divided in proportion to losses above 0, evenly if there are none.
        """
        token_weights, patch_weights = (part.tolist() for part in self.trace.weights(gradients))
        tokenizer, window = self.processor.tokenizer, self.processor.window
        words = word_spans(tokenizer, self.text, window, token_weights)
        counts = losses.clamp(min=0) if (losses > 0).any() else torch.ones_like(losses)
        share = sum(word.weight for word in words) / max(1e-12, float(counts.sum()))
        words = tuple(
            replace(word, weight=share * count)
            for word, count in zip(words, counts.tolist(), strict=True)
        )
        patches: tuple[Patch, ...] = ()
        if self.picture is not None and self.trace.image_size is not None:
            patches = image_patches(
                self.processor.image_transform,
                self.picture.size,
                self.trace.image_size,
                self.trace.patch_size,
                patch_weights,
            )
        total = sum(word.weight for word in words) + sum(patch.weight for patch in patches) or 1.0
        return (
            tuple(replace(word, weight=word.weight / total) for word in words),
            tuple(replace(patch, weight=patch.weight / total) for patch in patches),
        )


def _best_partners(queries: Tensor, passages: Tensor) -> tuple[Tensor, Tensor]:
    """Two of (…, K, D) → each query token's best product (…, K), and its partner (…, K)."""
    best, partners = (queries @ passages.mT).max(dim=-1)
    return best, partners


def _word_losses(query: _TracedSide, passage: _TracedSide) -> tuple[Tensor, Tensor]:
    """(K, W) for either side: what the pair of each query token loses without each word."""
    queries, passages = (side.trace.tokens.detach() for side in (query, passage))
    return (
        query.losses(lambda masked: _best_partners(masked, passages)[0]),
        passage.losses(lambda masked: _best_partners(queries, masked)[0]),
    )


def _locate(
    score: Tensor, query: _TracedSide, passage: _TracedSide, losses: Sequence[Tensor]
) -> tuple[tuple[Span, ...], tuple[Patch, ...], tuple[Span, ...], tuple[Patch, ...]]:
    """Words and patches of the query, then of the passage, that `score` came from.

    Args:
        losses: (W) for either side, what the score loses without each word.
    """
    probes = [*query.trace.probes, *passage.trace.probes]
    gradients = torch.autograd.grad(score, probes, retain_graph=True)
    split = len(query.trace.probes)
    of_query, of_passage = gradients[:split], gradients[split:]
    return (*query.locate(of_query, losses[0]), *passage.locate(of_passage, losses[1]))


def word_ablation_losses(scores: Callable[[Tensor], Tensor], owners: Sequence[int]) -> Tensor:
    """How much lower scores are if a word is hidden; below 0 if they are higher.

    Args:
        scores: visible (MASKS, L), True = token that is read → (MASKS, T), of T kinds. Called once.
        owners: (L), which of W words each token is part of; -1 = of none, always read.

    Returns: (W, T), float64. The same in each run.
    """
    count = max(owners, default=-1) + 1
    random = torch.Generator().manual_seed(0)
    hidden = torch.rand(MASKS, count, generator=random) < 0.5
    never = torch.zeros(MASKS, 1, dtype=torch.bool)  # the last column, hence that of owner -1
    found = scores(~torch.cat([hidden, never], dim=1)[:, list(owners)]).double()
    x = hidden.double() - hidden.double().mean(dim=0)
    gram = x.T @ x + _RIDGE * torch.eye(count, dtype=torch.float64)
    losses: Tensor = torch.linalg.solve(gram, x.T @ (found.mean(dim=0) - found))
    return losses
