"""Counts tests and assertions, so that a change can show that it lost none.

A test is a function called `test…`. An assertion is an `assert` or a call that fails if something
is not true (`pytest.raises`, `pytest.warns`, `pytest.fail`, `assert_allclose` and the like). The
cases of a parametrized test are counted if the decorator holds the list itself. Knows Python's
syntax. Does not run anything.

    python benchmarks/assertions.py            totals
    python benchmarks/assertions.py --folders  and by folder
"""

import argparse
import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
CALLS = ("raises", "warns", "fail", "deprecated_call")  # of pytest
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def is_assertion(node: ast.AST) -> bool:
    if isinstance(node, ast.Assert):
        return True
    if not isinstance(node, ast.Call):
        return False
    name = ast.unparse(node.func)
    last = name.rpartition(".")[2]
    return last.startswith("assert_") or name in {f"pytest.{call}" for call in CALLS}


def count_cases(test: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Number of times that a test runs, as far as its decorators show."""
    cases = 1
    for decorator in test.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith("parametrize"):
            values = decorator.args[1] if len(decorator.args) > 1 else None
            if isinstance(values, ast.List | ast.Tuple):
                cases *= max(len(values.elts), 1)
    return cases


def count_file(file: Path) -> Counter[str]:
    tree = ast.parse(file.read_text("utf-8"))
    tests = [
        node
        for node in ast.walk(tree)
        if isinstance(node, FUNCTIONS) and node.name.startswith("test")
    ]
    return Counter(
        files=1,
        tests=len(tests),
        cases=sum(map(count_cases, tests)),
        assertions=sum(map(is_assertion, ast.walk(tree))),
    )


def test_files(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.rglob("*.py"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--folders", action="store_true", help="Also print the counts of each folder."
    )
    given = parser.parse_args()
    folders: dict[str, Counter[str]] = {}
    for file in test_files(TESTS):
        folder = file.relative_to(TESTS).parts[0]
        counts = folders.setdefault(folder if folder != file.name else ".", Counter())
        counts.update(count_file(file))
    total = sum(folders.values(), Counter())
    for name, counts in [*(sorted(folders.items()) if given.folders else []), ("tests", total)]:
        print(
            f"{name}: {counts['files']} files, {counts['tests']:,} tests,"
            f" {counts['cases']:,} written cases, {counts['assertions']:,} assertions"
        )


if __name__ == "__main__":
    main()
