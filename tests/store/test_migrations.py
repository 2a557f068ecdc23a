import asyncio

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from lowtide.store import migrate
from lowtide.store.database import Database
from lowtide.store.tables import METADATA
from lowtide.values.errors import SetupError


async def test_the_migrations_make_what_the_models_say(database: Database):
    def compare(connection: Connection) -> list[object]:
        return compare_metadata(MigrationContext.configure(connection), METADATA)

    async with database.read() as conn:
        assert await conn.run_sync(compare) == []


async def test_the_partial_indexes_are_partial(database: Database):
    query = {
        "sqlite": "select name, sql from sqlite_master where type = 'index' and sql like '% WHERE %'",
        "postgresql": "select indexname, indexdef from pg_indexes where indexdef like '% WHERE %'",
    }
    async with database.read() as conn:
        found = {row[0] for row in await conn.execute(text(query[database.dialect]))}
    assert found == {
        "tasks_held",
        "tasks_queued",
        "tasks_leased",
        "tasks_by_job",
        "log_unnumbered",
        "auctions_calls",
    }


async def test_nodes_that_start_together_migrate_once(empty_url: str):
    assert await migrate.current(empty_url) is None
    assert await migrate.pending(empty_url) == ["0001", "0002", "0003", "0004", "0005", "0006", "0007"]
    await asyncio.gather(*(migrate.upgrade(empty_url) for _ in range(4)))
    assert await migrate.current(empty_url) == "0007"
    assert await migrate.pending(empty_url) == []


async def test_a_database_of_a_newer_program_is_refused(database: Database, database_url: str):
    async def renumber(conn):
        await conn.execute(text("update alembic_version set version_num = '9999'"))

    await database.writer.write(renumber)
    for attempt in (migrate.upgrade, migrate.pending):
        with pytest.raises(SetupError, match="newer program"):
            await attempt(database_url)
