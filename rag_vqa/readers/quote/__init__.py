"""A reader that needs no model: it quotes the sentence that answers the question.

Importing this loads nothing heavy; the reader itself never loads a model library.
"""

from rag_vqa.readers.quote.quote_reader import QuoteReader as QuoteReader

__all__ = ["QuoteReader"]
