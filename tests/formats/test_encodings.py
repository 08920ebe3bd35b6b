"""Encodings: what is found out from bytes, what is only declared, and what is no text."""

import pytest

from rag_vqa.errors import BadInput
from rag_vqa.formats.encodings import decode_text, find_declared, find_encoding, find_likelier

TEXT = "Café – 12 € à la carte: déjà vu"


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("utf-8", "UTF-8"),
        ("utf-8-sig", "UTF-8"),
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-16-be", "UTF-16"),
        ("utf-32", "UTF-32"),
        ("cp1252", "Windows-1252"),
    ],
)
def test_what_is_found_out(codec: str, name: str) -> None:
    assert decode_text(TEXT.encode(codec)) == (TEXT, name)


def test_other_scripts_are_utf_8_or_utf_16() -> None:
    for text in ("青花の花瓶。" * 9, "Κεραμικό αγγείο", "مزهرية زرقاء"):
        assert decode_text(text.encode()) == (text, "UTF-8")
        assert decode_text(text.encode("utf-16")) == (text, "UTF-16")


def test_a_sample_may_end_within_a_character() -> None:
    sample = TEXT.encode()[:4]  # between the two bytes of é
    assert find_encoding(sample, is_whole=False) == "utf-8"
    assert find_encoding(sample) == "cp1252"


def test_latin_1_is_what_windows_1252_does_not_have() -> None:
    assert decode_text(b"\x8d caf\xe9") == ("\x8d café", "Latin-1")
    assert decode_text(b"") == ("", "UTF-8")


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        ("ISO-8859-1", "cp1252"),
        ("us-ascii", "cp1252"),
        ("GB2312", "gb18030"),
        (" Shift_JIS ", "cp932"),
        ("x-sjis", "cp932"),
        ("windows-1251", "cp1251"),
        ("UTF8", "utf-8"),
        ("hex", None),
        ("base64", None),
        ("a\0b", None),
        ("", None),
        ("klingon", None),
    ],
)
def test_declared_names(label: str, codec: str | None) -> None:
    assert find_declared(label) == codec


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"a\0b", "NUL"),
        (bytes(range(256)) * 9, "NUL"),
        (bytes(range(1, 256)) * 9, "binary data"),
        (b"\xff\xfea", "no UTF-16"),
        ("lone \ud800 surrogate".encode("utf-16", "surrogatepass"), "no UTF-16"),
    ],
)
def test_what_is_no_text(data: bytes, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        decode_text(data)


SAMPLES = {  # texts of a museum, in the encodings of old programs of their countries
    "German": ("cp1252", "Gießkanne aus Zinkblech – fünf Liter; größer als früher"),
    "French": ("cp1252", "Vase bleu à décor d’oiseaux, émail; légèrement ébréchée"),
    "Spanish": ("cp1252", "Jarrón de porcelana; niño con sombrero, óleo sobre lienzo"),
    "Portuguese": ("cp1252", "Açucareiro de prata; tigela com decoração de flores"),
    "Swedish": ("cp1252", "Skål av trä från Dalarna; kista målad med blå blommor"),
    "Danish": ("cp1252", "Blå vase fra Ærø, smørrebrød på Øen"),
    "Italian": ("cp1252", "Città di Perù – vaso d’oro, così è"),
    "Icelandic": ("cp1252", "Þjóðminjasafn Íslands, skál úr tré með loki, útskorið"),
    "Finnish": ("cp1252", "Sininen maljakko, käsin maalattu, Jyväskylä; Šakki"),
    "sizes": ("cp1252", "10 × 5 cm; £5; ½ m²; 10 €; Höhe 3½ ±1°; ¥20; „Kuß“; Nr. 5•"),
    "capitals": ("cp1252", "GIESSKANNE MÜLLER; ÄÖÜ CAFÉ"),
    "one letter": ("cp1252", "Café table"),
    "Czech": ("cp1250", "Váza modrá s ptáky, příliš žluťoučký kůň; talíř malovaný"),
    "Polish": ("cp1250", "Wazon niebieski z ptakami, zażółć gęślą jaźń; talerz ręcznie"),
    "Turkish": ("cp1254", "Mavi vazo, kuş desenli, şehir müzesi; hafif kırık, ağaç"),
    "Russian": ("cp1251", "Ваза синяя с птицами; тарелка расписная, слегка повреждена"),
    "Russian on Unix": ("koi8-r", "Ваза синяя с птицами; тарелка расписная"),
    "Greek": ("cp1253", "Μπλε βάζο με πουλιά; πιάτο ζωγραφισμένο στο χέρι"),
    "Hebrew": ("cp1255", "אגרטל כחול עם ציפורים"),
    "Arabic": ("cp1256", "مزهرية زرقاء عليها طيور"),
    "Japanese": ("cp932", "鳥の描かれた青い花瓶; 手描きの皿、少し欠けている"),
    "Chinese": ("gb18030", "绘有鸟类的蓝色花瓶; 手绘的盘子,有一些破损,这是中国的"),
    "Chinese of Taiwan": ("big5hkscs", "繪有鳥類的藍色花瓶; 手繪盤子,略有破損"),
    "Korean": ("cp949", "새가 그려진 파란 꽃병; 손으로 그린 접시"),
    "an old Mac": ("mac_roman", "Gießkanne, fünf Liter; größer als für Gärtner"),
    "DOS": ("cp850", "Gießkanne, fünf Liter; größer als für Gärtner"),
}


@pytest.mark.parametrize(("codec", "text"), SAMPLES.values(), ids=SAMPLES)
def test_another_encoding_than_windows_1252_is_proposed(codec: str, text: str) -> None:
    assert find_likelier(text.encode(codec)) == (None if codec == "cp1252" else codec)
