"""Collections as people have them, each a folder with a case.json that states the right result.

tests/collections/README.md tells what a case.json may hold. A case runs in this process, in a copy
of its folder; `differences` lists what is not as the case states it.
"""

import csv
import json
import re
import runpy
import shutil
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

Run = Callable[[Sequence[str]], tuple[int, str, str]]
_ABSENT = object()


@dataclass
class Case:
    """A case in its folder, ready to run.

    Attributes:
        run: runs the command line: exit code, stdout, stderr.
        script: runs a Python file: its stdout.
    """

    stated: Mapping[str, Any]
    folder: Path
    run: Run
    script: Callable[[Path], str]

    def differences(self) -> Iterator[str]:
        steps = self.stated.get("steps", [])
        for number, step in enumerate(steps, 1):
            yield from (f"step {number}: {what}" for what in self._step(step))
        if "python" in self.stated:
            found = _parse(self.script(self.folder / self.stated["python"]))
            yield from _differing_values(found, self.stated["json"])
        if not self.stated.keys().isdisjoint(("documents", "some", "count")):
            yield from self._documents()

    def _step(self, step: Mapping[str, Any]) -> Iterator[str]:
        code, out, err = self.run(step["args"])
        codes = step.get("exit", 0)
        if code not in (codes if isinstance(codes, list) else [codes]):
            yield f"exit {code}, not {codes} ({err.strip()[-200:]!r})"
        for name, text in (("stdout", out), ("stderr", err)):
            yield from _lacking(name, text, step.get(f"{name}_has", []))
            yield from _holding(name, text, step.get(f"{name}_lacks", []))
            for pattern in step.get(f"{name}_matches", []):
                if not re.search(pattern, text, re.IGNORECASE):
                    yield f"nothing on {name} is like {pattern}"
        if "unexpected " in err and "--debug" in err:
            yield f"an error that nobody expected: {err[-200:]!r}"
        if len(err.strip().splitlines()) > step.get("stderr_lines", 10**6):
            yield "too many lines on stderr"
        if "json" in step:
            yield from _differing_values(_parse(out), step["json"])
        if "ids" in step:
            listed = _parse(out)
            ids = sorted(one["id"] for one in listed) if isinstance(listed, list) else None
            if ids != sorted(step["ids"]):
                yield f"{ids}, not {step['ids']}"
        for name in step.get("not_made", []):
            if (self.folder / name).exists():
                yield f"{name} was made"
        if "missing" in step:
            yield from self._missing(step["missing"])

    @property
    def _kb(self) -> str:
        return str(self.stated.get("kb", "o.kb"))

    def _missing(self, stated: Mapping[str, Sequence[str]]) -> Iterator[str]:
        path = self.folder / self._kb / "missing.csv"
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        for identity, names in stated.items():
            lines = [row for row in rows if row["document"] == identity]
            if len(lines) != len(names) or not all(row["reason"].strip() for row in lines):
                yield f"missing.csv tells of {identity!r}: {lines}"
            for name in names:
                if not any(_plain(name) in _plain(row["image"]) for row in lines):
                    yield f"missing.csv does not name {name!r}"
        if more := {row["document"] for row in rows} - set(stated):
            yield f"missing.csv lists {sorted(more)}"

    def _documents(self) -> Iterator[str]:
        listed = _parse(self.run(["kb", "list", self._kb, "--json", "--limit", "500"])[1])
        if not isinstance(listed, list):
            yield f"{self._kb} cannot be listed"
            return
        if len(listed) != self.stated.get("count", len(listed)):
            yield f"{len(listed)} documents, not {self.stated['count']}"
        for found in listed:
            shown = _parse(self.run(["kb", "show", self._kb, "--json", "--", found["id"]])[1])
            found |= shown if isinstance(shown, dict) else {}
        for identity, stated in self.stated.get("documents", {}).items():
            found = next((one for one in listed if _same(one["id"], identity)), None)
            if found is None:
                yield f"no document {identity!r} ({[one['id'] for one in listed][:8]})"
            else:
                yield from (f"{identity}: {what}" for what in _differing(found, stated))
        for number, stated in enumerate(self.stated.get("some", []), 1):
            tries = [list(_differing(one, stated)) for one in listed]
            if all(tries) or not tries:
                yield f"no document is as number {number} of `some`: {min(tries, key=len)[:1]}"


def prepare_case(place: Path, target: Path) -> dict[str, Any]:
    """Copy a case's files; make its links and names, which not every checkout keeps."""
    stated: dict[str, Any] = json.loads((place / "case.json").read_text("utf-8"))
    shutil.copytree(place, target, symlinks=True)
    (target / "case.json").unlink()
    for name, leads_to in stated.get("links", {}).items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).symlink_to(leads_to)
    for old, new in stated.get("renamed", {}).items():
        (target / new).parent.mkdir(parents=True, exist_ok=True)
        (target / old).rename(target / new)
    return stated


def run_script(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    runpy.run_path(str(path), run_name="__main__")
    return capsys.readouterr().out


def _differing(found: Mapping[str, Any], stated: Mapping[str, Any]) -> Iterator[str]:
    """How a document as `kb show --json` tells it differs from what is stated."""
    passages = " \n ".join(passage["text"] for passage in found.get("passages", []))
    if "text" in stated and _plain(found["text"]) != _plain(stated["text"]):
        yield f"text is {found['text'][:100]!r}"
    yield from _lacking("text", found["text"], stated.get("text_has", []))
    yield from _holding("text", found["text"], stated.get("text_lacks", []))
    yield from _lacking("passages", passages, stated.get("passages_have", []))
    yield from _holding("passages", passages, stated.get("passages_lack", []))
    for name in ("title", "section", "parent", "url"):
        if name in stated and not _same(found.get(name), stated[name]):
            yield f"{name} is {found.get(name)!r}"
    head = f"{found.get('title', '')} / {found.get('section', '')}"
    yield from _lacking("title or section", head, stated.get("heading_has", []))
    if len(found["images"]) != stated.get("images", len(found["images"])):
        yield f"{len(found['images'])} images, not {stated['images']}"
    names = sorted(found["metadata"])
    if names != sorted(stated.get("metadata_names", names)):
        yield f"metadata has {names}"
    for name, value in stated.get("metadata", {}).items():
        there = found["metadata"].get(name, _ABSENT)
        if not _same(there, value):
            yield f"metadata {name} is {there!r}, not {value!r}"


def _differing_values(found: Any, stated: Mapping[str, Any]) -> Iterator[str]:
    for path, value in stated.items():
        there: Any = found
        for key in path.split(".") if path else []:
            there = there.get(key, _ABSENT) if isinstance(there, dict) else _ABSENT
        if not _same(there, value):
            yield f"{path} is {there!r}, not {value!r}"


def _parse(out: str) -> Any:
    try:
        return json.loads(out)
    except ValueError:
        return _ABSENT


def _plain(text: object) -> str:
    return " ".join(unicodedata.normalize("NFC", str(text)).casefold().split())


def _lacking(where: str, text: str, wanted: Sequence[Any]) -> Iterator[str]:
    """Each of `wanted` is a text, or a list of which one is enough."""
    for one in wanted:
        some = one if isinstance(one, list) else [one]
        if not any(_plain(part) in _plain(text) for part in some):
            yield f"{where} lacks {some}"


def _holding(where: str, text: str, unwanted: Sequence[str]) -> Iterator[str]:
    yield from (f"{where} has {one!r}" for one in unwanted if _plain(one) in _plain(text))


def _same(found: Any, stated: Any) -> bool:
    """Equal; ["ANY", a, b] means one of these, and null also stands for absent."""
    if isinstance(stated, list) and stated[:1] == ["ANY"]:
        return any(_same(found, one) for one in stated[1:])
    if stated is None:
        return found is None or found is _ABSENT
    if isinstance(stated, bool) or isinstance(found, bool):
        return found is stated
    if isinstance(stated, int | float) and isinstance(found, int | float):
        return abs(found - stated) <= 1e-6 * max(1, abs(stated))
    if isinstance(stated, str) and isinstance(found, str):
        return unicodedata.normalize("NFC", found) == unicodedata.normalize("NFC", stated)
    if isinstance(stated, list) and isinstance(found, list):
        return len(found) == len(stated) and all(map(_same, found, stated))
    return type(found) is type(stated) and bool(found == stated)
