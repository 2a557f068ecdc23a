"""What a call costs by our quotes, against genai-prices' own arithmetic and against LiteLLM's map."""

import os
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from pathlib import Path

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import TieredPrices

from lowtide.feeds.catalog import LANE_CONTEXTS, catalog_listings
from lowtide.feeds.formats import Context, understand
from lowtide.feeds.listing import Listing
from lowtide.feeds.model_names import ModelNames
from lowtide.market.quote import effective_quote
from lowtide.market.usage import Usage, charge
from lowtide.values.instants import DAY_US, MINUTE_US, instant, micros
from lowtide.values.money import NANO

NOW = micros(datetime(2026, 11, 25, 0, 30, tzinfo=UTC))
WEEK = 7 * DAY_US
CALLS = 200
PROVIDERS = (
    "anthropic",
    "aws",
    "azure",
    "cerebras",
    "cohere",
    "deepseek",
    "fireworks",
    "google",
    "groq",
    "mistral",
    "moonshotai",
    "novita",
    "openai",
    "openrouter",
    "perplexity",
    "together",
    "x-ai",
)
LITELLM_NAMES = {
    "anthropic": "anthropic",
    "deepseek": "deepseek",
    "gemini": "google",
    "groq": "groq",
    "mistral": "mistral",
    "openai": "openai",
    "together_ai": "together",
    "xai": "x-ai",
}
FIELDS = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "requests_kcount")


@dataclass(frozen=True)
class Call:
    """A call to a listed model at an instant (µs)."""

    listing: Listing
    at: int
    usage: Usage

    @property
    def ours(self) -> int | None:
        """What it costs by our quotes, nano-USD; None where it has no price then."""
        quote = effective_quote(self.listing.quotes, self.at)
        return charge(quote.prices, self.usage) if quote is not None and quote.prices.known else None

    @property
    def theirs(self) -> int | None:
        """What it costs by genai-prices, rounded up to a nano-USD once.

        None where the name leads to another entry there or to none, or where a price is finer than a nano-USD per
        million tokens: ours is rounded up before it is multiplied, so that such a charge may be a nano-USD above.
        """
        listing, usage = self.listing, self.usage
        batch = listing.upstream_model.endswith(":batch")
        try:
            result = genai_prices.calc_price(
                genai_prices.Usage(
                    input_tokens=usage.input,
                    output_tokens=usage.output,
                    cache_read_tokens=usage.cached,
                    cache_write_tokens=usage.cache_write,
                ),
                listing.upstream_model,
                provider_id=listing.provider,
                genai_request_timestamp=instant(self.at),
                price_context={} if batch else dict(LANE_CONTEXTS[listing.lane]),
            )
        except LookupError:
            return None
        if result.model.id != listing.upstream_model or finer_than_a_nano(result.model_price):
            return None
        return int((result.total_price * NANO).to_integral_value(ROUND_CEILING))


def finer_than_a_nano(price) -> bool:
    found: list[Decimal] = []
    for field in FIELDS:
        value = getattr(price, field)
        if isinstance(value, TieredPrices):
            found += [value.base, *(tier.price for tier in value.tiers)]
        elif value is not None:
            found.append(value / 1000 if field == "requests_kcount" else value)
    return any(value * NANO != int(value * NANO) for value in found)


def listings(provider: str) -> list[Listing]:
    return catalog_listings(provider, NOW, NOW + WEEK, 0, lanes=tuple(LANE_CONTEXTS))


def sampled_usage(chance: random.Random) -> Usage:
    size = chance.choice((7, 1_200, 31_999, 32_001, 128_000, 128_001, 200_000, 200_001, 272_001, 900_000))
    cached = chance.choice((0, 0, size // 3, size - 1))
    written = chance.choice((0, 0, (size - cached) // 2))
    return Usage(size, chance.choice((0, 1, 333, 8_191)), cached, written)


def sampled_calls() -> list[tuple[Call, int, int]]:
    """Calls with our charge and theirs, drawn evenly over the providers and over lanes within each."""
    chance = random.Random(20261125)
    offered = {provider: listings(provider) for provider in PROVIDERS}
    found: list[tuple[Call, int, int]] = []
    for draw in range(20 * CALLS):
        provider = PROVIDERS[draw % len(PROVIDERS)]
        lane = chance.choice(sorted({one.lane for one in offered[provider]}))
        one = chance.choice([one for one in offered[provider] if one.lane == lane])
        call = Call(one, NOW + chance.randrange(WEEK // MINUTE_US) * MINUTE_US, sampled_usage(chance))
        ours, theirs = call.ours, call.theirs
        if ours is not None and theirs is not None:
            found.append((call, ours, theirs))
        if len(found) == CALLS:
            break
    return found


def test_two_hundred_calls_cost_to_the_nano_dollar_what_the_catalog_says():
    calls = sampled_calls()
    assert len(calls) == CALLS
    wrong = [(call, ours, theirs) for call, ours, theirs in calls if ours != theirs]
    assert wrong == []
    assert len({call.listing.provider for call, _, _ in calls}) >= 10
    assert {call.listing.lane for call, _, _ in calls} == {"standard", "batch", "flex", "priority"}
    assert sum(call.usage.cached > 0 for call, _, _ in calls) > 50
    assert sum(call.usage.input > 200_000 for call, _, _ in calls) > 30


def test_deepseeks_price_changes_with_the_hour_as_the_catalogs_does():
    one = next(one for one in listings("deepseek") if one.upstream_model == "deepseek-v4-pro")
    usage, costs = Usage(100_000, 5_000, cached=30_000), set()
    for minute in range(0, 24 * 60, 15):
        call = Call(one, NOW - NOW % DAY_US + DAY_US + minute * MINUTE_US, usage)
        assert call.ours == call.theirs
        costs.add(call.ours)
    assert len(costs) == 2


def test_a_catalog_price_finer_than_a_nano_dollar_costs_at_most_a_nano_dollar_more():
    provider = next(one for one in get_snapshot().providers if one.id == "openrouter")
    fine = {
        model.id
        for model in provider.models
        if not isinstance(model.prices, list) and finer_than_a_nano(model.prices)
    }
    usage = Usage(1_000_000, 0, cache_write=999_999)
    checked = 0
    for one in listings("openrouter"):
        if one.upstream_model in fine and one.lane == "standard" and one.quotes[0].prices.known:
            result = genai_prices.calc_price(
                genai_prices.Usage(input_tokens=usage.input, cache_write_tokens=usage.cache_write),
                one.upstream_model,
                provider_id="openrouter",
                genai_request_timestamp=instant(NOW),
            )
            exact = result.total_price * NANO
            assert exact <= Call(one, NOW, usage).ours < exact + 2
            checked += 1
    assert checked > 0


def test_litellms_map_costs_the_same_where_the_two_sources_agree_on_the_prices():
    path = os.environ.get("LITELLM_COST_MAP")
    if not path:
        pytest.skip(
            "set LITELLM_COST_MAP to the path of LiteLLM's model_prices_and_context_window.json to compare"
        )
    data, chance = Path(path).read_bytes(), random.Random(20261125)
    compared = agreeing = 0
    for theirs, ours in LITELLM_NAMES.items():
        told = Context(ours, NOW, NOW + WEEK, ModelNames(), select=theirs)
        known = {one.key: one for one in listings(ours)}
        for one in understand(data, "litellm", told).listings:
            at = NOW + chance.randrange(WEEK // MINUTE_US) * MINUTE_US
            mapped = effective_quote(one.quotes, at)
            listed = effective_quote(known[one.key].quotes, at) if one.key in known else None
            if mapped is None or listed is None or not (mapped.prices.known and listed.prices.known):
                continue
            compared += 1
            if mapped.prices == listed.prices:
                agreeing += 1
                call = Call(known[one.key], at, sampled_usage(chance))
                assert call.theirs in (None, charge(mapped.prices, call.usage))
    assert compared > 100
    assert agreeing > compared * 3 // 4
