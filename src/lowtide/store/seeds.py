"""The seed of each hour, which breaks ties: its hash may be told at once, the seed after the hour."""

import os

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.store import rows
from lowtide.store.tables import Seed
from lowtide.values.canonical import sha256
from lowtide.values.instants import HOUR_US

_SEEDS = rows.table_of(Seed)
SEED_BYTES = 32


async def seed_for(conn: AsyncConnection, hour_us: int) -> Seed:
    """The seed of the hour that begins at an instant (µs), drawn where none stands; the same for all."""
    seed = await rows.get(conn, Seed, hour_us)
    if seed is None:
        drawn = os.urandom(SEED_BYTES)
        row = {"hour": hour_us, "seed": drawn, "hash": sha256(drawn)}
        await rows.insert_new(conn, Seed, row, ["hour"])
        seed = await rows.get(conn, Seed, hour_us)
    assert seed is not None
    return seed


async def finished(conn: AsyncConnection, before_us: int) -> list[Seed]:
    """The seeds of the hours that ended at or before an instant, oldest first."""
    query = select(_SEEDS).where(_SEEDS.c.hour + HOUR_US <= before_us).order_by(_SEEDS.c.hour)
    return await rows.fetch(conn, query, Seed)
