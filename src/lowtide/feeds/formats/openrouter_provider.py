"""`openrouter_provider`: the document that OpenRouter polls from its providers (schema v2.4).

`pricing` is a list of rows of type, unit and `cost_usd`, some for hours of the UTC day, some with overrides by input
length; `capacity` says what is sold, `discount_to_user` what is taken off every price.
"""

from collections.abc import Iterator

from lowtide.feeds.formats.context import Context
from lowtide.feeds.formats.document import Document, entry_hash
from lowtide.feeds.formats.entries import Entry, NotForUs, entries_of, reading
from lowtide.feeds.formats.fields import Node, features, modalities
from lowtide.feeds.formats.openrouter import end_of
from lowtide.feeds.formats.provider_rows import row_quotes
from lowtide.feeds.formats.shape import expect
from lowtide.feeds.listing import DEFAULT_CONTEXT_WINDOW, Listing, Reading
from lowtide.market.offer import Capacity

NAME = "openrouter_provider"
_FEATURES = {
    "tools": "tools",
    "json_mode": "json_object",
    "structured_outputs": "json_schema",
    "logprobs": "logprobs",
}
_SAMPLING = {"seed": "seed", "stop": "stop", "logprobs": "logprobs"}
_MARKS = ("is_ready", "datacenters", "discount_to_user")
_MINUTES = {"minute": 1, "hour": 60, "day": 1440}


def fits(document: Document) -> bool:
    """Whether entries have prices as rows, or fields that this document alone has: then its prices must be rows."""
    return any(
        isinstance(entry, dict)
        and (isinstance(entry.get("pricing"), list) or any(mark in entry for mark in _MARKS))
        for entry in document.list_of_models or ()
    )


def take(document: Document, context: Context) -> Reading:
    """The listings of the document. Raises BadValue."""
    document.json()
    models = expect(
        document.list_of_models,
        NAME,
        'an object with "data", a list of models whose pricing is a list of rows',
    )
    return reading(NAME, entries_of(models, document.list_pointer), lambda entry: _listings(entry, context))


def _listings(entry: Entry, context: Context) -> Iterator[Listing]:
    node = Node.of(entry.value)
    upstream = node.name("id")
    if not context.wants(upstream):
        raise NotForUs("not included")
    if not context.wants_lane("standard"):
        raise NotForUs("other lane")
    if node.get("is_ready") is False:
        raise NotForUs("not ready")
    output = node.words("output_modalities")
    if output and "text" not in output:
        raise NotForUs("no text output")
    model = context.names.market_name(upstream)
    window = node.tokens("context_length") or DEFAULT_CONTEXT_WINDOW
    limit = node.tokens("max_output_length", "max_output_tokens") or context.max_output_tokens
    compliance = node.node("compliance") or Node({})
    yield Listing(
        provider=context.provider,
        model=model,
        upstream_model=upstream,
        lane="standard",
        quotes=row_quotes(node, context.now_us, end_of(node, context)),
        context_window=window,
        max_output_tokens=min(limit, window),
        modalities=modalities(node.words("input_modalities"), context.names.modalities(model)),
        features=features(context.features, _features(node)),
        regions=_regions(node),
        zero_retention=compliance.flag("zdr"),
        capacity=_capacity(node),
        raw=entry_hash(entry.value),
    )


def _features(node: Node) -> tuple[str, ...]:
    named = [_FEATURES[word] for word in node.words("supported_features") if word in _FEATURES]
    sampled = [_SAMPLING[word] for word in node.words("supported_sampling_parameters") if word in _SAMPLING]
    return ("streaming", *named, *sampled)


def _regions(node: Node) -> tuple[str, ...]:
    """Where its datacenters stand: texts, or objects with a country code."""
    found = []
    for place, path in node.items("datacenters"):
        word = place if isinstance(place, str) else Node.of(place, path).text("country_code")
        if word.strip():
            found.append(word.strip().lower())
    return tuple(dict.fromkeys(found))


def _capacity(node: Node) -> Capacity:
    """The least that any row of a kind allows.

    Rates per hour or day are rounded down to whole ones per minute, but what is sold at all is sold once a minute.
    """
    limits: dict[str, int] = {}
    for row in node.nodes("capacity"):
        per = row.text("per") or "minute"
        if "concurrency" in row.values:
            kind: str | None = "concurrency"
            value = row.count("concurrency")
        else:
            kind, value = _kind((row.text("type"), row.text("unit"))), row.count("value")
        if kind is None or value is None:
            continue
        if per not in _MINUTES:
            raise row.fault("unknown_value", "per must be minute, hour or day.", "per")
        amount = value if kind == "concurrency" else max(value // _MINUTES[per], min(value, 1))
        limits[kind] = min(amount, limits.get(kind, amount))
    return Capacity(
        limits.get("concurrency"), limits.get("requests_per_minute"), limits.get("tokens_per_minute")
    )


def _kind(words: tuple[str, ...]) -> str | None:
    for word in words:
        if word.startswith("concurren"):
            return "concurrency"
    for word in words:
        if word.startswith("request"):
            return "requests_per_minute"
        if word.startswith("token"):
            return "tokens_per_minute"
    return None
