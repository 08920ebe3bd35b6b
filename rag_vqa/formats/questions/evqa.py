"""Encyclopedic-VQA's questions → Examples.

It knows the columns of SPLIT.csv (google-research, encyclopedic_vqa/README.md), whose cells may
have spaces around them. It knows no pages: an address is a page's id, `address#n` that of its n-th
section, as formats/evqa.py makes them.

Rows have no ids: ours is split and row from 0, `evqa-test-000123`. A row has up to five pictures;
the first is taken, and is not replaced if it is missing. In the folder of pictures (by default the
questions' own) `landmarks/train/a/b/c/abc….jpg` are Google Landmarks v2 *train*
(cvdfoundation/google-landmark), and `inaturalist/` is iNaturalist 2021 with train.json and
val.json, which say the file of an id. Both are our convention for what the data set leaves open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rag_vqa.errors import BadInput, Missing
from rag_vqa.formats import csv
from rag_vqa.formats.document import shown
from rag_vqa.formats.questions.inaturalist import file_names
from rag_vqa.formats.questions.rows import Asked, Benchmark, Row, Rows, read
from rag_vqa.types import Example, Query

_KINDS = ("templated", "automatic", "multi_answer", "2_hop")
_NEEDED = ("question", "answer", "dataset_image_ids", "dataset_name", "question_type",
           "wikipedia_url", "evidence_section_id", "encyclopedic_vqa_split")  # fmt: skip
_LISTS = ("train.json", "val.json")


def find(home: Path, split: str | None, images: Path | None, task: str | None) -> Benchmark:
    """The questions of a split ("test" by default) in a folder.

    Raises:
        Missing: no such file.
    """
    split = split or "test"
    path = home / f"{split}.csv"
    if not path.is_file():
        raise Missing(f"{path} is not there: E-VQA's questions. See docs/data.md.")
    place = images or home
    return Benchmark(
        name="evqa",
        split=split,
        scorer="evqa",
        files={"questions": path},
        home=home,
        images=place,
        rows=lambda names: _rows(path, split, _named(path, place) if names is None else names),
        names=lambda: _named(path, place),
        explain=_explain,
    )


def _rows(path: Path, split: str, names: Mapping[str, str]) -> Rows:
    return read(csv.rows(path), path, lambda row, n: _asked(row, n, split, names))


def _named(path: Path, images: Path) -> dict[str, str]:
    """Files of the iNaturalist pictures asked about."""
    wanted = {
        _image(row)
        for _, row in csv.rows(path)
        if not isinstance(row, BadInput) and _cell(row, "dataset_name") == "inaturalist"
    }
    found: dict[str, str] = {}
    for name in _LISTS if wanted else ():
        if (images / "inaturalist" / name).is_file():
            more = file_names(images / "inaturalist" / name, wanted)
            if twice := found.keys() & more:
                raise BadInput(f"iNaturalist's id {min(twice)} is in both {' and '.join(_LISTS)}.")
            found |= more
    return found


def _asked(row: Row, place: int, split: str, names: Mapping[str, str]) -> Asked:
    if lacking := [name for name in _NEEDED if name not in row]:
        raise BadInput(f"no column {lacking[0]}: this is no file of Encyclopedic-VQA.")
    kind = _cell(row, "question_type")
    if kind not in _KINDS:
        raise BadInput(f"question_type {shown(kind)} is none of {', '.join(_KINDS)}.")
    references = tuple(_cell(row, "answer").split("|"))
    parts = [part for text in references for part in (text.split("&&") if "&&" in text else [text])]
    answers = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    urls = tuple(url.strip() for url in _cell(row, "wikipedia_url").split("|") if url.strip())
    question, (sections, remark) = _cell(row, "question"), _sections(row, urls)
    for name, given in (("question", question), ("answer", answers), ("wikipedia_url", urls)):
        if not given:
            raise BadInput(f"{name} is empty.")
    example = Example(
        f"evqa-{split}-{place:06}",
        Query(question),
        answers=answers,
        relevant=tuple(dict.fromkeys(urls)),
        level="parent",
        oracle=tuple(dict.fromkeys((*sections, *urls))),
        references=references,
        kind=kind,
        split=_cell(row, "encyclopedic_vqa_split") or split,
        group=urls[0],
    )
    return Asked(example, (_picture(row, names),), remark)


def _sections(row: Row, urls: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Ids of the sections that hold the evidence, and what is odd; some rows name none.

    Where it is open which page a section is of, the row has its pages alone: it is scored as well.
    """
    given = [part.strip() for part in _cell(row, "evidence_section_id").split("|")]
    if given == [""]:
        return (), ""
    if len(given) != len(urls):
        return (), "taken without sections: evidence_section_id names not one for each page"
    if not all(number.isdecimal() for number in given if number):
        return (), "taken without sections: evidence_section_id is no number"
    return tuple(f"{url}#{n}" for url, n in zip(urls, given, strict=True) if n), ""


def _picture(row: Row, names: Mapping[str, str]) -> str:
    image, source = _image(row), _cell(row, "dataset_name")
    if not image or not image.isalnum():
        raise BadInput(f"dataset_image_ids begins with {shown(image)}, which is no id.")
    if source == "landmarks" and len(image) > 2:
        return f"landmarks/train/{'/'.join(image[:3])}/{image}.jpg"
    if source == "inaturalist":
        return f"inaturalist/{names.get(image, f'(no file known for id {image})')}"
    raise BadInput(f"dataset_name {shown(source)} is neither inaturalist nor landmarks.")


def _image(row: Row) -> str:
    return _cell(row, "dataset_image_ids").split("|")[0].strip()


def _cell(row: Row, name: str) -> str:
    return str(row.get(name, "")).strip()


def _explain(images: Path, missing: Iterable[str]) -> Iterator[str]:
    """Landmarks from the wrong set of three; iNaturalist without its lists or one of its sets."""
    lost: Counter[str] = Counter()
    elsewhere: Counter[str] = Counter()
    for name in missing:
        top, _, rest = name.partition("/")
        lost[f"{top}/{rest.partition('/')[0] if '/' in rest else ''}"] += 1
        if top == "landmarks":
            inner = rest.removeprefix("train/")
            places = (f"landmarks/{at}{inner}" for at in ("test/", "index/", ""))
            elsewhere.update(at.removesuffix(inner) for at in places if (images / at).is_file())
    for folder, count in sorted(elsewhere.items()):
        yield f"{count:,} of the missing landmarks are under {images / folder}: move them to train/"
    if lost["landmarks/train"] and not elsewhere:
        yield (
            f"landmarks come from Google Landmarks v2 train (500 tar files), not from its test or "
            f"index set: unpack them into {images / 'landmarks' / 'train'}"
        )
    if lost["inaturalist/"]:
        absent = [name for name in _LISTS if not (images / "inaturalist" / name).is_file()]
        what = f"{' and '.join(absent)} not there" if absent else "neither list knows them"
        yield f"{lost['inaturalist/']:,} ids of iNaturalist have no file name: {what}"
    for part in ("train", "val"):
        if lost[f"inaturalist/{part}"] and not (images / "inaturalist" / part).is_dir():
            mini = (images / "inaturalist" / "train_mini").is_dir()
            only = " (train_mini holds but a fifth of train)" if mini and part == "train" else ""
            yield f"{images / 'inaturalist' / part} is not there: unpack {part}.tar.gz{only}"
