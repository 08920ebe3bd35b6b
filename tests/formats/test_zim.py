"""ZIM archives, written here by libzim itself."""

from pathlib import Path

import pytest
from picture_files import file, noise

from rag_vqa.errors import BadInput
from rag_vqa.formats.document import Rejected
from rag_vqa.formats.source import open_source

libzim = pytest.importorskip("libzim")
KILN = file(noise(64, 48), "PNG")
PAGE = (
    "<html><head><title>Kiln</title></head><body><h1>Kiln</h1><p>An oven for clay.</p>"
    "<h2 id='Uses'>Uses</h2><p>Firing.</p><img src='./I/kiln%20one.png' alt='A kiln'></body></html>"
)


def write(path: Path, entries: dict[str, tuple[str, bytes]], **metadata: str) -> None:
    from libzim.writer import Creator, Hint, Item, StringProvider

    class Entry(Item):  # type: ignore[misc]
        def __init__(self, place: str, kind: str, data: bytes) -> None:
            super().__init__()
            self.place, self.kind, self.data = place, kind, data

        def get_path(self) -> str:
            return self.place

        def get_title(self) -> str:
            return self.place

        def get_mimetype(self) -> str:
            return self.kind

        def get_contentprovider(self) -> StringProvider:
            return StringProvider(self.data)

        def get_hints(self) -> dict[Hint, bool]:
            return {Hint.FRONT_ARTICLE: self.kind == "text/html"}

    with Creator(path) as creator:
        for place, (kind, data) in entries.items():
            creator.add_item(Entry(place, kind, data))
        creator.add_redirection("Oven", "Old title", "Kiln", {Hint.FRONT_ARTICLE: True})
        for name, value in metadata.items():
            creator.add_metadata(name, value)


def test_pages_with_their_pictures(tmp_path: Path) -> None:
    path = tmp_path / "wiki.zim"
    write(
        path,
        {
            "Kiln": ("text/html", PAGE.encode()),
            "Empty": ("text/html", b"<html><body></body></html>"),
            "I/kiln one.png": ("image/png", KILN),
            "-/style.css": ("text/css", b"p{}"),
        },
        Language="eng", Publisher="Kiwix", Source="https://wiki.example",
    )  # fmt: skip
    rejected: list[Rejected] = []
    source = open_source(path, on_reject=rejected.append)
    assert source.kind == "zim"
    lead, uses = list(source.records())
    assert not rejected
    assert (lead.id, lead.title, lead.text, lead.images) == (
        "Kiln",
        "Kiln",
        "An oven for clay.",
        (),
    )
    assert (uses.id, uses.parent, uses.section) == ("Kiln#uses", "Kiln", "Uses")
    assert uses.images == (KILN,) and uses.text == "Firing.\n\nA kiln"
    assert uses.url == "https://wiki.example/Kiln#Uses"
    assert lead.metadata["language"] == "eng" and lead.metadata["publisher"] == "Kiwix"


def test_what_is_no_zim(tmp_path: Path) -> None:
    (tmp_path / "a.zim").write_bytes(b"ZIM\x04 and no more")
    with pytest.raises(BadInput, match="no ZIM"):
        open_source(tmp_path / "a.zim")
