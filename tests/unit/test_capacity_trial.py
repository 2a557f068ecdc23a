"""The trial that the judged figures of the rolling plan come from must itself be fair."""

import numpy as np
import pytest

from benchmarks.capacity_trial import (
    DAY,
    Trial,
    arrivals_of,
    optimum,
    plan_with_arrivals,
    rolling_plan,
    run_at_once,
    simulate,
    thresholds,
)
from benchmarks.price_forecasts import MarkovStopping, by_clock, posted

DAYS, START = 33, 28 * DAY


def trace(seed=1):
    """Prices with a day's shape and noise that lasts."""
    dice = np.random.default_rng(seed)
    hours = np.arange(DAYS * DAY)
    noise = np.zeros(len(hours))
    for hour in hours[1:]:
        noise[hour] = 0.8 * noise[hour - 1] + dice.normal(0, 6)
    return 50 + 20 * np.sin(hours * np.pi / 12) + noise


def trial(price, load=1.5):
    return Trial(price, arrivals_of(np.full(len(price), 20.0)), round(20 * load), START)


def policies(market):
    forecast = by_clock(market.price)
    return {
        "posted": plan_with_arrivals(market, posted(market.price, forecast)),
        "forecast": plan_with_arrivals(market, forecast),
        "old": rolling_plan(market, posted(market.price, forecast)),
        "thresholds": thresholds(market, MarkovStopping(market.price)),
        "now": run_at_once,
    }


def test_no_policy_beats_the_optimum_and_the_plan_comes_nearest():
    market = trial(trace())
    least = optimum(market)
    ratios = {name: simulate(market, policy)[0] / least for name, policy in policies(market).items()}
    assert min(ratios.values()) >= 1 - 1e-6
    assert ratios["posted"] == min(ratios.values())
    assert ratios["posted"] < 1.03
    assert ratios["forecast"] < ratios["thresholds"] < ratios["now"]


@pytest.mark.parametrize("name", ["forecast", "thresholds"])
def test_what_is_decided_never_depends_on_later_prices(name):
    price = trace()
    cut = START + 2 * DAY
    other = price.copy()
    other[cut:] = 1_000 - other[cut:]
    decided = []
    for prices in (price, other):
        market = trial(prices)
        policy, told = policies(market)[name], []

        def noting(slot, held, policy=policy, told=told):
            told.append(policy(slot, held))
            return told[-1]

        simulate(market, noting)
        decided.append(told[: cut - START])
    assert decided[0] == decided[1]


def test_posted_prices_are_known_for_a_day_and_no_longer():
    price = trace()
    other = price.copy()
    other[START + DAY :] += 500
    first, second = (posted(one, by_clock(one))(START, 36) for one in (price, other))
    assert np.array_equal(first, second)
    assert np.array_equal(first[:DAY], price[START : START + DAY])


def test_a_task_that_finds_no_place_is_rescued_at_the_dearest_price_of_the_month():
    price = np.full(DAYS * DAY, 2.0)
    price[START - 1] = 9.0
    arrivals = np.zeros((len(price), 4), np.int64)
    arrivals[START, 0] = 7
    market = Trial(price, arrivals, 2, START)
    assert simulate(market, run_at_once) == (6 * 2.0 + 9.0, 1)
    assert optimum(market) == 6 * 2.0 + 9.0
