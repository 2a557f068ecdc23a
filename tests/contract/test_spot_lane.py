"""Spot lanes over real HTTP: sellers that take calls back in the middle, and where the work goes on."""

import asyncio
from typing import Any

import orjson
import pytest

from lowtide.market.deferral.net import GUARD_US
from lowtide.simulate.faults import Fault
from lowtide.store import log, tasks
from tests.contract.served import Served

NET_S = GUARD_US / 1_000_000
LATENCY = {"p50_ms": 50, "p95_ms": 500, "tokens_per_second": 10_000}


async def stocked(service: Served, *, other: str | None = None) -> dict[str, str]:
    """A spot offer, a dearer one that nobody takes back, and where asked another spot offer of another seller."""
    made = {"spot": await service.offer("idle", "1", lane="spot", latency=LATENCY)}
    if other is not None:
        made["other"] = await service.offer("idle2", other, lane="spot", latency=LATENCY)
    return made | {"safe": await service.offer("firm", "4", latency=LATENCY)}


def takes_back(service: Served, provider: str = "idle", **plan: Any) -> None:
    service.upstreams.fail(provider, Fault("preempted", **plan))


def outcomes(task: dict[str, Any]) -> list[tuple[str, str]]:
    return [(attempt["offer_id"], attempt["outcome"]) for attempt in task["receipt"]["attempts"]]


async def identical(service: Served, task: dict[str, Any]) -> None:
    """Every auction of the task decides the same again."""
    found = (await service.client.get(f"/v1/auctions?task_id={task['id']}")).json()["data"]
    assert found
    for auction in found:
        replayed = await service.client.post(f"/v1/auctions/{auction['id']}/replay")
        assert replayed.json()["identical"], replayed.text


async def test_a_task_that_is_taken_back_waits_for_the_spot_lane_and_is_done_there(service: Served):
    offers = await stocked(service)
    takes_back(service, times=1, delay_s=0.05)
    posted = await service.post(constraints={"complete_within_s": 600})
    held = await service.until(posted["id"], "held")
    assert held["hold"]["policy"] == "spot_return"
    assert held["award"] is None
    assert [attempt["outcome"] for attempt in held["attempts"]] == ["preempted"]
    done = await service.final(posted["id"], within_s=20)
    assert outcomes(done) == [(offers["spot"], "preempted"), (offers["spot"], "answered")]
    assert done["receipt"]["deadline_met"]
    # It ran at arrival's best bid in the end: waiting for it to come back has saved nothing.
    assert done["receipt"]["immediate_usd"] == done["receipt"]["paid_usd"]
    assert done["receipt"]["saved_usd"] == "0"
    await identical(service, done)


async def test_what_is_taken_back_goes_to_another_lane_where_that_is_worth_more_than_waiting(service: Served):
    offers = await stocked(service)
    takes_back(service)
    done = await service.done(constraints={"complete_within_s": 600}, objective={"per_second_usd": "0.01"})
    assert outcomes(done) == [(offers["spot"], "preempted"), (offers["safe"], "answered")]
    assert done["award"]["lane"] == "standard"
    await identical(service, done)
    assert await service.in_flight(offers["spot"]) == await service.in_flight(offers["safe"]) == 0


async def test_another_spot_offer_is_next_where_it_is_cheaper(service: Served):
    offers = await stocked(service, other="1")
    takes_back(service, "idle")
    takes_back(service, "idle2", times=1)
    done = await service.done(constraints={"complete_within_s": 600}, objective={"per_second_usd": "0.01"})
    assert outcomes(done)[-1] == (offers["safe"], "answered")
    assert {offer for offer, outcome in outcomes(done)[:-1]} == {offers["spot"], offers["other"]}


async def test_with_time_for_one_safe_run_only_no_spot_lane_is_bought(service: Served):
    offers = await stocked(service)
    # Two safe runs of about a second, the guard, and hardly more.
    done = await service.done(constraints={"complete_within_s": NET_S + 3.0})
    assert outcomes(done) == [(offers["safe"], "answered")]
    auction = (await service.client.get(f"/v1/auctions/{done['auction_id']}")).json()
    reasons = {bid["offer_id"]: bid["loss_reason"] for bid in auction["bids"]}
    assert reasons == {offers["safe"]: None, offers["spot"]: "too_late"}


async def test_a_spot_call_that_hangs_is_given_up_while_a_safe_run_still_fits(service: Served):
    offers = await stocked(service)
    service.upstreams.fail("idle", Fault("hang"))
    done = await service.done(constraints={"complete_within_s": NET_S + 4.5}, wait_s=20)
    assert outcomes(done) == [(offers["spot"], "answer_timeout"), (offers["safe"], "answered")]
    assert done["receipt"]["deadline_met"]


async def test_without_a_deadline_a_task_fails_over_at_once(service: Served):
    offers = await stocked(service)
    takes_back(service)
    done = await service.done()
    assert outcomes(done) == [(offers["spot"], "preempted"), (offers["safe"], "answered")]


async def test_a_take_back_is_no_strike_against_the_offer_and_no_attempt_of_the_requesters(service: Served):
    offers = await stocked(service)
    takes_back(service)
    for _ in range(12):
        done = await service.done(max_attempts=1)
        assert outcomes(done) == [(offers["spot"], "preempted"), (offers["safe"], "answered")]
    done = await service.done(
        max_attempts=1,
        constraints={"complete_within_s": 600},
        objective={"per_second_usd": "0.01"},
    )
    assert done["state"] == "succeeded"
    await service.running.sweeps.conditions()
    book = service.running.market.keeper.book
    conditions = book.rows[book.row_of[offers["spot"]]].conditions
    assert (conditions.health_ppm, conditions.circuit) == (1_000_000, "closed")


async def test_a_cut_answer_of_a_spot_lane_is_taken_back_of_another_it_is_the_providers_fault(
    service: Served,
):
    offers = await stocked(service)
    service.upstreams.fail("idle", Fault("cut"))
    service.upstreams.fail("firm", Fault("cut", times=1))
    done = await service.done(constraints={"complete_within_s": 600}, objective={"per_second_usd": "0.01"})
    assert [outcome for _, outcome in outcomes(done)][:2] == ["preempted", "cut"]
    assert outcomes(done)[-1] == (offers["safe"], "answered")


@pytest.mark.parametrize("deadline", [{}, {"complete_within_s": 600}])
async def test_what_a_taken_back_call_charged_stands_in_the_receipt_and_is_paid_within_the_budget(
    service: Served, deadline: dict[str, Any]
):
    offers = await stocked(service)
    takes_back(service, charges=True)
    done = await service.done(
        constraints={**deadline}, objective={"per_second_usd": "0.01"} if deadline else {}
    )
    back, answered = done["receipt"]["attempts"]
    assert (back["offer_id"], back["outcome"]) == (offers["spot"], "preempted")
    assert float(back["cost_usd"]) == pytest.approx(5e-6)
    costs = [float(attempt["cost_usd"]) for attempt in (back, answered)]
    assert float(done["receipt"]["paid_usd"]) == pytest.approx(sum(costs))
    balances = await service.balances()
    assert sum(balances.values()) == 0
    assert balances["acct:acct_default:authorized"] == 0
    assert balances["provider:idle"] == round(costs[0] * 1e9)


async def test_a_charge_that_the_budget_has_no_room_for_is_the_houses(service: Served):
    await service.offer("idle", "1", lane="spot", latency=LATENCY)
    await service.offer("firm", "1.01", latency=LATENCY)
    takes_back(service, charges=True)
    done = await service.done(constraints={"max_cost_usd": "0.00005"}, input=service_input(40))
    back, answered = done["receipt"]["attempts"]
    paid = float(done["receipt"]["paid_usd"])
    assert paid <= 0.00005 < float(back["cost_usd"]) + float(answered["cost_usd"])
    balances = await service.balances()
    assert balances["acct:acct_default:authorized"] == 0
    assert -balances["house:overrun"] == round(
        (float(back["cost_usd"]) + float(answered["cost_usd"]) - paid) * 1e9
    )


def service_input(limit: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Where is my parcel?"}], "max_output_tokens": limit}


async def test_where_only_spot_serves_the_task_waits_between_the_take_backs_until_it_is_done(service: Served):
    spot = await service.offer("idle", "1", lane="spot", latency=LATENCY)
    takes_back(service, times=2)
    posted = await service.post(constraints={"complete_within_s": 600})
    await service.until(posted["id"], "held")
    cancelled = await service.client.delete(f"/v1/tasks/{posted['id']}")
    assert cancelled.json()["state"] == "cancelled"
    assert await service.in_flight(spot) == 0


async def test_without_a_deadline_and_anybody_else_the_take_backs_come_to_an_end(service: Served):
    spot = await service.offer("idle", "1", lane="spot", latency=LATENCY)
    takes_back(service)
    failed = await service.done(max_attempts=1)
    assert (failed["state"], failed["reason"]) == ("failed", "preempted")
    assert outcomes(failed) == [(spot, "preempted")] * 7
    assert (await service.balances())["acct:acct_default:authorized"] == 0


async def test_of_many_tasks_under_random_take_backs_each_is_done_in_time_and_replays(service: Served):
    await stocked(service, other="1.5")
    takes_back(service, "idle", share=0.4, seed=3, delay_s=0.02)
    takes_back(service, "idle2", share=0.4, seed=4)
    posted = await asyncio.gather(
        *(
            service.post(constraints={"complete_within_s": 300}, objective={"per_second_usd": "0.001"})
            for _ in range(16)
        )
    )
    ended = [await service.final(task["id"], within_s=60) for task in posted]
    assert {task["state"] for task in ended} == {"succeeded"}
    assert all(task["receipt"]["deadline_met"] for task in ended)
    tried = [outcome for task in ended for _, outcome in outcomes(task)]
    assert tried.count("preempted") >= 5
    for task in ended[:6]:
        await identical(service, task)
    balances = await service.balances()
    assert sum(balances.values()) == balances["acct:acct_default:authorized"] == 0


async def test_a_job_that_falls_behind_its_line_leaves_spot_while_a_task_alone_still_waits_for_it(
    service: Served,
):
    offers = await stocked(service)
    takes_back(service)
    limits = {"complete_within_s": 90}
    alone = await service.post(constraints=limits)
    job = [await service.post(constraints=limits, job="nightly") for _ in range(4)]
    waits = [asyncio.create_task(service.final(task["id"], within_s=60)) for task in job]
    # The others may wait on: with the first one done the job is ahead of its line for a while.
    ended, waiting = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waiting:
        wait.cancel()
    first = ended.pop().result()
    assert first["job"] == "nightly"
    assert outcomes(first)[-1] == (offers["safe"], "answered")
    other = await service.task(alone["id"])
    assert {attempt["offer_id"] for attempt in other["attempts"]} == {offers["spot"]}
    async with service.running.market.database.read() as conn:
        lines = await log.lines_of_auction(conn, first["auction_id"])
    total, done, began, _ = orjson.loads(lines[0].line)["inputs"]["job"]
    assert (total, done) == (4, 0)
    assert began is not None
    await identical(service, first)


async def test_a_job_is_told_by_its_account_alone(service: Served):
    await stocked(service)
    done = await service.done(job="nightly", constraints={"complete_within_s": 600})
    market = service.running.market
    async with market.database.read() as conn:
        for account, counted in (("acct_default", (1, 1)), ("acct_other", (0, 0))):
            assert await tasks.job_counts(conn, account, "nightly") == counted
        assert await tasks.job_began(conn, "acct_default", "nightly") is not None
        assert await tasks.job_began(conn, "acct_default", "weekly") is None
    assert done["state"] == "succeeded"
