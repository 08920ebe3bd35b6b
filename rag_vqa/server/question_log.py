"""Questions that people asked, written down where the operator chose to: off unless asked for.

It knows a folder a day, in the format of own questions (formats/questions/own.py): what was asked
is `questions.jsonl`, what was found good with its answer and documents `good.jsonl`, what was not
`bad.jsonl`. `rag-vqa eval run own FOLDER/2026-11-24 --split good` reads one. It does not know who
asked. Pictures are new files of bare pixels.
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
_MAX_REMEMBERED_ANSWERS: Final = 1_000  # answers that an opinion may still come in about


class QuestionLog:
    """Days of questions under a folder; those older than `days` are removed.

    Raises UsageError if the folder cannot be written, or `days` < 1.
    """

    def __init__(self, folder: Path, days: int, today: Callable[[], date] = date.today) -> None:
        if days < 1:
            raise UsageError(f"--keep-days {days}: give 1 or more")
        self.folder, self.days = folder, days
        self._today, self._lock = today, threading.Lock()
        self._answers: OrderedDict[str, tuple[Path, dict[str, Any]]] = OrderedDict()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._day()
            self.forget()
        except OSError as error:
            raise UsageError(f"--log-questions {folder}: it cannot be written") from error

    def forget(self) -> None:
        """Remove the days that are too old, asked or not: a server does each hour."""
        oldest = (self._today() - timedelta(days=self.days)).isoformat()
        with self._lock:
            for old in self.folder.iterdir():
                if _DAY.fullmatch(old.name) and old.name <= oldest and not old.is_symlink():
                    shutil.rmtree(old)

    def write(self, identity: str, answer: Answer) -> None:
        """Write down what was asked; an opinion of the answer may follow."""
        with self._lock:
            day = self._day()
            record = {"id": identity, "question": answer.query.text}
            if answer.query.image not in (None, "", b""):
                record["image"] = self._keep(day, answer)
            _append_json(day / "questions.jsonl", record)
            cited = [answer.prompt.kept[number - 1].document.id for number in answer.citations]
            told = record | {"answers": [answer.text], "document_ids": cited}
            self._answers[identity] = day, told
            while len(self._answers) > _MAX_REMEMBERED_ANSWERS:
                self._answers.popitem(last=False)

    def write_feedback(self, identity: str, good: bool) -> bool:
        """Write down whether an answer was good, in the day of its question, where the picture is;
        False if none of that id is remembered, or its day is gone."""
        with self._lock:
            remembered = self._answers.pop(identity, None)
            if remembered is None or not remembered[0].is_dir():
                return False
            day, record = remembered
            if not good:
                record = {k: v for k, v in record.items() if k not in ("answers", "document_ids")}
            _append_json(day / ("good.jsonl" if good else "bad.jsonl"), record)
            return True

    def _keep(self, day: Path, answer: Answer) -> str:
        picture = images.load(answer.query.image or b"")
        kind = choose_format(picture)
        data = images.encode(picture, kind)
        name = f"{images.content_hash(data)}.{kind.lower()}"
        if not (day / name).exists():
            _write_private(day / name, data, os.O_TRUNC)
        return name

    def _day(self) -> Path:
        day = self.folder / self._today().isoformat()
        if not day.is_dir():
            day.mkdir(mode=0o700)
        return day


def _append_json(file: Path, record: dict[str, Any]) -> None:
    _write_private(file, (json.dumps(record, ensure_ascii=False) + "\n").encode(), os.O_APPEND)


def _write_private(file: Path, data: bytes, how: int) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | how, 0o600), "wb") as out:
        out.write(data)
