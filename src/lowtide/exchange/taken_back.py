"""What a spot lane gives back: the attempt ends, and with the time that is left the task is decided on again at once."""

from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.award import dumped
from lowtide.exchange.captures import charged
from lowtide.exchange.expire import expire
from lowtide.exchange.job import Job
from lowtide.exchange.market import Market
from lowtide.exchange.notices import tell_settled
from lowtide.exchange.outage import waiting
from lowtide.exchange.receipts import settled_values
from lowtide.exchange.redecide import decide_again
from lowtide.exchange.settle import Settlement, end_failed, note_failure
from lowtide.market.states import TaskState
from lowtide.store import events, tasks
from lowtide.store.rows import LostRace
from lowtide.store.tables import TaskRow
from lowtide.wire.call import Failure


async def take_back(
    market: Market, spent: Settlement, failure: Failure, refused: set[int], retry_at: int | None = None
) -> Job | None:
    """End a spot call without an answer and decide again as of its end, without the `refused` rows, in one commit.

    Where nobody else serves it, it tries again at `retry_at` (µs), or where that is None at the next place.
    Gives the job to carry on, None where the task waits or has ended. Raises LostRace where it was ended meanwhile.
    """
    now, called = spent.ended_at, spent.attempt.candidate
    cost_nano = charged(called, failure)
    seed = await market.seeds.at(now)

    async def unit(conn: AsyncConnection) -> Job | None:
        row = await tasks.get_task(conn, spent.row.id)
        if row is None or (row.state, row.version) != (TaskState.RUNNING, spent.row.version):
            raise LostRace(f"Task {spent.row.id} was ended meanwhile.")
        await end_failed(conn, spent, failure, cost_nano)
        outcome = settled_values(TaskState.FAILED, {"paid": cost_nano}, now)
        await tell_settled(conn, called.feed_id, called.offer.id, row.auction_id, outcome)
        told = {"offer_id": called.offer.id, "outcome": failure.kind, "next": None}
        event = {"task_id": row.id, "kind": "attempt.failed", "at": now, "data": dumped(told)}
        await events.add_events(conn, [event])
        if row.complete_by is not None and row.complete_by <= now:
            await expire(conn, row, now)
            return None
        job = await decide_again(conn, market, row, now, seed, refused)
        if job is None:
            await _queue_what_is_left(conn, row)
            if retry_at is not None:
                await _wait_out(conn, row.id, failure, retry_at)
        return job

    job = await market.database.writer.write(unit)
    await note_failure(market, spent, failure)
    return job


async def _wait_out(conn: AsyncConnection, task_id: str, failure: Failure, retry_at: int) -> None:
    left = await tasks.get_task(conn, task_id)
    if left is not None and left.state == TaskState.QUEUED:
        await tasks.touch(conn, left.id, left.state, left.version, **waiting(failure, retry_at))


async def _queue_what_is_left(conn: AsyncConnection, row: TaskRow) -> None:
    """A task that found every offer full keeps no state without a call: it waits for a place."""
    left = await tasks.get_task(conn, row.id)
    if left is not None and (left.state, left.version) == (row.state, row.version):
        waiting = {"lease_owner": None, "reason": "no_capacity", "expires_at": row.complete_by}
        await tasks.move(conn, row.id, row.state, row.version, TaskState.QUEUED, **waiting)
