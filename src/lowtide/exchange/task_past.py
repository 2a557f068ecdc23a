"""What a task's own past means for the next decision on it: who took it back, and until when it is left alone."""

from collections import Counter
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.captures import PREEMPTED
from lowtide.exchange.market import Market
from lowtide.market.deferral.progress import JobProgress
from lowtide.store import attempts
from lowtide.store.tables import TaskRow
from lowtide.values.instants import SECOND_US


@dataclass(frozen=True, slots=True)
class TaskPast:
    """Rows that took the task back and until when (µs) they rest, how many of its attempts were taken back, and its job."""

    resting: tuple[tuple[int, int], ...] = ()
    taken_back: int = 0
    job: JobProgress | None = None


NO_PAST = TaskPast()


async def past_of(conn: AsyncConnection, market: Market, row: TaskRow, now: int) -> TaskPast:
    """The past of a task as of now (µs). An offer rests twice as long each further time, so that tries stay few."""
    job = None if row.job is None else await market.jobs.progress(conn, row.account_id, row.job, now)
    if not row.attempts:
        return NO_PAST if job is None else TaskPast(job=job)
    back = [one for one in await attempts.of_task(conn, row.id) if one.outcome == PREEMPTED]
    times = Counter(attempt.offer_id for attempt in back)
    rest_us = int(market.rules.spot_rest_s * SECOND_US)
    until = {
        one.offer_id: (one.ended_at or now) + (rest_us << min(times[one.offer_id] - 1, 32)) for one in back
    }
    rows = market.keeper.book.row_of
    resting = sorted((rows[offer], at) for offer, at in until.items() if offer in rows and at > now)
    return TaskPast(tuple(resting), len(back), job)
