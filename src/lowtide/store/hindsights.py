"""What waiting came to, task by task: noted when a held task ends, looked back on once its window is over."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import case, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.store import rows
from lowtide.store.tables import HindsightRow

_HINDSIGHTS = rows.table_of(HindsightRow)


async def note(conn: AsyncConnection, values: Mapping[str, Any]) -> None:
    """Note a held task's end; it is due to be looked back on at `due_at` (µs)."""
    await rows.insert_new(conn, HindsightRow, values, ["task_id"])


async def due(conn: AsyncConnection, now_us: int, limit: int) -> list[HindsightRow]:
    """Tasks whose window is over and that were not looked back on yet, the longest due first."""
    query = (
        select(_HINDSIGHTS).where(_HINDSIGHTS.c.due_at <= now_us).order_by(_HINDSIGHTS.c.due_at).limit(limit)
    )
    return await rows.fetch(conn, query, HindsightRow)


async def tell(conn: AsyncConnection, task_id: str, clairvoyant_nano: int | None) -> bool:
    """Write what the clairvoyant would have paid, once; False where it was written before."""
    statement = (
        update(_HINDSIGHTS)
        .where(_HINDSIGHTS.c.task_id == task_id, _HINDSIGHTS.c.due_at.is_not(None))
        .values(clairvoyant_nano=clairvoyant_nano, due_at=None)
    )
    return await rows.changed(conn, statement) == 1


async def of_task(conn: AsyncConnection, task_id: str) -> HindsightRow | None:
    """What is noted of a task, or None."""
    return await rows.get(conn, HindsightRow, task_id)


async def arrived_between(
    conn: AsyncConnection, from_us: int, to_us: int, account_id: str | None = None
) -> list[HindsightRow]:
    """Tasks that arrived in [from_us, to_us) and were looked back on, of one account or of all, by arrival."""
    query = (
        select(_HINDSIGHTS)
        .where(
            _HINDSIGHTS.c.arrived_at >= from_us,
            _HINDSIGHTS.c.arrived_at < to_us,
            _HINDSIGHTS.c.due_at.is_(None),
        )
        .order_by(_HINDSIGHTS.c.arrived_at)
    )
    if account_id is not None:
        query = query.where(_HINDSIGHTS.c.account_id == account_id)
    return await rows.fetch(conn, query, HindsightRow)


class Pending(NamedTuple):
    """Tasks not looked back on yet: how many, when the first is (µs), what those served paid and would have at once."""

    tasks: int = 0
    next_at: int | None = None
    paid_nano: int = 0
    immediate_nano: int = 0


async def pending(conn: AsyncConnection, from_us: int, to_us: int, account_id: str | None = None) -> Pending:
    """Of tasks that arrived in [from_us, to_us), those that have ended and were not looked back on yet."""
    served = _HINDSIGHTS.c.immediate_nano.is_not(None)
    query = select(
        func.count(),
        func.min(_HINDSIGHTS.c.due_at),
        func.coalesce(func.sum(case((served, _HINDSIGHTS.c.paid_nano), else_=0)), 0),
        func.coalesce(func.sum(_HINDSIGHTS.c.immediate_nano), 0),
    ).where(
        _HINDSIGHTS.c.arrived_at >= from_us,
        _HINDSIGHTS.c.arrived_at < to_us,
        _HINDSIGHTS.c.due_at.is_not(None),
    )
    if account_id is not None:
        query = query.where(_HINDSIGHTS.c.account_id == account_id)
    count, first, paid, immediate = (await conn.execute(query)).one()
    return Pending(count, first, int(paid), int(immediate))
