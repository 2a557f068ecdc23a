"""`openai_models`: a list of models as OpenAI-compatible servers have it, with whatever prices it carries.

`{"data": [{"id": …}]}` or a bare list. Prices are OpenRouter's (strings, USD per token: `prompt`, `completion`) or
Together's (numbers, USD per million tokens: `input`, `output`); else those that the feed is told; else none.
"""

from collections.abc import Iterator

from lowtide.feeds.formats.amounts import PER_MTOK, require_usd, unit_price
from lowtide.feeds.formats.context import Context
from lowtide.feeds.formats.document import Document, entry_hash
from lowtide.feeds.formats.entries import Entry, NotForUs, entries_of, reading
from lowtide.feeds.formats.fields import Node, features, modalities
from lowtide.feeds.formats.openrouter import end_of
from lowtide.feeds.formats.shape import expect
from lowtide.feeds.formats.token_pricing import pricing_quotes
from lowtide.feeds.listing import DEFAULT_CONTEXT_WINDOW, Listing, Reading
from lowtide.market.quote import Prices, Quote

NAME = "openai_models"
_NO_TEXT = ("image", "audio", "video", "embedding", "moderation", "rerank", "transcribe", "tts")


def fits(document: Document) -> bool:
    """Whether it is a list of objects with an id."""
    models = document.list_of_models
    return bool(models) and any(isinstance(entry, dict) and "id" in entry for entry in models or ())


def take(document: Document, context: Context) -> Reading:
    """The listings of the document. Raises BadValue."""
    document.json()
    models = expect(document.list_of_models, NAME, 'a list of models with an id, bare or under "data"')
    return reading(NAME, entries_of(models, document.list_pointer), lambda entry: _listings(entry, context))


def _listings(entry: Entry, context: Context) -> Iterator[Listing]:
    node = Node.of(entry.value)
    upstream = node.name("id")
    if not context.wants(upstream):
        raise NotForUs("not included")
    if not context.wants_lane("standard"):
        raise NotForUs("other lane")
    if node.get("type") in _NO_TEXT:
        raise NotForUs("no text output")
    model = context.names.market_name(upstream)
    window = node.tokens("context_length", "max_model_len", "context_window") or DEFAULT_CONTEXT_WINDOW
    limit = node.tokens("max_completion_tokens", "max_output_tokens") or context.max_output_tokens
    yield Listing(
        provider=context.provider,
        model=model,
        upstream_model=upstream,
        lane="standard",
        quotes=_quotes(node, context, end_of(node, context)),
        context_window=window,
        max_output_tokens=min(limit, window),
        modalities=modalities(node.words("input_modalities"), context.names.modalities(model)),
        features=features(context.features),
        raw=entry_hash(entry.value),
    )


def _quotes(node: Node, context: Context, end_us: int) -> tuple[Quote, ...]:
    pricing = node.node("pricing")
    if pricing is not None and ("prompt" in pricing.values or "completion" in pricing.values):
        return pricing_quotes(pricing, context, end_us)
    prices = context.prices
    if pricing is not None and ("input" in pricing.values or "output" in pricing.values):
        require_usd(pricing)
        prices = Prices(
            _per_mtok(pricing, "input"), _per_mtok(pricing, "output"), _per_mtok(pricing, "cached_input")
        )
    if prices is None or end_us <= context.now_us:
        return ()
    return (Quote(prices, context.now_us, end_us, 0),)


def _per_mtok(pricing: Node, name: str) -> int | None:
    return unit_price(pricing.get(name), PER_MTOK, (*pricing.path, name))
