"""Health, readiness and metrics."""

from collections import Counter

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from lowtide.api import answers
from lowtide.api.context import TheDispatcher, TheMarket
from lowtide.api.contract import told
from lowtide.api.json_body import StrictRoute
from lowtide.exchange.feed_health import state_of
from lowtide.store import log, providers, tasks


class ProbeRoute(StrictRoute):
    """A route for probes and scrapers, which add parameters of their own."""

    knows_its_query = False


router = APIRouter(tags=["operations"], route_class=ProbeRoute)


@router.get("/healthz", summary="Whether the process lives", response_class=PlainTextResponse)
async def healthz() -> str:
    """Always `ok`."""
    return "ok"


@router.get("/readyz", summary="Whether the market can decide", responses=told(answers.Ready))
async def readyz(market: TheMarket) -> Response:
    """200 once the database answers and the book is loaded; feeds that fail are counted, for they fail alone."""
    async with market.database.read() as conn:
        waiting = await log.count_unnumbered(conn)
        feeds = await providers.list_feeds(conn, limit=None)
    states = Counter(state_of(feed, market.now()) for feed in feeds if feed.closed_at is None)
    book = market.keeper.book
    return JSONResponse(
        {
            "ready": True,
            "book_version": book.version,
            "offers": len(book),
            "unnumbered_log_lines": waiting,
            "feeds": {name: states[name] for name in ("ok", "failing", "silent")},
        }
    )


@router.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
async def metrics(market: TheMarket, dispatcher: TheDispatcher) -> PlainTextResponse:
    """Tasks by state, attempts in flight, the book and how far behind it is."""
    async with market.database.read() as conn:
        counts = await tasks.counts_by_state(conn)
    registry = CollectorRegistry()
    states = Gauge("lowtide_tasks", "Tasks by state", ["state"], registry=registry)
    for state, count in counts.items():
        states.labels(state).set(count)
    Gauge("lowtide_in_flight", "Tasks running on this node", registry=registry).set(dispatcher.in_flight)
    Gauge("lowtide_book_version", "Version of the book", registry=registry).set(market.keeper.book.version)
    Gauge("lowtide_book_offers", "Offers in the book", registry=registry).set(len(market.keeper.book))
    registry.register(market.keeper.behind)
    return PlainTextResponse(generate_latest(registry), media_type="text/plain; version=0.0.4")
