"""What a round clears: the held tasks that want more of an offer than it can carry, and what offers ask and carry."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from lowtide.exchange.deciding import with_usual_output
from lowtide.exchange.market import Market
from lowtide.exchange.round_capacity import Room, forced_by_slot, held_rooms, limits_of, others_rooms
from lowtide.market.book import Book
from lowtide.market.clearing.arrays import Ints
from lowtide.market.clearing.instance import NO_LIMIT, HeldTasks, Instance, Pools, build
from lowtide.market.clearing.rounds import LANES_APART, asks, kind_of, slot_starts
from lowtide.market.task import Task, task_from_values
from lowtide.store import tasks
from lowtide.store.tasks import StoredHold
from lowtide.values.instants import SECOND_US

SLOTS = 96
"""Slots of a round: a day of quarters of an hour."""
MOST_HELD = 50_000
"""Holds read for a round, those due soonest."""
MOST_OTHERS = 24
"""Offers beside the contended ones that are weighed as what tasks would else do."""
PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Wanting:
    """A held task that takes part: as stored, as the core sees it, and where its own rule would have it run.

    `latest_start` in µs; `wants` is (offer id, when), `place` what a round gave it, as (offer id, slot's start).
    """

    stored: StoredHold
    task: Task
    kind: str
    latest_start: int
    wants: tuple[str, int]
    place: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class RoundInput:
    """A round to be cleared: the book it rests on, its instance, its tasks by id, and the contended offers' rooms."""

    book: Book
    as_of: int
    starts: tuple[int, ...]
    instance: Instance
    wanting: dict[str, Wanting]
    rooms: dict[str, Room]


async def round_input(market: Market, as_of: int, slot_us: int) -> RoundInput | None:
    """What a round of now would clear; None where no offer is wanted by more than it can carry."""
    book, starts = market.keeper.book, tuple(slot_starts(as_of, slot_us, SLOTS))
    limited = {
        offer_id
        for offer_id, row in book.row_of.items()
        if book.rows[row].offer.lane not in LANES_APART and limits_of(book, row, as_of) is not None
    }
    if not limited:
        return None
    wanting = await _wanting(market, limited, starts[-1])
    rooms = await held_rooms(market, book, wanting, starts, slot_us)
    contended = {offer_id for offer_id, room in rooms.items() if room.contended}
    wanting = [one for one in wanting if one.wants[0] in contended and _has_a_worth(one.task)]
    if not wanting:
        return None
    instance = await _instance(market, book, wanting, {name: rooms[name] for name in contended}, starts)
    by_id = {one.task.id: one for one in wanting}
    return RoundInput(book, as_of, starts, instance, by_id, {name: rooms[name] for name in contended})


def _has_a_worth(task: Task) -> bool:
    """A task that names neither value nor budget cannot be weighed against others: it goes by its own rule."""
    return task.objective.value_nano is not None or task.constraints.max_cost_nano is not None


async def _wanting(market: Market, limited: set[str], until: int) -> list[Wanting]:
    """The tasks held for a posted price, or by a round before, of limited offers, by what they want; in order of release.

    Holds by forecast are left out: they look each slot, and want nothing yet.
    """
    found, after, read = list[Wanting](), (-(2**63), ""), 0
    while read < MOST_HELD:
        async with market.database.read() as conn:
            page = await tasks.holds(conn, after, PAGE)
        for stored in page:
            hold = orjson.loads(stored.hold or "{}")
            own = hold.get("own", hold)
            place = (hold["offer_id"], hold["slot"]) if "own" in hold else None
            wants = (own.get("offer_id"), own.get("release_at", stored.release_at))
            if "forecast" in hold or wants[0] not in limited or "latest_start" not in hold:
                continue
            task = with_usual_output(market, task_from_values(stored.id, orjson.loads(stored.decided_as)))
            found.append(Wanting(stored, task, kind_of(task), hold["latest_start"], wants, place))
        read += len(page)
        if len(page) < PAGE or page[-1].release_at > until:
            break
        after = (page[-1].release_at, page[-1].id)
        await asyncio.sleep(0)
    return found


async def _instance(
    market: Market, book: Book, wanting: Sequence[Wanting], rooms: dict[str, Room], starts: Sequence[int]
) -> Instance:
    """The contended offers, and beside them for each kind the best of the others: what a task would else do."""
    kinds = [kind for kind, _ in Counter(one.kind for one in wanting).most_common()]
    every = list(range(len(book)))
    others = list[int]()
    for kind in kinds:
        expected, eligible, _ = asks(book, kind, every, [starts[0]])
        bids = np.where(eligible[:, 0], expected[:, 0], np.iinfo(np.int64).max)
        bids[[book.row_of[name] for name in rooms]] = np.iinfo(np.int64).max
        best = int(np.argmin(bids))
        if bids[best] < np.iinfo(np.int64).max and best not in others and len(others) < MOST_OTHERS:
            others.append(best)
        await asyncio.sleep(0)
    rows = [book.row_of[name] for name in rooms] + others
    asked = []
    for kind in kinds:
        asked.append(asks(book, kind, rows, starts))
        await asyncio.sleep(0)
    capacity = [room.capacity for room in rooms.values()]
    capacity += others_rooms(book, others, starts, len(wanting))
    forced = await forced_by_slot(market, list(rooms), np.array(capacity[: len(rooms)]), starts)
    pools = Pools(
        [book.rows[row].offer.id for row in rows],
        kinds,
        np.array([one[0] for one in asked]),
        np.array([one[1] for one in asked]),
        np.array([one[2] for one in asked]),
        np.array(capacity, np.int64),
        np.concatenate([forced, np.zeros((len(others), len(starts)), np.int64)]),
    )
    return await asyncio.to_thread(build, _columns(wanting, kinds, starts), pools)


def _columns(wanting: Sequence[Wanting], kinds: Sequence[str], starts: Sequence[int]) -> HeldTasks:
    number = {kind: place for place, kind in enumerate(kinds)}
    slot_us = starts[-1] - starts[-2]
    limits = [(one.task.objective.value_nano, one.task.constraints.max_cost_nano) for one in wanting]
    per_slot = [one.task.objective.per_second_nano * slot_us // SECOND_US for one in wanting]
    return HeldTasks(
        [one.task.id for one in wanting],
        np.array([number[one.kind] for one in wanting], np.int64),
        np.array([NO_LIMIT if value is None else value for value, _ in limits], np.int64),
        np.array([NO_LIMIT if most is None else most for _, most in limits], np.int64),
        np.array(per_slot, np.int64),
        np.zeros(len(wanting), np.int64),
        _slots_left([one.latest_start for one in wanting], starts),
    )


def _slots_left(latest: Sequence[int], starts: Sequence[int]) -> Ints:
    """How many slots, from now, each task may be placed in: those over by its latest start, and that of now before it."""
    ends = np.array([*starts[1:], 2 * starts[-1] - starts[-2]], np.int64)
    left = np.searchsorted(ends, np.array(latest, np.int64), side="right")
    return np.maximum(left, np.array(latest, np.int64) > starts[0]).astype(np.int64)
