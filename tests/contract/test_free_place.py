"""Held tasks whose cheap offer is full for a moment: they ask it again instead of running elsewhere, dearer."""

from datetime import timedelta

from lowtide.simulate.faults import Fault
from tests.contract.served import Served
from tests.contract.stepping import START
from tests.contract.test_rounds import OTHER, at, cheap_window, ran, starts


async def advance(service: Served, clock, seconds: float) -> None:
    """Step the clock, run what is due, and let the calls end."""
    clock.advance_to(START + timedelta(seconds=seconds))
    await service.running.sweeps.release()
    await service.running.dispatcher.idle()


async def test_who_finds_the_cheap_place_taken_waits_for_it_while_there_is_time(stepped):
    service, clock = stepped
    night = await cheap_window(service, 60, 70)
    await service.offer("day", "8", latency=OTHER)
    service.upstreams.fail("night", Fault("slow_first_token", delay_s=0.05))
    held = [await service.post(constraints={"complete_by": at(240), "max_cost_usd": "1"}) for _ in range(5)]
    assert {task["state"] for task in held} == {"held"}
    policies, second = set(), 3_600.0
    while any(task["state"] == "held" for task in await ran(service, held)):
        await advance(service, clock, second)
        policies |= {task["hold"]["policy"] for task in await ran(service, held) if task["state"] == "held"}
        second += 3
        assert second < 4_200, "the window has passed"
    ended = await ran(service, held)
    assert {task["state"] for task in ended} == {"succeeded"}
    assert len(starts(ended, night)) == 5
    assert "free_place" in policies
    for task in ended:
        found = (await service.client.get(f"/v1/auctions?task_id={task['id']}")).json()["data"]
        assert len(found) <= 3, "looks that change nothing are not written"
        for auction in found:
            replayed = await service.client.post(f"/v1/auctions/{auction['id']}/replay")
            assert replayed.json()["identical"], replayed.text


async def test_at_its_latest_start_it_goes_elsewhere(stepped):
    service, clock = stepped
    night = await cheap_window(service, 60, 240)
    day = await service.offer("day", "8", latency=OTHER)
    service.upstreams.fail("night", Fault("slow_first_token", delay_s=3_600.0))
    held = [await service.post(constraints={"complete_by": at(90), "max_cost_usd": "1"}) for _ in range(2)]
    assert {task["state"] for task in held} == {"held"}
    for minute in range(60, 91):
        clock.advance_to(START + timedelta(minutes=minute))
        await service.running.sweeps.release()
    waited = next(task for task in await ran(service, held) if task["award"]["offer_id"] == day)
    ended = await service.final(waited["id"])
    assert (ended["state"], ended["receipt"]["deadline_met"]) == ("succeeded", True)
    assert night not in {attempt["offer_id"] for attempt in ended["attempts"]}
