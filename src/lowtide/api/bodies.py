"""Bodies that sellers and operators send."""

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from lowtide.api.fields import SOURCE, Balance, Body, Fraction, Instant, Name, Ratio, ppm
from lowtide.market.offer import Capacity, Claim, LatencyClaim, Offer
from lowtide.values.money import MAX_TOKENS

Lane = Literal["priority", "standard", "flex", "batch", "spot"]
Modality = Literal["text", "image", "audio", "video", "file"]
Feature = Literal["tools", "json_schema", "json_object", "logprobs", "seed", "stop", "streaming"]
Role = Literal["requester", "provider", "auditor", "operator"]
_Limit = Annotated[int, Field(ge=1, le=10**12)]
MaxTokensField = Literal["max_completion_tokens", "max_tokens"]
_Millis = Annotated[int, Field(ge=0, le=3_600_000)]
_Tokens = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
_CREDENTIAL = re.compile(r"[A-Z][A-Z0-9_]*(_KEY|_TOKEN|_SECRET)(_[A-Z0-9]+)?", re.ASCII)


def http_address(text: str) -> str:
    """The text, if it is an http(s) URL with a host."""
    if not text.startswith(("http://", "https://")):
        raise PydanticCustomError(
            "not_a_url",
            "Send an address that begins with https:// or http://, such as https://api.openai.com/v1",
        )
    try:
        parts = urlsplit(text)
        host, _port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or any(letter.isspace() for letter in text):
        raise PydanticCustomError(
            "bad_url",
            "{shown} names no host. Send one such as https://api.openai.com/v1",
            {"shown": text[:80]},
        )
    return text


def credential_variable(name: str) -> str:
    """The name, if it is that of a provider's key: a provider is sent its value, so no other variable may be named."""
    if not _CREDENTIAL.fullmatch(name) or name.startswith("LOWTIDE_"):
        raise PydanticCustomError(
            "credential_env_refused",
            "{shown} is not taken for a provider's key. Name the variable in capitals so that it ends in _KEY, _TOKEN or "
            "_SECRET (a suffix such as _2 may follow) and does not begin with LOWTIDE_, such as ACME_API_KEY",
            {"shown": repr(name[:80])},
        )
    return name


def _listed(names: Any) -> Any:
    """One name as a list of one; none for an empty one."""
    return ([names] if names else []) if isinstance(names, str) else names


def _example(**fields: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [fields]})


class NewAccount(Body):
    """A prepaid account, unless `credit_limit_usd` is null: then its credit has no limit."""

    model_config = _example(name="research", credit_limit_usd="100")

    name: Name
    credit_limit_usd: Annotated[
        Balance | None, Field(description="what it may spend beyond its deposits, USD; null: without limit")
    ] = 0


class NewKey(Body):
    """A key for an account; lists restrict what its tasks may use."""

    model_config = _example(role="requester", name="support desk", account_id="acct_default")

    role: Annotated[
        Role,
        Field(
            description="`requester` posts tasks and sees its account's; `provider` manages one provider's offers; "
            "`auditor` reads everything; `operator` may do all of it"
        ),
    ]
    name: Annotated[str, Field(max_length=128, description="for people")] = ""
    account_id: Annotated[str, Field(description="who pays for its tasks")] = "acct_default"
    provider_id: Annotated[
        str | None, Field(description="whose offers it manages; required for role `provider`")
    ] = None
    expires_at: Annotated[Instant | None, Field(description="left out: it never expires")] = None
    allow_models: Annotated[list[Name] | None, Field(description="left out: all models")] = None
    allow_providers: Annotated[list[Name] | None, Field(description="names; left out: all providers")] = None
    allow_regions: Annotated[list[Name] | None, Field(description="left out: all regions")] = None


class NewProvider(Body):
    """A seller: the wire it speaks, its address, and the environment variables that hold its keys."""

    model_config = _example(
        name="acme",
        wire="openai",
        base_url="https://api.acme.example/v1",
        credential_env=["ACME_API_KEY"],
        discount=0.1,
    )

    name: Annotated[Name, Field(description="unique; tasks and auctions name the provider by it")]
    wire: Annotated[Literal["openai"], Field(description="the protocol it is spoken to in")] = "openai"
    base_url: Annotated[
        str,
        Field(
            max_length=512,
            description="to which /chat/completions is added",
            examples=["https://api.openai.com/v1"],
        ),
        AfterValidator(http_address),
    ]
    credential_env: Annotated[
        list[Annotated[str, AfterValidator(credential_variable)]],
        BeforeValidator(_listed, json_schema_input_type=list[str] | str),
        Field(
            description="environment variables of the market that hold its keys, used in turn; a name or a list. Names end "
            "in _KEY, _TOKEN or _SECRET. Left out: it is called without a key",
            examples=[["ACME_API_KEY"]],
        ),
    ] = []
    discount: Annotated[
        Fraction,
        Field(description="negotiated fraction off list prices, from 0 to below 1; left out: none"),
    ] = 0.0
    max_tokens_field: Annotated[
        MaxTokensField, Field(description="the field in which the provider reads the output limit")
    ] = "max_completion_tokens"
    batch_wire: Annotated[
        Literal["openai", "anthropic"] | None,
        Field(
            description="the batch API that it has at its address; left out: none, its batch lane cannot win"
        ),
    ] = None


class CapacityBody(Body):
    """Stated limits; what is left out is unlimited until a 429."""

    concurrency: Annotated[_Limit | None, Field(description="calls at once")] = None
    requests_per_minute: Annotated[_Limit | None, Field(description="calls begun in a minute")] = None
    tokens_per_minute: Annotated[_Limit | None, Field(description="input and output together")] = None

    def capacity(self) -> Capacity:
        """The core's limits."""
        return Capacity(self.concurrency, self.requests_per_minute, self.tokens_per_minute)


class LatencyBody(Body):
    """Claimed latency to the first token, and speed."""

    p50_ms: Annotated[_Millis | None, Field(description="median ms to the first token")] = None
    p95_ms: Annotated[_Millis | None, Field(description="95th percentile, ms to the first token")] = None
    tokens_per_second: Annotated[
        Annotated[int, Field(ge=1, le=100_000)] | None, Field(description="output tokens of one call")
    ] = None


class ClaimBody(Body):
    """A claim of quality in a domain: the probability that an answer is accepted."""

    domain: Annotated[
        Name, Field(description="field of work; `general` stands for any", examples=["general"])
    ]
    quality: Annotated[Ratio, Field(description="probability that an answer is accepted, 0 to 1")]
    sample_size: Annotated[
        int,
        Field(ge=0, le=10_000_000, description="answers that it rests on; more weigh more, within limits"),
    ] = 0


class OfferChange(Body):
    """What of a listing may be changed."""

    model_config = _example(capacity={"concurrency": 16}, regions=["eu"])

    modalities: Annotated[list[Modality] | None, Field(description="what it takes")] = None
    domains: Annotated[
        list[Name] | None, Field(description="fields of work it is meant for; shown, not a limit")
    ] = None
    context_window: Annotated[_Tokens | None, Field(description="tokens of input and output together")] = None
    max_output_tokens: Annotated[_Tokens | None, Field(description="most tokens of one answer")] = None
    features: Annotated[
        list[Feature] | None,
        Field(description="what requests may use; tasks that need another go elsewhere"),
    ] = None
    regions: Annotated[
        list[Name] | None,
        Field(description="where it is served from; empty: no task that names regions"),
    ] = None
    zero_retention: Annotated[bool | None, Field(description="whether nothing of a request is kept")] = None
    capacity: Annotated[CapacityBody | None, Field(description="left out: unlimited until a 429")] = None
    latency: Annotated[LatencyBody | None, Field(description="counts until measurements do")] = None
    quality_claims: Annotated[
        list[ClaimBody] | None, Field(description="evidence to begin with, one a domain")
    ] = None
    price_source: (
        Annotated[
            str,
            Field(max_length=128, pattern=SOURCE, description="whose quotes count: `push`, or a feed"),
        ]
        | None
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

    provider_id: Annotated[str, Field(description="from POST /v1/providers")]
    model: Annotated[Name, Field(description="what tasks ask for")]
    upstream_model: Annotated[
        Name | None, Field(description="what the provider calls it; left out: `model`")
    ] = None
    lane: Annotated[Lane, Field(description="service level; the prices of one model may differ by it")] = (
        "standard"
    )
    variant: Annotated[
        str,
        Field(
            max_length=64, description="tells listings of one model and lane apart, such as a quantization"
        ),
    ] = ""
    settles: Annotated[
        bool,
        Field(
            description="whether it is paid through the market by the auction's rule; false: at its own prices"
        ),
    ] = False
    modalities: Annotated[list[Modality], Field(description="what it takes")] = ["text"]
    domains: Annotated[
        list[Name], Field(description="fields of work it is meant for; shown, not a limit")
    ] = []
    context_window: Annotated[_Tokens, Field(description="tokens of input and output together")] = 128_000
    max_output_tokens: Annotated[_Tokens, Field(description="most tokens of one answer")] = 4_096
    features: Annotated[
        list[Feature], Field(description="what requests may use; tasks that need another go elsewhere")
    ] = []
    regions: Annotated[
        list[Name],
        Field(description="where it is served from; empty: no task that names regions"),
    ] = []
    zero_retention: Annotated[bool, Field(description="whether nothing of a request is kept")] = False
    capacity: Annotated[CapacityBody, Field(description="left out: unlimited until a 429")] = CapacityBody()
    latency: Annotated[LatencyBody, Field(description="counts until measurements do")] = LatencyBody()
    quality_claims: Annotated[list[ClaimBody], Field(description="evidence to begin with, one a domain")] = []

    def offer(self, provider_name: str) -> Offer:
        """The core's offer; its id is given when it is stored."""
        latency = self.latency
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
            self.capacity.capacity(),
            LatencyClaim(latency.p50_ms, latency.p95_ms, latency.tokens_per_second),
            tuple(
                Claim(claim.domain, ppm(claim.quality), claim.sample_size) for claim in self.quality_claims
            ),
        )
