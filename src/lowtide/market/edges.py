"""The known instants at which effective prices may change, of all rows, in order."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from lowtide.market.quote import Quote, boundaries

Ints = NDArray[np.int64]
LONG_AGO = -(2**62)


class Edges:
    """Instants (µs) and the rows that step there, both int64, sorted by instant."""

    def __init__(self, instants: Ints, rows: Ints) -> None:
        self._instants = instants
        self._rows = rows

    @classmethod
    def of(cls, quotes: Iterable[tuple[int, tuple[Quote, ...]]]) -> "Edges":
        """The edges of (row, quotes) pairs."""
        pairs = sorted((edge, row) for row, its in quotes for edge in boundaries(its))
        table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        return cls(np.ascontiguousarray(table[:, 0]), np.ascontiguousarray(table[:, 1]))

    def replaced(self, changes: Mapping[int, tuple[Quote, ...]]) -> "Edges":
        """The edges once these rows have other quotes."""
        stay = ~np.isin(self._rows, list(changes))
        instants, rows = self._instants[stay], self._rows[stay]
        fresh = Edges.of(changes.items())
        places = np.searchsorted(instants, fresh._instants)
        return Edges(np.insert(instants, places, fresh._instants), np.insert(rows, places, fresh._rows))

    def around(self, at: int) -> tuple[int, int | None]:
        """The last edge at or before an instant (or long ago), and the next one after it."""
        position = self._after(at)
        since = int(self._instants[position - 1]) if position else LONG_AGO
        return since, int(self._instants[position]) if position < len(self._instants) else None

    def instants_between(self, after: int, upto: int) -> list[int]:
        """The different instants in `(after, upto]`, in order."""
        found: list[int] = np.unique(self._instants[self._after(after) : self._after(upto)]).tolist()
        return found

    def rows_between(self, after: int, upto: int) -> set[int]:
        """Rows with an edge in `(after, upto]`."""
        return set(self._rows[self._after(after) : self._after(upto)].tolist())

    def _after(self, at: int) -> int:
        return int(np.searchsorted(self._instants, at, side="right"))
