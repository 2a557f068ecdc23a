"""Batches at sellers, and the attempts in them. An item goes when its attempt has ended, however it did."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.store import rows
from lowtide.store.tables import Attempt, BatchItem, BatchRow, Provider

_BATCHES = rows.table_of(BatchRow)
_ITEMS = rows.table_of(BatchItem)
_ATTEMPTS = rows.table_of(Attempt)
_PROVIDERS = rows.table_of(Provider)
_A_STATEMENT = 500


async def add_item(conn: AsyncConnection, item: Mapping[str, Any]) -> None:
    """Note an attempt that waits to be handed in."""
    await rows.insert(conn, BatchItem, [item])


async def waiting(conn: AsyncConnection, limit: int) -> list[BatchItem]:
    """Items that are in no batch yet, by provider and the hour of their rescue, then by age."""
    query = select(_ITEMS).where(_ITEMS.c.batch_id.is_(None))
    return await rows.fetch(
        conn, query.order_by(_ITEMS.c.created_at, _ITEMS.c.attempt_id).limit(limit), BatchItem
    )


async def due_for_rescue(conn: AsyncConnection, now_us: int, limit: int) -> list[BatchItem]:
    """Items whose rescue has come, in whatever batch or none, the longest due first."""
    query = select(_ITEMS).where(_ITEMS.c.rescue_at <= now_us)
    return await rows.fetch(conn, query.order_by(_ITEMS.c.rescue_at).limit(limit), BatchItem)


async def open_batch(conn: AsyncConnection, batch: Mapping[str, Any], attempt_ids: Sequence[str]) -> None:
    """Make a batch of items that wait."""
    await rows.insert(conn, BatchRow, [batch])
    for part in batched(attempt_ids):
        waits = (_ITEMS.c.attempt_id.in_(part), _ITEMS.c.batch_id.is_(None))
        await conn.execute(update(_ITEMS).where(*waits).values(batch_id=batch["id"]))


async def put_back(conn: AsyncConnection, attempt_ids: Sequence[str]) -> None:
    """Let items wait for another batch: they did not fit into theirs."""
    for part in batched(attempt_ids):
        await conn.execute(update(_ITEMS).where(_ITEMS.c.attempt_id.in_(part)).values(batch_id=None))


def batched(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Ids in parts that one statement takes."""
    for first in range(0, len(ids), _A_STATEMENT):
        yield ids[first : first + _A_STATEMENT]


async def in_state(conn: AsyncConnection, states: Collection[str]) -> list[BatchRow]:
    """Batches in these states, the oldest first."""
    query = select(_BATCHES).where(_BATCHES.c.state.in_(states)).order_by(_BATCHES.c.id)
    return await rows.fetch(conn, query, BatchRow)


async def get(conn: AsyncConnection, batch_id: str) -> BatchRow | None:
    """The batch under an id, or None."""
    return await rows.get(conn, BatchRow, batch_id)


async def items(conn: AsyncConnection, batch_id: str) -> list[BatchItem]:
    """What of a batch has not ended."""
    query = select(_ITEMS).where(_ITEMS.c.batch_id == batch_id).order_by(_ITEMS.c.attempt_id)
    return await rows.fetch(conn, query, BatchItem)


async def change(conn: AsyncConnection, batch_id: str, before: str, **columns: Any) -> bool:
    """Change a batch that is in the state `before`; False where it is in another."""
    statement = (
        update(_BATCHES).where(_BATCHES.c.id == batch_id, _BATCHES.c.state == before).values(**columns)
    )
    return await rows.changed(conn, statement) == 1


async def drop_items(conn: AsyncConnection, attempt_ids: Collection[str]) -> None:
    """Forget items whose attempts have ended."""
    await conn.execute(delete(_ITEMS).where(_ITEMS.c.attempt_id.in_(attempt_ids)))


async def drop_ended_items(conn: AsyncConnection) -> int:
    """Forget items whose attempts were ended elsewhere (a task was cancelled); how many."""
    ended = select(_ATTEMPTS.c.id).where(
        _ATTEMPTS.c.state != "started", _ATTEMPTS.c.id == _ITEMS.c.attempt_id
    )
    return await rows.changed(conn, delete(_ITEMS).where(ended.exists()))


async def durations(conn: AsyncConnection, since_us: int) -> list[tuple[str, int, int]]:
    """Provider's name, when it was sent and when it ended (µs), of complete batches that ended since."""
    query = (
        select(_PROVIDERS.c.name, _BATCHES.c.sent_at, _BATCHES.c.ended_at)
        .join(_PROVIDERS, _PROVIDERS.c.id == _BATCHES.c.provider_id)
        .where(
            _BATCHES.c.ended_at >= since_us,
            _BATCHES.c.outcome == "completed",
            _BATCHES.c.sent_at.is_not(None),
        )
        .order_by(_BATCHES.c.ended_at.desc())
        .limit(1_000)
    )
    return [(name, sent, ended) for name, sent, ended in (await conn.execute(query)).all()]


async def sellers(conn: AsyncConnection) -> list[str]:
    """Names of the providers that speak a batch wire."""
    query = select(_PROVIDERS.c.name).where(_PROVIDERS.c.batch_wire.is_not(None)).order_by(_PROVIDERS.c.name)
    return list((await conn.execute(query)).scalars())
