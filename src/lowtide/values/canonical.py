"""Canonical JSON (RFC 8785) for what is hashed: integers and strings, sorted keys, no integer beyond 2^53."""

import hashlib
from typing import Any

import orjson

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER


def canonical(value: Any) -> bytes:
    """One line of canonical JSON, no newline. Keys are ours (ASCII), so byte order is RFC 8785's order.

    Raises TypeError for an integer beyond 2^53.
    """
    return orjson.dumps(value, option=_OPTIONS)


def sha256(data: bytes) -> bytes:
    """SHA-256, 32 bytes."""
    return hashlib.sha256(data).digest()


def leaf_hash(line: bytes) -> bytes:
    """The hash of a log line as a leaf of an RFC 6962 tree: SHA-256(0x00 ‖ line)."""
    return hashlib.sha256(b"\x00" + line).digest()
