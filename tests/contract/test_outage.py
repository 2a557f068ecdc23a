"""Providers that are down for a while: with time left a task waits for their return, and its tries are spread."""

import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lowtide.exchange.release import review_queued
from lowtide.simulate.clock import SteppedClock
from lowtide.simulate.faults import Fault
from lowtide.simulate.upstream import Upstreams
from lowtide.store import tasks
from lowtide.values.instants import instant, rfc3339
from tests.contract.served import Served, served_market
from tests.contract.stepping import START, after

LATENCY = {"p50_ms": 50, "p95_ms": 500, "tokens_per_second": 1_000}
NOWHERE = "http://127.0.0.1:9/v1"
"""An address where nobody listens."""


@dataclass
class Stepped:
    """A market whose clock is stepped to whatever is due next."""

    service: Served
    clock: SteppedClock

    async def to(self, hours: float) -> None:
        """Step to every instant that is due until then, and let what runs there end."""
        until = START + timedelta(hours=hours)
        while True:
            await self.service.running.dispatcher.idle()
            async with self.service.running.market.database.read() as conn:
                due = await tasks.next_due(conn)
            if due is None or instant(due) > until:
                break
            self.clock.advance_to(max(instant(due), self.clock.now()))
            await self.service.running.sweeps.conditions()
            await self.service.running.sweeps.release()
        self.clock.advance_to(until)
        await self.service.running.sweeps.conditions()
        await self.service.running.sweeps.release()
        await self.service.running.dispatcher.idle()

    async def post(self, hours: float, **body: Any) -> dict[str, Any]:
        """Post a task that is due so many hours after the start; as it stands once its calls have ended."""
        task = await self.service.post(constraints={"complete_by": at(hours)}, **body)
        await self.service.running.dispatcher.idle()
        return await self.service.task(task["id"])


def at(hours: float) -> str:
    """RFC 3339 of an instant so many hours after the start."""
    return after(hours=hours)


def begun(task: dict[str, Any]) -> list[float]:
    """When each attempt began, in seconds after the first."""
    starts = [datetime.fromisoformat(attempt["started_at"]) for attempt in task["attempts"]]
    return [(start - starts[0]).total_seconds() for start in starts]


@pytest.fixture
def stepped(stepped: tuple[Served, SteppedClock]) -> Stepped:
    """A market at a clock that stands still until it is stepped."""
    return Stepped(*stepped)


async def with_eight_offers_down(stepped: Stepped) -> dict[str, Any]:
    """A task that has tried four of them."""
    for number in range(8):
        await stepped.service.offer("sim", str(number + 1), model=f"m{number}", latency=LATENCY)
    stepped.service.upstreams.fail("sim", Fault("server_error"))
    task = await stepped.post(30)
    assert (task["state"], len(task["attempts"])) == ("queued", 4)
    return task


@pytest.mark.parametrize("fault", ["server_error", "overloaded", "cut", "rate_limit"])
async def test_a_task_with_hours_left_outlasts_its_only_providers_outage(stepped: Stepped, fault: Any):
    service = stepped.service
    await service.offer(latency=LATENCY)
    service.upstreams.fail("sim", Fault(fault))
    task = await stepped.post(30)
    assert task["state"] == "queued"
    assert [attempt["state"] for attempt in task["attempts"]] == ["failed"]
    assert task["reason"] == task["attempts"][0]["outcome"]
    assert task["award"] is None
    assert (await service.account())["authorized_usd"] != "0"
    await stepped.to(20 / 60)
    assert (await service.task(task["id"]))["state"] == "queued"
    service.upstreams.heal("sim")
    await stepped.to(30)
    done = await service.task(task["id"])
    assert (done["state"], done["receipt"]["deadline_met"]) == ("succeeded", True)
    outcomes = [attempt["outcome"] for attempt in done["receipt"]["attempts"]]
    assert outcomes == [task["reason"]] * (len(outcomes) - 1) + ["answered"]
    assert begun(done)[-1] < 3_600
    account, balances = await service.account(), await service.balances()
    assert account["authorized_usd"] == "0"
    assert account["spent_usd"] == done["receipt"]["paid_usd"]
    assert sum(balances.values()) == 0


async def test_where_the_outage_never_ends_the_last_try_is_at_the_latest_start_and_the_money_is_free(
    stepped: Stepped,
):
    service = stepped.service
    offer = await service.offer(base_url=NOWHERE, latency=LATENCY)
    task = await stepped.post(30)
    assert (task["state"], task["reason"]) == ("queued", "connect_failed")
    await stepped.to(29.9)
    assert (await service.task(task["id"]))["state"] == "queued"
    await stepped.to(30)
    ended = await service.task(task["id"])
    assert (ended["state"], ended["reason"]) == ("expired", "outage")
    assert len(ended["attempts"]) == 6
    tries = begun(ended)
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert pauses == sorted(pauses)
    assert 1 <= pauses[0] < 60
    assert 30 * 3_600 - 60 < tries[-1] < 30 * 3_600
    assert (ended["receipt"]["paid_usd"], ended["receipt"]["deadline_met"]) == ("0", False)
    account, balances = await service.account(), await service.balances()
    assert (account["authorized_usd"], account["spent_usd"]) == ("0", "0")
    assert sum(balances.values()) == 0
    assert await service.in_flight(offer) == 0
    auctions = (await service.client.get(f"/v1/auctions?task_id={task['id']}")).json()["data"]
    assert len(auctions) == 6
    for auction in auctions:
        again = (await service.client.post(f"/v1/auctions/{auction['id']}/replay")).json()
        assert again["identical"], again


async def test_the_requesters_own_attempt_limit_holds(stepped: Stepped):
    await stepped.service.offer(base_url=NOWHERE, latency=LATENCY)
    once = await stepped.post(30, max_attempts=1)
    assert (once["state"], once["reason"], len(once["attempts"])) == ("failed", "connect_failed", 1)
    twice = await stepped.post(30, max_attempts=2)
    assert (twice["state"], len(twice["attempts"])) == ("queued", 1)
    await stepped.to(30)
    ended = await stepped.service.task(twice["id"])
    assert (ended["state"], ended["reason"], len(ended["attempts"])) == ("expired", "outage", 2)


async def test_another_offer_that_comes_serves_what_waits_at_once(stepped: Stepped):
    service = stepped.service
    await service.offer("down", base_url=NOWHERE, latency=LATENCY)
    task = await stepped.post(30)
    assert task["state"] == "queued"
    other = await service.offer("up", "3", latency=LATENCY)
    await service.running.sweeps.release()
    await service.running.dispatcher.idle()
    done = await service.task(task["id"])
    assert (done["state"], done["award"]["offer_id"]) == ("succeeded", other)
    assert begun(done)[-1] == 0


async def test_what_waits_goes_on_as_soon_as_its_provider_has_answered_another(stepped: Stepped):
    service = stepped.service
    await service.offer(latency=LATENCY)
    service.upstreams.fail("sim", Fault("server_error", times=1))
    task = await stepped.post(30)
    assert task["state"] == "queued"
    await service.running.sweeps.release()
    assert len((await service.task(task["id"]))["attempts"]) == 1
    stepped.clock.advance_to(START + timedelta(seconds=2))
    assert (await service.done())["state"] == "succeeded"
    await review_queued(service.running.market, service.running.dispatcher)
    await service.running.dispatcher.idle()
    done = await service.task(task["id"])
    assert (done["state"], len(done["attempts"])) == ("succeeded", 2)


async def test_with_several_offers_down_the_last_tries_are_kept_for_later(stepped: Stepped):
    service, task = stepped.service, await with_eight_offers_down(stepped)
    await service.running.sweeps.release()
    assert len((await service.task(task["id"]))["attempts"]) == 4
    await stepped.to(10)
    assert len((await service.task(task["id"]))["attempts"]) == 5
    service.upstreams.heal("sim")
    await stepped.to(30)
    assert (await service.task(task["id"]))["state"] == "succeeded"


async def test_a_failure_that_another_try_only_repeats_is_not_waited_out(stepped: Stepped):
    await stepped.service.offer(latency=LATENCY)
    for fault, reason in (("unauthorized", "refused_credential"), ("bad_request", "caller_error")):
        stepped.service.upstreams.fail("sim", Fault(fault))  # type: ignore[arg-type]
        task = await stepped.post(30)
        assert (task["state"], task["reason"], len(task["attempts"])) == ("failed", reason, 1)
        stepped.service.upstreams.heal("sim")


async def test_what_waits_for_its_provider_outlives_a_restart_with_its_pause(
    template: Path, tmp_path: Path, upstreams: Upstreams, upstream_url: str
):
    database, clock = tmp_path / "market.db", SteppedClock(START)
    shutil.copyfile(template, database)
    upstreams.fail("sim", Fault("server_error"))
    async with served_market(database, upstreams, upstream_url, clock=clock) as first:
        await first.offer(latency=LATENCY)
        task = await Stepped(first, clock).post(30)
        assert task["state"] == "queued"
    async with served_market(database, upstreams, upstream_url, clock=clock) as second:
        assert second.running.recovered == 0
        await second.running.sweeps.release()
        await second.running.dispatcher.idle()
        assert len((await second.task(task["id"]))["attempts"]) == 1
        upstreams.heal("sim")
        await Stepped(second, clock).to(1)
        done = await second.task(task["id"])
        assert (done["state"], len(done["attempts"])) == ("succeeded", 2)
        assert (await second.account())["authorized_usd"] == "0"


async def test_a_task_that_waits_for_its_provider_can_be_cancelled(stepped: Stepped):
    await stepped.service.offer(base_url=NOWHERE, latency=LATENCY)
    task = await stepped.post(30)
    gone = await stepped.service.client.delete(f"/v1/tasks/{task['id']}")
    assert gone.status_code == 200
    assert (await stepped.service.task(task["id"]))["state"] == "cancelled"
    assert (await stepped.service.account())["authorized_usd"] == "0"


async def test_a_task_says_when_it_tries_again(stepped: Stepped):
    await stepped.service.offer(base_url=NOWHERE, latency=LATENCY)
    task = await stepped.post(30)
    async with stepped.service.running.market.database.read() as conn:
        assert task["retry_at"] == rfc3339(await tasks.next_due(conn) or 0)
    assert at(0) < task["retry_at"] < at(1 / 60)


async def test_a_spot_lane_that_is_down_is_waited_out_too(stepped: Stepped):
    service = stepped.service
    await service.offer(lane="spot", latency=LATENCY)
    service.upstreams.fail("sim", Fault("server_error"))
    task = await stepped.post(30)
    assert (task["state"], len(task["attempts"])) == ("queued", 1)
    await stepped.to(20 / 60)
    service.upstreams.heal("sim")
    await stepped.to(30)
    assert (await service.task(task["id"]))["state"] == "succeeded"


async def test_a_pause_that_nobody_was_there_to_end_expires_as_an_outage(stepped: Stepped):
    await stepped.service.offer(base_url=NOWHERE, latency=LATENCY)
    task = await stepped.post(1)
    stepped.clock.advance_to(START + timedelta(hours=2))
    await stepped.service.running.sweeps.release()
    ended = await stepped.service.task(task["id"])
    assert (ended["state"], ended["reason"], len(ended["attempts"])) == ("expired", "outage", 1)
    assert (await stepped.service.account())["authorized_usd"] == "0"


async def test_a_held_task_whose_offer_is_down_at_its_release_outlasts_that(stepped: Stepped):
    service = stepped.service
    offer = await service.offer(price=None, latency=LATENCY)
    await service.quote(offer, "4", valid_until=at(2))
    await service.quote(offer, "1", valid_from=at(2), valid_until=at(100))
    task = await stepped.post(30)
    assert (task["state"], task["retry_at"]) == ("held", None)
    service.upstreams.fail("sim", Fault("server_error"))
    await stepped.to(2.1)
    assert (await service.task(task["id"]))["state"] == "queued"
    service.upstreams.heal("sim")
    await stepped.to(30)
    done = await service.task(task["id"])
    assert (done["state"], done["receipt"]["deadline_met"]) == ("succeeded", True)
    assert float(done["receipt"]["saved_usd"]) > 0


async def test_kept_tries_are_spent_before_their_time_once_an_offer_that_failed_has_answered(
    stepped: Stepped,
):
    service, task = stepped.service, await with_eight_offers_down(stepped)
    service.upstreams.heal("sim")
    stepped.clock.advance_to(START + timedelta(seconds=30))
    await review_queued(service.running.market, service.running.dispatcher)
    assert (await service.task(task["id"]))["state"] == "queued"
    await service.done(constraints={"models": ["m0"]})
    await review_queued(service.running.market, service.running.dispatcher)
    await service.running.dispatcher.idle()
    done = await service.task(task["id"])
    assert (done["state"], done["award"]["model"], len(done["attempts"])) == ("succeeded", "m0", 5)
