"""What the market answers about tasks, as /docs shows it; like `answers`, models that only describe."""

from typing import Any, Literal

from lowtide.api.answers import Ratio, Shown, Time, Usd, Version, given, told
from lowtide.api.bodies import Lane, Modality

State = Literal[
    "queued", "held", "assigned", "running", "succeeded", "failed", "unfilled", "expired", "cancelled"
]
Outcome = Literal["awarded", "held", "queued", "unfilled"]


class TaskConstraints(Shown):
    """The limits as posted; what was left out does not constrain, and is left out here too."""

    min_quality: Ratio | None = given("least probability that the answer is accepted")
    confidence: Ratio | None = given("how sure the market has to be of min_quality")
    max_latency_ms: int | None = given("ms for the whole answer")
    max_cost_usd: Usd | None = given("most that the worst case may cost")
    complete_by: Time | None = given("deadline, complete_within_s counted in")
    domain: str | None = given("field of work in which quality counts")
    modalities: list[Modality] | None = given("what the model must take")
    models: list[str] | None = given("models that may serve")
    providers: list[str] | None = given("providers that may serve")
    exclude_providers: list[str] | None = given("providers that may not serve")
    regions: list[str] | None = given("regions that it may be served from")
    zero_retention: bool | None = given("only providers that keep nothing")


class TaskObjective(Shown):
    """What the requester gains, as posted."""

    value_usd: Usd | None = given("worth of an accepted answer")
    per_second_usd: Usd | None = given("cost of a second of waiting for the answer")
    fallback: str | None = given("offer that would be called without the market")


class Hold(Shown):
    """Why and how long a task waits for a price."""

    policy: str = told("which rule decided to wait")
    release_at: Time = told("when it is decided again")
    latest_start: Time = told("latest start that still meets the deadline")
    slot_from: Time = told("when the awaited price begins")
    offer_id: str = told("whose price is awaited")
    reservation_price_usd: Usd = told("a bid of now's winner at or under this ends the wait")
    price_now_usd: Usd | None = told("best bid when it was held; null: nobody could serve it")
    expected_price_usd: Usd = told("what it is to cost at release")
    reason: str = told("all of this in a sentence")
    since: Time
    released_at: Time | None = told("null while it waits")


class Award(Shown):
    """Who won, and at what price."""

    offer_id: str
    provider: str
    model: str
    lane: Lane
    bid_usd: Usd = told("expected cost at the winner's prices")
    price_usd: Usd = told("what the rule makes of it; under `posted` the bid")
    rule: str
    rescue_at: Time | None = given(
        "of a batch: when the task is done on another lane, if it is not back by then"
    )


class Nearest(Shown):
    """The bid that came nearest, where none could win."""

    offer_id: str
    provider: str
    model: str
    lane: Lane
    reason: str = told("the code on which it lost")
    bid_usd: Usd | None = told("null where it has no known price")


class AttemptShown(Shown):
    """One call of a provider."""

    id: str
    number: int = told("counted from 1")
    auction_id: str
    offer_id: str
    provider: str
    state: Literal["started", "answered", "failed", "cancelled", "unknown"]
    outcome: str | None = told("how it ended, such as `answered`, `rate_limited`, `timeout`")
    detail: str | None = told("the provider's words or ours on a failure")
    cost_usd: Usd | None
    started_at: Time
    ended_at: Time | None
    possibly_billed_twice: bool = told("whether the provider may bill it though nobody saw its answer")


class TaskUsage(Shown):
    """Tokens; what the provider did not report is counted by the market, or 0."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int


class Result(Shown):
    """The answer."""

    output: dict[str, Any] = told("the assistant's message in the OpenAI chat shape")
    usage: TaskUsage
    finish_reason: str | None
    latency_ms: int = told("from the call to its last byte")
    model: str | None = told("the model that the provider says answered")
    quality: None = told("not measured by this version")


class ReceiptAttempt(Shown):
    """What one attempt cost."""

    offer_id: str
    provider: str
    outcome: str | None
    cost_usd: Usd | None
    possibly_billed_twice: bool


class Receipt(Shown):
    """The account of a finished task, at its actual usage."""

    status: Literal["captured", "voided"]
    authorized_usd: Usd = told("what was set aside")
    paid_usd: Usd
    list_usd: Usd | None = told("the usage at the standard lane's list price of the model that served")
    immediate_usd: Usd | None = told("the usage at the unit prices of the winner at arrival")
    saved_usd: Usd | None = told("immediate less paid; negative where waiting cost more")
    deadline_met: bool | None = told("null without a deadline")
    held_s: float = told("seconds it waited for a price")
    attempts: list[ReceiptAttempt]


class Task(Shown):
    """One piece of work, from its auction to its receipt."""

    id: str
    state: State
    reason: str | None = told("the code that decided, where it has no good end or none yet")
    task_type: str
    job: str | None = told("the job of many calls that it is one of; null where it is none's")
    constraints: TaskConstraints
    objective: TaskObjective
    strategy: str
    labels: dict[str, str]
    created_at: Time
    finished_at: Time | None
    retry_at: Time | None = told("when a queued task calls again an offer that failed it; null for any other")
    auction_id: str | None = told("the last auction that decided on it")
    hold: Hold | None = told("null where it never waited")
    award: Award | None = told("null until somebody won")
    nearest: Nearest | None = told("null unless no bid could win")
    attempts: list[AttemptShown] = told("calls of providers; empty in lists")
    result: Result | None = told("null until it succeeded, and in lists")
    receipt: Receipt | None = told("null until it is final")


class EstimatedNow(Shown):
    """Who would serve it at once."""

    offer_id: str
    provider: str
    model: str
    lane: Lane
    expected_usd: Usd
    worst_usd: Usd = told("if the answer is as long as it may be")


class EstimatedHeld(Shown):
    """Who would serve it if it waits."""

    offer_id: str
    provider: str
    model: str
    lane: Lane
    expected_usd: Usd
    release_at: Time
    latest_start: Time
    saves_usd: Usd | None = told("against now; null where nobody can serve it now")


class Estimate(Shown):
    """What a task would cost; nothing was placed."""

    as_of: Time
    book_version: Version
    outcome: Outcome
    now: EstimatedNow | None = told("null where nobody can serve it now")
    held: EstimatedHeld | None = told("null where waiting gains nothing, or there is no deadline")
    explanation: str
