import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from lowtide.simulate.clock import SteppedClock

START = datetime(2026, 11, 24, 6, tzinfo=UTC)


def later(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def sleepers(clock: SteppedClock, *seconds: float) -> tuple[list[float], list[asyncio.Task[None]]]:
    woken: list[float] = []

    async def one(span: float) -> None:
        await clock.sleep(span)
        woken.append(span)

    tasks = [asyncio.create_task(one(span)) for span in seconds]
    await settle()
    return woken, tasks


def test_a_start_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="zone"):
        SteppedClock(datetime(2026, 11, 24))  # noqa: DTZ001


def test_the_clock_tells_utc_whatever_zone_it_was_started_in():
    clock = SteppedClock(START.astimezone(timezone(timedelta(hours=2))))
    assert clock.now() == START
    assert clock.now().tzinfo is UTC


def test_time_stands_still_until_it_is_moved_and_never_goes_back():
    clock = SteppedClock(START)
    clock.advance_to(later(60))
    clock.advance_to(later(10))
    assert clock.now() == later(60)


async def test_only_those_whose_time_has_come_wake_and_in_the_order_of_their_instants():
    clock = SteppedClock(START)
    woken, tasks = await sleepers(clock, 30, 10, 20, 40)
    clock.advance_to(later(9.999999))
    await settle()
    assert woken == []
    clock.advance_to(later(30))
    await settle()
    assert woken == [10, 20, 30]
    clock.advance_to(later(40))
    await asyncio.gather(*tasks)
    assert woken == [10, 20, 30, 40]


async def test_sleepers_of_one_instant_wake_in_the_order_they_lay_down():
    clock = SteppedClock(START)
    order: list[str] = []

    async def one(name: str) -> None:
        await clock.sleep(5)
        order.append(name)

    tasks = [asyncio.create_task(one(name)) for name in "abc"]
    await settle()
    clock.advance_to(later(5))
    await asyncio.gather(*tasks)
    assert order == ["a", "b", "c"]


async def test_the_next_wakeup_is_the_earliest_that_still_waits():
    clock = SteppedClock(START)
    assert clock.next_wakeup() is None
    _, tasks = await sleepers(clock, 10, 20)
    assert clock.next_wakeup() == later(10)
    tasks[0].cancel()
    await settle()
    assert clock.next_wakeup() == later(20)
    clock.advance_to(later(20))
    await tasks[1]
    assert clock.next_wakeup() is None


async def test_stepping_by_the_next_wakeup_meets_every_instant_of_a_sleeper_that_sleeps_again():
    clock = SteppedClock(START)
    seen: list[datetime] = []

    async def every_minute() -> None:
        while len(seen) < 5:
            await clock.sleep(60)
            seen.append(clock.now())

    task = asyncio.create_task(every_minute())
    await settle()
    while (moment := clock.next_wakeup()) is not None:
        clock.advance_to(moment)
        await settle()
    await task
    assert seen == [later(60 * minute) for minute in range(1, 6)]


async def test_a_sleep_of_nothing_lets_others_run_and_returns():
    clock = SteppedClock(START)
    ran = asyncio.create_task(asyncio.sleep(0, "ran"))
    await clock.sleep(0)
    await clock.sleep(-1)
    assert ran.done()
