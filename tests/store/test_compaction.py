"""Old quotes become bars, old bars longer ones, old versions of the book go; and nothing that is asked changes."""

import random
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import orjson
import pytest

from lowtide.app import Running, read_settings, running_market
from lowtide.exchange.compact import compact, minutes_to_hours, quotes_to_bars
from lowtide.exchange.market import Market
from lowtide.exchange.price_maximum import price_maxima
from lowtide.exchange.prices import PriceHistory, Range, price_bars_of, price_ticks_of
from lowtide.simulate.clock import SteppedClock
from lowtide.store import duties, offers, price_bars
from lowtide.values.errors import InvalidRequest
from lowtide.values.instants import DAY_US, HOUR_US, MINUTE_US, SECOND_US, instant
from tests.store.samples import NOW, list_offer

WEEK_AGO = (NOW - 7 * DAY_US) // HOUR_US * HOUR_US


@pytest.fixture
async def running(database_url: str) -> AsyncIterator[Running]:
    """A market whose clock stands at NOW, with one listed offer."""
    settings = read_settings(
        {"LOWTIDE_DATABASE_URL": database_url, "LOWTIDE_OPERATOR_KEY": "lt_of_these_tests"}
    )
    clock = SteppedClock(instant(NOW))
    async with running_market(settings, clock, ticking=False, stocked=False) as up:
        body = '{"settles":0}'
        await list_offer(up.market.database, price_source="push", body=body)
        yield up


def quote(sequence: int, taken: int, price: int | None, **columns: Any) -> dict[str, Any]:
    prices = {} if price is None else {"in": price, "out": 2 * price, "request": price % 7}
    return {
        "id": f"quo_{columns.get('source', 'push')}_{sequence}_{columns.get('slot', 0)}",
        "offer_id": "offer_0",
        "source": "push",
        "sequence": sequence,
        "valid_from": taken,
        "valid_until": None,
        "prices": orjson.dumps(prices).decode(),
        "taken_at": taken,
        **{name: value for name, value in columns.items() if name != "slot"},
    }


def random_quotes(seed: int, count: int = 150, days: int = 40) -> list[dict[str, Any]]:
    """Pushes of every kind over so many days up to NOW: open, ended, ahead, back-dated, quarantined, unpriced, curves."""
    dice = random.Random(seed)
    times = sorted(dice.randrange(NOW - days * DAY_US, NOW) for _ in range(count))
    found = []
    for sequence, taken in enumerate(times, 1):
        start = taken + dice.choice([0, 0, 0, -HOUR_US, 90 * SECOND_US, 3 * DAY_US])
        until = dice.choice([None, None, start + dice.randrange(1, 3 * DAY_US)])
        price = dice.choice([None, *range(1_000_000, 1_000_100)])
        kind = {"valid_from": start, "valid_until": until, "quarantined": dice.random() < 0.1}
        if dice.random() < 0.15:
            found += [
                quote(
                    sequence,
                    taken,
                    1_000_000 + slot,
                    slot=slot,
                    valid_from=taken + slot * HOUR_US,
                    valid_until=taken + (slot + 1) * HOUR_US,
                )
                for slot in range(5)
            ]
        else:
            found.append(quote(sequence, taken, price, **kind))
    return found


async def put(market: Market, quotes: list[dict[str, Any]]) -> None:
    await market.database.writer.write(lambda conn: offers.add_quotes(conn, quotes))


async def kept_quotes(market: Market) -> list[str]:
    async with market.database.read() as conn:
        found = await price_bars.oldest_quotes(conn, "offer_0", "push", 10_000)
    return [one.id for one in found]


def bars(history: PriceHistory) -> list[Any]:
    return [(bar.start, bar.covered, bar.holds, bar.spans) for bar in history.bars]


async def histories(market: Market, *steps: int) -> list[Any]:
    """The whole of it at each step, parts of it, and the ticks of the last week."""
    found: list[Any] = []
    for step in steps:
        for begin, end in ((NOW - 45 * DAY_US, NOW), (WEEK_AGO - 5 * HOUR_US, WEEK_AGO + 3 * HOUR_US)):
            asked = Range(max(begin, end - 9_000 * step), end, step)
            found.append(bars(await price_bars_of(market, "offer_0", asked)))
    ticks = await price_ticks_of(market, "offer_0", Range(WEEK_AGO, NOW))
    return [*found, ticks.ticks]


async def maxima(market: Market, now: int = NOW) -> Any:
    async with market.database.read() as conn:
        rows = await offers.get_many(conn, ["offer_0"])
        return await price_maxima(conn, rows, now)


@pytest.mark.parametrize("seed", [1, 2])
async def test_compacting_changes_no_answer_and_may_be_cut_off_after_any_batch(running: Running, seed: int):
    market = running.market
    await put(market, random_quotes(seed))
    before = await histories(market, 7 * MINUTE_US, DAY_US)
    highest, count = await maxima(market), len(await kept_quotes(market))
    assert any(bar for bar in before[0])
    more, batches = True, 0
    while more:
        unit = partial(quotes_to_bars, offer_id="offer_0", source="push", before=WEEK_AGO, most=40)
        _, more = await market.database.writer.write(unit)
        batches += 1
        assert await histories(market, 7 * MINUTE_US, DAY_US) == before
        assert await maxima(market) == highest
    assert batches > 2
    assert len(await kept_quotes(market)) < count / 2
    assert (await compact(market)).quotes == 0


@pytest.mark.parametrize("seed", [1, 2])
async def test_minutes_become_hours_and_hours_and_days_stay_the_same(running: Running, seed: int):
    market = running.market
    await put(market, random_quotes(seed))
    before = await histories(market, HOUR_US, DAY_US)
    highest = await maxima(market)
    assert (await compact(market)).quotes
    border = (NOW - 12 * DAY_US) // HOUR_US * HOUR_US
    batches = 0
    unit = partial(minutes_to_hours, offer_id="offer_0", source="push", before=border, most=61)
    while await market.database.writer.write(unit):
        batches += 1
        assert await histories(market, HOUR_US, DAY_US) == before
        assert await maxima(market) == highest
    assert batches > 1
    async with market.database.read() as conn:
        kept = await price_bars.bars_between(conn, "offer_0", "push", 0, NOW)
    assert {bar.step for bar in kept if bar.start < border} == {HOUR_US}
    assert {bar.step for bar in kept if bar.start >= border} == {MINUTE_US}


async def test_a_step_finer_than_what_is_kept_is_refused_with_the_one_that_fits(running: Running):
    market = running.market
    await put(market, random_quotes(9))
    await compact(market)
    asked = Range(WEEK_AGO - DAY_US, WEEK_AGO, 45 * SECOND_US)
    with pytest.raises(InvalidRequest, match="multiple of it") as refused:
        await price_bars_of(market, "offer_0", asked)
    assert refused.value.code == "step_too_fine"
    assert "1m" in refused.value.detail
    with pytest.raises(InvalidRequest) as refused:
        await price_ticks_of(market, "offer_0", Range(WEEK_AGO - DAY_US, NOW))
    assert refused.value.code == "step_too_fine"


async def test_a_price_that_never_changed_needs_no_bar_and_can_be_asked_for_at_any_step(running: Running):
    market = running.market
    long_ago = NOW - 30 * DAY_US
    await put(market, [quote(1, long_ago, 5_000_000), quote(2, long_ago + 10 * SECOND_US, 3_000_000)])
    assert (await compact(market)).quotes == 1
    async with market.database.read() as conn:
        kept = await price_bars.bars_between(conn, "offer_0", "push", 0, NOW)
    assert len(kept) == 2
    asked = Range(long_ago + HOUR_US, long_ago + HOUR_US + 3 * SECOND_US, SECOND_US)
    history = await price_bars_of(market, "offer_0", asked)
    assert [bar.spans[0].open for bar in history.bars] == [3_000_000] * 3
    assert all(bar.covered == SECOND_US for bar in history.bars)


async def test_what_still_stands_and_the_newest_sequences_are_never_deleted(running: Running):
    market, ago = running.market, NOW - 20 * DAY_US
    await put(
        market,
        [
            quote(1, ago, 1_000_000),
            quote(2, ago + 1, 2_000_000, valid_until=ago + HOUR_US),
            quote(3, ago + 2, 3_000_000, valid_until=NOW + DAY_US),
            quote(4, ago + 3, 4_000_000, valid_until=ago + 5),
            quote(5, ago + 4, 5_000_000, valid_until=ago + 6, quarantined=True),
        ],
    )
    await compact(market)
    assert [one.split("_")[2] for one in await kept_quotes(market)] == ["1", "3", "4", "5"]
    async with market.database.read() as conn:
        assert await offers.newest_sequence(conn, "offer_0", "push") == 5
        accepted = await offers.last_accepted(conn, "offer_0", "push")
    assert accepted is not None
    assert accepted.sequence == 4


async def test_a_price_of_three_weeks_ago_still_counts_for_the_maximum_and_one_of_five_does_not(
    running: Running,
):
    market = running.market
    quotes = [quote(n, NOW - (50 - 10 * n) * DAY_US, 1_000_000 * (9 - n)) for n in range(1, 5)]
    await put(market, quotes)
    expected = {"offer_0": (7_000_000, 14_000_000, 7_000_000 % 7)}
    top = (await maxima(market))["offer_0"]
    assert top[:2] == expected["offer_0"][:2]
    assert (await compact(market)).quotes
    assert await maxima(market) == {"offer_0": top}
    later = (await maxima(market, NOW + 9 * DAY_US))["offer_0"]
    assert later[:2] == (6_000_000, 12_000_000)


async def test_a_node_without_the_duty_compacts_nothing(running: Running):
    market = running.market
    await put(market, random_quotes(4))
    far = 2**60
    await market.database.writer.write(lambda conn: duties.take_or_renew(conn, "compact", "other", 0, far))
    assert (await compact(market)).quotes == 0
    await market.database.writer.write(lambda conn: duties.drop(conn, "compact", "other"))
    assert (await compact(market)).quotes > 0
