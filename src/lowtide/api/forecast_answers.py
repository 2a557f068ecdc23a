"""What the market answers about prices to come, as /docs shows it."""

from pydantic import Field

from lowtide.api.answers import Prices, Shown, Time, Usd, told


class PriceQuantiles(Shown):
    """What a slot is likely to cost, in USD of the reference call."""

    at: Time = told("where the slot begins")
    p10_usd: Usd
    p50_usd: Usd
    p90_usd: Usd


class KnownPrice(Shown):
    """A price that is posted ahead: exact."""

    from_: Time = Field(alias="from", description="from when it is in force")
    price_usd: Usd | None = told("of the reference call; null: no price is posted from then on")
    prices: Prices | None


class ForecastScore(Shown):
    """How tasks of this slack would have done by these forecasts, over the last 28 days that are over."""

    slack_hours: int
    tasks: int = told("one task an hour")
    captured: float | None = told("share of the clairvoyant's saving; null: nothing could be saved")
    saved: float | None = told("share of the cost of running at once")


class PoolScore(Shown):
    """How tasks of this slack that any offer of the pool may serve would have done, over the last 28 days that are over."""

    slack_hours: int
    tasks: int = told("one task an hour")
    captured: float | None = told("share of the clairvoyant's saving, with the pool's forecast")
    captured_alone: float | None = told("with the offers' own forecasts alone")
    used: bool = told("tasks weigh the pool's forecast: it has done better than the offers' own")


class PoolForecast(Shown):
    """What is forecast of the cheapest of the offers of one model on one lane."""

    offer_ids: list[str]
    made_at: Time
    score: list[PoolScore]


class ReferenceCall(Shown):
    """The call whose price stands for the offer's."""

    input_tokens: int
    output_tokens: int


class OfferForecast(Shown):
    """What an offer is expected to cost."""

    offer_id: str
    as_of: Time
    until: Time
    reference_call: ReferenceCall
    price_now_usd: Usd | None = told("of the reference call; null: it has no price now")
    policy: str | None = told("by which tasks wait; null: they wait for posted prices of this offer alone")
    made_at: Time | None = told("when this node made the forecast; null: it has none")
    slot_s: int
    quantiles: list[PriceQuantiles]
    known: list[KnownPrice] = told("steps that are posted ahead; they come before any forecast")
    score: list[ForecastScore]
    pool: PoolForecast | None = told("of the offers like it; null: it has none like it, or none is forecast")
    note: str | None = told("why there is no forecast; null where there is one")


class SlotScarcity(Shown):
    """What a place is worth in a slot."""

    from_: Time = Field(alias="from", description="where the slot begins")
    until: Time
    shadow_price_usd: Usd = told("what one more place would have added to the surplus of all held tasks")


class OfferScarcity(Shown):
    """What places at an offer are worth in the slots to come, by the last call auction."""

    offer_id: str
    auction_id: str | None = told("the call auction; null: more was never wanted than offers carry")
    as_of: Time | None
    slots: list[SlotScarcity] = told("none where the last call auction was not about this offer")
