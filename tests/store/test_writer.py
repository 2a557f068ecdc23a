import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import event, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.store import accounts, duties
from lowtide.store.database import Database
from lowtide.store.rows import table_of
from lowtide.store.tables import Account
from lowtide.values.errors import Unavailable
from tests.store.samples import NOW, open_account

ACCOUNTS = table_of(Account)
Another = Callable[[], Awaitable[Database]]


async def increment(conn: AsyncConnection) -> None:
    """Read, pause, and write what was read plus one: any lost update shows."""
    read = (await conn.execute(select(ACCOUNTS.c.deposited_nano))).scalar_one()
    await asyncio.sleep(0)
    await conn.execute(update(ACCOUNTS).values(deposited_nano=read + 1))


async def counter(database: Database) -> int:
    async with database.read() as conn:
        return int((await conn.execute(select(ACCOUNTS.c.deposited_nano))).scalar_one())


async def take(conn: AsyncConnection, name: str) -> bool:
    return await duties.take_or_renew(conn, name, "me", 0, 1_000)


async def names(database: Database) -> set[str]:
    async with database.read() as conn:
        return set((await conn.exec_driver_sql("select name from duties")).scalars())


async def test_240_concurrent_increments_on_three_nodes_stay_240(database: Database, another: Another):
    await open_account(database)
    nodes = [database, await another(), await another()]
    await asyncio.gather(*(node.writer.write(increment) for node in nodes for _ in range(80)))
    assert await counter(database) == 240


async def test_units_that_wait_together_share_a_commit(database: Database):
    commits = []
    event.listen(database.write_engine.sync_engine, "commit", commits.append)
    answers = await asyncio.gather(
        *(database.writer.write(lambda conn, n=n: take(conn, f"d{n}")) for n in range(60))
    )
    assert all(answers)
    assert len(commits) <= 2


async def test_a_failing_unit_leaves_the_others_committed_and_nothing_of_itself(database: Database):
    async def fail(conn: AsyncConnection) -> None:
        await take(conn, "of the failed")
        raise LookupError("no such thing")

    results = await asyncio.gather(
        database.writer.write(lambda conn: take(conn, "first")),
        database.writer.write(fail),
        database.writer.write(lambda conn: take(conn, "last")),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [bool, LookupError, bool]
    assert await names(database) == {"first", "last"}


async def test_an_error_of_the_database_fails_its_unit_alone(database: Database):
    async def twice(conn: AsyncConnection) -> None:
        for _ in range(2):
            await conn.exec_driver_sql("insert into duties (name, owner, until) values ('twice', 'x', 1)")

    results = await asyncio.gather(
        database.writer.write(twice),
        database.writer.write(lambda conn: take(conn, "good")),
        return_exceptions=True,
    )
    assert isinstance(results[0], IntegrityError)
    assert await names(database) == {"good"}


async def test_a_cancelled_caller_does_not_stop_the_writer(database: Database):
    entered = asyncio.Event()

    async def slow(conn: AsyncConnection) -> None:
        entered.set()
        await asyncio.sleep(0.05)

    caller = asyncio.create_task(database.writer.write(slow))
    await entered.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert await database.writer.write(lambda conn: take(conn, "after"))


async def test_a_unit_that_raises_a_cancellation_does_not_stop_the_writer(database: Database):
    async def cancelled(conn: AsyncConnection) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await database.writer.write(cancelled)
    assert await database.writer.write(lambda conn: take(conn, "after"))


async def test_closing_finishes_what_waits_and_refuses_what_comes_later(database: Database, another: Another):
    waiting = [
        asyncio.create_task(database.writer.write(lambda conn, n=n: take(conn, f"d{n}"))) for n in range(200)
    ]
    await asyncio.sleep(0)
    await database.close()
    assert all(await asyncio.gather(*waiting))
    assert len(await names(await another())) == 200
    with pytest.raises(Unavailable):
        await database.writer.write(lambda conn: take(conn, "late"))


async def test_nothing_is_answered_before_it_is_committed(database: Database, another: Another):
    reader = await another()
    for n in range(10):
        await database.writer.write(lambda conn, n=n: take(conn, f"d{n}"))
        assert f"d{n}" in await names(reader)


async def test_a_commit_that_fails_fails_every_unit_in_it(database: Database):
    def refuse(_connection: object) -> None:
        raise OSError("disk is gone")

    engine = database.write_engine.sync_engine
    event.listen(engine, "commit", refuse)
    results = await asyncio.gather(
        *(database.writer.write(lambda conn, n=n: take(conn, f"d{n}")) for n in range(3)),
        return_exceptions=True,
    )
    event.remove(engine, "commit", refuse)
    assert [type(result) for result in results] == [OSError] * 3
    assert await names(database) == set()
    assert await database.writer.write(lambda conn: take(conn, "after"))


async def test_a_lost_connection_is_replaced_and_the_units_run_again(database: Database):
    if database.dialect == "sqlite":
        pytest.skip("SQLite has no connection to lose")
    tries = []

    async def killed_once(conn: AsyncConnection) -> None:
        tries.append(conn)
        if len(tries) == 1:
            await conn.exec_driver_sql("select pg_terminate_backend(pg_backend_pid())")
        await take(conn, "again")

    await database.writer.write(killed_once)
    assert len(tries) == 2
    assert await names(database) == {"again"}


async def test_the_default_account_is_opened_once(database: Database, another: Another):
    nodes = [database, await another()]
    await asyncio.gather(
        *(
            node.writer.write(lambda conn: accounts.ensure_default_account(conn, NOW))
            for node in nodes
            for _ in "abc"
        )
    )
    async with database.read() as conn:
        found = await accounts.list_accounts(conn)
    assert [(account.id, account.credit_limit_nano) for account in found] == [("acct_default", None)]
