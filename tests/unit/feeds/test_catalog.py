"""The catalog feed against genai-prices' own arithmetic."""

from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from pathlib import Path

import pytest
from genai_prices import Usage as CatalogUsage
from genai_prices.data_snapshot import get_snapshot

from lowtide.feeds.catalog import LANE_CONTEXTS, catalog_listings, catalog_providers
from lowtide.feeds.model_names import ModelNames, load_model_names
from lowtide.market.quote import effective_quote, refuse_overlaps
from lowtide.market.usage import Usage, charge
from lowtide.values.errors import SetupError
from lowtide.values.instants import DAY_US, HOUR_US, instant, micros
from lowtide.values.money import NANO

NOW = micros(datetime(2026, 11, 25, 0, 30, tzinfo=UTC))
WEEK = 7 * DAY_US
LANES = ("standard", "batch", "flex", "priority")
USAGES = (Usage(1_200, 300), Usage(1_200, 300, cached=1_000), Usage(300_001, 5_000, cached=7))
MODELS = Path(__file__).parents[3] / "config" / "models.toml"


def upstream(provider, model):
    found = next(p for p in get_snapshot().providers if p.id == provider)
    return found, next(m for m in found.models if m.id == model)


def listing(provider, model, lane="standard", start=NOW, end=NOW + WEEK):
    return next(
        one
        for one in catalog_listings(provider, start, end, 1, lanes=(lane,))
        if one.upstream_model == model and one.lane == lane
    )


def nano_up(total: Decimal) -> int:
    return int((total * NANO).to_integral_value(ROUND_CEILING))


def test_our_charge_is_the_catalogs_own_for_every_priced_model_and_lane():
    models, checks = set(), 0
    for provider in catalog_providers():
        for one in catalog_listings(provider, NOW, NOW + WEEK, 1, lanes=LANES):
            theirs, model = upstream(provider, one.upstream_model)
            context = {} if one.upstream_model.endswith(":batch") else LANE_CONTEXTS[one.lane]
            for at in (NOW, NOW + 2 * HOUR_US, NOW + 6 * DAY_US + 7 * HOUR_US):
                quote = effective_quote(one.quotes, at)
                if quote is None or not quote.prices.known:
                    continue
                for usage in USAGES:
                    total = model.calc_price(
                        CatalogUsage(
                            input_tokens=usage.input,
                            output_tokens=usage.output,
                            cache_read_tokens=usage.cached,
                        ),
                        theirs,
                        genai_request_timestamp=instant(at),
                        price_context=context,
                    ).total_price
                    # A catalog price finer than a nano-USD is rounded up before it is multiplied.
                    assert 0 <= charge(quote.prices, usage) - nano_up(total) <= 1, (provider, one, usage)
                    checks += 1
                models.add((provider, one.upstream_model))
    assert len(models) > 1_000
    assert checks > 10_000


def test_deepseeks_peak_hours_stand_as_forward_quotes_and_end_with_the_range():
    quotes = listing("deepseek", "deepseek-v4-pro").quotes
    refuse_overlaps(quotes)
    peaks = [q for q in quotes if q.prices.output == 3_960_000_000]
    assert len(peaks) == 14
    assert {(instant(q.valid_from).hour, instant(q.valid_until).hour) for q in peaks} == {(1, 4), (6, 10)}
    assert quotes[0].valid_from == NOW
    assert quotes[-1].valid_until == NOW + WEEK


def test_a_price_without_a_known_change_stays_open():
    quotes = listing("groq", "llama-3.3-70b-versatile").quotes
    assert [(q.valid_from, q.valid_until) for q in quotes] == [(NOW, None)]


def test_a_discount_lane_is_not_quoted_before_the_catalog_has_its_price():
    start = micros(datetime(2026, 10, 10, tzinfo=UTC))
    batch, flex = micros(datetime(2026, 10, 14, tzinfo=UTC)), micros(datetime(2026, 10, 12, tzinfo=UTC))
    assert listing("openai", "gpt-5", "batch", start, start + WEEK).quotes[0].valid_from == batch
    assert listing("openai", "gpt-5", "flex", start, start + WEEK).quotes[0].valid_from == flex
    early = catalog_listings("openai", start, flex, 1, lanes=("flex",))
    assert "gpt-5" not in [one.upstream_model for one in early]


def test_a_dated_price_change_begins_at_its_utc_midnight():
    change = micros(datetime(2026, 9, 10, tzinfo=UTC))
    one = listing("deepseek", "deepseek-v4-flash", start=change - HOUR_US, end=change + HOUR_US)
    assert [(q.prices.output, q.valid_from) for q in one.quotes] == [
        (660_000_000, change - HOUR_US),
        (600_000_000, change),
    ]


def test_a_model_without_a_token_price_is_listed_unpriced_and_never_free():
    whisper = listing("openai", "whisper-1")
    assert not whisper.priced
    assert whisper.quotes[0].prices.output is None


def test_past_a_threshold_all_tokens_are_priced_anew():
    prices = listing("anthropic", "claude-sonnet-4-5").quotes[0].prices
    above = prices.steps[0].above_tokens
    assert charge(prices, Usage(above, 0)) * 2 < charge(prices, Usage(above + 1, 0)) + 10_000


def test_an_unknown_provider_or_lane_is_refused_with_the_known_ones():
    with pytest.raises(SetupError, match="anthropic"):
        catalog_listings("nobody", NOW, NOW + WEEK, 1)
    with pytest.raises(SetupError, match="standard"):
        catalog_listings("openai", NOW, NOW + WEEK, 1, lanes=("slow",))


@pytest.mark.parametrize(
    ("upstream_name", "market_name"),
    [
        ("gpt-5", "gpt-5"),
        ("openai/gpt-oss-120b", "gpt-oss-120b"),
        ("anthropic/claude-haiku-4.5:batch", "claude-haiku-4-5"),
        ("global.anthropic.claude-opus-4-5-v1:0", "claude-opus-4-5"),
        ("glm-5p3-flash", "glm-5.3-flash"),
        ("meta-llama/Llama-3.3-70B-Instruct-Turbo", "llama-3.3-70b"),
        ("llama-3.3-70b-versatile", "llama-3.3-70b"),
        ("gemini-2.5-pro", "gemini-2.5-pro"),
    ],
)
def test_the_same_model_has_one_name_at_every_seller(upstream_name, market_name):
    assert load_model_names(MODELS).market_name(upstream_name) == market_name


def test_families_say_what_a_model_takes_and_text_is_the_default():
    names = load_model_names(MODELS)
    assert names.modalities("claude-opus-5-5") == ("text", "image")
    assert names.modalities("gpt-oss-120b") == ("text",)
    assert ModelNames().modalities("anything") == ("text",)


def test_a_wrong_models_file_names_file_and_field(tmp_path):
    path = tmp_path / "models.toml"
    path.write_text("colours = 1")
    with pytest.raises(SetupError, match=r"models\.toml has no field 'colours'"):
        load_model_names(path)


def test_the_demos_twelve_models_are_in_the_catalog_with_prices():
    import tomllib

    demo = tomllib.loads((MODELS.parent / "demo" / "models.toml").read_text())["models"]
    for one in demo:
        assert listing(one["provider"], one["upstream_model"]).priced
        assert ModelNames().market_name(one["upstream_model"]) == one["model"] or one["provider"] == "groq"


def test_patterns_match_the_catalog_s_id_and_the_market_s_name():
    for include in (("perplexity/kimi-k3",), ("kimi-k3",)):
        found = catalog_listings("perplexity", NOW, NOW + WEEK, 1, include=include)
        assert [one.upstream_model for one in found] == ["perplexity/kimi-k3"]
    left = catalog_listings("perplexity", NOW, NOW + WEEK, 1, exclude=("kimi-k3",))
    assert "kimi-k3" not in {one.model for one in left}
