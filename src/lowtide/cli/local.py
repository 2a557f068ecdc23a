"""The market's database, opened directly: for what must work while no service runs."""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lowtide.cli.say import CommandFailed

if TYPE_CHECKING:
    from lowtide.app import Settings
    from lowtide.store.database import Database

R = TypeVar("R")


def settings(database: str | None = None, **overrides: Any) -> "Settings":
    """The settings in force; what was given on the command line comes first."""
    from lowtide.app import read_settings

    given = {name: value for name, value in overrides.items() if value is not None}
    return read_settings(**(given | ({"database_url": database} if database else {})))


def run(work: Coroutine[Any, Any, R]) -> R:
    """Run to the end. A fault of the database is one plain line."""
    import asyncio

    from sqlalchemy.exc import DBAPIError

    try:
        return asyncio.run(work)
    except DBAPIError as fault:
        raise CommandFailed(f"The database failed: {fault.orig}. Run `lowtide doctor`.") from None


def shown(database_url: str) -> str:
    """A database as people know it: the file's path, or the URL without its password."""
    from lowtide.store.database import normalised_url

    url = normalised_url(database_url)
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.render_as_string(hide_password=True).replace("+asyncpg", "")


def exists(database_url: str) -> bool:
    """False for a SQLite file that is not there yet."""
    from lowtide.store.database import normalised_url

    url = normalised_url(database_url)
    return url.get_backend_name() != "sqlite" or Path(str(url.database)).is_file()


async def ready(database_url: str, *, make: bool) -> None:
    """See that the database is migrated; with `make` a new one is made. Raises CommandFailed."""
    from lowtide.store import migrate

    if not exists(database_url) and not make:
        raise CommandFailed(
            f"There is no database at {shown(database_url)} yet. `lowtide serve` makes it; "
            "name another with --database or LOWTIDE_DATABASE_URL."
        )
    if not await migrate.pending(database_url):
        return
    if not make or await migrate.current(database_url) is not None:
        raise CommandFailed(
            f"The database {shown(database_url)} is behind this program. Run `lowtide migrate`."
        )
    await migrate.upgrade(database_url)


@asynccontextmanager
async def opened(database_url: str) -> AsyncIterator["Database"]:
    """The database, closed at the end."""
    from lowtide.store.database import Database

    database = await Database.open(database_url)
    try:
        yield database
    finally:
        await database.close()


def on_database(database: str | None, work: Callable[["Database"], Awaitable[R]], *, make: bool = False) -> R:
    """Run a piece of work on the migrated database."""
    url = settings(database).database_url

    async def whole() -> R:
        await ready(url, make=make)
        async with opened(url) as found:
            return await work(found)

    return run(whole())
