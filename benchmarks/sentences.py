"""Measures how well the ends of sentences are found, in 24 languages, and compares four ways.

- `rules`: rag_vqa.formats.sentences, which knowledge bases are cut with.
- `window-1`: the expression that knowledge bases of earlier versions were cut with.
- `uax29`: the sentence breaks of Unicode's UAX #29, without a language's own exceptions.
- `pysbd`: the library pysbd, which must be told the language; English if it does not know it.
  `pip install pysbd`.

sentences.jsonl holds the sentences, written for this script: a text of each language, with the
abbreviations, quotes and numbers that its writers use. With --conllu, files of Universal
Dependencies are read instead, six sentences to a text. A text's sentences are joined by a blank, or
by nothing in Chinese, Japanese, Burmese and Khmer. Prints precision, recall and F1 of the ends
within a text.

    python benchmarks/sentences.py --json benchmarks/results/sentences.json
    python benchmarks/sentences.py --conllu ud/*-ud-test.conllu
"""

import argparse
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag_vqa.formats.sentences import split_sentences
from rag_vqa.retriever.window_1 import SENTENCE_END

OWN_TEXTS = Path(__file__).with_suffix(".jsonl")
WITHOUT_BLANKS = {"zh", "ja", "my", "km"}
SENTENCES_OF_TEXT = 6

Way = Callable[[str, str], Sequence[str]]


@dataclass
class Text:
    language: str
    sentences: list[str]

    def joined(self) -> str:
        return ("" if self.language in WITHOUT_BLANKS else " ").join(self.sentences)


def own_texts() -> Iterator[Text]:
    for line in OWN_TEXTS.read_text("utf-8").splitlines():
        yield Text(**json.loads(line))


def conllu_texts(path: Path) -> Iterator[Text]:
    """Of a file as xx_name-ud-test.conllu; xx is the language."""
    (language,) = re.findall(r"([a-z]{2,3})_\w+-ud", path.name)
    lines = path.read_text("utf-8").splitlines()
    found = [
        line.removeprefix("# text = ").strip() for line in lines if line.startswith("# text =")
    ]
    for start in range(0, len(found), SENTENCES_OF_TEXT):
        yield Text(language, found[start : start + SENTENCES_OF_TEXT])


def split_by_rules(text: str, language: str) -> list[str]:
    return [sentence for _, sentence in split_sentences(text)]


def split_as_window_1(text: str, language: str) -> list[str]:
    return SENTENCE_END.split(text)


def split_by_pysbd(text: str, language: str) -> list[str]:
    import pysbd

    known = language if language in pysbd.languages.LANGUAGE_CODES else "en"
    return list(pysbd.Segmenter(language=known, clean=False).segment(text))


def split_by_uax29(text: str, language: str) -> list[str]:
    """Rules SB6 to SB11."""
    import regex

    skip = r"[\p{SB=EX}\p{SB=FO}]*"
    end = regex.compile(
        rf"([\p{{SB=ST}}\p{{SB=AT}}]){skip}(?:\p{{SB=CL}}{skip})*((?:\p{{SB=SP}}{skip})*)"
    )
    found, start = [], 0
    for match in end.finditer(text):
        rest, dot = text[match.end() :], regex.fullmatch(r"\p{SB=AT}", match[1])
        bare = match.group() == match[1]
        within_word = (
            bare
            and regex.match(r"[\p{SB=UP}\p{SB=LO}]", text[match.start() - 1])
            and regex.match(r"\p{SB=UP}", rest)
        )
        number = bare and regex.match(r"\p{SB=NU}", rest)
        no_letter = r"[^\p{SB=LE}\p{SB=UP}\p{SB=LO}\p{SB=SE}\p{SB=ST}\p{SB=AT}]*"
        if dot and (within_word or number or regex.match(rf"{no_letter}\p{{SB=LO}}", rest)):
            continue
        if rest and not regex.match(r"[\p{SB=SC}\p{SB=ST}\p{SB=AT}]", rest):
            found.append(text[start : match.end()])
            start = match.end()
    return [*found, text[start:]]


WAYS: dict[str, Way] = {
    "rules": split_by_rules,
    "window-1": split_as_window_1,
    "uax29": split_by_uax29,
    "pysbd": split_by_pysbd,
}


def ends_within(parts: Sequence[str]) -> set[int]:
    """Ends of all but the last, counted in characters that are no blanks."""
    found, size = [], 0
    for part in parts:
        size += len("".join(part.split()))
        found.append(size)
    return {end for end in found if 0 < end < size}


def measure(way: Way, texts: Sequence[Text]) -> dict[str, float]:
    right = wrong = lost = 0
    start = time.perf_counter()
    for text in texts:
        gold, found = ends_within(text.sentences), ends_within(way(text.joined(), text.language))
        right += len(gold & found)
        wrong += len(found - gold)
        lost += len(gold - found)
    seconds = time.perf_counter() - start
    return {
        "precision": right / max(1, right + wrong),
        "recall": right / max(1, right + lost),
        "f1": 2 * right / max(1, 2 * right + wrong + lost),
        "kB_per_second": sum(len(text.joined().encode()) for text in texts) / seconds / 1000,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conllu", nargs="+", type=Path, default=[])
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    texts = [text for path in options.conllu for text in conllu_texts(path)] or [*own_texts()]
    names = options.ways.split(",")
    results: dict[str, dict[str, dict[str, float]]] = {}
    for language in [*dict.fromkeys(text.language for text in texts), "all"]:
        some = [text for text in texts if language in (text.language, "all")]
        results[language] = {name: measure(WAYS[name], some) for name in names}
        cells = [
            f"{name} P {row['precision']:.3f} R {row['recall']:.3f} F1 {row['f1']:.3f}"
            for name, row in results[language].items()
        ]
        print(f"{language:4}", "   ".join(cells), flush=True)
    for name in names:
        print(f"{name}: {results['all'][name]['kB_per_second']:,.0f} kB a second")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
