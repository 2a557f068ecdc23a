"""Who asks: bearer keys, their roles, and what a key may see."""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from typing import Annotated

import orjson
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from lowtide.api.context import market_of
from lowtide.exchange.market import Market
from lowtide.exchange.order import Claim
from lowtide.store import accounts
from lowtide.store.tables import ApiKey
from lowtide.values.errors import Forbidden, Unauthorized

ROLES = ("requester", "provider", "auditor", "operator")
PREFIX = "lt_"
_bearer = HTTPBearer(
    auto_error=False,
    bearerFormat="lt_…",
    description="A key made with `lowtide keys create` or POST /v1/keys.",
)


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of a key. Lists are None where they admit all."""

    key_id: str
    role: str
    account_id: str
    provider_id: str | None
    allow_models: tuple[str, ...] | None
    allow_providers: tuple[str, ...] | None
    allow_regions: tuple[str, ...] | None

    @property
    def sees_all(self) -> bool:
        """Operators and auditors see every account's tasks and auctions."""
        return self.role in ("operator", "auditor")

    @property
    def account_filter(self) -> str | None:
        """The account whose tasks the key may see; None for all."""
        return None if self.sees_all else self.account_id


def new_key() -> str:
    """A fresh key: 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def derived_key(bearer: str, claim: Claim) -> str:
    """The key that a claim makes: whoever repeats the request with the same bearer gets it again, and nothing keeps it."""
    digest = hmac.digest(bearer.encode(), f"key {claim.key} {claim.request_hash}".encode(), "sha256")
    return PREFIX + urlsafe_b64encode(digest).decode().rstrip("=")


def key_hash(key: str) -> str:
    """What the store keeps of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def _list(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(orjson.loads(text))


def principal_of(row: ApiKey) -> Principal:
    """The principal of a stored key."""
    return Principal(
        row.id,
        row.role,
        row.account_id,
        row.provider_id,
        _list(row.allow_models),
        _list(row.allow_providers),
        _list(row.allow_regions),
    )


async def authenticate(market: Market, key: str | None) -> Principal:
    """The holder of a key. Raises Unauthorized, saying what is wrong with it."""
    if not key:
        raise Unauthorized("Send your key: Authorization: Bearer lt_…")
    async with market.database.read() as conn:
        row = await accounts.key_by_hash(conn, key_hash(key))
    if row is None or row.revoked_at is not None:
        raise Unauthorized("This key is unknown or was revoked. Ask the operator for another.")
    if row.expires_at is not None and row.expires_at <= market.now():
        raise Unauthorized("This key has expired. Ask the operator for another.", code="key_expired")
    return principal_of(row)


class Requires:
    """A dependency: the principal, if its role is one of these. An operator may do everything."""

    def __init__(self, *roles: str) -> None:
        self._roles = roles

    async def __call__(
        self, request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> Principal:
        principal = await authenticate(market_of(request), given.credentials if given else None)
        if principal.role != "operator" and principal.role not in self._roles:
            raise Forbidden(
                f"A key of role {principal.role} may not do this; it needs {' or '.join(self._roles or ('operator',))}."
            )
        return principal


AnyRole = Annotated[Principal, Depends(Requires(*ROLES))]
Operator = Annotated[Principal, Depends(Requires())]
Requester = Annotated[Principal, Depends(Requires("requester"))]
Reader = Annotated[Principal, Depends(Requires("requester", "auditor"))]
Seller = Annotated[Principal, Depends(Requires("provider"))]
SellerOrAuditor = Annotated[Principal, Depends(Requires("provider", "auditor"))]
