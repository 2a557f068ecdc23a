"""Columns that are computed when first asked for and carried from version to version: only changed rows anew."""

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")
Table = NDArray[np.int64]
_MOST_KEYS = 64


class KeptColumns(Generic[K, R]):
    """Integer columns by key, shape (width, rows); `of_row(key, row)` gives a row's values. At most 64 keys stay."""

    def __init__(self, width: int, of_row: Callable[[K, R], tuple[int, ...]]) -> None:
        self._width = width
        self._of_row = of_row
        self._kept: dict[K, tuple[Table, frozenset[int]]] = {}

    def get(self, key: K, rows: Sequence[R]) -> Table:
        """The columns under a key, of exactly these rows."""
        table, stale = self._kept.get(key, (None, frozenset()))
        if table is not None and not stale:
            return table
        if table is None:
            values = [self._of_row(key, row) for row in rows]
            table = np.ascontiguousarray(np.array(values, dtype=np.int64).reshape(-1, self._width).T)
        else:
            table = grown(table, len(rows))
            for number in stale:
                table[:, number] = self._of_row(key, rows[number])
        if key not in self._kept and len(self._kept) >= _MOST_KEYS:
            self._kept.pop(next(iter(self._kept)))
        self._kept[key] = (table, frozenset())
        return table

    def carried(self, changed: frozenset[int]) -> "KeptColumns[K, R]":
        """The same columns for a next version, in which these rows are other."""
        after = KeptColumns(self._width, self._of_row)
        after._kept = {
            key: (table, stale | changed)
            for key, (table, stale) in self._kept.items()
            if 4 * len(stale | changed) <= table.shape[1] + 4
        }
        return after


def grown(table: Table, length: int) -> Table:
    """A copy of the table with room for so many rows, zero where new."""
    wider = np.zeros((table.shape[0], length), dtype=np.int64)
    wider[:, : table.shape[1]] = table
    return wider
