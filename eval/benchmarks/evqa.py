"""Encyclopedic-VQA: its Wikipedia pages and its questions.

Knows the fields of encyclopedic_kb_wiki.json and the columns of SPLIT.csv (google-research,
encyclopedic_vqa/README.md), whose cells may have spaces around them. Does not know how an answer is
scored (rag_vqa.eval.evqa).

Documents: one a page, or one a section. The id of a page is its address; the id of a section is
`address#index`, with the index of evidence_section_id. A section without text and picture is
skipped; the others keep their index. The data set names pictures by address only and contains none:
in a folder that the user gives, a picture is looked up under the last part of its address (percent
signs decoded), which is our convention. Descriptions of pictures are left out.

Questions: rows have no ids; ours is split and row from 0, `evqa-test-000123`. A row has up to five
pictures; the first is taken, and not replaced if it is missing. In the folder of pictures (by
default the questions' own) `landmarks/train/a/b/c/abc….jpg` are Google Landmarks v2 *train*
(cvdfoundation/google-landmark), and `inaturalist/` is iNaturalist 2021 with train.json and val.json
(visipedia/inat_comp), which map ids to files. Both are our convention for what the data set leaves
open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from rag_vqa.errors import BadInput, Missing
from rag_vqa.eval.scorers import as_percent
from rag_vqa.formats import csv
from rag_vqa.formats.benchmark import (
    BENCHMARKS,
    Benchmark,
    OfficialFigure,
    PredictionFiles,
    QuestionFiles,
    QuestionRow,
    QuestionRows,
    Scorer,
    ScorerOptions,
    published_accuracies,
)
from rag_vqa.formats.document import Contents, Item
from rag_vqa.formats.document_format import DocumentFormat
from rag_vqa.formats.json_stream import read_array, read_members
from rag_vqa.formats.question_rows import Row, read_question_rows
from rag_vqa.formatting import quote_value
from rag_vqa.types import Example, Query

_UNITS = ("page", "section")
_PAGE_COLUMNS = (
    "title",
    "section_titles",
    "section_texts",
    "image_urls",
    "image_reference_descriptions",
    "image_section_indices",
    "url",
)
_KINDS = ("templated", "automatic", "multi_answer", "2_hop")
_QUESTION_COLUMNS = ("question", "answer", "dataset_image_ids", "dataset_name", "question_type",
           "wikipedia_url", "evidence_section_id", "encyclopedic_vqa_split")  # fmt: skip
_INATURALIST_LISTS = ("train.json", "val.json")


def page_contents(path: Path, unit: str, pictures: bool) -> Contents:
    """Open the knowledge base and read its first page.

    Args:
        unit: "page" or "section": what becomes a document.
        pictures: whether there is a folder of pictures.
    """
    _, page = next(read_members(path), ("", {}))
    columns = tuple(page) if isinstance(page, dict) else _PAGE_COLUMNS
    unknown = tuple(name for name in columns if name not in _PAGE_COLUMNS)
    return Contents(columns, (), unknown, lambda: _page_items(path, unit, pictures))


def is_page(record: object) -> bool:
    """Whether a member of an object is a page."""
    return isinstance(record, dict) and {"section_titles", "section_texts"} <= record.keys()


def _page_items(path: Path, unit: str, pictures: bool) -> Iterator[Item]:
    for number, (url, page) in enumerate(read_members(path), 1):
        place = quote_value(url)
        try:
            documents = list(_page_documents(url, page, unit, pictures))
        except BadInput as error:
            yield Item(number, error, place, "page")
            continue
        for fields in documents:
            yield Item(number, fields, place, "page")


def _page_documents(
    url: str, page: Any | BadInput, unit: str, pictures: bool
) -> Iterator[dict[str, Any]]:
    if isinstance(page, BadInput):
        raise page
    if not isinstance(page, dict):
        raise BadInput(f"{quote_value(page)} is not a page.")
    titles, texts = _text_list(page, "section_titles"), _text_list(page, "section_texts")
    if len(titles) != len(texts):
        raise BadInput(f"{len(titles)} section_titles for {len(texts)} section_texts.")
    images = _section_images(page, len(texts)) if pictures else {}
    base = {"title": page.get("title"), "url": url, "parent": url}
    if unit == "page":
        # The title of the first section is that of the page.
        parts = [
            f"{title}\n{text}" if number else text
            for number, (title, text) in enumerate(zip(titles, texts, strict=True))
            if text.strip()
        ]
        names = [name for section in sorted(images) for name in images[section]]
        text = "\n\n".join(parts)
        yield {**base, "id": url, "text": text, "images": list(dict.fromkeys(names))}
        return
    for number, (title, text) in enumerate(zip(titles, texts, strict=True)):
        names = images.get(number, [])
        if text.strip() or names:
            section = title if number else ""
            yield {
                **base,
                "id": f"{url}#{number}",
                "section": section,
                "text": text,
                "images": names,
            }


def _text_list(page: Mapping[str, Any], name: str) -> list[str]:
    texts = page.get(name)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadInput(f"{name} is {quote_value(texts)}, not a list of texts.")
    return texts


def _section_images(page: Mapping[str, Any], sections: int) -> dict[int, list[str]]:
    """Names of the pictures of each section."""
    urls, places = _text_list(page, "image_urls"), page.get("image_section_indices")
    if not isinstance(places, list) or len(places) != len(urls):
        raise BadInput(
            f"image_section_indices is {quote_value(places)}, not one for each image_urls."
        )
    found: dict[int, list[str]] = {}
    for url, place in zip(urls, places, strict=True):
        if not isinstance(place, int) or not 0 <= place < sections:
            raise BadInput(
                f"image_section_indices holds {quote_value(place)}, which is not a section."
            )
        try:
            name = unquote(urlsplit(url).path.rpartition("/")[2])
        except ValueError as error:
            raise BadInput(f"{quote_value(url)} is not the address of a picture.") from error
        if name:
            found.setdefault(place, []).append(name)
    return found


def find_questions(
    path: Path, split: str | None, images: Path | None, task: str | None
) -> QuestionFiles:
    """The questions of a split ("test" by default) in a folder.

    Raises:
        Missing: the file does not exist.
    """
    split = split or "test"
    file = path / f"{split}.csv"
    if not file.is_file():
        raise Missing(f"{file} is not there: E-VQA's questions. See docs/data.md.")
    place = images or path
    return QuestionFiles(
        name="evqa",
        split=split,
        files={"questions": file},
        home=path,
        images=place,
        rows=lambda names: _question_rows(
            file, split, _picture_names(file, place) if names is None else names
        ),
        names=lambda: _picture_names(file, place),
        explain=_explain_missing,
    )


def _question_rows(path: Path, split: str, names: Mapping[str, str]) -> QuestionRows:
    return read_question_rows(
        csv.read_rows(path), path, lambda row, n: _question_row(row, n, split, names)
    )


def _picture_names(path: Path, images: Path) -> dict[str, str]:
    """File names of the iNaturalist pictures in the questions, by id."""
    wanted = {
        _first_image_id(row)
        for _, row in csv.read_rows(path)
        if not isinstance(row, BadInput) and _cell(row, "dataset_name") == "inaturalist"
    }
    found: dict[str, str] = {}
    for name in _INATURALIST_LISTS if wanted else ():
        if (images / "inaturalist" / name).is_file():
            more = inaturalist_file_names(images / "inaturalist" / name, wanted)
            if duplicates := found.keys() & more:
                raise BadInput(
                    f"iNaturalist's id {min(duplicates)} is in both "
                    f"{' and '.join(_INATURALIST_LISTS)}."
                )
            found |= more
    return found


def inaturalist_file_names(path: Path, ids: set[str]) -> dict[str, str]:
    """Names such as "val/00000_…/….jpg" of the wanted ids, out of iNaturalist's train or val.json.

    Raises:
        BadInput: the file is damaged, or not one of iNaturalist 2021.
    """
    found: dict[str, str] = {}
    for image in read_array(path, "images"):
        try:
            identity, name = str(image["id"]), image["file_name"]
        except (KeyError, TypeError) as error:
            raise BadInput(f"{path}: an image lacks its id or its file_name.") from error
        if identity in ids:
            found[identity] = str(name)
    return found


def _question_row(row: Row, place: int, split: str, names: Mapping[str, str]) -> QuestionRow:
    if missing_columns := [name for name in _QUESTION_COLUMNS if name not in row]:
        raise BadInput(f"no column {missing_columns[0]}: this is not a file of Encyclopedic-VQA.")
    kind = _cell(row, "question_type")
    if kind not in _KINDS:
        raise BadInput(f"question_type {quote_value(kind)} is none of {', '.join(_KINDS)}.")
    references = tuple(_cell(row, "answer").split("|"))
    parts = [part for text in references for part in (text.split("&&") if "&&" in text else [text])]
    answers = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    urls = tuple(url.strip() for url in _cell(row, "wikipedia_url").split("|") if url.strip())
    question, (sections, remark) = _cell(row, "question"), _evidence_sections(row, urls)
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
    return QuestionRow(example, (_picture_name(row, names),), remark)


def _evidence_sections(row: Row, urls: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Ids of the sections with the evidence, and what is odd about them; some rows name none.

    If it is unclear which page a section belongs to, the question keeps its pages only. It can
    still be scored.
    """
    given = [part.strip() for part in _cell(row, "evidence_section_id").split("|")]
    if given == [""]:
        return (), ""
    if len(given) != len(urls):
        return (), "taken without sections: evidence_section_id does not name one for each page"
    if not all(number.isdecimal() for number in given if number):
        return (), "taken without sections: evidence_section_id is not a number"
    return tuple(f"{url}#{n}" for url, n in zip(urls, given, strict=True) if n), ""


def _picture_name(row: Row, names: Mapping[str, str]) -> str:
    image, source = _first_image_id(row), _cell(row, "dataset_name")
    if not image or not image.isalnum():
        raise BadInput(f"dataset_image_ids begins with {quote_value(image)}, which is not an id.")
    if source == "landmarks" and len(image) > 2:
        return f"landmarks/train/{'/'.join(image[:3])}/{image}.jpg"
    if source == "inaturalist":
        return f"inaturalist/{names.get(image, f'(no file known for id {image})')}"
    raise BadInput(f"dataset_name {quote_value(source)} is neither inaturalist nor landmarks.")


def _first_image_id(row: Row) -> str:
    return _cell(row, "dataset_image_ids").split("|")[0].strip()


def _cell(row: Row, name: str) -> str:
    return str(row.get(name, "")).strip()


def _explain_missing(images: Path, missing: Iterable[str]) -> Iterator[str]:
    """Two likely causes: landmarks of another set than train; iNaturalist without its lists, or
    without one of its sets."""
    missing_counts: Counter[str] = Counter()
    misplaced: Counter[str] = Counter()
    for name in missing:
        top, _, rest = name.partition("/")
        missing_counts[f"{top}/{rest.partition('/')[0] if '/' in rest else ''}"] += 1
        if top == "landmarks":
            inner = rest.removeprefix("train/")
            places = (f"landmarks/{at}{inner}" for at in ("test/", "index/", ""))
            misplaced.update(at.removesuffix(inner) for at in places if (images / at).is_file())
    for folder, count in sorted(misplaced.items()):
        yield f"{count:,} of the missing landmarks are under {images / folder}: move them to train/"
    if missing_counts["landmarks/train"] and not misplaced:
        yield (
            f"landmarks come from Google Landmarks v2 train (500 tar files), not from its test or "
            f"index set: unpack them into {images / 'landmarks' / 'train'}"
        )
    if missing_counts["inaturalist/"]:
        absent = [
            name for name in _INATURALIST_LISTS if not (images / "inaturalist" / name).is_file()
        ]
        what = f"{' and '.join(absent)} not there" if absent else "neither list knows them"
        yield f"{missing_counts['inaturalist/']:,} ids of iNaturalist have no file name: {what}"
    for part in ("train", "val"):
        if missing_counts[f"inaturalist/{part}"] and not (images / "inaturalist" / part).is_dir():
            mini = (images / "inaturalist" / "train_mini").is_dir()
            only = " (train_mini has only a fifth of train)" if mini and part == "train" else ""
            yield f"{images / 'inaturalist' / part} is not there: unpack {part}.tar.gz{only}"


def _make_scorer(options: ScorerOptions) -> Scorer:
    from rag_vqa.eval.evqa import EvqaScorer

    if options.bem is None:
        return EvqaScorer(None)
    from rag_vqa.eval.bem import Bem

    return EvqaScorer(Bem.load(options.bem, device=options.device, offline=options.offline))


def _score_file(files: PredictionFiles, open_scorer: Callable[[], Scorer]) -> Mapping[str, Any]:
    """The official accuracies. A prediction's id is the number of its question's row in the CSV."""
    from rag_vqa.eval.evqa import read_predictions, score_predictions

    predictions = read_predictions(files.predictions, files.references, files.cell)
    return score_predictions(predictions, open_scorer())


def _official_figures(summary: Mapping[str, Any]) -> Iterator[OfficialFigure]:
    """Single-hop and all, as papers report them; then each type of question."""
    yield OfficialFigure("single-hop", as_percent(summary["single_hop"]["accuracy"]))
    yield OfficialFigure("all", as_percent(summary["accuracy"]))
    for name, mean in summary["by_type"].items():
        yield OfficialFigure(name, as_percent(mean["accuracy"]), is_detail=True)


def _reported_accuracy(cell: Mapping[str, Any], metric: str) -> tuple[int, float | None]:
    found = cell["official"]["single_hop"] if metric == "single-hop" else cell
    return found["n"], found["accuracy"]


_COMPILED = "compiled from papers; which one printed it first was not traced"
_CC_VQA = "Hong et al., CC-VQA (arXiv 2602.23952)"
# System, condition, single-hop and all in percent, source.
_PUBLISHED = (
    ("no retrieval, Qwen2.5-VL-7B", "none", 23.6, 23.2, _COMPILED),
    ("plain RAG, Qwen2.5-VL-7B", "retrieved", 36.7, 31.2, _CC_VQA),
    ("CC-VQA, Qwen2.5-VL-7B", "filtered", 41.4, 36.1, _CC_VQA),
)


BENCHMARKS.register(
    Benchmark(
        name="evqa",
        find_questions=find_questions,
        documents=(
            DocumentFormat(
                name="evqa",
                suffixes=(".zip",),
                recognises=lambda sample: is_page(sample.first_member),
                options=frozenset({"images", "unit"}),
                units=_UNITS,
                open=lambda path, options: page_contents(
                    path, options.unit or _UNITS[0], options.images is not None
                ),
            ),
        ),
        scorer="evqa",
        make_scorer=_make_scorer,
        takes_bem=True,
        score_file=_score_file,
        template="short",
        official_figures=_official_figures,
        published=published_accuracies("evqa", "test", ("single-hop", "all"), _PUBLISHED),
        reported_accuracy=_reported_accuracy,
    )
)
