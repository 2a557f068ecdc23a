import asyncio
from collections.abc import Awaitable, Callable

import pytest

from lowtide.market.offer import Capacity
from lowtide.store import capacity
from lowtide.store.database import Database
from lowtide.store.tables import CapacityRow

MINUTE = 29_400_000


async def state_limits(database: Database, stated: Capacity) -> None:
    await database.writer.write(lambda conn: capacity.ensure(conn, "offer_0", stated))


async def reserve(database: Database, minute: int = MINUTE, tokens: int = 0) -> bool:
    return await database.writer.write(lambda conn: capacity.reserve(conn, "offer_0", minute, tokens))


async def after(database: Database, change: Callable[..., Awaitable[None]]) -> CapacityRow:
    await database.writer.write(lambda conn: change(conn, "offer_0"))
    return await counts(database)


async def counts(database: Database) -> CapacityRow:
    async with database.read() as conn:
        found = await capacity.get(conn, "offer_0")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("stated", "tokens", "fit"),
    [
        (Capacity(concurrency=10), 0, 10),
        (Capacity(requests_per_minute=7), 0, 7),
        (Capacity(tokens_per_minute=1_000), 300, 3),
        (Capacity(concurrency=50, requests_per_minute=40, tokens_per_minute=100), 5, 20),
        (Capacity(), 9, 64),
    ],
)
async def test_64_concurrent_reservers_on_two_nodes_never_oversell(
    database: Database, another: Callable[[], Awaitable[Database]], stated: Capacity, tokens: int, fit: int
):
    await state_limits(database, stated)
    nodes = [database, await another()]
    taken = await asyncio.gather(*(reserve(nodes[n % 2], tokens=tokens) for n in range(64)))
    assert sum(taken) == fit
    assert (await counts(database)).in_flight == fit


async def test_a_new_minute_frees_its_counts_but_not_the_places_in_flight(database: Database):
    await state_limits(database, Capacity(concurrency=2, requests_per_minute=1))
    assert await reserve(database)
    assert not await reserve(database)
    assert await reserve(database, MINUTE + 1)
    assert not await reserve(database, MINUTE + 2)


async def test_a_node_whose_clock_is_behind_does_not_reset_the_minute(database: Database):
    await state_limits(database, Capacity(requests_per_minute=1))
    assert await reserve(database, MINUTE + 1)
    assert not await reserve(database, MINUTE)
    assert (await counts(database)).minute == MINUTE + 1


async def test_a_released_place_can_be_taken_again_and_never_falls_below_none(database: Database):
    await state_limits(database, Capacity(concurrency=1))
    assert await reserve(database)
    await after(database, capacity.release)
    assert (await after(database, capacity.release)).in_flight == 0
    assert await reserve(database)


async def test_a_429_halves_what_is_usable_and_answers_bring_it_back_one_by_one(database: Database):
    await state_limits(database, Capacity(concurrency=4))
    for _ in range(4):
        assert await reserve(database)
    assert (await after(database, capacity.shrink)).usable == 2
    assert (await after(database, capacity.shrink)).usable == 1
    assert (await after(database, capacity.shrink)).usable == 1
    assert [(await after(database, capacity.grow)).usable for _ in range(6)] == [2, 2, 3, 3, 3, None]
    assert not await reserve(database)


async def test_limits_that_are_stated_again_keep_what_is_in_flight(database: Database):
    await state_limits(database, Capacity(concurrency=2))
    assert await reserve(database)
    await state_limits(database, Capacity(concurrency=1))
    assert not await reserve(database)


async def test_an_offer_without_a_row_has_no_place(database: Database):
    assert not await reserve(database)
