"""A market served over real HTTP with simulated providers behind it, and how tests speak to it in one line."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from lowtide.api.server import create_api
from lowtide.app import Running, attach, read_settings, running_market
from lowtide.simulate.server import serving
from lowtide.simulate.upstream import Upstreams
from lowtide.store import capacity, money
from lowtide.values.clock import Clock

OPERATOR_KEY = "lt_operator_of_the_tests"
_IDLE_APPS: list[FastAPI] = []
"""Applications without a market: building one takes a third of a second, and it keeps nothing of the last."""
FINAL = {"succeeded", "failed", "expired", "cancelled", "unfilled"}
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Where is my parcel?"}]}


@dataclass
class Served:
    """The market's URL, an operator's client, the market itself, and its simulated providers."""

    url: str
    client: httpx.AsyncClient
    running: Running
    upstreams: Upstreams
    upstream_url: str
    provider_ids: dict[str, str] = field(default_factory=dict)

    async def provider(self, name: str = "sim", base_url: str | None = None, **fields: Any) -> str:
        """Register a simulated provider; its id."""
        body = {"name": name, "base_url": base_url or f"{self.upstream_url}/{name}/v1", **fields}
        made = await self.client.post("/v1/providers", json=body)
        assert made.status_code == 201, made.text
        self.provider_ids[name] = made.json()["id"]
        return self.provider_ids[name]

    async def offer(
        self,
        provider: str = "sim",
        price: str | None = "1",
        *,
        model: str = "m",
        base_url: str | None = None,
        **fields: Any,
    ) -> str:
        """List an offer, its provider too where it is new, and quote one price for input and output; its id."""
        if provider not in self.provider_ids:
            await self.provider(provider, base_url)
        body = {"provider_id": self.provider_ids[provider], "model": model, **fields}
        made = await self.client.post("/v1/offers", json=body)
        assert made.status_code == 201, made.text
        offer_id: str = made.json()["id"]
        if price is not None:
            assert (await self.quote(offer_id, price)).status_code == 201
        return offer_id

    async def quote(self, offer_id: str, price: str, **fields: Any) -> httpx.Response:
        """Push a quote of one price for input and output, USD per million tokens."""
        body = {"prices": {"input_per_mtok": price, "output_per_mtok": price}, **fields}
        return await self.client.post(f"/v1/offers/{offer_id}/quotes", json=body)

    async def post(self, *, client: httpx.AsyncClient | None = None, **body: Any) -> dict[str, Any]:
        """Post a task; as it was answered."""
        made = await (client or self.client).post("/v1/tasks", json={"input": HELLO, **body})
        assert made.status_code == 201, made.text
        answer: dict[str, Any] = made.json()
        return answer

    async def done(self, **body: Any) -> dict[str, Any]:
        """Post a task and wait for its final state."""
        return await self.final((await self.post(**{"wait_s": 10, **body}))["id"])

    async def task(self, task_id: str) -> dict[str, Any]:
        """A task as it stands."""
        found = await self.client.get(f"/v1/tasks/{task_id}")
        assert found.status_code == 200, found.text
        answer: dict[str, Any] = found.json()
        return answer

    async def until(self, task_id: str, *states: str, within_s: float = 15.0) -> dict[str, Any]:
        """The task once it is in one of these states."""
        ends = time.monotonic() + within_s
        while (task := await self.task(task_id))["state"] not in states:
            assert time.monotonic() < ends, f"{task_id} is {task['state']} ({task['reason']}), not {states}"
            await asyncio.sleep(0.03)
        return task

    async def final(self, task_id: str, within_s: float = 15.0) -> dict[str, Any]:
        """The task in its final state."""
        return await self.until(task_id, *FINAL, within_s=within_s)

    async def key(self, role: str, **fields: Any) -> httpx.AsyncClient:
        """A client with a new key of a role."""
        made = await self.client.post("/v1/keys", json={"role": role, **fields})
        assert made.status_code == 201, made.text
        return client_of(self.url, made.json()["key"])

    async def called(self, provider: str, within_s: float = 5.0) -> None:
        """Wait until a simulated provider has been called."""
        ends = time.monotonic() + within_s
        while not self.upstreams.seen(provider).calls:
            assert time.monotonic() < ends, f"{provider} was never called"
            await asyncio.sleep(0.01)

    async def account(self, account_id: str = "acct_default") -> dict[str, Any]:
        """An account's balance."""
        answer: dict[str, Any] = (await self.client.get(f"/v1/accounts/{account_id}")).json()
        return answer

    async def balances(self) -> dict[str, int]:
        """What stands on every ledger account, nano-USD."""
        async with self.running.market.database.read() as conn:
            return await money.balances(conn)

    async def in_flight(self, offer_id: str) -> int:
        """Places taken at an offer."""
        async with self.running.market.database.read() as conn:
            row = await capacity.get(conn, offer_id)
        return 0 if row is None else row.in_flight


def client_of(url: str, key: str | None) -> httpx.AsyncClient:
    """A client with a key, or without."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=20)


def ahead(seconds: float) -> str:
    """RFC 3339 of an instant so many seconds from now."""
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    return moment.replace(tzinfo=None).isoformat() + "Z"


@asynccontextmanager
async def served_market(
    database: Path,
    upstreams: Upstreams,
    upstream_url: str,
    environment: Mapping[str, str] | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Served]:
    """A market without any stocked provider, on real HTTP; it ticks unless it has a clock that is stepped."""
    settings = read_settings(
        {
            "LOWTIDE_DATABASE_URL": f"sqlite:///{database}",
            "LOWTIDE_OPERATOR_KEY": OPERATOR_KEY,
            "LOWTIDE_ALLOW_PRIVATE_URLS": "true",
            **(environment or {}),
        }
    )
    quick = replace(
        settings,
        rules=replace(
            settings.rules, backoff_s=0.02, feed_timeout_s=0.5, pool_s=0.0, batch_poll_s=0.02, spot_rest_s=0.2
        ),
    )
    async with running_market(quick, clock, ticking=clock is None, stocked=False) as running:
        app = _IDLE_APPS.pop() if _IDLE_APPS else create_api(lambda _app: nullcontext())
        attach(app, running)
        async with serving(app) as url, client_of(url, OPERATOR_KEY) as client:
            yield Served(url, client, running, upstreams, upstream_url)
        _IDLE_APPS.append(app)
