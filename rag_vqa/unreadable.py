"""Which of several queries has the picture that cannot be opened.

It knows that an error names a picture, not its query. It does not know who opens pictures, or when.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rag_vqa.errors import BadImage, Missing
from rag_vqa.types import Query


@contextmanager
def placed(queries: Sequence[Query]) -> Iterator[None]:
    """Within, BadImage or Missing of a picture says whose it is, where several are asked."""
    try:
        yield
    except (BadImage, Missing):
        if len(queries) > 1:
            _look(queries)
        raise


def _look(queries: Sequence[Query]) -> None:
    from rag_vqa import images

    for place, query in enumerate(queries):
        if query.image is not None and query.image != "":
            try:
                images.load(query.image)
            except (BadImage, Missing) as error:
                raise type(error)(f"queries[{place}]: {error}") from error
