"""Documents for the tests of the readers: contexts, and a list of OpenRouter's models made from the catalog's prices."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, TieredPrices

from lowtide.feeds.formats import Context, understand
from lowtide.feeds.listing import Reading
from lowtide.feeds.model_names import ModelNames
from lowtide.values.instants import DAY_US, instant, micros

NOW = micros(datetime(2026, 11, 25, 0, 30, tzinfo=UTC))
"""A Wednesday, half past midnight."""
_KEYS = {
    "prompt": "input_mtok",
    "completion": "output_mtok",
    "input_cache_read": "cache_read_mtok",
    "input_cache_write": "cache_write_mtok",
}


def context(**changes: Any) -> Context:
    """What a reader is told: two days from now, provider "acme"."""
    told = {"provider": "acme", "now_us": NOW, "valid_until_us": NOW + 2 * DAY_US, "names": ModelNames()}
    return Context(**{**told, **changes})


def read(document: Any, format: str | None = None, **changes: Any) -> Reading:
    """What is understood of a value (as JSON), of a text or of bytes."""
    if not isinstance(document, str | bytes):
        document = json.dumps(document)
    data = document.encode() if isinstance(document, str) else document
    return understand(data, format, context(**changes))


def hours(reading: Reading) -> list[tuple[str, int | None]]:
    """Begin (day and hour, UTC) and output price of the first listing's quotes."""
    return [(f"{instant(q.valid_from):%d %H:%M}", q.prices.output) for q in reading.listings[0].quotes]


def openrouter_models(count: int) -> dict[str, Any]:
    """A document of GET /api/v1/models with the catalog's first `count` models at OpenRouter."""
    provider = next(one for one in get_snapshot().providers if one.id == "openrouter")
    priced = [model for model in provider.models if not isinstance(model.prices, list)]
    return {"data": [_openrouter_model(model) for model in priced[:count]]}


def _openrouter_model(model: ModelInfo) -> dict[str, Any]:
    pricing: dict[str, Any] = {"request": "0", "image": "0", "web_search": "0", "internal_reasoning": "0"}
    tiers: dict[int, dict[str, str]] = {}
    for theirs, ours in _KEYS.items():
        value = getattr(model.prices, ours)
        if isinstance(value, TieredPrices):
            for tier in value.tiers:
                tiers.setdefault(tier.start, {})[theirs] = _per_token(tier.price)
            value = value.base
        if value is not None:
            pricing[theirs] = _per_token(value)
    if tiers:
        pricing["overrides"] = [{"min_prompt_tokens": above, **tiers[above]} for above in sorted(tiers)]
    return {
        "id": model.id,
        "canonical_slug": model.id,
        "name": model.name or model.id,
        "created": 1_700_000_000,
        "context_length": model.context_window or 131_072,
        "architecture": {
            "modality": "text+image->text",
            "input_modalities": ["text", "image"],
            "output_modalities": ["text"],
            "tokenizer": "Other",
        },
        "pricing": pricing,
        "top_provider": {"context_length": 131_072, "max_completion_tokens": None, "is_moderated": False},
        "per_request_limits": None,
        "supported_parameters": ["max_tokens", "temperature", "tools", "response_format", "seed"],
    }


def _per_token(per_mtok: Decimal) -> str:
    return format(per_mtok.scaleb(-6).normalize(), "f")
