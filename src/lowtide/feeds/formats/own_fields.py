"""Fields that our own JSON and its CSV table share: prices per million tokens as decimal strings, and intervals."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lowtide.feeds.formats.amounts import PER_MTOK, request_price, require_usd, unit_price
from lowtide.feeds.formats.context import Context
from lowtide.feeds.formats.entries import Fault, NotForUs, Path
from lowtide.feeds.formats.fields import Node, shown
from lowtide.market.offer import LANES, Capacity
from lowtide.market.quote import Prices, PriceStep, Quote, refuse_overlaps
from lowtide.values.errors import OverlappingQuotes

PRICE_FIELDS = {
    "input_per_mtok": "input",
    "output_per_mtok": "output",
    "cached_input_per_mtok": "cached_input",
    "cache_write_per_mtok": "cache_write",
}
WRONG_UNITS = ("per_token", "per_1k", "per_ktok", "per_1k_tokens", "per_thousand")
LONGEST_VARIANT = 64


def lane_of(node: Node) -> str:
    """The lane, standard where none is named. Raises Fault (`unknown_value`)."""
    lane = node.text("lane").strip() or "standard"
    if lane not in LANES:
        raise node.fault("unknown_value", f"{shown(lane)} is no lane. Use one of {', '.join(LANES)}.", "lane")
    return lane


def variant_of(node: Node) -> str:
    """The variant, '' where none is named. Raises Fault (`bad_name`)."""
    variant = node.text("variant").strip()
    if len(variant) > LONGEST_VARIANT or not variant.isprintable() or not variant.isascii():
        raise node.fault(
            "bad_name", f"variant must be at most {LONGEST_VARIANT} ASCII characters.", "variant"
        )
    return variant


def wanted(names: Sequence[str], lane: str, context: Context) -> None:
    """Raise NotForUs for a model, by its names, or a lane that the feed leaves out."""
    if not context.wants(*names):
        raise NotForUs("not included")
    if not context.wants_lane(lane):
        raise NotForUs("other lane")


def prices_of(node: Node) -> Prices:
    """Prices of an object: USD decimal strings. Raises Fault."""
    require_usd(node)
    _right_unit(node)
    steps = sorted((_step(part) for part in node.nodes("steps")), key=lambda step: step.above_tokens)
    if len({step.above_tokens for step in steps}) < len(steps):
        raise node.fault(
            "duplicate_entry", "Two steps have the same above_tokens. Merge them into one.", "steps"
        )
    amounts = _amounts(node)
    return Prices(
        **{"input": None, "output": None, **amounts},
        per_request=request_price(_string(node, "per_request"), (*node.path, "per_request")),
        steps=tuple(steps),
    )


def slot(prices: Prices, node: Node, context: Context, capacity: Capacity | None = None) -> Quote:
    """A quote over an object's `valid_from` and `valid_until`; no start means now, no end open. Raises Fault."""
    begin, end = node.instant_us("valid_from"), node.instant_us("valid_until")
    begin = context.now_us if begin is None else begin
    if end is not None and end <= begin:
        raise node.fault(
            "ends_before_it_begins",
            "valid_until must lie after valid_from (left out: now). Correct one of them.",
            "valid_until",
        )
    return Quote(prices, begin, end, 0, capacity=capacity)


def clipped(quotes: Sequence[Quote], context: Context, path: Path) -> tuple[Quote, ...]:
    """The quotes in order, within the reading's time. Raises Fault (`overlapping_quotes`)."""
    try:
        refuse_overlaps(quotes)
    except OverlappingQuotes as fault:
        raise Fault(fault.code, fault.detail, path) from None
    now, until = context.now_us, context.valid_until_us
    cut = (
        replace(
            quote,
            valid_from=max(quote.valid_from, now),
            valid_until=until if quote.valid_until is None else min(quote.valid_until, until),
        )
        for quote in sorted(quotes, key=lambda quote: quote.valid_from)
    )
    return tuple(quote for quote in cut if quote.valid_from < (quote.valid_until or 0))


def limits(node: Node) -> Capacity:
    """Capacity of an object; what is left out is unlimited. Raises Fault."""
    return Capacity(
        node.count("concurrency"), node.count("requests_per_minute"), node.count("tokens_per_minute")
    )


def _step(node: Node) -> PriceStep:
    _right_unit(node)
    above = node.count("above_tokens", least=1)
    if above is None:
        raise node.fault(
            "missing_field",
            "A step needs above_tokens, the input tokens beyond which it counts.",
            "above_tokens",
        )
    return PriceStep(above, **_amounts(node))


def _amounts(node: Node) -> dict[str, int | None]:
    return {
        ours: unit_price(_string(node, theirs), PER_MTOK, (*node.path, theirs))
        for theirs, ours in PRICE_FIELDS.items()
        if theirs in node.values
    }


def _string(node: Node, name: str) -> Any:
    """A decimal string; None where it is absent or empty."""
    value = node.get(name)
    if value is not None and not isinstance(value, str):
        raise node.fault(
            "not_a_decimal_string",
            f'{name} is the number {shown(value)}: many readers would round it. Send a string such as "0.25".',
            name,
        )
    return value or None


def _right_unit(node: Node) -> None:
    for name in node.values:
        if name.endswith(WRONG_UNITS):
            raise node.fault(
                "price_unit",
                f"{shown(name)} is in the wrong unit. Send input_per_mtok and output_per_mtok: USD per million tokens.",
                name,
            )
