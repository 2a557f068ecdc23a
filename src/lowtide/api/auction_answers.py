"""What the market answers about auctions, as /docs shows it; like `answers`, models that only describe."""

from typing import Any, Literal

from pydantic import Field

from lowtide.api.answers import Prices, Ratio, Shown, Time, Usd, Version, given, told
from lowtide.api.bodies import Lane
from lowtide.api.task_answers import Outcome


class AuctionListed(Shown):
    """An auction in a list."""

    id: str
    task_id: str | None = told("null for a call auction: it is of many tasks")
    kind: Literal["spot", "call"]
    outcome: Outcome
    reason: str | None = told("the code that decided where nobody won")
    winner: str | None = told("an offer")
    provider: str | None = told("the winner's")
    clearing_price_usd: Usd | None
    opened_at: Time
    book_version: Version


class DecidedUnder(Shown):
    """The limits that the record says the task had; none that it had not."""

    min_quality: Ratio | None = given("least probability that the answer is accepted")
    confidence: Ratio | None = given("how sure the market had to be of it")
    max_latency_ms: int | None = given("ms for the whole answer")
    max_cost_usd: Usd | None = given("most that the worst case may cost")
    complete_by: Time | None = given("deadline")
    regions: list[str] | None = given("regions that it may be served from")
    zero_retention: bool | None = given("only providers that keep nothing")
    domain: str
    modalities: list[str]
    features: list[str] | None = given("what the request uses, such as tools")
    models: list[str] | None = given("models that may serve")
    providers: list[str] | None = given("providers that may serve")
    exclude_providers: list[str] | None = given("providers that may not serve")
    value_usd: Usd | None = given("worth of an accepted answer")
    per_second_usd: Usd | None = given("cost of a second")
    fallback: str | None = given("offer that would be called without the market")
    input_bytes: int = told("UTF-8 bytes of the input's text")
    max_output_tokens: int | None = given("the limit that was sent")
    usual_output_tokens: int | None = given("what tasks of this type usually produce")


class Deferral(Shown):
    """The decision to wait."""

    policy: str
    offer_id: str = told("whose price is awaited")
    slot_from: Time
    price_now_usd: Usd | None
    expected_price_usd: Usd
    reservation_price_usd: Usd
    release_at: Time
    latest_start: Time
    forecast: str | None = given("digest of the forecast that is relied on; absent where prices are posted")


class BidQuality(Shown):
    """What is claimed, and what counts."""

    claimed: Ratio | None
    verified: Ratio
    lower_bound: Ratio = told("what counts at the task's confidence")
    samples: float = told("weight of the evidence, in answers")


class BidLatency(Shown):
    """Of the whole expected answer, ms."""

    p50: int
    p95: int


class LiveAnswer(Shown):
    """What the offer's bidder answered when it was asked for this task."""

    received_at: Time | None = told("when its answer came; null where none came in time")
    said: str | None = told("its own word on why it did not bid, where it gave one")


class Bid(Shown):
    """One bid, with why it did not win."""

    offer_id: str
    provider: str
    model: str
    lane: Lane
    unit_prices: Prices | None
    bid_usd: Usd | None = told("expected cost; null without a known price")
    worst_usd: Usd | None = told("cost if the answer is as long as it may be")
    quality: BidQuality
    latency_ms: BidLatency
    eligible: bool = told("whether it met every limit")
    loss_reason: str | None = told("null for the winner")
    score_usd: Usd | None = told("what it leaves the requester; the highest wins")
    rank: int | None = told("among the eligible, from 1")
    min_to_win_usd: Usd | None = told("the bid that would have tied; null where no price would")
    live: LiveAnswer | None = told("null where no bidder was asked: the standing quote counted")
    why: str


class Difference(Shown):
    """A field that came out otherwise."""

    field: str
    stored: Any
    now: Any


class Replay(Shown):
    """Whether the auction, decided again, came out the same to the byte."""

    identical: bool
    differences: list[Difference] = Field(default=[], description="absent where identical")


class ReplayOf(Replay):
    """The replay of a named auction."""

    auction_id: str


class ClearedPool(Shown):
    """An offer in a slot of a call auction."""

    offer_id: str
    provider: str
    model: str
    lane: Lane
    slot_from: Time
    capacity: int = told("requests that it was taken to carry")
    placed: int = told("tasks that got a place in it")
    shadow_price_usd: Usd = told("what one more place would have added")


class Cleared(Shown):
    """How the tasks of a call auction were cleared."""

    how: Literal["optimal", "within_gap", "timed_out"]
    solver: str
    tasks: int = told("that took part")
    placed: int = told("that got a place at an offer of which more was wanted than it carries")
    welfare_usd: Usd = told("the surplus of all tasks together")
    gap_usd: Usd = told("how far the welfare may be below the optimum; 0 is proof of it")
    contended: list[str] = told("the offers of which more was wanted than they carry")
    slot_s: float
    pools: list[ClearedPool] = told("those of contended offers that have tasks or a price, in order of time")


class Auction(Shown):
    """The record, and every bid as replayed from it."""

    id: str
    task_id: str | None = told("null for a call auction: it is of many tasks")
    kind: Literal["spot", "call"]
    rule: str = told("how the winner's price is made")
    settlement: str
    opened_at: Time
    closed_at: Time
    book_version: Version
    book_digest: str
    constraints: DecidedUnder | None = told("null for a call auction")
    outcome: Outcome
    reason: str | None
    winner: str | None = told("an offer")
    clearing_price_usd: Usd | None
    deferral: Deferral | None
    thin: bool = told("whether the rule had no other bid and no limit to make the price of")
    explanation: str
    bids: list[Bid] = told("the eligible by rank, then the others by how far they came")
    cleared: Cleared | None = given("of a call auction")
    replay: Replay
    leaf_index: int | None = told("place in the log; null for a second or so")
    leaf_hash: str = told("SHA-256 of the record's line, hexadecimal")


class Why(Shown):
    """Why an offer did not win."""

    auction_id: str
    offer_id: str
    loss_reason: str | None = told("null for the winner")
    why: str = told("one sentence")
    bid: Bid
