"""Places at an offer, counted in the store, so that several nodes never oversell together."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Update,
    and_,
    bindparam,
    case,
    func,
    or_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.market.offer import Capacity
from lowtide.store import rows
from lowtide.store.tables import CapacityRow

_CAPACITY = rows.table_of(CapacityRow)
_ROW = _CAPACITY.c
_THIS = _ROW.offer_id == bindparam("the_offer")


def _within(count: ColumnElement[int], limit: ColumnElement[Any]) -> ColumnElement[bool]:
    return or_(limit.is_(None), count <= limit)


def _limit(name: str) -> BindParameter[int | None]:
    return bindparam(name, type_=BigInteger)


def _reservation(*, limited: bool) -> Update:
    minute, tokens = bindparam("the_minute", type_=BigInteger), bindparam("the_tokens", type_=BigInteger)
    same = _ROW.minute >= minute
    requests = case((same, _ROW.minute_requests), else_=0) + 1
    used = case((same, _ROW.minute_tokens), else_=0) + tokens
    fits: tuple[ColumnElement[bool], ...] = (
        _within(_ROW.in_flight + 1, _ROW.concurrency),
        _within(_ROW.in_flight + 1, _ROW.usable),
        _within(requests, _ROW.requests_per_minute),
        _within(used, _ROW.tokens_per_minute),
    )
    if limited:
        fits += (
            _within(_ROW.in_flight + 1, _limit("the_concurrency")),
            _within(requests, _limit("the_requests")),
            _within(used, _limit("the_most_tokens")),
        )
    taken = {"in_flight": _ROW.in_flight + 1, "minute_requests": requests, "minute_tokens": used}
    latest = case((same, _ROW.minute), else_=minute)
    return update(_CAPACITY).where(_THIS, *fits).values(**taken, minute=latest)


def _growth() -> Update:
    full_round = _ROW.answered + 1 >= _ROW.usable
    grown = case(
        (and_(full_round, _ROW.usable + 1 >= _ROW.concurrency), None),
        (full_round, _ROW.usable + 1),
        else_=_ROW.usable,
    )
    answered = case((full_round, 0), else_=_ROW.answered + 1)
    return update(_CAPACITY).where(_THIS, _ROW.usable.is_not(None)).values(usable=grown, answered=answered)


_RESERVE = _reservation(limited=False)
_RESERVE_LIMITED = _reservation(limited=True)
_GROW = _growth()
_RELEASE = update(_CAPACITY).where(_THIS, _ROW.in_flight > 0).values(in_flight=_ROW.in_flight - 1)


async def ensure(conn: AsyncConnection, offer_id: str, stated: Capacity) -> None:
    """Keep an offer's stated limits; what is in flight stays."""
    limits = {
        "concurrency": stated.concurrency,
        "requests_per_minute": stated.requests_per_minute,
        "tokens_per_minute": stated.tokens_per_minute,
    }
    if not await rows.insert_new(conn, CapacityRow, {"offer_id": offer_id, **limits}, ["offer_id"]):
        await conn.execute(update(_CAPACITY).where(_CAPACITY.c.offer_id == offer_id).values(**limits))


async def get(conn: AsyncConnection, offer_id: str) -> CapacityRow | None:
    """An offer's counts, or None."""
    return await rows.get(conn, CapacityRow, offer_id)


async def reserve(
    conn: AsyncConnection, offer_id: str, minute: int, tokens: int, places: Capacity | None = None
) -> bool:
    """Take one place, and `tokens` of the minute (its number since 1970); False where any limit is reached.

    `places` are the limits of the price in force, where it has its own: they hold beside the offer's.
    A minute older than the stored one counts as the stored one: another node's clock may be ahead.
    """
    values: dict[str, str | int | None] = {"the_offer": offer_id, "the_minute": minute, "the_tokens": tokens}
    if places is None:
        return await rows.changed(conn, _RESERVE, values) == 1
    values |= {
        "the_concurrency": places.concurrency,
        "the_requests": places.requests_per_minute,
        "the_most_tokens": places.tokens_per_minute,
    }
    return await rows.changed(conn, _RESERVE_LIMITED, values) == 1


async def release(conn: AsyncConnection, offer_id: str) -> None:
    """Give one place back. Call it once for each attempt that ends (`end_attempt` says so)."""
    await conn.execute(_RELEASE, {"the_offer": offer_id})


async def shrink(conn: AsyncConnection, offer_id: str) -> None:
    """After a 429: halve what is usable (at first, what was in flight), to one place at least."""
    usable = func.coalesce(_CAPACITY.c.usable, _CAPACITY.c.in_flight) // 2
    halved = case((usable >= 1, usable), else_=1)
    await conn.execute(
        update(_CAPACITY).where(_CAPACITY.c.offer_id == offer_id).values(usable=halved, answered=0)
    )


async def grow(conn: AsyncConnection, offer_id: str) -> None:
    """After an answer: one place more for each full round of answers, up to the stated concurrency."""
    await conn.execute(_GROW, {"the_offer": offer_id})
