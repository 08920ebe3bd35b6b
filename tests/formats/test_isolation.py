"""A document that hangs, crashes or grows costs a page or itself, never the build."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import parsed_apart
import psutil
import pytest

from rag_vqa.errors import BadInput
from rag_vqa.formats.documents import isolated_child, isolation
from rag_vqa.formats.documents.isolation import parse_apart
from rag_vqa.formats.sections import Section


def write(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(lines), "utf-8")
    return path


def read(path: Path) -> list[Section | BadInput]:
    return list(parse_apart(parsed_apart.parse_pages, path).sections)


def kept(sections: list[Section | BadInput]) -> list[int | None]:
    return [section.page for section in sections if isinstance(section, Section)]


def reasons(sections: list[Section | BadInput]) -> list[str]:
    return [str(section) for section in sections if isinstance(section, BadInput)]


def children() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children()
        if "isolated_child" in "".join(child.cmdline())
    ]


def test_everything_comes_through_the_pipe_as_it_was(tmp_path) -> None:
    parsed = parse_apart(parsed_apart.parse_pages, write(tmp_path, "é\ud7ff😀", "bad", "picture"))
    assert (parsed.title, parsed.metadata, parsed.url) == ("Title", {"lines": 3}, "https://a.b/c")
    first, bad, last = parsed.sections
    assert first.text.startswith("é\ud7ff😀 ") and first.headings == ("Page 1",)
    assert isinstance(bad, BadInput) and str(bad) == "page 2 is bad."
    assert last.images == (b"picture", "a.png")
    assert (last.page, last.anchor, last.name) == (3, "page=3", "")


def test_one_child_reads_one_document_after_the_other(tmp_path) -> None:
    processes = {read(write(tmp_path, "a"))[0].text for _ in range(3)}
    assert len(processes) == 1 and f"a {os.getpid()}" not in processes


def test_a_document_that_is_refused_keeps_its_child(tmp_path) -> None:
    (before,) = read(write(tmp_path, "a"))
    with pytest.raises(BadInput, match=r"^it is refused\.$"):
        read(write(tmp_path, "refused"))
    assert read(write(tmp_path, "a")) == [before]


def test_a_page_that_crashes_costs_that_page(tmp_path) -> None:
    sections = read(write(tmp_path, "a", "crash", "b", "crash", "c"))
    assert kept(sections) == [1, 3, 5]
    assert [reason.partition(" crashed")[0] for reason in reasons(sections)] == ["page 2", "page 4"]


def test_a_fault_of_ours_is_named(tmp_path) -> None:
    sections = read(write(tmp_path, "a", "fault", "b"))
    assert kept(sections) == [1, 3]
    assert "KeyError: 'a fault of ours'" in reasons(sections)[0]


def test_a_page_that_hangs_is_ended(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(isolation, "WAIT_SECONDS", 1.0)
    monkeypatch.setattr(isolation, "START_SECONDS", 5.0)
    sections = read(write(tmp_path, "a", "hang", "b"))
    assert kept(sections) == [1, 3]
    assert "took over 10 seconds" in reasons(sections)[0]


@pytest.mark.skipif(sys.platform != "linux", reason="the system must limit memory")
def test_a_page_that_grows_is_ended(tmp_path) -> None:
    sections = read(write(tmp_path, "a", "grow", "b"))
    assert kept(sections) == [1, 3]
    assert "of memory" in reasons(sections)[0]


def test_a_document_that_loses_many_pages_ends(tmp_path) -> None:
    lines = ["a"] + ["crash"] * (isolation.MAX_LOST_PAGES + 2) + ["b"]
    sections = read(write(tmp_path, *lines))
    assert kept(sections) == [1]
    assert "The document ends there." in reasons(sections)[0]


def test_a_document_that_crashes_at_once_is_refused(tmp_path) -> None:
    with pytest.raises(BadInput, match=r"reading it crashed its reader"):
        read(write(tmp_path, "crash at once"))


def test_a_reading_that_is_left_leaves_no_child(tmp_path) -> None:
    lines = ["x" * 10_000] * 100
    sections = iter(parse_apart(parsed_apart.parse_pages, write(tmp_path, *lines)).sections)
    next(sections)
    busy = set(children())
    del sections
    never_begun = parse_apart(parsed_apart.parse_pages, write(tmp_path, *lines))
    busy |= set(children())
    del never_begun
    assert busy and not {child for child in busy if child.is_running()}


def test_two_documents_may_be_read_at_the_same_time(tmp_path) -> None:
    path = write(tmp_path, "a", "b")
    pairs = zip(
        parse_apart(parsed_apart.parse_pages, path).sections,
        parse_apart(parsed_apart.parse_pages, path).sections,
        strict=True,
    )
    assert [(first.page, second.page) for first, second in pairs] == [(1, 1), (2, 2)]


SCRIPT = """
import sys
sys.path.insert(0, {support!r})
import parsed_apart
from pathlib import Path
from rag_vqa.formats.documents.isolation import parse_apart
sections = parse_apart(parsed_apart.parse_pages, Path({path!r})).sections
print(next(sections).text, flush=True)
{then}
"""


def run_script(path: Path, then: str) -> subprocess.Popen[str]:
    support = str(Path(parsed_apart.__file__).parent)
    code = SCRIPT.format(support=support, path=str(path), then=then)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def wait_for_end(pid: int) -> bool:
    end = time.monotonic() + 20
    while psutil.pid_exists(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not psutil.pid_exists(pid)


def test_it_works_without_a_main_module(tmp_path) -> None:
    script = run_script(write(tmp_path, "a", "b"), "print([s.page for s in sections])")
    said, _ = script.communicate(timeout=60)
    assert script.returncode == 0 and said.splitlines()[1] == "[2]"


@pytest.mark.parametrize("page", ["b", "hang"])
def test_the_child_ends_when_its_parent_is_killed(tmp_path, page) -> None:
    script = run_script(write(tmp_path, "a", page), "next(sections); import time; time.sleep(60)")
    assert script.stdout is not None
    child = int(script.stdout.readline().split()[1])
    assert psutil.pid_exists(child)
    script.kill()
    script.wait()
    script.stdout.close()
    assert wait_for_end(child)


def test_the_limits_are_those_of_the_issue() -> None:
    assert isolated_child.PAGE_SECONDS <= 10
    assert isolated_child.CHILD_BYTES < 2**30
