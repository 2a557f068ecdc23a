"""Quotes: prices pushed one by one, as a curve, or for many offers at once."""

import hashlib
from typing import Any

from fastapi import APIRouter, Request, Response

from lowtide.api import answers, views
from lowtide.api.auth import Operator, Principal, Seller, SellerOrAuditor
from lowtide.api.context import TheMarket
from lowtide.api.contract import told
from lowtide.api.idempotent import TheClaim
from lowtide.api.json_body import StrictRoute
from lowtide.api.pages import After, Limit, page
from lowtide.api.quote_bodies import BulkQuotes, ConfirmedQuote, NewQuote, Slot
from lowtide.api.routes.sellers import refuse_others
from lowtide.exchange.quotes import Pushed, cancel_quote, confirm_quote, push_quotes, quote_or_404
from lowtide.exchange.register import offer_or_404
from lowtide.store import offers
from lowtide.store.tables import QuoteRow
from lowtide.values.errors import FieldError, InvalidRequest, MarketError, NotFound, StaleQuote
from lowtide.values.instants import HOUR_US

router = APIRouter(tags=["quotes and the book"], route_class=StrictRoute)
FIRM_US = 48 * HOUR_US
"""How far ahead a seller may bind itself."""


@router.post(
    "/offers/{offer_id}/quotes", status_code=201, summary="Push a quote", responses=told(answers.Pushed, 201)
)
async def push_quote(
    request: Request, offer_id: str, body: NewQuote, market: TheMarket, who: Seller, once: TheClaim
) -> Response:
    """Prices from an instant on, or a curve of slots; answered once the book has it."""
    raw = await raw_hash(request)
    pushed = [
        (_pushed(offer_id, slot, body.sequence, raw), _slot_pointer(body, index))
        for index, slot in enumerate(body.slots())
    ]
    return await _push(market, who, once, pushed)


@router.post(
    "/quotes", status_code=201, summary="Push quotes of many offers", responses=told(answers.Pushed, 201)
)
async def push_many(
    request: Request, body: BulkQuotes, market: TheMarket, who: Seller, once: TheClaim
) -> Response:
    """All or nothing: the first fault refuses the whole push and names the quote."""
    raw = await raw_hash(request)
    pushed = [
        (
            _pushed(quote.offer_id, slot, quote.sequence, raw),
            f"/quotes/{index}{_slot_pointer(quote, number)}",
        )
        for index, quote in enumerate(body.quotes)
        for number, slot in enumerate(quote.slots())
    ]
    return await _push(market, who, once, pushed)


async def raw_hash(request: Request) -> str:
    """SHA-256 of what was sent, hexadecimal."""
    return hashlib.sha256(await request.body()).hexdigest()


def _pushed(offer_id: str, slot: Slot, sequence: int | None, raw: str) -> Pushed:
    assert slot.prices is not None  # NewQuote.one_or_a_curve
    return Pushed(
        offer_id,
        slot.prices.prices(),
        slot.valid_from,
        slot.valid_until,
        sequence,
        None if slot.capacity is None else slot.capacity.capacity(),
        slot.firm_until,
        raw,
    )


def _slot_pointer(body: NewQuote, index: int) -> str:
    return "" if body.curve is None else f"/curve/{index}"


def _quote_of(slot: str) -> str:
    """The pointer of the quote that a slot stands in."""
    return slot.partition("/curve/")[0]


async def _push(
    market: TheMarket, who: Principal, once: TheClaim, pushed: list[tuple[Pushed, str]]
) -> Response:
    await _refuse_others(market, who, pushed)
    now = market.now()
    for one, pointer in pushed:
        _refuse_bad_times(one, pointer, now)

    async def make() -> dict[str, Any]:
        try:
            taken, version = await push_quotes(market, [one for one, _ in pushed], claim=once.claim)
        except MarketError as fault:
            fault.errors = tuple(_placed(error, fault, pushed) for error in fault.errors)
            raise
        return {"quotes": [views.taken(one) for one in taken], "book_version": version}

    async def again(_quote_id: str) -> dict[str, Any]:
        return {"quotes": [], "book_version": market.keeper.book.version}

    return await once.answer(make, again)


def _refuse_bad_times(one: Pushed, pointer: str, now: int) -> None:
    start = now if one.valid_from is None else one.valid_from
    if one.valid_until is not None and one.valid_until <= start:
        raise InvalidRequest(
            "valid_until must lie after valid_from, and after now.",
            code="ends_before_it_begins",
            errors=(FieldError(f"{pointer}/valid_until", "ends_before_it_begins", "Send a later end."),),
        )
    if one.firm_until is not None and one.firm_until > now + FIRM_US:
        text = "A quote may be firm for at most 48 hours. Send an earlier firm_until."
        raise InvalidRequest(
            text, code="out_of_range", errors=(FieldError(f"{pointer}/firm_until", "out_of_range", text),)
        )


def _placed(error: FieldError, fault: MarketError, pushed: list[tuple[Pushed, str]]) -> FieldError:
    """An error that names a quote by its place in the push, pointing into the body instead."""
    place, _, field = error.pointer[1:].partition("/")
    slot = pushed[int(place)][1]
    of_quote = isinstance(fault, StaleQuote | NotFound)
    where = _quote_of(slot) if of_quote else slot
    return FieldError(f"{where}/{field}", error.code, error.message)


async def _refuse_others(market: TheMarket, who: Principal, pushed: list[tuple[Pushed, str]]) -> None:
    if who.role != "provider":
        return
    async with market.database.read() as conn:
        owners = await offers.providers_of(conn, sorted({one.offer_id for one, _ in pushed}))
    for provider_id in owners.values():
        refuse_others(who, provider_id)


@router.get("/quotes", summary="List quotes as taken", responses=told(answers.Page[answers.KeptQuote]))
async def list_quotes(
    market: TheMarket,
    who: SellerOrAuditor,
    offer_id: str | None = None,
    quarantined: bool | None = None,
    limit: Limit = 50,
    after: After = None,
) -> dict[str, Any]:
    """The newest first, each with its source, when it arrived, and the hash of what was sent.

    Of those that are quarantined only the ones that have not ended.
    """
    async with market.database.read() as conn:
        rows = await offers.list_quotes(
            conn,
            offer_id=offer_id,
            provider_id=who.provider_id if who.role == "provider" else None,
            quarantined=quarantined,
            alive_at=market.now() if quarantined else None,
            before=after,
            limit=limit + 1,
        )
    return page(rows, limit, views.kept_quote, lambda row: row.id)


@router.get("/quotes/{quote_id}", summary="Read a quote", responses=told(answers.KeptQuote))
async def read_quote(quote_id: str, market: TheMarket, who: SellerOrAuditor) -> dict[str, Any]:
    """One quote as it was taken."""
    return views.kept_quote(await _quote(market, who, quote_id))


@router.patch("/quotes/{quote_id}", summary="Confirm a quote", responses=told(answers.ChangedQuote))
async def confirm(quote_id: str, _body: ConfirmedQuote, market: TheMarket, _who: Operator) -> dict[str, Any]:
    """Let a quarantined price count. Its next reading would do so too, if it says the same."""
    row, version = await confirm_quote(market, quote_id)
    return views.kept_quote(row) | {"book_version": version}


@router.delete("/quotes/{quote_id}", summary="Cancel a quote", responses=told(answers.ChangedQuote))
async def cancel(quote_id: str, market: TheMarket, who: Seller) -> dict[str, Any]:
    """End it now, or before it begins; the quote below it counts again. A firm quote stays (`quote_is_firm`)."""
    await _quote(market, who, quote_id)
    row, version = await cancel_quote(market, quote_id)
    return views.kept_quote(row) | {"book_version": version}


async def _quote(market: TheMarket, who: Principal, quote_id: str) -> QuoteRow:
    async with market.database.read() as conn:
        row = await quote_or_404(conn, quote_id)
        if who.role == "provider":
            refuse_others(who, (await offer_or_404(conn, row.offer_id)).provider_id)
    return row
