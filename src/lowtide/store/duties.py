"""Duties: named leases, in real time. One owner holds a duty until it drops it or goes silent."""

from sqlalchemy import delete, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.store import rows
from lowtide.store.tables import Duty

_DUTIES = rows.table_of(Duty)


async def take_or_renew(conn: AsyncConnection, name: str, owner: str, now_us: int, ttl_us: int) -> bool:
    """Take a duty that is free or whose lease has ended, or renew one's own; False where another holds it."""
    dialect = postgresql if conn.dialect.name == "postgresql" else sqlite
    lease = dialect.insert(_DUTIES).values(name=name, owner=owner, until=now_us + ttl_us)
    statement = lease.on_conflict_do_update(
        index_elements=["name"],
        set_={"owner": lease.excluded.owner, "until": lease.excluded.until},
        where=or_(_DUTIES.c.owner == owner, _DUTIES.c.until <= now_us),
    )
    return await rows.changed(conn, statement) == 1


async def drop(conn: AsyncConnection, name: str, owner: str) -> bool:
    """Give a duty up; False where the owner did not hold it."""
    return (
        await rows.changed(conn, delete(_DUTIES).where(_DUTIES.c.name == name, _DUTIES.c.owner == owner)) == 1
    )


async def live_owners(conn: AsyncConnection, now_us: int, prefix: str) -> set[str]:
    """The owners of unexpired duties whose name begins with a prefix (`node:` for signs of life)."""
    alive = (_DUTIES.c.until > now_us, _DUTIES.c.name.startswith(prefix, autoescape=True))
    return set((await conn.execute(select(_DUTIES.c.owner).where(*alive))).scalars())
