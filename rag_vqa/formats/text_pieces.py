"""Pieces of a text that passages are packed from: sentences, rows of tables, items, lines of code.

Knows how plain text and Markdown show tables (`a | b`, tabs), fenced code, lists, and paragraphs
whose lines a margin broke. Does not know how much fits into a passage (window_packing.py), nor
where a sentence ends (sentences.py). Each piece says what it may be cut into, if it does not fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rag_vqa.formats.sentences import split_sentences

_LINE_BREAK = re.compile(r"\r\n?|[\n\v\f\x85\u2028\u2029]")
_FENCE = re.compile(r"[ \t]{0,3}(`{3,}|~{3,})(.*)")
_RULE = re.compile(r"[|:+=\-\s]+")  # "|---|---|" under a header, "+---+---+" between rows
_ITEM = re.compile(r"([ \t]*)((?:[-*+•‣◦▪●·–—]|\d{1,3}[.)]|[a-zA-Z]\)|\([ivx\d]{1,5}\))[ \t]+)\S")
_HEADING = re.compile(r"\s{0,3}#{1,6}\s")
_CODE_SIGN = re.compile(r"[{}();=<>\[\]]|:\s*$")
_INDENT = re.compile(r"[ \t]*")
_WIDEST_INDENT = 40  # characters; more is no indentation
_LONGEST_LEAD = 200  # characters of a line that stays with what it introduces
_NARROWEST_MARGIN = 40  # characters; shorter lines are not broken by a margin
_ENDS_LINE = ".!?…:;。！？：؟۔।"
_FIRST_WIDE = "\u2e80"  # Chinese and Japanese are written without blanks


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text that is not cut if it fits into a passage.

    Attributes:
        gap: what stands between it and the piece before: "", " " or a line break.
        header: the header of its table, unless the piece contains it.
        parts: what it is cut into, if it does not fit; none: words.
        leads: it introduces the next piece, as a heading does.
        verbatim: blanks within it stay.
    """

    text: str
    gap: str = "\n"
    header: str = ""
    parts: tuple[Piece, ...] = ()
    leads: bool = False
    verbatim: bool = False


def split_pieces(text: str) -> list[Piece]:
    """The pieces of a text, in order.

    >>> [piece.text for piece in split_pieces("One. Two.\\n\\nYear | Maker\\n1780 | Bow")]
    ['One.', 'Two.', 'Year | Maker\\n1780 | Bow']
    """
    lines = _LINE_BREAK.split(text)
    fences = _closing_fences(lines)
    pieces: list[Piece] = []
    start = 0
    while start < len(lines):
        end = start + 1
        if start in fences:
            end = fences[start] + 1
            pieces += _code_pieces(lines[start:end])
        elif separator := _separator(lines, start):
            while end < len(lines) and end not in fences and _is_row(lines[end], separator):
                end += 1
            pieces += _table_pieces(lines[start:end], separator)
        elif lines[start].strip():
            while end < len(lines) and not _begins_block(lines, end, fences):
                end += 1
            pieces += _prose_pieces(lines[start:end])
        start = end
    return [*_join_leads(pieces)]


def _begins_block(lines: Sequence[str], at: int, fences: dict[int, int]) -> bool:
    """Whether something other than the paragraph or item above begins here."""
    line = lines[at]
    if not line.strip() or at in fences or _ITEM.match(line) or _HEADING.match(line):
        return True
    return bool(_HEADING.match(lines[at - 1]) or _separator(lines, at))


def _closing_fences(lines: Sequence[str]) -> dict[int, int]:
    """Line of each fence that opens code → line of the one that closes it."""
    matches = [(number, _FENCE.match(line)) for number, line in enumerate(lines)]
    fences = [(number, fence[1], fence[2].strip()) for number, fence in matches if fence]
    found: dict[int, int] = {}
    unclosed = set[str]()  # a fence that is never closed is text; search for its end once
    place = 0
    while place < len(fences):
        opening, mark, info = fences[place]
        place += 1
        if mark in unclosed or (mark[0] == "`" and "`" in info):
            continue
        for later in range(place, len(fences)):
            number, other, rest = fences[later]
            if not rest and other.startswith(mark):
                found[opening], place = number, later + 1
                break
        else:
            unclosed.add(mark)
    return found


def _code_pieces(lines: Sequence[str]) -> Iterator[Piece]:
    """A line each; the first and the last keep the fences."""
    opening, *body, closing = map(_code_line, lines)
    body = [line for line in body if line.strip()]
    if len(body) < 2:
        yield Piece("\n".join([opening, *body, closing]), verbatim=True)
        return
    yield _join_pieces(Piece(opening), Piece(body[0], verbatim=True))
    for line in body[1:-1]:
        yield Piece(line, verbatim=True)
    yield _join_pieces(Piece(body[-1], verbatim=True), Piece(closing))


def _code_line(line: str) -> str:
    indent = _INDENT.match(line)
    width = len(indent.group()) if indent else 0
    return line[max(0, width - _WIDEST_INDENT) :].rstrip()


def _separator(lines: Sequence[str], at: int) -> str:
    """What separates the cells of a table that begins here; "" if none does."""
    if at + 1 >= len(lines):
        return ""
    rows = lines[at : at + 2]
    if _is_rule(rows[0]):
        rows = lines[at + 1 : at + 2]
    return next((mark for mark in "|\t" if all(_is_row(row, mark) for row in rows)), "")


def _is_row(line: str, separator: str) -> bool:
    """Whether a line is a row: "a | b", "| a | b |", or cells between tabs."""
    row = line.strip()
    if separator == "\t":
        return "\t" in row
    if "|" not in row:
        return _is_rule(row)
    framed = len(row) > 2 and row[0] == row[-1] == "|"
    return framed or " | " in row or row.endswith(" |") or row.startswith("| ") or _is_rule(row)


def _is_rule(line: str) -> bool:
    return ("|" in line or "+" in line) and "--" in line and _RULE.fullmatch(line) is not None


def _table_pieces(lines: Sequence[str], separator: str) -> Iterator[Piece]:
    """A row each; the first is with the header, and the others know it."""
    rows: list[str] = []
    rule = ""  # above the first row
    for line in lines:
        if not _is_rule(line):
            rows.append(rule + re.sub(r"[^\S\t]+", " ", line.strip()))
            rule = ""
        elif rows:
            rows[-1] += "\n" + line.strip()
        else:
            rule += line.strip() + "\n"
    if not rows:
        yield Piece(rule.rstrip())
        return
    header, *others = rows
    if not others or not _is_header(header, others[0], separator):
        yield from map(Piece, rows)
        return
    yield _join_pieces(Piece(header), Piece(others[0], header=header))
    for row in others[1:]:
        yield Piece(row, header=header)


def _is_header(first: str, second: str, separator: str) -> bool:
    """Whether the first row names columns: it has as many cells as the second, or a rule below."""
    counts = {row.splitlines()[0].strip("| ").count(separator) for row in (first, second)}
    return any(map(str.isalnum, first)) and ("\n" in first or len(counts) == 1)


def _join_pieces(first: Piece, second: Piece) -> Piece:
    """Two pieces that stay together if they fit."""
    text = first.text + second.gap + second.text
    return Piece(text, first.gap, first.header, (first, second), second.leads)


def _prose_pieces(lines: Sequence[str]) -> Iterator[Piece]:
    """The sentences of a paragraph; an item of a list, or a line of code, is one piece."""
    if item := _ITEM.match(lines[0]):
        indent, mark = item[1][-_WIDEST_INDENT:], item[2]
        body = _sentence_pieces([lines[0][item.end(2) :], *lines[1:]])
        marked = replace(body[0], text=indent + mark + body[0].text, gap="\n")
        text = marked.text + "".join(one.gap + one.text for one in body[1:])
        yield Piece(text, parts=(marked, *body[1:]) if len(body) > 1 else (), leads=body[-1].leads)
    elif _is_indented_code(lines):
        yield from (Piece(_code_line(line), verbatim=True) for line in lines)
    else:
        yield from _sentence_pieces(lines)


def _is_indented_code(lines: Sequence[str]) -> bool:
    """Whether all lines are indented and most have signs of code."""
    if not all(line.startswith(("    ", "\t")) for line in lines):
        return False
    return 2 * sum(_CODE_SIGN.search(line) is not None for line in lines) > len(lines)


def _sentence_pieces(lines: Sequence[str]) -> list[Piece]:
    """The sentences of a paragraph; a line break that no margin made ends one, too."""
    pieces: list[Piece] = []
    for line in _unbroken_lines(lines):
        sentences = [Piece(text, gap) for gap, text in split_sentences(line)]
        sentences[0] = replace(sentences[0], gap="\n")
        leads = len(sentences[-1].text) <= _LONGEST_LEAD and (
            line.endswith((":", "：")) or _HEADING.match(line) is not None
        )
        sentences[-1] = replace(sentences[-1], leads=leads)
        pieces += sentences
    return pieces


def _unbroken_lines(lines: Sequence[str]) -> Iterator[str]:
    """Lines as they were before a margin broke them, with single blanks."""
    rows = [words for words in (" ".join(line.split()) for line in lines) if words]
    width = max(map(len, rows))
    paragraph: list[str] = []
    for row in rows:
        if paragraph and not _broken_by_margin(paragraph[-1], row, width, len(rows)):
            yield "".join(paragraph)
            paragraph = []
        wide = paragraph and paragraph[-1][-1] >= _FIRST_WIDE and row[0] >= _FIRST_WIDE
        paragraph.append(f" {row}" if paragraph and not wide else row)
    yield "".join(paragraph)


def _broken_by_margin(above: str, below: str, width: int, rows: int) -> bool:
    """Whether a line goes on below: with a small letter, or because its next word had no room."""
    if below[0].islower() and above[-1] not in _ENDS_LINE:
        return True
    word = below.split(maxsplit=1)[0]
    full = len(above) + 1 + len(word) > width and len(above) > 0.6 * width
    return full and rows > 2 and width >= _NARROWEST_MARGIN


def _join_leads(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """A heading, or a line that ends with a colon, stays with what it introduces."""
    lead: Piece | None = None
    for piece in pieces:
        if lead is not None and not piece.leads:
            yield _join_pieces(lead, piece)
            lead = None
            continue
        if lead is not None:
            yield lead
        lead = piece if piece.leads else None
        if lead is None:
            yield piece
    if lead is not None:
        yield lead
