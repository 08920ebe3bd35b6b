"""BEM: a BERT classifier that decides whether two answers to a question mean the same.

Bulian et al., Tomayto, Tomahto. Beyond Token-level Answer Equivalence, EMNLP 2022. The official
model is TF-Hub's google/answer_equivalence/bem/1; `convert_bem` converts it without TensorFlow.
Knows texts, tokens and probabilities. Does not know benchmarks: which answers are right, and from
which probability on.

Input, as in the official notebook: `[CLS] candidate [SEP] reference [SEP] question [SEP]`, segments
0, 1, 2, unchanged texts, WordPiece of BERT uncased. For a classifier with two segment types the
question is in segment 1, as such classifiers were trained on text pairs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from rag_vqa.errors import BadInput, Missing, UsageError

Triple: TypeAlias = tuple[str, str, str]  # question, reference, candidate

_MAX_TOKENS = 512  # the official padding
_BATCH = 64
_CACHE_SIZE = 100_000  # triples, about 20 MB: readers repeat themselves
_CONVERT_HINT = (
    "Convert the official model as in docs/bem.md, or name a BERT classifier of the hub."
)


class Bem:
    """A loaded classifier. Call it with (question, reference, candidate), or many at once.

    Attributes:
        name: model and revision; for a folder, the first digits of the SHA-256 of its weights.
    """

    def __init__(self, model: Any, tokenizer: Any, name: str, device: str = "cpu") -> None:
        self.name = name
        self._model = model.to(device).eval()
        self._tokenizer = tokenizer
        self._device = device
        self._cache: dict[Triple, float] = {}
        self._segments = model.config.type_vocab_size
        self._max_tokens: int = min(_MAX_TOKENS, model.config.max_position_embeddings)

    @classmethod
    def load(cls, bem: str, *, device: str = "auto", offline: bool = False) -> Bem:
        """Load a folder or a model of the hub: safetensors only, no code of the checkpoint runs.

        Args:
            bem: a folder, a hub id, or `id@revision`.

        Raises:
            Missing: it does not exist, or is not in safetensors.
            UsageError: it is not a BERT classifier with two classes.
        """
        import torch
        from safetensors import SafetensorError
        from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

        from rag_vqa.devices import resolve_device
        from rag_vqa.hub.model_files import ensure_available

        model, revision = split_revision(bem)
        try:
            where = {
                **ensure_available(model, revision, offline=offline),
                "trust_remote_code": False,
            }
            config = AutoConfig.from_pretrained(model, **where)
            _check_classifier(model, config)
            tokenizer = AutoTokenizer.from_pretrained(model, **where)
            network, report = AutoModelForSequenceClassification.from_pretrained(
                model,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
                **where,
            )
        except Missing as error:
            raise Missing(f"{error} {_CONVERT_HINT}") from error
        except (OSError, ValueError, SafetensorError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise Missing(f"BEM cannot be loaded from {model}: {reason} {_CONVERT_HINT}") from error
        if absent := {*report["missing_keys"], *report["mismatched_keys"]}:
            # transformers would fill them with random numbers, and the scores would be random too.
            raise Missing(
                f"--bem {model}: its weights lack {min(map(str, absent))}. {_CONVERT_HINT}"
            )
        return cls(network, tokenizer, _model_name(model, config), resolve_device(device))

    def __call__(self, question: str, reference: str, candidate: str) -> float:
        """P(same answer)."""
        return self.probabilities([(question, reference, candidate)])[0]

    def probabilities(self, triples: Sequence[Triple]) -> list[float]:
        """P(same answer) of each (question, reference, candidate), in order. Results are cached.

        Raises:
            BadInput: question and reference alone are longer than 512 tokens.
        """
        new = [triple for triple in dict.fromkeys(triples) if triple not in self._cache]
        rows = sorted(((self._encode(triple), triple) for triple in new), key=lambda r: len(r[0]))
        fresh: dict[Triple, float] = {}
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            scores = self._score([row for row, _ in batch])
            fresh.update((triple, p) for (_, triple), p in zip(batch, scores, strict=True))
        found = [fresh[triple] if triple in fresh else self._cache[triple] for triple in triples]
        self._store(fresh)
        return found

    def truncates(self, triple: Triple) -> bool:
        """Whether the end of a candidate is cut off to fit into 512 tokens.

        The official code raises an error instead.
        """
        if (
            sum(len(text.encode("utf-8", "surrogatepass")) for text in triple)
            <= self._max_tokens - 4
        ):
            return False  # a token has at least one byte
        return sum(len(self._tokens(text)) for text in triple) > self._max_tokens - 4

    def _store(self, probabilities: dict[Triple, float]) -> None:
        self._cache.update(probabilities)
        for oldest in list(self._cache)[: max(0, len(self._cache) - _CACHE_SIZE)]:
            del self._cache[oldest]

    def _encode(self, triple: Triple) -> list[tuple[int, int]]:
        """(token, segment) of each token; the end of a candidate that is too long is cut off."""
        question, reference, candidate = map(self._tokens, triple)
        room = self._max_tokens - 4 - len(question) - len(reference)
        if room < 0:
            raise BadInput(
                f"question and reference have {len(question) + len(reference)} tokens, but BEM "
                f"reads {self._max_tokens - 4}: {triple[0]!r:.80}"
            )
        parts = candidate[:room], reference, question
        row = [(self._tokenizer.cls_token_id, 0)]
        for segment, part in enumerate(parts):
            kept = min(segment, self._segments - 1)
            row += [(token, kept) for token in (*part, self._tokenizer.sep_token_id)]
        return row

    def _tokens(self, text: str) -> list[int]:
        # A "[SEP]" in the text becomes plain tokens, as with the official tokenizer.
        found: list[int] = self._tokenizer.encode(
            text, add_special_tokens=False, split_special_tokens=True, verbose=False
        )
        return found

    def _score(self, rows: Sequence[list[tuple[int, int]]]) -> Iterator[float]:
        import torch

        width = max(map(len, rows))
        ids = torch.zeros((2, len(rows), width), dtype=torch.long)  # tokens, segments: (2, B, L)
        mask = torch.zeros((len(rows), width), dtype=torch.long)  # (B, L)
        for place, row in enumerate(rows):
            ids[:, place, : len(row)] = torch.tensor(row).T
            mask[place, : len(row)] = 1
        with torch.inference_mode():
            logits = self._model(
                input_ids=ids[0].to(self._device),
                token_type_ids=ids[1].to(self._device),
                attention_mask=mask.to(self._device),
            ).logits  # (B, 2)
        yield from torch.softmax(logits.float(), -1)[:, 1].tolist()


def split_revision(bem: str) -> tuple[str, str | None]:
    """A hub id and its revision; None for a folder.

    >>> split_revision("someone/bem@0a1b"), split_revision("someone/bem")
    (('someone/bem', '0a1b'), ('someone/bem', None))
    """
    model, _, revision = ("", "", "") if Path(bem).is_dir() else bem.partition("@")
    return (model, revision or None) if model else (bem, None)


def _check_classifier(model: str, config: Any) -> None:
    if config.model_type != "bert" or config.num_labels != 2:
        raise UsageError(
            f"--bem {model}: a {config.model_type} with {config.num_labels} classes, not a BERT "
            f"classifier with two. {_CONVERT_HINT}"
        )


def _model_name(model: str, config: Any) -> str:
    weights = Path(model) / "model.safetensors"
    if weights.is_file():
        with weights.open("rb") as file:
            revision = hashlib.file_digest(file, "sha256").hexdigest()
    else:
        revision = getattr(config, "_commit_hash", None) or "unknown"
    return f"{Path(model).name if weights.is_file() else model}@{revision[:12]}"
