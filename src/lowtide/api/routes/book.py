"""The book: the live asks, once or as a stream."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query

from lowtide.api import answers, views
from lowtide.api.auth import AnyRole
from lowtide.api.book_filter import BookFilter, book_filter
from lowtide.api.book_stream import BookReader, BookStream
from lowtide.api.context import TheMarket
from lowtide.api.contract import told
from lowtide.api.fields import Instant
from lowtide.api.json_body import StrictRoute
from lowtide.api.pages import After
from lowtide.api.streams import EventStream
from lowtide.exchange.seal import HORIZON_US
from lowtide.values.errors import FieldError, InvalidRequest, NotFound
from lowtide.values.instants import MINUTE_US

router = APIRouter(tags=["quotes and the book"], route_class=StrictRoute)
Wanted = Annotated[BookFilter, Depends(book_filter)]


@router.get("/book", summary="The live asks", responses=told(answers.Book))
async def read_book(
    market: TheMarket,
    _who: AnyRole,
    wanted: Wanted,
    at: Annotated[
        Instant | None, Query(description="an instant of the next 7 days: prices as known for then; else now")
    ] = None,
    limit: Annotated[
        int | None, Query(ge=1, le=200, description="how many to give; all where left out")
    ] = None,
    after: After = None,
) -> dict[str, Any]:
    """What every offer costs now, until when, and what is known of it. Filters are joined by AND."""
    book, now = market.keeper.book, market.now()
    instant = now if at is None else max(at, now)
    if at is not None and not now - MINUTE_US <= at < now + HORIZON_US:
        why = "The book knows prices from now on, 7 days ahead. What was before is in GET /v1/offers/{id}/prices."
        raise InvalidRequest(why, code="out_of_range", errors=(FieldError("?at", "out_of_range", why),))
    start = -1 if after is None else book.row_of.get(after)
    if start is None:
        raise NotFound(f"No offer {after}. Send the `next` of the page before.", code="unknown_offer")
    rows = [row for row in book.rows[start + 1 :] if wanted.concerns(row) and wanted.shows(row, instant)]
    shown = rows if limit is None else rows[:limit]
    return {
        "as_of": views.when(instant),
        "book_version": book.version,
        "digest": book.digest.hex(),
        "data": [views.ask(row, instant) for row in shown],
        "next": shown[-1].offer.id if len(shown) < len(rows) else None,
    }


@router.get("/book/stream", summary="The live asks as a stream (SSE)", response_class=EventStream)
async def stream_book(
    market: TheMarket,
    _who: AnyRole,
    wanted: Wanted,
    after: Annotated[int | None, Query(ge=0, lt=2**63, description="the last event id already seen")] = None,
    last_event_id: Annotated[str | None, Header(description="the same, as browsers send it")] = None,
) -> BookStream:
    """`book` first, with every ask; then a `change` for each version, with the asks that it changed and the ids of
    offers that are no longer among those asked for (`removed`), and for each price step that comes by the clock.

    The event id is the book's version. With `Last-Event-ID` (or `after`) the stream goes on from there; where that is
    too long ago, it begins anew with `book`. A reader that is too slow gets a last event `dropped`.
    """
    text = last_event_id or ""
    resumed = int(text) if text.isdigit() and len(text) < 19 else after
    return BookStream(BookReader(market, wanted, resumed), market.rules.reader_patience_s)
