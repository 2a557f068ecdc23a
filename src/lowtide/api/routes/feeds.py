"""Feeds: prices that come by themselves. Each is read when it is registered; the answer says what was understood."""

from typing import Any

from fastapi import APIRouter, Response

from lowtide.api import answers, feed_answers, feed_views
from lowtide.api.auth import AnyRole, Principal, Seller, SellerOrAuditor
from lowtide.api.context import TheMarket
from lowtide.api.contract import told
from lowtide.api.feed_bodies import CatalogFeed, LiveFeed, NewFeed, PollFeed, TariffFeed
from lowtide.api.idempotent import TheClaim
from lowtide.api.json_body import StrictRoute
from lowtide.api.pages import After, Limit, page
from lowtide.api.private_urls import refuse_private
from lowtide.api.routes.sellers import provider_or_404, refuse_others
from lowtide.exchange.feed_sources import Found
from lowtide.exchange.feeds import close_feed, feed_or_404, new_feed, register_feed, run_now
from lowtide.exchange.market import Market
from lowtide.feeds.fetch import FeedFailed
from lowtide.store import providers
from lowtide.store.tables import Feed
from lowtide.values.errors import BadValue, FieldError, InvalidRequest, MarketError, SetupError

router = APIRouter(tags=["feeds"], route_class=StrictRoute)
_FORMAT_CODES = ("unknown_format", "not_this_format")


@router.post(
    "/feeds", status_code=201, summary="Register a price feed", responses=told(feed_answers.ReadFeed, 201)
)
async def post_feed(body: NewFeed, market: TheMarket, who: Seller, once: TheClaim) -> Response:
    """The feed is read before it is stored: where it gives nothing that can be taken, nothing is stored.

    `poll` fetches a price list again and again; `tariff` is a schedule on the seller's clock for offers that stand;
    `catalog` takes the list prices of a provider that genai-prices knows; `live` names a bidder that is asked for each
    task.
    """
    refuse_others(who, body.provider_id)
    provider = await provider_or_404(market, body.provider_id)
    await _refuse_private_addresses(market, body)
    feed = new_feed(market, provider.id, body.kind, body.spec())

    async def make() -> dict[str, Any]:
        try:
            made = await register_feed(market, feed, provider, once.claim)
        except (BadValue, SetupError, FeedFailed) as fault:
            raise _pointed(fault, body) from None
        shown = feed_views.read_feed(made.feed, made.found, market.now())
        return shown | {"book_version": made.book_version, "secret": made.feed.secret}

    async def again(feed_id: str) -> dict[str, Any]:
        async with market.database.read() as conn:
            row = await feed_or_404(conn, feed_id)
        shown = feed_views.read_feed(row, Found(), market.now())
        return shown | {"book_version": market.keeper.book.version, "secret": row.secret}

    return await once.answer(make, again, secret=body.kind == "live")


@router.get("/feeds", summary="List feeds", responses=told(answers.Page[feed_answers.Feed]))
async def list_feeds(
    market: TheMarket,
    who: AnyRole,
    provider_id: str | None = None,
    limit: Limit = 50,
    after: After = None,
) -> dict[str, Any]:
    """Where prices come from, and how each source does; a provider's key sees its own."""
    mine = who.provider_id if who.role == "provider" else provider_id
    async with market.database.read() as conn:
        rows = await providers.list_feeds(conn, mine, after or "", limit + 1)
    return page(rows, limit, lambda row: _shown(market, who, row), lambda row: row.id)


@router.get("/feeds/{feed_id}", summary="Read a feed's health", responses=told(feed_answers.Feed))
async def get_feed(feed_id: str, market: TheMarket, who: SellerOrAuditor) -> dict[str, Any]:
    """Last success, lag, errors, and quotes accepted and refused with the reasons."""
    return _shown(market, who, await _owned(market, who, feed_id))


@router.post("/feeds/{feed_id}/run", summary="Read a feed now", responses=told(feed_answers.ReadFeed))
async def post_run(feed_id: str, market: TheMarket, who: Seller, once: TheClaim) -> Response:
    """Whatever its next run. A failure is answered, and kept in its health."""
    feed = await _owned(market, who, feed_id)

    async def make() -> dict[str, Any]:
        made = await run_now(market, feed, once.claim)
        shown = feed_views.read_feed(made.feed, made.found, market.now())
        return shown | {"book_version": made.book_version, "secret": None}

    async def again(feed_id: str) -> dict[str, Any]:
        shown = feed_views.read_feed(await _owned(market, who, feed_id), Found(), market.now())
        return shown | {"book_version": market.keeper.book.version, "secret": None}

    return await once.answer(make, again, 200)


@router.delete("/feeds/{feed_id}", summary="Close a feed", responses=told(feed_answers.Feed))
async def delete_feed(feed_id: str, market: TheMarket, who: Seller) -> dict[str, Any]:
    """It runs no more. The offers that it listed are withdrawn; others lose its prices, and the next source counts."""
    await _owned(market, who, feed_id)
    row, _version = await close_feed(market, feed_id)
    return _shown(market, who, row)


async def _owned(market: Market, who: Principal, feed_id: str) -> Feed:
    async with market.database.read() as conn:
        row = await feed_or_404(conn, feed_id)
    refuse_others(who, row.provider_id)
    return row


def _shown(market: Market, who: Principal, row: Feed) -> dict[str, Any]:
    own = who.role == "operator" or who.provider_id == row.provider_id
    return feed_views.feed(row, market.now(), own=own)


async def _refuse_private_addresses(
    market: Market, body: PollFeed | TariffFeed | CatalogFeed | LiveFeed
) -> None:
    for name in ("url", "bid_url", "notices_url"):
        url = getattr(body, name, None)
        if url is not None:
            await refuse_private(url, f"/{name}", allowed=market.rules.allow_private_urls)


def _pointed(fault: MarketError, body: PollFeed | TariffFeed | CatalogFeed | LiveFeed) -> MarketError:
    """The fault with the field that it comes from."""
    if isinstance(body, PollFeed):
        pointer = "/format" if fault.code in _FORMAT_CODES and body.format else "/url"
    else:
        pointer = "/tariff" if isinstance(body, TariffFeed) else "/catalog"
    code = "unknown_catalog" if isinstance(fault, SetupError) else fault.code
    return InvalidRequest(fault.detail, code=code, errors=(FieldError(pointer, code, fault.detail),))
