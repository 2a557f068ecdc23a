"""Starting a task that waited: its award, place, money, attempt and event, in the caller's transaction."""

from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.award import Candidate, award_values, dumped, holder, start_attempt
from lowtide.exchange.job import Job
from lowtide.exchange.market import Market
from lowtide.market.deferral.batch_lane import BATCH
from lowtide.market.states import TaskState
from lowtide.market.task import Task
from lowtide.store import events, money, tasks
from lowtide.store.tables import TaskRow


async def start_waiting(
    conn: AsyncConnection,
    market: Market,
    row: TaskRow,
    task: Task,
    ladder: tuple[Candidate, ...],
    auction_id: str,
    now: int,
    *,
    authorized_nano: int,
    rule: str,
    thin: bool = False,
    rescue_at: int | None = None,
    hold: dict[str, Any] | None = None,
    taken_back: int = 0,
) -> Job | None:
    """Start a waiting task at the first of the ladder; the job to run, None where it lies in a batch.

    `hold` is what it keeps of its wait where that is another than it had; `taken_back` attempts do not count as tries.

    Raises NoPlace where that offer is full, InsufficientFunds, LostRace; the caller then undoes what was written.
    """
    winner = ladder[0]
    more = await _authorize_more(conn, row, authorized_nano, now)
    changes: dict[str, Any] = {
        "award": dumped(award_values(winner, rule, thin, rescue_at, market.held.nets.slot_of(row.id))),
        "auction_id": auction_id,
        "reason": None,
        "attempts": row.attempts + 1,
        "lease_owner": holder(market, winner),
        "release_at": None,
        "expires_at": None,
        "authorized_nano": row.authorized_nano + more,
    }
    if row.hold:
        changes["hold"] = dumped({**(hold or orjson.loads(row.hold)), "released_at": now})
    attempt = await start_attempt(conn, market, row.id, auction_id, row.attempts + 1, winner, now, rescue_at)
    if row.state == TaskState.RUNNING:
        version = await tasks.touch(conn, row.id, row.state, row.version, **changes)
    else:
        version = await tasks.move(conn, row.id, row.state, row.version, TaskState.RUNNING, **changes)
    event = {
        "task_id": row.id,
        "kind": "task.running",
        "at": now,
        "data": dumped({"state": "running", "auction_id": auction_id}),
    }
    await events.add_events(conn, [event])
    if winner.offer.lane == BATCH and rescue_at is not None:
        return None
    payload = await tasks.payload(conn, row.id)
    fresh = TaskRow(**(row.model_dump() | changes | {"state": str(TaskState.RUNNING), "version": version}))
    posted = orjson.loads(row.posted)
    most = taken_back + int(posted.get("max_attempts") or market.rules.max_attempts)
    given = orjson.loads(payload.input if payload else "{}")
    return Job(fresh, task, given, ladder, attempt, max(most, attempt.number))


async def _authorize_more(conn: AsyncConnection, row: TaskRow, most_nano: int, now: int) -> int:
    more = max(0, most_nano - row.authorized_nano)
    if more:
        await money.raise_authorization(conn, row.account_id, row.id, 1_000 + row.version, more, now)
    return more
