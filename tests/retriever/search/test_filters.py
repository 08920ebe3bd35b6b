"""Filters on metadata: each condition of the language, and the documents that pass it."""

from __future__ import annotations

import datetime
import decimal
import random
import unicodedata
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_vqa.errors import NoMatch, UsageError
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling import TokenEncoder
from rag_vqa.retriever.search.filter_language import Choice, NameFilter, read_where
from rag_vqa.retriever.search.filter_values import Value
from rag_vqa.retriever.search.filters import matching_rows
from rag_vqa.retriever.search.periods import read_stored_period
from rag_vqa.types import Query, Scalar

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Antonín Dvořák") for form in ("NFC", "NFD"))
MIXED = DECOMPOSED[:10] + COMPOSED[9:]
METADATA: dict[str, dict[str, Any]] = {
    "a": {"kind": "boat", "year": 1780, "price": 12.5, "zip": "02134", "ok": True,
          "tag": ["red", "blue"], "maker": "Family, Given", "Acquired On": "1998-05-01",
          "by": COMPOSED, "a>b": 5, "got": "2001-02-03", "url": "https://a/b?c=d", "mixed": "1780"},
    "b": {"kind": "cup", "year": 1650, "price": "12.50", "zip": 10001, "ok": False,
          "tag": ["blue", "green, pale"], "maker": "Given", "Acquired On": "1998-05-17T10:30:00",
          "by": DECOMPOSED, "mixed": 1780, "got": "2001-02-03 10:00:00"},
    "c": {"kind": "plate", "year": 1801, "price": "9", "zip": "2134", "ok": "TRUE", "tag": "red",
          "maker": "Family", "Acquired On": "1998", "by": MIXED, "mixed": "1780.0",
          "got": "2001-02"},
    "d": {"kind": "Boat", "year": "about 1700", "price": 200, "ok": "no", "years": [1700, 1900],
          "Acquired On": "1997-12-31T23:30:00+00:00", "by": "Dvořák", "mixed": "01780"},
    "e": {"year": 1780.0, "price": "1e3", "Acquired On": 1999, "tag": ["7", 8], "by": "Émile"},
}  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("filters") / "x.kb"


@pytest.fixture
def kb(built: Path, encoder: TokenEncoder) -> Iterator[KnowledgeBase]:
    """Built once; no test changes it."""
    with KnowledgeBase.create(built, encoder, exist_ok=True) as base:
        base.add([{"id": name, "text": "T.", "metadata": m} for name, m in METADATA.items()])
        yield base


def found(kb: KnowledgeBase, where: Any) -> str:
    """The ids that pass, by both ways to them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoMatch)
        listed = "".join(document.id for document in kb.list(where))
        hits = kb.search([Query("T.")], 9, where)[0]
    assert sorted(hit.document.id for hit in hits) == sorted(listed)
    return listed


@pytest.mark.parametrize(
    ("where", "due"),
    [
        # one value
        ("kind=boat", "a"), ("kind = boat", "a"), ("kind==boat", "a"), ("'kind'=boat", "a"),
        ("kind='boat'", "a"), ('kind="boat"', "a"), ("kind=bo", ""),
        # numbers by value, also in texts; codes are no numbers
        ("price=12.50", "ab"), ("price=12.5", "ab"), ("price=12.500", "ab"), ("price=9.0", "c"),
        ("price='12.50'", "b"), ("price='12.5'", ""), ("price=1000", "e"), ("price=1e3", "e"),
        ("year=1780", "ae"), ("year=1780.0", "ae"), ("year='1780'", ""), ("mixed=1780", "abc"),
        ("mixed='1780'", "a"), ("zip=2134", "c"), ("zip=02134", "a"), ("zip=10001", "b"),
        ("mixed=01780", "d"),
        # booleans
        ("ok=true", "ac"), ("ok=True", "ac"), ("ok=TRUE", "ac"), ("ok=FALSE", "b"),
        ("ok='TRUE'", "c"), ("ok=no", "d"),
        # several values
        ("year=1780,1650", "abe"), (["year=1780", "year=1801"], "ace"), ("kind=cup, plate", "bc"),
        ("kind=cup,,plate,", "bc"), ("kind='cup',\"plate\"", "bc"),
        (["kind=boat", "year=1780"], "a"), (["kind=boat", "year=1650"], ""),
        # commas
        ("maker=Family, Given", "a"), ("maker=Given, Family", "bc"), ("maker='Family, Given'", "a"),
        ("maker='Family', Given", "bc"), ("maker='Family, Given',Given", "ab"),
        # lists
        ("tag=blue", "ab"), ("tag=red,7", "ace"), ("tag='green, pale'", "b"),
        ("tag=green, pale", "b"), ("tag=8", "e"),
        # ranges of numbers
        ("year>=1780", "ace"), ("year>1780", "c"), ("year<1780", "b"), ("year<=1780", "abe"),
        ("year ≥ 1780", "ace"), (["year>=1700", "year<1800"], "ae"), ("price>12.5", "de"),
        ("price<12.5", "c"), ("price<=12.50", "abc"), ("zip>=2000", "abc"), ("zip<5000", "ac"),
        ("zip>=02000", "abc"), ("year>=-5e3", "abce"),
        (["year=1780,1801", "year>1790"], "c"),
        # of a list one value passes both bounds
        (["years>=1600", "years<1800"], "d"), (["years>1700", "years<1900"], ""),
        # ranges of texts
        ("kind>=c", "bc"), ("kind<c", "ad"), ("kind<=BOAT", "ad"), ("by>=e", "e"), ("by<B", "abc"),
        # dates
        ("Acquired On>=1998-01-01", "abce"), ("Acquired On<1998-01-01", "d"),
        ("Acquired On>1998-05-01", "be"), ("Acquired On<=1998-05-17", "abcd"),
        ("Acquired On<1998-05-17", "acd"), ("Acquired On>1998", "e"),
        ("Acquired On<=1998", "abcd"), ("Acquired On>=1998-05", "abe"),
        ("Acquired On<1998-05", "cd"), ("Acquired On>1998-05-17T10:00", "be"),
        ("Acquired On>=1998-05-17 10:31", "e"), ("Acquired On<9999-12-31", "abcde"),
        ("Acquired On<1998-01-01T00:00:00+00:30", ""), ("Acquired On<1998-01-01T00:00-00:30", "d"),
        ("Acquired On<1998-01-01T01:00+01:00", "cd"), ("Acquired On<=1997-12-31T23:30Z", "d"),
        ("Acquired On=1998-05-01", "a"), ("Acquired On=1998-05", "ab"),
        ("Acquired On=1998-05-17", "b"), ("got=2001-02-03", "ab"), ("got=2001-02", "c"),
        ("got=2001-02-03T10:00", "b"), ("got=2001", "abc"),
        ("Acquired On=1998-05-17 10:30:00", "b"),
        ("Acquired On=1998", "c"), ("Acquired On=1997", "d"), ("Acquired On='1998-05'", ""),
        # accents
        (f"by={COMPOSED}", "abc"), (f"by={DECOMPOSED}", "abc"), (f"by='{MIXED}'", "abc"),
        ("by=Dvorak", ""), ("by=Émile", "e"), (f"by={unicodedata.normalize('NFD', 'Émile')}", "e"),
        # names
        ("KIND=boat", "a"), ("acquired  on=1998-05-01", "a"), ("a>b=5", "a"), ("a>b>4", "a"),
        ("'a>b'=5", "a"), ("a>b>=6", ""), ("url=https://a/b?c=d", "a"),
        # without a value
        ("kind=null", "e"), ("kind=boat,null", "ae"), ("kind='null'", ""), ("kind=", ""),
        # Python's forms
        ({"kind": "boat"}, "a"), ({"kind": ["cup", "plate"]}, "bc"), ({"kind": ("cup",)}, "b"),
        ({"kind": {"cup", "plate"}}, "bc"), ({"kind": []}, ""), ({"kind": None}, "e"),
        ({"kind": ["boat", None]}, "ae"), ({"kind": "cup,plate"}, ""), ({"ok": True}, "ac"),
        ({"year": 1780}, "ae"), ({"year": "1780"}, ""), ({"price": 12.5}, "ab"),
        ({"price": "12.50"}, "b"), ({"price": decimal.Decimal("12.500")}, "ab"),
        ({"year": {">=": 1780}}, "ace"), ({"year": {">=": 1700, "<": 1800}}, "ae"),
        ({"year": {"$gte": 1700, "$lt": 1800}}, "ae"), ({"year": {"=": [1650, 1801]}}, "bc"),
        ({"year": {">=": "1780"}}, "ace"), ({"year": {"<": float("inf")}}, "abce"),
        ({"year": np.int16(1780)}, "ae"), ({"year": np.array([1650, 1801])}, "bc"),
        ({"price": np.float32(12.5)}, "ab"), ({"ok": np.bool_(False)}, "b"),
        ({"Acquired On": datetime.date(1998, 5, 1)}, "a"),
        ({"Acquired On": datetime.date(1998, 5, 17)}, "b"),
        ({"Acquired On": datetime.datetime(1998, 5, 1)}, "a"),
        ({"Acquired On": datetime.datetime(1998, 5, 17, 10, 30)}, "b"),
        ({"Acquired On": {">=": datetime.date(1998, 5, 1)}}, "abe"),
        ({"Acquired On": {"<=": np.datetime64("1998-05-01")}}, "acd"),
        ({"kind": uuid.UUID(int=5)}, ""), ({"kind": "boat", "year": 1650}, ""),
        ({"a>b": 5}, "a"), ({"Kind": "boat"}, "a"),
        ({"year": 2**70}, ""), ({"year": {"<": 2**70}}, "abce"),
        ({"year": {">": -(10**400)}}, "abce"),
        ("year=99999999999999999999", ""),
        (("kind=boat", "year=1780"), "a"),
    ],
)  # fmt: skip
def test_a_filter(kb: KnowledgeBase, where: Any, due: str) -> None:
    assert found(kb, where) == due


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("kind", "no condition"), ("=boat", "no condition"), ("", "no condition"),
        (["", "kind=boat"], "no condition"), ("kind!=boat", "'!= is no sign|!= is no sign"),
        ("year=>1780", ">="), ("year<>1780", ">="), ("year>", "no value"),
        ("price>=12,5", "several values"), ("kinds=boat", "No document has metadata 'kinds'"),
        ("kinds=boat", "there is: .*kind.* Did you mean 'kind'"),
        ({"year": {"!=": 5}}, "no sign"), ({"year": {">": None}}, "number, a date or a text"),
        ({"year": {">": [1, 2]}}, "number, a date or a text"), ({"year": {">": True}}, "number"),
        ({"year": {"=": {"a": 1}}}, "give a text"), ({"year": [[1]]}, "give a text"),
        ({"year": b"x"}, "give a text"),
        ({"year": {}}, "nothing is asked of 'year'"), ({3: 4}, "No document has metadata 3"),
        ([{"kind": "boat"}], "names and values"), (5, "names and values"),
    ],
)  # fmt: skip
def test_a_filter_that_cannot_be_read(kb: KnowledgeBase, where: Any, says: str) -> None:
    if not where:
        return
    for call in (lambda: kb.list(where), lambda: kb.search([Query("T.")], 1, where)):
        with pytest.raises(UsageError, match=says):
            call()


def test_a_name_that_may_mean_several(tmp_path: Path, encoder: TokenEncoder) -> None:
    with KnowledgeBase.create(tmp_path / "x.kb", encoder) as kb:
        for name in ("kind", "Kind"):
            kb.add([{"id": name, "text": "T.", "metadata": {name: "boat"}}])
        assert [document.id for document in kb.list("kind=boat")] == ["kind"]
        assert [document.id for document in kb.list("Kind=boat")] == ["Kind"]
        with pytest.raises(UsageError, match=r"'KIND' may mean 'Kind', 'kind'"):
            kb.list("KIND=boat")


CELLS: list[Scalar] = [
    *(None, True, 0, 1, 7, -3, 12, 12.5, 0.5, 1e-7, 2.5e17, 1998, 2**62, -(2**63), 1e300),
    *("", "a", "A", "b", "é", "e\u0301", "E", "ế", "ê\u0301", "e\u0302\u0301"),
    *("가", "\u1100\u1161"),
    *("12", "12.0", "12.50", "012", "+12", "-3", ".5", "0.50", "1e-07", "2.5e17", "2.50E+17"),
    *("12 cm", "true", "FALSE", "null", "1998", "1998-05", "1998-05-01", "1998-05-01T10:00:00"),
    *("1998-05-01 10:00:00.250", "1998-04-30T23:30:00-02:00", "1998-05-31T12:00Z", "1998-13-01"),
    *("0001-01-01T00:00:00+05:00", "9999-12-31", "1998-05-01 (gift)"),
    *("06:45:00", "a,b", "日本", "z" * 300),
]  # fmt: skip
CONDITIONS = [
    f"n{sign}{cell}" for cell in CELLS if cell not in ("", "a,b") for sign in ("=", "<", ">=", ">")
]


def passes(wanted: NameFilter, stored: Scalar, everything: list[Scalar]) -> bool:
    """As the filter means it, without the spans that spare most of the tests."""

    def is_meant(value: Value) -> bool:
        if value.null and stored is None:
            return True
        if value.equals(stored) or value.period is None:
            return value.equals(stored)
        is_long = value.period.end - value.period.start > datetime.timedelta(days=1)
        if is_long and any(value.equals(each) for each in everything):
            return False
        date = read_stored_period(stored) if isinstance(stored, str) else None
        return date is not None and date.is_within(value.period)

    chosen: tuple[Choice, ...] | None = wanted.choices
    if chosen is not None and not any(is_meant(v) for choice in chosen for v in choice.values):
        return False
    return wanted.in_range(stored)


def test_no_value_is_missed_where_few_are_tested(tmp_path: Path, encoder: TokenEncoder) -> None:
    with KnowledgeBase.create(tmp_path / "x.kb", encoder) as kb:
        kb.add([{"id": "other", "text": "T.", "metadata": {"m": 12}}])
        for number, cell in enumerate(CELLS):  # bodies of before could hold null
            kb.add([{"id": str(number), "text": "T.", "metadata": {"n": cell}}])
        documents = list(kb.documents())
        stored = [document.metadata.get("n") for document in documents]
        assert [stored.count(cell) for cell in ("12", 12.5, "é")] == [1, 1, 1]
        pairs = random.Random(5).sample(CONDITIONS, 40)
        wheres = [[text] for text in CONDITIONS] + [
            list(pair) for pair in zip(pairs[::2], pairs[1::2], strict=True)
        ]
        for where in wheres:
            (wanted,) = read_where(where, ["n"])
            due = [n for n, cell in enumerate(stored, 1) if passes(wanted, cell, stored)]  # type: ignore[arg-type]
            assert matching_rows(kb.store, where).tolist() == due, where


def test_any_text_is_read_or_refused(kb: KnowledgeBase) -> None:
    rng = random.Random(7)
    letters = ["kind", "year", "boat", "1780", *"=<>!'\",. -\0é\u0301", "true", "1998-05", "\ud800"]
    done = 0
    kb.warns = False
    for _ in range(1500):
        text = rng.choice(["", "kind=", "year>"]) + "".join(
            rng.choices(letters, k=rng.randrange(6))
        )
        if not text:
            continue
        try:
            matching_rows(kb.store, [text])
            kb.describe_no_match(text)
            done += 1
        except UsageError as error:
            assert len(str(error)) < 500
    assert done > 200


def test_many_values_are_found_as_few_are(tmp_path: Path, encoder: TokenEncoder) -> None:
    with KnowledgeBase.create(tmp_path / "x.kb", encoder) as kb:
        kb.add(
            [
                {"id": str(n), "text": "T.", "metadata": {"n": n, "t": f"{n}.50"}}
                for n in range(5000)
            ]
        )
        for name, half in (("n", 0), ("t", 0.5)):
            for bound in (0, 17.5, 4097, 4999):
                due = [n + 1 for n in range(5000) if n + half > bound]
                assert matching_rows(kb.store, f"{name}>{bound}").tolist() == due


def test_a_filter_that_matches_nothing_warns_of_the_values_there_are(kb: KnowledgeBase) -> None:
    with pytest.warns(NoMatch, match=r"kind=bowl.*boat \(1\), cup \(1\)"):
        assert kb.search([Query("T.")], 5, {"kind": "bowl"}) == [[]]
    with pytest.warns(NoMatch, match=r"year>=2000.*Values of year: 1780 \(2\)"):
        assert list(kb.list("year>=2000")) == []
    kb.warns = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(kb.list("year>=2000")) == []
        kb.warns = True
        assert list(kb.list("year>=1780", after="e")) == []  # a later part of a list
        assert kb.search([], 5, "kind=bowl") == []


def test_a_filter_never_loads_a_model_for_nothing(kb: KnowledgeBase) -> None:
    with KnowledgeBase.open(kb.path, lambda: pytest.fail("loaded")) as cold:
        cold.warns = False
        assert cold.search([Query("T.")], 5, {"kind": "bowl"}) == [[]]
