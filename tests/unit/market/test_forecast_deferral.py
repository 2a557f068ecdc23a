"""Waiting for a price that is forecast (MARKET.md section 9): known prices first, and safety beneath."""

from dataclasses import replace

import orjson
import pytest

from lowtide.market import auction
from lowtide.market.batch_times import BatchTimes
from lowtide.market.deferral.continuation import Forecast, forecast_from_line
from lowtide.market.deferral.reference import reference_nano
from lowtide.market.deferral.safety import GUARD_US
from lowtide.market.explain import held_because
from lowtide.market.price_history import unit_prices
from lowtide.market.record import AuctionIds, auction_key, forecasts_named, record_line
from lowtide.market.replay import replay
from tests.market_builder import KEY, NOW, Result, book, decide, offer, prices, quote, task

SECOND, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000
BEGIN = NOW // HOUR * HOUR
"""The start of the slot in which it is decided."""
AT = BEGIN + 5 * MINUTE
DEADLINE = BEGIN + 6 * HOUR + MINUTE
MOST = (0, 0, 1_000)


def forecast(*values: int, made_at: int = BEGIN + MINUTE, pool: str = "A") -> Forecast:
    """Reservation prices by slots left, in hours."""
    return Forecast(pool, "mixture", made_at, HOUR, 24, values)


def decided(price: int = 100, *values: int, at: int = AT, by: int = DEADLINE, **wanted) -> Result:
    """One offer at a price now, and what its reference price is forecast to reach."""
    market = book(offer("A", price, price_max=MOST))
    return decide(task(complete_by=by, **wanted), market, at=at, forecasts={"A": forecast(*values)})


def test_a_task_is_held_while_the_price_is_above_its_reservation_price():
    plan = decided(100, 95, 90, 85, 80, 75, 70).decision.deferral
    assert (plan.policy, plan.price_now_nano) == ("mixture", 100)
    assert (plan.expected_nano, plan.reservation_nano) == (70, 70)
    assert plan.slot == BEGIN + HOUR
    assert plan.forecast == forecast(95, 90, 85, 80, 75, 70).digest()


def test_at_or_under_it_the_task_runs():
    assert decided(70, 95, 90, 85, 80, 75, 70).outcome == "awarded"
    assert decided(71, 95, 90, 85, 80, 75, 70).outcome == "held"


def test_the_slots_left_are_those_that_begin_by_the_latest_start():
    assert decided(100, 60, 99, by=BEGIN + HOUR + MINUTE).decision.deferral.expected_nano == 60
    assert decided(100, 60, 50, by=BEGIN + HOUR + SECOND).outcome == "awarded"
    assert decided(100, 60, 99, by=BEGIN + 2 * HOUR + MINUTE).decision.deferral.expected_nano == 99


def test_more_slots_than_the_forecast_has_wait_as_if_at_its_last():
    assert decided(100, 95, 90, by=BEGIN + 20 * HOUR).decision.deferral.expected_nano == 90


def test_the_reservation_is_scaled_to_the_task_and_rounded_up():
    unit = {"input": 3_000_000, "output": 9_000_000}
    market = book(offer("A", price_max=(9_000_000, 9_000_000, 0), **unit))
    wanted = task(complete_by=DEADLINE, input_bytes=40_000, max_output=10)
    found = decide(wanted, market, at=AT, forecasts={"A": forecast(*[5_000] * 6)})
    bid, plan = found.bid("A"), found.decision.deferral
    reference = 3_000 + 4_500
    assert plan.price_now_nano == bid
    assert plan.expected_nano == -(-bid * 5_000 // reference)


def test_the_next_look_is_spread_over_the_next_slot_by_the_key_and_never_after_the_latest_start():
    looks = set()
    for number in range(40):
        market = book(offer("A", 100, price_max=MOST))
        key = auction_key(bytes(32), str(number))
        wanted = task(complete_by=DEADLINE)
        plan = decide(wanted, market, at=AT, key=key, forecasts={"A": forecast(50)}).decision.deferral
        looks.add(plan.release_at)
        assert BEGIN + HOUR + HOUR // 30 <= plan.release_at < BEGIN + HOUR + HOUR // 30 + HOUR // 10
    assert len(looks) == 40
    plan = decided(100, 50, by=BEGIN + HOUR + 35 * SECOND).decision.deferral
    assert plan.release_at == plan.latest_start == BEGIN + HOUR + 35 * SECOND - GUARD_US - 4 * 800 * 1_000


@pytest.mark.parametrize(("age_h", "outcome"), [(-1, "awarded"), (0, "held"), (1, "held"), (2, "awarded")])
def test_a_forecast_counts_in_its_slot_and_the_next(age_h, outcome):
    found = decide(
        task(complete_by=DEADLINE),
        book(offer("A", 100, price_max=MOST)),
        at=AT,
        forecasts={"A": forecast(50, made_at=BEGIN - age_h * HOUR)},
    )
    assert found.outcome == outcome
    if age_h == 1:
        assert AT < found.decision.deferral.release_at <= AT + 4 * MINUTE


def test_without_a_forecast_or_a_deadline_nothing_waits():
    assert decided(100).outcome == "awarded"
    assert decided(100, 10, 10, by=None).outcome == "awarded"


def test_a_known_better_price_comes_before_any_forecast():
    quotes = [quote(100, 0, BEGIN + 2 * HOUR), quote(60, BEGIN + 2 * HOUR, None, sequence=2)]
    market = book(offer("A", quotes=quotes, price_max=MOST))
    found = decide(task(complete_by=DEADLINE), market, at=AT, forecasts={"A": forecast(1)})
    assert (found.decision.deferral.policy, found.decision.deferral.expected_nano) == ("known_price", 60)
    assert found.decision.forecasts == ()


def test_where_prices_are_posted_to_the_latest_start_their_forecast_is_not_asked():
    posted = book(offer("A", quotes=[quote(100, 0, BEGIN + 9 * HOUR)], price_max=MOST))
    found = decide(task(complete_by=DEADLINE), posted, at=AT, forecasts={"A": forecast(1)})
    assert (found.outcome, found.decision.forecasts) == ("awarded", ())


def test_a_dearer_offer_is_waited_for_where_it_is_forecast_to_become_the_best():
    market = book(offer("A", 100, price_max=MOST), offer("B", 150, price_max=MOST))
    both = {"A": forecast(*[95] * 6), "B": forecast(*[60] * 6, pool="B")}
    plan = decide(task(complete_by=DEADLINE), market, at=AT, forecasts=both).decision.deferral
    assert (plan.row, plan.price_now_nano, plan.expected_nano, plan.reservation_nano) == (1, 100, 60, 60)


def test_time_that_costs_is_used_only_as_far_as_it_is_worth_it():
    values = (90, 80, 40, 39, 38, 37)
    cheap_time = decided(100, *values, per_second=0).decision.deferral
    assert cheap_time.expected_nano == 37
    # A nano-USD each 1,000 s: three slots cost 12, six cost 22.
    paid_time = decided(100_000, *(1_000 * value for value in values), per_second=2).decision.deferral
    assert paid_time.expected_nano == 40_000
    assert paid_time.reservation_nano > 40_000
    assert decided(100, *values, per_second=1).outcome == "awarded"


@pytest.mark.parametrize(
    ("highest", "budget", "outcome"),
    [
        ((0, 0, 120), 120, "held"),
        ((0, 0, 121), 120, "awarded"),
        ((0, 0, 500), None, "held"),
        (None, 120, "awarded"),
        (None, None, "awarded"),
    ],
)
def test_it_is_held_only_if_the_highest_price_of_the_history_fits_the_budget(highest, budget, outcome):
    market = book(offer("A", 100, price_max=highest))
    wanted = task(complete_by=DEADLINE, max_cost=budget)
    assert decide(wanted, market, at=AT, forecasts={"A": forecast(*[10] * 6)}).outcome == outcome


def test_a_price_that_ends_before_the_latest_start_without_another_is_no_rescue():
    market = book(offer("A", quotes=[quote(100, 0, BEGIN + 2 * HOUR)], price_max=MOST))
    wanted = task(complete_by=DEADLINE)
    assert decide(wanted, market, at=AT, forecasts={"A": forecast(*[10] * 6)}).outcome == "awarded"


def test_a_free_offer_is_not_waited_for():
    assert decided(0, 0, 0).outcome == "awarded"


def test_a_batch_competes_with_what_the_forecast_promises():
    rows = [offer("A", 100, price_max=MOST), offer("S", 50, lane="batch")]
    market, wanted = book(*rows), task(complete_by=BEGIN + 20 * HOUR)
    for promised, outcome in ((70, "awarded"), (30, "held")):
        found = decide(wanted, market, at=AT, closed_lanes=("batch",), forecasts={"A": forecast(promised)})
        inputs = replace(found.inputs, batches=(BatchTimes("S-provider", (60_000,) * 7),))
        decision = auction.decide(wanted, market, inputs, AT, KEY)
        assert decision.outcome == outcome
        assert len(decision.forecasts) == 1


def recorded(found: Result) -> bytes:
    ids = AuctionIds("auc_1", "task_1", found.at)
    key = auction_key(bytes(32), ids.id)
    again = decide(found.task, found.book, at=found.at, key=key, forecasts=_by_name(found))
    return record_line(ids, found.task, found.book, again.inputs, again.decision)


def _by_name(found: Result) -> dict[str, Forecast]:
    return {found.book.rows[use.row].offer.id: use.forecast for use in found.inputs.forecasts}


@pytest.mark.parametrize("value", [50, 200], ids=["held", "run because it is cheap enough"])
def test_it_replays_from_the_record_and_the_stored_forecast(value):
    found = decided(100, *[value] * 6)
    line, kept = recorded(found), forecast(*[value] * 6)
    stored = {kept.digest(): forecast_from_line(kept.line())}
    assert forecasts_named(orjson.loads(line)["inputs"]) == [kept.digest()]
    assert replay(line, found.book, bytes(32), stored).identical
    forged = replace(kept, values_nano=(100, *kept.values_nano[1:5], 99))
    assert not replay(line, found.book, bytes(32), {kept.digest(): forged}).identical
    with pytest.raises(KeyError):
        replay(line, found.book, bytes(32))


def test_a_record_names_only_the_forecasts_that_were_weighed():
    market = book(offer("A", 100, price_max=MOST), offer("B", 90, quality=0.1, price_max=MOST))
    wanted = task(complete_by=DEADLINE, min_quality=0.5)
    both = {"A": forecast(*[50] * 6), "B": forecast(*[1] * 6, pool="B")}
    found = decide(wanted, market, at=AT, forecasts=both)
    assert [use.row for use in found.decision.forecasts] == [0]
    line = recorded(found)
    assert replay(line, market, bytes(32), {both["A"].digest(): both["A"]}).identical


def test_the_explanation_says_what_is_expected_and_what_ends_the_wait():
    found = decided(100, *[50] * 6)
    text = held_because(found.book, found.decision.deferral)
    assert "forecast (mixture) to cost $0.00000005" in text
    assert "above $0.00000005" in text


def test_prices_below_any_long_context_step_make_the_reference():
    one = unit_prices(prices(7, input=1_000_001, output=2_000_000))
    assert reference_nano(one) == 7 + 1_000 + 1_000 + 1
