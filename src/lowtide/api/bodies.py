"""Bodies that sellers and operators send."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from lowtide.api.fields import Balance, Body, Instant, Name, Ratio, RequestPrice, UnitPrice, ppm
from lowtide.market.offer import Capacity, Claim, LatencyClaim, Offer
from lowtide.market.quote import Prices, PriceStep
from lowtide.values.money import MAX_TOKENS

Lane = Literal["priority", "standard", "flex", "batch", "spot"]
Modality = Literal["text", "image", "audio", "video", "file"]
Feature = Literal["tools", "json_schema", "json_object", "logprobs", "seed", "stop", "streaming"]
Role = Literal["requester", "provider", "auditor", "operator"]
_Limit = Annotated[int, Field(ge=1, le=10**12)]
_WRONG_UNITS = ("per_token", "per_1k", "per_ktok", "per_1k_tokens", "per_thousand")


def http_address(text: str) -> str:
    """The text, if it is an http(s) URL."""
    if not text.startswith(("http://", "https://")):
        raise PydanticCustomError(
            "not_a_url",
            "Send an address that begins with https:// or http://, such as https://api.openai.com/v1",
        )
    return text


def _example(**fields: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [fields]})


class NewAccount(Body):
    """A prepaid account, unless `credit_limit_usd` is null: then its credit has no limit."""

    model_config = _example(name="research", credit_limit_usd="100")

    name: Name
    credit_limit_usd: Balance | None = 0


class NewKey(Body):
    """A key for an account; lists restrict what its tasks may use."""

    model_config = _example(role="requester", name="support desk", account_id="acct_default")

    role: Role
    name: Annotated[str, Field(max_length=128)] = ""
    account_id: str = "acct_default"
    provider_id: str | None = None
    expires_at: Instant | None = None
    allow_models: list[Name] | None = None
    allow_providers: list[Name] | None = None
    allow_regions: list[Name] | None = None


class NewProvider(Body):
    """A seller: the wire it speaks, its address, and the environment variables that hold its keys."""

    model_config = _example(
        name="acme",
        wire="openai",
        base_url="https://api.acme.example/v1",
        credential_env=["ACME_API_KEY"],
        discount=0.1,
    )

    name: Name
    wire: Literal["openai"] = "openai"
    base_url: Annotated[
        str, Field(max_length=512, examples=["https://api.openai.com/v1"]), AfterValidator(http_address)
    ]
    credential_env: list[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]] | str = []
    discount: Annotated[float, Field(ge=0, lt=1, description="negotiated discount, a fraction")] = 0.0


class CapacityBody(Body):
    """Stated limits; what is left out is unlimited until a 429."""

    concurrency: _Limit | None = None
    requests_per_minute: _Limit | None = None
    tokens_per_minute: _Limit | None = None


class LatencyBody(Body):
    """Claimed latency to the first token, and speed."""

    p50_ms: Annotated[int, Field(ge=0, le=3_600_000)] | None = None
    p95_ms: Annotated[int, Field(ge=0, le=3_600_000)] | None = None
    tokens_per_second: Annotated[int, Field(ge=1, le=100_000)] | None = None


class ClaimBody(Body):
    """A claim of quality in a domain: the probability that an answer is accepted."""

    domain: Name
    quality: Ratio
    sample_size: Annotated[int, Field(ge=0, le=10_000_000)] = 0


class OfferChange(Body):
    """What of a listing may be changed."""

    model_config = _example(capacity={"concurrency": 16}, regions=["eu"])

    modalities: list[Modality] | None = None
    domains: list[Name] | None = None
    context_window: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    features: list[Feature] | None = None
    regions: list[Name] | None = None
    zero_retention: bool | None = None
    capacity: CapacityBody | None = None
    latency: LatencyBody | None = None
    quality_claims: list[ClaimBody] | None = None
    price_source: (
        Annotated[str, Field(max_length=128, pattern=r"^[a-z0-9_]+$", description="`push`, or a feed")] | None
    ) = None

    def values(self) -> dict[str, Any]:
        """The fields given, as the stored listing names them."""
        given = self.model_dump(
            exclude_unset=True, exclude={"capacity", "latency", "quality_claims", "price_source"}
        )
        changes: dict[str, Any] = {
            name: int(value) if isinstance(value, bool) else value
            for name, value in given.items()
            if value is not None
        }
        if self.capacity is not None:
            c = self.capacity
            changes["capacity"] = [c.concurrency, c.requests_per_minute, c.tokens_per_minute]
        if self.latency is not None:
            changes["latency"] = [self.latency.p50_ms, self.latency.p95_ms, self.latency.tokens_per_second]
        if self.quality_claims is not None:
            changes["claims"] = [[c.domain, ppm(c.quality), c.sample_size] for c in self.quality_claims]
        return changes


class NewOffer(Body):
    """A listing: provider × upstream model × lane (× variant)."""

    model_config = _example(
        provider_id="prov_…",
        model="acme-large",
        lane="standard",
        context_window=128_000,
        max_output_tokens=8_192,
        features=["tools", "json_schema"],
        capacity={"concurrency": 8},
        quality_claims=[{"domain": "general", "quality": 0.93, "sample_size": 200}],
    )

    provider_id: str
    model: Name
    upstream_model: Name | None = None
    lane: Lane = "standard"
    variant: Annotated[str, Field(max_length=64)] = ""
    settles: bool = False
    modalities: list[Modality] = ["text"]
    domains: list[Name] = []
    context_window: Annotated[int, Field(ge=1, le=MAX_TOKENS)] = 128_000
    max_output_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] = 4_096
    features: list[Feature] = []
    regions: list[Name] = []
    zero_retention: bool = False
    capacity: CapacityBody = CapacityBody()
    latency: LatencyBody = LatencyBody()
    quality_claims: list[ClaimBody] = []

    def offer(self, provider_name: str) -> Offer:
        """The core's offer; its id is given when it is stored."""
        capacity, latency = self.capacity, self.latency
        return Offer(
            "",
            provider_name,
            self.model,
            self.upstream_model or self.model,
            self.lane,
            self.variant,
            self.settles,
            tuple(self.modalities),
            tuple(self.domains),
            tuple(self.features),
            self.context_window,
            self.max_output_tokens,
            tuple(self.regions),
            self.zero_retention,
            Capacity(capacity.concurrency, capacity.requests_per_minute, capacity.tokens_per_minute),
            LatencyClaim(latency.p50_ms, latency.p95_ms, latency.tokens_per_second),
            tuple(
                Claim(claim.domain, ppm(claim.quality), claim.sample_size) for claim in self.quality_claims
            ),
        )


class StepBody(Body):
    """Prices of a whole call whose input exceeds so many tokens; what is left out stays."""

    above_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)]
    input_per_mtok: UnitPrice | None = None
    output_per_mtok: UnitPrice | None = None
    cached_input_per_mtok: UnitPrice | None = None
    cache_write_per_mtok: UnitPrice | None = None


class PricesBody(Body):
    """Unit prices in USD per million tokens, and per request. A missing price is unknown, never free."""

    input_per_mtok: UnitPrice | None = None
    output_per_mtok: UnitPrice | None = None
    cached_input_per_mtok: UnitPrice | None = None
    cache_write_per_mtok: UnitPrice | None = None
    per_request: RequestPrice = 0
    steps: list[StepBody] = []
    currency: Annotated[str, Field(description="only USD")] = "USD"

    @model_validator(mode="before")
    @classmethod
    def right_unit(cls, values: Any) -> Any:
        """Refuse fields that price another number of tokens, and other currencies, by name."""
        for name in values if isinstance(values, dict) else ():
            if isinstance(name, str) and name.endswith(_WRONG_UNITS):
                raise PydanticCustomError(
                    "price_unit",
                    "{name} is in the wrong unit. Send input_per_mtok and output_per_mtok: "
                    "USD per million tokens",
                    {"name": name},
                )
        currency = values.get("currency", "USD") if isinstance(values, dict) else "USD"
        if currency != "USD":
            raise PydanticCustomError(
                "unknown_currency",
                "Prices in {currency} are not taken. Send USD",
                {"name": "currency", "currency": str(currency)[:20]},
            )
        return values

    def prices(self) -> Prices:
        """The core's unit prices, nano-USD."""
        steps = sorted(self.steps, key=lambda step: step.above_tokens)
        return Prices(
            self.input_per_mtok,
            self.output_per_mtok,
            self.cached_input_per_mtok,
            self.cache_write_per_mtok,
            self.per_request,
            tuple(
                PriceStep(
                    s.above_tokens,
                    s.input_per_mtok,
                    s.output_per_mtok,
                    s.cached_input_per_mtok,
                    s.cache_write_per_mtok,
                )
                for s in steps
            ),
        )


class Slot(Body):
    """Prices over an interval; no end means until replaced, no start means from now."""

    prices: PricesBody
    valid_from: Instant | None = None
    valid_until: Instant | None = None

    @model_validator(mode="after")
    def ends_after_it_begins(self) -> "Slot":
        """Refuse an interval without length."""
        if (
            self.valid_from is not None
            and self.valid_until is not None
            and self.valid_until <= self.valid_from
        ):
            raise PydanticCustomError(
                "ends_before_it_begins", "valid_until must lie after valid_from", {"name": "valid_until"}
            )
        return self


class NewQuote(Slot):
    """A quote, or `curve`: several slots under one sequence."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prices": {"input_per_mtok": "0.25", "output_per_mtok": "1.25"}},
                {
                    "curve": [
                        {
                            "prices": {"input_per_mtok": "0.25", "output_per_mtok": "1.25"},
                            "valid_until": "2026-11-24T22:00:00Z",
                        },
                        {
                            "prices": {"input_per_mtok": "0.10", "output_per_mtok": "0.50"},
                            "valid_from": "2026-11-24T22:00:00Z",
                            "valid_until": "2026-11-25T06:00:00Z",
                        },
                    ]
                },
            ]
        }
    )

    prices: PricesBody | None = None  # type: ignore[assignment]
    sequence: (
        Annotated[int, Field(ge=0, lt=2**53, description="newer than the last; left out, the next is given")]
        | None
    ) = None
    curve: Annotated[list[Slot], Field(min_length=1, max_length=10_000)] | None = None

    @model_validator(mode="after")
    def one_or_a_curve(self) -> "NewQuote":
        """Either prices or a curve."""
        if (self.prices is None) == (self.curve is None):
            raise PydanticCustomError(
                "conflicting_fields", "Send either prices or a curve", {"name": "curve"}
            )
        return self

    def slots(self) -> list[tuple[Prices, int | None, int | None]]:
        """Prices with their intervals."""
        if self.curve is not None:
            return [(slot.prices.prices(), slot.valid_from, slot.valid_until) for slot in self.curve]
        assert self.prices is not None  # one_or_a_curve
        return [(self.prices.prices(), self.valid_from, self.valid_until)]


class BulkQuote(NewQuote):
    """A quote of a named offer."""

    offer_id: str


class BulkQuotes(Body):
    """Quotes of many offers, taken all or nothing."""

    model_config = _example(
        quotes=[{"offer_id": "off_…", "prices": {"input_per_mtok": "0.25", "output_per_mtok": "1.25"}}]
    )

    quotes: Annotated[list[BulkQuote], Field(min_length=1, max_length=10_000)]
