"""The import graph of the product, by the names that modules are imported under.

Knows the package-dir mapping of pyproject.toml (retriever/, prompts/ and eval/ are rag_vqa.…), and
counts every import: inside functions, under TYPE_CHECKING, and `import_module` of a literal name.
Does not know what is allowed: tests/test_architecture.py does. Parent packages, which Python runs
too, are not counted: nearly every module has rag_vqa/__init__.py above it.
"""

import ast
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path


def package_folders(root: Path) -> dict[str, Path]:
    """Top-level packages and the folders that hold them, as pyproject.toml maps them."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    mapping: Mapping[str, str] = project["tool"]["setuptools"]["package-dir"]
    return {package: root / folder for package, folder in mapping.items()}


def product_modules(root: Path) -> dict[str, Path]:
    """Each module of the product by its dotted name; a package stands for its __init__.py."""
    found: dict[str, Path] = {}
    for package, folder in package_folders(root).items():
        for file in sorted(folder.rglob("*.py")):
            inside = file.relative_to(folder)
            folders = [folder.joinpath(*inside.parts[:n]) for n in range(1, len(inside.parts))]
            if any(each.is_symlink() for each in folders):
                continue  # rag_vqa/retriever, …: the mapping names the folder itself
            parts = [package, *inside.with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imported_names(tree: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    """Dotted names that a module imports, wherever in it; "a.b.c" of `from a.b import c`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".") if is_package else module.split(".")[:-1]
            base = above[: len(above) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{start}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            first = node.args[0]
            if name in ("import_module", "__import__") and isinstance(first, ast.Constant):
                yield str(first.value)


def import_graph(root: Path) -> dict[str, set[str]]:
    """Which modules of the product each module of the product imports."""
    modules = product_modules(root)
    graph: dict[str, set[str]] = {}
    for module, file in modules.items():
        tree = ast.parse(file.read_text("utf-8"))
        names = imported_names(tree, module, file.name == "__init__.py")
        targets = (_longest_module(name, modules) for name in names)
        graph[module] = {target for target in targets if target and target != module}
    return graph


def _longest_module(name: str, modules: Mapping[str, Path]) -> str | None:
    """The module that a dotted name lies in: all of the name, or without its last parts."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def import_cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, by Tarjan's algorithm; each group sorted."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    cycles: list[list[str]] = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        stack.append(module)
        for target in sorted(graph[module]):
            if target not in order:
                visit(target)
                lowest[module] = min(lowest[module], lowest[target])
            elif target in stack:
                lowest[module] = min(lowest[module], order[target])
        if lowest[module] == order[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1:
                cycles.append(sorted(group))

    for module in sorted(graph):
        if module not in order:
            visit(module)
    return cycles


def importers(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Which modules import each module."""
    found: dict[str, set[str]] = {module: set() for module in graph}
    for module, targets in graph.items():
        for target in targets:
            found[target].add(module)
    return found


def is_reexport(tree: ast.Module) -> bool:
    """True if a module holds nothing but imports: an old path that leads to a new one."""
    kinds = (ast.Import, ast.ImportFrom)
    return any(isinstance(node, kinds) for node in tree.body) and all(
        isinstance(node, kinds)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__")
        for node in tree.body
    )
