"""OpenRouter's `pricing` object: USD per token and per request, with overrides by input length and UTC time."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from lowtide.feeds.formats.amounts import PER_TOKEN, request_price, require_usd, unit_price
from lowtide.feeds.formats.context import Context
from lowtide.feeds.formats.entries import NotForUs
from lowtide.feeds.formats.fields import Node
from lowtide.feeds.formats.levels import (
    MOST_CONDITIONS,
    Level,
    daily_edges,
    minute_of_day,
    stepped,
    timed,
    within,
)
from lowtide.feeds.formats.utc_window import utc_window
from lowtide.market.quote import Prices, Quote

_TOKEN_KEYS: Mapping[str, str] = {
    "prompt": "input",
    "completion": "output",
    "input_cache_read": "cached_input",
    "input_cache_write": "cache_write",
}
_VARIES = ("-1", -1)


@dataclass(frozen=True, slots=True)
class Override:
    """Prices that replace others for inputs longer than `above` tokens, within a window of the UTC day (minutes)."""

    changes: Level
    above: int | None
    window: tuple[int, int] | None

    def applies(self, minute: int, tokens: int) -> bool:
        """Whether both conditions hold; the length is strict."""
        if self.above is not None and tokens <= self.above:
            return False
        return self.window is None or within(*self.window, minute)


def pricing_quotes(pricing: Node, context: Context, end_us: int) -> tuple[Quote, ...]:
    """The quotes of a pricing object from now to the end (µs UTC).

    All overrides that match apply, the later winning price by price; what they lack, the top level has. Raises
    NotForUs where the price varies by what is asked, and Fault.
    """
    require_usd(pricing)
    base = _level(pricing)
    overrides = [_override(node) for node in pricing.nodes("overrides")]
    if len(overrides) > MOST_CONDITIONS:
        raise pricing.fault(
            "too_many_overrides", f"An entry may have {MOST_CONDITIONS} overrides. Merge them.", "overrides"
        )
    thresholds = [override.above for override in overrides if override.above is not None]

    def level_at(minute: int, tokens: int) -> Level:
        level = dict(base)
        for override in overrides:
            if override.applies(minute, tokens):
                level.update(override.changes)
        return level

    @cache
    def prices_of(minute: int) -> Prices:
        return stepped(lambda tokens: level_at(minute, tokens), thresholds, (*pricing.path, "overrides"))

    edges = [minute for override in overrides if override.window for minute in override.window]
    return timed(
        lambda at: prices_of(minute_of_day(at)),
        daily_edges(edges, context.now_us, end_us),
        context.now_us,
        end_us,
    )


def _level(node: Node) -> dict[str, int | None]:
    """The prices that an object has itself."""
    if any(node.get(key) in _VARIES for key in ("prompt", "completion")):
        raise NotForUs("price varies")
    level = {
        ours: unit_price(node.get(theirs), PER_TOKEN, (*node.path, theirs))
        for theirs, ours in _TOKEN_KEYS.items()
        if node.get(theirs) is not None
    }
    if node.get("request") is not None:
        level["per_request"] = request_price(node.get("request"), (*node.path, "request"))
    return level


def _override(node: Node) -> Override:
    return Override(_level(node), node.count("min_prompt_tokens"), utc_window(node))
