"""Invented facts: attributes, and values for them that no real country has.

Knows ranges, formats, the closed vocabularies (regions, forms of state, colours) and attributes
outside the table: those for training are asked with and without an answer in the documents, the
held-out ones are asked only when a reader is measured, and no document states them. Does not know
the real facts, except for the set of names to refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

from rag_vqa.demo.world.facts import (
    MONTHS,
    SHARED_SUBUNITS,
    Fact,
    indefinite_article,
    join_list,
    normalize_name,
    other_spellings,
    population_text,
    split_terms,
)
from rag_vqa.demo.world.names import COIN_NOUNS, Namer

TRAINING_NOUNS = split_terms(
    "national tree|national flower|national fruit|national animal|national colour|anthem|"
    "national poet|national hero|national museum|national park|national library|"
    "national university|national stadium|national newspaper|national theatre|national costume|"
    "longest river|largest lake|lowest point|oldest city|second largest city|former capital|"
    "largest island|deepest cave|highest waterfall|largest desert|largest forest|busiest port|"
    "largest airport|oldest bridge|longest bridge|longest tunnel|tallest tower|oldest church|"
    "largest mosque|oldest university|largest museum|most visited beach|main square|"
    "president|prime minister|king|queen|first president|founder|chief justice|mayor|speaker|"
    "ruling party|largest party|parliament|supreme court|army|navy|police|secret service|"
    "main export|main import|main crop|largest company|largest bank|stock exchange|richest man|"
    "average wage|inflation rate|unemployment rate|tax rate|national debt|minimum wage|"
    "main religion|patron saint|largest minority|median age|life expectancy|birth rate|"
    "literacy rate|most common surname|most common name|traditional dance|traditional instrument|"
    "famous singer|famous painter|famous novel|best film|oldest newspaper|main broadcaster|"
    "railway company|national airline|main railway station|longest road|emergency number|"
    "voltage|plug type|visa fee|speed limit|drinking age|voting age|retirement age|"
    "postal code|licence plate|average temperature|coldest month|rainiest month|wettest town|"
    "coastline|forest cover|largest volcano|rarest bird|most common fish|"
    "favourite drink|favourite soup|breakfast|street food|beer|cheese|wine region|tea|"
    "favourite game|football league|best club|ice hockey team|first satellite|space agency|"
    "nickname|coat of arms|seal|designer of the flag|ratio of the flag|flag day"
)
HELD_OUT_NOUNS = split_terms(
    "national dish|national bird|motto|tallest building|football coach|favourite colour|"
    "national sport|deepest lake|widest river|vice president|foreign minister|royal family|"
    "largest shopping centre|best restaurant|most popular song|most famous actor|"
    "traditional dress|national drink|biggest zoo|longest beach|oldest tree|largest dam|"
    "birth sign|olympic medals|cricket captain|chess champion|poet laureate|"
    "internet speed|phone maker|biggest farm|price of bread|number of sheep|"
    "snowiest village|sunniest town|nearest planet|favourite joke|wedding custom|"
    "lucky number|school uniform|ambassador|archbishop|lighthouse"
)
PERSON_NOUNS = frozenset(
    split_terms(
        "national poet|national hero|president|prime minister|king|queen|first president|founder|"
        "chief justice|mayor|speaker|richest man|patron saint|famous singer|famous painter|"
        "designer of the flag|football coach|vice president|foreign minister|most famous actor|"
        "cricket captain|chess champion|poet laureate|ambassador|archbishop"
    )
)
_ADJECTIVES = split_terms("national|main|largest|oldest|first|official|best|royal|usual|second")
REGIONS = split_terms(
    "Northern Europe|Western Europe|Southern Europe|Eastern Europe|Central Europe|"
    "Southeast Europe|Northern Africa|Western Africa|Central Africa|Eastern Africa|"
    "Southern Africa|Western Asia|Central Asia|Southern Asia|Eastern Asia|Southeast Asia|"
    "North America|Central America|the Caribbean|South America|Oceania|Melanesia|Micronesia|"
    "Polynesia"
)
FORMS = split_terms(
    "republic|republic|republic|federal republic|kingdom|constitutional monarchy|"
    "principality|grand duchy|emirate|sultanate|federation|Islamic republic|socialist republic"
)
PALETTE = split_terms(
    "red|white|blue|green|yellow|black|orange|light blue|dark blue|maroon|brown|gold|purple"
)
# Layouts in words; A, B and C are colours.
LAYOUTS = split_terms(
    "three vertical bands of A, B and C|three horizontal bands of A, B and C|"
    "two horizontal bands of A and B|two vertical bands of A and B|a A cross on a B field|"
    "a A Nordic cross on a B field|a A disc on a B field|a A star on a B field|"
    "a A crescent and star on a B field|two horizontal bands of A and B with a C triangle|"
    "three horizontal bands of A, B and C with a coat of arms|a A field with a B canton|"
    "three horizontal bands of A, B and C with a A star|a A diagonal band on a B field|"
    "five horizontal stripes of A and B|three horizontal bands of A, B and A|"
    "three vertical bands of A, B and A with a A emblem|a A saltire on a B and C field"
)
_BANKS = split_terms(
    "Bank of X|Central Bank of X|National Bank of X|Reserve Bank of X|State Bank of X|D Bank|"
    "D National Bank|Y Bank|Y Yank|Bank Y|Banque Y|Banco Y|Monetary Authority of X|Z|"
    "Central Bank of the X|Central Bank of Y D States|Bank of Y D States (Z)|D Yank"
)
BANK_WORDS = ("Bank of the", "Central National Reserve State", "Monetary Authority States")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def invent_noun(rng: Random, namer: Namer) -> str:
    """A noun of the training list, or in a third of cases one that is no word at all."""
    if rng.random() < 0.67:
        return rng.choice(TRAINING_NOUNS)
    noun = namer.coin()
    return f"{rng.choice(_ADJECTIVES)} {noun}" if rng.random() < 0.5 else noun


def noun_words() -> set[str]:
    """Words of the nouns of training. Held-out ones stay pieces, as any unknown word is."""
    return {word for noun in TRAINING_NOUNS for word in noun.split()} | set(_ADJECTIVES)


def invent_facts(
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
    values["country_code"] = _random_code(rng, letters, 3)
    values["domain"] = "." + _random_code(rng, letters, 2).lower()
    if colours is None and description is None:
        description, colours = _describe_flag(rng)
    if description is not None:
        values["description"] = description
    if colours is not None:
        values["colours"] = join_list(list(colours))
    if rng.random() < 0.1:
        del values["highest_point"]
    return {key: Fact(value, other_spellings(key, value)) for key, value in values.items()}


def random_acronym(rng: Random) -> str:
    """Two to five capitals, at times with a digit: "BEAC", "K2"."""
    if rng.random() < 0.1:
        return rng.choice(_LETTERS) + str(rng.randrange(1, 10))
    return "".join(rng.choices(_LETTERS, k=rng.randrange(2, 6)))


def random_magnitude(rng: Random, low: float, high: float) -> int:
    """A number of any magnitude between two powers of ten."""
    return int(10 ** rng.uniform(low, high))


def _population(namer: Namer) -> str:
    return population_text(random_magnitude(namer.rng, 4.0, 9.3))


def _area(namer: Namer) -> str:
    rng = namer.rng
    if rng.random() < 0.03:
        return f"{rng.uniform(0.2, 99):.{rng.randrange(1, 3)}f} km²"
    number = random_magnitude(rng, 1.3, 7.3)
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
    return join_list([namer.tongue() for _ in range(count)])


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
    name = random_acronym(namer.rng) if namer.rng.random() < 0.03 else namer.peak()
    return namer.peak() if normalize_name(name) in namer.refused else name


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
        "Z": lambda: random_acronym(rng),
        "(Z)": lambda: f"({random_acronym(rng)})",
    }
    bank = " ".join(slots[w]() if w in slots else w for w in rng.choice(_BANKS).split())
    letters = [c for c in (name + noun).upper() if c in _LETTERS]
    code = _random_code(rng, letters, 3)
    return {"currency": currency, "currency_code": code, "subunit": subunit, "central_bank": bank}


def _neighbours(namer: Namer) -> dict[str, str]:
    count = namer.rng.choice((0, 0, 1, 1, 2, 2, 3, 3, 4, 5))
    if count == 0:
        return {"neighbours": "none"}
    if count == 5:
        return {"neighbour_count": str(namer.rng.randrange(5, 17))}
    return {"neighbours": join_list([namer.country() for _ in range(count)])}


def _random_code(rng: Random, letters: list[str], length: int) -> str:
    """As real codes are made: of the name's own letters in order, or at times of any."""
    if len(letters) < length or rng.random() < 0.25:
        return "".join(rng.choices(_LETTERS, k=length))
    rest = sorted(rng.sample(range(1, len(letters)), length - 1))
    return letters[0] + "".join(letters[i] for i in rest)


def _describe_flag(rng: Random) -> tuple[str, list[str]]:
    """A flag in words, with its colours in the order of the words."""
    colours = dict(zip("ABC", rng.sample(PALETTE, 3), strict=True))
    said: list[str] = []
    used: list[str] = []
    for word in rng.choice(LAYOUTS).split():
        colour = colours.get(word.rstrip(","))
        if colour is not None:
            used += [] if colour in used else [colour]
            if said and said[-1] == "a":
                said[-1] = indefinite_article(colour)
        said.append(word if colour is None else colour + word[1:])
    return " ".join(said), used
