"""Whether the database answers, is migrated, and whether its books balance."""

import asyncio
from typing import TYPE_CHECKING

from lowtide.cli import local
from lowtide.cli.findings import Finding, Serving
from lowtide.values.errors import SetupError
from lowtide.values.money import usd

if TYPE_CHECKING:
    from lowtide.store.database import Database

SEALER_S = 1.5
"""Twice the sealer's pace, with a margin: a line that still waits then is not being numbered."""
_TO_CHECK = "To check the service's, set LOWTIDE_DATABASE_URL to what it was started with"
_OPEN = ("queued", "held", "assigned", "running")


async def check_database(url: str, serving: Serving | None) -> list[Finding]:
    """The database of this shell's settings, and what stands in it; the log must be numbered where it is served.

    `serving`: what the service that answers has. It may use another database, and nothing is wrong with that.
    """
    from lowtide.store import migrate

    name = local.shown(url)
    if not local.exists(url):
        if serving is not None:
            detail = (
                f"{name}, of this shell's settings, is not there; the service at {serving.url} uses another"
            )
            return [Finding("database", "unset", detail, _TO_CHECK)]
        return [Finding("database", "unset", f"there is none at {name} yet", "`lowtide serve` makes it")]
    try:
        waiting = await migrate.pending(url)
    except SetupError as fault:
        return [Finding("database", "broken", fault.detail)]
    if waiting:
        behind = Finding("database", "broken", f"{name} lacks {', '.join(waiting)}", "lowtide migrate")
        return [behind]
    async with local.opened(url) as database:
        another = serving if serving is not None and not await _serves(database, serving) else None
        return [
            Finding("database", "ok", f"{name} answers and is migrated")
            if another is None
            else _another(name, another.url),
            await _book(database),
            await _waiting(database),
            await _log(database, serving=serving is not None and another is None),
            await _ledger(database),
        ]


def _another(name: str, service_url: str) -> Finding:
    detail = f"{name}, of this shell's settings, is migrated; the service at {service_url} uses another"
    return Finding("database", "ok", detail, _TO_CHECK)


async def _serves(database: "Database", serving: Serving) -> bool:
    """Whether the service's book is this database's, as far as can be told: a key may not see the digest."""
    from lowtide.store import book

    async with database.read() as conn:
        sealed = await book.version(conn, serving.version)
    if sealed is None:
        return serving.version == 0
    return serving.digest in (None, sealed.digest.hex())


async def _book(database: "Database") -> Finding:
    from lowtide.store import book
    from lowtide.values.clock import SystemClock
    from lowtide.values.instants import SECOND_US, micros

    async with database.read() as conn:
        head = await book.head(conn)
    if head is None:
        return Finding("book", "unset", "no version is sealed yet", "register a provider and an offer")
    age = (micros(SystemClock().now()) - head.sealed_at) // SECOND_US
    return Finding("book", "ok", f"version {head.version}, sealed {_age(age)} ago")


def _age(seconds: int) -> str:
    for unit, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"


async def _waiting(database: "Database") -> Finding:
    from lowtide.store import tasks
    from lowtide.values.clock import SystemClock
    from lowtide.values.instants import rfc3339

    async with database.read() as conn:
        counts = await tasks.counts_by_state(conn)
        due = await tasks.next_due(conn)
    shown = ", ".join(f"{counts[state]} {state}" for state in _OPEN if counts.get(state)) or "none waits"
    if due is not None:
        late = rfc3339(due) < rfc3339(SystemClock().now())
        shown += f"; the next is due {'since' if late else 'at'} {rfc3339(due)}"
    return Finding("tasks", "ok", shown)


async def _log(database: "Database", *, serving: bool) -> Finding:
    from lowtide.store import log

    async def look() -> tuple[int, int]:
        async with database.read() as conn:
            return await log.count_unnumbered(conn), await log.count_leaves(conn)

    left, before = await look()
    leaves = before
    if left and serving:
        await asyncio.sleep(SEALER_S)
        left, leaves = await look()
    if left and serving and leaves == before:
        return Finding(
            "log", "broken", f"{left} lines are not being numbered", "Restart the service; its log says why."
        )
    waits = f", {left} wait for their number" if left else ""
    return Finding("log", "ok", f"{leaves} lines are numbered{waits}")


async def _ledger(database: "Database") -> Finding:
    from sqlalchemy import func, select

    from lowtide.ledger.entries import authorized
    from lowtide.store import accounts, money, rows
    from lowtide.store.tables import TaskRow

    tasks = rows.table_of(TaskRow)
    open_sums = (
        select(tasks.c.account_id, func.sum(tasks.c.authorized_nano))
        .where(tasks.c.state.in_(_OPEN))
        .group_by(tasks.c.account_id)
    )
    async with database.read() as conn:
        balances = await money.balances(conn)
        known = await accounts.list_accounts(conn, limit=10_000)
        aside = {account: int(total) for account, total in await conn.execute(open_sums)}
    faults = [] if sum(balances.values()) == 0 else ["the transfers do not sum to zero"]
    for account in known:
        ledger = balances.get(authorized(account.id), 0)
        if not ledger == account.authorized_nano == aside.get(account.id, 0):
            faults.append(
                f"{account.id} has ${usd(account.authorized_nano)} set aside, its ledger ${usd(ledger)}, its open "
                f"tasks ${usd(aside.get(account.id, 0))}"
            )
    if faults:
        return Finding("ledger", "broken", "; ".join(faults), "Keep a copy of the database and report it.")
    total = sum(account.authorized_nano for account in known)
    return Finding("ledger", "ok", f"sums to zero; ${usd(total)} is set aside for open tasks")
