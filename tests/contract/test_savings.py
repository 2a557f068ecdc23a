"""What waiting came to: noted when held tasks end, looked back on once their window is over, told by API and log."""

from datetime import timedelta

import orjson
import pytest

from lowtide.simulate.clock import SteppedClock
from lowtide.store import log
from tests.contract.served import Served
from tests.contract.stepping import START, after


def at(hours: float) -> str:
    """RFC 3339 of an instant so many hours after the start."""
    return after(hours=hours)


async def to(service: Served, clock: SteppedClock, hours: float) -> None:
    """Step the clock and run what is due."""
    clock.advance_to(START + timedelta(hours=hours))
    await service.running.sweeps.release()
    await service.running.dispatcher.idle()
    await service.running.sweeps.hindsight()


async def curve(service: Served, offer: str, *prices: str) -> None:
    """An hourly curve of prices from the start on."""
    slots = [
        {
            "prices": {"input_per_mtok": price, "output_per_mtok": price},
            "valid_from": at(hour),
            "valid_until": at(hour + 1),
        }
        for hour, price in enumerate(prices)
    ]
    made = await service.client.post(f"/v1/offers/{offer}/quotes", json={"curve": slots})
    assert made.status_code == 201, made.text


async def test_a_held_task_is_looked_back_on_once_its_window_is_over(stepped):
    service, clock = stepped
    offer = await service.offer("sim", None)
    await curve(service, offer, "4", "4", "2", "4", "4", "4")
    task = await service.post(constraints={"complete_by": at(5)})
    assert task["state"] == "held"
    await to(service, clock, 2.9)
    assert (await service.task(task["id"]))["state"] == "succeeded"
    # A price that nobody could know falls below the one that was waited for.
    await service.quote(offer, "1", valid_until=at(4))
    savings = (await service.client.get("/v1/savings")).json()
    assert (savings["classes"], savings["pending"]) == ([], 1)
    # A minute after the latest start, which is half a minute and more before the deadline.
    assert savings["pending_paid_usd"] == (await service.task(task["id"]))["receipt"]["paid_usd"]
    assert float(savings["pending_immediate_usd"]) == pytest.approx(2 * float(savings["pending_paid_usd"]))
    assert at(4.9) < savings["next_at"] < at(5.1)
    await to(service, clock, 5.1)
    savings = (await service.client.get("/v1/savings", params={"from": at(-1), "to": at(6)})).json()
    (found,) = savings["classes"]
    assert (found["slack_hours"], found["tasks"], found["compared"], found["missed"]) == (6, 1, 1, 0)
    assert (found["vs_immediate"], found["captured"]) == (0.5, pytest.approx(2 / 3, abs=1e-4))
    assert savings["days"] == [{"day": "2026-11-25", "classes": [found]}]
    assert (savings["pending"], savings["next_at"]) == (0, None)
    async with service.running.market.database.read() as conn:
        lines = await log.lines_of_auction(conn, (await service.task(task["id"]))["auction_id"])
    (told,) = [orjson.loads(line.line) for line in lines if line.type == "hindsight"]
    assert told["clairvoyant"] * 2 == told["paid"]
    assert told["offer_id"] == offer
    await service.running.sweeps.hindsight()
    async with service.running.market.database.read() as conn:
        again = await log.lines_of_auction(conn, told["auction_id"])
    assert len(again) == len(lines)


async def test_a_requester_sees_the_savings_of_its_own_account_only(stepped):
    service, clock = stepped
    offer = await service.offer("sim", None)
    await curve(service, offer, "4", "2", "4")
    await service.post(constraints={"complete_by": at(2.5)})
    await to(service, clock, 2)
    await to(service, clock, 3)
    account = (await service.client.post("/v1/accounts", json={"name": "other"})).json()
    other = await service.key("requester", account_id=account["id"])
    assert (await service.client.get("/v1/savings")).json()["classes"] != []
    assert (await other.get("/v1/savings")).json()["classes"] == []


async def test_a_range_that_ends_before_it_begins_is_refused(service):
    answer = await service.client.get("/v1/savings", params={"from": at(2), "to": at(1)})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_range")
