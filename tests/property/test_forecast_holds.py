"""Holding by forecast keeps every promise of holding, whatever the forecasts say (MARKET.md sections 9 and 13)."""

from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.market.deferral.continuation import Forecast
from lowtide.market.record import AuctionIds, auction_key, record_line
from lowtide.market.replay import replay
from tests.market_builder import NOW, book, decide, offer, quote, task

MINUTE, HOUR = 60_000_000, 3_600_000_000
KEY = auction_key(bytes(32), "auc_1")


@st.composite
def markets(draw):
    """Offers whose prices may change at any time, with a forecast for some, and a patient task."""
    rows, forecasts = [], {}
    for number in range(draw(st.integers(1, 4))):
        name = f"o{number}"
        price, most = draw(st.integers(0, 100)), draw(st.sampled_from([None, (0, 0, 100), (0, 0, 100)]))
        p99, seller = 1_000 * draw(st.integers(1, 1_200)), draw(st.sampled_from(["p", "q"]))
        rows.append(offer(name, price, price_max=most, p99=p99, provider=seller))
        if draw(st.integers(0, 3)):
            values = tuple(draw(st.lists(st.one_of(st.integers(0, 50), st.integers(-5, 120)), max_size=24)))
            made = NOW - draw(st.sampled_from([0, 1, 30, 60, 200])) * MINUTE
            forecasts[name] = Forecast(name, "mixture", made, HOUR, 24, values)
    wanted = task(
        complete_by=NOW + draw(st.one_of(st.integers(1, 240), st.integers(240, 30 * 60))) * MINUTE,
        max_cost=draw(st.sampled_from([None, 100, 150])),
        value=draw(st.sampled_from([None, 300])),
        per_second=draw(st.sampled_from([0, 0, 1])),
    )
    return rows, forecasts, wanted


@given(markets())
@settings(max_examples=300)
def test_12_a_hold_by_forecast_ends_in_an_award_in_time_whatever_is_forecast_later(drawn):
    rows, forecasts, wanted = drawn
    market, at, key = book(*rows), NOW, KEY
    first = decide(wanted, market, at=at, key=key, forecasts=forecasts)
    if first.outcome != "held":
        return
    for look in range(200):
        found = decide(wanted, market, at=at, key=key, forecasts=forecasts)
        if found.outcome != "held":
            break
        plan = found.decision.deferral
        assert at < plan.release_at <= plan.latest_start
        assert plan.expected_nano < plan.price_now_nano or plan.row != found.decision.top[0].row
        at, key = plan.release_at, auction_key(bytes(32), f"auc_{look}")
        # The next slot's forecasts say the same again: nothing they say may keep it past its latest start.
        forecasts = {
            name: Forecast(name, "mixture", at, HOUR, 24, one.values_nano) for name, one in forecasts.items()
        }
    assert found.outcome == "awarded"
    p99 = market.rows[market.row_of[found.winner]].conditions.completion_p99_ms
    assert at + 1_000 * p99 <= wanted.constraints.complete_by


@given(markets(), st.integers(1, 1_000))
@settings(max_examples=200)
def test_a_price_that_comes_later_changes_no_decision_of_now(drawn, price):
    rows, forecasts, wanted = drawn
    now = decide(wanted, book(*rows), key=KEY, forecasts=forecasts)
    ahead = wanted.constraints.complete_by + HOUR
    later = [
        type(row)(row.offer, (*row.quotes, quote(price, ahead, None, sequence=9)), row.conditions)
        for row in rows
    ]
    then = decide(wanted, book(*later), key=KEY, forecasts=forecasts)
    assert (now.outcome, now.winner, now.decision.deferral) == (
        then.outcome,
        then.winner,
        then.decision.deferral,
    )


@given(markets())
@settings(max_examples=200)
def test_9_a_decision_with_forecasts_replays_to_the_byte(drawn):
    rows, forecasts, wanted = drawn
    market = book(*rows)
    found = decide(wanted, market, key=KEY, forecasts=forecasts)
    ids = AuctionIds("auc_1", wanted.id, NOW)
    line = record_line(ids, wanted, market, found.inputs, found.decision)
    stored = {use.forecast.digest(): use.forecast for use in found.decision.forecasts}
    assert replay(line, market, bytes(32), stored).identical


def test_the_markets_drawn_do_wait():
    held = []

    @given(markets())
    @settings(max_examples=200)
    def collect(drawn):
        rows, forecasts, wanted = drawn
        held.append(decide(wanted, book(*rows), key=KEY, forecasts=forecasts).outcome == "held")

    collect()
    assert sum(held) >= 20
