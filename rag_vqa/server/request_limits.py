"""Limits of one request, of one client, and of all requests together.

Knows numbers and the reasons for them. Does not enforce any: each is enforced where it is counted.
A file of its own, though short: nine modules read it, from middleware to the image fetcher.
"""

from __future__ import annotations

from typing import Final

from rag_vqa.images import MAX_PIXELS  # of one picture, checked before decoding

# A JPEG photograph of 50 MP is 15 to 20 MB; base64 adds a third.
MAX_BODY_BYTES: Final = 32 * 2**20
MAX_UPLOAD_BYTES: Final = (MAX_BODY_BYTES - 2**17) // 4 * 3
# Of all requests together, including waiting ones. While a body is parsed, memory holds it about
# four times.
MAX_BODIES_BYTES: Final = 4 * MAX_BODY_BYTES
# Brackets, braces and commas in a body: each may become an object of up to 100 bytes.
MAX_VALUES: Final = 200_000
MAX_MESSAGES: Final = 256
MAX_PARTS: Final = 64
MAX_QUESTION: Final = 16_000  # characters
MAX_INSTRUCTION: Final = 1_000
MAX_K: Final = 100
MAX_STOPS: Final = 4  # as OpenAI's
MAX_NEW_TOKENS: Final = 100_000  # of one answer; the reader's own setting is the effective limit
MAX_DOCUMENTS: Final = 100
MAX_DOCUMENT_IMAGES: Final = 32
MAX_DOCUMENT_TEXT: Final = 2**20
# Of the questions' pictures in one batch: the reader holds them in memory together, at about 7
# bytes a pixel. Room for one picture of the largest size, or a dozen photographs scaled down by a
# phone.
BATCH_PIXELS: Final = MAX_PIXELS
# Of an evidence picture: the page needs no more.
DISPLAY_PIXELS: Final = 2**20

# A request must be complete after REQUEST_SECONDS. Until then, MIN_SEND_RATE is checked every
# SEND_CHECK_SECONDS. A fast start buys no time: otherwise 32 MB less one byte could occupy their
# share of MAX_BODIES_BYTES for half an hour.
SEND_CHECK_SECONDS: Final = 15.0
MIN_SEND_RATE: Final = 16 * 2**10  # per second
REQUEST_SECONDS: Final = 60.0
# The client must read this many waiting bytes of an answer in this time, or it is disconnected.
READ_CHECK_SECONDS: Final = 12.0
MIN_READ_BYTES: Final = 16 * 2**10
MAX_CONNECTIONS: Final = 800  # usually a process may open 1,024 files

# For one picture fetched from an address: all look-ups, connections and redirects together.
FETCH_SECONDS: Final = 10.0
FETCH_REDIRECTS: Final = 3
MAX_FETCHES: Final = 4  # at once: a small part of the queue, whose places they occupy meanwhile

# For a client without the token, on a public server. A picture costs a tenth of a question.
REQUESTS_PER_MINUTE: Final = 30.0
BURST_REQUESTS: Final = 20.0
MAX_CLIENTS: Final = 10_000  # remembered by the rate limiter
