"""Call auctions (CLEARING.md): E6, E7, and the rounds in which something is missing."""

import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from lowtide.market.clearing.arrays import frozen
from lowtide.market.clearing.award import awards, firm
from lowtide.market.clearing.call import GREEDY, clear_call
from lowtide.market.clearing.flow import SolverTimedOut, min_cost_flow
from lowtide.market.clearing.instance import MAX_WEIGHT_MICRO, request_slots
from lowtide.market.clearing.outcome import outcome_from_values, outcome_values, verify
from lowtide.market.clearing.payment import UNIFORM, merit_order, payments
from lowtide.market.clearing.ties import tie_break
from lowtide.values.canonical import canonical
from lowtide.values.errors import BadValue
from tests.clearing_builder import KEY, MICRO, Wants, auction, places

T1 = Wants("T1", 10, {"P": 0, "Q": 4})
T2 = Wants("T2", 8, {"P": 0, "Q": 7})
TENTHS = {"two": 20, "three": 30, "five": 50}
E7 = [
    Wants(f"at{worth}x", worth, TENTHS, count, kind="same")
    for worth, count in ((100, 60), (60, 70), (40, 40), (25, 30))
]
E7_CAPACITY = {"two": 100, "three": 80, "five": 50}


def timing_out(after=0):
    """A solver that answers so many times and then runs out of time."""
    left = [after]

    def solve(network):
        if not left[0]:
            raise SolverTimedOut
        left[0] -= 1
        return min_cost_flow(network)

    return solve


def test_e6_the_optimum_gives_up_the_best_single_match():
    market = auction([T1, T2], {"P": 1, "Q": 1})
    cleared = clear_call(market, KEY)
    assert places(market, cleared) == {("T1", "Q", 0): 1, ("T2", "P", 0): 1}
    assert (cleared.welfare_micro, cleared.bound_micro, cleared.how) == (14, 14, "optimal")


def test_e6_the_least_prices_are_the_surplus_that_the_loser_of_a_place_gives_up():
    market = auction([T1, T2], {"P": 1, "Q": 1})
    cleared = clear_call(market, KEY)
    assert dict(zip(market.offers, cleared.price.tolist(), strict=True)) == {"P": 4, "Q": 0}
    kept = {
        place.task_id: place.weight_micro - (4 if place.offer == "P" else 0)
        for place in awards(market, cleared, KEY)
    }
    assert kept == {"T10": 6, "T20": 4}


def test_e6_greedy_by_surplus_stops_at_11_and_its_certified_gap_covers_the_loss():
    market = auction([T1, T2], {"P": 1, "Q": 1})
    cleared = clear_call(market, KEY, solver=timing_out())
    assert (cleared.welfare_micro, cleared.how, cleared.solver) == (11, "timed_out", GREEDY)
    assert cleared.bound_micro >= 14
    assert verify(market, cleared).faults == ()
    assert not verify(market, cleared).optimal


def test_e7_the_merit_order_clears_170_at_3():
    cleared = merit_order([(2, 100), (3, 80), (5, 50)], [(10, 60), (6, 70), (4, 40)])
    assert (cleared.units, cleared.price, cleared.welfare) == (170, 3, 770)
    assert (cleared.sold, cleared.bought) == ((100, 70, 0), (60, 70, 40))


def test_e7_demand_below_the_marginal_ask_stays_out():
    asks, demands = [(20, 100), (30, 80), (50, 50)], [(100, 60), (60, 70), (40, 40), (25, 30)]
    cleared = merit_order(asks, demands)
    assert (cleared.units, cleared.price, cleared.welfare) == (170, 30, 7_700)
    assert cleared.bought == (60, 70, 40, 0)


def test_e7_as_a_call_auction_clears_the_same_tasks_for_the_same_welfare():
    market = auction(E7, E7_CAPACITY)
    cleared = clear_call(market, KEY)
    assert (int(cleared.units.sum()), cleared.welfare_micro) == (170, 7_700)
    assert not any(place.task_id.startswith("at25") for place in awards(market, cleared, KEY))


def test_e7_posted_pays_each_its_own_price_and_uniform_all_the_highest_accepted_ask():
    market = auction(E7, E7_CAPACITY)
    cleared = clear_call(market, KEY)
    assert int(payments(market, cleared) @ cleared.units) == (100 * 20 + 70 * 30) * MICRO
    assert set(payments(market, cleared, UNIFORM).tolist()) == {30 * MICRO}


def test_under_uniform_an_offer_that_does_not_settle_through_us_gets_its_own_price():
    market = auction(E7, E7_CAPACITY)
    settles = np.array([name != "two" for name in market.offers])
    cleared = clear_call(market, KEY)
    paid = {(place.offer, place.price_nano) for place in awards(market, cleared, KEY, UNIFORM, settles)}
    assert paid == {("two", 20 * MICRO), ("three", 30 * MICRO)}


def test_an_order_of_zero_volume_never_sets_the_price():
    assert merit_order([(2, 10), (9, 0)], [(10, 5), (9, 0)]).price == 2
    assert merit_order([(2, 0)], [(10, 5)]).price is None


@pytest.mark.parametrize(
    ("wants", "capacity"),
    [
        ([], {"P": 3}),
        ([Wants("T", 10, {}, count=4)], {"P": 3}),
        ([Wants("T", 3, {"P": 3}, count=4)], {"P": 3}),
        ([Wants("T", 10, {"P": 3}, count=4, slots=0)], {"P": 3}),
        ([Wants("T", 10, {"P": 3}, count=4)], {"P": 0}),
        ([Wants("T", 10, {}, count=4)], {}),
    ],
    ids=["no task", "none eligible", "none worth it", "none in time", "no capacity", "no offer"],
)
def test_a_round_that_can_serve_nobody_is_an_outcome_like_any_other(wants, capacity):
    market = auction(wants, capacity)
    cleared = clear_call(market, KEY)
    assert (cleared.welfare_micro, cleared.how, awards(market, cleared, KEY)) == (0, "optimal", [])
    assert verify(market, cleared).optimal


def test_with_one_provider_the_tasks_worth_most_get_its_places_and_the_price_is_what_the_next_would_add():
    asks = {"only": 2}
    market = auction([Wants("rich", 10, asks, count=2), Wants("poor", 6, asks, count=2)], {"only": 3})
    cleared = clear_call(market, KEY)
    assert places(market, cleared) == {("rich", "only", 0): 2, ("poor", "only", 0): 1}
    assert cleared.price.tolist() == [4]


def test_where_everything_is_equal_the_least_slack_runs_first_and_the_key_draws_among_equals():
    asks = {"P": 3}
    wants = [Wants("soon", 10, asks, count=2, slots=2), Wants("late", 10, asks, count=4, slots=4)]
    market = auction(wants, {"P": 2}, slots=4)
    cleared = clear_call(market, KEY)
    assert places(market, cleared) == {("soon", "P", 0): 2, ("late", "P", 1): 2, ("late", "P", 2): 2}
    drawn = {
        tuple(place.task_id for place in awards(market, cleared, bytes([number]) * 32))
        for number in range(20)
    }
    assert len(drawn) > 5


def test_waiting_costs_its_delay():
    asks = {"P": [5, 3, 2]}
    patient = auction([Wants("T", 10, asks)], {"P": 1}, slots=3)
    hurried = auction([Wants("T", 10, asks, delay=2)], {"P": 1}, slots=3)
    assert places(patient, clear_call(patient, KEY)) == {("T", "P", 2): 1}
    assert places(hurried, clear_call(hurried, KEY)) == {("T", "P", 0): 1}


def test_an_answer_is_worth_its_value_times_its_quality_and_never_more_than_the_budget():
    by_value = auction([Wants("T", -1, {"P": 3}, value=10)], {"P": 1}, quality=800_000)
    capped = auction([Wants("T", 7, {"P": 3}, value=10)], {"P": 1}, quality=800_000)
    assert by_value.weight.tolist() == [[5]]
    assert capped.weight.tolist() == [[4]]


def test_only_the_first_slot_is_firm():
    market = auction([Wants("T", 10, {"P": [3, 3]}, count=5)], {"P": 2}, slots=2)
    placed = awards(market, clear_call(market, KEY), KEY)
    assert len(placed) == 4
    assert [place.slot for place in firm(placed).awards] == [0, 0]


def test_what_no_longer_fits_at_the_commit_goes_to_the_next_round_the_most_patient_first():
    asks = {"P": 3, "Q": 3}
    wants = [Wants("soon", 10, asks, count=2, slots=1), Wants("late", 10, asks, count=2, slots=9)]
    market = auction(wants, {"P": 2, "Q": 2})
    placed = awards(market, clear_call(market, KEY), KEY)
    kept, returned = firm(placed, {"P": 1, "Q": 1})
    assert len(kept) == len(returned) == 2
    assert {place.offer for place in kept} == {"P", "Q"}
    slack = {name: (0 if name.startswith("soon") else 1) for name in (*returned, *(p.task_id for p in kept))}
    for place in kept:
        rivals = [p.task_id for p in placed if p.offer == place.offer and p.task_id in returned]
        assert all(slack[place.task_id] <= slack[name] for name in rivals)
    assert firm(placed, {}).awards == ()


def test_weights_at_the_guard_are_solved_and_beyond_it_refused():
    most = MAX_WEIGHT_MICRO
    wants = [Wants("T", most, {"P": 0, "Q": 1}, count=3), Wants("U", most - 1, {"P": 0, "Q": 1}, count=3)]
    market = auction(wants, {"P": 3, "Q": 3})
    cleared = clear_call(market, KEY)
    assert verify(market, cleared).optimal
    assert cleared.welfare_micro == 3 * most + 3 * (most - 1) - 3
    with pytest.raises(BadValue) as refusal:
        auction([Wants("T", most + 1, {"P": 0})], {"P": 1})
    assert refusal.value.code == "weight_out_of_range"


def test_the_heaviest_weights_leave_fewer_bits_to_ties_and_never_wrap():
    market = auction([Wants("T", MAX_WEIGHT_MICRO, {"P": 0}, count=200_000)], {"P": 2**30})
    arc = np.zeros(1, np.int64)
    worth = int(tie_break(market, KEY).scaled(market, arc, arc)[0])
    assert 0 < worth * (market.group_count + market.pool_count + 2) < 2**63
    assert clear_call(market, KEY).welfare_micro == MAX_WEIGHT_MICRO * 200_000


def test_a_solver_that_times_out_later_leaves_the_last_solution_and_its_gap():
    market = many()
    cut = clear_call(market, KEY, solver=timing_out(after=1))
    whole = clear_call(market, KEY)
    assert (cut.how, len(cut.rounds), whole.how) == ("timed_out", 1, "optimal")
    assert verify(market, cut).faults == ()
    assert cut.welfare_micro <= whole.welfare_micro <= cut.bound_micro


def test_a_round_too_large_to_show_whole_is_solved_in_steps_to_a_proven_optimum():
    market = many()
    cleared = clear_call(market, KEY)
    assert len(cleared.rounds) > 1
    assert cleared.rounds[0][0] < np.count_nonzero(market.weight) // 2
    assert verify(market, cleared).optimal
    first_gap = (cleared.rounds[0][2] - cleared.rounds[0][1]) * 1_000_000 // cleared.rounds[0][2]
    loose = clear_call(market, KEY, gap_ppm=first_gap + 1)
    assert (loose.how, len(loose.rounds), 0 < loose.gap_ppm <= first_gap + 1) == ("within_gap", 1, True)


def many(seed=5, groups=300, offers=12, slots=48):
    dice = random.Random(seed)
    names = [f"o{number}" for number in range(offers)]
    wants = []
    for number in range(groups):
        asks = {name: [dice.randint(50, 900) for _ in range(slots)] for name in names}
        wants.append(
            Wants(f"g{number}x", dice.randint(700, 1_500), asks, dice.randint(1, 20), dice.randint(2, 48))
        )
    return auction(wants, {name: [dice.randint(1, 9) for _ in range(slots)] for name in names}, slots)


def test_an_outcome_survives_its_record_to_the_byte():
    market = auction([T1, T2], {"P": 1, "Q": 1})
    values = outcome_values(clear_call(market, KEY))
    again = outcome_from_values(values)
    assert canonical(outcome_values(again)) == canonical(values)
    assert verify(market, again).optimal


@pytest.mark.parametrize(
    ("lie", "fault"),
    [
        ({"welfare_micro": 15}, "welfare"),
        ({"bound_micro": 13}, "bound"),
        ({"price": frozen(np.array([3, 0]))}, "bound"),
        ({"price": frozen(np.array([-1, 0]))}, "negative_price"),
        ({"price": frozen(np.array([0]))}, "shape"),
        ({"units": frozen(np.array([1, 2]))}, "over_capacity"),
        ({"units": frozen(np.array([2, 1]))}, "too_many_tasks"),
        ({"units": frozen(np.array([0, 1]))}, "shape"),
        ({"pool": frozen(np.array([0, 2]))}, "shape"),
        ({"instance_digest": "0" * 64}, "instance"),
    ],
)
def test_a_false_outcome_is_found_without_solving(lie, fault):
    market = auction([T1, T2], {"P": 1, "Q": 1})
    assert fault in verify(market, replace(clear_call(market, KEY), **lie)).faults


def test_an_assignment_over_an_arc_that_does_not_exist_is_found():
    market = auction([T1, Wants("T3", 8, {"P": 1})], {"P": 2, "Q": 1})
    cleared = clear_call(market, KEY)
    on_q = frozen(np.full(2, market.offers.index("Q")))
    assert "no_such_arc" in verify(market, replace(cleared, pool=on_q)).faults


def test_tasks_that_differ_in_nothing_that_matters_are_one_group():
    asks = {"P": [3, 2]}
    far = [Wants(f"by{slots}x", 10, asks, count=3, slots=slots, kind="same") for slots in (2, 7, 99)]
    near = Wants("soon", 10, asks, count=2, slots=1, kind="same")
    market = auction([*far, near], {"P": 20}, slots=2)
    assert market.count.tolist() == [2, 9]


def test_columns_that_do_not_fit_are_refused():
    with pytest.raises(BadValue) as refusal:
        auction([Wants("T", 10, {"P": 1}), Wants("T", 10, {"P": 1})], {"P": 1})
    assert refusal.value.code == "auction_shape"


def test_the_solver_is_loaded_only_where_a_round_is_cleared():
    told = "import sys, lowtide.market.clearing.record; print('ortools' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_capacity_counts_in_requests_of_the_class():
    assert request_slots(concurrency=8, slot_us=900_000_000, service_us=7_000_000) == 1_028
