"""What a bidder is asked, and how its answer is read. Docs of the wire: `examples/bidder.py` speaks it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import orjson

from lowtide.feeds.formats.amounts import decimal_of
from lowtide.feeds.formats.entries import Fault
from lowtide.feeds.formats.fields import Node
from lowtide.feeds.formats.own_fields import PRICE_FIELDS, prices_of
from lowtide.market.bid import at_row
from lowtide.market.book import Book
from lowtide.market.eligibility import LossReason
from lowtide.market.live import LiveBid
from lowtide.market.quote import Prices, PriceStep
from lowtide.market.spot import Spot
from lowtide.market.task import Task
from lowtide.values.instants import rfc3339
from lowtide.values.money import usd

MOST_LATENCY_MS = 3_600_000
MOST_STEPS = 16
MOST_INSTANT = 2**53 - 1
"""µs; records hold no larger integer."""
_SAID = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Invited:
    """A row that may bid, the offer's id, and the standing prices that its bid may not exceed."""

    row: int
    offer_id: str
    standing: Prices


class BadAnswer(Exception):
    """An answer of which nothing can be taken; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def invited(book: Book, rows: Sequence[int], as_of: int) -> list[Invited]:
    """The rows with their standing quotes; those without a price are left out."""
    found = []
    for row in rows:
        quote = book.quote_at(row, as_of)
        if quote is not None and quote.prices.known:
            found.append(Invited(row, book.rows[row].offer.id, quote.prices))
    return found


def bid_request(
    auction_id: str,
    timeout_ms: int,
    task: Task,
    spot: Spot,
    guests: Sequence[Invited],
    shared: Mapping[str, Any] | None,
) -> bytes:
    """The request to one bidder: what the task needs, and the offers that may bid with their standing quotes.

    No budget, no value, no rival; the input only where its requester shares it.
    """
    limits = task.constraints
    features: dict[str, Any] = {
        "task_type": task.type,
        "domain": task.domain,
        "modalities": task.needs.modalities,
        "features": task.needs.features,
        "max_output_tokens": task.max_output,
        "n": task.n,
        "min_quality": None if limits.min_quality_ppm is None else limits.min_quality_ppm / 1e6,
        "max_latency_ms": limits.max_latency_ms,
        "complete_by": None if limits.complete_by is None else rfc3339(limits.complete_by),
        "regions": limits.regions,
        "zero_retention": limits.zero_retention,
    }
    message: dict[str, Any] = {
        "type": "bid.request",
        "auction_id": auction_id,
        "timeout_ms": timeout_ms,
        "task": features,
        "offers": [_offer(spot, guest) for guest in guests],
    }
    if shared is not None:
        message["input"] = shared
    return orjson.dumps(message)


def _offer(spot: Spot, guest: Invited) -> dict[str, Any]:
    offer, bids = spot.book.rows[guest.row].offer, spot.bids
    return {
        "offer_id": offer.id,
        "model": offer.model,
        "upstream_model": offer.upstream_model,
        "lane": offer.lane,
        "input_tokens": at_row(bids.input_tokens, guest.row),
        "expected_output_tokens": at_row(bids.expected_output, guest.row),
        "max_output_tokens": at_row(bids.output_limit, guest.row),
        "prices": _shown(guest.standing),
    }


def _shown(prices: Prices) -> dict[str, Any]:
    """Prices as quotes are pushed, what is unknown left out: a bidder can send them back scaled."""
    shown: dict[str, Any] = _amounts(prices)
    if prices.per_request:
        shown["per_request"] = usd(prices.per_request)
    if prices.steps:
        shown["steps"] = [{"above_tokens": step.above_tokens, **_amounts(step)} for step in prices.steps]
    return shown


def _amounts(prices: Prices | PriceStep) -> dict[str, str]:
    found = {theirs: getattr(prices, ours) for theirs, ours in PRICE_FIELDS.items()}
    return {name: usd(amount) for name, amount in found.items() if amount is not None}


def answered(body: bytes, guests: Sequence[Invited], received_at: int) -> tuple[list[LiveBid], int | None]:
    """What a bidder answers for each row that it was asked for, and the ms it says it took. Raises BadAnswer.

    `{"no_bid": "its_reason"}`, or `{"bids": [{"offer_id", "prices", "quality", "latency_ms": {"p50", "p95"},
    "valid_until"}]}`, where all but the offer may be left out: prices then stay as quoted. A bid that cannot be taken is
    invalid alone; an offer that is not bid for has no bid.
    """
    try:
        whole = Node.of(json.loads(body, parse_float=Decimal, parse_constant=_no_number))
        took_ms = whole.count("took_ms")
        if (said := whole.get("no_bid")) is not None:
            return [_no_bid(guest, received_at, _said(whole, said)) for guest in guests], took_ms
        if not isinstance(whole.get("bids"), list):
            raise BadAnswer("no_bids")
        entries = whole.nodes("bids")
    except Fault as fault:
        raise BadAnswer(fault.code) from None
    except (ValueError, ArithmeticError, RecursionError):
        raise BadAnswer("not_json") from None
    by_offer: dict[str, list[Node]] = {}
    for entry in entries:
        by_offer.setdefault(str(entry.get("offer_id")), []).append(entry)
    if by_offer.keys() - {guest.offer_id for guest in guests}:
        raise BadAnswer("unknown_offer")
    return [_of_guest(guest, by_offer.get(guest.offer_id, []), received_at) for guest in guests], took_ms


def _until(node: Node, received_at: int) -> int | None:
    until = node.instant_us("valid_until")
    if until is not None and not 0 <= until <= MOST_INSTANT:
        raise node.fault("bad_time", "valid_until lies outside the years 1970 to 2255.", "valid_until")
    if until is not None and until <= received_at:
        raise node.fault("bid_expired", "valid_until is over already.", "valid_until")
    return until


def _no_number(text: str) -> Any:
    raise ValueError(text)


def _of_guest(guest: Invited, entries: list[Node], received_at: int) -> LiveBid:
    if not entries:
        return _no_bid(guest, received_at, None)
    if len(entries) > 1:
        return _invalid(guest, received_at, "duplicate_entry")
    entry = entries[0]
    try:
        if (said := entry.get("no_bid")) is not None:
            return _no_bid(guest, received_at, _said(entry, said))
        latency = entry.node("latency_ms") or Node({})
        return LiveBid(
            guest.row,
            0,
            received_at,
            _prices(entry.node("prices"), guest.standing),
            _quality(entry),
            _millis(latency, "p50"),
            _millis(latency, "p95"),
            _until(entry, received_at),
        )
    except Fault as fault:
        return _invalid(guest, received_at, fault.code)


def _no_bid(guest: Invited, received_at: int, said: str | None) -> LiveBid:
    return LiveBid(guest.row, LossReason.NO_BID, received_at, said=said)


def _invalid(guest: Invited, received_at: int, why: str) -> LiveBid:
    return LiveBid(guest.row, LossReason.BID_INVALID, received_at, said=why)


def _said(node: Node, said: Any) -> str:
    if not isinstance(said, str) or not _SAID.fullmatch(said):
        raise node.fault("bad_no_bid", "no_bid is a word of a-z, 0-9 and _.", "no_bid")
    return said


def _prices(node: Node | None, standing: Prices) -> Prices:
    """The prices bid; what is left out stays as the standing quote has it."""
    if node is None:
        return standing
    if len(node.items("steps")) > MOST_STEPS:
        raise node.fault("too_many_steps", f"A bid may have {MOST_STEPS} steps.", "steps")
    bid = prices_of(node)
    kept = {
        ours: getattr(standing, ours) for theirs, ours in PRICE_FIELDS.items() if node.get(theirs) is None
    }
    if node.get("per_request") is None:
        kept["per_request"] = standing.per_request
    if "steps" not in node.values:
        kept["steps"] = standing.steps
    return replace(bid, **kept)


def _quality(node: Node) -> int | None:
    if node.get("quality") is None:
        return None
    quality = decimal_of(node.get("quality"), (*node.path, "quality"))
    if not 0 <= quality <= 1:
        raise node.fault("out_of_range", "quality is a probability between 0 and 1.", "quality")
    return int(quality * 1_000_000)


def _millis(node: Node, name: str) -> int | None:
    value = node.count(name)
    if value is not None and value > MOST_LATENCY_MS:
        raise node.fault("out_of_range", f"{name} is at most {MOST_LATENCY_MS} ms.", name)
    return value
