"""Limits of one request, of one client, and of all requests together.

Knows numbers and the reasons for them. Does not enforce any: each is enforced where it is counted.
A file of its own, though short: ten modules read it, from middleware to the image fetcher.
"""

from __future__ import annotations

from typing import Final

from rag_vqa.images import MAX_PIXELS  # of one picture, checked before it is decoded

# A photograph of 50 MP as JPEG is 15 to 20 MB; base64 makes a third more of it.
MAX_BODY_BYTES: Final = 32 * 2**20
MAX_UPLOAD_BYTES: Final = (MAX_BODY_BYTES - 2**17) // 4 * 3
# Of all requests that are there at once, waiting ones among them. While it is parsed, a body is in
# memory about four times.
MAX_BODIES_BYTES: Final = 4 * MAX_BODY_BYTES
# Brackets, braces and commas: each may become an object of up to 100 bytes.
MAX_VALUES: Final = 200_000
MAX_MESSAGES: Final = 256
MAX_PARTS: Final = 64
MAX_QUESTION: Final = 16_000  # characters
MAX_INSTRUCTION: Final = 1_000
MAX_K: Final = 100
MAX_STOPS: Final = 4  # as OpenAI's
MAX_NEW_TOKENS: Final = 100_000  # of one answer; the reader's own setting is what counts
MAX_DOCUMENTS: Final = 100
MAX_DOCUMENT_IMAGES: Final = 32
MAX_DOCUMENT_TEXT: Final = 2**20
# Of the pictures of questions that are read together: a reader has all of a batch's in memory at
# once, at about 7 bytes a pixel. One of the largest, or a dozen photographs scaled down by a phone.
BATCH_PIXELS: Final = MAX_PIXELS
# Of an evidence picture as it is shown: a page needs no more.
DISPLAY_PIXELS: Final = 2**20

# A request is to be here in WHOLE_SECONDS, and of each SLOW_SECONDS before, so many bytes a second
# are to come. What came fast buys no time: else 32 MB less a byte held their room for half an hour.
SLOW_SECONDS: Final = 15.0
SLOW_BYTES: Final = 16 * 2**10
WHOLE_SECONDS: Final = 60.0
UNREAD_SECONDS: Final = 12.0  # of an answer that waits, in this time …
UNREAD_BYTES: Final = 16 * 2**10  # … so many bytes are to be taken, or the client is cut
MAX_CONNECTIONS: Final = 800  # a process may usually have 1,024 files open

# Of a picture that is fetched from an address: all look-ups, connections and redirects together.
FETCH_SECONDS: Final = 10.0
FETCH_REDIRECTS: Final = 3
MAX_FETCHES: Final = 4  # at once: a small part of the queue, which they hold up for so long

# Of a client without the token, where the server is public. A picture is a tenth of a question.
REQUESTS_PER_MINUTE: Final = 30.0
BURST: Final = 20.0
CLIENTS: Final = 10_000  # that are remembered
