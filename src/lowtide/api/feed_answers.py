"""What the market answers about price feeds, as /docs shows it."""

from typing import Any, Literal

from lowtide.api.answers import Capacity, Prices, Shown, Time, Version, told
from lowtide.api.bodies import Lane


class RefusedEntry(Shown):
    """An entry of a price list that was not taken."""

    entry: str = told("as the list names it")
    pointer: str = told("RFC 6901 pointer into the list")
    code: str
    message: str


class FeedError(Shown):
    """A run that gave nothing."""

    at: Time
    code: str
    message: str


class FeedHealth(Shown):
    """What the runs of a feed gave. Counts are of the last good reading."""

    last_attempt: Time | None
    last_success: Time | None
    lag_s: int | None = told("seconds since the last good reading")
    failures: int = told("in a row")
    valid_until: Time | None = told(
        "when its quotes lapse, unless it is read again; null: they are renewed daily"
    )
    format: str | None = told("how the list was read")
    entries: int | None = told("in the list")
    models: int | None = told("different models taken")
    offers: int | None = told("taken from it")
    quotes_accepted: int | None = told("new or changed")
    quotes_unchanged: int | None
    quotes_held_back: int | None = told("suspicious: a jump of ten times, or a fall to zero")
    quotes_refused: int | None = told("entries refused; `refused` has the first 50")
    reference_only: int | None = told("offers whose prices come from another source")
    withdrawn: int | None = told("offers that the list has no longer")
    skipped: dict[str, int] = told("entries that are no business of the market's, by reason")
    held_back: list[str]
    refused: list[RefusedEntry]
    errors: list[FeedError] = told("the latest first, at most 10")


class Feed(Shown):
    """Where prices come from, and how that goes."""

    id: str
    provider_id: str
    kind: Literal["poll", "tariff", "catalog", "live"]
    state: Literal["ok", "failing", "silent", "closed"] = told(
        "`failing` while older quotes still count, `silent` once they have lapsed"
    )
    spec: dict[str, Any] = told("its settings; URLs without credentials")
    health: FeedHealth
    due_at: Time | None = told("when it runs next; null: not by itself")
    closed_at: Time | None
    created_at: Time


class UnderstoodQuote(Shown):
    """Prices that a list has over an interval."""

    prices: Prices
    valid_from: Time
    valid_until: Time | None
    capacity: Capacity | None = told("what is sold at this price; null: what the offer has")


class UnderstoodOffer(Shown):
    """An offer that a list describes."""

    model: str = told("what tasks ask for")
    upstream_model: str
    lane: Lane
    variant: str
    context_window: int
    max_output_tokens: int | None
    modalities: list[str]
    features: list[str]
    prices: Prices | None = told("in force now; null where the list has none")
    quotes: list[UnderstoodQuote] = told("the price in force and those that follow it, the first 10")
    quotes_count: int = told("all of these")


class ReadFeed(Feed):
    """A feed that was just read: what the market understood."""

    understood: list[UnderstoodOffer] = told("the first 100 offers")
    ignored: list[str] = told("fields of our own formats that nobody reads, at most 20: mistyped, perhaps")
    warnings: list[str] = told("what keeps offers of it from winning, such as a price that is not given")
    book_version: Version
    secret: str | None = told("of a live feed: signs its bid requests; told here only")
