"""Invented facts: for each attribute a value that no real country has, in every format that real
ones come in.

It knows ranges, formats and the vocabularies that are closed (regions, forms of state, colours).
It does not know the real facts, but for the set of names it is told to refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

from rag_vqa.demo.facts import (
    MONTHS,
    SHARED_SUBUNITS,
    Fact,
    article,
    listing,
    plain,
    population_text,
    spellings,
    terms,
)
from rag_vqa.demo.names import COIN_NOUNS, Namer

REGIONS = terms(
    "Northern Europe|Western Europe|Southern Europe|Eastern Europe|Central Europe|"
    "Southeast Europe|Northern Africa|Western Africa|Central Africa|Eastern Africa|"
    "Southern Africa|Western Asia|Central Asia|Southern Asia|Eastern Asia|Southeast Asia|"
    "North America|Central America|the Caribbean|South America|Oceania|Melanesia|Micronesia|"
    "Polynesia"
)
FORMS = terms(
    "republic|republic|republic|federal republic|kingdom|constitutional monarchy|"
    "principality|grand duchy|emirate|sultanate|federation|Islamic republic|socialist republic"
)
PALETTE = terms(
    "red|white|blue|green|yellow|black|orange|light blue|dark blue|maroon|brown|gold|purple"
)
# Layouts in words; A, B and C are colours.
LAYOUTS = terms(
    "three vertical bands of A, B and C|three horizontal bands of A, B and C|"
    "two horizontal bands of A and B|two vertical bands of A and B|a A cross on a B field|"
    "a A Nordic cross on a B field|a A disc on a B field|a A star on a B field|"
    "a A crescent and star on a B field|two horizontal bands of A and B with a C triangle|"
    "three horizontal bands of A, B and C with a coat of arms|a A field with a B canton|"
    "three horizontal bands of A, B and C with a A star|a A diagonal band on a B field|"
    "five horizontal stripes of A and B|three horizontal bands of A, B and A|"
    "three vertical bands of A, B and A with a A emblem|a A saltire on a B and C field"
)
_BANKS = terms(
    "Bank of X|Central Bank of X|National Bank of X|Reserve Bank of X|State Bank of X|D Bank|"
    "D National Bank|Y Bank|Y Yank|Bank Y|Banque Y|Banco Y|Monetary Authority of X|Z|"
    "Central Bank of the X|Central Bank of Y D States|Bank of Y D States (Z)|D Yank"
)
BANK_WORDS = ("Bank of the", "Central National Reserve State", "Monetary Authority States")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def invented_facts(
    namer: Namer, name: str, colours: Sequence[str] | None, description: str | None
) -> dict[str, Fact]:
    """A fact for nearly every attribute; each real gap (no neighbours, …) now and then, too."""
    rng = namer.rng
    values = {attribute: make(namer) for attribute, make in _SIMPLE.items()}
    values["demonym"] = namer.demonym(name)
    values["capital"] = name if rng.random() < 0.03 else namer.city()
    values["largest_city"] = values["capital"] if rng.random() < 0.6 else namer.city()
    values |= _money(namer, name, values["demonym"]) | _neighbours(namer)
    if values.get("neighbours") == "none":
        values["coast"] = "coastal"
    letters = [c for c in name.upper() if c in _LETTERS]
    values["country_code"] = _code(rng, letters, 3)
    values["domain"] = "." + _code(rng, letters, 2).lower()
    if colours is None and description is None:
        description, colours = _flag(rng)
    if description is not None:
        values["description"] = description
    if colours is not None:
        values["colours"] = listing(list(colours))
    if rng.random() < 0.1:
        del values["highest_point"]
    return {key: Fact(value, spellings(key, value)) for key, value in values.items()}


def acronym(rng: Random) -> str:
    """Two to five capitals, at times with a digit: "BEAC", "K2"."""
    if rng.random() < 0.1:
        return rng.choice(_LETTERS) + str(rng.randrange(1, 10))
    return "".join(rng.choices(_LETTERS, k=rng.randrange(2, 6)))


def spread(rng: Random, low: float, high: float) -> int:
    """A number of any magnitude between two powers of ten."""
    return int(10 ** rng.uniform(low, high))


def _population(namer: Namer) -> str:
    return population_text(spread(namer.rng, 4.0, 9.3))


def _area(namer: Namer) -> str:
    rng = namer.rng
    if rng.random() < 0.03:
        return f"{rng.uniform(0.2, 99):.{rng.randrange(1, 3)}f} km²"
    number = spread(rng, 1.3, 7.3)
    if rng.random() < 0.35:  # the sources disagree, so that the real one is rounded
        step = 10 ** max(len(str(number)) - 3, 0)
        number = number // step * step
    return f"{number:,} km²"


def _year(low: int, high: int) -> Callable[[Namer], str]:
    def year(namer: Namer) -> str:
        # Most real years are recent ones: the later of two draws.
        return str(max(namer.rng.randrange(low, high), namer.rng.randrange(low, high)))

    return year


def _day(namer: Namer) -> str:
    return f"{namer.rng.randrange(1, 32)} {namer.rng.choice(MONTHS)}"


def _languages(namer: Namer) -> str:
    count = namer.rng.choice((1, 1, 1, 1, 2, 2, 2, 3, 3, 4))
    return listing([namer.tongue() for _ in range(count)])


def _calling_code(namer: Namer) -> str:
    rng = namer.rng
    if rng.random() < 0.12:
        return f"+{rng.randrange(1, 10)}-{rng.randrange(200, 1000)}"
    return f"+{rng.randrange(1, 1000)}"


def _time_zone(namer: Namer) -> str:
    rng = namer.rng
    minutes = rng.choice((":30", ":45")) if rng.random() < 0.08 else ""
    hours = rng.randrange(0, 14)
    return f"UTC{rng.choice('++-') if hours else '+'}{hours}{minutes}"


def _peak(namer: Namer) -> str:
    name = acronym(namer.rng) if namer.rng.random() < 0.03 else namer.peak()
    return namer.peak() if plain(name) in namer.refused else name


_SIMPLE: Mapping[str, Callable[[Namer], str]] = {
    "region": lambda namer: namer.rng.choice(REGIONS),
    "area": _area,
    "coast": lambda namer: namer.rng.choice(("landlocked", "coastal")),
    "highest_point": _peak,
    "population": _population,
    "languages": _languages,
    "form": lambda namer: namer.rng.choice(FORMS),
    "independence": _year(1100, 2020),
    "national_day": _day,
    "calling_code": _calling_code,
    "driving_side": lambda namer: namer.rng.choice(("left", "right")),
    "time_zone": _time_zone,
    "adopted": _year(1400, 2024),
}


def _money(namer: Namer, name: str, demonym: str) -> dict[str, str]:
    rng = namer.rng
    noun = rng.choice(COIN_NOUNS) if rng.random() < 0.4 else namer.coin()
    owner = demonym if rng.random() < 0.8 else rng.choice((name, namer.word()))
    lone = noun not in COIN_NOUNS and rng.random() < 0.2
    currency = noun if lone else f"{owner} {noun}"
    subunit = rng.choice(SHARED_SUBUNITS) if rng.random() < 0.4 else namer.coin()
    slots: dict[str, Callable[[], str]] = {
        "X": lambda: name,
        "D": lambda: demonym,
        "Y": namer.word,
        "Yank": lambda: namer.word() + "bank",
        "Z": lambda: acronym(rng),
        "(Z)": lambda: f"({acronym(rng)})",
    }
    bank = " ".join(slots[w]() if w in slots else w for w in rng.choice(_BANKS).split())
    letters = [c for c in (name + noun).upper() if c in _LETTERS]
    code = _code(rng, letters, 3)
    return {"currency": currency, "currency_code": code, "subunit": subunit, "central_bank": bank}


def _neighbours(namer: Namer) -> dict[str, str]:
    count = namer.rng.choice((0, 0, 1, 1, 2, 2, 3, 3, 4, 5))
    if count == 0:
        return {"neighbours": "none"}
    if count == 5:
        return {"neighbour_count": str(namer.rng.randrange(5, 17))}
    return {"neighbours": listing([namer.country() for _ in range(count)])}


def _code(rng: Random, letters: list[str], length: int) -> str:
    """As real codes are made: of the name's own letters in order, or at times of any."""
    if len(letters) < length or rng.random() < 0.25:
        return "".join(rng.choices(_LETTERS, k=length))
    rest = sorted(rng.sample(range(1, len(letters)), length - 1))
    return letters[0] + "".join(letters[i] for i in rest)


def _flag(rng: Random) -> tuple[str, list[str]]:
    """A flag in words, with its colours in the order of the words."""
    colours = dict(zip("ABC", rng.sample(PALETTE, 3), strict=True))
    said: list[str] = []
    used: list[str] = []
    for word in rng.choice(LAYOUTS).split():
        colour = colours.get(word.rstrip(","))
        if colour is not None:
            used += [] if colour in used else [colour]
            if said and said[-1] == "a":
                said[-1] = article(colour)
        said.append(word if colour is None else colour + word[1:])
    return " ".join(said), used
