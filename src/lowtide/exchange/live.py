"""Asking bidders: all at once, signed, until the auction closes. What counts is the instant of our receipt."""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.bid_messages import BadAnswer, Invited, answered, bid_request, invited
from lowtide.exchange.bidder import Bidder, Form, bidder_of
from lowtide.exchange.bidder_calls import Reply, call
from lowtide.market.book import Book
from lowtide.market.deferral.safety import latest_start
from lowtide.market.eligibility import LossReason
from lowtide.market.live import LiveBid, live_values
from lowtide.market.spot import Inputs, Spot, clear
from lowtide.market.task import Task
from lowtide.store import auctions, log
from lowtide.store.database import Database
from lowtide.store.providers import live_feeds, update_health
from lowtide.values.canonical import canonical
from lowtide.values.ids import new_id

MOST_OFFERS = 50
"""Offers that one bidder is asked for in an auction, the best standing quotes first; the others' quotes stand."""
ASK_AGAIN_S = 5.0
"""How soon a task that waits is asked for again."""
_REMEMBERED_TASKS = 10_000
_PRICE_DECIDES = frozenset({0, LossReason.OVER_BUDGET, LossReason.BELOW_RESERVE})
"""Reasons that a lower price may mend: only such offers are asked for."""
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking: inputs of the decision, to be taken as of `as_of` (µs), and who bids for which row."""

    auction_id: str
    as_of: int
    closes_at: int
    live: tuple[LiveBid, ...]
    bidders: Mapping[int, Bidder]

    @property
    def feeds(self) -> dict[int, str]:
        """By row the feed that bids for it."""
        return {row: bidder.feed_id for row, bidder in self.bidders.items()}


@dataclass(slots=True)
class _Round:
    """One auction's asking: when it began (market's µs, monotonic s), and the calls under way with their guests."""

    auction_id: str
    opened_at: int
    began: float
    calls: dict[asyncio.Task[Reply], tuple[Bidder, list[Invited]]] = field(default_factory=dict)

    def instant(self, moment: float) -> int:
        """The market's instant (µs) of a moment of the monotonic clock."""
        return self.opened_at + max(0, int((moment - self.began) * 1_000_000))

    def deadline(self, bidder: Bidder) -> float:
        """Until when (monotonic s) a bidder's answer counts."""
        return self.began + bidder.timeout_ms / 1_000


class Bidders:
    """The live feeds of the market as this node knows them, and how it asks them."""

    def __init__(self, database: Database, client: httpx.AsyncClient) -> None:
        self._database = database
        self._client = client
        self._bidders: tuple[Bidder, ...] = ()
        self._rows: tuple[Book, dict[int, Bidder]] | None = None
        self._forms: dict[str, Form] = {}
        self._late: set[asyncio.Task[None]] = set()
        self._asked_at: OrderedDict[str, float] = OrderedDict()

    @property
    def active(self) -> bool:
        """Whether there is anybody to ask."""
        return bool(self._bidders)

    async def refresh(self) -> None:
        """Take over which live feeds stand, whoever registered or closed them."""
        async with self._database.read() as conn:
            found = tuple(bidder_of(feed, provider) for feed, provider in await live_feeds(conn))
        if found != self._bidders:
            self._bidders, self._rows = found, None
            known = {bidder.feed_id for bidder in found}
            self._forms = {name: form for name, form in self._forms.items() if name in known}

    async def close(self) -> None:
        """Stop listening for late answers."""
        for late in self._late:
            late.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)

    async def keep_health(self) -> None:
        """Write how the bidders that were asked have done, where their feeds tell it."""
        fresh = {feed_id: form.health() for feed_id, form in self._forms.items() if form.unwritten}
        for feed_id in fresh:
            self._forms[feed_id].unwritten = False

        async def unit(conn: AsyncConnection) -> None:
            for feed_id, health in fresh.items():
                await update_health(conn, feed_id, orjson.dumps(health).decode(), None)

        if fresh:
            await self._database.writer.write(unit)

    def asked_lately(self, task_id: str) -> bool:
        """Whether bidders were asked for a task only just."""
        return time.monotonic() - self._asked_at.get(task_id, -math.inf) < ASK_AGAIN_S

    def to_ask(self, task: Task, spot: Spot, now: int) -> dict[Bidder, list[int]]:
        """Whom to ask for which rows; nobody where waiting for them could make the deadline missed."""
        chosen: dict[Bidder, list[int]] = {}
        for row, bidder in self._bidding_rows(spot.book).items():
            if int(spot.reason[row]) in _PRICE_DECIDES:
                chosen.setdefault(bidder, []).append(row)
        for bidder, rows in chosen.items():
            if len(rows) > MOST_OFFERS:
                chosen[bidder] = sorted(rows, key=lambda row: (-int(spot.score[row]), row))[:MOST_OFFERS]
        deadline = task.constraints.complete_by
        if chosen and deadline is not None:
            latest = latest_start(task, spot.book, spot)
            wait_us = 1_000 * max(bidder.timeout_ms for bidder in chosen)
            if now + wait_us > (deadline if latest is None else latest):
                return {}
        return chosen

    async def ask(
        self, task: Task, book: Book, inputs: Inputs, now: int, shared: Mapping[str, Any] | None = None
    ) -> Asked | None:
        """Ask all bidders at once for a task; None where there is nobody to ask. `shared` is the input they may see.

        Ends when all have answered or when the last deadline has passed, whoever has not.
        """
        spot = clear(task, book, inputs, now, b"")
        chosen = self.to_ask(task, spot, now)
        if not chosen:
            return None
        self._note_asked(task.id)
        asking, live = _Round(new_id("auc", now), now, time.monotonic()), list[LiveBid]()
        for bidder, rows in chosen.items():
            if self._form(bidder).left_out_until > asking.began:
                live += [LiveBid(row, LossReason.NOT_ASKED) for row in rows]
                continue
            guests = invited(book, rows, now)
            body = bid_request(
                asking.auction_id, self._form(bidder).told_ms(bidder), task, spot, guests, shared
            )
            begun = asyncio.create_task(call(self._client, bidder, asking.auction_id, body))
            asking.calls[begun] = (bidder, guests)
        closes_at = max((asking.instant(asking.deadline(b)) for b, _ in asking.calls.values()), default=now)
        live += await self._gathered(asking)
        return Asked(
            asking.auction_id,
            max(now, asking.instant(time.monotonic())),
            closes_at,
            tuple(sorted(live, key=lambda bid: bid.row)),
            {row: bidder for bidder, rows in chosen.items() for row in rows},
        )

    async def _gathered(self, asking: _Round) -> list[LiveBid]:
        """The bids that came in time, and why the others did not; calls that are late go on apart."""
        waiting = set(asking.calls)
        try:
            while waiting:
                last = max(asking.deadline(asking.calls[one][0]) for one in waiting)
                left = last - time.monotonic()
                if left <= 0:
                    break
                _, waiting = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            for one in asking.calls:
                one.cancel()
            raise
        live: list[LiveBid] = []
        for one, (bidder, guests) in asking.calls.items():
            reply = one.result() if one.done() else None
            in_time = reply is not None and reply.at <= asking.deadline(bidder)
            bids = self._taken(asking, bidder, guests, reply if in_time else None)
            live += bids
            if not in_time:
                self._listen(asking, one, bidder, guests)
        return live

    def _taken(
        self, asking: _Round, bidder: Bidder, guests: list[Invited], reply: Reply | None
    ) -> list[LiveBid]:
        """A bidder's answer as bids, and what it says of the bidder's form: one failure counts once."""
        form = self._form(bidder)
        if reply is None or reply.code is not None:
            code = LossReason.BID_TIMEOUT if reply is None else LossReason(reply.code or 0)
            said = None if reply is None else reply.said
            at = None if reply is None or code == LossReason.BID_TIMEOUT else asking.instant(reply.at)
            fault = "bid_timeout" if reply is None else (reply.said or code.code) if reply.failed else None
            self._note(asking, form, fault)
            return [LiveBid(guest.row, code, at, said=said) for guest in guests]
        received_at = asking.instant(reply.at)
        try:
            bids, took_ms = answered(reply.body, guests, received_at)
        except BadAnswer as fault:
            self._note(asking, form, fault.code)
            return [LiveBid(g.row, LossReason.BID_INVALID, received_at, said=fault.code) for g in guests]
        self._note(asking, form, next((b.said for b in bids if b.code == LossReason.BID_INVALID), None))
        if took_ms is not None:
            form.note_network((reply.at - asking.began) * 1_000 - took_ms)
        return bids

    @staticmethod
    def _note(asking: _Round, form: Form, fault: str | None) -> None:
        now = time.monotonic()
        form.note(fault, now=now, at=asking.instant(now))

    def _listen(
        self, asking: _Round, late: asyncio.Task[Reply], bidder: Bidder, guests: list[Invited]
    ) -> None:
        listening = asyncio.create_task(self._keep_late(asking, late, bidder, guests))
        self._late.add(listening)
        listening.add_done_callback(self._late.discard)

    async def _keep_late(
        self, asking: _Round, late: asyncio.Task[Reply], bidder: Bidder, guests: list[Invited]
    ) -> None:
        """Keep a late answer as a line of the log that names the auction; it is not scored."""
        try:
            reply = await late
        except asyncio.CancelledError:
            late.cancel()
            raise
        if reply.code == LossReason.BID_TIMEOUT:
            return
        received_at = asking.instant(reply.at)
        bids = [LiveBid(g.row, reply.code or 0, received_at, said=reply.said) for g in guests]
        if reply.code is None:
            try:
                bids, _ = answered(reply.body, guests, received_at)
            except BadAnswer as fault:
                bids = [LiveBid(g.row, LossReason.BID_INVALID, received_at, said=fault.code) for g in guests]
        line = canonical(
            {
                "type": "late_bid",
                "auction_id": asking.auction_id,
                "feed_id": bidder.feed_id,
                "at": received_at,
                "bids": [live_values(bid) for bid in bids],
            }
        )
        _log.info(
            "late_bid",
            auction_id=asking.auction_id,
            feed_id=bidder.feed_id,
            late_ms=round((reply.at - asking.deadline(bidder)) * 1_000),
        )

        async def unit(conn: AsyncConnection) -> None:
            # Of an auction that was never written, such as one without funds, nothing is kept.
            if await auctions.get_auction(conn, asking.auction_id) is not None:
                await log.append(conn, "late_bid", asking.auction_id, line)

        await self._database.writer.write(unit)

    def _bidding_rows(self, book: Book) -> dict[int, Bidder]:
        """Who bids for which row, by the version of the book; of two that would, the feed registered first."""
        if self._rows is None or self._rows[0] is not book:
            found: dict[int, Bidder] = {}
            by_provider: dict[str, list[Bidder]] = {}
            for bidder in self._bidders:
                by_provider.setdefault(bidder.provider, []).append(bidder)
            for number, row in enumerate(book.rows):
                mine = by_provider.get(row.offer.provider, ())
                if mine and not row.offer.withdrawn:
                    chosen = next((bidder for bidder in mine if bidder.bids_for(row.offer)), None)
                    if chosen is not None:
                        found[number] = chosen
            self._rows = (book, found)
        return self._rows[1]

    def _form(self, bidder: Bidder) -> Form:
        return self._forms.setdefault(bidder.feed_id, Form())

    def _note_asked(self, task_id: str) -> None:
        self._asked_at[task_id] = time.monotonic()
        self._asked_at.move_to_end(task_id)
        while len(self._asked_at) > _REMEMBERED_TASKS:
            self._asked_at.popitem(last=False)
