"""The price maximum of an offer, one of its conditions: from the quotes of 28 days and the bars they became."""

from collections.abc import Iterable, Mapping

from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.kept_prices import bar_of, held
from lowtide.market.price_history import Bar, HeldQuote, ticks
from lowtide.market.quote import Quote
from lowtide.store import price_bars
from lowtide.store.tables import OfferRow
from lowtide.values.instants import DAY_US

HISTORY_US = 28 * DAY_US
"""How far back it reaches."""
Maximum = tuple[int, int, int]
"""Input, output and request price, nano-USD."""


async def price_maxima(conn: AsyncConnection, rows: Iterable[OfferRow], now: int) -> Mapping[str, Maximum]:
    """The highest input, output and request price of the last 28 days by offer; × 1.25 where none held just before them.

    Offers without a price in that time are left out.
    """
    sources, since = {row.id: row.price_source for row in rows}, now - HISTORY_US
    ids = sorted(sources)
    quotes: dict[str, list[HeldQuote]] = {}
    # Quotes before bars: what is compacted in between is then seen twice, not missed.
    for taken in await price_bars.standing_of_many(conn, ids, since - 1, now + 1):
        if taken.source == sources[taken.offer_id]:
            quotes.setdefault(taken.offer_id, []).extend(held([taken]))
    seen: dict[str, list[Maximum]] = {}
    old: set[str] = set()
    border: dict[str, int] = {}
    for kept in await price_bars.bars_of_many(conn, ids, since):
        if kept.source != sources[kept.offer_id]:
            continue
        bar = bar_of(kept)
        border[kept.offer_id] = bar.end
        highest = _high(bar) if bar.end > since else _close(bar)
        if highest is not None:
            seen.setdefault(kept.offer_id, []).append(highest)
            if bar.start < since:
                old.add(kept.offer_id)
    for offer_id, standing in quotes.items():
        begin = max(since - 1, border.get(offer_id, 0))
        for at, prices in ticks(standing, begin, now + 1):
            if prices is None:
                continue
            seen.setdefault(offer_id, []).append((prices.input, prices.output, prices.per_request))
            if at < since:
                old.add(offer_id)
    return {offer_id: _highest(found, young=offer_id not in old) for offer_id, found in seen.items() if found}


def _high(bar: Bar) -> Maximum | None:
    highs = [span.high for span in bar.spans]
    return (highs[0], highs[1], highs[4]) if highs else None


def _close(bar: Bar) -> Maximum | None:
    closing = bar.closing
    return None if closing is None else (closing.input, closing.output, closing.per_request)


def raised(highest: Maximum | None, added: Iterable[Quote]) -> Maximum | None:
    """The price maximum with new quotes, as of a young history: `extend` makes it exact once a day."""
    known = [
        (quote.prices.input or 0, quote.prices.output or 0, quote.prices.per_request)
        for quote in added
        if quote.prices.known and not quote.quarantined
    ]
    if not known:
        return highest
    fresh = _highest(known, young=True)
    old = highest or fresh
    return max(old[0], fresh[0]), max(old[1], fresh[1]), max(old[2], fresh[2])


def _highest(known: Iterable[Maximum], *, young: bool) -> Maximum:
    first, second, third = (max(column) for column in zip(*known, strict=True))
    if not young:
        return first, second, third
    return -(-first * 5 // 4), -(-second * 5 // 4), -(-third * 5 // 4)
