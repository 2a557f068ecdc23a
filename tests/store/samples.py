"""Rows that tests build on, each with the least that its table needs."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.store import accounts, offers, providers, tasks
from lowtide.store.database import Database

NOW = 1_764_000_000_000_000


async def open_account(database: Database, **columns: Any) -> str:
    account = {"id": "acct_a", "name": "a", "created_at": NOW, **columns}
    await database.writer.write(lambda conn: accounts.add_account(conn, account))
    return str(account["id"])


async def list_offer(database: Database, number: int = 0, **columns: Any) -> str:
    async def unit(conn: AsyncConnection) -> None:
        if await providers.get_provider(conn, "prov_a") is None:
            provider = {"id": "prov_a", "name": "alpha", "wire": "openai", "base_url": "http://alpha.test"}
            await providers.add_provider(conn, provider)
        offer = {
            "id": f"offer_{number}",
            "row": await offers.next_row(conn),
            "provider_id": "prov_a",
            "model": "small",
            "upstream_model": f"small-{number}",
            "lane": "standard",
            **columns,
        }
        await offers.add_offer(conn, offer)

    await database.writer.write(unit)
    return str(columns.get("id", f"offer_{number}"))


def task(task_id: str, **columns: Any) -> dict[str, Any]:
    return {
        "id": task_id,
        "account_id": "acct_a",
        "key_id": "key_a",
        "state": "held",
        "task_type": "chat",
        "created_at": NOW,
        **columns,
    }


async def place(database: Database, *rows: dict[str, Any]) -> None:
    async def unit(conn: AsyncConnection) -> None:
        for row in rows:
            await tasks.add_task(conn, row, "{}")

    await database.writer.write(unit)
