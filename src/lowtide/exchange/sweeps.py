"""What must happen by the clock. Each sweep asks the tables what is due; a timer only says when to look."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import structlog

from lowtide.exchange.batch_returns import rescue_due
from lowtide.exchange.batches import Batches
from lowtide.exchange.compact import compact
from lowtide.exchange.dispatch import Dispatcher
from lowtide.exchange.expire import expire_due
from lowtide.exchange.feed_runs import FeedRuns
from lowtide.exchange.forecast_making import ForecastMaker
from lowtide.exchange.hindsight import look_back
from lowtide.exchange.market import Market
from lowtide.exchange.net_look import look_at_nets
from lowtide.exchange.notices import deliver_due
from lowtide.exchange.recover import recover, sign_of_life
from lowtide.exchange.release import (
    press_held,
    release_due,
    review_named,
    review_queued,
    review_waiting,
)
from lowtide.exchange.rounds import Rounds
from lowtide.market.book import Book
from lowtide.store import duties, idempotency, log
from lowtide.store.rows import LostRace
from lowtide.values.instants import DAY_US, SECOND_US

LEAF_LEASE_US = 5 * SECOND_US
LEAVES = 2_000
QUEUE_LOOK_S = 2.0
PRESS_S = 2.0
KEYS_KEPT_US = 2 * DAY_US
_log = structlog.get_logger()


class Sweeps:
    """The sweeps of one node, by name with their interval in seconds of real time."""

    def __init__(
        self, market: Market, dispatcher: Dispatcher, refresh: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._market, self._dispatcher, self._refresh = market, dispatcher, refresh
        self.feed_runs = FeedRuns(market)
        self.batches = Batches(market, dispatcher)
        self.forecast_maker = ForecastMaker(market)
        self._rounds = Rounds(market, dispatcher)
        self._reviewed, self._watch_anew = Book(0, []), False
        self._queue_reviewed = time.monotonic()
        dispatcher.wake_when_freed(logged("freed", self.freed))

    def ticks(self) -> dict[str, tuple[Callable[[], Awaitable[None]], float]]:
        """Each sweep and how often it looks."""
        found: dict[str, tuple[Callable[[], Awaitable[None]], float]] = {
            "release": (self.release, 0.5),
            "number_leaves": (self.number_leaves, 0.5),
            "conditions": (self.conditions, 5.0),
            "feeds": (self.feed_runs.look, 1.0),
            "batches": (self.batches.step, 1.0),
            "rescues": (self.rescues, 0.5),
            "batch_times": (self.batches.learn, 5.0),
            "bidders": (self._market.bidders.refresh, 1.0),
            "bidder_health": (self._market.bidders.keep_health, 5.0),
            "notices": (self.notices, 1.0),
            "life": (self.life, 4.0),
            "recover": (self.take_over, 5.0),
            "forget": (self.forget, 3_600.0),
            "compact": (self.compact, 3_600.0),
            "hindsight": (self.hindsight, 30.0),
            "forecasts": (self.forecasts, 10.0),
            "press": (self.press, PRESS_S),
            "rounds": (self.rounds, 1.0),
            "extend": (self._market.keeper.extend, 86_400.0),
        }
        if self._market.database.dialect != "sqlite":
            found["watch_all"] = (self.watch_all, 300.0)
            found["follow"] = (self._market.keeper.follow, 0.5)
        if self._refresh is not None:
            found["refresh"] = (self._refresh, 3_600.0)
        return found

    async def release(self) -> None:
        """Run what is due, decide again on what waits once the book has changed, end what is over."""
        market = self._market
        await release_due(market, self._dispatcher)
        await expire_due(market)
        if self._watch_anew:
            self._watch_anew, self._reviewed = False, Book(0, [])
            market.held.forget()
        all_known = await market.held.load(market.database, market.keeper.book)
        if all_known and market.keeper.book is not self._reviewed:
            before, self._reviewed = self._reviewed, market.keeper.book
            await review_waiting(market, self._dispatcher, before)
        elif time.monotonic() - self._queue_reviewed > QUEUE_LOOK_S:
            self._queue_reviewed = time.monotonic()
            await review_queued(market, self._dispatcher)
        await review_named(market, self._dispatcher)

    async def watch_all(self) -> None:
        """Read anew what is held: other nodes hold too, and may have died since."""
        self._watch_anew = True

    async def freed(self) -> None:
        """Decide again on the head of the queue: places were freed here. Others' are found by looking."""
        await review_queued(self._market, self._dispatcher, to_the_end=False)

    async def number_leaves(self) -> None:
        """Number committed log lines: a duty, so that one node does it."""
        market, real_now = self._market, _wall_us()
        mine = await market.database.writer.write(
            lambda conn: duties.take_or_renew(conn, "number_leaves", market.node, real_now, LEAF_LEASE_US)
        )
        while (
            mine
            and await market.database.writer.write(lambda conn: log.number_leaves(conn, LEAVES)) == LEAVES
        ):
            continue

    async def conditions(self) -> None:
        """Seal what was observed where it has moved, and let open circuits be probed."""
        market, now = self._market, self._market.now()
        probes = market.observations.probe_due(now)
        if probes:
            await market.seal_conditions(probes, now, at_once=True)
        await market.seal_conditions(market.observations.known(), now)

    async def rescues(self) -> None:
        """Run elsewhere what a batch did not bring back in time."""
        await rescue_due(self._market, self._dispatcher)

    async def notices(self) -> None:
        """Tell bidders what they won, lost and were paid."""
        await deliver_due(self._market)

    async def life(self) -> None:
        """Show that this node lives."""
        await sign_of_life(self._market, _wall_us())

    async def take_over(self) -> None:
        """Take over what dead nodes left."""
        await recover(self._market, self._dispatcher, _wall_us())

    async def hindsight(self) -> None:
        """Look back on held tasks whose window is over."""
        await look_back(self._market)

    async def press(self) -> None:
        """Start what has to start so that all that is held still finds room before its deadline."""
        await look_at_nets(self._market, self._dispatcher)
        if await press_held(self._market, PRESS_S):
            await review_named(self._market, self._dispatcher)

    async def forecasts(self) -> None:
        """Make this slot's forecasts, on every node."""
        await self.forecast_maker.refresh()

    async def rounds(self) -> None:
        """Clear together what wants more of an offer than it can carry, once a slot: a duty, so that one node does it."""
        await self._rounds.look()

    async def forget(self) -> None:
        """Forget idempotency keys after two days."""
        before = self._market.now() - KEYS_KEPT_US
        await self._market.database.writer.write(lambda conn: idempotency.forget_before(conn, before))

    async def compact(self) -> None:
        """Compact old quotes, bars and versions of the book: a duty, so that one node does it."""
        await compact(self._market)


def guarded(name: str, sweep: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """The sweep for a timer: a fault is logged once here, and the next tick tries again."""
    safe = logged(name, sweep)

    async def run() -> None:
        # A timer that is shut down cancels its jobs, and would tell each as a failure.
        with contextlib.suppress(asyncio.CancelledError):
            await safe()

    return run


def logged(name: str, sweep: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """The sweep with its faults logged instead of raised."""

    async def run() -> None:
        try:
            await sweep()
        except LostRace:
            _log.info("sweep_lost_a_race", sweep=name)
        except Exception as fault:
            _log.error("sweep_failed", sweep=name, exc_info=fault)

    return run


def _wall_us() -> int:
    return time.time_ns() // 1_000
