"""Tasks held by forecast on a market whose price has gone up and down with the day for a month, and what is told of it."""

import hashlib
import math
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson

from lowtide.api.forecast_answers import OfferForecast
from lowtide.exchange.review import export
from lowtide.market.deferral.continuation import forecast_from_line
from lowtide.simulate.clock import SteppedClock
from lowtide.store import log
from tests.contract.served import HELLO, Served, served_market
from tests.contract.stepping import START, after, with_history
from tests.contract.test_cli_prices import run

DAYS = 30
TROUGH = 3
"""The hour of the day at which it is cheapest."""


def price(hour: int) -> int:
    """USD per billion tokens, so many hours after the start: a wave over the day, and 3 % of noise."""
    clock = (START + timedelta(hours=hour)).hour
    noise = int.from_bytes(hashlib.sha256(str(hour).encode()).digest()[:2], "big") / 65_535 - 0.5
    return round(1_000 * (3 - math.cos(2 * math.pi * (clock - TROUGH) / 24)) * (1 + 0.06 * noise))


def usd(hour: int) -> str:
    return f"{price(hour) / 1_000:.3f}"


def at(hours: float) -> str:
    """RFC 3339 of an instant so many hours after the start."""
    return after(hours=hours)


async def to(service: Served, clock: SteppedClock, hours: float) -> None:
    """Step the clock and run what is due."""
    clock.advance_to(START + timedelta(hours=hours))
    await service.running.sweeps.forecasts()
    await service.running.sweeps.release()
    await service.running.dispatcher.idle()


async def an_hour(service: Served, clock: SteppedClock, offer: str, hour: int) -> None:
    """An hour with a new price of its own, as a seller pushes it ten seconds late."""
    clock.advance_to(START + timedelta(hours=hour, seconds=10))
    assert (await service.quote(offer, usd(hour))).status_code == 201
    await service.running.sweeps.release()
    await service.running.dispatcher.idle()
    for minutes in (1.5, 15):
        await to(service, clock, hour + minutes / 60)


async def lines_of(service: Served, task_id: str) -> list[dict[str, Any]]:
    """The records of a task's auctions."""
    async with service.running.market.database.read() as conn:
        await conn.commit()
    await service.running.sweeps.number_leaves()
    async with service.running.market.database.read() as conn:
        found = [orjson.loads(line.line) for line in await log.stream(conn, -1, 1_000)]
    return [line for line in found if line.get("task_id") == task_id and line["type"] == "auction"]


async def test_a_task_is_held_by_forecast_and_run_at_the_trough_and_its_records_replay(stepped):
    service, clock = stepped
    offer = await with_history(service, "sim", price, DAYS)
    await to(service, clock, 0.05)
    task = await service.post(constraints={"complete_by": at(23.5)})
    assert task["state"] == "held"
    assert (task["hold"]["policy"], task["hold"]["offer_id"]) == ("mixture", offer)
    looks, hour = {task["hold"]["release_at"]}, 0
    while (now := await service.task(task["id"]))["state"] == "held":
        assert at(hour) < now["hold"]["release_at"] < at(hour + 1.2)
        looks.add(now["hold"]["release_at"])
        hour += 1
        await an_hour(service, clock, offer, hour)
    assert now["state"] == "succeeded"
    cheapest = min(range(24), key=price)
    assert price(hour) <= 1.05 * price(cheapest)
    assert len(looks) > 10
    held, awarded = await lines_of(service, task["id"])
    assert (held["outcome"], awarded["outcome"]) == ("held", "awarded")
    assert held["inputs"]["forecasts"] == [[0, held["deferral"]["forecast"]]]
    for record in (held, awarded):
        shown = (await service.client.get(f"/v1/auctions/{record['id']}")).json()
        assert shown["replay"] == {"identical": True}
    exported = [orjson.loads(line) async for line in export(service.running.market)]
    told = [line["digest"] for line in exported if line["type"] == "forecast"]
    assert told == [held["inputs"]["forecasts"][0][1], awarded["inputs"]["forecasts"][0][1]]
    types = [line["type"] for line in exported]
    assert types.index("forecast") < types.index("auction")
    first = next(line for line in exported if line["type"] == "forecast")
    assert forecast_from_line(first["line"].encode()).digest() == first["digest"]


async def test_without_a_budget_the_dearest_price_of_the_history_is_authorized_for_the_rescue(stepped):
    service, clock = stepped
    await with_history(service, "sim", price, DAYS)
    await to(service, clock, 0.05)
    wanted = {"input": HELLO, "constraints": {"complete_by": at(23.5)}}
    estimate = (await service.client.post("/v1/tasks/estimate", json=wanted)).json()
    assert (estimate["outcome"], estimate["held"]["saves_usd"] is not None) == ("held", True)
    task = await service.post(constraints=wanted["constraints"])
    assert task["state"] == "held"
    dearest = max(price(hour) for hour in range(-28 * 24, 1)) / price(0)
    authorized = Decimal((await service.account())["authorized_usd"])
    assert authorized >= Decimal(estimate["now"]["worst_usd"]) * Decimal(dearest) * Decimal("0.999")


async def test_where_the_price_does_not_fall_as_forecast_it_still_starts_in_time(stepped):
    service, clock = stepped
    await with_history(service, "sim", price, DAYS)
    await to(service, clock, 0.05)
    task = await service.post(constraints={"complete_by": at(10.5 + 8)}, objective={"value_usd": "1"})
    assert task["state"] == "held"
    hour = 0
    while (await service.task(task["id"]))["state"] == "held" and hour < 18:
        hour += 1
        for minutes in (1.5, 15):
            await to(service, clock, hour + minutes / 60)
    latest = datetime.fromisoformat(task["hold"]["latest_start"])
    await to(service, clock, (latest - START).total_seconds() / 3_600)
    assert clock.now() <= latest
    assert (await service.task(task["id"]))["state"] == "succeeded"


async def test_a_market_without_history_or_without_changes_waits_for_posted_prices_alone(stepped):
    service, clock = stepped
    await service.offer("young", "3")
    await to(service, clock, 0.05)
    assert service.running.market.forecasts.of(next(iter(service.provider_ids))) is None
    task = await service.post(constraints={"complete_by": at(23.5)})
    assert task["state"] in ("running", "succeeded")


async def test_forecasts_that_are_too_old_hold_nothing(stepped):
    service, clock = stepped
    await with_history(service, "sim", price, DAYS)
    await to(service, clock, 0.05)
    clock.advance_to(START + timedelta(hours=2, minutes=5))
    task = await service.post(constraints={"complete_by": at(23.5)})
    assert task["state"] in ("running", "succeeded")


async def test_a_node_that_was_started_again_ends_no_hold_before_it_has_forecasts_of_its_own(
    template, tmp_path, upstreams, upstream_url
):
    database, clock = tmp_path / "market.db", SteppedClock(START)
    database.write_bytes(template.read_bytes())
    async with served_market(database, upstreams, upstream_url, clock=clock) as service:
        await with_history(service, "sim", price, DAYS)
        await to(service, clock, 0.05)
        task = await service.post(constraints={"complete_by": at(23.5)})
        hurried = await service.post(constraints={"complete_by": at(18.5)})
        assert (task["state"], hurried["state"]) == ("held", "held")
    async with served_market(database, upstreams, upstream_url, clock=clock) as service:
        for minutes in (80, 82):
            clock.advance_to(START + timedelta(minutes=minutes))
            await service.running.sweeps.release()
            assert (await service.task(task["id"]))["state"] == "held"
        await to(service, clock, 1.5)
        assert (await service.task(task["id"]))["state"] == "held"
        assert (await service.task(task["id"]))["hold"]["release_at"] > at(2)
    async with served_market(database, upstreams, upstream_url, clock=clock) as service:
        clock.advance_to(START + timedelta(hours=17, minutes=40))
        await service.running.sweeps.release()
        await service.running.dispatcher.idle()
        assert (await service.task(task["id"]))["state"] == "held"
        assert (await service.task(hurried["id"]))["state"] == "succeeded"


async def test_a_changed_forecast_is_told_when_its_auction_is_read(stepped):
    service, clock = stepped
    await with_history(service, "sim", price, DAYS)
    await to(service, clock, 0.05)
    task = await service.post(constraints={"complete_by": at(23.5)})

    async def forge(conn):
        await conn.exec_driver_sql(
            "update forecasts set line = cast(replace(line, 'mixture', 'mixturf') as blob)"
        )

    await service.running.market.database.writer.write(forge)
    shown = await service.client.get(f"/v1/auctions/{task['auction_id']}")
    assert shown.status_code == 500
    assert "Forecast" in shown.json()["detail"]


async def test_what_is_forecast_is_told_with_how_it_did(stepped):
    service, clock = stepped
    offer = await with_history(service, "sim", price, DAYS)
    before = (await service.client.get(f"/v1/offers/{offer}/forecast")).json()
    assert (before["policy"], before["quantiles"], before["score"]) == (None, [], [])
    assert "11 days" in before["note"]
    await to(service, clock, 0.05)
    told = OfferForecast.model_validate_json(
        (await service.client.get(f"/v1/offers/{offer}/forecast")).content
    )
    assert (told.policy, told.note, told.slot_s) == ("mixture", None, 3_600)
    assert told.price_now_usd == f"{price(0) * 1_500 / 1e9:.9f}".rstrip("0")
    assert [slot.at for slot in told.quantiles] == [at(hour) for hour in range(1, 25)]
    least = min(told.quantiles, key=lambda slot: float(slot.p50_usd))
    assert datetime.fromisoformat(least.at).hour in (TROUGH - 1, TROUGH, TROUGH + 1)
    for slot in told.quantiles:
        assert float(slot.p10_usd) <= float(slot.p50_usd) <= float(slot.p90_usd)
    day = next(score for score in told.score if score.slack_hours == 24)
    assert day.captured is not None
    assert 0.5 < day.captured <= 1
    few = (await service.client.get(f"/v1/offers/{offer}/forecast", params={"until": at(3.5)})).json()
    assert len(few["quantiles"]) == 3


async def test_posted_steps_are_told_beside_the_forecast(stepped):
    service, _ = stepped
    offer = await service.offer("sim", "3")
    for begin, end, cost in ((2, 4, "1"), (4, 5, "3"), (6, 30, "2")):
        assert (
            await service.quote(offer, cost, valid_from=at(begin), valid_until=at(end))
        ).status_code == 201
    told = (await service.client.get(f"/v1/offers/{offer}/forecast")).json()
    known = [(step["from"], step["price_usd"], step["prices"]["input_per_mtok"]) for step in told["known"]]
    assert known == [(at(2), "0.0015", "1"), (at(4), "0.0045", "3"), (at(6), "0.003", "2")]
    assert (told["until"], told["price_now_usd"]) == (at(24), "0.0045")


async def test_a_forecast_of_the_past_or_of_an_unknown_offer_is_refused(stepped):
    service, _ = stepped
    offer = await service.offer("sim", "3")
    past = await service.client.get(f"/v1/offers/{offer}/forecast", params={"until": at(-1)})
    assert (past.status_code, past.json()["errors"][0]["code"]) == (422, "bad_range")
    unknown = await service.client.get("/v1/offers/off_none/forecast")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_offer")


async def test_the_command_shows_posted_steps_quantiles_and_scores(stepped):
    service, clock = stepped
    offer = await with_history(service, "sim", price, DAYS)
    await to(service, clock, 0.05)
    shown = await run(service, offer, command="forecast")
    assert shown.exit_code == 0, shown.output
    for part in ("a call of 1,000 input and 500 output tokens", "mixture", "p50", "of what could be saved"):
        assert part in shown.output
    other = await service.offer("young", "3")
    told = await run(service, other, command="forecast")
    assert "11 days" in told.output
    machine = await run(service, offer, "--json", command="forecast")
    assert orjson.loads(machine.output)["offer_id"] == offer
