"""Health, readiness, metrics, and the feeds' state."""

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from lowtide.api import answers, views
from lowtide.api.auth import AnyRole, SellerOrAuditor
from lowtide.api.context import TheDispatcher, TheMarket
from lowtide.api.contract import told
from lowtide.api.json_body import StrictRoute
from lowtide.api.pages import After, Limit, page
from lowtide.store import log, providers, tasks
from lowtide.values.errors import NotFound


class ProbeRoute(StrictRoute):
    """A route for probes and scrapers, which add parameters of their own."""

    knows_its_query = False


router = APIRouter(tags=["operations"], route_class=ProbeRoute)
feeds = APIRouter(tags=["feeds"], route_class=StrictRoute)


@router.get("/healthz", summary="Whether the process lives", response_class=PlainTextResponse)
async def healthz() -> str:
    """Always `ok`."""
    return "ok"


@router.get("/readyz", summary="Whether the market can decide", responses=told(answers.Ready))
async def readyz(market: TheMarket) -> Response:
    """200 once the database answers and the book is loaded."""
    async with market.database.read() as conn:
        waiting = await log.count_unnumbered(conn)
    book = market.keeper.book
    return JSONResponse(
        {"ready": True, "book_version": book.version, "offers": len(book), "unnumbered_log_lines": waiting}
    )


@router.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
async def metrics(market: TheMarket, dispatcher: TheDispatcher) -> PlainTextResponse:
    """Tasks by state, attempts in flight, the book."""
    async with market.database.read() as conn:
        counts = await tasks.counts_by_state(conn)
    registry = CollectorRegistry()
    states = Gauge("lowtide_tasks", "Tasks by state", ["state"], registry=registry)
    for state, count in counts.items():
        states.labels(state).set(count)
    Gauge("lowtide_in_flight", "Tasks running on this node", registry=registry).set(dispatcher.in_flight)
    Gauge("lowtide_book_version", "Version of the book", registry=registry).set(market.keeper.book.version)
    Gauge("lowtide_book_offers", "Offers in the book", registry=registry).set(len(market.keeper.book))
    return PlainTextResponse(generate_latest(registry), media_type="text/plain; version=0.0.4")


@feeds.get("/feeds", summary="List feeds", responses=told(answers.Page[answers.Feed]))
async def list_feeds(
    market: TheMarket, _who: AnyRole, limit: Limit = 50, after: After = None
) -> dict[str, Any]:
    """Where prices come from, and how each source does."""
    async with market.database.read() as conn:
        rows = await providers.list_feeds(conn, after=after or "", limit=limit + 1)
    return page(rows, limit, views.feed, lambda row: row.id)


@feeds.get("/feeds/{feed_id}", summary="Read a feed's health", responses=told(answers.Feed))
async def read_feed(feed_id: str, market: TheMarket, _who: SellerOrAuditor) -> dict[str, Any]:
    """Last success, quotes accepted and refused with reasons."""
    async with market.database.read() as conn:
        row = await providers.get_feed(conn, feed_id)
    if row is None:
        raise NotFound(f"No feed {feed_id}. List them with GET /v1/feeds.")
    return views.feed(row)
