"""InfoSeek: the pages of Wiki6M, and its questions: three files of a split, joined by data_id.

Knows the fields of Wiki6M_ver_1_0.jsonl(.gz) (wikidata_id, wikipedia_title, wikipedia_summary,
wikipedia_content), as published users of the file read them (TIGER-AI-Lab/UniIR;
open-vision-language/oven names the file), and infoseek_SPLIT.jsonl (data_id, image_id, question,
answer, answer_eval, data_split), infoseek_SPLIT_qtype.jsonl (data_id, question_type) and
infoseek_SPLIT_withkb.jsonl (data_id, entity_id, entity_text), as open-vision-language/infoseek and
edchengg/infoseek_eval have them. Does not know how an answer is scored (rag_vqa.eval.infoseek).

Documents: the text is the content, or the summary if there is none. Of OVEN's images of entities,
in a folder that the user gives, page Q806563 has `Q806/Q806563.jpg`; a page gets its picture only
if that file exists, because most pages have none. wikipedia_image_url could not be verified.

Questions: entity_id is the id of a page. Pictures are OVEN's: `oven_04990048` is
`04/oven_04990048` with the suffix of where it came from (edchengg/oven_eval,
merge_oven_images.py), in the folder oven_images; a flat folder, as some copies are, is looked in
second. Which tar contains which folder could not be verified. Test and human sets were published
without answers, types and entities; these may be absent there.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from rag_vqa.errors import BadInput, Missing, UsageError
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
from rag_vqa.formats.jsonl import FieldNames, read_objects
from rag_vqa.formats.question_rows import Row, id_list, read_question_rows, required_text
from rag_vqa.formatting import quote_value
from rag_vqa.types import Example, Query

WIKI6M_FIELDS = ("wikidata_id", "wikipedia_title")
_WIKI6M_NAMES = FieldNames(
    {
        "id": ("wikidata_id",),
        "title": ("wikipedia_title",),
        "text": ("wikipedia_content", "wikipedia_summary"),
    },
    left_out=("wikipedia_summary", "wikipedia_image_url"),
)
_KINDS = ("String", "Time", "Numerical")
_UNLABELLED = ("test", "human")
_HUGE = 1e300  # 1e999 is read as infinity
_IMAGE_ID = re.compile(r"oven_(\d\d)\d*")
_PICTURE_SUFFIXES = (".jpg", ".JPEG", ".jpeg", ".png", ".JPG", ".PNG")


def wikipedia_contents(path: Path, images: Path | None) -> Contents:
    """Open a file of pages.

    Args:
        images: the folder of OVEN's images of entities, if there is one.
    """
    found = _WIKI6M_NAMES.contents(path)
    return found if images is None else replace(found, items=lambda: _add_pictures(found, images))


def _add_pictures(contents: Contents, images: Path) -> Iterator[Item]:
    for item in contents.items():
        fields: Any = item.fields
        name = None if isinstance(fields, BadInput) else _page_picture(fields["id"])
        if name is not None and (images / name).is_file():
            item = item._replace(fields={**fields, "image": name})
        yield item


def _page_picture(identity: object) -> str | None:
    """
    >>> _page_picture("Q42"), _page_picture("../x")
    ('Q42/Q42.jpg', None)
    """
    if not isinstance(identity, str) or not identity.isalnum():
        return None
    return f"{identity[:4]}/{identity}.jpg"


def find_questions(
    path: Path, split: str | None, images: Path | None, task: str | None
) -> QuestionFiles:
    """The files of a split ("val" by default) in a folder.

    Raises:
        Missing: one of them does not exist.
    """
    split = split or "val"
    paths = {
        "questions": path / f"infoseek_{split}.jsonl",
        "types": path / f"infoseek_{split}_qtype.jsonl",
        "entities": path / f"infoseek_{split}_withkb.jsonl",
    }
    needed = ("questions",) if split in _UNLABELLED else tuple(paths)
    for role in needed:
        if not paths[role].is_file():
            raise Missing(
                f"{paths[role]} is not there: InfoSeek's {role} of {split}. For another split, "
                "give --split NAME. docs/data.md says where to get the files."
            )
    files = {role: file for role, file in paths.items() if file.is_file()}
    return QuestionFiles(
        name="infoseek",
        split=split,
        files=files,
        home=path,
        images=images or path / "oven_images",
        rows=lambda _: _question_rows(files),
        explain=_explain_missing,
    )


def _question_rows(files: Mapping[str, Path]) -> QuestionRows:
    path = files["questions"]
    with closing(sqlite3.connect("")) as side:  # a temporary file of SQLite
        for role, field in (("types", "question_type"), ("entities", "entity_id")):
            side.execute(f"CREATE TABLE {role} (id TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
            if role in files:
                pairs = _id_pairs(files[role], field)
                try:
                    side.executemany(f"INSERT INTO {role} VALUES (?, ?)", pairs)
                except sqlite3.IntegrityError as error:
                    raise BadInput(f"{files[role]}: a data_id is repeated.") from error

        def look_up(role: str, identity: str) -> str:
            query = f"SELECT value FROM {role} WHERE id = ?"
            found = side.execute(query, (identity,)).fetchone()
            if found is None and role in files:
                raise BadInput(f"{files[role].name} has no line for {quote_value(identity)}.")
            return str(found[0]) if found else ""

        def example(row: Row, place: int) -> QuestionRow:
            identity = required_text(row, "data_id")
            kind, entity = look_up("types", identity), look_up("entities", identity)
            return _question_row(row, identity, kind, entity)

        yield from read_question_rows(read_objects(path), path, example)


def _id_pairs(path: Path, field: str) -> Iterator[tuple[str, str]]:
    for number, row in read_objects(path):
        try:
            if isinstance(row, BadInput):
                raise row
            yield required_text(row, "data_id"), required_text(row, field)
        except BadInput as error:
            raise BadInput(f"{path}, line {number}: {error}") from error


def _question_row(row: Row, identity: str, kind: str, entity: str) -> QuestionRow:
    references = _references(row, kind)
    split = required_text(row, "data_split")
    unseen = next((s for s in ("unseen_question", "unseen_entity") if split.endswith(s)), split)
    image = required_text(row, "image_id")
    found = (entity,) if entity else ()
    example = Example(
        identity,
        Query(required_text(row, "question")),
        answers=_answers(row) or tuple(item for item in references if isinstance(item, str)),
        relevant=found,
        oracle=found,
        references=references,
        kind=kind,
        split=unseen,
        group=entity or image,
    )
    return QuestionRow(example, _picture_names(image))


def _references(row: Row, kind: str) -> tuple[Any, ...]:
    """answer_eval in the form of the scorer: texts, or a range. Some rows have the range alone."""
    given = row.get("answer_eval")
    listed = [given] if isinstance(given, dict) else [] if given is None else given
    fits = isinstance(listed, list) and all(isinstance(i, str) or _is_range(i) for i in listed)
    if not fits:
        raise BadInput(f"answer_eval is {quote_value(given)}, neither texts nor a range.")
    if kind not in ("", *_KINDS):
        raise BadInput(f"question_type {quote_value(kind)} is none of {', '.join(_KINDS)}.")
    ranges = [_is_range(item) for item in listed]
    if kind and not (ranges[:1] == [True] if kind == "Numerical" else ranges and not any(ranges)):
        raise BadInput(f"answer_eval is {quote_value(given)}: this cannot score a {kind} question.")
    return tuple(listed)


def _is_range(item: object) -> bool:
    match item:
        case {"range": [int() | float() as low, int() | float() as high, *_]}:
            return abs(low) < _HUGE and abs(high) < _HUGE
    return False


def _answers(row: Row) -> tuple[str, ...]:
    given = row.get("answer")
    if isinstance(given, list) and all(isinstance(item, str | int | float) for item in given):
        return id_list({"answer": [str(item) for item in given]}, "answer")
    if given is None or isinstance(given, list):
        return ()
    return (required_text(row, "answer"),)


def _picture_names(image: str) -> tuple[str, ...]:
    """
    >>> _picture_names("oven_04990048")[0]
    '04/oven_04990048.jpg'
    """
    found = _IMAGE_ID.fullmatch(image)
    if found is None:
        raise BadInput(
            f"image_id {quote_value(image)} is not an id of OVEN, such as oven_04990048."
        )
    return tuple(f"{at}{image}{end}" for at in (f"{found[1]}/", "") for end in _PICTURE_SUFFIXES)


def _explain_missing(images: Path, missing: Iterable[str]) -> Iterator[str]:
    missing_counts = Counter(name[:2] for name in missing)
    if not images.is_dir():
        yield f"{images} does not exist: unpack OVEN's pictures into it."
        return
    absent = [f"{number} ({count:,})" for number, count in sorted(missing_counts.items())
              if not (images / number).is_dir()]  # fmt: skip
    if absent:
        yield (
            f"{images} lacks whole folders; in brackets, the number of pictures that are needed: "
            f"{', '.join(absent)}. A shard of OVEN's pictures was not unpacked."
        )


def _make_scorer(options: ScorerOptions) -> Scorer:
    from rag_vqa.eval.infoseek import InfoSeekScorer

    return InfoSeekScorer()


def _score_file(files: PredictionFiles, open_scorer: Callable[[], Scorer]) -> Mapping[str, Any]:
    """The official result object; no model is needed."""
    from rag_vqa.eval.infoseek import ScoringMode, score_file

    if files.qtypes is None:
        raise UsageError("eval score infoseek needs --qtypes FILE, as infoseek_val_qtype.jsonl.")
    mode = cast(ScoringMode, files.scorer or "strict")  # another name is refused there
    return score_file(files.predictions, files.references, files.qtypes, mode, files.cell)


def _official_figures(summary: Mapping[str, Any]) -> Iterator[OfficialFigure]:
    """The harmonic mean of both splits, then each split, then its types of question.

    The official object has 0 for a split without questions, and then 0 for the mean as well.
    """
    counts = {split: summary[f"n_unseen_{split}"] for split in ("question", "entity")}
    overall = summary["final_score"] if all(counts.values()) else None
    yield OfficialFigure("overall", overall, 2)
    for split, count in counts.items():
        scores = summary[f"unseen_{split}_score"]
        parts = {"": "score", ", time": "score_time", ", numerical": "score_num",
                 ", string": "score_string"}  # fmt: skip
        for part, field in parts.items():
            percent = scores[field] if count else None
            yield OfficialFigure(f"unseen {split}{part}", percent, 2, is_detail=bool(part))


def _reported_accuracy(cell: Mapping[str, Any], metric: str) -> tuple[int, float | None]:
    """Of a split its accuracy; of all questions the harmonic mean of both splits."""
    if metric == "all":
        return cell["n"], cell["official"]["final_score"] / 100
    ending = metric.replace(" ", "_")  # the split is called val_unseen_question
    for name, value in cell["by_split"].items():
        if name.endswith(ending):
            return value["n"], value["accuracy"]
    return 0, None


_COMPILED = "compiled from papers; which one printed it first was not traced"
_CC_VQA = "Hong et al., CC-VQA (arXiv 2602.23952)"
# System, condition, percent of unseen questions, unseen entities, all; source.
_PUBLISHED = (
    ("no retrieval, Qwen2.5-VL-7B", "none", 22.8, 24.1, 23.7, _COMPILED),
    ("plain RAG, Qwen2.5-VL-7B", "retrieved", 41.9, 41.3, 41.8, _CC_VQA),
    ("CC-VQA, Qwen2.5-VL-7B", "filtered", 44.7, 46.1, 45.1, _CC_VQA),
    ("oracle article, Qwen2.5-VL-7B", "oracle", None, None, 66.5, _COMPILED),
)


BENCHMARKS.register(
    Benchmark(
        name="infoseek",
        find_questions=find_questions,
        documents=(
            DocumentFormat(
                name="wiki6m",
                recognises=lambda sample: sample.field_names.issuperset(WIKI6M_FIELDS),
                open=lambda path, options: wikipedia_contents(path, options.images),
            ),
        ),
        scorer="infoseek",
        make_scorer=_make_scorer,
        score_file=_score_file,
        score_options=frozenset({"qtypes", "scorer"}),
        template="short",
        official_figures=_official_figures,
        published=published_accuracies(
            "infoseek", "val", ("unseen question", "unseen entity", "all"), _PUBLISHED
        ),
        reported_accuracy=_reported_accuracy,
    )
)
