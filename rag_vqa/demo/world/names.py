"""Names that do not exist but can be pronounced: countries, cities, mountains, languages, coins.

Knows syllables in the manner of many language families and the shapes that real names take
("Port-au-X", "Saint X and the Ys", "X'a"). Does not know facts; of real names it knows only the
set that it must refuse.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from rag_vqa.demo.world.facts import normalize_name, split_terms, strip_accents

# Of each manner: how a syllable starts, its vowels, how it ends ("-" is nothing).
_MANNERS = {
    "slavic": (
        "b br ch d dr g gr k kr l m n p pr r s sk sl st t tr v vl z zl zh h j",
        "a a e i o u y ie",
        "- - - k l n r s v sk st n sz cz ń ł",
    ),
    "germanic": (
        "b br d f fr g gl h k kl l m n p r s sch st str t w z",
        "a e i o u au ei ie ü ö ä",
        "- n nd r rg l ld t ch ck st ss rt lm nk",
    ),
    "nordic": (
        "b br d f fj g gr h hv j k kn l m n r s sk st sv t th v",
        "a e i o u y ø å æ ö á í ey",
        "- n r l rd rk k ns ss lm nd gg t vík",
    ),
    "romance": (
        "b c ch d f fl g gu l m n p pr qu r s t tr v br c",
        "a e i o u ai ou é è eu oi",
        "- - n r l s nt x r",
    ),
    "iberian": (
        "b c ch d g gu h j l ll m n ñ p qu r s t v z br tr",
        "a a e i o u o á é í ó ã ia",
        "- - - n r s l",
    ),
    "arabic": (
        "b d dh f gh h j k kh l m n q r s sh t w y z",
        "a a i u aa ei ou ai",
        "- b d f l m n r s t h bb rr ss q",
    ),
    "bantu": (
        "b bw d dj g h k kw l lw m mb mp mw n nd ng ny nj r s sh t ts z zw",
        "a a e i o u",
        "- - - - - n",
    ),
    "sahel": (
        "b d dj f g gb k kp l m n nd ng ou s t w y",
        "a a é i o ou oua ao aou e u",
        "- - - n k r m ng",
    ),
    "polynesian": ("f h k l m n ng p r s t v w", "a a e i o u au ai ā ō", "- - - - - ' ʻ"),
    "sinitic": (
        "b ch d f g h j k l m n p q s sh t w x y z zh ng ph th",
        "a ai ao e ei i ia iang o ou u ui uo ee",
        "- n ng - n",
    ),
    "turkic": (
        "b ch d g h k kh kyr l m n q r s sh t tash v y z",
        "a e i o u y ü ö ı",
        "- k l n r s t sh m z bek gh ş",
    ),
    "indic": (
        "b bh ch d dh g gh h j k kh l m n p ph r s sh t th v y sr",
        "a a aa e i ee o u au",
        "- - n m r l nd sh d t",
    ),
    "american": (
        "c ch h hu k l m n p qu s t tl tz x y z g",
        "a a e i o u ua ay",
        "- - n c l tl r s h",
    ),
    "baltic": (
        "b d g j k l m n p r s š t v z ž kr gr",
        "a a e i ie o u ā ē ū õ ää uu ai",
        "- s n l r ks st ns nn lv t",
    ),
    "danubian": (
        "b c cs d f g gy h k l m n p r s sz t v z ș ț đ č",
        "a e i o u ă â á é ő î ö",
        "- n r l s t k d j ld rt č",
    ),
    "marked": (
        "b ć č d đ f g h k l m n ņ p r ř s ś š t ť ț v z ź ż ğ x",
        "a ă ą ạ ė e ę ě ệ ə i ı í o ồ ơ ő u ú ū ų ư ý y",
        "- - n ng l ľ r ř s ć č t k ņ ň",
    ),
    "wild": (
        "b c d f g h j k l m n p q r s t v w x z bl cl dr fr gl gw kl pr shr spl str thr vr zh",
        "a e i o u y aa ea io oo ue ê ï ô û ç",
        "- b c d f g k l m n p r s t x z ck ft mp nk rm rth sh th tch",
    ),
}
_BARE = str.maketrans("øłđıʻß", "oldi's")


def _table(text: str, bare: bool) -> tuple[str, ...]:
    pieces = tuple("" if piece == "-" else piece for piece in text.split())
    return tuple(strip_accents(piece.translate(_BARE)) for piece in pieces) if bare else pieces


# By manner and whether accents are left out: starts, vowels, ends.
_SYLLABLES = {
    (name, bare): tuple(_table(part, bare) for part in parts)
    for name, parts in _MANNERS.items()
    for bare in (False, True)
}
MANNERS = tuple(_MANNERS)
_ENDINGS = split_terms(
    "ia|ia|a|a|o|land|stan|i|e|u|ija|ina|ania|ovia|ary|ium|aine|any|us|os|oros|way|mark|"
    "en|es|ei|eria|uay|istan|esia|alia|ea"
)
_DEMONYMS = split_terms("an|an|ian|ian|ese|i|ish|ic|er|ean|ois|ino|ene|ite|nian")
# The frames that real names come in; X and Y are invented words.
_COUNTRY_FRAMES = split_terms(
    "New X|North X|South X|East X|West X|X Islands|Republic of the X|Saint X|X and Y|X-Y|"
    "X Republic|United X|Central X Republic|X Coast|Cape X|Sierra X|El X|Costa X|X Y|X Y|"
    "DR X|Saint X and the Y|Saint X and Y|X New Y|Equatorial X|United X Y|Y'X|X Faso|Sri X|"
    "Upper X|X Kingdom|X Leste"
)
_CITY_FRAMES = split_terms(
    "Port X|New X|San X|Santa X|Santo X|X City|Port-X|X-Y|X Y|X Y|Port-au-X|X-Novo|Y'X|St. X's|"
    "X, D.C.|Fort X|Puerto X|Abu X|La X|Bandar X Y|Al X|X la Y|City of X|X (Y)|Kuala X|X Town|"
    "Ciudad X|Saint X's|Port of X|X de la Y|Sri X Y|X do Y|X's Town|Addis X|East X|South X"
)
_PEAK_FRAMES = split_terms(
    "Mount X|Mount X|Mount X|Mont X|Monte X|Pico X|Cerro X|Jebel X|X Peak|Peak X|X Hill|Pico de X|"
    "Nevado X|Grande X|X Dag|Tour X|Mount Y X|X Y|X Y|Hkakabo X|Ras X|X-Y|Kilima X|Gora X|"
    "Morne X|Volcán X|Piton X|X Mountain|Khan X Y|La X|Pic X|X Point|Emi X|Blue X Peak|"
    "Doyle's X|Monte X Y|Pico da X|Kékes X|X Suurmägi|Mount Saint X|Cerro de X|Mont de X|Puncak X"
)
_TONGUE_FRAMES = ("X Creole", "X Patois", "Modern X", "New X Sign Language", "Tok X", "X Malay")
COIN_NOUNS = split_terms(
    "dollar|franc|peso|pound|krone|dinar|rupee|shilling|rial|real|crown|lira|mark|manat|leu|"
    "won|escudo|riyal|ruble|dirham"
)


def _frame_words(frames: tuple[str, ...]) -> set[str]:
    words = {word for frame in frames for word in frame.replace("-", " ").split()}
    return {word for word in words if not set(word) & set("XY,'().")}


def frame_words() -> set[str]:
    """Words that invented names share with real ones: "Mount", "Saint", "Islands", "dollar"."""
    frames = (*_COUNTRY_FRAMES, *_CITY_FRAMES, *_PEAK_FRAMES, *_TONGUE_FRAMES)
    return _frame_words(frames) | set(COIN_NOUNS)


@dataclass(slots=True)
class Namer:
    """Names in one manner of speaking; `refused` holds the plain forms that must not come out.

    Two in three write without accents, as most real names in English do.
    """

    rng: Random
    refused: frozenset[str]
    manner: str = field(init=False)
    bare: bool = field(init=False)

    def __post_init__(self) -> None:
        self.manner = self.rng.choice(MANNERS)
        self.bare = self.rng.random() < 0.67

    def word(self, syllables: int = 0) -> str:
        """A capitalised word of this number of syllables; 0: mostly two or three."""
        rng = self.rng
        manner = rng.choice(MANNERS) if rng.random() < 0.2 else self.manner
        onsets, vowels, codas = _SYLLABLES[manner, self.bare]
        count = syllables or rng.choice((1, 2, 2, 2, 3, 3, 3, 4))
        text = ""
        for _ in range(count):
            first = "" if not text and rng.random() < 0.18 else rng.choice(onsets)
            text += first + rng.choice(vowels) + rng.choice(codas)
        if len(text) < 3:
            text += rng.choice(onsets) + rng.choice(vowels)
        return text[0].upper() + text[1:]

    def fill_frame(self, frames: tuple[str, ...], share: float) -> str:
        """A word, or with probability `share` one of the frames filled; never a refused name."""
        while True:
            text = self.word()
            if self.rng.random() < share:
                frame = self.rng.choice(frames)
                text = "".join(self._fill(piece, text) for piece in _pieces(frame))
            if normalize_name(text) not in self.refused:
                return text

    def _fill(self, piece: str, word: str) -> str:
        if piece == "X":
            return word
        return self.word(1 if self.rng.random() < 0.3 else 2) if piece == "Y" else piece

    def country(self) -> str:
        """A country's name."""
        rng = self.rng
        if rng.random() < 0.35:
            return self.fill_frame(_COUNTRY_FRAMES, 1.0)
        while True:
            stem = self.word(rng.choice((1, 2, 2, 3)))
            name = stem if rng.random() < 0.35 else stem.rstrip("aeiouyé'ʻ") + rng.choice(_ENDINGS)
            if len(name) > 3 and name[0].isupper() and normalize_name(name) not in self.refused:
                return name

    def city(self) -> str:
        """A city's name."""
        return self.fill_frame(_CITY_FRAMES, 0.25)

    def peak(self) -> str:
        """A mountain's name."""
        return self.fill_frame(_PEAK_FRAMES, 0.7)

    def tongue(self) -> str:
        """A language's name."""
        if self.rng.random() < 0.1:
            return self.fill_frame(_TONGUE_FRAMES, 1.0)
        return self.demonym(self.word())

    def demonym(self, name: str) -> str:
        """What a person of that country, or its tongue, is called."""
        stem = name.rstrip("aeiouyéāō'ʻ") or name
        while True:
            word = stem + self.rng.choice(_DEMONYMS) if self.rng.random() < 0.85 else name
            if normalize_name(word) not in self.refused:
                return word
            stem = self.word()

    def coin(self) -> str:
        """A coin's or banknote's name, in small letters."""
        return self.fill_frame((), 0.0).lower()


def _pieces(frame: str) -> list[str]:
    """ "Port-au-X" → ["Port-au-", "X"]: X and Y stand alone as slots, however they are joined."""
    return frame.replace("X", "\0X\0").replace("Y", "\0Y\0").split("\0")
