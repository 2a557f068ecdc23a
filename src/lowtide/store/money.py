"""Money, nano-USD: accounts move by guarded updates, and every movement is a transfer in double entry."""

from collections.abc import Iterable

from sqlalchemy import BigInteger, bindparam, cast, func, or_, select, union_all, update
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.ledger import entries
from lowtide.ledger.entries import Entry
from lowtide.store import rows
from lowtide.store.tables import Account, Transfer
from lowtide.values.errors import Conflict, InsufficientFunds, NotFound
from lowtide.values.ids import new_id
from lowtide.values.money import usd

_ACCOUNTS = rows.table_of(Account)
_TRANSFERS = rows.table_of(Transfer)
_ONCE = ["task_id", "kind", "number"]

_A = _ACCOUNTS.c
_ROOM = _A.deposited_nano + _A.credit_limit_nano - _A.authorized_nano - _A.spent_nano
_MORE = bindparam("more", type_=BigInteger)
_SET_ASIDE = (
    update(_ACCOUNTS)
    .where(_A.id == bindparam("the_account"), or_(_A.credit_limit_nano.is_(None), _ROOM >= _MORE))
    .values(authorized_nano=_A.authorized_nano + _MORE)
)
_CLOSED = bindparam("closed", type_=BigInteger)
_CLOSE = (
    update(_ACCOUNTS)
    .where(_A.id == bindparam("the_account"), _A.authorized_nano >= _CLOSED)
    .values(
        authorized_nano=_A.authorized_nano - _CLOSED,
        spent_nano=_A.spent_nano + bindparam("captured", type_=BigInteger),
    )
)


async def deposit(conn: AsyncConnection, account_id: str, amount_nano: int, at_us: int) -> None:
    """Add money to an account. Raises NotFound where there is none."""
    entry = entries.deposit(account_id, amount_nano)
    added = {"deposited_nano": _ACCOUNTS.c.deposited_nano + amount_nano}
    if await rows.changed(conn, update(_ACCOUNTS).where(_ACCOUNTS.c.id == account_id).values(**added)) == 0:
        raise NotFound(f"There is no account {account_id}.")
    await _record(conn, [entry], None, 0, at_us)


async def authorize(
    conn: AsyncConnection, account_id: str, task_id: str, number: int, amount_nano: int, at_us: int
) -> None:
    """Set money aside for a task. The account never commits more than it has and may borrow.

    Raises InsufficientFunds where it would, Conflict (`already_authorized`) for a number used before.
    """
    await _set_aside(conn, account_id, task_id, number, entries.authorization(account_id, amount_nano), at_us)


async def raise_authorization(
    conn: AsyncConnection, account_id: str, task_id: str, number: int, more_nano: int, at_us: int
) -> None:
    """Set `more_nano` aside beside what a task has; `number` counts these. Raises as `authorize` does."""
    entry = entries.authorization(account_id, more_nano, kind="raise")
    await _set_aside(conn, account_id, task_id, number, entry, at_us)


async def settle(
    conn: AsyncConnection,
    account_id: str,
    task_id: str,
    number: int,
    captured_nano: int,
    authorized_nano: int,
    provider: str,
    at_us: int,
) -> bool:
    """Capture what was used of `authorized_nano`, the part this settlement closes, and void the rest.

    What exceeds it is borne by the house. False, and nothing moves, where the task's settlement of that
    number stands already. Raises Conflict (`not_authorized`) where the account has not so much set aside.
    """
    movement = entries.settlement(account_id, provider, captured_nano, authorized_nano)
    capture, *others = movement
    if not await _record_new(conn, capture, task_id, number, at_us):
        return False
    closed = {"the_account": account_id, "closed": authorized_nano, "captured": capture.amount_nano}
    if await rows.changed(conn, _CLOSE, closed) == 0:
        raise Conflict(
            f"Account {account_id} has less set aside than the {usd(authorized_nano)} USD of task {task_id}.",
            code="not_authorized",
        )
    await _record(conn, others, task_id, number, at_us)
    return True


async def balances(conn: AsyncConnection) -> dict[str, int]:
    """What stands on every ledger account, by summing all transfers; the values sum to zero."""
    sides = union_all(
        select(_TRANSFERS.c.credit.label("account"), _TRANSFERS.c.amount_nano.label("amount")),
        select(_TRANSFERS.c.debit.label("account"), (-_TRANSFERS.c.amount_nano).label("amount")),
    ).subquery()
    query = select(sides.c.account, cast(func.sum(sides.c.amount), BigInteger).label("balance")).group_by(
        sides.c.account
    )
    return {row.account: row.balance for row in await conn.execute(query)}


async def transfers_of_task(conn: AsyncConnection, task_id: str) -> list[Transfer]:
    """The movements of money for a task, in order."""
    query = (
        select(_TRANSFERS).where(_TRANSFERS.c.task_id == task_id).order_by(_TRANSFERS.c.at, _TRANSFERS.c.id)
    )
    return await rows.fetch(conn, query, Transfer)


async def _set_aside(
    conn: AsyncConnection, account_id: str, task_id: str, number: int, entry: Entry, at_us: int
) -> None:
    aside = {"the_account": account_id, "more": entry.amount_nano}
    if await rows.changed(conn, _SET_ASIDE, aside) == 0:
        raise InsufficientFunds(
            f"Account {account_id} cannot set aside {usd(entry.amount_nano)} USD more. "
            "Deposit money, raise its credit, or lower the task's max_cost."
        )
    if not await _record_new(conn, entry, task_id, number, at_us):
        raise Conflict(
            f"Task {task_id} has its {entry.kind} number {number} already.", code="already_authorized"
        )


async def _record_new(conn: AsyncConnection, entry: Entry, task_id: str, number: int, at_us: int) -> bool:
    return await rows.insert_new(conn, Transfer, _row(entry, task_id, number, at_us), _ONCE)


async def _record(
    conn: AsyncConnection, movement: Iterable[Entry], task_id: str | None, number: int, at_us: int
) -> None:
    await rows.insert(conn, Transfer, [_row(entry, task_id, number, at_us) for entry in movement])


def _row(entry: Entry, task_id: str | None, number: int, at_us: int) -> dict[str, object]:
    return {
        "id": new_id("xfer", at_us),
        "task_id": task_id,
        "kind": entry.kind,
        "number": number,
        "debit": entry.debit,
        "credit": entry.credit,
        "amount_nano": entry.amount_nano,
        "at": at_us,
    }


async def overrun(
    conn: AsyncConnection, task_id: str, number: int, amount_nano: int, provider_name: str, at_us: int
) -> bool:
    """Book on the house what a provider may have billed for an attempt without an answer; once an attempt."""
    entry = Entry("overrun", entries.OVERRUN, entries.provider(provider_name), amount_nano)
    return await _record_new(conn, entry, task_id, number, at_us)
