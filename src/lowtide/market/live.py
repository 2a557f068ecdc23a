"""Live bids: what bidders answered for one task, as the auction takes it (MARKET.md section 11)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lowtide.market.book import GENERAL, Book, Row, quality_in
from lowtide.market.book_lines import prices_from_values, prices_values
from lowtide.market.eligibility import LossReason
from lowtide.market.offer import Conditions
from lowtide.market.quote import Prices, Quote
from lowtide.market.usage import flat_prices


@dataclass(frozen=True, slots=True)
class LiveBid:
    """What came back for one row. `code` is 0 for a bid, else the reason (30–34) for which there is none.

    `received_at` (µs) is our receipt instant, None where nothing came in time. What a bid leaves out stays as quoted and
    as observed. `quality_ppm` is claimed for the task's domain, latencies (ms) to the first token. `valid_until` in µs;
    None: for this task. `said` is the bidder's own word on why it does not bid.
    """

    row: int
    code: int
    received_at: int | None = None
    prices: Prices | None = None
    quality_ppm: int | None = None
    p50_ms: int | None = None
    p95_ms: int | None = None
    valid_until: int | None = None
    said: str | None = None


def with_bids(
    domain: str, book: Book, live: Sequence[LiveBid], closes_at: int | None, as_of: int
) -> tuple[Book, dict[int, LossReason]]:
    """The book as the bids have it at an instant, and by row why there is no bid that counts.

    Only rows whose standing quote is in force and priced can bid. The version's lines and digest stay those of the
    book itself: a record names that one.
    """
    changes: dict[int, Row] = {}
    failed: dict[int, LossReason] = {}
    unready = book.prices_at(as_of).unready
    for bid in live:
        standing = book.quote_at(bid.row, as_of)
        reason = _reason(bid, standing, closes_at, as_of)
        if reason is not None:
            failed[bid.row] = reason
        elif not unready[bid.row] and standing is not None and bid.prices is not None:
            row = book.rows[bid.row]
            quote = Quote(bid.prices, as_of, bid.valid_until, standing.sequence, capacity=standing.capacity)
            changes[bid.row] = Row(row.offer, (quote,), _worsened(row.conditions, domain, bid))
    return book.with_rows(book.version, changes, {}) if changes else book, failed


def _reason(bid: LiveBid, standing: Quote | None, closes_at: int | None, as_of: int) -> LossReason | None:
    if bid.code == LossReason.BID_TIMEOUT or _late(bid, closes_at):
        return LossReason.BID_TIMEOUT
    if bid.code:
        return LossReason(bid.code)
    if bid.prices is None or not bid.prices.known:
        return LossReason.BID_INVALID
    if bid.valid_until is not None and bid.valid_until <= as_of:
        return LossReason.BID_INVALID
    if standing is not None and standing.prices.known and above(bid.prices, standing.prices):
        return LossReason.BID_ABOVE_QUOTE
    return None


def _late(bid: LiveBid, closes_at: int | None) -> bool:
    return bid.received_at is not None and closes_at is not None and bid.received_at > closes_at


def above(bid: Prices, standing: Prices) -> bool:
    """Whether a bid asks more than the standing quote for any kind of token or the request, at any length of input."""
    lengths = {0, *(step.above_tokens + 1 for step in (*bid.steps, *standing.steps))}
    for tokens in lengths:
        asked, quoted = flat_prices(bid, tokens), flat_prices(standing, tokens)
        if (
            asked.input > quoted.input
            or asked.output > quoted.output
            or asked.cached_input > quoted.cached_input
            or asked.cache_write > quoted.cache_write
        ):
            return True
    return bid.per_request > standing.per_request


def _worsened(conditions: Conditions, domain: str, bid: LiveBid) -> Conditions:
    """The conditions with a bid's claims, which may make them worse and never better: only evidence does that."""
    p50 = max(conditions.first_token_p50_ms, bid.p50_ms or 0)
    p95 = max(conditions.first_token_p95_ms, bid.p95_ms or 0)
    slower = p95 - conditions.first_token_p95_ms
    p99 = conditions.completion_p99_ms
    quality = conditions.quality
    mean, weight = quality_in(conditions, domain)
    if bid.quality_ppm is not None and bid.quality_ppm < mean:
        # Under the name that the domain is looked up by here: no new domain, whose columns would have to be made.
        name = domain if any(known == domain for known, _, _ in quality) else GENERAL
        others = tuple(entry for entry in quality if entry[0] != name)
        quality = (*others, (name, bid.quality_ppm, weight))
    return replace(
        conditions,
        first_token_p50_ms=p50,
        first_token_p95_ms=p95,
        completion_p99_ms=p99 + slower if p99 else 0,
        quality=quality,
    )


def live_values(bid: LiveBid) -> dict[str, Any]:
    """The JSON form of a live bid in records: integers and strings, what is not there left out."""
    values = {
        "row": bid.row,
        "code": bid.code,
        "at": bid.received_at,
        "prices": None if bid.prices is None else prices_values(bid.prices),
        "quality": bid.quality_ppm,
        "p50": bid.p50_ms,
        "p95": bid.p95_ms,
        "until": bid.valid_until,
        "said": bid.said,
    }
    return {name: value for name, value in values.items() if value is not None}


def live_from_values(values: dict[str, Any]) -> LiveBid:
    """The live bid of its JSON form."""
    prices = values.get("prices")
    return LiveBid(
        values["row"],
        values["code"],
        values.get("at"),
        None if prices is None else prices_from_values(prices),
        values.get("quality"),
        values.get("p50"),
        values.get("p95"),
        values.get("until"),
        values.get("said"),
    )
