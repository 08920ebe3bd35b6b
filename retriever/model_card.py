"""Model cards: what a retriever was trained on, how good it is, its licence, and how to use it.

Knows the README.md of a checkpoint's folder, as the Hugging Face hub shows it. Does not know how a
model is trained or uploaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

CARD_FILE = "README.md"
_UNKNOWN = "not stated"
_TAGS = ("rag-vqa", "ret", "late-interaction", "multimodal-retrieval")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What people should know about a retriever; a field that is empty is shown as not stated.

    Attributes:
        base: model that it was trained from: a hub id or a name.
        data: one line about each source of training pairs.
        figures: by name, for instance {"recall@1": 0.81}; `measured_on` says of what.
        measured_on: data on which the figures were measured.
        licence: identifier as the hub knows it, for instance "apache-2.0".
    """

    base: str = ""
    data: tuple[str, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)
    measured_on: str = ""
    licence: str = ""

    def render(self, config: Any, name: str = "MODEL") -> str:
        """The card in Markdown, with its front matter.

        Args:
            config: a RetrieverConfig, or the RetConfig of one side.
            name: hub id or folder, for the examples.
        """
        front: dict[str, Any] = {
            "library_name": "transformers",
            "pipeline_tag": "visual-document-retrieval",
            "tags": list(_TAGS),
        }
        if self.licence:
            front["license"] = self.licence
        if _is_hub_id(self.base):
            front["base_model"] = self.base
        text = _TEMPLATE.format(
            name=name,
            tokens=getattr(config, "query", config).num_tokens,
            width=getattr(config, "query", config).token_width,
            base=self.base or _UNKNOWN,
            data="\n".join(f"- {line}" for line in self.data) or f"- {_UNKNOWN}",
            figures=self._figures_table(),
            licence=self.licence or _UNKNOWN,
        )
        return f"---\n{yaml.safe_dump(front, sort_keys=True)}---\n\n{text}"

    def _figures_table(self) -> str:
        if not self.figures:
            return f"{_UNKNOWN.capitalize()}."
        rows = "\n".join(f"| {name} | {value:.3f} |" for name, value in self.figures.items())
        where = f"\n\nMeasured on {self.measured_on}." if self.measured_on else ""
        return f"| figure | value |\n|---|---|\n{rows}{where}"


def _is_hub_id(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~"))


_TEMPLATE = """# {name}

A ReT retriever (Caffagni et al., *Recurrence-Enhanced Vision-and-Language Transformers for Robust
Multimodal Document Retrieval*, CVPR 2025). It encodes a query or a document, each of text, a
picture, or both, into {tokens} tokens of width {width}. A document's score is the sum, over the
query's tokens, of the best dot product among the document's tokens.

## Use it

```console
$ rag-vqa kb build docs.jsonl --out my.kb --retriever {name}
$ rag-vqa search my.kb "a question" --image photo.jpg
```

```python
from rag_vqa.retriever.encoder import Encoder

encoder = Encoder.load("{name}")
query = encoder.encode_query({{"text": "Which bird is this?", "image": "photo.jpg"}})
documents = encoder.encode_document(["A puffin nests in burrows.", "An owl nests in barns."])
scores = encoder.similarity(query, documents)
```

With transformers alone, after `import rag_vqa.retriever`: `AutoModel.from_pretrained("{name}")` and
`AutoProcessor.from_pretrained("{name}")`.

## Training

Trained from: {base}. Data:

{data}

## Figures

{figures}

## Licence

{licence}
"""
