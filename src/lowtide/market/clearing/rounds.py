"""A round on the book: what each offer asks each kind of held task in each slot, and the same again from its record."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson

from lowtide.market.book import Book
from lowtide.market.clearing.arrays import Bools, Ints
from lowtide.market.clearing.instance import HeldTasks, Instance, Pools, build
from lowtide.market.clearing.outcome import Cleared
from lowtide.market.deferral.batch_lane import BATCH
from lowtide.market.deferral.net import PREEMPTIBLE
from lowtide.market.spot import Inputs, clear
from lowtide.market.task import Task, task_from_values, task_values
from lowtide.values.canonical import canonical

LANES_APART = (BATCH, *PREEMPTIBLE)
"""Lanes without places to give: a batch has no slots, and what may be taken back is no place."""
_SIZE_BITS = 4
"""Sizes keep so many leading bits, rounded up, so that tasks of about one size are of one kind."""
_AFTER_KIND = 5
"""What a group's key has after its kind: value, budget, cost of a slot, slots waited, slots left."""


def kind_of(task: Task) -> str:
    """What a task needs and is worth, as JSON: all but its id and deadline, its size rounded up (by 12 % at most)."""
    limits = replace(task.constraints, complete_by=None)
    size = _rounded_up(task.input_bytes)
    return canonical(task_values(replace(task, id="", input_bytes=size, constraints=limits))).decode()


def task_of_kind(kind: str) -> Task:
    """A task of the kind, without id and deadline."""
    return task_from_values("", orjson.loads(kind))


def slot_starts(as_of: int, slot_us: int, slots: int) -> list[int]:
    """When each slot begins, µs: the first now, the others at whole multiples of their length."""
    begin = as_of - as_of % slot_us
    return [as_of, *(begin + number * slot_us for number in range(1, slots))]


def asks(book: Book, kind: str, rows: Sequence[int], starts: Sequence[int]) -> tuple[Ints, Bools, Ints]:
    """What some rows ask a kind: expected cost [O, S] (nano-USD), whether each may win [O, S], and its quality [O] (ppm).

    Prices are those in force as a slot begins; between two steps of the book nothing is reckoned twice.
    """
    task, at = task_of_kind(kind), np.array(rows, np.int64)
    expected = np.zeros((len(at), len(starts)), np.int64)
    eligible = np.zeros((len(at), len(starts)), np.bool_)
    for slot, start in enumerate(starts):
        if slot and not book.steps_between(starts[slot - 1], start):
            expected[:, slot], eligible[:, slot] = expected[:, slot - 1], eligible[:, slot - 1]
            continue
        spot = clear(task, book, Inputs(closed_lanes=LANES_APART), start, b"")
        expected[:, slot], eligible[:, slot] = spot.bids.expected[at], spot.reason[at] == 0
    quality, _ = book.quality_columns(task.domain)
    return expected, eligible, quality[at]


def instance_of_line(line: bytes, book: Book) -> Instance:
    """The instance of a round's record, built anew from the record and the book of its version.

    Raises KeyError where the record names an offer that the book has not, BadValue as `build`.
    """
    stored: dict[str, Any] = orjson.loads(line)
    offers, slots = stored["offers"], stored["slots"]
    starts = slot_starts(stored["as_of"], stored["slot_us"], slots)
    keys = [key.rsplit("|", _AFTER_KIND) for key, _ in stored["groups"]]
    kinds = sorted({key[0] for key in keys})
    number = {kind: place for place, kind in enumerate(kinds)}
    ids = [task_id for _, members in stored["groups"] for task_id in members]
    sizes = [len(members) for _, members in stored["groups"]]
    values = np.array([[number[key[0]], *map(int, key[1:])] for key in keys], np.int64)
    columns = np.repeat(values.reshape(-1, 1 + _AFTER_KIND), sizes, axis=0)
    rows = [book.row_of[offer] for offer in offers]
    asked = [asks(book, kind, rows, starts) for kind in kinds]
    shape = (len(kinds), len(offers), slots)
    pools = Pools(
        offers,
        kinds,
        np.array([one[0] for one in asked], np.int64).reshape(shape),
        np.array([one[1] for one in asked], np.bool_).reshape(shape),
        np.array([one[2] for one in asked], np.int64).reshape(shape[:2]),
        np.array(stored["capacity"], np.int64).reshape(shape[1:]),
    )
    return build(HeldTasks(ids, *columns.T), pools)


def keeps(instance: Instance, cleared: Cleared, contended: Collection[str]) -> Bools:
    """By assignment, whether its tasks keep to it: a place at a contended offer that is scarce, or as cheap as any there.

    What is neither can be had at any time: its tasks lose nothing by going on as they would have without a round.
    """
    offers = np.array([offer in contended for offer in instance.offers], np.bool_)
    inside = np.repeat(offers, instance.slot_count)
    slot = np.arange(instance.pool_count) % instance.slot_count
    found = np.zeros(len(cleared.group), np.bool_)
    for entry, (group, pool) in enumerate(zip(cleared.group.tolist(), cleared.pool.tolist(), strict=True)):
        costs = instance.expected_nano[instance.kind[group]]
        open_to = inside & (slot < instance.slots[group]) & (instance.weight[group] > 0)
        cheapest = int(costs[open_to].min()) if open_to.any() else 0
        found[entry] = inside[pool] and (cleared.price[pool] > 0 or costs[pool] <= cheapest)
    return found


def kept_awards(
    instance: Instance, cleared: Cleared, contended: Collection[str]
) -> frozenset[tuple[str, str, int]]:
    """The assignments that are kept to, by (task, offer, slot), for every task of their groups."""
    which = np.flatnonzero(keeps(instance, cleared, contended)).tolist()
    return frozenset(
        (task, instance.offer_of(pool), instance.slot_of(pool))
        for entry in which
        for pool in [int(cleared.pool[entry])]
        for task in instance.tasks[int(cleared.group[entry])]
    )


def steadied(
    instance: Instance,
    given: Sequence[tuple[str, str, int]],
    starts: Sequence[int],
    now: Mapping[str, tuple[str, int]],
) -> list[str]:
    """Who takes each of the given places (task, offer, slot): identical tasks that have one of them already keep it.

    `now` has by task its place from the round before: offer and start of the slot, µs. Only the first draw is by the
    hash: else each round would shuffle those that nothing tells apart.
    """
    group_of = {task: number for number, its in enumerate(instance.tasks) for task in its}
    free: dict[tuple[int, str, int], list[int]] = {}
    for number, (task, offer, slot) in enumerate(given):
        free.setdefault((group_of[task], offer, starts[slot]), []).append(number)
    taken: list[str | None] = [None] * len(given)
    staying = set[str]()
    for task, (offer, start) in sorted(now.items()):
        places = free.get((group_of[task], offer, start))
        if places:
            taken[places.pop(0)] = task
            staying.add(task)
    losers: dict[int, list[str]] = {}
    for number, (task, _, _) in enumerate(given):
        if taken[number] is None and task not in staying:
            taken[number] = task
            staying.add(task)
    for task, _, _ in given:
        if task not in staying:
            losers.setdefault(group_of[task], []).append(task)
    return [
        task if task is not None else losers[group_of[given[number][0]]].pop(0)
        for number, task in enumerate(taken)
    ]


def unfounded(
    instance: Instance, cleared: Cleared, paid_nano: Ints, places: Iterable[tuple[str, str, int, int, int]]
) -> list[int]:
    """Which places (task, offer, slot, price in nano-USD, surplus in µUSD) an outcome does not give, by their number.

    Identical tasks may take each other's, and no assignment has more places than units.
    """
    group_of = {task: number for number, its in enumerate(instance.tasks) for task in its}
    offer_of = {offer: number for number, offer in enumerate(instance.offers)}
    assigned = zip(cleared.group.tolist(), cleared.pool.tolist(), strict=True)
    entry_of = {pair: entry for entry, pair in enumerate(assigned)}
    left, seen, found = cleared.units.tolist(), set[str](), list[int]()
    for number, (task, offer, slot, price, surplus) in enumerate(places):
        group, row = group_of.get(task, -1), offer_of.get(offer, -1)
        entry = entry_of.get((group, row * instance.slot_count + slot))
        if entry is None or task in seen or left[entry] == 0:
            found.append(number)
            continue
        seen.add(task)
        left[entry] -= 1
        pool = row * instance.slot_count + slot
        if (price, surplus) != (int(paid_nano[entry]), int(instance.weight[group, pool])):
            found.append(number)
    return found


def settling(instance: Instance, book: Book) -> Bools:
    """By offer of the instance, whether it is paid through us."""
    return np.array([book.rows[book.row_of[offer]].offer.settles for offer in instance.offers], np.bool_)


def _rounded_up(size: int) -> int:
    step = 1 << max(0, size.bit_length() - _SIZE_BITS)
    return -(-size // step) * step
