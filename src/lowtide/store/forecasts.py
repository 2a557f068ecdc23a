"""Forecasts that written decisions rest on: each stored once, in the commit of the first that does."""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.market.deferral.continuation import Forecast
from lowtide.store import rows
from lowtide.store.tables import ForecastRow

_FORECASTS = rows.table_of(ForecastRow)


async def keep(conn: AsyncConnection, forecasts: Collection[Forecast]) -> int:
    """Store those (some tens at most) that are not stored yet, each under its digest; how many that were."""
    by_digest = {forecast.digest(): forecast for forecast in forecasts}
    if not by_digest:
        return 0
    query = select(_FORECASTS.c.digest).where(_FORECASTS.c.digest.in_(by_digest))
    for known in (await conn.execute(query)).scalars():
        del by_digest[known]
    added = 0
    for digest, forecast in by_digest.items():
        values = {
            "digest": digest,
            "pool": forecast.pool,
            "made_at": forecast.made_at,
            "line": forecast.line(),
        }
        added += await rows.insert_new(conn, ForecastRow, values, ["digest"])
    return added


async def lines(conn: AsyncConnection, digests: Collection[str]) -> dict[str, bytes]:
    """The forecasts under these digests (a few hundred at most) as canonical JSON; those not stored are left out."""
    if not digests:
        return {}
    query = select(_FORECASTS.c.digest, _FORECASTS.c.line).where(_FORECASTS.c.digest.in_(digests))
    return {row.digest: row.line for row in await conn.execute(query)}
