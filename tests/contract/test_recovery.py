"""What a node left behind is taken over by the next one, once."""

import asyncio
import shutil
from pathlib import Path

from lowtide.simulate.faults import Fault
from lowtide.simulate.upstream import Upstreams
from tests.contract.served import Served, ahead, served_market


async def left_running(served: Served, count: int) -> list[str]:
    """Tasks whose calls were broken off without a word in the store, as by the node's death."""
    served.upstreams.fail("sim", Fault("hang"))
    ids = [(await served.post())["id"] for _ in range(count)]
    await served.running.dispatcher.close(grace_s=0)
    served.upstreams.heal("sim")
    return ids


async def test_more_tasks_than_one_batch_are_each_taken_over_once(
    template: Path, tmp_path: Path, upstreams: Upstreams, upstream_url: str
):
    database = tmp_path / "market.db"
    shutil.copyfile(template, database)
    async with served_market(database, upstreams, upstream_url) as first:
        offer = await first.offer()
        ids = await left_running(first, 20)
    upstreams.fail("sim", Fault("slow_first_token", delay_s=0.3))
    async with served_market(database, upstreams, upstream_url) as second:
        assert second.running.recovered == 20
        tasks = [await second.final(task_id) for task_id in ids]
        assert await second.in_flight(offer) == 0
        account, balances = await second.account(), await second.balances()
    assert {task["state"] for task in tasks} == {"succeeded"}
    assert {tuple(a["state"] for a in task["attempts"]) for task in tasks} == {("unknown", "answered")}
    assert all(task["attempts"][0]["possibly_billed_twice"] for task in tasks)
    assert account["authorized_usd"] == "0"
    assert sum(balances.values()) == 0
    assert balances["house:overrun"] < 0


async def test_what_was_left_running_past_its_deadline_expires(
    template: Path, tmp_path: Path, upstreams: Upstreams, upstream_url: str
):
    database = tmp_path / "market.db"
    shutil.copyfile(template, database)
    async with served_market(database, upstreams, upstream_url) as first:
        await first.offer(latency={"p50_ms": 1, "p95_ms": 2, "tokens_per_second": 10_000})
        first.upstreams.fail("sim", Fault("hang"))
        task = await first.post(
            constraints={"complete_within_s": 3},
            input={"messages": [{"role": "user", "content": "Hello"}], "max_output_tokens": 9},
        )
        assert task["state"] == "running"
        await first.running.dispatcher.close(grace_s=0)
        await asyncio.sleep(3)
    async with served_market(database, upstreams, upstream_url) as second:
        ended = await second.final(task["id"])
        assert (await second.account())["authorized_usd"] == "0"
    assert ended["state"] == "expired"


async def test_what_was_running_and_finds_no_bid_now_is_queued_with_time_to_find_one(
    template: Path, tmp_path: Path, upstreams: Upstreams, upstream_url: str
):
    database = tmp_path / "market.db"
    shutil.copyfile(template, database)
    async with served_market(database, upstreams, upstream_url) as first:
        offer = await first.offer(price=None)
        assert (await first.quote(offer, "1", valid_until=ahead(1.0))).status_code == 201
        (task_id,) = await left_running(first, 1)
        await asyncio.sleep(1.0)
    async with served_market(database, upstreams, upstream_url) as second:
        task = await second.task(task_id)
        assert (task["state"], task["reason"]) == ("queued", "no_valid_quote")
        await asyncio.sleep(0.7)
        assert (await second.quote(offer, "1")).status_code == 201
        assert (await second.final(task_id, 5))["state"] == "succeeded"


async def test_a_queued_task_outlives_a_restart(
    template: Path, tmp_path: Path, upstreams: Upstreams, upstream_url: str
):
    database = tmp_path / "market.db"
    shutil.copyfile(template, database)
    async with served_market(database, upstreams, upstream_url) as first:
        offer = await first.offer(price=None)
        queued = (await first.post())["id"]
    async with served_market(database, upstreams, upstream_url) as second:
        assert (await second.task(queued))["state"] == "queued"
        await second.quote(offer, "1")
        assert (await second.final(queued, 5))["state"] == "succeeded"
