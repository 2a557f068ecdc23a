"""Deciding again on a task that waits: run it, let it wait on, or end it; what changes nothing is not written."""

from dataclasses import replace
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.award import (
    NoPlace,
    candidates,
    dumped,
    rescue_of,
    write_auction,
)
from lowtide.exchange.deciding import TRIES, authorization, inputs_for, with_usual_output
from lowtide.exchange.expire import expire, void
from lowtide.exchange.forecasts import SLOT_US
from lowtide.exchange.hold import hold_values
from lowtide.exchange.job import Job
from lowtide.exchange.live import Asked
from lowtide.exchange.market import Market
from lowtide.exchange.notices import tell_outcome
from lowtide.exchange.outage import left_alone, pauses, waits
from lowtide.exchange.placed import follow_place, kept_back, stays, wait_for_a_slot
from lowtide.exchange.starting import start_waiting
from lowtide.exchange.task_past import TaskPast, past_of
from lowtide.market.auction import AWARDED, HELD, QUEUED, Decision
from lowtide.market.book import Book
from lowtide.market.deferral.continuation import POOL
from lowtide.market.deferral.known import AGAIN, Deferral
from lowtide.market.deferral.net import PREEMPTIBLE
from lowtide.market.record import AuctionIds, auction_key
from lowtide.market.spot import Inputs
from lowtide.market.states import TaskState
from lowtide.market.task import Task, task_from_values
from lowtide.store import attempts, events, tasks
from lowtide.store.tables import TaskRow
from lowtide.values.errors import InsufficientFunds
from lowtide.values.ids import new_id
from lowtide.values.instants import MINUTE_US, SECOND_US

FREE_AGAIN_US = 2 * SECOND_US
"""When a held task asks an offer again that was full."""
LOOK_AGAIN_US = MINUTE_US
"""When a hold is looked at again that cannot be decided on yet."""


def task_of(market: Market, row: TaskRow) -> Task:
    """The core's task of a stored one, with its type's usual output as known now."""
    return with_usual_output(market, task_from_values(row.id, orjson.loads(row.decided_as)))


async def decide_again(
    conn: AsyncConnection,
    market: Market,
    row: TaskRow,
    now: int,
    seed: bytes,
    full: set[int] | None = None,
    to_ask: list[TaskRow] | None = None,
    asked: Asked | None = None,
) -> Job | None:
    """Decide on a waiting task as of now and write what changed; the job to start where it was awarded.

    A decision that changes nothing is not written to the log. `full` are rows that tasks before it in the same pass
    found full; those that this one finds full are added. Where bidders would have to be asked before it is awarded, it
    is added to `to_ask` instead (without that list the standing quotes hold); `asked` is what they answered.
    """
    task = task_of(market, row)
    if row.complete_by is not None and row.complete_by <= now:
        await expire(conn, row, now)
        return None
    pressed = row.id in market.held.pressed
    if not market.forecasts.made and not pressed and await _left_alone(conn, row, now):
        return None
    try:
        followed = await follow_place(conn, market, row, task, now)
    except InsufficientFunds:
        await void(conn, row, TaskState.EXPIRED, "insufficient_funds", now)
        return None
    if followed.done:
        return followed.job
    full, past = set() if full is None else full, await past_of(conn, market, row, now)
    others = frozenset[int]() if pressed else kept_back(market, row, now)
    alone = await left_alone(conn, market, row, now, past.taken_back)
    if alone is None:
        return None
    for _ in range(TRIES):
        refused = tuple(sorted(full | others | alone))
        book, inputs = market.keeper.book, inputs_for(market, task, refused, asked, past)
        ids = AuctionIds(new_id("auc", now) if asked is None else asked.auction_id, task.id, now)
        key = auction_key(seed, ids.id)
        held = row.state == TaskState.HELD
        inputs, decision = market.held.decide(task, book, inputs, now, key, held=held)
        market.jobs.note(row.account_id, row.job, decision)
        if not pressed and stays(market, row, decision, now):
            return None
        if others and decision.outcome not in (AWARDED, HELD):
            await wait_for_a_slot(conn, market, row, now, soon=bool(full - others))
            return None
        if decision.outcome == AWARDED and full and held and not pressed:
            patient = _resting(inputs, full, book, now)
            waiting = market.held.decide(task, book, patient, now, key, held=True)
            if waiting[1].outcome == HELD:
                inputs, decision = waiting
        if decision.outcome != AWARDED:
            if not pauses(row, now):
                await _wait_on(conn, market, row, task, book, inputs, ids, decision, asked)
            return None
        if to_ask is not None and market.bidders.active and market.bidders.to_ask(task, decision.spot, now):
            to_ask.append(row)
            return None
        try:
            async with conn.begin_nested():
                return await _release(conn, market, row, task, book, inputs, ids, decision, asked, past)
        except NoPlace as found:
            full.add(found.row)
        except InsufficientFunds:
            await void(conn, row, TaskState.EXPIRED, "insufficient_funds", now)
            return None
    return None


def _resting(inputs: Inputs, full: set[int], book: Book, now: int) -> Inputs:
    """The inputs of a task that would rather wait a moment than go to another offer because these rows are full.

    What a spot lane sells may be gone for good: nobody waits for a place there.
    """
    until = now + FREE_AGAIN_US
    rows = sorted(row for row in full if book.rows[row].offer.lane not in PREEMPTIBLE)
    refused = tuple(row for row in inputs.refused if row not in rows)
    return replace(inputs, refused=refused, resting=(*inputs.resting, *((row, until) for row in rows)))


async def _called_at_arrival(conn: AsyncConnection, row: TaskRow) -> dict[str, Any]:
    """For a hold of a task that ran before and came back: the offer that it won first, to compare with."""
    if not row.attempts:
        return {}
    first = (await attempts.of_task(conn, row.id))[0]
    return {"immediate": {"offer_id": first.offer_id, "prices": orjson.loads(first.prices)}}


async def _left_alone(conn: AsyncConnection, row: TaskRow, now: int) -> bool:
    """Leave a hold by forecast as it is while this node, just started, has no forecasts yet and time enough is left.

    Else every start of a node would end the holds that rest on forecasts.
    """
    hold = orjson.loads(row.hold) if row.state == TaskState.HELD and row.hold else {}
    if "forecast" not in hold or hold["latest_start"] - now <= SLOT_US:
        return False
    if row.release_at is not None and row.release_at <= now:
        release_at = now + LOOK_AGAIN_US
        changes = {"hold": dumped(hold | {"release_at": release_at}), "release_at": release_at}
        await tasks.touch(conn, row.id, row.state, row.version, **changes)
    return True


async def _release(
    conn: AsyncConnection,
    market: Market,
    row: TaskRow,
    task: Task,
    book: Book,
    inputs: Inputs,
    ids: AuctionIds,
    decision: Decision,
    asked: Asked | None,
    past: TaskPast,
) -> Job | None:
    ladder = candidates(decision, ids.as_of, {} if asked is None else asked.feeds)
    await _write_auction(conn, ids, task, book, inputs, decision, asked)
    job = await start_waiting(
        conn,
        market,
        row,
        task,
        ladder,
        ids.id,
        ids.as_of,
        authorized_nano=authorization(task, decision, ladder),
        rule=decision.rule,
        thin=decision.thin,
        rescue_at=rescue_of(decision),
        taken_back=past.taken_back,
    )
    if job is not None:
        job.outwaited = waits(row) and not pauses(row, ids.as_of)
    return job


async def _wait_on(
    conn: AsyncConnection,
    market: Market,
    row: TaskRow,
    task: Task,
    book: Book,
    inputs: Inputs,
    ids: AuctionIds,
    decision: Decision,
    asked: Asked | None,
) -> None:
    now = ids.as_of
    if decision.outcome == HELD and decision.deferral is not None:
        state, plan, old = TaskState.HELD, decision.deferral, orjson.loads(row.hold) if row.hold else {}
        if row.state == state and _same_plan(old, plan, book, now):
            return
        hold = hold_values(decision, book, now)
        hold |= {"since": old.get("since", now)}
        hold |= {"immediate": old["immediate"]} if "immediate" in old else await _called_at_arrival(conn, row)
        changes: dict[str, Any] = {
            "hold": dumped(hold),
            "release_at": plan.release_at,
            "reason": None,
            "expires_at": None,
        }
        market.held.note(task, plan, book.version)
        if row.state == state and _goes_on(old, plan, book):
            await tasks.touch(conn, row.id, row.state, row.version, **changes)
            return
    elif decision.outcome == QUEUED:
        state = TaskState.QUEUED
        if row.state == state:
            if waits(row):
                # Its offers are full or shut now: then it is their return that it waits for, no more its own pause.
                left = {"release_at": None, "reason": decision.code, "expires_at": row.complete_by}
                await tasks.touch(conn, row.id, row.state, row.version, **left)
            return
        until = row.complete_by or now + market.rules.queue_s * SECOND_US
        changes = {"release_at": None, "reason": decision.code, "expires_at": until}
    else:
        await _write_auction(conn, ids, task, book, inputs, decision, asked)
        ended = TaskState.FAILED if row.state == TaskState.RUNNING else TaskState.UNFILLED
        await void(conn, row, ended, decision.code or "unfilled", now, auction_id=ids.id)
        return
    await _write_auction(conn, ids, task, book, inputs, decision, asked)
    changes["auction_id"] = ids.id
    if row.state == TaskState.RUNNING:
        changes["award"] = None
    if row.state == state:
        await tasks.touch(conn, row.id, row.state, row.version, **changes)
    else:
        await tasks.move(conn, row.id, row.state, row.version, state, lease_owner=None, **changes)
    await events.add_events(
        conn,
        [
            {
                "task_id": row.id,
                "kind": f"task.{state}",
                "at": now,
                "data": dumped({"state": str(state), "auction_id": ids.id, "reason": decision.code}),
            }
        ],
    )


async def _write_auction(
    conn: AsyncConnection,
    ids: AuctionIds,
    task: Task,
    book: Book,
    inputs: Inputs,
    decision: Decision,
    asked: Asked | None,
) -> None:
    await write_auction(conn, ids, task, book, inputs, decision)
    if asked is not None:
        await tell_outcome(conn, task, asked, decision)


def _same_plan(hold: dict[str, Any], plan: Deferral, book: Book, now: int) -> bool:
    """Whether a new decision to wait is the old one: the same slot of the same offer, and still in time.

    By forecast it is the same until the hold's own look is due, whatever slot a decision of now would look at.
    """
    return (
        (hold.get("slot") == plan.slot or _goes_on(hold, plan, book))
        and hold.get("offer_id") == book.rows[plan.row].offer.id
        and now < hold["release_at"] <= plan.latest_start
    )


def _goes_on(hold: dict[str, Any], plan: Deferral, book: Book) -> bool:
    """Whether a hold by forecast, or for a place, only goes on: a look that changes nothing else is not written."""
    return (
        (plan.forecast is not None or plan.policy in AGAIN)
        and hold.get("policy") == plan.policy
        and (plan.policy == POOL or hold.get("offer_id") == book.rows[plan.row].offer.id)
    )
