"""Price history: what an offer cost at each instant, as the book had it, and its bars over any step.

A price holds while the quote with the highest sequence that covers the instant can win: not before it was taken, not
while it is quarantined, not where its input or output price is unknown. Between such prices are gaps, which no bar
prices. All prices are nano-USD (per million tokens, per request), all instants µs UTC.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import NamedTuple

from lowtide.market.quote import Prices


class UnitPrices(NamedTuple):
    """What a call pays below its long-context steps. A cached or cache-write price not given is the input price."""

    input: int
    output: int
    cached_input: int
    cache_write: int
    per_request: int


class HeldQuote(NamedTuple):
    """A quote over the time `[start, end)` in which it stood; `prices` None where it could not win."""

    start: int
    end: int | None
    sequence: int
    prices: UnitPrices | None


class Tick(NamedTuple):
    """From `at` on an offer costs this, or nothing holds (None)."""

    at: int
    prices: UnitPrices | None


class Span(NamedTuple):
    """One price over a bar. `weighted` is the sum of price × µs over the covered time, so that bars join exactly."""

    open: int
    high: int
    low: int
    close: int
    weighted: int


@dataclass(frozen=True, slots=True)
class Bar:
    """Prices over `[start, end)`: a span for each of UnitPrices, none where no price held at any instant.

    `covered` is the time, µs, in which a price held; `holds` whether one did up to the bar's end.
    """

    start: int
    end: int
    covered: int
    holds: bool
    spans: tuple[Span, ...]

    @property
    def means(self) -> tuple[int, ...]:
        """Time-weighted means over the covered time, rounded to the nearest nano-USD, a half up."""
        return tuple((2 * span.weighted + self.covered) // (2 * self.covered) for span in self.spans)

    @property
    def closing(self) -> UnitPrices | None:
        """What holds at the bar's end, None in a gap."""
        return UnitPrices(*(span.close for span in self.spans)) if self.holds else None

    @property
    def flat(self) -> bool:
        """Whether one price, or a gap, lasts over the whole of it."""
        if not self.spans:
            return True
        return self.covered == self.end - self.start and all(span.high == span.low for span in self.spans)


def unit_prices(prices: Prices) -> UnitPrices | None:
    """The unit prices of a quote; None where its input or output price is unknown, for then it cannot win."""
    if prices.input is None or prices.output is None:
        return None
    return UnitPrices(
        prices.input,
        prices.output,
        prices.input if prices.cached_input is None else prices.cached_input,
        prices.input if prices.cache_write is None else prices.cache_write,
        prices.per_request,
    )


def in_force(quotes: Iterable[HeldQuote], at: int) -> HeldQuote | None:
    """The quote in force at an instant: the highest sequence that stands there."""
    standing = (q for q in quotes if q.start <= at and (q.end is None or at < q.end))
    return min(standing, key=_rank, default=None)


def ticks(quotes: Iterable[HeldQuote], begin: int, end: int) -> list[Tick]:
    """What holds at `begin`, then each change before `end`."""
    coming = [q for q in quotes if q.start < end and (q.end is None or q.end > begin)]
    coming.sort(key=lambda quote: quote.start, reverse=True)
    instants = {begin} | {q.start for q in coming if q.start > begin}
    instants |= {q.end for q in coming if q.end is not None and q.end < end}
    standing: list[tuple[tuple[int, int], int, HeldQuote]] = []
    found: list[Tick] = []
    for at in sorted(instants):
        while coming and coming[-1].start <= at:
            quote = coming.pop()
            heappush(standing, (_rank(quote), len(coming), quote))
        while standing and (ends := standing[0][2].end) is not None and ends <= at:
            heappop(standing)
        prices = standing[0][2].prices if standing else None
        if not found or found[-1].prices != prices:
            found.append(Tick(at, prices))
    return found


def _rank(quote: HeldQuote) -> tuple[int, int]:
    return -quote.sequence, quote.start


def flat_bar(start: int, end: int, prices: UnitPrices | None) -> Bar:
    """A stretch in which one price holds throughout, or none."""
    if prices is None:
        return Bar(start, end, 0, False, ())
    length = end - start
    return Bar(start, end, length, True, tuple(Span(p, p, p, p, p * length) for p in prices))


def pieces(changes: Sequence[Tick], end: int) -> list[Bar]:
    """Ticks as stretches that follow each other without a hole, up to `end`."""
    ends = [tick.at for tick in changes[1:]] + [end]
    return [flat_bar(tick.at, until, tick.prices) for tick, until in zip(changes, ends, strict=True)]


def filled(kept: Iterable[Bar], before: UnitPrices | None, begin: int, end: int) -> list[Bar]:
    """Kept bars, in order, with what held between them: `[begin, end)` without a hole.

    Bars are kept where prices changed; `before` held when the first of them began. A bar that reaches out of the
    range is cut where it is flat, else it stays whole.
    """
    found: list[Bar] = []
    cursor, state = begin, before
    for bar in kept:
        if cursor < bar.start:
            found.append(flat_bar(cursor, bar.start, state))
        if bar.flat:
            bar = flat_bar(max(bar.start, begin), min(bar.end, end), bar.closing)
        found.append(bar)
        cursor, state = bar.end, bar.closing
    if cursor < end:
        found.append(flat_bar(cursor, end, state))
    return found


def astride(stretches: Iterable[Bar], step: int) -> Bar | None:
    """The last stretch that cannot be divided among steps: prices changed in it, and it lies in more than one."""
    found = None
    for bar in stretches:
        if not bar.flat and bar.start // step != (bar.end - 1) // step:
            found = bar
    return found


def bars(stretches: Iterable[Bar], step: int) -> list[Bar]:
    """A bar for each step (counted from 1970, UTC) that the stretches reach into. Raises ValueError by `astride`."""
    return _by_step(stretches, step, sparse=False)


def changed_bars(stretches: Sequence[Bar], step: int, before: UnitPrices | None) -> list[Bar]:
    """The bars of those steps alone in which the price is other than just before; `before` held at the start."""
    found: list[Bar] = []
    for bar in _by_step(stretches, step, sparse=True):
        if not bar.flat or bar.closing != before:
            found.append(bar)
        before = bar.closing
    return found


def _by_step(stretches: Iterable[Bar], step: int, *, sparse: bool) -> list[Bar]:
    found: list[Bar] = []
    parts: list[Bar] = []
    for stretch in stretches:
        for part in _cut(stretch, step, sparse=sparse):
            if parts and parts[0].start // step != part.start // step:
                found.append(_joined(parts, step))
                parts = []
            parts.append(part)
    return [*found, _joined(parts, step)] if parts else found


def _cut(bar: Bar, step: int, *, sparse: bool) -> Iterator[Bar]:
    """A stretch cut at the steps; `sparse` leaves out the whole steps inside, in which nothing changes."""
    first, last = bar.start // step, (bar.end - 1) // step
    if first == last:
        yield bar
        return
    if not bar.flat:
        raise ValueError("prices changed in a stretch of more than one step")
    prices = bar.closing
    yield flat_bar(bar.start, (first + 1) * step, prices)
    if not sparse:
        for number in range(first + 1, last):
            yield flat_bar(number * step, (number + 1) * step, prices)
    yield flat_bar(last * step, bar.end, prices)


def _joined(parts: Sequence[Bar], step: int) -> Bar:
    start = parts[0].start // step * step
    priced = [part.spans for part in parts if part.spans]
    spans = tuple(
        Span(
            every[0].open,
            max(span.high for span in every),
            min(span.low for span in every),
            every[-1].close,
            sum(span.weighted for span in every),
        )
        for every in zip(*priced, strict=True)
    )
    return Bar(start, start + step, sum(part.covered for part in parts), parts[-1].holds, spans)
