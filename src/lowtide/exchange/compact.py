"""Compaction: old quotes become bars of a minute, those bars of an hour; old versions of the book go.

A duty, done in batches, each a transaction of its own: a node that dies in between leaves a history that says the same,
and the next run goes on from it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.kept_prices import bar_of, held, kept_bar
from lowtide.exchange.market import Market
from lowtide.market.price_history import UnitPrices, changed_bars, filled, flat_bar, pieces, ticks
from lowtide.store import book_compaction, duties, price_bars
from lowtide.store.price_bars import KeptBar, TakenQuote
from lowtide.values.instants import DAY_US, HOUR_US, MINUTE_US, SECOND_US

QUOTES, BARS, LINES = 250, 1_500, 500
"""The most of each in one transaction: some 15 ms of the writer."""
ROWS = 100
"""Rows of the book looked at together."""
LEASE_US = 60 * SECOND_US
"""How long a batch may take before another node goes on, in real time."""
DUTY = "compact"
R = TypeVar("R")


class _NotMine(Exception):
    """Another node has the duty."""


@dataclass(slots=True)
class Compacted:
    """What a run took away: quotes, bars of a minute, versions of the book and lines of it."""

    quotes: int = 0
    bars: int = 0
    versions: int = 0
    lines: int = 0


async def compact(market: Market) -> Compacted:
    """Compact what is old by the market's clock and rules; what it took away. Nothing where another node does it."""
    found = Compacted()
    try:
        await _compact_quotes(market, found)
        await _compact_bars(market, found)
        await _compact_book(market, found)
    except _NotMine:
        return found
    return found


async def _compact_quotes(market: Market, found: Compacted) -> None:
    before = _whole_hour(market.now() - market.rules.quotes_kept_days * DAY_US)
    async with market.database.read() as conn:
        pairs = await price_bars.sources_with_old_quotes(conn, before)
    for offer_id, source in pairs:
        while True:
            dropped, more = await _write(
                market,
                partial(quotes_to_bars, offer_id=offer_id, source=source, before=before, most=QUOTES),
            )
            found.quotes += dropped
            if not more:
                break


async def quotes_to_bars(
    conn: AsyncConnection, offer_id: str, source: str, before: int, most: int
) -> tuple[int, bool]:
    """Make bars of an offer's oldest quotes that were over before an instant (µs, a whole hour).

    How many quotes went, and whether there may be more. Quotes stay that still stand at the new border, and those of the
    newest sequences: by them the next are numbered and checked.
    """
    last = await price_bars.last_bars(conn, offer_id, source, limit=2)
    border = last[0].start + last[0].step if last else None
    if border is not None and border >= before:
        return 0, False
    quotes = await price_bars.oldest_quotes(conn, offer_id, source, most + 1)
    more = len(quotes) > most
    end = before
    if more:
        # What has a higher sequence was taken later still, but for pushes that crossed.
        end = min(before, _whole_hour(quotes[-1].taken_at - MINUTE_US))
    begun = [quote for quote in quotes if quote.begins < end]
    over = over_by(begun, end, await price_bars.newest_sequences(conn, offer_id, source))
    if not over or (border is not None and end <= border):
        return await quotes_to_bars(conn, offer_id, source, before, 2 * most) if end < before else (0, False)
    begin = _whole_hour(min(quote.begins for quote in begun)) if border is None else border
    state = bar_of(last[0]).closing if last else None
    stretches = pieces(ticks(held(begun), begin, end), end)
    bars = changed_bars(stretches, MINUTE_US, state)
    if not bars or bars[-1].end < end:
        bars.append(flat_bar(end - MINUTE_US, end, stretches[-1].closing))
    await _drop_idle(conn, last)
    await price_bars.add_bars(conn, [kept_bar(bar, offer_id, source) for bar in bars])
    return await price_bars.drop_quotes(conn, over), end < before


def over_by(quotes: Sequence[TakenQuote], at: int, kept_sequences: Iterable[int]) -> list[str]:
    """Those quotes that can hold no more at or after an instant: ended, or covered by a single newer one from then on.

    A quarantined quote covers no other that is not. Quotes of the kept sequences are never among them.
    """
    kept, found = set(kept_sequences), list[str]()
    accepted = quarantined = -1
    waiting: list[TakenQuote] = []
    for quote in sorted(quotes, key=lambda quote: -quote.sequence):
        if waiting and waiting[0].sequence != quote.sequence:
            accepted = max([accepted, *(_end(q) for q in waiting if not q.quarantined)])
            quarantined = max([quarantined, *(_end(q) for q in waiting)])
            waiting = []
        waiting.append(quote)
        covered = _end(quote) <= (quarantined if quote.quarantined else accepted)
        if quote.sequence not in kept and (covered or _end(quote) <= at):
            found.append(quote.id)
    return found


def _end(quote: TakenQuote) -> int:
    return 2**63 if quote.ends is None else quote.ends


async def _drop_idle(conn: AsyncConnection, last: Sequence[KeptBar]) -> None:
    """Drop the bar that marked the border before, where nothing had changed in it."""
    if not last:
        return
    bar, before = bar_of(last[0]), bar_of(last[1]).closing if len(last) > 1 else None
    if bar.flat and bar.closing == before:
        kept = last[0]
        await price_bars.drop_bars(conn, kept.offer_id, kept.source, kept.step, kept.start, kept.start + 1)


async def _compact_bars(market: Market, found: Compacted) -> None:
    before = _whole_hour(market.now() - market.rules.minute_bars_kept_days * DAY_US)
    async with market.database.read() as conn:
        pairs = await price_bars.sources_with_old_bars(conn, MINUTE_US, before)
    for offer_id, source in pairs:
        while dropped := await _write(
            market, partial(minutes_to_hours, offer_id=offer_id, source=source, before=before, most=BARS)
        ):
            found.bars += dropped


async def minutes_to_hours(conn: AsyncConnection, offer_id: str, source: str, before: int, most: int) -> int:
    """Make hour bars of an offer's oldest minute bars that ended by an instant (µs, a whole hour); how many went.

    `most` is more than the 60 that an hour may have.
    """
    minutes = await price_bars.bars_of_step(conn, offer_id, source, MINUTE_US, before, most)
    if not minutes:
        return 0
    begin, end = _whole_hour(minutes[0].start), _whole_hour(minutes[-1].start) + HOUR_US
    if len(minutes) == most:
        # The last hour may have more minutes than were read: it is left for the next batch.
        end -= HOUR_US
    taken = [bar_of(bar) for bar in minutes if bar.start < end]
    state = await _closing_before(conn, offer_id, source, begin)
    stretches = filled(taken, state, begin, end)
    hours = changed_bars(stretches, HOUR_US, state)
    (newest,) = await price_bars.last_bars(conn, offer_id, source)
    if newest.start + newest.step == end and (not hours or hours[-1].end < end):
        hours.append(flat_bar(end - HOUR_US, end, stretches[-1].closing))
    dropped = await price_bars.drop_bars(conn, offer_id, source, MINUTE_US, begin, end)
    await price_bars.add_bars(conn, [kept_bar(bar, offer_id, source) for bar in hours])
    return dropped


async def _closing_before(conn: AsyncConnection, offer_id: str, source: str, at: int) -> UnitPrices | None:
    last: list[KeptBar] = await price_bars.last_bars(conn, offer_id, source, at)
    return bar_of(last[0]).closing if last else None


async def _compact_book(market: Market, found: Compacted) -> None:
    before = market.now() - market.rules.book_kept_days * DAY_US
    after = -1
    while True:
        async with market.database.read() as conn:
            versions = await book_compaction.unneeded_versions(conn, before, after, LINES)
        if not versions:
            break
        after = versions[-1]
        found.versions += await _write(market, partial(book_compaction.drop_versions, versions=versions))
    async with market.database.read() as conn:
        rows = await book_compaction.row_count(conn)
    for row in range(0, rows, ROWS):
        async with market.database.read() as conn:
            lines = await book_compaction.unneeded_lines(conn, row, row + ROWS, before)
        for first in range(0, len(lines), LINES):
            batch = lines[first : first + LINES]
            found.lines += await _write(market, partial(book_compaction.drop_lines, lines=batch))


async def _write(market: Market, unit: Callable[[AsyncConnection], Awaitable[R]]) -> R:
    """Run a unit while the duty is this node's, which it renews; others that wait for the writer go between two."""

    async def mine(conn: AsyncConnection) -> R:
        if not await duties.take_or_renew(conn, DUTY, market.node, time.time_ns() // 1_000, LEASE_US):
            raise _NotMine
        return await unit(conn)

    result = await market.database.writer.write(mine)
    await asyncio.sleep(0)
    return result


def _whole_hour(at: int) -> int:
    return at // HOUR_US * HOUR_US
