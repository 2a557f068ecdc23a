"""Accounts and keys (operator)."""

from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.api import answers, views
from lowtide.api.auth import AnyRole, Operator, derived_key, key_hash, new_key
from lowtide.api.bodies import NewAccount, NewKey
from lowtide.api.context import TheMarket
from lowtide.api.contract import told
from lowtide.api.idempotent import TheClaim
from lowtide.api.json_body import StrictRoute
from lowtide.api.pages import After, Limit, page
from lowtide.exchange.register import claimed
from lowtide.store import accounts, providers
from lowtide.store.tables import Account, ApiKey
from lowtide.values.errors import Forbidden, InvalidRequest, NotFound
from lowtide.values.ids import new_id

router = APIRouter(tags=["accounts and keys"], route_class=StrictRoute)


@router.post(
    "/accounts", status_code=201, summary="Open a prepaid account", responses=told(answers.Account, 201)
)
async def open_account(body: NewAccount, market: TheMarket, _who: Operator, once: TheClaim) -> Response:
    """An account with a credit line and no deposit; `credit_limit_usd: null` is credit without limit."""
    now = market.now()

    async def make() -> dict[str, Any]:
        row = Account(
            id=new_id("acct", now), name=body.name, credit_limit_nano=body.credit_limit_usd, created_at=now
        )

        async def unit(conn: AsyncConnection) -> None:
            await claimed(conn, once.claim, row.id, now)
            await accounts.add_account(conn, row.model_dump())

        await market.database.writer.write(unit)
        return views.account(row)

    async def again(account_id: str) -> dict[str, Any]:
        async with market.database.read() as conn:
            row = await accounts.get_account(conn, account_id)
        return views.account(row) if row is not None else {}

    return await once.answer(make, again)


@router.get("/accounts", summary="List accounts", responses=told(answers.Page[answers.Account]))
async def list_accounts(
    market: TheMarket, _who: Operator, limit: Limit = 50, after: After = None
) -> dict[str, Any]:
    """Accounts by id."""
    async with market.database.read() as conn:
        rows = await accounts.list_accounts(conn, after or "", limit + 1)
    return page(rows, limit, views.account, lambda row: row.id)


@router.get("/accounts/{account_id}", summary="Read an account's balance", responses=told(answers.Account))
async def read_account(account_id: str, market: TheMarket, who: AnyRole) -> dict[str, Any]:
    """Available, authorized and spent. A requester sees its own account."""
    if not who.sees_all and account_id != who.account_id:
        raise Forbidden("A key sees its own account only.")
    async with market.database.read() as conn:
        row = await accounts.get_account(conn, account_id)
    if row is None:
        raise NotFound(f"No account {account_id}.")
    return views.account(row)


@router.post("/keys", status_code=201, summary="Make a key", responses=told(answers.MadeKey, 201))
async def make_key(
    request: Request, body: NewKey, market: TheMarket, _who: Operator, once: TheClaim
) -> Response:
    """The secret is in this answer and nowhere else; a repeat under the same Idempotency-Key makes it anew."""
    now = market.now()
    if body.role == "provider" and body.provider_id is None:
        raise InvalidRequest(
            "A provider's key needs provider_id: whose offers it manages.", code="missing_field"
        )
    async with market.database.read() as conn:
        if await accounts.get_account(conn, body.account_id) is None:
            raise NotFound(
                f"No account {body.account_id}. List them with GET /v1/accounts.", code="unknown_account"
            )
        if body.provider_id is not None and await providers.get_provider(conn, body.provider_id) is None:
            raise NotFound(
                f"No provider {body.provider_id}. List them with GET /v1/providers.", code="unknown_provider"
            )
    bearer = request.headers.get("authorization", "").partition(" ")[2]
    secret = new_key() if once.claim is None else derived_key(bearer, once.claim)

    async def make() -> dict[str, Any]:
        row = key_row(body, secret, now)

        async def unit(conn: AsyncConnection) -> None:
            await claimed(conn, once.claim, row.id, now)
            await accounts.add_key(conn, row.model_dump())

        await market.database.writer.write(unit)
        return views.key(row, secret)

    async def again(key_id: str) -> dict[str, Any]:
        return await _shown(market, key_id, secret)

    return await once.answer(make, again, secret=True)


@router.get("/keys", summary="List keys", responses=told(answers.Page[answers.Key]))
async def list_keys(
    market: TheMarket, _who: Operator, limit: Limit = 50, after: After = None
) -> dict[str, Any]:
    """Keys by id, without their secrets."""
    async with market.database.read() as conn:
        rows = await accounts.list_keys(conn, after=after or "", limit=limit + 1)
    return page(rows, limit, views.key, lambda row: row.id)


@router.delete("/keys/{key_id}", summary="Revoke a key", responses=told(answers.Key))
async def revoke_key(key_id: str, market: TheMarket, _who: Operator) -> dict[str, Any]:
    """The key stops working at once."""
    now = market.now()
    await market.database.writer.write(lambda conn: accounts.revoke_key(conn, key_id, now))
    return await _shown(market, key_id)


async def _shown(market: TheMarket, key_id: str, secret: str | None = None) -> dict[str, Any]:
    async with market.database.read() as conn:
        row = await accounts.get_key(conn, key_id)
    if row is None:
        raise NotFound(f"No key {key_id}.")
    return views.key(row, secret)


def key_row(body: NewKey, secret: str, now: int) -> ApiKey:
    """The stored form of a key."""

    def text(values: list[str] | None) -> str | None:
        return None if values is None else orjson.dumps(values).decode()

    return ApiKey(
        id=new_id("key", now),
        hash=key_hash(secret),
        shown=f"{secret[:7]}…{secret[-4:]}",
        name=body.name,
        role=body.role,
        account_id=body.account_id,
        provider_id=body.provider_id,
        allow_models=text(body.allow_models),
        allow_providers=text(body.allow_providers),
        allow_regions=text(body.allow_regions),
        expires_at=body.expires_at,
        created_at=now,
    )
