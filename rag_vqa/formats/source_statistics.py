"""Source statistics: one pass over a source that counts, before hours are spent on it.

Knows how to count and how to guess at English. Does not open pictures (it only asks whether the
file exists) and changes nothing. Memory is about twenty bytes a document.

The guess is cheap and rough, and in a large source only every SAMPLE_STEP-th text is guessed at. A
text looks non-English if over a fifth of its letters are not A to Z, as in other scripts, or if
under 8% of its first words are common English words that other languages in Latin letters do not
share. The second rule needs MIN_WORDS words: a name is the same in all languages.
"""

from __future__ import annotations

import os
import re
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rag_vqa.formats.document import Rejected, record_picture
from rag_vqa.formats.picture_files import ListedFolders, is_picture_there
from rag_vqa.formats.short_texts import ShortTexts
from rag_vqa.formats.source import Source

MIN_WORDS: Final = 20
WHOLE_SAMPLE: Final = 10_000  # documents of which each text is guessed at
SAMPLE_STEP: Final = 20  # of those that follow, one in so many
_HEAD: Final = 2_000  # characters of a document that are used to guess its language
_FIRST_TEXTS: Final = 200  # of which the beginnings are kept
EXAMPLES_SHOWN: Final = 5  # names kept of each kind of problem
_WORD: Final = re.compile(r"[^\W\d_]+")
# Common English words, without those that are common in a neighbour too (in, on, was, as, an, for).
_ENGLISH: Final = frozenset(
    _WORD.findall(
        "the of and to is with by from that this which it its are were be been has have had his "
        "her their they he she but not or also first other when where into after between most "
        "such these than can used many there who"
    )
)


@dataclass(frozen=True, slots=True)
class SourceStatistics:
    """Counts over a whole source.

    Attributes:
        documents: documents that could be read.
        empty: documents with neither text nor image; a build will refuse them.
        refused: items that could not be read; `refusals` are the first reasons.
        with_image: documents that name a picture, whether its file exists or not.
        pictures: pictures that are named as files.
        images_missing: those of them whose file does not exist; `missing` are the first names.
        short_names: metadata of the first documents that are short texts, see ShortTexts;
            `metadata_names` are all of them.
        left_out: metadata that cannot be kept: (name, reason) → number of values.
        remarks: what formats had to do to documents → number of documents.
        duplicates: documents whose id came before.
        characters: of all texts that are searched.
        longest: characters of the longest text, which belongs to `longest_id`.
        judged: documents with enough text to guess their language; of a sample, if there are more
            than WHOLE_SAMPLE.
        foreign: judged documents that look non-English; `foreign_ids` are the first.
        texts: beginnings of the first texts that are searched.
        id_hashes: of the ids, sorted; this process's hashes. See `has_id`.
    """

    documents: int
    empty: int
    refused: int
    refusals: tuple[str, ...]
    with_image: int
    pictures: int
    images_missing: int
    missing: tuple[str, ...]
    duplicates: int
    characters: int
    longest: int
    longest_id: str
    judged: int
    foreign: int
    foreign_ids: tuple[str, ...]
    left_out: Mapping[tuple[str, str], int]
    remarks: Mapping[str, int]
    short_names: tuple[str, ...] = ()
    metadata_names: tuple[str, ...] = ()
    texts: tuple[str, ...] = field(default=(), repr=False, compare=False)
    id_hashes: NDArray[np.int64] = field(
        default_factory=lambda: np.empty(0, np.int64), repr=False, compare=False
    )

    def has_id(self, identity: str) -> bool:
        """Whether a document of the source has this id, also if it was refused."""
        wanted = hash(identity)
        place = int(np.searchsorted(self.id_hashes, wanted))
        return place < len(self.id_hashes) and int(self.id_hashes[place]) == wanted

    @property
    def is_sampled(self) -> bool:
        """Whether the language of only some texts was guessed."""
        return self.documents > WHOLE_SAMPLE

    @property
    def foreign_share(self) -> float:
        """Share of the judged documents that look non-English."""
        return self.foreign / self.judged if self.judged else 0.0


class _CountedExamples:
    """A count, and the first names."""

    def __init__(self) -> None:
        self.count, self.names = 0, list[str]()

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.names) < EXAMPLES_SHOWN:
            self.names.append(name)


def collect_statistics(source: Source) -> SourceStatistics:
    """Read a source once and count. Refused items are counted, not reported to its `on_reject`.

    Raises:
        BadInput: there are no documents; under `strict` the first item that is refused.
    """
    refused, missing, foreign = _CountedExamples(), _CountedExamples(), _CountedExamples()
    hashes = array("q")
    empty = with_image = pictures = characters = longest = judged = 0
    left_out: Counter[tuple[str, str]] = Counter()
    remarks: Counter[str] = Counter()
    longest_id = ""
    short = ShortTexts()
    texts: list[str] = []
    folders = ListedFolders()
    named_in = source.base
    root = f"{named_in}{os.sep}"
    refused_ids = array("q")

    def count_refused(rejected: Rejected) -> None:
        refused.add(_rejection_text(rejected))
        if rejected.id is not None:
            refused_ids.append(hash(rejected.id))

    counting = replace(source, on_reject=count_refused)
    for number, (fields, lost, remark) in enumerate(counting.checked_fields()):
        hashes.append(hash(fields["id"]))
        text = fields["retrieval_text"].strip() or fields["text"].strip()
        length = len(text)
        if text and len(texts) < _FIRST_TEXTS:
            texts.append(text[:_HEAD])
        characters += length
        if length > longest:
            longest, longest_id = length, fields["id"]
        if fields["images"]:
            with_image += 1
            for image in fields["images"]:
                if type(image) is str and ":" not in image and root + image in folders:
                    pictures += 1
                    continue
                path = record_picture(image, named_in)
                if isinstance(path, Path):
                    pictures += 1
                    if not is_picture_there(path, source.folder):
                        missing.add(str(path))
        elif not text:
            empty += 1
        if lost:
            left_out.update(lost.items())
        if remark:
            remarks[remark] += 1
        short.add(fields["metadata"])
        if number < WHOLE_SAMPLE or not number % SAMPLE_STEP:
            looks = looks_foreign(f"{fields['title']}\n{text[:_HEAD]}")
            judged += looks is not None
            if looks:
                foreign.add(fields["id"])
    distinct = np.unique(np.frombuffer(hashes, np.int64))
    return SourceStatistics(
        documents=len(hashes),
        empty=empty,
        refused=refused.count,
        refusals=tuple(refused.names),
        with_image=with_image,
        pictures=pictures,
        images_missing=missing.count,
        missing=tuple(missing.names),
        duplicates=len(hashes) - len(distinct),
        characters=characters,
        longest=longest,
        longest_id=longest_id,
        judged=judged,
        foreign=foreign.count,
        foreign_ids=tuple(foreign.names),
        left_out=left_out,
        remarks=remarks,
        short_names=tuple(short.short_names()),
        metadata_names=tuple(short.all_names()),
        texts=tuple(texts),
        id_hashes=np.union1d(distinct, np.array(refused_ids, np.int64)),
    )


def _rejection_text(rejected: Rejected) -> str:
    return rejected.reason if rejected.line is None else f"line {rejected.line}: {rejected.reason}"


def looks_foreign(text: str) -> bool | None:
    """Whether a text looks non-English; None if it is too short to tell.

    >>> looks_foreign("Ваза из фарфора"), looks_foreign("Vase")
    (True, None)
    """
    words = _WORD.findall(text)
    letters = len(joined := "".join(words))
    if not letters:
        return None
    latin = len(joined.encode("ascii", "ignore"))
    if letters - latin > letters / 5:
        return True
    if len(words) < MIN_WORDS:
        return None
    common = sum(word.lower() in _ENGLISH for word in words)
    return common < 0.08 * len(words)
