"""Writing a round: its record, and task by task the start or the hold that its place is."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.award import NoPlace, dumped
from lowtide.exchange.job import Job
from lowtide.exchange.market import Market
from lowtide.exchange.placed import hold_of, start_at_place
from lowtide.exchange.round_input import RoundInput
from lowtide.exchange.round_places import Place
from lowtide.market.book import Book
from lowtide.market.clearing.record import CALL, Round, place_line
from lowtide.market.deferral.known import Deferral
from lowtide.market.task import Task
from lowtide.store import auctions, log, tasks
from lowtide.store.rows import LostRace
from lowtide.store.tables import TaskRow
from lowtide.values.errors import InsufficientFunds
from lowtide.values.instants import SECOND_US, rfc3339

_RETRIES = 4
"""How often a task looks again for a place that is still taken, in the time that one is usually taken."""
_PLAN = ("policy", "slot", "offer_id", "release_at")
"""What makes two holds the same plan, which is not written again."""
_OF_A_PLACE = frozenset({"round", "until", "retry", "paid", "own"})
OWN = ("policy", "slot", "release_at", "offer_id", "expected", "reservation", "reason")
"""What a hold by a round keeps of the task's own plan, to go back to."""


async def write_call(conn: AsyncConnection, call: Round, line: bytes, any_placed: bool) -> None:
    """Write the round's columns and its record."""
    await auctions.add_auction(
        conn,
        {
            "id": call.id,
            "task_id": "",
            "kind": CALL,
            "outcome": "awarded" if any_placed else "unfilled",
            "as_of": call.as_of,
            "book_version": call.book_version,
        },
    )
    await log.append(conn, "auction", call.id, line)


class Written(NamedTuple):
    """What a commit of a round wrote: how many places, the jobs to start, and what is held otherwise or no longer."""

    places: int
    jobs: list[Job]
    held: list[tuple[Task, Deferral | None]]


async def write_places(
    conn: AsyncConnection,
    market: Market,
    found: RoundInput,
    call: Round,
    ids: Sequence[str],
    places: Mapping[str, Place],
) -> Written:
    """Write some tasks' places. Who changed meanwhile is skipped."""
    rows = {row.id: row for row in await tasks.waiting_among(conn, ids)}
    jobs, lines, held = list[Job](), list[bytes](), list[tuple[Task, Deferral | None]]()
    for task_id in ids:
        row, place, one = rows.get(task_id), places.get(task_id), found.wanting[task_id]
        if row is None or row.hold != one.stored.hold or not hold_of(row):
            continue
        hold = _left(hold_of(row), call.as_of) if place is None else _hold(hold_of(row), place, call, found)
        job = None
        if place is not None and place.release_at <= call.as_of:
            job = await _start(conn, market, row, one.task, hold, call.as_of)
        if job is not None:
            jobs.append(job)
            held.append((one.task, None))
        elif any(hold_of(row).get(name) != hold[name] for name in _PLAN):
            held.append((one.task, await _set(conn, row, hold, call, found.book)))
        else:
            continue
        if place is not None:
            lines.append(place_line(call, place.award))
    await log.append_all(conn, [("place", call.id, line) for line in lines])
    return Written(len(lines), jobs, held)


def _hold(old: dict[str, Any], place: Place, call: Round, found: RoundInput) -> dict[str, Any]:
    """The hold of a place; in `own` it keeps what the task's own rule had planned."""
    award, start = place.award, found.starts[place.award.slot]
    room = int(found.rooms[award.offer].capacity[award.slot])
    named = found.book.rows[found.book.row_of[award.offer]].offer
    return {name: value for name, value in old.items() if name != "paid"} | {
        "policy": CALL,
        "slot": start,
        "release_at": place.release_at,
        "offer_id": award.offer,
        "expected": place.own_nano,
        "reservation": place.own_nano,
        "round": call.id,
        "until": start - start % call.slot_us + call.slot_us,
        "retry": max(call.slot_us // max(room, 1) // _RETRIES, SECOND_US),
        "own": old.get("own") or {name: old[name] for name in OWN},
        "reason": (
            f"More tasks want {named.provider}'s {named.model} than it can carry. A call auction gave this one a place "
            f"from {rfc3339(start)}, where all of them together are worth most."
        ),
        **({} if place.paid is None else {"paid": list(place.paid)}),
    }


def _left(old: dict[str, Any], now: int) -> dict[str, Any]:
    """The hold of a task that has its place no longer: its own plan again, or due now where that is past."""
    if "own" not in old:
        return old
    hold: dict[str, Any] = {name: value for name, value in old.items() if name not in _OF_A_PLACE} | old[
        "own"
    ]
    return hold | {"release_at": min(max(now, hold["release_at"]), hold["latest_start"])}


async def _start(
    conn: AsyncConnection, market: Market, row: TaskRow, task: Task, hold: dict[str, Any], now: int
) -> Job | None:
    """Start a task now; None where its place is not free at this moment, or its account cannot carry it: it waits."""
    try:
        async with conn.begin_nested():
            return await start_at_place(conn, market, row, task, hold, now)
    except (NoPlace, InsufficientFunds, LostRace):
        return None


async def _set(
    conn: AsyncConnection, row: TaskRow, hold: dict[str, Any], call: Round, book: Book
) -> Deferral:
    """Write a hold, which the round decided; the plan that it is."""
    at = hold["release_at"]
    changes = {"hold": dumped(hold), "release_at": at, "auction_id": call.id}
    await tasks.touch(conn, row.id, row.state, row.version, **changes)
    prices = (hold["price_now"], hold["expected"], hold["reservation"])
    number = book.row_of[hold["offer_id"]]
    return Deferral(hold["policy"], hold["slot"], number, *prices, at, hold["latest_start"])
