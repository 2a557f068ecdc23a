import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.market.states import AttemptState
from lowtide.store import attempts, tasks
from lowtide.store.database import Database
from lowtide.store.rows import LostRace
from lowtide.values.errors import IllegalTransition
from tests.store.samples import NOW, open_account, place, task

Another = Callable[[], Awaitable[Database]]


@pytest.fixture(autouse=True)
async def account(database: Database) -> None:
    await open_account(database)


async def ids(database: Database, **filters: object) -> list[str]:
    async with database.read() as conn:
        return [found.id for found in await tasks.list_tasks(conn, **filters)]


async def test_a_task_is_kept_with_its_payload_and_result(database: Database):
    await database.writer.write(lambda conn: tasks.add_task(conn, task("task_1"), '{"text":"hi"}'))
    await database.writer.write(lambda conn: tasks.set_result(conn, "task_1", '{"text":"ho"}'))
    async with database.read() as conn:
        found, payload = await tasks.get_task(conn, "task_1"), await tasks.payload(conn, "task_1")
    assert found is not None
    assert payload is not None
    assert (found.state, found.version, found.authorized_nano) == ("held", 0, 0)
    assert (payload.input, payload.result) == ('{"text":"hi"}', '{"text":"ho"}')


async def test_a_guarded_move_succeeds_once_under_a_race(database: Database, another: Another):
    await place(database, task("task_1"))
    nodes = [database, await another()]

    async def run(node: Database) -> int:
        return await node.writer.write(
            lambda conn: tasks.move(conn, "task_1", "held", 0, "running", lease_owner="me", attempts=1)
        )

    results = await asyncio.gather(*(run(nodes[n % 2]) for n in range(20)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["LostRace"] * 19 + ["int"]
    async with database.read() as conn:
        found = await tasks.get_task(conn, "task_1")
    assert found is not None
    assert (found.state, found.version, found.attempts) == ("running", 1, 1)


async def test_a_move_from_an_older_version_is_lost(database: Database):
    await place(database, task("task_1"))
    assert (
        await database.writer.write(lambda conn: tasks.touch(conn, "task_1", "held", 0, reason="dear")) == 1
    )
    with pytest.raises(LostRace):
        await database.writer.write(lambda conn: tasks.touch(conn, "task_1", "held", 0))
    with pytest.raises(LostRace):
        await database.writer.write(lambda conn: tasks.move(conn, "task_1", "held", 0, "running"))


async def test_a_move_that_the_table_lacks_is_refused(database: Database):
    await place(database, task("task_1"))
    with pytest.raises(IllegalTransition):
        await database.writer.write(lambda conn: tasks.move(conn, "task_1", "held", 0, "succeeded"))
    with pytest.raises(IllegalTransition):
        await place(database, task("task_2", state="succeeded"))


async def test_two_sweeps_at_once_release_each_held_task_once(database: Database, another: Another):
    await place(database, *(task(f"task_{n:03}", release_at=NOW - n) for n in range(100)))
    await place(
        database, task("task_later", release_at=NOW + 1), task("task_queued", state="queued", expires_at=NOW)
    )
    released: list[str] = []

    async def sweep(node: Database) -> None:
        async def unit(conn: AsyncConnection) -> list[str]:
            due = await tasks.due_held(conn, NOW, 8)
            for row in due:
                await tasks.move(conn, row.id, row.state, row.version, "running", lease_owner="me")
            return [row.id for row in due]

        while claimed := await node.writer.write(unit):
            released.extend(claimed)

    await asyncio.gather(sweep(database), sweep(await another()))
    assert len(released) == 100
    assert set(released) == {f"task_{n:03}" for n in range(100)}


async def test_on_postgres_a_claimed_task_is_skipped_by_others(database: Database, another: Another):
    if database.dialect == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    await place(database, *(task(f"task_{n}", release_at=NOW) for n in range(4)))
    async with database.write_engine.begin() as one, (await another()).write_engine.begin() as two:
        first = await tasks.due_held(one, NOW, 3)
        second = await tasks.due_held(two, NOW, 3)
    assert len(first) == 3
    assert len(second) == 1


async def test_the_sweeps_use_the_partial_indexes(database: Database):
    if database.dialect != "sqlite":
        pytest.skip("PostgreSQL prefers a scan of so small a table")
    async with database.read() as conn:
        plan = "explain query plan select * from tasks where {} order by {} limit 9"
        for where, order in (
            ("state = 'held' and release_at <= 5", "release_at"),
            ("state = 'queued' and expires_at <= 5", "expires_at"),
        ):
            rows = await conn.execute(text(plan.format(where, order)))
            steps = " ".join(row[3] for row in rows)
            assert "USING INDEX tasks_" in steps
            assert "TEMP B-TREE" not in steps


async def test_the_next_due_instant_is_the_least_of_releases_and_expiries(database: Database):
    async with database.read() as conn:
        assert await tasks.next_due(conn) is None
    await place(
        database,
        task("task_1", release_at=NOW + 5),
        task("task_2", state="queued", expires_at=NOW + 3, release_at=NOW + 1),
        task("task_3", state="running", release_at=NOW),
    )
    async with database.read() as conn:
        assert await tasks.next_due(conn) == NOW + 3
    due = await database.writer.write(lambda conn: tasks.due_queued(conn, NOW + 3, 10))
    assert [row.id for row in due] == ["task_2"]
    waiting = await database.writer.write(lambda conn: tasks.queued(conn, "", 10))
    assert [row.id for row in waiting] == ["task_2"]


async def test_tasks_of_the_dead_are_found_and_those_of_the_living_left(database: Database):
    await place(
        database,
        task("task_1", state="running", lease_owner="dead"),
        task("task_2", state="running", lease_owner="alive"),
        task("task_3", state="assigned", lease_owner=None),
        task("task_4", state="held", lease_owner="dead"),
    )
    found = await database.writer.write(lambda conn: tasks.leased_by_dead(conn, {"alive"}, 10))
    assert [row.id for row in found] == ["task_1", "task_3"]
    everyone = await database.writer.write(lambda conn: tasks.leased_by_dead(conn, [], 10))
    assert len(everyone) == 3


async def test_tasks_are_listed_by_what_people_filter(database: Database):
    await place(
        database,
        task("task_1", labels='{"team":"support","user":"u-17"}'),
        task("task_2", labels='{"team":"support"}', state="queued"),
        task("task_3", labels='{"te\\"am.":"x","team":"sales"}', task_type="embed"),
        task("task_4"),
    )
    assert await ids(database) == ["task_4", "task_3", "task_2", "task_1"]
    assert await ids(database, limit=2) == ["task_4", "task_3"]
    assert await ids(database, after="task_3") == ["task_2", "task_1"]
    assert await ids(database, labels={"team": "support"}) == ["task_2", "task_1"]
    assert await ids(database, labels={"team": "support", "user": "u-17"}) == ["task_1"]
    assert await ids(database, labels={'te"am.': "x"}) == ["task_3"]
    assert await ids(database, labels={"team": "support"}, state="queued") == ["task_2"]
    assert await ids(database, task_type="embed") == ["task_3"]
    assert await ids(database, account_id="acct_other") == []
    async with database.read() as conn:
        assert await tasks.counts_by_state(conn) == {"held": 3, "queued": 1}


async def test_an_attempt_ends_once(database: Database):
    await place(database, task("task_1", state="running"))
    row = {
        "id": "att_1",
        "task_id": "task_1",
        "number": 1,
        "auction_id": "a",
        "offer_id": "offer_0",
        "provider": "p",
    }
    await database.writer.write(lambda conn: attempts.add_attempt(conn, row))
    async with database.read() as conn:
        assert await attempts.started_of_offer(conn, "offer_0") == 1

    async def end(state: AttemptState, cost: int) -> bool:
        return await database.writer.write(
            lambda conn: attempts.end_attempt(conn, "att_1", state, cost_nano=cost, ended_at=NOW)
        )

    assert await end(AttemptState.ANSWERED, 7)
    assert not await end(AttemptState.UNKNOWN, 9)
    async with database.read() as conn:
        (found,) = await attempts.of_task(conn, "task_1")
        assert await attempts.started_of_offer(conn, "offer_0") == 0
    assert (found.state, found.cost_nano) == ("answered", 7)


async def test_of_some_tasks_those_that_still_wait_are_claimed(database: Database):
    await place(database, task("t1"), task("t2", state="queued"), task("t3", state="unfilled"), task("t4"))

    async def unit(conn) -> list[str]:
        return [row.id for row in await tasks.waiting_among(conn, {"t1": 1, "t2": 2, "t3": 3, "t9": 4})]

    assert await database.writer.write(unit) == ["t1", "t2"]


async def test_a_job_is_counted_by_its_account_without_what_was_withdrawn(database: Database):
    ends = ["succeeded", "succeeded", "succeeded", "expired", "failed", "cancelled"]
    rows = [task(f"task_{number}", state="running", job="nightly") for number in range(8)]
    await place(database, *rows, task("task_u", state="unfilled", job="nightly"))
    await place(database, task("task_x", job="weekly"), task("task_y"))
    for number, state in enumerate(ends):
        await database.writer.write(
            lambda conn, name=f"task_{number}", state=state: tasks.move(conn, name, "running", 0, state)
        )
    async with database.read() as conn:
        assert await tasks.job_counts(conn, "acct_a", "nightly") == (7, 5)
        assert await tasks.job_counts(conn, "acct_a", "weekly") == (1, 0)
        assert await tasks.job_counts(conn, "acct_b", "nightly") == (0, 0)
        assert await tasks.job_began(conn, "acct_a", "nightly") is None


async def test_a_job_began_with_its_first_call(database: Database):
    await place(database, task("task_1", job="nightly"), task("task_2", job="nightly"), task("task_3"))

    async def begin(conn: AsyncConnection) -> None:
        for name, at in (("task_1", 30), ("task_2", 20), ("task_3", 10)):
            called = {"number": 1, "auction_id": "auc", "offer_id": "off", "provider": "p", "prices": "{}"}
            money = {"bid_nano": 1, "worst_nano": 1, "price_nano": 1}
            await attempts.add_attempt(
                conn, {"id": f"att_{name}", "task_id": name, "started_at": at, **called, **money}
            )

    await database.writer.write(begin)
    async with database.read() as conn:
        assert await tasks.job_began(conn, "acct_a", "nightly") == 20


async def test_slots_of_other_nodes_are_read_and_who_waits_or_runs_here_is_known(database: Database):
    spot, safe = '{"lane":"spot","slot":[1,2,3]}', '{"lane":"standard"}'
    await place(
        database,
        task("task_1", state="running", lease_owner="me", award=spot),
        task("task_2", state="running", lease_owner="other", award=spot),
        task("task_3", state="running", lease_owner="other", award=safe),
        task("task_4", state="queued"),
        task("task_5", state="held", award=spot),
    )
    async with database.read() as conn:
        assert [found.id for found in await tasks.with_slots(conn, "me")] == ["task_2"]
        every = [f"task_{number}" for number in range(1, 7)]
        assert await tasks.waiting_or_of(conn, every, "me") == {"task_1", "task_4"}
