"""Scripts of this folder for its tests, and a stand-in for the system's calls."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"faults_{name}", HERE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def motions() -> ModuleType:
    return _load("motions")


@pytest.fixture
def script(root: Path, tmp_path: Path) -> Any:
    """Runs one of the scripts with arguments, in `tmp_path`; what it printed."""

    def run(name: str, *args: object, timeout: float = 3600) -> str:
        command = [sys.executable, str(HERE / name), *map(str, args)]
        path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, timeout=timeout,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


class System:
    """`os` as atomic.py sees it: the n-th call that changes the disk may fail, and all are kept.

    Attributes:
        calls: name and arguments of each call that went through; a file that is written to goes
            by its path.
        befores: what `before` returned before each of them.
    """

    CHANGES = ("open", "pwrite", "fsync", "replace", "unlink")

    def __init__(
        self, fail_at: int = 0, error: int = 0, before: Callable[[], object] = lambda: None
    ) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.befores: list[Any] = []
        self.count = 0
        self._fail_at, self._error, self._before = fail_at, error, before
        self._open: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in self.CHANGES:
            return real

        def call(*args: Any) -> Any:
            self.count += 1
            before = self._before()
            if self.count == self._fail_at:
                if name == "pwrite":  # a disk that is full takes a part
                    real(args[0], bytes(args[1])[: len(args[1]) // 2], args[2])
                raise OSError(self._error, os.strerror(self._error))
            result = real(*args)
            self.befores.append(before)
            if name == "open":
                self._open[result] = str(args[0])
                self.calls.append((name, str(args[0])))
            elif name == "pwrite":
                file, data, offset = args
                self.calls.append((name, self._open[file], bytes(data)[:result], offset))
            elif name == "fsync":
                self.calls.append((name, self._open[args[0]]))
            else:
                self.calls.append((name, *map(str, args)))
            return result

        return call


@pytest.fixture
def system() -> Any:
    """`with system(...) as calls:` puts a `System` where atomic.py looks for `os`."""

    @contextmanager
    def installed(**options: Any) -> Iterator[System]:
        made = System(**options)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("rag_vqa.storage.atomic.os", made)
            yield made

    return installed
