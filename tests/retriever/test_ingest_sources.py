"""Sources of several kinds, from files to a knowledge base: pictures by name and by bytes."""

from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from rag_vqa.errors import BadInput
from rag_vqa.formats.document import Rejected
from rag_vqa.formats.mapping import parse_mapping
from rag_vqa.formats.source import open_source
from rag_vqa.images import encode
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling import TokenEncoder


def png(colour: str) -> bytes:
    return encode(Image.new("RGB", (3, 2), colour))


def test_a_folder_a_table_and_its_copy_in_parquet(tmp_path: Path, encoder: TokenEncoder) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "vase.png").write_bytes(png("red"))
    (folder / "vase.md").write_text("---\nyear: 1750\n---\n# Vase\nBlue.")
    (tmp_path / "kb.csv").write_text("no;body;photo;year\nc;Bowl.;in/vase.png|gone.png;1800\n")
    rows = {"id": ["p"], "text": ["Plate."], "image": [{"bytes": png("blue"), "path": None}]}
    parquet.write_table(pa.table(rows), tmp_path / "kb.parquet")
    mapping = parse_mapping(["id=no", "text=body", "images=photo"])
    with KnowledgeBase.create(tmp_path / "x.kb", encoder) as kb:
        for source in (
            open_source(folder),
            open_source(tmp_path / "kb.csv", mapping=mapping),
            open_source(tmp_path / "kb.parquet"),
        ):
            report = kb.add(source.records())
            assert (report.added, report.rejected) == (1, [])
            assert kb.add(source.records()).unchanged == 1
            if source.kind == "csv":
                (unusable,) = report.missing_images
                assert unusable[:2] == ("c", "gone.png")
        found = {document.id: document for document in kb.documents()}
        assert found["vase"].metadata == {"year": 1750} and found["vase"].title == "Vase"
        assert found["c"].metadata == {"year": 1800} and found["c"].images == found["vase"].images
        (picture,) = found["p"].images
        assert Path(str(picture)).read_bytes() == png("blue")


def test_what_is_refused_of_a_folder_and_of_bytes(tmp_path: Path, encoder: TokenEncoder) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "bad.png").write_bytes(png("red")[:40])
    (folder / "blank.txt").write_text(" ")
    (folder / "good.txt").write_text("Good.")
    rows = {"id": ["p", "q"], "text": ["t", "t"], "image": [b"no picture", png("red")]}
    parquet.write_table(pa.table(rows), tmp_path / "kb.parquet")
    with KnowledgeBase.create(tmp_path / "x.kb", encoder) as kb:
        report = kb.add(open_source(folder).records())
        assert (report.added, [(r.line, r.id) for r in report.rejected]) == (
            1,
            [(None, "blank"), (None, "bad")],
        )
        rejected: list[Rejected] = []
        source = open_source(tmp_path / "kb.parquet", on_reject=rejected.append)
        report = kb.add(source.records())
        ((document, _, reason),) = report.missing_images
        assert document == "p" and "not a picture" in reason and not report.rejected
        with pytest.raises(BadInput, match="line 1: picture <10 bytes>: not a picture"):
            kb.add(source.records(), strict=True)
