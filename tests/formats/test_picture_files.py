"""Names in lists find their files in the forms that other systems write names."""

from pathlib import Path

import pytest

from rag_vqa.formats import picture_files
from rag_vqa.formats.picture_files import ListedFolders, find_picture, is_picture_there


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


def test_listed_folders_contain_files_and_links_to_files(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to("a.jpg")
    (tmp_path / "broken.jpg").symlink_to("no.jpg")
    folders = ListedFolders()
    found = [
        name
        for name in ("a", "folder", "link", "broken", "no")
        if f"{tmp_path}/{name}.jpg" in folders
    ]
    assert found == ["a", "link"]
    assert f"{tmp_path}/no/a.jpg" not in folders and f"{tmp_path}/\0/a" not in folders


def test_of_a_very_large_folder_not_all_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_files, "_MOST_NAMES", 2)
    monkeypatch.setattr(picture_files, "_MOST_FOLDERS", 2)
    for folder in "abc":
        (tmp_path / folder).mkdir()
        for name in "xyz":
            (tmp_path / folder / name).write_bytes(b"")
    folders = ListedFolders()
    for folder in "abca":
        assert sum(f"{tmp_path}/{folder}/{name}" in folders for name in "xyz") == 2
