"""The flag world as training data: each row a function of its place, groups as they are said."""

from dataclasses import replace

import numpy as np
from PIL.Image import Image

from rag_vqa.demo.training.flag_pairs import FlagPairs
from rag_vqa.retriever.training.training_pairs import Pair

GROUP = 96  # 48 countries, 2 sections of each
GROUPS = 12


def bare(pair: Pair) -> Pair:
    """Pictures as bytes: equal where their pixels are."""
    sides = [replace(item, image=np.asarray(item.image).tobytes()) for item in
             (pair.query, pair.passage)]  # fmt: skip
    return replace(pair, query=sides[0], passage=sides[1])


def test_a_row_depends_on_its_place_alone() -> None:
    rows = [7, 95, 96, 6, 1_000_003]
    together = [bare(pair) for pair in FlagPairs().draw(3, rows)]
    assert together == [bare(FlagPairs().draw(3, [row])[0]) for row in rows]
    assert together != [bare(pair) for pair in FlagPairs().draw(4, rows)]


def test_a_group_is_48_countries_asked_twice() -> None:
    pairs = FlagPairs().draw(1, range(GROUP))
    ids = [pair.passage.id for pair in pairs]
    assert len(set(ids)) == GROUP and [pair.positives for pair in pairs] == [(i,) for i in ids]
    countries = {id(pair.query.image) for pair in pairs}
    assert len(countries) == 48  # one photo object for the rows of a country
    assert {id(pair.passage.image) for pair in pairs}.isdisjoint(countries)
    for one, two in zip(pairs[::2], pairs[1::2], strict=True):
        assert one.query.image is two.query.image and one.passage.image is two.passage.image
        assert isinstance(one.query.image, Image)


def test_documents_bear_the_section_of_their_name() -> None:
    for pair in FlagPairs().draw(2, range(GROUP)):
        title, section = pair.passage.text.split("\n")[0].split(" · ")
        assert title and pair.passage.id.endswith(f"/{section}")
        assert pair.query.text.startswith("Retrieve the document that answers the question: ")


def test_half_of_the_groups_share_their_sections() -> None:
    sections = [
        {pair.passage.id.rpartition("/")[2] for pair in FlagPairs().draw(5, range(g, g + GROUP))}
        for g in range(0, GROUP * GROUPS, GROUP)
    ]
    shared = sum(len(found) <= 3 for found in sections)  # a third where a country lacks one
    assert 1 <= shared < GROUPS  # all or none: 1 in 2,048 each
    assert all(len(found) == 6 for found in sections if len(found) > 3)
