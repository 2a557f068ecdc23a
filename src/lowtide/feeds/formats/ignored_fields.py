"""Fields of our own JSON and CSV that nobody reads, so that a mistyped name is seen: they are ignored, and told."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lowtide.feeds.formats.own_fields import PRICE_FIELDS

MOST_IGNORED = 20
_LONGEST = 64
Known = Mapping[str, Mapping[str, Any] | None]
"""Fields by name: None for whatever stands there, else the fields of the object, or of the objects of the list."""

_CAPACITY: Known = dict.fromkeys(("concurrency", "requests_per_minute", "tokens_per_minute"))
_STEP: Known = dict.fromkeys(("above_tokens", *PRICE_FIELDS))
_PRICES: Known = {**dict.fromkeys((*PRICE_FIELDS, "per_request", "currency")), "steps": _STEP}
_INTERVAL: Known = {"prices": _PRICES, "valid_from": None, "valid_until": None, "capacity": _CAPACITY}
_MODEL: Known = {
    **dict.fromkeys(("model", "upstream_model", "lane", "variant", "context_window", "max_output_tokens")),
    **dict.fromkeys(("modalities", "features", "regions", "zero_retention", "currency", "tariff")),
    **_INTERVAL,
    "latency": dict.fromkeys(("p50_ms", "p95_ms", "tokens_per_second")),
    "quality_claims": dict.fromkeys(("domain", "quality", "sample_size")),
    "curve": _INTERVAL,
}
DOCUMENT: Known = {"format": None, "currency": None, "models": _MODEL}
"""The fields of `lowtide/1`; a tariff refuses by itself what it does not know."""
COLUMNS: Known = dict.fromkeys(
    (
        *("model", "upstream_model", "lane", "variant", *PRICE_FIELDS, "per_request", "currency"),
        *("valid_from", "valid_until", "context_window", "max_output_tokens", "region", "regions"),
        *_CAPACITY,
    )
)
"""The columns of the table."""


def ignored(value: Any, known: Known) -> tuple[str, ...]:
    """The names of the first fields that are not read, each once, nested ones as `latency.p99_ms`."""
    return distinct(_unknown(value, known, ""))


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """The first names that differ, each short and printable."""
    found: dict[str, None] = {}
    for name in names:
        found[ascii(name)[1:-1][:_LONGEST]] = None
        if len(found) == MOST_IGNORED:
            break
    return tuple(found)


def _unknown(value: Any, known: Known, prefix: str) -> Iterator[str]:
    """No deeper than what is known, so that a nested document costs nothing."""
    if isinstance(value, list):
        for part in value:
            if isinstance(part, dict):
                yield from _unknown(part, known, prefix)
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name not in known:
                yield prefix + name
                continue
            below = known[name]
            if below is not None:
                yield from _unknown(inner, below, "" if below is _MODEL else f"{prefix}{name}.")
