"""Call auctions live: many held tasks that want one cheap hour of an offer with a single place."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lowtide.simulate.clock import SteppedClock
from tests.contract.served import Served, served_market

START = datetime(2026, 11, 25, 8, tzinfo=UTC)
FAST = {"p50_ms": 299_000, "p95_ms": 300_000, "tokens_per_second": 1_000}
"""One place that takes five minutes a call: three calls a quarter of an hour."""
OTHER = {"p50_ms": 50, "p95_ms": 100, "tokens_per_second": 1_000}


def at(minutes: float) -> str:
    """RFC 3339 of an instant so many minutes after the start."""
    return (START + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


@pytest.fixture
async def stepped(template, tmp_path, upstreams, upstream_url):
    """A market whose clock is stepped, and the clock."""
    database, clock = tmp_path / "market.db", SteppedClock(START)
    database.write_bytes(template.read_bytes())
    async with served_market(database, upstreams, upstream_url, clock=clock) as service:
        yield service, clock


async def cheap_window(service: Served, begin: float, end: float, **fields: Any) -> str:
    """An offer with one place that is cheap between two instants (minutes), and dear before and after."""
    offer = await service.offer("night", None, capacity={"concurrency": 1}, latency=FAST, **fields)
    windows = [("10", 0, begin), ("1", begin, end), ("10", end, 2_880)]
    curve = [
        {
            "prices": {"input_per_mtok": price, "output_per_mtok": price},
            "valid_from": at(since),
            "valid_until": at(until),
        }
        for price, since, until in windows
    ]
    pushed = await service.client.post(f"/v1/offers/{offer}/quotes", json={"curve": curve})
    assert pushed.status_code == 201, pushed.text
    return offer


async def hold_tasks(service: Served, values: list[str], complete_by: float) -> list[dict[str, Any]]:
    """Tasks of these values (USD), all held."""
    made = [
        await service.post(
            constraints={"complete_by": at(complete_by), "max_cost_usd": "1"},
            objective={"value_usd": value},
        )
        for value in values
    ]
    assert {task["state"] for task in made} == {"held"}
    return made


async def step(service: Served, clock: SteppedClock, minutes: float) -> None:
    """Step the clock and run what is due."""
    clock.advance_to(START + timedelta(minutes=minutes))
    sweeps = service.running.sweeps
    await sweeps.rounds()
    await sweeps.release()
    await service.running.dispatcher.idle()


async def ran(service: Served, tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tasks as they ended."""
    return [await service.task(task["id"]) for task in tasks]


def starts(tasks: list[dict[str, Any]], offer: str) -> list[str]:
    """When those began that an offer served, in order."""
    return sorted(task["attempts"][0]["started_at"] for task in tasks if task["award"]["offer_id"] == offer)


async def test_a_round_fills_the_cheap_window_and_the_rest_go_elsewhere_in_time(stepped):
    service, clock = stepped
    night = await cheap_window(service, 60, 90)
    day = await service.offer("day", "8", latency=OTHER)
    tasks = await hold_tasks(service, ["0.5"] * 12, 240)
    for minute in range(241):
        await step(service, clock, minute)
    ended = await ran(service, tasks)
    assert {task["state"] for task in ended} == {"succeeded"}
    assert all(task["receipt"]["deadline_met"] for task in ended)
    assert starts(ended, night) == [at(minute) for minute in (60, 65, 70, 75, 80, 85)]
    assert len(starts(ended, day)) == 6
    by_call = [task for task in ended if task["hold"]["policy"] == "call"]
    assert starts(by_call, night) == starts(ended, night)
    assert sum((await service.balances()).values()) == 0
    assert (await service.account())["authorized_usd"] == "0"
