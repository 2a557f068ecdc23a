"""Placing: one task's auction now, and its award, hold or place in the queue, written together or not at all."""

from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.award import (
    NoPlace,
    award_values,
    candidates,
    dumped,
    holder,
    rescue_of,
    start_attempt,
    write_auction,
)
from lowtide.exchange.deciding import TRIES, authorization, inputs_for, with_usual_output
from lowtide.exchange.dispatch import Dispatcher
from lowtide.exchange.hold import hold_values
from lowtide.exchange.job import Job
from lowtide.exchange.live import Asked
from lowtide.exchange.market import Market
from lowtide.exchange.notices import tell_outcome
from lowtide.exchange.order import Order
from lowtide.exchange.task_past import NO_PAST, TaskPast
from lowtide.market.auction import AWARDED, HELD, QUEUED, Decision
from lowtide.market.book import Book
from lowtide.market.record import AuctionIds, auction_key
from lowtide.market.spot import Inputs
from lowtide.market.states import TaskState
from lowtide.market.task import Task, task_values
from lowtide.store import events, idempotency, money, tasks
from lowtide.store.tables import TaskRow
from lowtide.values.errors import DeadlinePassed, FieldError, InvalidRequest, Unavailable
from lowtide.values.ids import new_id
from lowtide.values.instants import SECOND_US, rfc3339

_STATES = {AWARDED: TaskState.RUNNING, HELD: TaskState.HELD, QUEUED: TaskState.QUEUED}


def refuse_past_deadline(task: Task, now: int) -> None:
    """Raise DeadlinePassed where the task's deadline is not ahead."""
    deadline = task.constraints.complete_by
    if deadline is not None and deadline <= now:
        text = (
            f"complete_by {rfc3339(deadline)} is not after the market's clock, {rfc3339(now)}. "
            "Send a later deadline, or none."
        )
        where = FieldError("/constraints/complete_by", DeadlinePassed.code, text)
        raise DeadlinePassed(text, errors=(where,))


def refuse_bad_fallback(task: Task, book: Book) -> None:
    """Raise InvalidRequest where the fallback is no offer, or one that settles through the market (MARKET.md section 5)."""
    fallback = task.objective.fallback
    if fallback is None:
        return
    row = book.row_of.get(fallback)
    if row is None:
        code, text = "unknown_offer", f"No offer {fallback}. List the offers with GET /v1/offers."
    elif book.rows[row].offer.settles:
        code = "fallback_settles"
        text = f"Offer {fallback} settles through the market, so it cannot be a fallback. Name one that does not."
    else:
        return
    raise InvalidRequest(text, code=code, errors=(FieldError("/objective/fallback", code, text),))


async def place(market: Market, dispatcher: Dispatcher, order: Order) -> TaskRow:
    """Run one task's auction now, and award, hold or queue it. The record is durable before this returns.

    Raises DeadlinePassed, InvalidRequest (fallback), InsufficientFunds, Conflict (idempotency key in use), and
    Unavailable where offers kept filling up.
    """
    now = market.now()
    refuse_past_deadline(order.task, now)
    refuse_bad_fallback(order.task, market.keeper.book)
    task = with_usual_output(market, replace(order.task, id=new_id("task", now)))
    asked = await _ask(market, task, order, now) if market.bidders.active else None
    ids = AuctionIds(new_id("auc", now), task.id, now)
    if asked is not None:
        ids = AuctionIds(asked.auction_id, task.id, asked.as_of)
    seed, past = await market.seeds.at(ids.as_of), await _past(market, order, now)
    refused: tuple[int, ...] = ()
    for _ in range(TRIES):
        book, inputs = market.keeper.book, inputs_for(market, task, refused, asked, past)
        key = auction_key(seed, ids.id)
        inputs, decision = market.held.decide(task, book, inputs, ids.as_of, key, held=False)
        market.jobs.note(order.account_id, order.job, decision)
        try:
            row, job = await market.database.writer.write(
                partial(
                    _write,
                    market=market,
                    order=order,
                    task=task,
                    book=book,
                    inputs=inputs,
                    ids=ids,
                    decision=decision,
                    asked=asked,
                )
            )
        except NoPlace as full:
            refused = (*refused, full.row)
            continue
        if job is not None:
            dispatcher.start(market, job)
        if decision.deferral is not None and row.state == TaskState.HELD:
            market.held.note(task, decision.deferral, book.version)
        return row
    raise Unavailable(
        "Every offer that fits filled up while this was decided. Send it again.", retry_after_s=1
    )


async def _past(market: Market, order: Order, now: int) -> TaskPast:
    """A new task's past is that of its job, which it is one call more of."""
    if order.job is None:
        return NO_PAST
    async with market.database.read() as conn:
        job = await market.jobs.progress(conn, order.account_id, order.job, now)
    return TaskPast(job=replace(job, total=job.total + 1))


async def _ask(market: Market, task: Task, order: Order, now: int) -> Asked | None:
    shared = order.input if order.posted.get("share_input") else None
    return await market.bidders.ask(task, market.keeper.book, inputs_for(market, task), now, shared)


async def _write(
    conn: AsyncConnection,
    market: Market,
    order: Order,
    task: Task,
    book: Book,
    inputs: Inputs,
    ids: AuctionIds,
    decision: Decision,
    asked: Asked | None,
) -> tuple[TaskRow, Job | None]:
    now, state = ids.as_of, _STATES.get(decision.outcome, TaskState.UNFILLED)
    ladder = candidates(decision, now, {} if asked is None else asked.feeds)
    authorized = authorization(task, decision, ladder)
    columns = _columns(order, task, ids, decision) | {
        "state": str(state),
        "authorized_nano": authorized,
        "nearest": _nearest(book, decision),
    }
    if state is TaskState.RUNNING:
        slot = market.held.nets.slot_of(task.id)
        award = award_values(ladder[0], decision.rule, decision.thin, rescue_of(decision), slot)
        columns |= {"award": dumped(award), "attempts": 1, "lease_owner": holder(market, ladder[0])}
    elif state is TaskState.HELD and decision.deferral is not None:
        hold = hold_values(decision, book, now)
        columns |= {"hold": dumped(hold), "release_at": decision.deferral.release_at}
    elif state is TaskState.QUEUED:
        columns["expires_at"] = task.constraints.complete_by or now + market.rules.queue_s * SECOND_US
    else:
        columns["finished_at"] = now
    if order.claim is not None:
        claim = order.claim
        await idempotency.claim(conn, claim.principal, claim.key, claim.request_hash, task.id, now)
    await tasks.add_task(conn, columns, dumped(order.input))
    await write_auction(conn, ids, task, book, inputs, decision)
    if asked is not None:
        await tell_outcome(conn, task, asked, decision)
    told = {"state": str(state), "auction_id": ids.id, "reason": decision.code}
    placed = {"task_id": task.id, "kind": "task.placed", "at": now, "data": dumped(told)}
    await events.add_events(conn, [placed])
    if authorized:
        await money.authorize(conn, order.account_id, task.id, 0, authorized, now)
    row = TaskRow(**columns)
    if state is not TaskState.RUNNING:
        return row, None
    attempt = await start_attempt(conn, market, task.id, ids.id, 1, ladder[0], now, rescue_of(decision))
    if decision.batch is not None:
        return row, None
    return row, Job(row, task, dict(order.input), ladder, attempt, order.max_attempts)


def _columns(order: Order, task: Task, ids: AuctionIds, decision: Decision) -> dict[str, Any]:
    """What a task's row has whatever its state."""
    return {
        "id": task.id,
        "account_id": order.account_id,
        "key_id": order.key_id,
        "version": 0,
        "reason": decision.code,
        "task_type": task.type,
        "job": order.job,
        "posted": dumped(order.posted),
        "decided_as": dumped(task_values(task)),
        "labels": dumped(order.labels),
        "created_at": ids.as_of,
        "complete_by": task.constraints.complete_by,
        "auction_id": ids.id,
    }


def _nearest(book: Book, decision: Decision) -> str | None:
    if decision.nearest is None:
        return None
    offer = book.rows[decision.nearest].offer
    priced = not decision.spot.prices.unready[decision.nearest]
    bid = int(decision.spot.bids.expected[decision.nearest]) if priced else None
    return dumped(
        {
            "offer_id": offer.id,
            "provider": offer.provider,
            "model": offer.model,
            "lane": offer.lane,
            "bid": bid,
            "reason": decision.code,
        }
    )
