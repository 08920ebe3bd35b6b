"""Folders of documents: sections, the pictures that they show, saved pages, and what is refused."""

from pathlib import Path

import docx
import pytest

from rag_vqa.errors import Missing
from rag_vqa.formats import document_reader
from rag_vqa.formats.document import Contents, Record, Rejected, read_records
from rag_vqa.formats.folder import contents


def make(root: Path, **files: str | bytes) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return root


def make_report(path: Path) -> None:
    document = docx.Document()
    document.add_heading("Pump", 0)
    for heading in ("Cleaning", "Storage"):
        document.add_heading(heading, 1)
        document.add_paragraph(f"{heading} of the pump.")
    path.parent.mkdir(parents=True, exist_ok=True)
    document.save(str(path))


def read(path: Path) -> tuple[Contents, dict[str, Record], list[Rejected]]:
    rejected: list[Rejected] = []
    found = contents(path)
    records = list(read_records(found.items(), path, path.resolve(), rejected.append))
    assert len({record.id for record in records}) == len(records)
    return found, {record.id: record for record in records}, rejected


PAGE = """<!doctype html><html><head><title>Kilns</title></head><body><h1>Kilns</h1>
<p>About kilns.</p><h2>Firing</h2><p>Heat it.</p><img src="{0}" alt="A cone"><p>Slowly.</p>
</body></html>"""


def test_a_folder_of_documents_of_all_kinds(tmp_path: Path) -> None:
    make_report(tmp_path / "manuals" / "pump.docx")
    make(tmp_path, **{"kiln.html": PAGE.format("img/cone.png"), "img/cone.png": b"1"})
    make(tmp_path, **{"note.txt": "A note.", "alone.jpg": b"2"})
    make(tmp_path, **{"guide.md": "# Guide\n\nText.\n\n## Care\n\n![x](img/care.png)\n\nBrush."})
    make(tmp_path, **{"img/care.png": b"3"})
    _, found, rejected = read(tmp_path)
    root = tmp_path.resolve()
    assert not rejected
    assert {i: (r.parent, [*r.images]) for i, r in found.items()} == {
        "guide": ("guide", []),
        "guide#care": ("guide", [root / "img/care.png"]),
        "kiln": ("kiln", []),
        "kiln#firing": ("kiln", [root / "img/cone.png"]),
        "note": ("", []),
        "manuals/pump#cleaning": ("manuals/pump", []),
        "manuals/pump#storage": ("manuals/pump", []),
        "alone": ("", [root / "alone.jpg"]),
    }
    assert found["manuals/pump#cleaning"].metadata["file"] == "manuals/pump.docx"


def test_a_picture_of_a_note_s_own_name(tmp_path: Path) -> None:
    note = "# Vat\n\nDyer's vat.\n\n## Use\n\nIndigo."
    make(tmp_path, **{"a/vat.md": note, "a/vat.jpg": b"1"})
    make(tmp_path, **{"b/vat.md": f"{note}\n\n![the vat](vat.jpg)", "b/vat.jpg": b"2"})
    make_report(tmp_path / "pump.docx")
    make(tmp_path, **{"pump.png": b"3"})
    _, found, _ = read(tmp_path)
    root = tmp_path.resolve()
    assert {i: r.images for i, r in found.items() if r.images} == {
        "a/vat": (root / "a/vat.jpg",),  # the first section
        "b/vat#use": (root / "b/vat.jpg",),  # the section that shows it
        "pump#cleaning": (root / "pump.png",),
    }


def test_a_page_that_a_browser_saved(tmp_path: Path) -> None:
    make(tmp_path, **{"Kilns.html": PAGE.format("Kilns_files/cone.png")})
    files = ("cone.png", "logo.gif", "ad.html", "style.css", "saved_resource.html")
    make(tmp_path / "Kilns_files", **{name: PAGE.format("x.png") for name in files})
    make(tmp_path / "my_files", **{"note.txt": "My own."})  # beside no page of its name
    source, found, rejected = read(tmp_path)
    assert set(found) == {"Kilns", "Kilns#firing", "my_files/note"} and not rejected
    assert found["Kilns#firing"].images == (tmp_path.resolve() / "Kilns_files/cone.png",)
    assert any("1 picture of saved pages that no page shows" in line for line in source.findings())


def test_a_mirrored_site(tmp_path: Path) -> None:
    host = tmp_path / "www.example.org"
    make(host, **{"index.html": PAGE.format("img/cone.png"), "img/cone.png": b"1"})
    make(host, **{"sub/page.html": PAGE.format("/img/far.png"), "img/far.png": b"2"})
    make(host, **{"img/spacer.gif": b"3", "robots.txt": "User-agent: *", "css/a.css": "x"})
    source, found, _ = read(tmp_path)
    shown = {r.images[0] for r in found.values() if r.images}
    assert shown == {(host / "img" / name).resolve() for name in ("cone.png", "far.png")}
    assert any("1 picture of saved pages that no page shows" in line for line in source.findings())


def test_a_document_that_fails_costs_itself(tmp_path: Path) -> None:
    make_report(tmp_path / "good.docx")
    make(tmp_path, **{"bad.docx": b"PK\x03\x04 cut short", "bad.pdf": b"%PDF-1.7 nothing"})
    _, found, rejected = read(tmp_path)
    assert set(found) == {"good#cleaning", "good#storage"}
    assert {one.id for one in rejected} == {"bad", "bad.pdf"}


def test_an_extra_that_is_not_installed_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.docx", "b.docx"):
        make_report(tmp_path / name)
    make(tmp_path, **{"c.txt": "A note."})
    monkeypatch.setattr(document_reader, "find_spec", lambda module: None)
    source, found, rejected = read(tmp_path)
    assert set(found) == {"c"} and [one.id for one in rejected] == ["a", "b"]
    (line,) = [line for line in source.findings() if "pip install" in line]
    assert "rag-vqa[documents]" in line
    with pytest.raises(Missing):
        document_reader.find_reader(".docx").read(tmp_path / "a.docx")  # type: ignore[union-attr]


def test_encodings_are_counted(tmp_path: Path) -> None:
    make(tmp_path, **{"a.txt": "café".encode("cp1252"), "b.txt": "naïve".encode("cp1252")})
    make(tmp_path, **{"c.txt": "plain"})
    source, found, _ = read(tmp_path)
    assert found["a"].text == "café"
    assert "2 texts read as Windows-1252" in source.findings()


def test_only_a_page_with_nothing_in_it_is_said_to_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "kettle.html").write_text("<title>Kettle</title><h1>Kettle</h1><p>Boil.</p>")
    found, records, _ = read(tmp_path)
    assert records["kettle"].text == "Boil." and not found.findings()
    (tmp_path / "script.html").write_text("<title></title><body><script>draw()</script></body>")
    found, records, _ = read(tmp_path)
    assert "kettle" in records and "script" not in records
    assert [("1 page" in remark, "script.html" in remark) for remark in found.findings()] == [
        (True, True)
    ]
