"""Accounts and their API keys."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.store import rows
from lowtide.store.tables import Account, ApiKey
from lowtide.values.errors import Conflict

DEFAULT_ACCOUNT = "acct_default"
_ACCOUNTS = rows.table_of(Account)
_KEYS = rows.table_of(ApiKey)


async def add_account(conn: AsyncConnection, account: Mapping[str, Any]) -> None:
    """Open an account. Raises Conflict (`account_exists`) where its name is taken."""
    if not await rows.insert_new(conn, Account, account, ["name"]):
        raise Conflict(
            f"An account named {account['name']!r} exists. Choose another name.", code="account_exists"
        )


async def ensure_default_account(conn: AsyncConnection, at_us: int) -> None:
    """Open the default account, without a credit limit, unless it is there."""
    row = {"id": DEFAULT_ACCOUNT, "name": "default", "created_at": at_us}
    await rows.insert_new(conn, Account, row, ["id"])


async def get_account(conn: AsyncConnection, account_id: str) -> Account | None:
    """The account under an id, or None."""
    return await rows.get(conn, Account, account_id)


async def list_accounts(conn: AsyncConnection, after: str = "", limit: int = 50) -> list[Account]:
    """Accounts by id, those after the id `after`."""
    query = select(_ACCOUNTS).where(_ACCOUNTS.c.id > after).order_by(_ACCOUNTS.c.id).limit(limit)
    return await rows.fetch(conn, query, Account)


async def add_key(conn: AsyncConnection, key: Mapping[str, Any]) -> None:
    """Store a key by its hash."""
    await rows.insert(conn, ApiKey, [key])


async def key_by_hash(conn: AsyncConnection, digest: str) -> ApiKey | None:
    """The key with that hash, be it revoked or expired, or None."""
    return await rows.fetch_one(conn, select(_KEYS).where(_KEYS.c.hash == digest), ApiKey)


async def list_keys(
    conn: AsyncConnection, account_id: str | None = None, after: str = "", limit: int = 50
) -> list[ApiKey]:
    """Keys by id, of one account or of all."""
    query = select(_KEYS).where(_KEYS.c.id > after).order_by(_KEYS.c.id).limit(limit)
    if account_id is not None:
        query = query.where(_KEYS.c.account_id == account_id)
    return await rows.fetch(conn, query, ApiKey)


async def revoke_key(conn: AsyncConnection, key_id: str, at_us: int) -> bool:
    """Revoke a key; False where there is none or it was revoked before."""
    statement = (
        update(_KEYS).where(_KEYS.c.id == key_id, _KEYS.c.revoked_at.is_(None)).values(revoked_at=at_us)
    )
    return await rows.changed(conn, statement) == 1


async def get_key(conn: AsyncConnection, key_id: str) -> ApiKey | None:
    """The key under an id, or None."""
    return await rows.get(conn, ApiKey, key_id)
