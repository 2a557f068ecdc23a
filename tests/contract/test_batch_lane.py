"""Batch lanes with real batch APIs of simulated sellers: won, pooled, fetched, rescued, cancelled, taken over."""

import time
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from lowtide.exchange.batches import DUTY, LEASE_US
from lowtide.simulate.batches import BatchPlan
from lowtide.store import batches, duties, providers, rows
from lowtide.store.tables import BatchItem
from lowtide.wire.openai_batch import OpenAIBatches
from tests.contract.served import Served, ahead

DAY_S = 24 * 3_600


async def stocked(service: Served, wire: str = "openai", **plan: Any) -> dict[str, str]:
    """A seller of one model on a batch lane at half the price of its standard lane; the offers by lane."""
    await service.provider("sim", batch_wire=wire)
    service.upstreams.batches.plans["sim"] = BatchPlan(**{"takes_s": 0.0, **plan})
    found = {
        "batch": await service.offer("sim", "1", lane="batch"),
        "standard": await service.offer("sim", "2"),
    }
    await service.running.sweeps.batches.learn()
    return found


async def step(service: Served, times: int = 4) -> None:
    """Let the batches go on."""
    for _ in range(times):
        await service.running.sweeps.batches.step()
    await service.running.dispatcher.idle()


async def post_together(service: Served, count: int) -> list[dict[str, Any]]:
    """Post so many tasks due a day from now; none is handed in before the last is there, however long that takes."""
    market, due = service.running.market, ahead(DAY_S)
    rules = market.rules
    market.rules = replace(rules, pool_s=600.0)
    made = [await service.post(constraints={"complete_by": due}) for _ in range(count)]
    market.rules = rules
    return made


async def waiting(service: Served) -> int:
    """Items that have not ended, of any batch or none."""
    async with service.running.market.database.read() as conn:
        found = await batches.in_state(conn, ("new", "sending", "sent", "cancelling"))
        items = [await batches.items(conn, batch.id) for batch in found]
        return len(await batches.waiting(conn, 100)) + sum(map(len, items))


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_what_can_wait_a_day_is_done_in_one_batch_at_its_price(service: Served, wire: str):
    offers = await stocked(service, wire)
    tasks = await post_together(service, 3)
    assert {task["state"] for task in tasks} == {"running"}
    assert {task["award"]["offer_id"] for task in tasks} == {offers["batch"]}
    await step(service)
    ended = [await service.task(task["id"]) for task in tasks]
    assert {task["state"] for task in ended} == {"succeeded"}
    (batch,) = service.upstreams.batches.of("sim")
    assert len(batch.lines) == 3
    assert service.upstreams.seen("sim").calls == 0
    receipt = ended[0]["receipt"]
    assert float(receipt["paid_usd"]) * 2 == pytest.approx(float(receipt["list_usd"]))
    assert await service.in_flight(offers["batch"]) == 0
    assert await waiting(service) == 0


async def test_calls_that_do_not_fit_into_one_batch_go_into_the_next(service: Served, monkeypatch):
    await stocked(service)
    monkeypatch.setattr(OpenAIBatches, "most_bytes", 1_300)
    monkeypatch.setattr(OpenAIBatches, "most_calls", 3)
    tasks = await post_together(service, 5)
    await step(service, 8)
    assert {(await service.task(task["id"]))["state"] for task in tasks} == {"succeeded"}
    assert sorted(len(batch.lines) for batch in service.upstreams.batches.of("sim")) == [1, 2, 2]


async def test_the_auction_says_how_sure_the_batch_is_and_replays(service: Served):
    await stocked(service)
    task = await service.post(constraints={"complete_within_s": DAY_S})
    auction = (await service.client.get(f"/v1/auctions/{task['auction_id']}")).json()
    assert "in a batch: it is back in time with a probability of 9" in auction["explanation"]
    assert auction["replay"]["identical"]
    assert [(bid["rank"], bid["lane"]) for bid in auction["bids"]] == [(1, "batch"), (2, "standard")]
    assert task["created_at"] < task["award"]["rescue_at"] < task["constraints"]["complete_by"]


async def test_without_a_deadline_or_with_too_little_time_no_batch_wins(service: Served):
    offers = await stocked(service)
    for constraints in (
        {},
        {"complete_within_s": 300},
        {"complete_within_s": DAY_S, "max_latency_ms": 600_000},
    ):
        task = await service.post(constraints=constraints)
        assert task["award"]["offer_id"] == offers["standard"], constraints


async def test_calls_that_failed_and_calls_left_over_are_done_on_another_lane(service: Served):
    offers = await stocked(service, errors=1, undone=1)
    tasks = await post_together(service, 3)
    await step(service)
    ended = [await service.final(task["id"]) for task in tasks]
    assert {task["state"] for task in ended} == {"succeeded"}
    assert sorted(task["award"]["offer_id"] for task in ended) == sorted(
        [offers["batch"], offers["standard"], offers["standard"]]
    )
    outcomes = sorted(attempt["outcome"] for task in ended for attempt in task["attempts"])
    assert outcomes == ["answered", "answered", "answered", "given_back", "server_error"]


async def test_a_batch_that_is_not_back_in_time_is_cancelled_and_its_tasks_are_rescued(service: Served):
    offers = await stocked(service, takes_s=60.0)
    task = await service.post(constraints={"complete_within_s": DAY_S})
    await step(service)
    assert (await service.task(task["id"]))["state"] == "running"
    market = service.running.market
    async with market.database.read() as conn:
        (batch,) = await batches.in_state(conn, ("sent",))
    await market.database.writer.write(
        lambda conn: batches.change(conn, batch.id, "sent", rescue_at=market.now() - 1)
    )
    await step(service)
    ended = await service.final(task["id"])
    assert (ended["state"], ended["award"]["offer_id"]) == ("succeeded", offers["standard"])
    (upstream,) = service.upstreams.batches.of("sim")
    assert upstream.cancelled is not None


async def test_a_rescue_waits_neither_for_the_seller_nor_for_the_node_that_followed_the_batch(
    service: Served,
):
    offers = await stocked(service, takes_s=60.0)
    market, sweeps = service.running.market, service.running.sweeps
    await market.database.writer.write(
        lambda conn: duties.take_or_renew(conn, DUTY, "a dead node", time.time_ns() // 1_000, LEASE_US)
    )
    task = await service.post(constraints={"complete_within_s": DAY_S})
    assert task["award"]["offer_id"] == offers["batch"]
    await sweeps.rescues()
    assert (await service.task(task["id"]))["state"] == "running"
    await market.database.writer.write(
        lambda conn: conn.execute(update(rows.table_of(BatchItem)).values(rescue_at=market.now() - 1))
    )
    await sweeps.rescues()
    ended = await service.final(task["id"])
    assert (ended["state"], ended["award"]["offer_id"]) == ("succeeded", offers["standard"])
    assert await waiting(service) == 0
    assert await service.in_flight(offers["batch"]) == 0


async def test_a_seller_that_takes_no_batch_now_costs_no_task(service: Served):
    offers = await stocked(service, refuse="Line 1 is bad.")
    task = await service.post(constraints={"complete_within_s": DAY_S})
    await step(service)
    ended = await service.final(task["id"])
    assert (ended["state"], ended["award"]["offer_id"]) == ("succeeded", offers["standard"])


async def test_a_cancelled_task_leaves_its_batch_which_is_cancelled_once_it_is_empty(service: Served):
    offers = await stocked(service, takes_s=60.0)
    task = await service.post(constraints={"complete_within_s": DAY_S})
    await step(service)
    await service.client.delete(f"/v1/tasks/{task['id']}")
    await step(service)
    (upstream,) = service.upstreams.batches.of("sim")
    assert upstream.cancelled is not None
    assert await waiting(service) == 0
    assert await service.in_flight(offers["batch"]) == 0
    assert (await service.task(task["id"]))["state"] == "cancelled"


@pytest.mark.parametrize("known", [True, False])
async def test_a_batch_that_was_being_handed_in_when_a_node_died_is_found_again_or_handed_in_anew(
    service: Served, known: bool
):
    await stocked(service)
    task = await service.post(constraints={"complete_within_s": DAY_S})
    sweep, market = service.running.sweeps.batches, service.running.market
    await sweep._pool()
    async with market.database.read() as conn:
        (batch,) = await batches.in_state(conn, ("new",))
        items = await batches.items(conn, batch.id)
    if known:
        provider = await _provider(service)
        wire = market.batch_wire_of(provider)
        assert wire is not None
        calls, _ = await sweep._calls(items, provider, wire.most_bytes)
        await wire.submit(sweep._seller(batch, provider), batch.id, calls)
    await market.database.writer.write(lambda conn: batches.change(conn, batch.id, "new", state="sending"))
    await step(service)
    assert (await service.task(task["id"]))["state"] == "succeeded"
    assert len(service.upstreams.batches.of("sim")) == 1


async def _provider(service: Served) -> Any:
    async with service.running.market.database.read() as conn:
        return await providers.provider_by_name(conn, "sim")


async def test_a_provider_without_a_batch_api_lists_its_lane_and_does_not_win(service: Served):
    batch = await service.offer("plain", "1", lane="batch")
    standard = await service.offer("plain", "2")
    await service.running.sweeps.batches.learn()
    task = await service.post(constraints={"complete_within_s": DAY_S})
    assert task["award"]["offer_id"] == standard
    auction = (await service.client.get(f"/v1/auctions/{task['auction_id']}")).json()
    reasons = {bid["offer_id"]: bid["loss_reason"] for bid in auction["bids"]}
    assert reasons[batch] == "feature_missing"
