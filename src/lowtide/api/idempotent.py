"""Idempotency-Key: the same key and body give the same answer; the same key with another body is a conflict."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import orjson
from fastapi import Depends, Header, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.api.auth import AnyRole
from lowtide.api.context import market_of
from lowtide.exchange.order import Claim
from lowtide.store import idempotency
from lowtide.values.errors import Conflict, InvalidRequest

MAX_KEY = 255


class Once:
    """One POST's claim, and the answer that was given before, if any."""

    def __init__(self, request: Request, claim: Claim | None) -> None:
        self._market = market_of(request)
        self.claim = claim

    async def answer(
        self,
        make: Callable[[], Awaitable[Any]],
        again: Callable[[str], Awaitable[Any]],
        status: int = 201,
        *,
        secret: bool = False,
    ) -> Response:
        """What `make` gives, as JSON, kept for repeats; for a repeat the answer kept.

        `again(resource id)` renders what was made where the answer to the first call was never kept: after a crash,
        and for an answer that holds a `secret`, which is told once.
        """
        claim = self.claim
        if claim is None:
            return _json(await make(), status)
        async with self._market.database.read() as conn:
            before = await idempotency.get(conn, claim.principal, claim.key)
        if before is None:
            body = await make()
            return _json(body, status) if secret else await self._keep(claim, body, status)
        if before.request_hash != claim.request_hash:
            raise Conflict(
                "This Idempotency-Key was used with another body. Use a new key for a new request.",
                code="idempotency_key_reused",
            )
        if before.response is not None:
            return Response(
                before.response,
                before.status or status,
                media_type="application/json",
                headers={"Idempotency-Replayed": "true"},
            )
        made = await again(before.resource_id)
        return _json(made, status) if secret else await self._keep(claim, made, status)

    async def _keep(self, claim: Claim, body: Any, status: int) -> Response:
        text = orjson.dumps(body).decode()

        async def first_wins(conn: AsyncConnection) -> str:
            kept = await idempotency.get(conn, claim.principal, claim.key)
            if kept is not None and kept.response is not None:
                return kept.response
            await idempotency.save_response(conn, claim.principal, claim.key, status, text)
            return text

        given = await self._market.database.writer.write(first_wins)
        return Response(given, status, media_type="application/json")


def _json(body: Any, status: int) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")


async def once(
    request: Request,
    principal: AnyRole,
    idempotency_key: Annotated[
        str | None, Header(max_length=MAX_KEY, description="Makes a POST safe to repeat")
    ] = None,
) -> Once:
    """The claim of a POST, by its key, path and body."""
    if idempotency_key is None:
        return Once(request, None)
    if not idempotency_key.strip():
        raise InvalidRequest(
            "The Idempotency-Key is empty. Send a unique one, or none.", code="empty_idempotency_key"
        )
    body = await request.body()
    digest = hashlib.sha256(request.url.path.encode() + b"\x00" + body).hexdigest()
    return Once(request, Claim(principal.key_id, idempotency_key, digest))


TheClaim = Annotated[Once, Depends(once)]
