"""Facts about a country: the table of sections and attributes, and other spellings of a value.

Knows attributes and formats. Does not know which country has which fact, nor any sentence.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "geography": ("region", "area", "coast", "neighbours", "neighbour_count", "highest_point"),
    "people": ("population", "languages", "largest_city", "demonym"),
    "government": ("capital", "form", "independence", "national_day"),
    "economy": ("currency", "currency_code", "subunit", "central_bank"),
    "travel": ("calling_code", "domain", "driving_side", "time_zone", "country_code"),
    "flag": ("description", "colours", "adopted"),
}
# What a country is free to name as it likes: an invented value must not be a real one.
# A central bank is named after its country, so the name's own filter covers it.
OPEN_ATTRIBUTES = (
    "highest_point",
    "languages",
    "largest_city",
    "demonym",
    "capital",
    "currency",
    "subunit",
)
# Words that many countries share in such values: real and invented ones both use them.
SHARED_SUBUNITS = ("cent", "centime", "centavo", "penny", "piastre", "fils", "pence")
POPULATION_YEAR = 2024


def split_terms(text: str) -> tuple[str, ...]:
    """A long list on few lines: "a b|c" → ("a b", "c")."""
    return tuple(text.split("|"))


MONTHS = split_terms(
    "January|February|March|April|May|June|July|August|September|October|November|December"
)
_THOUSAND = re.compile(r"(?<=\d),(?=\d{3})")


@dataclass(frozen=True, slots=True)
class Fact:
    """`value` is how the document writes it; `aliases` are other right answers."""

    value: str
    aliases: tuple[str, ...] = ()


def section_of(attribute: str) -> str:
    """The section that states it. A free attribute names its own: "people:national tree"."""
    if ":" in attribute:
        return attribute.partition(":")[0]
    return next(section for section, attributes in SECTIONS.items() if attribute in attributes)


def strip_accents(text: str) -> str:
    """'é' → 'e', by Unicode's own decomposition; letters that have none ('ø') stay."""
    parts = unicodedata.normalize("NFKD", text)
    return "".join(c for c in parts if not unicodedata.combining(c))


def normalize_name(text: str) -> str:
    """Case, accents, spaces and punctuation taken away: how two names are compared.

    >>> normalize_name("São Tomé")
    'saotome'
    """
    if text.isascii():
        return "".join(filter(str.isalnum, text.casefold()))
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKD", text).casefold()))


def population_text(people: int) -> str:
    """Rounded to what a year does not change.

    >>> population_text(5_572_000), population_text(1_438_000_000), population_text(393_400)
    ('5.6 million', '1.4 billion', '390,000')
    """
    step = 10 ** max(len(str(people)) - 2, 0)
    rounded = round(people / step) * step
    if people >= 1_000_000_000:
        return f"{people / 1e9:.1f} billion"
    if rounded >= 1_000_000:
        return f"{people / 1e6:.0f} million" if people >= 2e7 else f"{people / 1e6:.1f} million"
    return f"{rounded:,}"


def join_list(items: list[str]) -> str:
    """'A', 'A and B', 'A, B and C'."""
    return " and ".join(filter(None, (", ".join(items[:-1]), items[-1])))


def split_list(value: str) -> list[str]:
    """The items of a listing: 'A, B and C' → ['A', 'B', 'C']."""
    head, _, last = value.rpartition(" and ")
    return [*head.split(", "), last] if head else [last]


def indefinite_article(noun: str) -> str:
    """'a' or 'an', by the first letter."""
    return "an" if noun[0].lower() in "aeiou" else "a"


def other_spellings(attribute: str, value: str) -> tuple[str, ...]:
    """Other ways to write the same value, which a marker must accept too."""
    return tuple(other for other in _spellings(attribute, value) if other != value)


def _spellings(attribute: str, value: str) -> tuple[str, ...]:
    if attribute == "area":
        number = value.removesuffix(" km²")
        bare = _THOUSAND.sub("", number)
        return (f"{number} square kilometres", f"{number} square kilometers", number, bare)
    if attribute == "population":
        return (f"about {value}", _THOUSAND.sub("", value)) if "," in value else (f"about {value}",)
    if attribute == "calling_code":
        return (value.removeprefix("+"), value.replace("-", " "))
    if attribute == "domain":
        return (value.removeprefix("."),)
    if attribute == "time_zone":
        return (value.replace("UTC", "GMT"), value.replace("-", "−"))
    if attribute == "national_day":
        day, month = value.split()
        return (f"{month} {day}",)
    if attribute == "driving_side":
        return (f"on the {value}", f"the {value}")
    if attribute in ("languages", "colours", "neighbours"):
        items = split_list(value)
        return (f"{items[1]} and {items[0]}",) if len(items) == 2 else ()
    if attribute == "highest_point":
        return tuple(value.removeprefix(p) for p in ("Mount ",) if value.startswith(p))
    return ()
