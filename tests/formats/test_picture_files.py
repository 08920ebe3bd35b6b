"""Names in lists find their files in the forms that other systems write names."""

from pathlib import Path

import pytest

from rag_vqa.formats.picture_files import find_picture, is_picture_there


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Fotos").mkdir()
    for name in ("cafe\u0301.png", "Bowl.JPG", "two.png", "TWO.png"):
        (tmp_path / "Fotos" / name).write_bytes(b"x")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Fotos/caf\u00e9.png", "Fotos/cafe\u0301.png"),
        ("Fotos/cafe\u0301.png", "Fotos/cafe\u0301.png"),
        ("fotos/bowl.jpg", "Fotos/Bowl.JPG"),
        ("Fotos\\Bowl.JPG", "Fotos/Bowl.JPG"),
        ("Fotos/two.png", "Fotos/two.png"),
        ("Fotos/Two.png", None),  # two names of this form: neither is meant
        ("Fotos/none.png", None),
        ("../x/Fotos/Bowl.JPG", None),
        ("x" * 300, None),
        ("a\0b", None),
    ],
)
def test_forms_of_a_name(folder: Path, name: str, found: str | None) -> None:
    expected = folder / (name if found is None else found)
    assert find_picture(folder / name, folder) == expected
    assert is_picture_there(folder / name, folder) is (found is not None)


def test_a_file_that_comes_later_is_found(folder: Path) -> None:
    assert not is_picture_there(folder / "Fotos/jar.png", folder)
    (folder / "Fotos" / "JAR.png").write_bytes(b"x")
    assert is_picture_there(folder / "Fotos/jar.png", folder)
