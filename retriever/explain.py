"""Why a passage matched a query: its strongest pairs of tokens, traced to words and patches.

Knows scores, pairs and how weights are normed. Encodes both anew, so that searching costs nothing
for it. Does not know the index, which holds the same tokens with fewer bits.

What is computed, and why it is approximate. A score is Σ_i Q_i · D_j(i), j(i) the best partner of
query token i: that part is exact. For the rest, a token is the end of R steps of the cell, and at
each step each learned query reads the words (or patches) by cross attention, gated. The gradient
of a pair's score (or of the whole score) by each read says how much that read still counts at the
end, through its input gate and through the forget gates of all later steps. It is multiplied with
what each position adds to the read, attention × value, taken without its sign, since a part that
lowers a score has shaped it as well; heads, learned queries and steps are summed. Positions of a
tower's layer are taken back to its input by attention rollout. Left out: what layers of towers do
besides attention, that a gradient holds for small changes only, and the towers' own marks (start,
end, class token), whose share is given to nothing. Weights of words and patches of one side are
≥ 0 and sum to 1.

How far it is borne out, measured on the embedded retriever: masking the heaviest tenth of a query's
words, of its patches or of a document's patches lowers the score more than masking another tenth.
**Of a document's words it does not**: a tenth of them moves the score by 0.04 of 28, whichever it
is. That is not the tracing's fault alone: choosing the words that, each left out by itself, lower
the score most does no better (by 0.01 ± 0.03, 20 questions). Take those weights for a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rag_vqa import images
from rag_vqa.errors import UsageError
from rag_vqa.retriever.encoder import Encoder
from rag_vqa.retriever.masking import losses
from rag_vqa.retriever.model import RetModel
from rag_vqa.retriever.opening import Opening
from rag_vqa.retriever.places import Patch, Span, patches, spans, words
from rag_vqa.retriever.tracing import Trace
from rag_vqa.types import ImageSource, Passage, Query


@dataclass(frozen=True, slots=True)
class PairMatch:
    """A token of the query and its best partner: `score` = Q_i · D_j, and where both come from.

    Spans are of `query_text` and `document_text` of the Explanation. Of an absent modality there
    are none. `query_token`, `document_token`: i and j, from 0.
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
    """Why a passage matched a query. The module says what the weights are, and which are a guess.

    Attributes:
        score: late interaction of both, as encoded now; the sum over all K pairs.
        pairs: the strongest, by falling score.
        query_text: as encoded, with the instruction; `document_text` with the title.
        query_words, …: of the whole score rather than of one pair.
        approximate: True, for whoever shows it.
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


@torch.inference_mode(False)
@torch.enable_grad()
def explain(encoder: Encoder, query: Query, passage: Passage, pairs: int | None = 5) -> Explanation:
    """Why `passage` matches `query`.

    Args:
        pairs: how many of the strongest are traced, each by a backward pass through both cells;
            None: all K.

    Raises:
        UsageError: pairs < 0.
        BadImage, Missing: a picture does not open.
    """
    if pairs is not None and pairs < 0:
        raise UsageError(f"pairs is {pairs}: give 0 or more.")
    text = encoder.query_text(query)
    asked = _Side(encoder, encoder.model.get_query_model(), text, query.image)
    shown = _Side(encoder, encoder.model.get_passage_model(), passage.text, passage.image)
    best, partners = (asked.trace.tokens @ shown.trace.tokens.T).max(dim=1)  # (K), (K)
    lost = shown.losses(asked.trace.tokens.detach())  # (K, W)
    total = best.sum()
    order = best.argsort(descending=True, stable=True)[:pairs]
    return Explanation(
        float(total.detach()),
        tuple(
            PairMatch(
                int(i),
                int(partners[i]),
                float(best[i].detach()),
                *_places(best[i], asked, shown, lost[i]),
            )
            for i in order
        ),
        text,
        passage.text,
        *_places(total, asked, shown, lost.sum(dim=0)),
    )


class _Side:
    """The query or the passage: its trace, and where its tokens lie."""

    def __init__(
        self, encoder: Encoder, model: RetModel, text: str, image: ImageSource | None
    ) -> None:
        processor = self.processor = encoder.processor
        picture = None
        if image is not None and image != "":
            picture = images.load(image, exif=not processor.parity)
        inputs = processor([text], [picture])
        self.text, self.picture, self.batch = text, picture, encoder.batch_size
        self.pixels = None if inputs.pixel_values is None else inputs.pixel_values.shape[-2:]
        self.patch: int = model.vision_model.config.patch_size
        self.trace = Trace(model, inputs.to(model.device, model.dtype))

    def losses(self, queries: Tensor) -> Tensor:
        """(K, W): what the best product of each of `queries` (K, D) loses without each word."""
        if not self.trace.text.probes:
            return queries.new_empty(len(queries), 0, device="cpu")
        _, owners = words(self.processor.tokenizer, self.text, self.processor.window)

        def scores(seen: Tensor) -> Tensor:
            batches = map(self.trace.hiding, seen.split(self.batch))
            return torch.cat([(queries @ tokens.mT).amax(dim=-1).cpu() for tokens in batches])

        return losses(scores, owners).T

    def places(
        self, gradients: Sequence[Tensor], lost: Tensor | None = None
    ) -> tuple[tuple[Span, ...], tuple[Patch, ...]]:
        """Words and patches; their weights sum to 1 together.

        Args:
            lost: (W), how the words' share is divided among them; None: as traced.
        """
        of_text, of_vision = (part.tolist() for part in self.trace.weights(gradients))
        told = spans(self.processor.tokenizer, self.text, self.processor.window, of_text)
        if lost is not None:
            counts = lost.clamp(min=0)
            share = sum(word.weight for word in told) / (float(counts.sum()) or 1.0)
            told = tuple(
                replace(word, weight=share * count)
                for word, count in zip(told, counts.tolist(), strict=True)
            )
        parts: tuple[Patch, ...] = ()
        if self.picture is not None and self.pixels is not None:
            height, width = self.pixels
            opening = Opening.of(self.processor.image_processor, exif=True)
            size = self.picture.size
            parts = patches(opening, size, (width, height), self.patch, of_vision)
        whole = sum(word.weight for word in told) + sum(part.weight for part in parts) or 1.0
        return (
            tuple(replace(word, weight=word.weight / whole) for word in told),
            tuple(replace(part, weight=part.weight / whole) for part in parts),
        )


def _places(
    score: Tensor, asked: _Side, shown: _Side, lost: Tensor
) -> tuple[tuple[Span, ...], tuple[Patch, ...], tuple[Span, ...], tuple[Patch, ...]]:
    """Words and patches of the query, then of the passage, that `score` came from.

    Args:
        lost: (W), of each word of the passage, what the score loses without it.
    """
    sides = (asked.trace, shown.trace)
    probes = [probe for trace in sides for probe in trace.probes]
    gradients = torch.autograd.grad(score, probes, retain_graph=True)
    split = len(asked.trace.probes)
    return (*asked.places(gradients[:split]), *shown.places(gradients[split:], lost))
