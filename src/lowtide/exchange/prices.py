"""Reading the price history of an offer: bars of any step, or each change, of quotes and of the bars they became."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.kept_prices import bar_of, held
from lowtide.exchange.market import Market
from lowtide.exchange.register import PUSH, offer_or_404
from lowtide.market.price_history import (
    Bar,
    HeldQuote,
    Tick,
    astride,
    bars,
    filled,
    in_force,
    pieces,
    ticks,
)
from lowtide.store import price_bars, providers
from lowtide.store.price_bars import KeptBar, TakenQuote
from lowtide.store.tables import OfferRow
from lowtide.values.errors import FieldError, InvalidRequest
from lowtide.values.instants import DAY_US, HOUR_US, MINUTE_US, SECOND_US, rfc3339

MOST_BARS = 10_000
MOST_QUOTES, MOST_KEPT = 100_000, 200_000
"""So many quotes and kept bars are read for one answer; it takes some two seconds, off the loop."""
STEPS = tuple(
    seconds * SECOND_US
    for seconds in (60, 300, 900, 3_600, 6 * 3_600, 86_400, 7 * 86_400, 28 * 86_400, 364 * 86_400)
)
"""What is chosen from where no step is asked for, and what is proposed where one does not fit."""
_ENOUGH_BARS = 300


@dataclass(frozen=True, slots=True)
class PriceHistory:
    """What an offer cost in [begin, end), µs, as its source had it: bars of `step` µs, or with `step` None the ticks.

    The first tick is the last change before the range, where there is one.
    """

    offer_id: str
    source: str | None
    begin: int
    end: int
    step: int | None
    bars: tuple[Bar, ...] = ()
    ticks: tuple[Tick, ...] = ()


@dataclass(frozen=True, slots=True)
class Range:
    """What is asked for: from and to (µs; None: until now, from a day before), a step in µs (None: one that fits)."""

    begin: int | None = None
    end: int | None = None
    step: int | None = None

    def bounds(self, now: int) -> tuple[int, int]:
        """Begin and end. Raises InvalidRequest (`bad_range`) where there is nothing between, or nothing yet."""
        end = now if self.end is None else self.end
        begin = min(end, now) - DAY_US if self.begin is None else self.begin
        if begin >= now:
            raise _refusal(
                "from",
                "bad_range",
                "History ends now. What is known of prices to come stands in GET /v1/book, under `next`.",
            )
        if begin >= end:
            raise _refusal("to", "bad_range", f"`to` must lie after `from`, which is {rfc3339(begin)}.")
        return begin, min(end, now)


async def price_bars_of(
    market: Market, offer_id: str, asked: Range, source: str | None = None
) -> PriceHistory:
    """Bars over whole steps, the first of them with `from` in it; steps without any price are left out.

    The source is the one that binds the offer, unless another's reference prices are asked for. Raises NotFound
    (`unknown_offer`), InvalidRequest (`bad_range`, `too_many_bars`, `step_too_fine`, `too_many_changes`).
    """
    now = market.now()
    begin, end = asked.bounds(now)
    step = _default_step(market, begin, end, now) if asked.step is None else asked.step
    begin, stop = begin // step * step, -(-end // step) * step
    if (stop - begin) // step > MOST_BARS:
        fits = next(one for one in STEPS if -(-(stop - begin) // one) <= MOST_BARS)
        raise _refusal(
            "step",
            "too_many_bars",
            f"That is more than {MOST_BARS:,} bars. Send step={step_text(fits)} or more, or a shorter range.",
        )
    stop = min(stop, now)
    async with market.database.read() as conn:
        stored = await _load(conn, offer_id, source, begin, stop)
    found = await asyncio.to_thread(_bars, stored, begin, step) if begin < stored.end else []
    return PriceHistory(offer_id, stored.source, begin, stop, step, tuple(bar for bar in found if bar.spans))


def _bars(stored: "_Stored", begin: int, step: int) -> list[Bar]:
    old, end = [bar_of(bar) for bar in stored.bars], stored.end
    state = None if stored.before is None else bar_of(stored.before).closing
    border = min(max(begin, stored.border), end)
    stretches = filled(old, state, begin, border) if border > begin else []
    if border < end:
        stretches += pieces(ticks(held(stored.quotes), border, end), end)
    coarse = astride(stretches, step)
    if coarse is not None:
        least = coarse.end - coarse.start
        raise _refusal(
            "step",
            "step_too_fine",
            f"Up to {rfc3339(coarse.end)} prices are kept as bars of {step_text(least)}. Send a step that is a multiple "
            f"of it, or a later `from`.",
        )
    return bars(stretches, step)


async def price_ticks_of(
    market: Market, offer_id: str, asked: Range, source: str | None = None
) -> PriceHistory:
    """Each change in the range, after the last one before it. Raises as `price_bars_of` does.

    `step_too_fine` where the range begins before the quotes do that are still kept as they came.
    """
    now = market.now()
    begin, end = asked.bounds(now)
    async with market.database.read() as conn:
        stored = await _load(conn, offer_id, source, begin, end)
        if stored.source is None or begin >= stored.end:
            return PriceHistory(offer_id, stored.source, begin, end, None)
        if begin < stored.border:
            raise _refusal(
                "step",
                "step_too_fine",
                f"Single changes are kept from {rfc3339(stored.border)} on. Send a `from` no earlier, or step=1m.",
            )
        standing = held(stored.quotes)
        first = in_force(standing, begin)
        above = -1 if first is None else first.sequence
        over = await price_bars.last_end(conn, offer_id, stored.source, begin, above)
    changes = await asyncio.to_thread(ticks, standing, begin, stored.end)
    if len(changes) > MOST_BARS:
        raise _refusal(
            "step",
            "too_many_changes",
            f"That is more than {MOST_BARS:,} changes. Send step=1m or more, or a shorter range.",
        )
    if stored.end < end:
        changes.append(Tick(stored.end, None))
    found = _with_last_change(changes, first, over)
    return PriceHistory(offer_id, stored.source, begin, end, None, ticks=found)


def _with_last_change(changes: list[Tick], first: HeldQuote | None, over: int | None) -> tuple[Tick, ...]:
    """The ticks with the first at its own instant: when its quote began, or one above it was over."""
    since = [at for at in (over, None if first is None else first.start) if at is not None]
    if not since:
        return tuple(changes[1:])
    return (Tick(max(since), changes[0].prices), *changes[1:])


@dataclass(frozen=True, slots=True)
class _Stored:
    """What is stored of a range: quotes that stood in it, bars in it, the last bar before it; `end` is that of the
    range, or where the offer was withdrawn."""

    source: str | None
    end: int
    quotes: Sequence[TakenQuote] = ()
    bars: Sequence[KeptBar] = ()
    before: KeptBar | None = None

    @property
    def border(self) -> int:
        """Where bars end and quotes begin."""
        last = self.bars[-1] if self.bars else self.before
        return 0 if last is None else last.start + last.step


async def _load(conn: AsyncConnection, offer_id: str, source: str | None, begin: int, end: int) -> _Stored:
    offer, asked = await offer_or_404(conn, offer_id), source
    source = source or offer.price_source
    end = end if offer.withdrawn_at is None else min(end, offer.withdrawn_at)
    if source is None:
        return _Stored(None, end)
    # Quotes before bars: what is compacted in between is then seen twice and counted once, by the border.
    quotes = await price_bars.quotes_standing(conn, offer_id, source, begin, end, MOST_QUOTES + 1)
    kept = await price_bars.bars_between(conn, offer_id, source, begin, end, MOST_KEPT + 1)
    if len(quotes) > MOST_QUOTES or len(kept) > MOST_KEPT:
        text = "The price changed too often in that range to be read at once. Send a shorter one."
        raise _refusal("from", "too_many_changes", text)
    before = await price_bars.last_bars(conn, offer_id, source, begin)
    if asked and not (quotes or kept or before):
        await _refuse_unknown_source(conn, offer, asked)
    return _Stored(source, end, quotes, kept, before[0] if before else None)


async def _refuse_unknown_source(conn: AsyncConnection, offer: OfferRow, source: str) -> None:
    """A source that never priced the offer is taken for a mistake, unless it may still: a push, its provider's feed."""
    feed = None if source == PUSH else await providers.get_feed(conn, source)
    if source != PUSH and (feed is None or feed.provider_id != offer.provider_id):
        text = (
            f"The offer {offer.id} has no source {source[:80]!r}. Send `push`, or the id of a feed of its provider; left "
            "out: the one whose quotes count."
        )
        raise _refusal("source", "unknown_source", text)


def _default_step(market: Market, begin: int, end: int, now: int) -> int:
    """The finest of STEPS that makes a few hundred bars and that is kept for so long."""
    least = MINUTE_US if begin >= now - market.rules.minute_bars_kept_days * DAY_US else HOUR_US
    fits = (one for one in STEPS if one >= least and (end - begin) // one <= _ENOUGH_BARS)
    return next(fits, STEPS[-1])


def step_text(step: int) -> str:
    """A step (µs) as it is written: 90s, 15m, 2h, 1d."""
    for length, unit in ((DAY_US, "d"), (HOUR_US, "h"), (MINUTE_US, "m")):
        if step % length == 0:
            return f"{step // length}{unit}"
    return f"{step // SECOND_US}s"


def _refusal(name: str, code: str, text: str) -> InvalidRequest:
    return InvalidRequest(text, code=code, errors=(FieldError(f"?{name}", code, text),))
