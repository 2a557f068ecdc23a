"""The conditions of an offer of which nothing was observed yet: its claims, else the configured priors."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lowtide.feeds.priors import LatencyPriors, load_latency, load_quality
from lowtide.market.offer import Claim, Conditions, Offer
from lowtide.market.reputation import quality_of


@dataclass(frozen=True, slots=True)
class FirstConditions:
    """Gives a new offer's conditions (MARKET.md sections 4 and 7)."""

    latency: LatencyPriors
    priors: Mapping[str, Claim]

    @classmethod
    def load(cls, config: Path) -> "FirstConditions":
        """Read config/latency.toml and config/quality.toml. Raises SetupError that names what is wrong."""
        return cls(load_latency(config / "latency.toml"), load_quality(config / "quality.toml"))

    def __call__(self, offer: Offer) -> Conditions:
        expected = self.latency.of(offer.lane)
        claim, default = offer.latency, expected.latency
        speed = claim.tokens_per_second or default.tokens_per_second or 40
        p50 = (default.p50_ms or 0) if claim.p50_ms is None else claim.p50_ms
        p95 = max(p50, default.p95_ms or 0) if claim.p95_ms is None else claim.p95_ms
        return Conditions(
            first_token_p50_ms=p50,
            first_token_p95_ms=p95,
            us_per_token=-(-1_000_000 // speed),
            completion_p99_ms=expected.completion_ms,
            quality=quality_of([_general(claim) for claim in offer.claims], self.priors.get(offer.model), {}),
        )


def _general(claim: Claim) -> Claim:
    """A claim for the domain "general" is of the general record, on which all other domains fall back."""
    return replace(claim, domain="") if claim.domain == "general" else claim
