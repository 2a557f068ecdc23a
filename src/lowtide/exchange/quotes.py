"""Taking quotes: each stands in the book, all of a push or none, before the answer goes out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.market import Market
from lowtide.exchange.order import Claim
from lowtide.exchange.register import PUSH, claimed, offer_or_404
from lowtide.exchange.seal import Touched, listing, quote_values, stored_quote
from lowtide.market.offer import Capacity, Offer
from lowtide.market.quarantine import suspicion
from lowtide.market.quote import Prices, Quote, refuse_overlaps
from lowtide.store import offers as stored
from lowtide.store.tables import QuoteRow
from lowtide.values.errors import Conflict, FieldError, NotFound, OverlappingQuotes, StaleQuote
from lowtide.values.ids import new_id
from lowtide.values.instants import rfc3339


@dataclass(frozen=True, slots=True)
class Pushed:
    """One quote as a source hands it in: offer, prices, interval (µs; no start means now) and sequence.

    `capacity` is what is sold at this price; until `firm_until` (µs) the seller stands by it.
    """

    offer_id: str
    prices: Prices
    valid_from: int | None
    valid_until: int | None
    sequence: int | None
    capacity: Capacity | None = None
    firm_until: int | None = None
    raw_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """A quote as taken. `held_back` says why it is quarantined, None where it is not."""

    id: str
    offer_id: str
    quote: Quote
    raw_hash: str | None
    held_back: str | None


async def push_quotes(
    market: Market, pushed: Sequence[Pushed], source: str = PUSH, claim: Claim | None = None
) -> tuple[list[Taken], int]:
    """Take quotes, all or nothing; each as taken, and the book version that has them.

    Quotes of one offer in one push may not overlap, and their sequences must be newer than what the market has;
    without a sequence they get the next. Raises NotFound (`unknown_offer`), Conflict (`price_source_differs`,
    `quote_is_firm`), StaleQuote and OverlappingQuotes, whose `errors` point into the push: `/3/valid_from` is that of
    its fourth quote.
    """
    now = market.now()

    async def change(conn: AsyncConnection, touched: Touched) -> list[Taken]:
        taken = await take(conn, touched, pushed, source, now)
        if taken:
            await claimed(conn, claim, taken[0].id, now)
        return taken

    return await market.keeper.publish(change)


async def take(
    conn: AsyncConnection,
    touched: Touched,
    pushed: Sequence[Pushed],
    source: str,
    now: int,
    *,
    trusted: bool = False,
) -> list[Taken]:
    """Write quotes inside a change to the book and name what they touch. Raises as `push_quotes` does.

    Prices of a `trusted` source (the catalog, a tariff) are never held back.
    """
    by_offer: dict[str, list[tuple[int, Pushed]]] = {}
    for place, one in enumerate(pushed):
        by_offer.setdefault(one.offer_id, []).append((place, one))
    listed = {
        offer_id: await _listed(conn, touched, offer_id, quotes[0][0])
        for offer_id, quotes in by_offer.items()
    }
    newest = await stored.newest_sequences(conn, list(by_offer), source)
    unbound = [offer_id for offer_id, (offer, _) in listed.items() if offer.price_source is None]
    bound = await stored.bind_sources(conn, unbound, source)
    touched.bound |= dict.fromkeys(bound, source)
    taken: list[Taken] = []
    for offer_id, quotes in by_offer.items():
        offer, standing = listed[offer_id]
        counts = offer_id in bound or await _counts(conn, offer, source)
        last = newest.get(offer_id)
        if counts and last is not None and not any(not quote.quarantined for quote in standing):
            standing = (*standing, *await _last_accepted(conn, offer_id, source))
        fresh = _numbered(quotes, last or 0, now, offer_id)
        _refuse_overlaps([(place, one.quote) for (place, _), one in zip(quotes, fresh, strict=True)])
        if counts:
            if not trusted:
                fresh = [_checked(one, standing) for one in fresh]
            for (place, _), quote in zip(quotes, fresh, strict=True):
                _refuse_to_break(quote, standing, place, now)
            touched.quoted.setdefault(offer_id, []).extend(one.quote for one in fresh)
        taken += fresh
    await stored.add_quotes(conn, [_row(one, source, now) for one in taken])
    return taken


async def _listed(
    conn: AsyncConnection, touched: Touched, offer_id: str, place: int
) -> tuple[Offer, tuple[Quote, ...]]:
    """The offer as the book has it under the sealer's lock, and the quotes that stand.

    One that this change has touched already may be listed again: it is as stored.
    """
    number = touched.base.row_of.get(offer_id)
    standing = () if number is None else touched.base.rows[number].quotes
    if number is not None and offer_id not in touched.offers:
        offer = touched.base.rows[number].offer
    else:
        try:
            offer = listing(await offer_or_404(conn, offer_id))
        except NotFound as fault:
            fault.errors = (FieldError(f"/{place}/offer_id", fault.code, fault.detail),)
            raise
    if offer.withdrawn:
        raise NotFound(
            f"Offer {offer_id} is withdrawn. Register it anew to quote it.", code="offer_withdrawn"
        )
    return offer, standing


async def _counts(conn: AsyncConnection, offer: Offer, source: str) -> bool:
    """Whether the source's quotes are the offer's price. Raises Conflict where a pushed one would not be."""
    bound = offer.price_source or (await offer_or_404(conn, offer.id)).price_source
    if bound != source and source == PUSH:
        raise Conflict(
            f"Offer {offer.id} gets its prices from {bound}, so a pushed quote would not count. "
            'PATCH its price_source to "push" first.',
            code="price_source_differs",
        )
    return bound == source


async def _last_accepted(conn: AsyncConnection, offer_id: str, source: str) -> tuple[Quote, ...]:
    row = await stored.last_accepted(conn, offer_id, source)
    return () if row is None else (stored_quote(row),)


def _numbered(quotes: Sequence[tuple[int, Pushed]], newest: int, now: int, offer_id: str) -> list[Taken]:
    fresh = []
    for place, one in quotes:
        sequence = newest + 1 if one.sequence is None else one.sequence
        if sequence <= newest:
            stale = StaleQuote(offer_id, sequence, newest)
            stale.errors = (FieldError(f"/{place}/sequence", stale.code, stale.detail),)
            raise stale
        start = now if one.valid_from is None else one.valid_from
        quote = Quote(one.prices, start, one.valid_until, sequence, False, one.capacity, one.firm_until)
        fresh.append(Taken(new_id("quo", now), offer_id, quote, one.raw_hash, None))
    return fresh


def _refuse_to_break(one: Taken, standing: Iterable[Quote], place: int, now: int) -> None:
    """Raise Conflict where a firm quote would be replaced, while it is firm, by one that is worse or is held back."""
    for old in standing:
        if old.firm_until is None or old.firm_until <= now or not _overlap(old, one.quote, old.firm_until):
            continue
        if one.held_back is not None:
            why = f"this one would be held back ({one.held_back}), and nothing could be bought at either"
        elif _dearer(one.quote.prices, old.prices):
            why = "it may be replaced by a cheaper one only"
        elif _scarcer(one.quote, old):
            why = "it may not be replaced by one of less capacity"
        else:
            continue
        text = (
            f"The quote of {one.offer_id} from {rfc3339(old.valid_from)} is firm until {rfc3339(old.firm_until)}: {why}. "
            "Begin after that, or offer more."
        )
        raise Conflict(
            text, code="quote_is_firm", errors=(FieldError(f"/{place}/prices", "quote_is_firm", text),)
        )


def _overlap(left: Quote, right: Quote, until: int) -> bool:
    """Whether two quotes have time in common before an instant (µs)."""
    ends = [end for end in (left.valid_until, right.valid_until, until) if end is not None]
    return max(left.valid_from, right.valid_from) < min(ends)


def _scarcer(fresh: Quote, old: Quote) -> bool:
    return fresh.capacity is not None and fresh.capacity.less_than(old.capacity or Capacity())


def _dearer(fresh: Prices, old: Prices) -> bool:
    """Whether any price is higher, or no longer known; what a price is left out for counts as the input price."""

    def filled(prices: Prices) -> tuple[int | None, ...]:
        given = prices.input
        cached = given if prices.cached_input is None else prices.cached_input
        write = given if prices.cache_write is None else prices.cache_write
        return given, prices.output, cached, write, prices.per_request

    pairs = zip(filled(fresh), filled(old), strict=True)
    return any(a is not None and (b is None or b > a) for b, a in pairs) or (
        bool(fresh.steps) and fresh.steps != old.steps
    )


def _checked(one: Taken, standing: Iterable[Quote]) -> Taken:
    why = suspicion(standing, one.quote.prices)
    return one if why is None else replace(one, quote=replace(one.quote, quarantined=True), held_back=why)


def _refuse_overlaps(placed: Sequence[tuple[int, Quote]]) -> None:
    """Raise OverlappingQuotes that points at the later quote of the first two that overlap."""
    ordered = sorted(placed, key=lambda one: one[1].valid_from)
    for (_, earlier), (place, later) in pairwise(ordered):
        try:
            refuse_overlaps([earlier, later])
        except OverlappingQuotes as fault:
            fault.errors = (FieldError(f"/{place}/valid_from", fault.code, fault.detail),)
            raise


def _row(taken: Taken, source: str, now: int) -> Mapping[str, Any]:
    return {
        "id": taken.id,
        "offer_id": taken.offer_id,
        "source": source,
        "taken_at": now,
        "raw_hash": taken.raw_hash,
        **quote_values(taken.quote),
    }


async def confirm_quote(market: Market, quote_id: str) -> tuple[QuoteRow, int]:
    """Let a quarantined quote count. Raises NotFound (`unknown_quote`)."""

    async def change(conn: AsyncConnection, touched: Touched) -> QuoteRow:
        row = await quote_or_404(conn, quote_id)
        await stored.change_quote(conn, quote_id, {"quarantined": False})
        touched.offers.add(row.offer_id)
        return await quote_or_404(conn, quote_id)

    return await market.keeper.publish(change)


async def cancel_quote(market: Market, quote_id: str) -> tuple[QuoteRow, int]:
    """End a quote now; one that lies ahead never comes into force. What was below it counts again.

    Raises NotFound (`unknown_quote`), and Conflict (`quote_is_firm`) while its seller is bound to it.
    """
    now = market.now()

    async def change(conn: AsyncConnection, touched: Touched) -> QuoteRow:
        row = await quote_or_404(conn, quote_id)
        if row.firm_until is not None and row.firm_until > now:
            raise Conflict(
                f"This quote is firm until {rfc3339(row.firm_until)}. Replace it by a cheaper one, or wait.",
                code="quote_is_firm",
            )
        if row.valid_until is None or row.valid_until > now:
            await stored.change_quote(conn, quote_id, {"valid_until": max(now, row.valid_from)})
        touched.offers.add(row.offer_id)
        return await quote_or_404(conn, quote_id)

    return await market.keeper.publish(change)


async def quote_or_404(conn: AsyncConnection, quote_id: str) -> QuoteRow:
    """The stored quote. Raises NotFound (`unknown_quote`)."""
    row = await stored.get_quote(conn, quote_id)
    if row is None:
        raise NotFound(
            f"No quote {quote_id}. List an offer's with GET /v1/quotes?offer_id=….", code="unknown_quote"
        )
    return row
