"""The outbox: what happened to tasks, for streams and webhooks."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.store import rows
from lowtide.store.tables import Event

_EVENTS = rows.table_of(Event)


async def add_events(conn: AsyncConnection, events: Sequence[Mapping[str, Any]]) -> None:
    """Write events (`task_id`, `kind`, `data`, `at`) in their order."""
    await rows.insert(conn, Event, events)


async def of_task(conn: AsyncConnection, task_id: str, after: int = 0, limit: int = 200) -> list[Event]:
    """A task's events after an event id, the oldest first."""
    query = select(_EVENTS).where(_EVENTS.c.task_id == task_id, _EVENTS.c.id > after)
    return await rows.fetch(conn, query.order_by(_EVENTS.c.id).limit(limit), Event)


async def newest_id(conn: AsyncConnection) -> int:
    """The highest event id, 0 where there is none."""
    return await rows.scalar_int(conn, select(func.max(_EVENTS.c.id)))
