"""Sentences: where the sentences of a text begin, in any script, without a model of any language.

Knows marks that end sentences (Unicode's class STerm and a few more), quotes and brackets behind
them, and dots that end nothing: abbreviations, initials, ordinals, numbers. Does not know passages
nor lines: a line is one stretch of prose. The rules rather join two sentences than cut one:
a longer unit costs a window a few words, half a sentence costs its sense. benchmarks/sentences.py
compares them with pysbd and with Unicode's UAX #29.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Marks that end sentences of one script only, so no blank need follow. Chinese and Japanese write
# none, Urdu and Hindi often forget it.
_OWN_MARKS = (
    "։؝؞؟؛۔܀-܂߹।॥၊။።፧፨᙮᜵᜶។៕᠃᠉᥄᥅᪨-᪫᭎᭏᭚᭛᭞᭟᭽-᭿᰻᰼᱾᱿⳹-⳻。꓿꘎꘏꛳꛷꡶꡷꣎꣏꤯꧈꧉꩝-꩟꫰꫱ꫯ꯫︒︕︖﹒﹖﹗！．？｡།༎"
).replace("၊", "")  # the comma of Burmese
_CLOSERS = "\"'”’“‘»›)\\]}」』）］｝】〕》〉＂＇"
_END = re.compile(
    rf"(?:[.!?…‼‽⁇⁈⁉]+|[{_OWN_MARKS}][{_OWN_MARKS}.!?…]*|፡፡|(?<=[\u0531-\u0587»)՞]):|"
    rf"(?<=[\u0370-\u03ff]);)(?P<close>[{_CLOSERS}]*(?:[ \u00a0\u202f][»›])?)"
    r"(?:\s?\[\d{1,3}\])*(?P<gap>\s*)"
)
_OWN_MARK = re.compile(rf"[{_OWN_MARKS}፡]")
_OPENERS = re.compile(r"[\"'“‘„‚«‹(\[¿¡—–\-•*_\s]*")
_WORD = re.compile(r"[^\s(\[\"'“‘„«‹/–—\-\u3040-\u9fff\uac00-\ud7a3]*$")
_NEXT_WORD = re.compile(r"\w+(?![\w.])")
_LETTERS_WITH_DOTS = re.compile(r"(?:[^\W\d_]{1,3}\.)+[^\W\d_]{1,3}")
_NUMBER = re.compile(r"\d|[IVXLC]+\b|AD\b|BC\b|[#№]")
_NUMBER_OR_LETTER = re.compile(rf"{_NUMBER.pattern}|[A-Z]\b")
_SHORT_WITH_DOT = re.compile(r"[^\W\d_]\w{0,3}\.")
_ARMENIAN = re.compile("[\u0531-\u0587]")
_WITHOUT_BLANKS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\uffff]")
_CJK = "\u3040"  # the first letter of Japanese; those of Chinese come later
_MANY_DOTS = 5  # enough to see that small letters follow dots
_LONGEST_TITLE = 40
_LONGEST_WORD = 24  # characters before a dot that are looked at

# A dot after a letter of these scripts ends a sentence only where their own mark is not in use.
_SCRIPTS = (
    ("ऀ", "෿", "।॥"),
    ("԰", "֏", "։"),
    ("ሀ", "᎟", "።፡"),
    ("؀", "ۿ", "۔"),
    ("က", "႟", "။"),
    ("ក", "៿", "។"),
    ("\u3040", "\u9fff", "。"),
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Before a name: "Dr. Smith". They never end a sentence.
_TITLES = _words(
    """
    dr mr mrs ms mx prof profs rev hon gov sen gen col maj capt cpt lt sgt cdr adm st ste sts mt
    messrs mme mmes mlle mgr hr fr frl dipl ing hll sr sra sras srta dña ud uds vd vds exmo exma
    dra drs mevr dhr ir sig dott avv geom gr проф акад св им ул тов skt rs lic e.g i.e z.b d.h
    p.ej t.ex cf vgl viz bzw mudr judr rndr paeddr phdr doç av ks inż hab κ κα δρ herr
    """
)
# Before a number: "No. 12", "Fig. 3", "May" as "Jan. 5".
_BEFORE_NUMBERS = _words(
    """
    no nos nr nrs num núm núms nº n° n art arts fig figs abb abbn taf tab tabs pl pls p pp s ss
    vol vols bd bde eq eqs sec secs sect ch chap chaps cap caps kap ed eds rev ms mss f ff fol
    fols inv cat kat cod col cols par pág págs pag pagg pgs tel ext bl jg ver v рис табл стр гл с
    т № jan feb febr mar mär apr jun jul aug sep sept oct okt nov dec dez déc janv févr avr juil
    ene abr ago dic op ser § str rys poz obr sz figg τ σ σελ εικ b c d fl r m séc ok tys
    """
)
# One letter that ends a sentence only behind a number: "1990 г." is a year, "г. Москва" a town.
_BEHIND_NUMBERS = _words("г в р д с")
# Within a sentence: "approx. five". They end one only if a word follows that often begins one.
_USUAL = _words(
    """
    vs al ca circa approx est resp incl excl esp eg ie sog ggf evtl evt inkl exkl geb gest verh
    ehem urspr insb bes zzgl abzgl max min gegr zit zw a.d hl hrsg übers verf abk allg bspw dgl
    bijv bv nl ong env apr éd trad adj adv trans introd aprox ej máx mín ecc.ti cfr secc т.е напр
    см ср род ум кв коп прим ок т.н т.к tzw np wg ur zm por św tj tzv např popř mj kl tex eng fr
    ger lat gr ital orig dep dept div assn assoc bros univ inst natl intl sec hrs wt ht diam illus
    prov st örn bkz yy π.χ δηλ βλ ό.π αρ v mio mrd
    """
)
# At the end as often as within: "Smith & Co. It closed." A capital behind them begins a sentence.
_ENDING = _words(
    """
    etc inc ltd co corp llc plc jr a.m p.m pm usw usf uvm enz osv ecc itd itp т.д т.п др гг вв руб
    млн млрд тыс chr jh jhd jhdt bc ad b.c a.d ce bce b.c.e c.e n.chr v.chr а.д н.э κ.λπ κλπ κ.ά
    vb vs.a apod atd e.a gmbh ag kg sa s.a s.p.a ft lb lbs oz cm mm km yd tsp
    """
)
# Words that begin sentences and no names: what follows an abbreviation or an initial.
_STARTERS = _words(
    """
    The This That These Those There It Its He She They We You His Her Their Our My In On At By
    From After Before When While Where What Why How Who During Since Although Though If As And But
    Or So However Then Some Many Most All Each Every Both One Two Did Do Does Is Are Was For To
    With Der Die Das Dem Den Des Es Er Sie Wir Ein Eine Einer Im Am Zum Zur Seine Seit Nach Bei
    Mit Auch Dieser Diese Dieses Il Elle Ils Elles Cette Ces Une Un Dans Pour Mais Avec Son Sa Ses
    En Él Ella Ellos Esta Este Esto Los Las Una Pero Con Por Para Su Sus Uno O Os Ele Ela Um Uma
    No Na Nel Nella Gli Questo Questa Ma Они Он Она Оно Это Эта Этот Но Также При После До Как Het
    Een De Hij Zij Dit Deze Op Og Och Det Han Hon
    """
)
# A number with a dot before these is an ordinal of German: "am 3. Mai", "das 19. Jahrhundert".
_AFTER_ORDINALS = re.compile(
    r"(?:Jan|Feb|Mär|Apr|Mai\b|Jun|Jul|Aug|Sep|Okt|Nov|Dez|Jahrh|Jh|Jahrtaus|Weltkrieg|Aufl|Kap|Stock|"
    r"Klasse|Platz|Geburtstag|Todestag|Band\b|Tag\b|Mal\b|Teil\b|Etage|Hälfte|Viertel|Liga|Spieltag|"
    r"Lebensjahr|Infanterie|Armee|Division|Bundes|Internationale|Olymp|Auflage|Ausgabe|Runde|Saison)"
)
_BEFORE_ORDINALS = _words(
    """
    am im der die das dem des den vom zum zur bis ab seit und beim einem dieses jeden ersten
    """
)


def split_sentences(text: str) -> Iterator[tuple[str, str]]:
    """Each sentence of a stretch of prose, with the blanks before it ("" or " ").

    >>> [*split_sentences("Dr. A. Smith came c. 1650. He left.")]
    [('', 'Dr. A. Smith came c. 1650.'), (' ', 'He left.')]
    >>> [*split_sentences("一二三。四五六。")]
    [('', '一二三。'), ('', '四五六。')]
    """
    start, gap = 0, ""
    for end, begin in _boundaries(text):
        yield gap, text[start:end]
        start, gap = begin, " " if begin > end else ""
    if start < len(text):
        yield gap, text[start:]


def _boundaries(text: str) -> Iterator[tuple[int, int]]:
    """Where a sentence ends, and where the next one begins."""
    found = [match for match in _END.finditer(text) if match.end() < len(text)]
    if not found:
        return
    marks = set(_OWN_MARK.findall(text))
    cased = _starts_with_capitals(text, [match.end() for match in found if match["gap"]])
    for match in found:
        if _is_end(text, match, marks, cased):
            yield match.start("gap"), match.end()


def _starts_with_capitals(text: str, places: list[int]) -> bool:
    """False if the text is written without capitals: then a small letter says nothing."""
    small = sum(_next_letter(text, at).islower() for at in places)
    seems_cased = not _next_letter(text, 0).islower() and len(places) < _MANY_DOTS
    return seems_cased or 2 * small <= len(places)


def _next_letter(text: str, at: int) -> str:
    place = _after_openers(text, at)
    return text[place : place + 1]


def _after_openers(text: str, at: int) -> int:
    openers = _OPENERS.match(text, at)
    return at if openers is None else openers.end()


def _is_end(text: str, match: re.Match[str], marks: set[str], cased: bool) -> bool:
    mark = text[match.start()]
    at = _after_openers(text, match.end())
    following = text[at : at + 1] or text[match.end()]
    if _OWN_MARK.match(mark):
        return _own_mark_ends(text, match, following)
    if not match["gap"]:  # scripts without blanks use "?" and "!" of ASCII, too
        around = following + text[match.start() - 1]
        return mark in "!?‼⁇⁈⁉" and all(map(_WITHOUT_BLANKS.match, around))
    if text[match.end()] in ".!?…,;:":
        return False
    if mark == ":":
        word = text[max(0, match.start() - _LONGEST_WORD) : match.start()]
        return _ARMENIAN.search(word) is not None and not following.islower()
    if following.islower() and (cased or _ARMENIAN.match(following)):
        return False
    if match.group().startswith(("...", "…")) or mark != "." or "!" in match[0] or "?" in match[0]:
        return True
    return _dot_ends(text, match.start(), at, marks)


def _own_mark_ends(text: str, match: re.Match[str], following: str) -> bool:
    """Whether a mark of one script ends a sentence; "．" is also the point of a number."""
    near = max(0, match.start() - _LONGEST_TITLE)
    opened, closed = (text.rfind(bracket, near, match.start()) for bracket in "《》")
    if opened > closed and "》" in text[match.end() : match.end() + _LONGEST_TITLE]:
        return False  # within the title of a book
    if match["gap"]:
        return True
    if match.group().startswith("．"):
        return not (following.isdigit() or following.isascii())
    # "…" と言った goes on after the quotation.
    quoted = match["close"] and match["close"][-1] in "」』”）)"
    return not (quoted and following in "とって")


def _dot_ends(text: str, dot: int, at: int, marks: set[str]) -> bool:
    """Whether a dot with a blank and no small letter behind it ends a sentence.

    Args:
        dot: its place.
        at: where the next word is.
    """
    for first, last, own in _SCRIPTS:
        if first <= text[dot - 1] <= last and not marks.isdisjoint(own):
            return False
    word = _WORD.search(text, max(0, dot - _LONGEST_WORD), dot)
    before = "" if word is None else word.group()
    if not before:
        return True
    if before.isdigit():
        return not _is_ordinal(text, dot - len(before), before, at)
    following = _NEXT_WORD.match(text, at)
    starts = following is not None and following.group() in _STARTERS
    key = before.lower()
    number = (_NUMBER if len(before) == 1 else _NUMBER_OR_LETTER).match(text, at) is not None
    if key in _TITLES:
        return False
    if key in _BEFORE_NUMBERS and number and not starts:
        return False
    if key in _BEHIND_NUMBERS:
        return text[max(0, dot - _LONGEST_WORD) : dot - 1].rstrip()[-1:] in "0123456789IVX"
    if key in _ENDING:
        return text[at : at + 1].isupper() and text[at - 1] != "("
    if len(before) == 1 and before.islower() and _SHORT_WITH_DOT.match(text, at):
        return False  # "z. B.", "v. Chr."
    initial = len(before) == 1 and before.isalpha() and before < _CJK and not before.islower()
    if initial or key in _USUAL or _LETTERS_WITH_DOTS.fullmatch(before):
        return starts
    return True


def _is_ordinal(text: str, start: int, number: str, at: int) -> bool:
    """Whether a number with a dot counts something: "3. Mai", or an item at the line's begin."""
    earlier = text[max(0, start - _LONGEST_WORD) : start].split()
    if len(number) > 3:
        return False
    above = earlier[-1] if earlier else ":"
    if above[-1] in ".!?;:•⁃*" and above[:-1].lower() not in _BEFORE_NUMBERS:
        return True
    if not text[at : at + 1].isalpha():
        return False
    return earlier[-1].lower() in _BEFORE_ORDINALS or _AFTER_ORDINALS.match(text, at) is not None
