"""What an offer is expected to cost."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from lowtide.api import forecast_answers
from lowtide.api.auth import AnyRole
from lowtide.api.call_views import offer_scarcity
from lowtide.api.context import TheMarket
from lowtide.api.contract import told
from lowtide.api.fields import Instant
from lowtide.api.forecast_views import offer_forecast
from lowtide.api.json_body import StrictRoute
from lowtide.exchange.expected_prices import expected_prices
from lowtide.values.errors import NotFound

router = APIRouter(tags=["quotes and the book"], route_class=StrictRoute)


@router.get(
    "/offers/{offer_id}/forecast",
    summary="Prices to come",
    responses=told(forecast_answers.OfferForecast),
)
async def read_forecast(
    offer_id: str,
    market: TheMarket,
    _who: AnyRole,
    until: Annotated[
        Instant | None, Query(description="RFC 3339, ahead; a day from now where left out")
    ] = None,
) -> dict[str, Any]:
    """What the offer is expected to cost: posted steps, which are exact, and forecast quantiles (p10, p50, p90).

    The price is that of a reference call. Quantiles reach a day ahead. `score` tells which share of what waiting could have
    saved the policy would have captured, by slack, over its own history.
    """
    return offer_forecast(expected_prices(market, offer_id, until))


@router.get(
    "/offers/{offer_id}/scarcity",
    summary="How scarce places are",
    responses=told(forecast_answers.OfferScarcity),
)
async def read_scarcity(offer_id: str, market: TheMarket, _who: AnyRole) -> dict[str, Any]:
    """The shadow price of a place in each slot to come, from the last call auction; 0: places are left."""
    if offer_id not in market.keeper.book.row_of:
        raise NotFound(f"No offer {offer_id}. List the offers with GET /v1/offers.", code="unknown_offer")
    async with market.database.read() as conn:
        await market.scarcity.read(conn)
    return offer_scarcity(market.scarcity.last, offer_id, market.now())
