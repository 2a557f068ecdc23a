"""What an offer is expected to cost."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from lowtide.api import forecast_answers
from lowtide.api.auth import AnyRole
from lowtide.api.context import TheMarket
from lowtide.api.contract import told
from lowtide.api.fields import Instant
from lowtide.api.forecast_views import offer_forecast
from lowtide.api.json_body import StrictRoute
from lowtide.exchange.expected_prices import expected_prices

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
