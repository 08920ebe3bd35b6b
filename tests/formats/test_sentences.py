"""Ends of sentences. Expected: the sentences as a reader of the language sees them."""

import pytest

from rag_vqa.formats.sentences import split_sentences


def sentences(text: str) -> list[str]:
    return [sentence for _, sentence in split_sentences(text)]


@pytest.mark.parametrize(
    "expected",
    [
        ["Dr. A. B. Smith bought No. 12, e.g. for St. Paul's.", "It cost $3.5 in c. 1650."],
        ["Bow & Co. sold it at 5 p.m. to J. R. R. Tolkien.", "See Fig. 3 on p. 12."],
        ["“Who made it?” he asked.", "“I did.”", "They left (by boat).", "Well… maybe."],
        ["It was a gem.", "Visitors had it in mind.", "Turn it on.", "Look at the arch."],
        ["This was in the U.S. Army.", "I live in the E.U.", "It is big."],
        ["Die Vase ist, z. B. um 1750, u. a. von Prof. Dr. H. Meier.", "Am 3. Mai kam er."],
        ["Im 19. Jahrhundert (vgl. Abb. 3).", "„Wo ist sie?“, fragte er.", "Ca. 30 cm."],
        ["« Où est-il ? » dit M. Dupont.", "Au n° 12 !", "Env. 30 cm."],
        ["¿Quién lo hizo?", "¡El Sr. García, en el núm. 12!", "Sí."],
        ["А. С. Пушкин жил в г. Москве в 1820 г. и потом.", "Кто это?", "В XIX в.", "Он умер."],
        ["من صنع هذا؟", "صنعه د. أحمد؛", "ثمنه 3.5 مليون."],
        ["یہ گلدان کس نے بنایا؟", "قیمت 3.5 لاکھ ہے۔", "خوب ہے۔"],
        ["इसे डॉ. ए. शर्मा ने बनाया।", "कीमत 3.5 लाख रु. है॥", "सुंदर!"],
        ["ዶ.ር አበበ በ1750 ዓ.ም. ሠራው።", "ማን ሠራው፧", "ዋጋው 3.5 ነው።"],
        ["Պատրաստել է Ա. Հակոբյանը։", "Արժե 3.5 միլիոն։", "Լավ է։"],
        ["Ποιος το έφτιαξε;", "Ο κ. Παπαδόπουλος, π.χ. το 1750."],
        ["이것은 무엇입니까?", "3.5만 원이다."],
    ],
)
def test_sentences_between_blanks(expected: list[str]) -> None:
    assert sentences(" ".join(expected)) == expected


@pytest.mark.parametrize(
    "expected",
    [
        ["这是J. Smith先生做的。", "价值3.5万元！", "他说：“很美。”", "在《人民！日报》里。"],
        ["誰が作った？", "「美しい。」と彼は言った。", "高さは３．５ｃｍです｡", "本当?", "はい。"],
        ["ဘယ်သူလုပ်ခဲ့သလဲ။", "ရန်ကုန်တွင် ရှိသည်။"],
        ["តើអ្នកណា?", "លោកសុខ១៧៥០។", "ឥឡូវ។"],
        ["یہ اچھا ہے۔", "وہ کہاں ہے؟", "یہاں۔"],
        ["यह है।", "वह है।"],
    ],
)
def test_sentences_without_blanks(expected: list[str]) -> None:
    assert sentences("".join(expected)) == expected


def test_small_letters_begin_sentences_only_where_there_are_no_others() -> None:
    assert sentences("a man rides. a dog sits. the sky is blue") == [
        "a man rides.",
        "a dog sits.",
        "the sky is blue",
    ]
    assert sentences("She works at Yahoo! in Rome.") == ["She works at Yahoo! in Rome."]


def test_references_stay_with_their_sentence() -> None:
    text = "He left in 1805.[12] Then he came.[3][4] He stayed. [5] He died."
    assert sentences(text) == [
        "He left in 1805.[12]",
        "Then he came.[3][4]",
        "He stayed. [5]",
        "He died.",
    ]


@pytest.mark.parametrize("text", ["", ".", "...", "a", "。", " . ", "?!", "e.g.", "(.)"])
def test_what_is_no_sentence_is_not_lost(text: str) -> None:
    assert "".join(gap + sentence for gap, sentence in split_sentences(text)) == text
