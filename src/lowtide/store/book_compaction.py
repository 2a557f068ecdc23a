"""Which versions and lines of the book nobody needs any more, and their end.

A version is needed while an auction names it, and while it or a newer one was in force at or after some instant. A line
is needed while a version that still stands has it.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.store import rows
from lowtide.store.tables import AuctionRow, BookRow, BookVersion

_VERSIONS = rows.table_of(BookVersion)
_LINES = rows.table_of(BookRow)
_AUCTIONS = rows.table_of(AuctionRow)
_UNNAMED = ~select(_AUCTIONS.c.id).where(_AUCTIONS.c.book_version == _VERSIONS.c.version).exists()


class LineKey(NamedTuple):
    """What names a line of the book."""

    row: int
    kind: str
    from_version: int


def _in_force_at(at: int) -> object:
    return select(func.max(_VERSIONS.c.version)).where(_VERSIONS.c.sealed_at <= at).scalar_subquery()


async def unneeded_versions(conn: AsyncConnection, before: int, after: int, limit: int) -> list[int]:
    """Versions above `after` that no auction names and that a newer one had followed by an instant (µs), in order."""
    query = select(_VERSIONS.c.version).where(
        _VERSIONS.c.version > after, _VERSIONS.c.version < _in_force_at(before), _UNNAMED
    )
    return list((await conn.execute(query.order_by(_VERSIONS.c.version).limit(limit))).scalars())


async def drop_versions(conn: AsyncConnection, versions: Sequence[int]) -> int:
    """Delete versions that no auction names; how many. What lines they alone have is found by `unneeded_lines`."""
    return await rows.changed(conn, delete(_VERSIONS).where(_VERSIONS.c.version.in_(versions), _UNNAMED))


async def row_count(conn: AsyncConnection) -> int:
    """How many rows the book has."""
    return await rows.scalar_int(conn, select(func.coalesce(func.max(_LINES.c.row) + 1, 0)))


async def unneeded_lines(conn: AsyncConnection, first: int, end: int, before: int) -> list[LineKey]:
    """Lines of the rows [first, end) that no version which stands has, older than what was in force at an instant."""
    following = (
        func.lead(_LINES.c.from_version)
        .over(partition_by=(_LINES.c.row, _LINES.c.kind), order_by=_LINES.c.from_version)
        .label("following")
    )
    lines = (
        select(_LINES.c.row, _LINES.c.kind, _LINES.c.from_version, following)
        .where(_LINES.c.row >= first, _LINES.c.row < end)
        .subquery()
    )
    has = select(_VERSIONS.c.version).where(
        _VERSIONS.c.version >= lines.c.from_version, _VERSIONS.c.version < lines.c.following
    )
    query = select(lines.c.row, lines.c.kind, lines.c.from_version).where(
        lines.c.following.is_not(None), lines.c.from_version < _in_force_at(before), ~has.exists()
    )
    return [LineKey(*key) for key in await conn.execute(query)]


_DROP = delete(_LINES).where(*(_LINES.c[name] == bindparam(f"the_{name}") for name in LineKey._fields))


async def drop_lines(conn: AsyncConnection, lines: Sequence[LineKey]) -> int:
    """Delete these lines; how many were named."""
    if lines:
        await conn.execute(
            _DROP, [{f"the_{name}": value for name, value in key._asdict().items()} for key in lines]
        )
    return len(lines)
