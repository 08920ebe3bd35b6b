# ruff: noqa: E501 - tokens in rows
"""Damaged web pages, web archives, books and notes: no traceback, no hang, no gigabyte. Nightly."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import web_pages
from mutation import check_mutations, mutate_zip
from web_documents import FRONT, book_members, web_archive

from rag_vqa.errors import BadInput
from rag_vqa.formats.document_reader import find_reader
from rag_vqa.formats.sections import section_items

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(0)]

PAGES = [
    web_pages.WIKIPEDIA.encode(), web_pages.WORDPRESS.encode(), web_pages.SPHINX.encode(),
    web_pages.SHOP.encode(), web_pages.WORD.encode("cp1252"), web_pages.WIKIPEDIA.encode("utf-16"),
]  # fmt: skip
PAGE_TOKENS = (
    b"<table>", b"<tr>", b"<td rowspan=99999 colspan=99999>", b"</table>", b"<b>", b"<a>", b"<p>",
    b"<svg>", b"<math>", b"<template shadowrootmode=open>", b"</template>", b"<select>", b"<pre>",
    b"<script>", b"<!--", b"-->", b"<![CDATA[", b"]]>", b"<frameset>", b"<body>", b"<h1>", b"</h2>",
    b"<?xml version='1.0'?>", b"&#0;", b"&#xD800;", b"<meta charset=utf-7>", b"<base href='//['>",
    b"<main>", b"<dl>", b"<dt>", b"<ol start=-99999999999>", b"<img src='data:image/gif;base64,R0'>",
    b"<img srcset='a 2x, b 1e999w'>", b"<figure>", b"<div " * 50, b"<ul><li>" * 50, b"<sup>1</sup>",
)  # fmt: skip
NOTES = [
    FRONT.encode(),
    b"# A\n\n| a | b |\n|---|---|\n| 1 | [x](y) ![i](a b.png) |\n\n> [!note] q\n\n```py\nx\n```\n",
    "[[Nöte|t]] ![[v.jpg|300]] x[^1]\n\n[^1]: y\n\n<div><h2>H</h2>\n\n- a\n  1. b\n\n</div>".encode(),
]
NOTE_TOKENS = (
    b"![", b"[[", b"](", b"|---|", b"```", b"~~~", b"> ", b"- ", b"---\n", b"+++\n", b"<!--", b"-->",
    b"<table>", b"<pre>", b"</td>", b"{%", b"%%", b"==", b"[^1]: ", b"<script>", b"    ", b"* " * 50,
    b": |\n", b": [", b"<h1>", b"</h1>", b"\xff\xfe", b"\0",
)  # fmt: skip


def reading(suffix: str, folder: Path) -> Callable[[bytes], object]:
    """Reads bytes as a file of a suffix, to its last section."""
    reader = find_reader(suffix)
    assert reader is not None

    def work(data: bytes) -> object:
        with tempfile.NamedTemporaryFile(dir=folder, suffix=suffix) as file:
            file.write(data)
            file.flush()
            path = Path(file.name)
            return list(section_items(path.stem, reader.read(path), path.name))

    return work


def epub() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in book_members().items():
            archive.writestr(name, data)
    return buffer.getvalue()


def judge(ends: Counter[str], count: int) -> None:
    print(dict(ends))
    assert sum(ends.values()) == count and ends["done"] > count // 4


def test_pages(tmp_path: Path) -> None:
    work = reading(".html", tmp_path)
    judge(check_mutations(work, PAGES, 10_000, (BadInput,), tokens=PAGE_TOKENS), 10_000)


def test_web_archives(tmp_path: Path) -> None:
    corpus = [web_archive("utf-8"), web_archive("windows-1252")]
    work = reading(".mhtml", tmp_path)
    tokens = (
        *PAGE_TOKENS,
        b"--==",
        b"Content-Type: multipart/related; boundary=x\n\n",
        b"=\n",
        b"=C3",
    )
    judge(check_mutations(work, corpus, 1_000, (BadInput,), tokens=tokens), 1_000)


def test_books(tmp_path: Path) -> None:
    tokens = (
        *PAGE_TOKENS,
        b"<!DOCTYPE a [<!ENTITY b 'c'>]>",
        b"&b;",
        b"<navPoint>",
        b"../",
        b"%00",
    )
    ends = check_mutations(
        reading(".epub", tmp_path), [epub()], 1_000, (BadInput,),
        mutator=lambda data, seed: mutate_zip(data, seed, tokens),
    )  # fmt: skip
    judge(ends, 1_000)


def test_notes(tmp_path: Path) -> None:
    work = reading(".md", tmp_path)
    judge(check_mutations(work, NOTES, 1_000, (BadInput,), tokens=NOTE_TOKENS), 1_000)
