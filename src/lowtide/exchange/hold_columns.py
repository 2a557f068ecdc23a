"""Holds as columns: rows of one class in an array, as screening and the look at crowding read them."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowtide.market.deferral.screening import NONE, Holds
from lowtide.market.task import Task

_HOLD = np.dtype(
    [
        ("id", "S32"),
        ("row", np.int32),
        ("input_bytes", np.int32),
        ("slot", np.int64),
        ("release_at", np.int64),
        ("complete_by", np.int64),
        ("max_cost", np.int64),
        ("value", np.int64),
        ("per_second", np.int64),
    ]
)
BYTES_A_HOLD = _HOLD.itemsize


class HoldRows:
    """Holds of one class, in an array that grows."""

    def __init__(self) -> None:
        self._array: NDArray[Any] = np.zeros(64, dtype=_HOLD)
        self.count = 0

    def add(self, values: tuple[Any, ...]) -> None:
        """Add a hold, as `values_of` gives it."""
        if self.count == len(self._array):
            self._array = np.concatenate([self._array, np.zeros(max(64, self.count // 8), dtype=_HOLD)])
        self._array[self.count] = values
        self.count += 1

    def part(self, first: int, end: int) -> NDArray[Any]:
        """Those from `first` up to `end`, as they lie in the array."""
        return self._array[first : min(end, self.count)]

    def drop(self, first: int, gone: NDArray[np.bool_]) -> None:
        """Take these out of the part that begins at `first`; what follows moves up."""
        end = first + len(gone)
        kept = np.concatenate([self._array[first:end][~gone], self._array[end : self.count]])
        self._array[first : first + len(kept)] = kept
        self.count = first + len(kept)


def values_of(task: Task, row: int, slot: int, release_at: int) -> tuple[Any, ...]:
    """A hold as a row of the array."""
    limits, objective = task.constraints, task.objective
    return (
        task.id.encode(),
        row,
        min(task.input_bytes, 2**31 - 1),
        slot,
        release_at,
        limits.complete_by or 0,
        NONE if limits.max_cost_nano is None else limits.max_cost_nano,
        objective.value_nano or 0,
        objective.per_second_nano,
    )


def middling(like: Task, part: NDArray[Any]) -> Task:
    """A task of a class in the middle of these rows, with the last of their deadlines."""
    limited = np.sort(part["max_cost"][part["max_cost"] != NONE])
    objective, value = like.objective, int(np.median(part["value"]))
    return replace(
        like,
        input_bytes=int(np.median(part["input_bytes"])),
        constraints=replace(
            like.constraints,
            complete_by=int(part["complete_by"].max()),
            max_cost_nano=int(limited[len(limited) // 2]) if len(limited) else None,
        ),
        objective=replace(
            objective,
            value_nano=None if objective.value_nano is None else value,
            per_second_nano=int(np.median(part["per_second"])),
        ),
    )


def columns_of(part: NDArray[Any]) -> Holds:
    """The rows as screening reads them."""
    return Holds(
        part["row"],
        part["slot"],
        part["release_at"],
        part["complete_by"],
        part["input_bytes"].astype(np.int64),
        part["max_cost"],
        part["value"],
        part["per_second"],
    )
