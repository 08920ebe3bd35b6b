"""Attributes outside the table: what may be asked and is rarely, or never, stated.

It knows words. Those for training are asked with and without an answer in the documents; those
held out are only asked when the readers are measured, and never stated.
"""

from __future__ import annotations

from random import Random

from rag_vqa.demo.facts import terms
from rag_vqa.demo.names import Namer

TRAINING = terms(
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
HELD_OUT = terms(
    "national dish|national bird|motto|tallest building|football coach|favourite colour|"
    "national sport|deepest lake|widest river|vice president|foreign minister|royal family|"
    "largest shopping centre|best restaurant|most popular song|most famous actor|"
    "traditional dress|national drink|biggest zoo|longest beach|oldest tree|largest dam|"
    "birth sign|olympic medals|cricket captain|chess champion|poet laureate|"
    "internet speed|phone maker|biggest farm|price of bread|number of sheep|"
    "snowiest village|sunniest town|nearest planet|favourite joke|wedding custom|"
    "lucky number|school uniform|ambassador|archbishop|lighthouse"
)
PEOPLE = frozenset(
    terms(
        "national poet|national hero|president|prime minister|king|queen|first president|founder|"
        "chief justice|mayor|speaker|richest man|patron saint|famous singer|famous painter|"
        "designer of the flag|football coach|vice president|foreign minister|most famous actor|"
        "cricket captain|chess champion|poet laureate|ambassador|archbishop"
    )
)
_ADJECTIVES = terms("national|main|largest|oldest|first|official|best|royal|usual|second")


def invented_noun(rng: Random, namer: Namer) -> str:
    """A noun of the training list, or in a third of cases one that is no word at all."""
    if rng.random() < 0.67:
        return rng.choice(TRAINING)
    noun = namer.coin()
    return f"{rng.choice(_ADJECTIVES)} {noun}" if rng.random() < 0.5 else noun


def noun_words() -> set[str]:
    """Words of the nouns of training. Held-out ones stay pieces, as any unknown word is."""
    return {word for noun in TRAINING for word in noun.split()} | set(_ADJECTIVES)
