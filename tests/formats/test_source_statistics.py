"""One pass over a source: counts against sources whose contents are known; a guess at languages.

The texts in other languages were written for this test.
"""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from rag_vqa.errors import BadInput
from rag_vqa.formats.document import Rejected
from rag_vqa.formats.source import open_source
from rag_vqa.formats.source_statistics import EXAMPLES_SHOWN, collect_statistics, looks_foreign

ENGLISH = (
    "The museum was opened in 1912 and holds more than four thousand vases. Most of them were "
    "bought by the first director, who had travelled to the south after the war. Visitors can "
    "see the blue vase in a room on the second floor."
)
FOREIGN = {
    "German": "Das Museum wurde 1912 eröffnet und besitzt mehr als viertausend Vasen. Die meisten "
    "davon hat der erste Direktor gekauft, der nach dem Krieg in den Süden gereist war.",
    "French": "Le musée a été ouvert en 1912 et possède plus de quatre mille vases. La plupart ont "
    "été achetés par le premier directeur, qui avait voyagé dans le sud après la guerre.",
    "Spanish": "El museo se abrió en 1912 y tiene más de cuatro mil jarrones. La mayoría los "
    "compró el primer director, que había viajado al sur después de la guerra con su hermana.",
    "Italian": "Il museo fu aperto nel 1912 e possiede oltre quattromila vasi. La maggior parte di "
    "questi fu comprata dal primo direttore, che aveva viaggiato nel sud dopo la guerra.",
    "Dutch": "Het museum is in 1912 geopend en heeft meer dan vierduizend vazen. De meeste daarvan "
    "zijn gekocht door de eerste directeur, die na de oorlog naar het zuiden was gereisd.",
    "Polish": "Muzeum otwarto w 1912 roku i ma ono ponad cztery tysiące wazonów. Większość z nich "
    "kupił pierwszy dyrektor, który po wojnie podróżował na południe ze swoją siostrą.",
    "Indonesian": "Museum ini dibuka pada tahun 1912 dan memiliki lebih dari empat ribu vas. "
    "Sebagian besar dibeli oleh direktur pertama yang pergi ke selatan setelah perang itu.",
    "Russian": "Музей открылся в 1912 году.",
    "Japanese": "この博物館は一九一二年に開館した。",
    "Arabic": "افتتح المتحف قبل الحرب.",
    "Greek": "Το μουσείο άνοιξε το 1912.",
    "Korean": "박물관은 전쟁 전에 문을 열었다.",
}


def write(folder: Path, *records: dict[str, Any]) -> Path:
    path = folder / "kb.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def test_counts(tmp_path: Path) -> None:
    (tmp_path / "there.jpg").write_bytes(b"x")
    path = write(
        tmp_path,
        {"id": "a", "text": "four", "images": ["there.jpg", "gone.jpg"]},
        {"id": "b", "text": "longest", "image": "x" * 300},
        {"id": [7]},
        {"id": "c"},
        {"id": "a", "text": "four", "image": "there.jpg"},
        {"id": "a", "text": "xx"},
        {"text": "no id"},
    )
    told: list[Rejected] = []
    found = collect_statistics(open_source(path, on_reject=told.append))
    assert (found.documents, found.with_image, found.duplicates) == (5, 3, 2)
    assert found.empty == 1  # c
    assert (found.images_missing, [Path(name).name for name in found.missing]) == (
        2,
        ["gone.jpg", "x" * 300],
    )
    assert found.pictures == 4
    assert (found.characters, found.longest, found.longest_id) == (17, 7, "b")
    assert found.refused == 2 and not told  # counted here, reported where documents are added
    assert [text[:7] for text in found.refusals] == ["line 3:", "line 7:"]
    assert (found.judged, found.foreign, found.foreign_share) == (0, 0, 0.0)


def test_of_many_the_first_are_named(tmp_path: Path) -> None:
    records = [{"id": str(n), "text": FOREIGN["Russian"], "image": f"{n}.jpg"} for n in range(9)]
    bad = [{"id": [n]} for n in range(9)]
    found = collect_statistics(
        open_source(write(tmp_path, *records, *bad), on_reject=lambda _: None)
    )
    assert (found.images_missing, found.refused, found.foreign) == (9, 9, 9)
    assert len(found.missing) == len(found.refusals) == len(found.foreign_ids) == EXAMPLES_SHOWN
    assert found.foreign_ids[0] == "0"


def test_strict_raises_and_so_does_nothing_at_all(tmp_path: Path) -> None:
    path = write(tmp_path, {"id": "a"}, {"id": [7]})
    with pytest.raises(BadInput, match=r"line 2: the id is \[7\], not a text or a number"):
        collect_statistics(open_source(path))
    with pytest.raises(BadInput, match="contains no documents"):
        collect_statistics(open_source(write(tmp_path, {"id": [7]}), on_reject=lambda _: None))


def test_the_share_of_a_mixed_source(tmp_path: Path) -> None:
    texts = [ENGLISH, ENGLISH, FOREIGN["Russian"], FOREIGN["German"], "Vase, blue"]
    records = [{"id": str(n), "text": text} for n, text in enumerate(texts)]
    found = collect_statistics(open_source(write(tmp_path, *records)))
    assert (found.judged, found.foreign, found.foreign_share) == (4, 2, 0.5)
    assert found.foreign_ids == ("2", "3")


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN)
def test_other_languages(text: str) -> None:
    assert looks_foreign(text) is True


@pytest.mark.parametrize(
    "text",
    [
        ENGLISH,
        ENGLISH.upper(),
        f"Москва. {ENGLISH}",  # a name in its own script
        "The château of Žďár, which Václav and Zoë had visited with their friends, is one of the "
        "most famous of these, and it has been restored by the town of Kraków.",
    ],
)
def test_english_with_names_of_elsewhere(text: str) -> None:
    assert looks_foreign(text) is False


@pytest.mark.parametrize("text", ["", "1912", "Vase", "Oil on canvas, 73 × 92 cm", "Café, Zürich"])
def test_too_little_to_tell(text: str) -> None:
    assert looks_foreign(text) is None


def test_memory_does_not_grow_with_the_source(tmp_path: Path) -> None:
    path = tmp_path / "kb.jsonl"
    with path.open("w") as file:
        for number in range(3_000):
            file.write(f'{{"id": "{number:02000d}", "text": "t"}}\n')
    source = open_source(path)
    tracemalloc.start()
    assert collect_statistics(source).documents == 3_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 2**20  # the ids have 6 MB


def test_the_language_of_a_large_source_is_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag_vqa.formats.source_statistics.WHOLE_SAMPLE", 10)
    german = {"text": "Die Vase ist aus Porzellan und steht im Museum. " * 5}
    path = write(tmp_path, *({"id": str(n), **german} for n in range(110)))
    found = collect_statistics(open_source(path))
    # The first ten, then those that 20 divides: 20, 40, 60, 80, 100.
    assert (found.documents, found.judged, found.foreign, found.is_sampled) == (110, 15, 15, True)
