"""What the market answers about accounts, sellers and the book, as /docs shows it.

These models describe; no answer is run through them. A test holds real answers against them, both ways.
"""

from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from lowtide.api.bodies import Feature, Lane, MaxTokensField, Modality, Role

T = TypeVar("T")


class Shown(BaseModel):
    """An answer: the fields here, and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)


def told(description: str, **more: Any) -> Any:
    """A field that is always there."""
    return Field(description=description, **more)


def given(description: str) -> Any:
    """A field that is there where it was given, or where there is something to say."""
    return Field(default=None, description=description)


Usd = Annotated[
    str, Field(description="USD, a decimal string", pattern=r"^-?\d+(\.\d{1,9})?$", examples=["0.0125"])
]
Time = Annotated[
    str, Field(description="RFC 3339, UTC", json_schema_extra={"format": "date-time"}, pattern=r"Z$")
]
Ratio = Annotated[float, Field(ge=0, le=1)]
Version = Annotated[int, Field(description="version of the book; it rises with every change")]


class Page(Shown, Generic[T]):
    """One page of a list."""

    data: list[T]
    next: str | None = told("send it as `after` for the next page; null on the last")


class Account(Shown):
    """An account's balance."""

    id: str
    name: str
    credit_limit_usd: Usd | None = told("what it may spend beyond its deposits; null: without limit")
    deposited_usd: Usd
    available_usd: Usd | None = told("what new tasks may still commit; null: without limit")
    authorized_usd: Usd = told("set aside for tasks that run; what they do not use comes back")
    spent_usd: Usd
    created_at: Time


class Key(Shown):
    """A key, without its secret."""

    id: str
    name: str
    role: Role
    account_id: str = told("whose tasks it posts and sees")
    provider_id: str | None = told("whose offers it manages; null but for role `provider`")
    shown: str = told("the secret's first and last characters")
    expires_at: Time | None = told("null: never")
    revoked_at: Time | None
    created_at: Time
    allow_models: list[str] | None = told("models its tasks may use; null: all")
    allow_providers: list[str] | None = told("providers its tasks may use; null: all")
    allow_regions: list[str] | None = told("regions its tasks may be served from; null: all")


class MadeKey(Key):
    """A new key with its secret, which is told here and nowhere else."""

    key: str = told("the secret, to be sent as `Authorization: Bearer …`")


class Provider(Shown):
    """A seller; credentials are named, never shown."""

    id: str
    name: str
    wire: str = told("the protocol it is spoken to in", examples=["openai"])
    base_url: str
    credential_env: list[str] = told("environment variables that hold its keys; used in turn")
    discount: Ratio = told("negotiated fraction off its list prices in the catalog")
    max_tokens_field: MaxTokensField = told("the field in which it is sent the output limit")
    batch_wire: str | None = told("the batch API that it has; null: none")
    source: str = told("`api`, or where the configuration describes it")
    simulated: bool = told("whether it only pretends to be one")
    created_at: Time


class Capacity(Shown):
    """Stated limits; null is unlimited until a 429."""

    concurrency: int | None = told("calls at once")
    requests_per_minute: int | None
    tokens_per_minute: int | None


class Latency(Shown):
    """Claimed speed; null is not claimed."""

    p50_ms: int | None = told("median ms to the first token")
    p95_ms: int | None = told("95th percentile, ms to the first token")
    tokens_per_second: int | None


class Claim(Shown):
    """A claimed quality."""

    domain: str
    quality: Ratio = told("probability that an answer is accepted")
    sample_size: int = told("answers that the claim rests on")


class Step(Shown):
    """Prices of a whole call whose input exceeds so many tokens; null inherits the base price."""

    above_tokens: int
    input_per_mtok: Usd | None
    output_per_mtok: Usd | None
    cached_input_per_mtok: Usd | None
    cache_write_per_mtok: Usd | None


class Prices(Shown):
    """Unit prices in USD per million tokens, and per request. Null is unknown, never free."""

    input_per_mtok: Usd | None
    output_per_mtok: Usd | None
    cached_input_per_mtok: Usd | None = told("null: as input")
    cache_write_per_mtok: Usd | None = told("null: as input")
    per_request: Usd
    steps: list[Step] = Field(default=[], description="long-context prices; absent where there are none")


class Quote(Shown):
    """Prices over an interval."""

    prices: Prices
    valid_from: Time
    valid_until: Time | None = told("null: until replaced")
    sequence: int = told("the highest that covers an instant counts")
    quarantined: bool = told("held back as suspicious: it cannot win until it is confirmed")
    capacity: Capacity | None = told("what is sold at this price; null: what the offer has")
    firm_until: Time | None = told("until then its seller stands by it")


class Offer(Shown):
    """A listing with its quotes as the book has them."""

    id: str
    provider_id: str
    provider: str = told("the provider's name")
    model: str = told("what tasks ask for")
    upstream_model: str = told("what the provider calls it")
    lane: Lane
    variant: str
    settles: bool = told("whether it is paid the price of the auction's rule, through the market")
    modalities: list[Modality]
    domains: list[str]
    context_window: int = told("tokens of input and output together")
    max_output_tokens: int
    features: list[Feature]
    regions: list[str]
    zero_retention: bool
    capacity: Capacity
    latency: Latency
    quality_claims: list[Claim]
    price_source: str | None = told("whose quotes count: `push` or a feed; null until the first quote")
    withdrawn_at: Time | None
    created_at: Time
    quotes: list[Quote] = told("in force and to come, by sequence")
    book_version: Version


class PushedQuote(Quote):
    """A quote as it was taken."""

    id: str
    offer_id: str
    held_back: str | None = told("why it is quarantined; null where it is not")
    warning: str | None = told("why its offer cannot win at it; null where it can")


class KeptQuote(Quote):
    """A quote with where it came from."""

    id: str
    offer_id: str
    source: str = told("`push`, or the feed")
    taken_at: Time = told("when it arrived")
    raw_sha256: str | None = told("SHA-256 of what was sent, hexadecimal")


class ChangedQuote(KeptQuote):
    """A quote after it was confirmed or cancelled."""

    book_version: Version


class Pushed(Shown):
    """Quotes that the book has now."""

    quotes: list[PushedQuote]
    book_version: Version


class Quality(Shown):
    """What has been learnt of an offer's quality."""

    verified: Ratio = told("mean probability that an answer is accepted")
    samples: float = told("weight of the evidence, in answers")


class Percentiles(Shown):
    """Latencies, ms."""

    p50: int
    p95: int


class Ask(Shown):
    """What an offer costs now, and what is known of it."""

    offer_id: str
    provider: str
    model: str
    lane: Lane
    prices: Prices | None = told("effective now; null where no quote covers now")
    quarantined: bool = told("whether these prices are held back as suspicious, so that the offer cannot win")
    capacity: Capacity | None = told("what is sold at this price; null: what the offer has")
    firm_until: Time | None = told("until then its seller stands by it")
    valid_from: Time | None
    valid_until: Time | None = told("when this price ends or another begins; null: until replaced")
    next: list[Quote] = told("the next quotes to come, at most 8")
    quality: Quality = told("in the domain `general`")
    health: Ratio = told("share of late attempts that were answered, recent ones counting more")
    circuit: str = told(
        "`closed` serves; `open` failed too often and gets no work; `probing` is being tried again"
    )
    latency_ms: Percentiles = told("measured to the first token")


class Book(Shown):
    """The live asks."""

    as_of: Time
    book_version: Version
    digest: str = told("hash of this version, hexadecimal; auctions name it")
    data: list[Ask] = told("in the order in which the offers were registered")
    next: str | None = told("send it as `after` for the next page; null on the last, and without a limit")


class Ready(Shown):
    """The market's state."""

    ready: bool
    book_version: Version
    offers: int = told("offers in the book")
    unnumbered_log_lines: int = told("log lines that wait for their place in the tree")
    feeds: dict[str, int] = told("feeds by state: ok, failing, silent")


class Waited(Shown):
    """What waiting came to for the tasks of one slack class: from arrival to deadline at most so many hours."""

    slack_hours: int | None = told("at most 2, 6, 12 or 24 hours; null: longer")
    tasks: int = told("that were held and have ended, and whose window is over")
    compared: int = told("served, and with all three costs known; sums are of these")
    paid_usd: Usd
    immediate_usd: Usd = told("what they would have cost at arrival")
    clairvoyant_usd: Usd = told("what they would have cost, had every price been known")
    vs_immediate: float | None = told("paid over immediate")
    captured: float | None = told("share of the possible saving that was made; null where there was none")
    regret_mean_usd: Usd = told("mean of what was paid beyond the clairvoyant's cost")
    regret_p95_usd: Usd
    dearer: int = told("tasks that paid more than at once")
    missed: int = told("deadlines that were not met")


class WaitedDay(Shown):
    """One day (UTC) of arrivals."""

    day: str
    classes: list[Waited]


class Savings(Shown):
    """What waiting has come to, per slack class, and per day and slack class."""

    from_: Time = Field(alias="from")
    to: Time
    pending: int = told("tasks that were held and have ended, but were not looked back on yet")
    pending_paid_usd: Usd = told("what those of them paid that were served")
    pending_immediate_usd: Usd = told("what these would have paid at once")
    next_at: Time | None = told("from when on the first of these is looked back on; null where there is none")
    classes: list[Waited]
    days: list[WaitedDay]
