"""The ledger of a run: one SQLite file with its questions, hits, answers, failures and times.

Knows tables, transactions, and the JSON of examples and answers. A batch is stored as a whole or
not at all, whenever the process is killed. Does not know who answers the questions.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from rag_vqa import images
from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.storage import atomic
from rag_vqa.types import Answer, Example, ImagePart, ImageSource, Prompt, Query, TextPart

UNREADABLE_DIGEST = "unreadable"  # the digest of a picture that cannot be read
_TUPLE_FIELDS = ("answers", "relevant", "oracle", "references")
LEDGER_FILE = "run.sqlite"
LEDGER_VERSION = 2
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE examples (position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL);
CREATE TABLE photos (position INTEGER PRIMARY KEY, digest TEXT NOT NULL);
CREATE TABLE gold (name TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY (name, document))
    WITHOUT ROWID;
CREATE TABLE hits (position INTEGER PRIMARY KEY, key TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE answers (cell TEXT NOT NULL, position INTEGER NOT NULL, key TEXT NOT NULL,
    body TEXT NOT NULL, PRIMARY KEY (cell, position)) WITHOUT ROWID;
CREATE TABLE prompts (key TEXT PRIMARY KEY, text BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE failed (cell TEXT NOT NULL, position INTEGER NOT NULL, error TEXT NOT NULL,
    PRIMARY KEY (cell, position)) WITHOUT ROWID;
CREATE TABLE times (stage TEXT NOT NULL, first INTEGER NOT NULL, questions INTEGER NOT NULL,
    seconds REAL NOT NULL);
CREATE TABLE scores (scorer TEXT NOT NULL, cell TEXT NOT NULL, position INTEGER NOT NULL,
    key TEXT NOT NULL, score REAL NOT NULL, lenient INTEGER NOT NULL, cut INTEGER NOT NULL,
    PRIMARY KEY (scorer, cell, position)) WITHOUT ROWID;
"""
_ROWS_AT_ONCE = 256
Row = tuple[Any, ...]
RETRIEVAL_STAGE = "retrieval"  # stands for a cell in the ledger's failures and times


def canonical_json(value: Any) -> str:
    """JSON text that is the same bytes for equal values."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def json_digest(value: Any) -> str:
    """Digest of any JSON value: 32 hex digits."""
    data = canonical_json(value).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def example_json(example: Example) -> dict[str, Any]:
    """An Example as JSON, for `example_from_json`.

    Raises:
        UsageError: its picture is not a file, so a resumed run could not open it again.
    """
    image = example.query.image
    if image is not None and not isinstance(image, str | Path):
        raise UsageError(f"question {example.id}: its picture is not a file. Save it first.")
    query = {
        "text": example.query.text,
        "image": None if image is None else str(Path(image).absolute()),
        "instruction": example.query.instruction,
    }
    fields = {name: getattr(example, name) for name in Example.__slots__ if name != "query"}
    fields |= {name: list(fields[name]) for name in _TUPLE_FIELDS}
    given = {name: value for name, value in fields.items() if value not in ("", [], False)}
    return {**given, "query": query}


def example_from_json(fields: Mapping[str, Any]) -> Example:
    """An Example that `example_json` wrote."""
    tuples = {name: tuple(fields[name]) for name in _TUPLE_FIELDS if name in fields}
    return Example(**{**fields, **tuples, "query": Query(**fields["query"])})


def answer_json(answer: Answer) -> dict[str, Any]:
    """The stored part of an Answer, without its prompt and without times."""
    stored: dict[str, Any] = {
        "prediction": _replace_surrogates(answer.text),
        "documents": [hit.document.id for hit in answer.hits],
        "kept": [hit.document.id for hit in answer.prompt.kept],
        "dropped": dict(answer.prompt.dropped),
        "citations": list(answer.citations),
        "tokens_in": answer.tokens_in,
        "tokens_out": answer.tokens_out,
        "finish": answer.finish,
    }
    if answer.model:
        stored["model"] = answer.model
    if answer.reasoning:
        stored["reasoning"] = _replace_surrogates(answer.reasoning)
        stored["reasoning_tokens"] = answer.reasoning_tokens
    scores = [dict(hit.scores) for hit in answer.hits]
    if any(set(stages) - {"retrieve"} for stages in scores):
        stored["scores"] = scores
    return stored


def _replace_surrogates(text: str) -> str:
    """Replace lone surrogates: a server's JSON may hold them, a UTF-8 file cannot."""
    return text.encode("utf-8", "replace").decode()


def prompt_digest(prompt: Prompt) -> str:
    """Digest of everything that a reader is shown: texts, their roles, the bytes of pictures."""
    return json_digest([_part_record(part) for part in prompt.parts])


def _part_record(part: TextPart | ImagePart) -> list[Any]:
    if isinstance(part, TextPart):
        return ["text", part.role, part.trusted, part.text]
    return ["image", image_digest(part.image)]


def image_digest(image: ImageSource | None) -> str:
    """Digest of a picture's bytes; "" without a picture, "unreadable" if it cannot be read."""
    if image is None:
        return ""
    if not isinstance(image, str | Path | bytes):
        raise UsageError("A run needs pictures as files. Save them first.")

    try:
        return images.content_hash(images.read_bytes(image))
    except (BadInput, Missing):
        return UNREADABLE_DIGEST


class Ledger:
    """An open ledger; closes at the end of a `with` block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / LEDGER_FILE).is_file():
            raise Missing(f"{folder} holds no run. Begin one: rag-vqa eval run … --out {folder}")
        self._db = sqlite3.connect(folder / LEDGER_FILE, isolation_level=None, timeout=10)
        try:
            self._db.execute("PRAGMA synchronous = FULL")
            # Truncating the journal is ten times cheaper for a batch than deleting it.
            self._db.execute("PRAGMA journal_mode = TRUNCATE")
            version = self.meta("version")
        except (sqlite3.DatabaseError, BadInput) as error:
            self._db.close()
            raise BadInput(
                f"{folder / LEDGER_FILE} is damaged, or is not the ledger of a run: {error}"
            ) from error
        if version != LEDGER_VERSION:
            self._db.close()
            raise UsageError(
                f"{folder} was written by another version ({version}). Start a new run: --out."
            )

    @classmethod
    def create(
        cls,
        folder: Path,
        spec: Mapping[str, Any],
        examples: Iterable[Example],
        skipped: Callable[[], int] = lambda: 0,
    ) -> None:
        """Write a new ledger with all questions; it appears whole or not at all.

        Args:
            skipped: returns how many questions were left out; called after the last example.

        Raises:
            BadInput: two questions have one id, or there are none.
        """
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f"{LEDGER_FILE}.begun"
        # SQLite would apply the journal of a ledger that was removed to the new one.
        for name in (unfinished.name, f"{unfinished.name}-journal", f"{LEDGER_FILE}-journal"):
            (folder / name).unlink(missing_ok=True)
        with closing(sqlite3.connect(unfinished, isolation_level=None)) as db:
            db.executescript(_SCHEMA)
            db.execute("BEGIN")
            count = -1
            for count, example in enumerate(examples):
                row = (count, example.id, canonical_json(example_json(example)))
                try:
                    db.execute("INSERT INTO examples VALUES (?, ?, ?)", row)
                except sqlite3.IntegrityError as error:
                    raise BadInput(f"Two questions have the id {example.id!r}.") from error
            if count < 0:
                raise BadInput("There are no questions. Look at the files: rag-vqa data check")
            meta = {"version": LEDGER_VERSION, "spec": dict(spec), "total": count + 1,
                    "skipped": skipped()}  # fmt: skip
            rows = [(name, canonical_json(value)) for name, value in meta.items()]
            db.executemany("INSERT INTO meta VALUES (?, ?)", rows)
            db.execute("COMMIT")
        atomic.replace_file(unfinished, folder / LEDGER_FILE)

    def meta(self, name: str, default: Any = None) -> Any:
        """The JSON value stored under a name."""
        found = next(self.rows("SELECT value FROM meta WHERE name = ?", [name]), None)
        return json.loads(found[0]) if found else default

    def set_meta(self, name: str, value: Any) -> None:
        """Store a JSON value under a name."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, canonical_json(value)))

    @contextmanager
    def commit(self) -> Iterator[None]:
        """A transaction: all writes within happen, or none."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def rows(self, query: str, values: Sequence[Any] = ()) -> Iterator[Row]:
        """Rows of a query, one at a time.

        Raises:
            BadInput: the file is damaged.
        """
        try:
            cursor = self._db.execute(query, values)
            part = cursor.fetchmany(_ROWS_AT_ONCE)
        except sqlite3.DatabaseError as error:
            raise self._damage_error(error) from error
        while part:
            yield from part
            try:
                part = cursor.fetchmany(_ROWS_AT_ONCE)
            except sqlite3.DatabaseError as error:
                raise self._damage_error(error) from error

    def _damage_error(self, error: Exception) -> BadInput:
        return BadInput(
            f"{self.folder / LEDGER_FILE} is damaged ({error}). Start a new run: --out."
        )

    def write(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run the statement once for each row of values."""
        self._db.executemany(statement, rows)

    def examples(self, first: int = 0, count: int | None = None) -> Iterator[tuple[int, Example]]:
        """Positions and questions, in order."""
        query = "SELECT position, body FROM examples WHERE position >= ? ORDER BY position LIMIT ?"
        for position, body in self.rows(query, (first, -1 if count is None else count)):
            yield position, example_from_json(json.loads(body))

    def check_askable(self) -> None:
        """Refuse questions without text: each would fail in every cell.

        Raises:
            UsageError: there are such questions.
        """
        query = (
            "SELECT count(*), min(id) FROM examples WHERE json_extract(body, '$.query.text') = ''"
        )
        [(count, first)] = self.rows(query)
        if count:
            raise UsageError(
                f"{count:,} questions, such as {first!r}, have no text, so they cannot be "
                "answered. Search with their pictures: --conditions retrieval."
            )

    def store_prompt(self, key: str, text: str) -> None:
        """Store the readable text of a prompt; a second call with its key does nothing."""
        compressed = zlib.compress(text.encode("utf-8", "surrogatepass"))
        self._db.execute("INSERT OR IGNORE INTO prompts VALUES (?, ?)", (key, compressed))

    def prompt(self, key: str) -> str:
        """The stored prompt of that key; "" if there is none."""
        found = self._db.execute("SELECT text FROM prompts WHERE key = ?", [key]).fetchone()
        return zlib.decompress(found[0]).decode("utf-8", "surrogatepass") if found else ""

    def close(self) -> None:
        """Close the file."""

        self._db.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def count_missing(ledger: Ledger) -> int:
    """Number of answers (of hits, if nothing is answered) that are neither stored nor failed."""
    cells = len(ledger.meta("cells", []))
    table, failed = ("answers", "cell <> ?") if cells else ("hits", "cell = ?")
    query = f"""SELECT (SELECT count(*) FROM {table})
        + (SELECT count(*) FROM failed WHERE {failed})"""
    [(stored,)] = ledger.rows(query, (RETRIEVAL_STAGE,))
    return int(ledger.meta("total") * max(cells, 1) - stored)
