"""Offers and the quotes taken for them."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import and_, case, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.store import rows
from lowtide.store.tables import OfferRow, QuoteRow
from lowtide.values.errors import Conflict

_OFFERS = rows.table_of(OfferRow)
_QUOTES = rows.table_of(QuoteRow)
KEY = ["provider_id", "upstream_model", "lane", "variant"]
"""What makes an offer unique."""
_A_QUERY = 5_000
"""Ids named in one query at most."""


async def next_row(conn: AsyncConnection) -> int:
    """The number that the next offer gets in the book; kept for this transaction alone."""
    await rows.take_lock(conn, rows.LOCK_LISTING)
    return await rows.scalar_int(conn, select(func.coalesce(func.max(_OFFERS.c.row) + 1, 0)))


async def add_offer(conn: AsyncConnection, offer: Mapping[str, Any]) -> None:
    """List an offer. Raises Conflict (`offer_exists`) where its provider has one under the same key."""
    if not await rows.insert_new(conn, OfferRow, offer, KEY):
        raise Conflict(
            f"This provider already lists {offer['upstream_model']!r} in lane {offer['lane']!r}. "
            "Change that offer, or give this one a variant.",
            code="offer_exists",
        )


async def get_offer(conn: AsyncConnection, offer_id: str) -> OfferRow | None:
    """The offer under an id, withdrawn or not, or None."""
    return await rows.get(conn, OfferRow, offer_id)


async def offer_by_key(
    conn: AsyncConnection, provider_id: str, upstream_model: str, lane: str, variant: str = ""
) -> OfferRow | None:
    """The offer that a provider lists under that key, withdrawn or not, or None."""
    key = (provider_id, upstream_model, lane, variant)
    query = select(_OFFERS).where(*(_OFFERS.c[name] == value for name, value in zip(KEY, key, strict=True)))
    return await rows.fetch_one(conn, query, OfferRow)


async def list_offers(
    conn: AsyncConnection,
    *,
    provider_id: str | None = None,
    model: str | None = None,
    after_row: int = -1,
    limit: int | None = 50,
) -> list[OfferRow]:
    """Offers in the order of their rows, withdrawn ones included; `limit` None gives all."""
    query = select(_OFFERS).where(_OFFERS.c.row > after_row).order_by(_OFFERS.c.row).limit(limit)
    if provider_id is not None:
        query = query.where(_OFFERS.c.provider_id == provider_id)
    if model is not None:
        query = query.where(_OFFERS.c.model == model)
    return await rows.fetch(conn, query, OfferRow)


async def update_body(conn: AsyncConnection, offer_id: str, body: str) -> bool:
    """Replace a listing that is not withdrawn; False where there is none."""
    alive = (_OFFERS.c.id == offer_id, _OFFERS.c.withdrawn_at.is_(None))
    return await rows.changed(conn, update(_OFFERS).where(*alive).values(body=body)) == 1


async def withdraw(conn: AsyncConnection, offer_id: str, at_us: int) -> bool:
    """Withdraw an offer; False where there is none or it was withdrawn before. Its row stays."""
    alive = (_OFFERS.c.id == offer_id, _OFFERS.c.withdrawn_at.is_(None))
    return await rows.changed(conn, update(_OFFERS).where(*alive).values(withdrawn_at=at_us)) == 1


async def bind_sources(conn: AsyncConnection, offer_ids: Sequence[str], source: str) -> set[str]:
    """Bind offers to the source of their prices, each once: the first to quote it. Those that it was bound to now."""
    bound: set[str] = set()
    for first in range(0, len(offer_ids), _A_QUERY):
        unbound = (_OFFERS.c.id.in_(offer_ids[first : first + _A_QUERY]), _OFFERS.c.price_source.is_(None))
        statement = update(_OFFERS).where(*unbound).values(price_source=source).returning(_OFFERS.c.id)
        bound |= set((await conn.execute(statement)).scalars())
    return bound


async def change_price_source(conn: AsyncConnection, offer_id: str, source: str | None) -> None:
    """Bind an offer to another source of its prices."""
    await rows.changed(conn, update(_OFFERS).where(_OFFERS.c.id == offer_id).values(price_source=source))


async def add_quotes(conn: AsyncConnection, quotes: Sequence[Mapping[str, Any]]) -> None:
    """Store quotes as taken."""
    await rows.insert(conn, QuoteRow, quotes)


async def newest_sequences(conn: AsyncConnection, offer_ids: Sequence[str], source: str) -> dict[str, int]:
    """The highest sequence that each offer has from a source; offers without one are left out."""
    newest = (
        select(func.max(_QUOTES.c.sequence))
        .where(_QUOTES.c.offer_id == _OFFERS.c.id, _QUOTES.c.source == source)
        .scalar_subquery()
    )
    found: dict[str, int] = {}
    for first in range(0, len(offer_ids), _A_QUERY):
        query = select(_OFFERS.c.id, newest).where(_OFFERS.c.id.in_(offer_ids[first : first + _A_QUERY]))
        found |= {offer: last for offer, last in await conn.execute(query) if last is not None}
    return found


async def providers_of(conn: AsyncConnection, offer_ids: Sequence[str]) -> dict[str, str]:
    """The provider of each offer."""
    found: dict[str, str] = {}
    for first in range(0, len(offer_ids), _A_QUERY):
        names = offer_ids[first : first + _A_QUERY]
        query = select(_OFFERS.c.id, _OFFERS.c.provider_id).where(_OFFERS.c.id.in_(names))
        found |= {row.id: row.provider_id for row in await conn.execute(query)}
    return found


async def last_accepted(conn: AsyncConnection, offer_id: str, source: str) -> QuoteRow | None:
    """The newest quote of an offer from a source that is not quarantined, in force or not."""
    query = (
        select(_QUOTES)
        .where(_QUOTES.c.offer_id == offer_id, _QUOTES.c.source == source, _QUOTES.c.quarantined.is_(False))
        .order_by(_QUOTES.c.sequence.desc(), _QUOTES.c.valid_from)
        .limit(1)
    )
    return await rows.fetch_one(conn, query, QuoteRow)


async def get_quote(conn: AsyncConnection, quote_id: str) -> QuoteRow | None:
    """The quote under an id, or None."""
    return await rows.get(conn, QuoteRow, quote_id)


async def change_quote(conn: AsyncConnection, quote_id: str, values: Mapping[str, Any]) -> None:
    """Change a quote's columns: confirm it, or end it."""
    await rows.changed(conn, update(_QUOTES).where(_QUOTES.c.id == quote_id).values(**values))


async def list_quotes(
    conn: AsyncConnection,
    *,
    offer_id: str | None = None,
    provider_id: str | None = None,
    quarantined: bool | None = None,
    alive_at: int | None = None,
    before: str | None = None,
    limit: int = 50,
) -> list[QuoteRow]:
    """Quotes as taken, the newest first; with `alive_at` (µs) only those that have not ended by then."""
    query = select(_QUOTES).order_by(_QUOTES.c.id.desc()).limit(limit)
    if offer_id is not None:
        query = query.where(_QUOTES.c.offer_id == offer_id)
    if provider_id is not None:
        query = query.where(
            _QUOTES.c.offer_id.in_(select(_OFFERS.c.id).where(_OFFERS.c.provider_id == provider_id))
        )
    if quarantined is not None:
        query = query.where(_QUOTES.c.quarantined.is_(quarantined))
    if alive_at is not None:
        query = query.where(or_(_QUOTES.c.valid_until.is_(None), _QUOTES.c.valid_until > alive_at))
    if before is not None:
        query = query.where(_QUOTES.c.id < before)
    return await rows.fetch(conn, query, QuoteRow)


async def newest_sequence(conn: AsyncConnection, offer_id: str, source: str) -> int | None:
    """The highest sequence that an offer has from a source, or None."""
    query = select(func.max(_QUOTES.c.sequence)).where(
        _QUOTES.c.offer_id == offer_id, _QUOTES.c.source == source
    )
    newest: int | None = (await conn.execute(query)).scalar()
    return newest


async def quotes_alive(
    conn: AsyncConnection, offer_ids: Sequence[str] | None, source: str | None, now_us: int
) -> list[QuoteRow]:
    """Quotes that are or may yet come in force at or after an instant, by offer and sequence.

    Those that one newer quote covers from then on are left out. `offer_ids` None is every offer (name at most
    a few thousand), `source` None every source.
    """
    newer = _QUOTES.alias("newer")
    begins = case((_QUOTES.c.valid_from > now_us, _QUOTES.c.valid_from), else_=now_us)
    covered = select(newer.c.id).where(
        newer.c.offer_id == _QUOTES.c.offer_id,
        newer.c.source == _QUOTES.c.source,
        newer.c.sequence > _QUOTES.c.sequence,
        or_(newer.c.quarantined.is_(False), _QUOTES.c.quarantined.is_(True)),
        newer.c.valid_from <= begins,
        or_(
            newer.c.valid_until.is_(None),
            and_(_QUOTES.c.valid_until.is_not(None), newer.c.valid_until >= _QUOTES.c.valid_until),
        ),
    )
    query = (
        select(_QUOTES)
        .where(or_(_QUOTES.c.valid_until.is_(None), _QUOTES.c.valid_until > now_us), ~covered.exists())
        .order_by(_QUOTES.c.offer_id, _QUOTES.c.source, _QUOTES.c.sequence, _QUOTES.c.valid_from)
    )
    if offer_ids is not None:
        query = query.where(_QUOTES.c.offer_id.in_(offer_ids))
    if source is not None:
        query = query.where(_QUOTES.c.source == source)
    return await rows.fetch(conn, query, QuoteRow)


async def quotes_since(conn: AsyncConnection, offer_id: str, source: str, since_us: int) -> list[QuoteRow]:
    """An offer's price history from a source: quotes in force at or after an instant, the oldest first."""
    query = (
        select(_QUOTES)
        .where(
            _QUOTES.c.offer_id == offer_id,
            _QUOTES.c.source == source,
            or_(_QUOTES.c.valid_until.is_(None), _QUOTES.c.valid_until > since_us),
        )
        .order_by(_QUOTES.c.valid_from, _QUOTES.c.sequence)
    )
    return await rows.fetch(conn, query, QuoteRow)


async def get_many(conn: AsyncConnection, offer_ids: Sequence[str]) -> list[OfferRow]:
    """The offers under these ids (at most a few thousand), in the order of their rows."""
    return await rows.fetch(
        conn, select(_OFFERS).where(_OFFERS.c.id.in_(offer_ids)).order_by(_OFFERS.c.row), OfferRow
    )


async def relist(conn: AsyncConnection, offer_id: str, body: str, model: str | None = None) -> None:
    """Put a listing back, or replace it, where its provider offers it (again); `model` where that may differ."""
    statement = update(_OFFERS).where(_OFFERS.c.id == offer_id).values(body=body, withdrawn_at=None)
    await rows.changed(conn, statement if model is None else statement.values(model=model))


async def list_by(conn: AsyncConnection, offer_id: str, feed_id: str | None) -> None:
    """Say which feed lists an offer; None: none does, it stands by itself."""
    await rows.changed(conn, update(_OFFERS).where(_OFFERS.c.id == offer_id).values(listed_by=feed_id))


async def quotes_in_force(
    conn: AsyncConnection, offer_ids: Sequence[str], since_us: int, until_us: int
) -> list[QuoteRow]:
    """Quotes of these offers, from any source, that were in force at some instant of `[since_us, until_us]`."""
    query = select(_QUOTES).where(
        _QUOTES.c.offer_id.in_(offer_ids),
        _QUOTES.c.valid_from <= until_us,
        or_(_QUOTES.c.valid_until.is_(None), _QUOTES.c.valid_until > since_us),
    )
    return await rows.fetch(conn, query.order_by(_QUOTES.c.offer_id, _QUOTES.c.sequence), QuoteRow)
