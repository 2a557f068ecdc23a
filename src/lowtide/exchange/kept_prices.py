"""Stored prices as the core's: quotes over the time in which they stood, bars of their JSON, and back."""

from collections.abc import Iterable
from functools import lru_cache

import orjson

from lowtide.market.book_lines import prices_from_values
from lowtide.market.price_history import Bar, HeldQuote, Span, UnitPrices, unit_prices
from lowtide.store.price_bars import KeptBar, TakenQuote


def held(quotes: Iterable[TakenQuote]) -> list[HeldQuote]:
    """Quotes as the core weighs them: one that is quarantined stands, but has no price."""
    return [
        HeldQuote(q.begins, q.ends, q.sequence, None if q.quarantined else _prices(q.prices)) for q in quotes
    ]


@lru_cache(maxsize=4_096)
def _prices(text: str) -> UnitPrices | None:
    return unit_prices(prices_from_values(orjson.loads(text)))


def bar_of(kept: KeptBar) -> Bar:
    """The bar of its stored form."""
    values = orjson.loads(kept.bars)
    spans = tuple(
        Span(figures[0], figures[1], figures[2], figures[3], int(figures[4]))
        for name in UnitPrices._fields
        if (figures := values.get(name)) is not None
    )
    return Bar(kept.start, kept.start + kept.step, values["covered"], bool(values["holds"]), spans)


def kept_bar(bar: Bar, offer_id: str, source: str) -> KeptBar:
    """A bar as it is stored."""
    values: dict[str, object] = {"covered": bar.covered, "holds": int(bar.holds)}
    for name, span in zip(UnitPrices._fields, bar.spans, strict=False):
        values[name] = [*span[:4], str(span.weighted)]
    return KeptBar(bar.end - bar.start, bar.start, orjson.dumps(values).decode(), offer_id, source)
