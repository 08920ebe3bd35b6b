"""Which metadata are short texts: by the first records, whatever a few of them hold."""

from rag_vqa.formats.short_texts import ShortTexts


def test_short_texts_are_found_in_their_order() -> None:
    counted = ShortTexts()
    for n in range(100):
        counted.add({
            "artist": "A long name " * 10 if n < 5 else "Li", "year": 1650, "mixed": n % 2 or "a",
            "note": "A text. " * (n % 2 * 20), "tags": ("oil", "canvas"), "many": ("t",) * 90,
            "link": "https://a.example", "old": True, "file": "a.pdf", " Page": "12", "blank": " ",
        })  # fmt: skip
    counted.add({"late": "here"})
    assert list(counted.short_names()) == ["artist", "tags", "late"]
    assert list(counted.all_names())[:3] == ["artist", "year", "mixed"]


def test_only_the_first_records_and_names_are_looked_at() -> None:
    counted = ShortTexts()
    for _ in range(10_000):
        counted.add({"a": "x"})
    counted.add({"b": "x"})
    assert list(counted.short_names()) == ["a"]
    counted = ShortTexts()
    for n in range(3_000):
        counted.add({f"n{n}": "x"})
    assert len(list(counted.all_names())) == 1_000
