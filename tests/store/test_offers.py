import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lowtide.store import accounts, offers, providers
from lowtide.store.database import Database
from lowtide.values.errors import Conflict
from tests.store.samples import NOW, list_offer, open_account


async def test_rows_are_numbered_in_the_order_of_listing(
    database: Database, another: Callable[[], Awaitable[Database]]
):
    await list_offer(database, 0)
    nodes = [database, await another()]
    await asyncio.gather(*(list_offer(nodes[n % 2], n) for n in range(1, 20)))
    async with database.read() as conn:
        found = await offers.list_offers(conn)
    assert [offer.row for offer in found] == list(range(20))


async def test_an_offer_is_listed_once_under_its_key(database: Database):
    await list_offer(database, 1)
    with pytest.raises(Conflict) as refused:
        await list_offer(database, 1, id="offer_other")
    assert refused.value.code == "offer_exists"
    await list_offer(database, 1, id="offer_other", variant="eu")
    async with database.read() as conn:
        found = await offers.offer_by_key(conn, "prov_a", "small-1", "standard", "eu")
    assert found is not None
    assert found.id == "offer_other"


async def test_an_offer_has_one_price_source_for_good(database: Database):
    await list_offer(database)

    async def bind(source: str) -> set[str]:
        return await database.writer.write(lambda conn: offers.bind_sources(conn, ["offer_0"], source))

    assert await bind("push")
    assert not await bind("feed_1")
    async with database.read() as conn:
        found = await offers.get_offer(conn, "offer_0")
    assert found is not None
    assert found.price_source == "push"


async def test_a_withdrawn_offer_keeps_its_row_and_takes_no_changes(database: Database):
    await list_offer(database)
    assert await database.writer.write(lambda conn: offers.update_body(conn, "offer_0", '{"a":1}'))
    assert await database.writer.write(lambda conn: offers.withdraw(conn, "offer_0", NOW))
    assert not await database.writer.write(lambda conn: offers.withdraw(conn, "offer_0", NOW + 1))
    assert not await database.writer.write(lambda conn: offers.update_body(conn, "offer_0", "{}"))
    async with database.read() as conn:
        (found,) = await offers.list_offers(conn, model="small", provider_id="prov_a")
        assert await offers.list_offers(conn, model="large") == []
    assert (found.withdrawn_at, found.body) == (NOW, '{"a":1}')


def quote(
    quote_id: str, sequence: int, valid_from: int, valid_until: int | None, **columns: Any
) -> dict[str, Any]:
    return {
        "id": quote_id,
        "offer_id": "offer_0",
        "source": "push",
        "sequence": sequence,
        "valid_from": NOW + valid_from,
        "valid_until": None if valid_until is None else NOW + valid_until,
        **columns,
    }


async def test_quotes_alive_are_those_that_may_still_come_in_force(database: Database):
    await list_offer(database)
    quotes = [
        quote("covered by open", 1, -50, None),
        quote("open", 2, -40, None),
        quote("ended", 3, -30, 0),
        quote("ahead", 4, 10, 20),
        quote("covered ahead", 5, 30, 40),
        quote("covering ahead", 6, 25, 40),
        quote("of a feed", 1, -10, None, source="feed_1"),
    ]
    await database.writer.write(lambda conn: offers.add_quotes(conn, quotes))
    async with database.read() as conn:
        pushed = [q.id for q in await offers.quotes_alive(conn, ["offer_0"], "push", NOW)]
        every = [q.id for q in await offers.quotes_alive(conn, None, None, NOW)]
        assert await offers.quotes_alive(conn, ["offer_1"], None, NOW) == []
        assert await offers.newest_sequence(conn, "offer_0", "push") == 6
        assert await offers.newest_sequence(conn, "offer_1", "push") is None
        history = [q.id for q in await offers.quotes_since(conn, "offer_0", "push", NOW - 20)]
    assert pushed == ["open", "ahead", "covering ahead"]
    assert every == ["of a feed", *pushed]
    assert history == ["covered by open", "open", "ended", "ahead", "covering ahead", "covered ahead"]


async def test_a_providers_name_is_its_own(database: Database):
    await list_offer(database)
    with pytest.raises(Conflict) as refused:
        await database.writer.write(
            lambda conn: providers.add_provider(
                conn, {"id": "x", "name": "alpha", "wire": "openai", "base_url": "u"}
            )
        )
    assert refused.value.code == "provider_exists"
    async with database.read() as conn:
        found = await providers.provider_by_name(conn, "alpha")
        assert [provider.id for provider in await providers.list_providers(conn)] == ["prov_a"]
    assert found is not None
    assert found.id == "prov_a"


async def test_feeds_come_due_and_tell_their_health(database: Database):
    await list_offer(database)
    for n, due_at in enumerate([NOW + 1, NOW, None]):
        feed = {"id": f"feed_{n}", "provider_id": "prov_a", "kind": "poll", "due_at": due_at}
        await database.writer.write(lambda conn, feed=feed: providers.add_feed(conn, feed))
    async with database.read() as conn:
        assert [feed.id for feed in await providers.due_feeds(conn, NOW)] == ["feed_1"]
    await database.writer.write(lambda conn: providers.update_health(conn, "feed_1", '{"ok":1}', NOW + 60))
    async with database.read() as conn:
        assert await providers.due_feeds(conn, NOW) == []
        assert [feed.health for feed in await providers.list_feeds(conn, "prov_a")] == ["", '{"ok":1}', ""]
        assert (await providers.get_feed(conn, "feed_9")) is None


async def test_a_key_is_found_by_its_hash_and_revoked_once(database: Database):
    await open_account(database)
    key = {"id": "key_1", "hash": "h", "shown": "lt_…abc", "role": "requester", "account_id": "acct_a"}
    await database.writer.write(lambda conn: accounts.add_key(conn, key))
    assert await database.writer.write(lambda conn: accounts.revoke_key(conn, "key_1", NOW))
    assert not await database.writer.write(lambda conn: accounts.revoke_key(conn, "key_1", NOW + 1))
    async with database.read() as conn:
        found = await accounts.key_by_hash(conn, "h")
        assert await accounts.key_by_hash(conn, "other") is None
        assert [k.id for k in await accounts.list_keys(conn, "acct_a")] == ["key_1"]
        assert await accounts.list_keys(conn, "acct_b") == []
    assert found is not None
    assert found.revoked_at == NOW
    with pytest.raises(Conflict):
        await open_account(database, id="acct_b")
