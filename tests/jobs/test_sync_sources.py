"""kb sync of sources that are folders: what vanished is deleted, what is refused stays."""

from pathlib import Path

import docx
from PIL import Image

PAGE = """<!doctype html><html><head><title>Kilns</title></head><body><h1>Kilns</h1>
<p>About kilns.</p><h2>Firing</h2><p>Heat it.</p><img src="cone.png" alt="A cone"></body></html>"""


def make_report(path: Path) -> None:
    document = docx.Document()
    document.add_heading("Pump", 0)
    for heading in ("Cleaning", "Storage"):
        document.add_heading(heading, 1)
        document.add_paragraph(f"{heading} of the pump.")
    document.save(str(path))


def test_sync_of_a_folder_of_documents(cli, tmp_path: Path) -> None:
    folder, out = tmp_path / "docs", tmp_path / "o.kb"
    folder.mkdir()
    for name in ("pump.docx", "valve.docx"):
        make_report(folder / name)
    for number in range(4):
        (folder / f"{number}.txt").write_text(f"Note {number}.")
    (folder / "kiln.html").write_text(PAGE)
    Image.new("RGB", (8, 8), (200, 0, 0)).save(folder / "cone.png")

    def sync(*options: str) -> dict[str, int]:
        done = cli("kb", "sync", folder, "--out", out, "--json", *options)
        assert done.code == (4 if done.json["refused"] else 0)
        return {name: done.json[name] for name in ("added", "changed", "deleted", "unchanged")}

    assert cli("kb", "build", folder, "--out", out, "--json").json["added"] == 10
    assert sync() == {"added": 0, "changed": 0, "deleted": 0, "unchanged": 10}
    (folder / "3.txt").unlink()
    (folder / "kiln.html").write_text(PAGE.replace("About", "On"))
    assert sync("--force") == {"added": 0, "changed": 1, "deleted": 1, "unchanged": 8}
    (folder / "pump.docx").write_bytes(b"PK\x03\x04 cut short")  # its sections stay
    (folder / "2.txt").unlink()
    assert sync("--force") == {"added": 0, "changed": 0, "deleted": 1, "unchanged": 6}
    listed = cli("kb", "list", out, "--json").out
    assert '"pump#cleaning"' in listed and '"2"' not in listed
