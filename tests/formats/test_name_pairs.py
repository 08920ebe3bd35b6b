"""Which pictures and texts of one folder are one document, by their names alone."""

import itertools
import unicodedata

import pytest

from rag_vqa.formats.name_pairs import group_names

DOCUMENTS = (".txt", ".md", ".caption", ".pdf", ".docx")


def groups(*names: str) -> list[tuple[str, str, tuple[str, ...]]]:
    found = list(group_names(names, DOCUMENTS))
    assert not any(group.refused for group in found)
    return [(group.name, group.document, group.pictures) for group in found]


@pytest.mark.parametrize(
    ("picture", "text", "name"),
    [
        ("vase.jpg", "vase.txt", "vase"),
        ("vase.jpg", "vase.jpg.txt", "vase"),
        ("vase.JPG", "vase.jpg.md", "vase"),
        ("Bowl.JPG", "bowl.txt", "bowl"),
        ("BOWL.jfif", "Bowl.Caption", "Bowl"),
        ("STRASSE.png", "straße.md", "straße"),
        (unicodedata.normalize("NFD", "café.jpe"), "café.md", "café"),
        ("CAFÉ.AVIF", "cafe\u0301.txt", "cafe\u0301"),
        ("v1.2.webp", "v1.2.txt", "v1.2"),
        ("pump.mpo", "Pump.PDF", "Pump"),
        ("ship.jxl", "ship.jxl.md", "ship"),
        ("İ.heic", "İ.txt", "İ"),
    ],
)  # fmt: skip
def test_a_picture_and_a_text_of_one_name(picture: str, text: str, name: str) -> None:
    for names in itertools.permutations((picture, text)):
        assert groups(*names) == [(name, text, (picture,))]


def test_several_pictures_of_one_name() -> None:
    assert groups("a.tif", "a.JPG", "A.png", "a.txt", "b.jpg") == [
        ("a", "a.txt", ("A.png", "a.JPG", "a.tif")),
        ("b", "", ("b.jpg",)),
    ]


def test_a_picture_alone_and_a_text_alone() -> None:
    assert groups("b.png", "a.txt", "c.mov", "d.jpg.txt", "LICENSE") == [
        ("a", "a.txt", ()),
        ("b", "", ("b.png",)),
        ("d", "d.jpg.txt", ()),
    ]


def test_names_that_differ_by_capitals_and_are_complete_stay_apart() -> None:
    names = ("IMG.jpg", "IMG.txt", "img.jpg", "img.txt", "A.png", "a.png")
    assert groups(*names) == [
        ("A", "", ("A.png",)),
        ("IMG", "IMG.txt", ("IMG.jpg",)),
        ("a", "", ("a.png",)),
        ("img", "img.txt", ("img.jpg",)),
    ]


def test_each_picture_of_one_name_may_have_its_own_text() -> None:
    names = ("v.jpg", "v.jpg.txt", "v.png", "v.png.txt", "v.tif")
    assert groups(*names) == [
        ("v", "", ("v.tif",)),
        ("v.jpg", "v.jpg.txt", ("v.jpg",)),
        ("v.png", "v.png.txt", ("v.png",)),
    ]
    assert groups("v.jpg", "v.jpg.txt", "v.txt") == [
        ("v", "v.txt", ()),
        ("v.jpg", "v.jpg.txt", ("v.jpg",)),
    ]


def test_two_texts_of_one_name_are_refused_with_their_picture() -> None:
    refused, good = group_names(["a.md", "a.txt", "a.jpg", "b.txt"], DOCUMENTS)
    assert "'a.md' and 'a.txt' are texts of one name" in str(refused.refused)
    assert refused.pictures == ("a.jpg",) and good.document == "b.txt" and not good.refused


def test_other_documents_of_one_name_keep_their_suffix() -> None:
    assert groups("r.pdf", "r.docx", "r.jpg") == [
        ("r", "r.docx", ("r.jpg",)),
        ("r.pdf", "r.pdf", ()),
    ]
    assert groups("r.pdf", "r.txt") == [("r", "r.txt", ()), ("r.pdf", "r.pdf", ())]
