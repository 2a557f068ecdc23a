"""What safe offers keep for calls on spot lanes: given at a decision, kept while it may be needed, and counted by others."""

from dataclasses import replace

import pytest

from lowtide.exchange.held import HeldTasks
from lowtide.exchange.nets import Nets
from lowtide.market.auction import AWARDED, HELD, QUEUED
from lowtide.market.book import Book
from lowtide.market.deferral.crowding import Slot
from lowtide.market.offer import Capacity
from lowtide.market.spot import Inputs, clear
from lowtide.market.task import Lists, Task
from tests.market_builder import KEY, NOW, book, offer, quote, task

S, MINUTE = 1_000_000, 60_000_000
SPOT = Inputs(preemptible=("spot",))
STEP = NOW + 60 * S


def market(places: int | None = 1, later: int = 90) -> Book:
    """A safe offer whose runs take 10 s and that may be cheaper in a minute, and a spot offer that takes 1 s."""
    steps = [quote(100, until=STEP), quote(later, STEP, STEP + 60 * MINUTE, sequence=2)]
    return book(
        offer("safe", quotes=steps, model="safe", p99=10_000, latency=100, capacity=Capacity(places)),
        offer("idle", 10, p99=1_000, latency=100, lane="spot"),
    )


def wanted(name: str, seconds: int = 120, models: tuple[str, ...] | None = None) -> Task:
    return replace(task(complete_by=NOW + seconds * S, lists=Lists(models=models)), id=f"task_{name}")


def back_in_s(held: HeldTasks, one: Task, on: Book) -> float | None:
    """Where a task goes to spot: in how many seconds it must be back."""
    _, decision = held.decide(one, on, SPOT, NOW, KEY, held=False)
    if decision.winner is None or decision.winner.row == 0 or decision.spot.net is None:
        return None
    return (decision.spot.net.return_by - NOW) / S


def test_each_call_on_spot_keeps_a_slot_of_its_own_until_none_is_left():
    held, on = HeldTasks(), market()
    assert [back_in_s(held, wanted(str(number)), on) for number in range(9)] == [
        *(70, 60, 50, 40, 30, 20, 10),
        *(None, None),
    ]
    held.nets.ended("task_3")
    assert back_in_s(held, wanted("9"), on) == 40


def test_a_slot_is_kept_for_as_many_at_once_as_the_offer_has_places_and_without_a_limit_for_any_number():
    held, on = HeldTasks(), market(2)
    assert [back_in_s(held, wanted(str(number)), on) for number in range(4)] == [70, 70, 60, 60]
    held, on = HeldTasks(), market(None)
    assert [back_in_s(held, wanted(str(number)), on) for number in range(4)] == [70] * 4
    assert len(held.nets) == 4


def test_what_is_held_leaves_less_room_for_calls_on_spot_and_those_less_for_holds():
    held, on = HeldTasks(), market()
    taken = 0
    while back_in_s(held, wanted(str(taken)), on) is not None and taken < 4:
        taken += 1
    holds = 0
    while True:
        one = wanted(f"patient_{holds}", models=("safe",))
        inputs, decision = held.decide(one, on, SPOT, NOW, KEY, held=False)
        if decision.outcome != HELD:
            break
        held.note(one, decision.deferral, on.version)
        holds += 1
    # Eight runs of 10 s fit before the guard and a second try.
    assert (len(held.nets), holds) == (5, 3)
    assert (decision.outcome, inputs.may_wait) == (AWARDED, False)
    inputs, decision = held.decide(wanted("more"), on, SPOT, NOW, KEY, held=False)
    assert decision.winner.row == 0
    assert inputs.back_by < NOW


async def test_what_is_held_starts_sooner_where_calls_on_spot_may_need_the_room():
    for on_spot, pressed in ((0, 0), (3, 3)):
        held, on = HeldTasks(), market()
        for number in range(4):
            one = wanted(f"patient_{number}", 150, models=("safe",))
            held.note(one, held.decide(one, on, SPOT, NOW, KEY, held=False)[1].deferral, on.version)
        for number in range(on_spot):
            assert back_in_s(held, wanted(str(number), 150), on) is not None
        at = NOW + 59 * S
        found = await held.press(lambda one, on=on, at=at: clear(one, on, SPOT, at, KEY), at, 8 * S)
        assert found == pressed


def test_a_task_that_was_taken_back_keeps_its_slot_while_it_waits_for_a_place():
    held, on = HeldTasks(), market(later=100)
    one = wanted("1")
    assert back_in_s(held, one, on) == 70
    at = NOW + 5 * S
    full = replace(SPOT, refused=(0,), resting=((1, at + 600 * S),))
    _, decision = held.decide(one, on, full, at, KEY, held=False)
    assert decision.outcome == QUEUED
    held.nets.ended(one.id)
    assert held.nets.slot_of(one.id).begin == NOW + 70 * S
    assert back_in_s(held, wanted("2"), on) == 60
    held.decide(one, on, replace(full, refused=()), at, KEY, held=False)
    assert held.nets.slot_of(one.id) is None


def test_what_waits_for_a_place_counts_though_it_keeps_no_slot_and_may_still_go_to_spot():
    held, on = HeldTasks(), market(later=100)
    for number in range(8):
        one = wanted(f"full_{number}", models=("safe",))
        _, decision = held.decide(one, on, replace(SPOT, refused=(0,)), NOW, KEY, held=False)
        assert decision.outcome == QUEUED
    assert len(held.nets) == 8
    assert back_in_s(held, wanted("new"), on) is None
    held.nets.wait(wanted("9"), None)
    assert back_in_s(held, wanted("9"), on) == 70


def test_slots_that_other_offers_must_keep_are_no_matter_here():
    held = HeldTasks()
    nearby = market()
    on = book(*nearby.rows, offer("apart", 100, p99=10_000, latency=100, model="apart", capacity=Capacity(1)))
    for number in range(7):
        assert back_in_s(held, wanted(str(number), models=("safe", "model")), on) is not None
    assert back_in_s(held, wanted("there", models=("apart", "model")), on) == 70


def test_slots_by_requests_a_minute_lie_as_far_apart_as_the_rate_allows():
    rows = list(market(later=100).rows)
    rows[0] = replace(rows[0], offer=replace(rows[0].offer, capacity=Capacity(None, 3)))
    held, on = HeldTasks(), book(*rows)
    assert [back_in_s(held, wanted(str(number)), on) for number in range(4)] == [70, 50, 30, 10]


def test_an_offer_that_never_carries_a_call_of_that_size_keeps_no_slot():
    rows = list(market(later=100).rows)
    rows[0] = replace(rows[0], offer=replace(rows[0].offer, capacity=Capacity(None, None, 1)))
    assert back_in_s(HeldTasks(), wanted("1"), book(*rows)) is None


def test_what_ended_elsewhere_is_asked_for_at_the_second_look_and_others_are_as_last_read():
    nets, mine, theirs = Nets(), wanted("mine"), wanted("theirs")
    nets.keep(mine, Slot(1, 2, 3))
    nets.learn({theirs.id: (theirs, Slot(4, 5, 6)), mine.id: (mine, Slot(7, 8, 9))})
    assert nets.unsure(lambda _: False) == []
    assert nets.unsure(lambda _: True) == []
    assert nets.unsure(lambda _: False) == [mine.id]
    assert (nets.slot_of(mine.id), nets.slot_of(theirs.id)) == (Slot(1, 2, 3), Slot(4, 5, 6))
    nets.learn({})
    assert nets.slot_of(theirs.id) is None
    assert nets.let_go(mine.id) == Slot(1, 2, 3)
    assert len(nets) == 0


@pytest.mark.parametrize("gone", [0, 7, 39])
def test_of_many_slots_one_goes_and_the_others_stay(gone: int):
    nets = Nets()
    for number in range(40):
        nets.keep(wanted(str(number)), Slot(number, number + 1, number + 2))
    nets.let_go(f"task_{gone}")
    assert sorted(nets.columns(lambda _: True)[0].tolist()) == [n for n in range(40) if n != gone]
    assert all(nets.slot_of(f"task_{n}").begin == n for n in range(40) if n != gone)
