"""Hearing at once that another node has sealed a version: PostgreSQL's LISTEN, with a poll beneath it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from lowtide.store.book import CHANNEL
from lowtide.store.database import Database


class BookListener:
    """Calls `follow` whenever a version is sealed. A lost connection is no fault: the poll finds the version too."""

    def __init__(self, database: Database, follow: Callable[[], Awaitable[None]]) -> None:
        self._url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._follow = follow
        self._connection: asyncpg.Connection | None = None
        self._following: set[asyncio.Future[None]] = set()

    async def start(self) -> None:
        """Connect and listen."""
        self._connection = await asyncpg.connect(self._url)
        await self._connection.add_listener(CHANNEL, self._heard)

    async def close(self) -> None:
        """Stop listening."""
        if self._connection is not None and not self._connection.is_closed():
            await self._connection.close()
        await asyncio.gather(*self._following, return_exceptions=True)

    def _heard(self, *_note: Any) -> None:
        if not self._following:
            following = asyncio.ensure_future(self._follow())
            self._following.add(following)
            following.add_done_callback(self._followed)

    def _followed(self, done: asyncio.Future[None]) -> None:
        self._following.discard(done)
        if not done.cancelled():
            done.exception()
