"""Recovery: what a dead node left running is taken over; an attempt without an answer is settled as unknown."""

import orjson
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.award import BATCHES, dumped
from lowtide.exchange.dispatch import Dispatcher
from lowtide.exchange.expire import expire, void
from lowtide.exchange.job import Job
from lowtide.exchange.market import Market
from lowtide.exchange.redecide import decide_again
from lowtide.exchange.task_past import past_of
from lowtide.ledger.entries import OVERRUN
from lowtide.market.states import AttemptState, TaskState
from lowtide.store import attempts, capacity, duties, events, money, tasks
from lowtide.store.tables import TaskRow
from lowtide.values.instants import SECOND_US

LEASE_US = 15 * SECOND_US
"""How long a node counts as alive after its last sign; real time, whatever the market's clock says."""
BATCH = 16
_log = structlog.get_logger()


async def sign_of_life(market: Market, real_now: int) -> None:
    """Renew this node's lease (`real_now`: wall time, µs)."""
    await market.database.writer.write(
        lambda conn: duties.take_or_renew(conn, f"node:{market.node}", market.node, real_now, LEASE_US)
    )


async def recover(market: Market, dispatcher: Dispatcher, real_now: int, *, alone: bool = False) -> int:
    """Take over tasks of nodes whose lease has ended, and run them again; how many were taken.

    `alone`: nothing of this market runs elsewhere (a node that just started on its own database), so all is dead.
    """
    now, taken = market.now(), 0
    seed = await market.seeds.at(now)

    async def unit(conn: AsyncConnection) -> tuple[int, list[Job]]:
        live = {market.node, BATCHES}
        if not alone:
            live |= await duties.live_owners(conn, real_now, "node:")
        found = await tasks.leased_by_dead(conn, live, BATCH)
        jobs = []
        for row in found:
            job = await _take_over(conn, market, row, now, seed)
            if job is not None:
                jobs.append(job)
        return len(found), jobs

    while True:
        found, jobs = await market.database.writer.write(unit)
        for job in jobs:
            dispatcher.start(market, job)
        taken += found
        if found < BATCH:
            if taken:
                _log.info("tasks_taken_over", count=taken)
            return taken


async def _take_over(
    conn: AsyncConnection, market: Market, row: TaskRow, now: int, seed: bytes
) -> Job | None:
    """The lost attempt may have been billed: the house bears its worst case, so that nobody pays twice for one answer."""
    for attempt in await attempts.of_task(conn, row.id):
        if attempt.state == AttemptState.STARTED and await attempts.end_attempt(
            conn,
            attempt.id,
            AttemptState.UNKNOWN,
            outcome="unknown",
            detail="The node that ran it died.",
            cost_nano=attempt.worst_nano,
            ended_at=now,
            possibly_billed_twice=True,
        ):
            await capacity.release(conn, attempt.offer_id)
            await money.overrun(conn, row.id, attempt.number, attempt.worst_nano, attempt.provider, now)
            await events.add_events(
                conn,
                [
                    {
                        "task_id": row.id,
                        "kind": "attempt.unknown",
                        "at": now,
                        "data": dumped({"offer_id": attempt.offer_id, "borne_by": OVERRUN}),
                    }
                ],
            )
    if row.complete_by is not None and row.complete_by <= now:
        await expire(conn, row, now)
        return None
    past = await past_of(conn, market, row, now)
    if row.attempts - past.taken_back >= int(
        orjson.loads(row.posted).get("max_attempts") or market.rules.max_attempts
    ):
        await void(conn, row, TaskState.FAILED, "attempts_used_up", now)
        return None
    return await decide_again(conn, market, row, now, seed)
