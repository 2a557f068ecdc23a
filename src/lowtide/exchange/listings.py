"""Keeping what a feed lists: offers as it describes them, quotes where prices have changed; what is gone is withdrawn."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.quotes import Pushed, take
from lowtide.exchange.seal import Touched, stored_quote
from lowtide.feeds.listing import Listing
from lowtide.market.book_lines import offer_values
from lowtide.market.offer import Offer
from lowtide.market.quote import Quote, boundaries, effective_quote
from lowtide.store import capacity
from lowtide.store import offers as stored
from lowtide.store import providers as stored_providers
from lowtide.store.tables import Feed, OfferRow
from lowtide.values.canonical import canonical
from lowtide.values.ids import new_id

_A_TURN = 100
"""Listings after which others get the loop."""
_FEW = 4


@dataclass(slots=True)
class Kept:
    """What one reading of a feed came to: offers it has, quotes taken, unchanged and held back, offers withdrawn.

    `reference` counts offers whose prices come from another source: the feed's are not taken for them. `shrunk` is
    how many offers are missing from a reading that lost more than half of them at once: those are left to lapse.
    """

    offers: int = 0
    accepted: int = 0
    unchanged: int = 0
    held_back: int = 0
    reference: int = 0
    withdrawn: int = 0
    shrunk: int = 0
    notes: tuple[str, ...] = ()


async def keep(
    conn: AsyncConnection,
    touched: Touched,
    feed: Feed,
    listed: Sequence[Listing],
    now: int,
    *,
    reach_us: int,
    trusted: bool,
    broken: Iterable[str] = (),
) -> Kept:
    """See that every listing stands as offered, with its prices; withdraw what the feed listed and no longer has.

    Quotes that say the same as those that stand, and reach at least `reach_us` further, are not written again. Prices
    of a source that is not `trusted` are held back where they jump. `broken` names entries that could not be read: what
    they listed before stays.
    """
    kept = Kept(offers=len(listed))
    before = {
        (row.upstream_model, row.lane, row.variant): row
        for row in await stored.list_offers(conn, provider_id=feed.provider_id, limit=None)
    }
    feeds = await stored_providers.list_feeds(conn, feed.provider_id, limit=None)
    closed = {one.id for one in feeds if one.closed_at is not None}
    priced: dict[str, list[Quote]] = {}
    alive = await stored.quotes_alive(conn, [row.id for row in before.values()], feed.id, now)
    for quote in alive:
        priced.setdefault(quote.offer_id, []).append(stored_quote(quote))
    number = await stored.next_row(conn)
    pushed: list[Pushed] = []
    for place, item in enumerate(listed):
        if place % _A_TURN == _A_TURN - 1:
            await asyncio.sleep(0)
        row = before.pop(item.key, None)
        if row is None:
            row = await _list(conn, feed, item, number, now)
            number += 1
            touched.offers.add(row.id)
        elif row.listed_by == feed.id or row.listed_by in closed:
            if row.listed_by != feed.id:
                await stored.list_by(conn, row.id, feed.id)
            body = _body(item)
            if row.withdrawn_at is not None or row.body != body or row.model != item.model:
                await stored.relist(conn, row.id, body, item.model)
                await capacity.ensure(conn, row.id, item.capacity)
                touched.offers.add(row.id)
        elif row.withdrawn_at is not None:
            continue
        if row.price_source not in (None, feed.id):
            kept.reference += 1
        elif item.quotes and _same_prices(priced.get(row.id, []), item.quotes, now, now + reach_us):
            kept.unchanged += len(item.quotes)
        else:
            pushed += [_pushed(row.id, quote, item.raw) for quote in item.quotes]
    taken = await take(conn, touched, pushed, feed.id, now, trusted=trusted) if pushed else []
    kept.held_back = sum(one.held_back is not None for one in taken)
    kept.accepted = len(taken) - kept.held_back
    kept.notes = tuple(f"{one.offer_id}: {one.held_back}" for one in taken if one.held_back)[:10]
    await _withdraw_missing(conn, touched, feed, before, listed, now, kept, tuple(broken))
    return kept


async def _list(conn: AsyncConnection, feed: Feed, item: Listing, number: int, now: int) -> OfferRow:
    row = OfferRow(
        id=new_id("off", now),
        row=number,
        provider_id=feed.provider_id,
        model=item.model,
        upstream_model=item.upstream_model,
        lane=item.lane,
        variant=item.variant,
        body=_body(item),
        listed_by=feed.id,
        created_at=now,
    )
    await stored.add_offer(conn, row.model_dump())
    await capacity.ensure(conn, row.id, item.capacity)
    return row


def _body(item: Listing) -> str:
    return canonical(offer_values(offer_of(item))).decode()


def offer_of(item: Listing) -> Offer:
    """The offer that a listing describes, without an id."""
    return Offer(
        "",
        item.provider,
        item.model,
        item.upstream_model,
        item.lane,
        item.variant,
        modalities=item.modalities,
        features=item.features,
        context_window=item.context_window,
        max_output_tokens=min(item.max_output_tokens or item.context_window, item.context_window),
        regions=item.regions,
        zero_retention=item.zero_retention,
        capacity=item.capacity,
        latency=item.latency,
        claims=item.claims,
    )


def _pushed(offer_id: str, quote: Quote, raw: str | None) -> Pushed:
    return Pushed(
        offer_id,
        quote.prices,
        quote.valid_from,
        quote.valid_until,
        None,
        quote.capacity,
        quote.firm_until,
        raw,
    )


async def _withdraw_missing(
    conn: AsyncConnection,
    touched: Touched,
    feed: Feed,
    left: Mapping[tuple[str, str, str], OfferRow],
    listed: Sequence[Listing],
    now: int,
    kept: Kept,
    broken: tuple[str, ...],
) -> None:
    """Withdraw what the feed had listed, unless so much is gone at once that the document must be a mistake."""
    gone = [
        row
        for row in left.values()
        if row.listed_by == feed.id and row.withdrawn_at is None and not _named(row.upstream_model, broken)
    ]
    if len(gone) > max(_FEW, len(listed)):
        kept.shrunk = len(gone)
        return
    kept.withdrawn = await withdraw(conn, gone, now, touched)


def _named(upstream_model: str, broken: tuple[str, ...]) -> bool:
    return any(entry == upstream_model or entry.endswith(f"/{upstream_model}") for entry in broken)


async def withdraw(conn: AsyncConnection, rows: Iterable[OfferRow], now: int, touched: Touched) -> int:
    """Withdraw offers; how many there were."""
    count = 0
    for row in rows:
        if row.withdrawn_at is None and await stored.withdraw(conn, row.id, now):
            touched.offers.add(row.id)
            count += 1
    return count


def _same_prices(old: Sequence[Quote], new: Sequence[Quote], now: int, reach: int) -> bool:
    """Whether the stored quotes give the same prices from now on, none held back, and reach far enough."""
    ends = [quote.valid_until for quote in old]
    if not old or any(quote.quarantined for quote in old):
        return False
    if None not in ends and max(end or 0 for end in ends) < reach:
        return False
    for at in {now} | {edge for edge in boundaries(old) | boundaries(new) if now < edge < reach}:
        if _terms(effective_quote(old, at)) != _terms(effective_quote(new, at)):
            return False
    return True


def _terms(quote: Quote | None) -> object:
    return None if quote is None else (quote.prices, quote.capacity)
