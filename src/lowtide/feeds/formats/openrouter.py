"""`openrouter`: the models of GET /api/v1/models, priced in USD per token by strings."""

from collections.abc import Iterator
from typing import Any

from lowtide.feeds.formats.context import Context
from lowtide.feeds.formats.document import Document, entry_hash
from lowtide.feeds.formats.entries import Entry, NotForUs, entries_of, reading
from lowtide.feeds.formats.fields import Node, features, modalities
from lowtide.feeds.formats.shape import expect
from lowtide.feeds.formats.token_pricing import pricing_quotes
from lowtide.feeds.listing import DEFAULT_CONTEXT_WINDOW, Listing, Reading

NAME = "openrouter"
_LAST_DAYS = ("expiration_date", "deprecation_date")
_MARKS = ("architecture", "top_provider", "canonical_slug")
_PARAMETERS = {
    "tools": "tools",
    "response_format": "json_object",
    "structured_outputs": "json_schema",
    "logprobs": "logprobs",
    "seed": "seed",
    "stop": "stop",
}


def fits(document: Document) -> bool:
    """Whether entries have an id and OpenRouter's own fields."""
    return any(
        isinstance(entry, dict) and "id" in entry and any(mark in entry for mark in _MARKS)
        for entry in document.list_of_models or ()
    )


def take(document: Document, context: Context) -> Reading:
    """The listings of the document. Raises BadValue."""
    document.json()
    models = expect(
        document.list_of_models, NAME, 'an object with "data", a list of models that have id and pricing'
    )
    return reading(NAME, entries_of(models, document.list_pointer), lambda entry: _listings(entry, context))


def supported(parameters: tuple[str, ...]) -> tuple[str, ...]:
    """Features of OpenRouter's `supported_parameters`; it streams everything."""
    return ("streaming", *(_PARAMETERS[name] for name in parameters if name in _PARAMETERS))


def takes(architecture: Node | None, default: tuple[str, ...]) -> tuple[str, ...]:
    """What a model takes by its `architecture`. Raises NotForUs where no text comes out."""
    if architecture is None:
        return default
    output = architecture.words("output_modalities")
    if output and "text" not in output:
        raise NotForUs("no text output")
    return modalities(architecture.words("input_modalities"), default)


def end_of(node: Node, context: Context) -> int:
    """When quotes end (µs UTC): with the reading, or on the model's last day. Raises NotForUs once it is over."""
    last_days = [expires for field in _LAST_DAYS if (expires := node.instant_us(field)) is not None]
    if any(expires <= context.now_us for expires in last_days):
        raise NotForUs("deprecated")
    return min([*last_days, context.valid_until_us])


def _listings(entry: Entry, context: Context) -> Iterator[Listing]:
    node = Node.of(entry.value)
    upstream = node.name("id")
    lane = "batch" if upstream.endswith(":batch") else "standard"
    if not context.wants(upstream):
        raise NotForUs("not included")
    if not context.wants_lane(lane):
        raise NotForUs("other lane")
    model = context.names.market_name(upstream)
    taken = takes(node.node("architecture"), context.names.modalities(model))
    end_us, pricing = end_of(node, context), node.node("pricing")
    top: Any = node.node("top_provider") or Node({})
    window = node.tokens("context_length") or top.tokens("context_length") or DEFAULT_CONTEXT_WINDOW
    yield Listing(
        provider=context.provider,
        model=model,
        upstream_model=upstream,
        lane=lane,
        quotes=() if pricing is None else pricing_quotes(pricing, context, end_us),
        context_window=window,
        max_output_tokens=min(top.tokens("max_completion_tokens") or context.max_output_tokens, window),
        modalities=taken,
        features=features(context.features, supported(node.words("supported_parameters"))),
        raw=entry_hash(entry.value),
    )
