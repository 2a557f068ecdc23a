import asyncio
from collections.abc import Awaitable, Callable

from lowtide.store import auctions, events, log
from lowtide.store.database import Database
from lowtide.values.canonical import leaf_hash
from tests.store.samples import NOW, open_account, place, task


async def test_two_sealers_beside_writers_number_leaves_without_gaps_or_doubles(
    database: Database, another: Callable[[], Awaitable[Database]]
):
    nodes = [database, await another()]

    async def write(n: int) -> None:
        await nodes[n % 2].writer.write(lambda conn: log.append(conn, "auction", f"auc_{n}", b"%d" % n))

    async def seal(node: Database) -> int:
        numbered = 0
        while writing or await node.writer.write(log.count_unnumbered):
            numbered += await node.writer.write(lambda conn: log.number_leaves(conn, 7))
        return numbered

    writing = asyncio.gather(*(write(n) for n in range(150)))
    sealers = [asyncio.create_task(seal(node)) for node in nodes]
    await writing
    writing = None
    assert sum(await asyncio.gather(*sealers)) == 150
    async with database.read() as conn:
        lines = await log.stream(conn, -1, 1_000)
        assert await log.count_leaves(conn) == 150
    assert [line.leaf_index for line in lines] == list(range(150))
    assert len({line.id for line in lines}) == 150
    assert all(line.leaf_hash == leaf_hash(line.line) for line in lines)


async def test_sealers_on_bare_connections_wait_for_each_other(
    database: Database, another: Callable[[], Awaitable[Database]]
):
    await database.writer.write(
        lambda conn: log.append_all(conn, [("a", None, b"%d" % n) for n in range(20)])
    )

    async def seal(node: Database) -> int:
        async with node.write_engine.begin() as conn:
            numbered = await log.number_leaves(conn, 15)
            await asyncio.sleep(0.02)
            return numbered

    assert sorted(await asyncio.gather(seal(database), seal(await another()))) == [5, 15]


async def test_a_line_without_a_leaf_index_is_not_streamed(database: Database):
    await database.writer.write(
        lambda conn: log.append_all(conn, [("a", "auc_1", b"1"), ("b", "auc_1", b"2")])
    )
    await database.writer.write(lambda conn: log.number_leaves(conn, 1))
    async with database.read() as conn:
        assert [line.line for line in await log.stream(conn, -1, 9)] == [b"1"]
        assert [line.type for line in await log.lines_of_auction(conn, "auc_1")] == ["a", "b"]
        assert await log.count_unnumbered(conn) == 1


async def test_auctions_are_found_by_their_columns(database: Database):
    await open_account(database)
    await place(database, task("task_1"))
    for n in range(4):
        row = {
            "id": f"auc_{n}",
            "task_id": f"task_{n % 2}",
            "kind": "spot",
            "outcome": "awarded" if n else "unfilled",
            "reason": None if n else "no_bid",
            "winner_provider": "alpha" if n else None,
            "as_of": NOW + n,
        }
        await database.writer.write(lambda conn, row=row: auctions.add_auction(conn, row))

    async def ids(**filters: object) -> list[str]:
        async with database.read() as conn:
            return [found.id for found in await auctions.list_auctions(conn, **filters)]

    assert await ids() == ["auc_3", "auc_2", "auc_1", "auc_0"]
    assert await ids(after="auc_2", limit=1) == ["auc_1"]
    assert await ids(task_id="task_1") == await ids(account_id="acct_a") == ["auc_3", "auc_1"]
    assert await ids(reason="no_bid") == await ids(outcome="unfilled") == ["auc_0"]
    assert await ids(provider="alpha", from_us=NOW + 1, to_us=NOW + 3) == ["auc_2", "auc_1"]


async def test_events_are_read_on_from_the_last_seen(database: Database):
    rows = [{"task_id": f"task_{n % 2}", "kind": "moved", "data": str(n), "at": NOW} for n in range(6)]
    await database.writer.write(lambda conn: events.add_events(conn, rows))
    async with database.read() as conn:
        first = await events.of_task(conn, "task_0", limit=2)
        rest = await events.of_task(conn, "task_0", after=first[-1].id or 0)
        newest = await events.newest_id(conn)
    assert [event.data for event in first + rest] == ["0", "2", "4"]
    assert newest > (rest[-1].id or 0)
