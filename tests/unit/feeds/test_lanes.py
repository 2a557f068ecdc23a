"""Lanes as offers of their own: what the shipped providers sell on them, and at what price."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from lowtide.exchange.seal import HORIZON_US
from lowtide.exchange.stock import listings
from lowtide.feeds.catalog import catalog_listings
from lowtide.feeds.lane_rules import LaneRule
from lowtide.feeds.model_names import ModelNames
from lowtide.feeds.providers import discounted, load_providers
from lowtide.market.quote import Prices, effective_quote, refuse_overlaps
from lowtide.market.tariff import expand, scaled
from lowtide.values.errors import SetupError
from lowtide.values.instants import DAY_US, micros

CONFIG = Path(__file__).parents[3] / "config"
NOW = micros(datetime(2026, 11, 25, 0, 30, tzinfo=UTC))
SOLD = {config.name: config for config in load_providers(CONFIG / "providers")}
CLOUD = (
    'name = "acme"\nwire = "openai"\nbase_url = "https://acme.example/v1"\ncredential_env = ["ACME_KEY"]\n'
)
CLOCK = 'zone = "UTC"\n[[windows]]\nstart = "02:00"\nend = "05:00"\nmultiplier = "0.25"\ncapacity = {concurrency = 2}\n'


def at(text: str) -> int:
    return micros(datetime.fromisoformat(text).replace(tzinfo=UTC))


def stock(name, now=NOW):
    return {(one.upstream_model, one.lane): one for one in listings(SOLD[name], now, ModelNames())}


def price(listing, moment=NOW):
    return effective_quote(listing.quotes, moment).prices


def acme(folder, text, tariff=CLOCK):
    for name, content in {"providers/acme.toml": text, "tariffs/nightly.toml": tariff}.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    return load_providers(folder / "providers")[0]


@pytest.mark.parametrize(
    ("provider", "lanes"),
    [
        ("openai", {"standard", "flex", "priority", "batch"}),
        ("anthropic", {"standard", "batch"}),
        ("google", {"standard", "batch"}),
        ("mistral", {"standard", "batch"}),
        ("groq", {"standard", "batch"}),
        ("qwen", {"standard", "batch"}),
        ("deepseek", {"standard"}),
    ],
)
def test_a_seller_offers_every_lane_that_its_file_names(provider, lanes):
    assert set(SOLD[provider].lanes) == lanes
    assert {lane for _, lane in stock(provider)} == lanes


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-5"),
        ("anthropic", "claude-haiku-4-5"),
        ("google", "gemini-2.5-flash"),
        ("mistral", "codestral-2508"),
        ("groq", "openai/gpt-oss-120b"),
        ("qwen", "qwen-max"),
    ],
)
def test_batch_costs_half_of_standard(provider, model):
    offers = stock(provider)
    standard, batch = price(offers[model, "standard"]), price(offers[model, "batch"])
    assert (batch.input * 2, batch.output * 2) == (standard.input, standard.output)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google", "mistral", "groq"])
def test_a_lanes_price_is_the_catalogs_own(provider):
    config, offers = SOLD[provider], stock(provider)
    for lane in config.lanes:
        known = catalog_listings(config.catalog, NOW, NOW + HORIZON_US, 0, lanes=(lane,))
        same = [(one, offers.get((one.upstream_model, lane))) for one in known if one.priced]
        pairs = [(theirs.quotes, ours.quotes) for theirs, ours in same if ours is not None]
        assert len(pairs) >= 2
        assert all(theirs == ours for theirs, ours in pairs)


def test_flex_is_cheaper_and_priority_dearer_than_standard_wherever_openai_sells_them():
    offers = stock("openai")
    for lane, cheaper in (("flex", True), ("priority", False)):
        models = [model for model, one in offers if one == lane]
        assert len(models) > 10
        for model in models:
            assert (price(offers[model, lane]).output < price(offers[model, "standard"]).output) is cheaper


def test_a_rule_prices_a_lane_that_the_catalog_does_not_and_leaves_the_one_that_it_does():
    def sold(**options):
        found = catalog_listings("google", NOW, NOW + DAY_US, 0, include=("gemini-2.5-flash",), **options)
        return {one.lane: price(one) for one in found}

    rules = (
        LaneRule("batch", 1),
        LaneRule("flex", 500_000, ("gemini-2*",)),
        LaneRule("spot", 1, ("other",)),
    )
    found = sold(lanes=("standard", "batch", "flex", "priority", "spot"), lane_rules=rules)
    assert found.keys() == {"standard", "batch", "flex"}
    assert found["flex"] == scaled(found["standard"], 500_000)
    assert found["batch"] == sold(lanes=("batch",))["batch"]


def test_googles_flex_and_priority_need_only_be_named_in_lanes(tmp_path):
    text = (CONFIG / "providers" / "google.toml").read_text()
    config = acme(tmp_path, text.replace('["standard", "batch"]', '["standard", "flex", "priority"]'))
    offers = {(one.upstream_model, one.lane): one for one in listings(config, NOW, ModelNames())}
    standard = price(offers["gemini-2.5-pro", "standard"])
    assert price(offers["gemini-2.5-pro", "flex"]) == scaled(standard, 500_000)
    assert price(offers["gemini-2.5-pro", "priority"]) == scaled(standard, 1_800_000)
    assert ("gemma-3", "flex") not in offers


def test_qwens_models_are_asked_for_without_the_catalogs_prefix():
    assert {model for model, _ in stock("qwen")} == {"qwen-max", "qwen-turbo", "qwen3.8-flash"}


@pytest.mark.parametrize(
    ("moment", "output"),
    [
        ("2026-11-25T00:30", 1_980_000_000),
        ("2026-11-25T02:00", 3_960_000_000),  # a Wednesday's peak
        ("2026-11-25T05:00", 1_980_000_000),
        ("2026-11-28T02:00", 1_980_000_000),  # a Saturday, on which the catalog alone has a peak
        ("2026-11-30T09:59", 3_960_000_000),
    ],
)
def test_deepseeks_tariff_takes_the_place_of_the_catalogs_hours(moment, output):
    quotes = stock("deepseek")["deepseek-v4-pro", "standard"].quotes
    refuse_overlaps(quotes)
    assert effective_quote(quotes, at(moment)).prices.output == output
    assert (quotes[0].valid_from, quotes[-1].valid_until) == (NOW, NOW + HORIZON_US)


def test_deepseeks_base_is_the_peak_price_even_where_the_stock_is_read_off_peak_or_late_in_the_day():
    for moment in ("2026-11-25T12:00", "2026-11-25T23:59:59", "2026-11-28T12:00"):
        found = stock("deepseek", at(moment))["deepseek-v4-flash", "standard"]
        assert price(found, at(moment)) == Prices(150_000_000, 600_000_000, cached_input=3_000_000)
        assert price(found, at("2026-11-30T07:00")) == Prices(300_000_000, 1_200_000_000, 6_000_000)


def test_a_dated_price_of_the_catalog_changes_the_tariffs_base_on_its_day():
    start = at("2026-10-18T23:00")
    span = ("openrouter", start, start + DAY_US, 0)
    [plain] = catalog_listings(*span, include=("qwen/qwen-plus",))
    [clocked] = catalog_listings(*span, include=("qwen/qwen-plus",), tariff=SOLD["deepseek"].tariff)
    before, after = plain.quotes
    assert after.valid_from == at("2026-10-19")
    assert before.prices != after.prices
    assert price(clocked, start) == scaled(before.prices, 500_000)
    assert price(clocked, at("2026-10-19")) == scaled(after.prices, 500_000)
    assert price(clocked, at("2026-10-19T02:00")) == after.prices


def test_a_tariff_works_on_hand_listed_models_and_the_discount_comes_off_what_it_makes(tmp_path):
    config = acme(
        tmp_path,
        CLOUD
        + 'tariff = "nightly"\ndiscount = "0.1"\n'
        + '[[models]]\nmodel = "m"\nprices = {input_per_mtok = "1", output_per_mtok = "2"}\n'
        + '[[models]]\nmodel = "m"\nlane = "spot"\nprices = {input_per_mtok = "0.1", output_per_mtok = "0.2"}\n',
    )
    standard, spot = listings(config, NOW, ModelNames())
    listed = expand(config.tariff, config.models[0].prices, NOW, NOW + HORIZON_US, 0)
    assert [quote.prices for quote in standard.quotes] == [discounted(q.prices, 100_000) for q in listed]
    night = effective_quote(standard.quotes, at("2026-11-25T03:00"))
    assert (night.prices.input, night.capacity.concurrency) == (225_000_000, 2)
    assert (spot.lane, [quote.prices.input for quote in spot.quotes]) == ("spot", [90_000_000])


@pytest.mark.parametrize(
    ("text", "tariff", "words"),
    [
        ('tariff = "lunar"', CLOCK, r"acme\.toml: there is no lunar\.toml in tariffs/.*: nightly\."),
        ('tariff = "nightly"', 'zone = "Mars"', r"tariffs/nightly\.toml: 'Mars' is no IANA time zone"),
        ('tariff = "nightly"', "zone =", r"nightly\.toml cannot be read"),
        ("tariff = 3", CLOCK, "tariff must be a string"),
        ('[[lane_multipliers]]\nlane = "fast"\nmultiplier = "1"', CLOCK, "lane must be one of"),
        ('[[lane_multipliers]]\nlane = "batch"', CLOCK, "multiplier must be a string; it is missing"),
        ('[[lane_multipliers]]\nlane = "batch"\nmultiplier = "-1"', CLOCK, "lane_multipliers 1: The multip"),
        ('[[lane_multipliers]]\nlane = "batch"\nmultiplier = "1"\nx = 1', CLOCK, "no field 'x'"),
        ('lane_rules = "x"', CLOCK, "no field 'lane_rules'"),
    ],
)
def test_a_wrong_tariff_or_lane_is_refused_with_file_and_mend(text, tariff, words, tmp_path):
    with pytest.raises(SetupError, match=words):
        acme(tmp_path, CLOUD + text + "\n", tariff)
