"""The holds that a node watches: found by what changed, kept while they wait, decided again in turn."""

from dataclasses import replace

from lowtide.exchange.held import HeldTasks
from lowtide.market.book import Book, Row
from lowtide.market.offer import Capacity
from lowtide.market.spot import Inputs, Spot, clear
from lowtide.market.task import Lists, Task
from tests.market_builder import KEY, NOW, book, decide, offer, quote, task

MINUTE = 60_000_000
STEP = NOW + 60 * MINUTE


def stepping(name: str, before: int, after: int, **fields: object) -> Row:
    """An offer at one price until an hour ahead, and at another from then on."""
    quotes = [quote(before, until=STEP), quote(after, STEP, STEP + 600 * MINUTE, sequence=2)]
    return offer(name, quotes=quotes, model=name, **fields)


def market() -> Book:
    return book(stepping("a", 100, 10), stepping("b", 100, 20), stepping("c", 100, 30))


def wanted(name: str, models: tuple[str, ...]) -> Task:
    return replace(
        task(complete_by=NOW + 300 * MINUTE, lists=Lists(models=models), max_cost=200), id=f"task_{name}"
    )


async def watching(before: Book, *tasks_held: Task) -> HeldTasks:
    """What watches these tasks, each as it is held on that book."""
    held = HeldTasks()
    for one in tasks_held:
        plan = decide(one, before).decision.deferral
        assert plan is not None
        held.note(one, plan, before.version)
    assert await screened(held, before) == []
    return held


async def screened(held: HeldTasks, now_book: Book, at: int = NOW) -> list[str]:
    await held.screen(now_book, lambda like: (like, Inputs()), at)
    return held.take_due(100)


async def test_only_the_holds_that_a_cheaper_offer_could_serve_are_decided_again():
    before = market()
    held = await watching(before, wanted("1", ("a", "b")), wanted("2", ("b",)), wanted("3", ("c",)))
    after = before.with_rows(2, {1: stepping("b", 100, 5)})
    assert await screened(held, after) == ["task_1"]
    assert len(held) == 2


async def test_a_price_that_crosses_the_reservation_now_ends_the_wait():
    before = market()
    held = await watching(before, wanted("1", ("a", "b")), wanted("3", ("c",)))
    assert await screened(held, before.with_rows(2, {1: stepping("b", 9, 20)})) == ["task_1"]


async def test_a_price_that_stays_above_what_is_waited_for_alters_nothing():
    before = market()
    held = await watching(before, wanted("1", ("a", "b")))
    assert await screened(held, before.with_rows(2, {1: stepping("b", 60, 11)})) == []
    assert len(held) == 1


async def test_holds_on_a_withdrawn_offer_are_decided_again():
    before = market()
    held = await watching(before, wanted("1", ("a", "b")), wanted("2", ("b",)))
    assert await screened(held, before.with_rows(2, {0: stepping("a", 100, 10, withdrawn=True)})) == [
        "task_1"
    ]


async def test_a_hold_is_decided_again_where_slower_bids_leave_it_no_time():
    before = market()
    held = await watching(before, wanted("1", ("a", "b")))
    slow = stepping("b", 100, 20, p99=130 * 60_000)
    assert await screened(held, before.with_rows(2, {1: slow})) == ["task_1"]


async def test_a_hold_decided_on_a_book_that_is_no_longer_the_last_is_decided_again():
    before = market()
    held = await watching(before, wanted("3", ("c",)))
    await screened(held, before.with_rows(2, {1: stepping("b", 100, 5)}))
    late = wanted("2", ("b",))
    plan = decide(late, before).decision.deferral
    assert plan is not None
    held.note(late, plan, before.version)
    assert held.take_due(10) == ["task_2"]


async def test_what_is_due_by_the_clock_is_left_to_the_release():
    before = market()
    held = await watching(before, wanted("1", ("a", "b")))
    after = before.with_rows(2, {0: stepping("a", 100, 10, withdrawn=True)})
    assert await screened(held, after, STEP + 30 * MINUTE) == []
    assert len(held) == 0


async def test_of_many_holds_those_found_go_and_all_others_stay():
    before, count = market(), 300
    held = await watching(
        before, *(wanted(str(n), ("a", "b") if n % 3 else ("a", "b", "c")) for n in range(count))
    )
    named = await screened(held, before.with_rows(2, {2: stepping("c", 100, 5)}))
    assert sorted(named) == sorted(f"task_{n}" for n in range(0, count, 3))[:100]
    assert len(held) == 200
    rest = before.with_rows(3, {0: stepping("a", 100, 10, withdrawn=True)})
    await held.screen(rest, lambda like: (like, Inputs()), NOW)
    found = held.take_due(1_000)
    assert sorted(found) == sorted(f"task_{n}" for n in range(count) if n % 3)


def crowded_market() -> Book:
    return book(stepping("a", 100, 10, p99=60_000, capacity=Capacity(concurrency=1)))


def held_until(number: int, minutes: int) -> Task:
    return replace(
        task(complete_by=NOW + minutes * MINUTE, lists=Lists(models=("a",)), max_cost=200),
        id=f"task_{number}",
    )


async def test_no_more_is_held_than_finds_room_before_the_deadline():
    market, held, taken = crowded_market(), HeldTasks(), 0
    for number in range(400):
        one = held_until(number, 70)
        decision = decide(one, market).decision
        if held.crowds(one, decision.spot, NOW):
            break
        held.note(one, decision.deferral, market.version)
        taken += 1
    # One a minute before the guard, and a minute kept for the last's second try.
    assert taken == 68
    elsewhere = replace(one, lists=Lists(models=("b",)))
    open_market = book(*market.rows, stepping("b", 100, 20))
    assert not held.crowds(elsewhere, decide(elsewhere, open_market).decision.spot, NOW)


async def test_what_must_start_so_that_the_rest_finds_room_is_decided_again_without_leave_to_wait():
    market = crowded_market()
    held = await watching(market, *(held_until(number, 70) for number in range(20)))

    def spot_of(one: Task) -> Spot:
        return decide(one, market).decision.spot

    assert await held.press(spot_of, NOW, MINUTE) == 0
    late = NOW + 59 * MINUTE
    pressed = await held.press(lambda one: clear(one, market, Inputs(), late, KEY), late, MINUTE)
    assert pressed == 12
    assert set(held.take_due(100)) == held.pressed == {f"task_{number}" for number in range(pressed)}
