"""Feeds: registering, running and closing them. What a feed lists stands in the book before the answer goes out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.award import dumped
from lowtide.exchange.feed_health import after_reading, next_run, unchanged
from lowtide.exchange.listings import Kept, keep, withdraw
from lowtide.exchange.market import Market
from lowtide.exchange.order import Claim
from lowtide.exchange.quotes import Pushed, take
from lowtide.exchange.register import claimed
from lowtide.exchange.seal import HORIZON_US, Touched
from lowtide.feeds.catalog import catalog_listings
from lowtide.feeds.fetch import Fetched, fetch
from lowtide.feeds.formats import Context
from lowtide.feeds.listing import Listing, Reading
from lowtide.feeds.providers import discounted
from lowtide.feeds.understand import understand_apart
from lowtide.market.book_lines import prices_from_values
from lowtide.market.tariff import expand
from lowtide.market.tariff_table import tariff_from_table
from lowtide.store import offers as stored_offers
from lowtide.store import providers as stored
from lowtide.store.tables import Feed, Provider
from lowtide.values.errors import Conflict, NotFound
from lowtide.values.ids import new_id
from lowtide.values.instants import DAY_US, HOUR_US, SECOND_US
from lowtide.values.webhooks import new_secret

POLL, TARIFF, CATALOG, LIVE = "poll", "tariff", "catalog", "live"
VALID_FOR_US = DAY_US
LIST_PRICES = "litellm"
"""The format of list prices, off which a provider's negotiated discount comes, as it does off the catalog's."""
_TABLE_REFRESH_US = HOUR_US


@dataclass(frozen=True, slots=True)
class Found:
    """What one run of a feed found, before it is written: listings with their prices, or word that nothing is new.

    `quotes` are those of a tariff, which prices offers that stand; `fetched` is what a poll brought.
    """

    listed: tuple[Listing, ...] = ()
    quotes: tuple[Pushed, ...] = ()
    reading: Reading | None = None
    fetched: Fetched | None = None
    nothing_new: bool = False


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


async def register_feed(
    market: Market, feed: Feed, provider: Provider, claim: Claim | None = None
) -> tuple[Feed, Reading | None, int]:
    """Read a feed for the first time and store it with what it lists; the book version that has that.

    Raises FeedFailed and BadValue where it gives nothing that can be taken: then nothing is stored.
    """
    found = Found() if feed.kind == LIVE else await look(market, feed, provider)
    now = market.now()

    async def change(conn: AsyncConnection, touched: Touched) -> Feed:
        await stored.add_feed(conn, feed.model_dump())
        await claimed(conn, claim, feed.id, now)
        await write_found(conn, touched, market, feed, found, now)
        return await feed_or_404(conn, feed.id)

    made, version = await market.keeper.publish(change)
    return made, found.reading, version


async def run_feed(market: Market, feed: Feed) -> tuple[Feed, Reading | None, int]:
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
        fresh = await feed_or_404(conn, feed.id)
        if fresh.closed_at is None:
            await write_found(conn, touched, market, fresh, found, now)
        return await feed_or_404(conn, feed.id)

    made, version = await market.keeper.publish(change)
    return made, found.reading, version


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
        return await feed_or_404(conn, feed_id)

    return await market.keeper.publish(change)


async def look(market: Market, feed: Feed, provider: Provider) -> Found:
    """Ask a feed's source, without writing anything. Raises FeedFailed and BadValue."""
    spec, now = orjson.loads(feed.spec), market.now()
    if feed.kind == POLL:
        return await _poll(market, feed, provider, spec, now)
    if feed.kind == TARIFF:
        return Found(quotes=tuple(_of_tariff(spec, now)))
    return Found(listed=tuple(_of_catalog(market, provider, spec, now)))


async def write_found(
    conn: AsyncConnection, touched: Touched, market: Market, feed: Feed, found: Found, now: int
) -> None:
    """Write what a run found, its health and when the next is due, inside a change to the book."""
    if feed.kind == LIVE:
        return
    spec, health = orjson.loads(feed.spec), orjson.loads(feed.health or "{}")
    interval = spec["interval_s"] * SECOND_US if feed.kind == POLL else _TABLE_REFRESH_US
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
            health["valid_until"] = now + valid_for
    if found.fetched is not None:
        health |= {
            "etag": found.fetched.etag,
            "last_modified": found.fetched.last_modified,
            "url": found.fetched.url,
            "took_ms": found.fetched.took_ms,
        }
    due = next_run(interval, 0, now, market.dice)
    await stored.update_health(conn, feed.id, dumped(health), due)


async def _poll(market: Market, feed: Feed, provider: Provider, spec: Mapping[str, Any], now: int) -> Found:
    """Fetch and understand a document; asked with what is known of it, unless its quotes must be renewed."""
    health = orjson.loads(feed.health or "{}")
    valid_for = spec.get("valid_for_s", 0) * SECOND_US or VALID_FOR_US
    known = (
        health if health.get("valid_until", 0) - now > valid_for // 2 and not health.get("held_back") else {}
    )
    fetched = await fetch(
        market.feed_client,
        spec["url"],
        etag=known.get("etag"),
        last_modified=known.get("last_modified"),
        headers=_headers(market, provider, spec),
        timeout_s=market.rules.feed_timeout_s,
    )
    if fetched.status == "not_modified":
        return Found(fetched=fetched, nothing_new=True)
    prices = spec.get("prices")
    context = Context(
        provider=provider.name,
        now_us=now,
        valid_until_us=now + valid_for,
        names=market.model_names,
        include=tuple(spec.get("include") or ("*",)),
        exclude=tuple(spec.get("exclude") or ()),
        select=spec.get("select"),
        lanes=tuple(spec["lanes"]) if spec.get("lanes") else None,
        prices=None if prices is None else prices_from_values(prices),
        features=tuple(spec.get("features") or ()),
    )
    reading = await understand_apart(fetched.body, spec.get("format"), context)
    listed = tuple(replace(one, provider=provider.name) for one in reading.listings)
    if reading.format == LIST_PRICES and provider.discount_ppm:
        listed = tuple(_less(one, provider.discount_ppm) for one in listed)
    return Found(listed=listed, reading=reading, fetched=fetched)


def _headers(market: Market, provider: Provider, spec: Mapping[str, Any]) -> dict[str, str]:
    """The provider's own key, where the feed asks for it and lies at the provider's own address: nobody else gets it."""
    if not spec.get("authorize"):
        return {}
    names = [name for name in provider.credential_env.split(",") if name]
    keys = [market.credentials[name] for name in names if name in market.credentials]
    if not keys or not same_address(spec["url"], provider.base_url):
        return {}
    return {"Authorization": f"Bearer {keys[0]}"}


def same_address(url: str, base_url: str) -> bool:
    """Whether two URLs lead to the same scheme, host and port."""
    left, right = urlsplit(url), urlsplit(base_url)
    return (left.scheme, left.netloc.lower()) == (right.scheme, right.netloc.lower())


def _less(listing: Listing, discount_ppm: int) -> Listing:
    return replace(
        listing,
        quotes=tuple(
            replace(quote, prices=discounted(quote.prices, discount_ppm)) for quote in listing.quotes
        ),
    )


def _of_catalog(market: Market, provider: Provider, spec: Mapping[str, Any], now: int) -> list[Listing]:
    found = catalog_listings(
        spec["catalog"],
        now,
        now + HORIZON_US,
        0,
        lanes=tuple(spec.get("lanes") or ("standard",)),
        include=tuple(spec.get("include") or ("*",)),
        exclude=tuple(spec.get("exclude") or ()),
        names=market.model_names,
        features=tuple(spec.get("features") or ()),
    )
    return [_less(replace(one, provider=provider.name), provider.discount_ppm) for one in found if one.priced]


def _of_tariff(spec: Mapping[str, Any], now: int) -> list[Pushed]:
    tariff = tariff_from_table(spec["tariff"])
    return [
        Pushed(entry["offer_id"], quote.prices, quote.valid_from, quote.valid_until, None, quote.capacity)
        for entry in spec["offers"]
        for quote in expand(tariff, prices_from_values(entry["prices"]), now, now + HORIZON_US, 0)
    ]


async def _fresh_quotes(
    conn: AsyncConnection, feed: Feed, quotes: Sequence[Pushed], now: int
) -> list[Pushed]:
    """A tariff's quotes for the offers whose quotes end within six days: they are written anew once a day."""
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
