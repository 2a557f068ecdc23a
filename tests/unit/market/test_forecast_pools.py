"""Pools of like offers: the least of their prices, what is forecast of it, and how a task weighs that."""

import numpy as np
import pytest

from lowtide.market.deferral.continuation import POOL, Forecast
from lowtide.market.deferral.forecast import Forecaster
from lowtide.market.deferral.pools import PoolForecaster, cheapest
from lowtide.market.deferral.series import series_of
from lowtide.market.explain import held_because
from lowtide.market.record import AuctionIds, auction_key, record_line
from lowtide.market.replay import replay
from tests.market_builder import NOW, book, decide, offer, task

HOUR = 3_600_000_000
BEGIN = NOW // HOUR * HOUR
AT, DEADLINE = BEGIN + 300_000_000, BEGIN + 6 * HOUR + 60_000_000
MOST = (0, 0, 1_000)


def test_the_least_price_of_a_slot_is_of_those_that_had_one_then_and_never_above_a_steady_one():
    assert cheapest([[5, 9, 3], [4, 8]], None).tolist() == [5, 4, 3]
    assert cheapest([[5, 9, 3], [4, 8]], 4).tolist() == [4, 4, 3]


def hourly(seed: int, slots: int = 24 * 35):
    """Prices that are drawn anew each hour, in nano-USD."""
    return np.random.default_rng(seed).integers(1_000_000, 3_000_000, slots)


def pool_of(*prices):
    members = []
    for number, one in enumerate(prices):
        member = Forecaster(f"off_{number}", series_of(one.astype(float), 0, HOUR), 24)
        member.extend(series_of(one.astype(float), 0, HOUR))
        members.append(member)
    series = series_of(cheapest([one.tolist() for one in prices], None), 0, HOUR)
    pool = PoolForecaster("m (standard)", members, series, 24)
    assert pool.extend(series)
    return pool, members


def test_of_two_that_move_each_in_its_own_way_the_pool_s_forecast_captures_more_and_is_used():
    pool, members = pool_of(hourly(1), hourly(2))
    pooled, alone = pool.scores(6)
    assert pooled.captured > alone.captured + 0.02
    made = pool.forecast(6, BEGIN)
    assert (made.pool, made.policy, len(made.values_nano)) == ("m (standard)", POOL, 6)
    own = [member.forecast(6, BEGIN).values_nano[-1] for member in members]
    assert made.values_nano[-1] < min(own)


def test_of_two_that_move_alike_the_pool_adds_nothing_and_is_not_used():
    pool, _ = pool_of(hourly(1), hourly(1) + 10)
    pooled, alone = pool.scores(6)
    assert pooled.captured == pytest.approx(alone.captured)
    assert pool.forecast(6, BEGIN) is None


def of_both(*values: int) -> Forecast:
    return Forecast("m (standard)", POOL, BEGIN + 60_000_000, HOUR, 24, values)


def weighed(*values: int, b_quality: float = 0.9, b_price: int = 120, **wanted):
    """Two offers at 100 and 120 n$, and what the cheapest of them is forecast to reach."""
    market = book(offer("A", 100, price_max=MOST), offer("B", b_price, quality=b_quality, price_max=MOST))
    return decide(task(complete_by=DEADLINE, **wanted), market, at=AT, pools={("A", "B"): of_both(*values)})


def test_a_task_that_any_of_them_may_serve_waits_for_the_cheapest():
    found = weighed(*[70] * 6)
    plan = found.decision.deferral
    assert (plan.policy, plan.row, plan.expected_nano) == (POOL, 0, 70)
    assert "the cheapest offer of" in held_because(found.book, plan)
    assert weighed(*[101] * 6).outcome == "awarded"


def test_it_is_reckoned_from_the_best_bid_now_whichever_that_is():
    plan = weighed(*[70] * 6, b_price=90).decision.deferral
    assert (plan.row, plan.price_now_nano, plan.expected_nano) == (1, 90, 70)


def test_where_one_of_them_may_not_serve_the_task_the_pool_says_nothing():
    found = weighed(*[70] * 6, b_quality=0.1, min_quality=0.5)
    assert found.outcome == "awarded"
    assert found.decision.forecasts == ()


def test_it_replays_from_the_record_with_the_members_that_it_names():
    found = weighed(*[70] * 6)
    ids = AuctionIds("auc_1", "task_1", AT)
    key = auction_key(bytes(32), ids.id)
    again = decide(found.task, found.book, at=AT, key=key, pools={("A", "B"): of_both(*[70] * 6)})
    line = record_line(ids, found.task, found.book, again.inputs, again.decision)
    (use,) = again.decision.forecasts
    assert replay(line, found.book, bytes(32), {use.forecast.digest(): use.forecast}).identical
