"""Real facts against a hand-written sample; invented countries against the real ones."""

import json
from importlib.resources import files

import numpy as np
import pytest

from rag_vqa.demo.world.entities import (
    drop_facts,
    facts_by_section,
    invent_entity,
    real_entities,
    real_names,
)
from rag_vqa.demo.world.facts import (
    OPEN_ATTRIBUTES,
    SECTIONS,
    normalize_name,
    other_spellings,
    population_text,
    split_list,
)

# Typed by hand for this test: code, name, capital, currency, calling code.
SAMPLE = """
PL Poland|Warsaw|Polish złoty|+48
UA Ukraine|Kyiv|Ukrainian hryvnia|+380
FR France|Paris|euro|+33
IT Italy|Rome|euro|+39
CI Ivory Coast|Yamoussoukro|West African CFA franc|+225
NG Nigeria|Abuja|Nigerian naira|+234
PE Peru|Lima|Peruvian sol|+51
HU Hungary|Budapest|Hungarian forint|+36
AM Armenia|Yerevan|Armenian dram|+374
CO Colombia|Bogotá|Colombian peso|+57
TH Thailand|Bangkok|Thai baht|+66
GH Ghana|Accra|Ghanaian cedi|+233
IN India|New Delhi|Indian rupee|+91
DK Denmark|Copenhagen|Danish krone|+45
NO Norway|Oslo|Norwegian krone|+47
CH Switzerland|Bern|Swiss franc|+41
JM Jamaica|Kingston|Jamaican dollar|+1-876
JP Japan|Tokyo|Japanese yen|+81
BB Barbados|Bridgetown|Barbadian dollar|+1-246
VN Vietnam|Hanoi|Vietnamese đồng|+84
US United States|Washington, D.C.|United States dollar|+1
TR Turkey|Ankara|Turkish lira|+90
CZ Czechia|Prague|Czech koruna|+420
TO Tonga|Nuku'alofa|Tongan paʻanga|+676
HR Croatia|Zagreb|euro|+385
BW Botswana|Gaborone|Botswana pula|+267
""".strip().splitlines()
NUMBERS = ("population", "area", "calling_code", "domain", "time_zone", "national_day", "adopted")


@pytest.mark.parametrize("line", SAMPLE)
def test_real_facts_agree_with_a_hand_written_sample(line: str) -> None:
    code, rest = line[:2], line[3:]
    entity = real_entities()[code]
    found = [entity.name] + [entity.facts[a].value for a in ("capital", "currency", "calling_code")]
    assert found == rest.split("|")


def test_there_are_enough_real_countries_each_with_five_full_sections() -> None:
    entities = real_entities()
    assert len(entities) >= 110
    assert len({entity.id for entity in entities.values()}) == len(entities)
    for code, entity in entities.items():
        full = [section for section, facts in facts_by_section(entity).items() if len(facts) >= 3]
        assert len(full) >= 5, code


def test_identifiers_are_not_given_to_two_countries() -> None:
    for attribute in ("domain", "country_code", "capital"):
        facts = [e.facts[attribute].value for e in real_entities().values() if attribute in e.facts]
        assert len(set(facts)) == len(facts), attribute


def test_neighbours_agree_both_ways() -> None:
    by_name = {entity.name: entity for entity in real_entities().values()}
    for entity in by_name.values():
        fact = entity.facts.get("neighbours")
        for other in split_list(fact.value) if fact and fact.value != "none" else []:
            back = by_name[other].facts.get("neighbours") if other in by_name else None
            assert back is None or entity.name in split_list(back.value), (entity.name, other)


def test_the_colours_of_a_real_flag_are_those_of_its_description() -> None:
    for entity in real_entities().values():
        for colour in split_list(entity.facts["colours"].value):
            union_jack = "Union Jack" in entity.facts["description"].value
            assert colour in entity.facts["description"].value or union_jack, entity.name


def check_against_the_real(count: int, seed: int) -> None:
    """Compares with the file itself, by plain spelling, not through the filter under test."""
    rows = [
        json.loads(line)
        for line in files("rag_vqa.demo.world")
        .joinpath("countries.jsonl")
        .read_text("utf-8")
        .splitlines()
    ]
    assert len(rows) == 194
    names = {normalize_name(row["name"]) for row in rows}
    values: dict[str, set[str]] = {attribute: set() for attribute in OPEN_ATTRIBUTES}
    for row in rows:
        for attribute in OPEN_ATTRIBUTES:
            value = row.get("facts", {}).get(attribute, [])
            listed = [value] if isinstance(value, str) else value[:1]
            values[attribute] |= {normalize_name(item) for v in listed for item in split_list(v)}
    values["subunit"] -= {"cent", "centime", "centavo", "penny", "piastre", "fils"}
    rng = np.random.default_rng(seed)
    for _ in range(count):
        entity = invent_entity(rng)
        assert normalize_name(entity.name) not in names
        for attribute in OPEN_ATTRIBUTES:
            fact = entity.facts.get(attribute)
            for item in split_list(fact.value) if fact else []:
                assert normalize_name(item) not in values[attribute], (attribute, item)


def test_no_real_name_or_value_is_invented() -> None:
    check_against_the_real(3_000, seed=1)


@pytest.mark.slow
def test_no_real_name_or_value_is_invented_in_100_000() -> None:
    check_against_the_real(100_000, seed=2)


def test_the_filter_bites() -> None:
    refused = real_names()
    for name in ("Norway", "Peru", "Oslo", "Norwegian krone", "French", "Turkey", "Kebnekaise"):
        assert normalize_name(name) in refused


def test_invention_is_determined_by_the_seed() -> None:
    assert invent_entity(np.random.default_rng(5)) == invent_entity(np.random.default_rng(5))
    assert invent_entity(np.random.default_rng(5)) != invent_entity(np.random.default_rng(6))


def test_the_flag_section_follows_the_flag_that_was_drawn() -> None:
    rng = np.random.default_rng(0)
    given = invent_entity(rng, ("red", "white", "blue"), "three bands")
    assert given.facts["colours"].value == "red, white and blue"
    assert given.facts["description"].value == "three bands"
    assert "description" not in invent_entity(rng, ("red", "white")).facts
    assert "colours" not in invent_entity(rng, None, "a star").facts


def shape(value: str) -> str:
    """Digits as 9, so that formats compare."""
    return "".join("9" if c.isdigit() else "" if c.isalpha() else c for c in value)


def test_invented_values_have_every_character_and_number_format_of_the_real_ones() -> None:
    rng = np.random.default_rng(3)
    invented = [invent_entity(rng) for _ in range(2_500)]
    characters = {c for e in invented for c in "".join(f.value for f in e.facts.values()) + e.name}
    for entity in real_entities().values():
        text = entity.name + "".join(fact.value for fact in entity.facts.values())
        assert set(text) <= characters, (entity.name, set(text) - characters)
    for attribute in NUMBERS:
        seen = {shape(e.facts[attribute].value) for e in invented if attribute in e.facts}
        real = [e.facts[attribute].value for e in real_entities().values() if attribute in e.facts]
        assert {shape(value) for value in real} <= seen, attribute


def test_invented_countries_cover_every_attribute() -> None:
    rng = np.random.default_rng(4)
    seen = {attribute for _ in range(200) for attribute in invent_entity(rng).facts}
    assert {a for attributes in SECTIONS.values() for a in attributes} <= seen
    assert any(":" in attribute for attribute in seen)


def test_thin_drops_about_its_share() -> None:
    rng = np.random.default_rng(0)
    entities = [invent_entity(rng) for _ in range(200)]
    kept = sum(len(drop_facts(entity, rng, 0.25).facts) for entity in entities)
    assert kept / sum(len(entity.facts) for entity in entities) == pytest.approx(0.75, abs=0.03)


def test_formats() -> None:
    texts = [population_text(n) for n in (12_345, 999_000, 5_550_000, 84_400_000, 1_451_000_000)]
    assert texts == ["12,000", "1.0 million", "5.5 million", "84 million", "1.5 billion"]
    assert "323802" in other_spellings("area", "323,802 km²")
    assert other_spellings("national_day", "17 May") == ("May 17",)
    assert other_spellings("languages", "French and Dutch") == ("Dutch and French",)
