"""A folder of documents with the tokens of their passages: create, open, add, get, delete.

It knows which retriever its tokens belong to. It does not know what an added document goes
through (adding.py), how rows are stored (store.py) or searched (search.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rag_vqa.errors import Mismatch, UsageError
from rag_vqa.formats.document import Rejected
from rag_vqa.retriever.adding import Adding, AddReport
from rag_vqa.retriever.encoding import TokenEncoder
from rag_vqa.retriever.passages import SPLITTING
from rag_vqa.retriever.store import FILE, IMAGES, Manifest, Store
from rag_vqa.types import Document, Hit, Query, Scalar

if TYPE_CHECKING:
    from rag_vqa.retriever.search import Retriever

__all__ = ["AddReport", "KnowledgeBase", "Rejected", "Stats", "Where"]

Where = Mapping[str, Scalar | Sequence[Scalar]]


@dataclass(frozen=True, slots=True)
class Stats:
    """Sizes of a knowledge base; `bytes` on disk, pictures included."""

    documents: int
    passages: int
    images: int
    bytes: int
    retriever: str
    K: int
    D: int


class KnowledgeBase:
    """Documents that can be searched by text and image. `with` closes it.

    Attributes:
        path: its folder.
        manifest: which retriever made its tokens.
    """

    def __init__(self, store: Store, encoder: TokenEncoder | None = None) -> None:
        self.store = store
        self.path = store.folder
        self.manifest = store.manifest
        self._retriever: Retriever | None = None
        self._encoder = encoder
        if encoder is not None:
            check_encoder(self.path, self.manifest, encoder)

    @classmethod
    def create(cls, path: str | Path, encoder: TokenEncoder, exist_ok: bool = False) -> Self:
        """Make an empty knowledge base for the tokens of `encoder`.

        Args:
            exist_ok: open the one that is there, so that the same command goes on.

        Raises:
            UsageError: there is something at `path` already.
            Mismatch: what is there was made by another retriever.
        """
        path = Path(path)
        if exist_ok and (path / FILE).exists():
            return cls.open(path, encoder)
        if (path / FILE).exists():
            raise UsageError(
                f"{path} exists. Go on with it: rag-vqa kb build SOURCE --out {path}, or give "
                "another name."
            )
        if path.exists() and (not path.is_dir() or _foreign(path)):
            raise UsageError(f"{path} holds other files: give another name with --out.")
        return cls(Store.create(path, manifest_of(encoder)), encoder)

    @classmethod
    def open(cls, path: str | Path, encoder: TokenEncoder | None = None) -> Self:
        """Open a knowledge base. Without an encoder, its own is loaded when first needed.

        Raises:
            Missing: there is none at `path`.
            CorruptKnowledgeBase: it is damaged, or not ours.
            Mismatch: the encoder is not the one that it was built with.
        """
        store = Store(Path(path))
        try:
            return cls(store, encoder)
        except Mismatch:
            store.db.close()
            raise

    @property
    def encoder(self) -> TokenEncoder:
        """The encoder, loaded now if there is none yet."""
        if self._encoder is None:
            from rag_vqa.retriever.encoder import Encoder

            revision = self.manifest.revision or None
            options: dict[str, Any] = dict(self.manifest.options)
            encoder = Encoder.load(self.manifest.source, revision=revision, **options)
            check_encoder(self.path, self.manifest, encoder)
            self._encoder = encoder
        return self._encoder

    def add(
        self,
        documents: Iterable[Document | Mapping[str, Any]],
        batch_size: int = 64,
        on_progress: Callable[[int], None] | None = None,
        strict: bool = False,
    ) -> AddReport:
        """Add documents, or replace those whose content changed. Each batch is a commit.

        Interrupted, at most the batch in flight is lost, and the same call goes on from there. Of
        one id the first document stays: a second of other content is refused.

        Args:
            documents: Documents, Records of a file (see `read_jsonl`), or mappings of a
                Document's fields ("image" may stand for "images").
            batch_size: passages encoded at once.
            on_progress: is told how many of the documents given are dealt with and safe.
            strict: the first document that is refused raises; else it is reported.

        Raises:
            UsageError: batch_size < 1.
            BadInput: a document is refused, under `strict`.
        """
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}: give at least 1.")
        adding = Adding(self.store, lambda: self.encoder, batch_size, strict)
        done = 0
        for done, item in enumerate(documents, 1):
            adding.take(item)
            if adding.safe and on_progress is not None:
                on_progress(done)
        if not adding.safe:
            adding.commit()
            if on_progress is not None:
                on_progress(done)
        return adding.report

    def get(self, identity: str) -> Document | None:
        """The document of that id, None if there is none."""
        return self.store.documents([identity]).get(identity)

    def delete(self, ids: str | Iterable[str]) -> int:
        """Remove documents in one commit; how many there were. Unknown ids are no error."""
        return self.store.delete([ids] if isinstance(ids, str) else list(ids))

    def documents(self) -> Iterator[Document]:
        """All documents, in the order of their first adding."""
        return self.store.all_documents()

    def search(
        self, queries: Sequence[Query], k: int, where: Where | None = None
    ) -> list[list[Hit]]:
        """The k best documents of each query; see `Retriever.search`."""
        return self.retriever.search(queries, k, where)

    @property
    def retriever(self) -> Retriever:
        """What searches this knowledge base; its index is kept between searches."""
        if self._retriever is None:
            from rag_vqa.retriever.search import Retriever

            self._retriever = Retriever(self)
        return self._retriever

    def stats(self) -> Stats:
        """Counts and sizes."""
        documents, passages = self.store.count()
        pictures = [file.stat().st_size for file in (self.path / IMAGES).iterdir()]
        size = (self.path / FILE).stat().st_size + sum(pictures)
        label, K, D = _label(self.manifest), self.manifest.K, self.manifest.D
        return Stats(documents, passages, len(pictures), size, label, K, D)

    def __len__(self) -> int:
        return self.store.count()[0]

    def close(self) -> None:
        """Let go of its files."""
        self.store.db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def check_encoder(path: Path, manifest: Manifest, encoder: TokenEncoder) -> None:
    """Refuse an encoder whose document side is not the one that made the tokens at `path`.

    Raises:
        Mismatch: with both names.
    """
    asked = manifest_of(encoder)
    # The fingerprint says all that the name and the options say, wherever the files lie now.
    renamed = replace(asked, source=manifest.source, revision=manifest.revision)
    if replace(renamed, options=manifest.options) == manifest:
        return
    built, given = _label(manifest), _label(asked)
    if built == given:  # one name, other weights: tell them apart
        built, given = (f"{_label(m)} ({m.fingerprint[:12]})" for m in (manifest, asked))
    raise Mismatch(
        f"{path} was built with {built}, asked for {given}. "
        f"Leave out --retriever and its settings, or rebuild: rag-vqa kb build SOURCE --out {path}"
    )


def manifest_of(encoder: TokenEncoder) -> Manifest:
    """What a knowledge base of this encoder's tokens records."""
    return Manifest(
        source=encoder.source,
        revision=encoder.revision or "",
        options=dict(encoder.options),
        fingerprint=encoder.fingerprint,
        splitting=SPLITTING,
        K=encoder.K,
        D=encoder.D,
    )


def _label(manifest: Manifest) -> str:
    """ReT-CLIP-ViT-L-14@a1b2 dtype=bfloat16"""
    name = Path(manifest.source).name or manifest.source
    name += f"@{manifest.revision[:12]}" if manifest.revision else ""
    return " ".join([name, *(f"{key}={value}" for key, value in manifest.options.items())])


def _foreign(folder: Path) -> bool:
    """Whether a folder without a knowledge base holds more than what a killed `create` left."""
    return any(
        entry.name != IMAGES and not entry.name.startswith(FILE) for entry in folder.iterdir()
    )
