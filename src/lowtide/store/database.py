"""The database, SQLite or PostgreSQL: engines for writing and reading, and the group-committing writer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite
from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from lowtide.store.inline import connect_inline
from lowtide.store.writer import Writer
from lowtide.values.errors import SetupError

BUSY_TIMEOUT_MS = 10_000
"""How long a SQLite writer waits for another process's commit."""
READERS = 4
WAL_TRIES = 100
_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}


def normalised_url(url: str) -> URL:
    """The database URL with its async driver: `sqlite:///path` or `postgresql://user:password@host/name`.

    Raises SetupError for any other database, for text that is no URL, and for SQLite in memory.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise SetupError(
            f"The database address {url!r} is no URL. Use sqlite:///path/to/file.db or postgresql://user@host/name."
        ) from None
    family = parsed.drivername.partition("+")[0]
    if family not in _DRIVERS:
        raise SetupError(f"A database of kind {family!r} is not supported. Use sqlite:/// or postgresql://.")
    if family == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise SetupError(
            "SQLite in memory cannot be shared by connections. Name a file: sqlite:///path/to/file.db."
        )
    return parsed.set(drivername=_DRIVERS[family])


def create_engine(url: URL, *, reader: bool = False) -> AsyncEngine:
    """An engine for writers or readers. SQLite's own transactions lose updates: here BEGIN is said by us."""
    if url.get_backend_name() != "sqlite":
        options = {"postgresql_readonly": True} if reader else {}
        return create_async_engine(
            url, pool_size=READERS, max_overflow=READERS, pool_pre_ping=reader, execution_options=options
        )
    if reader:
        engine = create_async_engine(url, connect_args={"isolation_level": None}, pool_size=READERS)
    else:

        async def connect() -> aiosqlite.Connection:
            return await connect_inline(Path(str(url.database)), BUSY_TIMEOUT_MS / 1000)

        engine = create_async_engine(url, async_creator=connect, pool_size=1, max_overflow=READERS)
    begin = "BEGIN" if reader else "BEGIN IMMEDIATE"

    @event.listens_for(engine.sync_engine, "connect")
    def connected(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        if reader:
            cursor.execute("PRAGMA query_only = ON")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


async def prepare_file(url: URL) -> None:
    """Create a SQLite file's folder, and put the file in WAL mode, which stays with the file."""
    if url.get_backend_name() != "sqlite":
        return
    path = Path(str(url.database))
    await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
    async with aiosqlite.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000) as connection:
        for tried in range(1, WAL_TRIES + 1):
            try:
                await connection.execute("PRAGMA journal_mode = WAL")
                return
            # SQLite does not wait here for others who are switching the same new file.
            except aiosqlite.OperationalError:
                if tried == WAL_TRIES:
                    raise
                await asyncio.sleep(0.02)


class Database:
    """One node's access to the store. Write by `writer`, read by `read()`; both take core connections."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.dialect = url.get_backend_name()
        self.write_engine = create_engine(url)
        self.read_engine = create_engine(url, reader=True)
        self.writer = Writer(self.write_engine)

    @classmethod
    async def open(cls, url: str) -> "Database":
        """Connect and start the writer. Raises SetupError where the URL or the server cannot be used."""
        parsed = normalised_url(url)
        shown = parsed.set(drivername=parsed.get_backend_name()).render_as_string(hide_password=True)
        try:
            await prepare_file(parsed)
            database = cls(parsed)
            async with database.read():
                pass
        except (OSError, OperationalError) as fault:
            raise SetupError(
                f"The database {shown} cannot be opened: {fault}. Check its address and rights."
            ) from fault
        database.writer.start()
        return database

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection that only reads. SQLite shows it one state throughout, PostgreSQL one a statement."""
        async with self.read_engine.begin() as connection:
            yield connection

    async def close(self) -> None:
        """Finish the queued writes, then disconnect."""
        await self.writer.close()
        await self.write_engine.dispose()
        await self.read_engine.dispose()
