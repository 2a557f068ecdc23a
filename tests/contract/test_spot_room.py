"""Calls on a spot lane where safe places are few: no more run there than find room elsewhere if all are taken back."""

import asyncio

import orjson

from lowtide.exchange.net_look import look_at_nets
from lowtide.simulate.faults import Fault
from lowtide.store import log
from tests.contract.served import Served

SLOW = {"p50_ms": 50, "p95_ms": 2_000, "tokens_per_second": 1_000}
QUICK = {"p50_ms": 50, "p95_ms": 500, "tokens_per_second": 10_000}
NOT_WAITING = {"per_second_usd": "0.01"}


async def few_places(service: Served, **capacity: int) -> tuple[str, str]:
    """A spot offer without a limit, and a safe one with one place and runs of about 4 s."""
    spot = await service.offer("idle", "1", lane="spot", latency=QUICK)
    return spot, await service.offer("firm", "4", latency=SLOW, capacity=capacity or {"concurrency": 1})


async def recorded(service: Served, auction_id: str) -> dict:
    async with service.running.market.database.read() as conn:
        lines = await log.lines_of_auction(conn, auction_id)
    found: dict = orjson.loads(lines[0].line)
    return found


async def test_no_more_calls_run_on_spot_than_find_room_if_all_are_taken_back_and_each_decision_replays(
    service: Served,
):
    spot, safe = await few_places(service)
    service.upstreams.fail("idle", Fault("preempted", delay_s=1.0))
    limits = {"complete_within_s": 60}
    posted = await asyncio.gather(
        *(service.post(constraints=limits, objective=NOT_WAITING) for _ in range(20))
    )
    # 60 s less the guard are room for a second try, and five runs or six before it.
    assert 4 <= await service.in_flight(spot) <= 6
    ended = [await service.final(task["id"], within_s=30) for task in posted]
    assert {task["state"] for task in ended} == {"succeeded"}
    assert all(task["receipt"]["deadline_met"] for task in ended)
    assert {task["receipt"]["attempts"][-1]["offer_id"] for task in ended} == {safe}
    back_by = set()
    for task in ended:
        found = (await service.client.get(f"/v1/auctions?task_id={task['id']}")).json()["data"]
        for auction in found:
            replayed = await service.client.post(f"/v1/auctions/{auction['id']}/replay")
            assert replayed.json()["identical"], replayed.text
            back_by.add((await recorded(service, auction["id"]))["inputs"].get("back_by"))
    assert len(back_by) >= 4  # each has a slot of its own, and those without one are told so
    await look_at_nets(service.running.market, service.running.dispatcher)
    await look_at_nets(service.running.market, service.running.dispatcher)
    assert len(service.running.market.held.nets) == 0


async def test_where_the_safe_offer_has_no_limit_all_run_on_spot(service: Served):
    spot = await service.offer("idle", "1", lane="spot", latency=QUICK)
    await service.offer("firm", "4", latency=SLOW)
    service.upstreams.fail("idle", Fault("slow_first_token", delay_s=1.0))
    limits = {"complete_within_s": 60}
    posted = await asyncio.gather(*(service.post(constraints=limits) for _ in range(20)))
    assert await service.in_flight(spot) == 20
    assert len(service.running.market.held.nets) == 20
    ended = [await service.final(task["id"]) for task in posted]
    assert all(task["receipt"]["deadline_met"] for task in ended)
    assert len(service.running.market.held.nets) == 0


async def test_a_task_that_finds_no_slot_is_told_so(service: Served):
    spot, safe = await few_places(service)
    service.upstreams.fail("idle", Fault("hang"))
    service.upstreams.fail("firm", Fault("hang"))
    posted = [
        await service.post(constraints={"complete_within_s": 60}, objective=NOT_WAITING) for _ in range(8)
    ]
    first_safe = next(task for task in posted if task["award"] and task["award"]["offer_id"] == safe)
    auction = (await service.client.get(f"/v1/auctions/{first_safe['auction_id']}")).json()
    assert {bid["offer_id"]: bid["loss_reason"] for bid in auction["bids"]} == {spot: "too_late", safe: None}
    assert "no room for one more safe run" in auction["explanation"]
    for task in posted:
        await service.client.delete(f"/v1/tasks/{task['id']}")


async def test_a_cancelled_call_gives_its_slot_back(service: Served):
    await few_places(service)
    service.upstreams.fail("idle", Fault("hang"))
    task = await service.post(constraints={"complete_within_s": 60})
    nets = service.running.market.held.nets
    assert len(nets) == 1
    await service.client.delete(f"/v1/tasks/{task['id']}")
    await service.running.dispatcher.idle()
    assert len(nets) == 0
