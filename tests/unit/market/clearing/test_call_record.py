"""The record of a round: what it holds, and that a changed one is found."""

import orjson
import pytest

from lowtide.market.clearing.award import awards, firm
from lowtide.market.clearing.call import clear_call
from lowtide.market.clearing.flow import out_of_time
from lowtide.market.clearing.record import Round, call_line, place_line, replay_call
from lowtide.market.record import auction_key
from lowtide.values.canonical import canonical
from tests.clearing_builder import Wants, auction

SEED = bytes(32)
CALL = Round("auc_1", 1_764_000_000_000_000, 7, "ab" * 32, 900_000_000)
KEY = auction_key(SEED, CALL.id)
ASKS = {"P": [3, 2], "Q": [4, 1]}


def market(capacity=2):
    wants = [Wants("T", 10, ASKS, count=3), Wants("U", 8, ASKS, count=3, slots=1)]
    return auction(wants, {"P": capacity, "Q": 1}, slots=2)


def test_a_round_replays_from_its_line():
    line = call_line(CALL, market(), clear_call(market(), KEY))
    again = replay_call(line, market(), SEED)
    assert (again.stands, again.identical, again.verdict.optimal) == (True, True, True)


def test_the_line_names_solver_and_version_book_and_instance():
    stored = orjson.loads(call_line(CALL, market(), clear_call(market(), KEY)))
    assert stored["outcome"]["solver"].startswith("ortools ")
    assert stored["book"] == {"version": 7, "digest": "ab" * 32}
    assert stored["outcome"]["instance"] == market().digest
    assert sum(len(ids) for _, ids in stored["groups"]) == 6


def test_another_solver_is_checked_and_not_solved_again():
    stored = orjson.loads(call_line(CALL, market(), clear_call(market(), KEY)))
    stored["outcome"]["solver"] = "ortools 1.0 SimpleMinCostFlow"
    again = replay_call(canonical(stored), market(), SEED)
    assert (again.stands, again.identical) == (True, None)


def test_a_round_out_of_time_is_checked_with_its_logged_gap():
    cleared = clear_call(market(), KEY, solver=out_of_time)
    again = replay_call(call_line(CALL, market(), cleared), market(), SEED)
    assert (again.stands, again.identical, again.cleared.how) == (True, None, "timed_out")


@pytest.mark.parametrize("field", ["welfare", "bound"])
def test_a_changed_figure_is_found(field):
    stored = orjson.loads(call_line(CALL, market(), clear_call(market(), KEY)))
    stored["outcome"][field] += 1
    assert field in replay_call(canonical(stored), market(), SEED).verdict.faults


def test_another_capacity_is_not_the_same_round():
    line = call_line(CALL, market(), clear_call(market(), KEY))
    assert not replay_call(line, market(capacity=3), SEED).stands


def test_equal_offers_are_drawn_by_the_key_of_the_auction():
    equal = auction([Wants("T", 10, {"P": 3, "Q": 3}), Wants("U", 10, {"P": 3, "Q": 3})], {"P": 1, "Q": 1})
    stored = orjson.loads(call_line(CALL, equal, clear_call(equal, KEY)))
    told = [replay_call(canonical({**stored, "id": f"auc_{n}"}), equal, SEED).identical for n in range(1, 21)]
    assert told[0]
    assert 3 < sum(told) < 17


def test_a_task_that_was_placed_has_a_short_line():
    cleared = clear_call(market(), KEY)
    lines = [place_line(CALL, award) for award in firm(awards(market(), cleared, KEY)).awards]
    assert len(lines) == 3
    assert all(len(line) < 200 for line in lines)
    assert {orjson.loads(line)["auction_id"] for line in lines} == {"auc_1"}
