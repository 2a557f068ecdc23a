"""Notices to bidders: an outbox. They are written with what they tell of, and deleted once they have arrived."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.store import rows
from lowtide.store.tables import Notice

_NOTICES = rows.table_of(Notice)


async def add_notices(conn: AsyncConnection, notices: Sequence[Mapping[str, Any]]) -> None:
    """Write notices (`id`, `feed_id`, `body`, `due_at`, `created_at`)."""
    await rows.insert(conn, Notice, notices)


async def feeds_due(conn: AsyncConnection, now_us: int, limit: int = 200) -> list[str]:
    """Ids of feeds that have notices due."""
    query = select(_NOTICES.c.feed_id).where(_NOTICES.c.due_at <= now_us).distinct().limit(limit)
    return list((await conn.execute(query)).scalars())


async def due_of(conn: AsyncConnection, feed_id: str, now_us: int, limit: int) -> list[Notice]:
    """A feed's notices that are due, the oldest first."""
    query = select(_NOTICES).where(_NOTICES.c.feed_id == feed_id, _NOTICES.c.due_at <= now_us)
    return await rows.fetch(conn, query.order_by(_NOTICES.c.id).limit(limit), Notice)


async def forget(conn: AsyncConnection, ids: Sequence[str]) -> None:
    """Delete notices: they have arrived, or are given up."""
    if ids:
        await conn.execute(delete(_NOTICES).where(_NOTICES.c.id.in_(ids)))


async def forget_before(conn: AsyncConnection, feed_id: str, created_before_us: int) -> int:
    """Give up a feed's notices that were written before an instant; how many."""
    old = (_NOTICES.c.feed_id == feed_id, _NOTICES.c.created_at < created_before_us)
    return await rows.changed(conn, delete(_NOTICES).where(*old))


async def postpone(conn: AsyncConnection, feed_id: str, now_us: int, until_us: int) -> None:
    """Put off all of a feed's notices that are due: what one could not deliver another could not either."""
    statement = update(_NOTICES).where(_NOTICES.c.feed_id == feed_id, _NOTICES.c.due_at <= now_us)
    await conn.execute(statement.values(due_at=until_us, tries=_NOTICES.c.tries + 1))
