"""Priors of quality and latency."""

from pathlib import Path

import pytest

from lowtide.exchange.conditions import FirstConditions
from lowtide.feeds.priors import Expected, load_latency, load_quality
from lowtide.market.offer import Claim, LatencyClaim, Offer
from lowtide.values.errors import SetupError

CONFIG = Path(__file__).parents[3] / "config"


def test_the_shipped_latency_is_the_rulebooks():
    priors = load_latency(CONFIG / "latency.toml")
    for lane in ("standard", "priority", "spot"):
        assert priors.of(lane) == Expected(LatencyClaim(1_000, 5_000, 40))


def test_a_batch_is_promised_within_a_day_and_flex_is_slower_than_standard():
    priors = load_latency(CONFIG / "latency.toml")
    assert priors.of("batch").completion_ms == 24 * 60 * 60 * 1_000
    assert priors.of("flex").completion_ms == 0
    assert priors.of("flex").latency.p50_ms > priors.of("standard").latency.p50_ms
    assert priors.of("flex").latency.p95_ms > priors.of("standard").latency.p95_ms


def test_the_conditions_of_a_new_offer_follow_its_lane_and_its_claim():
    first = FirstConditions.load(CONFIG)
    batch = first(Offer("o", "p", "m", "u", lane="batch"))
    claimed = first(Offer("o", "p", "m", "u", lane="flex", latency=LatencyClaim(300, 900, 100)))
    standard = first(Offer("o", "p", "m", "u"))
    assert batch.completion_p99_ms == 86_400_000
    assert (claimed.first_token_p50_ms, claimed.first_token_p95_ms, claimed.us_per_token) == (
        300,
        900,
        10_000,
    )
    assert (standard.completion_p99_ms, standard.first_token_p95_ms) == (0, 5_000)


def test_the_latency_of_a_lane_that_nobody_knows_is_refused(tmp_path):
    path = tmp_path / "latency.toml"
    path.write_text((CONFIG / "latency.toml").read_text() + "\n[lanes.slow]\np50_ms = 1\n")
    with pytest.raises(SetupError, match=r"latency\.toml, lanes\.slow is no lane"):
        load_latency(path)


def test_the_shipped_quality_priors_are_general_claims_of_four_samples():
    priors = load_quality(CONFIG / "quality.toml")
    assert len(priors) > 10
    assert {(claim.domain, claim.sample_size) for claim in priors.values()} == {("", 4)}
    assert priors["gpt-5-mini"] == Claim("", 870_000, 4)


def test_a_prior_beyond_one_is_refused_with_its_place(tmp_path):
    path = tmp_path / "quality.toml"
    path.write_text('[models."gpt-5"]\nmean = "1.2"\n')
    with pytest.raises(SetupError, match=r"quality\.toml, models\.gpt-5: mean must be"):
        load_quality(path)


def test_a_missing_latency_is_refused_with_its_name(tmp_path):
    path = tmp_path / "latency.toml"
    path.write_text("p50_ms = 1")
    with pytest.raises(SetupError, match="p95_ms must be a whole number"):
        load_latency(path)
