"""What an installation holds is what lies on the disk: packages, data, links, pins."""

import ast
import re
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

MAPPED = ("retriever", "prompts", "eval")  # folders that are imported as rag_vqa.…


@pytest.fixture
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))


def folders(root: Path) -> dict[str, Path]:
    """Each package on the disk, by the name it is imported under, and its folder."""
    found: dict[str, Path] = {}
    for top in ("rag_vqa", *MAPPED):
        for file in (root / top).rglob("__init__.py"):
            inside = file.parent.relative_to(root)
            if not any(parent.is_symlink() for parent in (file.parent, *file.parent.parents)):
                parts = inside.parts if top == "rag_vqa" else ("rag_vqa", *inside.parts)
                found[".".join(parts)] = file.parent
    return found


def sources(root: Path) -> list[Path]:
    ours = ("rag_vqa", *MAPPED, "tests", "benchmarks", ".ci")
    return [file for top in ours for file in sorted((root / top).rglob("*.py"))]


def test_every_folder_with_modules_is_packaged_and_no_other(project, root) -> None:
    assert sorted(project["tool"]["setuptools"]["packages"]) == sorted(folders(root))


def test_no_folder_of_modules_lacks_its_init(root) -> None:
    packaged = set(folders(root).values())
    for top in ("rag_vqa", *MAPPED):
        for file in (root / top).rglob("*.py"):
            assert file.parent in packaged, f"{file.parent} holds modules and no __init__.py"


def test_the_mapping_is_what_the_links_show(project, root) -> None:
    mapping = project["tool"]["setuptools"]["package-dir"]
    assert mapping == {"rag_vqa": "rag_vqa"} | {f"rag_vqa.{name}": name for name in MAPPED}


@pytest.mark.parametrize("name", MAPPED)
def test_links_are_relative_and_lead_beside_the_package(root, name) -> None:
    link = root / "rag_vqa" / name
    if not link.exists():
        pytest.skip("a checkout without symbolic links: the mapping serves there")
    assert link.is_symlink()
    assert link.readlink() == Path("..") / name


def test_every_pattern_of_package_data_finds_files(project, root) -> None:
    homes = folders(root)
    for package, patterns in project["tool"]["setuptools"]["package-data"].items():
        for pattern in patterns:
            found = [file for file in homes[package].glob(pattern) if file.is_file()]
            assert found, f"{package}: nothing matches {pattern}"


def test_every_file_that_is_no_module_is_package_data(project, root) -> None:
    patterns = project["tool"]["setuptools"]["package-data"]
    homes = folders(root)
    packed = {
        file
        for package, globs in patterns.items()
        for glob in globs
        for file in homes[package].glob(glob)
    }
    for package, home in homes.items():
        for file in home.iterdir():
            if file.is_file() and file.suffix not in (".py", ".pyc", ".so", ".pyd"):
                assert file in packed, f"{package}: {file.name} would be missing from the wheel"


def test_no_module_imports_our_folders_by_their_bare_names(root) -> None:
    for file in sources(root):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            bare = {name.partition(".")[0] for name in names} & set(MAPPED)
            assert not bare, f"{file}: import rag_vqa.{bare.pop()} instead"


def test_the_version_is_one(project, root) -> None:
    import rag_vqa

    assert rag_vqa.__version__ == project["project"]["version"] == version("rag-vqa")
    assert f"## [{rag_vqa.__version__}]" in (root / "CHANGELOG.md").read_text("utf-8")


def test_every_dependency_is_pinned_within_its_bounds(project, root) -> None:
    pins: dict[str, str] = {}
    for line in (root / "constraints.txt").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            name, number = re.fullmatch(r"(\S+)==([\w.]+)", line).groups()  # type: ignore[union-attr]
            pins[canonicalize_name(name)] = number
    extras = project["project"]["optional-dependencies"]
    needed = [*project["project"]["dependencies"], *extras["cpu"], *extras["dev"]]
    for text in needed:
        requirement = Requirement(text)
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"constraints.txt does not pin {requirement.name}"
        assert requirement.specifier.contains(pin), f"{text} excludes the tested {pin}"
