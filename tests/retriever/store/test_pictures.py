"""Pictures by content: what is damaged is mended, and what is no plain file is not read."""

import hashlib
import os
from pathlib import Path

import pytest
from PIL import Image

from rag_vqa.errors import CorruptKnowledgeBase
from rag_vqa.images import encode
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling import TokenEncoder
from rag_vqa.retriever.store.document_content import Pictures

PICTURE = encode(Image.new("RGB", (9, 9), "red"))


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    made = Pictures(tmp_path)
    made.folder.mkdir()
    return made


@pytest.mark.parametrize("found", [b"", PICTURE[:-1], bytes([PICTURE[0] ^ 1]) + PICTURE[1:]])
def test_keeping_a_picture_mends_it(pictures: Pictures, found: bytes) -> None:
    path = pictures.folder / hashlib.sha256(PICTURE).hexdigest()
    path.write_bytes(found)
    assert pictures.keep(PICTURE) == path
    assert path.read_bytes() == PICTURE


def test_a_sound_picture_is_not_written_again(pictures: Pictures) -> None:
    before = pictures.keep(PICTURE).stat()
    assert pictures.keep(PICTURE).stat() == before


def test_building_again_mends_it(tmp_path: Path, encoder: TokenEncoder) -> None:
    document = {"id": "a", "text": "One.", "image": PICTURE}
    with KnowledgeBase.create(tmp_path / "x.kb", encoder) as kb:
        kb.add([document])
        (path,) = kb.store.pictures.files()
        path.write_bytes(b"damaged")
        assert len(kb.verify()) == 1
        assert kb.add([document]).unchanged == 1
        assert kb.verify() == ()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)  # no block of it is on the disk


@pytest.mark.parametrize("make", [_pipe, _endless, _huge])
def test_what_is_no_plain_file_is_told_and_not_read(
    tmp_path: Path, encoder: TokenEncoder, make
) -> None:
    with KnowledgeBase.create(tmp_path / "x.kb", encoder) as kb:
        kb.add([{"id": "a", "text": "One.", "image": PICTURE}])
        (path,) = kb.store.pictures.files()
        path.unlink()
        make(path)
        (damage,) = kb.verify()
        assert damage.file == path and damage.what.startswith("it cannot be read")
        with pytest.raises(CorruptKnowledgeBase, match="it cannot be read"):
            kb.snapshot(tmp_path / "copy.kb")
        assert kb.store.pictures.keep(PICTURE).read_bytes() == PICTURE
        assert kb.verify() == ()
