import asyncio
from collections.abc import Awaitable, Callable

import pytest

from lowtide.store import accounts, money
from lowtide.store.database import Database
from lowtide.store.tables import Account
from lowtide.values.errors import Conflict, InsufficientFunds, NotFound
from tests.store.samples import NOW, open_account


async def state(database: Database) -> tuple[Account, dict[str, int]]:
    async with database.read() as conn:
        account = await accounts.get_account(conn, "acct_a")
        assert account is not None
        return account, await money.balances(conn)


async def authorize(database: Database, task_id: str, amount: int, number: int = 0) -> None:
    await database.writer.write(lambda conn: money.authorize(conn, "acct_a", task_id, number, amount, NOW))


async def settle(database: Database, task_id: str, captured: int, authorized: int, number: int = 0) -> bool:
    return await database.writer.write(
        lambda conn: money.settle(conn, "acct_a", task_id, number, captured, authorized, "alpha", NOW)
    )


async def test_settling_twice_changes_nothing(database: Database):
    await open_account(database, credit_limit_nano=1_000)
    await authorize(database, "task_1", 600)
    assert await settle(database, "task_1", 250, 600) is True
    before = await state(database)
    assert await settle(database, "task_1", 600, 600) is False
    assert await state(database) == before
    account, balances = before
    assert (account.authorized_nano, account.spent_nano) == (0, 250)
    assert balances == {"acct:acct_a:available": -250, "acct:acct_a:authorized": 0, "provider:alpha": 250}


async def test_settling_at_the_same_time_on_two_nodes_captures_once(
    database: Database, another: Callable[[], Awaitable[Database]]
):
    await open_account(database)
    await authorize(database, "task_1", 100)
    nodes = [database, await another()]
    done = await asyncio.gather(*(settle(nodes[n % 2], "task_1", 70, 100) for n in range(20)))
    assert sum(done) == 1
    assert (await state(database))[0].spent_nano == 70


async def test_authorizations_never_exceed_what_the_account_has(
    database: Database, another: Callable[[], Awaitable[Database]]
):
    await open_account(database, credit_limit_nano=700, deposited_nano=301)
    nodes = [database, await another()]
    results = await asyncio.gather(
        *(authorize(nodes[n % 2], f"task_{n}", 100) for n in range(50)), return_exceptions=True
    )
    refused = [result for result in results if result is not None]
    assert len(refused) == 40
    assert all(isinstance(fault, InsufficientFunds) for fault in refused)
    account, balances = await state(database)
    assert account.authorized_nano == balances["acct:acct_a:authorized"] == 1_000


async def test_the_house_bears_what_a_provider_charges_beyond_the_authorization(database: Database):
    await open_account(database)
    await authorize(database, "task_1", 100)
    await settle(database, "task_1", 130, 100)
    account, balances = await state(database)
    assert account.spent_nano == 100
    assert balances["house:overrun"] == -30
    assert balances["provider:alpha"] == 130
    assert sum(balances.values()) == 0


async def test_a_raised_authorization_is_settled_with_the_first(database: Database):
    await open_account(database, credit_limit_nano=150)
    await authorize(database, "task_1", 100)
    await database.writer.write(lambda conn: money.raise_authorization(conn, "acct_a", "task_1", 1, 50, NOW))
    with pytest.raises(InsufficientFunds):
        await database.writer.write(
            lambda conn: money.raise_authorization(conn, "acct_a", "task_1", 2, 1, NOW)
        )
    assert await settle(database, "task_1", 140, 150)
    account, _ = await state(database)
    assert (account.authorized_nano, account.spent_nano) == (0, 140)


async def test_an_authorization_is_written_once_a_number(database: Database):
    await open_account(database)
    await authorize(database, "task_1", 100)
    with pytest.raises(Conflict) as refused:
        await authorize(database, "task_1", 100)
    assert refused.value.code == "already_authorized"
    assert (await state(database))[0].authorized_nano == 100


async def test_more_than_was_set_aside_cannot_be_closed(database: Database):
    await open_account(database)
    await authorize(database, "task_1", 100)
    with pytest.raises(Conflict) as refused:
        await settle(database, "task_1", 10, 101)
    assert refused.value.code == "not_authorized"
    account, balances = await state(database)
    assert (account.authorized_nano, account.spent_nano) == (100, 0)
    assert "provider:alpha" not in balances


async def test_a_deposit_can_be_spent(database: Database):
    await open_account(database, credit_limit_nano=0)
    with pytest.raises(InsufficientFunds):
        await authorize(database, "task_1", 1)
    await database.writer.write(lambda conn: money.deposit(conn, "acct_a", 5, NOW))
    await authorize(database, "task_1", 5)
    account, balances = await state(database)
    assert (account.deposited_nano, account.authorized_nano) == (5, 5)
    assert balances == {"outside": -5, "acct:acct_a:available": 0, "acct:acct_a:authorized": 5}
    with pytest.raises(NotFound):
        await database.writer.write(lambda conn: money.deposit(conn, "acct_none", 5, NOW))
