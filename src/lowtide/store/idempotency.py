"""Idempotency keys: claimed in the commit that makes the thing, then given the answer that was sent."""

from sqlalchemy import delete, update
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.store import rows
from lowtide.store.tables import IdempotencyKey
from lowtide.values.errors import Conflict

_KEYS = rows.table_of(IdempotencyKey)


async def get(conn: AsyncConnection, principal: str, key: str) -> IdempotencyKey | None:
    """What stands under a principal's key, or None."""
    query = _KEYS.select().where(_KEYS.c.principal == principal, _KEYS.c.key == key)
    return await rows.fetch_one(conn, query, IdempotencyKey)


async def claim(
    conn: AsyncConnection, principal: str, key: str, request_hash: str, resource_id: str, at_us: int
) -> None:
    """Claim a key for what is made under it. Raises Conflict (`idempotency_in_progress`) if it is taken."""
    row = {
        "principal": principal,
        "key": key,
        "request_hash": request_hash,
        "resource_id": resource_id,
        "created_at": at_us,
    }
    if not await rows.insert_new(conn, IdempotencyKey, row, ["principal", "key"]):
        raise Conflict(
            f"A request with Idempotency-Key {key!r} is under way. Send it again in a moment for its answer.",
            code="idempotency_in_progress",
        )


async def save_response(conn: AsyncConnection, principal: str, key: str, status: int, response: str) -> None:
    """Keep the answer given, for those who send the same again."""
    one = update(_KEYS).where(_KEYS.c.principal == principal, _KEYS.c.key == key)
    await conn.execute(one.values(status=status, response=response))


async def forget_before(conn: AsyncConnection, before_us: int) -> int:
    """Delete keys claimed before an instant (µs); how many."""
    return await rows.changed(conn, delete(_KEYS).where(_KEYS.c.created_at < before_us))
