"""Feeds as answers: settings without credentials, health with instants in UTC, and what a list was understood as."""

from collections.abc import Sequence
from typing import Any

import httpx
import orjson

from lowtide.api import views
from lowtide.api.views import when
from lowtide.exchange.feed_health import state_of
from lowtide.exchange.feed_sources import Found
from lowtide.feeds.listing import Listing
from lowtide.market.book_lines import prices_from_values
from lowtide.market.quote import Quote, effective_quote
from lowtide.store.tables import Feed
from lowtide.values.instants import SECOND_US

SHOWN = 100
SHOWN_QUOTES = 10
SHOWN_NAMES = 5
_COUNTS = (
    "entries",
    "models",
    "offers",
    "quotes_accepted",
    "quotes_unchanged",
    "quotes_held_back",
    "quotes_refused",
    "reference_only",
    "withdrawn",
)
_URLS = ("url", "bid_url", "notices_url")


def feed(row: Feed, now: int, *, own: bool) -> dict[str, Any]:
    """A feed and its health at an instant (µs). Only its `own` seller sees the queries of its URLs."""
    return {
        "id": row.id,
        "provider_id": row.provider_id,
        "kind": row.kind,
        "state": state_of(row, now),
        "spec": _spec(orjson.loads(row.spec or "{}"), own=own),
        "health": _health(orjson.loads(row.health or "{}"), now),
        "due_at": when(row.due_at),
        "closed_at": when(row.closed_at),
        "created_at": when(row.created_at),
    }


def read_feed(row: Feed, found: Found, now: int) -> dict[str, Any]:
    """A feed that was just read, with the first of what it lists."""
    reading = found.reading
    listings = reading.listings if reading is not None else found.listed
    return feed(row, now, own=True) | {
        "understood": [understood(one, now) for one in listings[:SHOWN]],
        "ignored": [] if reading is None else list(reading.ignored),
        "warnings": _unpriced(listings, found),
    }


def _unpriced(listings: Sequence[Listing], found: Found) -> list[str]:
    """That offers lack an input or output price, and which: they stand in the book, but cannot win."""
    lacking = [one.model for one in listings if not one.priced]
    lacking += sorted({one.offer_id for one in found.quotes if not one.prices.known})
    if not lacking:
        return []
    more = f" and {len(lacking) - SHOWN_NAMES} more" if len(lacking) > SHOWN_NAMES else ""
    return [
        f"Without both an input and an output price an offer cannot win: {', '.join(lacking[:SHOWN_NAMES])}{more}. "
        'A price that is not given is unknown, never free; "0" is what costs nothing.'
    ]


def understood(listing: Listing, now: int) -> dict[str, Any]:
    """An offer as a list describes it, with its price at an instant (µs) and those that follow."""
    found = effective_quote(listing.quotes, now)
    ahead = sorted(
        (one for one in listing.quotes if one.valid_until is None or one.valid_until > now),
        key=lambda one: one.valid_from,
    )
    return {
        "model": listing.model,
        "upstream_model": listing.upstream_model,
        "lane": listing.lane,
        "variant": listing.variant,
        "context_window": listing.context_window,
        "max_output_tokens": listing.max_output_tokens,
        "modalities": list(listing.modalities),
        "features": list(listing.features),
        "prices": views.prices(None if found is None else found.prices),
        "quotes": [_quote(one) for one in ahead[:SHOWN_QUOTES]],
        "quotes_count": len(ahead),
    }


def _quote(quote: Quote) -> dict[str, Any]:
    return {
        "prices": views.prices(quote.prices),
        "valid_from": when(quote.valid_from),
        "valid_until": when(quote.valid_until),
        "capacity": None if quote.capacity is None else views.capacity(quote.capacity),
    }


def _spec(spec: dict[str, Any], *, own: bool) -> dict[str, Any]:
    shown = dict(spec)
    for name in _URLS:
        if shown.get(name):
            bare = httpx.URL(shown[name]).copy_with(userinfo=b"", fragment=None)
            shown[name] = str(bare if own else bare.copy_with(query=None))
    if shown.get("prices"):
        shown["prices"] = views.prices(prices_from_values(shown["prices"]))
    if isinstance(shown.get("offers"), list):
        shown["offers"] = [
            {"offer_id": one["offer_id"], "prices": views.prices(prices_from_values(one["prices"]))}
            for one in shown["offers"]
        ]
    return shown


def _health(health: dict[str, Any], now: int) -> dict[str, Any]:
    last = health.get("last_success")
    return {
        "last_attempt": when(health.get("last_attempt")),
        "last_success": when(last),
        "lag_s": None if last is None else max(0, now - last) // SECOND_US,
        "failures": health.get("failures", 0),
        "valid_until": when(health.get("valid_until")),
        "format": health.get("format"),
        **{name: health.get(name) for name in _COUNTS},
        "skipped": health.get("skipped", {}),
        "held_back": health.get("held_back", []),
        "refused": health.get("refused", []),
        "errors": [one | {"at": when(one["at"])} for one in health.get("errors", [])],
    }
