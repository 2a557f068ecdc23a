"""Rounds: every so often the held tasks that want more of an offer than it can carry are cleared together.

One node does it, under a lease that it holds for as long as it works. The round's record and the first tasks' places are
one commit, the others' follow in batches: a node that dies in between leaves holds as they were.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.award import NoPlace, dumped
from lowtide.exchange.dispatch import Dispatcher, Job
from lowtide.exchange.market import Market
from lowtide.exchange.placed import hold_of, start_at_place
from lowtide.exchange.round_input import RoundInput, round_input
from lowtide.exchange.solving import solve
from lowtide.market.book import Book
from lowtide.market.clearing.award import Award, awards
from lowtide.market.clearing.outcome import Cleared
from lowtide.market.clearing.payment import POSTED, UNIFORM
from lowtide.market.clearing.record import CALL, Round, call_line, place_line
from lowtide.market.clearing.rounds import kept_awards, settling, steadied
from lowtide.market.deferral.known import Deferral
from lowtide.market.record import auction_key
from lowtide.market.task import Task
from lowtide.store import auctions, duties, log, tasks
from lowtide.store.rows import LostRace
from lowtide.store.tables import TaskRow
from lowtide.values.canonical import sha256
from lowtide.values.errors import InsufficientFunds
from lowtide.values.ids import new_id
from lowtide.values.instants import SECOND_US, rfc3339

DUTY = "rounds"
_RETRIES = 4
"""How often a task looks again for a place that is still taken, in the time that one is usually taken."""
BATCH = 32
"""Tasks placed in one commit."""
_LEASE_US = 5 * SECOND_US
"""How much longer than its solver a round may take before another node holds it, in real time."""
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Place:
    """A task's place: the award, when it starts (µs), and what is paid for an own price of so much, where that is more."""

    award: Award
    release_at: int
    paid: tuple[int, int] | None
    own_nano: int


_OF_A_PLACE = frozenset({"round", "until", "retry", "paid", "own"})
OWN = ("policy", "slot", "release_at", "offer_id", "expected", "reservation", "reason")
"""What a hold by a round keeps of the task's own plan, to go back to."""


@dataclass(frozen=True, slots=True)
class Held:
    """A round that was held: its auction, how it was cleared, and how many tasks got a place or started at once."""

    auction_id: str
    cleared: Cleared
    placed: int
    started: int


class Rounds:
    """The duty of whichever node comes first; it remembers only which slot is done."""

    def __init__(self, market: Market, dispatcher: Dispatcher) -> None:
        self._market, self._dispatcher = market, dispatcher
        self._done_slot: int | None = None

    async def look(self) -> None:
        """Hold this slot's round where no node did yet or does now; else read what another's came to."""
        market = self._market
        if not market.rules.round_s:
            return
        slot_us = market.rules.round_s * SECOND_US
        slot = market.now() // slot_us
        if slot != self._done_slot and await self._take():
            try:
                async with market.database.read() as conn:
                    last = await auctions.latest_call(conn)
                # A round that fails is not tried again each second: the next slot's may do better.
                self._done_slot = slot
                if last is None or last.as_of // slot_us != slot:
                    await hold_round(market, self._dispatcher)
            finally:
                await market.database.writer.write(lambda conn: duties.drop(conn, DUTY, market.node))
        async with market.database.read() as conn:
            await market.scarcity.read(conn)

    async def _take(self) -> bool:
        market, real_now = self._market, time.time_ns() // 1_000
        lease = _LEASE_US + int(market.rules.round_solve_s * SECOND_US)
        return await market.database.writer.write(
            lambda conn: duties.take_or_renew(conn, DUTY, market.node, real_now, lease)
        )


async def hold_round(market: Market, dispatcher: Dispatcher) -> Held | None:
    """Clear what is contended now and write the places; None, and no record, where nothing is."""
    now, slot_us = market.now(), market.rules.round_s * SECOND_US
    found = await round_input(market, now, slot_us)
    if found is None:
        return None
    rule = UNIFORM if market.rules.rule == UNIFORM else POSTED
    call = Round(
        new_id("auc", now),
        now,
        found.book.version,
        found.book.digest.hex(),
        slot_us,
        rule=rule,
        contended=tuple(sorted(found.rooms)),
    )
    key = auction_key(await market.seeds.at(now), call.id)
    cleared = await solve(found.instance, key, market.rules.round_solve_s)
    places = places_of(found, cleared, key, rule, slot_us)
    line, started, placed = call_line(call, found.instance, cleared), 0, 0
    by_id = {place.award.task_id: place for place in places}
    # Who had a place and got none must leave it before others come.
    ids = [name for name in found.wanting if name not in by_id] + list(by_id)
    for begin in range(0, len(ids), BATCH):
        some = ids[begin : begin + BATCH]

        async def unit(
            conn: AsyncConnection, some: Sequence[str] = some, first: bool = begin == 0
        ) -> tuple[int, list[Job]]:
            if first:
                await _write_call(conn, call, line, bool(places))
            return await _write_places(conn, market, found, call, some, by_id)

        written, jobs = await market.database.writer.write(unit)
        for job in jobs:
            dispatcher.start(market, job)
        placed, started = placed + written, started + len(jobs)
    _log.info("round_held", auction_id=call.id, how=cleared.how, placed=placed, started=started)
    return Held(call.id, cleared, placed, started)


def places_of(found: RoundInput, cleared: Cleared, key: bytes, rule: str, slot_us: int) -> list[Place]:
    """The places at contended offers, soonest first; starts are spread over a slot as the offer can carry them.

    Who was given what can be had at any time is left to its own rule.
    """
    instance = found.instance
    kept = kept_awards(instance, cleared, found.rooms)
    paid = awards(instance, cleared, key, rule, settling(instance, found.book))
    own = awards(instance, cleared, key, POSTED)
    begins = [start - start % slot_us for start in found.starts]
    now = {
        task_id: (one.place[0], one.place[1] - one.place[1] % slot_us)
        for task_id, one in found.wanting.items()
        if one.place is not None
    }
    stayed = steadied(instance, [(award.task_id, award.offer, award.slot) for award in own], begins, now)
    paid, own = (
        [one._replace(task_id=name) for one, name in zip(its, stayed, strict=True)] for its in (paid, own)
    )
    capacity = found.instance.capacity.reshape(len(found.instance.offers), -1)
    row_of = {offer: row for row, offer in enumerate(found.instance.offers)}
    taken, places = Counter[tuple[str, int]](), list[Place]()
    # Within a slot the order is the same in each round, so that a place that stays needs no writing.
    ordered = sorted(
        zip(paid, own, strict=True),
        key=lambda both: (both[0].slot, found.wanting[both[0].task_id].latest_start, _order(both[0])),
    )
    for award, posted in ordered:
        if (award.task_id, award.offer, award.slot) not in kept:
            continue
        room = found.rooms[award.offer]
        before = taken[award.offer, award.slot]
        taken[award.offer, award.slot] += 1
        begin, width = found.starts[award.slot], slot_us - found.starts[award.slot] % slot_us
        spread = before * width // max(1, int(capacity[row_of[award.offer], award.slot]))
        at = begin if award.slot == 0 and before < room.free else begin + spread
        more = award.price_nano > posted.price_nano > 0
        ratio = (award.price_nano, posted.price_nano) if more else None
        latest = found.wanting[award.task_id].latest_start
        places.append(Place(award, min(at, latest), ratio, posted.price_nano))
    return places


def _order(award: Award) -> bytes:
    return sha256(award.task_id.encode())


async def _write_call(conn: AsyncConnection, call: Round, line: bytes, any_placed: bool) -> None:
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


async def _write_places(
    conn: AsyncConnection,
    market: Market,
    found: RoundInput,
    call: Round,
    ids: Sequence[str],
    places: Mapping[str, Place],
) -> tuple[int, list[Job]]:
    """Write some tasks' places; how many, and the jobs of those that start now. Who changed meanwhile is skipped."""
    rows, jobs, lines = (
        {row.id: row for row in await tasks.waiting_among(conn, ids)},
        list[Job](),
        list[bytes](),
    )
    for task_id in ids:
        row, place, one = rows.get(task_id), places.get(task_id), found.wanting[task_id]
        if row is None or row.hold != one.stored.hold or not hold_of(row):
            continue
        if place is None:
            await _leave(conn, market, row, one.task, call.as_of, found.book)
            continue
        hold = _hold(hold_of(row), place, call, found)
        job = None
        if place.release_at <= call.as_of:
            job = await _start(conn, market, row, one.task, hold, call.as_of)
        if job is not None:
            jobs.append(job)
        elif not await _plan(conn, market, row, one.task, hold, found.book):
            continue
        lines.append(place_line(call, place.award))
    await log.append_all(conn, [("place", call.id, line) for line in lines])
    return len(lines), jobs


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


async def _leave(
    conn: AsyncConnection, market: Market, row: TaskRow, task: Task, now: int, book: Book
) -> None:
    """Let a task that no longer has a place go back to its own plan; where that is past, its own rule decides anew."""
    old = hold_of(row)
    if "own" not in old:
        return
    hold = {name: value for name, value in old.items() if name not in _OF_A_PLACE} | old["own"]
    hold["release_at"] = min(max(now, hold["release_at"]), hold["latest_start"])
    await _set(conn, market, row, task, hold, book, old["round"])


async def _start(
    conn: AsyncConnection, market: Market, row: TaskRow, task: Task, hold: dict[str, Any], now: int
) -> Job | None:
    """Start a task now; None where its place is not free at this moment, or its account cannot carry it: it waits."""
    try:
        async with conn.begin_nested():
            return await start_at_place(conn, market, row, task, hold, now)
    except (NoPlace, InsufficientFunds, LostRace):
        return None


async def _plan(
    conn: AsyncConnection, market: Market, row: TaskRow, task: Task, hold: dict[str, Any], book: Book
) -> bool:
    """Set a task's plan; False, and nothing is written, where it has that place already."""
    old = hold_of(row)
    if all(old.get(name) == hold[name] for name in ("policy", "slot", "offer_id", "release_at")):
        return False
    await _set(conn, market, row, task, hold, book, hold["round"])
    return True


async def _set(
    conn: AsyncConnection,
    market: Market,
    row: TaskRow,
    task: Task,
    hold: dict[str, Any],
    book: Book,
    auction_id: str,
) -> None:
    at = hold["release_at"]
    changes = {"hold": dumped(hold), "release_at": at, "auction_id": auction_id}
    await tasks.touch(conn, row.id, row.state, row.version, **changes)
    number = book.row_of.get(hold["offer_id"])
    if number is not None:
        prices = (hold["price_now"], hold["expected"], hold["reservation"])
        plan = Deferral(hold["policy"], hold["slot"], number, *prices, at, hold["latest_start"])
        market.held.note(task, plan, book.version)
