"""A SQLite connection for the writer that runs short statements where it stands.

aiosqlite hands every call to a thread: three hops a statement, which cost many times the statement itself.
Inside `BEGIN IMMEDIATE` a statement on a few rows waits for nobody and takes microseconds. What may wait or
be long (BEGIN for another process, COMMIT for the disk, many rows) still goes to the thread.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiosqlite

MANY_ROWS = 50
_WAITING_WORDS = ("BEGIN", "COMMIT", "PRAGMA")


class InlineConnection(aiosqlite.Connection):
    """aiosqlite's connection, with short statements run in the caller's thread. One caller at a time."""

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._connection is None or _may_take_long(fn, args):
            return await super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call]
        return fn(*args, **kwargs)


def connect_inline(path: Path, timeout_s: float) -> InlineConnection:
    """A connection to await, in autocommit until BEGIN is said."""

    def connector() -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False)

    connection = InlineConnection(connector, iter_chunk_size=64)
    connection._thread.daemon = True
    return connection


def _may_take_long(fn: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    name = fn.__name__
    if name == "execute":
        return str(args[0])[:6].upper().startswith(_WAITING_WORDS)
    if name == "executemany":
        return len(args[1]) > MANY_ROWS
    return name in ("commit", "rollback", "close") and isinstance(
        getattr(fn, "__self__", None), sqlite3.Connection
    )
