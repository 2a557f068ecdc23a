"""Rounds on the book: kinds of tasks, what offers ask by slot, the instance of a record, and which places are kept."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lowtide.market.clearing.award import awards
from lowtide.market.clearing.call import clear_call
from lowtide.market.clearing.instance import NO_LIMIT, HeldTasks, Pools, build
from lowtide.market.clearing.payment import payments
from lowtide.market.clearing.record import Round, call_line, replay_call
from lowtide.market.clearing.rounds import (
    asks,
    instance_of_line,
    keeps,
    kept_awards,
    kind_of,
    slot_starts,
    steadied,
    task_of_kind,
    unfounded,
)
from lowtide.market.record import auction_key
from lowtide.market.task import Constraints, Objective, Task
from lowtide.values.instants import MINUTE_US
from tests.clearing_builder import KEY, Wants, auction
from tests.market_builder import book, offer, quote

SLOT = 15 * MINUTE_US
BEGIN = 1_764_000_000_000_000 // SLOT * SLOT
NOW = BEGIN + 4 * MINUTE_US
SEED = b"s" * 32


def task(**objective: int) -> Task:
    return Task(
        "task_1",
        input_bytes=1_001,
        constraints=Constraints(max_cost_nano=10_000, complete_by=NOW + 10 * SLOT),
        objective=Objective(**objective),
    )


def test_a_kind_keeps_all_but_id_deadline_and_the_last_eighth_of_the_size():
    kind = task_of_kind(kind_of(task(value_nano=20_000)))
    assert kind.input_bytes == 1_024
    alike = replace(task(value_nano=20_000), id="", input_bytes=1_024)
    assert kind == replace(alike, constraints=replace(alike.constraints, complete_by=None))
    for size in (0, 1, 15, 16, 17, 1_000_003):
        rounded = task_of_kind(kind_of(replace(task(), input_bytes=size))).input_bytes
        assert size <= rounded <= size * 9 / 8
    other = replace(task(), constraints=replace(task().constraints, max_cost_nano=9_999))
    assert kind_of(other) != kind_of(task())


def test_the_first_slot_begins_now_and_the_others_at_multiples_of_their_length():
    assert slot_starts(NOW, SLOT, 3) == [NOW, BEGIN + SLOT, BEGIN + 2 * SLOT]


def two_offers():
    """One that falls from 8,000 to 2,000 n$ in the second slot, one that asks 6,000 throughout."""
    steps = (quote(8_000, 0, BEGIN + SLOT), quote(2_000, BEGIN + SLOT, BEGIN + 3 * SLOT, sequence=2))
    return book(offer("night", quotes=steps), offer("day", 6_000))


def test_offers_ask_what_is_in_force_as_a_slot_begins_and_nothing_where_they_may_not_win():
    found = two_offers()
    rows = [found.row_of["night"], found.row_of["day"]]
    expected, eligible, quality = asks(found, kind_of(task()), rows, slot_starts(NOW, SLOT, 4))
    assert expected[0, :3].tolist() == [8_000, 2_000, 2_000]
    assert eligible.tolist() == [[True, True, True, False], [True] * 4]
    assert expected[1].tolist() == [6_000] * 4
    assert quality.tolist() == [900_000, 900_000]


def test_a_batch_lane_and_one_that_takes_calls_back_have_no_places_to_give():
    found = book(offer("lot", 1_000, lane="batch"), offer("idle", 1_000, lane="spot"), offer("day", 6_000))
    _, eligible, _ = asks(found, kind_of(task()), [0, 1, 2], slot_starts(NOW, SLOT, 2))
    assert eligible.tolist() == [[False] * 2, [False] * 2, [True] * 2]


def a_round():
    """Three tasks that want the one cheap place of each of two slots."""
    found, kinds = two_offers(), [kind_of(task())]
    starts = slot_starts(NOW, SLOT, 4)
    rows = [found.row_of["night"], found.row_of["day"]]
    expected, eligible, quality = asks(found, kinds[0], rows, starts)
    held = HeldTasks(
        ["task_a", "task_b", "task_c"],
        np.zeros(3, np.int64),
        np.full(3, NO_LIMIT),
        np.full(3, 10_000),
        np.zeros(3, np.int64),
        np.zeros(3, np.int64),
        np.full(3, 4),
    )
    capacity = np.array([[0, 1, 1, 1], [9, 9, 9, 9]])
    pools = Pools(["night", "day"], kinds, expected[None], eligible[None], quality[None], capacity)
    return found, build(held, pools)


def test_a_rounds_instance_is_built_anew_from_its_record_and_the_book_and_the_record_stands():
    found, instance = a_round()
    call = Round("auc_1", NOW, found.version, found.digest.hex(), SLOT, contended=("night",))
    cleared = clear_call(instance, auction_key(SEED, "auc_1"))
    line = call_line(call, instance, cleared)
    again = instance_of_line(line, found)
    assert again.digest == instance.digest
    assert replay_call(line, again, SEED).stands
    forged = line.replace(b"task_a", b"task_x")
    assert "instance" in replay_call(forged, instance_of_line(forged, found), SEED).verdict.faults


def test_places_elsewhere_are_not_kept_to():
    _, instance = a_round()
    cleared = clear_call(instance, KEY)
    which = keeps(instance, cleared, {"night"})
    offers = [instance.offer_of(int(pool)) for pool in cleared.pool]
    assert sorted(zip(offers, which.tolist(), strict=True)) == [
        ("day", False),
        ("night", True),
        ("night", True),
    ]
    assert {(offer_id, slot) for _, offer_id, slot in kept_awards(instance, cleared, {"night"})} == {
        ("night", 1),
        ("night", 2),
    }


def test_a_dear_place_that_is_not_scarce_is_not_kept_to_and_a_cheap_one_is():
    wants = Wants("t", 20, {"night": (9, 2, 9)}, count=2)
    instance = auction([wants], {"night": (5, 1, 5)}, slots=3)
    cleared = clear_call(instance, KEY)
    kept = {slot for _, _, slot in kept_awards(instance, cleared, {"night"})}
    assert (cleared.welfare_micro, kept) == (29, {1})
    plenty = auction([wants], {"night": (5, 5, 5)}, slots=3)
    assert keeps(plenty, clear_call(plenty, KEY), {"night"}).all()


@given(st.integers(0, 2**32), st.data())
def test_whoever_keeps_a_place_each_place_has_one_task_of_its_group(seed, data):
    wants = [
        Wants("a", 20, {"x": 5, "y": 9}, count=data.draw(st.integers(1, 6))),
        Wants("b", 30, {"x": 7, "y": 8}, count=data.draw(st.integers(1, 6))),
    ]
    instance = auction(wants, {"x": (1, 2), "y": (2, 1)}, slots=2)
    cleared = clear_call(instance, KEY)
    given_places = [(one.task_id, one.offer, one.slot) for one in awards(instance, cleared, KEY)]
    every = [task for its in instance.tasks for task in its]
    places = st.tuples(st.sampled_from(["x", "y"]), st.sampled_from([100, 200]))
    now = data.draw(st.dictionaries(st.sampled_from(every), places))
    takes = steadied(instance, given_places, [100, 200], now)
    group_of = {task: number for number, its in enumerate(instance.tasks) for task in its}
    assert len(set(takes)) == len(takes) == len(given_places)
    assert [group_of[task] for task in takes] == [group_of[task] for task, _, _ in given_places]
    again = {
        task: (offer, [100, 200][slot]) for task, (_, offer, slot) in zip(takes, given_places, strict=True)
    }
    other = awards(instance, cleared, seed.to_bytes(8, "big"))
    shuffled = [(one.task_id, one.offer, one.slot) for one in other]
    kept = steadied(instance, shuffled, [100, 200], again)
    assert {
        task: (offer, [100, 200][slot]) for task, (_, offer, slot) in zip(kept, shuffled, strict=True)
    } == again


def test_places_that_the_outcome_does_not_give_are_named():
    instance = auction([Wants("t", 20, {"x": 5}, count=3)], {"x": (1, 1)}, slots=2)
    cleared = clear_call(instance, KEY)
    paid = payments(instance, cleared)
    good = [("t0", "x", 0, 5_000, 15), ("t1", "x", 1, 5_000, 15)]
    assert unfounded(instance, cleared, paid, good) == []
    assert unfounded(instance, cleared, paid, [("t2", *good[0][1:]), good[1]]) == []
    for wrong in (
        ("t0", "x", 0, 4_999, 15),
        ("t0", "x", 0, 5_000, 14),
        ("t0", "y", 0, 5_000, 15),
        ("t9", "x", 0, 5_000, 15),
        ("t1", "x", 0, 5_000, 15),
        ("t0", "x", 1, 5_000, 15),
    ):
        assert unfounded(instance, cleared, paid, [good[1], wrong]) == [1]
