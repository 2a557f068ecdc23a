"""Old versions of the book go, but for those that an auction names; and every record still replays."""

from collections.abc import AsyncIterator
from contextlib import nullcontext
from datetime import timedelta

import httpx
import pytest

from lowtide.api.server import create_api
from lowtide.app import Running, attach, read_settings, running_market
from lowtide.exchange.compact import compact
from lowtide.exchange.seal import BookKeeper
from lowtide.market.offer import Conditions
from lowtide.simulate.clock import SteppedClock
from lowtide.store import book as stored_book
from lowtide.values.errors import NotFound
from lowtide.values.instants import instant
from tests.contract.served import HELLO, OPERATOR_KEY
from tests.store.samples import NOW


class Shop:
    """A market on a stepped clock, spoken to over its API."""

    def __init__(self, running: Running, clock: SteppedClock, client: httpx.AsyncClient) -> None:
        self.market, self.clock, self.client = running.market, clock, client
        self.offer = ""

    async def opened(self) -> "Shop":
        provider = (await self._post("/v1/providers", name="sim", base_url="https://sim.example/v1"))["id"]
        self.offer = (await self._post("/v1/offers", provider_id=provider, model="m"))["id"]
        await self._post("/v1/offers", provider_id=provider, model="other")
        return self

    async def day(self, price: str) -> int:
        """A day later, another price; the version that has it."""
        self.clock.advance_to(self.clock.now() + timedelta(days=1))
        prices = {"input_per_mtok": price, "output_per_mtok": price}
        version: int = (await self._post(f"/v1/offers/{self.offer}/quotes", prices=prices))["book_version"]
        return version

    async def auction(self) -> str:
        """A task that nobody serves; its auction."""
        found: str = (await self._post("/v1/tasks", input=HELLO, constraints={"models": ["other"]}))[
            "auction_id"
        ]
        return found

    async def replayed(self, auction: str) -> bool:
        answer = await self._post(f"/v1/auctions/{auction}/replay")
        return answer["identical"] is True

    async def _post(self, path: str, **body: object) -> dict[str, object]:
        answer = await self.client.post(path, json=body or None)
        assert answer.is_success, answer.text
        found: dict[str, object] = answer.json()
        return found


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    settings = read_settings(
        {
            "LOWTIDE_DATABASE_URL": database_url,
            "LOWTIDE_OPERATOR_KEY": OPERATOR_KEY,
            "LOWTIDE_ALLOW_PRIVATE_URLS": "1",
        }
    )
    clock = SteppedClock(instant(NOW))
    async with running_market(settings, clock, ticking=False, stocked=False) as running:
        app = create_api(lambda _app: nullcontext())
        attach(app, running)
        headers = {"authorization": f"Bearer {OPERATOR_KEY}"}
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://m", headers=headers) as client:
            yield await Shop(running, clock, client).opened()


async def test_versions_that_auctions_name_stay_and_replay_and_the_others_go_after_a_week(shop: Shop):
    versions, auctions = [], {}
    for price in ("1", "2", "3", "4", "5", "6"):
        versions.append(await shop.day(price))
        if price in ("2", "4"):
            auctions[versions[-1]] = await shop.auction()
    assert (await compact(shop.market)).versions == 0
    versions += [await shop.day(str(price)) for price in range(10, 20)]
    found = await compact(shop.market)
    assert found.versions > 0
    assert found.lines > 0
    assert (await compact(shop.market)).versions == 0
    keeper = BookKeeper(shop.market.database, shop.clock, lambda _offer: Conditions())
    await keeper.start()
    assert keeper.book.digest == shop.market.keeper.book.digest
    for version, auction in auctions.items():
        assert (await keeper.at(version)).version == version
        assert await shop.replayed(auction)
    for version in versions[-7:]:
        assert (await keeper.at(version)).version == version
    for version in set(versions[:6]) - set(auctions):
        with pytest.raises(NotFound):
            await keeper.at(version)
    await keeper.close()


async def test_of_lines_only_those_stay_that_a_version_still_has(shop: Shop):
    named = [await shop.day("1"), await shop.day("2"), await shop.day("3")][-1]
    await shop.auction()
    for price in range(4, 20):
        await shop.day(str(price))
    await compact(shop.market)
    async with shop.market.database.read() as conn:
        head = await stored_book.head(conn)
        assert head is not None
        lines = await stored_book.lines_between(conn, 0, head.version)
        standing = [v for v in range(head.version + 1) if await stored_book.version(conn, v) is not None]
    starts = [line.from_version for line in lines if (line.row, line.kind) == (0, "row")]
    for start, following in zip(starts, [*starts[1:], head.version + 1], strict=True):
        assert any(start <= version < following for version in standing)
    assert named in standing


async def test_the_version_in_force_is_never_taken_away_however_old_it_is(shop: Shop):
    version = await shop.day("1")
    shop.clock.advance_to(shop.clock.now() + timedelta(days=400))
    await compact(shop.market)
    async with shop.market.database.read() as conn:
        head = await stored_book.head(conn)
    assert head is not None
    assert head.version == version
