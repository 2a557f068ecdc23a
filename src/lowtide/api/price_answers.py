"""What the market answers about price history, as /docs shows it."""

from pydantic import Field

from lowtide.api.answers import Ratio, Shown, Time, Usd, told


class BarPrices(Shown):
    """One price over a bar."""

    open: Usd = told("the first that held in it")
    high: Usd
    low: Usd
    close: Usd = told("the last that held in it")
    mean: Usd = told("weighted by the time for which each held; to the nearest nano-USD, a half up")


class PriceBar(Shown):
    """An offer's prices over one step."""

    start: Time = told("the step is counted from 1970 in UTC, so days begin at midnight")
    covered: Ratio = told("share of the step in which a price held; the mean is over that time alone")
    input_per_mtok: BarPrices
    output_per_mtok: BarPrices
    cached_input_per_mtok: BarPrices = told("the input price where none was quoted")
    cache_write_per_mtok: BarPrices = told("the input price where none was quoted")
    per_request: BarPrices


class TickPrices(Shown):
    """Unit prices that held."""

    input_per_mtok: Usd
    output_per_mtok: Usd
    cached_input_per_mtok: Usd = told("the input price where none was quoted")
    cache_write_per_mtok: Usd = told("the input price where none was quoted")
    per_request: Usd


class PriceTick(Shown):
    """A change of prices."""

    at: Time
    prices: TickPrices | None = told("null: from then on no price held")


class PriceHistory(Shown):
    """What an offer cost, as its price source had it."""

    offer_id: str
    source: str | None = told("whose quotes these are: `push` or a feed; null before the first quote")
    from_: Time = Field(alias="from", description="where the first bar begins")
    to: Time = told("now at the latest")
    step: str = told("`ticks`, or the length of a bar", examples=["15m"])
    data: list[PriceBar] | list[PriceTick] = told(
        "bars, without those in which no price held at all; or ticks, the last change before `from` first"
    )
