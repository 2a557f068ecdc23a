"""Providers and offers."""

from typing import Any

from fastapi import APIRouter, Response

from lowtide.api import answers, views
from lowtide.api.auth import AnyRole, Operator, Principal, Seller
from lowtide.api.bodies import NewOffer, NewProvider, OfferChange
from lowtide.api.context import TheMarket
from lowtide.api.contract import told
from lowtide.api.fields import ppm
from lowtide.api.idempotent import TheClaim
from lowtide.api.json_body import StrictRoute
from lowtide.api.pages import After, Limit, page
from lowtide.api.private_urls import refuse_private
from lowtide.exchange.market import Market
from lowtide.exchange.register import (
    change_offer,
    offer_or_404,
    register_offer,
    register_provider,
    withdraw_offer,
)
from lowtide.store import offers, providers
from lowtide.store.tables import OfferRow, Provider
from lowtide.values.errors import Forbidden, NotFound

router = APIRouter(tags=["providers and offers"], route_class=StrictRoute)


@router.post(
    "/providers", status_code=201, summary="Register a provider", responses=told(answers.Provider, 201)
)
async def new_provider(body: NewProvider, market: TheMarket, _who: Operator, once: TheClaim) -> Response:
    """A seller with its wire and address. Credentials stay in the environment: name the variables here."""
    await refuse_private(body.base_url, "/base_url", allowed=market.rules.allow_private_urls)

    async def make() -> dict[str, Any]:
        row = await register_provider(
            market,
            {
                "name": body.name,
                "wire": body.wire,
                "base_url": body.base_url.rstrip("/"),
                "credential_env": ",".join(body.credential_env),
                "discount_ppm": ppm(body.discount),
                "max_tokens_field": body.max_tokens_field,
                "batch_wire": body.batch_wire,
            },
            once.claim,
        )
        return views.provider(row)

    async def again(provider_id: str) -> dict[str, Any]:
        return views.provider(await provider_or_404(market, provider_id))

    return await once.answer(make, again)


@router.get("/providers", summary="List providers", responses=told(answers.Page[answers.Provider]))
async def list_providers(
    market: TheMarket, _who: AnyRole, limit: Limit = 50, after: After = None
) -> dict[str, Any]:
    """Providers by id."""
    async with market.database.read() as conn:
        rows = await providers.list_providers(conn, after or "", limit + 1)
    return page(rows, limit, views.provider, lambda row: row.id)


@router.get("/providers/{provider_id}", summary="Read a provider", responses=told(answers.Provider))
async def read_provider(provider_id: str, market: TheMarket, _who: AnyRole) -> dict[str, Any]:
    """One provider."""
    return views.provider(await provider_or_404(market, provider_id))


@router.post("/offers", status_code=201, summary="List an offer", responses=told(answers.Offer, 201))
async def new_offer(body: NewOffer, market: TheMarket, who: Seller, once: TheClaim) -> Response:
    """A listing: provider × upstream model × lane (× variant). It can win once a quote gives it a price."""
    seller = await provider_or_404(market, body.provider_id)
    refuse_others(who, seller.id)

    async def make() -> dict[str, Any]:
        row, version = await register_offer(market, seller, body.offer(seller.name), once.claim)
        return views.offer(row, market.keeper.book) | {"book_version": version}

    async def again(offer_id: str) -> dict[str, Any]:
        return await _offer(market, offer_id)

    return await once.answer(make, again)


@router.get("/offers", summary="List offers", responses=told(answers.Page[answers.Offer]))
async def list_offers(
    market: TheMarket,
    who: AnyRole,
    provider_id: str | None = None,
    model: str | None = None,
    limit: Limit = 50,
    after: After = None,
) -> dict[str, Any]:
    """Offers in the order they were registered, with the quotes that the book has."""
    mine = who.provider_id if who.role == "provider" else provider_id
    async with market.database.read() as conn:
        last = await offer_or_404(conn, after) if after else None
        rows = await offers.list_offers(
            conn, provider_id=mine, model=model, after_row=-1 if last is None else last.row, limit=limit + 1
        )
    return page(rows, limit, lambda row: views.offer(row, market.keeper.book), lambda row: row.id)


@router.get("/offers/{offer_id}", summary="Read an offer", responses=told(answers.Offer))
async def read_offer(offer_id: str, market: TheMarket, _who: AnyRole) -> dict[str, Any]:
    """One offer with its quotes."""
    return await _offer(market, offer_id)


@router.patch("/offers/{offer_id}", summary="Change an offer", responses=told(answers.Offer))
async def patch_offer(offer_id: str, body: OfferChange, market: TheMarket, who: Seller) -> dict[str, Any]:
    """Fields left out stay. Provider, model, lane and variant are the offer's name: withdraw it and list another."""
    refuse_others(who, (await _row(market, offer_id)).provider_id)
    row, version = await change_offer(market, offer_id, body.values(), body.price_source)
    return views.offer(row, market.keeper.book) | {"book_version": version}


@router.delete("/offers/{offer_id}", summary="Withdraw an offer", responses=told(answers.Offer))
async def delete_offer(offer_id: str, market: TheMarket, who: Seller) -> dict[str, Any]:
    """It loses every auction from the next book version on; what it has won runs to its end.

    A provider stays bound to a firm quote (`quote_is_firm`); an operator may end it.
    """
    refuse_others(who, (await _row(market, offer_id)).provider_id)
    row, version = await withdraw_offer(market, offer_id, bound=who.role == "provider")
    return views.offer(row, market.keeper.book) | {"book_version": version}


def refuse_others(who: Principal, provider_id: str) -> None:
    """Raise Forbidden where a provider's key touches what is another's."""
    if who.role == "provider" and who.provider_id != provider_id:
        raise Forbidden("A provider's key manages that provider's offers, quotes and feeds only.")


async def provider_or_404(market: Market, provider_id: str) -> Provider:
    """The stored provider. Raises NotFound (`unknown_provider`)."""
    async with market.database.read() as conn:
        row = await providers.get_provider(conn, provider_id)
    if row is None:
        raise NotFound(
            f"No provider {provider_id}. List them with GET /v1/providers.", code="unknown_provider"
        )
    return row


async def _row(market: TheMarket, offer_id: str) -> OfferRow:
    async with market.database.read() as conn:
        return await offer_or_404(conn, offer_id)


async def _offer(market: TheMarket, offer_id: str) -> dict[str, Any]:
    return views.offer(await _row(market, offer_id), market.keeper.book)
