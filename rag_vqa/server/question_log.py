"""The question log: writes questions and feedback to a folder, if the operator asked for it.

Knows one folder a day, in the format of own questions, which `rag-vqa eval run own
FOLDER/2026-11-24 --split good` reads: `questions.jsonl` holds the questions, `good.jsonl` those
with good feedback, with answer and documents, and `bad.jsonl` those with bad feedback. Pictures are
encoded anew, as pixels without metadata. Does not know who asked.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from rag_vqa import images
from rag_vqa.errors import UsageError
from rag_vqa.images import choose_format
from rag_vqa.types import Answer

_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
_MAX_REMEMBERED_ANSWERS: Final = 1_000  # the latest answers that may still get feedback


class QuestionLog:
    """A folder with one subfolder a day; deletes those that are `days` old or older.

    Raises UsageError if the folder cannot be written, or if `days` < 1.
    """

    def __init__(self, folder: Path, days: int, today: Callable[[], date] = date.today) -> None:
        if days < 1:
            raise UsageError(f"--keep-days {days}: give 1 or more")
        self.folder, self.days = folder, days
        self._today, self._lock = today, threading.Lock()
        self._answers: OrderedDict[str, tuple[Path, dict[str, Any]]] = OrderedDict()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._day_folder()
            self.delete_old_days()
        except OSError as error:
            raise UsageError(f"--log-questions {folder}: this folder cannot be written") from error

    def delete_old_days(self) -> None:
        """Delete the folders that are too old. A server calls this every hour."""
        oldest = (self._today() - timedelta(days=self.days)).isoformat()
        with self._lock:
            for day in self.folder.iterdir():
                if _DAY.fullmatch(day.name) and day.name <= oldest and not day.is_symlink():
                    shutil.rmtree(day)

    def write_question(self, identity: str, answer: Answer) -> None:
        """Write the question of an answer; feedback on `identity` may follow."""
        with self._lock:
            day = self._day_folder()
            record = {"id": identity, "question": answer.query.text}
            if answer.query.image not in (None, "", b""):
                record["image"] = _save_image(day, answer)
            _append_json(day / "questions.jsonl", record)
            cited = [answer.prompt.kept[number - 1].document.id for number in answer.citations]
            answered = record | {"answers": [answer.text], "document_ids": cited}
            self._answers[identity] = day, answered
            while len(self._answers) > _MAX_REMEMBERED_ANSWERS:
                self._answers.popitem(last=False)

    def write_feedback(self, identity: str, good: bool) -> bool:
        """Write whether an answer was good, in the folder of its question, where the picture is.
        False if the answer is unknown or already has feedback, or if its folder is gone."""
        with self._lock:
            remembered = self._answers.pop(identity, None)
            if remembered is None or not remembered[0].is_dir():
                return False
            day, record = remembered
            if not good:
                record = {k: v for k, v in record.items() if k not in ("answers", "document_ids")}
            _append_json(day / ("good.jsonl" if good else "bad.jsonl"), record)
            return True

    def _day_folder(self) -> Path:
        day = self.folder / self._today().isoformat()
        if not day.is_dir():
            day.mkdir(mode=0o700)
        return day


def _save_image(day: Path, answer: Answer) -> str:
    image = images.load(answer.query.image or b"")
    image_format = choose_format(image)
    data = images.encode(image, image_format)
    name = f"{images.content_hash(data)}.{image_format.lower()}"
    if not (day / name).exists():
        _write_private(day / name, data, os.O_TRUNC)
    return name


def _append_json(file: Path, record: dict[str, Any]) -> None:
    _write_private(file, (json.dumps(record, ensure_ascii=False) + "\n").encode(), os.O_APPEND)


def _write_private(file: Path, data: bytes, mode: int) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | mode, 0o600), "wb") as out:
        out.write(data)
