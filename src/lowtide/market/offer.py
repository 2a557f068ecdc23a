"""Offers: standing listings, what they can do, and what was observed of them (their conditions)."""

from dataclasses import dataclass, field

LANES = ("priority", "standard", "flex", "batch", "spot")
MODALITIES = ("text", "image", "audio", "video", "file")
FEATURES = ("tools", "json_schema", "json_object", "logprobs", "seed", "stop", "streaming")
CIRCUIT_CLOSED, CIRCUIT_OPEN, CIRCUIT_PROBING = "closed", "open", "probing"
ENOUGH_ANSWERS = 20
"""From so many answers on, what was observed replaces what was claimed."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a provider says of its quality in a domain: probability of acceptance in ppm, from so many samples."""

    domain: str
    quality_ppm: int
    sample_size: int = 0


@dataclass(frozen=True, slots=True)
class Capacity:
    """Stated limits; None means unlimited until a 429."""

    concurrency: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    @property
    def none(self) -> bool:
        """Whether nothing is sold at all."""
        return 0 in (self.concurrency, self.requests_per_minute, self.tokens_per_minute)

    def less_than(self, other: "Capacity") -> bool:
        """Whether any limit is tighter."""
        pairs = (
            (self.concurrency, other.concurrency),
            (self.requests_per_minute, other.requests_per_minute),
            (self.tokens_per_minute, other.tokens_per_minute),
        )
        return any(own is not None and (theirs is None or own < theirs) for own, theirs in pairs)


@dataclass(frozen=True, slots=True)
class LatencyClaim:
    """Claimed latency to first token, ms, and speed in tokens a second."""

    p50_ms: int | None = None
    p95_ms: int | None = None
    tokens_per_second: int | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """A listing: provider × upstream model × lane (× variant). `model` is the market's own name for the model."""

    id: str
    provider: str
    model: str
    upstream_model: str
    lane: str = "standard"
    variant: str = ""
    settles: bool = False
    modalities: tuple[str, ...] = ("text",)
    domains: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    context_window: int = 128_000
    max_output_tokens: int = 4_096
    regions: tuple[str, ...] = ()
    zero_retention: bool = False
    capacity: Capacity = field(default_factory=Capacity)
    latency: LatencyClaim = field(default_factory=LatencyClaim)
    claims: tuple[Claim, ...] = ()
    price_source: str | None = None
    withdrawn: bool = False

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes an offer unique."""
        return (self.provider, self.upstream_model, self.lane, self.variant)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What an offer is like just now: observed where there is enough, else claimed, else the configured default.

    ppm, ms, µs per token; `quality` maps a domain ("" is the general record) to (mean ppm, weight n in thousandths).
    `price_max` is the highest (input, output, per request) price of 28 days, × 1.25 while the history is shorter.
    """

    health_ppm: int = 1_000_000
    circuit: str = CIRCUIT_CLOSED
    first_token_p50_ms: int = 1_000
    first_token_p95_ms: int = 5_000
    us_per_token: int = 25_000
    completion_p99_ms: int = 0
    """Until 20 answers are known what the lane promises (a batch's window), else 0: twice the p95 answer time."""
    token_ratio_ppm: int = 1_000_000
    verbosity_ppm: int = 1_000_000
    answers: int = 0
    quality: tuple[tuple[str, int, int], ...] = (("", 700_000, 4_000),)
    price_max: tuple[int, int, int] | None = None
