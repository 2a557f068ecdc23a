"""Runs of feeds that are due: in the background, a few at a time, each by one node only."""

import asyncio
import time

import structlog

from lowtide.exchange.feeds import note_failure, run_feed
from lowtide.exchange.market import Market
from lowtide.feeds.fetch import FeedFailed
from lowtide.store import duties, providers
from lowtide.values.errors import MarketError
from lowtide.values.instants import SECOND_US

AT_ONCE = 8
LEASE_US = 180 * SECOND_US
"""Longer than a run may take: a fetch and an understanding have deadlines of their own."""
_log = structlog.get_logger()


class FeedRuns:
    """The feeds that this node is reading now."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._running: dict[str, asyncio.Task[None]] = {}

    async def look(self) -> None:
        """Begin the runs that are due, as far as there are places; a slow feed holds up no other."""
        free = AT_ONCE - len(self._running)
        if free <= 0:
            return
        market = self._market
        async with market.database.read() as conn:
            due = await providers.due_feeds(conn, market.now(), AT_ONCE + free)
        for feed in [feed for feed in due if feed.id not in self._running][:free]:
            task = asyncio.create_task(self._run(feed.id), name=f"feed {feed.id}")
            self._running[feed.id] = task

    async def idle(self) -> None:
        """Wait until no run is under way."""
        while self._running:
            await asyncio.wait(list(self._running.values()))

    async def close(self) -> None:
        """Break off what is under way: nothing of it is written."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _run(self, feed_id: str) -> None:
        try:
            await self._run_alone(feed_id)
        finally:
            self._running.pop(feed_id, None)

    async def _run_alone(self, feed_id: str) -> None:
        market, duty = self._market, f"feed:{feed_id}"
        mine = await market.database.writer.write(
            lambda conn: duties.take_or_renew(conn, duty, market.node, _wall_us(), LEASE_US)
        )
        if not mine:
            return
        try:
            await self._read(feed_id)
        finally:
            await market.database.writer.write(lambda conn: duties.drop(conn, duty, market.node))

    async def _read(self, feed_id: str) -> None:
        market = self._market
        async with market.database.read() as conn:
            feed = await providers.get_feed(conn, feed_id)
        # Another node may have read it between this one's look and its lease.
        if feed is None or feed.due_at is None or feed.due_at > market.now():
            return
        try:
            await run_feed(market, feed)
        except MarketError as fault:
            await note_failure(market, feed_id, fault)
        except Exception as fault:
            _log.error("feed_run_failed", feed=feed_id, exc_info=fault)
            unread = FeedFailed("feed_unreadable", f"The market failed on it ({type(fault).__name__}).")
            await note_failure(market, feed_id, unread)


def _wall_us() -> int:
    return time.time_ns() // 1_000
