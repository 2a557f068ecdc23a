"""The columns by which people find auctions; the record itself is a line of the log."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.store import rows
from lowtide.store.tables import IS_CALL, AuctionRow, TaskRow

_AUCTIONS = rows.table_of(AuctionRow)
_TASKS = rows.table_of(TaskRow)


async def add_auction(conn: AsyncConnection, auction: Mapping[str, Any]) -> None:
    """Write an auction's columns."""
    await rows.insert(conn, AuctionRow, [auction])


async def get_auction(conn: AsyncConnection, auction_id: str) -> AuctionRow | None:
    """The auction under an id, or None."""
    return await rows.get(conn, AuctionRow, auction_id)


async def first_of_task(conn: AsyncConnection, task_id: str) -> str | None:
    """The id of a task's auction at arrival, or None."""
    query = select(_AUCTIONS.c.id).where(_AUCTIONS.c.task_id == task_id).order_by(_AUCTIONS.c.id).limit(1)
    return (await conn.execute(query)).scalar()


async def latest_call(conn: AsyncConnection) -> AuctionRow | None:
    """The newest call auction, or None."""
    query = select(_AUCTIONS).where(IS_CALL).order_by(_AUCTIONS.c.id.desc()).limit(1)
    return await rows.fetch_one(conn, query, AuctionRow)


async def list_auctions(
    conn: AsyncConnection,
    *,
    account_id: str | None = None,
    task_id: str | None = None,
    provider: str | None = None,
    outcome: str | None = None,
    reason: str | None = None,
    from_us: int | None = None,
    to_us: int | None = None,
    after: str | None = None,
    limit: int = 50,
) -> list[AuctionRow]:
    """Auctions, the newest first, those older than the id `after`, with `as_of` in [from_us, to_us).

    `provider` is the winner's; `account_id` keeps to the auctions of one account's tasks.
    """
    query = select(_AUCTIONS).order_by(_AUCTIONS.c.id.desc()).limit(limit)
    equals = {"task_id": task_id, "winner_provider": provider, "outcome": outcome, "reason": reason}
    query = query.where(*(_AUCTIONS.c[name] == value for name, value in equals.items() if value is not None))
    if account_id is not None:
        query = query.join(_TASKS, _TASKS.c.id == _AUCTIONS.c.task_id).where(
            _TASKS.c.account_id == account_id
        )
    if from_us is not None:
        query = query.where(_AUCTIONS.c.as_of >= from_us)
    if to_us is not None:
        query = query.where(_AUCTIONS.c.as_of < to_us)
    if after is not None:
        query = query.where(_AUCTIONS.c.id < after)
    return await rows.fetch(conn, query, AuctionRow)
