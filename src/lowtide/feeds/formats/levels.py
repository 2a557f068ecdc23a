"""Prices that depend on the input's length and on the time of day, made into steps and quotes."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from lowtide.feeds.formats.entries import Fault, Path
from lowtide.market.quote import Prices, PriceStep, Quote
from lowtide.values.instants import DAY_US, MINUTE_US, instant, micros

Level = Mapping[str, int | None]
"""Prices by the names of `Prices`' fields: nano-USD per million tokens, and `per_request`."""
TOKEN_PRICES = ("input", "output", "cached_input", "cache_write")
DAY_MINUTES = 24 * 60
MOST_CONDITIONS = 64
"""More conditions than that in one entry are an attack or a mistake."""


def stepped(level_at: Callable[[int], Level], thresholds: Iterable[int], path: Path = ()) -> Prices:
    """Prices with a step wherever a call whose input has more tokens than a threshold pays otherwise.

    Raises Fault (`unsupported_condition`) where a price vanishes, or the price per request changes, with the length.
    """
    base = before = level_at(1)
    steps = []
    for above in sorted({threshold for threshold in thresholds if threshold >= 1}):
        level = level_at(above + 1)
        changed = {name: level.get(name) for name in TOKEN_PRICES if level.get(name) != before.get(name)}
        if None in changed.values() or level.get("per_request") != before.get("per_request"):
            raise Fault(
                "unsupported_condition",
                f"Above {above} input tokens a price ends, or the one per request changes: the market's "
                "quotes cannot say that. Send token prices for every length.",
                path,
            )
        if changed:
            steps.append(PriceStep(above, **changed))
        before = level
    return Prices(
        **{name: base.get(name) for name in TOKEN_PRICES},
        per_request=base.get("per_request") or 0,
        steps=tuple(steps),
    )


def timed(
    prices_at: Callable[[int], Prices], edges: Iterable[int], start_us: int, end_us: int
) -> tuple[Quote, ...]:
    """Quotes that tile `[start_us, end_us)`, µs UTC, from prices that change only at the edges."""
    if end_us <= start_us:
        return ()
    quotes: list[Quote] = []
    begin, current = start_us, prices_at(start_us)
    for edge in sorted({edge for edge in edges if start_us < edge < end_us}):
        prices = prices_at(edge)
        if prices != current:
            quotes.append(Quote(current, begin, edge, 0))
            begin, current = edge, prices
    return (*quotes, Quote(current, begin, end_us, 0))


def daily_edges(minutes: Iterable[int], start_us: int, end_us: int) -> Iterator[int]:
    """Every instant of the range at which one of these minutes of the UTC day begins."""
    for minute in set(minutes):
        first = start_us - start_us % DAY_US + minute % DAY_MINUTES * MINUTE_US
        yield from range(first, end_us, DAY_US)


def midnights(zone: ZoneInfo, start_us: int, end_us: int) -> Iterator[int]:
    """Every instant of the range, and just about it, at which a day begins in a zone."""
    day = instant(start_us).astimezone(zone).date()
    while day <= instant(end_us).astimezone(zone).date():
        yield micros(datetime.combine(day, time(), zone))
        day += timedelta(days=1)


def minute_of_day(at_us: int) -> int:
    """The minute of the UTC day, 0 to 1439."""
    return at_us % DAY_US // MINUTE_US


def within(start: int, end: int, minute: int) -> bool:
    """Whether a minute lies in `[start, end)`, which may wrap midnight; a window of no length is the whole day."""
    if start < end:
        return start <= minute < end
    return minute >= start or minute < end
