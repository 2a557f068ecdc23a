"""Rounds: every so often the held tasks that want more of an offer than it can carry are cleared together.

One node does it, under a lease that it holds for as long as it works. The round's record and the first tasks' places are
one commit, the others' follow in batches: a node that dies in between leaves holds as they were.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.dispatch import Dispatcher
from lowtide.exchange.market import Market
from lowtide.exchange.round_commit import Written, write_call, write_places
from lowtide.exchange.round_input import round_input
from lowtide.exchange.round_places import places_of
from lowtide.exchange.solving import solve
from lowtide.market.clearing.outcome import Cleared
from lowtide.market.clearing.payment import POSTED, UNIFORM
from lowtide.market.clearing.record import Round, call_line
from lowtide.market.record import auction_key
from lowtide.store import auctions, duties
from lowtide.values.ids import new_id
from lowtide.values.instants import SECOND_US

DUTY = "rounds"
BATCH = 32
"""Tasks placed in one commit."""
_LEASE_US = 5 * SECOND_US
"""How much longer than its solver a round may take before another node holds it, in real time."""
_log = structlog.get_logger()


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
        self._at_work = asyncio.Lock()

    async def look(self) -> None:
        """Hold this slot's round where no node did yet or does now; else read what another's came to."""
        market = self._market
        if not market.rules.round_s:
            return
        async with self._at_work:
            await self._this_slot(market.rules.round_s * SECOND_US)
        async with market.database.read() as conn:
            await market.scarcity.read(conn)

    async def _this_slot(self, slot_us: int) -> None:
        market, slot = self._market, self._market.now() // slot_us
        if slot == self._done_slot or not await self._take():
            return
        try:
            async with market.database.read() as conn:
                last = await auctions.latest_call(conn)
            # A round that fails is not tried again each second: the next slot's may do better.
            self._done_slot = slot
            if last is None or last.as_of // slot_us != slot:
                await hold_round(market, self._dispatcher)
        finally:
            await market.database.writer.write(lambda conn: duties.drop(conn, DUTY, market.node))

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
    lost = [name for name, one in found.wanting.items() if one.place is not None and name not in by_id]
    ids = lost + list(by_id)
    for begin in range(0, max(len(ids), 1), BATCH):
        some = ids[begin : begin + BATCH]

        async def unit(
            conn: AsyncConnection, some: Sequence[str] = some, first: bool = begin == 0
        ) -> Written:
            if first:
                await write_call(conn, call, line, bool(places))
            return await write_places(conn, market, found, call, some, by_id)

        written = await market.database.writer.write(unit)
        for job in written.jobs:
            dispatcher.start(market, job)
        market.held.changed(written.held, found.book.version)
        placed, started = placed + written.places, started + len(written.jobs)
    _log.info("round_held", auction_id=call.id, how=cleared.how, placed=placed, started=started)
    return Held(call.id, cleared, placed, started)
