"""Call auctions live: many held tasks that want one cheap hour of an offer with a single place."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from lowtide.api.auction_answers import Auction, AuctionListed
from lowtide.api.forecast_answers import OfferScarcity
from lowtide.app import read_settings
from lowtide.cli import app
from lowtide.exchange import rounds
from lowtide.exchange.review import export
from lowtide.exchange.rounds import Rounds
from lowtide.exchange.solving import solve
from lowtide.market.clearing.record import replay_call
from lowtide.market.clearing.rounds import instance_of_line
from lowtide.simulate.clock import SteppedClock
from lowtide.store import log
from lowtide.values.errors import SetupError
from lowtide.values.money import nano
from tests.contract.served import OPERATOR_KEY, Served
from tests.contract.stepping import START, after

FAST = {"p50_ms": 299_000, "p95_ms": 300_000, "tokens_per_second": 1_000}
"""One place that takes five minutes a call: three calls a quarter of an hour."""
OTHER = {"p50_ms": 50, "p95_ms": 100, "tokens_per_second": 1_000}


def at(minutes: float) -> str:
    """RFC 3339 of an instant so many minutes after the start."""
    return after(minutes=minutes)


async def run(service: Served, *words: str) -> Result:
    """The command as it is typed, in a thread beside the market."""
    typed = ["auctions", *words, "--url", service.url, "--key", OPERATOR_KEY]
    return await asyncio.to_thread(CliRunner().invoke, app, typed)


async def cheap_window(
    service: Served, begin: float, end: float, name: str = "night", cheap: str = "1", **fields: Any
) -> str:
    """An offer with one place that is cheap between two instants (minutes), and dear before and after."""
    offer = await service.offer(name, None, capacity={"concurrency": 1}, latency=FAST, **fields)
    windows = [("10", 0, begin), (cheap, begin, end), ("10", end, 2_880)]
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


async def all_in_time(
    service: Served, clock: SteppedClock, tasks: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Step through their four hours, minute by minute; the tasks as they ended, each in time."""
    for minute in range(241):
        await step(service, clock, minute)
    ended = await ran(service, tasks)
    assert {task["state"] for task in ended} == {"succeeded"}
    assert all(task["receipt"]["deadline_met"] for task in ended)
    return ended


def starts(tasks: list[dict[str, Any]], offer: str) -> list[str]:
    """When those began that an offer served, in order."""
    return sorted(task["attempts"][0]["started_at"] for task in tasks if task["award"]["offer_id"] == offer)


async def test_a_round_fills_the_cheap_window_and_the_rest_go_elsewhere_in_time(stepped):
    service, clock = stepped
    night = await cheap_window(service, 60, 90)
    day = await service.offer("day", "8", latency=OTHER)
    tasks = await hold_tasks(service, ["0.5"] * 12, 240)
    ended = await all_in_time(service, clock, tasks)
    assert starts(ended, night) == [at(minute) for minute in (60, 65, 70, 75, 80, 85)]
    assert len(starts(ended, day)) == 6
    by_call = [task for task in ended if task["hold"]["policy"] == "call"]
    assert starts(by_call, night) == starts(ended, night)
    assert sum((await service.balances()).values()) == 0
    assert (await service.account())["authorized_usd"] == "0"


async def test_nobody_starts_at_a_place_whose_price_has_gone_up_within_its_slot(stepped):
    service, clock = stepped
    night = await cheap_window(service, 60, 68)
    await service.offer("day", "8", latency=OTHER)
    ended = await all_in_time(service, clock, await hold_tasks(service, ["0.5"] * 6, 240))
    assert starts(ended, night) == [at(60), at(65)]


async def test_where_nothing_else_is_affordable_the_worthiest_get_the_cheap_window(stepped):
    service, clock = stepped
    night = await cheap_window(service, 60, 90)
    worths = ["0.003", "0.0045", "0.002", "0.004", "0.0055", "0.0035", "0.005", "0.0025"]
    tasks = await hold_tasks(service, worths, 240)
    for minute in range(100):
        await step(service, clock, minute)
    ended = await ran(service, tasks)
    served = {worth for worth, task in zip(worths, ended, strict=True) if task["state"] == "succeeded"}
    assert len(starts([task for task in ended if task["award"]], night)) == 6
    assert served == set(sorted(worths)[2:])


async def test_a_round_is_told_verified_and_replayed_with_what_a_place_more_is_worth(stepped):
    service, clock = stepped
    night = await cheap_window(service, 60, 90)
    tasks = await hold_tasks(service, ["0.005"] * 6 + ["0.004"] * 3, 240)
    await step(service, clock, 0)
    (call,) = await calls(service)
    answer = await service.client.get(f"/v1/auctions/{call['id']}")
    Auction.model_validate_json(answer.content)
    AuctionListed.model_validate(call)
    shown = answer.json()
    cleared = shown["cleared"]
    assert (shown["kind"], shown["task_id"], shown["bids"]) == ("call", None, [])
    assert (cleared["how"], cleared["gap_usd"], cleared["tasks"], cleared["placed"]) == ("optimal", "0", 9, 6)
    assert cleared["contended"] == [night]
    assert [(pool["slot_from"], pool["placed"]) for pool in cleared["pools"]] == [(at(60), 3), (at(75), 3)]
    prices = {pool["shadow_price_usd"] for pool in cleared["pools"]}
    assert prices
    assert "0" not in prices
    assert shown["replay"] == {"identical": True}
    again = await service.client.post(f"/v1/auctions/{call['id']}/replay")
    assert again.json() == {"identical": True, "auction_id": call["id"]}
    told = await service.client.get(f"/v1/offers/{night}/scarcity")
    OfferScarcity.model_validate_json(told.content)
    scarce = told.json()
    worth = {slot["from"]: slot["shadow_price_usd"] for slot in scarce["slots"]}
    assert scarce["auction_id"] == call["id"]
    assert {worth[at(60)], worth[at(75)]} == prices
    assert worth[at(0)] == "0"
    placed = [task for task in await ran(service, tasks) if task["auction_id"] == call["id"]]
    assert len(placed) == 6
    assert {task["hold"]["policy"] for task in placed} == {"call"}


async def test_where_nothing_is_contended_no_round_is_recorded_and_holds_stay(stepped):
    service, clock = stepped
    await cheap_window(service, 60, 90)
    before = await hold_tasks(service, ["0.5"] * 3, 240)
    await step(service, clock, 0)
    assert await calls(service) == []
    assert [task["hold"] for task in await ran(service, before)] == [task["hold"] for task in before]


async def test_a_spot_lane_is_cleared_in_no_round_however_many_want_it(stepped):
    service, clock = stepped
    idle = await cheap_window(service, 60, 90, lane="spot")
    day = await service.offer("day", "8", latency=OTHER)
    tasks = await hold_tasks(service, ["0.5"] * 12, 240)
    for minute in range(0, 241, 5):
        await step(service, clock, minute)
    ended = await ran(service, tasks)
    assert await calls(service) == []
    assert all(task["receipt"]["deadline_met"] for task in ended)
    assert {task["award"]["offer_id"] for task in ended} == {idle, day}


async def test_a_solver_out_of_time_leaves_the_greedy_answer_with_its_gap(stepped):
    service, clock = stepped
    await cheap_window(service, 60, 90)
    await hold_tasks(service, ["0.5"] * 9, 240)
    market = service.running.market
    market.rules = replace(market.rules, round_solve_s=0.0)
    await step(service, clock, 0)
    (call,) = await calls(service)
    shown = (await service.client.get(f"/v1/auctions/{call['id']}")).json()
    assert shown["cleared"]["how"] == "timed_out"
    assert shown["cleared"]["placed"] == 6
    assert shown["replay"] == {"identical": True}


async def calls(service: Served) -> list[dict[str, Any]]:
    """The call auctions, the newest first."""
    listed = (await service.client.get("/v1/auctions?limit=200")).json()["data"]
    return [auction for auction in listed if auction["kind"] == "call"]


async def test_a_changed_figure_of_a_round_is_noticed(stepped):
    service, clock = stepped
    await cheap_window(service, 60, 90)
    await hold_tasks(service, ["0.5"] * 9, 240)
    await step(service, clock, 0)
    (call,) = await calls(service)
    async with service.running.market.database.read() as conn:
        record = await log.record_of(conn, call["id"])
    welfare = orjson.loads(record.line)["outcome"]["welfare"]
    forged = record.line.replace(b'"welfare":%d' % welfare, b'"welfare":%d' % (welfare + 1))

    async def forge(conn: Any) -> None:
        await conn.execute(
            text("update log set line = :line where id = :id"), {"line": forged, "id": record.id}
        )

    await service.running.market.database.writer.write(forge)
    shown = (await service.client.get(f"/v1/auctions/{call['id']}")).json()
    assert [one["field"] for one in shown["replay"]["differences"]] == ["welfare"]


async def test_the_export_has_the_round_and_its_places_and_the_round_stands(stepped):
    service, clock = stepped
    await cheap_window(service, 60, 90)
    tasks = await hold_tasks(service, ["0.5"] * 9, 240)
    await step(service, clock, 0)
    await service.running.sweeps.number_leaves()
    market = service.running.market
    lines = [line.strip() async for line in export(market)]
    parsed = [orjson.loads(line) for line in lines]
    (number,) = [place for place, line in enumerate(parsed) if line.get("kind") == "call"]
    book = await market.keeper.at(parsed[number]["book"]["version"])
    seed = await market.seeds.at(parsed[number]["as_of"])
    again = replay_call(lines[number], instance_of_line(lines[number], book), seed)
    assert again.stands
    assert again.identical
    placed = [line for line in parsed if line["type"] == "place"]
    assert {line["task_id"] for line in placed} < {task["id"] for task in tasks}
    assert {line["auction_id"] for line in placed} == {parsed[number]["id"]}
    assert len(placed) == 6


async def test_requesters_see_the_rounds_that_placed_their_tasks_and_no_others(stepped):
    service, clock = stepped
    await cheap_window(service, 60, 90)
    await hold_tasks(service, ["0.5"] * 9, 240)
    await step(service, clock, 0)
    (call,) = await calls(service)
    made = await service.client.post("/v1/accounts", json={"name": "others"})
    async with await service.key("requester", account_id=made.json()["id"]) as stranger:
        assert (await stranger.get(f"/v1/auctions/{call['id']}")).status_code == 404
    async with await service.key("requester") as own:
        assert (await own.get(f"/v1/auctions/{call['id']}")).status_code == 200


async def test_a_task_that_changed_while_the_round_was_solved_is_skipped(stepped, monkeypatch):
    service, _ = stepped
    await cheap_window(service, 60, 90)
    tasks = await hold_tasks(service, ["0.005"] * 9, 240)

    async def while_others_cancel(*given: Any) -> Any:
        for task in tasks:
            assert (await service.client.delete(f"/v1/tasks/{task['id']}")).status_code == 200
        return await solve(*given)

    monkeypatch.setattr(rounds, "solve", while_others_cancel)
    held = await rounds.hold_round(service.running.market, service.running.dispatcher)
    assert held is not None
    assert (int(held.cleared.units.sum()), held.placed, held.started) == (6, 0, 0)
    assert {task["state"] for task in await ran(service, tasks)} == {"cancelled"}


async def test_the_commands_show_a_round_and_replay_it(stepped):
    service, clock = stepped
    await cheap_window(service, 60, 90)
    await hold_tasks(service, ["0.5"] * 9, 240)
    await step(service, clock, 0)
    (call,) = await calls(service)
    told = (await run(service, "show", call["id"])).output
    assert "9, of which 6 got a place" in told
    assert "optimal, gap $0" in told
    assert told.count(" 3 ") >= 4
    assert "Replayed just now: identical." in told
    assert "(call)" in (await run(service, "list")).output
    again = await run(service, "replay", call["id"])
    assert (again.exit_code, "identical" in again.output) == (0, True)


async def test_where_the_rule_is_uniform_all_that_clear_together_pay_the_dearest_ask(stepped):
    service, clock = stepped
    market = service.running.market
    market.rules = replace(market.rules, rule="uniform")
    night = await cheap_window(service, 60, 90, settles=True)
    dusk = await cheap_window(service, 60, 90, "dusk", "2", settles=True)
    tasks = await hold_tasks(service, ["0.5"] * 10, 240)
    for minute in range(100):
        await step(service, clock, minute)
    ended = await ran(service, tasks)
    first = (await calls(service))[-1]["id"]
    assert (await run(service, "replay", first)).exit_code == 0
    served = [task for task in ended if task["award"]["offer_id"] == night]
    assert len(served) >= 6
    assert max(task["attempts"][0]["started_at"] for task in ended) < at(90)
    assert {task["award"]["offer_id"] for task in ended} == {night, dusk}
    for task in served:
        bid, price = nano(task["award"]["bid_usd"]), nano(task["award"]["price_usd"])
        # In the second slot nobody of dusk's is left.
        first_slot = task["attempts"][0]["started_at"] < at(75)
        assert (task["award"]["rule"], price) in (
            [("uniform", 2 * bid)] if first_slot else [("uniform", 2 * bid), ("posted", bid)]
        )
        assert nano(task["receipt"]["paid_usd"]) < price
    assert sum((await service.balances()).values()) == 0


async def test_a_node_that_has_not_the_duty_holds_no_round_but_knows_the_prices(stepped):
    service, clock = stepped
    night = await cheap_window(service, 60, 90)
    await hold_tasks(service, ["0.005"] * 9, 240)
    market = service.running.market
    mine, other = market.node, "node-other"
    market.node = other
    await service.running.sweeps.rounds()
    market.node = mine
    assert len(await calls(service)) == 1
    late = Rounds(market, service.running.dispatcher)
    market.scarcity.last = None
    await late.look()
    assert len(await calls(service)) == 1
    clock.advance_to(START + timedelta(minutes=60))
    assert market.scarcity.last is not None
    assert market.scarcity.last.prices[night][4] > 0


async def test_a_round_that_breaks_off_between_two_commits_leaves_whole_holds_and_the_next_goes_on(
    stepped, monkeypatch
):
    service, clock = stepped
    await cheap_window(service, 60, 90)
    before = {task["id"]: task for task in await hold_tasks(service, ["0.005"] * 6 + ["0.004"] * 3, 240)}
    write, left = rounds.write_places, [2]

    async def dies(*given: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise ConnectionError("the node dies here")
        return await write(*given)

    monkeypatch.setattr(rounds, "BATCH", 3)
    monkeypatch.setattr(rounds, "write_places", dies)
    with pytest.raises(ConnectionError):
        await step(service, clock, 0)
    found = await ran(service, list(before.values()))
    placed = [task for task in found if task["hold"]["policy"] == "call"]
    others = [task for task in found if task["hold"]["policy"] != "call"]
    (call,) = await calls(service)
    assert len(placed) == 3
    assert {task["auction_id"] for task in placed} == {call["id"]}
    assert others == [before[task["id"]] for task in others]
    monkeypatch.setattr(rounds, "write_places", write)
    for minute in range(15, 100):
        await step(service, clock, minute)
    ended = await ran(service, found)
    assert sum(task["state"] == "succeeded" for task in ended) == 6
    assert all(len(task["attempts"]) == 1 for task in ended if task["state"] == "succeeded")


async def test_what_cannot_wait_is_left_room_for_as_much_as_came_lately(stepped):
    service, clock = stepped
    night = await cheap_window(service, 60, 90)
    for minute in range(0, 40, 5):
        clock.advance_to(START + timedelta(minutes=minute))
        assert (await service.done())["state"] == "succeeded"
    clock.advance_to(START + timedelta(minutes=45))
    await hold_tasks(service, ["0.005"] * 9, 240)
    await step(service, clock, 45)
    (call,) = await calls(service)
    shown = (await service.client.get(f"/v1/auctions/{call['id']}")).json()["cleared"]
    # Eight in the last hour are two a slot of three.
    assert [(pool["slot_from"], pool["capacity"]) for pool in shown["pools"] if pool["placed"]] == [
        (at(60), 1),
        (at(75), 1),
    ]
    assert shown["contended"] == [night]


async def test_with_one_place_in_the_whole_market_nobody_who_could_be_served_misses_its_deadline(stepped):
    service, clock = stepped
    night = await cheap_window(service, 60, 90)
    tasks = await hold_tasks(service, ["0.5"] * 12, 240)
    ended = await all_in_time(service, clock, tasks)
    began = starts(ended, night)
    assert began[:6] == [at(minute) for minute in (60, 65, 70, 75, 80, 85)]
    assert began[6] >= at(90)


def test_the_time_between_rounds_is_a_setting_that_is_checked(tmp_path):
    def read(text: str) -> int:
        (tmp_path / "lowtide.toml").write_text(f"[market]\n{text}\n")
        return read_settings({"LOWTIDE_CONFIG": str(tmp_path)}).rules.round_s

    assert (read(""), read("round_s = 0"), read("round_s = 3600")) == (900, 0, 3_600)
    for wrong in ("30", "-1", "true", "'900'"):
        with pytest.raises(SetupError, match=r"market\.round_s"):
            read(f"round_s = {wrong}")
