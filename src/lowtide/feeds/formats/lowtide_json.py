"""`lowtide`: our own price feed in JSON, with forward prices, tariffs, capacity and claims.

    {"format": "lowtide/1", "currency": "USD", "models": [{
        "model": "llama-3.3-70b",             what tasks ask for; or upstream_model, from which it follows
        "upstream_model": "llama-3.3-70b",    what requests name; left out: model
        "lane": "standard", "variant": "",    what else makes an offer unique
        "context_window": 131072, "max_output_tokens": 8192,
        "modalities": ["text"], "features": ["tools", "streaming"], "regions": ["eu"], "zero_retention": true,
        "capacity": {"concurrency": 8, "requests_per_minute": 600, "tokens_per_minute": 1000000},
        "latency": {"p50_ms": 400, "p95_ms": 1500, "tokens_per_second": 60},
        "quality_claims": [{"domain": "code", "quality": "0.82", "sample_size": 200}],
        "prices": {"input_per_mtok": "0.25", "output_per_mtok": "1.25", "cached_input_per_mtok": "0.025",
                   "cache_write_per_mtok": "0.30", "per_request": "0.001",
                   "steps": [{"above_tokens": 200000, "input_per_mtok": "0.50"}]},
        "valid_from": "2026-11-24T06:00:00Z", "valid_until": "2026-11-24T18:00:00Z"
    }]}

Prices are USD per million tokens (and per request), decimal strings: JSON numbers are refused. In place of `prices` with
an interval stands either `curve`, a list of `{"prices": …, "valid_from": …, "valid_until": …, "capacity": …}` that do not
overlap, or beside them `tariff`, a clock schedule (zone, windows with start, end, days, and multiplier or prices) of
which `prices` are the base. No `valid_from` means now; no `valid_until` means as long as the feed is fresh. A missing
price is unknown, never free. Unknown fields are ignored, and the reading names them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from lowtide.feeds.formats.amounts import decimal_of, require_usd
from lowtide.feeds.formats.context import Context
from lowtide.feeds.formats.document import Document, entry_hash
from lowtide.feeds.formats.entries import Entry, Fault, entries_of, reading
from lowtide.feeds.formats.fields import Node, features, shown
from lowtide.feeds.formats.ignored_fields import DOCUMENT, ignored
from lowtide.feeds.formats.own_fields import clipped, lane_of, limits, prices_of, slot, variant_of, wanted
from lowtide.feeds.formats.shape import expect
from lowtide.feeds.listing import DEFAULT_CONTEXT_WINDOW, Listing, Reading
from lowtide.market.offer import FEATURES, MODALITIES, Capacity, Claim, LatencyClaim
from lowtide.market.quote import Prices, Quote
from lowtide.market.tariff import expand
from lowtide.market.tariff_table import tariff_from_table
from lowtide.values.errors import BadValue

NAME = "lowtide"
VERSION = "lowtide/1"
_MOST_SLOTS = 10_000


def fits(document: Document) -> bool:
    """Whether it calls itself ours."""
    name = document.value.get("format") if isinstance(document.value, dict) else None
    return isinstance(name, str) and name.startswith("lowtide/")


def take(document: Document, context: Context) -> Reading:
    """The listings of the document. Raises BadValue."""
    document.json()
    whole: Mapping[str, Any] = expect(
        document.value if fits(document) else None,
        NAME,
        f'an object with "format": "{VERSION}" and a list "models"',
    )
    if whole["format"] != VERSION:
        raise BadValue(
            "not_this_format", f"Version {shown(whole['format'])} is not known here. Send {VERSION}."
        )
    require_usd(Node(whole))
    models = whole.get("models")
    listed = expect(models if isinstance(models, list) else None, NAME, 'an object with a list "models"')
    found = reading(NAME, entries_of(listed, "/models", "model"), lambda entry: _listings(entry, context))
    return replace(found, ignored=ignored(whole, DOCUMENT))


def _listings(entry: Entry, context: Context) -> Iterator[Listing]:
    node = Node.of(entry.value)
    upstream = node.name("upstream_model" if node.get("upstream_model") else "model")
    lane, variant = lane_of(node), variant_of(node)
    model = node.name("model") if node.get("model") else upstream
    wanted((upstream, model), lane, context)
    name = context.names.market_name(model)
    window = node.tokens("context_window") or DEFAULT_CONTEXT_WINDOW
    latency = node.node("latency") or Node({})
    yield Listing(
        provider=context.provider,
        model=name,
        upstream_model=upstream,
        lane=lane,
        variant=variant,
        quotes=_quotes(node, context),
        context_window=window,
        max_output_tokens=min(node.tokens("max_output_tokens") or context.max_output_tokens, window),
        modalities=_chosen(node, "modalities", MODALITIES) or context.names.modalities(name),
        features=features(context.features, _chosen(node, "features", FEATURES)),
        regions=_regions(node),
        zero_retention=node.flag("zero_retention"),
        capacity=_capacity(node) or Capacity(),
        latency=LatencyClaim(*(latency.count(part) for part in ("p50_ms", "p95_ms", "tokens_per_second"))),
        claims=tuple(_claim(part) for part in node.nodes("quality_claims")),
        raw=entry_hash(entry.value),
    )


def _quotes(node: Node, context: Context) -> tuple[Quote, ...]:
    require_usd(node)
    prices, curve = node.node("prices"), node.nodes("curve")
    if "curve" in node.values and ("tariff" in node.values or prices is not None):
        raise node.fault(
            "conflicting_fields", "Send either a curve, or prices with or without a tariff.", "curve"
        )
    if len(curve) > _MOST_SLOTS:
        raise node.fault("too_many_slots", f"A curve may have {_MOST_SLOTS:,} slots. Shorten it.", "curve")
    if curve:
        return clipped([_slot(part, context) for part in curve], context, (*node.path, "curve"))
    if prices is None:
        if "tariff" in node.values:
            raise node.fault(
                "missing_field", "A tariff needs prices, of which it is a part. Send both.", "prices"
            )
        return ()
    base = prices_of(prices)
    whole = clipped([slot(base, node, context)], context, node.path)
    if node.get("tariff") is None:
        return whole
    return tuple(quote for part in whole for quote in _by_tariff(node, base, part))


def _slot(node: Node, context: Context) -> Quote:
    prices = node.node("prices")
    if prices is None:
        raise node.fault("missing_field", "A slot of a curve needs prices. Send them.", "prices")
    return slot(prices_of(prices), node, context, _capacity(node))


def _by_tariff(node: Node, base: Prices, whole: Quote) -> tuple[Quote, ...]:
    table = Node.of(node.get("tariff"), (*node.path, "tariff"))
    try:
        tariff = tariff_from_table(table.values)
        return expand(tariff, base, whole.valid_from, whole.valid_until or whole.valid_from, 0)
    except BadValue as fault:
        raise Fault(fault.code, fault.detail, table.path) from None


def _capacity(node: Node) -> Capacity | None:
    capacity = node.node("capacity")
    return None if capacity is None else limits(capacity)


def _claim(node: Node) -> Claim:
    domain = node.name("domain")
    quality = decimal_of(node.get("quality"), (*node.path, "quality"))
    if not 0 <= quality <= 1:
        raise node.fault(
            "out_of_range",
            "quality is a probability between 0 and 1. Send one such as 0.82.",
            "quality",
        )
    return Claim(domain, int((quality * 1_000_000).to_integral_value()), node.count("sample_size") or 0)


def _chosen(node: Node, name: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """The words of a list, in the market's order. Raises Fault (`unknown_value`) for one that the market lacks."""
    words = [word for word, _ in node.items(name)]
    for number, word in enumerate(words):
        if word not in known:
            raise node.fault(
                "unknown_value", f"{shown(word)} is not known. Use {', '.join(known)}.", name, number
            )
    return tuple(word for word in known if word in words)


def _regions(node: Node) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(
            Node({"region": word}, path).name("region").lower() for word, path in node.items("regions")
        )
    )
