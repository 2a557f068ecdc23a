"""The log: lines go in with the commit that makes them; a sealer numbers what is committed, in one order."""

from collections.abc import Iterable

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.store import rows
from lowtide.store.tables import IS_UNNUMBERED, LogLine
from lowtide.values.canonical import leaf_hash

_LOG = rows.table_of(LogLine)


async def append(conn: AsyncConnection, kind: str, auction_id: str | None, line: bytes) -> None:
    """Write one line of a type (`auction`, `settlement`, …)."""
    await append_all(conn, [(kind, auction_id, line)])


async def append_all(conn: AsyncConnection, lines: Iterable[tuple[str, str | None, bytes]]) -> None:
    """Write lines (type, auction id, line) in their order."""
    values = [
        {"type": kind, "auction_id": auction_id, "line": line, "leaf_hash": leaf_hash(line)}
        for kind, auction_id, line in lines
    ]
    await rows.insert(conn, LogLine, values)


async def number_leaves(conn: AsyncConnection, limit: int) -> int:
    """Give up to `limit` lines that have none the next leaf indexes, in id order; how many were numbered.

    Indexes have no gap and no double: sealers keep each other out. A line that was committed late gets
    a later index.
    """
    await rows.take_lock(conn, rows.LOCK_LOG)
    base = await count_leaves(conn)
    waiting = select(_LOG.c.id).where(IS_UNNUMBERED).order_by(_LOG.c.id).limit(limit).subquery()
    place = (func.row_number().over(order_by=waiting.c.id) - 1).label("place")
    numbered = select(waiting.c.id, place).subquery()
    statement = update(_LOG).where(_LOG.c.id == numbered.c.id).values(leaf_index=base + numbered.c.place)
    return await rows.changed(conn, statement)


async def count_leaves(conn: AsyncConnection) -> int:
    """How many lines have a leaf index: the size of the tree."""
    return await rows.scalar_int(conn, select(func.coalesce(func.max(_LOG.c.leaf_index) + 1, 0)))


async def count_unnumbered(conn: AsyncConnection) -> int:
    """How many committed lines wait for the sealer."""
    return await rows.scalar_int(conn, select(func.count()).select_from(_LOG).where(IS_UNNUMBERED))


async def record_of(conn: AsyncConnection, auction_id: str) -> LogLine | None:
    """An auction's record, or None."""
    query = select(_LOG).where(_LOG.c.auction_id == auction_id, _LOG.c.type == "auction").order_by(_LOG.c.id)
    return await rows.fetch_one(conn, query.limit(1), LogLine)


async def lines_of_auction(conn: AsyncConnection, auction_id: str) -> list[LogLine]:
    """Every line that names an auction, in the order they were written."""
    return await rows.fetch(
        conn, select(_LOG).where(_LOG.c.auction_id == auction_id).order_by(_LOG.c.id), LogLine
    )


async def stream(conn: AsyncConnection, after_leaf: int, limit: int) -> list[LogLine]:
    """Numbered lines after a leaf index (-1: from the first), in leaf order.

    Leaves, not ids: on PostgreSQL a line with a lower id may become visible later than one with a higher.
    """
    query = select(_LOG).where(_LOG.c.leaf_index > after_leaf).order_by(_LOG.c.leaf_index).limit(limit)
    return await rows.fetch(conn, query, LogLine)
