"""Forecasts that decisions rest on are stored once, to the byte; and which offers' prices change is found."""

from dataclasses import replace

import pytest

from lowtide.market.deferral.continuation import Forecast, forecast_from_line
from lowtide.store import forecasts, offers, price_bars
from lowtide.store.database import Database
from lowtide.store.price_bars import KeptBar
from tests.store.samples import NOW, list_offer

DAY = 86_400_000_000
ONE = Forecast("offer_0", "mixture", NOW, 3_600_000_000, 24, (2**53 - 1, 7, 0))


async def test_a_forecast_is_stored_once_and_comes_back_to_the_byte(database: Database):
    other = replace(ONE, values_nano=(1,))
    for wanted, added in (([ONE], 1), ([ONE, other, other], 1), ([other, ONE], 0), ([], 0)):
        assert await database.writer.write(lambda conn, some=wanted: forecasts.keep(conn, some)) == added
    async with database.read() as conn:
        found = await forecasts.lines(conn, [ONE.digest(), "0" * 64])
        assert await forecasts.lines(conn, []) == {}
    assert found == {ONE.digest(): ONE.line()}
    assert forecast_from_line(found[ONE.digest()]) == ONE


async def test_it_is_gone_with_the_commit_that_it_was_stored_for(database: Database):
    async def unit(conn):
        await forecasts.keep(conn, [ONE])
        raise ValueError

    with pytest.raises(ValueError):
        await database.writer.write(unit)
    async with database.read() as conn:
        assert await forecasts.lines(conn, [ONE.digest()]) == {}


def quote(number: int, offer: str, begins: int, source: str = "push") -> dict[str, object]:
    return {
        "id": f"quo_{number}",
        "offer_id": offer,
        "source": source,
        "sequence": number,
        "valid_from": begins,
        "prices": "{}",
        "taken_at": begins,
    }


async def test_offers_whose_price_may_have_changed_are_found_the_most_changed_first(database: Database):
    for number in range(4):
        await list_offer(database, number)
    since = NOW - 28 * DAY
    quotes = [quote(number, "offer_0", NOW - number * DAY) for number in range(1, 3)]
    quotes += [quote(number, "offer_1", NOW - number * DAY) for number in range(3, 6)]
    quotes += [quote(6, "offer_2", since - DAY), quote(7, "offer_2", since)]
    quotes += [quote(8, "offer_3", NOW - DAY, "feed_a")]
    bar = KeptBar(60_000_000, NOW - 2 * DAY, "{}", "offer_3", "feed_a")

    async def unit(conn):
        await offers.add_quotes(conn, quotes)
        await price_bars.add_bars(conn, [bar])

    await database.writer.write(unit)
    async with database.read() as conn:
        found = await price_bars.changing(conn, since, NOW, 10)
        few = await price_bars.changing(conn, since, NOW, 1)
    assert found == [("offer_1", "push"), ("offer_0", "push"), ("offer_3", "feed_a")]
    assert few == found[:1]
