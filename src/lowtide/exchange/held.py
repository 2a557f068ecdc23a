"""The holds that this node watches: in memory, as columns, to find those that a change of the book can alter.

A node watches what it holds itself, and from its start (and with others beside it every few minutes) all that is held.
What it does not know of, or no longer, is released by the clock all the same: the tables say what is due.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import orjson

from lowtide.exchange.hold_columns import BYTES_A_HOLD, HoldRows, columns_of, middling, values_of
from lowtide.exchange.nets import Nets
from lowtide.exchange.task_class import class_of
from lowtide.market.auction import AWARDED, HELD, Decision, decide
from lowtide.market.book import Book
from lowtide.market.columns import Ints
from lowtide.market.deferral.crowding import Room, Slot
from lowtide.market.deferral.known import POLICY, Deferral
from lowtide.market.deferral.net import PREEMPTIBLE
from lowtide.market.deferral.screening import concerned, to_decide_again
from lowtide.market.eligibility import LossReason, for_good
from lowtide.market.spot import Inputs, Spot
from lowtide.market.task import Task, task_from_values
from lowtide.store import tasks
from lowtide.store.database import Database

CHUNK = 65_536
"""Holds that are screened before others get their turn."""
PAGE, PAGES = 1_000, 20
_UNKNOWN_ROW = -1
_THE_FIRST = (-(2**63), "")


class HeldTasks:
    """What is held, by class of task: a class is of tasks alike but in size, budget, value, deadline, price of time."""

    def __init__(self) -> None:
        self._classes: dict[Task, HoldRows] = {}
        self._book = Book(0, [])
        self._due: dict[str, None] = {}
        self._loaded_to: tuple[int, str] | None = _THE_FIRST
        self.pressed: frozenset[str] = frozenset()
        """What may wait no longer, lest too much is left to be started at once."""
        self.nets = Nets()

    def __len__(self) -> int:
        return sum(rows.count for rows in self._classes.values())

    @property
    def nbytes(self) -> int:
        """Bytes that the columns of what is held take."""
        return len(self) * BYTES_A_HOLD

    def note(self, task: Task, plan: Deferral, version: int) -> None:
        """Watch a hold that was decided on a version of the book, or again where its plan is another now."""
        row = plan.row if plan.policy == POLICY else _UNKNOWN_ROW
        if version < self._book.version:
            self.decide_soon([task.id])
        else:
            self._add(task, row, plan.slot, plan.release_at)

    def changed(self, holds: Sequence[tuple[Task, Deferral | None]], version: int) -> None:
        """Watch these by their new plans instead of the old ones; those without one are held no longer.

        The old are let go in place, as if they were due: a screening that is under way counts on their order.
        """
        by_class: dict[Task, list[bytes]] = {}
        for task, _ in holds:
            by_class.setdefault(class_of(task), []).append(task.id.encode())
        for like, ids in by_class.items():
            if (rows := self._classes.get(like)) is not None:
                part = rows.part(0, rows.count)
                part["release_at"][np.isin(part["id"], np.array(ids, dtype="S32"))] = 0
        for task, plan in holds:
            if plan is not None:
                self.note(task, plan, version)

    def decide_soon(self, task_ids: list[str]) -> None:
        """Have these decided again at the next review."""
        self._due.update(dict.fromkeys(task_ids))

    def take_due(self, most: int) -> list[str]:
        """The next tasks to decide again; they are no longer kept here."""
        ids = list(self._due)[:most]
        for task_id in ids:
            del self._due[task_id]
        return ids

    def keep(self, task_id: str, decided_as: str, hold: str, book: Book, version: int | None = None) -> None:
        """Watch a hold as it is stored; `version` is the book's where it was just decided on again."""
        plan = orjson.loads(hold or "{}")
        known = plan.get("policy") == POLICY
        row = book.row_of.get(plan.get("offer_id", ""), _UNKNOWN_ROW) if known else _UNKNOWN_ROW
        if version is not None and version < self._book.version:
            self.decide_soon([task_id])
        else:
            task = task_from_values(task_id, orjson.loads(decided_as))
            self._add(task, row, plan.get("slot", 0), plan.get("release_at", 0))

    async def load(self, database: Database, book: Book) -> bool:
        """Read some pages more of what the tables hold; whether all has been read."""
        for _ in range(PAGES):
            if self._loaded_to is None:
                return True
            async with database.read() as conn:
                page = await tasks.holds(conn, self._loaded_to, PAGE)
            for held in page:
                self.keep(held.id, held.decided_as, held.hold, book)
            self._loaded_to = (page[-1].release_at, page[-1].id) if len(page) == PAGE else None
            await asyncio.sleep(0)
        return self._loaded_to is None

    def forget(self) -> None:
        """Begin anew: read all from the tables, and screen it against every offer."""
        self._classes, self._book, self._loaded_to = {}, Book(0, []), _THE_FIRST

    async def screen(self, book: Book, inputs_of: Callable[[Task], tuple[Task, Inputs]], now: int) -> int:
        """Have those decided again that the step to this book (at `now`, µs) can alter; how many these are.

        `inputs_of` gives a task of a class with its type's usual output, and what its decisions rest on. What is due
        by the clock anyway is let go: the release decides on it.
        """
        before, self._book = self._book, book
        changed = frozenset(changed_rows(before, book))
        found = 0
        for like, rows in list(self._classes.items()) if changed else ():
            if not concerned(like, before, book, changed):
                continue
            known, inputs = inputs_of(like)
            first = 0
            while first < rows.count:
                part = rows.part(first, first + CHUNK)
                over = part["release_at"] <= now
                again = to_decide_again(known, columns_of(part), book, inputs, changed, now)
                self.decide_soon([name.decode() for name in part["id"][again & ~over].tolist()])
                found += int((again & ~over).sum())
                staying = len(part) - int((again | over).sum())
                if staying < len(part):
                    rows.drop(first, again | over)
                first += staying
                await asyncio.sleep(0)
            if not rows.count and self._classes.get(like) is rows:
                del self._classes[like]
        return found

    def decide(
        self, task: Task, book: Book, inputs: Inputs, as_of: int, auction_key: bytes, *, held: bool
    ) -> tuple[Inputs, Decision]:
        """Decide on a task; without leave to wait where it would be one hold too many, or was named by `press`.

        A spot bid wins only where it leaves time for a slot that is free at the safe offers; that is kept for the task from
        now on (`nets`). What can neither run nor queue for a place now waits all the same. Also gives the inputs that the
        decision rests on.
        """
        before = self.nets.let_go(task.id)
        decision, slot = decide(task, book, inputs, as_of, auction_key), None
        if _over_net(decision):
            slot, back_by = self._slot(task, decision.spot, as_of, before)
            if back_by is not None:
                inputs = replace(inputs, back_by=back_by)
                decision = decide(task, book, inputs, as_of, auction_key)
        if decision.outcome == HELD and (
            task.id in self.pressed if held else self._crowds(task, decision.spot, as_of)
        ):
            at_once = replace(inputs, may_wait=False)
            found = decide(task, book, at_once, as_of, auction_key)
            if found.outcome == AWARDED or found.code == LossReason.NO_CAPACITY.code:
                inputs, decision = at_once, found
        if slot is not None and _over_net(decision):
            self.nets.keep(task, slot)
        elif inputs.preemptible and decision.code == LossReason.NO_CAPACITY.code:
            self.nets.wait(task, before)
        return inputs, decision

    def _slot(
        self, task: Task, spot: Spot, as_of: int, before: Slot | None
    ) -> tuple[Slot | None, int | None]:
        """A slot for the safe run of a task over a net, and where that begins sooner than the net: by when to be back."""
        net, complete_by, room = spot.net, task.constraints.complete_by, Room(spot, as_of)
        if net is None or complete_by is None:
            return None, None
        if not room.limited:
            return Slot(net.latest, net.latest + room.service_us, complete_by), None
        begins, untils, ends = self.nets.columns(_served_by(room.rows, spot.book))
        slot = room.slot_before(min(net.latest, room.last_begin(complete_by)), begins, untils)
        others = np.append(self._deadlines(room.rows, spot.book, as_of), ends)
        counted_by = None if before is None else before.end
        if slot is None or not room.fits(slot.end, others, as_of, counted_by):
            return None, as_of - 1
        return slot, slot.begin if slot.begin < net.return_by else None

    def _crowds(self, task: Task, spot: Spot, as_of: int) -> bool:
        room, complete_by = Room(spot, as_of), task.constraints.complete_by
        if not room.limited or complete_by is None:
            return False
        *_, ends = self.nets.columns(_served_by(room.rows, spot.book))
        others = np.append(self._deadlines(room.rows, spot.book, as_of), ends)
        return not room.fits(complete_by, others, as_of)

    async def press(self, spot_of: Callable[[Task], Spot], as_of: int, ahead_us: int) -> int:
        """Have those decided again, without leave to wait, that must start within so long; how many these are.

        A class is judged by what can serve a task of it with a middling budget; `spot_of` clears that as of now.
        """
        found = list[str]()
        for like, rows in list(self._classes.items()):
            rows.drop(0, rows.part(0, rows.count)["release_at"] <= as_of)
            part = rows.part(0, rows.count)
            if not len(part):
                continue
            spot = spot_of(middling(like, part))
            room = Room(spot, as_of)
            *_, ends = self.nets.columns(_served_by(room.rows, spot.book))
            deadlines = self._deadlines(room.rows, spot.book, as_of)
            count = room.must_start(deadlines, as_of + ahead_us, ends)
            if count:
                first = np.argsort(part["complete_by"], kind="stable")[:count]
                found += [name.decode() for name in part["id"][first].tolist()]
                gone = np.zeros(len(part), dtype=np.bool_)
                gone[first] = True
                rows.drop(0, gone)
            await asyncio.sleep(0)
        self.pressed = frozenset(found)
        self.decide_soon(found)
        return len(found)

    def _deadlines(self, rows: frozenset[int], book: Book, as_of: int) -> Ints:
        """Of all that is held and could be served by one of these rows."""
        served = _served_by(rows, book)
        parts = [
            part["complete_by"][part["release_at"] > as_of]
            for like, held in self._classes.items()
            if held.count and served(like)
            for part in [held.part(0, held.count)]
        ]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def _add(self, task: Task, row: int, slot: int, release_at: int) -> None:
        self._classes.setdefault(class_of(task), HoldRows()).add(values_of(task, row, slot, release_at))


def _over_net(decision: Decision) -> bool:
    """Whether the task goes to a lane that may take it back, over a net."""
    winner, spot = decision.winner, decision.spot
    return (
        winner is not None and spot.net is not None and spot.book.rows[winner.row].offer.lane in PREEMPTIBLE
    )


def _served_by(rows: frozenset[int], book: Book) -> Callable[[Task], bool]:
    """Whether one of these rows could serve tasks of a class."""
    among = sorted(rows)
    return lambda like: bool((for_good(like, book, ())[among] == 0).any())


def changed_rows(before: Book, book: Book) -> Iterator[int]:
    """Rows that are other or new in the later book; unchanged ones are the same objects in both."""
    old = before.rows
    for number, row in enumerate(book.rows):
        if number >= len(old) or old[number] is not row:
            yield number
