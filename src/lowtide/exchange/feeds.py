"""Feeds: registering, running and closing them. What a feed lists stands in the book before the answer goes out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.award import dumped
from lowtide.exchange.feed_health import after_failure, after_reading, next_run, unchanged
from lowtide.exchange.feed_sources import CATALOG, LIVE, POLL, TARIFF, VALID_FOR_US, Found, look
from lowtide.exchange.listings import Kept, keep, withdraw
from lowtide.exchange.market import Market
from lowtide.exchange.order import Claim
from lowtide.exchange.quotes import Pushed, take
from lowtide.exchange.register import claimed, switch_source
from lowtide.exchange.seal import HORIZON_US, Touched
from lowtide.feeds.listing import Reading
from lowtide.store import offers as stored_offers
from lowtide.store import providers as stored
from lowtide.store.tables import Feed, Provider
from lowtide.values.errors import BadValue, Conflict, FieldError, MarketError, NotFound
from lowtide.values.ids import new_id
from lowtide.values.instants import DAY_US, HOUR_US, SECOND_US
from lowtide.values.webhooks import new_secret

_TABLE_REFRESH_US = HOUR_US
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Run:
    """A feed after a run, what the run found, and the book version that has it."""

    feed: Feed
    found: Found
    book_version: int


def new_feed(market: Market, provider_id: str, kind: str, spec: Mapping[str, Any]) -> Feed:
    """A feed that is not stored yet; a live one gets the secret that signs its bid requests."""
    now = market.now()
    secret = new_secret() if kind == LIVE else None
    return Feed(
        id=new_id("feed", now),
        provider_id=provider_id,
        kind=kind,
        spec=dumped(spec),
        health="{}",
        secret=secret,
        created_at=now,
    )


async def register_feed(market: Market, feed: Feed, provider: Provider, claim: Claim | None = None) -> Run:
    """Read a feed for the first time, and store it with what it lists.

    Raises FeedFailed, BadValue and SetupError where it gives nothing that can be taken: then nothing is stored. A tariff
    becomes the price source of its offers, which must be the provider's (`unknown_offer`).
    """
    found = Found() if feed.kind == LIVE else await look(market, feed, provider)
    if feed.kind in (POLL, CATALOG) and not found.listed:
        raise _nothing_wanted(found.reading)
    now = market.now()

    async def change(conn: AsyncConnection, touched: Touched) -> Feed:
        await stored.add_feed(conn, feed.model_dump())
        await claimed(conn, claim, feed.id, now)
        if feed.kind == TARIFF:
            for place, entry in enumerate(orjson.loads(feed.spec)["offers"]):
                await _bind(conn, touched, feed, entry["offer_id"], place, now)
        await write_found(conn, touched, market, feed, found, now)
        return await feed_or_404(conn, feed.id)

    made, version = await market.keeper.publish(change)
    if feed.kind == LIVE:
        await market.bidders.refresh()
    return Run(made, found, version)


def _nothing_wanted(reading: Reading | None) -> BadValue:
    """Why a list that could be read gives no offer."""
    if reading is None:
        return BadValue(
            "empty_feed", "The catalog prices nothing of that on these lanes. Choose other models or lanes."
        )
    text = f"The list was read as {reading.format}: {reading.entries} entries, none of which is taken."
    if reading.skipped:
        text += f" Passed over: {', '.join(f'{count} {why}' for why, count in reading.skipped)}."
    if reading.refused:
        first = reading.refused[0]
        text += f" {len(reading.refused)} refused, the first {first.entry}: {first.message}"
    else:
        text += " See that include, exclude, lanes and select admit some."
    return BadValue("empty_feed", text)


async def _bind(
    conn: AsyncConnection, touched: Touched, feed: Feed, offer_id: str, place: int, now: int
) -> None:
    """Make a feed the price source of one of its provider's offers."""
    pointer = f"/offers/{place}/offer_id"
    row = await stored_offers.get_offer(conn, offer_id)
    if row is None or row.provider_id != feed.provider_id or row.withdrawn_at is not None:
        text = f"The provider has no offer {offer_id}. List its offers with GET /v1/offers."
        raise NotFound(text, code="unknown_offer", errors=(FieldError(pointer, "unknown_offer", text),))
    await switch_source(conn, touched, offer_id, feed.id, now)


async def run_now(market: Market, feed: Feed, claim: Claim | None = None) -> Run:
    """`run_feed`, whose failure is kept in the feed's health before it is raised."""
    try:
        return await run_feed(market, feed, claim)
    except Conflict:
        raise
    except MarketError as fault:
        await note_failure(market, feed.id, fault)
        raise


async def note_failure(market: Market, feed_id: str, fault: MarketError) -> None:
    """Write a run that gave nothing, and when the next is due: later each time, but not past the end of its quotes."""
    now = market.now()

    async def unit(conn: AsyncConnection) -> None:
        feed = await feed_or_404(conn, feed_id)
        if feed.closed_at is not None:
            return
        before = orjson.loads(feed.health or "{}")
        health = after_failure(before, fault, now)
        if health["silent"] and not before.get("silent"):
            _log.warning("feed_silent", feed=feed_id, provider=feed.provider_id, cause=fault.code)
        due = next_run(_interval_us(feed), health["failures"], now, market.dice, fault.retry_after_s)
        lapse = health.get("valid_until", 0)
        if fault.retry_after_s is None and now < lapse < due:
            due = lapse
        await stored.update_health(conn, feed.id, dumped(health), due)

    await market.database.writer.write(unit)


def _interval_us(feed: Feed) -> int:
    """How long after a good run the next is due, µs."""
    spec = orjson.loads(feed.spec)
    return int(spec["interval_s"]) * SECOND_US if feed.kind == POLL else _TABLE_REFRESH_US


async def run_feed(market: Market, feed: Feed, claim: Claim | None = None) -> Run:
    """Read a feed now, whatever its next run. Raises FeedFailed, BadValue, Conflict (`feed_closed`, `nothing_to_run`)."""
    if feed.closed_at is not None:
        raise Conflict("This feed is closed. Register it anew.", code="feed_closed")
    if feed.kind == LIVE or feed.due_at is None:
        raise Conflict(
            "This feed has no runs: a live one is asked for each task, and the configuration's runs by itself.",
            code="nothing_to_run",
        )
    async with market.database.read() as conn:
        provider = await stored.get_provider(conn, feed.provider_id)
    assert provider is not None  # a foreign key
    found, now = await look(market, feed, provider), market.now()

    async def change(conn: AsyncConnection, touched: Touched) -> Feed:
        await claimed(conn, claim, feed.id, now)
        fresh = await feed_or_404(conn, feed.id)
        if fresh.closed_at is None:
            await write_found(conn, touched, market, fresh, found, now)
        return await feed_or_404(conn, feed.id)

    made, version = await market.keeper.publish(change)
    return Run(made, found, version)


async def close_feed(market: Market, feed_id: str) -> tuple[Feed, int]:
    """End a feed: the offers that it listed are withdrawn, others lose its prices at once and take the next source's."""
    now = market.now()

    async def change(conn: AsyncConnection, touched: Touched) -> Feed:
        feed = await feed_or_404(conn, feed_id)
        if feed.closed_at is None:
            await stored.close_feed(conn, feed_id, now)
            rows = await stored_offers.list_offers(conn, provider_id=feed.provider_id, limit=None)
            await withdraw(conn, [row for row in rows if row.listed_by == feed_id], now, touched)
            for row in rows:
                if row.price_source == feed_id:
                    await stored_offers.change_price_source(conn, row.id, None)
                    touched.offers.add(row.id)
            await _read_others_anew(conn, feed, now)
        return await feed_or_404(conn, feed_id)

    closed = await market.keeper.publish(change)
    if closed[0].kind == LIVE:
        await market.bidders.refresh()
    return closed


async def _read_others_anew(conn: AsyncConnection, closed: Feed, now: int) -> None:
    """What a closed feed listed or priced another of the provider's may have too: it is read at once, whatever it knows."""
    for feed in await stored.list_feeds(conn, closed.provider_id, limit=None):
        if feed.closed_at is None and feed.due_at is not None:
            health = orjson.loads(feed.health or "{}") | {"etag": None, "last_modified": None}
            await stored.update_health(conn, feed.id, dumped(health), now)


async def write_found(
    conn: AsyncConnection, touched: Touched, market: Market, feed: Feed, found: Found, now: int
) -> None:
    """Write what a run found, its health and when the next is due, inside a change to the book."""
    if feed.kind == LIVE:
        return
    spec, health = orjson.loads(feed.spec), orjson.loads(feed.health or "{}")
    if found.nothing_new:
        health = unchanged(health, now)
    elif feed.kind == TARIFF:
        fresh = await _fresh_quotes(conn, feed, found.quotes, now)
        taken = await take(conn, touched, fresh, feed.id, now, trusted=True) if fresh else []
        offers = len({one.offer_id for one in found.quotes})
        health = after_reading(health, Kept(offers=offers, accepted=len(taken)), now)
    else:
        valid_for = spec.get("valid_for_s", 0) * SECOND_US or VALID_FOR_US
        polled, reading = feed.kind == POLL, found.reading
        kept = await keep(
            conn,
            touched,
            feed,
            found.listed,
            now,
            reach_us=valid_for // 2 if polled else HORIZON_US - DAY_US,
            trusted=not polled,
            broken=[one.entry for one in reading.refused] if reading else (),
        )
        health = after_reading(health, kept, now, reading)
        if polled and (kept.accepted or kept.held_back or "valid_until" not in health):
            health["valid_until"] = found.valid_until
    if found.fetched is not None:
        health |= {
            "etag": found.fetched.etag,
            "last_modified": found.fetched.last_modified,
            "url": found.fetched.url,
            "took_ms": found.fetched.took_ms,
        }
    due = next_run(_interval_us(feed), 0, now, market.dice)
    await stored.update_health(conn, feed.id, dumped(health), due)


async def _fresh_quotes(
    conn: AsyncConnection, feed: Feed, quotes: Sequence[Pushed], now: int
) -> list[Pushed]:
    """A tariff's quotes for the offers still listed whose quotes end within six days: written anew once a day."""
    rows = await stored_offers.list_offers(conn, provider_id=feed.provider_id, limit=None)
    listed = {row.id for row in rows if row.withdrawn_at is None}
    quotes = [one for one in quotes if one.offer_id in listed]
    alive = await stored_offers.quotes_alive(conn, sorted({one.offer_id for one in quotes}), feed.id, now)
    ends: dict[str, int] = {}
    for row in alive:
        ends[row.offer_id] = max(ends.get(row.offer_id, 0), row.valid_until or 0)
    return [one for one in quotes if ends.get(one.offer_id, 0) < now + HORIZON_US - DAY_US]


async def feed_or_404(conn: AsyncConnection, feed_id: str) -> Feed:
    """The stored feed. Raises NotFound (`unknown_feed`)."""
    row = await stored.get_feed(conn, feed_id)
    if row is None:
        raise NotFound(f"No feed {feed_id}. List them with GET /v1/feeds.", code="unknown_feed")
    return row
