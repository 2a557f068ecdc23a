"""Forecasts that written decisions rest on: each stored once, in the commit of the first that does."""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.market.deferral.continuation import Forecast
from lowtide.store import rows
from lowtide.store.tables import ForecastRow

_FORECASTS = rows.table_of(ForecastRow)


async def keep(conn: AsyncConnection, forecast: Forecast) -> bool:
    """Store a forecast under its digest; False where it stands there already."""
    values = {
        "digest": forecast.digest(),
        "pool": forecast.pool,
        "made_at": forecast.made_at,
        "line": forecast.line(),
    }
    return await rows.insert_new(conn, ForecastRow, values, ["digest"])


async def lines(conn: AsyncConnection, digests: Collection[str]) -> dict[str, bytes]:
    """The forecasts under these digests (a few hundred at most) as canonical JSON; those not stored are left out."""
    if not digests:
        return {}
    query = select(_FORECASTS.c.digest, _FORECASTS.c.line).where(_FORECASTS.c.digest.in_(digests))
    return {row.digest: row.line for row in await conn.execute(query)}
