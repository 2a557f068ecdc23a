"""`openrouter_endpoints`: who serves one model at OpenRouter, from GET /api/v1/models/{author}/{slug}/endpoints.

Each endpoint is a listing; its `variant` is the tag by which a request names the provider.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from lowtide.feeds.formats.context import Context
from lowtide.feeds.formats.document import Document, entry_hash
from lowtide.feeds.formats.entries import Entry, NotForUs, entries_of, reading
from lowtide.feeds.formats.fields import Node, features
from lowtide.feeds.formats.openrouter import end_of, supported, takes
from lowtide.feeds.formats.shape import expect
from lowtide.feeds.formats.token_pricing import pricing_quotes
from lowtide.feeds.listing import DEFAULT_CONTEXT_WINDOW, Listing, Reading
from lowtide.market.offer import LatencyClaim
from lowtide.values.errors import BadValue

NAME = "openrouter_endpoints"
_LANES = ("flex", "batch", "priority")
_SECONDS_BELOW = 100
_LONGEST_VARIANT = 64


def fits(document: Document) -> bool:
    """Whether it is one model with a list of endpoints."""
    return _model(document) is not None


def take(document: Document, context: Context) -> Reading:
    """The listings of the document. Raises BadValue."""
    document.json()
    model = Node(
        expect(_model(document), NAME, 'an object whose "data" is one model with a list "endpoints"'),
        ("data",),
    )
    try:
        taken = takes(model.node("architecture"), ())
    except NotForUs:
        raise BadValue("empty_feed", "The model gives no text, so no endpoint of it is traded.") from None
    return reading(
        NAME,
        entries_of(model.values["endpoints"], "/data/endpoints", "tag"),
        lambda entry: _listings(entry, model, taken, context),
    )


def _model(document: Document) -> Mapping[str, Any] | None:
    value = document.value.get("data") if isinstance(document.value, dict) else None
    return value if isinstance(value, dict) and isinstance(value.get("endpoints"), list) else None


def _listings(entry: Entry, model: Node, taken: tuple[str, ...], context: Context) -> Iterator[Listing]:
    node = Node.of(entry.value)
    upstream = node.name("model_id") if node.get("model_id") else model.name("id")
    variant = _variant(node)
    lane = next((lane for lane in _LANES if variant.endswith("/" + lane)), "standard")
    if not context.wants(upstream):
        raise NotForUs("not included")
    if not context.wants_lane(lane):
        raise NotForUs("other lane")
    status = node.get("status")
    if isinstance(status, int) and status < 0:
        raise NotForUs("down")
    name, end_us = context.names.market_name(upstream), end_of(node, context)
    pricing = node.node("pricing")
    window = node.tokens("context_length") or DEFAULT_CONTEXT_WINDOW
    yield Listing(
        provider=context.provider,
        model=name,
        upstream_model=upstream,
        lane=lane,
        variant=variant,
        # A lane's endpoint has its own price: OpenRouter has put the tier's multiplier in already.
        quotes=() if pricing is None else pricing_quotes(pricing, context, end_us),
        context_window=window,
        max_output_tokens=min(node.tokens("max_completion_tokens") or context.max_output_tokens, window),
        modalities=taken or context.names.modalities(name),
        features=features(context.features, supported(node.words("supported_parameters"))),
        latency=_latency(node),
        raw=entry_hash(entry.value),
    )


def _variant(node: Node) -> str:
    """The tag; the provider's name made one where there is none."""
    name = "tag" if node.get("tag") else "provider_name"
    variant = node.text(name) if name == "tag" else "-".join(node.text(name).lower().split())
    if not 0 < len(variant) <= _LONGEST_VARIANT or not variant.isascii() or not variant.isprintable():
        raise node.fault(
            "bad_name",
            f"{name} must have 1 to {_LONGEST_VARIANT} ASCII characters, to name the endpoint.",
            name,
        )
    return variant


def _latency(node: Node) -> LatencyClaim:
    """The endpoint's last half hour as a claim; its p90 stands in for p95, which is not told."""
    latency, speed = node.node("latency_last_30m"), node.node("throughput_last_30m")
    p50, p90, p99 = (_measured(latency, name) for name in ("p50", "p90", "p99"))
    # The description says milliseconds, its example (0.25) is in seconds. No first token comes within 100 ms at every
    # percentile, nor after 100 s: the largest value tells which of the two it is.
    known = [value for value in (p50, p90, p99) if value is not None]
    factor = 1_000 if known and max(known) < _SECONDS_BELOW else 1
    tokens = _measured(speed, "p50")
    return LatencyClaim(
        p50_ms=None if p50 is None else round(p50 * factor),
        p95_ms=None if p90 is None else round(p90 * factor),
        tokens_per_second=round(tokens) if tokens is not None and tokens >= 1 else None,
    )


def _measured(node: Node | None, name: str) -> float | None:
    """A measurement above 0 and within reason, None where there is none: it is a claim, no reason to refuse a price."""
    value = None if node is None else node.get(name)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    return float(value) if 0 < value < 10**9 else None
