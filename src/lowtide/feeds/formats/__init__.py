"""Readers of price documents, one format a file: pure functions from bytes to listings.

`understand` reads a document, whose format it can guess; `FORMATS` are the formats, `Context` is what a reader is told.
"""

from lowtide.feeds.formats.context import Context
from lowtide.feeds.formats.registry import FORMATS, Format, understand

__all__ = ["FORMATS", "Context", "Format", "understand"]
