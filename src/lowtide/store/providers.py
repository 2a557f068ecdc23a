"""Providers, and the feeds that bring their quotes."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.store import rows
from lowtide.store.tables import Feed, Provider
from lowtide.values.errors import Conflict

_PROVIDERS = rows.table_of(Provider)
_FEEDS = rows.table_of(Feed)


async def add_provider(conn: AsyncConnection, provider: Mapping[str, Any]) -> None:
    """Register a provider. Raises Conflict (`provider_exists`) where its name is taken."""
    if not await rows.insert_new(conn, Provider, provider, ["name"]):
        raise Conflict(
            f"A provider named {provider['name']!r} exists. Choose another name.", code="provider_exists"
        )


async def get_provider(conn: AsyncConnection, provider_id: str) -> Provider | None:
    """The provider under an id, or None."""
    return await rows.get(conn, Provider, provider_id)


async def provider_by_name(conn: AsyncConnection, name: str) -> Provider | None:
    """The provider of that name, or None."""
    return await rows.fetch_one(conn, select(_PROVIDERS).where(_PROVIDERS.c.name == name), Provider)


async def list_providers(conn: AsyncConnection, after: str = "", limit: int | None = 50) -> list[Provider]:
    """Providers by id, those after the id `after`; `limit` None gives all."""
    query = select(_PROVIDERS).where(_PROVIDERS.c.id > after).order_by(_PROVIDERS.c.id).limit(limit)
    return await rows.fetch(conn, query, Provider)


async def add_feed(conn: AsyncConnection, feed: Mapping[str, Any]) -> None:
    """Store a feed."""
    await rows.insert(conn, Feed, [feed])


async def get_feed(conn: AsyncConnection, feed_id: str) -> Feed | None:
    """The feed under an id, or None."""
    return await rows.get(conn, Feed, feed_id)


async def list_feeds(
    conn: AsyncConnection, provider_id: str | None = None, after: str = "", limit: int | None = 50
) -> list[Feed]:
    """Feeds by id, of one provider or of all; `limit` None gives all."""
    query = select(_FEEDS).where(_FEEDS.c.id > after).order_by(_FEEDS.c.id).limit(limit)
    if provider_id is not None:
        query = query.where(_FEEDS.c.provider_id == provider_id)
    return await rows.fetch(conn, query, Feed)


async def live_feeds(conn: AsyncConnection) -> list[tuple[Feed, str]]:
    """Live feeds that stand with their providers' names, the one registered first leading."""
    query = (
        select(_FEEDS, _PROVIDERS.c.name.label("provider_name"))
        .join(_PROVIDERS, _PROVIDERS.c.id == _FEEDS.c.provider_id)
        .where(_FEEDS.c.kind == "live", _FEEDS.c.closed_at.is_(None))
        .order_by(_FEEDS.c.id)
    )
    found = []
    for row in (await conn.execute(query)).mappings():
        values = dict(row)
        name = values.pop("provider_name")
        found.append((Feed(**values), name))
    return found


async def due_feeds(conn: AsyncConnection, now_us: int, limit: int = 50) -> list[Feed]:
    """Feeds whose next run is due, the longest due first."""
    query = (
        select(_FEEDS).where(_FEEDS.c.due_at <= now_us).order_by(_FEEDS.c.due_at, _FEEDS.c.id).limit(limit)
    )
    return await rows.fetch(conn, query, Feed)


async def update_health(conn: AsyncConnection, feed_id: str, health: str, due_at: int | None) -> None:
    """Write what the last runs gave (JSON), and when the next is due (µs; None: never by itself)."""
    statement = update(_FEEDS).where(_FEEDS.c.id == feed_id).values(health=health, due_at=due_at)
    await conn.execute(statement)


async def close_feed(conn: AsyncConnection, feed_id: str, at_us: int) -> None:
    """End a feed: it runs no more."""
    statement = update(_FEEDS).where(_FEEDS.c.id == feed_id).values(closed_at=at_us, due_at=None)
    await conn.execute(statement)


async def update_provider(conn: AsyncConnection, provider_id: str, values: Mapping[str, Any]) -> None:
    """Change a provider's columns."""
    await rows.changed(conn, update(_PROVIDERS).where(_PROVIDERS.c.id == provider_id).values(**values))
