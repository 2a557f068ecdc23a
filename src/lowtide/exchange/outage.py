"""Waiting out an outage: with time left, a task whose bids all failed waits for them instead of using up its tries.

It is queued under the failure's kind; `release_at` is when it tries again, `expires_at` the same, so that the queue's
index finds it. Other offers, and those that have answered somebody since, may serve it before.
"""

from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.award import dumped
from lowtide.exchange.captures import charged
from lowtide.exchange.job import Job
from lowtide.exchange.ladder import latest_start, next_try, passes_left
from lowtide.exchange.market import Market
from lowtide.exchange.notices import tell_settled
from lowtide.exchange.receipts import settled_values
from lowtide.exchange.settle import (
    Settlement,
    end_failed,
    note_failure,
    tell_winner_that_failed,
)
from lowtide.market.states import TaskState
from lowtide.store import attempts, events, tasks
from lowtide.store.tables import TaskRow
from lowtide.values.instants import rfc3339
from lowtide.wire.call import Failure, FailureKind

LASTING = frozenset({FailureKind.REFUSED_CREDENTIAL, FailureKind.MODEL_MISSING, FailureKind.CONTEXT_TOO_LONG})
"""Failures of an offer that a second call of it would only repeat."""
SPENT_AT_ONCE, MOST_KEPT = 4, 2


async def try_again_at(
    market: Market, job: Job, spent: Settlement, failure: Failure, soonest: int
) -> int | None:
    """When (µs) a task tries again whose bids have failed for now; None where it can't wait, or has no try left.

    `soonest` is the earliest that its provider, or the backoff, lets it.
    """
    deadline = spent.task.constraints.complete_by
    latest = None if deadline is None else latest_start(job.ladder, deadline, job.hopeless)
    left = job.max_attempts - spent.attempt.number
    if latest is None or left < 1 or not failure.retry_elsewhere:
        return None
    async with market.database.read() as conn:
        tried = await attempts.of_task(conn, spent.row.id)
    first = tried[0].started_at if tried else spent.attempt.started_at
    passes = passes_left(left, kept_tries(job.max_attempts), len(job.ladder) - len(job.hopeless))
    return next_try(first, spent.ended_at, latest, passes, soonest)


def kept_tries(max_attempts: int) -> int:
    """How many of its tries a task with time left does not spend at once: up to two beyond the fourth."""
    return max(0, min(MOST_KEPT, max_attempts - SPENT_AT_ONCE))


async def wait_out(market: Market, spent: Settlement, failure: Failure, at: int) -> None:
    """End the attempt and queue its task until `at` (µs), in one commit; what was set aside for it stays.

    Raises LostRace where the task was ended meanwhile.
    """
    row, called, now = spent.row, spent.attempt.candidate, spent.ended_at
    cost_nano = charged(called, failure)

    async def unit(conn: AsyncConnection) -> None:
        await end_failed(conn, spent, failure, cost_nano)
        await tasks.move(
            conn,
            row.id,
            row.state,
            row.version,
            TaskState.QUEUED,
            lease_owner=None,
            award=None,
            **waiting(failure, at),
        )
        outcome = settled_values(TaskState.FAILED, {"paid": cost_nano}, now)
        await tell_settled(conn, called.feed_id, called.offer.id, row.auction_id, outcome)
        await tell_winner_that_failed(conn, spent, {"paid": 0})
        told = {"offer_id": called.offer.id, "outcome": failure.kind, "next": None}
        queued = {"state": "queued", "reason": failure.kind, "retry_at": rfc3339(at)}
        await events.add_events(
            conn,
            [
                {"task_id": row.id, "kind": kind, "at": now, "data": dumped(data)}
                for kind, data in (("attempt.failed", told), ("task.queued", queued))
            ],
        )

    await market.database.writer.write(unit)
    await note_failure(market, spent, failure)


def waiting(failure: Failure, at: int) -> dict[str, Any]:
    """The columns of a queued task that waits out such a failure until `at` (µs)."""
    return {"reason": str(failure.kind), "release_at": at, "expires_at": at}


def waits(row: TaskRow) -> bool:
    """Whether a task waits for offers that failed it."""
    return row.state == TaskState.QUEUED and row.release_at is not None


def pauses(row: TaskRow, now: int) -> bool:
    """Whether it still does so, its pause not being over (now in µs)."""
    return waits(row) and row.release_at is not None and row.release_at > now


async def left_alone(
    conn: AsyncConnection, market: Market, row: TaskRow, now: int, taken_back: int
) -> frozenset[int] | None:
    """The rows that a task which waits out an outage is not given as of now (µs); None where it is given none at all.

    Once its pause is over those whose failure another call would only repeat; before, all that failed it and have not
    answered anybody since. Its kept tries it spends before only where one of those has.
    """
    if not waits(row):
        return frozenset()
    book, seen = market.keeper.book, market.observations
    failed = {
        one.offer_id: one for one in await attempts.of_task(conn, row.id) if one.offer_id in book.row_of
    }
    lasting = {name for name, one in failed.items() if one.outcome in LASTING}
    if not pauses(row, now):
        return frozenset(book.row_of[name] for name in lasting)
    back = {name for name, one in failed.items() if seen.answered_since(name, one.ended_at or now)} - lasting
    most = int(orjson.loads(row.posted).get("max_attempts") or market.rules.max_attempts)
    if not back and most + taken_back - row.attempts <= kept_tries(most):
        return None
    return frozenset(book.row_of[name] for name in failed.keys() - back)
