"""The outbox of notices to bidders, and the live feeds that stand."""

from lowtide.store import notices, providers
from lowtide.store.database import Database
from lowtide.store.tables import Feed
from tests.store.samples import NOW


def notice(number: int, feed_id: str = "feed_a", due_at: int = NOW) -> dict[str, object]:
    return {
        "id": f"evt_{number}",
        "feed_id": feed_id,
        "body": "{}",
        "due_at": due_at,
        "created_at": NOW + number,
    }


async def due(database: Database, feed_id: str = "feed_a", now: int = NOW, limit: int = 10) -> list[str]:
    async with database.read() as conn:
        return [one.id for one in await notices.due_of(conn, feed_id, now, limit)]


async def test_notices_are_due_by_feed_the_oldest_first(database: Database):
    rows = [notice(2), notice(1), notice(3, "feed_b"), notice(4, due_at=NOW + 1)]
    await database.writer.write(lambda conn: notices.add_notices(conn, rows))
    assert await due(database) == ["evt_1", "evt_2"]
    assert await due(database, limit=1) == ["evt_1"]
    assert await due(database, now=NOW + 1) == ["evt_1", "evt_2", "evt_4"]
    async with database.read() as conn:
        assert sorted(await notices.feeds_due(conn, NOW)) == ["feed_a", "feed_b"]
        assert await notices.feeds_due(conn, NOW - 1) == []


async def test_what_a_feed_does_not_take_is_put_off_together(database: Database):
    rows = [notice(1), notice(2), notice(3, "feed_b")]
    await database.writer.write(lambda conn: notices.add_notices(conn, rows))
    await database.writer.write(lambda conn: notices.postpone(conn, "feed_a", NOW, NOW + 9))
    assert (await due(database), await due(database, "feed_b")) == ([], ["evt_3"])
    async with database.read() as conn:
        later = await notices.due_of(conn, "feed_a", NOW + 9, 10)
    assert [(one.id, one.tries) for one in later] == [("evt_1", 1), ("evt_2", 1)]


async def test_notices_that_arrived_or_are_too_old_are_gone(database: Database):
    rows = [notice(number) for number in range(1, 5)]
    await database.writer.write(lambda conn: notices.add_notices(conn, rows))
    await database.writer.write(lambda conn: notices.forget(conn, ["evt_4"]))
    await database.writer.write(lambda conn: notices.forget(conn, []))
    assert await database.writer.write(lambda conn: notices.forget_before(conn, "feed_a", NOW + 3)) == 2
    assert await due(database) == ["evt_3"]


async def test_live_feeds_that_stand_come_with_their_provider_s_name(database: Database):
    async def unit(conn) -> None:
        provider = {
            "id": "prov_1",
            "name": "acme",
            "wire": "openai",
            "base_url": "http://x",
            "created_at": NOW,
        }
        await providers.add_provider(conn, provider)
        for name, kind in (("feed_2", "live"), ("feed_1", "live"), ("feed_3", "poll"), ("feed_4", "live")):
            row = Feed(id=name, provider_id="prov_1", kind=kind, spec="{}", health="{}", created_at=NOW)
            await providers.add_feed(conn, row.model_dump())
        await providers.close_feed(conn, "feed_4", NOW)

    await database.writer.write(unit)
    async with database.read() as conn:
        found = await providers.live_feeds(conn)
    assert [(feed.id, name) for feed, name in found] == [("feed_1", "acme"), ("feed_2", "acme")]
