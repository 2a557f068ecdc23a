from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from lowtide.store.database import Database, normalised_url
from lowtide.values.errors import SetupError


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("sqlite:///market.db", "sqlite+aiosqlite"),
        ("postgres://u@h/d", "postgresql+asyncpg"),
        ("postgresql://u:p@h:5/d", "postgresql+asyncpg"),
        ("postgresql+psycopg2://u@h/d", "postgresql+asyncpg"),
    ],
)
def test_a_plain_url_gets_the_async_driver(given: str, driver: str):
    assert normalised_url(given).drivername == driver


@pytest.mark.parametrize("given", ["mysql://h/d", "market.db", "sqlite://", "sqlite:///:memory:", ""])
def test_a_url_that_cannot_serve_is_refused_with_what_to_do(given: str):
    with pytest.raises(SetupError, match="sqlite:///"):
        normalised_url(given)


async def test_a_database_that_cannot_be_reached_is_a_setup_error_without_its_password():
    with pytest.raises(SetupError) as refused:
        await Database.open("postgresql://u:secret@127.0.0.1:1/d")
    assert "secret" not in str(refused.value)


async def test_the_folder_of_a_sqlite_file_is_created(tmp_path: Path):
    database = await Database.open(f"sqlite:///{tmp_path}/new/folder/market.db")
    await database.close()
    assert (tmp_path / "new/folder/market.db").exists()


async def test_sqlite_is_durable_and_checks_references(tmp_path: Path):
    database = await Database.open(f"sqlite:///{tmp_path}/market.db")
    async with database.write_engine.connect() as conn:
        said = [
            (await conn.exec_driver_sql(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    await database.close()
    assert said == ["wal", 2, 1]


async def test_a_reader_cannot_write(database: Database):
    with pytest.raises(DBAPIError):
        async with database.read() as conn:
            await conn.execute(text("delete from duties"))


async def test_readers_go_on_while_a_writer_has_its_transaction_open(
    database: Database, another: Callable[[], Awaitable[Database]]
):
    async with database.write_engine.begin() as writing:
        await writing.execute(text("insert into duties (name, owner, until) values ('a', 'b', 1)"))
        async with (await another()).read() as conn:
            assert (await conn.execute(text("select count(*) from duties"))).scalar() == 0
