"""Registries: look-up, duplicates, and entries in packages that nobody names."""

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from rag_vqa import registry
from rag_vqa.errors import UsageError
from rag_vqa.registry import Registry, register_package


@dataclass(frozen=True)
class Colour:
    name: str


def test_entries_are_found_by_name_and_listed_in_its_order() -> None:
    colours: Registry[Colour] = Registry("colour")
    red, blue = colours.register(Colour("red")), colours.register(Colour("blue"))
    assert colours.register(red) is red  # the same entry again is no second one
    assert (colours.get("blue"), colours.names(), colours.entries()) == (
        blue, ("blue", "red"), (blue, red))  # fmt: skip


def test_an_unknown_name_is_answered_with_the_nearest_and_all_names() -> None:
    colours: Registry[Colour] = Registry("colour")
    colours.register(Colour("red"))
    with pytest.raises(UsageError, match=r"no colour 'rde'\. Did you mean 'red'\? Known: red\.$"):
        colours.get("rde")


def test_two_entries_of_one_name_are_refused() -> None:
    colours: Registry[Colour] = Registry("colour")
    colours.register(Colour("red"))
    with pytest.raises(UsageError, match="two colours called 'red'"):
        colours.register(Colour("re" + "d"))


def test_an_entry_can_be_there_for_a_while() -> None:
    colours: Registry[Colour] = Registry("colour")
    with colours.temporary_entry(Colour("red")) as red:
        assert colours.get("red") is red
    assert colours.names() == ()


def test_modules_of_a_package_are_imported_at_the_first_look_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "colour_folder"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    for name in ("green", "amber"):
        (folder / f"{name}.py").write_text(
            "from colour_registry import COLOURS, Colour\n"
            f"COLOURS.register(Colour({name!r}))\n"
        )  # fmt: skip
    (tmp_path / "colour_registry.py").write_text(
        "from collections import namedtuple\n"
        "from rag_vqa.registry import Registry\n"
        "Colour = namedtuple('Colour', 'name')\n"
        "COLOURS = Registry('colour of a folder')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "_PACKAGES", {})
    from colour_registry import COLOURS  # type: ignore[import-not-found]

    register_package("colour of a folder", "colour_folder")
    register_package("colour of a folder", "colour_folder")
    assert "colour_folder" not in sys.modules
    assert COLOURS.names() == ("amber", "green")
    assert COLOURS.get("green").name == "green"
