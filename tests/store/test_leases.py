import asyncio
from collections.abc import Awaitable, Callable

from lowtide.store import duties, idempotency, seeds
from lowtide.store.database import Database
from lowtide.values.canonical import sha256
from lowtide.values.errors import Conflict
from lowtide.values.instants import HOUR_US
from tests.store.samples import NOW

Another = Callable[[], Awaitable[Database]]


async def test_one_owner_holds_a_duty_until_its_lease_ends(database: Database):
    async def take(owner: str, now: int) -> bool:
        return await database.writer.write(lambda conn: duties.take_or_renew(conn, "seal", owner, now, 10))

    assert await take("a", 0)
    assert not await take("b", 9)
    assert await take("a", 5)
    assert not await take("b", 14)
    assert await take("b", 15)
    assert not await take("a", 16)
    assert not await database.writer.write(lambda conn: duties.drop(conn, "seal", "a"))
    assert await database.writer.write(lambda conn: duties.drop(conn, "seal", "b"))
    assert await take("a", 16)


async def test_a_free_duty_is_taken_by_one_of_many(database: Database, another: Another):
    nodes = [database, await another()]
    taken = await asyncio.gather(
        *(
            nodes[n % 2].writer.write(lambda conn, n=n: duties.take_or_renew(conn, "seal", f"o{n}", NOW, 10))
            for n in range(20)
        )
    )
    assert sum(taken) == 1


async def test_the_living_are_those_whose_sign_of_life_has_not_run_out(database: Database):
    for name, owner, ttl in (("node:a", "a", 10), ("node:b", "b", 5), ("node_c", "c", 10), ("seal", "d", 10)):
        await database.writer.write(
            lambda conn, name=name, owner=owner, ttl=ttl: duties.take_or_renew(conn, name, owner, 0, ttl)
        )
    async with database.read() as conn:
        assert await duties.live_owners(conn, 5, "node:") == {"a"}
        assert await duties.live_owners(conn, 5, "node_") == {"c"}


async def test_everyone_gets_the_same_seed_of_an_hour(database: Database, another: Another):
    nodes = [database, await another()]
    drawn = await asyncio.gather(
        *(nodes[n % 2].writer.write(lambda conn: seeds.seed_for(conn, HOUR_US)) for n in range(20))
    )
    assert len({seed.seed for seed in drawn}) == 1
    assert drawn[0].hash == sha256(drawn[0].seed)
    other = await database.writer.write(lambda conn: seeds.seed_for(conn, 2 * HOUR_US))
    assert other.seed != drawn[0].seed
    async with database.read() as conn:
        assert [seed.hour for seed in await seeds.finished(conn, 2 * HOUR_US)] == [HOUR_US]
        assert await seeds.finished(conn, 2 * HOUR_US - 1) == []


async def test_one_of_two_requests_with_one_key_claims_it(database: Database, another: Another):
    nodes = [database, await another()]

    async def claim(n: int) -> None:
        await nodes[n % 2].writer.write(
            lambda conn: idempotency.claim(conn, "key_1", "k", "hash", f"task_{n}", NOW)
        )

    results = await asyncio.gather(*(claim(n) for n in range(12)), return_exceptions=True)
    refused = [result for result in results if result is not None]
    assert len(refused) == 11
    assert {fault.code for fault in refused if isinstance(fault, Conflict)} == {"idempotency_in_progress"}
    async with database.read() as conn:
        found = await idempotency.get(conn, "key_1", "k")
    assert found is not None
    assert found.resource_id == f"task_{results.index(None)}"
    assert found.status is None


async def test_a_saved_answer_is_given_until_it_is_forgotten(database: Database):
    await database.writer.write(lambda conn: idempotency.claim(conn, "key_1", "k", "hash", "task_1", NOW))
    await database.writer.write(
        lambda conn: idempotency.save_response(conn, "key_1", "k", 201, '{"id":"task_1"}')
    )
    async with database.read() as conn:
        found = await idempotency.get(conn, "key_1", "k")
        assert await idempotency.get(conn, "key_2", "k") is None
    assert found is not None
    assert (found.status, found.response) == (201, '{"id":"task_1"}')
    assert await database.writer.write(lambda conn: idempotency.forget_before(conn, NOW)) == 0
    assert await database.writer.write(lambda conn: idempotency.forget_before(conn, NOW + 1)) == 1
