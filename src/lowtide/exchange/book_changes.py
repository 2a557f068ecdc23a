"""The last versions of the book by what each changed: what streams tell, and from where they are resumed."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from lowtide.market.book import Book, Row

MOST_VERSIONS, MOST_ROWS = 1_024, 20_000


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Sealed:
    """The rows that a version changed, as they stand in it, by number.

    `after` is the version before it on this node: versions of other nodes that came together are one here. `at` is
    the market's instant (µs) at which this node took it over.
    """

    after: int
    version: int
    at: int
    rows: Mapping[int, Row]


class BookChanges:
    """What changed lately: bounded in versions and rows, whoever reads it and however slowly.

    The newest change is always there, for its rows are the book's own.
    """

    def __init__(self, most_versions: int = MOST_VERSIONS, most_rows: int = MOST_ROWS) -> None:
        self._most_versions, self._most_rows = most_versions, most_rows
        self._sealed: deque[Sealed] = deque()
        self._rows = 0
        self._base = (0, 0)

    def begin(self, book: Book, at: int) -> None:
        """Begin with a version, µs: it can be resumed from, nothing before it can."""
        self._base = (book.version, at)

    def add(self, before: Book, book: Book, at: int) -> None:
        """Note the step from one version to a newer one; unchanged rows are the same objects in both."""
        old = before.rows
        rows = {
            number: row
            for number, row in enumerate(book.rows)
            if number >= len(old) or old[number] is not row
        }
        self._sealed.append(Sealed(before.version, book.version, at, rows))
        self._rows += len(rows)
        while len(self._sealed) > 1 and (
            len(self._sealed) > self._most_versions or self._rows > self._most_rows
        ):
            gone = self._sealed.popleft()
            self._rows -= len(gone.rows)
            self._base = (gone.version, gone.at)

    def since(self, version: int) -> tuple[int, list[Sealed]] | None:
        """The instant (µs) at which a version was taken over, and what came after; None where that is not known.

        It is not once a version is too old, or where this node has not come so far.
        """
        base, at = self._base
        if version < base:
            return None
        newer = [sealed for sealed in self._sealed if sealed.version > version]
        older = len(self._sealed) - len(newer)
        if older:
            at = self._sealed[older - 1].at
        newest = self._sealed[-1].version if self._sealed else base
        return None if version > newest else (at, newer)
