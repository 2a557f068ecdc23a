"""Attempts: calls of a provider, from `started` to how they ended."""

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import bindparam, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.market.states import AttemptState
from lowtide.store import rows
from lowtide.store.tables import Attempt, TaskRow
from lowtide.values.ids import first_id

_ATTEMPTS = rows.table_of(Attempt)
_TASKS = rows.table_of(TaskRow)
_STARTED = update(_ATTEMPTS).where(
    _ATTEMPTS.c.id == bindparam("the_id"), _ATTEMPTS.c.state == literal(AttemptState.STARTED.value)
)


async def add_attempt(conn: AsyncConnection, attempt: Mapping[str, Any]) -> None:
    """Write an attempt as it starts."""
    await rows.insert(conn, Attempt, [{"state": AttemptState.STARTED.value, **attempt}])


async def end_attempt(conn: AsyncConnection, attempt_id: str, state: AttemptState, **columns: Any) -> bool:
    """End an attempt that had started; False where it has ended before, and nothing is changed then."""
    if state is AttemptState.STARTED:
        raise ValueError("an attempt does not end by starting")
    values = {**columns, "the_id": attempt_id, "state": state.value}
    return await rows.changed(conn, _STARTED, values) == 1


async def get(conn: AsyncConnection, attempt_id: str) -> Attempt | None:
    """The attempt under an id, or None."""
    return await rows.get(conn, Attempt, attempt_id)


async def of_task(conn: AsyncConnection, task_id: str) -> list[Attempt]:
    """A task's attempts, the first first."""
    query = select(_ATTEMPTS).where(_ATTEMPTS.c.task_id == task_id).order_by(_ATTEMPTS.c.number)
    return await rows.fetch(conn, query, Attempt)


async def started_of_offer(conn: AsyncConnection, offer_id: str) -> int:
    """How many attempts of an offer are on their way."""
    query = select(func.count()).select_from(_ATTEMPTS)
    query = query.where(_ATTEMPTS.c.offer_id == offer_id, _ATTEMPTS.c.state == AttemptState.STARTED.value)
    return await rows.scalar_int(conn, query)


async def unheld_since(conn: AsyncConnection, offer_ids: Collection[str], since_us: int) -> dict[str, int]:
    """By offer, how many tasks that never waited for a price were first called there since an instant (µs)."""
    query = (
        select(_ATTEMPTS.c.offer_id, func.count())
        .join(_TASKS, _TASKS.c.id == _ATTEMPTS.c.task_id)
        .where(
            _ATTEMPTS.c.id >= first_id("att", since_us),
            _ATTEMPTS.c.number == 1,
            _ATTEMPTS.c.offer_id.in_(offer_ids),
            _TASKS.c.hold.is_(None),
        )
        .group_by(_ATTEMPTS.c.offer_id)
    )
    return {row[0]: row[1] for row in await conn.execute(query)}


async def recent_answers(conn: AsyncConnection, limit: int) -> list[tuple[str, str, int]]:
    """Task type, usage (JSON) and cost (nano-USD) of the newest answered attempts, the newest first."""
    query = (
        select(_TASKS.c.task_type, _ATTEMPTS.c.usage, _ATTEMPTS.c.cost_nano)
        .join(_TASKS, _TASKS.c.id == _ATTEMPTS.c.task_id)
        .where(_ATTEMPTS.c.state == AttemptState.ANSWERED.value, _ATTEMPTS.c.usage.is_not(None))
        .order_by(_ATTEMPTS.c.id.desc())
        .limit(limit)
    )
    return [(kind, usage, cost) for kind, usage, cost in (await conn.execute(query)).all()]
