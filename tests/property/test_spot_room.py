"""Many tasks on a spot lane over few safe places: whatever is taken back, and when, each is still done in time."""

import asyncio
import heapq
from collections import Counter
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lowtide.exchange.held import HeldTasks
from lowtide.market.auction import AWARDED, HELD
from lowtide.market.deferral.crowding import Room
from lowtide.market.offer import Capacity
from lowtide.market.spot import Inputs, Spot, clear
from lowtide.market.task import Lists, Task
from tests.market_builder import KEY, NOW, book, offer, quote, task

S = 1_000_000
SPOT = ("spot",)
PRESS_S, REST_S = 2, 5


class Storm:
    """A market of one safe offer with few places and a spot offer with many, in simulated time.

    Half way to the last deadline the safe price falls, which tasks that admit no spot lane wait for. Safe runs take their
    p99. A spot call hangs until it is given up, or with `kept` per cent is done at its p99; in a
    storm all that run there are taken back.
    """

    def __init__(
        self,
        places: int,
        safe_s: int,
        spot_s: int,
        kept: int,
        storms: list[int],
        seed: int,
        falls_s: int = 60,
    ) -> None:
        falls = NOW + falls_s * S
        prices = [quote(100, until=falls), quote(90, falls, falls + 3_600 * S, sequence=2)]
        takes = {"p99": 1_000 * safe_s, "latency": 100, "capacity": Capacity(places)}
        safe = offer("safe", quotes=prices, model="safe", **takes)
        spot = offer("idle", 10, p99=1_000 * spot_s, latency=100, lane="spot")
        self.book, self.held, self.free = book(safe, spot), HeldTasks(), places
        self._safe_us, self._spot_us, self._kept, self._dice = safe_s * S, spot_s * S, kept, Random(seed)
        self._events, self._count = list[tuple[int, int, str, str]](), 0
        self._tasks, self._state = dict[str, Task](), dict[str, str]()
        self._resting, self.taken_back = dict[str, int](), Counter[str]()
        self.done, self.most_on_spot = dict[str, int](), 0
        for at in storms:
            self._at(NOW + at * S, "storm")

    def room(self) -> Room:
        """What the safe offer carries."""
        return Room(clear(task(), self.book, Inputs(closed_lanes=SPOT), NOW, KEY), NOW)

    def post(self, wanted: Task) -> None:
        """Have a task arrive at the beginning."""
        self._tasks[wanted.id] = wanted
        self._goes(wanted.id, "posted", NOW)

    async def run(self) -> None:
        """Until each task has ended."""
        self._at(NOW, "press")
        while len(self.done) < len(self._tasks):
            at, number, what, name = heapq.heappop(self._events)
            if what == "press":
                self._at(at + PRESS_S * S, "press")
                await self.held.press(lambda one, at=at: self._clear(one, at), at, 2 * PRESS_S * S)
                for one in self.held.take_due(1_000):
                    self._decide(one, at, held=True)
                self._review(at)
            elif what == "storm":
                for one in self._among("spot"):
                    self._back(one, at)
            elif self._state.get(name) != f"{what} {number}":
                continue  # it went on otherwise before
            elif what in ("posted", "held"):
                self._decide(name, at, held=what == "held")
            elif what == "spot":
                self._back(name, at)
            else:
                self.free += what == "safe"
                self._state[name], self.done[name] = "done", at
                self.held.nets.ended(name)
                self._review(at)

    def late(self) -> list[str]:
        """Those that were not done by their deadline."""
        return [name for name, at in self.done.items() if at > self._deadline(name)]

    def _at(self, at: int, what: str, name: str = "") -> int:
        self._count += 1
        heapq.heappush(self._events, (at, self._count, what, name))
        return self._count

    def _goes(self, name: str, what: str, until: int) -> None:
        self._state[name] = f"{what} {self._at(until, what, name)}"

    def _among(self, what: str) -> list[str]:
        return [name for name, state in self._state.items() if state.split()[0] == what]

    def _deadline(self, name: str) -> int:
        return self._tasks[name].constraints.complete_by

    def _starts_by(self, name: str) -> int:
        return self.held.nets.starts_by(name, self._deadline(name))

    def _clear(self, one: Task, at: int) -> Spot:
        return clear(one, self.book, Inputs(preemptible=SPOT), at, KEY)

    def _decide(self, name: str, at: int, *, held: bool = False) -> None:
        wanted, refused = self._tasks[name], () if self.free else (0,)
        resting = ((1, self._resting[name]),) if self._resting.get(name, 0) > at else ()
        inputs = Inputs(refused=refused, preemptible=SPOT, resting=resting)
        _, found = self.held.decide(wanted, self.book, inputs, at, KEY, held=held)
        if found.outcome == HELD:
            self.held.note(wanted, found.deferral, self.book.version)
            self._goes(name, "held", found.deferral.release_at)
        elif found.outcome != AWARDED:
            self._state[name] = "queued"
            if at > self._deadline(name):
                self._state[name], self.done[name] = "done", at
        elif found.winner.row == 0:
            self.free -= 1
            self._goes(name, "safe", at + self._safe_us)
        elif self._dice.randrange(100) < self._kept:
            self._goes(name, "answered", at + self._spot_us)
        else:
            net = found.spot.net
            self._goes(name, "spot", self._deadline(name) if net is None else net.return_by)
        self.most_on_spot = max(self.most_on_spot, len(self._among("spot")) + len(self._among("answered")))

    def _review(self, at: int) -> None:
        for one in sorted(self._among("queued"), key=self._starts_by):
            self._decide(one, at)

    def _back(self, name: str, at: int) -> None:
        self.taken_back[name] += 1
        self._resting[name] = at + REST_S * S * 2 ** (self.taken_back[name] - 1)
        self._decide(name, at)


def carried(storm: Storm, seconds: list[int], apart: int = 0) -> Storm:
    """The storm once tasks with these deadlines have ended; the first bits of `apart` say which admit no spot lane."""
    for number, after in enumerate(seconds):
        lists = Lists(models=("safe",)) if apart >> number & 1 else Lists()
        storm.post(replace(task(complete_by=NOW + after * S, lists=lists), id=f"task_{number:03}"))
    asyncio.run(storm.run())
    return storm


@pytest.mark.parametrize("storms", [[], [60], [1, 2, 30, 90, 150]])
def test_of_twenty_tasks_with_one_deadline_and_one_safe_place_none_is_late_when_all_are_taken_back(storms):
    # Twenty runs of 10 s, one more for a second try, and the guard: 240 s, and a little.
    storm = carried(Storm(places=1, safe_s=10, spot_s=1, kept=0, storms=storms, seed=1), [245] * 20)
    assert storm.late() == []
    assert sum(storm.taken_back.values()) >= 15


@given(
    st.integers(1, 3),
    st.integers(1, 20),
    st.integers(1, 20),
    st.sampled_from([0, 50, 90]),
    st.lists(st.integers(1, 200), max_size=4),
    st.lists(st.integers(60, 300), min_size=1, max_size=30),
    st.integers(0, 2**30),
    st.integers(0, 2**32),
)
@settings(max_examples=200, deadline=None)
def test_what_safe_runs_alone_would_do_in_time_is_in_time_whatever_is_taken_back(
    places, safe_s, spot_s, kept, storms, seconds, apart, seed
):
    storm = Storm(places, safe_s, spot_s, kept, storms, seed, max(seconds) // 2)
    deadlines = np.array([NOW + after * S for after in seconds])
    assume(storm.room().must_start(deadlines, NOW) == 0)
    assert carried(storm, seconds, apart).late() == []


def test_the_tasks_drawn_share_the_room_on_spot():
    storm = carried(Storm(places=2, safe_s=10, spot_s=2, kept=50, storms=[20], seed=3), [200] * 20)
    assert 8 <= storm.most_on_spot <= 20
    assert storm.late() == []


def test_what_waits_for_a_place_starts_in_the_order_in_which_it_must_not_as_it_was_posted():
    seconds = [
        205,
        205,
        152,
        205,
        205,
        225,
        225,
        152,
        205,
        205,
        225,
        205,
        152,
        205,
        225,
        225,
        225,
        225,
        205,
        152,
    ]
    seconds += [
        205,
        152,
        152,
        205,
        225,
        205,
        205,
        152,
        205,
        152,
        225,
        152,
        152,
        205,
        225,
        152,
        225,
        205,
        225,
        205,
    ]
    storm = Storm(3, 13, 5, 60, [245, 114, 88, 247], 321, 75)
    assert carried(storm, seconds, 0b11100010010000010010111101111000010110).late() == []


def test_what_is_held_starts_early_enough_beside_what_may_be_taken_back():
    seconds = [303, 303, 323, 201, 303, 201, 323, 303, 201, 323, 323, 201, 323, 323, 201, 323]
    seconds += [323, 303, 303, 201, 323, 303, 323, 303, 323, 303, 201, 303, 303, 303, 201]
    storm = Storm(1, 4, 22, 0, [50, 63, 157, 155, 84], 373, 264)
    assert carried(storm, seconds, 0b1100011000101111100011100010100110110101).late() == []
