"""Quotes: prices pushed one by one, as a curve, or for many offers at once; and the book that they make."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from lowtide.api import answers, views
from lowtide.api.auth import AnyRole, Principal, Seller
from lowtide.api.context import TheMarket
from lowtide.api.contract import told
from lowtide.api.idempotent import TheClaim
from lowtide.api.json_body import StrictRoute
from lowtide.api.quote_bodies import BulkQuotes, NewQuote
from lowtide.api.routes.sellers import refuse_others
from lowtide.api.streams import EventStream
from lowtide.exchange.register import Pushed, offer_or_404, push_quotes
from lowtide.store import offers
from lowtide.values.errors import FieldError, InvalidRequest, MarketError, OverlappingQuotes, StaleQuote

router = APIRouter(tags=["quotes and the book"], route_class=StrictRoute)
KEEP_ALIVE_S = 15.0


@router.post(
    "/offers/{offer_id}/quotes", status_code=201, summary="Push a quote", responses=told(answers.Pushed, 201)
)
async def push_quote(
    offer_id: str, body: NewQuote, market: TheMarket, who: Seller, once: TheClaim
) -> Response:
    """Prices from an instant on, or a curve of slots; answered once the book has it."""
    pushed = [Pushed(offer_id, prices, start, end, body.sequence) for prices, start, end in body.slots()]
    return await _push(
        market, who, once, [(one, _slot_pointer(body, index)) for index, one in enumerate(pushed)]
    )


@router.post(
    "/quotes", status_code=201, summary="Push quotes of many offers", responses=told(answers.Pushed, 201)
)
async def push_many(body: BulkQuotes, market: TheMarket, who: Seller, once: TheClaim) -> Response:
    """All or nothing: the first fault refuses the whole push and names the quote."""
    pushed = [
        (
            Pushed(quote.offer_id, prices, start, end, quote.sequence),
            f"/quotes/{index}{_slot_pointer(quote, slot)}",
        )
        for index, quote in enumerate(body.quotes)
        for slot, (prices, start, end) in enumerate(quote.slots())
    ]
    return await _push(market, who, once, pushed)


def _slot_pointer(body: NewQuote, index: int) -> str:
    return "" if body.curve is None else f"/curve/{index}"


def _quote_of(slot: str) -> str:
    """The pointer of the quote that a slot stands in."""
    return slot.partition("/curve/")[0]


async def _push(
    market: TheMarket, who: Principal, once: TheClaim, pushed: list[tuple[Pushed, str]]
) -> Response:
    await _refuse_unknown(market, who, pushed)
    now = market.now()
    for one, pointer in pushed:
        start = now if one.valid_from is None else one.valid_from
        if one.valid_until is not None and one.valid_until <= start:
            raise InvalidRequest(
                "valid_until must lie after valid_from, and after now.",
                code="ends_before_it_begins",
                errors=(FieldError(f"{pointer}/valid_until", "ends_before_it_begins", "Send a later end."),),
            )

    async def make() -> dict[str, Any]:
        try:
            taken, version = await push_quotes(market, [one for one, _ in pushed], claim=once.claim)
        except (OverlappingQuotes, StaleQuote) as fault:
            place, _, field = fault.errors[0].pointer[1:].partition("/")
            slot = pushed[int(place)][1]
            where = f"{_quote_of(slot) if isinstance(fault, StaleQuote) else slot}/{field}"
            fault.errors = (FieldError(where, fault.code, fault.detail),)
            raise
        return {
            "quotes": [{"id": one.id, "offer_id": one.offer_id, **views.quote(one.quote)} for one in taken],
            "book_version": version,
        }

    async def again(_quote_id: str) -> dict[str, Any]:
        return {"quotes": [], "book_version": market.keeper.book.version}

    return await once.answer(make, again)


async def _refuse_unknown(market: TheMarket, who: Principal, pushed: list[tuple[Pushed, str]]) -> None:
    async with market.database.read() as conn:
        found = {
            row.id: row for row in await offers.get_many(conn, sorted({one.offer_id for one, _ in pushed}))
        }
        for one, pointer in pushed:
            row = found.get(one.offer_id)
            if row is not None:
                refuse_others(who, row.provider_id)
                continue
            try:
                await offer_or_404(conn, one.offer_id)
            except MarketError as fault:
                if _quote_of(pointer):
                    fault.errors = (FieldError(f"{_quote_of(pointer)}/offer_id", fault.code, fault.detail),)
                raise


@router.get("/book", summary="The live asks", responses=told(answers.Book))
async def read_book(
    market: TheMarket, _who: AnyRole, model: str | None = None, provider: str | None = None
) -> dict[str, Any]:
    """What every offer costs now, until when, and what is known of it."""
    book, now = market.keeper.book, market.now()
    return {
        "as_of": views.when(now),
        "book_version": book.version,
        "digest": book.digest.hex(),
        "data": views.asks(book, now, model, provider),
    }


@router.get("/book/stream", summary="The live asks as a stream (SSE)", response_class=EventStream)
async def stream_book(
    request: Request, market: TheMarket, _who: AnyRole, model: str | None = None, provider: str | None = None
) -> EventStream:
    """The book at once, and again whenever a version is sealed or a price steps."""

    async def events() -> AsyncIterator[bytes]:
        shown: tuple[int, int] | None = None
        while not await request.is_disconnected():
            book, now, changed = market.keeper.book, market.now(), market.keeper.changed
            current = (book.version, book.prices_at(now).since)
            if current != shown:
                shown = current
                data = {
                    "as_of": views.when(now),
                    "book_version": book.version,
                    "data": views.asks(book, now, model, provider),
                }
                yield b"event: book\ndata: " + orjson.dumps(data) + b"\n\n"
            else:
                yield b": alive\n\n"
            step = book.prices_at(now).until
            wait = KEEP_ALIVE_S if step is None else min(KEEP_ALIVE_S, max(0.05, (step - now) / 1_000_000))
            try:
                await asyncio.wait_for(changed.wait(), wait)
            except TimeoutError:
                continue

    return EventStream(events(), headers={"Cache-Control": "no-store"})
