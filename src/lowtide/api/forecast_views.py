"""Expected prices as the contract's JSON."""

from typing import Any

from lowtide.api.views import money, prices, when
from lowtide.exchange.expected_prices import ExpectedPrices
from lowtide.exchange.followed_prices import CHANGED_WITHIN_DAYS, LEAST_DAYS
from lowtide.exchange.forecasts import SLOT_US, PoolForecast
from lowtide.market.deferral.reference import INPUT_TOKENS, OUTPUT_TOKENS
from lowtide.values.instants import SECOND_US

_NO_FORECAST = (
    f"Its price is not forecast here: that takes {LEAST_DAYS} days of history with a change in the last "
    f"{CHANGED_WITHIN_DAYS} days. Forecasts are made once an hour, a minute after it begins."
)


def offer_forecast(found: ExpectedPrices) -> dict[str, Any]:
    """What is posted ahead, what is forecast, and how such forecasts did."""
    made = found.forecast
    policies = set() if made is None else {one.policy for one in made.by_slack.values()}
    return {
        "offer_id": found.offer_id,
        "as_of": when(found.as_of),
        "until": when(found.until),
        "reference_call": {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS},
        "price_now_usd": money(found.now_nano),
        "policy": next(iter(policies), None),
        "made_at": None if made is None else when(made.made_at),
        "slot_s": SLOT_US // SECOND_US,
        "quantiles": [
            {
                "at": when(slot.at),
                "p10_usd": money(slot.p10_nano),
                "p50_usd": money(slot.p50_nano),
                "p90_usd": money(slot.p90_nano),
            }
            for slot in found.slots
        ],
        "known": [
            {"from": when(step.at), "price_usd": money(step.reference_nano), "prices": prices(step.prices)}
            for step in found.known
        ],
        "score": []
        if made is None
        else [
            {
                "slack_hours": _hours(slack),
                "tasks": score.tasks,
                "captured": score.captured,
                "saved": score.saved,
            }
            for slack, score in made.scores.items()
        ],
        "pool": None if found.pool is None else _pool(found.pool),
        "note": _NO_FORECAST if made is None else None,
    }


def _pool(pool: PoolForecast) -> dict[str, Any]:
    return {
        "offer_ids": list(pool.offer_ids),
        "made_at": when(pool.made_at),
        "score": [
            {
                "slack_hours": _hours(slack),
                "tasks": pooled.tasks,
                "captured": pooled.captured,
                "captured_alone": alone.captured,
                "used": slack in pool.by_slack,
            }
            for slack, (pooled, alone) in pool.scores.items()
        ],
    }


def _hours(slack: int) -> int:
    return slack * SLOT_US // SECOND_US // 3_600
