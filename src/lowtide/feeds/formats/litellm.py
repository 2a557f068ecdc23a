"""`litellm`: LiteLLM's cost map, one object by model name, priced in USD per token by JSON numbers.

Of the map the entries of one `litellm_provider` are read that give text: standard prices, and those of the lanes whose
suffixes an entry has (`_batches`, `_flex`, `_priority`).
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from lowtide.feeds.formats.context import Context
from lowtide.feeds.formats.document import Document, entry_hash
from lowtide.feeds.formats.entries import Entry, NotForUs, pointer, reading
from lowtide.feeds.formats.fields import Node, features, modalities, shown
from lowtide.feeds.formats.litellm_prices import CostEntry
from lowtide.feeds.formats.openrouter import end_of
from lowtide.feeds.formats.shape import expect
from lowtide.feeds.listing import DEFAULT_CONTEXT_WINDOW, Listing, Reading
from lowtide.values.errors import BadValue

NAME = "litellm"
_SPECIMEN = "sample_spec"
_MODES = ("chat", "completion", "responses")
_TAKES = {
    "supports_vision": "image",
    "supports_audio_input": "audio",
    "supports_video_input": "video",
    "supports_pdf_input": "file",
}
_CAN = {
    "supports_function_calling": "tools",
    "supports_response_schema": "json_schema",
    "supports_native_streaming": "streaming",
}


def fits(document: Document) -> bool:
    """Whether it maps names to entries that name a `litellm_provider`."""
    return isinstance(document.value, dict) and any(
        isinstance(entry, dict) and "litellm_provider" in entry for entry in document.value.values()
    )


def take(document: Document, context: Context) -> Reading:
    """The listings of the map's entries of one provider. Raises BadValue."""
    document.json()
    entries = expect(
        document.value if fits(document) else None,
        NAME,
        "an object of models by name, each with litellm_provider, mode and prices",
    )
    wanted = context.select or context.provider
    _require(wanted, entries)
    return reading(
        NAME,
        (Entry(name, value, pointer(name)) for name, value in entries.items() if name != _SPECIMEN),
        lambda entry: _listings(entry, wanted, context),
    )


def _require(wanted: str, entries: Mapping[str, Any]) -> None:
    """Refuse a selection that would select nothing."""
    named = (value.get("litellm_provider") for value in entries.values() if isinstance(value, dict))
    names = sorted({name for name in named if isinstance(name, str) and len(name) <= 64})
    if any(fnmatchcase(name, wanted) for name in names):
        return
    near = get_close_matches(wanted, names, n=3, cutoff=0.5) or names[:5]
    raise BadValue(
        "empty_feed",
        f"The cost map has no entries of litellm_provider {shown(wanted)}. Name one that it has as `select`, such as "
        f"{', '.join(ascii(name) for name in near)}; '*' takes all of them.",
    )


def _listings(entry: Entry, wanted: str, context: Context) -> Iterator[Listing]:
    node = Node.of(entry.value)
    provider, mode = node.get("litellm_provider"), node.get("mode")
    if not isinstance(provider, str) or not fnmatchcase(provider, wanted):
        raise NotForUs("other provider")
    if mode not in _MODES:
        raise NotForUs(f"mode {mode[:24]}" if isinstance(mode, str) and mode.isascii() else "no mode")
    upstream = _upstream(entry.name, provider, wanted)
    if not context.wants(upstream, entry.name):
        raise NotForUs("not included")
    name = Node({"model": upstream}).name("model")
    end_us = end_of(node, context)
    costs = CostEntry.of(node, inclusive=provider == "xai")
    lanes = [lane for lane in costs.lanes if context.wants_lane(lane)]
    if not lanes:
        raise NotForUs("other lane")
    model = context.names.market_name(name)
    window = node.tokens("max_input_tokens", "max_tokens") or DEFAULT_CONTEXT_WINDOW
    limit = node.tokens("max_output_tokens", "max_tokens") or context.max_output_tokens
    raw = entry_hash(entry.value)
    for lane in lanes:
        yield Listing(
            provider=context.provider,
            model=model,
            upstream_model=name,
            lane=lane,
            quotes=costs.quotes(lane, context.now_us, end_us),
            context_window=window,
            max_output_tokens=min(limit, window),
            modalities=modalities(("text", *_flags(node, _TAKES)), ("text",)),
            features=features(context.features, _flags(node, _CAN)),
            raw=raw,
        )


def _upstream(key: str, provider: str, wanted: str) -> str:
    """What requests call a model: the map's key without the provider's prefix.

    A selection across providers keeps the prefix, as a LiteLLM proxy does; "vertex_ai-llama_models" and its like have
    that of the provider proper.
    """
    family = provider.partition("-")[0]
    if not wanted.startswith(family):
        return key
    prefix = provider if key.startswith(provider + "/") else family
    return key.removeprefix(prefix + "/")


def _flags(node: Node, names: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(ours for theirs, ours in names.items() if node.flag(theirs))
