"""Price history as stored: quotes as they were taken, and the bars to which old ones are compacted.

A bar stands for a step in which an offer's price from a source changed. The newest bar of an offer and source is kept
even where nothing changed: where it ends, the bars end and the quotes begin (the border).
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Select, and_, case, delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.store import rows
from lowtide.store.tables import PriceBar, QuoteRow

_BARS = rows.table_of(PriceBar)
_QUOTES = rows.table_of(QuoteRow)
_begins = case((_QUOTES.c.valid_from > _QUOTES.c.taken_at, _QUOTES.c.valid_from), else_=_QUOTES.c.taken_at)
"""From when a quote stood: it could not before it was taken."""
_ends = _BARS.c.start + _BARS.c.step


class TakenQuote(NamedTuple):
    """A quote as taken, over the time [begins, ends) in which it stood, µs; `prices` is JSON."""

    id: str
    begins: int
    ends: int | None
    sequence: int
    quarantined: bool
    prices: str
    offer_id: str
    source: str
    taken_at: int


class KeptBar(NamedTuple):
    """A bar of `step` µs; `bars` is JSON."""

    step: int
    start: int
    bars: str
    offer_id: str
    source: str


def _taken() -> Select[Any]:
    q = _QUOTES.c
    begins = _begins.label("begins")
    columns = (
        q.id,
        begins,
        q.valid_until,
        q.sequence,
        q.quarantined,
        q.prices,
        q.offer_id,
        q.source,
        q.taken_at,
    )
    return select(*columns).order_by(begins)


def _kept() -> Select[Any]:
    return select(_BARS.c.step, _BARS.c.start, _BARS.c.bars, _BARS.c.offer_id, _BARS.c.source)


def _quotes_of(offer_id: str, source: str) -> Any:
    return and_(_QUOTES.c.offer_id == offer_id, _QUOTES.c.source == source)


def _bars_of(offer_id: str, source: str) -> Any:
    return and_(_BARS.c.offer_id == offer_id, _BARS.c.source == source)


async def quotes_standing(
    conn: AsyncConnection, offer_id: str, source: str, since: int, until: int, limit: int | None = None
) -> list[TakenQuote]:
    """Quotes that stood at some instant of [since, until), by when they began to; at most `limit`."""
    query = _taken().where(
        _quotes_of(offer_id, source),
        _begins < until,
        or_(_QUOTES.c.valid_until.is_(None), _QUOTES.c.valid_until > since),
    )
    return [TakenQuote(*row) for row in await conn.execute(query.limit(limit))]


async def oldest_quotes(conn: AsyncConnection, offer_id: str, source: str, limit: int) -> list[TakenQuote]:
    """The quotes of the lowest sequences, in that order; they were taken in it too."""
    query = _taken().where(_quotes_of(offer_id, source)).order_by(None)
    query = query.order_by(_QUOTES.c.sequence, _QUOTES.c.valid_from).limit(limit)
    return [TakenQuote(*row) for row in await conn.execute(query)]


async def standing_of_many(
    conn: AsyncConnection, offer_ids: Sequence[str], since: int, until: int
) -> list[TakenQuote]:
    """Quotes of these offers (a few thousand at most), from any source, that stood in [since, until)."""
    query = _taken().where(
        _QUOTES.c.offer_id.in_(offer_ids),
        _begins < until,
        or_(_QUOTES.c.valid_until.is_(None), _QUOTES.c.valid_until > since),
    )
    return [TakenQuote(*row) for row in await conn.execute(query)]


async def last_end(
    conn: AsyncConnection, offer_id: str, source: str, until: int, above_sequence: int
) -> int | None:
    """When the last of those quotes with a higher sequence was over that were so by an instant."""
    query = select(func.max(_QUOTES.c.valid_until)).where(
        _quotes_of(offer_id, source),
        _QUOTES.c.valid_until <= until,
        _QUOTES.c.valid_until > _begins,
        _QUOTES.c.sequence > above_sequence,
    )
    found: int | None = (await conn.execute(query)).scalar()
    return found


async def newest_sequences(conn: AsyncConnection, offer_id: str, source: str) -> set[int]:
    """The highest sequence, and the highest of those that are not quarantined."""
    newest = select(_QUOTES.c.sequence).where(_quotes_of(offer_id, source))
    newest = newest.order_by(_QUOTES.c.sequence.desc()).limit(1)
    accepted = newest.where(_QUOTES.c.quarantined.is_(False))
    found = [(await conn.execute(query)).scalar() for query in (newest, accepted)]
    return {sequence for sequence in found if sequence is not None}


async def sources_with_old_quotes(conn: AsyncConnection, before: int) -> list[tuple[str, str]]:
    """Offers and sources with more than one quote that began before an instant: only then may one be over."""
    query = (
        select(_QUOTES.c.offer_id, _QUOTES.c.source)
        .where(_begins < before)
        .group_by(_QUOTES.c.offer_id, _QUOTES.c.source)
        .having(func.count() > 1)
        .order_by(_QUOTES.c.offer_id, _QUOTES.c.source)
    )
    return [(row.offer_id, row.source) for row in await conn.execute(query)]


async def sources_with_old_bars(conn: AsyncConnection, step: int, before: int) -> list[tuple[str, str]]:
    """Offers and sources with bars of a step (µs) that ended by an instant."""
    query = (
        select(_BARS.c.offer_id, _BARS.c.source)
        .where(_BARS.c.step == step, _ends <= before)
        .group_by(_BARS.c.offer_id, _BARS.c.source)
        .order_by(_BARS.c.offer_id, _BARS.c.source)
    )
    return [(row.offer_id, row.source) for row in await conn.execute(query)]


async def changing(conn: AsyncConnection, since: int, until: int, limit: int) -> list[tuple[str, str]]:
    """Offers and sources whose price may have changed in [since, until), those with the most changes first.

    A bar stands for a change, and so does a quote that follows another; whether prices differ is not looked at.
    """
    columns = ("offer_id", "source")
    quoted = select(_QUOTES.c.offer_id, _QUOTES.c.source).where(_begins >= since, _begins < until)
    barred = select(_BARS.c.offer_id, _BARS.c.source).where(_BARS.c.start >= since, _BARS.c.start < until)
    seen = quoted.union_all(barred).subquery()
    by = [seen.c[name] for name in columns]
    query = select(*by).group_by(*by).having(func.count() > 1).order_by(func.count().desc(), *by).limit(limit)
    return [(row.offer_id, row.source) for row in await conn.execute(query)]


async def bars_between(
    conn: AsyncConnection, offer_id: str, source: str, since: int, until: int, limit: int | None = None
) -> list[KeptBar]:
    """Bars that reach into [since, until), in order; at most `limit`."""
    query = _kept().where(_bars_of(offer_id, source), _ends > since, _BARS.c.start < until)
    return [KeptBar(*row) for row in await conn.execute(query.order_by(_BARS.c.start).limit(limit))]


async def bars_of_step(
    conn: AsyncConnection, offer_id: str, source: str, step: int, until: int, limit: int
) -> list[KeptBar]:
    """The oldest bars of a step (µs) that start before an instant."""
    query = _kept().where(_bars_of(offer_id, source), _BARS.c.step == step, _BARS.c.start < until)
    return [KeptBar(*row) for row in await conn.execute(query.order_by(_BARS.c.start).limit(limit))]


async def last_bars(
    conn: AsyncConnection, offer_id: str, source: str, until: int | None = None, limit: int = 1
) -> list[KeptBar]:
    """The newest bars, the newest first; `until` the newest that ended by then."""
    query = _kept().where(_bars_of(offer_id, source)).order_by(_BARS.c.start.desc()).limit(limit)
    if until is not None:
        query = query.where(_ends <= until)
    return [KeptBar(*row) for row in await conn.execute(query)]


async def bars_of_many(conn: AsyncConnection, offer_ids: Sequence[str], since: int) -> list[KeptBar]:
    """Bars of these offers (a few thousand at most), from any source, that end after an instant, and each offer's and
    source's last one before; in order."""
    last = (
        select(_BARS.c.offer_id, _BARS.c.source, func.max(_BARS.c.start).label("start"))
        .where(_BARS.c.offer_id.in_(offer_ids), _ends <= since)
        .group_by(_BARS.c.offer_id, _BARS.c.source)
        .subquery()
    )
    same = and_(*(_BARS.c[name] == last.c[name] for name in ("offer_id", "source", "start")))
    recent = _kept().where(_BARS.c.offer_id.in_(offer_ids), _ends > since)
    found = [KeptBar(*row) for row in await conn.execute(_kept().select_from(_BARS.join(last, same)))]
    found += [KeptBar(*row) for row in await conn.execute(recent)]
    return sorted(found, key=lambda bar: bar.start)


async def add_bars(conn: AsyncConnection, bars: Iterable[KeptBar]) -> None:
    """Write bars."""
    await rows.insert(conn, PriceBar, [bar._asdict() for bar in bars])


async def drop_bars(
    conn: AsyncConnection, offer_id: str, source: str, step: int, since: int, until: int
) -> int:
    """Delete the bars of a step (µs) that start in [since, until); how many."""
    statement = delete(_BARS).where(
        _bars_of(offer_id, source), _BARS.c.step == step, _BARS.c.start >= since, _BARS.c.start < until
    )
    return await rows.changed(conn, statement)


async def drop_quotes(conn: AsyncConnection, ids: Sequence[str]) -> int:
    """Delete quotes (a few thousand at most) by their ids; how many."""
    return await rows.changed(conn, delete(_QUOTES).where(_QUOTES.c.id.in_(ids))) if ids else 0
