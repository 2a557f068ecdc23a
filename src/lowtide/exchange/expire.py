"""The end of what was never served: its time is over, nobody can serve it any more, or its requester withdrew it."""

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange import captures
from lowtide.exchange.award import dumped
from lowtide.exchange.hindsight import note_end
from lowtide.exchange.market import Market
from lowtide.exchange.notices import tell_settled
from lowtide.exchange.outage import waits
from lowtide.exchange.receipts import receipt_values, settled_values, settlement_line
from lowtide.market.states import AttemptState, TaskState
from lowtide.store import attempts, capacity, events, log, tasks
from lowtide.store.tables import TaskRow

BATCH = 64


async def expire_due(market: Market) -> int:
    """End queued tasks whose time is over; how many."""
    now, total = market.now(), 0

    async def unit(conn: AsyncConnection) -> int:
        due = await tasks.due_queued(conn, now, BATCH)
        for row in due:
            await expire(conn, row, now)
        return len(due)

    while True:
        found = await market.database.writer.write(unit)
        total += found
        if found < BATCH:
            return total


async def expire(conn: AsyncConnection, row: TaskRow, now: int) -> None:
    """A waiting task's time is over. Where every provider was down it ends as an `outage`, counted apart."""
    down = row.reason == "circuit_open" or waits(row)
    reason = "outage" if down else row.reason or "deadline_passed"
    await void(conn, row, TaskState.EXPIRED, reason, now)


async def void(
    conn: AsyncConnection,
    row: TaskRow,
    state: TaskState,
    reason: str,
    now: int,
    *,
    auction_id: str | None = None,
) -> None:
    """End a task without an answer: attempts under way are cancelled, what was set aside is free again."""
    for attempt in await attempts.of_task(conn, row.id):
        if attempt.state == AttemptState.STARTED and await attempts.end_attempt(
            conn, attempt.id, AttemptState.CANCELLED, outcome="cancelled", ended_at=now
        ):
            await capacity.release(conn, attempt.offer_id)
    tried = await attempts.of_task(conn, row.id)
    paid = captures.paid(0, tried, row.authorized_nano)
    receipt = receipt_values(
        row,
        tried,
        paid,
        None,
        None,
        status="captured" if paid else "voided",
        deadline_met=None,
        held_us=now - row.created_at if row.hold else 0,
    )
    columns = {"auction_id": auction_id} if auction_id is not None else {}
    await tasks.move(
        conn,
        row.id,
        row.state,
        row.version,
        state,
        reason=reason,
        receipt=dumped(receipt),
        finished_at=now,
        lease_owner=None,
        release_at=None,
        expires_at=None,
        **columns,
    )
    if row.authorized_nano:
        await captures.capture(conn, row, 0, tried[-1].provider if tried else "none", tried, now)
    await events.add_events(
        conn,
        [
            {
                "task_id": row.id,
                "kind": f"task.{state}",
                "at": now,
                "data": dumped({"state": str(state), "reason": reason}),
            }
        ],
    )
    if state is TaskState.EXPIRED:
        await note_end(conn, row, str(state), receipt, None, now)
    award = orjson.loads(row.award) if row.award else {}
    told = settled_values(state, receipt, now)
    await tell_settled(conn, award.get("feed"), award.get("offer_id", ""), row.auction_id, told)
    await log.append(
        conn, "settlement", auction_id or row.auction_id, settlement_line(row, state, receipt, now)
    )
