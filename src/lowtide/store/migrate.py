"""Bringing a database to this program's schema. Nodes that start together wait for one another."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.store.database import create_engine, normalised_url, prepare_file
from lowtide.store.rows import LOCK_MIGRATION, take_lock
from lowtide.values.errors import SetupError

R = TypeVar("R")


async def upgrade(database_url: str) -> None:
    """Run the migrations that the database lacks, all in one transaction, under a lock.

    Raises SetupError where the database cannot be reached or was made by a newer program.
    """

    def run(connection: Connection) -> None:
        _refuse_unknown(_revision(connection))
        command.upgrade(_config(connection), "head")

    await _with_connection(database_url, run)


async def current(database_url: str) -> str | None:
    """The revision that the database stands at, or None of an empty one."""
    return await _with_connection(database_url, _revision)


async def pending(database_url: str) -> list[str]:
    """The revisions that the database lacks, the first first. Raises SetupError as `upgrade` does."""

    def find(connection: Connection) -> list[str]:
        revision = _revision(connection)
        _refuse_unknown(revision)
        scripts = _scripts().iterate_revisions("head", revision or "base")
        return [script.revision for script in scripts][::-1]

    return await _with_connection(database_url, find)


def migrations_folder() -> Path:
    """Where the migrations are: inside the installed package, or at the repository's root."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "_migrations", package.parent.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise SetupError("The migrations are not where this program was installed. Install it again.")


async def _with_connection(database_url: str, work: Callable[[Connection], R]) -> R:
    async with _locked(database_url) as connection:
        return await connection.run_sync(work)


@asynccontextmanager
async def _locked(database_url: str) -> AsyncIterator[AsyncConnection]:
    url = normalised_url(database_url)
    engine = create_engine(url)
    try:
        await prepare_file(url)
        async with engine.begin() as connection:
            await take_lock(connection, LOCK_MIGRATION)
            yield connection
    except (OSError, OperationalError) as fault:
        shown = url.render_as_string(hide_password=True)
        raise SetupError(
            f"The database {shown} cannot be migrated: {fault}. Check its address and rights."
        ) from fault
    finally:
        await engine.dispose()


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _refuse_unknown(revision: str | None) -> None:
    known = {script.revision for script in _scripts().walk_revisions()}
    if revision is not None and revision not in known:
        raise SetupError(
            f"The database is at {revision}, which a newer program made. Run that program, or a newer one."
        )
