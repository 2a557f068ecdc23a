"""Places that a round gave: a task keeps its own until it starts there, and another is not let into it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.award import NoPlace, candidates, dumped
from lowtide.exchange.deciding import inputs_for
from lowtide.exchange.job import Job
from lowtide.exchange.market import Market
from lowtide.exchange.starting import start_waiting
from lowtide.exchange.task_past import past_of
from lowtide.market.auction import AWARDED, HELD, Decision, losing
from lowtide.market.clearing.payment import POSTED, UNIFORM
from lowtide.market.clearing.record import CALL
from lowtide.market.deferral.net import PREEMPTIBLE
from lowtide.market.spot import RankedBid, clear
from lowtide.market.states import TaskState
from lowtide.market.task import Task
from lowtide.store import tasks
from lowtide.store.tables import TaskRow
from lowtide.values.instants import SECOND_US
from lowtide.values.money import ceil_div

_LOOKS = 5
"""How often in a slot a task without a place looks whether another offer has one."""


class Followed(NamedTuple):
    """What came of a task's place: `done` where nothing else is to be decided, and the job where it started."""

    done: bool
    job: Job | None = None


def hold_of(row: TaskRow) -> dict[str, Any]:
    """A held task's hold; empty for any other."""
    held: dict[str, Any] = orjson.loads(row.hold) if row.state == TaskState.HELD and row.hold else {}
    return held


async def follow_place(conn: AsyncConnection, market: Market, row: TaskRow, task: Task, now: int) -> Followed:
    """Start a task whose place has come, at its offer; where that is full for a moment, wait on within the slot.

    After its slot, at the latest start, and where the offer cannot serve it any more or its price has gone up so far
    that another is better, its own rule decides.
    Raises InsufficientFunds.
    """
    hold = hold_of(row)
    due = row.release_at is not None and row.release_at <= now
    if hold.get("policy") != CALL or not due or now >= min(hold["until"], hold["latest_start"]):
        return Followed(False)
    try:
        async with conn.begin_nested():
            job = await start_at_place(conn, market, row, task, hold, now)
    except NoPlace:
        again = min(now + hold["retry"], hold["until"], hold["latest_start"])
        await wait_until(conn, row, hold, again)
        return Followed(True)
    return Followed(job is not None, job)


async def start_at_place(
    conn: AsyncConnection, market: Market, row: TaskRow, task: Task, hold: dict[str, Any], now: int
) -> Job | None:
    """Start a task at the offer of its hold; None where that cannot serve it now, or another is worth more by now.

    Raises NoPlace, InsufficientFunds.

    Where the rule is `uniform`, an offer that settles through us is paid more than its bid by the round's ratio, as
    far as the worst case stays within the budget.
    """
    book, number = market.keeper.book, market.keeper.book.row_of.get(hold["offer_id"])
    if number is None:
        return None
    past = await past_of(conn, market, row, now)
    spot = clear(task, book, inputs_for(market, task, past=past), now, hold["round"].encode())
    # A call that may be taken back is no way on where this one fails.
    apart = book.on_lanes(PREEMPTIBLE)
    others = [one for one in spot.top if one.row != number and not apart[one.row]]
    if spot.reason[number] != 0 or _better_at_any_time(market, others, int(spot.score[number]), now):
        return None
    worst, bid = spot.bids.worst_of(number), int(spot.bids.expected[number])
    winner = RankedBid(number, int(spot.score[number]), bid, worst)
    top = (winner, *others)
    raise_by, most = hold.get("paid"), task.constraints.max_cost_nano
    price = bid if raise_by is None else ceil_div(bid * raise_by[0], raise_by[1])
    if most is not None and worst > 0:
        price = max(bid, min(price, bid * most // worst))
    rule = POSTED if raise_by is None else UNIFORM
    decision = Decision(
        AWARDED, winner, price, rule, False, top, losing(spot, winner), None, None, None, spot
    )
    ladder = candidates(decision, now)
    return await start_waiting(
        conn,
        market,
        row,
        task,
        ladder,
        hold["round"],
        now,
        authorized_nano=ladder[0].most_nano,
        rule=rule,
        hold=hold,
        taken_back=past.taken_back,
    )


def _better_at_any_time(market: Market, others: Sequence[RankedBid], score_nano: int, now: int) -> bool:
    """Whether an offer whose places are nobody's is worth more now: prices change within a slot too."""
    scarce = market.scarcity.rows(market.keeper.book, now)
    return any(one.score_nano > score_nano for one in others if one.row not in scarce)


async def wait_until(conn: AsyncConnection, row: TaskRow, hold: dict[str, Any], at: int) -> None:
    """Let a held task wait on under the same hold, until an instant (µs)."""
    changes = {"hold": dumped(hold | {"release_at": at}), "release_at": at}
    await tasks.touch(conn, row.id, row.state, row.version, **changes)


def kept_back(market: Market, row: TaskRow, now: int) -> frozenset[int]:
    """Rows whose places now are others' by the last round, for a held task that has no place there and can wait."""
    hold = hold_of(row)
    if not hold or not market.rules.round_s or now >= hold["latest_start"]:
        return frozenset()
    return market.scarcity.rows(market.keeper.book, now)


async def wait_for_a_slot(
    conn: AsyncConnection, market: Market, row: TaskRow, now: int, *, soon: bool
) -> None:
    """Let a held task that found no place but others' wait for the next slot, at most until its latest start.

    `soon`: another offer was only full for a moment, so it looks again within the slot.
    """
    if row.release_at is None or row.release_at > now:
        return
    hold, slot_us = hold_of(row), market.rules.round_s * SECOND_US
    at = (now // slot_us + 1) * slot_us + slot_us // 20
    if soon:
        at = min(at, now + slot_us // _LOOKS)
    await wait_until(conn, row, hold, min(at, hold["latest_start"]))


def stays(market: Market, row: TaskRow, decision: Decision, now: int) -> bool:
    """Whether a task keeps the place that a round gave it, whatever its own rule says now.

    It does, unless that found it something cheaper that is not scarce, or nobody can serve it any more.
    """
    hold = hold_of(row)
    due = row.release_at is not None and row.release_at <= now
    if hold.get("policy") != CALL or due or now >= hold["latest_start"]:
        return False
    book = market.keeper.book
    number = book.row_of.get(hold["offer_id"])
    if number is None or book.rows[number].offer.withdrawn or book.quote_at(number, hold["slot"]) is None:
        return False
    found, price = _found(decision)
    if found is None or price is None:
        return False
    return price >= hold["expected"] or found in market.scarcity.wanted_rows(book)


def _found(decision: Decision) -> tuple[int | None, int | None]:
    """The row and price that a decision chose, now or later."""
    if decision.outcome == AWARDED and decision.winner is not None:
        return decision.winner.row, decision.price_nano
    if decision.outcome == HELD and decision.deferral is not None:
        return decision.deferral.row, decision.deferral.expected_nano
    return None, None
