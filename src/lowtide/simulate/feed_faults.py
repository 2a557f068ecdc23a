"""Faults that a simulated feed server shows when told to, and what it saw."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

FeedFaultKind = Literal[
    "status",
    "hang",
    "drip",
    "cut",
    "garbage",
    "empty",
    "redirect",
    "circle",
    "chain",
    "endless",
    "gzip_bomb",
    "half_gzip",
    "wrong_encoding",
    "wrong_type",
]
ENDLESS_BYTES = 1024**3
CHUNK_BYTES = 64 * 1024
GARBAGE = b"\x00\xff\xfe{]\x1f\x8b not a price list \xc3\x28" * 64


@dataclass(slots=True)
class FeedFault:
    """A fault of one path, for the next `times` requests; None: until cleared.

    `status` answers with `status` and the header `retry_after`, as it is written. `hang` sends no headers, `drip` a byte
    every `interval_s` seconds, `cut` half of the document, `half_gzip` half of it compressed, `endless` and `gzip_bomb`
    a gigabyte (the bomb unpacked). `redirect` leads to `location`, `circle` to itself by one other URL, `chain` to ever
    new URLs. `wrong_type` serves the document as a web page.
    """

    kind: FeedFaultKind
    times: int | None = None
    status: int = 500
    retry_after: str | None = None
    interval_s: float = 1.0
    location: str = "/"


@dataclass(slots=True)
class FeedStats:
    """What a path's requests were: how many, those answered "not modified", those whose client left before the end.

    `sent_bytes` are of bodies, given to the connection. `headers` are those of the last request, names in lower case.
    """

    requests: int = 0
    not_modified: int = 0
    disconnected: int = 0
    sent_bytes: int = 0
    headers: dict[str, str] = field(default_factory=dict)


def endless() -> Iterator[bytes]:
    """A gigabyte of JSON that begins an array."""
    yield b"["
    chunk = b'{"id": "m"}, ' * (CHUNK_BYTES // 13)
    for _ in range(ENDLESS_BYTES // len(chunk)):
        yield chunk


def gzip_bomb() -> Iterator[bytes]:
    """A gigabyte of spaces as gzip, about 1 MB. A flushed block of a mebibyte stands alone, so it can be sent again."""
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    block = b" " * 1024**2
    yield packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    for _ in range(ENDLESS_BYTES // len(block) - 1):
        yield again
