"""Registering: providers and offers, each standing in the book before the answer goes out."""

from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.market import Market
from lowtide.exchange.order import Claim
from lowtide.exchange.seal import Touched, listing
from lowtide.market.book_lines import offer_values
from lowtide.market.offer import Offer
from lowtide.store import capacity, idempotency
from lowtide.store import offers as stored
from lowtide.store import providers as stored_providers
from lowtide.store.tables import OfferRow, Provider
from lowtide.values.canonical import canonical
from lowtide.values.errors import Conflict, FieldError, InvalidRequest, NotFound
from lowtide.values.ids import new_id
from lowtide.values.instants import rfc3339

PUSH = "push"


async def claimed(conn: AsyncConnection, claim: Claim | None, resource_id: str, now: int) -> None:
    """Claim an idempotency key, where there is one, in the commit that makes the thing."""
    if claim is not None:
        await idempotency.claim(conn, claim.principal, claim.key, claim.request_hash, resource_id, now)


async def register_provider(
    market: Market, values: Mapping[str, Any], claim: Claim | None = None
) -> Provider:
    """Write a provider. Raises Conflict (`provider_exists`)."""
    now = market.now()
    columns: dict[str, Any] = {"id": new_id("prov", now), "created_at": now} | dict(values)
    row = Provider(**columns)

    async def unit(conn: AsyncConnection) -> None:
        await claimed(conn, claim, row.id, now)
        await stored_providers.add_provider(conn, row.model_dump())

    await market.database.writer.write(unit)
    return row


async def register_offer(
    market: Market, provider: Provider, offer: Offer, claim: Claim | None = None
) -> tuple[OfferRow, int]:
    """List an offer and seal it; its row and the book version that has it. Raises Conflict (`offer_exists`).

    One that was withdrawn is listed again under its id, with the prices that it has.
    """
    now = market.now()

    async def change(conn: AsyncConnection, touched: Touched) -> OfferRow:
        row = OfferRow(
            id=new_id("off", now),
            row=await stored.next_row(conn),
            provider_id=provider.id,
            model=offer.model,
            upstream_model=offer.upstream_model,
            lane=offer.lane,
            variant=offer.variant,
            created_at=now,
            body=canonical(offer_values(offer)).decode(),
        )
        before = await stored.offer_by_key(conn, provider.id, offer.upstream_model, offer.lane, offer.variant)
        if before is not None and before.withdrawn_at is not None:
            await stored.relist(conn, before.id, row.body, offer.model)
            row = await offer_or_404(conn, before.id)
        else:
            await stored.add_offer(conn, row.model_dump())
        await claimed(conn, claim, row.id, now)
        await capacity.ensure(conn, row.id, offer.capacity)
        touched.offers.add(row.id)
        return row

    return await market.keeper.publish(change)


async def change_offer(
    market: Market, offer_id: str, changes: Mapping[str, Any], price_source: str | None = None
) -> tuple[OfferRow, int]:
    """Change fields of a listing (as `offer_values` names them), and whose quotes count for it.

    Raises NotFound where it is withdrawn or unknown, and Conflict (`quote_is_firm`) where its price may not change yet.
    """
    now = market.now()

    async def change(conn: AsyncConnection, touched: Touched) -> OfferRow:
        row = await offer_or_404(conn, offer_id)
        body = orjson.loads(row.body) | dict(changes)
        if not await stored.update_body(conn, offer_id, canonical(body).decode()):
            raise NotFound(f"Offer {offer_id} is withdrawn. Register it anew.", code="offer_withdrawn")
        if price_source is not None and price_source != row.price_source:
            await _refuse_unknown_source(conn, row, price_source)
            await switch_source(conn, touched, offer_id, price_source, now)
        await capacity.ensure(
            conn,
            offer_id,
            listing(OfferRow(**(row.model_dump() | {"body": orjson.dumps(body).decode()}))).capacity,
        )
        touched.offers.add(offer_id)
        return await offer_or_404(conn, offer_id)

    return await market.keeper.publish(change)


async def _refuse_unknown_source(conn: AsyncConnection, row: OfferRow, source: str) -> None:
    """Raise InvalidRequest where prices would come from nobody: a source is `push`, or an open feed of the provider's."""
    if source == PUSH:
        return
    feed = await stored_providers.get_feed(conn, source)
    if (
        feed is None
        or feed.provider_id != row.provider_id
        or feed.closed_at is not None
        or feed.kind == "live"
    ):
        text = f"No prices come from {source}. Send push, or the id of an open feed of the offer's provider."
        raise InvalidRequest(
            text, code="unknown_source", errors=(FieldError("/price_source", "unknown_source", text),)
        )


async def switch_source(
    conn: AsyncConnection, touched: Touched, offer_id: str, source: str, now: int
) -> None:
    """Let another source's quotes count for an offer. Raises Conflict (`quote_is_firm`) while a firm quote stands."""
    _refuse_while_firm(touched, offer_id, now, "its prices may come from elsewhere")
    await stored.change_price_source(conn, offer_id, source)
    touched.offers.add(offer_id)


def _refuse_while_firm(touched: Touched, offer_id: str, now: int, what: str) -> None:
    number = touched.base.row_of.get(offer_id)
    for quote in touched.base.rows[number].quotes if number is not None else ():
        if quote.firm_until is not None and quote.firm_until > now:
            raise Conflict(
                f"A quote of {offer_id} is firm until {rfc3339(quote.firm_until)}; {what} after that.",
                code="quote_is_firm",
            )


async def withdraw_offer(market: Market, offer_id: str, *, bound: bool = True) -> tuple[OfferRow, int]:
    """Withdraw an offer: it loses every auction from the next book version on; no feed lists it again.

    Raises NotFound, and Conflict (`quote_is_firm`) where its seller is `bound` to a firm quote of it.
    """
    now = market.now()

    async def change(conn: AsyncConnection, touched: Touched) -> OfferRow:
        await offer_or_404(conn, offer_id)
        if bound:
            _refuse_while_firm(touched, offer_id, now, "it may be withdrawn")
        await stored.withdraw(conn, offer_id, now)
        await stored.list_by(conn, offer_id, None)
        touched.offers.add(offer_id)
        return await offer_or_404(conn, offer_id)

    return await market.keeper.publish(change)


async def offer_or_404(conn: AsyncConnection, offer_id: str) -> OfferRow:
    """The stored offer. Raises NotFound (`unknown_offer`)."""
    row = await stored.get_offer(conn, offer_id)
    if row is None:
        raise NotFound(f"No offer {offer_id}. List the offers with GET /v1/offers.", code="unknown_offer")
    return row
