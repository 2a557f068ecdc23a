import asyncio
from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.store import book
from lowtide.store.database import Database


async def seal(conn: AsyncConnection, *lines: tuple[int, str, bytes]) -> int:
    before = await book.lock_head(conn)
    version = before.version + 1 if before else 1
    await book.add_version(conn, version, b"digest", 5, lines)
    return version


async def test_a_version_is_the_newest_line_of_each_row_and_kind(database: Database):
    for lines in (
        [(0, "row", b"a1"), (0, "conditions", b"c1"), (1, "row", b"b1")],
        [(1, "row", b"b2")],
        [(10, "row", b"d3"), (0, "conditions", b"c3")],
    ):
        await database.writer.write(lambda conn, lines=lines: seal(conn, *lines))
    async with database.read() as conn:
        seen = [[line[:3] for line in await book.lines_at(conn, version)] for version in range(5)]
        changes = await book.lines_between(conn, 1, 3)
        head = await book.head(conn)
    first = [(0, "conditions", b"c1"), (0, "row", b"a1"), (1, "row", b"b1")]
    second = [*first[:2], (1, "row", b"b2")]
    third = [(0, "conditions", b"c3"), (0, "row", b"a1"), (1, "row", b"b2"), (10, "row", b"d3")]
    assert seen == [[], first, second, third, third]
    assert [(line.from_version, line.line) for line in changes] == [(2, b"b2"), (3, b"c3"), (3, b"d3")]
    assert head is not None
    assert head.version == 3


async def test_sealers_on_two_nodes_give_every_version_one_number(
    database: Database, another: Callable[[], Awaitable[Database]]
):
    nodes = [database, await another()]

    async def bare(n: int) -> int:
        async with nodes[n % 2].write_engine.begin() as conn:
            return await seal(conn, (n, "row", b"x"))

    sealed = await asyncio.gather(*(bare(n) for n in range(8)))
    assert sorted(sealed) == list(range(1, 9))
