"""Priors of quality and latency."""

from pathlib import Path

import pytest

from lowtide.feeds.priors import load_latency, load_quality
from lowtide.market.offer import Claim, LatencyClaim
from lowtide.values.errors import SetupError

CONFIG = Path(__file__).parents[3] / "config"


def test_the_shipped_latency_is_the_rulebooks():
    assert load_latency(CONFIG / "latency.toml") == LatencyClaim(1_000, 5_000, 40)


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
