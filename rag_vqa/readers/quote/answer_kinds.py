"""Kinds of answers: whether a sentence contains what a question word asks for.

Knows numbers, dates, units, names of people, places and reasons, as far as they can be seen in the
sentence alone. Does not know the question's other words.
"""

from __future__ import annotations

import re

from rag_vqa.readers.quote.language_words import Language
from rag_vqa.readers.quote.words import fold_text, split_words

# Kinds that a number with a unit answers: seen in the sentence, they say what is meant.
UNITS = {
    "weight": r"kilo(?:gram\w*)?s?|kg|g|gramm?e?s?|grams?|tons?|tonn\w+|pounds?|lbs?|ounces?|oz|"
    r"pfund|"
    r"zentner|livres|libras|quintal\w*|килограмм\w*|кг|тонн\w*|пуд\w*|キロ\w*|グラム|公斤|千克|克|吨",
    "length": r"(?:kilo|centi|milli|deci|zenti)?met(?:er|re)s?|(?:kilo|centi|milli)?metr[io]s?|"
    r"mm|cm|m|km|"
    r"inch(?:es)?|foot|feet|ft|miles?|yards?|paces|zoll|fuss|ellen?|pieds?|pouces?|pies|"
    r"(?:санти|кило|милли)?метр\w*|см|км|センチ\w*|メートル|キロ\w*|厘米|毫米|米|公里|km2|hectares?|acres?|"
    r"square|quadrat\w*|m²|km²",
    "volume": r"(?:milli|centi|deci|hecto)?lit(?:er|re)s?|litr[io]s?|l|ml|cl|gallons?|pints?|"
    r"\w*liter|литр\w*|リットル|升|毫升",
    "money": r"dollars?|euros?|pounds?|shillings?|pence|penny|guineas?|crowns?|francs?|marks?|"
    r"mark|pfennig\w*|"
    r"guilders?|gulden|stuivers?|stuiver|thalers?|taler|ducats?|lir[ae]|pesos?|pesetas?|reales|"
    r"yen|yuan|rubles?|"
    r"roubles?|rupees?|cents?|centimes?|sous|ecus?|рубл\w*|копе\w*|円|両|元|两|kronen|kroner|kronor|"
    r"groschen",
    "duration": r"(?:year|month|week|day|hour|minute|second|night|summer|winter|decade|"
    r"centur)\w*|jahr\w*|monat\w*|"
    r"woche\w*|tag\w*|stunde\w*|minute\w*|sekunde\w*|ans?|annees?|mois|semaines?|jours?|heures?|"
    r"hivers?|"
    r"anos?|mes(?:es)?|semanas?|dias?|horas?|anni|anno|mesi|settiman\w*|giorn\w*|or[ae]|jaar|"
    r"jaren|maand\w*|"
    r"we(?:ek|ken)|dag(?:en)?|uur|uren|лет|год\w*|месяц\w*|недел\w*|дн\w+|час\w*|минут\w*|"
    r"年間?|か月|ヶ月|週間|日間?|時間|分間?|秒|个月|天|小时|分钟",
    "speed": r"km/h|kmh|mph|knots?|knoten|noeuds?|m/s|per|metres|kilomet\w*|miles",
}
_CJK_DIGITS = "〇一二三四五六七八九十百千万億亿两"
_DIGITS = re.compile(rf"\d|[{_CJK_DIGITS}]")
_SYMBOL_MONEY = re.compile(r"[$€£¥₽₹]\s?\d|\d\s?[$€£¥₽₹]|\b(?:eur|usd|gbp|chf)\b")
_YEAR = re.compile(
    r"\b(?:1\d{3}|20\d{2})s?\b|\b[1-9]\d{0,4}\s?(?:bc|ad|bce|ce|v\. chr|n\. chr)\b|\b(?:bc|"
    r"ad) \d+|\d+年|"
    r"\b(?:\d{1,2}(?:st|nd|rd|th)|\w+(?:st|nd|rd|th)|\d{1,2}\.|[xvi]+e?) "
    r"(?:century|jahrhundert|siecle|eeuw)|(?:siglo|secolo|seculo) [xvi]+|\bв \d{3,4}|"
    r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d+ (?:million |thousand )?years|世紀|世纪"
)
_MONTHS = re.compile(
    r"\b(?:jan(?:uar|uary|vier|uari)|januar|feb(?:ruary|ruar)|fevrier|march|marz|mars|april|"
    r"avril|may|mai|june|"
    r"juni|juin|july|juli|juillet|august|aout|september|septembre|oktober|october|octobre|"
    r"november|"
    r"novembre|december|dezember|decembre|enero|febrero|marzo|abril|mayo|junio|julio|agosto|"
    r"septiembre|octubre|noviembre|diciembre|gennaio|febbraio|aprile|maggio|giugno|luglio|"
    r"settembre|ottobre|dicembre|maart|januari|februari|mei|augustus|december)\b"
)
_DAY = re.compile(r"\b(?:mon|tues|wednes|thurs|fri|satur|sun)day\b|o'clock|\bnoon\b|\bmidnight\b")
_PARTICLES = frozenset(
    split_words("de da do di du del della des den der die la le van von ten ter zu zur af av y e")
)
_INITIAL_WORDS = re.compile(r"[.!?:;…]\s*[\"'“‘„«(]*$")
_NOT_NAMES = frozenset(
    split_words(
        "i january february march april may june july august september october november december "
        "monday tuesday wednesday thursday friday saturday sunday"
    )
)
_AGENT = re.compile(
    r"\w{2,}(?:ers?|ors?|ists?|men|man|woman|women|smiths?|ians?|eurs?|eure|innen|dores?|tori)|"
    r"(?:boy|girl|child|widow|wife|sister|brother|daughter|son|nun|monk|priest|soldier)s?|"
    r"children"
)
_LOCATIVE = re.compile(
    r"\b(?:in|at|on|from|under|near|off|behind|between|inside|outside|above|below|to|into|over|"
    r"auf|bei|aus|unter|hinter|neben|zwischen|nach|dans|sur|sous|chez|entre|vers|a|en|sobre|bajo|"
    r"su|sotto|sul|nel|nella|dentro|op|onder|achter|bij|uit|naar|в|на|под|из|у|за|от)\b|[でにへ]|在|于"
)
_OFTEN = re.compile(
    r"\b(?:every|each|daily|weekly|yearly|times|once|twice|mal|fois|veces|volte|keer|раз|jede\w*|"
    r"chaque|cada|ogni|elk\w*|every)\b|\w+mal\b"
)
_NAMING = re.compile(
    r"\b(?:call|nam|nick|known|titl|heiss|hiess|genannt|nomm|appel|llam|chiam|heet|genaamd|"
    r"назыв|зов|"
    r"имя)\w*|[\"“„«「『]|名は|という|名叫|叫"
)


def fits(kind: str, sentence: str, language: Language) -> float:
    """How well a sentence contains an answer of this kind: 1 clearly, 0 not at all."""
    folded = fold_text(sentence)
    if kind in UNITS:
        return _unit_fit(kind, folded, language)
    if kind in ("count", "often"):
        rate = kind == "often" and _OFTEN.search(folded) is not None
        return 1.0 if rate else 0.9 * _has_number(_without_measures(folded), language)
    if kind == "age":
        return max(_unit_fit("duration", folded, language), 0.7 * _has_number(folded, language))
    if kind == "when":
        return _time_fit(folded)
    if kind == "where":
        return 0.9 * (_LOCATIVE.search(folded) is not None)
    if kind == "who":
        return person_fit(sentence, language)
    if kind == "name":
        named = _NAMING.search(folded) is not None
        return max(1.0 * named, 0.6 * (person_fit(sentence, language) > 0.6))
    assert kind == "why", kind
    return 1.0 if _has_word(language.reasons, folded) else 0.55


def _time_fit(folded: str) -> float:
    if _YEAR.search(folded) or _MONTHS.search(folded):
        return 1.0
    return 0.7 * (_DAY.search(folded) is not None)


def _without_measures(folded: str) -> str:
    """The sentence without years and without numbers of a unit: these count nothing."""
    units = "|".join(UNITS[kind] for kind in ("weight", "length", "volume", "money"))
    folded = re.sub(rf"(?<![\w.,])\d[\d.,]*\s?(?:{units})\b", " ", folded)
    return _YEAR.sub(" ", folded)


def _has_number(folded: str, language: Language) -> bool:
    return _DIGITS.search(folded) is not None or _has_word(language.numbers, folded)


def _has_word(pattern: re.Pattern[str], folded: str) -> bool:
    if is_without_blanks(folded):
        return pattern.search(folded) is not None
    return any(pattern.fullmatch(word) for word in re.findall(r"\w+", folded))


def is_without_blanks(text: str) -> bool:
    """True for Chinese and Japanese."""
    return re.search("[\u3040-\u30ff\u4e00-\u9fff]", text) is not None


def _unit_fit(kind: str, folded: str, language: Language) -> float:
    """1 for a number with a unit at most two words behind it ("three and a half metres")."""
    if kind == "money" and _SYMBOL_MONEY.search(folded):
        return 1.0
    unit = UNITS[kind]
    if re.search(rf"[\d{_CJK_DIGITS}]\s*(?:{unit})", folded) and is_without_blanks(folded):
        return 1.0
    numbers = rf"\d[\d.,]*|(?:{language.numbers.pattern})"
    numeral = rf"(?:{numbers})(?:[- ](?:{numbers}))*"
    between = r"(?:[ -][^\W\d]+){0,3}?[ -]?"
    found = re.search(
        rf"(?<![\w.,])(?:{numeral}){between}(?<!\w\w\w\w\w\w\w\w\w\w\w\w)\b(?:{unit})\b", folded
    )
    if found is None:
        found = re.search(rf"(?<![\w.,])\d[\d.,]*\s?(?:{unit})\b", folded)
    return 1.0 if found else 0.0


def person_fit(sentence: str, language: Language) -> float:
    """1 for two capitalised words in a row, less for one within a sentence, 0.3 for none.

    "Who" may be answered by "the innkeeper", so no name is no refusal. In scripts without capitals
    nothing can be seen: 0.6.
    """
    if is_without_blanks(sentence) or not re.search("[^\\W\\d_]", sentence):
        return 0.6
    single = 0.0
    words = [*re.finditer(r"[^\W\d_][\w'’.-]*", sentence)]
    row = 0
    for at, word in enumerate(words):
        text = word.group().rstrip(".'’")
        capital = text[:1].isupper() and fold_text(text) not in _NOT_NAMES
        begins = at == 0 or _INITIAL_WORDS.search(sentence[: word.start()]) is not None
        joined = at > 0 and sentence[words[at - 1].end() : word.start()].strip(" \u00a0") == ""
        if capital:
            row = row + 1 if joined else 1
            if begins and fold_text(text) in language.stop:
                row = 0
            if row >= 2:
                return 1.0
            if not begins and language.name != "de":
                single = 0.8
        elif not (joined and row and text in _PARTICLES):
            row = 0
    return single or 0.6 * _begins_with_agent(sentence, language) or 0.1


def _begins_with_agent(sentence: str, language: Language) -> bool:
    first = re.findall(r"\w+", fold_text(sentence))[:3]
    return any(_AGENT.fullmatch(word) and word not in language.stop for word in first)
