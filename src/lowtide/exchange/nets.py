"""What safe offers keep for calls on spot lanes: for each a slot in which its task still runs, should it be taken back.

A node knows the slots of the calls that it carries itself, and as of its last look those of other nodes. Beside them
stand the tasks that wait for a place: those keep no slot unless they were taken back, but need the room all the same.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowtide.exchange.task_class import class_of
from lowtide.market.columns import Ints
from lowtide.market.deferral.crowding import Slot
from lowtide.market.task import Task


class _Slots:
    """The slots of one class, in an array that grows; the last takes the place of one that goes."""

    def __init__(self) -> None:
        self._array: NDArray[Any] = np.zeros((16, len(Slot._fields)), dtype=np.int64)
        self._place: dict[str, int] = {}
        self._ids: list[str] = []

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, task_id: str) -> Slot:
        return Slot(*self._array[self._place[task_id]].tolist())

    def add(self, task_id: str, slot: Slot) -> None:
        if len(self._ids) == len(self._array):
            self._array = np.concatenate([self._array, np.zeros_like(self._array)])
        self._array[len(self._ids)] = slot
        self._place[task_id] = len(self._ids)
        self._ids.append(task_id)

    def drop(self, task_id: str) -> None:
        place, last = self._place.pop(task_id), self._ids.pop()
        if last != task_id:
            self._ids[place], self._place[last] = last, place
            self._array[place] = self._array[len(self._ids)]

    def columns(self) -> NDArray[Any]:
        return self._array[: len(self._ids)].T


class Nets:
    """The slots that are kept, and what waits for a place, by class of task."""

    def __init__(self) -> None:
        self._classes: dict[Task, _Slots] = {}
        self._class_of: dict[str, Task] = {}
        self._waiting, self._others, self._seen = set[str](), set[str](), set[str]()

    def __len__(self) -> int:
        return len(self._class_of)

    def keep(self, task: Task, slot: Slot) -> None:
        """Keep this slot for a task, and no other."""
        self.let_go(task.id)
        like = class_of(task)
        self._class_of[task.id] = like
        self._classes.setdefault(like, _Slots()).add(task.id, slot)

    def wait(self, task: Task, kept: Slot | None) -> None:
        """A task waits for a place: it keeps the slot that it had, if any, and counts until its deadline."""
        self.keep(task, kept or Slot(0, 0, task.constraints.complete_by or 0))
        self._waiting.add(task.id)

    def let_go(self, task_id: str) -> Slot | None:
        """Keep nothing for a task any more; what was kept."""
        like = self._class_of.pop(task_id, None)
        if like is None:
            return None
        slots = self._classes[like]
        slot = slots[task_id]
        slots.drop(task_id)
        if not len(slots):
            del self._classes[like]
        for ids in (self._waiting, self._others, self._seen):
            ids.discard(task_id)
        return slot

    def ended(self, task_id: str) -> None:
        """A call has ended here: nothing is kept any more, unless its task waits for a place."""
        if task_id not in self._waiting:
            self.let_go(task_id)

    def slot_of(self, task_id: str) -> Slot | None:
        """What is kept for a task."""
        like = self._class_of.get(task_id)
        return None if like is None else self._classes[like][task_id]

    def starts_by(self, task_id: str, otherwise: int) -> int:
        """When the slot of a task begins, µs; `otherwise` where it has none."""
        slot = self.slot_of(task_id)
        return (slot and slot.begin) or otherwise

    def columns(self, of_class: Callable[[Task], bool]) -> tuple[Ints, Ints, Ints]:
        """Begin, until and end of the slots of tasks of these classes; without a slot the first two are 0."""
        parts = [slots.columns() for like, slots in self._classes.items() if of_class(like)]
        begin, until, end = np.concatenate(parts, axis=1) if parts else np.zeros((3, 0), dtype=np.int64)
        return begin, until, end

    def unsure(self, carries: Callable[[str], bool]) -> list[str]:
        """Tasks of this node that counted at the last look too, and that it carries no more: they may have ended."""
        own = self._class_of.keys() - self._others
        unsure = [task_id for task_id in own if task_id in self._seen and not carries(task_id)]
        self._seen = set(own)
        return unsure

    def learn(self, others: Mapping[str, tuple[Task, Slot]]) -> None:
        """These are what other nodes keep now, and no others."""
        for task_id in self._others - others.keys():
            self.let_go(task_id)
        for task_id, (task, slot) in others.items():
            if task_id not in self._class_of or task_id in self._others:
                self.keep(task, slot)
                self._others.add(task_id)
