"""Reading what an offer is expected to cost: what is posted ahead, what is forecast, and how forecasts did."""

from collections.abc import Iterator
from dataclasses import dataclass

from lowtide.exchange.forecasts import SLOT_US, OfferForecast, PoolForecast
from lowtide.exchange.market import Market
from lowtide.market.book import Row
from lowtide.market.deferral.reference import reference_nano
from lowtide.market.price_history import unit_prices
from lowtide.market.quote import Prices, boundaries, effective_quote
from lowtide.values.errors import FieldError, InvalidRequest, NotFound
from lowtide.values.instants import DAY_US, rfc3339


@dataclass(frozen=True, slots=True)
class KnownStep:
    """From `at` (µs) on the offer costs this; None: no price is posted from there on."""

    at: int
    prices: Prices | None

    @property
    def reference_nano(self) -> int | None:
        """Price of the reference call, nano-USD."""
        return _reference(self.prices)


@dataclass(frozen=True, slots=True)
class ForecastSlot:
    """Quantiles of the reference price in the slot from `at` (µs) on, nano-USD."""

    at: int
    p10_nano: int
    p50_nano: int
    p90_nano: int


@dataclass(frozen=True, slots=True)
class ExpectedPrices:
    """What an offer is expected to cost until an instant; `forecast` None where its price is not forecast here.

    `pool` is what is forecast of the cheapest of the offers like it; None without any.
    """

    offer_id: str
    as_of: int
    until: int
    now_nano: int | None
    known: tuple[KnownStep, ...]
    forecast: OfferForecast | None
    slots: tuple[ForecastSlot, ...]
    pool: PoolForecast | None


def expected_prices(market: Market, offer_id: str, until: int | None) -> ExpectedPrices:
    """What is known and forecast, until a day from now unless told otherwise.

    Raises NotFound (`unknown_offer`), InvalidRequest (`bad_range`) for an instant that is not ahead.
    """
    now, book = market.now(), market.keeper.book
    until = now + DAY_US if until is None else until
    if until <= now:
        why = f"`until` must lie after the market's clock, {rfc3339(now)}. What was stands in GET /v1/offers/{{id}}/prices."
        raise InvalidRequest(why, code="bad_range", errors=(FieldError("?until", "bad_range", why),))
    number = book.row_of.get(offer_id)
    if number is None:
        raise NotFound(f"No offer {offer_id}. List the offers with GET /v1/offers.", code="unknown_offer")
    row, made = book.rows[number], market.forecasts.of(offer_id)
    slots = () if made is None else tuple(_slots(made, now, until))
    current = _reference(_posted(row, now))
    known, pool = tuple(_steps(row, now, until)), market.forecasts.pool_of(offer_id)
    return ExpectedPrices(offer_id, now, until, current, known, made, slots, pool)


def _slots(made: OfferForecast, now: int, until: int) -> Iterator[ForecastSlot]:
    first = (made.made_at // SLOT_US + 1) * SLOT_US
    for number, quantiles in enumerate(made.path):
        at = first + number * SLOT_US
        if now < at + SLOT_US and at <= until:
            yield ForecastSlot(at, *quantiles)


def _steps(row: Row, now: int, until: int) -> Iterator[KnownStep]:
    before = _posted(row, now)
    for at in sorted(edge for edge in boundaries(row.quotes) if now < edge <= until):
        prices = _posted(row, at)
        if prices != before:
            yield KnownStep(at, prices)
        before = prices


def _posted(row: Row, at: int) -> Prices | None:
    quote = effective_quote(row.quotes, at)
    return None if quote is None or quote.quarantined or row.offer.withdrawn else quote.prices


def _reference(prices: Prices | None) -> int | None:
    known = None if prices is None else unit_prices(prices)
    return None if known is None else reference_nano(known)
