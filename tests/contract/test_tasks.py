"""A task's way over HTTP: posted, decided, done, paid, shown."""

import asyncio
import json
import socket
from datetime import datetime, timedelta

import httpx
import pytest

from lowtide.market.quote import Prices
from lowtide.market.usage import Usage, charge
from lowtide.simulate.faults import Fault
from lowtide.values.money import nano
from tests.contract.served import HELLO, Served, ahead

QUICK = {"p50_ms": 50, "p95_ms": 100, "tokens_per_second": 1000}


async def test_a_posted_task_succeeds_with_its_answer_and_a_receipt_at_usage_times_price(service: Served):
    offer = await service.offer(price="2.5")
    task = await service.done()
    assert task["state"] == "succeeded"
    assert task["award"]["offer_id"] == offer
    assert task["result"]["output"]["content"].startswith("we have looked")
    usage = task["result"]["usage"]
    expected = charge(Prices(nano("2.5"), nano("2.5")), Usage(usage["input_tokens"], usage["output_tokens"]))
    assert usage["output_tokens"] == 40
    assert nano(task["receipt"]["paid_usd"]) == expected > 0
    assert task["receipt"]["status"] == "captured"
    account = await service.account()
    assert nano(account["spent_usd"]) == expected
    assert account["authorized_usd"] == "0"
    assert (await service.balances())["provider:sim"] == expected


async def test_wait_s_answers_with_the_final_state_and_without_it_at_once(service: Served):
    await service.offer()
    service.upstreams.fail("sim", Fault("slow_first_token", delay_s=0.3))
    assert (await service.post())["state"] == "running"
    assert (await service.post(wait_s=5))["state"] == "succeeded"


async def test_wait_s_ends_before_a_slow_answer_and_shows_the_task_as_it_stands(service: Served):
    await service.offer()
    service.upstreams.fail("sim", Fault("slow_first_token", delay_s=1.0))
    assert (await service.post(wait_s=0.1))["state"] == "running"


def refused_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("rate_limit", "rate_limited"),
        ("server_error", "server_error"),
        ("overloaded", "overloaded"),
        ("cut", "cut"),
        ("malformed_json", "malformed"),
        ("empty", "empty"),
        ("unauthorized", "refused_credential"),
        (None, "connect_failed"),
    ],
)
async def test_a_failing_provider_hands_over_to_the_next_bid_and_only_the_answer_is_charged(
    service: Served, fault: str | None, outcome: str
):
    base_url = f"http://127.0.0.1:{refused_port()}/v1" if fault is None else None
    bad = await service.offer("bad", "1", base_url=base_url)
    good = await service.offer("good", "2")
    if fault is not None:
        service.upstreams.fail("bad", Fault(fault))  # type: ignore[arg-type]
    task = await service.done()
    assert task["state"] == "succeeded"
    assert [(a["offer_id"], a["outcome"]) for a in task["receipt"]["attempts"]] == [
        (bad, outcome),
        (good, "answered"),
    ]
    assert task["award"]["offer_id"] == good
    assert task["receipt"]["attempts"][0]["cost_usd"] == "0"
    balances = await service.balances()
    assert balances.get("provider:bad", 0) == 0
    assert balances["provider:good"] == nano(task["receipt"]["paid_usd"]) > 0
    assert await service.in_flight(bad) == await service.in_flight(good) == 0


async def test_a_callers_own_error_is_not_retried_and_harms_nobodys_health(service: Served):
    bad = await service.offer("bad", "1")
    await service.offer("good", "2")
    service.upstreams.fail("bad", Fault("bad_request"))
    for _ in range(12):
        task = await service.done()
    assert (task["state"], task["reason"]) == ("failed", "caller_error")
    assert len(task["attempts"]) == 1
    assert service.upstreams.seen("good").calls == 0
    assert task["receipt"]["status"] == "voided"
    await service.running.sweeps.conditions()
    ask = next(a for a in (await service.client.get("/v1/book")).json()["data"] if a["offer_id"] == bad)
    assert (ask["health"], ask["circuit"]) == (1.0, "closed")


async def test_when_every_provider_is_down_the_task_fails_and_its_money_is_voided(service: Served):
    for name, price in (("a", "1"), ("b", "2")):
        await service.offer(name, price)
        service.upstreams.fail(name, Fault("server_error"))
    task = await service.done(max_attempts=4)
    assert (task["state"], task["reason"]) == ("failed", "server_error")
    assert [a["provider"] for a in task["attempts"]] == ["a", "b", "a", "b"]
    assert task["receipt"]["paid_usd"] == "0"
    account = await service.account()
    assert (account["authorized_usd"], account["spent_usd"]) == ("0", "0")
    assert sum((await service.balances()).values()) == 0


async def test_a_pause_before_another_try_counts_in_market_time(service: Served):
    await service.offer()
    service.upstreams.fail("sim", Fault("rate_limit", retry_after_s=0.3, times=1))
    first, second = (await service.done())["attempts"]
    assert datetime.fromisoformat(second["started_at"]) - datetime.fromisoformat(
        first["ended_at"]
    ) == timedelta(seconds=0.3)


async def test_no_attempt_is_started_that_the_deadline_would_cut_off(service: Served):
    await service.offer(latency={"p50_ms": 10, "p95_ms": 20, "tokens_per_second": 10_000})
    service.upstreams.fail("sim", Fault("rate_limit", retry_after_s=9.0))
    task = await service.done(constraints={"complete_within_s": 3})
    assert (task["state"], task["reason"]) == ("failed", "rate_limited")
    assert service.upstreams.seen("sim").calls == 1


async def test_one_place_is_never_sold_twice_and_what_queues_for_it_runs_in_turn(service: Served):
    offer = await service.offer(capacity={"concurrency": 1})
    service.upstreams.fail("sim", Fault("slow_first_token", delay_s=0.03))
    posted = await asyncio.gather(*(service.post() for _ in range(30)))
    assert {task["state"] for task in posted} == {"running", "queued"}
    ended = [await service.final(task["id"], 25) for task in posted]
    assert [task["state"] for task in ended] == ["succeeded"] * 30
    assert service.upstreams.seen("sim").most_at_once == 1
    assert service.upstreams.seen("sim").answered == 30
    assert await service.in_flight(offer) == 0


async def test_a_task_that_may_wait_is_held_for_a_posted_price_step_and_released_at_it(service: Served):
    offer = await service.offer(price=None, latency={"p50_ms": 50, "p95_ms": 100, "tokens_per_second": 1000})
    step = ahead(1.5)
    slots = [("10", {"valid_until": step}), ("1", {"valid_from": step, "valid_until": ahead(3_600)})]
    curve = [
        {"prices": {"input_per_mtok": price, "output_per_mtok": price}, **window} for price, window in slots
    ]
    pushed = await service.client.post(f"/v1/offers/{offer}/quotes", json={"curve": curve})
    assert pushed.status_code == 201, pushed.text
    task = await service.post(constraints={"complete_within_s": 60})
    assert task["state"] == "held"
    assert task["hold"]["slot_from"] == step
    assert service.upstreams.seen("sim").calls == 0
    done = await service.final(task["id"])
    receipt = done["receipt"]
    assert done["state"] == "succeeded"
    assert nano(receipt["immediate_usd"]) == 10 * nano(receipt["paid_usd"])
    assert nano(receipt["saved_usd"]) == nano(receipt["immediate_usd"]) - nano(receipt["paid_usd"])
    assert receipt["deadline_met"] is True
    assert receipt["held_s"] >= 1
    assert done["auction_id"] != task["auction_id"]


async def hold_one(service: Served) -> dict[str, object]:
    """A task held for a price an hour ahead."""
    offer = await service.offer(price=None)
    curve = [
        {"prices": {"input_per_mtok": "10", "output_per_mtok": "10"}, "valid_until": ahead(3_600)},
        {"prices": {"input_per_mtok": "1", "output_per_mtok": "1"}, "valid_from": ahead(3_600)},
    ]
    await service.client.post(f"/v1/offers/{offer}/quotes", json={"curve": curve})
    return await service.post(constraints={"complete_within_s": 7_200})


async def test_a_held_task_is_cancelled_at_once_and_its_money_is_free_again(service: Served):
    task = await hold_one(service)
    assert task["state"] == "held"
    assert (await service.account())["authorized_usd"] != "0"
    cancelled = await service.client.delete(f"/v1/tasks/{task['id']}")
    assert cancelled.json()["state"] == "cancelled"
    assert cancelled.json()["receipt"]["status"] == "voided"
    assert (await service.account())["authorized_usd"] == "0"
    again = await service.client.delete(f"/v1/tasks/{task['id']}")
    assert (again.status_code, again.json()["state"]) == (200, "cancelled")


async def test_a_queued_task_is_cancelled_at_once(service: Served):
    await service.offer(price=None)
    task = await service.post()
    assert (task["state"], task["reason"]) == ("queued", "no_valid_quote")
    assert (await service.client.delete(f"/v1/tasks/{task['id']}")).json()["state"] == "cancelled"


async def test_cancelling_running_work_closes_the_upstream_and_voids_the_money(service: Served):
    offer = await service.offer(capacity={"concurrency": 1})
    service.upstreams.fail("sim", Fault("hang"))
    task = await service.post()
    stats = service.upstreams.seen("sim")
    await service.called("sim")
    cancelled = (await service.client.delete(f"/v1/tasks/{task['id']}")).json()
    assert (cancelled["state"], cancelled["attempts"][0]["state"]) == ("cancelled", "cancelled")
    for _ in range(100):
        if stats.disconnected:
            break
        await asyncio.sleep(0.01)
    assert stats.disconnected == 1
    account = await service.account()
    assert (account["authorized_usd"], account["spent_usd"]) == ("0", "0")
    assert await service.in_flight(offer) == 0


async def test_a_task_that_has_ended_cannot_be_cancelled(service: Served):
    await service.offer()
    task = await service.done()
    refused = await service.client.delete(f"/v1/tasks/{task['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "task_ended")


async def test_what_nobody_can_serve_is_unfilled_with_the_reason_and_the_nearest_bid(service: Served):
    offer = await service.offer(quality_claims=[{"domain": "general", "quality": 0.7, "sample_size": 100}])
    task = await service.post(constraints={"min_quality": 0.99})
    assert (task["state"], task["reason"]) == ("unfilled", "quality_below_floor")
    assert task["nearest"]["offer_id"] == offer
    over = await service.post(constraints={"max_cost_usd": "0.000000001"})
    assert (over["state"], over["reason"]) == ("unfilled", "over_budget")
    assert (await service.account())["authorized_usd"] == "0"


async def test_an_empty_market_says_that_it_has_no_offers(service: Served):
    task = await service.post()
    assert (task["state"], task["reason"]) == ("unfilled", "no_offers")


async def test_a_queued_task_runs_as_soon_as_a_quote_arrives(service: Served):
    offer = await service.offer(price=None)
    task = await service.post()
    assert task["state"] == "queued"
    await service.quote(offer, "1")
    assert (await service.final(task["id"], 3))["state"] == "succeeded"


async def test_a_queued_task_whose_deadline_comes_expires_with_the_code_that_decided(service: Served):
    await service.offer(price=None)
    task = await service.post(constraints={"complete_within_s": 0.8})
    assert task["state"] == "queued"
    ended = await service.final(task["id"], 5)
    assert (ended["state"], ended["reason"]) == ("expired", "no_valid_quote")


async def test_a_running_task_whose_deadline_comes_expires_as_an_outage(service: Served):
    await service.offer(latency={"p50_ms": 10, "p95_ms": 20, "tokens_per_second": 10_000})
    service.upstreams.fail("sim", Fault("hang"))
    ended = await service.done(
        constraints={"complete_within_s": 1.0}, input=HELLO | {"max_output_tokens": 50}
    )
    assert (ended["state"], ended["reason"]) == ("expired", "outage")
    assert ended["receipt"]["deadline_met"] is False
    assert (await service.account())["authorized_usd"] == "0"


async def test_a_deadline_in_the_past_is_refused_and_nothing_is_written(service: Served):
    await service.offer()
    body = {"input": HELLO, "constraints": {"complete_by": "2020-01-01T00:00:00Z"}}
    refused = await service.client.post("/v1/tasks", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "deadline_passed")
    assert (await service.client.get("/v1/tasks")).json()["data"] == []


async def events(client: httpx.AsyncClient, task_id: str, **headers: str) -> list[tuple[int, str, dict]]:
    """Every event of a task's stream, to its end."""
    found: list[tuple[int, str, dict]] = []
    number, kind = 0, ""
    async with client.stream("GET", f"/v1/tasks/{task_id}/events", headers=headers) as stream:
        async for line in stream.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "id":
                number = int(value)
            elif name == "event":
                kind = value
            elif name == "data":
                found.append((number, kind, json.loads(value)))
    return found


async def test_the_event_stream_tells_every_change_in_order_and_ends_with_the_task(service: Served):
    await service.offer("bad", "1")
    await service.offer("good", "2")
    service.upstreams.fail("bad", Fault("server_error", delay_s=0.3))
    task = await service.post()
    seen = await asyncio.wait_for(events(service.client, task["id"]), 10)
    assert [kind for _, kind, _ in seen] == ["task.placed", "attempt.failed", "task.succeeded"]
    assert [number for number, _, _ in seen] == sorted(number for number, _, _ in seen)
    resumed = await events(service.client, task["id"], **{"last-event-id": str(seen[0][0])})
    assert resumed == seen[1:]
    after = await service.client.get(f"/v1/tasks/{task['id']}/events?after={seen[1][0]}")
    assert after.text.count("event: ") == 1


async def test_an_estimate_says_what_it_would_cost_and_places_nothing(service: Served):
    offer = await service.offer()
    found = (await service.client.post("/v1/tasks/estimate", json={"input": HELLO})).json()
    assert found["now"]["offer_id"] == offer
    assert 0 < nano(found["now"]["expected_usd"]) <= nano(found["now"]["worst_usd"])
    assert (await service.client.get("/v1/tasks")).json()["data"] == []
    assert (await service.client.get("/v1/auctions")).json()["data"] == []


async def test_lists_filter_by_state_type_and_label(service: Served):
    await service.offer()
    red = await service.done(task_type="a.b", labels={"team": "red"})
    blue = await service.done(task_type="c", labels={"team": "blue", "user": "u-1"})
    bad = await service.post(constraints={"models": ["none"]})

    async def ids(query: str) -> list[str]:
        found = await service.client.get(f"/v1/tasks?{query}")
        assert found.status_code == 200, found.text
        return [task["id"] for task in found.json()["data"]]

    assert await ids("state=succeeded") == [blue["id"], red["id"]]
    assert await ids("state=unfilled") == [bad["id"]]
    assert await ids("task_type=a.b") == [red["id"]]
    assert await ids("label.team=blue") == [blue["id"]]
    assert await ids("label.team=blue&label.user=u-2") == []
    assert (await service.client.get("/v1/tasks?state=lost")).status_code == 422


async def test_pages_follow_each_other_by_cursor_without_gap_or_double(service: Served):
    made = [(await service.post())["id"] for _ in range(7)]
    seen: list[str] = []
    after = ""
    while True:
        page = (await service.client.get(f"/v1/tasks?limit=3{after}")).json()
        seen += [task["id"] for task in page["data"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert seen == made[::-1]


async def test_a_prepaid_account_without_funds_gets_402_and_nothing_is_written(service: Served):
    await service.offer()
    account = (await service.client.post("/v1/accounts", json={"name": "poor"})).json()["id"]
    async with await service.key("requester", account_id=account) as poor:
        refused = await poor.post("/v1/tasks", json={"input": HELLO})
        assert (refused.status_code, refused.json()["code"]) == (402, "insufficient_funds")
        assert (await poor.get("/v1/tasks")).json()["data"] == []
    assert (await service.client.get("/v1/auctions")).json()["data"] == []
    assert service.upstreams.seen("sim").calls == 0


async def test_a_credit_line_is_never_overdrawn_by_tasks_posted_at_once(service: Served):
    await service.offer()
    body = {"input": HELLO | {"max_output_tokens": 100}}
    worst = (await service.client.post("/v1/tasks/estimate", json=body)).json()["now"]["worst_usd"]
    credit = nano(worst) * 3
    line = f"{credit // 10**9}.{credit % 10**9:09d}"
    account = (
        await service.client.post("/v1/accounts", json={"name": "line", "credit_limit_usd": line})
    ).json()["id"]
    service.upstreams.fail("sim", Fault("slow_first_token", delay_s=0.5))
    async with await service.key("requester", account_id=account) as client:
        answers = await asyncio.gather(*(client.post("/v1/tasks", json=body) for _ in range(10)))
    assert sorted(a.status_code for a in answers) == [201] * 3 + [402] * 7


async def test_a_next_bid_that_the_account_cannot_carry_ends_the_task_and_voids_its_money(service: Served):
    await service.offer("cheap", "1")
    await service.offer("dear", "100")
    service.upstreams.fail("cheap", Fault("server_error"))
    body = {"input": HELLO | {"max_output_tokens": 100}}
    worst = (await service.client.post("/v1/tasks/estimate", json=body)).json()["now"]["worst_usd"]
    opened = await service.client.post("/v1/accounts", json={"name": "thin", "credit_limit_usd": worst})
    async with await service.key("requester", account_id=opened.json()["id"]) as client:
        task = await service.post(client=client, wait_s=5, **body)
    assert (task["state"], task["reason"]) == ("failed", "server_error")
    assert service.upstreams.seen("dear").calls == 0
    account = await service.account(opened.json()["id"])
    assert (account["authorized_usd"], account["spent_usd"]) == ("0", "0")
    assert account["available_usd"] == worst


async def test_cancels_that_race_with_answers_leave_the_books_in_balance(service: Served):
    offer = await service.offer(capacity={"concurrency": 10})
    service.upstreams.fail("sim", Fault("slow_first_token", delay_s=0.05))
    posted = await asyncio.gather(*(service.post() for _ in range(20)))

    async def cancel(number: int, task_id: str) -> int:
        await asyncio.sleep(number * 0.01)
        return (await service.client.delete(f"/v1/tasks/{task_id}")).status_code

    statuses = await asyncio.gather(*(cancel(n, task["id"]) for n, task in enumerate(posted)))
    ended = [await service.final(task["id"]) for task in posted]
    assert set(statuses) <= {200, 409}
    expected = ["cancelled" if status == 200 else "succeeded" for status in statuses]
    assert [task["state"] for task in ended] == expected
    account, balances = await service.account(), await service.balances()
    assert nano(account["spent_usd"]) == sum(nano(task["receipt"]["paid_usd"]) for task in ended)
    assert account["authorized_usd"] == "0"
    assert sum(balances.values()) == 0
    assert await service.in_flight(offer) == 0


async def test_a_requester_sees_its_own_accounts_tasks_only(service: Served):
    await service.offer()
    account = (
        await service.client.post("/v1/accounts", json={"name": "other", "credit_limit_usd": "5"})
    ).json()["id"]
    mine = await service.done()
    async with await service.key("requester", account_id=account) as other:
        theirs = await service.post(client=other)
        assert [t["id"] for t in (await other.get("/v1/tasks")).json()["data"]] == [theirs["id"]]
        for path in (f"/v1/tasks/{mine['id']}", f"/v1/tasks/{mine['id']}/events"):
            assert (await other.get(path)).status_code == 404
        assert (await other.delete(f"/v1/tasks/{mine['id']}")).status_code == 404
        assert (await other.get(f"/v1/auctions/{mine['auction_id']}")).status_code == 404
        assert [a["task_id"] for a in (await other.get("/v1/auctions")).json()["data"]] == [theirs["id"]]
        assert (await other.get("/v1/accounts/acct_default")).status_code == 403
        assert (await other.get(f"/v1/accounts/{account}")).status_code == 200


async def test_after_a_mixed_run_the_books_balance_and_nothing_stays_authorized(service: Served):
    await service.offer("bad", "1")
    good = await service.offer("good", "2", capacity={"concurrency": 3})
    service.upstreams.fail("bad", Fault("server_error", times=5))
    service.upstreams.fail("bad", Fault("cut", times=5))
    service.upstreams.fail("bad", Fault("bad_request", times=3))
    service.upstreams.fail("bad", Fault("slow_first_token", delay_s=0.02))
    posted = await asyncio.gather(*(service.post(labels={"n": str(n)}) for n in range(40)))
    await asyncio.gather(*(service.client.delete(f"/v1/tasks/{task['id']}") for task in posted[::9]))
    ended = [await service.final(task["id"], 20) for task in posted]
    assert {"succeeded", "failed"} <= {task["state"] for task in ended}
    paid = sum(nano(task["receipt"]["paid_usd"]) for task in ended)
    account, balances = await service.account(), await service.balances()
    assert nano(account["spent_usd"]) == paid
    assert account["authorized_usd"] == "0"
    assert sum(balances.values()) == 0
    assert balances["provider:bad"] + balances["provider:good"] == paid + -balances.get("house:overrun", 0)
    assert balances["acct:acct_default:authorized"] == 0
    assert await service.in_flight(good) == 0


async def test_an_unknown_fallback_is_refused_by_its_pointer(service: Served):
    await service.offer()
    refused = await service.client.post(
        "/v1/tasks", json={"input": HELLO, "objective": {"fallback": "off_none"}}
    )
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/objective/fallback"
    assert refused.json()["code"] == "unknown_offer"


async def test_a_fallback_that_settles_through_the_market_is_refused(service: Served):
    offer = await service.offer(settles=True)
    refused = await service.client.post("/v1/tasks", json={"input": HELLO, "objective": {"fallback": offer}})
    assert (refused.status_code, refused.json()["code"]) == (422, "fallback_settles")


async def test_a_refused_key_is_not_tried_again_at_the_same_offer(service: Served) -> None:
    await service.offer()
    service.upstreams.fail("sim", Fault("unauthorized"))
    task = await service.done()
    assert (task["state"], task["reason"]) == ("failed", "refused_credential")
    assert len(task["attempts"]) == 1


async def test_holds_on_a_withdrawn_offer_are_decided_again_at_once_and_others_wait_on(service: Served):
    kept = await service.offer(price=None, model="kept", latency=QUICK)
    going = await service.offer(price=None, model="going", latency=QUICK)
    other = await service.offer(price="5", model="other", latency=QUICK)
    for offer in (kept, going):
        curve = [
            {"prices": {"input_per_mtok": "10", "output_per_mtok": "10"}, "valid_until": ahead(3_600)},
            {"prices": {"input_per_mtok": "1", "output_per_mtok": "1"}, "valid_from": ahead(3_600)},
        ]
        await service.client.post(f"/v1/offers/{offer}/quotes", json={"curve": curve})
    limits = {"complete_within_s": 7_200}
    waits, runs = [
        await service.post(constraints=limits | {"models": models})
        for models in (["kept", "other"], ["going", "other"])
    ]
    assert (waits["state"], runs["state"]) == ("held", "held")
    await asyncio.sleep(0.6)
    withdrawn = await service.client.delete(f"/v1/offers/{going}")
    assert withdrawn.status_code in (200, 204), withdrawn.text
    done = await service.final(runs["id"])
    assert (done["state"], done["award"]["offer_id"]) == ("succeeded", other)
    still = (await service.client.get(f"/v1/tasks/{waits['id']}")).json()
    assert (still["state"], still["auction_id"]) == ("held", waits["auction_id"])
