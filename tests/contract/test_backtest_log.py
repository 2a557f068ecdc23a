"""`lowtide backtest --from-log`: last week's own tasks under other policies and slacks, over a served market."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from lowtide.cli import app
from lowtide.cli.backtest_log import Came, Wanted, intake
from lowtide.values.instants import DAY_US, HOUR_US, micros
from tests.contract.served import OPERATOR_KEY, Served
from tests.contract.stepping import START
from tests.contract.test_savings import at, curve, to


async def run(service: Served, *words: str) -> Result:
    """The command as it is typed, in a thread beside the market."""
    typed = ["backtest", "--from-log", *words, "--url", service.url, "--key", OPERATOR_KEY]
    return await asyncio.to_thread(CliRunner().invoke, app, typed)


async def rows(service: Served, *words: str) -> list[dict[str, Any]]:
    """The rows of its JSON."""
    done = await run(service, *words, "--since", at(0), "--until", at(30), "--json")
    assert done.exit_code == 0, done.output
    found: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
    return found


@pytest.fixture
async def day(stepped):
    """A market ten hours on: one task came at a price of 4 with two hours, and ran an hour later at 3; the price was 1
    in the third hour after it came."""
    service, clock = stepped
    offer = await service.offer("sim", None)
    await curve(service, offer, "4", "3", "3", "1", *["4"] * 8)
    await service.post(constraints={"complete_by": at(2)})
    await to(service, clock, 1.3)
    await to(service, clock, 10.0)
    return service, clock


async def test_it_says_what_our_own_tasks_would_have_cost_at_once_and_with_posted_prices(day):
    service, _ = day
    (now,) = await rows(service, "--policy", "run_now")
    assert (now["trace"], now["slack"], now["slack_s"], now["tasks"]) == ("log", "as-posted", 7_200, 1)
    assert (now["vs_now"], now["captured"], now["mean_wait_s"]) == (1.0, 0.0, 0.0)
    assert now["vs_clairvoyant"] == pytest.approx(4 / 3)
    (posted,) = await rows(service, "--policy", "cheapest_known", "--posted", "24h")
    assert (posted["vs_now"], posted["captured"], posted["mean_wait_s"]) == (pytest.approx(0.75), 1.0, 3_600)


async def test_it_says_what_more_slack_would_have_brought(day):
    service, _ = day
    found = await rows(service, "--policy", "cheapest_known", "--posted", "24h", "--slack", "as-posted,6h")
    assert [row["slack"] for row in found] == ["as-posted", "6h"]
    assert [row["vs_now"] for row in found] == pytest.approx([0.75, 0.25])


async def test_tasks_whose_window_is_not_over_are_left_out_and_said(day):
    service, _ = day
    shown = await run(service, "--slack", "as-posted,24h", "--since", at(0), "--until", at(30))
    assert shown.exit_code == 0, shown.output
    assert "1 of 1 tasks are left out at 24h: their window is not over yet." in shown.output
    assert "no price" not in shown.output
    assert "as-posted" in shown.output
    assert "--posted 24h replays it as published a day ahead" in shown.output
    assert "mixture" in shown.output


def test_what_has_no_price_and_what_has_no_end_yet_are_counted_apart():
    hour = timedelta(hours=1)
    bars = [
        {"start": (START + number * hour).isoformat()}
        | {name: {"mean": "2"} for name in ("input_per_mtok", "output_per_mtok", "per_request")}
        for number in range(2, 6)
    ]
    begin = micros(START)
    came = [Came(begin + number * HOUR_US, 2 * HOUR_US, "off_1", 10, 10) for number in (0, 1, 2, 3, 4)]
    asked = Wanted(begin, begin + DAY_US)
    found = intake(asked, bars, came, None)
    assert (len(found.pool.arrivals), found.still_open, found.unpriced) == (2, 1, 2)
    none = intake(asked, [], came, None)
    assert (none.pool, none.still_open, none.unpriced) == (None, 0, 5)


async def test_larger_tasks_weigh_more(stepped):
    service, clock = stepped
    offer = await service.offer("sim", None)
    await curve(service, offer, "4", "2", "1", "4", "4", "4")
    small = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    await service.post(input=small, constraints={"complete_by": at(1.5)})
    await to(service, clock, 1.0)
    await to(service, clock, 1.2)
    await service.post(constraints={"complete_by": at(1.9)})
    await service.running.dispatcher.idle()
    await to(service, clock, 6.0)
    (row,) = await rows(service, "--policy", "cheapest_known", "--posted", "24h", "--slack", "1h")
    assert row["tasks"] == 2
    assert row["vs_now"] == pytest.approx(0.5)
    (now,) = await rows(service, "--policy", "run_now", "--slack", "2h")
    # Of the same size they would be at (4 + 2) / (1 + 1); the small one came at the high price.
    assert now["vs_clairvoyant"] < 3


async def test_nothing_served_and_wrong_calls_are_one_line(stepped):
    service, _ = stepped
    nothing = await run(service, "--since", at(0), "--until", (START + timedelta(hours=1)).isoformat())
    assert nothing.exit_code == 1
    assert "earlier --since" in str(nothing.exception)
    assert (await run(service, "--capacity", "3")).exit_code == 2
    assert (await run(service, "--prices", "p.csv")).exit_code == 2
