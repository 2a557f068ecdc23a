"""The book's sealed versions: version v is, for each row and kind, the newest line at or before v."""

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Select, and_, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.store import rows
from lowtide.store.tables import BookRow, BookVersion

CHANNEL = "lowtide_book"
"""PostgreSQL's channel on which a sealed version is told to other nodes."""
_VERSIONS = rows.table_of(BookVersion)
_LINES = rows.table_of(BookRow)


class BookLine(NamedTuple):
    """One line: the offer's row, its kind (`row`, `conditions`), the canonical JSON, and where it began."""

    row: int
    kind: str
    line: bytes
    from_version: int


async def head(conn: AsyncConnection) -> BookVersion | None:
    """The newest version, or None of a book not sealed yet."""
    newest = select(_VERSIONS).order_by(_VERSIONS.c.version.desc()).limit(1)
    return await rows.fetch_one(conn, newest, BookVersion)


async def lock_head(conn: AsyncConnection) -> BookVersion | None:
    """The newest version, with every other sealer kept out until this transaction ends."""
    await rows.take_lock(conn, rows.LOCK_BOOK)
    return await head(conn)


async def version(conn: AsyncConnection, number: int) -> BookVersion | None:
    """A version by its number, or None."""
    return await rows.get(conn, BookVersion, number)


async def add_version(
    conn: AsyncConnection,
    version: int,
    digest: bytes,
    sealed_at: int,
    lines: Iterable[tuple[int, str, bytes]],
) -> None:
    """Seal a version with the lines (row, kind, line) that it changes. Call it under `lock_head`."""
    await rows.insert(conn, BookVersion, [{"version": version, "digest": digest, "sealed_at": sealed_at}])
    changes = [{"row": row, "kind": kind, "from_version": version, "line": line} for row, kind, line in lines]
    await rows.insert(conn, BookRow, changes)
    if conn.dialect.name == "postgresql":
        await conn.execute(
            text("select pg_notify(:channel, :version)"), {"channel": CHANNEL, "version": str(version)}
        )


async def lines_at(conn: AsyncConnection, version: int) -> list[BookLine]:
    """Every line of a version, in (row, kind) order."""
    newest = (
        select(_LINES.c.row, _LINES.c.kind, func.max(_LINES.c.from_version).label("from_version"))
        .where(_LINES.c.from_version <= version)
        .group_by(_LINES.c.row, _LINES.c.kind)
        .subquery()
    )
    same = and_(*(_LINES.c[name] == newest.c[name] for name in ("row", "kind", "from_version")))
    query = _select_lines().select_from(_LINES.join(newest, same)).order_by(_LINES.c.row, _LINES.c.kind)
    return await _read(conn, query)


async def lines_between(conn: AsyncConnection, after: int, upto: int) -> list[BookLine]:
    """The changes of the versions after one and up to another, in the order they were sealed."""
    query = (
        _select_lines()
        .where(_LINES.c.from_version > after, _LINES.c.from_version <= upto)
        .order_by(_LINES.c.from_version, _LINES.c.row, _LINES.c.kind)
    )
    return await _read(conn, query)


def _select_lines() -> Select[int, str, bytes, int]:
    return select(_LINES.c.row, _LINES.c.kind, _LINES.c.line, _LINES.c.from_version)


async def _read(conn: AsyncConnection, query: Select[int, str, bytes, int]) -> list[BookLine]:
    return [BookLine(*line) for line in await conn.execute(query)]
