"""What a feed's source says now, of whatever kind it is; nothing is written here."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import orjson

from lowtide.exchange.market import Market
from lowtide.exchange.quotes import Pushed
from lowtide.exchange.seal import HORIZON_US
from lowtide.feeds.catalog import catalog_listings
from lowtide.feeds.fetch import Fetched, fetch
from lowtide.feeds.formats import Context
from lowtide.feeds.listing import Listing, Reading
from lowtide.feeds.providers import discounted
from lowtide.feeds.understand import understand_apart
from lowtide.market.book_lines import prices_from_values
from lowtide.market.tariff import expand
from lowtide.market.tariff_table import tariff_from_table
from lowtide.store.tables import Feed, Provider
from lowtide.values.canonical import canonical, sha256
from lowtide.values.instants import DAY_US, SECOND_US

POLL, TARIFF, CATALOG, LIVE = "poll", "tariff", "catalog", "live"
VALID_FOR_US = DAY_US
LIST_PRICES = "litellm"
"""The format of list prices, off which a provider's negotiated discount comes, as it does off the catalog's."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one run of a feed found, before it is written: listings with their prices, or word that nothing is new.

    `quotes` are those of a tariff, which prices offers that stand; `fetched` is what a poll brought, whose prices
    count until `valid_until` (µs) where it gives no end.
    """

    listed: tuple[Listing, ...] = ()
    quotes: tuple[Pushed, ...] = ()
    reading: Reading | None = None
    fetched: Fetched | None = None
    nothing_new: bool = False
    valid_until: int | None = None


async def look(market: Market, feed: Feed, provider: Provider) -> Found:
    """Ask a feed's source, without writing anything. Raises FeedFailed and BadValue."""
    spec, now = orjson.loads(feed.spec), market.now()
    if feed.kind == POLL:
        return await _poll(market, feed, provider, spec, now)
    if feed.kind == TARIFF:
        return Found(quotes=tuple(_of_tariff(spec, now)))
    return Found(listed=tuple(_of_catalog(market, provider, spec, now)))


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
    return Found(listed=listed, reading=reading, fetched=fetched, valid_until=context.valid_until_us)


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
        Pushed(
            entry["offer_id"],
            quote.prices,
            quote.valid_from,
            quote.valid_until,
            None,
            quote.capacity,
            raw_hash=sha256(canonical({"tariff": spec["tariff"], "prices": entry["prices"]})).hex(),
        )
        for entry in spec["offers"]
        for quote in expand(tariff, prices_from_values(entry["prices"]), now, now + HORIZON_US, 0)
    ]
